"""What came of an execution: which message it deserves, and which exit code."""

import re
import signal
import sys

from notebook_pipeline import files
from notebook_pipeline.notebook.document import SKIPPED_TAG
from notebook_pipeline.run.stop import Stopped

PATIENCE_AT_END = 60.0
"""Seconds in which the notebook's threads and exit handlers end after the last cell."""

# Of an exception in an exit handler, Python tells on stderr and nowhere else: this line, the traceback, what was raised.
_EXIT_ERROR = re.compile(r"Exception ignored in atexit callback.*\n(?:Traceback.*\n|[ \t].*\n)*(.*)")


def report(run, failure: BaseException | None) -> int:
    """Print what went wrong in an `Execution`, and return the exit code.

    Args:
        failure: what ended it early.
    """
    place = run.notebook.path
    match failure:
        case Stopped(number=number):
            return _say(f"{place}: stopped{_where(run)} by {signal.Signals(number).name}", 128 + number)
        case KeyboardInterrupt():
            return _say(f"{place}: stopped{_where(run)} by Ctrl-C", 128 + signal.SIGINT)
    cells = run.executed.cells if run.executed is not None else []
    for index, cell in enumerate(cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                return _report_error(run, index, output.ename, output.evalue, output.traceback)
    if run.error is not None:
        index, reply = run.error
        return _report_error(run, index, reply["ename"], reply["evalue"], [])
    never_ran = [
        index for index in _never_ran(run, 0)
        if index != run.current and SKIPPED_TAG not in cells[index].metadata.get("tags", [])
    ]  # fmt: skip
    if type(failure).__name__ == "DeadKernelError" or (never_ran and failure is None):
        why = "out of memory, or ended by the code"
        return _say(f"{place}: the kernel died{_where(run)}: {why}{_name_never_ran(run, never_ran)}")
    if failure is not None:
        return _report_failure(run, failure)
    exit_error = _EXIT_ERROR.search(run.last_words)
    if run.endless:
        return _say(
            f"{place}: its threads or exit handlers had not ended {PATIENCE_AT_END:.0f} s after its last cell, and were "
            "stopped. Fix: wait for them in a cell (`thread.join()`), or make the threads daemons"
        )
    if exit_error:
        return _say(f"{place}: an exit handler (`atexit`) failed: {exit_error[1]}. Fix: correct or remove it")
    return 0


def _report_failure(run, failure: BaseException) -> int:
    place = f"{run.notebook.path}: cannot be run{_where(run)}"
    if isinstance(failure, OSError):
        _say(files.explain(failure, place))
    else:
        _say(f"{place}: {str(failure).strip() or type(failure).__name__}")
    if run.current is None:
        print(run.kernel_log, end="", file=sys.stderr)
    return 1


def _report_error(run, index: int, name: str, message: str, traceback: list[str]) -> int:
    cell, place = run.executed.cells[index], f"{run.notebook.path}: cell {run.number(index)}"
    if name == "SystemExit":
        never_ran = _name_never_ran(run, _never_ran(run, index + 1))
        return _say(
            f"{place}: called sys.exit({message}){never_ran}. Fix: remove the call: a run must reach the notebook's end"
        )
    coloured = "\n".join(traceback)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    # IPython names the cell by its count: the first frame of this cell is the line that failed.
    frame = re.search(rf"Cell In\[{cell.execution_count}\], line (\d+)", plain)
    source = cell.source.splitlines()
    line = int(frame[1]) if frame and int(frame[1]) <= len(source) else None
    # Of a syntax error IPython says where it is in a temporary file, too.
    what = re.sub(r" \(\d+\.py, line \d+\)$", "", message)
    _say(f"{place}{f', line {line}' if line else ''}: {name}: {what}")
    if line:
        _say(f"    {source[line - 1].strip()}")
    if traceback:
        _say(f"\n{coloured if sys.stderr.isatty() else plain}")
    return 1


def _never_ran(run, start: int) -> list[int]:
    """Return the indices of the cells from `start` on that have code and were not executed."""
    cells = run.executed.cells if run.executed is not None else []
    return [
        index for index, cell in enumerate(cells)
        if index >= start and cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None
    ]  # fmt: skip


def _name_never_ran(run, indices: list[int]) -> str:
    if not indices:
        return ""
    numbers = [str(run.number(index)) for index in indices]
    return f": cell{'s' if len(numbers) > 1 else ''} {', '.join(numbers)} never ran"


def _where(run) -> str:
    return f" in cell {run.number(run.current)}" if run.current is not None else ""


def _say(line: str, code: int = 1) -> int:
    print(line, file=sys.stderr)
    return code
