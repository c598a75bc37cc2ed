"""Merges by entries what an update could not merge by lines. Copier runs it at the end of each update.

To Copier, as to git, two changes that touch are a conflict, also where they are to different keys. Here YAML is taken apart
into its keys and list items, TOML into tables, keys and items of lists, Markdown into sections: what one side alone has
changed is taken from that side, and what the project removed stays away. What both have changed is left to the person.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml  # Copier's own

LABELS = ("before updating", "last update", "after updating")
"""What Copier writes beside the markers of a conflict: for the project's side, the common one, the template's."""


@dataclass
class Entry:
    """A key, a list item or a section, as the lines that it has."""

    head: str
    """Blank lines and comments above it, and its own lines, up to the entries in it."""
    entries: "dict[str, Entry]" = field(default_factory=dict)
    tail: str = ""

    def __str__(self) -> str:
        return self.head + "".join(map(str, self.entries.values())) + self.tail


class Unreadable(Exception):
    """A file that cannot be taken apart."""


def main() -> int:
    """Merges each file of the project that is in conflict; returns the exit code, 0."""
    for path, stages in _unmerged().items():
        parse = PARSERS.get(Path(path).suffix)
        if parse is None or stages.keys() != {"1", "2", "3"}:
            continue
        try:
            base, ours, theirs = (parse(_git("cat-file", "blob", stages[number])) for number in "123")
            text = str(merged(base, ours, theirs))
            if not _has_conflict(text):
                parse(text)
        except (Unreadable, UnicodeDecodeError):
            continue
        beside = Path(f"{path}.merged")
        beside.write_text(text, encoding="utf-8", newline="\n")
        beside.replace(path)
        if not _has_conflict(text):
            # As Copier leaves what it could merge: a change that is not staged.
            _git("reset", "--quiet", "--", path, check=False)
    return 0


def merged(base: Entry | None, ours: Entry | None, theirs: Entry | None) -> Entry | None:
    """An entry that two sides have changed, None where there is none; what cannot be decided has a conflict's markers."""
    if ours == base:
        return theirs
    if theirs in (base, ours) or ours is None:
        return ours
    if theirs is None or not all(side.entries for side in (base, ours, theirs) if side):
        return Entry(_merged_lines(*("" if side is None else str(side) for side in (base, ours, theirs))))
    base = base or Entry("")
    names = list(ours.entries)
    previous = None
    for name in theirs.entries:
        if name not in names:
            names.insert(0 if previous is None else names.index(previous) + 1, name)
        previous = name
    entries = {name: merged(*(side.entries.get(name) for side in (base, ours, theirs))) for name in names}
    return Entry(
        _merged_lines(base.head, ours.head, theirs.head),
        {name: entry for name, entry in entries.items() if entry is not None},
        _merged_lines(base.tail, ours.tail, theirs.tail),
    )


def yaml_entries(text: str) -> Entry:
    """A YAML file by its keys and list items, as far as they have lines of their own.

    Raises:
        Unreadable: it is no YAML.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise Unreadable from error
    if re.search("[\x85\u2028\u2029]", text):
        raise Unreadable  # these end a line for YAML alone
    lines = _lines(text)
    return _yaml_entry(lines, 0, 0, len(lines), node)


def _yaml_entry(lines: list[str], start: int, inner: int, end: int, node: yaml.Node | None) -> Entry:
    """What stands in lines[start:end], of which those from `inner` on are the node's own."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        return Entry("".join(lines[start:end]))
    if isinstance(node, yaml.MappingNode):
        items = [(key.value, key.start_mark, value) for key, value in node.value]
    else:
        items = [(_item_name(item), item.start_mark, item) for item in node.value]
    places = [mark.line for _, mark, _ in items]
    names = [name for name, _, _ in items]
    if places[0] < inner or len({*places}) < len(places) or None in names or len({*names}) < len(names):
        return Entry("".join(lines[start:end]))
    starts = [inner]
    for place in places[1:]:
        # A comment that is set in further ends the entry above.
        width = _indent(lines[place])
        while (
            not lines[place - 1].strip() or lines[place - 1].lstrip()[0] == "#" and _indent(lines[place - 1]) <= width
        ):
            place -= 1
        starts.append(place)
    entries = {}
    for (name, mark, value), begin, stop in zip(items, starts, [*starts[1:], end], strict=True):
        own = mark.line + (isinstance(node, yaml.MappingNode) and value.start_mark.line > mark.line)
        # The first key of a list item stands on the item's line.
        entries[name] = _yaml_entry(lines, begin, own, stop, value)
    return Entry("".join(lines[start:inner]), entries)


def _item_name(item: yaml.Node) -> str | None:
    """What makes a list item the same on both sides: a scalar itself, or the first key with its scalar."""
    if isinstance(item, yaml.MappingNode) and item.value:
        key, value = item.value[0]
        return f"{key.value}: {value.value}" if isinstance(value, yaml.ScalarNode) else str(key.value)
    return item.value if isinstance(item, yaml.ScalarNode) else None


def toml_entries(text: str) -> Entry:
    """A TOML file by its tables, their keys, and the items of lists that have a line each; requirements by their names.

    Raises:
        Unreadable: it is no TOML.
    """
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unreadable from error
    return _split(_lines(text), r"(\[.*\])", lambda table: _split(table, r"""([\w."'-]+)\s*=""", _toml_list))


def _toml_list(lines: list[str]) -> Entry:
    first = next((place for place, line in enumerate(lines, 1) if line.strip() and line[0] != "#"), 0)
    if not lines[first - 1].rstrip().endswith("[") or not re.fullmatch(r"\]\s*", lines[-1]):
        return Entry("".join(lines))
    items = _split(lines[first:-1], r"""\s+["']([\w.-]+)""", lambda item: Entry("".join(item)))
    return Entry("".join(lines[:first]) + items.head, items.entries, lines[-1])


def markdown_entries(text: str) -> Entry:
    """A Markdown file by its sections of the second level."""
    return _split(_lines(text), r"(## .*)", lambda section: Entry("".join(section)), fence="```")


PARSERS: dict[str, Callable[[str], Entry]] = {
    ".yaml": yaml_entries, ".yml": yaml_entries, ".toml": toml_entries, ".md": markdown_entries,
}  # fmt: skip


def _split(lines: list[str], pattern: str, parse: Callable[[list[str]], Entry], fence: str = "") -> Entry:
    """Lines by those that match a pattern, whose group is an entry's name, with blank lines and comments above them.

    What stands above the first is an entry without a name.
    """
    names, starts, fenced = [""], [0], False
    for place, line in enumerate(lines):
        fenced ^= bool(fence) and line.startswith(fence)
        if not fenced and (found := re.match(pattern, line)):
            while place > starts[-1] and re.fullmatch(r"\s*" if fence else r"\s*(#.*)?\s*", lines[place - 1]):
                place -= 1
            names.append(found[1])
            starts.append(place)
    if len({*names}) < len(names):
        return Entry("".join(lines))
    parts = (lines[start:stop] for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True))
    entries = {name: parse(part) if name else Entry("".join(part)) for name, part in zip(names, parts, strict=True)}
    return Entry("", entries)


def _merged_lines(base: str, ours: str, theirs: str) -> str:
    """Three versions of some lines as one, by git; with a conflict's markers where it must be."""
    if ours == base:
        return theirs
    if theirs in (base, ours):
        return ours
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, text in (("ours", ours), ("base", base), ("theirs", theirs)):
            paths.append(Path(folder, name))
            paths[-1].write_text(text, encoding="utf-8", newline="\n")
        labels = [option for label in LABELS for option in ("-L", label)]
        return _git("merge-file", "--stdout", *labels, *map(str, paths), check=False)


def _has_conflict(text: str) -> bool:
    return f"<<<<<<< {LABELS[0]}\n" in text


def _unmerged() -> dict[str, dict[str, str]]:
    """The files in conflict: the names of the versions in git, by their numbers."""
    files = {}
    for line in _git("ls-files", "--unmerged", "-z").split("\0")[:-1]:
        about, _, path = line.partition("\t")
        _, name, number = about.split()
        files.setdefault(path, {})[number] = name
    return files


def _lines(text: str) -> list[str]:
    return [f"{line}\n" for line in text.removesuffix("\n").split("\n")]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _git(*arguments: str, check: bool = True, **kwargs) -> str:
    return subprocess.run(
        ["git", *arguments], capture_output=True, text=True, encoding="utf-8", check=check, **kwargs
    ).stdout


if __name__ == "__main__":
    sys.exit(main())
