"""A month of two people: a copy, two clones, branches, merges of every kind, and an update of the template in both.

They type git's own words for branches, and else the README's commands only.
"""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from conftest import Workspace, copied
from readme_reader import Reader
from samples import ran
from update_samples import CLASH, NEXT, NOW, TOUCH

MARKS = re.compile(r"(?m)^(<<<<<<<|=======|>>>>>>>)")


class Person(Reader):
    """Somebody with a clone."""

    def says(self, section: str, pattern: str, *more: str, check: bool = True, **words: str) -> str:
        self.section = section
        return self.types(pattern, *more, check=check, **words)

    def git(self, *arguments: str, check: bool = True) -> str:
        return self.project.run("git", *arguments, check=check).stdout

    def repro(self) -> list[str]:
        return ran(self.says("Merge a branch", "^uv run dvc repro$"))

    def commit(self) -> None:
        """As README.md says: if a hook changes a file, type it again."""
        self.git("add", "--all")
        said = self.says("Change a number", "^git commit --all", check=False)
        if "files were modified by this hook" in said or "renewed the record" in said:
            self.git("add", "--all")
            self.says("Change a number", "^git commit --all")
        assert self.git("status", "--porcelain") == "", said

    def commit_if_changed(self) -> None:
        if self.git("status", "--porcelain"):
            self.commit()

    def changes(self, *changes: tuple[str, str], file: str = "params.yaml") -> list[str]:
        """Changes values, runs, commits and pushes; what ran."""
        for old, new in changes:
            self.project.replace(file, old, new)
        done = self.repro()
        self.commit_if_changed()
        self.git("push", "--quiet", "--force", "--set-upstream", "origin", "HEAD")
        return done

    def merges(self, branch: str) -> str:
        self.git("fetch", "--quiet")
        return self.says("Merge a branch", "^git merge BRANCH$", check=False, BRANCH=branch)

    def goes_on(self, said: str) -> list[str]:
        """Does what the line about dvc.lock says; what ran."""
        for command in re.findall(r"`(uv run dvc (?:pull|checkout) [^`]*)`", said)[-1:]:
            self.project.run(*command.split())
        return self.repro()

    def assert_up_to_date(self) -> None:
        status = self.project.run("uv", "run", "dvc", "status").stdout
        assert "up to date" in status, status
        assert self.git("status", "--porcelain") == ""
        for name in ("dvc.lock", "params.yaml", "dvc.yaml", "uv.lock", "pyproject.toml", "outputs/metrics.yaml"):
            assert not MARKS.search(self.project.read(name)), name


@pytest.fixture(scope="module")
def template(versions, tmp_path_factory) -> Path:
    """A template with one release; the test makes the next one."""
    path = tmp_path_factory.mktemp("releases") / "template"
    shutil.copytree(versions.path, path)
    Workspace(path, versions.environ).run("git", "tag", "--delete", NEXT, TOUCH, CLASH)
    return path


@pytest.fixture
def people(template, versions, environ, tmp_path) -> tuple[Person, Person]:
    """Ada, who has made the project and pushed it, and Bob, who has cloned it; each with an environment of their own."""
    own = {name: value for name, value in environ.items() if name != "UV_PROJECT_ENVIRONMENT"}
    own["PATH"] = environ["PATH"].partition(os.pathsep)[2]
    answers = ("-d", "start=stages", "-d", "remote=local", "-d", "remote_url=../../store")
    ada = copied(template, own, tmp_path / "Ada's penguins", "--vcs-ref", NOW, *answers)
    ada.run("git", "init", "--quiet", "--bare", "../origin.git")
    ada.run("git", "remote", "add", "origin", "../origin.git")
    ada.run("git", "push", "--quiet", "--set-upstream", "origin", "main")
    ada.run("git", "clone", "--quiet", "../origin.git", str(tmp_path / "Bobs Pinguine"))
    bob = Person(Workspace(tmp_path / "Bobs Pinguine", own))
    assert "Everything is up to date" in bob.says("See it run", "pipeline setup")
    return Person(ada), bob


