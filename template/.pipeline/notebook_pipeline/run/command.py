"""`pipeline run NOTEBOOK OUTPUT`: executes a notebook with the parameters that its stage in dvc.yaml lists.

Afterwards it names what the notebook read or wrote and dvc.yaml does not declare, and the other way round.
"""

import argparse
import contextlib
import gc
import glob
import itertools
import os
import posixpath
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from notebook_pipeline import files, git, secret_files, shell
from notebook_pipeline.notebook import executed, packages
from notebook_pipeline.notebook.document import INJECTED_TAG, SKIPPED_TAG, Notebook, NotebookError, read, renewed
from notebook_pipeline.project import lock, yaml_edit
from notebook_pipeline.project.paths import by_folder, is_covered, not_covered, outermost
from notebook_pipeline.project.project import PARAMS_FILE, PIPELINE_FILE, Project, ProjectError, Stage
from notebook_pipeline.run import in_kernel
from notebook_pipeline.run.trace import Trace

SAVE_EVERY = 30.0
"""Seconds between two saves of the notebook while it runs."""

PATIENCE = 5.0
"""Seconds in which a run that was asked to end does so: a kernel is killed at once."""

PATIENCE_AT_END = 60.0
"""Seconds in which the notebook's threads and exit handlers end after the last cell."""

# What a stage may depend on without reading it.
_ENVIRONMENT_FILES = ("pyproject.toml", "uv.lock")


def main(argv: list[str]) -> int:
    """Checks, executes and writes the executed notebook to OUTPUT, however the run ends.

    Returns the exit code: 0, 1 where the run was refused or a cell failed, 128 + the signal that ended it; with --strict
    also 1 where dvc.yaml does not declare what the run touched.
    """
    parser = argparse.ArgumentParser(prog="pipeline run", description=__doc__.partition(": ")[2])
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
        # A stage that DVC has skipped, and whose results would be taken for those of other values.
        if name and (upstream := [each for each in project.upstream(stage) if each.params]):
            problems += lock.retyped(project, upstream, lock.read())
    except (NotebookError, ProjectError) as error:
        problems = [Project().gone(arguments.notebook) or str(error)]
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    for path in stage.outs:
        # git keeps no empty folders: a fresh clone lacks them.
        if "://" not in path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
    code, trace = execute(notebook, given.values, arguments.output, stage.deps)
    if code:
        return code
    if changed := [*_changed_values(project, stage, notebook, given.values), *_changed_inputs(stage, notebook, trace)]:
        print("\n".join(changed), file=sys.stderr)
        return 1
    differences = [*_undeclared(project, stage, notebook, trace), *_untouched(project, stage, notebook, trace)]
    if differences:
        print("\n".join(differences), file=sys.stderr)
    return 1 if differences and arguments.strict else 0


def execute(notebook: Notebook, values: dict, output: str, inputs: Iterable[str] = ()) -> tuple[int, Trace]:
    """Runs all cells with these values of the parameters, writes the executed notebook, and reports what went wrong.

    Args:
        inputs: the files and folders of which the trace is to tell whether they changed meanwhile.

    Returns the exit code, and what the notebook read and wrote: neither itself nor the executed one.
    """
    run = _Run(notebook, values, output, Trace(_plain(path) for path in inputs if "://" not in path))
    code, trace = run.execute(), run.trace
    for own in (notebook.path, output):
        trace.read.discard(_plain(own))
        trace.noticed.discard(_plain(own))
        trace.written.discard(_plain(own))
    doubtful = _not_named(trace.doubtful(_shown_by_dvc), trace, notebook, values)
    trace.read -= doubtful
    trace.unseen |= doubtful
    return code, trace


def _shown_by_dvc() -> set[str]:
    """The metrics, plots and files of parameters of all stages."""
    try:
        stages, pipeline = [*Project().stages()], Project().load(PIPELINE_FILE)
    except ProjectError:  # somebody edits it
        return set()
    files = {_plain(path) for stage in stages for path in stage.shown}.union(*map(_all_parameter_files, stages))
    entries = [pipeline.get(key) for key in ("metrics", "plots", "params")]
    while entries:  # of plots, any text may be a path
        match entries.pop():
            case dict() as entry:
                entries += [*entry, *entry.values()]
            case list() as entry:
                entries += entry
            case str() as entry:
                files.add(_plain(entry))
    return files


