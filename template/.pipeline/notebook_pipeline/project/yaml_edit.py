"""Edits of a YAML file's text that leave every other byte of it as a person wrote it.

Each raises EditError if there is no place for it, or if the new text would not be read as it is meant.
"""

import functools
import io
import re
from collections.abc import Callable

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode


class EditError(Exception):
    """A text whose shape (anchors, merge keys, odd layout) leaves no place for the edit."""


def node(text: str, keys: tuple):
    """Return the node under a path of keys of mappings; None if there is none. Keys are compared as strings."""
    return _find(text, keys)[1]


def line(text: str, keys: tuple) -> int | None:
    """Return the line of a key, counted from 1; None if it does not exist."""
    key, _ = _find(text, keys)
    return key and key.start_mark.line + 1


def with_key(text: str, keys: tuple[str, ...], value: object, comment: str = "") -> str:
    """Add a key behind the last one of its mapping, with the mappings around it that do not exist.

    Args:
        keys: the path of the new key.
        value: anything that YAML 1.2 can say.
        comment: stands behind the value, without `#`; left out if there is no line of its own for it.
    """
    depth = len(keys) - 1
    while depth and node(text, keys[:depth]) is None:
        depth -= 1
    *sections, key = keys[depth:]
    nested = functools.reduce(lambda inner, section: {section: inner}, reversed(sections), {key: value})
    step = _find_step(text)
    lines = [f"{step * level}{on_one_line(section)}:" for level, section in enumerate(sections)]
    lines.append(f"{step * len(sections)}{on_one_line({key: value})[1:-1]}" + (f" # {comment}" if comment else ""))
    is_apart = sections and not depth and _are_sections_apart(text)
    new = _with_entry(text, keys[:depth], lines, on_one_line(nested)[1:-1], step, apart="\n" if is_apart else "")
    return _check(text, new, keys, lambda _: value)


def with_item(text: str, keys: tuple[str, ...], item: object) -> str:
    """Add an item at the end of the sequence under `keys`, which is made if it does not exist."""
    if node(text, keys) is None:
        return with_key(text, keys, [item])
    flow = on_one_line([item])[1:-1]
    return _check(text, _with_entry(text, keys, [f"- {flow}"], flow), keys, lambda items: [*(items or []), item])


def with_block(text: str, keys: tuple[str, ...], block: str) -> str:
    """Add a key whose lines are given behind the last key of its mapping.

    Args:
        block: whole lines that are already indented; the first one is `key:`.
    """
    *sections, _ = keys
    if node(text, sections) is None:
        new = _insert(text, len(text), "".join(f"{key}:\n" for key in sections) + block)
    else:
        new = _with_entry(text, tuple(sections), block.splitlines(), flow=None, apart="\n")
    return _check(text, new, keys, lambda _: next(iter(_load(block).values())))


def on_one_line(value: object) -> str:
    """Write a value as YAML 1.2, which is what DVC reads, on one line."""
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


def _load(text: str) -> object:
    return YAML(typ="safe", pure=True).load(text)


@functools.lru_cache(maxsize=4)
def _compose(text: str):
    return YAML(typ="safe", pure=True).compose(text)


def _find(text: str, keys: tuple) -> tuple:
    """Return the nodes of a key and of its value; None and None if there is no such key. The root has no key."""
    key, value = None, _compose(text)
    for wanted in keys:
        pairs = value.value if isinstance(value, MappingNode) else []
        key, value = next(((own, inner) for own, inner in pairs if str(own.value) == str(wanted)), (None, None))
    return key, value


