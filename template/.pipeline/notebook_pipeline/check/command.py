"""`pipeline check [--fix] [PATH...]`: the pre-commit hook that keeps notebooks, params.yaml and dvc.yaml together.

Runs at every commit: imports no more than `json`, `ast` and `ruamel.yaml`, and calls git once.
"""

import argparse
import contextlib
import functools
import itertools
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from notebook_pipeline import files
from notebook_pipeline.check import commit, record, results
from notebook_pipeline.notebook.document import (
    PARAMETERS_TAG,
    Notebook,
    NotebookError,
    Parameter,
    read,
    with_tag_corrected,
)
from notebook_pipeline.notebook.packages import LOCK_FILE as PACKAGES_FILE
from notebook_pipeline.project import lock, yaml_edit
from notebook_pipeline.project.lock import LOCK_FILE
from notebook_pipeline.project.project import PARAMS_FILE, PIPELINE_FILE, Project, ProjectError, Stage
from notebook_pipeline.project.stages import LISTS, literal

ANSWERS_FILE = ".copier-answers.yml"


def main(argv: list[str]) -> int:
    """Print one line a finding to standard output; return 1 if there is one, or if --fix changed a file.

    A parameter that no cell uses is reported, too, but fails nothing.
    """
    parser = argparse.ArgumentParser(prog="pipeline check", description=__doc__.partition(": ")[2])
    parser.add_argument("--fix", action="store_true", help="fix what can be fixed in one way only")
    parser.add_argument("--version", action="store_true", help="only name the template's version, for a bug report")
    parser.add_argument("paths", metavar="PATH", nargs="*", help="only these notebooks (default: all)")
    arguments = parser.parse_args(argv)
    if arguments.version:
        print(_name_template())
        return 0
    wanted = {path for given in arguments.paths for path in _spell_from_root(Path(given))}
    if wanted & {PARAMS_FILE, PIPELINE_FILE, LOCK_FILE, PACKAGES_FILE}:
        wanted = set()  # they concern every notebook
    warnings = []
    findings = {}
    _read.cache_clear()
    # Each when it comes: what has been changed is said also if the disk is full then.
    for line in itertools.chain(
        fix(wanted) if arguments.fix else (),
        _find_all(wanted, arguments.fix, warnings),
        commit.find_changes_of_hooks(LOCK_FILE),
    ):
        if line not in findings:
            print(line)
        findings[line] = None
    for line in dict.fromkeys(warnings):
        print(line)
    return 1 if findings else 0


def _spell_from_root(path: Path) -> Iterator[str]:
    """Yield a path as dvc.yaml has it; of a folder, the notebooks in it."""
    place = path.absolute()
    path = place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else path
    yield from _list_notebooks(path) if path.is_dir() else [path.as_posix()]


def _name_template() -> str:
    """Name the template's version and place, as Copier wrote them down at the copy or the last update."""
    try:
        answers = Project().load(ANSWERS_FILE)
        return f"template version {answers['_commit']} of {answers['_src_path']}"
    except (ProjectError, KeyError, TypeError):
        return f"{ANSWERS_FILE} does not name the template's version"


@functools.cache
def _read(path: str) -> Notebook | NotebookError:
    """Read a notebook once, however many stages run it."""
    try:
        return read(path)
    except NotebookError as error:
        return error


def _find_all(wanted: set[str], fix: bool, warnings: list[str]) -> Iterator[str]:
    project, used, is_commit = Project(), set(), "PRE_COMMIT" in os.environ
    if is_commit:
        yield from commit.find_stopped_experiment()
    try:
        stages = project.stages()
        uses = [(stage, *use) for stage in stages for use in _find_uses(stage) if not wanted or use[1] in wanted]
        for stage in stages:
            yield from _check_definition(project, stage, wanted)
        since = record.written()
        for stage, verb, path, output in uses:
            used.add(path)
            notebook = _read(path)
            if isinstance(notebook, NotebookError):
                yield project.gone(path) or str(notebook)
            elif verb == "code":
                yield from _check_packages_dep(project, stage)
                yield from record.renew(stage, notebook, output, since, fix)
            else:
                yield from _check_notebook(project, stage, verb, notebook, warnings)
        chosen = [*{stage.name: stage for stage, *_ in uses}.values()] if wanted else stages
        yield from commit.find_missing(project, chosen)
        records = lock.read()
        yield from lock.retyped(project, chosen, records)
        if is_commit:
            yield from commit.find_deleted(project, chosen)
            yield from results.find_committed(project, chosen)
        else:
            yield from results.find_overwritten(chosen, records)
    except ProjectError as error:
        yield str(error)
    for path in sorted((wanted or _list_notebooks(Path("notebooks"))) - used):
        if path.endswith(".ipynb"):
            notebook = _read(path)
            yield from [str(notebook)] if isinstance(notebook, NotebookError) else notebook.problems(scratch=True)


