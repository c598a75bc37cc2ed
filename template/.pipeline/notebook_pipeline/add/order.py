"""Which of several notebooks are added, and in which order."""

import contextlib
import glob
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from notebook_pipeline.add.literals import find_named
from notebook_pipeline.notebook.document import NotebookError, read


def find_notebooks(given: Iterable[str]) -> list[Path]:
    """Return the notebooks that are given: by name, by a pattern (which not every shell expands), or by their folder."""
    found = []
    for name in given:
        path = Path(name).expanduser()
        if path.is_dir():
            found += sorted(path.glob("*.ipynb"))
        elif not path.exists() and glob.has_magic(name):
            found += map(Path, sorted(glob.glob(str(path))))
        else:
            found.append(path)
    return [*dict.fromkeys(found)]


def in_order(notebooks: list[Path]) -> list[Path]:
    """Return the notebooks so that each comes after those that write what it reads; as they are given if they form a circle."""
    reads, writes = {}, {}
    for path in notebooks:
        reads[path], writes[path] = set(), set()
        with contextlib.suppress(NotebookError):  # it is reported when its turn comes
            found = find_named(read(path), [path.resolve().parent])
            writes[path] = {*found.written} | {use.path for use in found.uses if use.what == "make"}
            reads[path] = {use.base for use in found.uses if use.what in ("read", "list", "glob")} - writes[path]
    makers = {
        path: [
            other for other in notebooks
            if other != path and any(_is_one_in_the_other(one, made) for one in reads[path] for made in writes[other])
        ]
        for path in notebooks
    }  # fmt: skip
    try:
        return [*TopologicalSorter(makers).static_order()]
    except CycleError:
        return notebooks


def _is_one_in_the_other(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)
