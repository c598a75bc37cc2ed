"""One Jupyter notebook: its parameters cell, its parameters and its code.

Knows nothing of DVC. Imports the standard library only, because the hook reads every notebook at every commit, and the
template's extension reads one before there is an environment.
"""

import ast
import contextlib
import io
import itertools
import json
import re
import sys
import tokenize
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

PARAMETERS_TAG = "parameters"
# Papermill's tag for the cell that it adds: https://papermill.readthedocs.io/en/latest/usage-parameterize.html
INJECTED_TAG = "injected-parameters"
# nbclient's tag for a cell that it passes over (`NotebookClient.skip_cells_with_tag`).
SKIPPED_TAG = "skip-execution"

NOT_LITERAL = object()
"""The default of a parameter whose right-hand side is not a literal."""


def as_python_reads(text: object) -> str:
    """Text with its names as Python compares them: `µ` of the keyboard is `μ`, whose code is another, and `ö` has one code."""
    return unicodedata.normalize("NFKC", str(text))


def key_of(name: object) -> str:
    """What names of parameters and keys of params.yaml are compared by: as Python reads them, and without case."""
    return as_python_reads(name).lower()


class NotebookError(Exception):
    """A file that cannot be used as a notebook, or a cell that cannot be read; one line: file, place, cure."""


@dataclass(frozen=True)
class Cell:
    """One cell of a notebook."""

    number: int
    """Counted from 1 over all cells, as editors show it."""
    type: str
    """`code`, `markdown` or `raw`."""
    source: str
    tags: tuple[str, ...]

    @cached_property
    def python(self) -> tuple[str, ast.Module | None]:
        """The source as plain Python, one line for one line, its IPython syntax (`%magic`, `!shell`) as calls; and its tree.

        What cannot be read as Python even so comes back as it is, without a tree.
        """
        return _plain_python(self.source)

    @property
    def tree(self) -> ast.Module | None:
        """The syntax tree of the cell; None where it is not Python."""
        return self.python[1]


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
    """The comment behind it, without `#`; where there is none, the lines of comment just above it, as one."""
    section: str = ""
    """The heading that it stands under: a comment of one or two words on a line of its own, as in `# train`."""

    @property
    def key(self) -> str:
        """What params.yaml calls it: LEARNING_RATE and learning_rate are the key `learning_rate`."""
        return key_of(self.name)


