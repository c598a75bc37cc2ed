"""What the kernel of an observed run does beside the cells: copies files into the scratch folder when the notebook asks for
them, and records each use of a path.

The kernel loads this by its path: standard library only. The scratch folder holds the same tree as the disk, as far as the notebook
has asked for it: `/home/ada/work/a.csv` is `<scratch>/home/ada/work/a.csv` there.
"""

import contextlib
import functools
import glob
import itertools
import json
import os
import re
import shlex
import shutil
import sys
import threading

READ, WRITE, LIST, GLOB, MAKE, ASK, NAME, MODULE, MUCH = (
    "read", "write", "list", "glob", "make", "ask", "name", "module", "much"
)  # fmt: skip
_LONGEST_NAME_VALUE = 500
# What scans the folders of sys.path.
_IMPORTS = re.compile(r"importlib|pkgutil|zipimport|inspect\.py|pkg_resources")
# The system's files and those of packages.
_OF_NO_NOTEBOOK = (
    *(os.path.join(path, "") for path in {sys.prefix, sys.base_prefix, os.path.dirname(os.__file__)}),
    "/proc/", "/sys/", "/dev/", "/usr/", "/etc/",
)  # fmt: skip
_PATH_MODULES = re.compile(r"(genericpath|posixpath|ntpath|pathlib)\b")
_GLOBS = re.compile(r"[\\/](glob|_glob|pathlib)(\.py|[\\/])")


def to_scratch(scratch: str, path: str) -> str:
    """Return where a full path lies in the scratch folder."""
    drive, rest = os.path.splitdrive(path)
    return os.path.join(scratch, *([drive.strip(":\\/").replace("\\", "_")] if drive else []), rest.lstrip("\\/"))


def to_disk(scratch: str, path: str) -> str:
    """Return the full path of what lies in the scratch folder; any other path as it is."""
    inside = os.path.join(scratch, "")
    if not path.startswith(inside):
        return os.sep if path == scratch else path
    rest = path[len(inside) :]
    if os.name == "nt":
        drive, _, rest = rest.partition(os.sep)
        return f"{drive}:{os.sep}{rest}"
    return os.sep + rest


def copy_in(scratch: str, source: str) -> int:
    """Copy a file of the disk, or make its folder, in the scratch folder. Returns the bytes that were copied.

    The access time is set to before the last change, so that each reader is seen.
    """
    target = to_scratch(scratch, source)
    if os.path.lexists(target):
        return 0
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
        return 0
    if not os.path.isfile(source):
        return 0
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copyfile(source, target)
    shutil.copymode(source, target)
    os.chmod(target, os.stat(target).st_mode | 0o200)
    state = os.stat(source)
    os.utime(target, ns=(untouched(state.st_mtime_ns), state.st_mtime_ns))
    return state.st_size


def untouched(mtime: int) -> int:
    """Return the access time, in nanoseconds, of a copied file that nobody has read."""
    return max(0, mtime - 86_400 * 10**9)


class TooMuch(OSError):
    """The notebook asks for more bytes than may be copied."""


