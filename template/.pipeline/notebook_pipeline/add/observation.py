"""Runs a notebook once as its owner runs it, and records which files it uses.

Its own folder is the working directory, in a scratch folder that holds copies of what it asks for (recorder.py): the original is
never touched.
"""

import ast
import contextlib
import copy
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from notebook_pipeline import files
from notebook_pipeline.add import recorder
from notebook_pipeline.notebook.document import Notebook

MUCH = 10**9
"""Bytes above which nothing is copied without a question."""
_SMALL, _SMALL_IN_ALL, _FEW = 10**6, 50 * 10**6, 2000
"""Bytes of a file, bytes of all such files, and number of files that are copied before anybody asks for them."""
_SKIPPED = {"__pycache__", "venv", "node_modules"}


@dataclass(frozen=True)
class Site:
    """A call that led to the use of a path, as `ast` counts: lines from 1, columns in bytes of UTF-8."""

    source: int | str
    """The number of a cell, or the full path of a module."""
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True)
class Use:
    """One use of a path."""

    what: str
    """`read`, `write`, `list`, `glob`, `make`, `chdir`, or `ask` whether it exists."""
    said: str
    """The path as the code said it."""
    path: Path
    """Its full path on the disk; of `glob` with the pattern."""
    cell: int
    """The number of the cell that ran."""
    sites: tuple[Site, ...] = ()
    """The calls, the innermost first."""

    @property
    def base(self) -> Path:
        """The path, up to the first wildcard of a pattern."""
        if self.what != "glob":
            return self.path
        parts = self.path.parts
        end = next((at for at, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts))
        return Path(*parts[:end])


@dataclass
class Observation:
    """What a run was seen to use. All paths are full ones of the disk."""

    uses: list[Use] = field(default_factory=list)
    read: set[Path] = field(default_factory=set)
    """Files that were there before, and whose content was read."""
    written: dict[Path, str] = field(default_factory=dict)
    """Files that are new or have changed, each with the MD5 of its content."""
    modules: dict[Path, str] = field(default_factory=dict)
    """Files of modules of the person's own, each with its path from the folder where Python found it."""
    names: dict[str, tuple[bool, str]] = field(default_factory=dict)
    """Names that stand for one path: whether it is a text, and the path as the code says it."""
    too_much: tuple[Path, int] | None = None
    """The file that was not copied because all would be more than MUCH, and its bytes."""
    stopped: str = ""
    """What ended the run before its end, in one line."""
    stopped_cell: int = 0
    """The number of the cell that it ended in."""
    executed: bytes = b""
    """The executed notebook."""
    sees_all: bool = True
    """Whether access times told of readers that are not Python."""
    scratch: str = ""
    sources: dict[int, str] = field(default_factory=dict)
    """By the number of a cell: its code as it ran, with full paths led to the scratch folder."""


