"""A pipeline of small commands, in a repository whose git has the merge drivers."""

import shutil

import pytest
from conftest import TEMPLATE, Workspace

PARAMS = """\
load:
  size: 1

# a line between what two people change
train:
  epochs: 1
  # and here
  rate: 0.1

# and here
report:
  title: penguins

# and here
items:
  adelie: 1
  # and here
  gentoo: 2
"""
STAGES = """\
stages:
  load:
    cmd: python step.py data.txt ${load.size}
    params: [load]
    outs: [outputs/data.txt]

  train:
    cmd: python step.py model.txt ${train.epochs} ${train.rate} outputs/data.txt
    deps: [outputs/data.txt]
    params: [train]
    outs: [outputs/model.txt]
    metrics:
      - outputs/metrics.yaml: {cache: false}

  report:
    cmd: python step.py report.txt ${report.title}
    params: [report]
    outs: [outputs/report.txt]

  each:
    foreach: ${items}
    do:
      cmd: python step.py each-${key}.txt ${item}
      params: ["items.${key}"]
      outs: ["outputs/each-${key}.txt"]
"""
STEP = """\
import pathlib
import sys

name, *words = sys.argv[1:]
text = " ".join(pathlib.Path(word).read_text() if "/" in word else word for word in words)
pathlib.Path("outputs").mkdir(exist_ok=True)
pathlib.Path("outputs", name).write_text(text)
if name == "model.txt":
    pathlib.Path("outputs/metrics.yaml").write_text(f"score: {text}\\n")
"""
PYPROJECT = '[project]\nname = "small"\nversion = "0"\nrequires-python = ">=3.11"\n'


def make_pipeline(project: Workspace, config: Workspace) -> None:
    """Writes a project, runs it and commits it; `config` is the folder of a made project."""
    for name in (".gitattributes", ".gitignore", ".dvc/config", ".dvc/.gitignore"):
        (project.path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(config.path / name, project.path / name)
    shutil.copytree(
        TEMPLATE / "template" / ".pipeline", project.path / ".pipeline", ignore=shutil.ignore_patterns("__pycache__")
    )
    texts = {"params.yaml": PARAMS, "dvc.yaml": STAGES, "step.py": STEP, "pyproject.toml": PYPROJECT}
    for name, text in texts.items():
        project.write(name, text)


def install_drivers(project: Workspace) -> None:
    """As `pipeline setup` does."""
    project.run("python", "-m", "notebook_pipeline.merge.drivers")


def change(project: Workspace, branch: str, *changes: tuple[str, str], file: str = "params.yaml") -> None:
    """Makes a commit on a branch, with what a run makes of the changes.

    A change is to change the file's size, too: within a second, git would not see it.
    """
    if branch not in project.run("git", "branch", "--format=%(refname:short)").stdout.split():
        project.run("git", "switch", "--quiet", "--create", branch)
    switch(project, branch)
    for old, new in changes:
        project.replace(file, old, new)
    project.run("dvc", "repro", "--quiet")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", f"{branch}: {changes}")


def switch(project: Workspace, branch: str) -> None:
    if project.run("git", "branch", "--show-current").stdout.strip() == branch:
        return
    project.run("git", "switch", "--quiet", branch)
    project.run("dvc", "checkout", "--quiet", "--allow-missing")


@pytest.fixture(scope="module")
def small(made, tmp_path_factory) -> Workspace:
    """The pipeline, run and committed. Not to be changed."""
    # The environment is that of the made project.
    project = Workspace(tmp_path_factory.mktemp("small") / "Müller penguins", made.environ | {"UV_NO_SYNC": "1"})
    project.path.mkdir()
    make_pipeline(project, made)
    project.run("git", "init", "--quiet")
    install_drivers(project)
    project.run("dvc", "repro", "--quiet")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", "start")
    return project


@pytest.fixture
def pipeline(small, tmp_path) -> Workspace:
    """A copy of it, to work in."""
    path = tmp_path / small.path.name
    shutil.copytree(small.path, path, symlinks=True)
    return Workspace(path, small.environ)
