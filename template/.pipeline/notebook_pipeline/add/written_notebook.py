"""The notebook as a file of the project: the cell that starts it in the root, and what the hooks would make of it."""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType

from notebook_pipeline import files
from notebook_pipeline.notebook.document import Notebook, id_of

START = """\
import os
from pathlib import Path

# Paths are written from the project's root; some editors start a notebook in its own folder.
if Path.cwd().name == "notebooks":
    os.chdir("..")
"""


MODULES = """\
# Modules beside the notebook are found from there, too.
sys.path.append("notebooks")
"""


RUNS = """\
# Ruff does not know the names that `%run` brings.
# ruff: noqa: F821
"""


COPIES = """\
# Inputs that it changes: it works on copies.
for source, target in %s.items():
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
"""


FOLDERS = """\
# Folders in which it writes: git keeps no empty ones.
for folder in %s:
    Path(folder).mkdir(parents=True, exist_ok=True)
"""


def start_in_root(
    notebook: Notebook,
    has_modules: bool,
    folders: Collection[str] = (),
    copies: Mapping[str, str] = MappingProxyType({}),
) -> Notebook:
    """The notebook with a cell below its title by which it runs in an editor, too, that starts it in its own folder.

    Args:
        folders: those that were there where the notebook was.
        copies: inputs that it changes, each with the place of the copy that it works on.
    """
    cells = notebook.document["cells"]
    # Any other change of folder is to be taken out: from then on only this cell starts it in the root.
    if any('if Path.cwd().name == "notebooks":' in cell.source for cell in notebook.cells):
        return notebook
    more = ["import os", *["import shutil"] * bool(copies), *["import sys"] * has_modules]
    source = START.replace("import os", "\n".join(more), 1) + (MODULES if has_modules else "")
    source += RUNS if any(re.search(r"^\s*%run\b", cell.source, re.MULTILINE) for cell in notebook.cells) else ""
    source += FOLDERS % json.dumps(sorted(folders)) if folders else ""
    source += COPIES % json.dumps(dict(copies)) if copies else ""
    cell = {"cell_type": "code", "id": "start-in-root", "metadata": {}, "source": source.rstrip("\n")}
    at = 1 if cells and cells[0].get("cell_type") == "markdown" else 0
    return Notebook(notebook.path, {**notebook.document, "cells": [*cells[:at], cell, *cells[at:]]})


def write_notebook(path: str, document: dict, is_copy: bool) -> None:
    """Writes the notebook without outputs, each cell with an id."""
    cells = []
    for number, cell in enumerate(document["cells"], 1):
        new = {**cell, "id": id_of(cell, number), "metadata": cell.get("metadata") or {}}
        new["source"] = (
            cell["source"]
            if isinstance(cell.get("source"), list)
            else str(cell.get("source", "")).splitlines(keepends=True)
        )
        if new["cell_type"] == "code":
            new |= {"outputs": [], "execution_count": None}
        cells.append(new)
    metadata = dict(document.get("metadata") or {})
    if is_copy:
        # The kernel's name is that of another environment; this project's is plain Python.
        metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    document = {
        **document,
        "cells": cells,
        "metadata": metadata,
        "nbformat": 4,
        "nbformat_minor": max(5, document.get("nbformat_minor") or 0),
    }
    # With sorted keys, as editors write it: `git diff` shows what has changed, and no more.
    files.edit(path, json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def tidy(path: str) -> None:
    """Leaves a notebook or a module as the project's hooks would: they must not change what a run was recorded with."""
    old = Path(path).read_bytes()
    if (new := tidied(path, old)) != old:
        files.edit(path, new.decode())


def tidied(path: str, content: bytes) -> bytes:
    """What the project's hooks would make of a file of this path (see .pre-commit-config.yaml)."""
    ruff = ["--quiet", "--force-exclude", "--stdin-filename", path, "-"]
    tools = [["ruff", "check", "--fix", *ruff], ["ruff", "format", *ruff]]
    if path.endswith(".ipynb"):
        tools.insert(0, ["nbstripout", "--keep-id", "--unix-newlines"])
    for tool in tools:
        # A project may have taken it out; what it cannot fix, the commit will say.
        if importlib.util.find_spec(tool[0]):
            content = (
                subprocess.run([sys.executable, "-m", *tool], input=content, capture_output=True).stdout or content
            )
    return content


def is_copy(file: Path, place: Path) -> bool:
    """Whether a module of the project is what a copy of the file would be."""
    return tidied(place.as_posix(), file.read_bytes()) == place.read_bytes()
