"""Gives a notebook its parameters cell: the one that it has, one that only lacks the tag, or a new one.

Knows one notebook, and neither DVC nor files.
"""

import ast
import builtins
import copy
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from notebook_pipeline.notebook.document import (
    INJECTED_TAG,
    PARAMETERS_TAG,
    SKIPPED_TAG,
    Cell,
    Notebook,
    NotebookError,
    as_python_reads,
    bindings,
    in_yaml,
    key_of,
    replaced,
    stands_in_source,
)
from notebook_pipeline.notebook.names import all_names

EMPTY = "# What you want to change between runs, as `name = value`; params.yaml then has the value."
# Methods by which a list or a mapping grows: such a name is no parameter.
_GROWS = {"append", "extend", "insert", "add", "update", "pop", "remove", "setdefault", "clear", "sort", "reverse"}


@dataclass
class Lifted:
    """A notebook with a parameters cell."""

    notebook: Notebook
    notes: list[str] = field(default_factory=list)
    """What was done, and what might be: one line each."""


def lifted(notebook: Notebook, names: list[str]) -> Lifted:
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
        _renewed(result, f"{notebook.place(cell)}: changed its tag `{tag}` to `{PARAMETERS_TAG}`")
    elif not any(PARAMETERS_TAG in cell.tags for cell in notebook.cells):
        if not _tag_a_cell(result):
            _new_cell(result)
    if problems := [*result.notebook.problems()]:
        raise NotebookError(problems[0])
    movable = {name for _, _, name in _movable(result.notebook)}
    # Arguments first: a variable in lower case would change what the others are called.
    for name in sorted(names, key=movable.__contains__):
        cell = next((cell for cell, _, movable in _movable(result.notebook) if movable == name), None)
        if cell is not None:
            _move_one(result, cell, name)
        else:
            _lift_keyword(result, name)
    _leave_the_command_line(result)
    result.notes += [line for line in _suggestions(result.notebook) if line not in result.notes]
    return result


def _renewed(result: Lifted, note: str) -> None:
    result.notebook = Notebook(result.notebook.path, result.notebook.document)
    result.notes.append(note)


def _tag_a_cell(result: Lifted) -> bool:
    """Tags a cell of nothing but literals that no cell above uses and no other cell assigns again.

    Of several that one from which other cells use the most.
    """
    notebook, counts = result.notebook, _assignments(result.notebook)
    found: dict[Cell, int] = {}
    for cell in _code(notebook):
        statements = [_literal(statement) for statement in cell.tree.body]
        if not statements or None in statements:
            continue
        names = {name for name, _ in statements}
        above = [other for other in _code(notebook) if other.number < cell.number]
        taken = {name for other in above for name, _, _ in bindings(other.tree)} | _grown(notebook)
        if all(counts[name] == 1 for name in names) and not names & taken:
            found[cell] = len(
                names & {name for other in _running(notebook) if other is not cell for name in _used(other)}
            )
    if not any(found.values()):
        return False
    cell = max(found, key=found.get)
    metadata = notebook.document["cells"][cell.number - 1].setdefault("metadata", {})
    metadata["tags"] = [*(metadata.get("tags") or []), PARAMETERS_TAG]
    _renewed(result, f"{notebook.place(cell)}: tagged `{PARAMETERS_TAG}`")
    return True


def _movable(notebook: Notebook) -> Iterator[tuple[Cell, ast.stmt, str]]:
    """The literals that may go into the parameters cell: assigned once, at top level, and used.

    But not where the name is used above that cell or above its own line: there it is another value's.
    """
    counts, at, running = _assignments(notebook), notebook.parameters_cell.number, _running(notebook)
    used = {name for cell in running for name in _used(cell)} - _grown(notebook) - {*dir(builtins)}
    taken = {name for cell in running if cell.number < at for name in _used(cell)}
    # A function that is called further up has no such name, unless something that cannot be seen gives it one.
    later = any(_brings_any_name(cell) for cell in running)
    keys = {parameter.key for parameter in notebook.parameters}
    for cell in running:
        if cell.number > at and _brings_any_name(cell):
            return  # it would come after the parameters, perhaps with another value
        if cell.tree and cell is not notebook.parameters_cell and not cell.source.lstrip().startswith("%%"):
            for statement in cell.tree.body:
                name, _ = _literal(statement) or ("", None)
                if (
                    name in used - taken and counts[name] == 1 and key_of(name) not in keys
                    and _alone(cell, statement) and name not in _used(cell, later, above=statement.lineno)
                ):  # fmt: skip
                    keys.add(key_of(name))  # `N` and `n` would be one key
                    yield cell, statement, name
        taken |= _used(cell, later)