def with_cell(project: Workspace, name: str, cell: str, at: int) -> None:
    path = f"notebooks/{name}.ipynb"
    document = json.loads(project.read(path))
    new = {
        "cell_type": "code",
        "execution_count": None,
        "id": cell.replace(" ", ""),
        "metadata": {},
        "outputs": [],
        "source": [cell],
    }
    document["cells"].insert(at, new)
    project.write(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def conflicts(person: Person, said: str) -> None:
    """Does what the last table of README.md says, with a commit that comes too early."""
    person.section = "When something is wrong"
    project = person.project
    params = project.read("params.yaml")
    project.write("params.yaml", re.sub(r"(?s)<<<<<<<[^\n]*\n(.*?)=======\n.*?>>>>>>>[^\n]*\n", r"\1", params))
    toml = project.read("pyproject.toml")
    if MARKS.search(toml) or MARKS.search(project.read("uv.lock")):
        person.git("add", "--all")
        early = person.git("commit", "--no-edit", check=False)
        assert re.search(r"uv\.lock and pyproject\.toml without conflict markers .*Failed", early), early
        assert re.search(r"(?m)^(uv\.lock|pyproject\.toml):\d+:<<<<<<<", early) and "parse" not in early
        project.write("pyproject.toml", re.sub(r"(?m)^(<<<<<<<|=======|>>>>>>>).*\n", "", toml))
        person.types("git checkout HEAD uv.lock", check=False)
        person.types("^uv lock$")
        person.types("git add pyproject.toml")
    person.goes_on(said)
    person.git("add", "--all")
    person.says("When something is wrong", "^git commit$", "--no-edit", check=False)
    person.commit_if_changed()
    person.assert_up_to_date()
    assert "toolz" in project.read("uv.lock") and "tomli-w" in project.read("uv.lock")
    person.git("push", "--quiet")


def versions_commit(versions: Workspace) -> str:
    return versions.run("git", "rev-parse", NEXT).stdout.strip()


def test_a_month(people, template, versions):
    ada, bob = people
    ada.changes(("epochs: 15", "epochs: 3"))

    # Two branches; a merge of what each side changed, and of what both did.
    bob.git("pull", "--quiet")
    bob.assert_up_to_date()
    bob.git("switch", "--quiet", "--create", "data")
    assert bob.changes(("test_size: 0.2", "test_size: 0.25")) == ["data_load", "train", "evaluate"]
    assert ada.changes(("epochs: 3", "epochs: 4")) == ["train", "evaluate"]
    said = ada.merges("origin/data")
    assert "CONFLICT" not in said and "which runs train, evaluate, unless" in said
    assert ada.repro() == ["train", "evaluate"]
    ada.commit()
    ada.git("push", "--quiet")
    ada.assert_up_to_date()

    # Cells of two people, and a rebase.
    bob.git("switch", "--quiet", "--create", "cells")
    with_cell(bob.project, "train", "bob = 1", 4)
    bob.changes()
    with_cell(ada.project, "evaluate", "ada = 1", 3)
    with_cell(ada.project, "train", "ada = 1", 7)
    ada.changes()
    bob.git("fetch", "--quiet")
    bob.goes_on(bob.git("rebase", "origin/main"))
    text = bob.project.read("notebooks/train.ipynb")
    assert "ada = 1" in text and "bob = 1" in text and not MARKS.search(text)
    bob.commit()
    bob.assert_up_to_date()
    bob.git("push", "--quiet", "--force")

    # One commit of a colleague, and back from it; a stash.
    bob.changes(("batch_size: 16", "batch_size: 32"))
    ada.git("fetch", "--quiet")
    said = ada.git("cherry-pick", "origin/cells")
    picked = ada.git("rev-parse", "HEAD").strip()
    ada.goes_on(said)
    ada.commit_if_changed()
    assert "batch_size: 32" in ada.project.read("params.yaml")
    ada.assert_up_to_date()
    ada.goes_on(ada.git("revert", "--no-edit", picked))
    ada.commit_if_changed()
    assert "batch_size: 16" in ada.project.read("params.yaml")
    ada.assert_up_to_date()
    ada.project.replace("params.yaml", "learning_rate: 0.002", "learning_rate: 0.0033")
    ada.repro()
    ada.git("stash")
    ada.merges("origin/cells")
    ada.repro()
    ada.commit_if_changed()
    ada.goes_on(ada.git("stash", "pop"))
    assert "learning_rate: 0.0033" in ada.project.read("params.yaml")
    ada.changes()
    ada.assert_up_to_date()

    # A colleague's branch.
    bob.git("fetch", "--quiet")
    bob.git("switch", "--quiet", "main")
    bob.git("pull", "--quiet")
    bob.assert_up_to_date()

    # Both change the same value, and packages.
    bob.project.run("uv", "add", "--quiet", "toolz")
    bob.changes(("epochs: 4", "epochs: 50"))
    ada.says("What belongs to whom", "uv add", NAME="tomli-w")
    ada.project.replace("params.yaml", "epochs: 4", "epochs: 6")
    ada.repro()
    ada.commit()
    said = ada.merges("origin/main")
    assert "CONFLICT (content): Merge conflict in params.yaml" in said and "in dvc.lock" not in said
    conflicts(ada, said)

    # Other names, and a stage less.
    bob.git("pull", "--quiet")
    bob.assert_up_to_date()
    bob.says("Add a notebook", "pipeline rename", OLD="train", NEW="fit")
    assert bob.changes() == []
    ada.changes(("test_size: 0.25", "test_size: 0.333"))
    said = bob.merges("origin/main")
    bob.goes_on(said)
    bob.commit_if_changed()
    bob.assert_up_to_date()
    bob.git("push", "--quiet")

    # An update of the template in both.
    ada.git("pull", "--quiet")
    Workspace(template, versions.environ).run("git", "tag", NEXT, f"{versions_commit(versions)}")
    for person in people:
        assert "Nothing is in conflict" in person.says("Update from the template", "copier update")
        person.project.run("uv", "sync", "--quiet")
        person.project.run("uv", "run", "pipeline", "check", "--fix", check=False)
        assert person.repro() == []
        person.commit()
    ada.git("push", "--quiet")
    said = bob.merges("origin/main")
    assert "CONFLICT" not in said and bob.goes_on(said) == []
    bob.commit_if_changed()
    bob.git("push", "--quiet")
    ada.git("pull", "--quiet")
    for person in people:
        person.assert_up_to_date()
    assert ada.git("rev-parse", "HEAD") == bob.git("rev-parse", "HEAD")
