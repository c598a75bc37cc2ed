"""After git has moved to another commit, data and results are those of that commit, or one line says what to type."""

import re
import shutil
from pathlib import Path

import pytest
from conftest import TEMPLATE, Workspace
from merge_samples import change, small  # noqa: F401
from samples import ran

NAME = "data and results of this commit"


@pytest.fixture(scope="module")
def clones(small, tmp_path_factory) -> Path:
    """A folder with a repository `origin.git`, a remote `store`, and the clones of two people. Not to be changed."""
    folder = tmp_path_factory.mktemp("team")
    ada, bob = (Workspace(folder / f"{name} penguins", small.environ) for name in ("ada", "Bob's"))
    shutil.copytree(small.path, ada.path, symlinks=True)
    # Hooks that check a commit are not what this is about.
    config = (TEMPLATE / "template" / ".pre-commit-config.yaml").read_text("utf-8")
    start, end = config.index("      - id: no-conflict-in-env"), config.index("      - id: dvc-pre-push")
    ada.write(".pre-commit-config.yaml", config[:start] + config[end:])
    ada.run("dvc", "remote", "add", "--quiet", "--default", "storage", "../store")
    ada.run("git", "add", "--all")
    ada.run("git", "commit", "--quiet", "--message", "a place for data")
    ada.run("git", "init", "--quiet", "--bare", "../origin.git")
    ada.run("git", "remote", "add", "origin", "../origin.git")
    ada.pipeline("setup")
    ada.run("git", "push", "--quiet", "--set-upstream", "origin", "main")
    ada.run("git", "clone", "--quiet", "../origin.git", str(bob.path))
    bob.run("git", "remote", "set-url", "origin", "../origin.git")  # of each copy of the folder
    bob.pipeline("setup")
    change(bob, "theirs", ("title: penguins", "title: birds"), ("gentoo: 2", "gentoo: 30"))
    bob.run("git", "push", "--quiet", "--set-upstream", "origin", "theirs")
    return folder


@pytest.fixture
def team(clones, small, tmp_path) -> tuple[Workspace, Workspace]:
    """Ada and Bob. Bob has pushed a branch; Ada's clone has none of its results."""
    shutil.copytree(clones, tmp_path / "team", symlinks=True)
    ada, bob = (Workspace(tmp_path / "team" / f"{name} penguins", dict(small.environ)) for name in ("ada", "Bob's"))
    ada.run("git", "fetch", "--quiet")
    return ada, bob


def assert_theirs(project: Workspace) -> None:
    assert project.read("outputs/report.txt") == "birds" and project.read("outputs/each-gentoo.txt") == "30"
    assert "up to date" in project.run("dvc", "status").stdout


def test_a_colleagues_branch(team):
    ada, _ = team
    said = ada.run("git", "switch", "theirs").stdout
    assert re.search(rf"{NAME}\.+Passed", said), said
    assert_theirs(ada)
    ada.run("git", "switch", "-")
    assert ada.read("outputs/report.txt") == "penguins" and "up to date" in ada.run("dvc", "status").stdout


def test_a_remote_that_is_out_of_reach(team):
    ada, _ = team
    store = ada.path.parent / "store"
    store.rename(store.with_name("away"))
    said = ada.run("git", "switch", "theirs", check=False).stdout
    assert (
        f"outputs/report.txt, outputs/each-gentoo.txt: the remote `storage` ({store}) is a folder that does not exist. Fix: "
        "connect its drive, or set its path here: uv run dvc remote modify --local storage url PATH, then uv run dvc pull"
    ) in said.splitlines()
    # What the cache has is here.
    assert ada.read("outputs/model.txt") and not (ada.path / "outputs/report.txt").exists()
    store.with_name("away").rename(store)
    ada.run("dvc", "pull", "--quiet")
    assert_theirs(ada)