class Notebook:
    """A notebook file that was read.

    Attributes:
        path: as it was given, with forward slashes: what messages and dvc.yaml call it.
        document: the parsed JSON, without outputs: nothing here asks for them, and they would take most of the memory.
        cells: all cells in order, without those that Papermill left in an executed copy.
    """

    def __init__(self, path: str, document: dict):
        self.path = path
        self.document = document
        self.cells = [
            cell
            for cell in map(_cell, range(1, len(document["cells"]) + 1), document["cells"])
            if INJECTED_TAG not in cell.tags
        ]

    @property
    def language(self) -> str:
        """The kernel's language in lower case; `python` where the notebook does not say."""
        metadata = _mapping(self.document.get("metadata"))
        language = _mapping(metadata.get("kernelspec")).get("language") or _mapping(metadata.get("language_info")).get(
            "name"
        )
        return str(language or "python").lower()

    @cached_property
    def parameters_cell(self) -> Cell | None:
        """The code cell tagged `parameters`; None where there is not exactly one."""
        tagged = [cell for cell in self.cells if PARAMETERS_TAG in cell.tags and cell.type == "code"]
        return tagged[0] if len(tagged) == 1 else None

    @cached_property
    def parameters(self) -> list[Parameter]:
        """What the parameters cell assigns, in its order; the last assignment of a name counts."""
        if self.parameters_cell is None or self.parameters_cell.tree is None:
            return []
        found, comments = {}, _comments(self.parameters_cell.python[0])
        for statement in self.parameters_cell.tree.body:
            if parameter := _parameter(statement):
                comment, section = comments(statement)
                found[parameter.name] = replace(parameter, comment=comment, section=section)
        return list(found.values())

    def place(self, cell: Cell, line: int | None = None) -> str:
        """`notebooks/x.ipynb: cell 3` or `notebooks/x.ipynb: cell 3, line 2`: where a message points."""
        return f"{self.path}: cell {cell.number}" + (f", line {line}" if line else "")

    def problems(self, scratch: bool = False) -> Iterator[str]:
        """What keeps Papermill from overriding the parameters of this notebook; one line each, with the cure.

        A scratch notebook, which no stage runs, may do without parameters.
        """
        if self.language not in ("python", "ipython"):
            yield f"{self.path}: is a notebook in {self.language}: only Python notebooks can be run here"
            return
        tagged = [cell for cell in self.cells if PARAMETERS_TAG in cell.tags]
        misspelt = [(cell, tag) for cell in self.cells for tag in cell.tags if _is_near_miss(tag)]
        for cell, tag in misspelt:
            if tagged or cell.type != "code" or len(misspelt) > 1:
                yield (
                    f"{self.place(cell)}: its tag `{tag}` means nothing to Papermill: take it off"
                    + (
                        ""
                        if tagged
                        else f", or put `{PARAMETERS_TAG}` on the one code cell that assigns the parameters"
                    )
                )
            else:
                yield f"{self.place(cell)}: its tag `{tag}` must read `{PARAMETERS_TAG}`"
        for cell in tagged:
            if cell.type != "code":
                yield f"{self.place(cell)}: the tag `{PARAMETERS_TAG}` is on a {cell.type} cell: move it to the code cell"
        code = [cell for cell in tagged if cell.type == "code"]
        if len(code) > 1:
            numbers = " and ".join(str(cell.number) for cell in code)
            yield (
                f"{self.path}: cells {numbers} are both tagged `{PARAMETERS_TAG}`: "
                "the later one would undo params.yaml; keep the tag on one"
            )
        elif not tagged and not misspelt and not scratch:
            yield (
                f"{self.path}: no cell is tagged `{PARAMETERS_TAG}`: tag the cell that assigns the parameters "
                "(a new, empty one where there are none)"
            )
        elif code and code[0].tree is None:
            yield f"{self.place(code[0], _syntax_error_line(code[0]))}: the parameters cell is not valid Python: mend it"

    def misspelt_tag(self) -> tuple[Cell, str] | None:
        """The one cell that is meant to be the parameters cell, and how its tag is spelt; None where that is not clear."""
        misspelt = [(cell, tag) for cell in self.cells for tag in cell.tags if _is_near_miss(tag)]
        exact = any(PARAMETERS_TAG in cell.tags for cell in self.cells)
        return misspelt[0] if len(misspelt) == 1 and misspelt[0][0].type == "code" and not exact else None

    def drift(self) -> Iterator[str]:
        """Where the notebook would use another value than the one it is given; one line each, with the cure.

        For a notebook without `problems`.
        """
        names = {parameter.name for parameter in self.parameters}
        yield from self._drift_in_parameters_cell(names)
        may_assign = _may_assign(names)
        for cell in self.cells:
            if cell.type != "code" or cell is self.parameters_cell or SKIPPED_TAG in cell.tags:
                continue
            above = cell.number < self.parameters_cell.number
            # Reading each cell as Python would take most of the time.
            source = as_python_reads(cell.source)
            if not (any(name in source for name in names) if above else may_assign(source)):
                continue
            if cell.tree is None:
                continue
            seen = set()
            for name, line, stored in bindings(cell.tree):
                if name not in names or (name, stored) in seen:
                    continue
                seen.add((name, stored))
                if above and not stored:
                    yield (
                        f"{self.place(cell, line)}: uses the parameter `{name}` above the parameters cell "
                        f"(cell {self.parameters_cell.number}): move one of the two cells"
                    )
                elif stored and not above:
                    yield (
                        f"{self.place(cell, line)}: assigns the parameter `{name}` again, so that params.yaml is ignored "
                        "from here on: use another name"
                    )

    def unused(self) -> Iterator[str]:
        """Parameters that no cell mentions: harmless, and most likely a mistake."""
        text = "\n".join(cell.source for cell in self.cells if cell.type == "code" and cell is not self.parameters_cell)
        text = as_python_reads(text)
        for parameter in self.parameters:
            # A name may end in a mark, as in `x̂`, which `\b` takes for the end of a word.
            if not re.search(rf"(?<!\w){re.escape(parameter.name)}(?!\w)", text):
                yield f"{self.place(self.parameters_cell, parameter.line)}: no cell uses the parameter `{parameter.name}`"

    def _drift_in_parameters_cell(self, names: set[str]) -> Iterator[str]:
        cell, lines = self.parameters_cell, {}
        for statement in cell.tree.body:
            parameter, place = _parameter(statement), self.place(cell, statement.lineno)
            if parameter is None:
                # A title of the cell as a string, or `...`, does nothing.
                if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                    yield f"{place}: only `name = literal` belongs into the parameters cell: move this to a cell below"
                continue
            if parameter.name in lines:
                yield f"{place}: `{parameter.name}` was assigned in line {lines[parameter.name]} already: keep one of the two"
            lines.setdefault(parameter.name, statement.lineno)
            used = [name for name, _, stored in bindings(ast.Module([statement], [])) if not stored and name in names]
            if parameter.default is NOT_LITERAL and used:
                yield (
                    f"{place}: `{parameter.name}` is derived from the parameter `{used[0]}`, and would not follow it: "
                    "move this line to a cell below"
                )
            elif parameter.default is not NOT_LITERAL and not in_yaml(parameter.default):
                what = next(_not_in_yaml(parameter.default))
                verb = "is" if what is parameter.default else "holds"
                yield (
                    f"{place}: `{parameter.name}` {verb} a {type(what).__name__}, which params.yaml cannot say: "
                    "write a list or a string"
                )
            elif parameter.default is NOT_LITERAL and parameter.source:
                yield (
                    f"{place}: `{parameter.name}` is not a literal, so params.yaml cannot say it: "
                    "write a number, string, list or mapping, or move this line to a cell below"
                )

    def code(self) -> str:
        """The code that a run executes, as one Python file; equal for two notebooks that do the same.

        Without outputs, metadata, markdown and what `canonical` leaves out, so that neither an editor nor a formatter
        nor another Python makes a stage stale. The parameters cell is reduced to its names: their values come from
        params.yaml.
        """
        return "\n".join(text for _, text in self._code_by_cell())

    def cell_of_code(self, line: int) -> Cell:
        """The cell that a line of `code` is of, counted from 0."""
        cells = [cell for cell, text in self._code_by_cell() for _ in text.split("\n")]
        return cells[line]

    def _code_by_cell(self) -> Iterator[tuple[Cell, str]]:
        for cell in self.cells:
            if cell.type == "code" and SKIPPED_TAG not in cell.tags:
                if text := _comparable(cell.source, has_parameters=cell is self.parameters_cell):
                    yield cell, f"{_CELL}{text}\n"


