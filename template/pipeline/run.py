"""`python -m pipeline run NOTEBOOK OUTPUT`: executes a notebook with the parameters that its stage in dvc.yaml lists.

Afterwards it names what the notebook read or wrote and dvc.yaml does not declare, and the other way round.
"""

import argparse
import contextlib
import copy
import gc
import itertools
import os
import posixpath
import queue
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline import edits, files
from pipeline.notebook import INJECTED_TAG, SKIPPED_TAG, Notebook, NotebookError, read
from pipeline.project import PARAMS_FILE, PIPELINE_FILE, Project, ProjectError, Stage
from pipeline.trace import Trace, by_folder, is_covered, not_covered, outermost

SAVE_EVERY = 30.0
"""Seconds between two saves of the notebook while it runs."""

PATIENCE = 5.0
"""Seconds in which a run that was asked to end does so: a kernel is killed at once."""

# What a stage may depend on without reading it.
_ENVIRONMENT_FILES = ("pyproject.toml", "uv.lock")


def main(argv: list[str]) -> int:
    """Checks, executes and writes the executed notebook to OUTPUT, however the run ends.

    Returns the exit code: 0, 1 where the run was refused or a cell failed, 128 + the signal that ended it; with --strict
    also 1 where dvc.yaml does not declare what the run touched.
    """
    parser = argparse.ArgumentParser(prog="python -m pipeline run", description=__doc__.partition(": ")[2])
    parser.add_argument("notebook", metavar="NOTEBOOK")
    parser.add_argument("output", metavar="OUTPUT", help="where the executed notebook goes")
    parser.add_argument(
        "--strict",
        action="store_true",
        # Another program may have read the file, so a person decides; CI has no other program.
        default=os.environ.get("PIPELINE_STRICT", "0") not in ("", "0"),
        help="fail where dvc.yaml and what the run touched differ (also: PIPELINE_STRICT=1)",
    )
    arguments = parser.parse_args(argv)
    # As Stage.calls has them, however a shell completes them.
    arguments.notebook, arguments.output = (Path(path).as_posix() for path in (arguments.notebook, arguments.output))
    try:
        notebook = read(arguments.notebook)
        project = Project()
        # DVC names the stage that it runs; by hand it is found by its command.
        name = os.environ.get("DVC_STAGE")
        stage = project.stage(name) if name else project.stage_running(arguments.notebook, arguments.output)
        problems = [*notebook.problems()]
        given = project.parameters(stage, notebook) if not problems else None
        problems += given.problems if given else []
        problems += _stale_code(project, stage, notebook) if name else []
    except (NotebookError, ProjectError) as error:
        problems = [Project().gone(arguments.notebook) or str(error)]
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    for path in stage.outs:
        # git keeps no empty folders: a fresh clone lacks them.
        if "://" not in path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
    code, trace = execute(notebook, given.values, arguments.output)
    if code:
        return code
    if name and (changed := _changed_meanwhile(stage, notebook, given.values)):
        print(changed, file=sys.stderr)
        return 1
    differences = [*_undeclared(project, stage, notebook, trace), *_untouched(project, stage, notebook, trace)]
    if differences:
        print("\n".join(differences), file=sys.stderr)
    return 1 if differences and arguments.strict else 0


def execute(notebook: Notebook, values: dict, output: str) -> tuple[int, Trace]:
    """Runs all cells with these values of the parameters, writes the executed notebook, and reports what went wrong.

    Returns the exit code, and what the notebook read and wrote: neither itself nor the executed one.
    """
    run = _Run(notebook, values, output)
    code = run.execute()
    for own in (notebook.path, output):
        run.trace.read.discard(_plain(own))
        run.trace.written.discard(_plain(own))
    return code, run.trace


def _stale_code(project: Project, stage: Stage, notebook: Notebook) -> list[str]:
    """A code file among the stage's deps that is not the notebook's code: DVC would record the wrong one."""
    for other in project.stages():
        match other.calls("code"):
            case (source, target) if source == notebook.path and target in stage.deps and Path(target).exists():
                if Path(target).read_text(encoding="utf-8") != notebook.code():
                    return [f"{notebook.path}: changed since {target} was written: run `dvc repro` again, without -s"]
    return []


