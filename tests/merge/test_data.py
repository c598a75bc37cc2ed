"""A folder of data to which two people add files. Real git, real DVC, a remote in a folder."""

import pytest
from conftest import Workspace
from merge_samples import PYPROJECT, install_drivers

PATH = "data/external.dvc"


@pytest.fixture
def two(made, tmp_path) -> tuple[Workspace, Workspace]:
    """Two clones, each with the data."""
    environ = made.environ | {"UV_NO_SYNC": "1"}
    ada, bob = (Workspace(tmp_path / name, environ) for name in ("Ada's data", "bob"))
    ada.write("pyproject.toml", PYPROJECT)
    ada.write(".gitattributes", made.read(".gitattributes"))
    ada.write("data/external/a.csv", "1\n")
    ada.run("git", "init", "--quiet")
    ada.run("dvc", "init", "--quiet")
    ada.run("dvc", "remote", "add", "--quiet", "--default", "storage", str(tmp_path / "store"))
    keep(ada)
    ada.run("git", "clone", "--quiet", ".", str(bob.path))
    bob.run("dvc", "pull", "--quiet")
    install_drivers(ada)
    return ada, bob


def keep(project: Workspace, **texts: str) -> None:
    for name, text in texts.items():
        project.write(f"data/external/{name}.csv", text)
    project.run("dvc", "add", "--quiet", "data/external")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", f"{[*texts]}")
    project.run("dvc", "push", "--quiet")


def test_files_of_both_are_there(two):
    ada, bob = two
    keep(bob, b="22\n")
    keep(ada, c="333\n")
    ada.run("git", "fetch", "--quiet", str(bob.path), "main")
    said = ada.run("git", "merge", "--no-edit", "FETCH_HEAD").stdout
    assert f"{PATH}: merged file by file. Next: `uv run dvc pull --allow-missing`" in said.splitlines()
    ada.run("dvc", "pull", "--allow-missing")
    assert sorted(path.read_text() for path in (ada.path / "data/external").iterdir()) == ["1\n", "22\n", "333\n"]
    assert "up to date" in ada.run("dvc", "status").stdout


def test_a_file_that_both_changed_is_a_conflict(two):
    ada, bob = two
    keep(bob, a="22\n")
    keep(ada, a="333\n")
    ada.run("git", "fetch", "--quiet", str(bob.path), "main")
    said = ada.run("git", "merge", "--no-edit", "FETCH_HEAD", check=False).stdout
    assert f"CONFLICT (content): Merge conflict in {PATH}" in said and "<<<<<<< ours" in ada.read(PATH)
    assert "Traceback" not in said
    # README.md's row.
    ada.run("git", "checkout", "--theirs", PATH)
    ada.run("dvc", "pull", "--quiet", PATH)
    assert ada.read("data/external/a.csv") == "22\n"
