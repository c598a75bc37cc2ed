"""What the tests of `update` share."""

import functools
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import copier
import pytest
from conftest import TEMPLATE, Workspace, notebook
from ruamel.yaml import YAML

RELEASES = tomllib.loads((TEMPLATE / "tests" / "releases.toml").read_text("utf-8"))
STARTS = [*YAML(typ="safe").load(TEMPLATE / "copier.yml")["start"]["choices"].values()]
each_release = pytest.mark.parametrize("version", RELEASES)

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


# The notebook of a project that starts with one.
FIT = notebook("DEPTH = 3", "import json\nprint(DEPTH)")


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


@pytest.fixture(scope="session")
def rendered(versions, tmp_path_factory):
    """Makes a project with a version of the template, not set up, in git, once; skips what that version does not know."""

    @functools.cache
    def rendered(version: str, start: str) -> Path:
        known = versions.run("git", "show", f"{version}:copier.yml", check=False)
        if known.returncode != 0:
            pytest.skip(f"{version} is not in this clone's history: git fetch --unshallow")
        if start not in YAML(typ="safe").load(known.stdout)["start"]["choices"].values():
            pytest.skip(f"{version} does not know start={start}")
        folder = tmp_path_factory.mktemp("rendered")
        data = {"start": start, "setup": False}
        if start == "notebook":
            data["notebook"] = str(folder / "fit.ipynb")
            (folder / "fit.ipynb").write_text(FIT)
        path = folder / "penguins"
        copier.run_copy(
            str(versions.path), path, vcs_ref=version, data=data, defaults=True, unsafe=True, quiet=True
        )  # fmt: skip
        Project(path, versions.environ).commit()
        (folder / "fit.ipynb").unlink(missing_ok=True)  # the next update may come from another machine
        return path

    return rendered


@pytest.fixture
def copy(versions, rendered, tmp_path):
    """Makes a copy of such a project, to work in."""

    def copy(version: str, start: str = STARTS[0], place: str = "mine") -> Project:
        path = tmp_path / place / "penguins"
        shutil.copytree(rendered(version, start), path, symlinks=True)
        return Project(path, {**versions.environ})

    return copy


@pytest.fixture(scope="session")
def updated_once(versions, rendered, tmp_path_factory):
    """Updates such a project to this checkout, once."""

    @functools.cache
    def updated_once(version: str, start: str) -> Path:
        project = Project(tmp_path_factory.mktemp("updated") / "penguins", versions.environ)
        shutil.copytree(rendered(version, start), project.path, symlinks=True)
        project.update(NOW)
        return project.path

    return updated_once


@pytest.fixture
def updated(versions, updated_once, tmp_path):
    """Makes a copy of a project that was updated, to work in."""

    def updated(version: str, start: str = STARTS[0]) -> Project:
        path = tmp_path / "updated" / "penguins"
        shutil.copytree(updated_once(version, start), path, symlinks=True)
        return Project(path, {**versions.environ})

    return updated
