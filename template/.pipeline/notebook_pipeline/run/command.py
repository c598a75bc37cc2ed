"""`pipeline run NOTEBOOK OUTPUT`: executes a notebook with the parameters that its stage in dvc.yaml lists.

Afterwards it names what the notebook read or wrote and dvc.yaml does not declare, and the other way round.
"""

import argparse
import itertools
import os
import sys
from pathlib import Path

from notebook_pipeline import files
from notebook_pipeline.notebook import packages
from notebook_pipeline.notebook.document import Notebook, NotebookError, read, renewed
from notebook_pipeline.project import lock
from notebook_pipeline.project.project import Project, ProjectError, Stage
from notebook_pipeline.run.changed import find_changed_inputs, find_changed_values
from notebook_pipeline.run.execution import execute
from notebook_pipeline.run.undeclared import find_undeclared, find_untouched


def main(argv: list[str]) -> int:
    """Check, execute, and write the executed notebook to OUTPUT, however the run ends.

    Returns the exit code: 0, 1 if the run was refused or a cell failed, 128 + the signal that ended it; with --strict
    also 1 if dvc.yaml does not declare what the run touched.
    """
    arguments = _parse(argv)
    try:
        notebook = read(arguments.notebook)
        project = Project()
        # DVC names the stage that it runs; by hand it is found by its command.
        name = os.environ.get("DVC_STAGE")
        stage = project.stage(name) if name else project.stage_running(arguments.notebook, arguments.output)
        problems, values = _check(project, stage, notebook, is_dvc=bool(name))
    except (NotebookError, ProjectError) as error:
        problems = [Project().gone(arguments.notebook) or str(error)]
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    for path in stage.outs:
        # git keeps no empty folders: a fresh clone lacks them.
        if "://" not in path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
    code, trace, _ = execute(notebook, values, arguments.output, stage.deps)
    if code:
        return code
    if changed := [
        *find_changed_values(project, stage, notebook, values),
        *find_changed_inputs(stage, notebook, trace),
    ]:
        print("\n".join(changed), file=sys.stderr)
        return 1
    differences = [*find_undeclared(project, stage, notebook, trace), *find_untouched(project, stage, notebook, trace)]
    if differences:
        print("\n".join(differences), file=sys.stderr)
    return 1 if differences and arguments.strict else 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pipeline run", description=__doc__.partition(": ")[2])
    parser.add_argument("notebook", metavar="NOTEBOOK")
    parser.add_argument("output", metavar="OUTPUT", help="where the executed notebook goes")
    parser.add_argument(
        "--strict",
        action="store_true",
        # Another program may have read the file, so a person decides; CI has no other program.
        default=os.environ.get("PIPELINE_STRICT", "0") not in ("", "0"),
        help="fail if dvc.yaml and what the run touched differ (also: PIPELINE_STRICT=1)",
    )
    arguments = parser.parse_args(argv)
    # As Stage.calls has them, however a shell completes them.
    arguments.notebook, arguments.output = (Path(path).as_posix() for path in (arguments.notebook, arguments.output))
    return arguments


def _check(project: Project, stage: Stage, notebook: Notebook, is_dvc: bool) -> tuple[list[str], dict[str, object]]:
    """Return what keeps the notebook from being run, and the values of its parameters."""
    problems, values = [*notebook.problems()], {}
    if not problems:
        given = project.parameters(stage, notebook)
        problems, values = [*given.problems], given.values
    if is_dvc:
        problems += _find_stale_code(project, stage, notebook)
        # A stage that DVC has skipped, and whose results would be taken for those of other values.
        if upstream := [each for each in project.upstream(stage) if each.params]:
            problems += lock.retyped(project, upstream, lock.read())
    return problems, values


def _find_stale_code(project: Project, stage: Stage, notebook: Notebook) -> list[str]:
    """Find the first line of a code file among the stage's deps that is not the notebook's: DVC would record the wrong code."""
    for other in project.stages():
        match other.calls("code"):
            case (source, target) if source == notebook.path and target in stage.deps and Path(target).exists():
                texts = renewed(packages.split(files.read(target))[1]), notebook.code()
                lines = itertools.zip_longest(*(text.split("\n") for text in texts))
                for index, (was, now) in enumerate(lines):
                    if was != now:
                        place = notebook.path if now is None else notebook.place(notebook.cell_of_code(index))
                        old, new = (f"`{line.strip()}`" if line and line.strip() else "nothing" for line in (was, now))
                        fix = f"uv run dvc repro --force {other.name}, then uv run dvc repro"
                        return [f"{place}: has {new}, but {target}, which DVC compares, has {old}. Fix: {fix}"]
    return []
