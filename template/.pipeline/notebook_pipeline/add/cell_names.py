"""What the cells of a notebook do with names, as far as it decides which literals may become parameters."""

import ast
import builtins
import copy
import re
from collections.abc import Iterator

from notebook_pipeline.notebook.document import (
    INJECTED_TAG,
    SKIPPED_TAG,
    Cell,
    Notebook,
    as_python_reads,
    bindings,
    in_yaml,
    key_of,
)
from notebook_pipeline.notebook.names import all_names

# Methods by which a list or a mapping grows: such a name is no parameter.
_GROWS = {"append", "extend", "insert", "add", "update", "pop", "remove", "setdefault", "clear", "sort", "reverse"}


def find_movable(notebook: Notebook) -> Iterator[tuple[Cell, ast.stmt, str]]:
    """The literals that may go into the parameters cell: assigned once, at top level, and used.

    But not where the name is used above that cell or above its own line: there it is another value's.
    """
    counts, at, running = count_assignments(notebook), notebook.parameters_cell.number, running_cells(notebook)
    used = {name for cell in running for name in find_used(cell)} - find_grown(notebook) - {*dir(builtins)}
    taken = {name for cell in running if cell.number < at for name in find_used(cell)}
    # A function that is called further up has no such name, unless something that cannot be seen gives it one.
    later = any(brings_any_name(cell) for cell in running)
    keys = {parameter.key for parameter in notebook.parameters}
    for cell in running:
        if cell.number > at and brings_any_name(cell):
            return  # it would come after the parameters, perhaps with another value
        if cell.tree and cell is not notebook.parameters_cell and not cell.source.lstrip().startswith("%%"):
            for statement in cell.tree.body:
                name, _ = read_literal(statement) or ("", None)
                if (
                    name in used - taken and counts[name] == 1 and key_of(name) not in keys
                    and stands_alone(cell, statement) and name not in find_used(cell, later, above=statement.lineno)
                ):  # fmt: skip
                    keys.add(key_of(name))  # `N` and `n` would be one key
                    yield cell, statement, name
        taken |= find_used(cell, later)


def running_cells(notebook: Notebook) -> list[Cell]:
    """The cells that run."""
    return [cell for cell in notebook.cells if cell.type == "code" and not {SKIPPED_TAG, INJECTED_TAG} & {*cell.tags}]


def readable_cells(notebook: Notebook) -> list[Cell]:
    """The cells that run and can be read as Python."""
    return [cell for cell in running_cells(notebook) if cell.tree is not None]


def find_used(cell: Cell, later: bool = True, above: int | None = None) -> set[str]:
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


def find_names(cell: Cell) -> set[str]:
    """All names of a cell, also those that a function or a comprehension has for itself."""
    return find_used(cell) | (all_names(cell.tree) if cell.tree else set())


# What binds names that the notebook does not show.
_ANY_NAME = re.compile(r"^[ \t]*(?:from\b.+\bimport[ \t]*\*|%(?:run|pylab)\b)", re.MULTILINE)


def brings_any_name(cell: Cell) -> bool:
    return bool(_ANY_NAME.search(cell.source))


# What a line of another Python assigns, as `a, b = 1, 2`, `n += 1` or `for i in x`.
_ASSIGNS = re.compile(r"^[ \t]*(?:([\w, \t]+?)[ \t]*[-+*/%]?=(?!=)|for\b([\w, \t]+?)\bin\b)", re.MULTILINE)


def count_assignments(notebook: Notebook) -> dict[str, int]:
    """How often each name is bound at top level; a name that a global statement touches counts twice."""
    counts = {}
    for cell in running_cells(notebook):
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


def find_grown(notebook: Notebook) -> set[str]:
    """The names whose value itself the notebook changes: `name.append(...)`, `name[...] = ...`."""
    names = set()
    for cell in readable_cells(notebook):
        for node in ast.walk(cell.tree):
            match node:
                case ast.Attribute(value=ast.Name(id=name), attr=attribute) if attribute in _GROWS:
                    names.add(name)
                case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                    names.add(name)
    return names


_SECRET = re.compile(r"password|passwd|secret|api_?key|^token$|(access|auth|api|hf|bot)_?token", re.IGNORECASE)


def read_literal(statement: ast.stmt) -> tuple[str, object] | None:
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


def stands_alone(cell: Cell, statement: ast.stmt) -> bool:
    """Whether a statement has its lines for itself."""
    row = statement.lineno - 1
    others = [other for other in cell.tree.body if other is not statement]
    rows = {*range(statement.lineno, statement.end_lineno + 1)}
    shared = any(rows & {*range(other.lineno, other.end_lineno + 1)} for other in others)
    return not shared and cell.python[0].split("\n")[row] == cell.source.split("\n")[row]


_SETTINGS = re.compile(
    r"get_ipython|sys\.path|os\.chdir|warnings\.|pd\.set_option|pd\.options|plt\.style|plt\.rc|sns\.set|np\.set_print"
)


def is_preamble(cell: Cell) -> bool:
    """A cell of imports, of settings, or of nothing."""
    return cell.tree is not None and all(
        isinstance(statement, ast.Import | ast.ImportFrom)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        or (isinstance(statement, ast.Expr | ast.If | ast.Assign) and _SETTINGS.search(ast.unparse(statement)))
        for statement in cell.tree.body
    )


def source_of(raw: dict) -> str:
    source = raw.get("source", "")
    return "".join(source) if isinstance(source, list) else source
