"""One Jupyter notebook: its cells, its parameters and its code.

Knows nothing of DVC. Imports the standard library only, because the hook reads every notebook at every commit, and the
template's extension reads one before there is an environment. The extension loads this folder as a package under another
name, so that its modules import each other relatively.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from .code_text import CELL, canonical, renewed
from .ipython import read_python
from .names import bindings
from .parameters import (
    NOT_LITERAL,
    Parameter,
    as_python_reads,
    contradiction,
    find_comments,
    find_not_in_yaml,
    in_yaml,
    key_of,
    read_parameter,
)
from .syntax import UNREADABLE, find_conflict, parse_python, replaced

# What the verbs import from here, whichever module has it.
__all__ = [
    "INJECTED_TAG", "NOT_LITERAL", "PARAMETERS_TAG", "SKIPPED_TAG", "Cell", "Notebook", "NotebookError", "Parameter",
    "as_python_reads", "bindings", "canonical", "contradiction", "id_of", "in_yaml", "key_of", "parse", "read", "renewed", "replaced",
    "stands_in_source", "with_tag_corrected",
]  # fmt: skip

PARAMETERS_TAG = "parameters"
# Papermill's tag for the cell that it adds: https://papermill.readthedocs.io/en/latest/usage-parameterize.html
INJECTED_TAG = "injected-parameters"
# nbclient's tag for a cell that it skips (`NotebookClient.skip_cells_with_tag`).
SKIPPED_TAG = "skip-execution"


class NotebookError(Exception):
    """A file that cannot be used as a notebook, or a cell that cannot be read; one line: place, problem, fix."""


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

        What is still not Python comes back unchanged, without a tree.
        """
        return read_python(self.source)

    @property
    def tree(self) -> ast.Module | None:
        """The syntax tree of the cell; None if it is not Python."""
        return self.python[1]


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
        """The kernel's language in lower case; `python` if the notebook does not say."""
        metadata = _mapping(self.document.get("metadata"))
        language = _mapping(metadata.get("kernelspec")).get("language") or _mapping(metadata.get("language_info")).get(
            "name"
        )
        return str(language or "python").lower()

    @cached_property
    def parameters_cell(self) -> Cell | None:
        """The code cell tagged `parameters`; None unless there is exactly one."""
        tagged = [cell for cell in self.cells if PARAMETERS_TAG in cell.tags and cell.type == "code"]
        return tagged[0] if len(tagged) == 1 else None

    @cached_property
    def parameters(self) -> list[Parameter]:
        """What the parameters cell assigns, in its order; the last assignment of a name counts."""
        if self.parameters_cell is None or self.parameters_cell.tree is None:
            return []
        found, comments = {}, find_comments(self.parameters_cell.python[0])
        for statement in self.parameters_cell.tree.body:
            if parameter := read_parameter(statement):
                comment, section = comments(statement)
                found[parameter.name] = replace(parameter, comment=comment, section=section)
        return list(found.values())

    def place(self, cell: Cell, line: int | None = None) -> str:
        """`notebooks/x.ipynb: cell 3` or `notebooks/x.ipynb: cell 3, line 2`: where a message points."""
        return f"{self.path}: cell {cell.number}" + (f", line {line}" if line else "")

    def problems(self, scratch: bool = False) -> Iterator[str]:
        """Find what prevents Papermill from overriding the parameters of this notebook; one line each, with the fix.

        A scratch notebook, which no stage runs, may do without parameters.
        """
        if self.language not in ("python", "ipython"):
            yield f"{self.path}: its language is {self.language}. Fix: use a Python notebook"
            return
        tagged, misspelt = [cell for cell in self.cells if PARAMETERS_TAG in cell.tags], self._misspelt_tags()
        for cell, tag in misspelt:
            if self.misspelt_tag():
                fix = f"rename it to `{PARAMETERS_TAG}`"
            elif tagged:
                fix = "remove it"
            else:
                fix = f"remove it, or tag only the code cell that assigns the parameters, with `{PARAMETERS_TAG}`"
            yield f"{self.place(cell)}: Papermill ignores the tag `{tag}`. Fix: {fix}"
        for cell in tagged:
            if cell.type != "code":
                yield f"{self.place(cell)}: the tag `{PARAMETERS_TAG}` is on a {cell.type} cell. Fix: move it to a code cell"
        code = [cell for cell in tagged if cell.type == "code"]
        if len(code) > 1:
            numbers = " and ".join(str(cell.number) for cell in code)
            yield (
                f"{self.path}: cells {numbers} are tagged `{PARAMETERS_TAG}`, so that the last one overrides params.yaml. "
                "Fix: keep the tag on one"
            )
        elif not tagged and not misspelt and not scratch:
            yield (
                f"{self.path}: no cell is tagged `{PARAMETERS_TAG}`. Fix: tag the cell that assigns the parameters, "
                "or a new, empty one if there are none"
            )
        elif code and code[0].tree is None:
            place = self.place(code[0], _syntax_error_line(code[0]))
            yield f"{place}: the parameters cell is not valid Python. Fix: correct the syntax"

    def misspelt_tag(self) -> tuple[Cell, str] | None:
        """Find the one cell that is meant to be the parameters cell, and its misspelt tag; None if that is not clear."""
        misspelt = self._misspelt_tags()
        exact = any(PARAMETERS_TAG in cell.tags for cell in self.cells)
        return misspelt[0] if len(misspelt) == 1 and misspelt[0][0].type == "code" and not exact else None

    def _misspelt_tags(self) -> list[tuple[Cell, str]]:
        return [(cell, tag) for cell in self.cells for tag in cell.tags if _is_near_miss(tag)]

    def drift(self) -> Iterator[str]:
        """Find code that uses another value than the one that params.yaml gives; one line each, with the fix.

        Call it for a notebook without `problems` only.
        """
        names = {parameter.name for parameter in self.parameters}
        yield from self._drift_in_parameters_cell(names)
        for cell in self.cells:
            if cell.type != "code" or cell is self.parameters_cell or SKIPPED_TAG in cell.tags:
                continue
            above = cell.number < self.parameters_cell.number
            # Reading each cell as Python would take most of the time.
            source = as_python_reads(cell.source)
            if not any(name in source for name in names) or cell.tree is None:
                continue
            wanted = {(name, not above) for name in names}
            for name, line, stored in bindings(cell.tree, wanted.copy()):
                if (name, stored) not in wanted:
                    continue
                wanted.remove((name, stored))
                if above:
                    yield (
                        f"{self.place(cell, line)}: uses the parameter `{name}` above the parameters cell "
                        f"(cell {self.parameters_cell.number}). Fix: move one of the two cells"
                    )
                else:
                    yield (
                        f"{self.place(cell, line)}: assigns the parameter `{name}` again, so that params.yaml is ignored "
                        "from here on. Fix: use another name"
                    )

    def unused(self) -> Iterator[str]:
        """Find parameters that no cell mentions: harmless, but most likely a mistake."""
        text = "\n".join(cell.source for cell in self.cells if cell.type == "code" and cell is not self.parameters_cell)
        text = as_python_reads(text)
        for parameter in self.parameters:
            # `\b` would end a word before a combining mark, as in `x̂`.
            if not re.search(rf"(?<!\w){re.escape(parameter.name)}(?!\w)", text):
                yield f"{self.place(self.parameters_cell, parameter.line)}: no cell uses the parameter `{parameter.name}`"

    def _drift_in_parameters_cell(self, names: set[str]) -> Iterator[str]:
        cell, lines = self.parameters_cell, {}
        for statement in cell.tree.body:
            parameter, place = read_parameter(statement), self.place(cell, statement.lineno)
            if parameter is None:
                # A title of the cell as a string, or `...`, does nothing.
                if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                    yield f"{place}: only `name = literal` belongs in the parameters cell. Fix: move this to a cell below"
                continue
            if parameter.name in lines:
                yield f"{place}: `{parameter.name}` is already assigned in line {lines[parameter.name]}. Fix: keep one of the two"
            lines.setdefault(parameter.name, statement.lineno)
            used = [name for name, _, stored in bindings(ast.Module([statement], [])) if not stored and name in names]
            if parameter.default is NOT_LITERAL and used:
                yield (
                    f"{place}: `{parameter.name}` is computed from the parameter `{used[0]}` and would not follow it. "
                    "Fix: move this line to a cell below"
                )
            elif parameter.default is not NOT_LITERAL and not in_yaml(parameter.default):
                what = next(find_not_in_yaml(parameter.default))
                verb = "is" if what is parameter.default else "contains"
                yield (
                    f"{place}: `{parameter.name}` {verb} a {type(what).__name__}, which params.yaml cannot hold. "
                    "Fix: write a list or a string"
                )
            elif parameter.default is NOT_LITERAL and parameter.source:
                yield (
                    f"{place}: `{parameter.name}` is not a literal, so params.yaml cannot hold it. "
                    "Fix: write a number, string, list or mapping, or move this line to a cell below"
                )

    def code(self) -> str:
        """Make one Python file of the code that a run executes; equal for two notebooks that do the same.

        Without outputs, metadata, markdown and what `canonical` leaves out, so that neither an editor nor a formatter
        nor another Python makes a stage stale. The parameters cell is reduced to its names: their values come from
        params.yaml.
        """
        return "\n".join(text for _, text in self._code_by_cell())

    def cell_of_code(self, line: int) -> Cell:
        """Find the cell of a line of `code`, counted from 0."""
        cells = [cell for cell, text in self._code_by_cell() for _ in text.split("\n")]
        return cells[line]

    def _code_by_cell(self) -> Iterator[tuple[Cell, str]]:
        for cell in self.cells:
            if cell.type == "code" and SKIPPED_TAG not in cell.tags:
                if text := canonical(cell.source, has_parameters=cell is self.parameters_cell):
                    yield cell, f"{CELL}{text}\n"


