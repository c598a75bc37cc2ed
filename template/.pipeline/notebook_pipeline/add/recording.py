"""Runs the notebook of a stage, has the stage list what it touched, and DVC record the result."""

import contextlib
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from notebook_pipeline import files, git, secret_files, shell
from notebook_pipeline.add.places import INPUTS, RESULTS, WRITTEN_BESIDE_INPUTS
from notebook_pipeline.add.refusal import Refused, again
from notebook_pipeline.add.stage_entry import FOLDER, Entry, out_item
from notebook_pipeline.code import command as code
from notebook_pipeline.notebook.document import Notebook
from notebook_pipeline.project import yaml_edit
from notebook_pipeline.project.paths import by_folder, is_covered, not_covered, outermost
from notebook_pipeline.project.project import PIPELINE_FILE, Project, Stage
from notebook_pipeline.project.stages import literal

PATIENCE = 10.0
"""Seconds in which another program leaves git's index alone."""


def run_and_record(
    project: Project, stage: Stage, notebook: Notebook, output: str, entry: Entry | None
) -> tuple[int, dict[int, float]]:
    """Runs the notebook, and writes down what it read and wrote. Returns the exit code, and the seconds of each cell."""
    from notebook_pipeline.run.execution import execute  # heavy: Papermill and a kernel
    from notebook_pipeline.run.undeclared import has_other_commands

    given = project.parameters(stage, notebook)
    if given.problems:
        raise Refused("\n".join(given.problems))
    for out in stage.outs:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
    lacking = []
    with move_aside({*stage.outs} - {*stage.persistent}) as moved:
        exit_code, trace, seconds = execute(notebook, given.values, output)
        # Of a new stage only the code tells what it makes; what another command of a stage makes, is not made here.
        if exit_code == 0 and entry is None and not has_other_commands(stage):
            lacking = [out for out in stage.outs if "://" not in out and not os.path.lexists(out)]
            for out in {*moved} - {*lacking}:
                del moved[out]
    taken, outs = _list_touched(stage, notebook, given.values, trace, entry, exit_code)
    _remove_own_gitignores(outs)
    ignore_results(notebook.path)
    refuse_taken(notebook, taken, stage)
    if lacking:
        raise Refused(
            "\n".join(
                f"{notebook.path}: did not write {out}, which stage `{stage.name}` lists among its results. Fix: remove it "
                "from the list, or write it"
                for out in lacking
            )
        )
    if exit_code == 0:
        _record(stage)
    return exit_code, seconds


def _list_touched(
    stage: Stage, notebook: Notebook, values: dict, trace, entry: Entry | None, exit_code: int
) -> tuple[set[str], list[str]]:
    """Has the stage list what its run read and wrote. Returns the results that are another stage's, and those that are its own."""
    declared = {*stage.outs}
    allowed = secret_files.allowed_in(Path())
    every = not_covered(trace.read, declared)
    reads = without_secrets(every, allowed)
    written = {path for path in trace.written if not path.startswith((f"{INPUTS}/", f"{FOLDER}/"))}
    for path in sorted(trace.written - written):
        print(f"{notebook.path}: writes {path}, an input. Fix: write it to {WRITTEN_BESIDE_INPUTS} or {RESULTS}")
    others = results_of_others(stage)
    taken = {path for path in written if is_covered(path, others)}
    written = without_secrets(written - taken, allowed)
    listed = not_covered(trace.listed_beside({*declared, *others}), declared)
    deps = outermost({*by_folder(reads, trace.files - trace.read, every - reads, whole=False), *listed})
    outs = by_folder(written, trace.files - trace.written, others, whole=True)
    kept = declared if entry is None else set()  # else they are what the code tells, and replaced below
    outs = _settled(outs, {*others, *kept, *(trace.files - trace.written)}, notebook, values)
    if entry is not None:
        # A run that failed has not seen all, nor has one where access times do not tell: what the code tells stays.
        entry.deps = outermost({*deps, *(entry.deps if exit_code or not trace.sees_all else ())})
        entry.outs = outermost({*outs, *(entry.outs if exit_code else ())})
        entry.write()
        print(f"{PIPELINE_FILE}: added stage `{entry.name}`")
    else:
        entries = [("deps", literal(path)) for path in sorted(deps) if not is_covered(path, stage.deps)]
        entries += [out_item(path, literal(path)) for path in outs if not is_covered(path, declared)]
        for key, item in entries:
            text = yaml_edit.with_item(files.read(PIPELINE_FILE), (*stage.keys, key), item)
            files.edit(PIPELINE_FILE, text)
            path = item if isinstance(item, str) else next(iter(item))
            print(f"{PIPELINE_FILE}: added {path} to the `{key}:` of stage `{stage.name}`")
    return taken, outs


