"""Edits of a YAML file's text that leave every other byte of it as a person wrote it."""

import functools
import io
import re

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode


class EditError(Exception):
    """A text whose shape (anchors, merge keys, odd layout) leaves no place for the edit."""


def node(text: str, keys: tuple):
    """The node under a path of keys of mappings; None if there is none. Keys are compared as strings."""
    found = _composed(text)
    for key in keys:
        found = child(found, key)
    return found


@functools.lru_cache(maxsize=4)
def _composed(text: str):
    return YAML(typ="safe", pure=True).compose(text)


def child(parent, key: object):
    """The value's node under a key of a mapping's node; None if there is none."""
    return next((value for name, value in _pairs(parent) if str(name.value) == str(key)), None)


def line(text: str, keys: tuple) -> int | None:
    """The line of a key, counted from 1; None if it does not exist."""
    parent = node(text, keys[:-1])
    return next((name.start_mark.line + 1 for name, _ in _pairs(parent) if str(name.value) == str(keys[-1])), None)


def replaced(text: str, changes: list[tuple[ScalarNode, str]]) -> str:
    """The text with other scalars in the places of some nodes of it."""
    # The later place first, so that the earlier one stays where it is.
    for place, new in sorted(changes, key=lambda change: -change[0].start_mark.index):
        text = text[: place.start_mark.index] + new + text[place.end_mark.index :]
    return text


def with_key(text: str, keys: tuple[str, ...], value: object, comment: str = "") -> str:
    """The text with one more key, behind the last one of its mapping; missing mappings on the way are made.

    Args:
        keys: the path of the new key.
        value: anything that YAML 1.2 can say.
        comment: stands behind the value, without `#`; left out if there is no line of its own for it.

    Raises:
        EditError: there is no place for it, or the value would not be read back as it is.
    """
    depth = len(keys) - 1
    while (parent := node(text, keys[:depth])) is None and depth:
        depth -= 1
    if isinstance(parent, ScalarNode) and not parent.style and parent.value in ("~", "null"):
        text = text[: parent.start_mark.index].rstrip(" ") + text[parent.end_mark.index :]
        parent = node(text, keys[:depth])
    if parent is None or (_is_empty(parent) and not depth):
        # An empty text, or no more than `---`.
        new = _inserted(text, len(text), _lines("", "  ", keys, value, comment))
    elif _is_empty(parent):
        # `section:` with nothing below it.
        at = _line_start(text, line(text, keys[:depth]))
        indent = re.match(" *", text[at:])[0] + _step(text)
        new = _inserted(text, _line_end(text, at), _lines(indent, _step(text), keys[depth:], value, comment))
    else:
        new = _with_pair(text, parent, keys[depth:], value, comment)
    return _proven(text, new, keys, value)


def with_item(text: str, keys: tuple[str, ...], item: object) -> str:
    """The text with one more item at the end of the sequence under `keys`, which is made if it does not exist.

    Raises:
        EditError: there is no place for it.
    """
    parent = node(text, keys)
    if parent is None:
        return with_key(text, keys, [item])
    if _is_empty(parent):
        start = _line_start(text, line(text, keys))
        item_line = f"{re.match(' *', text[start:])[0]}- {on_one_line([item])[1:-1]}\n"
        return _proven(text, _inserted(text, _line_end(text, start), item_line), keys, [item])
    if not isinstance(parent, SequenceNode):
        raise EditError(f"`{'.'.join(keys)}` is not a list")
    if parent.flow_style:
        new = _into_one_line(text, parent, on_one_line([item])[1:-1])
    elif not parent.value:
        raise EditError(f"`{'.'.join(keys)}` is empty")
    else:
        dash = text.rindex("-", 0, parent.value[-1].start_mark.index)
        indent = text[text.rindex("\n", 0, dash) + 1 : dash] if "\n" in text[:dash] else ""
        if indent.strip():
            raise EditError(f"`{'.'.join(keys)}` has no line of its own")
        new = _with_lines(text, parent, f"{indent}- {on_one_line([item])[1:-1]}\n")
    return _proven(text, new, keys, [*_read(text, keys), item])


