"""`pipeline add NOTEBOOK`: makes a stage of a notebook, or brings the stage of one up to date.

Gives the notebook a parameters cell (lift.py), brings its files into the project (bring.py), runs it once under the eyes
of trace.py, and writes down in params.yaml and dvc.yaml what it uses. The notebook that was given stays as it is, unless
it lies in notebooks/ already.
"""

import argparse
import contextlib
import csv
import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from notebook_pipeline import files, git, secret_files, shell
from notebook_pipeline.add import bring, lift
from notebook_pipeline.add.order import find_notebooks, in_order
from notebook_pipeline.add.pictures import find_pictures
from notebook_pipeline.check import command as check
from notebook_pipeline.code import command as code
from notebook_pipeline.notebook import imports, packages
from notebook_pipeline.notebook.comparison import compare_with_saved
from notebook_pipeline.notebook.document import (
    NOT_LITERAL,
    Notebook,
    NotebookError,
    Parameter,
    as_python_reads,
    id_of,
    key_of,
    read,
)
from notebook_pipeline.project import yaml_edit
from notebook_pipeline.project.parameters import as_spelt
from notebook_pipeline.project.paths import MANY, by_folder, is_covered, not_covered, outermost
from notebook_pipeline.project.project import PARAMS_FILE, PIPELINE_FILE, Project, ProjectError, Stage
from notebook_pipeline.project.stages import command, literal, quoted

FOLDER = "notebooks"
PATIENCE = 10.0
"""Seconds in which another program leaves git's index alone."""
METRICS = (".json", ".yaml", ".yml", ".toml")
IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".bmp")
SMALL = 100_000
"""Bytes up to which a file of numbers is a metric and a table may be a plot; larger ones are data."""
MUCH = 10**9
"""Bytes above which nothing is copied without a question."""
INCOMPLETE = 3
"""The exit code when the stage was made, but its run failed."""


class Refused(Exception):
    """What keeps a notebook from becoming a stage; one line: what is wrong, what to do."""


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
        added = _add(source, arguments, is_first)
        exit_code = INCOMPLETE
        return _finish(added, not arguments.no_run)
    except (NotebookError, ProjectError, yaml_edit.EditError, Refused) as error:
        print(error, file=sys.stderr)
        return exit_code


