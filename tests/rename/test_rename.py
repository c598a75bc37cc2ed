"""`pipeline rename`: one command, and nothing reruns. Real projects, real DVC."""

import json
import re

import pytest
from conftest import Workspace, notebook
from samples import ran


def up_to_date(project: Workspace) -> bool:
    return "up to date" in project.run("dvc", "status").stdout and ran(project.run("dvc", "repro").stdout) == []


def test_all_that_bears_the_name(stages):
    before = stages.read("outputs/train.ipynb")
    said = stages.pipeline("rename", "train", "fit").stdout
    assert said.splitlines() == [
        "dvc.yaml: stage `train` is now `fit`",
        "dvc.yaml: stage `code` writes the code of fit, no longer of train",
        "params.yaml: section `train` is now `fit`",
        "notebooks/train.ipynb: is now notebooks/fit.ipynb",
        "outputs/train.ipynb: is now outputs/fit.ipynb",
        "outputs/code/train.py: is now outputs/code/fit.py",
    ]
    assert up_to_date(stages) and stages.read("outputs/fit.ipynb") == before
    assert not [*stages.path.glob("*/train.ipynb"), *stages.path.glob("outputs/code/train.py")]
    # Results that the code names stay, and so does all else that a person wrote.
    text = stages.read("dvc.yaml")
    assert "notebook: [data_preprocess, data_load, fit, evaluate]" in text and "outputs/train_history.csv" in text
    assert "# its history tells of the held-out data, too" in text and "train.ipynb" not in text
    assert '"# fit\\n"' in stages.read("notebooks/fit.ipynb")
    assert "-S fit.epochs=25" in stages.read("README.md") and "-S fit.epochs=25" in stages.read("params.yaml")
    assert "/fit.ipynb\n" in stages.read("outputs/.gitignore")
    assert stages.pipeline("check").stdout == ""
    # `git commit --all` takes in all of it: the hooks have nothing to say.
    stages.run("git", "commit", "--quiet", "--all", "--message", "fit")
    assert stages.run("git", "status", "--porcelain").stdout == "" and up_to_date(stages)
    # And back.
    stages.pipeline("rename", "notebooks/fit.ipynb", "notebooks/train.ipynb")
    stages.run("git", "add", "--all")
    assert stages.run("git", "diff", "--cached", "--name-only", "HEAD~1").stdout == "" and up_to_date(stages)


def test_a_notebook_whose_stage_has_another_name(project):
    assert project.pipeline("rename", "penguins", "birds").stdout.splitlines()[:2] == [
        "dvc.yaml: stage `code` writes the code of birds, no longer of penguins",
        "notebooks/penguins.ipynb: is now notebooks/birds.ipynb",
    ]
    assert "data/external/penguins.csv" in project.read("dvc.yaml") and "data/processed/penguins.csv" in project.read(
        "dvc.yaml"
    )
    assert up_to_date(project)
    assert (
        project.pipeline("rename", "run_notebook", "classify").stdout
        == "dvc.yaml: stage `run_notebook` is now `classify`\n"
    )
    assert up_to_date(project)


ISLANDS = """\
stages:
  code_island:
    cmd: pipeline code notebooks/island.ipynb outputs/code/island.py
    deps: [notebooks/island.ipynb]
    outs: [outputs/code/island.py]
  island:
    foreach: ${island}
    do:
      cmd: pipeline run notebooks/island.ipynb "outputs/island-${key}.ipynb"
      deps: [outputs/code/island.py]
      params: ["island.${key}"] # each its own
      outs: ["outputs/island-${key}.ipynb"]
"""


def test_a_stage_of_several_items(bare):
    bare.write("params.yaml", "island:\n  Biscoe: {size: 1}\n  Dream: {size: 2}\n")
    bare.write("dvc.yaml", ISLANDS)
    bare.write("notebooks/island.ipynb", notebook("SIZE: int = 1", "print(SIZE)"))
    bare.run("git", "init", "--quiet")
    bare.run("dvc", "init", "--quiet")
    bare.run("dvc", "repro", "--quiet")
    bare.pipeline("rename", "island", "isle")
    text = bare.read("dvc.yaml")
    assert "island" not in text and 'params: ["isle.${key}"] # each its own' in text and "foreach: ${isle}" in text
    assert (bare.path / "outputs/isle-Dream.ipynb").exists() and up_to_date(bare)
    assert sorted(re.findall(r"(?m)^  (\S+):$", bare.read("dvc.lock"))) == ["code_isle", "isle@Biscoe", "isle@Dream"]


def test_a_section_that_another_stage_uses_keeps_its_name(stages):
    stages.replace(
        "dvc.yaml",
        "    params:\n      - base.target\n    outs:\n      - outputs/confusion",
        "    params:\n      - base.target\n      - train.epochs\n    outs:\n      - outputs/confusion",
    )
    stages.pipeline("rename", "train", "fit")
    assert "\ntrain:\n" in stages.read("params.yaml") and "- train.epochs" in stages.read("dvc.yaml")


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (("nothing", "fit"), "dvc.yaml: there is no stage or notebook `nothing`. Fix: name one of data_preprocess, data_load, train, evaluate"),
        (("train", "evaluate"), "evaluate: stage `evaluate` already exists. Fix: choose another name"),
        (("train", "base"), "base: section `base` of params.yaml already exists. Fix: choose another name"),
        (("train", "a b"), "a b: cannot be the name of a stage. Fix: use letters, digits, _ and -"),
        (("train", "null"), "null: cannot be the name of a stage. Fix: use letters, digits, _ and -"),
        (("train", "x@y"), "x@y: cannot be the name of a stage. Fix: use letters, digits, _ and -"),
    ],
)  # fmt: skip
def test_what_cannot_be_renamed_changes_nothing(staged, names, line):
    done = staged.pipeline("rename", *names, check=False)
    assert (done.returncode, done.stdout) == (1, f"{line}\n")
    assert staged.run("git", "status", "--porcelain").stdout == ""
    staged.pipeline("rename", "train", "fit", "--dry-run")
    assert staged.run("git", "status", "--porcelain").stdout == ""


def test_a_failure_leaves_all_as_it_was(stages):
    (stages.path / "outputs/code").chmod(0o500)
    before = {path: path.read_bytes() for path in stages.path.glob("*.*") if path.is_file()}
    code = (
        "import os; from notebook_pipeline.rename import command; real = os.replace\n"
        "def fail(source, target):\n"
        "    if str(target).endswith('fit.py'): raise OSError(28, 'No space left on device', target)\n"
        "    return real(source, target)\n"
        "os.replace = fail; command.main(['train', 'fit'])"
    )
    assert "No space left" in stages.run("python", "-c", code, check=False).stdout
    (stages.path / "outputs/code").chmod(0o700)
    assert before == {path: path.read_bytes() for path in stages.path.glob("*.*") if path.is_file()}
    assert stages.run("git", "status", "--porcelain").stdout == "" and json.loads(stages.read("notebooks/train.ipynb"))
