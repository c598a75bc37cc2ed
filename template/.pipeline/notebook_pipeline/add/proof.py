"""Compares the run as a stage with the run in the notebook's own folder, cell by cell and file by file."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from notebook_pipeline import files
from notebook_pipeline.add.observation import observe
from notebook_pipeline.add.places import Places
from notebook_pipeline.add.plan import Plan
from notebook_pipeline.notebook.comparison import Comparison, compare_with_saved

LIKE = "as in the notebook's own folder"


def prove(job, plan: Plan, output: str) -> bool:
    """Print the verdict. What differs is looked at a second time: if two runs in its own folder differ there, too, it tells nothing.

    Nor does a cell that lists a folder which holds other files in the project: the notebook's own, or one of results beside files
    that stay where they are.

    Args:
        job: the addition of the notebook.
        output: the executed notebook of the stage.

    Returns whether all that can be compared is the same; also if the notebook did not run in its own folder.
    """
    found = job.found
    if found.stopped or not found.executed:
        if found.executed:
            print(f"{job.target}: not compared with its own folder, where its run ended: {found.stopped}")
        return True
    cells = compare_with_saved(found.executed, Path(output).read_bytes(), name_paths(job, plan))
    digests = {place: found.written[path] for path, place in plan.results.items() if path in found.written}
    digests = {place: digest for place, digest in digests.items() if not place.startswith(("/", "~"))}
    changed = {
        place
        for place, digest in digests.items()
        if not Path(place).is_file() or files.md5(Path(place).read_bytes()) != digest
    }
    ids = _numbers_by_id(found.executed, output)
    listed = [use for use in found.uses if use.what in ("list", "glob") and _is_other_folder(use.base, job, plan)]
    chance: set[str | int] = {ids.get(use.cell, use.cell) for use in listed}
    if {*cells.different} - chance or changed:
        second = observe(job.given, job.origin, Places(job.origin, job.root).bases[-1], None)
        again = compare_with_saved(found.executed, second.executed)
        chance |= {ids.get(number, number) for number in again.different}
        chance |= {place for path, place in plan.results.items() if second.written.get(path) != found.written.get(path)}
    print(
        f"{job.target}: {_verdict(cells, digests, changed, chance)}"
        + f" (see {output})" * bool({*cells.different} - chance)
    )
    return not ({*cells.different} | changed) - chance


def _is_other_folder(folder: Path, job, plan: Plan) -> bool:
    """Whether a folder that the notebook lists holds other files in the project."""
    if job.origin.is_relative_to(folder):
        return True
    is_for_results = any(path.is_relative_to(folder) for path in plan.results)
    known = {*plan.copies, *job.found.written}
    return is_for_results and folder.is_dir() and any(path.is_file() and path not in known for path in folder.iterdir())


def name_paths(job, plan: Plan) -> dict[str, str]:
    """Return what a cell may print of each path that moved, there or in the project, each with the name that it has there."""
    pairs = {**plan.copies, **plan.results}
    names = {str(job.origin): job.origin.name, str(job.root): job.origin.name}
    names |= {use.said: use.path.name for use in job.found.uses if use.path in pairs}
    for path, place in pairs.items():
        old, new = path, job.root / place
        names |= dict.fromkeys([*_forms(old, job.origin), *_forms(new, job.root)], path.name)
        # `/repo/data/a/b.csv` is `data/external/a/b.csv`: what a cell prints of `data/external` is `/repo/data`.
        while old.name == new.name and new != job.root:
            old, new = old.parent, new.parent
            for form in (*_forms(old, job.origin), *_forms(new, job.root)):
                if re.search(r"[/\\]", form):  # else it is any word
                    names.setdefault(form, old.name)
    return names


def _forms(path: Path, base: Path) -> Iterator[str]:
    """Yield the texts by which code may call a path: as a whole, from its folder, and its last parts."""
    ends = (Path(*path.parts[-count:]) for count in range(2, min(len(path.parts), 5)))
    from_base = [Path(os.path.relpath(path, base))] if path.drive == base.drive else []
    for form in (path, *from_base, *ends):
        yield from {str(form), form.as_posix()}


def _verdict(cells: Comparison, digests: Mapping[str, str], changed: set[str], chance: set[str | int]) -> str:
    """Say for example: `14 of 14 cells and 3 files as in the notebook's own folder; not comparable, by time or chance: cell 4`."""
    compared = Comparison(cells.same, [number for number in cells.different if number not in chance])
    total = len(compared.same) + len(compared.different)
    kept = [place for place in digests if place not in chance]
    same = len(kept) - len([place for place in kept if place in changed])
    what = [f"{len(compared.same)} of {total} cell{'s' * (total != 1)}"] if total or not kept else []
    if digests:
        what.append(f"{same}" + f" of {len(kept)}" * (same != len(kept)) + f" file{'s' * (len(kept) != 1)}")
    text = f"{' and '.join(what)} {LIKE}"
    if compared.different or changed - chance:
        different = {*compared.different} | (changed - chance)
        text += f"; {_listed(different)} differ{'s' * (len(different) == 1)}"
    if told := {each for each in chance if each in cells.different or each in changed}:
        text += f"; not comparable, other in each run or folder: {_listed(told)}"
    return text


def _listed(what: set[str | int]) -> str:
    numbers, names = (
        sorted(each for each in what if isinstance(each, int)),
        sorted(each for each in what if isinstance(each, str)),
    )
    cells = [f"cell{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"] if numbers else []
    return ", ".join([*cells, *names])


def _numbers_by_id(observed: bytes, output: str) -> dict[int, int]:
    """The numbers of cells in the notebook's own folder, each with the number of the cell in the project."""
    numbers = _counts(Path(output).read_bytes())
    return {number: numbers[name] for name, number in _counts(observed).items() if name in numbers}


def _counts(executed: bytes) -> dict[str, int]:
    """By the id of each cell that ran: its number, which stands in the place of IPython's count."""
    cells = json.loads(executed)["cells"]
    return {cell["id"]: cell["execution_count"] for cell in cells if cell.get("execution_count") is not None}