class _Unwatched:
    """Stands in for a trace: the recorder watches."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def end(self) -> None:
        return None

    def watch_kernel(self, folder: str) -> str:
        return os.path.join(folder, "opened")


def observe(
    notebook: Notebook, origin: Path, home: Path, most: int | None = MUCH, execute: "Execute | None" = None
) -> Observation:
    """Run a notebook in a scratch folder, which is removed at the end.

    Args:
        origin: the notebook's folder.
        home: the folder of its repository; that is looked through for small files.
        most: bytes that may be copied; None if all may.
        execute: what runs the notebook, if not a kernel.
    """
    Path(".dvc/tmp").mkdir(parents=True, exist_ok=True)
    scratch = os.path.realpath(tempfile.mkdtemp(prefix="observed-", dir=".dvc/tmp"))
    try:
        _copy_small_files(home, scratch)
        for path in _named(notebook, origin, home):
            _copy_named(path, scratch)
        folder = recorder.to_scratch(scratch, str(origin))
        os.makedirs(folder, exist_ok=True)
        log, output = os.path.join(scratch, "record"), os.path.join(scratch, "executed.ipynb")
        document, sources = copy.deepcopy(notebook.document), {}
        for cell in notebook.cells:
            if cell.type == "code":
                sources[cell.number] = _with_places_in_scratch(cell.source, scratch, home)
                document["cells"][cell.number - 1]["source"] = sources[cell.number]
        found = Observation(scratch=scratch, sources=sources)
        arguments = (scratch, [*sources.items()], log, most)
        stopped, found.stopped_cell = (execute or _execute)(
            Notebook(notebook.path, document), folder, output, arguments
        )
        found.stopped = stopped.replace(scratch, "")
        found.sees_all = _access_times_tell(scratch)
        _read_record(found, log)
        _look_at_files(found)
        if Path(output).exists():
            found.executed = Path(output).read_bytes().replace(scratch.encode(), b"")
        return found
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


Execute = Callable[[Notebook, str, str, tuple], tuple[str, int]]
"""Runs a notebook in a folder, with the recorder of these arguments. Returns the line of what ended it, and the number of that cell."""


def _execute(notebook: Notebook, folder: str, output: str, arguments: tuple) -> tuple[str, int]:
    """Run a notebook in a kernel, and write the executed one."""
    from notebook_pipeline.run.execution import Execution  # heavy: Papermill and a kernel

    load = f"__import__('runpy').run_path({os.path.abspath(recorder.__file__)!r})['record']"
    startup = f"{load}(get_ipython(), {', '.join(map(repr, arguments))})\n"
    run = Execution(notebook, {}, output, _Unwatched(), folder, startup)
    code = run.execute()
    if code > 1:  # a person or the system ended it
        raise KeyboardInterrupt
    said = run.said.getvalue().strip().split("\n")[0] if code else ""
    return said, run.number(run.current) if code and run.current is not None else code


def _copy_small_files(home: Path, scratch: str) -> None:
    """Copy the folders of the notebook's repository, and small files: who reads these need not be seen asking."""
    count, size = 0, 0
    for folder, folders, names in os.walk(home):
        folders[:] = sorted(
            name for name in folders
            if name[0] != "." and name not in _SKIPPED and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        )  # fmt: skip
        recorder.copy_in(scratch, folder)
        for name in sorted(names):
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                if name[0] != "." and os.path.getsize(path) <= _SMALL and size < _SMALL_IN_ALL:
                    size += recorder.copy_in(scratch, path)
        count += len(names) + len(folders)
        if count > _FEW:
            return


def _copy_named(path: Path, scratch: str) -> None:
    """Copy what a text of the notebook names, with what lies in it: other programs and libraries do not ask."""
    left = MUCH // 10
    for folder, _, names in [(str(path.parent), [], [path.name])] if path.is_file() else os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                file = os.path.join(folder, name)
                left -= os.path.getsize(file)
                if left < 0:
                    return
                recorder.copy_in(scratch, file)


def _named(notebook: Notebook, origin: Path, home: Path) -> Iterator[Path]:
    """Yield the files and folders that texts of the code name, as seen from the notebook's folder or one above it."""
    words = set()
    for cell in notebook.cells:
        if cell.type == "code":
            words |= {*re.findall(r"[^\s\"'`;|&<>()=,{}*?\[\]]+", cell.source)}
            for node in ast.walk(cell.tree) if cell.tree else ():
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 400:
                    words.add(node.value)
    bases = [origin, *(base for base in origin.parents if base.is_relative_to(home))]
    for word in sorted(words):
        for base in bases:
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                path = Path(os.path.normpath(base / Path(word).expanduser()))
                if path.exists() and not origin.is_relative_to(path) and len(path.parts) > 2:
                    yield path
                    break


def _with_places_in_scratch(source: str, scratch: str, home: Path) -> str:
    """The code with each full path of the notebook's repository, or of a folder that exists, led to the scratch folder."""

    def lead(match: re.Match) -> str:
        path = os.path.normpath(os.path.expanduser(match[2]))
        # Not `/`, `/tmp`, nor a program's own files.
        inside = Path(path).is_relative_to(home) or (len(Path(path).parts) > 3 and os.path.exists(path))
        if not inside or path.startswith((sys.prefix, "/usr/", "/etc/", "/dev/", "/proc/", "/sys/")):
            return match[0]
        end = "/" if match[2].endswith("/") else ""
        return match[1] + Path(recorder.to_scratch(scratch, path)).as_posix() + end

    return re.sub(r"""(["'])((?:/|~/|[A-Za-z]:[\\/])[^"'\n{}*?]+)""", lead, source)