def _taken_out(result: Lifted, names: Collection[str]) -> list[str]:
    """Takes the literals of these names out of their cells; a cell's are one text, each with the comment above it."""
    notebook, groups, empty = result.notebook, [], set()
    movable = [each for each in _movable(notebook) if each[2] in names]
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


def _move_one(result: Lifted, cell: Cell, name: str) -> None:
    """Moves the literal of this name into the parameters cell."""
    [assignment] = _taken_out(result, [name])
    _renewed(result, f"{result.notebook.place(cell)}: `{name}` is now a parameter")
    _append(result.notebook, assignment)
    result.notebook = Notebook(result.notebook.path, result.notebook.document)


def _append(notebook: Notebook, assignment: str) -> None:
    """Puts one more line at the end of the parameters cell."""
    raw = notebook.document["cells"][notebook.parameters_cell.number - 1]
    source = _source(raw)
    raw["source"] = ("" if source == EMPTY else source.rstrip("\n") + "\n") + assignment


def _new_cell(result: Lifted) -> None:
    """Makes a cell below title and imports, with the literals that are assigned once, at top level, and used."""
    _insert(result, EMPTY)
    raw = result.notebook.document["cells"][result.notebook.parameters_cell.number - 1]
    moved = [name for _, _, name in _movable(result.notebook)]
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
        if cell.type == "code" and not _is_preamble(cell):
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


def _lift_keyword(result: Lifted, name: str) -> None:
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
        raw["source"] = replaced(_source(raw), keyword.value, variable)
    _append(notebook, f"{variable} = {ast.literal_eval(found[0][1].value)!r}")
    places = ", ".join(f"cell {number}" for number in sorted({cell.number for cell, _ in found}))
    _renewed(result, f"{notebook.path}: {places}: `{name}=` is now the parameter `{variable}`")


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
    for cell in _running(notebook):
        # The call could then be given another value than the parameter's, or other code the parameter's.
        if variable in _names(cell):
            return f"`{variable}` is also a name in cell {cell.number}. Fix: rename one, or lift `{name}` by hand"
        if cell.number > at and _brings_any_name(cell):
            return f"cell {cell.number} may bring a `{variable}` of its own. Fix: import names there, not `*`, or lift `{name}` by hand"
    return ""


def _variable(notebook: Notebook, name: str) -> str:
    """What the parameter of these arguments is called: in upper case, where all others are, or the name means something."""
    is_taken = name in dir(builtins) or any(name in _names(cell) for cell in _running(notebook))
    return name.upper() if is_taken or all(parameter.name.isupper() for parameter in notebook.parameters) else name


def _leave_the_command_line(result: Lifted) -> None:
    """Has a notebook that was a script take its options' defaults: the command line is Jupyter's, which argparse refuses."""
    notebook = result.notebook
    code = "\n".join(cell.source for cell in _running(notebook))
    if "ArgumentParser" not in code or "sys.argv" in code:  # another's method; it may see to that itself
        return
    for cell in _code(notebook):
        raw = notebook.document["cells"][cell.number - 1]
        # The last first, so that the ones before it stay where they are.
        for node in sorted(_calls(cell), key=lambda call: (call.end_lineno, call.end_col_offset), reverse=True):
            match node:
                case ast.Call(func=ast.Attribute(attr="parse_args"), args=[], keywords=[]) if stands_in_source(
                    cell, node
                ):
                    raw["source"] = replaced(
                        _source(raw), node, ast.get_source_segment(_source(raw), node)[:-1] + "[])"
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


def _suggestions(notebook: Notebook) -> list[str]:
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
    literals = [(cell, statement.value, name) for cell, statement, name in _movable(notebook)]
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
    for cell in _code(notebook):
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


def _running(notebook: Notebook) -> list[Cell]:
    """The cells that run."""
    return [cell for cell in notebook.cells if cell.type == "code" and not {SKIPPED_TAG, INJECTED_TAG} & {*cell.tags}]


def _code(notebook: Notebook) -> list[Cell]:
    """The cells that run and can be read as Python."""
    return [cell for cell in _running(notebook) if cell.tree is not None]


def _used(cell: Cell, later: bool = True, above: int | None = None) -> set[str]:
    """The names that a cell uses; in a line that is not Python (`!train {EPOCHS}`) each word may be one.

    Args:
        later: also those that its functions use once they are called.
        above: only what is used above this line.
    """
    end = above - 1 if above else None
    lines, plain = cell.source.split("\n")[:end], cell.python[0].split("\n")
    other = [line for row, line in enumerate(lines) if cell.tree is None or line != plain[row]]
    words = {*re.findall(r"\w+", as_python_reads(" ".join(other)))}
    if cell.tree is None:
        return words
    tree = cell.tree if later else _WithoutBodies().visit(copy.deepcopy(cell.tree))
    return words | {name for name, line, stored in bindings(tree) if not stored and line <= len(lines)}


class _WithoutBodies(ast.NodeTransformer):
    """Leaves of functions what runs where they are defined: defaults and decorators."""

    def visit_FunctionDef(self, node):
        node.body = [ast.Pass()]
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node):
        node.body = ast.Constant(None)
        return node


