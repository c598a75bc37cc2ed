"""`pipeline add NOTEBOOK`: makes a stage of a notebook, or brings the stage of one up to date.

Four steps: a run in a copy of the notebook's own folder shows what it uses (observation.py); from that follows where each file goes and
which texts of the code change (plan.py); all of it is written, or nothing; and a run as a stage is compared with the first (proof.py).
The notebook that was given stays as it is, unless it lies in notebooks/ already.
"""

import argparse
import sys
from pathlib import Path

from notebook_pipeline.add.job import Job
from notebook_pipeline.add.order import find_notebooks, in_order
from notebook_pipeline.add.refusal import INCOMPLETE, Refused
from notebook_pipeline.notebook.document import NotebookError
from notebook_pipeline.project import yaml_edit
from notebook_pipeline.project.project import ProjectError


def main(argv: list[str]) -> int:
    """Add the notebooks, and say what was done, one line each.

    Returns the exit code: 1 if nothing was changed; INCOMPLETE if not every notebook became a stage that runs.
    """
    arguments = _parse(argv)
    notebooks = find_notebooks(arguments.notebook)
    if not notebooks:
        print(f"{', '.join(arguments.notebook)}: contains no notebook. Fix: correct the path", file=sys.stderr)
        return 1
    if len(notebooks) > 1 and (arguments.name or arguments.lift):
        print("--name, --lift: belong to one notebook. Fix: add the notebooks one by one", file=sys.stderr)
        return 1
    codes = {}
    for source in in_order(notebooks) if len(notebooks) > 1 else notebooks:
        if len(notebooks) > 1:
            print(f"\n== {source}", flush=True)
        # What the notebooks before this one changed is not the person's.
        codes[source] = _add_and_run(source, arguments, is_first={*codes.values()} <= {1})
    if len(notebooks) > 1:
        failed = [str(source) for source, code in codes.items() if code]
        names = f"; not {', '.join(failed)}: see above" if failed else ""
        print(f"\n{len(codes) - len(failed)} of {len(codes)} notebooks are stages{names}")
    done = {*codes.values()}
    return done.pop() if len(done) == 1 else INCOMPLETE


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pipeline add", description=__doc__.partition(": ")[2].split("\n")[0])
    parser.add_argument("notebook", metavar="NOTEBOOK", nargs="+", help="notebooks, or folders of them")
    parser.add_argument("--name", help="the stage's name (default: the notebook's)")
    parser.add_argument(
        "--lift",
        metavar="NAMES",
        default="",
        help="make parameters of the variables and arguments of these names: SEED,epochs",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be copied and changed, and change nothing"
    )
    parser.add_argument("--no-run", action="store_true", help="do not run it: list only what the code tells")
    parser.add_argument(
        "--yes", action="store_true", help="copy more than 1 GB, and files from outside the notebook's repository"
    )
    parser.add_argument(
        "--allow", metavar="PATH", action="append", default=[], help="copy a file that looks like a secret and is none"
    )
    return parser.parse_args(argv)


def _add_and_run(source: Path, arguments: argparse.Namespace, is_first: bool) -> int:
    """Make a stage of one notebook. Returns the exit code: 1 if nothing was changed, INCOMPLETE if its run failed."""
    exit_code = 1
    try:
        job = Job.of(source, arguments)
        plan = job.plan()
        if arguments.dry_run:
            print(*job.describe(plan), sep="\n")
            return 0
        entry = job.apply(plan, is_first)
        exit_code = INCOMPLETE
        return job.run(plan, entry) if not arguments.no_run else job.finish(entry)
    except (NotebookError, ProjectError, yaml_edit.EditError, Refused) as error:
        print(error, file=sys.stderr)
        return exit_code