def _changed_meanwhile(stage: Stage, notebook: Notebook, values: dict[str, object]) -> str | None:
    """DVC reads params.yaml again after the run, and would record values that the notebook never saw."""
    try:
        now = Project().parameters(stage, notebook)
    except ProjectError:
        now = None
    if now is None or now.problems or repr(now.values) != repr(values):
        return f"params.yaml changed while {notebook.path} ran: the run used the old values; run `dvc repro` again"
    return None


def _undeclared(project: Project, stage: Stage, notebook: Notebook, trace: Trace) -> Iterator[str]:
    """What the run touched and the stage does not declare, as the lines to add."""
    in_part, whole = _parameter_files(stage)
    own = in_part | whole | {PIPELINE_FILE}
    outs = {_plain(path) for path in stage.outs}
    deps = {_plain(path) for path in stage.deps} | outs
    results = {_plain(path) for other in project.stages() for path in other.outs}
    declared = {_plain(path) for other in project.stages() for path in other.deps} | results
    read = not_covered(trace.read, deps)
    listed = not_covered(trace.listed_beside(results), deps)
    written = not_covered(trace.written, outs)
    inputs = outermost({*by_folder(read - own, trace.files - trace.read, declared, whole=False), *listed})
    made = by_folder(written - own, trace.files - trace.written, declared, whole=True)
    for what, key, found in (("read", "deps", sorted(inputs)), ("wrote", "outs", made)):
        if found:
            yield (
                f"{notebook.path}: stage `{stage.name}` {what} what {PIPELINE_FILE} does not declare: add to its `{key}:` "
                f"(`python -m pipeline add {notebook.path}` does it)"
            )
            yield from (f"      - {edits.on_one_line(path)}" for path in found)
    for path in sorted(read & in_part):
        yield (
            f"{notebook.path}: read {path} itself, of which DVC tracks for stage `{stage.name}` only what its `params:` "
            "lists: take the values from the parameters cell"
        )


def _untouched(project: Project, stage: Stage, notebook: Notebook, trace: Trace) -> Iterator[str]:
    """What the stage declares and the run did not touch; one line each."""
    run = stage.calls("run")
    if run is None or has_other_commands(stage):
        return  # they may have touched it
    code = [calls[1] for other in project.stages() if (calls := other.calls("code")) and calls[0] == notebook.path]
    exempt = {_plain(path) for path in (*run, *code, *_ENVIRONMENT_FILES)}
    for key, what, verb, paths, touched in (
        ("deps", "input", "read", stage.deps, trace.read | trace.written | trace.listed | trace.unseen),
        ("outs", "output", "write", stage.outs, trace.written),
    ):
        if key == "deps" and not trace.sees_all:
            continue  # who reads it may not be Python
        for path in paths:
            place = _plain(path)
            if place in exempt or "://" in path or any(is_covered(file, [place]) for file in touched):
                continue
            # What lies outside of the project, or is an empty folder, is not watched.
            if (
                place in trace.files
                or any(file.startswith(f"{place}/") for file in trace.files)
                or not os.path.lexists(path)
            ):
                yield (
                    f"{project.place(stage, key)}: stage `{stage.name}` declares the {what} {path}, which "
                    f"{notebook.path} did not {verb}: take it off the list, or {verb} it"
                )


def has_other_commands(stage: Stage) -> bool:
    """Whether a stage does more than to run its notebook."""
    return len(stage.cmd) != 1 or bool(re.search(r"[;&|]", stage.cmd[0]))


def _parameter_files(stage: Stage) -> tuple[set[str], set[str]]:
    """The files of which the stage's `params:` list names keys, and those that it names as a whole."""
    listed = {file: keys for entry in stage.params if isinstance(entry, dict) for file, keys in entry.items()}
    whole = {_plain(file) for file, keys in listed.items() if not keys}
    return {PARAMS_FILE, *map(_plain, listed)} - whole, whole


def _plain(path: str) -> str:
    """A path as the trace has it."""
    return posixpath.normpath(Path(path).as_posix())


class _Stopped(KeyboardInterrupt):
    """A signal asks the run to end. (asyncio swallows any other exception that a signal raises in its callbacks.)"""

    def __init__(self, number: int):
        self.number = number


