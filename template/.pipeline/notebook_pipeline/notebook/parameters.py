"""The parameters that a parameters cell assigns: their names, defaults, types and comments."""

import ast
import io
import re
import tokenize
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .syntax import UNREADABLE

NOT_LITERAL = object()
"""The default of a parameter whose right-hand side is not a literal."""


def as_python_reads(text: object) -> str:
    """Write text with its names as Python compares them: `µ` of the keyboard is `μ`, whose code is another, and `ö` has one code."""
    return unicodedata.normalize("NFKC", str(text))


def key_of(name: object) -> str:
    """Make the form in which names of parameters and keys of params.yaml are compared: as Python reads them, without case."""
    return as_python_reads(name).lower()


@dataclass(frozen=True)
class Parameter:
    """A name that the parameters cell assigns."""

    name: str
    line: int
    """In its cell, counted from 1."""
    annotation: ast.expr | None
    default: object
    """The literal's value, or NOT_LITERAL."""
    source: str
    """The right-hand side; empty for a bare `name: type`."""
    comment: str = ""
    """The comment behind it, without `#`; if there is none, the comment lines just above it, joined."""
    section: str = ""
    """The heading that it stands under: a comment of one or two words on a line of its own, as in `# train`."""

    @property
    def key(self) -> str:
        """What params.yaml calls it: LEARNING_RATE and learning_rate are the key `learning_rate`."""
        return key_of(self.name)


