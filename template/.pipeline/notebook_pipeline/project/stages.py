"""Stages of dvc.yaml: what one says, and those that `foreach`, `matrix` and `${...}` stand for.

Each function raises ProjectError for what DVC does not take, and for a variable that is not defined.
"""

import itertools
import json
import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from notebook_pipeline import shell
from notebook_pipeline.project.data_file import PARAMS_FILE, PIPELINE_FILE, ProjectError, value_at

_INTERPOLATION = re.compile(r"(?<!\\)\$\{([^{}]*)\}")
"""A `${...}`, its expression as the group."""
# What DVC takes for a key of a stage (`STAGE_DEFINITION` in dvc/schema.py), and how messages say it.
_KINDS = {
    "cmd": str | list, "matrix": dict, "wdir": str, "desc": str, "meta": object, "frozen": bool, "always_changed": bool,
    "vars": list, "deps": list, "params": list, "outs": list, "metrics": list, "plots": list,
}  # fmt: skip
_A_LIST = "a list, one `- name` a line"
_SAID = {
    str: "text",
    bool: "true or false",
    dict: "a mapping of `name: value`",
    str | list: "a command, or a list of them",
}
LISTS = [key for key, kind in _KINDS.items() if kind is list]
# What may stand below a name that is an entry of them.
_OPTIONS = {"vars": object, "params": list | None, **dict.fromkeys(("outs", "metrics", "plots"), dict | list)}
_MANY_STAGES = 100_000


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
    wdir: str = "."
    keys: tuple[str, ...] = ()
    """Where in dvc.yaml its definition is."""
    raw_cmd: tuple[str, ...] = ()
    """The command lines with their `${...}`."""

    def calls(self, verb: str) -> tuple[str, str] | None:
        """Return NOTEBOOK and OUTPUT of this stage's `pipeline VERB NOTEBOOK OUTPUT`; None if it has none."""
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


def describe(name: object) -> str:
    """Return how messages begin that are about a stage."""
    return f"{PIPELINE_FILE}: stage `{name}`"


def require(value: object, kind: type, where: str, said: str = "") -> list | dict:
    """Return a value if it is what DVC takes there, as a list or a mapping."""
    if not isinstance(value, kind):
        raise ProjectError(f"{where}: must be {said or _SAID.get(kind, _A_LIST)}")
    return value


def require_stage(name: object, definition: object) -> None:
    """Refuse what DVC does not take as a stage; what an option of an entry says is left to DVC."""
    where = describe(name)
    if not isinstance(name, str) or not name:
        raise ProjectError(f"{where}: its name is not text. Fix: write it in quotes")
    body = require(definition, dict, where)
    if {"foreach", "do"} & body.keys():
        require(body.get("foreach"), str | list | dict, f"{where}: foreach")
        body = require(body.get("do"), dict, f"{where}: do")
    if body.get("cmd") is None:
        raise ProjectError(f"{where}: has no command. Fix: write one behind `cmd:`")
    for key, value in body.items():
        if key not in _KINDS:
            raise ProjectError(f"{where}: DVC knows no key `{key}`. Fix: remove it, or correct its name")
        if value is not None or key not in LISTS:  # `check` reports an empty list
            require(value, _KINDS[key], f"{where}: {key}")
        for entry in (value or []) if key in LISTS else ():
            if not isinstance(entry, str if key == "deps" else str | dict):
                shown = json.dumps(entry, default=str)
                raise ProjectError(f"{where}: {key}: {shown} cannot stand here. Fix: write a name as text")
            for options in entry.values() if isinstance(entry, dict) else ():
                require(options, _OPTIONS[key], f"{where}: {key}")
    for axis, values in (body.get("matrix") or {}).items():
        require(values, str | list, f"{where}: matrix: `{axis}`", _A_LIST)


def expand(name: str, definition: dict, variables: dict) -> Iterator[tuple[str, dict, dict]]:
    """Yield name, body and variables of each stage that a definition stands for (dvc/parsing/__init__.py)."""
    where = describe(name)
    if "foreach" in definition:
        body, items = definition["do"], fill(definition["foreach"], variables, where)
        if isinstance(items, dict):
            pairs = [(to_text(key), {"key": to_text(key), "item": item}) for key, item in items.items()]
        else:
            require(items, list, f"{where}: foreach")
            is_nested = any(isinstance(item, dict | list) for item in items)
            labels = map(str, range(len(items))) if is_nested else _label(definition["foreach"], items)
            pairs = [(label, {"item": item}) for label, item in zip(labels, items, strict=True)]
    elif "matrix" in definition:
        body, pairs = definition, _combine(definition["matrix"], variables, f"{where}: matrix")
    else:
        yield name, definition, variables
        return
    # Of two items of one name, DVC takes the last.
    for key, own in dict(pairs).items():
        yield f"{name}@{key}", body, variables | own


