"""The comparable text of a cell: equal for two cells that do the same, and equal on every Python."""

import ast
import itertools
import json
import re

from .ipython import FORMATTED_CELL_MAGIC, PYTHON_CELL_MAGIC, Scan, remove_indentation, replace_parts
from .parameters import NOT_LITERAL, read_parameter
from .syntax import UNREADABLE, parse_python, recurse_deeply

# What the tree of a cell has instead of text: the literal part of `{x=}`, and the `t` of a template string.
_LITERAL, _TEMPLATE = "\0", "\1"
# How a cell begins in a code file, and the one of parameters goes on.
CELL, _PARAMETERS = "# %%\n", "# parameters: "
# The grammar that all Pythons are held to.
_OLDEST = (3, 11)


def renewed(text: str) -> str:
    """Rewrite a text of `Notebook.code` by an earlier version of this module as this version writes it."""
    head, *cells = re.split(f"^{CELL}", text, flags=re.MULTILINE)
    made = []
    for cell in cells:
        names, _, rest = cell.partition("\n") if cell.startswith(_PARAMETERS) else ("", "", cell)
        made.append(CELL + "\n".join(filter(None, [names, canonical(rest.strip("\n"))])) + "\n")
    return head + "\n".join(made)


@recurse_deeply()
def canonical(source: str, has_parameters: bool = False) -> str:
    """Make the comparable text of one cell's source: equal for two that do the same, and equal on every Python.

    Without what a formatter may change: layout, comments, quotes, the order of imports. Other languages stay as they are.

    Args:
        has_parameters: keep only the names of parameters, because their values come from params.yaml.
    """
    # JSON may hold half a surrogate pair, which a file cannot.
    source = source.replace("\r\n", "\n").encode("utf-8", "backslashreplace").decode()
    magic, _, body = source.strip().partition("\n")
    if magic.startswith("%%") and not PYTHON_CELL_MAGIC.match(magic):
        return f"{magic}\n{canonical(body)}" if FORMATTED_CELL_MAGIC.match(magic) else source
    names = set()
    try:
        text, hidden = _readable_everywhere(remove_indentation(source))
        tree = parse_python(text, _OLDEST)
        is_quiet = not has_parameters and _is_quiet(source, text, tree)
        for statement in tree.body if has_parameters else ():
            if parameter := read_parameter(statement):
                names.add(parameter.name)
                # What is not a plain `name = literal` runs as code, so it counts as code.
                if parameter.default is not NOT_LITERAL:
                    tree.body = [each for each in tree.body if each is not statement]
        code = ast.unparse(_Canonical(hidden).visit(tree))
    except UNREADABLE:
        return source.strip("\n")
    lines = [_PARAMETERS + ", ".join(sorted(names))] if names else []
    return "\n".join([*lines, *([code + ";" * is_quiet] if code else [])])


def _is_quiet(source: str, text: str, tree: ast.Module) -> bool:
    """Tell whether a closing semicolon hides the last value of the cell in IPython, which changes the outputs."""
    if not tree.body:
        return False
    last = tree.body[-1]
    rest = text.split("\n")[last.end_lineno - 1].encode()[last.end_col_offset :].lstrip()
    return rest.startswith(b";") or (source.rstrip().endswith(";") and not text.rstrip().endswith(";"))


class _Canonical(ast.NodeTransformer):
    """Undo what a formatter may change in a tree, and what `ast.unparse` writes differently by Python's version.

    `ast.unparse` writes a name as it is, so text that is made here becomes a name.
    """

    def __init__(self, hidden: dict[str, str]):
        self.hidden = hidden

    def generic_visit(self, node: ast.AST) -> ast.AST:
        name, body = getattr(node, "name", None), getattr(node, "body", None)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.name = self.hidden.get(name, name)
            match body[0]:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    body[0].value = ast.Name(_docstring(text))
        super().generic_visit(node)
        for field in ("body", "orelse", "finalbody"):
            if isinstance(statements := getattr(node, field, None), list):
                setattr(node, field, _with_sorted_imports(statements))
        return node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        node.id = self.hidden.get(node.id, node.id)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if not isinstance(node.value, str):
            return node
        # What `repr` escapes of other scripts depends on Python's version of Unicode.
        is_latin = max(node.value, default="") < "\u0250"
        return ast.Name(repr(node.value) if is_latin else json.dumps(node.value, ensure_ascii=False))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.Name:
        text = self._f_string(node)
        return ast.Name(f't"{text.replace(_TEMPLATE, "")}"' if _TEMPLATE in text else f'f"{text}"')

    def visit_Delete(self, node: ast.Delete) -> ast.AST:
        while any(isinstance(each, ast.Tuple) for each in node.targets):
            node.targets = [
                part for each in node.targets for part in (each.elts if isinstance(each, ast.Tuple) else [each])
            ]
        return self.generic_visit(node)

    def _f_string(self, node: ast.JoinedStr) -> str:
        """Write the text between the quotes: not valid Python, but different for different strings."""
        parts = []
        for part in node.values:
            if isinstance(part, ast.Constant):
                parts.append(json.dumps(part.value, ensure_ascii=False)[1:-1].replace("{", "{{").replace("}", "}}"))
                continue
            text = ast.unparse(self.visit(part.value))
            if text.startswith(_LITERAL):
                parts.append(text.removeprefix(_LITERAL))
                continue
            conversion = f"!{chr(part.conversion)}" if part.conversion > 0 else ""
            spec = self._f_string(part.format_spec) if part.format_spec else ""
            parts.append(f"{{{text}{conversion}{':' * bool(spec)}{spec}}}")
        return "".join(parts)