def read(path: str | Path) -> Notebook:
    """Reads a notebook file.

    Raises:
        NotebookError: the file is not there or is no notebook of format 4.
    """
    name = Path(path).as_posix()
    try:
        text = Path(path).read_bytes().decode("utf-8").removeprefix("\ufeff")
    except FileNotFoundError:
        raise NotebookError(f"{name}: there is no such file") from None
    except UnicodeDecodeError:
        raise NotebookError(f"{name}: is not a notebook: it is not UTF-8 text") from None
    return parse(text, name)


def parse(text: str, name: str) -> Notebook:
    """Reads a notebook from the text of its file; `name` is what messages call it.

    Raises:
        NotebookError: the text is no notebook of format 4.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        conflict = re.search(r"^(<<<<<<<|>>>>>>>)", text, re.MULTILINE)
        if conflict:
            line = text.count("\n", 0, conflict.start()) + 1
            raise NotebookError(
                f"{name}:{line}: holds a merge conflict: take one side with `git checkout --merge -- {name}` "
                f"and then `git checkout --ours -- {name}` (or `--theirs`)"
            ) from None
        line = getattr(error, "lineno", None)
        place = f"{name}:{line}" if line else name
        raise NotebookError(
            f"{place}: is not a notebook (broken JSON): go back to its last version; from git: `git checkout HEAD -- {name}`"
        ) from None
    if not isinstance(document, dict) or "nbformat" not in document:
        raise NotebookError(f"{name}: is not a notebook: it is JSON of another kind")
    if document["nbformat"] != 4:
        quoted = f'"{name}"' if " " in name else name
        raise NotebookError(
            f"{name}: is a notebook of format {document['nbformat']}, not 4: "
            f"convert it with `uvx --from nbconvert jupyter-nbconvert --to notebook --inplace {quoted}`"
        )
    cells = document.get("cells")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) and _text(cell) is not None for cell in cells):
        raise NotebookError(f"{name}: is not a valid notebook: its `cells` are no list of cells")
    for cell in cells:
        cell.pop("outputs", None)
    return Notebook(name, document)


def contradiction(parameter: Parameter, value: object) -> str | None:
    """How the cell declares a parameter (`lr: float`, `lr = 0.1`) whose value is none of that; None where it fits.

    Of annotations, the built-in types, `list[...]`, `dict[...]`, `Literal[...]`, `Optional`, `Union` and `|` are
    understood; any other claims nothing. As in PEP 484 an int is welcome as a float; a bool is no int, though Python has
    it so. Without an annotation the default tells: a number stays a number, a string a string; None claims nothing.
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


