"""The sections of a notebook, of which each becomes a stage: by its headings, or as a person says."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from notebook_pipeline.notebook.document import Cell, Notebook
from notebook_pipeline.split.statements import Statement

MOST = 5
"""Stages that a notebook is split into unless a person asks for more."""


ELSEWHERE = "cut elsewhere: `--at CELL,CELL`"
"""What else to do."""


class Refused(Exception):
    """Why a notebook is not split; one line: what is wrong, what to do."""


@dataclass(frozen=True)
class Section:
    """Cells in a row that become one stage."""

    name: str
    cells: tuple[Cell, ...]

    @property
    def first(self) -> int:
        return self.cells[0].number

    def __str__(self) -> str:
        code = [cell.number for cell in self.cells if cell.type == "code"]
        return f"cells {code[0]}-{code[-1]}" if len(code) > 1 else f"cell {code[0]}"


def by_headings(notebook: Notebook, statements: list[Statement]) -> list[Section]:
    """Find the sections at the shallowest level of headings that has two with code that computes; none if there is no such level."""
    headings = [(cell.number, *each) for cell in notebook.cells for each in _headings(cell)]
    for level in sorted({level for _, level, _ in headings}):
        starts = {}
        for number, at, title in headings:
            if at == level:
                starts.setdefault(number, title)
        sections = _divided(notebook, starts, statements)
        if len(sections) > 1:
            return sections
    return []


def by_request(notebook: Notebook, at: str, statements: list[Statement]) -> list[Section]:
    """Find the sections that begin at these cells: `5,12`, or at these headings: `Train,Evaluate`.

    Raises:
        Refused: there is no such cell or heading, or nothing to split.
    """
    titles = [(cell.number, title) for cell in notebook.cells for _, title in _headings(cell)]
    starts = {}
    for word in filter(None, map(str.strip, at.split(","))):
        if word.isdecimal():
            found = [cell.number for cell in notebook.cells if cell.number == int(word)]
        else:
            found = [number for number, title in titles if _slug(word) in (_slug(title), title.strip().casefold())]
        if len(found) != 1:
            shown = ", ".join(title for _, title in titles) or "none"
            what = "no cell or heading" if not found else f"{len(found)} headings"
            raise Refused(
                f"--at {word}: {notebook.path} has {what} of this name. Fix: write cell numbers, or one of its headings: {shown}"
            )
        starts[found[0]] = dict(titles).get(found[0], "" if word.isdecimal() else word)
    sections = _divided(notebook, starts, statements)
    if len(sections) < 2:
        raise Refused(f"--at {at}: leaves no two parts that compute something. Fix: name a cell between two of them")
    return sections


def joined(sections: list[Section], saved: Callable[[list[Section]], list[float]]) -> list[Section]:
    """Join neighbours, those first whose cut saves the least, until there are no more than MOST.

    Args:
        saved: says how many seconds each cut saves.
    """
    while len(sections) > MOST:
        seconds = saved(sections)
        at = seconds.index(min(seconds))
        one = Section(sections[at].name, sections[at].cells + sections[at + 1].cells)
        sections = [*sections[:at], one, *sections[at + 2 :]]
    return sections


def _divided(notebook: Notebook, starts: dict[int, str], statements: list[Statement]) -> list[Section]:
    """Divide the cells; a part that computes nothing, as one of imports, goes with the next one, and at the end with the one before."""
    computing = {each.cell.number for each in statements if not each.kind}
    parts = [("", [])]
    for cell in notebook.cells:
        if cell.number in starts:
            parts.append((starts[cell.number], []))
        parts[-1][1].append(cell)
    sections, waiting = [], []
    for title, cells in parts:
        if any(cell.number in computing for cell in cells):
            sections.append((title, waiting + cells))
            waiting = []
        else:
            waiting += cells
    if sections:
        sections[-1][1].extend(waiting)
    stem = re.sub(r".*/|\.ipynb$", "", notebook.path)
    names = _unique(_slug(title) or f"{_slug(stem)}_{number}" for number, (title, _) in enumerate(sections, 1))
    return [Section(name, tuple(cells)) for name, (_, cells) in zip(names, sections, strict=True)]


def _unique(names: Iterable[str]) -> Iterator[str]:
    seen = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}_{seen[name]}"


def _slug(title: str) -> str:
    """Make a stage's name of a heading: `2.1 Train the model` is `train_the_model`."""
    plain = unicodedata.normalize("NFKC", re.sub(r"\[([^\]]*)\]\([^)]*\)|<[^>]*>|&\w+;", r"\1", title)).lower()
    plain = re.sub(r"^\W*((step|part|section|task)\W+)?([\divx]+[.):]+\s*)*(\d+\W+)*", "", plain)
    words = re.findall(r"\w+", plain.replace("_", " "))
    while len("_".join(words)) > 30 and len(words) > 1:
        words.pop()
    return "_".join(words)[:30]


_HEADING = re.compile(r" {0,3}(?P<marks>#{1,6})[ \t]+(?P<title>.*?)[ \t]*#*[ \t]*$")
_HTML = re.compile(r"<h(?P<level>[1-6])\b[^>]*>(?P<title>.*?)</h(?P=level)>", re.IGNORECASE | re.DOTALL)


def _headings(cell: Cell) -> Iterator[tuple[int, str]]:
    """Yield level and title of each heading of a markdown cell; what stands in a code fence is none."""
    if cell.type != "markdown":
        return
    fence, text = "", []
    for line in cell.source.split("\n"):
        mark = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        elif not fence:
            text.append(line)
    for line in text:
        if (heading := _HEADING.match(line)) and heading["title"]:
            yield len(heading["marks"]), heading["title"]
    for heading in _HTML.finditer("\n".join(text)):
        yield int(heading["level"]), re.sub(r"<[^>]*>", "", heading["title"]).strip()
