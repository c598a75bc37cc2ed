"""Stages of dvc.yaml: what one says, and those that `foreach`, `matrix` and `${...}` stand for."""

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
        """NOTEBOOK and OUTPUT of this stage's `pipeline VERB NOTEBOOK OUTPUT`; None if it has none."""
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


def expand(name: str, definition: dict, context: dict) -> Iterator[tuple[str, dict, dict]]:
    """Name, body and variables of each stage that a definition stands for (dvc/parsing/__init__.py)."""
    where = f"{PIPELINE_FILE}: stage `{name}`"
    if "foreach" in definition:
        items = fill(definition["foreach"] or [], context, where)
        body = require_mapping(definition.get("do") or {}, f"{where}: do")
        if isinstance(items, dict):
            pairs = [(to_text(key), {"key": to_text(key), "item": item}) for key, item in items.items()]
        else:
            require_list(items, f"{where}: foreach")
            is_nested = any(isinstance(item, dict | list) for item in items)
            labels = map(str, range(len(items))) if is_nested else _labels(definition["foreach"], items)
            pairs = [(label, {"item": item}) for label, item in zip(labels, items, strict=True)]
    elif "matrix" in definition:
        raw = require_mapping(definition["matrix"], f"{where}: matrix")
        axes = {axis: fill(values, context, where) for axis, values in raw.items()}
        for axis, values in axes.items():
            # Of a section of params.yaml, DVC takes the keys.
            require_list([*values] if isinstance(values, dict) else values, f"{where}: matrix: `{axis}`")
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
        yield str(item) if isinstance(written, str) else to_text(item)


def fill(value: object, context: dict, where: str) -> object:
    """A value of dvc.yaml with each `${...}` replaced (dvc/parsing/interpolate.py)."""
    if isinstance(value, dict):
        return {fill(key, context, where): fill(inner, context, where) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill(inner, context, where) for inner in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    if whole := _INTERPOLATION.fullmatch(value):
        return _look_up(whole[1], context, where)
    return _INTERPOLATION.sub(lambda match: to_text(_look_up(match[1], context, where)), value).replace("\\${", "${")


def _look_up(expression: str, context: dict, where: str) -> object:
    value = context
    for name in re.findall(r"[^.\[\]]+", expression.strip()):
        try:
            value = value[int(name)] if isinstance(value, list) else value_at(value, (name,))
        except (LookupError, ValueError):
            raise ProjectError(f"{where}: `${{{expression}}}` is not defined in {PARAMS_FILE} or `vars:`") from None
    return _keep_names(value)


def _keep_names(value: object) -> object:
    """A variable as DVC sees it: of a mapping, only the keys that are strings."""
    if isinstance(value, dict):
        return {key: _keep_names(inner) for key, inner in value.items() if isinstance(key, str)}
    return [_keep_names(inner) for inner in value] if isinstance(value, list) else value


def merge(variables: dict, more: dict) -> dict:
    """Both, and of a section that both have the keys of both. (A value of both is an error that DVC itself reports.)"""
    common = {
        name: merge(variables[name], value)
        for name, value in more.items()
        if isinstance(value, dict) and isinstance(variables.get(name), dict)
    }
    return variables | more | common


def to_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


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


def refuse_other_kinds(where: str, name: object, definition: object) -> None:
    """Refuse what DVC does not take in a stage; values of options are left to DVC."""
    if not isinstance(name, str) or not name:
        raise ProjectError(f"{where}: its name is not text. Fix: write it in quotes")
    body = require_mapping(definition, where)
    if {"foreach", "do"} & body.keys():
        if not isinstance(body.get("foreach"), str | list | dict):
            raise ProjectError(f"{where}: foreach: must be a list, one `- name` a line")
        body = require_mapping(body.get("do"), f"{where}: do")
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


def require_list(value: object, what: str) -> None:
    """Refuse what is not a list, and a `{file: keys}` of it whose keys are not one: a string would be taken letter by letter."""
    entries = value if isinstance(value, list) else [None]
    keys = [keys for entry in entries if isinstance(entry, dict) for keys in entry.values()]
    if not isinstance(value, list) or (
        what.endswith("params") and not all(isinstance(each, list | None) for each in keys)
    ):
        raise ProjectError(f"{what}: must be a list, one `- name` a line")


def split_lines(cmd: str | list) -> tuple[str, ...]:
    return tuple(cmd.splitlines() if isinstance(cmd, str) else map(str, cmd))


def require_mapping(value: object, what: str) -> dict:
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
