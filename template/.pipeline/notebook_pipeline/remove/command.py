"""`pipeline remove STAGE...`: takes stages out of the pipeline, with what only they used.

Results, parameters, plots, code entries and notebooks that another stage uses stay, and so does a notebook that git lacks.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from notebook_pipeline import files
from notebook_pipeline.project.project import ProjectError
from notebook_pipeline.project.yaml_edit import EditError
from notebook_pipeline.remove.plan import Plan, make_plan


def main(argv: list[str]) -> int:
    """Remove the stages, and print what was removed; return 1 if nothing was, with one line that says why."""
    parser = argparse.ArgumentParser(prog="pipeline remove", description=__doc__.partition(": ")[2].partition("\n")[0])
    parser.add_argument("stages", metavar="STAGE", nargs="+")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be removed")
    arguments = parser.parse_args(argv)
    try:
        plan = make_plan([*dict.fromkeys(arguments.stages)])
    except (ProjectError, EditError) as error:
        print(error, file=sys.stderr)
        return 1
    if not arguments.dry_run:
        apply(plan)
    print("\n".join(plan.lines))
    return 0


def apply(plan: Plan) -> None:
    """Write what changes, then delete: after a stop between the two, results of no stage are left, and nothing is lost.

    Raises:
        OSError: a file cannot be written, and nothing was changed; or one cannot be deleted.
    """
    files.edit_all(plan.texts)
    for path in map(Path, plan.deleted):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif os.path.lexists(path):
            path.unlink()
