"""What a kernel notes for `split` beside the notebook's cells: the names and files that each uses, and what there is at each cut.

Cells that `split` puts into a copy of the notebook call this.
"""

import builtins
import itertools
import json
import os
import re
import sys
import time
import types
import warnings
from collections.abc import Iterator

from notebook_pipeline import handover

_OF_IPYTHON = re.compile(r"_+|_i+|_i?\d+|_[iod]h|__\w+__|In|Out|get_ipython|exit|quit|open")


class _Names(dict):
    """The notebook's namespace, which notes what code reads before it binds it: also `eval`, `globals()`, functions."""

    def __init__(self, names: dict):
        super().__init__(names)
        self.read, self.bound = set(), set()

    def __getitem__(self, name):
        if name not in self.bound:
            self.read.add(name)
        return super().__getitem__(name)

    def __setitem__(self, name, value):
        self.bound.add(name)
        super().__setitem__(name, value)


class _Main(types.ModuleType):
    """The module `__main__` with a namespace that notes."""

    def __init__(self, names: dict):
        super().__init__("__main__")
        object.__setattr__(self, "names", names)

    def __getattribute__(self, name):
        names = object.__getattribute__(self, "names")
        return names if name == "__dict__" else names[name] if name in names else object.__getattribute__(self, name)

    def __setattr__(self, name, value):
        self.names[name] = value


def observe(shell, log: str, files: list[str]) -> None:
    """Note of each cell that follows, a JSON line a cell, its seconds, the names it reads, the files it reads and writes.

    Args:
        files: those of which access and modification times tell, whoever opens them; Python's own `open` is seen for all.
    """
    observer = _Observer(_Names(shell.user_ns), log, files)
    sys.modules["__main__"] = shell.user_module = _Main(observer.names)
    shell.user_ns = observer.names
    sys.addaudithook(observer.note)
    builtins.__import__ = observer.load
    shell.events.register("pre_run_cell", observer.start)
    shell.events.register("post_run_cell", observer.end)


class _Observer:
    """What is known of the cell that runs.

    Attributes:
        filters: the filters of warnings that imports have set until now.
    """

    def __init__(self, names: _Names, log: str, files: list[str]):
        self.names, self.log, self.files = names, log, files
        self.root, self.opened, self.filters, self.began = (
            os.path.join(os.getcwd(), ""),
            set(),
            set(),
            time.perf_counter(),
        )
        self.before = {path: (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns) for path in _files(files)}
        self.real_import = builtins.__import__

    def note(self, event: str, arguments: tuple) -> None:
        """Note what Python opens (an audit hook)."""
        if event == "open" and isinstance(arguments[0], str | bytes):
            path, mode, flags = os.path.abspath(os.fsdecode(arguments[0])), arguments[1], arguments[2] or 0
            is_write = bool({*mode} & {*"wax+"}) if mode else bool(flags & (os.O_WRONLY | os.O_RDWR))
            if path.startswith(self.root):
                self.opened.add(("w" if is_write else "r", path.removeprefix(self.root)))

    def load(self, *arguments, **options):
        """Import a module, and note which filters of warnings that sets."""
        there = [*warnings.filters]
        try:
            return self.real_import(*arguments, **options)
        finally:
            self.filters.update(repr(each) for each in warnings.filters if each not in there)

    def start(self, _) -> None:
        self.opened.clear(), self.names.read.clear(), self.names.bound.clear()
        self.began = time.perf_counter()

    def end(self, _) -> None:
        line = {"seconds": time.perf_counter() - self.began, "read": sorted(self.names.read)}
        self.look_at_files()
        line |= {"files": sorted(self.opened), "state": handover.digest_state(), "filters": sorted(self.filters)}
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def look_at_files(self) -> None:
        for path in _files(self.files):
            stat = os.stat(path)
            atime, mtime = self.before.get(path, (stat.st_atime_ns, 0))
            if (stat.st_atime_ns, stat.st_mtime_ns) != (atime, mtime):
                self.opened.add(("w" if stat.st_mtime_ns != mtime else "r", path))
                # Linux notes a read only if the last one is not newer than the last change.
                os.utime(path, ns=(stat.st_mtime_ns - 2 * 10**9 - len(self.before), stat.st_mtime_ns))
                self.before[path] = os.stat(path).st_atime_ns, stat.st_mtime_ns