def read_parameter(statement: ast.stmt) -> Parameter | None:
    """Read the parameter that a statement of the parameters cell defines: `name = ...` or `name: type = ...`."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            annotation = None
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
            pass
        case _:
            return None
    if value is None:
        return Parameter(name, statement.lineno, annotation, NOT_LITERAL, "")
    try:
        default = ast.literal_eval(value)
    except (TypeError, *UNREADABLE):
        default = NOT_LITERAL
    return Parameter(name, statement.lineno, annotation, default, ast.unparse(value))


def in_yaml(default: object) -> bool:
    """Tell whether params.yaml can hold a literal."""
    return not any(True for _ in find_not_in_yaml(default))


def find_not_in_yaml(default: object) -> Iterator[object]:
    """Find what in a literal params.yaml cannot hold: a tuple, a set or bytes would come back as something else."""
    if isinstance(default, list | dict):
        for inner in default if isinstance(default, list) else [*default, *default.values()]:
            yield from find_not_in_yaml(inner)
    elif not isinstance(default, str | int | float | None):
        yield default


def contradiction(parameter: Parameter, value: object) -> str | None:
    """Show the declaration (`lr: float`, `lr = 0.1`) that a parameter's value contradicts; None if it fits.

    Of annotations, the built-in types, `list[...]`, `dict[...]`, `Literal[...]`, `Optional`, `Union` and `|` are
    understood; any other is ignored. As in PEP 484 an int is a valid float. A bool is not a valid int, unlike in Python.
    Without an annotation the default decides: a number stays a number, a string a string; None allows anything.
    """
    if parameter.annotation is not None:
        fits = _fits(parameter.annotation, value)
        return f"{parameter.name}: {ast.unparse(parameter.annotation)}" if fits is False else None
    if parameter.default is NOT_LITERAL or parameter.default is None:
        return None
    kinds = next(kinds for kinds in _KINDS if isinstance(parameter.default, kinds))
    if isinstance(value, kinds) and isinstance(value, bool) == isinstance(parameter.default, bool):
        return None
    return f"{parameter.name} = {parameter.source}"


_TYPES = {
    "int": int, "float": (int, float), "str": str, "bool": bool, "None": type(None),
    "list": list, "List": list, "dict": dict, "Dict": dict,
    # YAML has no such values, so these never fit: a list that arrives in their place is named.
    "tuple": tuple, "Tuple": tuple, "set": set, "Set": set, "bytes": bytes, "complex": complex,
}  # fmt: skip
# What may stand in for a default of the same kind; any literal is of one.
_KINDS = ((int, float), (str,), (list, tuple), (dict,), (object,))


def _fits(annotation: ast.expr, value: object) -> bool | None:
    """Tell whether a value fits an annotation; None if the annotation is not understood."""
    match annotation:
        case ast.Constant(value=None):
            return value is None
        case ast.Constant(value=str(text)):
            try:
                return _fits(ast.parse(text, mode="eval").body, value)
            except SyntaxError:
                return None
        case ast.Attribute(attr=name):
            return _fits(ast.Name(id=name), value)
        case ast.Name(id=name):
            if name not in _TYPES:
                return None
            return isinstance(value, _TYPES[name]) and (not isinstance(value, bool) or name == "bool")
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _any(_fits(left, value), _fits(right, value))
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            arguments = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return _fits_generic(name, arguments, value)
    return None


def _fits_generic(name: str, arguments: list[ast.expr], value: object) -> bool | None:
    match name:
        case "Optional":
            return value is None or _fits(arguments[0], value)
        case "Union":
            return _any(*(_fits(argument, value) for argument in arguments))
        case "Literal":
            return _any(*(_is_literal(argument, value) for argument in arguments))
        case "Annotated" | "Final":
            return _fits(arguments[0], value)
    own = _fits(ast.Name(id=name), value)
    if own and isinstance(value, list):
        return _all(*(_fits(arguments[0], item) for item in value))
    if own and isinstance(value, dict) and len(arguments) == 2:
        keys, values = arguments
        return _all(*(_fits(keys, key) for key in value), *(_fits(values, item) for item in value.values()))
    return own


def _is_literal(argument: ast.expr, value: object) -> bool | None:
    """Tell whether a value is the argument of a `Literal[...]`, which may be another `Literal`, too."""
    try:
        literal = ast.literal_eval(argument)
    except (TypeError, *UNREADABLE):
        return _fits(argument, value)
    return type(value) is type(literal) and value == literal


def _any(*verdicts: bool | None) -> bool | None:
    return True if True in verdicts else None if None in verdicts else False


def _all(*verdicts: bool | None) -> bool | None:
    return False if False in verdicts else None if None in verdicts else True


# Comments for a linter, a formatter or a type checker, and reminders for a person, are not headings of a section.
_FOR_TOOLS = re.compile(
    r"(?:noqa|nosec|NOSONAR)\b|(?:pylint|fmt|isort|mypy|pyright|ruff|flake8|pragma)\s*:|type:\s*ignore\b"
)
_REMINDER = re.compile(r"(?:todo|fixme|xxx|hack|bug|note|nb)\b", re.IGNORECASE)


def find_comments(source: str) -> Callable[[ast.stmt], tuple[str, str]]:
    """Make a function that returns the comment and the heading of a statement (see Parameter)."""
    behind, alone = {}, {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                own_line, text = not token.line[: token.start[1]].strip(), token.string.lstrip("#").strip()
                if not _FOR_TOOLS.match(text):
                    (alone if own_line else behind)[token.start[0]] = text
    except (tokenize.TokenError, SyntaxError, ValueError):
        pass
    blank = {number for number, line in enumerate(source.split("\n"), 1) if not line.strip()} | {0}
    headings = {
        number: text.lower().replace(" ", "_").replace("-", "_")
        for number, text in alone.items()
        # A heading stands apart from what is above it; a remark on the line below has more words.
        if number - 1 in blank
        and number + 1 not in alone
        and re.fullmatch(r"[^\W\d]\w*([ -]\w+)?", text)
        and not _REMINDER.match(text)
    }

    def of(statement: ast.stmt) -> tuple[str, str]:
        heading = max((number for number in headings if number < statement.lineno), default=None)
        above, number = [], statement.lineno - 1
        while number in alone and number != heading:
            above.insert(0, alone[number])
            number -= 1
        return behind.get(statement.end_lineno) or " ".join(above), headings.get(heading, "")

    return of
