"""What a kernel tells of itself: the ids that it draws, the files that it opens. The kernel loads this by its path: standard
library only."""

import atexit
import contextlib
import functools
import os
import secrets
import sys

MOST = 100_000
"""So many are remembered: ids stand in outputs in hundreds, and who draws more makes data of them."""
_SHORTEST, _LONGEST = 3, 64


def note_drawn(log: str) -> None:
    """Writes into a file, when the kernel ends, the bytes that were drawn to make ids of: in hexadecimal, one draw a line.

    What was drawn stays as random as it is. All of `uuid` and `secrets` comes from these two functions. That an output
    shows an id is thereby known, and not guessed from its form: a hash or an id in the data has the same.
    """
    drawn = {}

    def noting(draw):
        @functools.wraps(draw)
        def noted(*arguments):
            made = draw(*arguments)
            if _SHORTEST <= len(made) <= _LONGEST and len(drawn) < MOST:
                drawn[made] = None
            return made

        return noted

    def tell():
        with open(log, "a", encoding="ascii") as file:
            file.writelines(f"{made.hex()}\n" for made in drawn)

    os.urandom = noting(os.urandom)
    os.urandom.__module__ = "os"  # pickled by its name
    secrets.token_bytes = noting(secrets.token_bytes)
    atexit.register(tell)  # the first to register is the last to be called


# What each line of a kernel's log begins with.
READ, WRITTEN, LISTED = "r", "w", "l"


def tell_opened(root: str, log: str, shell) -> None:
    """In the kernel: writes, after each cell and at the end, what was opened to read or to write, and listed, below a folder.

    One a line: what was done, and the path as seen from the folder.
    """
    prefix, seen, due = os.path.normcase(os.path.join(root, "")), set(), []

    def note(event, arguments):
        if event == "open":
            path, mode, flags = arguments
            # `open` has a mode, `os.open` has flags only.
            if mode:
                done = READ * ("r" in mode or "+" in mode) + WRITTEN * ("r" not in mode or "+" in mode)
            else:
                access = flags & (os.O_WRONLY | os.O_RDWR)
                done = READ * (access != os.O_WRONLY) + WRITTEN * (access != os.O_RDONLY)
        elif event in ("os.listdir", "os.scandir"):
            path, done = arguments[0] or ".", LISTED
        elif event in ("os.rename", "os.remove", "os.truncate"):
            path, done = arguments[0], WRITTEN
            if event == "os.rename":
                add(arguments[1], done)
        else:
            return
        add(path, done)

    def add(path, done):
        if not isinstance(path, str | bytes):
            return
        path = os.path.abspath(os.fsdecode(path))
        if os.path.normcase(path).startswith(prefix):
            path = path[len(prefix) :]
        elif not done.endswith(WRITTEN):  # a declared input may lie elsewhere
            return
        for each in done:
            line = f"{each}{path}\n"
            if line not in seen:
                seen.add(line)
                due.append(line)

    def tell(*_):
        lines = due[:]
        del due[: len(lines)]
        # Opened anew: a descriptor kept open might be closed by the notebook, and its number be another file's.
        with contextlib.suppress(OSError), open(log, "ab") as file:
            file.write(os.fsencode("".join(lines)))

    shell.events.register("post_run_cell", tell)
    atexit.register(tell)
    sys.addaudithook(note)