def _not_named(paths: set[str], trace: Trace, notebook: Notebook, values: dict) -> set[str]:
    """Those that neither the code nor a module that it took names, nor a value that it got: it hardly reads them."""
    if not paths:
        return paths
    texts = [notebook.code(), str(values)]
    for module in trace.read:
        if module.endswith(".py"):
            with contextlib.suppress(OSError):
                texts.append(Path(module).read_text(encoding="utf-8", errors="replace"))
    text = "\n".join(texts)
    return {path for path in paths if not all(part in text for part in path.split("/"))}


def _stale_code(project: Project, stage: Stage, notebook: Notebook) -> list[str]:
    """A code file among the stage's deps that is not the notebook's code: DVC would record the wrong one."""
    for other in project.stages():
        match other.calls("code"):
            case (source, target) if source == notebook.path and target in stage.deps and Path(target).exists():
                was = renewed(packages.split(files.read(target))[1]).split("\n")
                now = notebook.code().split("\n")
                if was != now:
                    return [_first_difference(notebook, was, now, target, other.name)]
    return []


def _first_difference(notebook: Notebook, was: list[str], now: list[str], target: str, writer: str) -> str:
    index = next(at for at, (old, new) in enumerate(itertools.zip_longest(was, now)) if old != new)
    place = notebook.place(notebook.cell_of_code(index)) if index < len(now) else notebook.path
    old, new = ("".join(lines[index : index + 1]).strip() for lines in (was, now))
    return (
        f"{place}: has {f'`{new}`' if new else 'nothing'}, but {target}, which DVC compares, has "
        f"{f'`{old}`' if old else 'nothing'}. Fix: uv run dvc repro --force {writer}, then uv run dvc repro"
    )


def _changed_values(project: Project, stage: Stage, notebook: Notebook, values: dict[str, object]) -> Iterator[str]:
    """DVC reads params.yaml again after the run, and would record values that the notebook never saw."""
    now = Project()
    with contextlib.suppress(ProjectError):
        given = now.parameters(stage, notebook)
        if not given.problems and repr(given.values) == repr(values):
            return
    changed = [file for file in sorted(_all_parameter_files(stage)) if _text_of(now, file) != _text_of(project, file)]
    yield (
        f"{', '.join(changed) or PARAMS_FILE} changed while {notebook.path} ran: the run used the old values; run `dvc repro` again"
    )


def _text_of(project: Project, file: str) -> str:
    try:
        return repr(project.load(file))
    except ProjectError as error:
        return str(error)


def _changed_inputs(stage: Stage, notebook: Notebook, trace: Trace) -> Iterator[str]:
    """DVC computes the hashes of inputs after the run, and would record files that the notebook never saw."""
    changed = _kept_by_dvc(trace.changed)
    own = {path for path in changed if {path, Path(os.path.abspath(path)).as_posix()} & trace.written_by_kernel}
    if own:
        yield (
            f"{_some(own)}: an input of stage `{stage.name}`, and written by {notebook.path}: a rerun would start from "
            "another one, so nothing is recorded. Fix: write to data/processed/ or outputs/, and list that under `outs:`"
        )
    if others := changed - own:
        yield (
            f"{_some(others)}: changed while {notebook.path} ran, which may have used the old content, so nothing is "
            "recorded. Fix: run `dvc repro` again; if a program that the notebook calls writes it, have it write to "
            "data/processed/ or outputs/"
        )


def _kept_by_dvc(paths: set[str]) -> set[str]:
    """Those that .dvcignore does not exclude."""
    if not paths or not os.path.exists(".dvcignore"):
        return paths
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "check-ignore", "--stdin"],
        input="".join(f"{path}\n" for path in paths),
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONUTF8": "1"},
    )
    return paths - {*done.stdout.splitlines()}


def _some(paths: Iterable[str]) -> str:
    """The first of some paths, and how many more there are."""
    first, more = sorted(paths)[:5], len([*paths]) - 5
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")