def _files(paths: list[str]) -> Iterator[str]:
    """Find the files that paths of files and folders stand for now."""
    for path in paths:
        yield from [path] * os.path.isfile(path)
        for folder, _, names in os.walk(path):
            yield from (os.path.join(folder, name) for name in names)


_arrays = []
"""Arrays over whose memory lies another one, at an earlier cut: the names that have the two, the array, and what is in it."""


def look(shell, log: str, names: list[str]) -> None:
    """Note what there is now, as one JSON line: the values of some names, what they share, and the state of the process."""
    main = sys.modules["__main__"].__dict__
    there = [name for name in main if not _OF_IPYTHON.fullmatch(name)]
    found = {"there": there, "values": {}, "shared": [], "state": handover.digest_state(), "written_through": []}
    found["filters"] = [repr(each) for each in warnings.filters]
    for each in _arrays:
        *pair, array, content = each
        each[-1] = handover.digest(array)[0]
        if each[-1] != content:
            found["written_through"].append(pair)
    walks = {}
    for name in names:
        if name in main:
            found["values"][name], walks[name] = _describe(main[name])
    walks = {name: walk for name, walk in walks.items() if walk}
    mutable = {name: walk.mutable() for name, walk in walks.items()}
    found["shared"] = [pair for pair in itertools.combinations(walks, 2) if mutable[pair[0]] & mutable[pair[1]]]
    _note_views(walks)
    with open(log, "a", encoding="utf-8") as file:
        file.write(json.dumps(found) + "\n")


def _describe(value: object) -> tuple[dict, handover.Walker | None]:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.").removeprefix("__main__.")
    note = {"type": kind, "error": "", "digest": "", "size": 0, "uses": [], "modules": []}
    if any(
        each.__module__.startswith("matplotlib.") and each.__name__ in ("Artist", "FigureBase")
        for each in type(value).__mro__
    ):
        return note | {"error": "a picture that is being drawn"}, None
    try:
        walk = handover.Walker(value)
        note["digest"], note["size"] = handover.digest(value)
    except Exception as error:  # a value's own `__reduce__` may raise anything
        return note | {"error": " ".join(str(error).split()) or type(error).__name__}, None
    note["uses"] = sorted(walk.notebook_names())
    roots = {type(each).__module__.partition(".")[0] for each in walk.objects}
    note["modules"] = sorted(roots & {module for module, _, _ in handover.STATE.values()})
    return note, walk


def _note_views(walks: dict[str, handover.Walker]) -> None:
    """Remember the arrays that lie over the same memory: handed over, they would be two."""
    places = []
    for name, walk in walks.items():
        for owner, array in walk.arrays:
            if array.nbytes:
                steps = [(size - 1) * stride for size, stride in zip(array.shape, array.strides, strict=True)]
                start = array.__array_interface__["data"][0]
                places.append(
                    (
                        start + sum(min(step, 0) for step in steps),
                        start + sum(max(step, 0) for step in steps),
                        name,
                        owner,
                        array,
                    )
                )
    places.sort(key=lambda each: each[:2])
    for at, (_, end, name, owner, array) in enumerate(places):
        later = itertools.takewhile(lambda each: each[0] <= end, (places[i] for i in range(at + 1, len(places))))  # noqa: B023
        for _, _, other, of, second in later:
            if owner != of and (array.flags.writeable or second.flags.writeable):
                _arrays.extend([name, other, each, handover.digest(each)[0]] for each in (array, second))
