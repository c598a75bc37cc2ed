"""What `pipeline rename` changes: planned from dvc.yaml, params.yaml and dvc.lock, before anything is written."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML

from notebook_pipeline import files
from notebook_pipeline.project import lock, yaml_cut
from notebook_pipeline.project.lock import LOCK_FILE
from notebook_pipeline.project.parameters import entries
from notebook_pipeline.project.project import PARAMS_FILE, PIPELINE_FILE, Project, ProjectError, Stage

README = "README.md"
_PATH = r"(?<![\w./-])%s(?![\w./-])"
"""A path in a command or a list of dvc.yaml, and no part of a longer one."""


@dataclass
class Plan:
    """The changes, and the lines that report them."""

    old: str
    new: str
    stages: list[Stage]
    """Those that bear the name, or run the notebook that bears it."""
    paths: dict[str, str] = field(default_factory=dict)
    """The files that get other names."""
    section: bool = False
    """Whether the section of params.yaml gets the name, too."""
    texts: dict[str, str] = field(default_factory=dict)
    """The new text of each file that changes."""
    lines: list[str] = field(default_factory=list)


def make_plan(old: str, new: str) -> Plan:
    """Plan to give what bears one name another.

    Raises:
        ProjectError: there is nothing of the old name, or something of the new one already.
        EditError: a file's layout leaves no way to change a name.
    """
    old, new = (Path(name).stem if name.endswith(".ipynb") else name for name in (old, new))
    if not re.fullmatch(r"[^\W\d][\w-]*", new) or YAML(typ="safe").load(new) != new:
        raise ProjectError(f"{new}: cannot be the name of a stage. Fix: use letters, digits, _ and -")
    project = Project()
    known = [stage for stage in project.stages() if not stage.calls("code")]
    stages = [stage for stage in known if old in (stage.keys[1], _stem(stage))]
    if not stages:
        names = ", ".join(dict.fromkeys(stage.keys[1] for stage in known))
        raise ProjectError(
            f"{PIPELINE_FILE}: there is no stage or notebook `{old}`. Fix: name one of {names or 'none'}"
        )
    plan = Plan(old, new, stages)
    plan.paths = dict(_list_paths(project, plan))
    plan.section = _is_own_section(project, plan)
    _require_free(project, plan)
    _change_pipeline(project, plan)
    if plan.section:
        text = files.read(PARAMS_FILE)
        plan.texts[PARAMS_FILE] = yaml_cut.renamed(
            text, lambda keys, text, is_key: new if keys == (old,) and is_key else text
        )
        plan.lines.append(f"{PARAMS_FILE}: section `{old}` is now `{new}`")
        _change_commands(plan)
    _change_notebook(plan)
    _change_lock(project, plan)
    _change_ignored(plan)
    plan.lines += [f"{path}: is now {to}" for path, to in plan.paths.items()]
    return plan


def _stem(stage: Stage) -> str | None:
    return Path(call[0]).stem if (call := stage.calls("run")) else None


def _list_paths(project: Project, plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the notebook, its code file and its executed copies, with their new paths; what else a stage makes its code names."""
    for stage in plan.stages:
        if _stem(stage) != plan.old:
            continue
        notebook, output = stage.calls("run")
        code = project.code_files.get(notebook)
        for path in (notebook, output, *([code] if code else [])):
            # Of a stage with items: outputs/island-Dream.ipynb.
            name = re.sub(rf"^{re.escape(plan.old)}(?=$|[-_.])", plan.new, Path(path).name)
            if name != Path(path).name and (path != output or Path(path).suffix == ".ipynb"):
                yield path, (Path(path).parent / name).as_posix()


def _is_own_section(project: Project, plan: Plan) -> bool:
    """Whether params.yaml has a section of the old name that these stages use, and no other one."""
    if not (project.root / PARAMS_FILE).exists() or not isinstance(project.load(PARAMS_FILE).get(plan.old), dict):
        return False
    pipeline, own = project.load(PIPELINE_FILE), {stage.keys[1] for stage in plan.stages}
    rest = {key: value for key, value in pipeline.items() if key != "stages"}
    users = {
        name for name, body in {**pipeline["stages"], "": rest}.items() if re.search(_variable(plan.old), repr(body))
    }
    for stage in project.stages():
        listed = [key for file, key in entries(stage) if file == PARAMS_FILE]
        if any(key is None or key.split(".")[0] == plan.old for key in listed):
            users.add(stage.keys[1])
    return bool(users) and users <= own


def _variable(name: str) -> str:
    return rf"(?<=\$\{{){re.escape(name)}(?=[\].}}[])"


def _require_free(project: Project, plan: Plan) -> None:
    taken = [f"stage `{stage.name}`" for stage in project.stages() if stage.keys[1] == plan.new]
    taken += [path for path in plan.paths.values() if Path(path).exists()]
    if plan.section and plan.new in project.load(PARAMS_FILE):
        taken.append(f"section `{plan.new}` of {PARAMS_FILE}")
    if taken:
        raise ProjectError(f"{plan.new}: {taken[0]} already exists. Fix: choose another name")


