"""Executes a notebook by Papermill, keeps what ran however it ends, and reads off it what went wrong."""

import contextlib
import os
import queue
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from notebook_pipeline import files, shell
from notebook_pipeline.notebook import executed
from notebook_pipeline.notebook.document import INJECTED_TAG, Notebook
from notebook_pipeline.project.project import Project, ProjectError
from notebook_pipeline.run import outcome, stop
from notebook_pipeline.run.kernel_folder import DRAWN, LOG, make_kernel_folder
from notebook_pipeline.run.trace import Trace, normalize
from notebook_pipeline.run.undeclared import drop_named, list_shown_by_dvc

SAVE_EVERY = 30.0
"""Seconds between two saves of the notebook while it runs."""


def execute(notebook: Notebook, values: dict, output: str, inputs: Iterable[str] = ()) -> tuple[int, Trace]:
    """Run all cells with these values of the parameters, writes the executed notebook, and reports what went wrong.

    Args:
        inputs: the files and folders of which the trace is to tell whether they changed meanwhile.

    Returns the exit code, and what the notebook read and wrote: neither itself nor the executed one.
    """
    run = Execution(notebook, values, output, Trace(normalize(path) for path in inputs if "://" not in path))
    code, trace = run.execute(), run.trace
    for own in (notebook.path, output):
        trace.read.discard(normalize(own))
        trace.noticed.discard(normalize(own))
        trace.written.discard(normalize(own))
    doubtful = drop_named(trace.doubtful(list_shown_by_dvc), trace, notebook, values)
    trace.read -= doubtful
    trace.unseen |= doubtful
    return code, trace


