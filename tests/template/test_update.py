"""`copier update` from each release: what stays, what changes."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from conftest import TEMPLATE, notebook
from ruamel.yaml import YAML
from samples import ran
from update_samples import (
    CLASH,
    FIT,
    NEXT,
    NOW,
    RELEASES,
    STARTS,
    Project,
    each_release,
)

each_start = pytest.mark.parametrize("start", STARTS)


def own(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files that an update never touches."""
    return {name: content for name, content in files.items() if name.startswith(("notebooks/", "data/"))}


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
def test_an_untouched_project_becomes_a_fresh_one(copy, updated, made, version, start):
    project = updated(version, start)
    after, fresh = project.files(), copy(NOW, start, "fresh").files()
    assert own(after) == own(copy(version, start).files())
    after, fresh = ({name: files[name] for name in files.keys() - own(files).keys()} for files in (after, fresh))
    assert sorted(after) == sorted(fresh)
    for name in fresh:
        assert after[name].decode() == fresh[name].decode(), name
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
        (tmp_path / "fit.ipynb").write_text(FIT)
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
    assert not [name for name, content in after.items() if re.search(rb"(?m)^<<<<<<< ", content)]
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
@each_start
def test_a_changed_answer_changes_what_it_governs(updated, version, start):
    project = updated(version, start)
    project.git("add", "--all")
    project.git("commit", "--quiet", "--allow-empty", "--message", "updated")
    project.update(NOW, "--data", "project_name=Other birds")
    changed = project.git("diff", "--unified=0", "--no-color")
    assert re.findall(r"^\+(?!\+)(.*)", changed, re.M) == [
        "project_name: Other birds", "# Other birds", 'name = "other-birds"',
    ]  # fmt: skip


@each_release
def test_a_remote_by_an_answer_changes_what_it_governs(updated, version):
    project = updated(version)
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
