"""The project's params.yaml and dvc.yaml: its stages, their notebooks, and the parameters that each is given.

Knows nothing of kernels. Does not import DVC, which takes a second: the few rules of its files that are needed here are
those of https://doc.dvc.org/user-guide/project-structure/dvcyaml-files, and tests hold them against DVC itself.
"""

import contextlib
import functools
import itertools
import json
import math
import re
import shlex
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from notebook_pipeline import shell
from notebook_pipeline.notebook.document import (
    NOT_LITERAL,
    Notebook,
    NotebookError,
    Parameter,
    as_python_reads,
    contradiction,
    key_of,
    read,
)
from notebook_pipeline.project import yaml_edit
from notebook_pipeline.project.paths import from_here

PARAMS_FILE = "params.yaml"
PIPELINE_FILE = "dvc.yaml"

_INTERPOLATION = re.compile(r"(?<!\\)\$\{([^{}]*)\}")
"""A `${...}`, its expression as the group."""
_WORD = r"(?<![^\s\"'])%s(?![^\s\"'])"
"""A word of a command line, with quotes around it or without."""
_PLAIN_TYPES = (str, int, float, bool, type(None))


class ProjectError(Exception):
    """A params.yaml or dvc.yaml that cannot be used; one line: file, place, cure."""


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml, its variables filled in; a `foreach` or `matrix` stage comes once per item."""

    name: str
    """As DVC calls it: `train`, `train@Adelie`."""
    cmd: tuple[str, ...]
    """The command lines."""
    params: list = field(default_factory=list)
    """The `params:` list as it stands: keys of params.yaml, or `{file: keys}`."""
    deps: tuple[str, ...] = ()
    outs: tuple[str, ...] = ()
    """The paths of its outs, metrics and plots."""
    shown: tuple[str, ...] = ()
    """Those of them that are metrics or plots."""
    persistent: tuple[str, ...] = ()
    """Those of them that DVC leaves in place before a run: `persist: true`."""
    keys: tuple[str, ...] = ()
    """Where in dvc.yaml its definition is."""
    raw_cmd: tuple[str, ...] = ()
    """The command lines with their `${...}`."""
    variables: dict = field(default_factory=dict, repr=False)
    """What a `${...}` of it may name."""

    def calls(self, verb: str) -> tuple[str, str] | None:
        """NOTEBOOK and OUTPUT of this stage's `pipeline VERB NOTEBOOK OUTPUT`; None where it has none."""
        for line in self.cmd:
            if verb not in line:
                continue
            try:
                words = [word for word in shlex.split(line) if not word.startswith("--")]  # see command
            except ValueError:
                continue
            for index in range(len(words) - 3):
                if words[index : index + 2] == ["pipeline", verb]:
                    # However a person spells them: `./notebooks/x.ipynb`.
                    return tuple(Path(path).as_posix() for path in words[index + 2 : index + 4])
        return None


@dataclass(frozen=True)
class Cure:
    """One way to give a parameter that a stage lacks."""

    keys: tuple[str, ...]
    """The key's place in params.yaml."""
    is_there: bool
    """Whether params.yaml has it already."""
    entry: str | None
    """What the stage's `params:` list lacks then; None where it lists the section."""


@dataclass
class Given:
    """What a stage gives to its notebook."""

    values: dict[str, object]
    """By the parameters' names in the notebook; complete only where there are no problems."""
    problems: list[str]
    """One line each, with its cure."""
    missing: list[Parameter]
    """The parameters for which the stage has no value."""
    surplus: list[str]
    """The keys that no parameter takes; one of them may be a missing one's old name."""
    doubts: list[str]
    """Values of another type than the parameter's default: given as they are, and most likely a mistake."""


