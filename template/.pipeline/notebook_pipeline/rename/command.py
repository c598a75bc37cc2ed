"""`pipeline rename OLD NEW`: gives a stage and all that bears its name another name, so that nothing reruns.

That is the notebook, its code file and its executed copy, and the section of params.yaml if no other stage uses it. Other
results keep their names: the notebook's code has them.
"""

import argparse
import os
import sys
from pathlib import Path

from notebook_pipeline import files, git
from notebook_pipeline.project.project import ProjectError
from notebook_pipeline.project.yaml_edit import EditError
from notebook_pipeline.rename.plan import Plan, make_plan


def main(argv: list[str]) -> int:
    """Rename, and print what has another name; return 1 if nothing has, with one line that says why."""
    parser = argparse.ArgumentParser(prog="pipeline rename", description=__doc__.partition(": ")[2].partition("\n")[0])
    parser.add_argument("old", metavar="OLD", help="a stage, or its notebook")
    parser.add_argument("new", metavar="NEW")
    parser.add_argument("--dry-run", action="store_true", help="only print what would get another name")
    arguments = parser.parse_args(argv)
    try:
        plan = make_plan(arguments.old, arguments.new)
    except (ProjectError, EditError) as error:
        print(error, file=sys.stderr)
        return 1
    if not arguments.dry_run:
        apply(plan)
    print("\n".join(plan.lines))
    return 0


def apply(plan: Plan) -> None:
    """Write what changes and move the files: all of it, or nothing.

    Raises:
        OSError: a file cannot be written or moved; all is as it was.
    """
    moved = []
    with files.all_or_nothing(plan.texts):
        try:
            files.edit_all(plan.texts)
            for path, to in plan.paths.items():
                if os.path.lexists(path):
                    _move(path, to)
                    moved.append((path, to))
        except BaseException:
            for path, to in reversed(moved):
                _move(to, path)
            raise


def _move(path: str, to: str) -> None:
    """Move a file, in git's index, too, if git has it: `git commit --all` takes no new file in."""
    Path(to).parent.mkdir(parents=True, exist_ok=True)
    if git.output("mv", "--", path, to) is None:
        os.replace(path, to)