def _undeclared(project: Project, stage: Stage, notebook: Notebook, trace: Trace) -> Iterator[str]:
    """What the run touched and the stage does not declare, as the lines to add."""
    in_part, whole = _parameter_files(stage)
    own = in_part | whole | {PIPELINE_FILE}
    outs = {_plain(path) for path in stage.outs}
    deps = {_plain(path) for path in stage.deps} | outs
    results = {_plain(path) for other in project.stages() for path in other.outs}
    declared = {_plain(path) for other in project.stages() for path in other.deps} | results
    # What looks like a secret is not to be declared.
    allowed = secret_files.allowed_in(project.root)
    read = {path for path in not_covered(trace.read, deps) if not secret_files.why(path, allowed)}
    listed = not_covered(trace.listed_beside(results), deps)
    written = {path for path in not_covered(trace.written, outs) if not secret_files.why(path, allowed)}
    inputs = outermost({*by_folder(read - own, trace.files - trace.read, declared, whole=False), *listed})
    made = by_folder(written - own, trace.files - trace.written, declared, whole=True)
    for what, key, found in (("read", "deps", sorted(inputs)), ("wrote", "outs", made)):
        if found:
            yield (
                f"{notebook.path}: stage `{stage.name}` {what} what {PIPELINE_FILE} does not declare: add to its `{key}:` "
                f"(`pipeline add {notebook.path}` does it)"
            )
            yield from (f"      - {yaml_edit.on_one_line(path)}" for path in found)
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


def _all_parameter_files(stage: Stage) -> set[str]:
    return set().union(*_parameter_files(stage))


def _plain(path: str) -> str:
    """A path as the trace has it."""
    return posixpath.normpath(Path(path).as_posix())


# Of an exception in an exit handler, Python tells on stderr and nowhere else: this line, the traceback, what was raised.
_EXIT_ERROR = re.compile(r"Exception ignored in atexit callback.*\n(?:Traceback.*\n|[ \t].*\n)*(.*)")


class _Stopped(KeyboardInterrupt):
    """A signal asks the run to end. (asyncio swallows any other exception that a signal raises in its callbacks.)"""

    def __init__(self, number: int):
        self.number = number


class _Run:
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
        with _signals_as_exceptions() as dvc:
            try:
                self._execute_with_papermill()
            except KeyboardInterrupt as stop:
                failure = stop
            except Exception as error:  # what it means is read off the notebook: the exception's text is for developers
                failure = error
        if failure is not None and dvc:
            _restore_branch(dvc[0], PATIENCE if isinstance(failure, _Stopped) else 0)
        if self.executed is not None:
            self.executed = self._repeatable()
        code = self._report(failure)
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
            quoted = shell.quote(self.output)
            print(
                f"{self.output}: shows what ran, with the stage's values. Fix: open it in your editor, or by "
                f"`uv run --with jupyterlab jupyter lab {quoted}`",
                file=sys.stderr,
            )
        return code

    def _execute_with_papermill(self) -> None:
        with (
            _kernel_folder() as folder,
            self._told(folder),
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
                    run.client = PapermillNotebookClient(
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
                    )
                    run.client.execute(cleanup_kc=True)

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
                nbformat.from_dict(executed.without_outputs(self.notebook)),
                None,
                self.values,
                engine_name="pipeline",
                kernel_name="python3",
                language="python",
                progress_bar={"desc": Path(self.notebook.path).stem} if terminal else False,
            )

    @contextlib.contextmanager
    def _told(self, folder: str):
        """Keeps what the kernel left in its folder."""
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                self.kernel_log = Path(folder, "kernel.log").read_text(encoding="utf-8", errors="replace")
            with contextlib.suppress(FileNotFoundError):
                self.drawn = Path(folder, _DRAWN).read_text(encoding="ascii").split()

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
        self.ending, until = True, time.monotonic() + PATIENCE_AT_END
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
        numbers = [self._number(index) for index in range(len(self.executed.cells))]
        return executed.repeatable(self.executed, numbers, self.drawn, self.began, time.time())

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
        exit_error = _EXIT_ERROR.search(self.last_words)
        if failure is None and (self.endless or exit_error):
            problem = (
                f"its threads or exit handlers had not ended {PATIENCE_AT_END:.0f} s after its last cell, and were stopped. "
                "Fix: wait for them in a cell (`thread.join()`), or make the threads daemons"
                if self.endless
                else f"an exit handler (`atexit`) failed: {exit_error[1]}. Fix: correct or remove it"
            )
            print(f"{path}: {problem}", file=sys.stderr)
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
        """A cell's number: its place in the notebook as the person has it, without the cell that Papermill put in."""
        # Papermill puts its cell below the one with the parameters, of which it is the continuation.
        ours = [cell for cell in self.executed.cells[: index + 1] if INJECTED_TAG not in cell.metadata.get("tags", [])]
        return self.notebook.cells[len(ours) - 1].number


