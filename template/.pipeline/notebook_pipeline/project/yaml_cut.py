"""Cuts in a YAML file's text, and other names in it, that leave every other byte as a person wrote it."""

import re
from collections.abc import Callable

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from notebook_pipeline.project.yaml_edit import EditError, node


def without_key(text: str, keys: tuple[str, ...]) -> str:
    """Remove a key with its value and the comment lines just above it.

    Raises:
        EditError: it does not exist, or its layout leaves no way to cut it out.
    """
    parent = node(text, keys[:-1])
    pairs = parent.value if isinstance(parent, MappingNode) else []
    index = next((at for at, (key, _) in enumerate(pairs) if str(key.value) == str(keys[-1])), None)
    if index is None:
        raise EditError(f"there is no key `{'.'.join(map(str, keys))}`")
    return _check(text, _without(text, parent, pairs, index), keys[:-1], lambda data: data.pop(_own(data, keys[-1])))


def without_item(text: str, keys: tuple[str, ...], index: int) -> str:
    """Remove the item of a list that stands at an index.

    Raises:
        EditError: its layout leaves no way to cut it out.
    """
    parent = node(text, keys)
    if not isinstance(parent, SequenceNode):
        raise EditError(f"`{'.'.join(map(str, keys))}` is no list")
    items = [(item, item) for item in parent.value]
    return _check(text, _without(text, parent, items, index), keys, lambda data: data.pop(index))


def renamed(text: str, rename: Callable[[tuple, str, bool], str]) -> str:
    """Give each scalar of a text, key or value, the name that a function makes of it.

    Args:
        rename: gets the keys under which the scalar stands, its text, and whether it is itself the last of these keys.

    Raises:
        EditError: the text would not be read back so.
    """
    scalars, left = {}, [((), YAML(typ="safe", pure=True).compose(text), False)]
    while left:
        keys, each, is_key = left.pop()
        if isinstance(each, ScalarNode):
            scalars[each.start_mark.index] = keys, each, is_key
        elif isinstance(each, MappingNode):
            for key, value in each.value:
                left += [((*keys, str(key.value)), key, True), ((*keys, str(key.value)), value, False)]
        elif isinstance(each, SequenceNode):
            left += [(keys, item, False) for item in each.value]
    new = text
    for start, (keys, each, is_key) in sorted(scalars.items(), reverse=True):
        end = each.end_mark.index
        new = new[:start] + rename(keys, text[start:end], is_key) + new[end:]
    if repr(_load(new)) != repr(_rename_all(_load(text), rename)):
        raise EditError("a name cannot be changed where it stands")
    return new


def _rename_all(data: object, rename: Callable[[tuple, str, bool], str], keys: tuple = ()) -> object:
    """Do the same in what was read of a text."""
    if isinstance(data, dict):
        return {
            rename((*keys, str(key)), key, True) if isinstance(key, str) else key: _rename_all(
                value, rename, (*keys, str(key))
            )
            for key, value in data.items()
        }
    if isinstance(data, list):
        return [_rename_all(value, rename, keys) for value in data]
    return rename(keys, data, False) if isinstance(data, str) else data


def _without(text: str, parent, entries: list[tuple], index: int) -> str:
    """Cut one entry, given by its first and last node, out of a block or of what stands between brackets."""
    first, last = entries[index]
    if parent.flow_style:
        if index + 1 < len(entries):
            return text[: first.start_mark.index] + text[entries[index + 1][0].start_mark.index :]
        start = entries[index - 1][1].end_mark.index if index else first.start_mark.index
        return text[:start] + text[last.end_mark.index :]
    start = text.rfind("\n", 0, first.start_mark.index) + 1
    indent = len(text[start:]) - len(text[start:].lstrip(" "))
    # Comments just above are about it; those above a blank line are about more.
    while above := re.search(rf"(?:^|\n)( {{{indent}}}#[^\n]*\n)\Z", text[:start]):
        start = above.start(1)
    end = _find_end(text, last)
    if len(entries) == 1 and text[:start].rstrip().endswith(":"):
        empty = "[]" if isinstance(parent, SequenceNode) else "{}"
        return f"{text[:start].rstrip()} {empty}\n{text[end:]}"
    # Of the blank lines around it, those above stay.
    if re.search(r"(?:^|\n)[ \t]*\r?\n\Z", text[:start]) and (blank := re.match(r"(?:[ \t]*\r?\n)+", text[end:])):
        end += blank.end()
    return text[:start] + text[end:] if text[end:].strip() else text[:start].rstrip() + "\n"


def _find_end(text: str, last) -> int:
    """Find the end of the last line of a node: ruamel's own mark of a block lies behind comments and blank lines."""
    while isinstance(last, MappingNode | SequenceNode) and last.value and not last.flow_style:
        last = last.value[-1][1] if isinstance(last, MappingNode) else last.value[-1]
    end = last.end_mark.index
    if isinstance(last, ScalarNode) and (last.style in ("|", ">") or last.value == ""):
        end = len(text[:end].rstrip())
    line_end = text.find("\n", end)
    return len(text) if line_end < 0 else line_end + 1


def _own(data: dict, key: str) -> object:
    return next(own for own in data if str(own) == str(key))


def _load(text: str) -> object:
    return YAML(typ="safe", pure=True).load(text)


def _check(old: str, new: str, keys: tuple, cut: Callable[[object], object]) -> str:
    """Return the new text if it reads as the old one after the cut."""
    expected = inner = _load(old)
    for key in keys:
        inner = inner[_own(inner, key)] if isinstance(inner, dict) else inner[int(key)]
    cut(inner)
    try:
        found = _load(new)
    except Exception:  # ruamel has several classes for what it cannot read
        found = None
    if repr({} if found is None else found) != repr(expected):
        raise EditError("there is no way to cut it out")
    return new