def _names(cell: Cell) -> set[str]:
    """All names of a cell, also those that a function or a comprehension has for itself."""
    return _used(cell) | (all_names(cell.tree) if cell.tree else set())


# What binds names that the notebook does not show.
_ANY_NAME = re.compile(r"^[ \t]*(?:from\b.+\bimport[ \t]*\*|%(?:run|pylab)\b)", re.MULTILINE)


def _brings_any_name(cell: Cell) -> bool:
    return bool(_ANY_NAME.search(cell.source))


# What a line of another Python assigns, as `a, b = 1, 2`, `n += 1` or `for i in x`.
_ASSIGNS = re.compile(r"^[ \t]*(?:([\w, \t]+?)[ \t]*[-+*/%]?=(?!=)|for\b([\w, \t]+?)\bin\b)", re.MULTILINE)


def _assignments(notebook: Notebook) -> dict[str, int]:
    """How often each name is bound at top level; a name that a global statement touches counts twice."""
    counts = {}
    for cell in _running(notebook):
        if cell.tree is None:
            # Python 2, mostly; below `%%` it may be any language.
            found = _ASSIGNS.findall(as_python_reads(cell.source)) if not cell.source.lstrip().startswith("%%") else []
            for name in re.findall(r"\w+", str(found)):
                counts[name] = counts.get(name, 0) + 1
            continue
        for name, _, stored in bindings(cell.tree):
            if stored:
                counts[name] = counts.get(name, 0) + 1
        # What a loop binds, it binds again.
        for loop in ast.walk(cell.tree):
            if isinstance(loop, ast.For | ast.While | ast.AsyncFor):
                for name, _, stored in bindings(loop):
                    if stored:
                        counts[name] = counts.get(name, 0) + 1
    return counts


def _grown(notebook: Notebook) -> set[str]:
    """The names whose value itself the notebook changes: `name.append(...)`, `name[...] = ...`."""
    names = set()
    for cell in _code(notebook):
        for node in ast.walk(cell.tree):
            match node:
                case ast.Attribute(value=ast.Name(id=name), attr=attribute) if attribute in _GROWS:
                    names.add(name)
                case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                    names.add(name)
    return names


_SECRET = re.compile(r"password|passwd|secret|api_?key|^token$|(access|auth|api|hf|bot)_?token", re.IGNORECASE)


def _literal(statement: ast.stmt) -> tuple[str, object] | None:
    """Name and value of `name = literal`, where it may be a parameter: something that params.yaml can say."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            pass
        case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
            pass
        case _:
            return None
    try:
        literal = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    # An empty list is there to be filled, a text of several lines is code or data, a password belongs in no file of the
    # project's, and a name with an underscore in front is nobody else's business.
    if _SECRET.search(name):
        return None
    if literal in (None, [], {}, (), "") or not in_yaml(literal) or name.startswith("_"):
        return None
    if isinstance(literal, str) and "\n" in literal:
        return None
    return name, literal


def _alone(cell: Cell, statement: ast.stmt) -> bool:
    """Whether a statement has its lines for itself."""
    row = statement.lineno - 1
    others = [other for other in cell.tree.body if other is not statement]
    rows = {*range(statement.lineno, statement.end_lineno + 1)}
    shared = any(rows & {*range(other.lineno, other.end_lineno + 1)} for other in others)
    return not shared and cell.python[0].split("\n")[row] == cell.source.split("\n")[row]


_SETTINGS = re.compile(
    r"get_ipython|sys\.path|os\.chdir|warnings\.|pd\.set_option|pd\.options|plt\.style|plt\.rc|sns\.set|np\.set_print"
)


def _is_preamble(cell: Cell) -> bool:
    """A cell of imports, of settings, or of nothing."""
    return cell.tree is not None and all(
        isinstance(statement, ast.Import | ast.ImportFrom)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        or (isinstance(statement, ast.Expr | ast.If | ast.Assign) and _SETTINGS.search(ast.unparse(statement)))
        for statement in cell.tree.body
    )


def _source(raw: dict) -> str:
    source = raw.get("source", "")
    return "".join(source) if isinstance(source, list) else source
