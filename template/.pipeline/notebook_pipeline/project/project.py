"""The project's params.yaml and dvc.yaml: its stages, their notebooks, and the parameters that each is given.

Knows nothing of kernels. Does not import DVC, which takes a second: the few rules of its files that are needed here are
those of https://doc.dvc.org/user-guide/project-structure/dvcyaml-files, and tests hold them against DVC itself.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from notebook_pipeline.notebook.document import Notebook, Parameter, key_of
from notebook_pipeline.project import parameters, yaml_edit
from notebook_pipeline.project.data_file import (
    PARAMS_FILE,
    PIPELINE_FILE,
    PLAIN_TYPES,
    ProjectError,
    describe_unfit_value,
    leaves,
    read,
    value_at,
)
from notebook_pipeline.project.parameters import Given
from notebook_pipeline.project.paths import from_here
from notebook_pipeline.project.stages import (
    Stage,
    expand,
    fill,
    merge,
    refuse_other_kinds,
    require_list,
    require_mapping,
    split_lines,
    to_text,
)

_WORD = r"(?<![^\s\"'])%s(?![^\s\"'])"
"""A word of a command line, with quotes around it or without."""


class Project:
    """A project's folder.

    Attributes:
        root: the folder that holds dvc.yaml and params.yaml.
    """

    def __init__(self, root: str | Path = "."):
        self.root = Path(root)
        self._files = {}

    def stages(self) -> Iterator[Stage]:
        """All stages of dvc.yaml, in its order.

        Raises:
            ProjectError: dvc.yaml does not exist, cannot be read, or uses a variable that is not defined.
        """
        pipeline = require_mapping(self.load(PIPELINE_FILE), PIPELINE_FILE)
        require_list(pipeline.get("vars") or [], f"{PIPELINE_FILE}: vars")
        context = self._context(pipeline.get("vars"), {})
        for name, definition in require_mapping(pipeline.get("stages") or {}, f"{PIPELINE_FILE}: stages").items():
            refuse_other_kinds(f"{PIPELINE_FILE}: stage `{name}`", name, definition)
            for full_name, body, own_context in expand(name, definition, context):
                where = f"{PIPELINE_FILE}: stage `{full_name}`"
                cmd = body.get("cmd") or []
                if not isinstance(cmd, str | list) or not all(isinstance(line, str) for line in cmd):
                    raise ProjectError(f"{where}: cmd: must be a command, or a list of them")
                for key in ("vars", "deps", "outs", "params", "metrics", "plots"):
                    require_list(body.get(key) or [], f"{where}: {key}")
                folder = str(fill(body.get("wdir") or ".", own_context, where))
                own_context = self._context(body.get("vars"), own_context, folder)
                # A path, or a mapping of one to its options.
                outs = [
                    (kind, *pair)
                    for kind in ("outs", "metrics", "plots")
                    for entry in fill(body.get(kind) or [], own_context, where)
                    for pair in (entry.items() if isinstance(entry, dict) else [(entry, None)])
                ]
                yield Stage(
                    name=full_name,
                    cmd=split_lines(fill(cmd, own_context, where)),
                    params=fill(body.get("params") or [], own_context, where),
                    deps=tuple(map(str, fill(body.get("deps") or [], own_context, where))),
                    outs=tuple(str(path) for _, path, _ in outs),
                    shown=tuple(str(path) for kind, path, _ in outs if kind != "outs"),
                    persistent=tuple(
                        str(path) for _, path, options in outs if isinstance(options, dict) and options.get("persist")
                    ),
                    keys=("stages", name, *(["do"] if "foreach" in definition else [])),
                    raw_cmd=split_lines(cmd),
                    variables=own_context,
                )

    def stage(self, name: str) -> Stage:
        """The stage that DVC calls `name` (the DVC_STAGE of a running stage).

        Raises:
            ProjectError: there is none.
        """
        # Started in a folder of the project, DVC says `../dvc.yaml:train`.
        own = re.sub(rf"^(\.\.[\\/])+{re.escape(PIPELINE_FILE)}:", "", name)
        for stage in self.stages():
            if stage.name == own:
                return stage
        if f"{PIPELINE_FILE}:" in own:
            raise ProjectError(
                f"{own}: a notebook runs only in a stage of the {PIPELINE_FILE} beside {PARAMS_FILE}. Fix: move the stage there"
            )
        raise ProjectError(f"{PIPELINE_FILE}: there is no stage `{own}`")

    def upstream(self, stage: Stage) -> list[Stage]:
        """The stages whose outs a stage depends on, and theirs in turn."""
        left, found = [*self.stages()], [stage]
        for each in found:
            makers = [other for other in left if any(_meet(dep, out) for dep in each.deps for out in other.outs)]
            left = [other for other in left if other not in makers]
            found += makers
        return found[1:]

    def tracked(self, stage: Stage) -> dict[str, dict[str, object]]:
        """The values that the stage's `params:` list has DVC track, as dvc.lock has them: by file and entry.

        Raises:
            ProjectError: a file of parameters does not exist or cannot be read.
        """
        found = {}
        for file, entry in parameters.entries(stage):
            data = self.load(file)
            values = found.setdefault(file, {})
            with contextlib.suppress(LookupError):
                values |= data if entry is None else {entry: value_at(data, tuple(entry.split(".")))}
        return found

    def stage_running(self, notebook: str, output: str) -> Stage:
        """The stage whose command is `pipeline run NOTEBOOK OUTPUT`.

        Raises:
            ProjectError: there is none.
        """
        for stage in self.stages():
            if stage.calls("run") == (notebook, output):
                return stage
        raise ProjectError(
            f"{PIPELINE_FILE}: no stage runs `pipeline run {notebook} {output}`: "
            "its `params:` list would say which values the notebook gets"
        )

    def gone(self, notebook: str) -> str | None:
        """Describe what to do about a notebook that stages need and that does not exist; None if it does, or if dvc.yaml cannot be read."""
        try:
            stages = [each for each in self.stages() if re.search(_WORD % re.escape(notebook), "\n".join(each.cmd))]
        except ProjectError:
            return None
        if not stages or (self.root / notebook).exists():
            return None
        # The one that runs it says more than the one that writes its code.
        stages = {stage.keys[1]: stage for stage in sorted(stages, key=lambda each: each.calls("code") is not None)}
        ways = [
            f"delete the stage `{name}`"
            if notebook in " ".join(stage.raw_cmd)
            else f"remove `{Path(notebook).stem}` from the list of the stage `{name}`"
            for name, stage in stages.items()
        ]
        name, stage = next(iter(stages.items()))
        return (
            f"{self.place(stage, 'cmd')}: stage `{name}` needs {notebook}, which does not exist. Fix: restore it "
            f"(`git checkout HEAD -- {notebook}`), or {' and '.join(ways)}"
        )

    def parameters(self, stage: Stage, notebook: Notebook) -> Given:
        """What the stage gives to its notebook: exactly what its `params:` list has DVC track.

        An entry that is a mapping is a section: each of its keys is a parameter. Any other entry is itself a key, and so
        is a mapping whose name the notebook has as a parameter. A parameter's name and its key differ in case at most.

        Raises:
            ProjectError: a file of parameters does not exist or cannot be read.
        """
        return parameters.give(self, stage, notebook)

    def _context(self, variables: list | None, outer: dict, folder: str = ".") -> dict:
        """The variables that `${...}` may name: params.yaml, and what `vars:` adds, whose files are seen from a folder."""
        context = outer
        if not context and (self.root / PARAMS_FILE).exists():
            context = self.load(PARAMS_FILE)
        for entry in variables or []:
            if isinstance(entry, str):
                # `file` or `file:key,key`; a colon may also stand behind a drive's letter.
                file, _, keys = entry.partition(":") if not re.match(r"[A-Za-z]:[\\/]", entry) else (entry, "", "")
                data = self.load(Path(folder, file).as_posix())
                entry = {key: data[key] for key in keys.split(",") if key in data} if keys else data
            elif "${" in repr(entry):
                raise ProjectError(
                    f"{PIPELINE_FILE}: vars: DVC fills in no `${{...}}` here. Fix: write the value itself"
                )
            context = merge(context, require_mapping(entry, f"{PIPELINE_FILE}: vars"))
        return context

    def load(self, file: str) -> dict:
        """A YAML, JSON or TOML file as DVC reads it, once.

        Raises:
            ProjectError: it does not exist, cannot be read, or holds a value that DVC cannot track.
        """
        if file not in self._files:
            data = read(self.root / file, file)
            self._files[file] = data
            if file != PIPELINE_FILE:
                for keys, value in leaves(require_mapping(data, file)):
                    if not isinstance(value, PLAIN_TYPES):
                        raise ProjectError(describe_unfit_value(self.place_of(file, keys), keys, value))
        return self._files[file]

    def place_of(self, file: str, keys: tuple) -> str:
        """`params.yaml:12`: the line of a key; the file alone if it is not YAML."""
        if not file.endswith((".yaml", ".yml")):
            return file
        line = yaml_edit.line((self.root / file).read_text(encoding="utf-8-sig"), keys)
        return f"{file}:{line}" if line else file

    def keys(self, parameter: Parameter) -> list[tuple]:
        """The keys of a parameter's name in params.yaml, at top level and in its sections."""
        found = [
            path
            for key, value in self.load(PARAMS_FILE).items()
            if "." not in str(key)  # a dot leads to a key below, for DVC
            for path in ([(key, inner) for inner in value] if isinstance(value, dict) else [(key,)])
        ]
        return [path for path in found if key_of(path[-1]) == parameter.key]

    def filled(self, stage: Stage, text: str) -> str:
        """A text of a stage with its `${...}` filled in.

        Raises:
            ProjectError: one of them is not defined.
        """
        return to_text(fill(text, stage.variables, f"{PIPELINE_FILE}: stage `{stage.name}`"))

    def definition(self, stage: Stage) -> dict:
        """What dvc.yaml says of a stage; of a `foreach` stage, what stands below `do:`."""
        found = self.load(PIPELINE_FILE)
        for key in stage.keys:
            found = found[key]
        return found

    def placed(self, stage: Stage, paths: Iterable[str]) -> Iterator[str]:
        """Paths of a stage as seen from the current folder; URLs have no such place."""
        folder = self.root / self.filled(stage, str(self.definition(stage).get("wdir") or "."))
        yield from from_here(folder, paths)

    def place(self, stage: Stage, key: str) -> str:
        """`dvc.yaml:12`: the line of a key of a stage; if it has none, of the stage."""
        text = (self.root / PIPELINE_FILE).read_text(encoding="utf-8-sig")
        line = yaml_edit.line(text, (*stage.keys, key)) or yaml_edit.line(text, stage.keys[:2])
        return f"{PIPELINE_FILE}:{line}"


def _meet(path: str, other: str) -> bool:
    """Whether two paths are the same, or one is a folder above the other."""
    first, second = Path(path), Path(other)
    return first.is_relative_to(second) or second.is_relative_to(first)
