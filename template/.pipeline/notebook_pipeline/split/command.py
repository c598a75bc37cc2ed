"""`pipeline split NOTEBOOK`: makes several stages of a notebook that is one, and proves that they give the same."""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from notebook_pipeline import files, git, shell
from notebook_pipeline.notebook.document import Notebook, NotebookError, read
from notebook_pipeline.project import yaml_edit
from notebook_pipeline.project.project import PARAMS_FILE, PIPELINE_FILE, Project, ProjectError, Stage
from notebook_pipeline.split import observation, sections, statements
from notebook_pipeline.split.notebooks import repeated_alone
from notebook_pipeline.split.observation import Seen
from notebook_pipeline.split.plan import Part, Planner
from notebook_pipeline.split.proof import Proof
from notebook_pipeline.split.sections import ELSEWHERE, Refused, Section
from notebook_pipeline.split.stages import Writer


def main(argv: list[str]) -> int:
    """Split the notebook, or say why not. Returns the exit code: 1 if nothing was changed."""
    parser = argparse.ArgumentParser(prog="pipeline split", description=__doc__.partition(": ")[2])
    parser.add_argument("notebook", metavar="NOTEBOOK", help="one that a stage of dvc.yaml runs")
    parser.add_argument(
        "--at",
        metavar="CELLS",
        default="",
        help="where stages begin: numbers of cells, or headings: 5,12 or Train,Evaluate",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be written, also whether it is proven; write nothing"
    )
    arguments = parser.parse_args(argv)
    try:
        return _split(Path(arguments.notebook).as_posix(), arguments.at, arguments.dry_run)
    except (NotebookError, ProjectError, yaml_edit.EditError, Refused) as error:
        print(error, file=sys.stderr)
        return 1


def _split(path: str, at: str, is_dry_run: bool) -> int:
    notebook, project = read(path), Project()
    stage, values = _find_stage(project, notebook)
    if not is_dry_run:
        _refuse_unsaved(path, PIPELINE_FILE, PARAMS_FILE)
    given = {each: Path(each).read_bytes() for each in (path, PIPELINE_FILE, PARAMS_FILE) if os.path.exists(each)}
    code = statements.read(notebook)
    found = sections.by_request(notebook, at, code) if at else sections.by_headings(notebook, code)
    with observation.copied_project(project, stage) as root:
        _tell(f"{path}: runs whole, to see what each cell takes, reads and writes")
        first = observation.observe(notebook, values, stage)
        if not found:
            return _propose(notebook, code, first)
        if not at:
            found = sections.joined(found, lambda parts: _saved(notebook, parts, first))
        planner = Planner(notebook, code, found, first)
        _tell(f"{path}: runs whole again, to see what there is at each cut")
        second = observation.look(notebook, values, stage, [part.first for part in found[1:]], planner.to_look_at())
        parts = planner.make(second.notes, lambda part: _try_out(notebook, values, stage, part))
        writer = Writer(project, stage, notebook, first, parts)
        writer.write()
        _tell(f"{path}: runs as {len(parts)} stages, to compare")
        proof = Proof(notebook, first, second)
        proof.make(writer)
        _report(notebook, parts, writer, first, proof)
        if is_dry_run:
            print("wrote nothing (--dry-run)")
        else:
            _bring_home(root, notebook, writer, given)
    return 0