def replaced(source: str, node: ast.AST, text: str) -> str:
    """A cell's source with other text in the place of a node of its tree."""
    lines = source.encode().split(b"\n")  # `ast` counts columns in bytes
    start = sum(len(line) + 1 for line in lines[: node.lineno - 1]) + node.col_offset
    end = sum(len(line) + 1 for line in lines[: node.end_lineno - 1]) + node.end_col_offset
    return (source.encode()[:start] + text.encode() + source.encode()[end:]).decode()


def stands_in_source(cell: Cell, node: ast.expr) -> bool:
    """Whether the lines of a node are plain Python, so that its place in the tree is its place in the source."""
    rows = slice(node.lineno - 1, node.end_lineno)
    return cell.python[0].split("\n")[rows] == cell.source.split("\n")[rows]


def with_tag_corrected(text: str, notebook: Notebook) -> str:
    """The notebook's text with its misspelt tag (see Notebook.misspelt_tag) mended, every other character as it was."""
    cell, tag = notebook.misspelt_tag()
    index = list(cell.tags).index(tag)
    start, end = _span(text, ("cells", cell.number - 1, "metadata", "tags", index))
    return text[:start] + json.dumps(PARAMETERS_TAG) + text[end:]


def _span(text: str, path: tuple) -> tuple[int, int]:
    """Where the value under a path of keys and indexes stands in a JSON text: start and end."""
    decoder, space = json.JSONDecoder(), re.compile(r"[ \t\r\n]*")

    def skip(at: int) -> int:
        return space.match(text, at).end()

    at = skip(text.startswith("\ufeff"))
    for step in path:
        at, found, count = skip(at + 1), None, 0
        while text[at] not in "]}":
            key = count
            if isinstance(step, str):
                key, at = decoder.raw_decode(text, at)
                at = skip(skip(at) + 1)  # the colon
            if key == step:
                found = at  # of equal keys the last one counts, as for json.loads
            at = skip(decoder.raw_decode(text, at)[1])
            at, count = (skip(at + 1) if text[at] == "," else at), count + 1
        at = found
    return at, decoder.raw_decode(text, at)[1]


def _is_near_miss(tag: str) -> bool:
    """`Parameters`, `parameter`, `params`: Papermill knows the one spelling, and would pass over the cell."""
    return tag != PARAMETERS_TAG and tag.strip().lower() in ("parameters", "parameter", "params", "param")


def _cell(number: int, cell: dict) -> Cell:
    tags = _mapping(cell.get("metadata")).get("tags")
    return Cell(
        number=number,
        type=str(cell.get("cell_type")),
        source=_text(cell),
        tags=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
    )


def _mapping(value: object) -> dict:
    return value if isinstance(value, dict) else {}


def _text(cell: dict) -> str | None:
    """A cell's source, which the format allows as one string or as a list of lines; None where it is neither."""
    source = cell.get("source", "")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        return "".join(source)
    return source if isinstance(source, str) else None


def _parameter(statement: ast.stmt) -> Parameter | None:
    """The parameter that a statement of the parameters cell defines: `name = ...` or `name: type = ...`."""
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
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        default = NOT_LITERAL
    return Parameter(name, statement.lineno, annotation, default, ast.unparse(value))


def _may_assign(names: set[str]) -> Callable[[str], bool]:
    """A quick test of a cell's source, true wherever it may assign one of the names: then the syntax tree tells."""
    if not names:
        return lambda source: False
    name = rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)"
    keyword = r"\b(?:for|as|import|def|class|del|case|global)\b"
    mention = re.compile(name)
    assignment = re.compile(
        # `name = `, `name, other = `, `name += `, but no comparison;
        rf"{name}.*(?:(?<![=!<>])|(?<=<<)|(?<=>>))=(?!=)"
        # `for name in`, `import x as name`, also where the line goes on below;
        rf"|{keyword}(?:.*{name}|(?:.*[(\[{{,\\|])?\s*(?:\#.*)?$)"
        # what a bracket or a backslash spreads over lines;
        rf"|{name}.*[(\[{{,\\]\s*(?:\#.*)?$|[)\]}}]\s*=(?!=)"
        # and what `%%capture name` puts there.
        rf"|^\s*%%capture\b.*{name}",
        re.MULTILINE,
    )
    return lambda source: bool(mention.search(source) and assignment.search(source))


