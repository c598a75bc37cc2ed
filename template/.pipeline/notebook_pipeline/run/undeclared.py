"""What a run touched and dvc.yaml does not declare, and the other way round."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from notebook_pipeline import secret_files
from notebook_pipeline.notebook.document import Notebook
from notebook_pipeline.project import yaml_edit
from notebook_pipeline.project.paths import by_folder, is_covered, not_covered, outermost
from notebook_pipeline.project.project import PARAMS_FILE, PIPELINE_FILE, Project, ProjectError, Stage
from notebook_pipeline.run.trace import Trace, normalize

# What a stage may depend on without reading it.
_ENVIRONMENT_FILES = ("pyproject.toml", "uv.lock")


def find_undeclared(project: Project, stage: Stage, notebook: Notebook, trace: Trace) -> Iterator[str]:
    """Find what the run touched and the stage does not declare, as the lines to add."""
    in_part, whole = _parameter_files(stage)
    own = in_part | whole | {PIPELINE_FILE}
    outs = {normalize(path) for path in stage.outs}
    deps = {normalize(path) for path in stage.deps} | outs
    results = {normalize(path) for other in project.stages() for path in other.outs}
    declared = {normalize(path) for other in project.stages() for path in other.deps} | results
    # What looks like a secret is not to be declared.
    allowed = secret_files.allowed_in(project.root)
    read = {path for path in not_covered(trace.read, deps) if not secret_files.why(path, allowed)}
    listed = not_covered(trace.listed_beside(results), deps)
    written = {path for path in not_covered(trace.written, outs) if not secret_files.why(path, allowed)}
    inputs = outermost({*by_folder(read - own, trace.files - trace.read, declared, whole=False), *listed})
    made = by_folder(written - own, trace.files - trace.written, declared, whole=True)
    for what, key, found in (("read", "deps", sorted(inputs)), ("wrote", "outs", made)):
        if found:
            yield (
                f"{notebook.path}: stage `{stage.name}` {what} what {PIPELINE_FILE} does not declare. Fix: add to its `{key}:` "
                f"(`pipeline add {notebook.path}` does it)"
            )
            yield from (f"      - {yaml_edit.on_one_line(path)}" for path in found)
    for path in sorted(read & in_part):
        yield (
            f"{notebook.path}: read {path} itself: DVC tracks only what `params:` of stage `{stage.name}` "
            "lists. Fix: take the values from the parameters cell"
        )


def find_untouched(project: Project, stage: Stage, notebook: Notebook, trace: Trace) -> Iterator[str]:
    """Find what the stage declares and the run did not touch; one line each."""
    run = stage.calls("run")
    if run is None or has_other_commands(stage):
        return  # they may have touched it
    code = [calls[1] for other in project.stages() if (calls := other.calls("code")) and calls[0] == notebook.path]
    exempt = {normalize(path) for path in (*run, *code, *_ENVIRONMENT_FILES)}
    for key, what, verb, paths, touched in (
        ("deps", "input", "read", stage.deps, trace.read | trace.written | trace.listed | trace.unseen),
        ("outs", "output", "write", stage.outs, trace.written),
    ):
        if key == "deps" and not trace.sees_all:
            continue  # who reads it may not be Python
        for path in paths:
            place = normalize(path)
            if place in exempt or "://" in path or any(is_covered(file, [place]) for file in touched):
                continue
            # What lies outside of the project, or is an empty folder, is not watched.
            if (
                place in trace.files
                or any(file.startswith(f"{place}/") for file in trace.files)
                or not os.path.lexists(path)
            ):
                yield (
                    f"{project.place(stage, key)}: stage `{stage.name}` declares the {what} {path}, which "
                    f"{notebook.path} did not {verb}. Fix: remove it from the list, or {verb} it"
                )


def has_other_commands(stage: Stage) -> bool:
    """Whether a stage does more than to run its notebook."""
    return len(stage.cmd) != 1 or bool(re.search(r"[;&|]", stage.cmd[0]))


def _parameter_files(stage: Stage) -> tuple[set[str], set[str]]:
    """Return the files of which the stage's `params:` list names keys, and those that it names as a whole."""
    listed = {file: keys for entry in stage.params if isinstance(entry, dict) for file, keys in entry.items()}
    whole = {normalize(file) for file, keys in listed.items() if not keys}
    return {PARAMS_FILE, *map(normalize, listed)} - whole, whole


def list_parameter_files(stage: Stage) -> set[str]:
    return set().union(*_parameter_files(stage))


def list_shown_by_dvc() -> set[str]:
    """Return the metrics, plots and files of parameters of all stages."""
    try:
        stages, pipeline = [*Project().stages()], Project().load(PIPELINE_FILE)
    except ProjectError:  # somebody edits it
        return set()
    files = {normalize(path) for stage in stages for path in stage.shown}.union(*map(list_parameter_files, stages))
    entries = [pipeline.get(key) for key in ("metrics", "plots", "params")]
    while entries:  # of plots, any text may be a path
        match entries.pop():
            case dict() as entry:
                entries += [*entry, *entry.values()]
            case list() as entry:
                entries += entry
            case str() as entry:
                files.add(normalize(entry))
    return files


def drop_named(paths: set[str], trace: Trace, notebook: Notebook, values: dict) -> set[str]:
    """Return those that neither the code nor a module that it took names, nor a value that it got: it hardly reads them."""
    if not paths:
        return paths
    texts = [notebook.code(), str(values)]
    for module in trace.read:
        if module.endswith(".py"):
            with contextlib.suppress(OSError):
                texts.append(Path(module).read_text(encoding="utf-8", errors="replace"))
    text = "\n".join(texts)
    return {path for path in paths if not all(part in text for part in path.split("/"))}
