"""What `pipeline remove` changes: planned from dvc.yaml, params.yaml and dvc.lock, before anything is written."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML

from notebook_pipeline import files, git, shell
from notebook_pipeline.project import lock, yaml_cut
from notebook_pipeline.project.data_file import value_at
from notebook_pipeline.project.lock import LOCK_FILE
from notebook_pipeline.project.parameters import entries
from notebook_pipeline.project.paths import is_covered
from notebook_pipeline.project.project import PARAMS_FILE, PIPELINE_FILE, Project, ProjectError, Stage
from notebook_pipeline.remove.commands import generalize

INPUTS = "data/external/"


@dataclass
class Plan:
    """The changes, and the lines that report them."""

    texts: dict[str, str] = field(default_factory=dict)
    """The new text of each file that changes."""
    deleted: list[str] = field(default_factory=list)
    """Files and folders."""
    lines: list[str] = field(default_factory=list)

    def text(self, path: str) -> str:
        """Return a file's text as it is going to be."""
        return self.texts.get(path) or files.read(path)


@dataclass(frozen=True)
class _Split:
    """The stages of a project in two parts."""

    removed: list[Stage]
    items: list[Stage]
    """The stages that write the code of notebooks which only removed stages run."""
    kept: list[Stage]


def make_plan(names: list[str]) -> Plan:
    """Plan the removal of stages.

    Raises:
        ProjectError: dvc.yaml has no such stage, or another stage needs what one makes.
        EditError: a file's layout leaves no way to cut something out.
    """
    project, plan = Project(), Plan()
    split = _split(project, names)
    outs = [place for stage in (*split.removed, *split.items) for place in project.placed(stage, stage.outs)]
    _require_unused(project, split, set(outs), names)
    plan.lines.append(f"{PIPELINE_FILE}: removed {', '.join(f'`{name}`' for name in names)}")
    keys = [*_find_unused_keys(project, split)]
    plan.texts[PIPELINE_FILE] = _cut_pipeline(project, split, names, set(outs), plan)
    if keys:
        text = files.read(PARAMS_FILE)
        for key in keys:
            text = yaml_cut.without_key(text, key)
        plan.texts[PARAMS_FILE] = text
        plan.lines.append(f"{PARAMS_FILE}: removed {', '.join('.'.join(map(str, key)) for key in keys)}")
    _forget_records(split, plan)
    _delete_results(outs, split, project, plan)
    _delete_notebooks(split, plan)
    has_metrics = any(stage.shown for stage in split.kept)
    generalize(plan, keys, has_metrics)
    _report_inputs(project, split, plan)
    return plan


def _split(project: Project, names: list[str]) -> _Split:
    stages = project.stages()
    known = [*dict.fromkeys(stage.keys[1] for stage in stages if not stage.calls("code"))]
    for name in names:
        if name not in known:
            whole = name.partition("@")[0]
            fix = f"name the whole stage, `{whole}`" if whole in known else f"name one of {', '.join(known) or 'none'}"
            raise ProjectError(f"{PIPELINE_FILE}: there is no stage `{name}` to remove. Fix: {fix}")
    removed = [stage for stage in stages if stage.keys[1] in names]
    others = [stage for stage in stages if stage.keys[1] not in names]
    own = {call[0] for stage in removed if (call := stage.calls("run"))}
    own -= {call[0] for stage in others if (call := stage.calls("run"))}
    items = [stage for stage in others if (call := stage.calls("code")) and call[0] in own]
    return _Split(removed, items, [stage for stage in others if stage not in items])


def _require_unused(project: Project, split: _Split, outs: set[str], names: list[str]) -> None:
    for stage in split.kept:
        for dep in project.placed(stage, stage.deps):
            if is_covered(dep, outs) or any(is_covered(out, {dep}) for out in outs):
                more = shell.join([*names, stage.keys[1]])
                raise ProjectError(
                    f"{project.place(stage, 'deps')}: stage `{stage.name}` reads {dep}, which would not be made any more. "
                    f"Fix: remove it, too (pipeline remove {more}), or remove this dep"
                )


def _find_unused_keys(project: Project, split: _Split) -> Iterator[tuple]:
    """Yield the keys of params.yaml that only removed stages use, sections as a whole if nobody uses a part of them."""
    if not (project.root / PARAMS_FILE).exists():
        return
    data, pipeline = project.load(PARAMS_FILE), project.load(PIPELINE_FILE)
    definitions = pipeline["stages"]
    gone = {stage.keys[1] for stage in split.removed}
    rest = {key: value for key, value in pipeline.items() if key != "stages"}
    used = {
        *_list_keys(split.kept),
        *_list_variables([rest, *(definitions[name] for name in definitions if name not in gone)]),
    }
    wanted = {*_list_keys(split.removed), *_list_variables([definitions[name] for name in gone])}

    def find(key: tuple) -> Iterator[tuple]:
        if any(key[: len(other)] == other for other in used):
            return
        value = value_at(data, key)
        if any(other[: len(key)] == key for other in used) or not key:
            for inner in value if isinstance(value, dict) else ():
                yield from find((*key, str(inner)))
        else:
            yield key

    found = set()
    for key in sorted(wanted, key=len):
        try:
            found |= {each for each in find(key) if not any(each[: len(above)] == above for above in found)}
        except LookupError:
            continue  # `item`, `key`, or a variable of `vars:`
    yield from sorted(found)


def _list_keys(stages: list[Stage]) -> Iterator[tuple]:
    for stage in stages:
        for file, key in entries(stage):
            if file == PARAMS_FILE:
                yield tuple(key.split(".")) if key else ()


def _list_variables(definitions: list) -> Iterator[tuple]:
    for expression in re.findall(r"\$\{([^{}]*)\}", repr(definitions)):
        yield tuple(re.findall(r"[^.\[\]\s]+", expression))