# No stage has the whole of these.
_SHARED = ("", "data", INPUTS, WRITTEN_BESIDE_INPUTS, RESULTS, FOLDER)


_NUMBER = "a number"


def _settled(results: list[str], others: set[str], notebook: Notebook, values: dict[str, object]) -> list[str]:
    """The results, with the folder in the place of those whose names are others in another run; says what was done.

    Args:
        others: what DVC would not let lie in the folder, or what a run would find no more there.
    """
    changing = {path: found for path in results if (found := _changing(path, results, notebook, values))}
    # Metrics and plots are listed one by one.
    others = {*others, *(path for path in results if path not in changing and out_item(path)[0] != "outs")}
    for path, (folder, why) in changing.items():
        if is_covered(folder, others):
            continue  # it is listed already
        if folder in _SHARED or any(is_covered(other, {folder}) for other in others):
            if why == _NUMBER:
                continue  # they may always be as many
            print(
                f"{notebook.path}: writes {path}, which has {why} in its name, and the stage fails if that is another. Fix: give "
                "it one name, DVC keeps that of each run; or write it to "
                f"{RESULTS}/{Path(notebook.path).stem}/, and {PIPELINE_FILE} lists the folder; then {again(notebook.path)}"
            )
        elif path in results:
            print(f"{PIPELINE_FILE}: lists {folder} as a whole: {path} has {why} in its name")
            results = [*(each for each in results if not is_covered(each, {folder})), folder]
    return sorted(results)


def _changing(path: str, results: Collection[str], notebook: Notebook, values: dict) -> tuple[str, str] | None:
    """The folder around what another run calls otherwise, and what of that run its name has; None where the name stays.

    Told by the values of this run: a parameter's, or the time at which it was written; or it is one of several that are numbered.
    """
    written, code = Path(path).stat().st_mtime, notebook.code()
    moments = (time.localtime(written), time.gmtime(written))
    days = {time.strftime(form, each) for form in ("%Y%m%d", "%d%m%Y", "%m%d%Y", "%y%m%d") for each in moments}
    counted = [re.sub(r"\d+", "0", each) for each in results].count(re.sub(r"\d+", "0", path)) > 1
    parts = path.split("/")
    for index, part in enumerate(parts):
        if part in code:
            continue
        folder = "/".join(parts[:index])
        seconds = (int(number) for number in re.findall(r"(?<!\d)\d{10}(?!\d)", part))
        if (
            any(day in re.sub(r"\D", "", part) for day in days)
            or any(time.strftime("%b%d", each) in part for each in moments)
            or any(abs(each - written) < 86400 for each in seconds)
        ):
            return folder, "the time"
        for name, value in values.items():
            said = re.escape(str(value))
            # A single digit behind a letter is rather a version: `_v2`.
            apart = r"(?<![\d.])" if len(said) > 1 else r"(?<![^\W_])(?<!\.)"
            match value:
                case bool():
                    continue
                case int() | float() if not counted and re.search(rf"{apart}{said}(?!\.?\d)", part):
                    return folder, f"the value of `{name}`"
                case str() if len(value) > 2 and value != part and re.search(rf"(?<![^\W_]){said}(?![^\W_])", part):
                    return folder, f"the value of `{name}`"
        if counted and re.search(r"\d", part) and out_item(path)[0] == "outs":
            return folder, _NUMBER
    return None


@contextlib.contextmanager
def move_aside(paths: set[str]) -> Iterator[dict[str, Path]]:
    """Takes results of before out of the way of a run, which would find them where DVC's own runs find none.

    Yields where each of them lies meanwhile. At the end they come back, except where the run made something in their place;
    those that are taken out of the mapping are dropped.
    """
    Path(".dvc/tmp").mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="results-", dir=".dvc/tmp"))
    moved = {}
    try:
        for number, path in enumerate(sorted(path for path in paths if os.path.lexists(path))):
            moved[path] = folder / str(number)
            with files.naming(path):  # Windows refuses while another program has it open
                shutil.move(path, moved[path])
        yield moved
    finally:
        for path, place in moved.items():
            _put_back(place, Path(path))
        shutil.rmtree(folder, ignore_errors=True)


def _put_back(place: Path, target: Path) -> None:
    """Moves a file, or what a folder holds, to where there is nothing."""
    if not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(place, target)
    elif place.is_dir() and target.is_dir() and not place.is_symlink():
        for inner in place.iterdir():
            _put_back(inner, target / inner.name)


def results_of_others(stage: Stage | None) -> dict[str, str]:
    """The results of all other stages, each with its stage's name."""
    stages = [each for each in Project().stages() if stage is None or each.name != stage.name]
    return {path: each.name for each in stages for path in each.outs}