class Execution:
    """One execution of a notebook by Papermill."""

    def __init__(self, notebook: Notebook, values: dict[str, object], output: str, trace: Trace):
        self.notebook = notebook
        self.values = values
        self.output = output
        self.executed = None
        """The notebook in execution, once Papermill has made it."""
        self.current = None
        """The index in it of the cell that runs."""
        self.error = None
        """The index of a cell that failed, and the kernel's reply."""
        self.kernel_group = None
        """The process group of the kernel."""
        self.kernel_log = ""
        """What the kernel wrote beside its messages: the reason where it could not even start."""
        self.began = time.time()
        self.saved = time.monotonic()
        self.trace = trace
        self.client = None
        """What speaks with the kernel, once it does."""
        self.cells_of = {}
        """For each request to execute a cell, by its id: the index of the cell."""
        self.ending = False
        """Whether the kernel has been asked to end."""
        self.endless = False
        """Whether it did not end by itself after all cells."""
        self.last_words = ""
        """What came on stderr while the kernel ended."""
        self.drawn = []
        """What the kernel drew by lot."""

    def execute(self) -> int:
        """Runs all cells, reports what went wrong, and returns the exit code."""
        failure = None
        with stop.signals_as_exceptions() as dvc:
            try:
                self._execute_with_papermill()
            except KeyboardInterrupt as interrupt:
                failure = interrupt
            except Exception as error:  # what it means is read off the notebook: the exception's text is for developers
                failure = error
        if failure is not None and dvc:
            stop.restore_branch(dvc[0], stop.PATIENCE if isinstance(failure, stop.Stopped) else 0)
        if self.executed is not None:
            self.executed = self._repeatable()
        code = outcome.report(self, failure)
        try:
            if self.executed is not None:
                files.write(self.output, executed.as_text(self.executed))
        except OSError:
            code = 1
            raise
        finally:
            if code and self.kernel_group and hasattr(os, "killpg"):
                # What the notebook started must not outlive a run that failed.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.kernel_group, signal.SIGKILL)
        if code == 1 and self.current is not None:
            print(self._describe_way_back(), file=sys.stderr)
        return code

    def _describe_way_back(self) -> str:
        """Say how to open the notebook with the values of this run."""
        with contextlib.suppress(ProjectError):
            stage = Project().stage_running(self.notebook.path, self.output)
            command = f"uv run pipeline open {shell.quote(stage.name)}"
            folder = Path.cwd().as_posix()
            if "/.dvc/tmp/exps/standalone/" in folder:
                return f"{self.output}: DVC removes it with this folder. Fix: run the experiment without `--temp`, then {command}"
            if "/.dvc/tmp/exps/" in folder:
                command += f" --experiment {shell.quote(os.environ.get('DVC_EXP_NAME', 'NAME'))}"
            return f"{self.output}: shows what ran. Fix: to run its cells one by one with the same values, {command}"
        return f"{self.output}: shows what ran. Fix: open it in your editor"

    def _execute_with_papermill(self) -> None:
        with make_kernel_folder() as folder, self._keep_files_of_kernel(folder):
            # The kernel takes a second to start: meanwhile the files are looked at, and Papermill is imported.
            with files.naming(folder):
                from notebook_pipeline.run.kernel import start_kernel  # slow to import

                kernel = start_kernel(self, folder)
            with self.trace:
                from notebook_pipeline.run.engine import execute_with_papermill

                execute_with_papermill(self, kernel)

    @contextlib.contextmanager
    def _keep_files_of_kernel(self, folder: str):
        """Keeps what the kernel left in its folder."""
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                self.kernel_log = Path(folder, LOG).read_text(encoding="utf-8", errors="replace")
            with contextlib.suppress(FileNotFoundError):
                self.drawn = Path(folder, DRAWN).read_text(encoding="ascii").split()

    def note_current(self, cell, cell_index: int) -> None:
        """Remembers which cell runs (a hook of nbclient's)."""
        self.current = cell_index

    def note_error(self, cell, cell_index: int, execute_reply: dict) -> None:
        """Remembers an error that the cell does not expect (a hook of nbclient's): of a wrong magic there is no output."""
        if "raises-exception" not in cell.metadata.get("tags", []):
            self.error = cell_index, execute_reply["content"]

    def save_now_and_then(self) -> None:
        """Saves the notebook as far as it got, so that a long run can be looked at."""
        if time.monotonic() - self.saved >= SAVE_EVERY:
            with contextlib.suppress(OSError):  # it is no reason to end the run; the end will say it
                files.write(self.output, executed.as_text(self._repeatable()))
            self.saved = time.monotonic()

    def note_request(self, message_id: str) -> None:
        """Remembers which cell a request to execute is of."""
        self.cells_of[message_id] = self.current

    def hear(self, message: dict) -> None:
        """Sees each message of the kernel, and takes those that nbclient drops: of a cell whose turn is over.

        A thread prints when it likes, also between two cells and after the last one. What comes when the kernel ends, as from
        an exit handler, belongs to the last cell.
        """
        kind, content = message["msg_type"], message["content"]
        executed.make_valid(kind, content)
        index = self.cells_of.get(message["parent_header"].get("msg_id"), self.current if self.ending else None)
        if index is None or (index == self.current and not self.ending):
            return
        if kind in ("stream", "display_data", "update_display_data"):
            self.client.process_message(message, self.executed.cells[index], index)
        # The kernel may send it in pieces.
        if self.ending and kind == "stream" and content["name"] == "stderr":
            self.last_words += content["text"]

    async def listen_to_the_end(self, is_alive) -> None:
        """Hears what is printed while the kernel ends, until it has, or its time is over."""
        self.ending, until = True, time.monotonic() + outcome.PATIENCE_AT_END
        outputs = self.client.kc.iopub_channel
        while (alive := await is_alive()) and time.monotonic() < until:
            with contextlib.suppress(queue.Empty):
                await outputs.get_msg(timeout=0.01)
        self.endless = alive
        # What it sent last is on its way.
        with contextlib.suppress(queue.Empty):
            while not alive:
                await outputs.get_msg(timeout=0.02)

    def _repeatable(self):
        numbers = [self.number(index) for index in range(len(self.executed.cells))]
        return executed.repeatable(self.executed, numbers, self.drawn, self.began, time.time())

    def number(self, index: int) -> int:
        """Return a cell's number: its place in the notebook as the person has it, without the cell that Papermill put in."""
        # Papermill puts its cell below the one with the parameters, of which it is the continuation.
        ours = [cell for cell in self.executed.cells[: index + 1] if INJECTED_TAG not in cell.metadata.get("tags", [])]
        return self.notebook.cells[len(ours) - 1].number