class _Run:
    """One execution of a notebook by Papermill."""

    def __init__(self, notebook: Notebook, values: dict[str, object], output: str):
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
        self.saved = time.monotonic()
        self.trace = Trace()

    def execute(self) -> int:
        """Runs all cells, reports what went wrong, and returns the exit code."""
        failure = None
        with _signals_as_exceptions():
            try:
                self._execute_with_papermill()
            except KeyboardInterrupt as stop:
                failure = stop
            except Exception as error:  # what it means is read off the notebook: the exception's text is for developers
                failure = error
        code = self._report(failure)
        try:
            if self.executed is not None:
                files.write(self.output, _as_text(self.executed))
        except OSError:
            code = 1
            raise
        finally:
            if code and self.kernel_group and hasattr(os, "killpg"):
                # What the notebook started must not outlive a run that failed.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.kernel_group, signal.SIGKILL)
        return code

    def _execute_with_papermill(self) -> None:
        with (
            tempfile.TemporaryDirectory(prefix="kernel", ignore_cleanup_errors=True) as folder,
            self._log_kept(folder),
            contextlib.ExitStack() as until_the_end,
        ):
            # What is imported now stays: to look for garbage among it takes a tenth of this process's time.
            gc.disable()
            until_the_end.callback(gc.enable)
            self.trace.watch_kernel(folder)
            # The kernel takes a second to start: meanwhile the files are looked at, and Papermill is imported.
            with files.naming(folder):
                kernel = _start_kernel(self, folder)
            until_the_end.enter_context(self.trace)

            import logging

            import nbformat
            from papermill.clientwrap import PapermillNotebookClient
            from papermill.engines import Engine, papermill_engines
            from papermill.execute import execute_notebook
            from papermill.translators import PythonTranslator, papermill_translators

            run = self
            terminal = sys.stderr.isatty()

            class PipelineEngine(Engine):
                """Papermill's execution, with a notebook that can be had when it fails, and saved now and then."""

                @classmethod
                def execute_notebook(cls, *args, **kwargs):
                    super().execute_notebook(*args, **kwargs)
                    # Papermill would now look for errors and write the notebook once more: both are done here.
                    return nbformat.v4.new_notebook()

                @classmethod
                def execute_managed_notebook(cls, nb_man, kernel_name, **kwargs):
                    run.executed = nb_man.nb
                    run.executed.metadata.papermill.pop("parameters", None)
                    # Papermill saves at each cell's start and end: with large outputs that takes longer than the cells.
                    nb_man.save = lambda **_: run.save_now_and_then()
                    PapermillNotebookClient(
                        nb_man,
                        km=kernel,
                        log=logging.getLogger("papermill"),
                        stdout_file=None if terminal else sys.stdout,
                        stderr_file=None if terminal else sys.stderr,
                        startup_timeout=300,
                        timeout=None,
                        # What a cell prints may take longer to come than the cell took to print it.
                        iopub_timeout=3600,
                        on_cell_execute=run.note_current,
                        on_cell_error=run.note_error,
                        record_timing=False,
                    ).execute(cleanup_kc=True)

            class Translator(PythonTranslator):
                """Papermill's way to write a value as Python, with keys of mappings that keep their type."""

                @classmethod
                def translate_dict(cls, val):
                    return "{" + ", ".join(f"{cls.translate(key)}: {cls.translate(val[key])}" for key in val) + "}"

            papermill_engines.register("pipeline", PipelineEngine)
            papermill_translators.register("python", Translator)
            # Their messages are about themselves; ours come from the notebook.
            for name in ("papermill", "asyncio"):
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)

            gc.enable()
            execute_notebook(
                nbformat.from_dict(_without_outputs(self.notebook)),
                None,
                self.values,
                engine_name="pipeline",
                kernel_name="python3",
                language="python",
                progress_bar={"desc": Path(self.notebook.path).stem} if terminal else False,
            )

    @contextlib.contextmanager
    def _log_kept(self, folder: str):
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                self.kernel_log = Path(folder, "kernel.log").read_text(encoding="utf-8", errors="replace")

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
                files.write(self.output, _as_text(self.executed))
            self.saved = time.monotonic()

    def _report(self, failure: BaseException | None) -> int:
        path = self.notebook.path
        match failure:
            case _Stopped(number=number):
                print(f"{path}: stopped{self._where()} by {signal.Signals(number).name}", file=sys.stderr)
                return 128 + number
            case KeyboardInterrupt():
                print(f"{path}: stopped{self._where()} by Ctrl-C", file=sys.stderr)
                return 128 + signal.SIGINT
        cells = self.executed.cells if self.executed is not None else []
        for index, cell in enumerate(cells):
            tags = cell.metadata.get("tags", [])
            for output in cell.get("outputs", []):
                if output.output_type == "error" and "raises-exception" not in tags:
                    return self._report_error(index, output.ename, output.evalue, output.traceback)
        if self.error is not None:
            index, reply = self.error
            return self._report_error(index, reply["ename"], reply["evalue"], [])
        never_ran = [
            self._number(index) for index, cell in enumerate(cells)
            if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None
            and index != self.current and SKIPPED_TAG not in cell.metadata.get("tags", [])
        ]  # fmt: skip
        if type(failure).__name__ == "DeadKernelError" or (never_ran and failure is None):
            print(
                f"{path}: the kernel died{self._where()}: out of memory, or ended by the code{_never(never_ran)}",
                file=sys.stderr,
            )
            return 1
        if failure is not None:
            place, what = f"{path}: cannot be run{self._where()}", str(failure).strip() or type(failure).__name__
            is_fault = isinstance(failure, OSError)
            print(files.explain(failure, place) if is_fault else f"{place}: {what}", file=sys.stderr)
            if self.current is None:
                print(self.kernel_log, end="", file=sys.stderr)
            return 1
        return 0

    def _report_error(self, index: int, name: str, message: str, traceback: list[str]) -> int:
        cell, place = self.executed.cells[index], f"{self.notebook.path}: cell {self._number(index)}"
        if name == "SystemExit":
            never_ran = [
                self._number(later) for later, other in enumerate(self.executed.cells)
                if later > index and other.cell_type == "code" and other.source.strip() and other.execution_count is None
            ]  # fmt: skip
            print(
                f"{place}: called sys.exit({message}){_never(never_ran)}: a run must reach the notebook's end",
                file=sys.stderr,
            )
            return 1
        coloured = "\n".join(traceback)
        plain = _without_colour(coloured)
        # IPython names the cell by its count: the first frame of this cell is the line that failed.
        frame = re.search(rf"Cell In\[{cell.execution_count}\], line (\d+)", plain)
        source = cell.source.splitlines()
        line = int(frame[1]) if frame and int(frame[1]) <= len(source) else None
        # Of a syntax error IPython says where it is in a temporary file, too.
        what = re.sub(r" \(\d+\.py, line \d+\)$", "", message)
        print(f"{place}{f', line {line}' if line else ''}: {name}: {what}", file=sys.stderr)
        if line:
            print(f"    {source[line - 1].strip()}", file=sys.stderr)
        if traceback:
            print(f"\n{coloured if sys.stderr.isatty() else plain}", file=sys.stderr)
        return 1

    def _where(self) -> str:
        return f" in cell {self._number(self.current)}" if self.current is not None else ""

    def _number(self, index: int) -> int:
        """A cell's number in the notebook as the person has it, without the cell that Papermill put in."""
        ours = [cell for cell in self.executed.cells[:index] if INJECTED_TAG not in cell.metadata.get("tags", [])]
        own = [cell.number for cell in self.notebook.cells]
        return own[min(len(ours), len(own) - 1)]


