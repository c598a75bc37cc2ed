"""What changed while a notebook ran: DVC would record values and inputs that the notebook never saw."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from notebook_pipeline.notebook.document import Notebook
from notebook_pipeline.project.project import PARAMS_FILE, Project, ProjectError, Stage
from notebook_pipeline.run.trace import Trace
from notebook_pipeline.run.undeclared import list_parameter_files


def find_changed_values(project: Project, stage: Stage, notebook: Notebook, values: dict[str, object]) -> Iterator[str]:
    """Find values that changed: DVC reads params.yaml again after the run, and would record what the notebook never saw."""
    now = Project()
    with contextlib.suppress(ProjectError):
        given = now.parameters(stage, notebook)
        if not given.problems and repr(given.values) == repr(values):
            return
    changed = [file for file in sorted(list_parameter_files(stage)) if _text_of(now, file) != _text_of(project, file)]
    yield (
        f"{', '.join(changed) or PARAMS_FILE} changed while {notebook.path} ran, which used the old values. Fix: run `dvc repro` again"
    )


def _text_of(project: Project, file: str) -> str:
    try:
        return repr(project.load(file))
    except ProjectError as error:
        return str(error)


def find_changed_inputs(stage: Stage, notebook: Notebook, trace: Trace) -> Iterator[str]:
    """Find inputs that changed: DVC computes their hashes after the run, and would record what the notebook never saw."""
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
    """Return those that .dvcignore does not exclude."""
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
    """Name the first of some paths, and how many more there are."""
    first, more = sorted(paths)[:5], len([*paths]) - 5
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")