def _cut_pipeline(project: Project, split: _Split, names: list[str], outs: set[str], plan: Plan) -> str:
    text, definitions = files.read(PIPELINE_FILE), project.load(PIPELINE_FILE)["stages"]
    for name in names:
        text = yaml_cut.without_key(text, ("stages", name))
    of_definition = [stage for stage in project.stages() if stage.calls("code")]
    for stage in reversed(split.items):
        name = stage.keys[1]
        siblings = [each for each in of_definition if each.keys[1] == name]
        keys = ("stages", name, *_find_list(definitions[name], stage))
        text = (
            yaml_cut.without_item(text, keys, siblings.index(stage))
            if len(keys) > 2
            else yaml_cut.without_key(text, keys)
        )
        plan.lines.append(f"{PIPELINE_FILE}: removed {Path(stage.calls('code')[0]).stem} from stage `{name}`")
    for section in ("plots", "metrics", "artifacts"):
        text = _cut_shown(text, section, project.load(PIPELINE_FILE).get(section), outs, plan)
    return text


def _find_list(definition: dict, stage: Stage) -> tuple[str, ...]:
    """Find the list that has an item for each notebook; nothing if the stage is for one alone.

    Raises:
        EditError: there is no such list here.
    """
    if isinstance(definition.get("foreach"), list):
        return ("foreach",)
    matrix = definition.get("matrix")
    if isinstance(matrix, dict) and len(matrix) == 1 and isinstance(next(iter(matrix.values())), list):
        return ("matrix", next(iter(matrix)))
    if matrix is None and "foreach" not in definition:
        return ()
    raise yaml_cut.EditError(
        f"{PIPELINE_FILE}: stage `{stage.keys[1]}` lists its notebooks elsewhere. Fix: first remove "
        f"{stage.calls('code')[0]} there"
    )


def _cut_shown(text: str, section: str, shown: object, outs: set[str], plan: Plan) -> str:
    """Cut the plots, metrics or artifacts out that show removed results, and nothing else."""
    if not isinstance(shown, list | dict):
        return text
    each = [*shown.items()] if isinstance(shown, dict) else [*enumerate(shown)]
    gone = [key for key, entry in each if _is_of(outs, {key: entry} if isinstance(shown, dict) else entry)]
    if len(gone) == len(each) and each:
        plan.lines.append(f"{PIPELINE_FILE}: removed `{section}`")
        return yaml_cut.without_key(text, (section,))
    for key in reversed(gone):
        text = (
            yaml_cut.without_key(text, (section, key))
            if isinstance(shown, dict)
            else yaml_cut.without_item(text, (section,), key)
        )
        plan.lines.append(f"{PIPELINE_FILE}: removed an entry of `{section}`")
    return text


def _is_of(outs: set[str], entry: object) -> bool:
    """Whether an entry shows files, and all that it shows are among these outs."""
    paths = {path for path in _list_paths(entry) if is_covered(path, outs) or Path(path).exists()}
    return bool(paths) and all(is_covered(path, outs) for path in paths)


def _list_paths(entry: object) -> Iterator[str]:
    """Yield what may be a path: of a plot, the keys below `x:` and `y:` are."""
    if isinstance(entry, dict):
        for key, value in entry.items():
            yield str(key)
            yield from _list_paths(value)
    elif isinstance(entry, list):
        for each in entry:
            yield from _list_paths(each)
    elif isinstance(entry, str):
        yield entry


def _forget_records(split: _Split, plan: Plan) -> None:
    if not Path(LOCK_FILE).exists():
        return
    data = YAML().load(files.read(LOCK_FILE))
    for stage in (*split.removed, *split.items):
        data["stages"].pop(stage.name, None)
    if data["stages"]:
        plan.texts[LOCK_FILE] = lock.to_text(data)
    else:
        plan.deleted.append(LOCK_FILE)


def _delete_results(outs: list[str], split: _Split, project: Project, plan: Plan) -> None:
    kept = {place for stage in split.kept for place in project.placed(stage, stage.outs)}
    gone = [out for out in outs if out not in kept]
    plan.deleted += gone
    if gone:
        plan.lines.append(f"deleted {', '.join(gone)}")
    for out in gone:
        ignore = (Path(out).parent / ".gitignore").as_posix()
        if Path(ignore).exists():
            lines = plan.text(ignore).splitlines(keepends=True)
            plan.texts[ignore] = "".join(line for line in lines if line.strip() != f"/{Path(out).name}")


def _delete_notebooks(split: _Split, plan: Plan) -> None:
    """Delete the notebooks that git can bring back."""
    run = {call[0] for stage in split.removed if (call := stage.calls("run"))}
    for path in sorted(run - {call[0] for stage in split.kept if (call := stage.calls("run"))}):
        if not Path(path).exists():
            continue
        is_in_git = git.paths("ls-files", "-z", "--", path) and git.text("status", "--porcelain", "--", path) == ""
        if is_in_git:
            plan.deleted.append(path)
            plan.lines.append(f"deleted {path}, which git still has")
        else:
            plan.lines.append(
                f"{path}: stays, because git does not have it as it is. Fix: delete it, if you do not need it"
            )


def _report_inputs(project: Project, split: _Split, plan: Plan) -> None:
    read = {dep for stage in split.removed for dep in project.placed(stage, stage.deps)}
    read -= {dep for stage in split.kept for dep in project.placed(stage, stage.deps)}
    for path in sorted(path for path in read if path.startswith(INPUTS) and Path(path).exists()):
        plan.lines.append(
            f"{path}: no stage reads it any more. Fix: delete it, if you do not need it, then uv run dvc add data/external"
        )