def _add(source: Path, arguments: argparse.Namespace, is_first: bool) -> "_Added":
    """Writes the notebook, its files and its stage, or nothing: the run comes after that."""
    name, names = arguments.name, [as_python_reads(each.strip()) for each in arguments.lift.split(",") if each.strip()]
    root = Path.cwd().resolve()
    if name is not None and not re.fullmatch(r"[\w-]+", name):
        raise Refused(f"--name {name}: DVC does not take this name. Fix: write letters, digits, _ and - only")
    allowed = {Path(path).expanduser().resolve() for path in arguments.allow} | secret_files.allowed_in(root)
    saved = source.read_bytes() if source.is_file() else b""
    given = read(source)
    for number, cell in enumerate(given.document["cells"], 1):
        cell["id"] = id_of(cell, number)  # kept by its copy, whatever is added above
    if problem := next((line for line in given.problems(scratch=True) if "only Python" in line), None):
        raise Refused(problem)
    # A link in notebooks/ is the notebook, wherever it leads.
    folder, place = (root / FOLDER).resolve(), source.parent.resolve() / source.name
    inside = place.is_relative_to(folder)
    target = f"{FOLDER}/{place.relative_to(folder).as_posix() if inside else _slug(source.stem) + '.ipynb'}"
    origin = root / Path(target).parent if inside else source.resolve().parent
    quoted(target)  # refused if no command can name it
    stage = next((each for each in Project().stages() if (each.calls("run") or ("",))[0] == target), None)
    if not inside and Path(target).exists():
        raise Refused(
            f"{target} already exists. Fix: for that one, uv run pipeline add {quoted(target)}; else give {source.name} "
            "another name first"
        )

    # First all that may be refused, then the files.
    if tracked := [*secret_files.findings(["data"], allowed)]:
        raise Refused("\n".join(tracked))
    found = bring.brought(given, origin, root, _results_of_others(stage), allowed)
    _refuse_taken(given, found.outputs, stage)
    modules = {} if inside else _modules(given, origin)
    found.secrets |= {file: reason for file in modules if (reason := secret_files.why(file, allowed))}
    modules = {file: place for file, place in modules.items() if file not in found.secrets}
    pictures = {}
    if not inside:
        found.notebook, pictures = find_pictures(found.notebook, origin, FOLDER)
    copies = {**found.copies, **modules, **pictures}
    _refuse_overwriting(source, found.copies, modules, pictures)
    _ask_before_copying(source, [*copies], arguments.yes)
    found.notes += imports.missing_runs(given, origin, root)
    if modules:
        found.notebook = imports.with_runs_followed(found.notebook, origin, modules)
    if not inside and (found.notebook.document != given.document or found.outputs or found.folders or modules):
        found.notebook = _starting_in_root(found.notebook, bool(modules), found.folders)
    lifted = lift.lifted(found.notebook, names)
    is_written = not inside or lifted.notebook.document != given.document
    _refuse_unsaved(*([PIPELINE_FILE, PARAMS_FILE] if is_first else []), *([target] if is_written else []))
    # The numbers of cells are those of the copy, where the one of parameters may be new.
    lines = [*found.notes, *(line.replace(given.path, target, 1) for line in lifted.notes)]
    lines += [_said_secret(_shown(file), reason) for file, reason in sorted(found.secrets.items())]
    entry = None
    own_modules = _uncommitted_modules(given, origin, root) if inside else []
    with _all_or_nothing((PARAMS_FILE, PIPELINE_FILE, secret_files.SETTINGS, target, *own_modules), copies.values()):
        print(*lines, *_said_copies(copies), sep="\n", end="\n" if lines or copies else "")
        for file, place in copies.items():
            if not (root / place).exists():  # it is the same, perhaps behind a link
                files.copy(file, root / place)
        for line in bring.not_followed(copies, origin, root):
            print(line)
        own = [_shown(path) for path in allowed if path.is_relative_to(root)]
        if listed := [
            place for place in (*copies.values(), *own) if secret_files.why(place, secret_files.allowed_in(root))
        ]:
            secret_files.allow(listed)
        if is_written:
            _write_notebook(target, lifted.notebook.document, is_copy=not inside)
        for place in (*modules.values(), target, *own_modules):
            _tidy(place)
        notebook = read(target)
        if stage is None:
            entry = _Entry(_free_name(name or _slug(source.stem)[:100]), target)
            entry.params = _written_parameters(notebook.parameters, entry.name)
        else:
            _complete_parameters(stage, notebook)
            for line in check.fix({target}):
                print(line)
            entry = _Entry.of_unrecorded(Project().stage(stage.name))
        _write_code_stage(entry or _Entry(stage.name, target))
        if entry is not None:
            entry.deps = outermost({*found.inputs, *modules.values()})
            entry.outs = _without_secrets({path for path in found.outputs if not _outside(path)}, allowed)
            entry.write()
        _ignore_results(target, source)
    return _Added(notebook, entry, saved, {place: os.path.relpath(file, origin) for file, place in copies.items()})


def _finish(added: "_Added", run_it: bool) -> int:
    """Runs the notebook of a stage that was written, and has the stage list what it touched."""
    notebook, entry = added.notebook, added.entry
    if lacking := _lacking(notebook):
        print("\n".join(lacking), file=sys.stderr)
        return INCOMPLETE
    project, target = Project(), notebook.path
    stage = next(each for each in project.stages() if (each.calls("run") or ("",))[0] == target)
    if run_it and _run_and_record(project, stage, notebook, stage.calls("run")[1], entry):
        print(
            f"{target}: the run failed; stage `{stage.name}` in {PIPELINE_FILE} has what it touched until then. Fix: correct "
            f"the notebook, {_again(target)}",
            file=sys.stderr,
        )
        return INCOMPLETE
    if run_it:
        output = stage.calls("run")[1]
        compared = compare_with_saved(added.saved, Path(output).read_bytes(), added.moved)
        if compared.same or compared.different:
            print(f"{target}: {compared}" + f" (see {output})" * bool(compared.different))
    else:
        print(
            f"{PIPELINE_FILE}: stage `{stage.name}` lists what the code tells; `uv run dvc repro` names what it lacks"
        )
    exit_code = check.main([target])
    print(f"\nStage `{stage.name}` runs {target}. See `git diff`; `git add --all .` and `git commit` keep it.")
    return INCOMPLETE if exit_code else 0


@contextlib.contextmanager
def _all_or_nothing(own: Collection[str], copies: Collection[str]) -> Iterator[None]:
    """Says what was done once all of it is; leaves the files as they were if an error ends it.

    Args:
        own: the files that may change.
        copies: those that are new, or there already in the same bytes.
    """
    before = {Path(path): Path(path).read_bytes() for path in own if Path(path).exists()}
    new = [Path(path) for path in (*own, *copies) if not Path(path).exists()]
    folders = {folder for path in new for folder in path.parents if not folder.exists()}
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            yield
    except BaseException:
        for path, content in before.items():
            if path.read_bytes() != content:
                path.write_bytes(content)
        for path in filter(Path.exists, new):  # a read-only disk refuses to remove also what is not there
            path.unlink()
        for folder in sorted(folders, reverse=True):
            with contextlib.suppress(OSError):  # what else is in it stays
                folder.rmdir()
        raise
    print(said.getvalue(), end="")