class Project:
    """A project's folder.

    Attributes:
        root: the folder that holds dvc.yaml and params.yaml.
    """

    def __init__(self, root: str | Path = "."):
        self.root = Path(root)
        self._files, self._lacks = {}, {}

    def stages(self) -> Iterator[Stage]:
        """All stages of dvc.yaml, in its order.

        Raises:
            ProjectError: dvc.yaml is not there, cannot be read, or uses a variable that is not defined.
        """
        pipeline = _mapping_of(self.load(PIPELINE_FILE), PIPELINE_FILE)
        _list_of(pipeline.get("vars") or [], f"{PIPELINE_FILE}: vars")
        context = self._context(pipeline.get("vars"), {})
        for name, definition in _mapping_of(pipeline.get("stages") or {}, f"{PIPELINE_FILE}: stages").items():
            _refuse_other_kinds(f"{PIPELINE_FILE}: stage `{name}`", name, definition)
            for full_name, body, own_context in _expand(name, definition, context):
                where = f"{PIPELINE_FILE}: stage `{full_name}`"
                cmd = body.get("cmd") or []
                if not isinstance(cmd, str | list) or not all(isinstance(line, str) for line in cmd):
                    raise ProjectError(f"{where}: cmd: must be a command, or a list of them")
                for key in ("vars", "deps", "outs", "params", "metrics", "plots"):
                    _list_of(body.get(key) or [], f"{where}: {key}")
                folder = str(_filled(body.get("wdir") or ".", own_context, where))
                own_context = self._context(body.get("vars"), own_context, folder)
                # A path, or a mapping of one to its options.
                outs = [
                    (kind, *pair)
                    for kind in ("outs", "metrics", "plots")
                    for entry in _filled(body.get(kind) or [], own_context, where)
                    for pair in (entry.items() if isinstance(entry, dict) else [(entry, None)])
                ]
                yield Stage(
                    name=full_name,
                    cmd=_lines_of(_filled(cmd, own_context, where)),
                    params=_filled(body.get("params") or [], own_context, where),
                    deps=tuple(map(str, _filled(body.get("deps") or [], own_context, where))),
                    outs=tuple(str(path) for _, path, _ in outs),
                    shown=tuple(str(path) for kind, path, _ in outs if kind != "outs"),
                    persistent=tuple(
                        str(path) for _, path, options in outs if isinstance(options, dict) and options.get("persist")
                    ),
                    keys=("stages", name, *(["do"] if "foreach" in definition else [])),
                    raw_cmd=_lines_of(cmd),
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
            ProjectError: a file of parameters is not there or cannot be read.
        """
        found = {}
        for file, entry in _entries(stage):
            data = self.load(file)
            values = found.setdefault(file, {})
            with contextlib.suppress(LookupError):
                values |= data if entry is None else {entry: _at(data, tuple(entry.split(".")))}
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
        """What to do about a notebook that stages need and that is not there; None where that is not so, or cannot be told."""
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
            else f"take `{Path(notebook).stem}` off the list of the stage `{name}`"
            for name, stage in stages.items()
        ]
        name, stage = next(iter(stages.items()))
        return (
            f"{self.place(stage, 'cmd')}: stage `{name}` needs {notebook}, which is not there: bring it back "
            f"(`git checkout HEAD -- {notebook}`), or {' and '.join(ways)}"
        )

    def parameters(self, stage: Stage, notebook: Notebook) -> Given:
        """What the stage gives to its notebook: exactly what its `params:` list has DVC track.

        An entry that is a mapping is a section: each of its keys is a parameter. Any other entry is itself a key, and so
        is a mapping whose name the notebook has as a parameter. A parameter's name and its key differ in case at most.

        Raises:
            ProjectError: a file of parameters is not there or cannot be read.
        """
        parameters, problems = {}, []
        for parameter in notebook.parameters:
            if twin := parameters.get(parameter.key):
                problems.append(
                    f"{notebook.place(notebook.parameters_cell, parameter.line)}: "
                    f"`{twin.name}` and `{parameter.name}` are the same key `{parameter.key}`: rename one"
                )
            parameters[parameter.key] = parameter
        values, origins, doubts, unclear = {}, {}, [], []
        given = [*self._given(stage, parameters, unclear)]
        problems += unclear
        names = {_name(keys) for _, keys, _ in given}
        # Where an entry is not clear, it may be what brings them.
        missing = [parameter for key, parameter in parameters.items() if key not in names and not unclear]
        surplus = [str(keys[-1]) for _, keys, _ in given if _name(keys) not in parameters]
        for file, keys, value in given:
            key = _name(keys)
            where = f"{self.place_of(file, keys)}: `{'.'.join(map(str, keys))}`"
            parameter = parameters.get(key)
            if key in origins and origins[key] != where:
                problems.append(
                    f"{where} and {origins[key]} both define `{key}` for stage `{stage.name}`: "
                    f"rename one, or list only the one wanted in the stage's `params:`"
                )
            elif parameter is None:
                problems.append(_surplus(where, keys, missing, stage, notebook))
            elif (problem := _unfit(where, value, parameter, notebook)) is not None:
                (problems if parameter.annotation else doubts).append(problem)
            origins.setdefault(key, where)
            if parameter is not None:
                values[parameter.name] = value
        problems.extend(
            _missing(parameter, self.cures(parameter, stage, notebook), surplus, stage, notebook)
            for parameter in missing
        )
        return Given(values, problems, missing, surplus, doubts)

    def cures(self, parameter: Parameter, stage: Stage, notebook: Notebook) -> list[Cure]:
        """The ways to give a parameter that the stage lacks. A single one is no guess.

        A key of its name that is there already, and a new one in a section that the stage lists: in the one that the
        comment above the parameter names, where there are several. The first alone only where the notebook then runs with
        its own values, in a section that it has all of; or where there is no room for the second, and no other stage has
        what it takes in: what another stage takes is changed for that one. The second alone only where it suits each other
        stage that it comes to; else the stage's own section is a way, too.
        """
        data = self.load(PARAMS_FILE)
        names = {own.key: own for own in notebook.parameters}
        lacks = self._lacking(stage, notebook)

        def is_own(paths: list[tuple]) -> bool:
            return all(repr(_at(data, path)) == repr(names[_name(path)].default) for path in paths)

        def is_free(paths: list[tuple]) -> bool:
            return not any(self._takers(path, stage) for path in paths)

        def taken_in(keys: tuple) -> tuple[str, list[tuple]]:
            """The entry that gives a key, and the keys that are there and come with it: its whole section where that fits."""
            if len(keys) == 2 and _name(keys[:1]) not in names:
                inner = [(keys[0], key) for key in data.get(keys[0]) or ()]
                # A section that has one more key of those that the stage gets would give that twice.
                fits = {_name(path) for path in inner} <= lacks.keys()
                if fits and (is_own(inner) or is_free(inner)):
                    return keys[0], inner
            return ".".join(map(str, keys)), [keys]

        there, paths = [], []
        for keys in self.keys(parameter):
            entry, inner = taken_in(keys)
            there.append(Cure(keys, True, entry))
            paths += inner
        taken = [cure.keys for cure in there]
        new = [
            Cure((*keys, parameter.key), False, entry)
            for keys, entry in self._sections(parameter, stage, names).items()
            if (*keys, parameter.key) not in taken
        ]
        if there and not new and (is_own(paths) or is_free(paths)):
            return there
        # The list of a `foreach` or `matrix` stage is that of all its items.
        if len(there) == 1 and is_own(paths) and there[0].entry == there[0].keys[0] and "@" not in stage.name:
            return there
        # A section of a parameter's name could be taken for the parameter; one that has the key is among the ways.
        not_here = names.keys() | {cure.keys[0] for cure in there + new}
        for name in dict.fromkeys((as_spelt(parameter.section, data), stage.keys[1], f"{stage.keys[1]}_parameters")):
            if len(new) > 1 or (new and self._suits(new[0].keys, parameter, stage)):
                break
            if name and name not in not_here and isinstance(data.get(name), dict | None):
                new.append(Cure((name, parameter.key), False, taken_in((name, parameter.key))[0]))
        return there + new

    def _takers(self, keys: tuple, stage: Stage) -> list[Stage]:
        """The other stages that a key of params.yaml is given to, alone or with all that is around it."""
        path = list(map(str, keys))
        entries = {".".join(path[:length]) for length in range(1, len(path) + 1)} | {None}
        return [
            other
            for other in self.stages()
            if other.name != stage.name
            and any(file == PARAMS_FILE and entry in entries for file, entry in _entries(other))
        ]

    def _lacking(self, stage: Stage, notebook: Notebook) -> dict[str, Parameter]:
        """The parameters that a stage lacks, by their keys."""
        names = {own.key: own for own in notebook.parameters}
        given = {_name(keys) for _, keys, _ in self._given(stage, names, [])}
        return {key: own for key, own in names.items() if key not in given}

    def _suits(self, keys: tuple, parameter: Parameter, stage: Stage) -> bool:
        """Whether each other stage that a new key would come to lacks it, too, and has the same default for it."""
        return all(
            parameter.key in (lacks := self._lacking_elsewhere(other))
            and repr(lacks[parameter.key].default) == repr(parameter.default)
            for other in self._takers(keys, stage)
        )

    def _lacking_elsewhere(self, stage: Stage) -> dict[str, Parameter]:
        """The same of another stage, found out once; none where it runs no notebook that can be read."""
        if stage.name not in self._lacks:
            call, self._lacks[stage.name] = stage.calls("run"), {}
            with contextlib.suppress(NotebookError, ProjectError):
                if call:
                    self._lacks[stage.name] = self._lacking(stage, read(self.root / call[0]))
        return self._lacks[stage.name]

    def _sections(
        self, parameter: Parameter, stage: Stage, parameters: dict[str, Parameter]
    ) -> dict[tuple, str | None]:
        """Where in params.yaml the stage's list has room for a new key, and what the list would lack then."""
        data, sections = self.load(PARAMS_FILE), {}
        for file, entry in _entries(stage):
            if file != PARAMS_FILE:
                continue
            if entry is None:  # the whole file
                sections[()] = None
            for keys in [tuple(entry.split("."))] if entry is not None else [(str(key),) for key in data]:
                try:
                    value = _at(data, keys)
                except LookupError:
                    value = None
                # What has a parameter's name is that parameter, not a section.
                if isinstance(value, dict | None) and _name(keys) not in parameters:
                    sections[keys] = None
                else:  # a single key: a sibling of it would have to be listed, too
                    sections.setdefault(keys[:-1], ".".join((*keys[:-1], parameter.key)))
        named = (as_spelt(parameter.section, data),)
        suits = named in sections and self._suits((*named, parameter.key), parameter, stage)
        return {named: sections[named]} if suits else sections

    def _given(
        self, stage: Stage, parameters: dict[str, Parameter], problems: list[str]
    ) -> Iterator[tuple[str, tuple, object]]:
        """File, path of keys and value of each parameter that the `params:` list names, once each."""
        seen = set()
        for file, entry in _entries(stage):
            data = self.load(file)
            for keys in [tuple(entry.split("."))] if entry is not None else [(key,) for key in data]:
                try:
                    value = _at(data, keys)
                except LookupError:
                    cure = "add it there or take it off the list"
                    if any(
                        as_python_reads(".".join(map(str, each))) == as_python_reads(entry) for each in _paths(data)
                    ):
                        cure = "it has one that looks the same but has other characters. Fix: copy that one to the list"
                    problems.append(
                        f"{self.place(stage, 'params')}: stage `{stage.name}` lists `{entry}` under `params:`, "
                        f"but {file} has no such key: {cure}"
                    )
                    continue
                problems.extend(
                    f"{self.place_of(file, path)}: `{'.'.join(map(str, path))}` has keys of several types "
                    f"({', '.join(kinds)}), which DVC cannot sort: quote them"
                    for path, kinds in _kinds_of_keys(value, keys)
                )
                inner = [(*keys, key) for key in value] if isinstance(value, dict) else []
                # A section in which nothing stands yet is one, too.
                if _name(keys) not in parameters and (isinstance(value, dict) or value is None):
                    found = inner
                elif any(_name(path) in parameters for path in inner):
                    problems.append(
                        f"{self.place_of(file, keys)}: `{entry or keys[-1]}` may be meant as a parameter or as a section: "
                        "the notebook has parameters of its name and of its keys; rename one"
                    )
                    continue
                else:
                    found = [keys]
                for path in found:
                    if (file, path) not in seen:
                        seen.add((file, path))
                        yield file, path, _at(data, path)

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
            context = _merged(context, _mapping_of(entry, f"{PIPELINE_FILE}: vars"))
        return context

    def load(self, file: str) -> dict:
        """A YAML, JSON or TOML file as DVC reads it, once.

        Raises:
            ProjectError: it is not there, cannot be read, or holds a value that DVC cannot track.
        """
        if file not in self._files:
            path = self.root / file
            try:
                text = path.read_text(encoding="utf-8-sig")
            except FileNotFoundError:
                raise ProjectError(f"{file}: there is no such file here: run from the project's root") from None
            except UnicodeDecodeError:
                raise ProjectError(f"{file}: cannot be read, it is not UTF-8 text: save it as UTF-8") from None
            try:
                data = _parse(text, file) or {}
                _refuse_endless(data, text, file)
            except RecursionError:
                raise ProjectError(f"{file}: is nested too deep to be read. Fix: use fewer levels") from None
            self._files[file] = data
            if file != PIPELINE_FILE:
                for keys, value in _leaves(_mapping_of(data, file)):
                    if not isinstance(value, _PLAIN_TYPES):
                        raise ProjectError(_no_plain_value(self.place_of(file, keys), keys, value))
        return self._files[file]

    def place_of(self, file: str, keys: tuple) -> str:
        """`params.yaml:12`: the line of a key; the file alone where it is no YAML."""
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
        return [path for path in found if _name(path) == parameter.key]

    def filled(self, stage: Stage, text: str) -> str:
        """A text of a stage with its `${...}` filled in.

        Raises:
            ProjectError: one of them is not defined.
        """
        return _string(_filled(text, stage.variables, f"{PIPELINE_FILE}: stage `{stage.name}`"))

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
        """`dvc.yaml:12`: the line of a key of a stage; where it has none, of the stage."""
        text = (self.root / PIPELINE_FILE).read_text(encoding="utf-8-sig")
        line = yaml_edit.line(text, (*stage.keys, key)) or yaml_edit.line(text, stage.keys[:2])
        return f"{PIPELINE_FILE}:{line}"


@functools.lru_cache(maxsize=4)
def _parse(text: str, file: str) -> object:
    try:
        if file.endswith((".yaml", ".yml")) or file == PIPELINE_FILE:
            # The same loader as DVC's (dvc/utils/serialize/_yaml.py): YAML 1.2.
            return YAML(typ="safe").load(text)
        if file.endswith(".json"):
            return json.loads(text)
        if file.endswith(".toml"):
            return tomllib.loads(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(str(error.problem or error.context).split())
        if conflict := re.search(r"^(<<<<<<<|>>>>>>>)", text, re.MULTILINE):
            line = text.count("\n", 0, conflict.start()) + 1
            what = "holds a merge conflict: keep one side of it and delete the marker lines"
            raise ProjectError(f"{file}:{line}: {what}") from None
        if isinstance(error, DuplicateKeyError):
            what = _stands_twice(text, mark) or what
        elif mark and "\t" in text.split("\n")[mark.line] and "any token" in what:
            what = "holds a tab, which YAML does not take here: write spaces"
        elif "another document" in what:
            what = "begins a second document, and DVC reads one: take this line out"
        raise ProjectError(f"{file}:{mark.line + 1}: {what}" if mark else f"{file}: {what}") from None
    except (YAMLError, ValueError) as error:
        raise ProjectError(f"{file}: cannot be read: {' '.join(str(error).split())}") from None
    raise ProjectError(f"{file}: parameters are read from YAML, JSON and TOML files only")


def _stands_twice(text: str, mark: StringMark) -> str | None:
    """What is wrong with the key at `mark`; None where no key above it in its mapping is written like it (`1` and `0x1`)."""
    nodes = [yaml_edit.node(text, ())]
    for node in nodes:
        keys = [key for key, _ in node.value] if isinstance(node, MappingNode) else []
        inner = [value for _, value in node.value] if keys else node.value if isinstance(node, SequenceNode) else []
        if second := next((key for key in keys if _begins_at(key, mark)), None):
            first = next(key for key in keys if key.value == second.value)
            if first is second:
                return None
            return f"`{second.value}` stands twice (line {first.start_mark.line + 1}, too): make one of them"
        # An alias may lead back to where it stands.
        around = (each for each in inner if each.start_mark.line <= mark.line <= each.end_mark.line)
        nodes += [each for each in around if each not in nodes]
    return None


def _begins_at(node: Node, mark: StringMark) -> bool:
    return (node.start_mark.line, node.start_mark.column) == (mark.line, mark.column)


def _no_plain_value(place: str, keys: tuple, value: object) -> str:
    key = ".".join(map(str, keys))
    if hasattr(value, "isoformat"):
        return f'{place}: `{key}` is an unquoted date, which DVC cannot track: quote it, as in "{value}"'
    return f"{place}: `{key}` is a {type(value).__name__}, which DVC cannot track: quote it"


# What DVC takes for a key of a stage, and for each entry if that is a list (`STAGE_DEFINITION` in dvc/schema.py).
_KINDS = {
    "cmd": (str, list), "matrix": dict, "wdir": str, "desc": str, "meta": object, "frozen": bool, "always_changed": bool,
    "vars": list, "deps": list, "params": list, "outs": list, "metrics": list, "plots": list,
}  # fmt: skip
_ENTRIES = {
    "vars": (str, dict),
    "deps": str,
    "params": (str, dict),
    **dict.fromkeys(("outs", "metrics", "plots"), (str, dict)),
}
LISTS = [key for key, kind in _KINDS.items() if kind is list]
_SAID = {str: "text", list: "a list, one `- name` a line", bool: "true or false", dict: "a mapping of `name: value`"}
MANY_STAGES = 100_000


def _refuse_other_kinds(where: str, name: object, definition: object) -> None:
    """Refuse what DVC does not take in a stage; values of options are left to DVC."""
    if not isinstance(name, str) or not name:
        raise ProjectError(f"{where}: its name is not text. Fix: write it in quotes")
    body = _mapping_of(definition, where)
    if {"foreach", "do"} & body.keys():
        if not isinstance(body.get("foreach"), str | list | dict):
            raise ProjectError(f"{where}: foreach: must be a list, one `- name` a line")
        body = _mapping_of(body.get("do"), f"{where}: do")
    if body.get("cmd") is None:
        raise ProjectError(f"{where}: has no command. Fix: write one behind `cmd:`")
    for key, value in body.items():
        kinds = _KINDS.get(key)
        if kinds is None:
            raise ProjectError(f"{where}: DVC knows no key `{key}`. Fix: remove it, or correct its name")
        if value is None and kinds is list:
            continue  # `check` fills it, or reports it
        if not isinstance(value, kinds) and key != "cmd":
            raise ProjectError(f"{where}: {key}: must be {_SAID[kinds]}")
        for entry in value if key in _ENTRIES else ():
            options = entry.values() if isinstance(entry, dict) and key in ("outs", "metrics", "plots") else ()
            if (
                not entry
                or not isinstance(entry, _ENTRIES[key])
                or not all(isinstance(each, dict | list) for each in options)
            ):
                raise ProjectError(
                    f"{where}: {key}: {json.dumps(entry, default=str)} cannot stand here. Fix: write a name as text"
                )
    for axis, values in (body.get("matrix") or {}).items():
        if not isinstance(values, str | list):
            raise ProjectError(f"{where}: matrix: `{axis}`: must be a list, one `- name` a line")


def _refuse_endless(data: object, text: str, file: str) -> None:
    """Refuse what only aliases can make of a text: a value that holds itself, and more values than anything can go through."""
    left, open_values = max(len(text), 1_000_000), [iter([data])]
    while open_values:
        for value in open_values[-1]:
            left -= 1
            if left < 0 or len(open_values) > sys.getrecursionlimit():
                what = "stand for too many values" if left < 0 else "lead back to where they stand"
                raise ProjectError(f"{file}: its aliases (`*name`) {what}. Fix: write the values themselves")
            if isinstance(value, dict | list):
                open_values.append(iter(value.values() if isinstance(value, dict) else value))
                break
        else:
            open_values.pop()


def _list_of(value: object, what: str) -> None:
    """Refuses what is no list, and a `{file: keys}` of it whose keys are none: a string would be taken letter by letter."""
    entries = value if isinstance(value, list) else [None]
    keys = [keys for entry in entries if isinstance(entry, dict) for keys in entry.values()]
    if not isinstance(value, list) or (
        what.endswith("params") and not all(isinstance(each, list | None) for each in keys)
    ):
        raise ProjectError(f"{what}: must be a list, one `- name` a line")


def _leaves(value: object, keys: tuple = ()) -> Iterator[tuple[tuple, object]]:
    """All values below mappings and lists, each with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*keys, key))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, keys)
    else:
        yield keys, value


def _kinds_of_keys(value: object, keys: tuple) -> Iterator[tuple[tuple, list[str]]]:
    """The mappings in a value whose keys cannot be sorted, each with its path and the types of its keys."""
    if isinstance(value, dict):
        try:
            sorted(value)
        except TypeError:
            yield keys, sorted({type(key).__name__ for key in value})
        for key, inner in value.items():
            yield from _kinds_of_keys(inner, (*keys, key))
    elif isinstance(value, list):
        for inner in value:
            yield from _kinds_of_keys(inner, keys)


def _lines_of(cmd: str | list) -> tuple[str, ...]:
    return tuple(cmd.splitlines() if isinstance(cmd, str) else map(str, cmd))


def _mapping_of(value: object, what: str) -> dict:
    if not isinstance(value, dict):
        raise ProjectError(f"{what}: must be a mapping of `name: value`")
    return value


def command(verb: str, *paths: str) -> str:
    """The command line of a stage, which sh and Windows' cmd read alike.

    Raises:
        ProjectError: one of the paths cannot be said in both.
    """
    return " ".join(["pipeline", verb, *map(quoted, paths)])


def quoted(path: str) -> str:
    """A path as one word of a command line, for sh and for Windows' cmd: in double quotes if it needs them.

    Raises:
        ProjectError: it cannot be said in both.
    """
    if unfit := re.search(r"""["$`\\\x00-\x1f\x7f]|%[^%]+%""", path):
        shown = path.encode("unicode_escape").decode() if unfit[0] < " " else path
        raise ProjectError(f"{shown}: a stage's command cannot name a file with {unfit[0]!r}. Fix: rename the file")
    return shell.quote(path)


def literal(path: str) -> str:
    """A path for dvc.yaml, in which DVC takes `${x}` for a variable."""
    return path.replace("${", "\\${")


def _at(data: dict, keys: tuple) -> object:
    """The value under a path of keys.

    Raises:
        LookupError: there is none.
    """
    for key in keys:
        if not isinstance(data, dict):
            raise LookupError(key)
        # A key that reads as a number is one to YAML, and a string in a dotted path.
        if key not in data:
            key = next((own for own in data if str(own) == key), key)
        data = data[key]
    return data


def _meet(path: str, other: str) -> bool:
    """Whether two paths are the same, or one is a folder above the other."""
    first, second = Path(path), Path(other)
    return first.is_relative_to(second) or second.is_relative_to(first)


def _name(keys: tuple) -> str:
    """What a parameter's key is compared with: the last of a path of keys."""
    return key_of(keys[-1])


def as_spelt(name: str, data: dict) -> str:
    """The key of a mapping that Python would take for the name; the name itself if there is none."""
    return name if name in data else next((own for own in data if as_python_reads(own) == as_python_reads(name)), name)


def _paths(data: object, keys: tuple = ()) -> Iterator[tuple]:
    """The path of each key of a mapping and of those in it."""
    for key, value in data.items() if isinstance(data, dict) else ():
        yield (*keys, key)
        yield from _paths(value, (*keys, key))


def _entries(stage: Stage) -> Iterator[tuple[str, str | None]]:
    """File and key of each entry of a `params:` list; None stands for the whole file."""
    for entry in stage.params:
        if isinstance(entry, dict):
            for file, keys in entry.items():
                yield from ((file, str(key)) for key in keys) if keys else [(file, None)]
        else:
            yield PARAMS_FILE, str(entry)


def _expand(name: str, definition: dict, context: dict) -> Iterator[tuple[str, dict, dict]]:
    """Name, body and variables of each stage that a definition stands for (dvc/parsing/__init__.py)."""
    where = f"{PIPELINE_FILE}: stage `{name}`"
    if "foreach" in definition:
        items = _filled(definition["foreach"] or [], context, where)
        body = _mapping_of(definition.get("do") or {}, f"{where}: do")
        if isinstance(items, dict):
            pairs = [(_string(key), {"key": _string(key), "item": item}) for key, item in items.items()]
        else:
            _list_of(items, f"{where}: foreach")
            is_nested = any(isinstance(item, dict | list) for item in items)
            labels = map(str, range(len(items))) if is_nested else _labels(definition["foreach"], items)
            pairs = [(label, {"item": item}) for label, item in zip(labels, items, strict=True)]
    elif "matrix" in definition:
        raw = _mapping_of(definition["matrix"], f"{where}: matrix")
        axes = {axis: _filled(values, context, where) for axis, values in raw.items()}
        for axis, values in axes.items():
            # Of a section of params.yaml, DVC takes the keys.
            _list_of([*values] if isinstance(values, dict) else values, f"{where}: matrix: `{axis}`")
        body, pairs = definition, []
        labelled = [
            [
                (f"{axis}{index}" if isinstance(value, dict | list) else label, value)
                for index, (label, value) in enumerate(zip(_labels(raw[axis], values), values, strict=True))
            ]
            for axis, values in axes.items()
        ]
        if (count := math.prod(map(len, labelled))) > MANY_STAGES:
            raise ProjectError(f"{where}: matrix: means {count} stages, too many for DVC. Fix: use fewer values")
        for combination in itertools.product(*labelled):
            key = "-".join(label for label, _ in combination)
            pairs.append((key, {"key": key, "item": dict(zip(axes, (value for _, value in combination), strict=True))}))
    else:
        yield name, definition, context
        return
    # Of two items of one name, DVC takes the last.
    for key, variables in dict(pairs).items():
        yield f"{name}@{key}", body, {**context, **variables}


def _labels(raw: object, items: list | dict) -> Iterator[str]:
    """What DVC calls the items of a list: `true` is `x@true` in the list itself, and `x@True` through a `${...}`."""
    for written, item in zip(raw if isinstance(raw, list) else [raw] * len(items), items, strict=True):
        yield str(item) if isinstance(written, str) else _string(item)


def _filled(value: object, context: dict, where: str) -> object:
    """A value of dvc.yaml with each `${...}` replaced (dvc/parsing/interpolate.py)."""
    if isinstance(value, dict):
        return {_filled(key, context, where): _filled(inner, context, where) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, context, where) for inner in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    if whole := _INTERPOLATION.fullmatch(value):
        return _variable(whole[1], context, where)
    return _INTERPOLATION.sub(lambda match: _string(_variable(match[1], context, where)), value).replace("\\${", "${")


def _variable(expression: str, context: dict, where: str) -> object:
    value = context
    for name in re.findall(r"[^.\[\]]+", expression.strip()):
        try:
            value = value[int(name)] if isinstance(value, list) else _at(value, (name,))
        except (LookupError, ValueError):
            raise ProjectError(f"{where}: `${{{expression}}}` is not defined in {PARAMS_FILE} or `vars:`") from None
    return _with_names(value)


def _with_names(value: object) -> object:
    """A variable as DVC sees it: of a mapping, only the keys that are strings."""
    if isinstance(value, dict):
        return {key: _with_names(inner) for key, inner in value.items() if isinstance(key, str)}
    return [_with_names(inner) for inner in value] if isinstance(value, list) else value


def _merged(variables: dict, more: dict) -> dict:
    """Both, and of a section that both have the keys of both. (A value of both is an error that DVC itself tells.)"""
    common = {
        name: _merged(variables[name], value)
        for name, value in more.items()
        if isinstance(value, dict) and isinstance(variables.get(name), dict)
    }
    return variables | more | common


def _string(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _surplus(where: str, keys: tuple, missing: list[Parameter], stage: Stage, notebook: Notebook) -> str:
    cell = notebook.parameters_cell
    place = f"the parameters cell (cell {cell.number}) of {notebook.path}" if cell else notebook.path
    renamed = "".join(f"rename it to `{parameter.key}`, " for parameter in missing)
    return (
        f"{where} is given to stage `{stage.name}`, but {place} does not assign `{keys[-1]}`: "
        f"{renamed}add it there, or list in the stage's `params:` only the keys that the notebook uses"
    )


def _missing(parameter: Parameter, cures: list[Cure], surplus: list[str], stage: Stage, notebook: Notebook) -> str:
    sections = ", ".join(entry or file for file, entry in _entries(stage)) or "none"
    try:
        value = yaml_edit.on_one_line(parameter.default) if parameter.default is not NOT_LITERAL else "..."
    except yaml_edit.EditError:
        value = "..."
    ways = [f"rename `{key}` to `{parameter.key}` in {PARAMS_FILE}" for key in dict.fromkeys(surplus)]
    for cure in cures:
        section, listed = ".".join(map(str, cure.keys[:-1])), f"list `{cure.entry}` under the stage's `params:`"
        added = f"add `{parameter.key}: {value}` to {f'`{section}` in ' if section else ''}{PARAMS_FILE}"
        ways.append(listed if cure.is_there else added + (f" and {listed}" if cure.entry else ""))
    return (
        f"{notebook.place(notebook.parameters_cell, parameter.line)}: parameter `{parameter.name}` has no key "
        f"`{parameter.key}` in what stage `{stage.name}` lists under `params:` ({sections}): {', or '.join(ways)}"
    )


def _unfit(where: str, value: object, parameter: Parameter, notebook: Notebook) -> str | None:
    declared = contradiction(parameter, value)
    if declared is None:
        return None
    place = notebook.place(notebook.parameters_cell, parameter.line)
    more = "" if parameter.annotation else ", or annotate the parameter"
    return f"{where} is {value!r} ({type(value).__name__}), but {place} says `{declared}`: change one of them{more}"