def _read_record(found: Observation, log: str) -> None:
    """Take over what the recorder wrote."""
    if not os.path.exists(log):  # the kernel never came up
        return
    seen = {}
    for line in files.read(log).splitlines():
        with contextlib.suppress(ValueError):  # the last line of a process that was killed
            entry = json.loads(line)
            match entry["do"]:
                case recorder.NAME:
                    said = entry["said"].replace(found.scratch, "")
                    seen.setdefault(entry["name"], set()).add((entry["is_text"], said))
                case recorder.MODULE:
                    _note_module(found, entry["name"], Path(entry["path"]))
                case recorder.MUCH:
                    found.too_much = Path(entry["path"]), entry["size"]
                case what:
                    sites = tuple(Site(*site) for site in entry["sites"])
                    said = entry["said"].replace(found.scratch, "")
                    found.uses.append(Use(what, said, Path(entry["path"]), entry["cell"], sites))
    found.names = {name: next(iter(values)) for name, values in seen.items() if len(values) == 1}


def _note_module(found: Observation, name: str, file: Path) -> None:
    """Note the file of a module, as `package/module.py` from the folder where Python found it."""
    if file.suffix == ".py" and name != "__main__":
        parts = name.split(".") + (["__init__"] if file.stem == "__init__" else [])
        if [*file.with_suffix("").parts[-len(parts) :]] == parts:
            found.modules[file] = "/".join(parts) + ".py"


def _look_at_files(found: Observation) -> None:
    """Find what was read and written by the state of the files in the scratch folder: this sees every reader."""
    own = {"record", "executed.ipynb"}
    wrote_first = {}
    for use in found.uses:
        if use.what in ("read", "write"):
            wrote_first.setdefault(use.path, use.what == "write")
    opened, wrote = ({use.path for use in found.uses if use.what == what} for what in ("read", "write"))
    for folder, folders, names in os.walk(found.scratch):
        folders[:] = [name for name in folders if name not in ("__pycache__", ".ipynb_checkpoints")]
        for name in names:
            place = Path(folder, name)
            if folder == found.scratch and name in own or place.is_symlink():
                continue
            path = Path(recorder.to_disk(found.scratch, str(place)))
            state, before = place.stat(), _state(path)
            is_same = before is not None and (state.st_size, state.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
            is_same = is_same or (
                before is not None and state.st_size == before.st_size and path.read_bytes() == place.read_bytes()
            )
            was_read = path in opened or (is_same and state.st_atime_ns != recorder.untouched(state.st_mtime_ns))
            was_written = path in wrote and (before is None or state.st_mtime_ns != before.st_mtime_ns)
            if not is_same or was_written:
                found.written[path] = files.md5(place.read_bytes())
            if before is not None and was_read and not wrote_first.get(path):
                found.read.add(path)
    # What it moved away, or removed after it had read it.
    gone = {path for path in opened if not os.path.lexists(recorder.to_scratch(found.scratch, str(path)))}
    found.read |= {path for path in gone if path.is_file() and not wrote_first.get(path)}


def _access_times_tell(scratch: str) -> bool:
    """Try it out: it depends on the mount (`noatime`), and on a setting of Windows."""
    probe = Path(scratch, "probe")
    probe.write_bytes(b"x")
    mtime = probe.stat().st_mtime_ns
    os.utime(probe, ns=(recorder.untouched(mtime), mtime))
    probe.read_bytes()
    was_read = probe.stat().st_atime_ns != recorder.untouched(mtime)
    probe.unlink()
    return was_read


def _state(path: Path) -> os.stat_result | None:
    with contextlib.suppress(OSError):
        return path.stat()
    return None
