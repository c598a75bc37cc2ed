"""Merges by entries what an update could not merge by lines. Copier runs it at the end of each update.

To Copier, as to git, two changes that touch are a conflict, also where they are to different keys. Here YAML is taken apart
into its keys and list items, TOML into tables, keys and items of lists, Markdown into sections, .gitignore into patterns:
what one side alone has changed is taken from that side, also under another name, and what the project removed stays away.
What both have changed is left to the person, and a file that does not come out as it was put together, or without what lines
alone would bring, stays as Copier left it.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

import yaml  # Copier's own
from jinja2 import Environment
from jinja2.ext import Extension

LABELS = ("before updating", "last update", "after updating")
"""What Copier writes beside the markers of a conflict: for the project's side, the common one, the template's."""

CONFLICT = re.compile(
    rf"^<{{7}} {LABELS[0]}\n((?:.*\n)*?)(?:\|{{7}} {LABELS[1]}\n(?:.*\n)*?)?={{7}}\n(?:.*\n)*?>{{7}} {LABELS[2]}\n",
    re.M,
)
"""A conflict, whose group is the project's side."""


@dataclass(eq=False)
class Entry:
    """A key, a list item or a section, as the lines that it has."""

    head: str
    """Blank lines and comments above it, and its own lines, up to the entries in it."""
    entries: "dict[str, Entry]" = field(default_factory=dict)
    tail: str = ""
    indent: int = 0
    """The column at which YAML's entries in it begin."""

    def __str__(self) -> str:
        return self.head + "".join(map(str, self.entries.values())) + self.tail

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and str(self) == str(other)  # a dict's equality knows no order

    def moved(self, by: int, head: bool = True) -> "Entry":
        """The same, some columns to the right or, below 0, to the left; without the head only what is in it."""
        move = partial(re.sub, rf"(?m)^ {{0,{max(-by, 0)}}}(?=.)", " " * by)
        entries = {name: entry.moved(by) for name, entry in self.entries.items()}
        return Entry(move(self.head) if head else self.head, entries, move(self.tail), self.indent + by)


class Unreadable(Exception):
    """A file that cannot be taken apart, or versions that cannot be put together."""


class Merge(Extension):
    """Makes the filter known to copier.yml's message."""

    def __init__(self, environment: Environment):
        super().__init__(environment)
        environment.filters["in_conflict"] = in_conflict


def in_conflict(project: Path) -> list[str]:
    """The files of a project that an update could not merge, as seen from there; nothing where git does not say."""
    commands = (["diff", "--name-only", "--relative", "--diff-filter=U"], ["ls-files", "--others", "*.rej"])
    found = (
        subprocess.run(["git", *command, "-z"], cwd=project, capture_output=True, text=True, encoding="utf-8").stdout
        for command in commands
    )
    return sorted({name for names in found for name in names.split("\0") if name})


def main() -> int:
    """Merges each file of the project that is in conflict; returns the exit code, 0."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "template" / ".pipeline"))  # the template's, not the project's
    from move_pipeline import with_new_commands

    from notebook_pipeline import files

    for path, stages in _unmerged().items():
        parse = PARSERS.get(Path(path).suffix or Path(path).name)
        if parse is None or stages.keys() != {"1", "2", "3"}:
            continue
        try:
            versions = [_git("cat-file", "blob", stages[number]) for number in "123"]
            base, ours, theirs = (version.replace("\r\n", "\n") for version in versions)
            # A command's new name is no change of the project's.
            text = merged_text(parse, with_new_commands(base), with_new_commands(ours), theirs)
        except (Unreadable, UnicodeDecodeError):
            continue
        files.write(path, text.replace("\n", "\r\n") if "\r\n" in versions[1] else text)
        if not CONFLICT.search(text):
            # As Copier leaves what it could merge: a change that is not staged.
            _git("reset", "--quiet", "--", path, good=(0, 1))
    return 0


def merged_text(parse: Callable[[str], Entry], base: str, ours: str, theirs: str) -> str:
    """A file that two sides have changed, where both changed the same with a conflict's markers.

    Raises:
        Unreadable: a version cannot be taken apart, or what came out is not what was put together.
    """
    entry = merged(parse(base), parse(ours), parse(theirs))
    text = str(entry)
    as_ours = CONFLICT.sub(r"\1", text)
    if not _is_made_of(parse(as_ours), entry):
        raise Unreadable("an entry has become part of another")
    base_lines, our_lines, their_lines, lines = map(_count_lines, (base, ours, theirs, as_ours))
    if lines - (our_lines | their_lines | (our_lines + their_lines - base_lines)):
        raise Unreadable("a line has come twice")
    by_lines = _count_lines(CONFLICT.sub(r"\1", _merged_lines(base, ours, theirs)))
    added, removed = their_lines - base_lines, base_lines - their_lines
    if (by_lines - _count_lines(text)) & added or (lines - by_lines) & removed:
        raise Unreadable("a change of the template is lost")
    return text


def _count_lines(text: str) -> Counter[str]:
    return Counter(line for line in map(str.strip, text.split("\n")) if line)


def _is_made_of(parsed: Entry, entry: Entry) -> bool:
    """Whether the entries that were put together are those that are read."""
    return not entry.entries or (
        [*parsed.entries] == [*entry.entries]
        and all(_is_made_of(parsed.entries[name], inner) for name, inner in entry.entries.items())
    )


def merged(base: Entry | None, ours: Entry | None, theirs: Entry | None) -> Entry | None:
    """An entry that two sides have changed, None where there is none; what cannot be decided has a conflict's markers."""
    if ours == base:
        return theirs
    if theirs in (base, ours) or ours is None:
        return ours
    if theirs is None or not all(side.entries or _is_comment(side) for side in (base, ours, theirs) if side):
        return _merged_whole(base, ours, theirs)
    base = base or Entry("", indent=ours.indent)
    # What DVC has written itself (`dvc stage add`) has its lists at other columns.
    base, theirs = (side.moved(ours.indent - side.indent, head=False) for side in (base, theirs))
    renamed = _renamed(base.entries, ours.entries, theirs.entries)
    for side in (base, theirs):
        side.entries = {renamed.get(name, name): entry for name, entry in side.entries.items()}
    names = _merged_names(*(list(side.entries) for side in (base, ours, theirs)))
    entries = {name: merged(*(side.entries.get(name) for side in (base, ours, theirs))) for name in names}
    entries = {name: entry for name, entry in entries.items() if entry is not None}
    if not entries:
        return _merged_whole(base, ours, theirs)
    return Entry(
        _merged_lines(base.head, ours.head, theirs.head),
        entries,
        _merged_lines(base.tail, ours.tail, theirs.tail),
        ours.indent,
    )