def refuse_taken(notebook: Notebook, results: set[str], stage: Stage | None) -> None:
    """Refuses to have two stages make one file: DVC loads no such pipeline."""
    others = results_of_others(stage)
    for path in sorted(results):
        if maker := next((others[other] for other in others if is_covered(path, {other})), None):
            raise Refused(
                f"{notebook.path}: writes {path}, a result of stage `{maker}`. Fix: give the file another name there, "
                f"{again(notebook.path)}"
            )


def _record(stage: Stage) -> None:
    """Has DVC take over inputs and results as they are now, so that nothing need run again."""
    names = []
    for other in _stages_of(stage.calls("run")[0]):
        if written := other.calls("code"):
            code.main([*written])
            names.append(other.name)

    def record(repo) -> None:
        if any(Path(INPUTS).glob("*")):
            repo.add([INPUTS])
        for name in (*names, stage.name):
            repo.commit(name, force=True)

    _with_dvc(record, f"record stage `{stage.name}`")


def _stages_of(notebook: str) -> list[Stage]:
    """The stages that run a notebook or write its code."""
    return [each for each in Project().stages() if notebook in (each.calls("run") or each.calls("code") or ())]


def ignore_results(notebook: str, source: Path | None = None) -> None:
    """Has git ignore the results of a notebook's stages from now on.

    DVC itself does so once a stage has succeeded: after a run that failed, `git add --all` would take them.

    Args:
        source: the notebook that was given, as long as all that was written can be undone.
    """
    from dvc.repo import lock_repo  # heavy

    def ignore(repo) -> list[str]:
        with lock_repo(repo), repo.scm_context(quiet=True):
            stages = [each for stage in _stages_of(notebook) for each in repo.stage.collect(stage.name)]
            outs = [out.fspath for stage in stages for out in stage.outs if out.use_scm_ignore]
            tracked = [Path(os.path.relpath(out)).as_posix() for out in outs if repo.scm.is_tracked(out)]
            for out in outs if not (tracked and source) else ():
                Path(out).parent.mkdir(parents=True, exist_ok=True)
                repo.scm_context.ignore(out)
            return tracked

    tracked = _with_dvc(ignore, f"have git ignore the results of {notebook}")
    if tracked:
        raise Refused(
            f"{notebook}: git tracks results of its stage, which DVC is to keep. Fix: `git rm -r --cached {shell.join(tracked)}`, "
            + (f"then: uv run pipeline add {shlex.quote(str(source))}" if source else again(notebook))
        )


def _with_dvc(act: Callable, what: str):
    """Do something with DVC's repository, in this process: each `dvc` would take a second to start.

    Raises:
        Refused: DVC cannot do it.
    """
    from dulwich.file import FileLocked  # with DVC
    from dvc.exceptions import DvcException
    from dvc.repo import Repo  # heavy

    until = time.monotonic() + PATIENCE
    while True:
        try:
            with Repo() as repo:
                return act(repo)
        except FileLocked:  # for a moment by an editor's `git status`
            if time.monotonic() > until:
                problem = "another git is at work, or was killed. Fix: wait for it, or delete this file, then type the same again"
                raise Refused(f".git/index.lock: {problem}") from None
            time.sleep(0.1)
        except DvcException as error:
            said = " ".join(str(error).split())
            raise Refused(f"{PIPELINE_FILE}: DVC cannot {what}: {said}") from None


def _remove_own_gitignores(results: Collection[str]) -> None:
    """Remove what `ignore_results` wrote before the run into a folder that is itself a result now: git must track none of it."""
    for folder in filter(Path.is_dir, map(Path, results)):
        for path in (each.as_posix() for each in folder.rglob(".gitignore")):
            if git.text("rev-parse", "--verify", "--quiet", f"HEAD:./{path}") is None:  # not committed by a person
                git.text("rm", "--cached", "--force", "--quiet", "--ignore-unmatch", "--", path)
                Path(path).unlink(missing_ok=True)


def said_secret(path: str, reason: str) -> str:
    return (
        f"{path}: looks like a secret ({reason}), and is not copied, tracked or listed. Fix: give its value by an environment "
        f"variable (README.md, Security); if it is no secret, add `--allow {shlex.quote(path)}`"
    )


def without_secrets(paths: Collection[str], allowed: set[Path]) -> set[str]:
    """The paths without those that look like secrets, which are named."""
    secrets = {path: reason for path in paths if (reason := secret_files.why(path, allowed))}
    for path, reason in sorted(secrets.items()):
        print(said_secret(path, reason))
    return {*paths} - secrets.keys()