def _docstring(text: str) -> str:
    """Write a docstring without what a formatter changes: its indentation, and blank space at line ends."""
    first, *others = (line.rstrip() for line in text.expandtabs().strip().split("\n"))
    margin = min((len(line) - len(line.lstrip()) for line in others if line), default=0)
    lines = [first, *(line[margin:] for line in others)]
    return '"""' + "\n".join(lines).replace("\\", "\\\\").replace('"""', '\\"""') + '"""'


def _with_sorted_imports(statements: list[ast.stmt]) -> list[ast.stmt]:
    """Sort each block of imports, one name a line, because isort sorts, splits and merges them.

    The order counts if two imports define the same name, or if one defines unknown names (`*`).
    """
    done = []
    for is_import, group in itertools.groupby(statements, lambda each: isinstance(each, ast.Import | ast.ImportFrom)):
        if not is_import:
            done += group
            continue
        single = [
            ast.Import([alias]) if isinstance(each, ast.Import) else ast.ImportFrom(each.module, [alias], each.level)
            for each in group
            for alias in each.names
        ]
        for is_star, part in itertools.groupby(single, lambda each: each.names[0].name == "*"):
            statements = [*part]
            done += statements if is_star else _sorted_imports(statements)
    return done


def _sorted_imports(imports: list[ast.stmt]) -> list[ast.stmt]:
    """Sort imports of one name each and drop repetitions; names with two meanings follow in their own order."""
    named, meanings = [], {}
    for each in imports:
        alias, text = each.names[0], ast.unparse(each)
        is_package = isinstance(each, ast.Import) and not alias.asname
        name = alias.name.partition(".")[0] if is_package else alias.asname or alias.name
        named.append((name, text, each))
        meanings.setdefault(name, set()).add(f"import {name}" if is_package else text)
    clear = {text: each for name, text, each in named if len(meanings[name]) == 1}
    return [clear[text] for text in sorted(clear)] + [each for name, _, each in named if len(meanings[name]) > 1]


def _readable_everywhere(source: str) -> tuple[str, dict[str, str]]:
    """Replace what some Python cannot parse, or parses in its own way, by names; return their texts, too.

    IPython's syntax becomes calls, the expressions of an f-string become names, and so do `f[T]` in `def f[T]():` and
    `type X` in `type X = int`.
    """
    scan, hidden, edits, mark = Scan(source), {}, [], "_hidden"
    while mark in source:
        mark += "_"

    def hide(text: str) -> str:
        hidden[name := f"{mark}{len(hidden)}_"] = text
        return name

    for start, end in scan.fields:
        expression = source[start:end]
        if not expression.strip():
            raise SyntaxError("an f-string has no expression")
        debug = re.fullmatch(r"(.*[^=!<>])=\s*", expression, re.DOTALL)
        text, inner = _readable_everywhere(f"({debug[1] if debug else expression}\n)")
        name = hide(ast.unparse(_Canonical(inner).visit(parse_python(text, _OLDEST))))
        if debug:
            literal = hide(
                _LITERAL + json.dumps(expression, ensure_ascii=False)[1:-1].replace("{", "{{").replace("}", "}}")
            )
            name = f"{literal}}}{{{name}" + "!r" * (source[end : end + 1] == "}")
        edits.append((start, end, name))
    for start, end in scan.names:
        text = re.sub(r"\s+", " ", source[start:end]).replace("'", '"')
        edits.append((start, end, hide(re.sub(r" ?([\[\](){}:,=*|]) ?", r"\1", text).replace(",]", "]"))))
    for letter, quote_end in scan.templates:
        edits += [(letter, letter + 1, "f"), (quote_end, quote_end, f"{{{hide(_LITERAL + _TEMPLATE)}}}")]
    for start, end in scan.exceptions:
        edits.append((start, end, f"({source[start:end]})"))
    return replace_parts(source, edits + scan.magics), hidden
