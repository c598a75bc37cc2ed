"""Notebooks that two people changed: nbdime's driver in an environment of its own, git's text merge without it."""

import json
import shutil
import subprocess
import sys

import pytest
from conftest import TEMPLATE, Workspace, notebook
from merge_samples import install_drivers

CELLS = ("LR: float = 0.1", "import math", "x = math.pi", "y = x * LR", "print(y)")


@pytest.fixture
def repository(made, tmp_path) -> Workspace:
    """A repository with a notebook, in a project that git merges with our drivers."""
    project = Workspace(tmp_path / "Müller penguins", made.environ)
    project.write("pyproject.toml", made.read("pyproject.toml"))
    project.write(".gitattributes", made.read(".gitattributes"))
    project.write("notebooks/fit.ipynb", notebook(*CELLS))
    project.run("git", "init", "--quiet")
    install_drivers(project)
    commit(project, "main")
    project.run("git", "branch", "theirs")
    return project


def commit(project: Workspace, branch: str, *cells: object) -> None:
    if cells:
        project.run("git", "switch", "--quiet", branch)
        project.write("notebooks/fit.ipynb", notebook(*cells))
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", branch)


def sources(project: Workspace) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(project.read("notebooks/fit.ipynb"))["cells"]]


def test_the_cells_of_both_live(repository):
    # In neighbouring cells, whose lines a text merge takes for one conflict, and in one cell.
    commit(repository, "theirs", "LR: float = 0.1", "import math", "x = math.pi\nz = 2", "y = x * LR + 1", "print(y)")
    commit(
        repository,
        "main",
        "LR: float = 0.2",
        "import math\nimport os",
        "x = math.pi",
        "y = x * LR",
        "print(y)",
        "print(x)",
    )
    said = repository.run("git", "merge", "theirs", "--no-edit").stdout
    assert sources(repository) == [
        "LR: float = 0.2", "import math\nimport os", "x = math.pi\nz = 2", "y = x * LR + 1", "print(y)", "print(x)",
    ]  # fmt: skip
    assert "nbmergeapp" not in said
    # As the hook writes a notebook: it changes nothing.
    repository.run("nbstripout", "--keep-id", "--unix-newlines", "notebooks/fit.ipynb")
    assert repository.run("git", "status", "--porcelain").stdout == ""


def test_what_both_changed_is_shown_in_its_cell(repository):
    new = {"theirs": {"source": "theirs = 1", "id": "a"}, "main": {"source": "ours = 1", "id": "b"}}
    commit(repository, "theirs", "LR: float = 0.5", *CELLS[1:], new["theirs"])
    commit(repository, "main", "LR: float = 0.25", *CELLS[1:], new["main"])
    said = repository.run("git", "merge", "theirs", check=False).stdout
    assert (
        "notebooks/fit.ipynb: both sides changed the same lines. Fix: open it, keep what is right between <<<<<<< and "
        ">>>>>>>, delete these marks, then git add notebooks/fit.ipynb"
    ) in said.splitlines()
    assert "CONFLICT (content)" in said and repository.run("git", "status", "--porcelain").stdout.startswith("UU")
    cells = sources(repository)
    assert cells[0] == "<<<<<<< local\nLR: float = 0.25\n=======\nLR: float = 0.5\n>>>>>>> remote"
    assert "theirs = 1" in cells and "ours = 1" in cells
    # A hook finds marks that were left, those in a cell and those that are cells.
    assert any("<<<<<<< local</b>" in cell for cell in cells)
    shutil.copyfile(TEMPLATE / "template" / ".pre-commit-config.yaml", repository.path / ".pre-commit-config.yaml")
    repository.run("git", "add", "--all")
    hook = ("pre-commit", "run", "no-conflict-in-notebooks", "--all-files")
    found = repository.run(*hook, check=False)
    assert (
        found.returncode == 1
        and [line.partition(":")[0] for line in found.stdout.splitlines()].count("notebooks/fit.ipynb") == 4
    )
    left = [cell for cell in cells if not cell.startswith("<span")]
    repository.write("notebooks/fit.ipynb", notebook("LR: float = 0.3", *left[1:]))
    repository.run("git", "add", "--all")
    repository.run(*hook)


def test_without_nbdime_git_merges_as_text(repository):
    repository.environ = repository.environ | {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(repository.path.parent / "empty")}
    commit(repository, "theirs", "LR: float = 0.5", *CELLS[1:])
    commit(repository, "main", *CELLS[:-1], "print(y, 1)")
    said = repository.run("git", "merge", "theirs", "--no-edit").stdout
    assert "notebooks/fit.ipynb: nbdime cannot be started, so git merges it as text" in said.splitlines()
    assert sources(repository) == ["LR: float = 0.5", *CELLS[1:-1], "print(y, 1)"]
    commit(repository, "theirs", "LR: float = 0.6", *CELLS[1:])
    commit(repository, "main", "LR: float = 0.7", *CELLS[1:])
    said = repository.run("git", "merge", "theirs", check=False).stdout
    assert "CONFLICT (content)" in said and "<<<<<<<" in repository.read("notebooks/fit.ipynb")
    # Later, with a network: README's line.
    del repository.environ["UV_OFFLINE"], repository.environ["UV_CACHE_DIR"]
    repository.run("git", "checkout", "--merge", "notebooks/fit.ipynb")
    assert sources(repository)[0].startswith("<<<<<<< local\nLR: float = 0.7")


def test_the_projects_environment_has_no_nbdime(repository):
    code = "import nbdime"
    assert repository.run("python", "-c", code, check=False).returncode
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode
