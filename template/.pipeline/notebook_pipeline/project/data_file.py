"""A file of parameters or stages, read as DVC reads it: YAML 1.2, JSON or TOML."""

import functools
import json
import math
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, SequenceNode

from notebook_pipeline.notebook.syntax import find_conflict
from notebook_pipeline.project import yaml_edit

PARAMS_FILE = "params.yaml"
PIPELINE_FILE = "dvc.yaml"


class ProjectError(Exception):
    """A params.yaml or dvc.yaml that cannot be used; one line: file, place, fix."""


def read(path: Path, file: str) -> object:
    """Read a file; an empty one is an empty mapping.

    Args:
        file: its name in messages.

    Raises:
        ProjectError: it does not exist or cannot be read, or is one of parameters with a value that DVC cannot track.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        data = _parse(text, file) or {}
    except FileNotFoundError:
        raise ProjectError(f"{file}: does not exist here. Fix: run the command in the project's root") from None
    except UnicodeDecodeError:
        raise ProjectError(f"{file}: is not UTF-8 text. Fix: save it as UTF-8") from None
    except RecursionError:
        raise ProjectError(f"{file}: is nested too deep to be read. Fix: use fewer levels") from None
    except MarkedYAMLError as error:
        raise ProjectError(f"{file}{_describe(error, text)}") from None
    except (YAMLError, ValueError) as error:
        raise ProjectError(f"{file}: cannot be read: {' '.join(str(error).split())}") from None
    try:
        # No text has more values than characters, unless by aliases.
        for keys, value in walk(data, at_most=max(len(text), 1_000_000)):
            if file != PIPELINE_FILE and not isinstance(value, str | int | float | bool | dict | list | None):
                raise ProjectError(f"{place(text, file, keys)}: {_describe_unfit(keys, value)}")
    except RecursionError as error:
        raise ProjectError(f"{file}: its aliases (`*name`) {error}. Fix: write the values themselves") from None
    return data


def place(text: str, file: str, keys: tuple) -> str:
    """Return `params.yaml:12`, the line of a key in a file's text; the file alone if it is not YAML."""
    line = yaml_edit.line(text, keys) if keys and file.endswith((".yaml", ".yml")) else None
    return f"{file}:{line}" if line else file


def walk(data: object, keys: tuple = (), at_most: float = math.inf) -> Iterator[tuple[tuple, object]]:
    """Yield a value and all those in its mappings and lists, each with its path of keys.

    Raises:
        RecursionError: aliases make more values than anything can go through, or lead back to where they stand.
    """
    left, count = [(keys, 0, data)], 0
    while left:
        keys, depth, value = left.pop()
        count += 1
        if count > at_most:
            raise RecursionError("stand for too many values")
        if depth > sys.getrecursionlimit():
            raise RecursionError("lead back to where they stand")
        yield keys, value
        if isinstance(value, dict):
            left += [((*keys, key), depth + 1, inner) for key, inner in reversed(value.items())]
        elif isinstance(value, list):
            left += [(keys, depth + 1, inner) for inner in reversed(value)]


def value_at(data: dict, keys: tuple) -> object:
    """Return the value under a path of keys.

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


@functools.lru_cache(maxsize=4)
def _parse(text: str, file: str) -> object:
    if file.endswith((".yaml", ".yml")):
        # The same loader as DVC's (dvc/utils/serialize/_yaml.py): YAML 1.2.
        return YAML(typ="safe").load(text)
    if file.endswith(".json"):
        return json.loads(text)
    if file.endswith(".toml"):
        return tomllib.loads(text)
    raise ProjectError(f"{file}: parameters are read from YAML, JSON and TOML files only")


def _describe(error: MarkedYAMLError, text: str) -> str:
    """Describe what is wrong with a YAML text, from the line on."""
    mark = error.problem_mark or error.context_mark
    what = " ".join(str(error.problem or error.context).split())
    if line := find_conflict(text):
        return f":{line}: holds a merge conflict. Fix: keep one side of it and delete the marker lines"
    if isinstance(error, DuplicateKeyError):
        what = _describe_repeated(text, mark) or what
    elif mark and "\t" in text.split("\n")[mark.line] and "any token" in what:
        what = "holds a tab, which YAML does not allow here. Fix: write spaces"
    elif "another document" in what:
        what = "begins a second document, and DVC reads one. Fix: remove this line"
    return f":{mark.line + 1}: {what}" if mark else f": {what}"


def _describe_repeated(text: str, mark: StringMark) -> str | None:
    """Describe the key at `mark`, which is defined twice; None if it is spelt in two ways (`1` and `0x1`)."""
    nodes = [yaml_edit.node(text, ())]
    for node in nodes:  # it grows
        pairs = node.value if isinstance(node, MappingNode) else []
        for second, _ in pairs:
            if (second.start_mark.line, second.start_mark.column) == (mark.line, mark.column):
                first = next(key for key, _ in pairs if key.value == second.value)
                twice = f"`{second.value}` is defined twice (line {first.start_mark.line + 1}, too). Fix: keep one"
                return None if first is second else twice
        inner = node.value if isinstance(node, SequenceNode) else [value for _, value in pairs]
        # An alias may lead back to where it stands.
        nodes += [each for each in inner if each.start_mark.line <= mark.line and each not in nodes]
    return None


def _describe_unfit(keys: tuple, value: object) -> str:
    key = ".".join(map(str, keys))
    if hasattr(value, "isoformat"):
        return f'`{key}` is an unquoted date, which DVC cannot track. Fix: quote it, as in "{value}"'
    return f"`{key}` is a {type(value).__name__}, which DVC cannot track. Fix: quote it"
