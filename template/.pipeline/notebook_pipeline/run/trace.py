"""Which files of the project a run reads and writes.

A file's access time tells of every reader: pandas, Arrow, HDF5, DuckDB, a child process. Python's audit hook knows only of
what Python opens, but also where access times do not tell: on a file system without (`noatime`), on Windows, for files of
someone else's. Another program that reads a file during the run is seen as well: what is found is a warning, not proof. Of git
and DVC, which an editor calls all the time, the trace knows whether they were at work (`Trace.doubtful`).
"""

import contextlib
import importlib.util
import os
import posixpath
import random
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from notebook_pipeline import git
from notebook_pipeline.project.paths import folders_above_all, is_covered
from notebook_pipeline.run.in_kernel import LISTED, READ, WRITTEN

# At any depth: what is no data of the project's, and what DVC and git keep for themselves.
_SKIPPED_FOLDERS = {".git", ".dvc", "dvc_plots", ".ipynb_checkpoints", "node_modules"}
_SKIPPED_FILES = {"dvc.lock", ".gitignore"}

# Tracked files that no notebook has business with: git rereads them with all others whose access time was set, and each DVC
# reads its own. Whatever reads one of them reads others as well.
_CANARIES = ("README.md", "dvc.yaml", "dvc.lock", ".gitattributes", ".gitignore", ".pre-commit-config.yaml")


@dataclass
class Trace:
    """Watches the files below the working directory while it is entered.

    All paths are relative to the working directory, with forward slashes.

    Args:
        inputs: the declared inputs, files or folders.
    """

    inputs: Collection[str] = ()
    files: set[str] = field(default_factory=set)
    """What was there at the start."""
    read: set[str] = field(default_factory=set)
    """Those of them that were read and stayed as they were; modules also if Python took their compiled form."""
    written: set[str] = field(default_factory=set)
    """What is new or has changed. What the run reads only after having written it is no more than that."""
    listed: set[str] = field(default_factory=set)
    """Folders of data of which Python asked what is in them; not those that the run wrote into or took modules from."""
    sees_all: bool = True
    """Whether access times tell here, so that what is not among `read` was not read."""
    unseen: set[str] = field(default_factory=set)
    """Files of which they do not: someone else's, or on a disk that is read-only."""
    noticed: set[str] = field(default_factory=set)
    """Those among `read` of which only access times tell."""
    changed: set[str] = field(default_factory=set)
    """Files of the declared inputs, wherever these lie, that did not stay as they were: written, new or gone."""
    written_by_kernel: set[str] = field(default_factory=set)
    """What the kernel's Python opened to write, renamed or removed."""
    _elsewhere: dict[str, tuple] = field(default_factory=dict)
    """The states of those inputs that are not watched: outside of the project, or a tool's."""
    _index: str = ""
    """Git's index, one of the canaries; empty outside of a repository."""
    _canaries: dict[str, tuple] = field(default_factory=dict)
    _before: dict[str, tuple] = field(default_factory=dict)
    """Each file's state at the start."""
    _untouched: set[str] = field(default_factory=set)
    """What was in that state when the end began."""
    _log: Path | None = None
    """Where the kernel writes what it opens and lists."""

    def __enter__(self) -> "Trace":
        self.sees_all = _access_times_tell()
        for path in _files():
            if not (state := _state(path)):
                continue
            self._before[path] = state
            try:
                # Linux (`relatime`) notes a read only where the last one noted is not newer than the last change; macOS,
                # where it is older. Also where they do not tell: a link may lead to a disk where they do.
                if state[0] >= state[1]:
                    self._before[path] = _set_back(path, state)
            except OSError:  # the hook may see it
                self.unseen.add(path)
        # Last, and always: git compares ctimes by the second, and must not find a file stale, and no canary.
        index = git.text("rev-parse", "--git-path", "index")
        self._index = Path(os.path.relpath(index)).as_posix() if index else ""
        for path in (*_CANARIES, self._index):
            with contextlib.suppress(OSError):
                if state := _state(path):
                    self._canaries[path] = _set_back(path, state)
        self._before |= {path: state for path, state in self._canaries.items() if path in self._before}
        self.files = {path for path in self._before if not path.endswith(".pyc")}
        self._elsewhere = self._states_elsewhere()
        return self

    def end(self) -> None:
        """Look at all files when the kernel begins to end, which takes longer.

        Until it has ended it may write what it holds open, and what runs at its exit opens files: at what it touched, or tells
        of, `__exit__` looks again.
        """
        for path, before in self._before.items():
            now = _state(path)
            if now == before:
                self._untouched.add(path)
            elif now and now[1:] == before[1:]:
                self.read.add(path)
                with contextlib.suppress(OSError):
                    _set_back(path, now)  # the next run's start has less time for it

    def __exit__(self, *_) -> None:
        left = set(_files())
        told, self.written_by_kernel, listed = self._told()
        read = told | self.read
        for path in left - (self._untouched - self.written_by_kernel):
            now, before = _state(path), self._before.get(path, (None,))
            if now and before[1:] != now[1:]:
                self.written.add(path)
            elif now and before != now:
                read.add(path)
        self.read = ({_source(path) for path in read - self.written} & self.files & left) - self.written
        self.noticed = self.read - {_source(path) for path in told} if self.sees_all else set()
        self.written = {path for path in self.written if not path.endswith(".pyc")}
        self.changed = {path for path in self.written | (self.files - left) if is_covered(path, self.inputs)}
        self.changed |= {path for path, _ in self._elsewhere.items() ^ self._states_elsewhere().items()}
        self._canaries = {
            path: before for path, before in self._canaries.items() if path not in told and _state(path) != before
        }
        # A walk over the whole project lists all of it, and Python the folders in which it looks for modules.
        listed = {path for path in listed if path.startswith("data/")} - {"data/processed"}
        if listed:
            modules = {path for path in self.read if path.endswith(".py")}
            self.listed = listed & folders_above_all(self.files & left) - folders_above_all(self.written | modules)

    def doubtful(self, shown: Callable[[], Collection[str]]) -> set[str]:
        """Return those of `noticed` that git or DVC may have read, and not the run: either was at work meanwhile.

        Args:
            shown: says what DVC reads to show it: metrics, plots and files of parameters.
        """
        if not self.noticed or not self._canaries:
            return set()
        if self._canaries.keys() == {self._index}:
            # git has looked at its index, and read no file that stays as it was committed.
            return self.noticed & (git.paths("diff-files", "--name-only", "--relative", "-z") or set())
        by_dvc = shown()
        tracked = git.paths("ls-files", "-z") or set()
        return {path for path in self.noticed if path in tracked or is_covered(path, by_dvc)}

    def listed_beside(self, results: Iterable[str]) -> set[str]:
        """Return the folders that were listed and hold none of these results."""
        return self.listed - folders_above_all(results)

    def watch_kernel(self, folder: str) -> str:
        """Return the file into which a kernel that is about to start writes what it opens and lists.

        Args:
            folder: of the kernel's own.
        """
        self._log = Path(folder, "opened")
        return os.fspath(self._log)

    def _states_elsewhere(self) -> dict[str, tuple]:
        """Return the states of the files of those inputs that are not watched."""
        states = {}
        for place in self.inputs:
            if place in self._before or any(path.startswith(f"{place}/") for path in self._before):
                continue
            for path in (place, *_files(f"{place}/")):
                if not path.endswith(".pyc") and not os.path.isdir(path) and (state := _state(path)):
                    states[path] = state[1:]
        return states

    def _told(self) -> tuple[set[str], set[str], set[str]]:
        """Return the files that the kernel says it opened to read and to write, and the folders that it listed."""
        told = {READ: set(), WRITTEN: set(), LISTED: set()}
        if self._log is not None and self._log.exists():  # else the kernel never came up
            for line in os.fsdecode(self._log.read_bytes()).replace(os.sep, "/").split("\n")[:-1]:
                told.setdefault(line[:1], set()).add(line[1:])
        return told[READ], told[WRITTEN], told[LISTED]