def test_what_nobody_has_pushed(team):
    ada, bob = team
    change(bob, "theirs", ("epochs: 1", "epochs: 20"))
    bob.run("git", "push", "--quiet", "--no-verify")
    ada.run("git", "fetch", "--quiet")
    said = ada.run("git", "switch", "theirs", check=False).stdout
    store = ada.path.parent / "store"
    assert (
        f"the remote `storage` ({store}) lacks outputs/model.txt. Fix: in the checkout that has it, uv run dvc push; "
        "then here, uv run dvc pull"
    ) in said.splitlines()
    assert ada.read("outputs/report.txt") == "birds"


def test_without_a_remote(team):
    ada, _ = team
    ada.run("git", "switch", "--quiet", "theirs")
    ada.run("git", "switch", "--quiet", "main")
    ada.run("dvc", "remote", "remove", "--quiet", "storage")
    ada.run("git", "commit", "--quiet", "--all", "--message", "no place for data")
    ada.run("git", "branch", "empty", "theirs")
    ada.run("git", "rebase", "--quiet", "main", "empty")
    ada.run("git", "switch", "--quiet", "main")
    shutil.rmtree(ada.path / ".dvc/cache")
    shutil.rmtree(ada.path / "outputs")
    said = ada.run("git", "switch", "empty", check=False).stdout
    assert (
        "outputs/data.txt, outputs/model.txt, outputs/report.txt, ...: there is no DVC remote. Fix: `uv run dvc repro` makes "
        "results; for data see README.md, `Share the results`"
    ) in said.splitlines()
    ada.run("dvc", "repro", "--quiet")
    assert_theirs(ada)


def test_git_pull_brings_results(team):
    ada, bob = team
    change(bob, "main", ("epochs: 1", "epochs: 20"))
    bob.run("git", "push", "--quiet")
    # Fast forward, by a merge and by a rebase.
    ada.run("git", "pull", "--quiet")
    assert ada.read("outputs/model.txt") == "20 0.1 1" and "up to date" in ada.run("dvc", "status").stdout
    said = ada.run("git", "merge", "--no-edit", "origin/theirs").stdout
    assert "which runs nothing" in said
    assert_theirs(ada)


def test_the_end_of_a_rebase(team):
    ada, _ = team
    change(ada, "main", ("epochs: 1", "epochs: 20"))
    said = ada.run("git", "rebase", "origin/theirs").stdout
    assert said.count(NAME) == 2 and "Failed" not in said, said  # at the end it has done something
    assert_theirs(ada)
    assert ada.read("outputs/model.txt") == "20 0.1 1"


def test_a_merge_in_conflict_is_not_disturbed(team):
    ada, _ = team
    change(ada, "main", ("title: penguins", "title: seals"))
    assert "CONFLICT" in ada.run("git", "merge", "origin/theirs", check=False).stdout
    # Hooks of single files: they had nothing to say, and said `Unmerged files`.
    assert NAME not in (said := ada.run("git", "checkout", "--theirs", "params.yaml").stdout) and "Unmerged" not in said
    ada.run("git", "add", "params.yaml")
    ada.run("dvc", "pull", "--allow-missing")
    assert ran(ada.run("dvc", "repro").stdout) == ["report"]
    assert_theirs(ada)


def test_data_that_dvc_does_not_have_yet_stay(team):
    ada, _ = team
    ada.write("outputs/report.txt", "mine\n")
    said = ada.run("git", "switch", "theirs", check=False).stdout
    assert "Can't remove the following unsaved files" in said and ada.read("outputs/report.txt") == "mine\n"


def test_a_clone_from_before_the_drivers_gets_them(team):
    ada, _ = team
    for name in ("lock", "notebook", "result"):
        ada.run("git", "config", "--remove-section", f"merge.pipeline-{name}")
    ada.run("git", "switch", "--quiet", "theirs")
    assert "merge.lock" in ada.run("git", "config", "merge.pipeline-lock.driver").stdout