def _never(numbers: list[int]) -> str:
    if not numbers:
        return ""
    cells = f"cell {numbers[0]}" if len(numbers) == 1 else f"cells {', '.join(map(str, numbers))}"
    return f": {cells} never ran"


@contextlib.contextmanager
def _signals_as_exceptions():
    """Within, SIGTERM and the death of DVC raise _Stopped, so that the kernel is ended and the notebook kept."""

    def stop(number, frame):
        asked.set()
        raise _Stopped(number)

    def watch():
        # DVC ended by a signal leaves its stage running; nobody would record what it makes.
        dvc = _dvc_process()
        while not ended.wait(1):
            # Python drops an exception that is raised while a finalizer runs: who did not hear is asked again.
            unheard = asked.is_set() and not ended.wait(PATIENCE)
            if unheard or (dvc and not _is_alive(dvc) and not asked.is_set()):
                os.kill(os.getpid(), signal.SIGTERM)

    old = signal.signal(signal.SIGTERM, stop)
    asked, ended = threading.Event(), threading.Event()
    if os.name == "posix":
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        signal.signal(signal.SIGTERM, old)


def _dvc_process():
    """DVC's process where it runs this one as a stage: the nearest above that has not been given the stage's name.

    Between the two may be a shell: bash replaces itself by its last command, dash does not.
    """
    import psutil  # ipykernel's, and slow to import

    name = os.environ.get("DVC_STAGE")
    for process in psutil.Process().parents():
        try:
            if process.environ().get("DVC_STAGE") != name:
                return process
        except psutil.Error:  # not to be looked into: not a shell that got our variables
            return process if name else None
    return None


