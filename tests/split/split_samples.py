"""What the tests of `split` share."""

import json
import shutil

import pytest
from conftest import Workspace, notebook
from ruamel.yaml import YAML

PIPELINE = """\
stages:
  code:
    matrix:
      notebook: [work]
    cmd: pipeline code notebooks/${item.notebook}.ipynb outputs/code/${item.notebook}.py
    deps:
      - notebooks/${item.notebook}.ipynb
    outs:
      - outputs/code/${item.notebook}.py

  # The whole.
  work:
    cmd: pipeline run notebooks/work.ipynb outputs/work.ipynb
    deps:
      - outputs/code/work.py
    params:
      - work
    outs:
      - outputs/work.ipynb
"""


def parts(*cells: str) -> list[dict | str]:
    """Cells of a notebook; what begins with `#` and a space after `md:` is markdown: `md:## Train`."""
    return [{"cell_type": "markdown", "source": each[3:]} if each.startswith("md:") else each for each in cells]


@pytest.fixture
def whole(made, tmp_path):
    """Makes a project of one notebook, staged for git: the parameters, the other cells, what it writes."""

    def make(parameters: dict, *cells: str, outs: list[str] = (), folder: str = "wörk dir") -> Workspace:
        workspace = Workspace(tmp_path / folder, made.environ)
        workspace.path.mkdir()
        shutil.copytree(made.path / ".dvc", workspace.path / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
        first = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
        workspace.write("notebooks/work.ipynb", notebook(first, *parts(*cells)))
        with (workspace.path / "params.yaml").open("w", encoding="utf-8") as file:
            YAML().dump({"work": parameters or {}}, file)
        text = PIPELINE + "".join(f"      - {each}\n" for each in outs)
        workspace.write("dvc.yaml", text if parameters else text.replace("    params:\n      - work\n", ""))
        workspace.run("git", "init", "-q")
        workspace.run("git", "add", "-A")
        return workspace

    return make


def split(workspace: Workspace, *options: str) -> str:
    """Splits the notebook, and returns what that said."""
    return workspace.pipeline("split", "notebooks/work.ipynb", *options).stdout


def refused(workspace: Workspace, *options: str) -> str:
    """Returns why a notebook was not split; nothing may have changed."""
    before = contents(workspace)
    done = workspace.pipeline("split", "notebooks/work.ipynb", *options, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stdout, done.stdout
    assert contents(workspace) == before
    return done.stdout


def contents(workspace: Workspace) -> dict[str, tuple[bytes, int]]:
    """Each file with its bytes and its time, but git's and DVC's own."""
    return {
        path.relative_to(workspace.path).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in workspace.path.rglob("*")
        if path.is_file() and not {".git", "tmp", "cache", "__pycache__"} & {*path.relative_to(workspace.path).parts}
    }


def shown(workspace: Workspace, name: str) -> list[str]:
    """What the cells of an executed notebook printed or showed, as text."""
    cells = json.loads(workspace.read(f"outputs/{name}.ipynb"))["cells"]
    outputs = [each for cell in cells for each in cell.get("outputs", [])]
    return ["".join(each.get("text") or each.get("data", {}).get("text/plain", "")) for each in outputs]


def sources(workspace: Workspace, name: str) -> dict[str, str]:
    """The code cells of a stage's notebook, by id."""
    cells = json.loads(workspace.read(f"notebooks/{name}.ipynb"))["cells"]
    return {cell["id"]: "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"}


def stages(workspace: Workspace) -> dict[str, dict]:
    return YAML(typ="safe").load(workspace.read("dvc.yaml"))["stages"]
