"""Paths of a project, as dvc.yaml writes them: with forward slashes, as seen from the project's folder."""

import contextlib
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

MANY = 10
"""So many results in one folder are named by the folder."""
# Several notebooks share these folders, so none of them is the input or the result of one stage.
_SHARED_FOLDERS = {"data", "data/external", "data/processed", "notebooks", "outputs"}


def is_covered(path: str, declared: Collection[str]) -> bool:
    """Whether a path or a folder above it is among those declared."""
    return path in declared or any(folder in declared for folder in upwards(path)[1:])


def not_covered(paths: Iterable[str], declared: Collection[str]) -> set[str]:
    """Return those that are not declared, nor a folder above them."""
    folders = {folder for folder in folders_above_all(paths) if is_covered(folder, declared)}
    return {path for path in paths if path not in declared and path.rpartition("/")[0] not in folders}


def outermost(paths: set[str]) -> set[str]:
    """Return those that lie in no other."""
    return {path for path in paths if not is_covered(path, paths - {path})}


def by_folder(found: set[str], others: set[str], declared: Collection[str], whole: bool) -> list[str]:
    """Put a folder in the place of its files.

    Args:
        found: what is to be named.
        others: what else is there.
        declared: what has an entry of its own already: DVC takes no folder around it.
        whole: name a folder of results, if they are many and all that it holds; else one of inputs, if most of what
            it holds was read.
    """
    if not found:
        return []
    # Not of modules: Python writes among them.
    counts = Counter(folder for path in found if not path.endswith(".py") for folder in upwards(path)[1:])
    of_others = Counter(folder for path in others for folder in upwards(path)[1:])
    excluded = _SHARED_FOLDERS | folders_above_all(declared)
    folders = {
        folder for folder, count in counts.items()
        if folder not in excluded
        and (count >= MANY and not of_others[folder] if whole else count > 1 and of_others[folder] < count)
    }  # fmt: skip
    return sorted(path for path in found | folders if not any(above in folders for above in upwards(path)[1:]))


def folders_above_all(paths: Iterable[str]) -> set[str]:
    """Return all folders around some paths."""
    parents = {path.rpartition("/")[0] for path in paths} - {""}
    return parents | {folder for path in parents for folder in upwards(path)[1:]}


def upwards(path: str) -> list[str]:
    """Return a path and the folders above it: `a/b/c`, `a/b`, `a`."""
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]


def from_here(folder: Path, paths: Iterable[str]) -> Iterator[str]:
    """Yield paths in a folder as seen from the current one; URLs and the project itself have no such place."""
    for path in paths:
        # `.` is the project, which is always there.
        if "://" not in path and (place := _relative(os.path.join(folder, path))) not in (".", None):
            yield place


def _relative(path: str) -> str | None:
    with contextlib.suppress(ValueError):  # on another drive of Windows
        return Path(os.path.relpath(path)).as_posix()
