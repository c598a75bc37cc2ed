"""Literals that calls pass by name, as `epochs` of `fit(epochs=10)`: which of them may become parameters, and how."""

import ast
import builtins
import re

from notebook_pipeline.add.cell_names import (
    brings_any_name,
    find_movable,
    find_names,
    readable_cells,
    running_cells,
    source_of,
)
from notebook_pipeline.add.parameters_cell import Lifted, append_assignment, note_change
from notebook_pipeline.notebook.document import (
    Cell,
    Notebook,
    NotebookError,
    key_of,
    replaced,
    stands_in_source,
)


def lift_argument(result: Lifted, name: str) -> None:
    """Makes a parameter of the literals that calls pass as `name=...`."""
    notebook = result.notebook
    found = [(cell, keyword) for cell, keyword in _keywords(notebook) if keyword.arg == name]
    if not found and name in {parameter.name for parameter in notebook.parameters}:
        return  # it has just become one
    if problem := _lift_problem(notebook, name, found):
        raise NotebookError(f"{notebook.path}: {problem}")
    variable = _variable(notebook, name)
    cells = notebook.document["cells"]
    # The last place first, so that the ones before it stay where they are.
    for cell, keyword in sorted(
        found, key=lambda each: (each[0].number, each[1].value.lineno, each[1].value.col_offset)
    )[::-1]:
        raw = cells[cell.number - 1]
        raw["source"] = replaced(source_of(raw), keyword.value, variable)
    append_assignment(notebook, f"{variable} = {ast.literal_eval(found[0][1].value)!r}")
    places = ", ".join(f"cell {number}" for number in sorted({cell.number for cell, _ in found}))
    note_change(result, f"{notebook.path}: {places}: `{name}=` is now the parameter `{variable}`")


def _lift_problem(notebook: Notebook, name: str, found: list[tuple[Cell, ast.keyword]]) -> str:
    """Why these arguments of one name cannot become a parameter; empty where they can."""
    variable = _variable(notebook, name)
    if not found:
        return (
            f"no call passes `{name}=` a number, a string, True or False, nor is `{name}` assigned one, once, above all "
            "that uses it: nothing to lift"
        )
    values = {repr(ast.literal_eval(keyword.value)): cell for cell, keyword in found}
    if len(values) > 1:
        said = " and ".join(f"{value} in cell {cell.number}" for value, cell in values.items())
        return f"`{name}=` is {said}. Fix: lift it by hand, under two names"
    if any(parameter.key == key_of(name) for parameter in notebook.parameters):
        return f"there is a `{variable}` already. Fix: rename it, or lift `{name}` by hand"
    at = notebook.parameters_cell.number
    if above := next((cell for cell, _ in found if cell.number < at), None):
        return f"cell {above.number} passes `{name}=` above the parameters cell (cell {at}). Fix: move one of the two cells"
    for cell in running_cells(notebook):
        # The call could then be given another value than the parameter's, or other code the parameter's.
        if variable in find_names(cell):
            return f"`{variable}` is also a name in cell {cell.number}. Fix: rename one, or lift `{name}` by hand"
        if cell.number > at and brings_any_name(cell):
            return f"cell {cell.number} may bring a `{variable}` of its own. Fix: import names there, not `*`, or lift `{name}` by hand"
    return ""


def _variable(notebook: Notebook, name: str) -> str:
    """What the parameter of these arguments is called: in upper case, where all others are, or the name means something."""
    is_taken = name in dir(builtins) or any(name in find_names(cell) for cell in running_cells(notebook))
    return name.upper() if is_taken or all(parameter.name.isupper() for parameter in notebook.parameters) else name


