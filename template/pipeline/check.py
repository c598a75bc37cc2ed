"""`python -m pipeline check [--fix] [PATH...]`: the pre-commit hook that keeps notebooks, params.yaml and dvc.yaml together.

Runs at every commit: imports no more than `json`, `ast` and `ruamel.yaml`.
"""

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML

from pipeline import files
from pipeline.notebook import Notebook, NotebookError, read
from pipeline.project import PARAMS_FILE, PIPELINE_FILE, Project, ProjectError, Stage

LOCK_FILE = "dvc.lock"


def main(argv: list[str]) -> int:
    """Prints one line a finding, to standard output; returns 1 where there is one or where --fix changed a file.

    A parameter that no cell uses is said, too, but fails nothing.
    """
    parser = argparse.ArgumentParser(prog="python -m pipeline check", description=__doc__.partition(": ")[2])
    parser.add_argument("--fix", action="store_true", help="mend what has one cure")
    parser.add_argument("paths", metavar="PATH", nargs="*", help="only these notebooks (default: all)")
    arguments = parser.parse_args(argv)
    wanted = {Path(path).as_posix() for path in arguments.paths}
    if wanted & {PARAMS_FILE, PIPELINE_FILE, LOCK_FILE}:
        wanted = set()  # they concern every notebook
    # A notebook of several stages is read once, and what is wrong with it is said once.
    warnings = []
    findings = dict.fromkeys(_findings(wanted, arguments.fix, warnings))
    for line in (*findings, *dict.fromkeys(warnings)):
        print(line)
    return 1 if findings else 0


def _findings(wanted: set[str], fix: bool, warnings: list[str]) -> Iterator[str]:
    project, notebooks = Project(), {}
    try:
        stages = [*project.stages()]
        code_files = dict(call for stage in stages if (call := stage.calls("code")))
        for stage in stages:
            for verb in ("run", "code"):
                match stage.calls(verb):
                    case (path, output) if not wanted or path in wanted:
                        try:
                            notebook = notebooks[path] = notebooks.get(path) or read(path)
                        except NotebookError as error:
                            yield str(error)
                            continue
                        if verb == "code":
                            yield from _record(stage.name, notebook, output, fix)
                        elif problems := [*notebook.problems()]:
                            yield from problems
                        else:
                            yield from project.parameters(stage, notebook)[1]
                            yield from notebook.drift()
                            yield from _depends_on_code(stage, path, code_files.get(path))
                            warnings += [f"{line} (a warning)" for line in notebook.unused()]
    except ProjectError as error:
        yield str(error)
    for path in sorted((wanted or _in_the_notebooks_folder()) - notebooks.keys()):
        if path.endswith(".ipynb"):
            try:
                yield from read(path).problems(scratch=True)
            except NotebookError as error:
                yield str(error)


def _depends_on_code(stage: Stage, path: str, code_file: str | None) -> Iterator[str]:
    """A stage that would not rerun when its notebook's code changes."""
    if code_file in stage.deps or path in stage.deps:
        return
    if code_file:
        yield f"{PIPELINE_FILE}: stage `{stage.name}` would not rerun when {path} changes: add {code_file} to its `deps:`"
    else:
        name = Path(path).stem
        yield (
            f"{PIPELINE_FILE}: stage `{stage.name}` would not rerun when {path} changes: "
            f"add {name} to the notebooks of stage `code`, and outputs/code/{name}.py to the `deps:` of `{stage.name}`"
        )


def _in_the_notebooks_folder() -> set[str]:
    return {path.as_posix() for path in Path("notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts}


def _record(stage: str, notebook: Notebook, output: str, fix: bool) -> Iterator[str]:
    """A notebook that dvc.lock knows with other outputs or markdown, but with this code.

    Only the record of the notebook is out of date then: DVC's own word for it is `dvc commit`. Recording it keeps the
    stage from being stale in this commit, and in each fresh clone of it.
    """
    try:
        text = Path(LOCK_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    entry = _child(_child(YAML(typ="safe", pure=True).compose(text), "stages"), stage)
    dep = _recorded(entry, "deps", notebook.path)
    out = _recorded(entry, "outs", output)
    content = Path(notebook.path).read_bytes()
    if dep is None or out is None or _child(dep, "md5").value == _md5(content):
        return
    if _child(out, "md5").value != _md5(notebook.code().encode("utf-8", "backslashreplace")):
        return  # other code: the stage is to run
    if not fix:
        yield (
            f"{notebook.path}: its outputs or markdown changed since {LOCK_FILE} was written, its code did not: "
            "`python -m pipeline check --fix` renews the record"
        )
        return
    # The later place first, so that the earlier one stays where it is.
    changes = [(_child(dep, "md5"), _md5(content)), (_child(dep, "size"), str(len(content)))]
    for node, value in sorted(changes, key=lambda change: -change[0].start_mark.index):
        text = text[: node.start_mark.index] + value + text[node.end_mark.index :]
    files.write(LOCK_FILE, text)
    yield f"{LOCK_FILE}: renewed the record of {notebook.path}, whose outputs or markdown changed and whose code did not"


def _recorded(entry, kind: str, path: str):
    """The node of a file among a stage's deps or outs in dvc.lock; None where it is not there."""
    for node in getattr(_child(entry, kind), "value", []):
        if getattr(_child(node, "path"), "value", None) == path and _child(node, "md5") and _child(node, "size"):
            return node
    return None


def _child(node, key: str):
    """The value under a key of a YAML mapping's node; None where there is none."""
    for key_node, value_node in getattr(node, "value", None) or []:
        if key_node.value == key:
            return value_node
    return None


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
