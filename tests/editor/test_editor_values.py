"""In an editor, too, a stage's notebook has the values of params.yaml: real kernels, as each editor starts them."""

import json
import os
import shutil

import pytest
from conftest import Workspace, notebook
from editor_samples import as_vscode, in_kernel, lab
from samples import PARAMS, STAGE, ready

NOTEBOOK = "notebooks/fit.ipynb"
CELL, SHOW = "LR: float = 0.1\nSTEPS = 3", "print(LR, STEPS)"
DIFFERENT = "params.yaml: lr = 0.5 (cell: 0.1), steps = 7 (cell: 3)"

ITEMS = """\
stages:
  fit:
    foreach: [a, b]
    do:
      cmd: pipeline run notebooks/fit.ipynb outputs/fit-${item}.ipynb
      params: ["v${item}"]
      outs: ["outputs/fit-${item}.ipynb"]
"""


@pytest.mark.skipif(os.name == "nt", reason="no signal there ends a server")
@pytest.mark.parametrize("command", ["uv run pipeline lab", "uv run --with jupyterlab jupyter lab"])
def test_in_jupyterlab(project, command):
    """Also in a layer that uv lays over the environment; the cell is known by its id, whatever a person has typed in it."""
    project.replace("params.yaml", "learning_rate: 0.002", "learning_rate: 0.004")
    with lab(project, command) as server:
        shown = server.run("notebooks/penguins.ipynb", 1, 3, 5)
        assert shown[:2] == [[], ["params.yaml: learning_rate = 0.004 (cell: 0.002)"]]
        assert "penguins are complete" in shown[2][0]
        typed = 'SEED = 1\nprint("typed", end="")'
        line = server.run("notebooks/penguins.ipynb", 3, source=typed)[0][-1]
        assert line.startswith("params.yaml:") and "the parameters cell (cell 4) of notebooks/penguins.ipynb" in line
        # A cell that assigns the same names is another one.
        cell = server.ask("contents/notebooks/penguins.ipynb")["content"]["cells"][3]["source"]
        assert server.run("notebooks/penguins.ipynb", 5, source=cell) == [[]]


def test_in_visual_studio_code(bare):
    ready(bare, SHOW)
    assert as_vscode(bare, NOTEBOOK, CELL, SHOW) == [[DIFFERENT], ["0.5 7"]]
    # What a person has changed in the cell and not saved; and what is equal is not said.
    shown = as_vscode(bare, NOTEBOOK, "# more\nLR: float = 0.5\nSTEPS = 3.5 + 3.5", SHOW, "print(type(STEPS))")
    assert shown == [["params.yaml: steps = 7 (cell: 7.0)"], ["0.5 7"], ["<class 'int'>"]]
    assert as_vscode(bare, NOTEBOOK, "LR: float = 0.5\nSTEPS = 7", SHOW) == [[], ["0.5 7"]]
    # Other cells and other notebooks stay as they are.
    assert as_vscode(bare, NOTEBOOK, "LR = 1", "STEPS = 1", SHOW) == [[], [], ["1 1"]]
    bare.write("notebooks/scratch.ipynb", bare.read(NOTEBOOK))
    assert as_vscode(bare, "notebooks/scratch.ipynb", CELL, SHOW) == [[], ["0.1 3"]]


def test_a_value_is_the_runs_own_each_time(bare):
    """A list that a cell changes is new when the parameters cell runs again; params.yaml is read again."""
    bare.write("params.yaml", "train:\n  sizes: [8, 4]\n")
    bare.write("dvc.yaml", STAGE)
    cell = "SIZES = [1]"
    bare.write(NOTEBOOK, notebook(cell))
    write = "open('params.yaml', 'w').write('train:\\n  sizes: [2]\\n');"
    shown = as_vscode(bare, NOTEBOOK, cell, "SIZES.append(0); SIZES", cell, write, cell, "SIZES")
    line = "params.yaml: sizes = [8, 4] (cell: [1])"
    assert shown == [[line], ["[8, 4, 0]"], [line], [], [line.replace("[8, 4]", "[2]")], ["[2]"]]


