"""What the kernel of a run does beside the notebook's cells: its settings, the ids that it draws, the files that it opens.

The kernel loads this by its path: standard library only, and IPython.
"""

import atexit
import contextlib
import functools
import os
import secrets
import sys


def configure(config, beside: str, drawn: str) -> None:
    """Set up a kernel that starts.

    Args:
        config: IPython's.
        beside: the notebook's folder.
        drawn: the file for what the kernel draws by lot.
    """
    # Modules beside the notebook can be imported, as in Jupyter, which starts there, and those in the project's root. They
    # come behind the standard library, as IPython has it: a file of one's own may be called random.py.
    names = [os.path.basename(path) for path in sys.path]
    place = next((names.index(name) for name in ("site-packages", "dist-packages") if name in names), 0)
    sys.path[place:place] = [beside, ""]
    note_drawn(drawn)
    # Without it, each picture in SVG has names of its own that are drawn by lot.
    config.InlineBackend.rc = {"svg.hashsalt": "pipeline"}
    # Its log, which would tell of the interrupt that begins each shutdown, says nothing about the notebook.
    config.Application.log_level = 50
    # $PYTHONSTARTUP is one person's own.
    config.IPKernelApp.exec_PYTHONSTARTUP = False
    # Nobody debugs a run, and to import the debugger is a quarter of the kernel's start.
    sys.modules["debugpy"] = None


def prepare(shell, beside: str, root: str, opened: str) -> None:
    """Set up the shell of a kernel, before the first cell.

    Args:
        beside: the notebook's folder.
        root: the project's.
        opened: the file for what the kernel opens.
    """
    del sys.modules["debugpy"]  # a notebook that imports it can
    # A kernel takes note of `exit()` and `quit()`, runs the cells that wait already, and ends with success.
    shell.ask_exit = sys.exit
    _run_beside(shell, beside)
    tell_opened(root, opened, shell)
    # The last to be called of those that the notebook registers, and before the kernel's own: what they printed is sent.
    atexit.register(lambda: (sys.stdout.flush(), sys.stderr.flush()))


def _run_beside(shell, folder: str) -> None:
    """Have `%run` find what lies beside the notebook, too, as it does in Jupyter, which starts there."""
    from IPython.utils.path import get_py_filename

    run = shell.find_line_magic("run")

    def find_beside(name):
        __tracebackhide__ = True
        beside = os.path.join(folder, name)
        is_beside = not os.path.exists(name) and (os.path.exists(beside) or os.path.exists(beside + ".py"))
        return get_py_filename(beside if is_beside else name)

    def run_beside(line):
        __tracebackhide__ = True
        return run(line, file_finder=find_beside)

    shell.register_magic_function(run_beside, magic_name="run")


MOST = 100_000
"""So many are remembered: ids stand in outputs in hundreds, and who draws more makes data of them."""
_SHORTEST, _LONGEST = 3, 64


def note_drawn(log: str) -> None:
    """Write into a file, when the kernel ends, the bytes that were drawn to make ids of: in hexadecimal, one draw a line.

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
    """Write, after each cell and at the end, what was opened to read or to write, and listed, below a folder.

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