def _find_uses(stage: Stage) -> Iterator[tuple[str, str, str]]:
    """Yield the notebooks that a stage runs or whose code it writes: how, NOTEBOOK, OUTPUT."""
    for verb in ("run", "code"):
        if call := stage.calls(verb):
            yield verb, *call
    for path, output in _find_papermill(stage.cmd):
        yield "papermill", Path(path).as_posix(), output


def _find_papermill(cmd: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield NOTEBOOK and OUTPUT of each `papermill NOTEBOOK OUTPUT ...` in the command lines of a stage."""
    for line in "\n".join(cmd).replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line)
        except ValueError:  # quotes without an end
            words = line.split()
        names = [Path(word.replace("\\", "/")).name for word in words]
        at = next((at for at, name in enumerate(names) if name in ("papermill", "papermill.exe")), len(words))
        if notebooks := [word for word in words[at:] if word.endswith(".ipynb")]:
            yield notebooks[0], notebooks[1] if len(notebooks) > 1 else "OUTPUT"


def _check_notebook(
    project: Project, stage: Stage, verb: str, notebook: Notebook, warnings: list[str]
) -> Iterator[str]:
    """Find what is wrong between a notebook and the stage that runs it."""
    if problems := [*notebook.problems()]:
        yield from problems
        return
    if verb == "papermill":
        yield from _check_papermill(project, stage)
    else:
        given = project.parameters(stage, notebook)
        yield from given.problems + given.doubts
    yield from notebook.drift()
    yield from _check_code_dep(project, stage, notebook.path)
    warnings += [f"{line} (a warning)" for line in notebook.unused()]


def _check_definition(project: Project, stage: Stage, wanted: set[str]) -> Iterator[str]:
    """Find lists without an entry, and a long command that is written as in a shell, where a backslash joins its lines."""
    cmd = " ".join(stage.raw_cmd)
    if (
        any(line.rstrip().endswith("\\") for line in stage.raw_cmd)
        and re.search(r"\bpipeline \w", cmd)
        and (not wanted or any(path in cmd for path in wanted))
    ):
        yield (
            f"{project.place(stage, 'cmd')}: stage `{stage.keys[1]}`: DVC runs each line of `cmd: |` by itself. Fix: "
            "write `cmd: >-`, without backslashes"
        )
    for key, value in project.definition(stage).items():
        if value is None and key in LISTS:
            head = f"{project.place(stage, key)}: stage `{stage.keys[1]}`"
            yield f"{head}: `{key}:` has no entry. Fix: write one, or remove the line"


def _check_papermill(project: Project, stage: Stage) -> Iterator[str]:
    """Find a stage that calls papermill itself: DVC, the shell and Papermill each read `-p NAME ${key}` in their own way."""
    for call in _find_papermill(stage.raw_cmd):
        words = " ".join(f'"{word}"' if " " in word else word for word in call)
        yield (
            f"{project.place(stage, 'cmd')}: stage `{stage.keys[1]}`: calls papermill itself, so values may change on "
            f"their way through the shell. Fix: write `cmd: pipeline run {words}`"
        )


def fix(wanted: set[str]) -> Iterator[str]:
    """Fix what can be fixed in one way only, in all notebooks or in those wanted; yield one line for each change.

    One file at a time, each read again after its change: a stop at any moment leaves every file old or new.
    """
    _read.cache_clear()
    while change := next(_find_changes(wanted), None):
        file, text, done = change
        files.edit(file, text)
        if file.endswith(".ipynb"):
            _read.cache_clear()
        yield done


def _find_changes(wanted: set[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the next change: file, its new text, and the line that reports it."""
    try:
        project = Project()
        uses = [(stage, verb, path) for stage in project.stages() for verb, path, _ in _find_uses(stage)]
        for path in sorted({path for _, _, path in uses} | _list_notebooks(Path("notebooks"))):
            if not wanted or path in wanted:
                yield from _correct_tag(path, _read(path))
        for stage, verb, path in uses:
            notebook = _read(path) if not wanted or path in wanted else None
            if verb == "code" and notebook and any(_check_packages_dep(project, stage)):
                yield from _add_dep(stage, PACKAGES_FILE)
            if verb != "run" or not isinstance(notebook, Notebook) or any(notebook.problems()):
                continue
            code_file = project.code_files.get(path)
            if code_file and not {code_file, path} & {*stage.deps} and "@" not in stage.name:
                yield from _add_dep(stage, code_file)
            for missing in project.parameters(stage, notebook).missing:
                if missing.is_clear:
                    with contextlib.suppress(yaml_edit.EditError):
                        yield PARAMS_FILE, *add_key(missing.sections[0], missing.parameter)
    except ProjectError:
        return  # one of the findings


def _correct_tag(path: str, notebook: Notebook | NotebookError) -> Iterator[tuple[str, str, str]]:
    if isinstance(notebook, Notebook) and (misspelt := notebook.misspelt_tag()):
        cell, tag = misspelt
        done = f"{notebook.place(cell)}: changed its tag `{tag}` to `{PARAMETERS_TAG}`"
        yield path, with_tag_corrected(files.read(path), notebook), done


def _add_dep(stage: Stage, path: str) -> Iterator[tuple[str, str, str]]:
    with contextlib.suppress(yaml_edit.EditError):  # no place for it: the finding stays
        text = yaml_edit.with_item(files.read(PIPELINE_FILE), (*stage.keys, "deps"), literal(path))
        yield PIPELINE_FILE, text, f"{PIPELINE_FILE}: added {path} to the `deps:` of stage `{stage.name}`"


def add_key(section: tuple[str, ...], parameter: Parameter) -> tuple[str, str]:
    """Add a parameter's key to a section; return the new text of params.yaml, and the line that reports it.

    Raises:
        yaml_edit.EditError: params.yaml has no place for it.
    """
    keys = (*section, parameter.key)
    text = yaml_edit.with_key(files.read(PARAMS_FILE), keys, parameter.default, parameter.comment)
    to = f" to `{'.'.join(section)}`" if section else ""
    value = yaml_edit.on_one_line(parameter.default)
    return text, f"{PARAMS_FILE}:{yaml_edit.line(text, keys)}: added `{parameter.key}: {value}`{to}"


def _check_code_dep(project: Project, stage: Stage, path: str) -> Iterator[str]:
    """Find a stage that would not rerun when its notebook's code changes."""
    code_file = project.code_files.get(path)
    if code_file in stage.deps or path in stage.deps:
        return
    head = f"{project.place(stage, 'deps')}: stage `{stage.name}` would not rerun when {path} changes. Fix: "
    if code_file:
        yield f"{head}add {code_file} to its `deps:`"
    elif not stage.calls("run"):
        yield f"{head}add it to its `deps:`"
    else:
        name = Path(path).stem
        yield (
            f"{head}add {name} to the notebooks of stage `code`, and outputs/code/{name}.py to the `deps:` of `{stage.name}`"
        )


def _check_packages_dep(project: Project, stage: Stage) -> Iterator[str]:
    """Find a stage that would not see an upgrade of a package that its notebook uses."""
    if PACKAGES_FILE not in {Path(dep).as_posix() for dep in stage.deps} and Path(PACKAGES_FILE).exists():
        yield (
            f"{project.place(stage, 'deps')}: stage `{stage.keys[1]}` would not rerun after an upgrade of packages. "
            f"Fix: add {PACKAGES_FILE} to its `deps:`"
        )


def _list_notebooks(folder: Path) -> set[str]:
    return {path.as_posix() for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts}