def _tell(line: str) -> None:
    """Say what takes its time now, to who waits for it."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


def _find_stage(project: Project, notebook: Notebook) -> tuple[Stage, dict]:
    """Find the stage that runs a notebook, and the values of its parameters."""
    path, name = notebook.path, shell.quote(notebook.path)
    stages = [each for each in project.stages() if (each.calls("run") or ("",))[0] == path]
    if not stages:
        raise Refused(f"{path}: no stage of {PIPELINE_FILE} runs it. Fix: uv run pipeline add {name}")
    stage = stages[0]
    if (
        len(stages) > 1
        or "@" in stage.name
        or stage.wdir != "."
        or len(stage.cmd) > 1
        or {";", "&", "|"} & {*stage.cmd[0]}
    ):
        raise Refused(
            f"{project.place(stage, 'cmd')}: stage `{stage.name}` does more than to run {path} once. Fix: give it a stage of its own"
        )
    output = stage.calls("run")[1]
    if users := [each.name for each in project.stages() if output in each.deps]:
        raise Refused(
            f"{project.place(stage, 'cmd')}: stage `{users[0]}` needs {output}, which will not exist. Fix: remove it from its `deps:`"
        )
    if problems := [*notebook.problems(), *notebook.drift()]:
        raise Refused("\n".join(problems))
    given = project.parameters(stage, notebook)
    if given.problems:
        raise Refused("\n".join(given.problems))
    return stage, given.values


def _refuse_unsaved(*paths: str) -> None:
    """Refuse to change what git could not bring back."""
    if unsaved := git.find_unsaved(*paths):
        raise Refused(
            f"{', '.join(unsaved)}: changed since git last had it, and this would change it. Fix: `git add {shell.join(unsaved)}` "
            "first, so that it can be undone"
        )


def _try_out(notebook: Notebook, values: dict, stage: Stage, part: Part) -> dict:
    """Run what a stage repeats, and return what there is then."""
    names = {name for each, names in part.repeated if each.kind in ("constant", "parameter") for name in names}
    given = {name: value for name, value in values.items() if name in part.parameters()}
    try:
        return observation.run_alone(repeated_alone(notebook, part), given, stage, names)
    except Refused as error:
        what = str(error).removeprefix(f"{notebook.path}: ").partition(": it fails")[0]
        raise Refused(
            f"{notebook.path}: {part.section} need code from above that fails alone ({what}). Fix: {ELSEWHERE}"
        ) from None


# Where to cut


def _saved(notebook: Notebook, parts: list[Section], seen: Seen) -> list[float]:
    """Return the seconds that each cut saves: of the section before it, if a parameter or an input is first used behind it."""
    used, saved = set(), []
    names = {parameter.name for parameter in notebook.parameters}
    for number, part in enumerate(parts):
        cells = [cell.number for cell in part.cells if cell is not notebook.parameters_cell]
        now = {name for cell in cells for name in seen.read.get(cell, ())} & names
        now |= {
            path for cell in cells for done, path in seen.files.get(cell, ()) if done == "r" and path in seen.trace.read
        }
        if number:
            saved.append(_seconds(parts[number - 1], seen) if now - used else 0.0)
        used |= now
    return saved


def _seconds(section: Section, seen: Seen) -> float:
    return sum(seen.seconds.get(cell.number, 0.0) for cell in section.cells)


def _propose(notebook: Notebook, code: list[statements.Statement], seen: Seen) -> int:
    """Say where the notebook could be cut: around the cells that take most of its time."""
    total, cuts = sum(seen.seconds.values()), []
    computing = [cell.number for cell in notebook.cells if any(each.cell == cell and not each.kind for each in code)]
    for number in sorted(computing, key=lambda cell: -seen.seconds.get(cell, 0))[:2]:
        at = computing.index(number)
        cuts += [cell for cell in computing[at : at + 2] if cell != computing[0]]
    cuts = sorted({*cuts})[: sections.MOST - 1]
    if not cuts:
        raise Refused(
            f"{notebook.path}: only cell {computing[0] if computing else 1} computes something. Fix: divide it into several cells"
        )
    print(
        f"{notebook.path}: has no level of headings with two sections that compute something; it runs in {_shown(total)}"
    )
    for number in [cell for cell in computing if seen.seconds.get(cell, 0) > total / 10]:
        print(f"  cell {number:<4} {_shown(seen.seconds[number])}")
    command = f"uv run pipeline split {shell.quote(notebook.path)} --at {','.join(map(str, cuts))}"
    print(f"wrote nothing. To cut around what takes longest: {command}")
    return 1


# What was done


def _report(notebook: Notebook, parts: list[Part], writer: Writer, seen: Seen, proof: Proof) -> None:
    total = sum(seen.seconds.values())
    print(f"{notebook.path}: runs in {_shown(total)}; {len(parts)} stages")
    width = max(map(len, writer.names))
    for name, part in zip(writer.names, parts, strict=True):
        handed = ", ".join(
            f"{', '.join(file.names)} ({_size(file.size)})"
            if not file.is_state
            else f"the state of {', '.join(file.names)}"
            for file in part.saves
        )
        print(
            f"  {name:{width}}  {str(part.section):12} {_shown(_seconds(part.section, seen)):>7}"
            + f"  hands over {handed}" * bool(handed)
        )
    for line in _savings(notebook, parts, seen):
        print(line)
    cells, chance = len(proof.same) + len(proof.chance), ", ".join(map(str, proof.chance))
    count = len(proof.files) + len(proof.chance_files)
    files = f" and {len(proof.files)} of {count} files" * bool(count)
    print(f"ran whole twice, and in {len(parts)} stages: {len(proof.same)} of {cells} cells{files} are the same")
    if proof.chance:
        print(f"not provable, as they differ between two runs of the whole: cells {chance}")
    if proof.chance_files:
        print(f"not provable, as they differ between two runs of the whole: {', '.join(proof.chance_files)}")


def _savings(notebook: Notebook, parts: list[Part], seen: Seen) -> Iterator[str]:
    """Say what a change of a parameter reruns, and which cuts save nothing."""
    total, best = sum(seen.seconds.values()), {}
    for parameter in notebook.parameters:
        rerun = {part.number for part in parts if parameter.name in part.parameters()}
        for part in parts:
            if any(file.maker in rerun for file in part.loads):
                rerun.add(part.number)
        if rerun:
            best[parameter.key] = sum(_seconds(parts[number].section, seen) for number in rerun)
    if best and min(best.values()) < 0.95 * total:
        name = min(best, key=best.get)
        yield f"a change of {name} reruns {_shown(best[name])} instead of {_shown(total)}"
    if idle := [
        str(part.section.first)
        for part, saved in zip(parts[1:], _saved(notebook, [part.section for part in parts], seen), strict=True)
        if not saved
    ]:
        yield f"{'the cuts at cells' if len(idle) > 1 else 'the cut at cell'} {', '.join(idle)} save{'s' * (len(idle) == 1)} nothing, as no parameter or input is first used there"


def _shown(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _bring_home(root: Path, notebook: Notebook, writer: Writer, given: dict[str, bytes]) -> None:
    """Copy what was proven from the copy of the project into the project: all of it, or nothing.

    Raises:
        Refused: somebody changed the notebook or the pipeline meanwhile.
    """
    if changed := [path for path, content in given.items() if (root / path).read_bytes() != content]:
        raise Refused(f"{', '.join(changed)}: changed while the notebook was split. Fix: type the same command again")
    stages = [
        each for each in Project().stages() if {*(each.calls("run") or each.calls("code") or ())} & {*writer.notebooks}
    ]
    made = {path for stage in stages for out in stage.outs for path in observation.expanded(out)}
    made |= {path.as_posix() for folder in ("data", "outputs") for path in Path(folder).rglob(".gitignore")}
    own = [path for path in (*writer.notebooks, *sorted(made), "dvc.lock", PIPELINE_FILE) if os.path.exists(path)]
    tracked = git.paths("-C", os.fspath(root), "ls-files", "-z", "--", "dvc.lock", *given) or {*given}
    with files.all_or_nothing(root / path for path in (*own, notebook.path)):
        for path in own:
            if not (root / path).exists() or (root / path).read_bytes() != Path(path).read_bytes():
                files.copy(path, root / path)
        Path(root, notebook.path).unlink()
    print(
        f"wrote {len(writer.notebooks)} notebooks in the place of {notebook.path}, and {PIPELINE_FILE}. "
        f"Undo: git checkout -- {shell.join(sorted(tracked - {PARAMS_FILE}))} && git clean -f {shell.join(writer.notebooks)}"
    )
