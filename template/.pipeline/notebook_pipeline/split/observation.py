"""Runs a notebook in a copy of the project, and says what each cell showed, read and wrote."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from notebook_pipeline import files, git, shell
from notebook_pipeline.notebook.document import INJECTED_TAG, Notebook, id_of
from notebook_pipeline.project.project import Project, Stage
from notebook_pipeline.run.execution import execute
from notebook_pipeline.run.trace import Trace
from notebook_pipeline.split.sections import Refused

OUTPUT = ".dvc/tmp/split.ipynb"
_CALL = "__import__('notebook_pipeline.split.in_kernel', fromlist=['']).{}(get_ipython(), {!r}, {!r})"


@dataclass
class Seen:
    """What a run of the whole notebook showed; by numbers of cells."""

    output: bytes
    """The executed notebook."""
    trace: Trace
    hashes: dict[str, str]
    """The MD5 of each file that it wrote."""
    seconds: dict[int, float] = field(default_factory=dict)
    read: dict[int, set[str]] = field(default_factory=dict)
    files: dict[int, set[tuple[str, str]]] = field(default_factory=dict)
    """`r` or `w`, and the path."""
    states: dict[int, dict[str, str]] = field(default_factory=dict)
    filters: set[str] = field(default_factory=set)
    """The filters of warnings that libraries set when they are imported."""
    showing: set[int] = field(default_factory=set)
    """Those that have an output."""
    notes: list[dict] = field(default_factory=list)


@contextlib.contextmanager
def copied_project(project: Project, stage: Stage) -> Iterator[Path]:
    """Make a copy of the project to run and write in, with DVC's cache of the project, and go there; the project stays as it is."""
    root = Path.cwd()
    Path(".dvc/tmp").mkdir(parents=True, exist_ok=True)
    cache = _dvc("cache", "dir").strip()
    with tempfile.TemporaryDirectory(prefix="split-", dir=".dvc/tmp", ignore_cleanup_errors=True) as folder:
        paths = git.paths("ls-files", "--cached", "--others", "--exclude-standard", "-z") or set()
        # A run may read inputs that its stage does not list.
        inputs = {path.removesuffix(".dvc") for path in paths if path.endswith(".dvc")}
        for path in filter(os.path.lexists, {*paths, *inputs, *stage.deps, "dvc.lock"}):
            target = Path(folder, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if os.path.isdir(path):
                shutil.copytree(path, target, dirs_exist_ok=True)
            elif os.path.exists(path) and not target.exists():
                shutil.copy2(path, target)
        for path in {path for each in project.stages() for path in (*each.deps, *each.outs) if "://" not in path}:
            Path(folder, path).parent.mkdir(parents=True, exist_ok=True)  # git keeps no empty folders
        with contextlib.chdir(folder):
            git.run("init", "--quiet", cwd=".")
            # As seen from here: DVC's settings cannot hold each character everywhere.
            _dvc("cache", "dir", "--local", os.path.relpath(os.path.join(root, cache)))
            yield root


def _dvc(*arguments: str) -> str:
    done = run_dvc(*arguments)
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines() or [""]
        what = next((line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR")), said[-1])
        raise Refused(f"`dvc {shell.join(arguments)}` failed: {what}")
    return done.stdout


def run_dvc(*arguments: str) -> subprocess.CompletedProcess:
    """Call DVC, which finds `pipeline` beside the Python that runs this."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, encoding="utf-8", errors="replace",
        env=git.environment() | {"PATH": path, "PYTHONHASHSEED": "0"}, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def observe(notebook: Notebook, values: dict, stage: Stage) -> Seen:
    """Run the notebook, and note of each cell what it takes, reads and writes.

    Raises:
        Refused: a cell fails.
    """
    watched = sorted({*stage.deps, *stage.outs})
    seen = _run(notebook, {notebook.cells[0].number: ("observe", watched)}, values, stage)
    cells = [
        cell
        for cell in json.loads(seen.output)["cells"]
        if cell["cell_type"] == "code" and cell["execution_count"] is not None
    ]
    numbers = {id_of(notebook.document["cells"][cell.number - 1], cell.number): cell.number for cell in notebook.cells}
    for cell, note in zip(cells, seen.notes, strict=False):
        if number := numbers.get(cell["id"]):
            seen.seconds[number], seen.read[number], seen.states[number] = (
                note["seconds"],
                {*note["read"]},
                note["state"],
            )
            seen.files[number] = {(done, path.replace(os.sep, "/")) for done, path in note["files"]}
            seen.filters |= {*note["filters"]}
            seen.showing |= {number for each in cell["outputs"] if each.get("name") != "stderr"}
    return seen


def look(notebook: Notebook, values: dict, stage: Stage, cuts: list[int], names: set[str]) -> Seen:
    """Run the notebook, and note at its start, before these cells and at its end the values of some names.

    Raises:
        Refused: a cell fails.
    """
    places = {number: ("look", sorted(names)) for number in (notebook.cells[0].number, *cuts, 0)}
    return _run(notebook, places, values, stage)


def run_alone(notebook: Notebook, values: dict, stage: Stage, names: set[str]) -> dict:
    """Run a few cells, and return what there is then."""
    return _run(notebook, {0: ("look", sorted(names))}, values, stage).notes[0]


def expanded(path: str) -> list[str]:
    """Return the files that a path stands for."""
    place = Path(path)
    return [each.as_posix() for each in sorted(place.rglob("*")) if each.is_file()] if place.is_dir() else [path]


def _run(notebook: Notebook, calls: dict[int, tuple[str, list[str]]], values: dict, stage: Stage) -> Seen:
    """Run a notebook with calls of `in_kernel.py` before some cells; 0 is the end."""
    for path in {*stage.outs} - {*stage.persistent}:  # as DVC does
        shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else Path(path).unlink(missing_ok=True)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="split") as folder:
        log, cells = os.path.join(folder, "log"), []
        for cell in [*notebook.cells, None]:
            number = cell.number if cell else 0
            if number in calls:
                verb, names = calls[number]
                cells.append(
                    {
                        "cell_type": "code",
                        "id": f"split-{number}",
                        "metadata": {},
                        "source": _CALL.format(verb, log, names),
                    }
                )
            if cell:
                raw = notebook.document["cells"][number - 1]
                cells.append({**raw, "id": id_of(raw, number)})
        said = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            code, trace, _ = execute(
                Notebook(notebook.path, {**notebook.document, "cells": cells}), values, OUTPUT, stage.deps
            )
        output = Path(OUTPUT).read_bytes() if os.path.exists(OUTPUT) else b'{"cells": []}'
        Path(OUTPUT).unlink(missing_ok=True)
        if code:
            raise Refused(_describe_failure(notebook, output, said.getvalue()))
        notes = [json.loads(line) for line in files.read(log).splitlines()] if os.path.exists(log) else []
    hashes = {path: files.md5(Path(path).read_bytes()) for path in sorted(trace.written)}
    return Seen(output, trace, hashes, notes=notes)


def _describe_failure(notebook: Notebook, output: bytes, said: str) -> str:
    numbers = {id_of(notebook.document["cells"][cell.number - 1], cell.number): cell.number for cell in notebook.cells}
    for cell, error in find_errors(output):
        place = f"{notebook.path}: cell {numbers[cell]}" if cell in numbers else notebook.path
        return (
            f"{place}: {error}: it fails as a whole. Fix: correct it until `uv run dvc repro` succeeds, then split it"
        )
    return said.strip() or f"{notebook.path}: cannot be run"


def find_errors(output: bytes) -> Iterator[tuple[str, str]]:
    """Yield id and error of each cell of an executed notebook that failed and was not expected to."""
    for number, cell in enumerate(json.loads(output)["cells"], 1):
        if "raises-exception" in (cell.get("metadata") or {}).get("tags", []):
            continue
        for each in cell.get("outputs", []):
            if each["output_type"] == "error":
                yield id_of(cell, number), f"{each['ename']}: {each['evalue']}"


def code_cells(output: bytes) -> dict[str, dict]:
    """Return the code cells of an executed notebook by id, without what was put in."""
    cells = json.loads(output)["cells"]
    return {
        cell["id"]: cell for cell in cells
        if cell["cell_type"] == "code" and INJECTED_TAG not in cell["metadata"].get("tags", []) and not cell["id"].startswith("split-")
    }  # fmt: skip