def normalize(path: str) -> str:
    """Return a path as the trace has it."""
    return posixpath.normpath(Path(path).as_posix())


def _state(path: str | Path) -> tuple[int, ...] | None:
    """Return a file's access time, and its modification time, size and inode, by which another file is known; None if it is gone."""
    with contextlib.suppress(OSError):
        stat = os.stat(path)  # on Windows, a folder's entry knows no inode
        return stat.st_atime_ns, stat.st_mtime_ns, stat.st_size, stat.st_ino
    return None


def _files(start: str = ".") -> Iterator[str]:
    """Yield all files that are watched, or those below a folder."""
    linked = set()
    for folder, folders, names in os.walk(start, followlinks=True):
        place = os.path.join(folder, "").replace(os.sep, "/").removeprefix("./")
        # At the root, what begins with a dot is settings of tools.
        folders[:] = [each for each in folders if (place or each[0] != ".") and _is_watched(place + each, linked)]
        for name in names:
            if (place or name[0] != ".") and name not in _SKIPPED_FILES and name[-4:] != ".dvc":
                yield place + name


def _is_watched(folder: str, linked: set[str]) -> bool:
    """Whether a folder is no tool's, no environment, and no link to what is watched anyway."""
    root, full = os.getcwd(), os.path.abspath(folder)
    environments = {sys.prefix, os.path.abspath(os.environ.get("UV_PROJECT_ENVIRONMENT") or ".venv")}
    if os.path.basename(folder) in _SKIPPED_FOLDERS or full in environments or os.path.exists(f"{full}/pyvenv.cfg"):
        return False
    if os.path.islink(full):
        # A link to data elsewhere; what it holds of the project itself is watched under its own name.
        target = os.path.realpath(full)
        if target in linked or _is_below(target, root) or _is_below(root, target):
            return False
        linked.add(target)
    return True


def _is_below(path: str, folder: str) -> bool:
    return os.path.join(path, "").startswith(os.path.join(folder, ""))


def _set_back(path: str | Path, state: tuple[int, ...]) -> tuple[int, ...]:
    """Set a file's access time to before its last change, and return its new state.

    The time of that change stays, so nothing that DVC remembers of the file gets stale. The access time is another each
    time: what was read is still seen by another run that watches the file, and under the file's other names.

    Raises:
        OSError: the file is not ours.
    """
    os.utime(path, ns=(max(0, state[1] // 10**9 - random.randrange(1, 10**6)) * 10**9, state[1]))
    return _state(path) or state


def _access_times_tell() -> bool:
    """Try it out: it depends on the mount (`noatime`), and on a setting of Windows."""
    try:
        # Neither is watched.
        with tempfile.TemporaryDirectory(prefix=".", dir=".dvc/tmp" if os.path.isdir(".dvc/tmp") else ".") as folder:
            path = Path(folder, "x")
            path.write_bytes(b"x")
            before = _set_back(path, _state(path))
            path.read_bytes()
            return _state(path) != before
    except OSError:  # as where times are not ours to set
        return False


def _source(path: str) -> str:
    """Return a file, or the module that it is the compiled form of: Python then does not open the module itself."""
    with contextlib.suppress(ValueError):
        return Path(importlib.util.source_from_cache(path)).as_posix()
    return path
