"""Gives a notebook its parameters cell: the one that it has, one that only lacks the tag, or a new one.

Knows one notebook, and neither DVC nor files.
"""

import copy

from notebook_pipeline.add.arguments import leave_command_line, lift_argument, suggest
from notebook_pipeline.add.cell_names import find_movable
from notebook_pipeline.add.parameters_cell import Lifted, make_cell, move_assignment, note_change, tag_cell
from notebook_pipeline.notebook.document import (
    PARAMETERS_TAG,
    Notebook,
    NotebookError,
)


def lift_parameters(notebook: Notebook, names: list[str]) -> Lifted:
    """The notebook with exactly one cell tagged `parameters`; the given one is left as it is.

    A tagged cell is taken as it is. Else an untagged cell is tagged that holds nothing but literals, before any use of
    them. Else the literals that are assigned once, at top level, go into a new cell below the title and the imports.

    Args:
        names: of variables and keyword arguments whose literals become parameters, as `epochs` of `fit(epochs=10)`.

    Raises:
        NotebookError: which cell is meant is not clear, or a name cannot be lifted.
    """
    result = Lifted(Notebook(notebook.path, copy.deepcopy(notebook.document)))
    if misspelt := notebook.misspelt_tag():
        cell, tag = misspelt
        tags = result.notebook.document["cells"][cell.number - 1]["metadata"]["tags"]
        tags[tags.index(tag)] = PARAMETERS_TAG
        note_change(result, f"{notebook.place(cell)}: changed its tag `{tag}` to `{PARAMETERS_TAG}`")
    elif not any(PARAMETERS_TAG in cell.tags for cell in notebook.cells):
        if not tag_cell(result):
            make_cell(result)
    if problems := [*result.notebook.problems()]:
        raise NotebookError(problems[0])
    movable = {name for _, _, name in find_movable(result.notebook)}
    # Arguments first: a variable in lower case would change what the others are called.
    for name in sorted(names, key=movable.__contains__):
        cell = next((cell for cell, _, movable in find_movable(result.notebook) if movable == name), None)
        if cell is not None:
            move_assignment(result, cell, name)
        else:
            lift_argument(result, name)
    leave_command_line(result)
    result.notes += [line for line in suggest(result.notebook) if line not in result.notes]
    return result