def _never(numbers: list[int]) -> str:
    if not numbers:
        return ""
    cells = f"cell {numbers[0]}" if len(numbers) == 1 else f"cells {', '.join(map(str, numbers))}"
    return f": {cells} never ran"


@contextlib.contextmanager
def _signals_as_exceptions():
    """Within, SIGTERM and the death of DVC raise _Stopped, so that the kernel is ended and the notebook kept.

    Yields a list that has DVC's process, once it is known, where DVC runs this.
    """

    def stop(number, frame):
        asked.set()
        raise _Stopped(number)

    def watch():
        # DVC ended by a signal leaves its stage running; nobody would record what it makes.
        if process := _dvc_process():
            dvc.append(process)
        while not ended.wait(1):
            # Python drops an exception that is raised while a finalizer runs: who did not hear is asked again.
            unheard = asked.is_set() and not ended.wait(PATIENCE)
            if unheard or (dvc and not _is_alive(dvc[0]) and not asked.is_set()):
                os.kill(os.getpid(), signal.SIGTERM)

    dvc, old = [], signal.signal(signal.SIGTERM, stop)
    asked, ended = threading.Event(), threading.Event()
    if os.name == "posix":
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield dvc
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


_RUNNING = "refs/exps/exec/EXEC_BASELINE"
"""The ref that DVC has while an experiment runs in the workspace, and that stays if DVC is ended."""


def _restore_branch(dvc, patience: float) -> None:
    """Does what DVC does when an experiment ends, and cannot do if it was ended itself: puts HEAD back on its branch.

    While an experiment runs, HEAD is detached, and `HEAD` is to DVC what it was at the start. Files stay as they are.

    Args:
        dvc: its process.
        patience: seconds in which DVC may end: the one that stops both may come to it last.
    """
    if git.text("rev-parse", "--verify", _RUNNING) is None:
        return
    until = time.monotonic() + patience
    while _is_alive(dvc):
        if time.monotonic() >= until:
            return  # it will do that itself
        time.sleep(0.1)
    head, branch = git.text("rev-parse", "HEAD"), git.text("rev-parse", "--symbolic-full-name", "@{-1}") or ""
    if git.text("symbolic-ref", "HEAD") is None:
        if not branch.startswith("refs/heads/") or git.text("rev-parse", branch) != head:
            return  # it was on no branch, or has gone on: a person decides
        git.text("symbolic-ref", "-m", f"dvc: Restore HEAD to '{branch.removeprefix('refs/heads/')}'", "HEAD", branch)
        git.text("reset", "--quiet")
    for name in ("EXEC_MERGE", "EXEC_BRANCH", "EXEC_BASELINE"):
        git.text("update-ref", "--no-deref", "-d", f"{_RUNNING.rpartition('/')[0]}/{name}")


@contextlib.contextmanager
def _kernel_folder() -> Iterator[str]:
    """A temporary folder. Those that killed runs left behind are removed.

    A run keeps a file in its own locked. The lock ends with the process, also if it is killed, and another user's process, or
    one of another machine with the same folder for temporary files, holds it just as well.
    """
    for path in glob.glob(os.path.join(glob.escape(tempfile.gettempdir()), "kernel*", "in-use")):
        if _is_left_behind(path):
            shutil.rmtree(os.path.dirname(path), ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="kernel", ignore_cleanup_errors=True) as folder:
        path = os.path.join(folder, "in-use")
        with open(path if fcntl is None else f"{path}.new", "wb") as file:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # a file system without locks: then nobody removes anything
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.rename(file.name, path)
            yield folder


def _is_left_behind(path: str) -> bool:
    """Whether the process that made a folder with this file is gone."""
    try:
        if fcntl is None:
            os.unlink(path)  # Windows refuses it while a process has the file open
            return True
        if os.lstat(os.path.dirname(path)).st_uid != os.getuid():
            return False
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:
        return False