def _combine(matrix: dict, variables: dict, where: str) -> Iterator[tuple[str, dict]]:
    """Yield label and variables of each combination of a matrix."""
    axes = []
    for axis, raw in matrix.items():
        values = fill(raw, variables, where)
        # Of a section of params.yaml, DVC takes the keys.
        values = [*values] if isinstance(values, dict) else require(values, list, f"{where}: `{axis}`")
        axes.append([*zip(_label(raw, values, axis), values, strict=True)])
    if (count := math.prod(map(len, axes))) > _MANY_STAGES:
        raise ProjectError(f"{where}: means {count} stages, too many for DVC. Fix: use fewer values")
    for combination in itertools.product(*axes):
        key = "-".join(label for label, _ in combination)
        yield key, {"key": key, "item": dict(zip(matrix, (value for _, value in combination), strict=True))}


def _label(raw: object, items: list, axis: str = "") -> Iterator[str]:
    """Yield what DVC calls the items of a list: `true` is `x@true` in the list itself, and `x@True` through a `${...}`."""
    for index, item in enumerate(items):
        is_filled = not isinstance(raw, list) or isinstance(raw[index], str)
        yield f"{axis}{index}" if isinstance(item, dict | list) else str(item) if is_filled else to_text(item)


def fill_stage(name: str, keys: tuple[str, ...], body: dict, variables: dict, wdir: str) -> Stage:
    """Make a stage of its definition."""
    filled = {key: fill(body.get(key) or [], variables, describe(name)) for key in ("cmd", *LISTS) if key != "vars"}
    # A path, or a mapping of one to its options.
    outs = [
        (kind, str(path), options)
        for kind in ("outs", "metrics", "plots")
        for entry in filled[kind]
        for path, options in (entry.items() if isinstance(entry, dict) else [(entry, None)])
    ]
    return Stage(
        name=name,
        cmd=_split_lines(filled["cmd"]),
        params=filled["params"],
        deps=tuple(map(str, filled["deps"])),
        outs=tuple(path for _, path, _ in outs),
        shown=tuple(path for kind, path, _ in outs if kind != "outs"),
        persistent=tuple(path for _, path, options in outs if isinstance(options, dict) and options.get("persist")),
        wdir=wdir,
        keys=keys,
        raw_cmd=_split_lines(body["cmd"]),
    )


def _split_lines(cmd: object) -> tuple[str, ...]:
    return tuple(map(str, cmd) if isinstance(cmd, list) else str(cmd).splitlines())


def fill(value: object, variables: dict, where: str) -> object:
    """Replace each `${...}` in a value of dvc.yaml (dvc/parsing/interpolate.py)."""
    if isinstance(value, dict):
        return {fill(key, variables, where): fill(inner, variables, where) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill(inner, variables, where) for inner in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    if whole := _INTERPOLATION.fullmatch(value):
        return _look_up(whole[1], variables, where)
    text = _INTERPOLATION.sub(lambda match: to_text(_look_up(match[1], variables, where)), value)
    return text.replace("\\${", "${")


def _look_up(expression: str, variables: dict, where: str) -> object:
    value = variables
    for name in re.findall(r"[^.\[\]]+", expression.strip()):
        try:
            value = value[int(name)] if isinstance(value, list) else value_at(value, (name,))
        except (LookupError, ValueError):
            raise ProjectError(f"{where}: `${{{expression}}}` is not defined in {PARAMS_FILE} or `vars:`") from None
    return _keep_names(value)


def _keep_names(value: object) -> object:
    """Return a variable as DVC sees it: of a mapping, only the keys that are strings."""
    if isinstance(value, dict):
        return {key: _keep_names(inner) for key, inner in value.items() if isinstance(key, str)}
    return [_keep_names(inner) for inner in value] if isinstance(value, list) else value


def merge(variables: dict, more: dict) -> dict:
    """Add variables; a section that both have gets the keys of both. (DVC itself reports a value that both have.)"""
    common = {
        name: merge(variables[name], value)
        for name, value in more.items()
        if isinstance(value, dict) and isinstance(variables.get(name), dict)
    }
    return variables | more | common


def to_text(value: object) -> str:
    """Write a value as DVC does in a text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def command(verb: str, *paths: str) -> str:
    """Make the command line of a stage, which sh and Windows' cmd read alike."""
    return " ".join(["pipeline", verb, *map(quoted, paths)])


def quoted(path: str) -> str:
    """Make one word of a path for sh and for Windows' cmd: in double quotes if it needs them. Some paths cannot be said in both."""
    if unfit := re.search(r"""["$`\\\x00-\x1f\x7f]|%[^%]+%""", path):
        shown = path.encode("unicode_escape").decode() if unfit[0] < " " else path
        raise ProjectError(f"{shown}: a stage's command cannot name a file with {unfit[0]!r}. Fix: rename the file")
    return shell.quote(path)


def literal(path: str) -> str:
    """Write a path for dvc.yaml, in which DVC takes `${x}` for a variable."""
    return path.replace("${", "\\${")