def in_yaml(default: object) -> bool:
    """Whether params.yaml can say a literal."""
    return not any(True for _ in _not_in_yaml(default))


def _not_in_yaml(default: object) -> Iterator[object]:
    """What in a literal params.yaml cannot say: a tuple, a set or bytes would come back as something else."""
    if isinstance(default, list | dict):
        for inner in default if isinstance(default, list) else [*default, *default.values()]:
            yield from _not_in_yaml(inner)
    elif not isinstance(default, str | int | float | None):
        yield default


# What a comment says to a linter, a formatter or a type checker, and what it reminds a person of: neither heads a section.
_FOR_TOOLS = re.compile(
    r"(?:noqa|nosec|NOSONAR)\b|(?:pylint|fmt|isort|mypy|pyright|ruff|flake8|pragma)\s*:|type:\s*ignore\b"
)
_REMINDER = re.compile(r"(?:todo|fixme|xxx|hack|bug|note|nb)\b", re.IGNORECASE)


def _comments(source: str) -> Callable[[ast.stmt], tuple[str, str]]:
    """A function that gives a statement's comment and heading (see Parameter)."""
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


def bindings(tree: ast.AST) -> Iterator[tuple[str, int, bool]]:
    """Each name that a cell's own code uses or binds: name, line, and whether it is bound at top level.

    What a function or a class binds is its own, also where the name is a parameter's.
    """
    for node in ast.iter_child_nodes(tree):
        own = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        match node:
            case ast.AnnAssign(value=None, target=ast.Name()):
                continue  # `name: type` assigns nothing
            case ast.Name(id=name, ctx=context):
                yield name, node.lineno, not isinstance(context, ast.Load)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                for alias in aliases:
                    yield (alias.asname or alias.name).partition(".")[0], node.lineno, True
            case (
                ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name)
                | ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name))
                | ast.MatchMapping(rest=str(name))
            ):  # fmt: skip
                yield name, node.lineno, True
            case ast.Call(
                func=ast.Attribute(attr="run_line_magic"),
                args=[ast.Constant(value=magic), ast.Constant(value=str(text))],
            ):
                yield from ((name, node.lineno, stored) for name, _, stored in _bindings_of_magic(magic, text))
        for part in _evaluated_outside(node):
            walrus = (inner for inner in ast.walk(part) if isinstance(inner, ast.NamedExpr))
            yield from ((inner.target.id, inner.lineno, True) for inner in walrus)
        if own:
            for inner_node in ast.walk(node):
                if isinstance(inner_node, ast.Global):
                    yield from ((name, inner_node.lineno, True) for name in inner_node.names)
        if own or isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            inner = {name for name, _, stored in bindings(node) if stored} | {
                argument.arg for argument in ast.walk(node) if isinstance(argument, ast.arg)
            }
            yield from (found for found in bindings(node) if not found[2] and found[0] not in inner)
        else:
            yield from bindings(node)


def _bindings_of_magic(name: str, text: str) -> Iterator[tuple[str, int, bool]]:
    """Those of the code that `%time CODE` runs in the notebook, and of `%%capture NAME`."""
    if name in ("time", "prun"):
        with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            yield from bindings(_parse(text))
    elif name == "capture":
        yield from ((word, 1, True) for word in text.split() if word.isidentifier())


def _evaluated_outside(node: ast.AST) -> list[ast.expr]:
    """What of a function, a class or a comprehension binds by `:=` a name of the code around it."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            return [*getattr(node, "decorator_list", ()), *defaults]
        case ast.ClassDef(decorator_list=decorators, bases=bases, keywords=keywords):
            return [*decorators, *bases, *(keyword.value for keyword in keywords)]
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return [node]
    return []


def _parse(source: str, feature_version: tuple[int, int] | None = None) -> ast.Module:
    """The tree of a source, without the warnings (`"\\d"`) that belong to the person who runs it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source, feature_version=feature_version)


def canonical(source: str) -> str:
    """The comparable text of one cell's source: equal for two that do the same, and the same on each Python.

    Without what a formatter may change: layout, comments, quotes, the order of imports. What is not Python stands as it is.
    """
    return _comparable(source, has_parameters=False)