def test_by_jupyter_execute(bare, tmp_path):
    """Called in another folder, and for several notebooks."""
    ready(bare, SHOW)
    bare.write("dvc.yaml", STAGE + STAGE.partition("\n")[2].replace("fit", "other").replace("train", "more"))
    bare.write("params.yaml", f"{PARAMS}more:\n  lr: 0.25\n  steps: 9\n")
    bare.write("notebooks/other.ipynb", bare.read(NOTEBOOK).replace("LR: float = 0.1", "LR = 0.2"))
    elsewhere = Workspace(tmp_path / "else where", bare.environ)
    elsewhere.path.mkdir()
    # The suffix may be left out.
    execute = ["jupyter", "execute", "--output=run-{notebook_name}"]
    execute += [str(bare.path / "notebooks" / name) for name in ("fit", "other.ipynb")]
    elsewhere.run(*execute)
    assert executed(bare, "notebooks/run-fit.ipynb") == [DIFFERENT, "0.5 7\n"]
    assert executed(bare, "notebooks/run-other.ipynb")[-1] == "0.25 9\n"
    # Nobody can tell which of two it is that have one cell.
    bare.write("notebooks/other.ipynb", bare.read(NOTEBOOK))
    elsewhere.run(*execute)
    line = (
        "fit.ipynb, other.ipynb: have the same parameters cell, which keeps its own values. Fix: execute one at a time"
    )
    assert executed(bare, "notebooks/run-fit.ipynb") == [line, "0.1 3\n"]
    bare.run("jupyter", "execute", "--output=run-other", "notebooks/other")
    assert executed(bare, "notebooks/run-other.ipynb")[-1] == "0.25 9\n"


def executed(project: Workspace, path: str) -> list[str]:
    """What the cells of an executed notebook show."""
    outputs = [output for cell in json.loads(project.read(path))["cells"] for output in cell.get("outputs", [])]
    return ["".join(output.get("text") or output["data"]["text/plain"]) for output in outputs]


def test_never_in_papermill(bare):
    """Neither by its command or its function, in a cell of an editor's kernel, nor in `pipeline run`."""
    ready(bare, SHOW)
    bare.run("papermill", NOTEBOOK, "by-command.ipynb", "-p", "LR", "9")
    call = (
        f"import papermill; papermill.execute_notebook({NOTEBOOK!r}, 'by-call.ipynb', dict(LR=9), progress_bar=False);"
    )
    session = {"JPY_SESSION_NAME": str(bare.path / NOTEBOOK)}
    shown = in_kernel(bare, start={"cwd": str(bare.path), "env": session}, cells=[CELL, call])
    assert shown[0] == [DIFFERENT]
    bare.pipeline("run", NOTEBOOK, "outputs/fit.ipynb")
    assert executed(bare, "by-command.ipynb") == executed(bare, "by-call.ipynb") == ["9 3\n"]
    assert executed(bare, "outputs/fit.ipynb") == ["0.5 7\n"]


def test_never_outside_a_project(bare, tmp_path):
    ready(bare, SHOW)
    for place in ("..", "../deep/er"):
        bare.write(f"{place}/fit.ipynb", bare.read(NOTEBOOK))
    outside = Workspace(tmp_path.parent, bare.environ)
    for path in (outside.path / "fit.ipynb", outside.path / "deep" / "er" / "fit.ipynb", "Untitled-1.ipynb"):
        assert as_vscode(bare, path, CELL, SHOW) == [[], ["0.1 3"]]
    for session in ({}, {"JPY_SESSION_NAME": "no such.ipynb"}):
        assert in_kernel(bare, start={"cwd": str(bare.path), "env": session}, cells=[CELL, SHOW]) == [[], ["0.1 3"]]


