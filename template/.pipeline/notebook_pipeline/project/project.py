"""The project's params.yaml and dvc.yaml: its stages, their notebooks, and the parameters that each is given.

Knows nothing of kernels. Does not import DVC, which takes a second: the few rules of its files that are needed here are
those of https://doc.dvc.org/user-guide/project-structure/dvcyaml-files, and tests hold them against DVC itself.
"""

import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from notebook_pipeline.notebook.document import Notebook
from notebook_pipeline.project import data_file, parameters
from notebook_pipeline.project.data_file import PARAMS_FILE, PIPELINE_FILE, ProjectError, value_at
from notebook_pipeline.project.parameters import Given
from notebook_pipeline.project.paths import from_here
from notebook_pipeline.project.stages import Stage, describe, expand, fill, fill_stage, merge, require, require_stage

_WORD = r"(?<![^\s\"'])%s(?![^\s\"'])"
"""A word of a command line, with quotes around it or without."""


class Project:
    """A project's folder.

    Each method raises ProjectError if a file that it needs does not exist, cannot be read, or does not say what DVC takes.

    Attributes:
        root: the folder that holds dvc.yaml and params.yaml.
    """

    def __init__(self, root: str | Path = "."):
        self.root = Path(root)
        self._files = {}

    def stages(self) -> list[Stage]:
        """Return all stages of dvc.yaml, in its order."""
        return self._stages

    @functools.cached_property
    def code_files(self) -> dict[str, str]:
        """The code file of each notebook that has one."""
        return dict(call for stage in self.stages() if (call := stage.calls("code")))

    @functools.cached_property
    def _stages(self) -> list[Stage]:
        pipeline = require(self.load(PIPELINE_FILE), dict, PIPELINE_FILE)
        known = self.load(PARAMS_FILE) if (self.root / PARAMS_FILE).exists() else {}
        known, found = self._add_variables(known, pipeline.get("vars")), []
        for name, definition in require(pipeline.get("stages") or {}, dict, f"{PIPELINE_FILE}: stages").items():
            require_stage(name, definition)
            keys = ("stages", name, *(["do"] if "foreach" in definition else []))
            for full_name, body, variables in expand(name, definition, known):
                wdir = str(fill(body.get("wdir") or ".", variables, describe(full_name)))
                variables = self._add_variables(variables, body.get("vars"), wdir)
                found.append(fill_stage(full_name, keys, body, variables, wdir))
        return found

    def stage(self, name: str) -> Stage:
        """Return the stage that DVC calls `name` (the DVC_STAGE of a running stage)."""
        # Started in a folder of the project, DVC says `../dvc.yaml:train`.
        own = re.sub(rf"^(\.\.[\\/])+{re.escape(PIPELINE_FILE)}:", "", name)
        if f"{PIPELINE_FILE}:" in own:
            raise ProjectError(
                f"{own}: a notebook runs only in a stage of the {PIPELINE_FILE} beside {PARAMS_FILE}. Fix: move the stage there"
            )
        return self._find(f"there is no stage `{own}`", lambda stage: stage.name == own)

    def stage_running(self, notebook: str, output: str) -> Stage:
        """Return the stage whose command is `pipeline run NOTEBOOK OUTPUT`."""
        problem = f"no stage runs `pipeline run {notebook} {output}`: its `params:` list would say which values the notebook gets"
        return self._find(problem, lambda stage: stage.calls("run") == (notebook, output))

    def _find(self, problem: str, is_wanted: Callable[[Stage], bool]) -> Stage:
        for stage in filter(is_wanted, self.stages()):
            return stage
        raise ProjectError(f"{PIPELINE_FILE}: {problem}")

    def upstream(self, stage: Stage) -> list[Stage]:
        """Find the stages whose outs a stage depends on, and theirs in turn."""
        left, found = [*self.stages()], [stage]
        for each in found:
            makers = [other for other in left if any(_meet(dep, out) for dep in each.deps for out in other.outs)]
            left = [other for other in left if other not in makers]
            found += makers
        return found[1:]

    def tracked(self, stage: Stage) -> dict[str, dict[str, object]]:
        """Return the values that the stage's `params:` list has DVC track, as dvc.lock has them: by file and entry."""
        found = {}
        for file, entry in parameters.entries(stage):
            data = self.load(file)
            values = found.setdefault(file, {})
            with contextlib.suppress(LookupError):
                values |= data if entry is None else {entry: value_at(data, tuple(entry.split(".")))}
        return found

    def gone(self, notebook: str) -> str | None:
        """Describe what to do about a notebook that stages need and that does not exist; None if it does, or if dvc.yaml cannot be read."""
        stages = []
        with contextlib.suppress(ProjectError):
            stages = [each for each in self.stages() if re.search(_WORD % re.escape(notebook), "\n".join(each.cmd))]
        if not stages or (self.root / notebook).exists():
            return None
        # The one that runs it says more than the one that writes its code.
        stages.sort(key=lambda each: each.calls("code") is not None)
        ways = [
            f"delete the stage `{stage.keys[1]}`"
            if notebook in " ".join(stage.raw_cmd)
            else f"remove `{Path(notebook).stem}` from the list of the stage `{stage.keys[1]}`"
            for stage in stages
        ]
        return (
            f"{self.place(stages[0], 'cmd')}: stage `{stages[0].keys[1]}` needs {notebook}, which does not exist. Fix: restore it "
            f"(`git checkout HEAD -- {notebook}`), or {' and '.join(dict.fromkeys(ways))}"
        )

    def parameters(self, stage: Stage, notebook: Notebook) -> Given:
        """Find what the stage gives to its notebook: exactly what its `params:` list has DVC track.

        An entry that is a mapping is a section: each of its keys is a parameter. Any other entry is itself a key, and so
        is a mapping whose name the notebook has as a parameter. A parameter's name and its key differ in case at most.
        """
        return parameters.Match(self, stage, notebook).give()

    def _add_variables(self, known: dict, variables: list | None, folder: str = ".") -> dict:
        """Add what a `vars:` list, whose files are seen from a folder, has `${...}` name besides params.yaml."""
        for entry in require(variables or [], list, f"{PIPELINE_FILE}: vars"):
            if isinstance(entry, str):
                # `file` or `file:key,key`; a colon may also stand behind a drive's letter.
                file, _, keys = entry.partition(":") if not re.match(r"[A-Za-z]:[\\/]", entry) else (entry, "", "")
                data = self.load(Path(folder, file).as_posix())
                entry = {key: data[key] for key in keys.split(",") if key in data} if keys else data
            elif "${" in repr(entry):
                raise ProjectError(
                    f"{PIPELINE_FILE}: vars: DVC fills in no `${{...}}` here. Fix: write the value itself"
                )
            known = merge(known, require(entry, dict, f"{PIPELINE_FILE}: vars"))
        return known

    def load(self, file: str) -> dict:
        """Read a YAML, JSON or TOML file as DVC does, once."""
        if file not in self._files:
            data = data_file.read(self.root / file, file)
            self._files[file] = data if file == PIPELINE_FILE else require(data, dict, file)
        return self._files[file]

    def place_of(self, file: str, keys: tuple) -> str:
        """Return `params.yaml:12`, the line of a key; the file alone if it is not YAML."""
        return data_file.place((self.root / file).read_text(encoding="utf-8-sig"), file, keys)

    def place(self, stage: Stage, key: str) -> str:
        """Return `dvc.yaml:12`, the line of a key of a stage; if it has none, of the stage."""
        own = self.place_of(PIPELINE_FILE, (*stage.keys, key))
        return own if own != PIPELINE_FILE else self.place_of(PIPELINE_FILE, stage.keys[:2])

    def definition(self, stage: Stage) -> dict:
        """Return what dvc.yaml says of a stage; of a `foreach` stage, what stands below `do:`."""
        return value_at(self.load(PIPELINE_FILE), stage.keys)

    def placed(self, stage: Stage, paths: Iterable[str]) -> Iterator[str]:
        """Yield paths of a stage as seen from the current folder; URLs have no such place."""
        yield from from_here(self.root / stage.wdir, paths)


def _meet(path: str, other: str) -> bool:
    """Whether two paths are the same, or one is a folder above the other."""
    first, second = Path(path), Path(other)
    return first.is_relative_to(second) or second.is_relative_to(first)
