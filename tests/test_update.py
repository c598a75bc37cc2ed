"""`copier update`, from every release and with each `start`, over projects that people have worked in."""

import json
import re
import shutil
import subprocess
import sys
import tomllib

import copier
import pytest
from conftest import TEMPLATE, Workspace, notebook
from ruamel.yaml import YAML
from test_made_project import ran

RELEASES = tomllib.loads((TEMPLATE / "tests" / "releases.toml").read_text("utf-8"))
STARTS = [*YAML(typ="safe").load(TEMPLATE / "copier.yml")["start"]["choices"].values()]
each_release = pytest.mark.parametrize("version", RELEASES)
each_start = pytest.mark.parametrize("start", STARTS)

# This checkout; the same with changes that merge; with changes beside lines that a person changed, which only merge by
# entries; and with changes to lines that a person changed, too.
NOW, NEXT, TOUCH, CLASH = "99.0.0", "99.1.0", "99.1.1", "99.2.0"
# Places in the template's files and what NEXT has there: none of it makes a stage run.
MERGES = [
    (".pre-commit-config.yaml", r"^(default_stages: .*)", r"\1 # next"),
    ("dvc.yaml.jinja", r"^(  code:\n)", r"\1    desc: next\n"),
    ("params.yaml.jinja", r"\A", "# next\n"),
    ("pyproject.toml.jinja", r"^(version = .*)", r"\1 # next"),
    ("README.md.jinja", r"^(## See it run)$", r"\1 (next)"),
    (".dvcignore", r"\Z", "*.next\n"),
    ("data/.gitignore.jinja", r"\Z", "/next\n"),
]
TOUCHES = [
    ("dvc.yaml.jinja", r"^(    cmd: pipeline code .*)", r"\1 # touch"),
    (
        "dvc.yaml.jinja",
        r"^(  run_notebook:\n)((?:    .*\n)*?    deps:\n)",
        r"\1    desc: touch\n\2      - uv.lock # touch\n",
    ),
    ("params.yaml.jinja", r"^(base:\n)", r"\1  touch: 1\n"),
    ("pyproject.toml.jinja", r'^(    "pre-commit>=.*",\n)', r'\1    "touch",\n'),
    ("README.md.jinja", r"\Z", "\n## Touch\n\nThe template's.\n"),
]
CLASHES = [
    (".pre-commit-config.yaml", r"^(default_stages: .*)", r"\1 # clash"),
    ("dvc.yaml.jinja", r"^(    cmd: (?:python -m )?pipeline code .*)", r"\1 # clash"),
]


class Project(Workspace):
    """A project in git, to update."""

    def git(self, *arguments: str, check: bool = True) -> str:
        return self.run("git", *arguments, check=check).stdout

    def pipeline(self, *arguments: str, check: bool = True, **kwargs) -> subprocess.CompletedProcess:
        """By the command that the project's version of the template has."""
        if (self.path / ".pipeline").exists():
            return super().pipeline(*arguments, check=check, **kwargs)
        return self.run("python", "-m", "pipeline", *arguments, check=check, **kwargs)

    def commit(self) -> None:
        if self.run("git", "rev-parse", check=False).returncode:
            self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--no-verify", "--message", "work")

    def substitute(self, name: str, pattern: str, new: str) -> None:
        """Replaces the one place that a pattern matches."""
        text, count = re.subn(pattern, new, self.read(name), flags=re.M)
        assert count == 1, f"{pattern!r} matches {count} times in {name}"
        self.write(name, text)

    def copier(self, *arguments: str, check: bool = True, **kwargs) -> subprocess.CompletedProcess:
        return self.run(sys.executable, "-m", "copier", *arguments, check=check, **kwargs)

    def update(self, version: str, *options: str) -> str:
        return self.copier("update", "--trust", "--defaults", "--vcs-ref", version, *options).stdout

    def files(self) -> dict[str, bytes]:
        """What git keeps or would keep, with the data."""
        names = self.git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
        paths = {self.path / name for name in names if name} | {*(self.path / "data").rglob("*")}
        return {path.relative_to(self.path).as_posix(): path.read_bytes() for path in paths if path.is_file()}