# What the kernel drew by lot: a file in its folder.
_DRAWN = "drawn"
_KERNEL_CONFIG = """\
import os
import runpy
import sys

# Modules beside the notebook can be imported, as in Jupyter, which starts there, and those in the project's root. They come
# behind the standard library, as IPython has it: a file of one's own may be called random.py.
names = [os.path.basename(path) for path in sys.path]
place = next((names.index(name) for name in ("site-packages", "dist-packages") if name in names), 0)
sys.path[place:place] = [{beside!r}, ""]
runpy.run_path({code!r})["note_drawn"]({drawn!r})
# Without it, each picture in SVG has names of its own that are drawn by lot.
c.InlineBackend.rc = {{"svg.hashsalt": "pipeline"}}
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
    # `%run` finds what lies beside the notebook, too, as it does in Jupyter, which starts there.
    '''
def _():
    import os
    from IPython.utils.path import get_py_filename as find
    run, folder = get_ipython().find_line_magic("run"), {beside!r}

    def find_beside(name):
        __tracebackhide__ = True
        beside = os.path.join(folder, name)
        is_beside = not os.path.exists(name) and (os.path.exists(beside) or os.path.exists(beside + ".py"))
        return find(beside if is_beside else name)

    def run_beside(line):
        __tracebackhide__ = True
        return run(line, file_finder=find_beside)

    get_ipython().register_magic_function(run_beside, magic_name="run")
_()
del _
''',
    # The last to be called of those that the notebook registers, and before the kernel's own: what they printed is sent.
    "__import__('atexit').register(lambda sys=__import__('sys'): (sys.stdout.flush(), sys.stderr.flush()))",
]
"""


def _start_kernel(run: _Run, folder: str):
    """The manager of a started kernel of the Python that runs this, whatever kernels this machine has registered."""
    from jupyter_client import AsyncKernelClient, AsyncKernelManager
    from jupyter_client.channels import AsyncZMQSocketChannel
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_core.utils import ensure_event_loop, run_sync

    ensure_event_loop(prefer_selector_loop=True)  # on Windows, ZeroMQ warns of the usual one
    # In a file, not in the arguments, which a notebook that parses some sees in `sys.argv`.
    config = _KERNEL_CONFIG.format(
        beside=Path(os.path.abspath(run.notebook.path)).parent.as_posix(),
        code=os.path.abspath(in_kernel.__file__),
        drawn=os.path.join(folder, _DRAWN),
    )
    files.write(Path(folder, "profile_default", "ipython_kernel_config.py"), config)
    # Without the debugger's `-Xfrozen_modules=off` of the stock kernel: nobody debugs a run, and it starts sooner.
    spec = KernelSpec(
        # With `-P`, nothing in the working directory is taken for a module of Python's own.
        argv=[sys.executable, "-P", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        display_name="Python 3",
        language="python",
        env={
            # No start-up folder of one person's own, and one order for sets of strings: equal runs everywhere.
            "IPYTHONDIR": folder,
            "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0"),
            # A forgotten `breakpoint()` stops nobody, as in a kernel with the debugger that no editor is attached to.
            "PYTHONBREAKPOINT": "0",
            # The date that matplotlib writes into PDF, PostScript and SVG.
            "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", executed.STILL),
        },
    )
    # Sockets in the file system: no port to lose to a kernel started at the same moment, nothing to encrypt. Windows
    # has none for ZeroMQ, and a path has room for about 100 characters.
    transport = "ipc" if os.name == "posix" and len(folder) < 80 else "tcp"

    class Outputs(AsyncZMQSocketChannel):
        async def get_msg(self, *args, **kwargs):
            message = await super().get_msg(*args, **kwargs)
            run.hear(message)
            return message

    class Client(AsyncKernelClient):
        iopub_channel_class = Outputs

        def execute(self, *args, **kwargs):
            message_id = super().execute(*args, **kwargs)
            run.note_request(message_id)
            return message_id

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
            await run.listen_to_the_end(self.is_alive)
            await super()._async_finish_shutdown(waittime, pollinterval=0.01, restart=restart)

    kernel = Kernel(transport=transport, connection_file=os.path.join(folder, "kernel.json"))
    with open(os.path.join(folder, "kernel.log"), "wb") as log:
        # What the notebook and its processes print comes as messages; here it would come a second time, and with it what
        # ZeroMQ now and then has to say about its end. On Windows, what other processes print comes here alone.
        run_sync(kernel.start_kernel)(**({"stdout": log, "stderr": log} if os.name == "posix" else {}))
    run.kernel_group = kernel.provisioner.pgid
    return kernel


def _without_colour(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