def _merged_whole(*versions: Entry | None) -> Entry:
    return Entry(_merged_lines(*("" if version is None else str(version) for version in versions)))


def _renamed(base: dict[str, Entry], ours: dict[str, Entry], theirs: dict[str, Entry]) -> dict[str, str]:
    """The names that the project gave to entries, by those that they had: three lines of four are the same still."""

    def same(name: str, new: str) -> bool:
        old_lines, lines = (_count_lines(str(entry)) for entry in (base[name], ours[new]))
        return 4 * (old_lines & lines).total() >= 3 * max(old_lines.total(), lines.total())

    gone = [name for name in base if name in theirs and name not in ours]
    found = [(name, new) for new in ours if new not in base | theirs for name in gone if same(name, new)]
    times = Counter(name for pair in found for name in pair)
    return {name: new for name, new in found if times[name] == times[new] == 1}  # a copy is no other name


def _is_comment(entry: Entry) -> bool:
    """Whether there is no more than comments and blank lines."""
    return all(line[0] == "#" for line in _count_lines(str(entry)))


def _merged_names(base: list[str], ours: list[str], theirs: list[str]) -> list[str]:
    """All names, in the project's order where it has changed that, else in the template's."""
    if [name for name in ours if name in base] == [name for name in base if name in ours]:
        ours, theirs = theirs, ours
    return _with(_with(ours, base), _with(theirs, base))


def _with(names: list[str], others: list[str]) -> list[str]:
    """Names and those of the others that are missing, each in front of what follows it there."""
    names = [*names]
    following = len(names)
    for name in reversed(others):
        if name not in names:
            names.insert(following, name)
        following = names.index(name)
    return names


def yaml_entries(text: str) -> Entry:
    """A YAML file by its keys and list items, as far as they have lines of their own.

    Raises:
        Unreadable: it is no YAML.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise Unreadable from error
    if re.search("[\r\x85\u2028\u2029]", text):
        raise Unreadable  # these end a line for YAML alone
    lines = _lines(text)
    return _yaml_entry(lines, 0, -1, len(lines), node)


def _yaml_entry(lines: list[str], start: int, own: int, stop: int, node: yaml.Node | None) -> Entry:
    """What stands in lines[start:stop], of which `own` is the node's key or item, below comments."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        return _whole(lines[start:stop])
    if isinstance(node, yaml.MappingNode):
        items = [(key.value, key.start_mark, value) for key, value in node.value]
    else:
        items = [(_item_name(item), item.start_mark, item) for item in node.value]
    names, marks, values = zip(*items, strict=True)
    unique = len({*map(str, names)}) == len(names)
    if not unique and isinstance(node, yaml.MappingNode):
        raise Unreadable("a key stands there twice")
    places = [mark.line for mark in marks]
    before = [lines[mark.line][: mark.column].strip(" ") for mark in marks]
    if (
        not unique
        or not all(isinstance(name, str) for name in names)
        or places != sorted({*places})  # an alias is where its anchor is
        or places[0] < own
        # `? ` before a key, or a `-` on a line above its item.
        or any(set(text) - {"-", " "} or (not text and isinstance(node, yaml.SequenceNode)) for text in before)
    ):
        return _whole(lines[start:stop])
    indent = _indent(lines[places[0]])

    def above(place: int, floor: int, blank: str = r"\s*|") -> int:
        """Where the blank lines and comments above a line begin. A comment that is set in further ends what is above."""
        while place > floor and re.fullmatch(rf"{blank} {{,{indent}}}#.*\n", lines[place - 1]):
            place -= 1
        return place

    # What a blank line parts from the first is the file's or the list's own; so are comments at the top of the file.
    starts = [above(places[0], own + 1, "") or places[0]]
    starts += [above(place, previous + 1) for previous, place in pairwise(places)]
    end = above(stop, places[-1] + 1)
    entries = {
        name: _yaml_entry(lines, begin, place, until, value)
        for name, value, place, begin, until in zip(names, values, places, starts, [*starts[1:], end], strict=True)
    }
    return Entry("".join(lines[start : starts[0]]), entries, "".join(lines[end:stop]), indent)