class Recorder:
    """Watches one process by an audit hook, and each process that it forks.

    Args:
        scratch: the scratch folder.
        cells: number and source of the code cells, in their order.
        log: the file for the record, a JSON object a line.
        most: bytes that may be copied; None if all may.
    """

    def __init__(self, scratch: str, cells: list, log: str, most: int | None):
        self.scratch, self.cells, self.log, self.most = scratch, cells, log, most
        self.cell, self.position = 0, 0
        self.cell_of_file = {}
        self.asked, self.said = set(), set()
        self.written = set()
        self.has_child = False
        self.size = 0
        self.local = threading.local()
        self.handlers = {
            "open": self.on_open,
            "os.listdir": self.on_list,
            "os.scandir": self.on_list,
            "glob.glob": lambda pattern, *_: self.on_glob(pattern),
            "glob.glob/2": lambda pattern, recursive, root, *_: self.on_glob(os.path.join(root or "", pattern)),
            "pathlib.Path.glob": lambda path, pattern: self.on_glob(os.path.join(path, str(pattern))),
            "pathlib.Path.rglob": lambda path, pattern: self.on_glob(os.path.join(path, "**", str(pattern))),
            "os.mkdir": lambda path, *_: self.on_change(path, MAKE),
            "os.remove": lambda path, *_: self.on_change(path, WRITE),
            "os.rmdir": lambda path, *_: self.on_change(path, WRITE),
            "os.truncate": lambda path, *_: self.on_change(path, WRITE),
            "os.rename": lambda source, target, *_: (self.on_change(source, READ), self.on_change(target, WRITE)),
            "os.chdir": lambda path: self.on_change(path, "chdir"),
            "sqlite3.connect": lambda path: self.on_change(path, READ),
            "subprocess.Popen": lambda _, arguments, *__: self.on_child(arguments),
            "os.system": self.on_child,
            "os.exec": lambda path, arguments, _: self.on_child(arguments),
            "os.posix_spawn": lambda path, arguments, _: self.on_child(arguments),
        }

    def start(self, shell) -> None:
        """Watch from now on; `shell` is IPython's."""
        shell.events.register("pre_run_cell", lambda info: self.begin_cell(info.raw_cell))
        shell.events.register("post_run_cell", lambda _: self.end_cell(shell.user_ns))
        for name in ("stat", "lstat", "access"):
            setattr(os, name, self.bringing(getattr(os, name)))
        sys.addaudithook(self.hook)

    def begin_cell(self, source: str) -> None:
        """Find the number of the cell that runs now."""
        later = (at for at in range(self.position, len(self.cells)) if self.cells[at][1].strip() == source.strip())
        at = next(later, None)
        if at is not None:
            self.cell, self.position = self.cells[at][0], at + 1

    def end_cell(self, namespace: dict) -> None:
        """Record the names that stand for paths, and the modules of the person's own."""
        if self.has_child:
            self.local.busy = True
            self.look_after_child()
            self.local.busy = False
        self.note_names(namespace)
        for name, module in [*sys.modules.items()]:
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and os.path.abspath(file).startswith(self.scratch):
                self.write({"do": MODULE, "name": name, "path": to_disk(self.scratch, os.path.abspath(file))})
                self.note_names(vars(module))

    def note_names(self, namespace: dict) -> None:
        for name, value in [*namespace.items()]:
            if name[:2] != "__" and isinstance(value, str | os.PathLike):
                with contextlib.suppress(Exception):  # a class of the person's own
                    text = os.fspath(value)
                    if isinstance(text, str) and 0 < len(text) < _LONGEST_NAME_VALUE and "\n" not in text:
                        self.write({"do": NAME, "name": name, "is_text": isinstance(value, str), "said": text})

    def bringing(self, function):
        """Return a function of `os` that asks about a path, which raises no event, and brings the path first."""

        @functools.wraps(function)
        def with_file(path, *arguments, **options):
            if not isinstance(path, int) and not getattr(self.local, "busy", False):
                self.local.busy = True
                try:
                    self.bring(path)
                    # Not what a library asks for itself.
                    callers = (name.rpartition(": ")[0] for name in _callers())
                    if next((name for name in callers if not _PATH_MODULES.search(name)), "") in self.cell_of_file:
                        self.record(ASK, path)
                finally:
                    self.local.busy = False
            return function(path, *arguments, **options)

        return with_file

    def hook(self, event: str, arguments: tuple) -> None:
        """See each event of Python's (https://docs.python.org/3/library/audit_events.html) before it happens."""
        if event == "exec":
            name = getattr(arguments[0], "co_filename", "")
            # The code of a cell has the name of a file that does not exist; equal cells have one name.
            if self.cell and not name.startswith("<") and not os.path.exists(name):
                self.cell_of_file[name] = self.cell
            return
        handler = self.handlers.get(event)
        if handler is None or getattr(self.local, "busy", False):
            return
        self.local.busy = True
        try:
            if self.has_child:
                self.look_after_child()
            handler(*arguments)
        except TooMuch:
            raise
        except Exception:  # the notebook's own call says what is wrong with it
            return
        finally:
            self.local.busy = False

    def on_open(self, path, mode, flags) -> None:
        """Bring what is opened, unless it is made anew."""
        if isinstance(path, int):
            return
        reads = flags & (os.O_WRONLY | os.O_RDWR) != os.O_WRONLY
        is_new = flags & os.O_TRUNC or (flags & os.O_CREAT and flags & os.O_EXCL)
        self.bring(os.path.dirname(self.full(path)) if is_new else path)
        if (reads or flags & os.O_APPEND) and not is_new:
            self.record(READ, path)
        if flags & (os.O_WRONLY | os.O_RDWR):
            self.record(WRITE, path)

    def on_list(self, path=".") -> None:
        """Bring what lies in a folder that is listed: of a search for modules only these."""
        if isinstance(path, int):
            return
        path = path or "."
        self.bring(path)
        callers = [*itertools.islice(_callers(), 4)]
        if any(_GLOBS.search(name) for name in callers[:3]) and not any(name.endswith(": iterdir") for name in callers):
            return
        imports = any(_IMPORTS.search(name) for name in callers)
        folder = to_disk(self.scratch, self.full(path))
        if self.full(path).startswith(self.scratch) and (folder, imports) not in self.asked:
            self.asked.add((folder, imports))
            for name in os.listdir(folder) if os.path.isdir(folder) else ():
                inner = os.path.join(folder, name)
                if not imports or name.endswith((".py", ".so", ".pyd")) or os.path.isdir(inner):
                    self.bring(to_scratch(self.scratch, inner))
        if not imports:
            self.record(LIST, path)

    def on_glob(self, pattern: str) -> None:
        """Bring what a pattern matches on the disk."""
        full = to_disk(self.scratch, self.full(pattern))
        if self.full(pattern).startswith(self.scratch) and (full, GLOB) not in self.asked:
            self.asked.add((full, GLOB))
            for found in glob.iglob(full, recursive=True):
                self.bring(to_scratch(self.scratch, found))
        self.record(GLOB, pattern)

    def on_change(self, path, what: str) -> None:
        """Bring what is made, renamed or removed: whether it was there decides."""
        if not isinstance(path, int) and os.fsdecode(path) not in (":memory:", ""):
            path = re.sub(r"^file:([^?]*).*", r"\1", os.fsdecode(path))
            self.bring(path)
            self.record(what, path)

    def on_child(self, arguments) -> None:
        """Bring what the words of a command name: other programs have no audit hook."""
        self.has_child = True
        words = [arguments] if isinstance(arguments, str | bytes) else [*arguments]
        for word in map(os.fsdecode, words):
            with contextlib.suppress(ValueError):
                for part in shlex.split(word):
                    self.bring_all(part.partition("=")[2] or part)

    def look_after_child(self) -> None:
        """Record what other programs wrote, before what Python does next."""
        self.has_child = False
        for folder, _, names in os.walk(self.scratch):
            for name in names:
                path = os.path.join(folder, name)
                source = to_disk(self.scratch, path)
                if path not in self.written and path != self.log and folder != self.scratch.rstrip(os.sep):
                    is_new = not os.path.exists(source) or os.stat(source).st_mtime_ns != os.stat(path).st_mtime_ns
                    if is_new:
                        self.record(WRITE, path)

    def bring_all(self, path: str) -> None:
        """Bring a file, or all that lies in a folder, unless that is around the working directory."""
        full = self.full(path)
        if full.startswith(self.scratch) and not os.path.join(os.getcwd(), "").startswith(os.path.join(full, "")):
            self.bring(full)
            for folder, _, names in os.walk(to_disk(self.scratch, full)):
                for name in names:
                    self.bring(to_scratch(self.scratch, os.path.join(folder, name)))

    def full(self, path) -> str:
        return os.path.abspath(os.fsdecode(path))

    def bring(self, path) -> None:
        """Copy what the notebook asks for, once: what it has removed stays removed.

        Raises:
            TooMuch: it is more than may be copied.
        """
        path = self.full(path)
        if path in self.asked or not path.startswith(self.scratch):
            return
        self.asked.add(path)
        source = to_disk(self.scratch, path)
        if self.most is not None and os.path.isfile(source) and not os.path.lexists(path):
            size = os.path.getsize(source)
            if self.size + size > self.most:
                self.write({"do": MUCH, "path": source, "size": size})
                raise TooMuch(f"{source} is large")
        with contextlib.suppress(OSError):
            # What does not exist may be made: its folder is there.
            self.size += copy_in(self.scratch, source if os.path.lexists(source) else os.path.dirname(source))

    def record(self, what: str, path) -> None:
        """Note the use of a path: as the code says it, its place on the disk, and the calls that led there."""
        full = self.full(path)
        self.written |= {full} if what == WRITE else set()
        if os.path.join(full, "").startswith(_OF_NO_NOTEBOOK) or any(
            map(_IMPORTS.search, itertools.islice(_callers(), 4))
        ):
            return
        sites = self.sites()
        if sites or full.startswith(self.scratch):
            self.write(
                {
                    "do": what,
                    "said": os.fsdecode(path),
                    "path": to_disk(self.scratch, full),
                    "cell": self.cell,
                    "sites": sites,
                }
            )

    def sites(self) -> list:
        """Return for each call on the stack that the notebook or a module of its own makes: source, first and last position."""
        found, frame = [], sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            source = self.cell_of_file.get(code.co_filename)
            if not source and code.co_filename.startswith(self.scratch):
                source = to_disk(self.scratch, os.path.abspath(code.co_filename))
            if source and frame.f_lasti >= 0:
                line, last, column, end = next(itertools.islice(code.co_positions(), frame.f_lasti // 2, None))
                if None not in (line, last, column, end):
                    found.append([source, line, column, last, end])
            frame = frame.f_back
        return found

    def write(self, entry: dict) -> None:
        line = json.dumps(entry)
        if line not in self.said:
            self.said.add(line)
            was_busy, self.local.busy = getattr(self.local, "busy", False), True
            with contextlib.suppress(OSError), open(self.log, "a", encoding="utf-8") as file:
                file.write(line + "\n")
            self.local.busy = was_busy


def _callers():
    """Yield file and function of the calls around, the nearest first, without those of this file."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename != __file__:
            yield f"{frame.f_code.co_filename}: {frame.f_code.co_name}"
        frame = frame.f_back


def record(shell, scratch: str, cells: list, log: str, most: int | None) -> None:
    """Start to record in this kernel."""
    Recorder(os.path.join(scratch, ""), cells, log, most).start(shell)