def id_of(cell: dict, number: int) -> str:
    """Return a cell's id; one by its number if an older format gave it none."""
    return cell.get("id") or f"cell-{number}"


def read(path: str | Path) -> Notebook:
    """Read a notebook file.

    Raises:
        NotebookError: the file does not exist or is not a notebook of format 4.
    """
    name = Path(path).as_posix()
    try:
        text = Path(path).read_bytes().decode("utf-8").removeprefix("\ufeff")
    except FileNotFoundError:
        raise NotebookError(f"{name}: does not exist. Fix: correct the path") from None
    except UnicodeDecodeError:
        raise NotebookError(
            f"{name}: not a valid notebook (not UTF-8 text). Fix: restore its last version, from git: `git checkout HEAD -- {name}`"
        ) from None
    return parse(text, name)


def parse(text: str, name: str) -> Notebook:
    """Read a notebook from the text of its file; `name` is what messages call it.

    Raises:
        NotebookError: the text is not a notebook of format 4.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        if line := find_conflict(text):
            raise NotebookError(
                f"{name}:{line}: contains a merge conflict. Fix: `git checkout --merge -- {name}` "
                f"and then `git checkout --ours -- {name}` (or `--theirs`)"
            ) from None
        line = getattr(error, "lineno", None)
        place = f"{name}:{line}" if line else name
        raise NotebookError(
            f"{place}: not a valid notebook (broken JSON). Fix: restore its last version, from git: `git checkout HEAD -- {name}`"
        ) from None
    if not isinstance(document, dict) or "nbformat" not in document:
        raise NotebookError(f"{name}: not a valid notebook (JSON of another kind). Fix: use a file that Jupyter wrote")
    if document["nbformat"] != 4:
        quoted = f'"{name}"' if " " in name else name
        raise NotebookError(
            f"{name}: its notebook format is {document['nbformat']}, not 4. "
            f"Fix: `uvx --from nbconvert jupyter-nbconvert --to notebook --inplace {quoted}`"
        )
    cells = document.get("cells")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) and _text(cell) is not None for cell in cells):
        raise NotebookError(
            f"{name}: not a valid notebook (its `cells` are not a list of cells). Fix: use a file that Jupyter wrote"
        )
    for cell in cells:
        cell.pop("outputs", None)
    return Notebook(name, document)


def stands_in_source(cell: Cell, node: ast.expr) -> bool:
    """Tell whether the lines of a node are plain Python, so that its place in the tree is its place in the source."""
    rows = slice(node.lineno - 1, node.end_lineno)
    return cell.python[0].split("\n")[rows] == cell.source.split("\n")[rows]


def with_tag_corrected(text: str, notebook: Notebook) -> str:
    """Correct the misspelt tag (see Notebook.misspelt_tag) in the notebook's text, and change nothing else."""
    cell, tag = notebook.misspelt_tag()
    index = list(cell.tags).index(tag)
    wanted = json.loads(text.removeprefix("\ufeff"))
    wanted["cells"][cell.number - 1]["metadata"]["tags"][index] = PARAMETERS_TAG
    # The one string of this value with which the text says what it is to say.
    strings = (each for each in re.finditer(r'"(?:[^"\\]|\\.)*"', text) if json.loads(each[0]) == tag)
    texts = (f"{text[: each.start()]}{json.dumps(PARAMETERS_TAG)}{text[each.end() :]}" for each in strings)
    return next(new for new in texts if json.dumps(json.loads(new.removeprefix("\ufeff"))) == json.dumps(wanted))


def _is_near_miss(tag: str) -> bool:
    """`Parameters`, `parameter`, `params`: Papermill knows only one spelling, and ignores these."""
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
    """A cell's source, which the format allows as one string or as a list of lines; None if it is neither."""
    source = cell.get("source", "")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        return "".join(source)
    return source if isinstance(source, str) else None


def _syntax_error_line(cell: Cell) -> int | None:
    try:
        parse_python(cell.python[0])
    except SyntaxError as error:
        return error.lineno
    except UNREADABLE:
        pass
    return None