def _item_name(item: yaml.Node) -> str | None:
    """What makes a list item the same on both sides: a scalar itself, or the first key with its scalar."""
    if isinstance(item, yaml.MappingNode) and item.value:
        key, value = item.value[0]
        return f"{key.value}: {value.value}" if isinstance(value, yaml.ScalarNode) else key.value
    return item.value if isinstance(item, yaml.ScalarNode) else None


def toml_entries(text: str) -> Entry:
    """A TOML file by its tables, their keys, and the items of lists that have a line each; requirements by their names.

    Raises:
        Unreadable: it is no TOML.
    """
    lines = _lines(text)
    if not _is_toml(lines):
        raise Unreadable
    return _split(lines, r"(\[[^#]*\])", _toml_table, _is_toml)


def _toml_table(lines: list[str]) -> Entry:
    if any(line.startswith("[[") for line in lines):
        return _whole(lines)  # two of one name are two
    return _split(lines, r"""([\w."'-]+)\s*=""", _toml_list, _is_toml)


def _toml_list(lines: list[str]) -> Entry:
    first = next((place for place, line in enumerate(lines, 1) if line.strip() and line[0] != "#"), 0)
    if not re.search(r"=\s*\[\s*(#.*)?$", lines[first - 1]) or not re.fullmatch(r"\]\s*(#.*)?\s*", lines[-1]):
        return _whole(lines)
    items = _split(lines[first:-1], r"""\s+["']([\w.-]+)""", _whole, lambda above: _is_toml(["x = [\n", *above, "]\n"]))
    return Entry("".join(lines[:first]) + items.head, items.entries, lines[-1])


def _is_toml(lines: list[str]) -> bool:
    """Whether some lines are TOML by themselves: not where they end inside a string or list."""
    try:
        tomllib.loads("".join(lines))
    except tomllib.TOMLDecodeError:
        return False
    return True


def markdown_entries(text: str) -> Entry:
    """A Markdown file by its sections of the second level."""
    return _split(_lines(text), r"(## .*)", _whole, _is_outside_code, r"\s*")


def _is_outside_code(lines: list[str]) -> bool:
    """Whether no block of code is open after some lines."""
    fence = ""
    for line in lines:
        found = re.match(r" {0,3}(`{3,}|~{3,})(.*)", line)
        if found and not fence and not ("`" in found[1] and "`" in found[2]):
            fence = found[1]
        elif found and fence and found[1].startswith(fence) and not found[2].strip():
            fence = ""
    return not fence


def pattern_entries(text: str) -> Entry:
    """A .gitignore or .dvcignore by its patterns."""
    return _split(_lines(text), r"([^#\s].*)", _whole, lambda above: True)


PARSERS: dict[str, Callable[[str], Entry]] = {
    ".yaml": yaml_entries, ".yml": yaml_entries, ".toml": toml_entries, ".md": markdown_entries,
    ".gitignore": pattern_entries, ".dvcignore": pattern_entries,
}  # fmt: skip
"""By a file's suffix, or its name where it has none."""


def _split(
    lines: list[str],
    pattern: str,
    parse: Callable[[list[str]], Entry],
    ends: Callable[[list[str]], bool],
    above: str = r"\s*(#.*)?\s*",
) -> Entry:
    """Lines by those that match a pattern, whose group is an entry's name, with blank lines and comments above them.

    `ends` says whether an entry can end with some lines. What stands above the first is an entry without a name.
    """
    names, starts = [""], [0]
    for place, line in enumerate(lines):
        # Tables of one name that follow each other are a list.
        if (
            (found := re.match(pattern, line))
            and (found[1] != names[-1] or found[1][:2] != "[[")
            and ends(lines[:place])
        ):
            while place > starts[-1] and re.fullmatch(above, lines[place - 1]):
                place -= 1
            names.append(found[1])
            starts.append(place)
    if len({*names}) < len(names):
        return _whole(lines)
    parts = (lines[start:stop] for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True))
    return Entry("", {name: parse(part) if name else _whole(part) for name, part in zip(names, parts, strict=True)})


def _whole(lines: list[str]) -> Entry:
    return Entry("".join(lines))


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
        return _git("merge-file", "--stdout", *labels, *map(str, paths), good=range(128))


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


def _git(*arguments: str, good: Container[int] = (0,)) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True)
    if done.returncode not in good:
        raise Unreadable(done.stderr.decode(errors="replace"))
    return done.stdout.decode()


if __name__ == "__main__":
    sys.exit(main())