def own(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files that an update never touches."""
    return {name: content for name, content in files.items() if name.startswith(("notebooks/", "data/"))}


@pytest.fixture(scope="session")
def versions(tmp_path_factory, environ) -> Project:
    """A clone of the template with all releases, and this checkout as it lies here as the newest."""
    clone = Project(tmp_path_factory.mktemp("versions") / "template", environ)
    here = Project(TEMPLATE, environ)
    here.git("clone", "--quiet", "--no-checkout", str(TEMPLATE), str(clone.path))
    for version, commit in RELEASES.items():
        clone.git("tag", "--force", version, commit, check=False)  # not there in a shallow clone: see `copy`
    for name in here.git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (TEMPLATE / name).is_file():
            (clone.path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TEMPLATE / name, clone.path / name)
    clone.git("add", "--all")
    clone.git("commit", "--quiet", "--allow-empty", "--message", "now")
    clone.git("tag", NOW)
    for version, changes in ((NEXT, MERGES), (TOUCH, TOUCHES), (CLASH, CLASHES)):
        clone.git("checkout", "--quiet", NOW)
        for name, pattern, new in changes:
            clone.substitute(f"template/{name}", pattern, new)
        if version == NEXT:
            for path in (clone.path / "template" / "notebooks").glob("*.ipynb"):
                path.write_text("{}\n")
            clone.write("template/notebooks/next.ipynb", "{}\n")
            clone.write("template/data/external/penguins.csv", "next\n")
        clone.git("commit", "--quiet", "--all", "--message", version)
        clone.git("tag", version)
    return clone


@pytest.fixture
def copy(versions, tmp_path):
    """Makes a project with a version of the template, not set up, in git; skips what that version does not know."""

    def copy(version: str, start: str = STARTS[0], place: str = "mine") -> Project:
        known = versions.run("git", "show", f"{version}:copier.yml", check=False)
        if known.returncode != 0:
            pytest.skip(f"{version} is not in this clone's history: git fetch --unshallow")
        if start not in YAML(typ="safe").load(known.stdout)["start"]["choices"].values():
            pytest.skip(f"{version} does not know start={start}")
        data = {"start": start, "setup": False}
        if start == "notebook":
            data["notebook"] = str(tmp_path / "fit.ipynb")
            (tmp_path / "fit.ipynb").write_text(notebook("DEPTH = 3", "import json\nprint(DEPTH)"))
        path = tmp_path / place / "penguins"
        copier.run_copy(
            str(versions.path), path, vcs_ref=version, data=data, defaults=True, unsafe=True, quiet=True
        )  # fmt: skip
        project = Project(path, {**versions.environ})
        project.commit()
        return project

    return copy


@pytest.fixture(autouse=True)
def settings(monkeypatch, environ):
    for name in ("COPIER_SETTINGS_PATH", "GIT_CONFIG_GLOBAL"):
        monkeypatch.setenv(name, environ[name])


def test_releases_are_the_tags():
    done = subprocess.run(
        ["git", "for-each-ref", "--format=%(refname:short) %(*objectname) %(objectname)", "refs/tags"],
        cwd=TEMPLATE, text=True, capture_output=True, check=True,
    )  # fmt: skip
    tags = {name: hashes[0] for name, *hashes in (line.split() for line in done.stdout.splitlines())}
    for version in RELEASES.keys() & tags.keys():
        assert tags[version] == RELEASES[version], version
    assert not {tag for tag in tags if re.fullmatch(r"v?\d+(\.\d+)+", tag)} - RELEASES.keys()
    changelog = (TEMPLATE / "CHANGELOG.md").read_text("utf-8")
    assert re.findall(r"^## (\S+)", changelog, re.M)[1:] == [*RELEASES][::-1]


def test_no_binary_of_the_template_is_in_the_way():
    """An update takes back a person's change to a binary without a word: the template has none but in their folders."""
    for path in (TEMPLATE / "template").rglob("*"):
        name = path.relative_to(TEMPLATE / "template")
        if path.is_file() and name.parts[0] not in ("notebooks", "data") and "__pycache__" not in name.parts:
            assert b"\0" not in path.read_bytes() and path.read_text("utf-8"), name


@each_release
@each_start
def test_an_untouched_project_becomes_a_fresh_one(copy, made, tmp_path, version, start):
    project = copy(version, start)
    before = project.files()
    (tmp_path / "fit.ipynb").unlink(missing_ok=True)  # the next update may come from another machine
    project.update(NOW)
    updated, fresh = project.files(), copy(NOW, start, "fresh").files()
    assert own(updated) == own(before)
    updated, fresh = ({name: files[name] for name in files.keys() - own(files).keys()} for files in (updated, fresh))
    assert sorted(updated) == sorted(fresh)
    for name in fresh:
        assert updated[name].decode() == fresh[name].decode(), name
    # The notebooks are still those of the release: what arrived around them suits them.
    del project.environ["UV_PROJECT_ENVIRONMENT"]
    if start != "notebook":  # which setup does; check says what a clone would lack
        project.run("dvc", "add", "--quiet", "data/external")
    assert project.pipeline("check").stdout == ""


@each_release
@each_start
def test_work_stays(copy, made, tmp_path, version, start):
    project = copy(version, start)
    project.write("uv.lock", made.read("uv.lock"))
    if start == "notebook":
        project.pipeline("add", str(tmp_path / "fit.ipynb"))
    else:
        project.run("dvc", "add", "--quiet", "data/external")
        project.run("dvc", "repro")
    project.write("data/mine.csv", "a\n1\n")
    project.run("dvc", "add", "--quiet", "data/mine.csv")
    project.commit()

    first = sorted((project.path / "notebooks").glob("*.ipynb"))[0]
    document = YAML(typ="safe").load(first)
    document["cells"].append({"cell_type": "markdown", "id": "mine", "metadata": {}, "source": "Mine."})
    first.write_text(json.dumps(document, indent=1) + "\n")
    project.write("notebooks/scratch.ipynb", notebook("X = 1", "X"))
    (project.path / ".vscode" / "settings.json").unlink()
    (project.path / "assets").mkdir()
    (project.path / "assets" / "logo.png").write_bytes(b"\0\1")
    project.commit()
    (project.path / "assets" / "logo.png").write_bytes(b"\0\2")
    project.write("data/mine.csv", "a\n2\n")  # dvc.lock and data/mine.csv.dvc are behind it
    stage = "\n  # a stage of mine\n  mine:\n    cmd: python -c 1\n    deps: [data/mine.csv]\n    params: [mine]\n"
    mine = {
        "params.yaml": "\nmine: # a comment of mine\n  depth: 4\n",
        "dvc.yaml": stage,
        "README.md": "\n## Mine\n",
        ".pre-commit-config.yaml": "  # mine\n  - repo: meta\n    hooks:\n      - id: check-hooks-apply\n",
        ".gitignore": "/mine/\n",
        ".dvcignore": "",
        "pyproject.toml": "\n[tool.mine]\nkey = 1\n",
    }
    for name, text in mine.items():
        # A stage goes above the list of plots, which ends dvc.yaml where there is one.
        head, plots, tail = project.read(name).partition("\n# What `uv run dvc plots show`")
        project.write(name, head + text + plots + tail)
    project.substitute("README.md", r"^# .*$", "# My own title")
    project.substitute("pyproject.toml", r"^(dependencies = \[)$", r'\1\n    "attrs>=25",')
    head, _, tail = project.read("dvc.yaml").partition(stage)
    place = head.rindex("    deps:\n") + len("    deps:\n")
    project.write("dvc.yaml", f"{head[:place]}      - data/mine.csv # mine\n{head[place:]}{stage}{tail}")
    project.commit()

    def said() -> list[str]:
        commands = (["dvc", "status"], ["dvc", "repro", "--dry"])
        return [*(project.run(*command).stdout for command in commands), project.pipeline("check", check=False).stdout]

    before, said_before = project.files(), said()
    assert "changed deps" in said_before[0] and "notebooks/" in said_before[0]
    project.update(NEXT)
    after = project.files()
    assert project.git("ls-files", "--unmerged") == ""
    assert not [name for name, content in after.items() if b"<<<<<<<" in content and not name.endswith(".py")]
    assert own(after) == own(before)
    for name, text in mine.items():
        assert text in project.read(name), name
        assert name == ".gitignore" or "next" in project.read(name), name
    assert "# My own title\n" in project.read("README.md") and '    "attrs>=25",\n' in project.read("pyproject.toml")
    assert "      - data/mine.csv # mine\n" in project.read("dvc.yaml")
    assert not (project.path / ".vscode" / "settings.json").exists()
    # What the template does not know is as it was; the rest is either as it was or as the template has it.
    fresh = copy(NEXT, start, "fresh").files()
    for name in before.keys() - fresh.keys() - {".vscode/settings.json", "dvc.lock"}:
        assert name in after and after[name] == before[name] or name.startswith((".pipeline/", "pipeline/")), name
    for name in fresh.keys() - mine.keys() - own(fresh).keys() - {".vscode/settings.json", "outputs/.gitignore"}:
        assert name == ".copier-answers.yml" or after[name] == fresh[name], name
    # Nothing more is stale: the update has renewed the records, also that of the notebook whose markdown has changed.
    now = said()
    assert now[0] == re.sub(r"^code@.*\n(\t.*\n)+", "", said_before[0], flags=re.M)
    assert ran(now[1]) == [name for name in ran(said_before[1]) if not name.startswith("code@")]
    assert now[2] == ""


@each_release
def test_what_was_removed_stays_away(copy, version):
    project = copy(version)
    shutil.rmtree(project.path / "notebooks")
    shutil.rmtree(project.path / "data" / "external")
    dvc, params = project.read("dvc.yaml"), project.read("params.yaml")
    project.write("dvc.yaml", dvc[: dvc.index("\n  run_notebook:")].replace("[penguins]", "[]"))
    project.write("params.yaml", params[: params.index("\nbase:")])
    project.commit()
    before = project.files()
    project.update(NEXT)
    assert own(project.files()) == own(before) and not (project.path / "notebooks").exists()
    assert project.git("ls-files", "--unmerged") == ""
    assert "run_notebook" not in project.read("dvc.yaml") and "    desc: next\n" in project.read("dvc.yaml")
    assert "base:" not in project.read("params.yaml") and project.read("params.yaml").startswith("# next\n")


@each_release
def test_changes_that_touch_are_merged_by_entries(copy, version):
    project = copy(version)
    mine = [
        ("dvc.yaml", r"^      notebook: \[penguins\]", "      notebook: [penguins, mine]"),
        ("dvc.yaml", r"^(  run_notebook:\n(?:    .*\n)*?    deps:\n)", r"\1      - data/mine.csv # mine\n"),
        ("dvc.yaml", r"^  run_notebook:", "  classify:"),
        ("params.yaml", r"^(base:\n)", r"\1  mine: 1\n"),
        ("pyproject.toml", r'^(    "pre-commit>=.*",\n)', r'\1    "mine",\n'),
        ("README.md", r"\Z", "Mine.\n"),
    ]
    last = project.read("README.md").splitlines()[-1]
    for name, pattern, new in mine:
        project.substitute(name, pattern, new)
    project.commit()
    assert "\nNothing is in conflict, " in project.update(TOUCH)
    assert project.git("ls-files", "--unmerged") == "" and project.git("diff", "--cached", "--name-only") == ""
    for name, *_ in mine:
        text = project.read(name)
        assert "<<<<<<<" not in text and text.casefold().count("touch") >= 1 and text.casefold().count("mine") >= 1, (
            text
        )
    stages = YAML(typ="safe").load(project.read("dvc.yaml"))["stages"]
    assert stages["code"]["matrix"] == {"notebook": ["penguins", "mine"]}
    # Under the name that it has here.
    assert [*stages] == ["code", "classify"] and stages["classify"]["desc"] == "touch"
    deps = ["uv.lock", "data/mine.csv", "data/external/penguins.csv", "outputs/code/penguins.py"]
    assert sorted(stages["classify"]["deps"]) == sorted(deps)
    assert "# mine\n" in project.read("dvc.yaml") and "# touch\n" in project.read("dvc.yaml")
    sections = rf"\n{re.escape(last)}\nMine\.\n\n(## .*\n(.*\n)*)?## Touch\n\nThe template's\.\n\Z"
    assert re.search(sections, project.read("README.md"))
    assert not [*project.path.rglob("*.merged")]


@each_release
def test_a_removed_stage_stays_away_when_the_template_changes_it(copy, version):
    project = copy(version)
    dvc = project.read("dvc.yaml")
    project.write("dvc.yaml", dvc[: dvc.index("\n  run_notebook:")])
    project.commit()
    project.update(TOUCH)
    assert project.git("ls-files", "--unmerged") == ""
    stages = YAML(typ="safe").load(project.read("dvc.yaml"))["stages"]
    assert [*stages] == ["code"] and "# touch" in project.read("dvc.yaml")


@pytest.fixture
def conflict(copy, made):
    """A project whose owner changed the lines that the template will change, with the hooks of the project at work."""

    def conflict(version: str) -> Project:
        project = copy(version)
        project.environ["UV_NO_SYNC"] = "1"  # the shared environment stays as it is
        for name, pattern, new in CLASHES:
            project.substitute(name.removesuffix(".jinja"), pattern, new.replace("clash", "mine"))
        project.commit()
        project.run("pre-commit", "install")
        return project

    return conflict


def commands_in(message: str) -> list[str]:
    """Each line of a message that is indented is a command, and what it does."""
    return re.findall(r"^ {4}(\S.*?)(?: {2,}.*)?$", message, re.M)


@each_release
def test_a_conflict_is_seen_refused_and_mended_as_the_message_says(conflict, version):
    project = conflict(version)
    before = project.files()
    message = project.update(CLASH)
    names = [".pre-commit-config.yaml", "dvc.yaml"]
    commands = commands_in(message)
    assert commands == [
        "git diff --name-only --relative --diff-filter=U",
        "git checkout --ours FILE",
        "git checkout --theirs FILE",
        "uv sync",
        "uv run pipeline check --fix",
        "git add --all .",
        "uv run dvc status",
        'git commit -m "Update the template"',
        "git restore --source=HEAD --staged --worktree .",
        "git clean -fd .",
    ]
    assert (
        f"penguins has the template's version {CLASH}, not committed yet.\nIn conflict: {', '.join(names)}.\n"
        in message
    )
    listing, ours, theirs, *_, back, clean = (command.split() for command in commands)
    assert project.run(*listing).stdout.split() == names
    for name in names:
        assert project.read(name).count("<<<<<<< before updating") == 1
    assert project.git("commit", "--message", "x", check=False).count("unmerged") >= 1
    for name in names:
        # pre-commit's post-checkout hook says so of any file that is left, and fails: too late to matter.
        for command, has, lacks in ((theirs, "# clash", "# mine"), (ours, "# mine", "# clash")):
            said = project.run(*command[:-1], name, check=False).stdout
            assert said == "Updated 1 path from the index\n[ERROR] Unmerged files.  Resolve before committing.\n"
            assert '"Unmerged files" after these two commands: ignore it' in message
            assert has in project.read(name) and lacks not in project.read(name)
        assert project.read(name).encode() == before[name].replace(b"python -m pipeline", b"pipeline")
    # Marked as mended, and is not.
    project.git("checkout", "--merge", "dvc.yaml", check=False)
    assert "<<<<<<<" in project.read("dvc.yaml")
    project.git("add", "--all")
    refused = project.run("git", "commit", "--message", "x", check=False)
    assert refused.returncode == 1 and "dvc.yaml:8: Merge conflict string" in refused.stdout
    project.git("checkout", "--merge", "dvc.yaml", check=False)
    assert project.git("ls-files", "--unmerged")
    project.run(*back)
    project.write("new.txt", "")  # as a file that the template added
    project.run(*clean)
    assert project.files() == before and project.git("status", "--porcelain") == ""


def test_other_work_in_the_repository_stays(copy, tmp_path, environ):
    """Of a project in a folder of a larger repository Copier sees that folder alone: so do the commands of the message."""
    around = Project(tmp_path / "mine", environ)
    around.write("report.md", "1\n")
    around.write("penguins.md", "1\n")
    around.commit()
    project = copy(NOW)
    for name, pattern, new in CLASHES:
        project.substitute(name.removesuffix(".jinja"), pattern, new.replace("clash", "mine"))
    project.commit()
    around.write("report.md", "2\n")
    around.write("penguins.md", "2\n")
    around.git("add", "penguins.md")
    around.write("new.md", "1\n")
    before = around.files(), around.git("status", "--porcelain")
    assert before[1] == "M  penguins.md\n M report.md\n?? new.md\n"
    message = project.update(CLASH)
    listing, ours, _, _, _, add, *_, back, clean = (command.split() for command in commands_in(message))
    names = [".pre-commit-config.yaml", "dvc.yaml"]
    assert f"In conflict: {', '.join(names)}.\n" in message and project.run(*listing).stdout.split() == names
    project.run(*ours[:-1], "dvc.yaml")
    assert "# mine" in project.read("dvc.yaml")
    for added in (False, True):
        project.write("of the template.txt", "")
        if added:
            project.run(*add)
            assert "report.md" not in project.git("diff", "--cached", "--name-only")
        project.run(*back)
        project.run(*clean)
        assert (around.files(), around.git("status", "--porcelain")) == before


@each_release
def test_rests_of_an_update_are_refused(conflict, version):
    project = conflict(version)
    said = project.update(CLASH, "--conflict", "rej")
    assert re.search(r"In conflict: .*\bdvc\.yaml\.rej", said)
    assert (project.path / "dvc.yaml.rej").exists()
    # The commands for markers are no use here.
    by_hand = "\nFILE.rej contains the changes that could not be merged into FILE. Make them by hand and delete FILE.rej. Then\n    uv sync"
    assert by_hand in said and "<<<<<<<" not in said and "--ours" not in said
    project.write(".pipeline/x.py.rej", "x\n")
    project.write(".pipeline/x.py", "<<<<<<< before updating\nx\n=======\ny\n>>>>>>> after updating\n")
    project.git("add", "--all")
    refused = project.run("git", "commit", "--message", "x", check=False)
    assert refused.returncode == 1
    assert "`copier update` could not merge" in refused.stdout
    assert "\ndvc.yaml.rej\n" in refused.stdout and "\n.pipeline/x.py.rej\n" in refused.stdout
    assert ".pipeline/x.py:1: Merge conflict string" in refused.stdout


@each_release
@each_start
def test_a_changed_answer_changes_what_it_governs(copy, version, start):
    project = copy(version, start)
    project.update(NOW)
    project.git("add", "--all")
    project.git("commit", "--quiet", "--allow-empty", "--message", "updated")
    project.update(NOW, "--data", "project_name=Other birds")
    changed = project.git("diff", "--unified=0", "--no-color")
    assert re.findall(r"^\+(?!\+)(.*)", changed, re.M) == [
        "project_name: Other birds", "# Other birds", 'name = "other-birds"',
    ]  # fmt: skip


@each_release
def test_a_remote_by_an_answer_changes_what_it_governs(copy, version):
    project = copy(version)
    project.update(NOW)
    project.write("params.yaml", project.read("params.yaml") + "\nmine: # a comment of mine\n  depth: 4\n")
    project.substitute("pyproject.toml", r"^(dependencies = \[)$", r'\1\n    "attrs>=25",')
    project.substitute("README.md", r"^# .*$", "# My own title")
    project.write("notebooks/scratch.ipynb", notebook("X = 1", "X"))
    project.commit()
    before = project.files()
    project.update(NOW, "--data", "remote=s3", "--data", "remote_url=s3://bucket/path")
    after = project.files()
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    assert sorted(changed) == [".copier-answers.yml", ".dvc/config", "README.md", "pyproject.toml"]
    added = "    remote = storage\n['remote \"storage\"']\n    url = s3://bucket/path\n"
    assert after[".dvc/config"].decode() == before[".dvc/config"].decode() + added
    assert after["pyproject.toml"] == before["pyproject.toml"].replace(b'"dvc>=', b'"dvc[s3]>=')
    shared = re.compile(rb"^## Share the results$.*?^(?=## )", re.M | re.S)
    assert shared.sub(b"", after["README.md"]) == shared.sub(b"", before["README.md"])
    project.commit()
    project.update(NOW, "--data", "remote=none")
    assert project.files() == before


def test_errors_are_in_the_readme(copy):
    """What Copier says where an update cannot be: README has the words, and what to do."""
    readme = re.sub(r"\s+", " ", (TEMPLATE / "README.md").read_text("utf-8"))
    project = copy(NEXT)

    def refused(*command: str, code: int) -> str:
        done = project.run(sys.executable, *command, check=False)
        assert done.returncode == code, done.stdout
        return done.stdout

    update = ("-m", "copier", "update", "--defaults", "--vcs-ref")
    without = "import runpy, sys; sys.modules['copier_template_extensions'] = None; runpy.run_module('copier', alter_sys=True, run_name='__main__')"
    said = {
        "uses potentially unsafe feature": refused(*update, CLASH, code=4),
        "could not load some Jinja extensions": refused(
            "-c", without, "update", "--defaults", "--trust", "--vcs-ref", CLASH, code=1
        ),
        "Downgrades are not supported": refused(*update, NOW, "--trust", code=1),
    }
    assert project.git("status", "--porcelain") == ""
    answers = project.read(".copier-answers.yml")
    # The template was moved; and as README's first command named it, before it was remembered as seen from anywhere.
    for place, words in {
        "/no/such": "Updating is only supported in git-tracked templates",
        ".": "Unknown revision",
    }.items():
        project.substitute(".copier-answers.yml", "^_src_path: .*", f"_src_path: {place}")
        project.commit()
        said[words] = refused(*update, CLASH, "--trust", code=1)
    project.write(".copier-answers.yml", answers)
    project.commit()
    project.update(NEXT)
    project.write("new.txt", "")
    said["Destination repository is dirty"] = refused(*update, CLASH, "--trust", code=1)
    for words, output in said.items():
        assert words in output and f"{words}" in readme, output


def test_a_new_version_is_announced(copy):
    project = copy(NOW)
    assert f"Current version is {NOW}, latest version is {CLASH}." in project.copier("check-update").stdout
    said = project.update(CLASH, "--pretend")
    assert said.endswith(f"\nNothing was changed. Without --pretend penguins gets the template's version {CLASH}.\n\n")
    assert project.git("status", "--porcelain") == ""
    del project.environ["UV_PROJECT_ENVIRONMENT"]
    version = project.pipeline("check", "--version").stdout
    assert version.startswith(f"template version {NOW} of ")
    (project.path / ".copier-answers.yml").unlink()
    version = project.pipeline("check", "--version").stdout
    assert version == ".copier-answers.yml does not name the template's version\n"


def test_a_template_named_by_a_relative_path_is_found_again(versions, tmp_path):
    """As README's first command names it: `.`."""
    project = Project(tmp_path / "penguins", versions.environ)
    options = ("--trust", "--defaults", "--data", "setup=false", "--vcs-ref", NOW)
    Project(versions.path, versions.environ).copier("copy", *options, ".", str(project.path))
    project.commit()
    project.update(NEXT)
    assert "*.next" in project.read(".dvcignore")


@each_start
def test_recopy_overwrites_nothing_unasked(copy, start):
    project = copy(NOW, start)
    for path in (project.path / "notebooks").glob("*.ipynb"):
        path.unlink()
    project.write("notebooks/mine.ipynb", "{}\n")
    project.write("data/external/penguins.csv", "mine\n")
    project.write("data/.gitignore", "/mine\n")
    project.commit()
    before = project.files()
    recopy = ("recopy", "--trust", "--defaults", "--vcs-ref", NEXT, "--data", "setup=false")
    done = project.copier(*recopy, check=False)
    assert done.returncode == 1 and "Interactive session required" in done.stdout
    after = project.files()
    assert {name: after[name] for name in before} == before
    # It was given as `.`.
    assert f" is in {project.path}. Type there\n" in project.copier(*recopy, "--overwrite").stdout
    assert own(project.files()) == own(before)
    assert "next" in project.read("README.md")


@each_start
def test_a_copy_into_a_repository_overwrites_nothing_unasked(versions, tmp_path, start):
    project = Project(tmp_path / "penguins", versions.environ)
    for name in ("README.md", "params.yaml", "notebooks/penguins.ipynb", "src/mine.py", "data/external/penguins.csv"):
        project.write(name, "mine\n")
    project.commit()
    before = project.files()
    (tmp_path / "fit.ipynb").write_text(notebook("DEPTH = 3", "print(DEPTH)"))
    data = ("--data", f"start={start}", "--data", "setup=false")
    data += ("--data", f"notebook={tmp_path / 'fit.ipynb'}") if start == "notebook" else ()
    command = ("copy", "--trust", "--defaults", *data, "--vcs-ref", NOW, str(versions.path), ".")
    done = project.copier(*command, check=False)
    assert done.returncode == 1 and "Interactive session required" in done.stdout
    after = project.files()
    assert {name: after[name] for name in before} == before
    project.copier(*command, "--skip-tasks", "--overwrite", "--exclude", "README.md", "--exclude", "params.yaml")
    assert project.read("README.md") == "mine\n" and project.read("src/mine.py") == "mine\n"