def _change_pipeline(project: Project, plan: Plan) -> None:
    old, new, names = plan.old, plan.new, {stage.keys[1] for stage in plan.stages}
    has_notebook = any(_stem(stage) == old for stage in plan.stages)
    code = {stage.keys[1] for stage in project.stages() if (call := stage.calls("code")) and call[0] in plan.paths}

    def rename(keys: tuple, text: str, is_key: bool) -> str:
        if keys[:1] == ("stages",) and len(keys) > 1:
            if len(keys) == 2 and is_key:
                return {old: new if old in names else old, f"code_{old}": f"code_{new}" if text in code else text}.get(
                    text, text
                )
            if keys[1] in code and keys[2] in ("matrix", "foreach") and not is_key and text.strip("\"'") == old:
                return text.replace(old, new)
            if plan.section and keys[1] in names:
                text = re.sub(_variable(old), new, text)
                if "params" in keys and not is_key:
                    text = re.sub(rf"^([\"']?){re.escape(old)}(?=$|[.\"'])", rf"\g<1>{new}", text)
        for path, to in plan.paths.items():
            text = re.sub(_PATH % re.escape(path), to, text)
        # The executed notebook of each item of a stage: outputs/island-${key}.ipynb.
        return re.sub(rf"(?<=/){re.escape(old)}(?=[-_.]?\$\{{[^}}]*\}}\.ipynb)", new, text) if has_notebook else text

    plan.texts[PIPELINE_FILE] = yaml_cut.renamed(files.read(PIPELINE_FILE), rename)
    if old in names:
        plan.lines.append(f"{PIPELINE_FILE}: stage `{old}` is now `{new}`")
    for name in sorted(code):
        plan.lines.append(f"{PIPELINE_FILE}: stage `{name}` writes the code of {new}, no longer of {old}")


def _change_commands(plan: Plan) -> None:
    """Change the parameters in README.md's commands, and in comments of params.yaml."""
    for path in (README, PARAMS_FILE):
        if Path(path).exists():
            text = plan.texts.get(path) or files.read(path)
            new = re.sub(rf'(-S "?){re.escape(plan.old)}(?=\.)', rf"\g<1>{plan.new}", text)
            if new != text:
                plan.texts[path] = new


def _change_notebook(plan: Plan) -> None:
    """Change the heading above the notebook's parameters, by which `check --fix` finds the section."""
    for path in plan.paths:
        if plan.section and path.endswith(".ipynb") and any(path == stage.calls("run")[0] for stage in plan.stages):
            text = files.read(path)
            heading, new = (json.dumps(f"# {name}\n", ensure_ascii=False) for name in (plan.old, plan.new))
            if text.count(heading) == 1:
                plan.texts[path] = text.replace(heading, new)


def _change_lock(project: Project, plan: Plan) -> None:
    """Give the records of dvc.lock the new names, in DVC's own order: nothing is to run."""
    if not Path(LOCK_FILE).exists():
        return
    data = YAML().load(files.read(LOCK_FILE))
    own = {stage.name for stage in plan.stages}
    code = {stage.name for stage in project.stages() if (call := stage.calls("code")) and call[0] in plan.paths}
    records = {}
    for name, record in data["stages"].items():
        _rename_files(record, plan)
        if name in own:
            name = re.sub(rf"^{re.escape(plan.old)}(?=$|@)", plan.new, name)
            if plan.section and PARAMS_FILE in (record.get("params") or {}):
                head = re.compile(rf"^{re.escape(plan.old)}(?=$|\.)")
                values = record["params"][PARAMS_FILE]
                record["params"][PARAMS_FILE] = dict(
                    sorted((head.sub(plan.new, key), value) for key, value in values.items())
                )
        elif name in code:
            name = re.sub(rf"^(code_|[^@]*@){re.escape(plan.old)}$", rf"\g<1>{plan.new}", name)
        records[name] = record
    data["stages"] = records
    plan.texts[LOCK_FILE] = lock.to_text(data)


def _rename_files(record: dict, plan: Plan) -> None:
    for path, to in plan.paths.items():
        word, cmd = re.compile(_PATH % re.escape(path)), record["cmd"]
        record["cmd"] = [word.sub(to, line) for line in cmd] if isinstance(cmd, list) else word.sub(to, cmd)
    for kind in ("deps", "outs"):
        for entry in record.get(kind) or ():
            path = entry["path"]
            entry["path"] = plan.paths.get(path, path)
            # A notebook's heading is no code: the stage that writes its code has nothing to do.
            if path in plan.texts and entry.get("md5") == files.md5(Path(path).read_bytes()):
                content = files.encode(plan.texts[path])
                entry |= {"md5": files.md5(content), "size": len(content)}
        if kind in record:
            record[kind] = sorted(record[kind], key=lambda entry: entry["path"])


def _change_ignored(plan: Plan) -> None:
    for path, to in plan.paths.items():
        ignore = (Path(path).parent / ".gitignore").as_posix()
        if Path(ignore).exists():
            text = plan.texts.get(ignore) or files.read(ignore)
            plan.texts[ignore] = re.sub(rf"(?m)^/{re.escape(Path(path).name)}$", f"/{Path(to).name}", text)