def _ask_before_copying(source: Path, copies: list[Path], yes: bool) -> None:
    """Ask before much is copied, or files from outside the notebook's repository, or folder if it lies in none."""
    home = bring.home(source.resolve().parent)
    far = [file for file in copies if not file.resolve().is_relative_to(home)]
    size = sum(file.stat().st_size for file in copies)
    if yes or not (far or size > MUCH):
        return
    asked, where = (far, f" outside {home}") if far else (copies, "")
    shown = ", ".join([*map(str, sorted(asked)[:3]), *(["..."] if len(asked) > 3 else [])])
    size = _shown_size(sum(file.stat().st_size for file in asked))
    what = f"{source.name}: reads {len(asked)} file{'s' * (len(asked) > 1)} ({size}){where}: {shown}"
    if not sys.stdin.isatty():
        raise Refused(f"{what}. Fix: add `--yes` to copy {'what lies outside' if far else 'all of it'}")
    if input(f"{what}\nCopy into {bring.INPUTS}? [y/N] ").strip().lower() not in ("y", "yes"):
        raise Refused(f"{source.name}: nothing was changed")


def _shown_size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _shown(file: Path) -> str:
    """A path as seen from the project if it is in it."""
    return file.relative_to(Path.cwd()).as_posix() if file.is_relative_to(Path.cwd()) else str(file)


def _said_secret(path: str, reason: str) -> str:
    return (
        f"{path}: looks like a secret ({reason}), and is not copied, tracked or listed. Fix: give its value by an environment "
        f"variable (README.md, Security); if it is no secret, add `--allow {shlex.quote(path)}`"
    )


def _without_secrets(paths: Collection[str], allowed: set[Path]) -> set[str]:
    """The paths without those that look like secrets, which are named."""
    secrets = {path: reason for path in paths if (reason := secret_files.why(path, allowed))}
    for path, reason in sorted(secrets.items()):
        print(_said_secret(path, reason))
    return {*paths} - secrets.keys()


def _run_and_record(project: Project, stage: Stage, notebook: Notebook, output: str, entry: "_Entry | None") -> int:
    """Runs the notebook, and writes down what it read and wrote."""
    from notebook_pipeline.run.execution import execute  # heavy: Papermill and a kernel
    from notebook_pipeline.run.undeclared import has_other_commands

    given = project.parameters(stage, notebook)
    if given.problems:
        raise Refused("\n".join(given.problems))
    for out in stage.outs:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
    lacking = []
    with _moved_aside({*stage.outs} - {*stage.persistent}) as moved:
        exit_code, trace = execute(notebook, given.values, output)
        # Of a new stage only the code tells what it makes; what another command of a stage makes, is not made here.
        if exit_code == 0 and entry is None and not has_other_commands(stage):
            lacking = [out for out in stage.outs if "://" not in out and not os.path.lexists(out)]
            for out in {*moved} - {*lacking}:
                del moved[out]
    declared = {*stage.outs}
    allowed = secret_files.allowed_in(Path())
    every = not_covered(trace.read, declared)
    reads = _without_secrets(every, allowed)
    written = {path for path in trace.written if not path.startswith((f"{bring.INPUTS}/", f"{FOLDER}/"))}
    for path in sorted(trace.written - written):
        print(
            f"{notebook.path}: writes {path}, an input. Fix: write it to {bring.WRITTEN_BESIDE_INPUTS} or {bring.RESULTS}"
        )
    others = _results_of_others(stage)
    taken = {path for path in written if is_covered(path, others)}
    written = _without_secrets(written - taken, allowed)
    listed = not_covered(trace.listed_beside({*declared, *others}), declared)
    deps = outermost({*by_folder(reads, trace.files - trace.read, every - reads, whole=False), *listed})
    outs = by_folder(written, trace.files - trace.written, others, whole=True)
    outs = _settled(outs, {*others, *declared, *(trace.files - trace.written)}, notebook, given.values)
    if entry is not None:
        # A run that failed has not seen all, nor has one where access times do not tell: what the code tells stays.
        entry.deps = outermost({*deps, *(entry.deps if exit_code or not trace.sees_all else ())})
        entry.outs = outermost({*outs, *(entry.outs if exit_code else ())})
        entry.write()
        print(f"{PIPELINE_FILE}: added stage `{entry.name}`")
    else:
        entries = [("deps", literal(path)) for path in sorted(deps) if not is_covered(path, stage.deps)]
        entries += [_out_item(path, literal(path)) for path in outs if not is_covered(path, declared)]
        for key, item in entries:
            text = yaml_edit.with_item(files.read(PIPELINE_FILE), (*stage.keys, key), item)
            files.edit(PIPELINE_FILE, text)
            path = item if isinstance(item, str) else next(iter(item))
            print(f"{PIPELINE_FILE}: added {path} to the `{key}:` of stage `{stage.name}`")
    _ignore_results(notebook.path)
    _refuse_taken(notebook, taken, stage)
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
    return exit_code