def _is_alive(process) -> bool:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


_KERNEL_CONFIG = """\
import sys

# Its log, which would tell of the interrupt that begins each shutdown, says nothing about the notebook.
c.Application.log_level = 50
# $PYTHONSTARTUP is one person's own.
c.IPKernelApp.exec_PYTHONSTARTUP = False
# Nobody debugs a run, and to import the debugger is a quarter of the kernel's start. A notebook that does so itself can.
sys.modules["debugpy"] = None
c.IPKernelApp.exec_lines = [
    "del __import__('sys').modules['debugpy']",
    # A kernel takes note of `exit()` and `quit()`, runs the cells that wait already, and ends with success.
    "get_ipython().ask_exit = __import__('sys').exit",
]
"""


def _start_kernel(run: _Run, folder: str):
    """The manager of a started kernel of the Python that runs this, whatever kernels this machine has registered."""
    from jupyter_client import AsyncKernelClient, AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_core.utils import ensure_event_loop, run_sync

    ensure_event_loop(prefer_selector_loop=True)  # on Windows, ZeroMQ warns of the usual one
    # In a file, not in the arguments, which a notebook that parses some sees in `sys.argv`.
    files.write(Path(folder, "profile_default", "ipython_kernel_config.py"), _KERNEL_CONFIG)
    # Without the debugger's `-Xfrozen_modules=off` of the stock kernel: nobody debugs a run, and it starts sooner.
    spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        display_name="Python 3",
        language="python",
        env={
            # No start-up folder of one person's own, and one order for sets of strings: equal runs everywhere.
            "IPYTHONDIR": folder,
            "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0"),
            # A forgotten `breakpoint()` stops nobody, as in a kernel with the debugger that no editor is attached to.
            "PYTHONBREAKPOINT": "0",
            # Modules beside the notebook can be imported, as they can in Jupyter, which starts there.
            "PYTHONPATH": os.pathsep.join(
                [os.path.abspath(os.path.dirname(run.notebook.path)), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
        },
    )
    # Sockets in the file system: no port to lose to a kernel started at the same moment, nothing to encrypt. Windows
    # has none for ZeroMQ, and a path has room for about 100 characters.
    transport = "ipc" if os.name == "posix" and len(folder) < 80 else "tcp"

    class Client(AsyncKernelClient):
        async def wait_for_ready(self, timeout=None):
            # Jupyter's own then waits until nothing has come for 0.2 s. What belongs to no cell, nbclient drops itself.
            until = time.monotonic() + timeout
            while time.monotonic() < until and await self.is_alive():
                self.kernel_info()
                with contextlib.suppress(queue.Empty):
                    await self.shell_channel.get_msg(timeout=1)
                    await self.iopub_channel.get_msg(timeout=0.2)  # what it sends is heard from now on
                    return
            raise RuntimeError("the kernel did not start")

    class Kernel(AsyncKernelManager):
        kernel_spec = spec
        client_factory = Client

        async def shutdown_kernel(self, now=False, restart=False):
            # A kernel that is busy would not answer a polite request.
            await super().shutdown_kernel(now=now or isinstance(sys.exc_info()[1], KeyboardInterrupt), restart=restart)

        async def _async_finish_shutdown(self, waittime=None, pollinterval=0.1, restart=False):
            # The kernel, which has been asked to end, takes some 0.1 s: a better use of them than to sleep.
            run.trace.end()
            await super()._async_finish_shutdown(waittime, pollinterval=0.01, restart=restart)

    kernel = Kernel(transport=transport, connection_file=os.path.join(folder, "kernel.json"))
    with open(os.path.join(folder, "kernel.log"), "wb") as log:
        # What the notebook and its processes print comes as messages; here it would come a second time, and with it what
        # ZeroMQ now and then has to say about its end. On Windows, what other processes print comes here alone.
        run_sync(kernel.start_kernel)(**({"stdout": log, "stderr": log} if os.name == "posix" else {}))
    run.kernel_group = kernel.provisioner.pgid
    return kernel


