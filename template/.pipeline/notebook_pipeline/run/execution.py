"""Executes a notebook by Papermill, keeps what ran however it ends, and reads off it what went wrong."""

from __future__ import annotations

import contextlib
import io
import os
import queue
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from notebook_pipeline import files, shell
from notebook_pipeline.notebook import executed
from notebook_pipeline.notebook.document import INJECTED_TAG, Notebook
from notebook_pipeline.project.project import Project, ProjectError
from notebook_pipeline.run import outcome, stop
from notebook_pipeline.run.kernel_folder import DRAWN, LOG, make_kernel_folder
from notebook_pipeline.run.trace import Trace, normalize
from notebook_pipeline.run.undeclared import drop_named, list_shown_by_dvc

if TYPE_CHECKING:  # slow to import
    from nbclient import NotebookClient
    from nbformat import NotebookNode

SAVE_EVERY = 30.0
"""Seconds between two saves of the notebook while it runs."""


def execute(
    notebook: Notebook, values: dict, output: str, inputs: Iterable[str] = ()
) -> tuple[int, Trace, dict[int, float]]:
    """Run all cells with these values of the parameters, write the executed notebook, and report what went wrong.

    Args:
        inputs: the files and folders of which the trace is to tell whether they changed meanwhile.

    Returns the exit code, what the notebook read and wrote (neither itself nor the executed one), and the seconds of each cell
    by its number.
    """
    run = Execution(notebook, values, output, Trace({normalize(path) for path in inputs if "://" not in path}))
    code, trace = run.execute(), run.trace
    for touched in (trace.read, trace.noticed, trace.written):
        touched -= {normalize(notebook.path), normalize(output)}
    doubtful = drop_named(trace.doubtful(list_shown_by_dvc), trace, notebook, values)
    trace.read -= doubtful
    trace.unseen |= doubtful
    return code, trace, {run.number(index): seconds for index, seconds in run.seconds.items()}


@dataclass
class Execution:
    """One execution of a notebook by Papermill."""

    notebook: Notebook
    values: dict[str, object]
    output: str
    trace: Trace
    folder: str | None = None
    """Where the kernel starts, if it is not the working directory: then nothing is printed, either."""
    startup: str = ""
    """Python that the kernel runs before the first cell."""
    executed: NotebookNode | None = None
    """The notebook in execution, once Papermill has made it."""
    current: int | None = None
    """The index in it of the cell that runs."""
    error: tuple[int, dict] | None = None
    """The index of a cell that failed, and the kernel's reply."""
    client: NotebookClient | None = None
    """What speaks with the kernel, once it does."""
    kernel_group: int | None = None
    """The process group of the kernel."""
    kernel_log: str = ""
    """What the kernel wrote beside its messages: the reason where it could not even start."""
    drawn: list[str] = field(default_factory=list)
    """What the kernel drew by lot."""
    cells_of: dict[str, int] = field(default_factory=dict)
    """For each request to execute a cell whose turn is over, by its id: the index of the cell."""
    seconds: dict[int, float] = field(default_factory=dict)
    """How long each cell took whose turn is over, by its index."""
    turn_began: float = 0.0
    """On the clock that only goes forward."""
    ending: bool = False
    """Whether the kernel has been asked to end."""
    endless: bool = False
    """Whether it did not end by itself after all cells."""
    last_words: str = ""
    """What came on stderr while the kernel ended."""
    began: float = field(default_factory=time.time)
    saved: float = field(default_factory=time.monotonic)
    said: io.StringIO | None = None
    """What would have been printed of an error."""

    def execute(self) -> int:
        """Run all cells, report what went wrong, and return the exit code."""
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
        with contextlib.ExitStack() as quiet:
            if self.folder is not None:
                self.said = quiet.enter_context(contextlib.redirect_stderr(io.StringIO()))
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
        if code == 1 and self.current is not None and self.folder is None:
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
        with make_kernel_folder() as folder:
            try:
                # The kernel takes a second to start: meanwhile the files are looked at, and Papermill is imported.
                with files.naming(folder):
                    from notebook_pipeline.run.kernel import start_kernel  # slow to import

                    kernel = start_kernel(self, folder)
                with self.trace:
                    from notebook_pipeline.run.engine import execute_with_papermill

                    execute_with_papermill(self, kernel)
            finally:
                self.kernel_log, drawn = (
                    path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
                    for path in (Path(folder, LOG), Path(folder, DRAWN))
                )
                self.drawn = drawn.split()

    def note_current(self, cell, cell_index: int) -> None:
        """Remember which cell runs (a hook of nbclient's)."""
        self.current, self.turn_began = cell_index, time.monotonic()

    def note_error(self, cell, cell_index: int, execute_reply: dict) -> None:
        """Remember an error that the cell does not expect (a hook of nbclient's): of a wrong magic there is no output."""
        if "raises-exception" not in cell.metadata.get("tags", []):
            self.error = cell_index, execute_reply["content"]

    def save_now_and_then(self) -> None:
        """Save the notebook as far as it got, so that a long run can be looked at."""
        if time.monotonic() - self.saved >= SAVE_EVERY:
            with contextlib.suppress(OSError):  # it is no reason to end the run; the end will say it
                files.write(self.output, executed.as_text(self._repeatable()))
            self.saved = time.monotonic()

    def note_request(self, cell, cell_index: int, execute_reply: dict) -> None:
        """Remember which cell a request to execute was of, and how long it took (a hook of nbclient's)."""
        self.seconds[cell_index] = time.monotonic() - self.turn_began
        self.cells_of[execute_reply["parent_header"]["msg_id"]] = cell_index

    def hear(self, message: dict) -> None:
        """See each message of the kernel, and take those that nbclient drops: of a cell whose turn is over.

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
        """Hear what is printed while the kernel ends, until it has, or its time is over."""
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