# No stage has the whole of these.
_SHARED = ("", "data", bring.INPUTS, bring.WRITTEN_BESIDE_INPUTS, bring.RESULTS, FOLDER)


_NUMBER = "a number"


def _settled(results: list[str], others: set[str], notebook: Notebook, values: dict[str, object]) -> list[str]:
    """The results, with the folder in the place of those whose names are others in another run; says what was done.

    Args:
        others: what DVC would not let lie in the folder, or what a run would find no more there.
    """
    changing = {path: found for path in results if (found := _changing(path, results, notebook, values))}
    # Metrics and plots are listed one by one.
    others = {*others, *(path for path in results if path not in changing and _out_item(path)[0] != "outs")}
    for path, (folder, why) in changing.items():
        if is_covered(folder, others):
            continue  # it is listed already
        if folder in _SHARED or any(is_covered(other, {folder}) for other in others):
            if why == _NUMBER:
                continue  # they may always be as many
            print(
                f"{notebook.path}: writes {path}, which has {why} in its name, and the stage fails if that is another. Fix: give "
                "it one name, DVC keeps that of each run; or write it to "
                f"{bring.RESULTS}/{Path(notebook.path).stem}/, and {PIPELINE_FILE} lists the folder; then {_again(notebook.path)}"
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
        if counted and re.search(r"\d", part) and _out_item(path)[0] == "outs":
            return folder, _NUMBER
    return None


@contextlib.contextmanager
def _moved_aside(paths: set[str]) -> Iterator[dict[str, Path]]:
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


def _results_of_others(stage: Stage | None) -> dict[str, str]:
    """The results of all other stages, each with its stage's name."""
    stages = [each for each in Project().stages() if stage is None or each.name != stage.name]
    return {path: each.name for each in stages for path in each.outs}


def _refuse_taken(notebook: Notebook, results: set[str], stage: Stage | None) -> None:
    """Refuses to have two stages make one file: DVC loads no such pipeline."""
    others = _results_of_others(stage)
    for path in sorted(results):
        if maker := next((others[other] for other in others if is_covered(path, {other})), None):
            raise Refused(
                f"{notebook.path}: writes {path}, a result of stage `{maker}`. Fix: give the file another name there, "
                f"{_again(notebook.path)}"
            )


def _record(stage: Stage) -> None:
    """Has DVC take over inputs and results as they are now, so that nothing need run again."""
    if any(Path(bring.INPUTS).glob("*")):
        _dvc("add", bring.INPUTS)
    for other in _stages_of(stage.calls("run")[0]):
        if written := other.calls("code"):
            code.main([*written])
            _dvc("commit", "--force", other.name)
    _dvc("commit", "--force", stage.name)


def _stages_of(notebook: str) -> list[Stage]:
    """The stages that run a notebook or write its code."""
    return [each for each in Project().stages() if notebook in (each.calls("run") or each.calls("code") or ())]


def _ignore_results(notebook: str, source: Path | None = None) -> None:
    """Has git ignore the results of a notebook's stages from now on.

    DVC itself does so once a stage has succeeded: after a run that failed, `git add --all` would take them.

    Args:
        source: the notebook that was given, as long as all that was written can be undone.
    """
    from dulwich.file import FileLocked  # with DVC
    from dvc.exceptions import DvcException
    from dvc.repo import Repo, lock_repo  # heavy

    def ignore() -> list[str]:
        with Repo() as repo, lock_repo(repo), repo.scm_context(quiet=True):
            stages = [each for stage in _stages_of(notebook) for each in repo.stage.collect(stage.name)]
            outs = [out.fspath for stage in stages for out in stage.outs if out.use_scm_ignore]
            tracked = [Path(os.path.relpath(out)).as_posix() for out in outs if repo.scm.is_tracked(out)]
            for out in outs if not (tracked and source) else ():
                Path(out).parent.mkdir(parents=True, exist_ok=True)
                repo.scm_context.ignore(out)
            return tracked

    until = time.monotonic() + PATIENCE
    while True:
        try:
            tracked = ignore()
            break
        except FileLocked:  # for a moment by an editor's `git status`
            if time.monotonic() > until:
                problem = "another git is at work, or was killed. Fix: wait for it, or delete this file, then type the same again"
                raise Refused(f".git/index.lock: {problem}") from None
            time.sleep(0.1)
        except DvcException as error:
            said = " ".join(str(error).split())
            raise Refused(f"{PIPELINE_FILE}: DVC cannot have git ignore the results of {notebook}: {said}") from None
    if tracked:
        raise Refused(
            f"{notebook}: git tracks results of its stage, which DVC is to keep. Fix: `git rm -r --cached {shell.join(tracked)}`, "
            + (f"then: uv run pipeline add {shlex.quote(str(source))}" if source else _again(notebook))
        )


def _again(notebook: str | Path) -> str:
    """What to type once the cause is cured; `add` may have changed dvc.yaml by then."""
    return f"`git add --all .`, then: uv run pipeline add {shlex.quote(str(notebook))}"


@dataclass
class _Added:
    """What was written before the run."""

    notebook: Notebook
    """The project's."""
    entry: "_Entry | None"
    """None if the stage is no longer `add`'s own."""
    saved: bytes
    """The notebook's file as it was given, with its outputs."""
    moved: dict[str, str]
    """The copied files, each with its path beside the given notebook."""


@dataclass
class _Entry:
    """A stage to be written into dvc.yaml."""

    name: str
    notebook: str
    params: list[str] = field(default_factory=list)
    deps: set[str] = field(default_factory=set)
    outs: set[str] = field(default_factory=set)
    _written: str = ""

    @classmethod
    def of_unrecorded(cls, stage: Stage) -> "_Entry | None":
        """The entry of a stage that no run has been recorded of, and that no person has edited; None of any other."""
        lock = Path("dvc.lock")
        # As DVC writes it.
        key = re.escape(yaml_edit.on_one_line(stage.name))
        if lock.exists() and re.search(rf"^  {key}:$", files.read(lock), re.MULTILINE):
            return None
        entry = cls(stage.name, stage.calls("run")[0], [*stage.params], {*stage.deps}, {*stage.outs})
        entry.outs.discard(entry.output)
        entry._written = entry.text()
        # Nothing more of it may follow.
        is_there = re.search(
            rf"^{re.escape(entry._written)}(?=\s*\Z|\n* {{0,2}}\S)", files.read(PIPELINE_FILE), re.MULTILINE
        )
        return entry if is_there else None

    @property
    def stem(self) -> str:
        return Path(self.notebook).relative_to(FOLDER).with_suffix("").as_posix()

    @property
    def output(self) -> str:
        return f"{bring.RESULTS}/{self.stem}.ipynb"

    @property
    def code_file(self) -> str:
        return f"{bring.RESULTS}/code/{self.stem}.py"

    def text(self) -> str:
        """The stage as the template writes its own."""
        lists: dict[str, list] = {
            "deps": sorted(map(literal, {*self.deps, self.code_file})),
            "params": self.params,
            "outs": [self.output],
        }
        for path in sorted(self.outs):
            key, item = _out_item(path, literal(path))
            lists.setdefault(key, []).append(item)
        cmd = yaml_edit.on_one_line(command("run", self.notebook, self.output))
        lines = [f"  {yaml_edit.on_one_line(self.name)}:", f"    cmd: {cmd}"]
        for key in ("deps", "params", "outs", "metrics", "plots"):
            items = lists.get(key) or []
            lines += [f"    {key}:"] if items else []
            for item in sorted(items) if key == "outs" else items:
                path = yaml_edit.on_one_line(item if isinstance(item, str) else next(iter(item)))
                lines += (
                    [f"      - {path}"] if isinstance(item, str) else [f"      - {path}:", "          cache: false"]
                )
        return "\n".join(lines) + "\n"

    def write(self) -> None:
        """Writes the stage, or in the place of what was written of it before."""
        text, now = files.read(PIPELINE_FILE), self.text()
        if self._written and self._written in text:
            new = text.replace(self._written, now)
        else:
            new = yaml_edit.with_block(text, ("stages", self.name), now)
        files.edit(PIPELINE_FILE, new)
        self._written = now


def _out_item(path: str, said: str = "") -> tuple[str, object]:
    """The list that a result belongs to, and its entry: metrics are small and git's, the rest is DVC's.

    Args:
        said: the path as the entry has it, if that is another.
    """
    said = said or path
    if _is_metrics(Path(path)):
        return "metrics", {said: {"cache": False}}
    if path.lower().endswith(IMAGES) or _is_series(Path(path)):
        return "plots", said
    return "outs", said


def _is_metrics(path: Path) -> bool:
    """A small file of names and numbers."""
    if path.suffix not in METRICS or not path.is_file() or path.stat().st_size > SMALL:
        return False
    try:
        data = Project().load(path.as_posix())
    except ProjectError:
        return False

    def numbers(value: object) -> bool:
        if isinstance(value, dict):
            return any(map(numbers, value.values()))
        return isinstance(value, int | float) and not isinstance(value, bool)

    return isinstance(data, dict) and numbers(data)


def _is_series(path: Path) -> bool:
    """A small table of numbers in which something is followed step by step: a loss by epoch, a score by round."""
    if path.suffix not in (".csv", ".tsv") or not path.is_file() or path.stat().st_size > SMALL:
        return False
    try:
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            for row in rows:
                [float(cell or 0) for cell in row]
    except (ValueError, csv.Error):
        return False
    followed = r"epoch|step|iter|round|loss|acc|error|score|auc|f1|precision|recall|\br?m[as]e\b"
    return len(rows) > 1 and any(re.search(followed, name, re.IGNORECASE) for name in head)


def _outside(path: str) -> bool:
    return path.startswith(("/", "~", ".."))


def _complete_parameters(stage: Stage, notebook: Notebook) -> None:
    """Give a stage the parameters that it lacks, with the notebook's values: in its own section, or in a new one."""
    missing, elsewhere = Project().parameters(Project().stage(stage.name), notebook).missing, []
    for each in missing:
        if each.parameter.default is NOT_LITERAL:
            continue  # `check` reports it
        if len(each.sections) == 1:
            text, line = check.add_key(each.sections[0], each.parameter)
            files.edit(PARAMS_FILE, text)
            print(line)
        else:
            elsewhere.append(each.parameter)
    if "@" in stage.name:
        return  # its list is that of all its items
    for section in _written_parameters(elsewhere, str(stage.keys[1])):
        files.edit(PIPELINE_FILE, yaml_edit.with_item(files.read(PIPELINE_FILE), (*stage.keys, "params"), section))
        print(f"{PIPELINE_FILE}: added `{section}` to the `params:` of stage `{stage.name}`")


def _written_parameters(given: Collection[Parameter], stage: str) -> list[str]:
    """Writes the parameters' values into params.yaml, and returns the sections that the stage is to list.

    A heading above a parameter names its section, the stage where there is none. A section that is there already belongs
    to other stages: it is shared where it has these very keys, its values kept; else a new one is made.
    """
    sections: dict[str, list] = {}
    there = Project().load(PARAMS_FILE)
    for parameter in given:
        sections.setdefault(as_spelt(parameter.section or stage, there), []).append(parameter)
    listed = []
    for name, parameters in sections.items():
        keys = {parameter.key for parameter in parameters}
        if isinstance(there.get(name), dict) and {*map(key_of, there[name])} == keys:
            print(f"{PARAMS_FILE}: `{name}` already exists: stage `{stage}` gets its values")
            listed.append(name)
            continue
        # A section of a parameter's name could be taken for the parameter.
        taken = {parameter.key for parameter in given} | {*there}
        if name in taken:
            options = (stage, f"{stage}_parameters", f"{stage}_{name}", *(f"{stage}_{count}" for count in range(2, 99)))
            name = next(each for each in options if each not in taken and (each == stage or each not in sections))
        for parameter in parameters:
            text = yaml_edit.with_key(
                files.read(PARAMS_FILE), (name, parameter.key), parameter.default, parameter.comment
            )
            files.edit(PARAMS_FILE, text)
        print(f"{PARAMS_FILE}: added `{name}`: {', '.join(parameter.key for parameter in parameters)}")
        listed.append(name)
    return listed


def _write_code_stage(entry: _Entry) -> None:
    """Has the stage `code` write this notebook's code, too; where there is none of that form, a stage of its own does."""
    text = files.read(PIPELINE_FILE)
    if any((stage.calls("code") or ("",))[0] == entry.notebook for stage in Project().stages()):
        return
    # The matrix has them without quotes, DVC finds no stage `code@a@b`, and a key in YAML has 128 characters at most.
    if yaml_edit.node(text, ("stages", "code", "matrix", "notebook")) is not None and re.fullmatch(
        r"[\w./-]{1,100}", entry.stem
    ):
        text = yaml_edit.with_item(text, ("stages", "code", "matrix", "notebook"), entry.stem)
        deps = yaml_edit.node(text, ("stages", "code", "deps"))
        listed = {Path(each.value).as_posix() for each in getattr(deps, "value", [])}
        if Path(packages.LOCK_FILE).exists() and packages.LOCK_FILE not in listed:
            text = yaml_edit.with_item(text, ("stages", "code", "deps"), packages.LOCK_FILE)
        files.edit(PIPELINE_FILE, text)
        return
    name = _free_name(f"code_{entry.name}")
    lock = f"      - {packages.LOCK_FILE}\n" if Path(packages.LOCK_FILE).exists() else ""
    cmd, notebook, code_file = map(
        yaml_edit.on_one_line, (command("code", entry.notebook, entry.code_file), entry.notebook, entry.code_file)
    )
    block = f"  {name}:\n    cmd: {cmd}\n    deps:\n      - {notebook}\n{lock}    outs:\n      - {code_file}\n"
    files.edit(PIPELINE_FILE, yaml_edit.with_block(text, ("stages", name), block))


def _free_name(name: str) -> str:
    """A name that no stage has."""
    taken = {str(stage.keys[1]) for stage in Project().stages()} | {"code"}
    return next(
        each for each in (name, f"{name}_notebook", *(f"{name}_{count}" for count in range(2, 99))) if each not in taken
    )


def _slug(stem: str) -> str:
    """A name that needs no quotes in a command line, and that DVC takes for a stage."""
    plain = unicodedata.normalize("NFC", stem)
    return re.sub(r"[^\w-]+", "_", plain).strip("_-") or "notebook"


def _modules(notebook: Notebook, folder: Path) -> dict[Path, str]:
    """The files of the modules of the person's own that it imports, and those that it runs, with their places here."""
    modules = {file: f"{FOLDER}/{place}" for file, place in imports.local_files(notebook, folder).items()}
    for file, place in modules.items():
        if other := next((each for each in modules if each != file and modules[each] == place), None):
            raise Refused(f"{file}: would be {place}, and so would {other}. Fix: rename one of the two")
        if file.suffix == ".ipynb":
            read(file)  # a broken one is refused before anything is written
    return modules


def _uncommitted_modules(notebook: Notebook, folder: Path, root: Path) -> list[str]:
    """Those that lie in the project and are part of the next commit: its hooks look at no others."""
    paths = [
        file.relative_to(root).as_posix() for file in imports.local_files(notebook, folder) if file.is_relative_to(root)
    ]
    return [path for path in paths if git.text("status", "--porcelain", "--", path)]


def _is_copy(file: Path, place: Path) -> bool:
    """Whether a module of the project is what a copy of the file would be."""
    return _tidied(place.as_posix(), file.read_bytes()) == place.read_bytes()


def _refuse_overwriting(
    source: Path, copies: dict[Path, str], modules: dict[Path, str], pictures: dict[Path, str]
) -> None:
    """Refuses to copy over another file of the project's."""
    for verb, places, is_same in (
        ("imports", modules, _is_copy),
        ("reads", copies, bring.same),
        ("shows", pictures, bring.same),
    ):
        for file, place in places.items():
            if Path(place).exists() and not is_same(file, Path(place)):
                raise Refused(
                    f"{place} already exists, and is another file. Fix: rename the one that {source.name} {verb}"
                )


def _lacking(notebook: Notebook) -> list[str]:
    """What its imports lack in this environment, one line each: packages to install, and what none brings."""
    names = imports.needed(notebook, Path(notebook.path).parent, Path())
    names = {name for name in names if not _is_there(imports.root(name))}
    again = _again(notebook.path)
    lines = []
    if packages := sorted({imports.distribution(name) for name in names} - {None}):
        lines.append(
            f"{notebook.path}: needs packages that this environment lacks. Fix: uv add {shell.join(packages)}, {again}"
        )
    if nowhere := sorted({imports.root(name) for name in names if imports.distribution(name) is None}):
        lines.append(
            f"{notebook.path}: imports {', '.join(nowhere)}, which no package provides. Fix: remove the import, {again}"
        )
    return lines


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # not even the package around it; a module without a spec
        return module in sys.modules


START = """\
import os
from pathlib import Path

# Paths are written from the project's root; some editors start a notebook in its own folder.
if Path.cwd().name == "notebooks":
    os.chdir("..")
"""
MODULES = """\
# Modules beside the notebook are found from there, too.
sys.path.append("notebooks")
"""
RUNS = """\
# Ruff does not know the names that `%run` brings.
# ruff: noqa: F821
"""
FOLDERS = """\
# Folders in which it writes: git keeps no empty ones.
for folder in %s:
    Path(folder).mkdir(parents=True, exist_ok=True)
"""


def _starting_in_root(notebook: Notebook, has_modules: bool, folders: Collection[str] = ()) -> Notebook:
    """The notebook with a cell below its title by which it runs in an editor, too, that starts it in its own folder.

    Args:
        folders: those that were there where the notebook was.
    """
    cells = notebook.document["cells"]
    # Any other change of folder is to be taken out: from then on only this cell starts it in the root.
    if any('if Path.cwd().name == "notebooks":' in cell.source for cell in notebook.cells):
        return notebook
    source = START.replace("import os\n", "import os\nimport sys\n") + MODULES if has_modules else START
    source += RUNS if any(re.search(r"^\s*%run\b", cell.source, re.MULTILINE) for cell in notebook.cells) else ""
    source += FOLDERS % json.dumps(sorted(folders)) if folders else ""
    cell = {"cell_type": "code", "id": "start-in-root", "metadata": {}, "source": source.rstrip("\n")}
    at = 1 if cells and cells[0].get("cell_type") == "markdown" else 0
    return Notebook(notebook.path, {**notebook.document, "cells": [*cells[:at], cell, *cells[at:]]})


def _write_notebook(path: str, document: dict, is_copy: bool) -> None:
    """Writes the notebook without outputs, each cell with an id."""
    cells = []
    for number, cell in enumerate(document["cells"], 1):
        new = {**cell, "id": id_of(cell, number), "metadata": cell.get("metadata") or {}}
        new["source"] = (
            cell["source"]
            if isinstance(cell.get("source"), list)
            else str(cell.get("source", "")).splitlines(keepends=True)
        )
        if new["cell_type"] == "code":
            new |= {"outputs": [], "execution_count": None}
        cells.append(new)
    metadata = dict(document.get("metadata") or {})
    if is_copy:
        # The kernel's name is that of another environment; this project's is plain Python.
        metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    document = {
        **document,
        "cells": cells,
        "metadata": metadata,
        "nbformat": 4,
        "nbformat_minor": max(5, document.get("nbformat_minor") or 0),
    }
    # With sorted keys, as editors write it: `git diff` shows what has changed, and no more.
    files.edit(path, json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def _tidy(path: str) -> None:
    """Leaves a notebook or a module as the project's hooks would: they must not change what a run was recorded with."""
    old = Path(path).read_bytes()
    if (new := _tidied(path, old)) != old:
        files.edit(path, new.decode())


def _tidied(path: str, content: bytes) -> bytes:
    """What the project's hooks would make of a file of this path (see .pre-commit-config.yaml)."""
    ruff = ["--quiet", "--force-exclude", "--stdin-filename", path, "-"]
    tools = [["ruff", "check", "--fix", *ruff], ["ruff", "format", *ruff]]
    if path.endswith(".ipynb"):
        tools.insert(0, ["nbstripout", "--keep-id", "--unix-newlines"])
    for tool in tools:
        # A project may have taken it out; what it cannot fix, the commit will say.
        if importlib.util.find_spec(tool[0]):
            content = (
                subprocess.run([sys.executable, "-m", *tool], input=content, capture_output=True).stdout or content
            )
    return content


def _said_copies(copies: dict[Path, str]) -> list[str]:
    """One line for a file; one for a folder's, where there are many."""
    folders: dict[tuple, list[tuple]] = {}
    for file, place in sorted(copies.items()):
        folders.setdefault((Path(place).parent.as_posix(), file.parent), []).append((place, file))
    lines = []
    for (folder, origin), pairs in folders.items():
        if len(pairs) >= MANY:
            lines.append(f"{folder}: copied {len(pairs)} files from {origin}")
        else:
            lines += [f"{place}: copied from {file}" for place, file in pairs]
    return lines


def _refuse_unsaved(*written: str) -> None:
    """Refuses to change what git could not bring back; before the first commit there is nothing to bring back."""
    if git.text("rev-parse", "--verify", "--quiet", "HEAD") is None:
        return
    # One by one: `git status --porcelain` names a path from the repository's root, and quotes what is not ASCII.
    unsaved = [
        path for path in written
        if Path(path).exists() and (git.text("status", "--porcelain", "--", path) or "  ")[1] != " "
    ]  # fmt: skip
    if unsaved:
        raise Refused(
            f"{', '.join(unsaved)}: changed since git last had it, and this would change it. Fix: `git add {shell.join(unsaved)}` "
            "first, so that it can be undone"
        )


def _dvc(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, encoding="utf-8", errors="replace"
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines() or [""]
        what = next((line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR")), said[-1])
        raise Refused(f"`dvc {' '.join(arguments)}` failed: {what}")
