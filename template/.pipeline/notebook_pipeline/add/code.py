"""The code that used paths: which texts each path may have been made of."""

import ast
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from notebook_pipeline.add.flow import Flow, Literal
from notebook_pipeline.add.observation import Observation, Site, Use
from notebook_pipeline.add.places import Places
from notebook_pipeline.add.texts import head_of, is_upwards, parts
from notebook_pipeline.notebook.document import Cell, Notebook
from notebook_pipeline.notebook.syntax import UNREADABLE, parse_python


class Code:
    """The cells of a notebook and the modules of its own, with the uses of paths that they were seen to make.

    Attributes:
        cells: the code cells, by number.
        modules: the text of each module, by its file.
        uses: all uses, with places of the code as it was given.
    """

    def __init__(self, notebook: Notebook, found: Observation, places: Places, modules: Mapping[Path, str]):
        self.found, self.places = found, places
        self.cells = {cell.number: cell for cell in notebook.cells if cell.type == "code"}
        self.modules = {
            file: file.read_text(encoding="utf-8", errors="replace") for file in modules if file.suffix == ".py"
        }
        trees = {number: cell.tree for number, cell in self.cells.items() if cell.tree}
        for file, text in self.modules.items():
            try:
                trees[str(file)] = parse_python(text)
            except UNREADABLE:
                continue
        self.flow = Flow(trees)
        self.uses = [self._on_given_code(use) for use in found.uses]
        self._known: dict[tuple, tuple[list[Literal], set[str]]] = {}

    def _on_given_code(self, use: Use) -> Use:
        """The use with places of the code as it was given: in the code that ran, full paths led to the scratch folder."""
        sites = []
        for site in use.sites:
            cell = self.cells.get(site.source) if isinstance(site.source, int) else None
            ran = self.found.sources.get(site.source)
            if cell is not None and cell.tree is not None and ran not in (None, cell.source):
                site = _moved_site(site, Cell(cell.number, "code", ran, ()).tree, cell.tree)
            sites.append(site)
        return Use(use.what, use.said, use.path, use.cell, tuple(sites))

    def literals(self, use: Use) -> tuple[list[Literal], set[str]]:
        """The literals of which a path may have been made, the nearest first, and the names; whatever stands in the code if no call is known."""
        key = (use.sites, use.cell, "" if use.sites else use.said)
        if key not in self._known:
            self._known[key] = self._find_literals(use)
        literals, names = self._known[key]
        if not any(head_of(literal.text, form) for literal in literals for form, _ in self.forms(use)):
            # Code that a magic runs, as `%%time`, has no places.
            own = (each for each in self.flow.literals.values() if each.source == use.cell and each not in literals)
            literals = [*literals, *(each for each in own if "/" in each.text or parts(each.text) == parts(use.said))]
        return literals, names

    def _find_literals(self, use: Use) -> tuple[list[Literal], set[str]]:
        literals, names = [], set()
        for site in use.sites:
            if (node := self.flow.call_at(site)) is not None:
                more, called = self.flow.origins(site.source, node, when_used(use))
                literals += [each for each in more if each not in literals]
                names |= called
        if not use.sites:
            literals = [
                each for each in self.flow.literals.values() if "/" in each.text or parts(each.text) == parts(use.said)
            ]
        return literals, names

    def forms(self, use: Use) -> list[tuple[list[str], Path | None]]:
        """The parts of a path as the code says it, and as seen from the folders in which it may have begun."""
        said = [] if use.what == "native" else [(parts(use.said), None)]
        full = os.path.isabs(use.said) or use.what == "native"
        return said + [(parts(os.path.relpath(use.path, base)), base) for base in self.places.bases if full]

    def head_folder(self, use: Use) -> Path | None:
        """The folder that the longest text which begins the path names; None if it is the path itself, or is not told."""
        literals = self.literals(use)[0]
        for form, _ in self.forms(use):
            if 0 < (told := _count_told(literals, form)) < len(form):
                return Path(*use.path.parts[: told - len(form)])
        return None

    def is_named(self, use: Use) -> bool:
        """Whether a text of the code begins a path."""
        return any(head_of(literal.text, form) for literal in self.literals(use)[0] for form, _ in self.forms(use))

    def source_of(self, source: int | str) -> str:
        return self.cells[source].source if isinstance(source, int) else self.modules[Path(source)]

    def lines_for_shell(self) -> Iterator[tuple[Cell, int, str]]:
        """Yield the lines of code cells that are not Python: shell lines, magics, and what a cell magic is about."""
        for cell in self.cells.values():
            plain = cell.python[0].split("\n")
            for row, line in enumerate(cell.source.split("\n")):
                if cell.tree is None or line != plain[row]:
                    yield cell, row, line


def _count_told(literals: list[Literal], path: list[str]) -> int:
    """Return how many parts of a path texts of the code tell, if not only `..`."""
    heads = [(literal, own) for literal in literals if (own := parts(head_of(literal.text, path) or "."))]
    named = max((len(own) for _, own in heads if not is_upwards(own)), default=0)
    if named or not heads:
        return named
    literal, upwards = heads[0]
    more = _count_told([each for each in literals if each is not literal], path[len(upwards) :])
    return more and len(upwards) + more


def when_used(use: Use) -> tuple[int, int]:
    """When a path was used: the cell that ran, and its line."""
    lines = [site.line for site in use.sites if site.source == use.cell]
    return use.cell, lines[-1] if lines else 10**6


def _moved_site(site: Site, ran: ast.Module | None, given: ast.Module) -> Site:
    """The same node's place in another text of the same structure."""
    for one, other in zip(ast.walk(ran), ast.walk(given), strict=False) if ran else ():
        if isinstance(one, ast.expr) and span_of(one) == (site.line, site.column, site.end_line, site.end_column):
            return Site(site.source, *span_of(other))
    return site


def span_of(node: ast.expr) -> tuple[int, int, int, int]:
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset
