"""Compares what the cells of a notebook show with what they showed when it was last saved."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from notebook_pipeline.notebook import executed
from notebook_pipeline.notebook.document import id_of

NOTICE = {"pipeline": "notice"}
"""The metadata of an output that the pipeline itself shows in an editor: it is none of the notebook's."""
PICTURES = ("image/png", "image/jpeg", "image/svg+xml", "image/gif")


@dataclass
class Comparison:
    """Numbers of cells, as the executed notebook has them."""

    same: list[int] = field(default_factory=list)
    different: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        return self.describe("as when you last saved it")

    def describe(self, like: str) -> str:
        """Return for example: `12 of 14 cells as when you last saved it; cells 9, 11 differ`.

        Args:
            like: says with what the cells are compared.
        """
        total = len(self.same) + len(self.different)
        text = f"{len(self.same)} of {total} cell{'s' * (total > 1)} {like}"
        if self.different:
            numbers = ", ".join(map(str, self.different))
            text += f"; cells {numbers} differ" if len(self.different) > 1 else f"; cell {numbers} differs"
        return text


def compare_with_saved(saved: bytes, run: bytes, names: Mapping[str, str] = {}) -> Comparison:
    """Compare the outputs of the cells that have some in either notebook, and that were executed before the save.

    Args:
        saved: the notebook's file as its owner left it.
        run: the executed notebook of the project. Its cells have the same ids, and their numbers in place of IPython's count.
        names: what a cell of either may print of a path, each with one name for both, as `../raw/a.csv` and
            `data/external/a.csv` with `a.csv`: this counts as equal.
    """
    shown_now = {name: (count, _shown(outputs, names)) for name, count, outputs in _code_cells(run)}
    result = Comparison()
    for name, count, outputs in _code_cells(saved):
        number, now = shown_now.get(name, (None, []))
        # `add` makes two cells of one that begins with imports and has more code.
        now = now + shown_now.get(f"{name}-2", (None, []))[1]
        before = _shown(outputs, names)
        if count is not None and number is not None and (before or now):
            (result.same if before == now else result.different).append(number)
    return result


def find_differences(before: bytes, now: bytes) -> Iterator[tuple[int, list, list]]:
    """Yield each cell that shows something else in an executed notebook than in an earlier one: its number, and both.

    What a cell shows is a list of outputs, each with its kind and its text, or its picture.
    """
    then = {name: _shown(outputs, {}) for name, _, outputs in _code_cells(before)}
    for name, number, outputs in _code_cells(now):
        old, new = then.get(name, []), _shown(outputs, {})
        if old != new:
            yield number, old, new


def _code_cells(content: bytes) -> Iterator[tuple[str, int | None, list[dict]]]:
    """Yield id, count and outputs of each code cell."""
    for number, cell in enumerate(json.loads(content.decode("utf-8-sig"))["cells"], 1):
        if cell.get("cell_type") == "code":
            outputs = cell.get("outputs")
            outputs = outputs if isinstance(outputs, list) else []
            yield id_of(cell, number), cell.get("execution_count"), [each for each in outputs if isinstance(each, dict)]


def _shown(outputs: list[dict], names: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what a cell shows, free of addresses and durations: of each output its kind and its text, or its picture.

    What comes on stderr does not count: warnings name lines of packages, and progress bars are chance.
    """
    clean, shown = executed.make_cleaner(drawn=[], since=0, until=0), []
    for output in outputs:
        if output.get("metadata") == NOTICE:
            continue
        if output.get("output_type") == "stream":
            kind, value = output.get("name", "stdout"), output.get("text")
        elif output.get("output_type") == "error":
            kind, value = output.get("ename"), output.get("evalue")
        else:
            data = output.get("data") or {}
            kind = next((mime for mime in (*PICTURES, "text/plain", *data) if mime in data), "")
            value = data.get(kind)
        text = _with_names(executed.plain_text(value or ""), names)
        if kind == "stderr" or not text:
            continue
        if shown and shown[-1][0] == kind == "stdout":  # what is printed comes in pieces of any size
            text = shown.pop()[1] + text
        shown.append((kind, text))
    return [
        (kind, text if kind in PICTURES else clean("\n".join(map(executed.without_overwritten, text.split("\n")))))
        for kind, text in shown
    ]


def _with_names(text: str, names: Mapping[str, str]) -> str:
    """Put names in the place of paths, the longest first."""
    found = [re.escape(path) for path in sorted(names, key=len, reverse=True) if path in text]
    if not found:
        return text
    # Not in the middle of another path.
    return re.sub(rf"(?<![\w./\\-])(?:\./)?({'|'.join(found)})(?!\w)", lambda match: names[match[1]], text)