BROKEN = {
    "a key is missing": (
        ("params.yaml", "train:\n  lr: 0.5\n"),
        "params.yaml: lr = 0.5 (cell: 0.1); params.yaml: lacks `steps`, which the cell assigns. Fix: uv run pipeline check --fix",
        "0.5 3",
    ),
    "a value is a text": (
        ("params.yaml", "train:\n  lr: high\n  steps: 7\n"),
        "params.yaml:2: `train.lr` is 'high' (str), but notebooks/fit.ipynb: cell 1, line 1 says `LR: float`. "
        "Fix: change one of them",
        "0.1 3",
    ),
    "params.yaml has a conflict": (
        ("params.yaml", "<<<<<<< ours\ntrain: 1\n"),
        "params.yaml:1: holds a merge conflict. Fix: keep one side of it and delete the marker lines",
        "0.1 3",
    ),
    "there is no params.yaml": (
        ("params.yaml", None),
        "params.yaml: does not exist here. Fix: run the command in the project's root",
        "0.1 3",
    ),
    "the notebook is half written": ((NOTEBOOK, "{"), None, "0.1 3"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_never_a_reason_for_a_cell_to_fail(bare, case):
    (name, text), line, values = BROKEN[case]
    ready(bare, SHOW)
    if text is None:
        (bare.path / name).unlink()
    else:
        bare.write(name, text)
    assert as_vscode(bare, NOTEBOOK, CELL, SHOW) == [[line] if line else [], [values]]


def test_what_nobody_thought_of_is_a_line(bare):
    ready(bare, SHOW)
    spoil = "import notebook_pipeline.editor.values as values\ndef spoilt(*_): raise LookupError('no idea')\nvalues.give = spoilt"
    line = "params.yaml: its values cannot be given here (LookupError: no idea). Fix: uv run dvc repro"
    assert as_vscode(bare, NOTEBOOK, spoil, CELL, SHOW) == [[], [line], ["0.1 3"]]
    # A cell that fails gets nothing.
    assert as_vscode(bare, NOTEBOOK, f"{CELL}\n1 / 0", SHOW) == [["ZeroDivisionError: division by zero"], ["0.1 3"]]


def test_it_can_be_turned_off(bare):
    ready(bare, SHOW)
    assert as_vscode(bare, NOTEBOOK, CELL, SHOW, PIPELINE_INTERACTIVE="0") == [[], ["0.1 3"]]
    shown = as_vscode(bare, NOTEBOOK, "%env PIPELINE_INTERACTIVE=0", CELL, SHOW, "%env PIPELINE_INTERACTIVE=1", CELL)
    assert shown[1:3] == [[], ["0.1 3"]] and shown[4] == [DIFFERENT]


def test_one_of_several_items_is_chosen(bare):
    ready(bare, SHOW)
    bare.write("dvc.yaml", ITEMS)
    bare.write("params.yaml", "va:\n  lr: 1.0\n  steps: 3\nvb:\n  lr: 2.0\n  steps: 3\n")
    line = (
        "dvc.yaml: 2 stages run this notebook (fit@a, fit@b), so the cell keeps its own values. "
        "Fix: choose one in a cell above, as in `%env PIPELINE_STAGE=fit@a`"
    )
    chosen = ["params.yaml: lr = 2.0 (cell: 0.1)"]
    assert as_vscode(bare, NOTEBOOK, CELL, SHOW, PIPELINE_STAGE="fit@b") == [chosen, ["2.0 3"]]
    shown = as_vscode(bare, NOTEBOOK, CELL, SHOW, "%env PIPELINE_STAGE=fit@b", CELL, SHOW, PIPELINE_STAGE="train")
    assert shown[:2] == [[line], ["0.1 3"]] and shown[3:] == [chosen, ["2.0 3"]]


def test_a_notebook_sees_nothing_of_it(bare):
    """Neither among the arguments nor among the names."""
    ready(bare)
    shown = as_vscode(bare, NOTEBOOK, "import sys\n[a for a in sys.argv if 'pipeline' in a]", "%who_ls")
    off = as_vscode(
        bare, NOTEBOOK, "import sys\n[a for a in sys.argv if 'pipeline' in a]", "%who_ls", PIPELINE_INTERACTIVE="0"
    )
    assert shown == off and shown[0] == ["[]"]


def test_it_survives_a_new_environment_and_a_move(project, tmp_path):
    """`uv sync`, a `.venv` that is made anew, and the project in another place, there even before uv has seen it."""
    environ = {name: value for name, value in project.environ.items() if name != "UV_PROJECT_ENVIRONMENT"}
    project = Workspace(project.path, environ | {"PATH": environ["PATH"].partition(os.pathsep)[2]})
    project.replace("params.yaml", "epochs: 15", "epochs: 5")
    cells = json.loads(project.read("notebooks/penguins.ipynb"))["cells"]
    cell = "".join(next(cell["source"] for cell in cells if "tags" in cell["metadata"]))

    def shown() -> list[list[str]]:
        python = project.path / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        return as_vscode(project, "notebooks/penguins.ipynb", cell, python=str(python))

    project.run("uv", "sync", "--quiet")
    assert shown() == [["params.yaml: epochs = 5 (cell: 15)"]]
    shutil.rmtree(project.path / ".venv")
    project.run("uv", "sync", "--quiet")
    project.run("uv", "sync", "--quiet")
    assert shown() == [["params.yaml: epochs = 5 (cell: 15)"]]
    project.path = project.path.rename(tmp_path / "elsewhere")
    assert shown() == [["params.yaml: epochs = 5 (cell: 15)"]]
    project.run("uv", "sync", "--quiet")
    assert shown() == [["params.yaml: epochs = 5 (cell: 15)"]]
    convert = "jupyter nbconvert --execute --to notebook --output run notebooks/penguins.ipynb"
    project.run("uv", "run", "--with", "nbconvert", *convert.split())
    assert executed(project, "notebooks/run.ipynb")[0] == "params.yaml: epochs = 5 (cell: 15)"
