"""`copier update`: changes to the same lines, conflicts, and leftover .rej files."""

import re
import shutil

import pytest
from ruamel.yaml import YAML
from update_samples import (
    CLASH,
    CLASHES,
    NOW,
    TOUCH,
    Project,
    each_release,
)


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
        assert not re.search(r"(?m)^<<<<<<< ", text), text
        assert text.casefold().count("touch") >= 1 and text.casefold().count("mine") >= 1, text
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
    shutil.rmtree(project.path / ".git")
    project.commit()
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