def leave_command_line(result: Lifted) -> None:
    """Has a notebook that was a script take its options' defaults: the command line is Jupyter's, which argparse refuses."""
    notebook = result.notebook
    code = "\n".join(cell.source for cell in running_cells(notebook))
    if "ArgumentParser" not in code or "sys.argv" in code:  # another's method; it may see to that itself
        return
    for cell in readable_cells(notebook):
        raw = notebook.document["cells"][cell.number - 1]
        # The last first, so that the ones before it stay where they are.
        for node in sorted(_calls(cell), key=lambda call: (call.end_lineno, call.end_col_offset), reverse=True):
            match node:
                case ast.Call(func=ast.Attribute(attr="parse_args"), args=[], keywords=[]) if stands_in_source(
                    cell, node
                ):
                    raw["source"] = replaced(
                        source_of(raw), node, ast.get_source_segment(source_of(raw), node)[:-1] + "[])"
                    )
                    result.notes.append(
                        f"{notebook.place(cell, node.lineno)}: `parse_args()` would read Jupyter's own arguments: it is "
                        "`parse_args([])` now, which takes the defaults"
                    )
    result.notebook = Notebook(notebook.path, notebook.document)


# Arguments that say how something looks or how fast it is done, or which of two axes is meant.
_NO_RESULT = re.compile(
    r"alpha|axis|bins|dpi|font\w*|\w*size|lw|linewidth|\w*pad\w*|n_?cols|n_?rows|n_jobs|num_workers|precision|rotation|"
    r"verbose\w*|[wh]space|zorder"
)


_SIZES = re.compile(
    r"\w*(batch|test|train|val|valid|kernel|pool|sample|step|window|chunk|vocab\w*|hidden|embed\w*)_?size"
)


def suggest(notebook: Notebook) -> list[str]:
    """What might be a parameter and can be lifted: literals of other cells, and numbers that are written into calls."""
    found = {}
    for cell, keyword in _keywords(notebook):
        value = ast.literal_eval(keyword.value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found.setdefault(keyword.arg, []).append((cell, keyword))
    # A name that has several values is no suggestion: which of them is meant?
    every = {name: [each for each in _keywords(notebook) if each[1].arg == name] for name in found}
    names = [
        name for name in found
        if (_SIZES.fullmatch(name) or not _NO_RESULT.fullmatch(name)) and not _lift_problem(notebook, name, every[name])
    ]  # fmt: skip
    literals = [(cell, statement.value, name) for cell, statement, name in find_movable(notebook)]
    literals += [(cell, each.value, name) for name in names for cell, each in found[name]]
    if not literals:
        return []
    listed = (f"{name}={_shown(value)} (cell {cell.number})" for cell, value, name in literals)
    lift = ",".join(dict.fromkeys(name for _, _, name in literals))
    return [
        f"{notebook.path}: might be parameters, too: {', '.join(dict.fromkeys(listed))}: `--lift {lift}` makes them so"
    ]


def _shown(value: ast.expr) -> str:
    text = ast.unparse(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _keywords(notebook: Notebook):
    """The keyword arguments that are literals of one value, with their cells; only where the source is plain Python."""
    for cell in readable_cells(notebook):
        if cell is notebook.parameters_cell or cell.python[0] != cell.source:
            continue
        for node in _calls(cell):
            for keyword in _arguments(node):
                value = keyword.value.operand if isinstance(keyword.value, ast.UnaryOp) else keyword.value
                if keyword.arg and isinstance(value, ast.Constant) and isinstance(value.value, int | float | str):
                    yield cell, keyword


def _calls(cell: Cell) -> list[ast.Call]:
    """The calls of a cell, the outer ones first: `ast.walk` does not go by their places."""
    return [node for node in ast.walk(cell.tree) if isinstance(node, ast.Call)]


def _arguments(call: ast.Call) -> list[ast.keyword]:
    """A call's keyword arguments; of `add_argument("--epochs", default=10)` it is `epochs`, which it makes in the end."""
    match call:
        case ast.Call(func=ast.Attribute(attr="add_argument"), args=[*_, ast.Constant(value=str(option))]):
            name = option.lstrip("-").replace("-", "_")
            return [ast.keyword(name, each.value) for each in call.keywords if each.arg == "default"]
    return call.keywords
