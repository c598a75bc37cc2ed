"""The cell tagged `parameters`: one that only lacks the tag, or a new one with the literals that it takes."""

import ast
import copy
import re
from collections.abc import Collection
from dataclasses import dataclass, field

from notebook_pipeline.add.cell_names import (
    count_assignments,
    find_grown,
    find_movable,
    find_used,
    is_preamble,
    read_literal,
    readable_cells,
    running_cells,
    source_of,
)
from notebook_pipeline.notebook.document import (
    PARAMETERS_TAG,
    Cell,
    Notebook,
    bindings,
)

EMPTY = "# What you want to change between runs, as `name = value`; params.yaml then has the value."


@dataclass
class Lifted:
    """A notebook with a parameters cell."""

    notebook: Notebook
    notes: list[str] = field(default_factory=list)
    """What was done, and what might be: one line each."""


def note_change(result: Lifted, note: str) -> None:
    result.notebook = Notebook(result.notebook.path, result.notebook.document)
    result.notes.append(note)


def tag_cell(result: Lifted) -> bool:
    """Tags a cell of nothing but literals that no cell above uses and no other cell assigns again.

    Of several that one from which other cells use the most.
    """
    notebook, counts = result.notebook, count_assignments(result.notebook)
    found: dict[Cell, int] = {}
    for cell in readable_cells(notebook):
        statements = [read_literal(statement) for statement in cell.tree.body]
        if not statements or None in statements:
            continue
        names = {name for name, _ in statements}
        above = [other for other in readable_cells(notebook) if other.number < cell.number]
        taken = {name for other in above for name, _, _ in bindings(other.tree)} | find_grown(notebook)
        if all(counts[name] == 1 for name in names) and not names & taken:
            found[cell] = len(
                names & {name for other in running_cells(notebook) if other is not cell for name in find_used(other)}
            )
    if not any(found.values()):
        return False
    cell = max(found, key=found.get)
    metadata = notebook.document["cells"][cell.number - 1].setdefault("metadata", {})
    metadata["tags"] = [*(metadata.get("tags") or []), PARAMETERS_TAG]
    note_change(result, f"{notebook.place(cell)}: tagged `{PARAMETERS_TAG}`")
    return True


def _taken_out(result: Lifted, names: Collection[str]) -> list[str]:
    """Takes the literals of these names out of their cells; a cell's are one text, each with the comment above it."""
    notebook, groups, empty = result.notebook, [], set()
    movable = [each for each in find_movable(notebook) if each[2] in names]
    for cell in dict.fromkeys(cell for cell, _, _ in movable):
        lines, gone, taken = cell.source.split("\n"), set(), []
        for statement in (statement for own, statement, _ in movable if own is cell):
            first, last = statement.lineno - 1, statement.end_lineno
            while first > 0 and lines[first - 1].lstrip().startswith("#") and first - 1 not in gone:
                first -= 1
            taken += lines[first:last]
            gone |= {*range(first, last)}
        groups.append(_with_its_remark("\n".join(taken)))
        rest = "\n".join(line for row, line in enumerate(lines) if row not in gone)
        notebook.document["cells"][cell.number - 1]["source"] = re.sub(r"\n{3,}", "\n\n", rest).strip("\n")
        empty |= {cell.number} if not rest.strip() else set()
    notebook.document["cells"] = [raw for at, raw in enumerate(notebook.document["cells"], 1) if at not in empty]
    return groups


def move_assignment(result: Lifted, cell: Cell, name: str) -> None:
    """Moves the literal of this name into the parameters cell."""
    [assignment] = _taken_out(result, [name])
    note_change(result, f"{result.notebook.place(cell)}: `{name}` is now a parameter")
    append_assignment(result.notebook, assignment)
    result.notebook = Notebook(result.notebook.path, result.notebook.document)


def append_assignment(notebook: Notebook, assignment: str) -> None:
    """Puts one more line at the end of the parameters cell."""
    raw = notebook.document["cells"][notebook.parameters_cell.number - 1]
    source = source_of(raw)
    raw["source"] = ("" if source == EMPTY else source.rstrip("\n") + "\n") + assignment


def make_cell(result: Lifted) -> None:
    """Makes a cell below title and imports, with the literals that are assigned once, at top level, and used."""
    _insert(result, EMPTY)
    raw = result.notebook.document["cells"][result.notebook.parameters_cell.number - 1]
    moved = [name for _, _, name in find_movable(result.notebook)]
    if moved:
        # A heading goes for all that is below it.
        raw["source"] = "\n\n".join(sorted(_taken_out(result, moved), key=_has_heading))
    holds = f"with {', '.join(moved)}" if moved else "empty: the notebook assigns no literal that is used as it is"
    result.notebook = Notebook(result.notebook.path, result.notebook.document)
    place = result.notebook.place(result.notebook.parameters_cell)
    result.notes.append(f"{place}: new, tagged `{PARAMETERS_TAG}`, {holds}")


def _with_its_remark(group: str) -> str:
    """A lone assignment with the one line of comment above it behind it: there it would be a heading, of one parameter."""
    if not _has_heading(group) or group.count("\n") > 1:
        return group
    remark, _, assignment = group.partition("\n")
    return f"{assignment}  {remark}" if "#" not in assignment else group


def _has_heading(group: str) -> bool:
    """Whether a comment of these lines would make a section of params.yaml."""
    cell = {"cell_type": "code", "metadata": {"tags": [PARAMETERS_TAG]}, "source": group}
    return any(parameter.section for parameter in Notebook("", {"cells": [cell]}).parameters)


def _insert(result: Lifted, source: str) -> None:
    """Puts the new cell below the title and the imports."""
    notebook = Notebook(result.notebook.path, result.notebook.document)
    at = 0
    for index, cell in enumerate(notebook.cells):
        if cell.type == "code" and not is_preamble(cell):
            if _split_below_imports(notebook, cell):
                at = cell.number
            break
        if cell.type == "code" or index == 0:
            at = cell.number
    ids = {cell.get("id") for cell in notebook.document["cells"]}
    name = next(name for name in ("parameters", *(f"parameters-{count}" for count in range(2, 99))) if name not in ids)
    notebook.document["cells"].insert(
        at,
        {
            "cell_type": "code",
            "id": name,
            "metadata": {"tags": [PARAMETERS_TAG]},
            "execution_count": None,
            "source": source,
        },
    )
    result.notebook = Notebook(notebook.path, notebook.document)


def _split_below_imports(notebook: Notebook, cell: Cell) -> bool:
    """Makes two cells of one that begins with imports and goes on with other code."""
    if cell.tree is None or cell.python[0] != cell.source:
        return False
    body = cell.tree.body
    count = next((at for at, each in enumerate(body) if not isinstance(each, ast.Import | ast.ImportFrom)), len(body))
    if not 0 < count < len(body):
        return False
    lines, end = cell.source.split("\n"), body[count - 1].end_lineno
    if body[count].lineno <= end:
        return False  # `import a; b = 1`
    raw = notebook.document["cells"][cell.number - 1]
    rest = {**copy.deepcopy(raw), "source": "\n".join(lines[end:]).strip("\n")}
    if "id" in raw:
        rest["id"] = f"{raw['id']}-2"[-64:]
    raw["source"] = "\n".join(lines[:end])
    notebook.document["cells"].insert(cell.number, rest)
    return True