def on_one_line(value: object) -> str:
    """A value as YAML 1.2, which is what DVC reads, on one line.

    Raises:
        EditError: YAML has no such value.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = True
    yaml.width = 10**9
    yaml.sort_base_mapping_type_on_output = False
    stream = io.StringIO()
    try:
        yaml.dump(value, stream)
    except Exception as error:  # ruamel has no common class for what it cannot represent
        raise EditError(f"YAML cannot say {value!r}") from error
    return stream.getvalue().removesuffix("...\n").strip()


def with_block(text: str, keys: tuple[str, ...], block: str) -> str:
    """The text with a key whose lines are given, behind the last key of its mapping.

    Args:
        block: whole lines, indented as they are to stand there, the first of them `key:`.

    Raises:
        EditError: there is no place for it.
    """
    parent = node(text, keys[:-1])
    if parent is None:
        new = _inserted(text, len(text), "".join(f"{key}:\n" for key in keys[:-1]) + block)
    elif isinstance(parent, MappingNode) and parent.value and not parent.flow_style:
        new = _with_lines(text, parent, "\n" + block)
    elif not parent.value:  # `stages:` or `stages: {}`
        start = _line_start(text, line(text, keys[:-1]))
        end = _line_end(text, start)
        new = text[:start] + re.sub(r"\s*\{\s*\}", "", text[start:end]) + text[end:]
        new = _inserted(new, _line_end(new, start), block)
    else:
        raise EditError(f"`{'.'.join(keys[:-1])}` has no line of its own for `{keys[-1]}`")
    return _proven(text, new, keys, next(iter(YAML(typ="safe", pure=True).load(block).values())))


def _with_pair(text: str, parent, keys: tuple[str, ...], value: object, comment: str) -> str:
    """The text with `keys`, of which all but the first are new mappings' only keys, behind the last key of `parent`."""
    if not isinstance(parent, MappingNode):
        raise EditError(f"there is a value in the place of the section for `{keys[0]}`")
    if parent.flow_style:
        for key in reversed(keys[1:]):
            value = {key: value}
        return _into_one_line(text, parent, on_one_line({keys[0]: value})[1:-1])
    first, last = parent.value[0][0].start_mark, parent.value[-1][0].start_mark
    lines = _lines(" " * first.column, _step(text), keys, value, comment)
    # Sections stand apart if the last two do.
    apart = re.search(r"\n[ \t]*\r?\n(#.*\n)*\Z", text[: last.index]) or first.index == last.index
    return _with_lines(text, parent, "\n" + lines if len(keys) > 1 and not first.column and apart else lines)


def _lines(indent: str, step: str, keys: tuple[str, ...], value: object, comment: str) -> str:
    """`key: value # comment`, below the lines of the keys before it."""
    *sections, key = keys
    lines = [f"{indent}{step * depth}{on_one_line({name: 0})[1:-2]}" for depth, name in enumerate(sections)]
    lines.append(
        f"{indent}{step * len(sections)}{on_one_line({key: value})[1:-1]}" + (f" # {comment}" if comment else "")
    )
    return "\n".join(lines).replace(": \n", ":\n") + "\n"


def _into_one_line(text: str, parent, new: str) -> str:
    """Behind the last item of `[...]` or `{...}`."""
    if not parent.value:
        at = parent.end_mark.index - 1
        return text[:at] + new + text[at:]
    last = parent.value[-1][1] if isinstance(parent, MappingNode) else parent.value[-1]
    return text[: last.end_mark.index] + ", " + new + text[last.end_mark.index :]


def _with_lines(text: str, parent, lines: str) -> str:
    """Below the last line of a block's content; what follows it (blank lines, comments) stays with the next block."""
    last = parent
    while isinstance(last, MappingNode | SequenceNode) and last.value and not last.flow_style:
        key, last = last.value[-1] if isinstance(last, MappingNode) else (None, last.value[-1])
    # A value that does not exist is placed where the next token is.
    end = key.end_mark.index if key and _is_empty(last) else last.end_mark.index
    if isinstance(last, ScalarNode) and last.style in ("|", ">"):
        end = len(text[:end].rstrip())
    return _inserted(text, _line_end(text, end), lines)


def _is_empty(value) -> bool:
    return isinstance(value, ScalarNode) and not value.value and not value.style


def _line_start(text: str, number: int) -> int:
    """The index of a line's first character; lines count from 1."""
    return sum(len(each) + 1 for each in text.split("\n")[: number - 1])


def _line_end(text: str, index: int) -> int:
    """The index behind the end of a place's line."""
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1


def _inserted(text: str, at: int, lines: str) -> str:
    """The text with more lines, which end as its own do."""
    ends = "\r\n" if "\r\n" in text else "\n"
    before = text[:at] + ("" if not text[:at] or text[:at].endswith("\n") else ends)
    return before + lines.replace("\n", ends) + text[at:]


def _step(text: str) -> str:
    """The indentation of the first line that has one."""
    found = re.search(r"^( +)[^\s#-]", text, re.MULTILINE)
    return found[1] if found else "  "


def _pairs(parent) -> list:
    return parent.value if isinstance(parent, MappingNode) else []


def _read(text: str, keys: tuple) -> object:
    data = YAML(typ="safe", pure=True).load(text)
    for key in keys:
        data = next((value for name, value in (data or {}).items() if str(name) == str(key)), None)
    return data


def _proven(old: str, new: str, keys: tuple, value: object) -> str:
    """The new text, if it reads as the old one with this value under `keys`."""
    expected = YAML(typ="safe", pure=True).load(old)
    expected = inner = {} if expected is None else expected
    for key in keys[:-1]:
        if inner.get(key) is None:
            inner[key] = {}
        inner = inner[key]
    inner[keys[-1]] = value
    try:
        found = YAML(typ="safe", pure=True).load(new)
    except Exception:
        found = None
    if repr(found) != repr(expected):
        raise EditError(f"there is no place for `{'.'.join(map(str, keys))}`")
    return new
