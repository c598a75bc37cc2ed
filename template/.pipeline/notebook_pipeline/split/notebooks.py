"""The notebooks of the stages: what each repeats, loads, keeps of its own and hands over."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator

from notebook_pipeline import files
from notebook_pipeline.notebook.document import PARAMETERS_TAG, Cell, Notebook, id_of, key_of
from notebook_pipeline.split.plan import File, Part
from notebook_pipeline.split.statements import Statement


def composed(notebook: Notebook, part: Part, path: str) -> Notebook:
    """Make the notebook of a stage: its headings, what it repeats, its parameters, what it loads, its cells, what it hands over."""
    own = [cell for cell in part.section.cells if cell is not notebook.parameters_cell]
    # The first stage repeats nothing but parameters, which stay where they are.
    is_above = [cell.type != "code" if part.number else _is_above_parameters(notebook, cell) for cell in own]
    at = is_above.index(False) if False in is_above else len(own)
    head, body = ([each for cell in cells for each in _kept(notebook, cell, part)] for cells in (own[:at], own[at:]))
    cells = [
        *head,
        *_repeated(notebook, part),
        *_code("load", _load_text(part)),
        *body,
        *_code("hand-over", _hand_over_text(part)),
    ]
    return Notebook(path, {**notebook.document, "cells": cells})


def repeated_alone(notebook: Notebook, part: Part) -> Notebook:
    """Make a notebook of what a stage repeats, and of all imports that it has."""
    imports = [ast.unparse(each.node) for each in part.kept if isinstance(each.node, ast.Import | ast.ImportFrom)]
    imports = [each for each in imports if "__future__" not in each]
    imports += [f"import {module}" for module in sorted(part.modules)]
    # One may need the state that is to be handed over: a folder of modules.
    imports = [f"try:\n    {each}\nexcept ImportError:\n    pass" for each in imports]
    cells = [*_repeated(notebook, part), *_code("imports", "\n".join(imports))]
    return Notebook(notebook.path, {**notebook.document, "cells": cells})


def _is_above_parameters(notebook: Notebook, cell: Cell) -> bool:
    return notebook.parameters_cell is not None and cell.number < notebook.parameters_cell.number


def _repeated(notebook: Notebook, part: Part) -> Iterator[dict]:
    """Yield the cells of what a stage repeats: above its parameters what is above them in the whole, and below them the rest."""
    others = [(each, names) for each, names in part.repeated if each.kind != "parameter"]
    above = [each.narrowed(names) for each, names in others if _is_above_parameters(notebook, each.cell)]
    below = [each.narrowed(names) for each, names in others if not _is_above_parameters(notebook, each.cell)]
    yield from _code("repeated", "\n".join(above))
    cell = notebook.parameters_cell
    text = _parameters_text(notebook, [each for each, _ in part.repeated if each.kind == "parameter"])
    yield {
        "cell_type": "code",
        "id": PARAMETERS_TAG,
        **(_raw(notebook, cell) if cell else {}),
        "source": text,
        "metadata": {"tags": [PARAMETERS_TAG]},
    }
    yield from _code("repeated-below", "\n".join(below))


def _kept(notebook: Notebook, cell: Cell, part: Part) -> Iterator[dict]:
    """Yield a cell of the section; of one of imports and the like, only what the stage needs."""
    every = [each for each in part.statements if each.cell == cell]
    kept = [each.source for each in every if each in part.kept]
    if kept or not every:
        yield _raw(notebook, cell) | ({"source": "\n".join(kept)} if len(kept) < len(every) else {})


def _raw(notebook: Notebook, cell: Cell) -> dict:
    raw = notebook.document["cells"][cell.number - 1]
    return {**raw, "id": id_of(raw, cell.number)}


def _code(name: str, source: str) -> Iterator[dict]:
    if source:
        yield {"cell_type": "code", "id": name, "metadata": {}, "source": source}


def _parameters_text(notebook: Notebook, statements: Iterable[Statement]) -> str:
    """Write parameters below the headings of their sections (`# train`)."""
    sections, lines, last = {each.name: each.section for each in notebook.parameters}, [], ""
    for each in statements:
        section, source = next((sections[name] for name in each.binds if name in sections), ""), each.source
        first, _, rest = source.partition("\n")
        if section and first[:1] == "#" and key_of(re.sub(r"[ -]", "_", first[1:].strip())) == section:
            source = rest
        lines += ([""] * bool(lines) + [f"# {section}"]) * (section not in ("", last)) + [source]
        last = section
    return "\n".join(lines)


def _load_text(part: Part) -> str:
    values, states = [file for file in part.loads if not file.is_state], [file for file in part.loads if file.is_state]
    names = ", ".join(name for file in values for name in file.names)
    return _calls([("load", names, _paths(values))] * bool(values) + [("restore", "", _paths(states))] * bool(states))


def _hand_over_text(part: Part) -> str:
    calls = []
    for file in part.saves:
        given = [f'"{name}"' if file.is_state else f"{name}={name}" for name in file.names]
        calls.append(("hand_over_state" if file.is_state else "hand_over", "", ", ".join([_paths([file]), *given])))
    calls += [
        ("unchanged", "", ", ".join([_paths([file]), *(f"{name}={name}" for name in names)]))
        for file, names in part.keeps.items()
    ]
    return _calls(calls)


def _calls(calls: list[tuple[str, str, str]]) -> str:
    """Write calls of `handover`, each of a function, the names for what it returns, and arguments."""
    lines = [f"{names} = {verb}({arguments})" if names else f"{verb}({arguments})" for verb, names, arguments in calls]
    imported = ", ".join(sorted({verb for verb, _, _ in calls}))
    return "\n".join([f"from notebook_pipeline.handover import {imported}", "", *lines]) if calls else ""


def _paths(handed: Iterable[File]) -> str:
    return ", ".join(json.dumps(file.path, ensure_ascii=False) for file in handed)


def write_notebook(notebook: Notebook) -> None:
    """Write a notebook as an editor and the project's hooks leave it: they must not change what a run was recorded with."""
    cells = []
    for cell in notebook.document["cells"]:
        source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
        empty = {"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {}
        cells.append({**cell, "source": source.splitlines(keepends=True), **empty})
    minor = max(5, notebook.document.get("nbformat_minor") or 0)
    document = {**notebook.document, "cells": cells, "nbformat": 4, "nbformat_minor": minor}
    content = (json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()
    for tool in (["check", "--fix"], ["format"]) if importlib.util.find_spec("ruff") else ():
        command = [
            sys.executable,
            "-m",
            "ruff",
            *tool,
            "--quiet",
            "--force-exclude",
            "--stdin-filename",
            notebook.path,
            "-",
        ]
        content = subprocess.run(command, input=content, capture_output=True).stdout or content
    files.edit(notebook.path, content.decode())