def renewed(text: str) -> str:
    """The text of `Notebook.code` that an earlier version of this module wrote, as this one writes it."""
    head, *cells = re.split(f"^{_CELL}", text, flags=re.MULTILINE)
    made = []
    for cell in cells:
        names, _, rest = cell.partition("\n") if cell.startswith(_PARAMETERS) else ("", "", cell)
        made.append(_CELL + "\n".join(filter(None, [names, canonical(rest.strip("\n"))])) + "\n")
    return head + "\n".join(made)


def _comparable(source: str, has_parameters: bool) -> str:
    """See `canonical`; of parameters it has the names alone, because their values come from params.yaml."""
    # JSON may hold half a surrogate pair, which a file cannot.
    source = source.replace("\r\n", "\n").encode("utf-8", "backslashreplace").decode()
    magic, _, body = source.strip().partition("\n")
    if magic.startswith("%%") and not _PYTHON_CELL_MAGIC.match(magic):
        return f"{magic}\n{canonical(body)}" if _FORMATTED_CELL_MAGIC.match(magic) else source
    limit, names = sys.getrecursionlimit(), set()
    sys.setrecursionlimit(max(limit, 20_000))  # how deep one gets with the usual limit differs by Python
    try:
        text, hidden = _readable_everywhere(_without_indentation(source))
        tree = _parse(text, _OLDEST)
        is_quiet = not has_parameters and _is_quiet(source, text, tree)
        for statement in tree.body if has_parameters else ():
            if parameter := _parameter(statement):
                names.add(parameter.name)
                # What is not a plain `name = literal` runs as code, so it counts as code.
                if parameter.default is not NOT_LITERAL:
                    tree.body = [each for each in tree.body if each is not statement]
        code = ast.unparse(_Canonical(hidden).visit(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source.strip("\n")
    finally:
        sys.setrecursionlimit(limit)
    lines = [_PARAMETERS + ", ".join(sorted(names))] if names else []
    return "\n".join([*lines, *([code + ";" * is_quiet] if code else [])])


# What the tree of a cell has instead of text: the literal part of `{x=}`, and the `t` of a template string.
_LITERAL, _TEMPLATE = "\0", "\1"
# How a cell begins in a code file, and the one of parameters goes on.
_CELL, _PARAMETERS = "# %%\n", "# parameters: "
# The grammar that all Pythons are held to.
_OLDEST = (3, 11)


def _is_quiet(source: str, text: str, tree: ast.Module) -> bool:
    """Whether a closing semicolon hides the value of the cell's last line in IPython: it changes what the run shows."""
    if not tree.body:
        return False
    last = tree.body[-1]
    rest = text.split("\n")[last.end_lineno - 1].encode()[last.end_col_offset :].lstrip()
    return rest.startswith(b";") or (source.rstrip().endswith(";") and not text.rstrip().endswith(";"))


class _Canonical(ast.NodeTransformer):
    """Makes equal what a formatter may change in a tree, and what `ast.unparse` writes differently by Python's version.

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
        """The text between the quotes; not as Python wants it, but different for different strings."""
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


def _with_names(statement: ast.stmt, names: list[ast.alias]) -> ast.stmt:
    if isinstance(statement, ast.Import):
        return ast.Import(names)
    return ast.ImportFrom(statement.module, names, statement.level)


def _docstring(text: str) -> str:
    """A docstring without what a formatter changes in it: its indentation, and blank space at the ends of lines."""
    first, *others = (line.rstrip() for line in text.expandtabs().strip().split("\n"))
    margin = min((len(line) - len(line.lstrip()) for line in others if line), default=0)
    lines = [first, *(line[margin:] for line in others)]
    return '"""' + "\n".join(lines).replace("\\", "\\\\").replace('"""', '\\"""') + '"""'


def _with_sorted_imports(statements: list[ast.stmt]) -> list[ast.stmt]:
    """The statements with each block of imports sorted, one name a line: isort sorts, splits and merges them.

    Where two bring one name, or one brings names that are not known (`*`), their order counts.
    """
    done = []
    for is_import, group in itertools.groupby(statements, lambda each: isinstance(each, ast.Import | ast.ImportFrom)):
        if not is_import:
            done += group
            continue
        single = [_with_names(each, [alias]) for each in group for alias in each.names]
        for is_star, part in itertools.groupby(single, lambda each: each.names[0].name == "*"):
            part = [*part]
            done += part if is_star else _sorted_imports(part)
    return done


def _sorted_imports(imports: list[ast.stmt]) -> list[ast.stmt]:
    """Imports of one name each: sorted, each once; below them, in their order, those whose name has two meanings."""
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
    """A source in which names stand for what some Python cannot parse, or parses in its own way; and their texts.

    IPython's syntax becomes calls, the expressions of an f-string become names, and so do `f[T]` in `def f[T]():` and
    `type X` in `type X = int`.
    """
    scan, hidden, edits, mark = _Scan(source), {}, [], "_hidden"
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
        name = hide(ast.unparse(_Canonical(inner).visit(_parse(text, _OLDEST))))
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
    return _edited(source, edits + scan.magics), hidden


def _edited(source: str, edits: list[tuple[int, int, str]]) -> str:
    """A text with others in the place of parts of it."""
    for start, end, text in sorted(edits, reverse=True):
        source = source[:start] + text + source[end:]
    return source


_BRACKETS = r"\[(?:[^\[\]]|\[(?:[^\[\]]|\[[^\[\]]*\])*\])*\]"
_STEP = re.compile(
    r"""\#[^\n]*|\\\n|[\n()\[\]{}:]|!(?!=)"""
    r"""|(?P<prefix>(?<!\w)[bfrtuBFRTU]{1,2})?(?P<quote>\"{3}|'{3}|["'])"""
    # Python 3.12: type parameters, and `type X = ...`;
    rf"""|\b(?:def|class)[ \t]+(?P<generic>\w+[ \t]*{_BRACKETS})"""
    rf"""|\b(?P<alias>type[ \t]+(?!(?:and|else|for|if|in|is|not|or)\b)\w+[ \t]*(?:{_BRACKETS})?)(?=\s*=[^=])"""
    # 3.14: several exceptions without parentheses.
    r"""|\bexcept\b\*?[ \t]*(?P<exceptions>[^:()\n#]*,[^:()\n#]*)(?=:)"""
)


class _Scan:
    """Where in a cell's source stands what `ast` reads on some Pythons only. It reads all of it alike on each Python.

    Attributes:
        magics: lines of IPython's syntax, each with start, end, and the call that it stands for.
        fields: the expressions in f-strings, but not those in them; start and end, as of all that follows.
        names: names with type parameters, and `type X`.
        templates: where the `t` of a template string is, and where its text begins.
        exceptions: those that `except A, B:` names.
    """

    def __init__(self, source: str):
        self.source, self.magics, self.fields, self.names = source, [], [], []
        self.templates, self.exceptions = [], []
        self._pass_code(self._pass_magics(0), is_field=False)

    def _pass_code(self, at: int, is_field: bool) -> int:
        """To the end; of a field to where its expression ends."""
        depth = 0
        while step := _STEP.search(self.source, at):
            at, token = step.end(), step[0]
            if step["quote"]:
                at = self._pass_string(at, (step["prefix"] or "").lower(), step["quote"], is_field)
            elif is_field and not depth and token in ("!", ":", "}", "]", ")"):
                return step.start()
            elif token in ("(", "[", "{"):
                depth += 1
            elif token in (")", "]", "}"):
                depth = max(depth - 1, 0)
            elif token == "\n" and not depth and not is_field:
                at = self._pass_magics(at)
            elif step["exceptions"]:
                self.exceptions.append(step.span("exceptions"))
            elif name := step["generic"] or step["alias"]:
                self.names.append((at - len(name), at))
        return len(self.source)

    def _pass_magics(self, at: int) -> int:
        """Over lines of IPython's syntax at the begin of a statement; IPython joins those that end in a backslash."""
        while line := _LOGICAL_LINE.match(self.source, at):
            call = _ipython_call(line[0].replace("\\\n", " ").rstrip("\\"))
            if call is None:
                break
            self.magics.append((*line.span(), call + "\n" * line[0].count("\n")))
            at = min(line.end() + 1, len(self.source))
        return at

    def _pass_string(self, at: int, prefix: str, quote: str, is_inner: bool) -> int:
        if not {*prefix} & {*"ft"}:
            end = re.compile(rf"(?:\\.|[^\\])*?{quote}", re.DOTALL).match(self.source, at)
            return end.end() if end else len(self.source)
        if "t" in prefix and not is_inner:
            self.templates.append((at - len(quote) - len(prefix) + prefix.index("t"), at))
        name = "" if "r" in prefix else r"\\N\{[^{}]*\}|"
        step = re.compile(rf"{name}\\[^{{}}]|\{{\{{|(?P<field>\{{)|(?P<end>{quote})", re.DOTALL)
        while found := step.search(self.source, at):
            at = found.end()
            if found["end"]:
                break
            if found["field"]:
                at = self._pass_field(at, is_inner)
        return at

    def _pass_field(self, at: int, is_inner: bool) -> int:
        """Over `x!r:>{width}}`."""
        end = self._pass_code(at, is_field=True)
        if not is_inner:
            self.fields.append((at, end))
        while end < len(self.source) and self.source[end] != "}":
            end = self._pass_field(end + 1, is_inner) if self.source[end] == "{" else end + 1
        return end + 1


def _syntax_error_line(cell: Cell) -> int | None:
    try:
        _parse(cell.python[0])
    except SyntaxError as error:
        return error.lineno
    except (ValueError, RecursionError, MemoryError):
        pass
    return None


_LOGICAL_LINE = re.compile(r"(?:\\\n|[^\n])*")
_ASSIGNED = re.compile(r"""(?P<target>(?:[^=!%?#'"]|"[^"]*"|'[^']*')*=)\s*(?P<sign>[!%])(?P<rest>.*)""")
_HELP = re.compile(r"""\?.*|[^#'"]+\?""")
# Cell magics whose body is Python of the notebook.
_PYTHON_CELL_MAGIC = re.compile(r"%%(time|capture|prun)\b(?!.*-[a-zA-Z]*c\b)")
# Of those that ruff takes for Python, too, the others.
_FORMATTED_CELL_MAGIC = re.compile(r"%%(debug|ipytest|pypy|python3?|timeit)\b")


def _plain_python(source: str) -> tuple[str, ast.Module | None]:
    """Replaces IPython's own syntax by the calls that it stands for, so that `ast` can read the cell.

    Only a line that begins a statement is taken for IPython's, so a `%` or `!` within a string or an expression stays. The
    calls are those of IPython.core.inputtransformer2.
    """
    first = next(filter(str.strip, source.split("\n")), "")
    if first.startswith("%%") and not _PYTHON_CELL_MAGIC.match(first):
        return source, None
    text = _without_indentation(source)
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        return text, _parse(text)
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        text = _edited(text, _Scan(text).magics)
        return text, _parse(text)
    return source, None


def _without_indentation(source: str) -> str:
    """A part of a function that was pasted: IPython takes the indentation off."""
    indent = re.match(r"(?:[ \t]*\n)*([ \t]+)\S", source)
    return re.sub(f"^{indent[1]}", "", source, flags=re.MULTILINE) if indent else source


def _ipython_call(line: str) -> str | None:
    """The call that a line of IPython syntax stands for; None where the line is not of that kind."""
    indent, text = line[: len(line) - len(line.lstrip())], line.strip()
    if text.startswith("!"):
        return f"{indent}get_ipython().system({text[1:].lstrip('!')!r})"
    if text.startswith("%"):
        return indent + _magic_call(text)
    if _HELP.fullmatch(text):
        return f"{indent}get_ipython().run_line_magic('pinfo', {text.strip('?')!r})"
    if match := _ASSIGNED.fullmatch(text):
        call = (
            f"get_ipython().getoutput({match['rest']!r})" if match["sign"] == "!" else _magic_call("%" + match["rest"])
        )
        return f"{indent}{match['target']} {call}"
    return None


def _magic_call(text: str) -> str:
    name, _, rest = text.lstrip("%").partition(" ")
    return f"get_ipython().run_line_magic({name!r}, {rest.strip()!r})"


_TYPES = {
    "int": int, "float": (int, float), "str": str, "bool": bool, "None": type(None),
    "list": list, "List": list, "dict": dict, "Dict": dict,
    # YAML has no such values, so these never fit: a list that arrives in their place is named.
    "tuple": tuple, "Tuple": tuple, "set": set, "Set": set, "bytes": bytes, "complex": complex,
}  # fmt: skip


# What may stand in for a default of the same kind; any literal is of one.
_KINDS = ((int, float), (str,), (list, tuple), (dict,), (object,))


def _fits(annotation: ast.expr, value: object) -> bool | None:
    """Whether a value is what an annotation says; None where the annotation is not understood."""
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
    """Whether a value is what stands in a `Literal[...]`, where another one may stand, too."""
    try:
        literal = ast.literal_eval(argument)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return _fits(argument, value)
    return type(value) is type(literal) and value == literal


def _any(*verdicts: bool | None) -> bool | None:
    return True if True in verdicts else None if None in verdicts else False


def _all(*verdicts: bool | None) -> bool | None:
    return False if False in verdicts else None if None in verdicts else True
