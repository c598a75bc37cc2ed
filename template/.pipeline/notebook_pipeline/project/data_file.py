"""A file of parameters or stages, read as DVC reads it: YAML 1.2, JSON or TOML."""

import functools
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from notebook_pipeline.project import yaml_edit

PARAMS_FILE = "params.yaml"
PIPELINE_FILE = "dvc.yaml"
PLAIN_TYPES = (str, int, float, bool, type(None))


class ProjectError(Exception):
    """A params.yaml or dvc.yaml that cannot be used; one line: file, place, fix."""


def read(path: Path, file: str) -> object:
    """Read a file; an empty one is an empty mapping.

    Args:
        file: its name in messages.

    Raises:
        ProjectError: it does not exist or cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ProjectError(f"{file}: does not exist here. Fix: run the command in the project's root") from None
    except UnicodeDecodeError:
        raise ProjectError(f"{file}: is not UTF-8 text. Fix: save it as UTF-8") from None
    try:
        data = _parse(text, file) or {}
        _refuse_endless(data, text, file)
    except RecursionError:
        raise ProjectError(f"{file}: is nested too deep to be read. Fix: use fewer levels") from None
    return data


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
            what = "holds a merge conflict. Fix: keep one side of it and delete the marker lines"
            raise ProjectError(f"{file}:{line}: {what}") from None
        if isinstance(error, DuplicateKeyError):
            what = _describe_repeated(text, mark) or what
        elif mark and "\t" in text.split("\n")[mark.line] and "any token" in what:
            what = "holds a tab, which YAML does not allow here. Fix: write spaces"
        elif "another document" in what:
            what = "begins a second document, and DVC reads one. Fix: remove this line"
        raise ProjectError(f"{file}:{mark.line + 1}: {what}" if mark else f"{file}: {what}") from None
    except (YAMLError, ValueError) as error:
        raise ProjectError(f"{file}: cannot be read: {' '.join(str(error).split())}") from None
    raise ProjectError(f"{file}: parameters are read from YAML, JSON and TOML files only")


def _describe_repeated(text: str, mark: StringMark) -> str | None:
    """Describe what is wrong with the key at `mark`; None if no key above it in its mapping is written like it (`1` and `0x1`)."""
    nodes = [yaml_edit.node(text, ())]
    for node in nodes:
        keys = [key for key, _ in node.value] if isinstance(node, MappingNode) else []
        inner = [value for _, value in node.value] if keys else node.value if isinstance(node, SequenceNode) else []
        if second := next((key for key in keys if _begins_at(key, mark)), None):
            first = next(key for key in keys if key.value == second.value)
            if first is second:
                return None
            return f"`{second.value}` is defined twice (line {first.start_mark.line + 1}, too). Fix: keep one"
        # An alias may lead back to where it stands.
        around = (each for each in inner if each.start_mark.line <= mark.line <= each.end_mark.line)
        nodes += [each for each in around if each not in nodes]
    return None


def _begins_at(node: Node, mark: StringMark) -> bool:
    return (node.start_mark.line, node.start_mark.column) == (mark.line, mark.column)


def describe_unfit_value(place: str, keys: tuple, value: object) -> str:
    key = ".".join(map(str, keys))
    if hasattr(value, "isoformat"):
        return f'{place}: `{key}` is an unquoted date, which DVC cannot track. Fix: quote it, as in "{value}"'
    return f"{place}: `{key}` is a {type(value).__name__}, which DVC cannot track. Fix: quote it"


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


def leaves(value: object, keys: tuple = ()) -> Iterator[tuple[tuple, object]]:
    """All values below mappings and lists, each with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*keys, key))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, keys)
    else:
        yield keys, value


def kinds_of_keys(value: object, keys: tuple) -> Iterator[tuple[tuple, list[str]]]:
    """The mappings in a value whose keys cannot be sorted, each with its path and the types of its keys."""
    if isinstance(value, dict):
        try:
            sorted(value)
        except TypeError:
            yield keys, sorted({type(key).__name__ for key in value})
        for key, inner in value.items():
            yield from kinds_of_keys(inner, (*keys, key))
    elif isinstance(value, list):
        for inner in value:
            yield from kinds_of_keys(inner, keys)


def value_at(data: dict, keys: tuple) -> object:
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
