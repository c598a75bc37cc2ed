"""`pipeline open`: a stage's notebook with the values and inputs of a run, in a real JupyterLab."""

import os
import re

import pytest
from editor_samples import lab
from samples import wait

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no signal there ends a server")

TRAIN = "notebooks/train.ipynb"
IMPORTS, PARAMETERS, LOAD = 1, 3, 4
"""Cells of the notebook."""


def command_of(output: str) -> str:
    """The command that the message after a failed run names."""
    return re.search(r"with the same values, (uv run pipeline open .*)", output)[1]


def test_after_a_failed_run(stages):
    stages.replace("params.yaml", "batch_size: 16", "batch_size: 0")
    failed = stages.run("dvc", "repro", check=False).stdout
    command = command_of(failed)
    assert command == "uv run pipeline open train"
    # In a clone, or after `dvc gc`, they are not there.
    for name in ("train", "test"):
        (stages.path / f"data/processed/{name}.csv").unlink()
    with lab(stages, command) as server:
        shown = server.run(TRAIN, IMPORTS, PARAMETERS, LOAD)
    assert shown == [[], ["params.yaml: batch_size = 0 (cell: 16)"], []]
    assert " M params.yaml" in stages.run("git", "status", "--porcelain").stdout


def test_an_experiment_is_opened_as_it_was(stages):
    """It failed in the queue, with another split of the data; the project stays as it is."""
    settings = ["-S", "train.batch_size=0", "-S", "data_load.test_size=0.3"]
    stages.run("dvc", "exp", "run", "--queue", "--name", "bad", *settings)
    stages.run("dvc", "queue", "start")
    wait(lambda: "Failed" in stages.run("dvc", "queue", "status").stdout)
    command = command_of(stages.run("dvc", "queue", "logs", "bad").stdout)
    assert command == "uv run pipeline open train --experiment bad"
    before = [stages.run("git", "status", "--porcelain").stdout, stages.read("data/processed/test.csv")]
    with lab(stages, command) as server:
        shown = server.run(TRAIN, IMPORTS, PARAMETERS, LOAD)
        assert shown == [[], ["params.yaml: batch_size = 0 (cell: 16)"], []]
        (folder,) = (stages.path / ".dvc/tmp/open").iterdir()
        # 342 birds, of which the experiment holds 30% out.
        assert len((folder / "data/processed/test.csv").read_text().splitlines()) == 1 + 103
        assert len(stages.read("data/processed/test.csv").splitlines()) == 1 + 69
    # Nothing was edited in it, though cells have run.
    assert not folder.exists()
    with lab(stages, command):
        notebook = folder / TRAIN
        notebook.write_text(notebook.read_text().replace("batch = order", "batch = order[::1]"))
    place = folder.relative_to(stages.path).as_posix()
    line = f"{place} has your changes of {TRAIN}: copy what you need. To remove it: git worktree remove --force {place}"
    assert (stages.path.parent / "jupyter.log").read_text().splitlines()[-1] == line
    with lab(stages, command):  # they are still there
        assert "[::1]" in notebook.read_text()
    stages.run(*line.partition("To remove it: ")[2].split())
    assert before == [stages.run("git", "status", "--porcelain").stdout, stages.read("data/processed/test.csv")]
    assert stages.run("git", "worktree", "list").stdout.count("\n") == 1


def test_a_successful_experiment_with_inputs_from_the_remote(stages, tmp_path):
    """Of another commit than the last one, in a clone that has nothing of it yet."""
    stages.run("dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"))
    stages.run("git", "commit", "--quiet", "--all", "--no-verify", "--message", "A remote")
    stages.run("dvc", "exp", "run", "--quiet", "--name", "long", "-S", "data_load.test_size=0.1")
    stages.run("dvc", "push", "--quiet")
    stages.run("git", "reset", "--quiet", "--hard")
    stages.run("git", "commit", "--quiet", "--allow-empty", "--no-verify", "--message", "One more")
    stages.run("dvc", "checkout", "--quiet", "--force")
    for kept in (stages.path / ".dvc/cache/files").rglob("*"):
        if kept.is_file():
            kept.unlink()
    with lab(stages, "uv run pipeline open data_load --experiment long") as server:
        shown = server.run("notebooks/data_load.ipynb", 1, 3)
    assert shown == [[], ["params.yaml: test_size = 0.1 (cell: 0.2)"]]


def test_what_cannot_be_opened_is_a_line(stages):
    for arguments, line in (
        (
            "nix",
            "dvc.yaml: no stage `nix` runs a notebook. Fix: name one of data_preprocess, data_load, train, evaluate",
        ),
        (
            "train --experiment nix",
            "nix: there is no such experiment. Fix: uv run dvc exp list --all-commits and uv run dvc queue status name them",
        ),
    ):
        done = stages.pipeline("open", *arguments.split(), check=False)
        assert (done.returncode, done.stdout) == (1, f"open: {line}\n")
    for kept in (stages.path / ".dvc/cache/files").rglob("*"):
        if kept.is_file():
            kept.unlink()
    (stages.path / "data/processed/test.csv").unlink()
    done = stages.pipeline("open", "evaluate", check=False)
    line = "data/processed/test.csv: an input of stage `evaluate`, which is neither here nor in DVC's cache"
    assert (done.returncode, done.stdout) == (1, f"open: {line}. Fix: uv run dvc repro evaluate\n")


def test_an_item_has_to_be_named(bare):
    bare.write("params.yaml", "items:\n  a: {lr: 1}\n  b: {lr: 2}\n")
    stage = "foreach: ${items}\n    do:\n      cmd: pipeline run notebooks/fit.ipynb outputs/${key}.ipynb\n"
    bare.write("dvc.yaml", f"stages:\n  fit:\n    {stage}")
    done = bare.pipeline("open", "fit", check=False)
    line = "open: dvc.yaml: stage `fit` has 2 items. Fix: name one of fit@a, fit@b\n"
    assert (done.returncode, done.stdout) == (1, line)
