"""Gives the values of params.yaml to a stage's notebook in an editor, when its parameters cell has run.

An extension of IPython that each kernel of the environment loads (see ../../kernels/). It only finds notebooks of an editor and
of `jupyter execute`, not those of Papermill, so that nothing comes between Papermill and its values. What takes time to import
is imported when a cell needs it.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import reprlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from notebook_pipeline.notebook.document import Notebook
    from notebook_pipeline.project.project import Project, Stage

STAGE = "PIPELINE_STAGE"
"""The environment variable that chooses one of several stages that run a notebook."""
INTERACTIVE = "PIPELINE_INTERACTIVE"
"""The environment variable that turns all of this off: `0`."""
_WITHIN_KERNEL = "PIPELINE_KERNEL"
"""Set for what a kernel starts: a kernel among it inherits the JPY_SESSION_NAME of the outer one."""


def load_ipython_extension(shell) -> None:
    """Have a kernel give the values after each run of a parameters cell (called by IPython)."""
    sys.argv[:] = [argument for argument in sys.argv if argument != f"--ext={__name__}"]
    shell.events.register("post_run_cell", Editor(shell).give_values)


class Editor:
    """What a kernel knows of the editor that has started it."""

    def __init__(self, shell):
        self.shell = shell
        session = None if _WITHIN_KERNEL in os.environ else os.environ.get("JPY_SESSION_NAME")
        # The path starts at the server's folder if the editor gave the session no name. Cells may change the folder.
        self.session = [Path.cwd() / session, Path.cwd() / Path(session).name] if session else []
        os.environ[_WITHIN_KERNEL] = "1"

    def give_values(self, result) -> None:
        """Give a cell that has run the values of params.yaml, and say in one line which of them differ from its own.

        Args:
            result: IPython's of the cell. What goes wrong here is a line, too: it is no reason for the cell to fail.
        """
        if not result.success or os.environ.get(INTERACTIVE) == "0":
            return
        try:
            line = self._give(result.info)
        except Exception as error:
            line = (
                f"params.yaml: its values cannot be given here ({type(error).__name__}: {error}). Fix: uv run dvc repro"
            )
        if line:
            from notebook_pipeline.notebook.comparison import NOTICE

            self.shell.display_pub.publish({"text/plain": line}, metadata=NOTICE)

    def _give(self, info) -> str | None:
        found, in_editor = {}, self._find_edited()
        for path in map(Path.resolve, in_editor or self._executed):
            with contextlib.suppress(OSError):
                if run := _as_run(path, info.raw_cell, getattr(info, "cell_id", None), is_edited=bool(in_editor)):
                    found[path] = run
        if len(found) > 1:
            names = ", ".join(sorted(path.name for path in found))
            return f"{names}: have the same parameters cell, which keeps its own values. Fix: execute one at a time"
        return give(self.shell, *next(iter(found.values()))) if found else None

    def _find_edited(self) -> list[Path]:
        """The notebook that an editor has open, as places where it may lie; none if no editor has started this kernel."""
        # Visual Studio Code defines it before the first cell.
        path = self.shell.user_ns.get("__vsc_ipynb_file__")
        return [Path(path)] if isinstance(path, str) else self.session

    @functools.cached_property
    def _executed(self) -> list[Path]:
        """The notebooks on the command line of the `jupyter execute` or `jupyter nbconvert` that has started this kernel."""
        import psutil

        with contextlib.suppress(psutil.Error):
            for process in psutil.Process().parents()[:3]:  # on Windows, a program of Python's own stands between them
                words = process.cmdline()
                if {"jupyter-execute", "jupyter-nbconvert"} & {Path(word).stem for word in words[:3]}:
                    # The first of them takes names without a suffix, too.
                    return [Path(process.cwd(), word).with_suffix(".ipynb") for word in words if word[:1] != "-"]
        return []


def _as_run(path: Path, source: str, cell_id: str | None, is_edited: bool) -> tuple[Path, Notebook] | None:
    """Return the project and the notebook of a cell that has run, if this is the parameters cell of a project's notebook.

    The notebook is as the file has it, but with the cell as it was run.

    Args:
        is_edited: an editor has it open: it runs what a person has typed and not saved yet.
    """
    if not (saved := _read(path, os.stat(path).st_mtime_ns)):
        return None
    from notebook_pipeline.notebook.document import Notebook

    root, notebook = saved
    number = notebook.parameters_cell.number
    ids = [cell.get("id") for cell in notebook.document["cells"]]
    cells = [*notebook.document["cells"]]
    cells[number - 1] = cells[number - 1] | {"source": source}
    run = Notebook(notebook.path, notebook.document | {"cells": cells})
    if cell_id in ids:  # JupyterLab names the cell
        is_same = ids.index(cell_id) == number - 1
    else:
        names, known = ({each.name for each in one.parameters} for one in (run, notebook))
        is_same = source.strip() == notebook.parameters_cell.source.strip() or (
            is_edited and bool(known) and known <= names
        )
    return (root, run) if is_same else None


@functools.lru_cache(maxsize=4)
def _read(path: Path, changed: int) -> tuple[Path, Notebook] | None:
    """Read a notebook with a parameters cell that lies in a project; None for any other file."""
    from notebook_pipeline.notebook.document import NotebookError, parse

    root = next((folder for folder in path.parents if (folder / "dvc.yaml").is_file()), None)
    if root is None:
        return None
    try:
        notebook = parse(path.read_text(encoding="utf-8-sig"), path.relative_to(root).as_posix())
    except (NotebookError, UnicodeDecodeError):
        return None
    return (root, notebook) if notebook.parameters_cell else None


def give(shell, root: Path, notebook: Notebook) -> str | None:
    """Give a notebook's parameters the values of its stage; return a line about what differs, or what is to be done.

    Args:
        shell: IPython's, in which the parameters cell has run.
        root: the project's folder.
    """
    from notebook_pipeline.project.project import Project, ProjectError

    try:
        project = Project(root)
        stages = [stage for stage in project.stages() if _runs(stage, notebook)]
        if len(stages) > 1:
            chosen = [stage for stage in stages if stage.name == os.environ.get(STAGE)]
            if not chosen:
                return _describe_items(stages)
            stages = chosen
        return _give_values_of(stages[0], project, notebook, shell) if stages else None
    except ProjectError as error:
        return str(error)


def _runs(stage: Stage, notebook: Notebook) -> bool:
    called = stage.calls("run")
    return bool(called) and Path(stage.wdir, called[0]).as_posix() == notebook.path


def _describe_items(stages: list[Stage]) -> str:
    names = ", ".join(stage.name for stage in stages[:5]) + (", ..." if len(stages) > 5 else "")
    return (
        f"dvc.yaml: {len(stages)} stages run this notebook ({names}), so the cell keeps its own values. "
        f"Fix: choose one in a cell above, as in `%env {STAGE}={stages[0].name}`"
    )


def _give_values_of(stage: Stage, project: Project, notebook: Notebook, shell) -> str | None:
    given = project.parameters(stage, notebook)
    # A parameter that params.yaml does not have yet keeps the value of the cell.
    if len(given.problems) > len(given.missing):
        more = f" (and {len(given.problems) - 1} more: uv run pipeline check)" if len(given.problems) > 1 else ""
        return f"{given.problems[0]}{more}"
    differences = [
        f"{parameter.key} = {reprlib.repr(given.values[parameter.name])} (cell: {reprlib.repr(own)})"
        for parameter in notebook.parameters
        if parameter.name in given.values
        # 1, 1.0 and True are equal, and have different texts; an array has no truth.
        and repr(own := shell.user_ns.get(parameter.name)) != repr(given.values[parameter.name])
    ]
    shell.push(copy.deepcopy(given.values))
    lines = [f"{', '.join(project.tracked(stage))}: {', '.join(differences)}"] if differences else []
    if given.missing:
        names = ", ".join(f"`{each.parameter.key}`" for each in given.missing)
        lines.append(f"params.yaml: lacks {names}, which the cell assigns. Fix: uv run pipeline check --fix")
    return "; ".join(lines) or None