def _with_entry(text: str, keys: tuple, lines: list[str], flow: str | None, step: str = "", apart: str = "") -> str:
    """Add an entry at the end of the mapping or sequence under `keys`.

    Args:
        lines: the entry as lines of its own; indented already if there is no `flow`.
        flow: the entry between brackets.
        step: the indentation below a key that has nothing yet.
        apart: stands above the lines if the mapping has other keys.
    """
    key, parent = _find(text, keys)
    if _is_null(parent) or (flow is None and not parent.value):
        if parent and parent.value != "":  # `section: ~` or `section: {}`
            text = text[: parent.start_mark.index].rstrip(" ") + text[parent.end_mark.index :]
        at = _find_line_end(text, key.end_mark.index) if key else len(text)
        indent, apart = " " * key.start_mark.column + step if key else "", ""
    elif isinstance(parent, ScalarNode) or (flow is None and parent.flow_style):
        raise EditError(f"`{'.'.join(keys)}` has no line of its own for one more entry")
    elif parent.flow_style:
        last = parent.value[-1] if parent.value else None
        at = (last[1] if isinstance(last, tuple) else last).end_mark.index if last else parent.end_mark.index - 1
        return text[:at] + (", " if last else "") + flow + text[at:]
    else:
        at, indent = _find_block_end(text, parent), " " * _find_column(text, parent)
    return _insert(text, at, apart + "".join(f"{indent if flow else ''}{each}\n" for each in lines))


def _is_null(value) -> bool:
    return value is None or (isinstance(value, ScalarNode) and not value.style and value.value in ("", "~", "null"))


def _find_column(text: str, parent) -> int:
    """Find the column of a block's keys or dashes."""
    if isinstance(parent, MappingNode):
        return parent.value[0][0].start_mark.column
    dash = text.rindex("-", 0, parent.value[-1].start_mark.index)
    return dash - text.rfind("\n", 0, dash) - 1


def _find_block_end(text: str, parent) -> int:
    """Find the end of a block's last line; what follows it (blank lines, comments) stays with the next block."""
    last = parent
    while isinstance(last, MappingNode | SequenceNode) and last.value and not last.flow_style:
        key, last = last.value[-1] if isinstance(last, MappingNode) else (None, last.value[-1])
    # ruamel places a value that does not exist at the next token.
    end = key.end_mark.index if key and last.value == "" and not last.style else last.end_mark.index
    if isinstance(last, ScalarNode) and last.style in ("|", ">"):
        end = len(text[:end].rstrip())
    return _find_line_end(text, end)


def _find_line_end(text: str, index: int) -> int:
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1


def _insert(text: str, at: int, lines: str) -> str:
    """Insert lines, which end as those of the text do."""
    ends = "\r\n" if "\r\n" in text else "\n"
    before = text[:at] + ("" if not text[:at] or text[:at].endswith("\n") else ends)
    return before + lines.replace("\n", ends) + text[at:]


def _find_step(text: str) -> str:
    """Find the indentation of the first line that has one."""
    found = re.search(r"^( +)[^\s#-]", text, re.MULTILINE)
    return found[1] if found else "  "


def _are_sections_apart(text: str) -> bool:
    """Whether a blank line stands above the last section, or there is no other section to compare with."""
    root = node(text, ())
    if not isinstance(root, MappingNode) or not root.value:
        return False
    first, last = root.value[0][0].start_mark, root.value[-1][0].start_mark
    return first.index == last.index or bool(re.search(r"\n[ \t]*\r?\n(#.*\n)*\Z", text[: last.index]))


def _check(old: str, new: str, keys: tuple, change: Callable[[object], object]) -> str:
    """Return the new text if it reads as the old one with a changed value under `keys`."""
    expected = _load(old)
    expected = inner = {} if expected is None else expected
    try:
        for key in keys[:-1]:
            if inner.get(key) is None:
                inner[key] = {}
            inner = inner[key]
        inner[keys[-1]] = change(inner.get(keys[-1]))
        found = _load(new)
    except Exception:  # ruamel has several classes for what it cannot read
        found = None
    if repr(found) != repr(expected):
        raise EditError(f"there is no place for `{'.'.join(map(str, keys))}`")
    return new