def _without_outputs(notebook: Notebook) -> dict:
    """The notebook as Papermill gets it: with stable ids, without outputs and what an earlier run put in."""
    document = {key: value for key, value in notebook.document.items() if key != "cells"}
    document = copy.deepcopy(document) | {"nbformat_minor": max(5, document.get("nbformat_minor") or 0), "cells": []}
    document.setdefault("metadata", {}).pop("papermill", None)
    for cell in notebook.cells:
        raw = notebook.document["cells"][cell.number - 1]
        metadata = {
            key: value for key, value in (raw.get("metadata") or {}).items() if key not in ("papermill", "execution")
        }
        new = {
            "id": raw.get("id") or f"cell-{cell.number}",
            "cell_type": cell.type,
            "metadata": copy.deepcopy(metadata),
            "source": cell.source,
        }
        if cell.type == "code":
            new |= {"outputs": [], "execution_count": None}
        elif "attachments" in raw:
            new["attachments"] = copy.deepcopy(raw["attachments"])
        document["cells"].append(new)
    return document


def _as_text(executed) -> str:
    """The executed notebook as a file that is the same after each equal run: no clock, no random id, nothing of the process."""
    from nbformat import v4

    document = copy.copy(executed)
    document.metadata = {key: value for key, value in executed.metadata.items() if key != "papermill"}
    document.cells = []
    for cell in executed.cells:
        cell = copy.copy(cell)
        cell.metadata = {key: value for key, value in cell.metadata.items() if key != "papermill" and value != []}
        if INJECTED_TAG in cell.metadata.get("tags", []):
            cell.id = INJECTED_TAG
        if "outputs" in cell:
            cell.outputs = [_without_process(output) for output in _joined(cell.outputs)]
        document.cells.append(cell)
    return v4.writes_json(document) + "\n"


def _joined(outputs: list) -> Iterator:
    """A cell's outputs, with one stream of each name where many stand between two other outputs.

    How the kernel cuts and mixes what is printed is chance. (nbclient's own way draws the prints of a whole cell together,
    away from the figures among them, and takes a minute for a long line.)
    """
    from nbformat import v4

    for is_stream, group in itertools.groupby(outputs, lambda output: output.output_type == "stream"):
        if not is_stream:
            yield from group
            continue
        texts = {"stdout": [], "stderr": []}
        for output in group:
            texts.setdefault(output.name, []).append(output.text)
        for name, parts in texts.items():
            if parts:
                lines = map(_overwritten, "".join(parts).split("\n"))
                yield v4.new_output("stream", name=name, text="\n".join(lines))


def _overwritten(line: str) -> str:
    """A line as a terminal shows it in the end: a progress bar goes back to its start each time."""
    text = line.rstrip("\r")
    return text[text.rfind("\r") + 1 :] + "\r" * (text != line)


# An object's address in memory; `..` is where a long text of it was cut.
_ADDRESS = re.compile(r"( at 0|\.\.)x[0-9A-Fa-f]{6,}")
# What is drawn by lot: the name of a table that pandas has styled, and those of the parts of a picture by matplotlib, which
# also has a clock.
_DRAWN = {
    "text/html": re.compile(r"\bT_[0-9a-f]{5}(?![0-9a-f])"),
    "image/svg+xml": re.compile(r"\b[mp][0-9a-f]{10}\b|<dc:date>[^<]+"),
}


def _without_process(output):
    """Without what another process would call otherwise.

    Warnings and tracebacks name a cell by a temporary file, in a folder that is named after the process; an object that says
    nothing else of itself is shown with its address in memory.
    """
    # Windows may call the folder by a short name, which the kernel does not.
    folders = {tempfile.gettempdir(), os.path.realpath(tempfile.gettempdir())}
    names = "|".join(re.escape(os.path.join(folder, "ipykernel_")) for folder in folders)

    def shortened(text: str) -> str:
        return _ADDRESS.sub(r"\1x...", re.sub(rf"(?:{names})\d+[/\\]", "cell-", text))

    output = copy.copy(output)
    if output.output_type == "stream":
        output.text = shortened(output.text)
    elif output.output_type == "error":
        output.evalue, output.traceback = shortened(output.evalue), [shortened(line) for line in output.traceback]
    else:
        output.data = {
            kind: _numbered(shortened(text), _DRAWN[kind]) if kind in _DRAWN else shortened(text)
            if kind.startswith("text/") else text
            for kind, text in output.data.items()
        }  # fmt: skip
    return output


def _numbered(text: str, drawn: re.Pattern) -> str:
    """A text with numbers, in their order, for what is drawn by lot."""
    found = {}
    return drawn.sub(
        lambda match: f"{re.match('<dc:date>|.', match[0])[0]}{found.setdefault(match[0], len(found))}", text
    )


def _without_colour(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
