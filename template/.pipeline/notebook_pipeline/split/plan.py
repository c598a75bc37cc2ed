"""What crosses each cut, decided from the code and from what two runs of the whole notebook showed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from notebook_pipeline import handover
from notebook_pipeline.notebook.document import Notebook
from notebook_pipeline.split.observation import Seen
from notebook_pipeline.split.sections import ELSEWHERE, Refused, Section
from notebook_pipeline.split.statements import (
    EFFECT,
    FOLDER,
    PLOT_SETTING,
    SETTING,
    Statement,
    closure,
    draws,
    exposed,
    later_reads,
    repeated,
)

_OF_IPYTHON = re.compile(r"_|__|___|_i+|_i?\d+|_[iod]h|In|Out")


@dataclass(eq=False)
class File:
    """Values, or parts of the process's state, that one stage hands over in a file."""

    maker: int
    names: tuple[str, ...]
    is_state: bool = False
    suffix: str = ".pickle"
    path: str = ""
    size: int = 0
    readers: set[int] = field(default_factory=set)


@dataclass
class Part:
    """A section on its way to a stage."""

    section: Section
    number: int
    statements: list[Statement]
    """Its own, without those of the parameters cell."""
    name: str = ""
    """The stage's, once it is known which names are free."""
    kept: list[Statement] = field(default_factory=list)
    """Those of them that its stage needs."""
    repeated: list[tuple[Statement, set[str]]] = field(default_factory=list)
    loads: list[File] = field(default_factory=list)
    saves: list[File] = field(default_factory=list)
    keeps: dict[File, list[str]] = field(default_factory=dict)
    """What it loads and later stages load from the same file: it must not change."""
    expects: set[str] = field(default_factory=set)
    """The values that it must be given."""
    modules: set[str] = field(default_factory=set)
    """The modules with a state of their own that these values bring."""

    def parameters(self) -> set[str]:
        return {name for each, names in self.repeated if each.kind == "parameter" for name in names}


class Planner:
    """Decides what crosses the cuts between sections.

    Args:
        looks: what there was at the start and after each section.
        try_out: runs the statements that a stage repeats in a fresh kernel, and says what is there then.
    """

    def __init__(self, notebook: Notebook, statements: list[Statement], sections: list[Section], seen: Seen):
        self.notebook, self.statements, self.seen = notebook, statements, seen
        self.later = later_reads(statements)
        self.by_function = {name: each.later_binds for each in statements if each.later_binds for name in each.binds}
        self.parts = []
        for number, section in enumerate(sections):
            cells = {cell.number for cell in section.cells}
            own = [each for each in statements if each.cell.number in cells and each.kind != "parameter"]
            self.parts.append(Part(section, number, own))

    # Which names are live

    def live(self) -> list[set[str]]:
        """Return the names that are read after each section, by the code or by the run."""
        after, found = set(), []
        for part in reversed(self.parts):
            found.insert(0, after)
            after = exposed(part.statements, after, self.later) | self._read_in_run(part)
        return found

    def to_look_at(self) -> set[str]:
        """Return the names whose values matter at some cut."""
        return set().union(*self.live(), *self.later.values()) - {"_"}

    def _read_in_run(self, part: Part) -> set[str]:
        """Return what the run read in a section before the section bound it."""
        found, bound = set(), set()
        for cell in part.section.cells:
            found |= {*self.seen.read.get(cell.number, ())} - bound
            bound |= {name for each in part.statements if each.cell == cell for name in each.always_binds}
        return found

    # The plan

    def make(self, looks: list[dict], try_out: Callable[[Part], dict]) -> list[Part]:
        """Make the plan.

        Raises:
            Refused: something that crosses a cut cannot be handed over.
        """
        self.looks = looks
        for look in looks:
            for name, note in look["values"].items():
                self.later[name] = self.later.get(name, frozenset()) | frozenset(note["uses"])
        self._refuse_counted()
        live = self.live()
        values = [self._values(cut, live[cut]) for cut in range(len(self.parts))]
        tried = {}
        for part in self.parts:
            before = values[part.number - 1] if part.number else set()
            self._find_repeated(part, before)
            if part.number:
                part.modules = {
                    module for name in part.expects for module in self._note(part.number, name).get("modules", ())
                }
                tried[part.number] = try_out(part)
                # A constant or a parameter that is another by now: a list to which something was added, perhaps.
                again = tried[part.number]["values"]
                there = self.looks[part.number]["there"]  # the parameters may stand below
                differ = {
                    name for name in again
                    if name in there and again[name]["digest"] != self._note(part.number, name).get("digest")
                }  # fmt: skip
                for cut in range(part.number):
                    changed = {
                        name for name in differ if self._note(cut + 1, name).get("digest") != again[name]["digest"]
                    }
                    values[cut] |= changed & live[cut] if cut < part.number - 1 else changed
                if differ:
                    self._find_repeated(part, values[part.number - 1])
        self._refuse_views(values)
        files = self._hand_over(values) + self._hand_over_state(tried)
        self._bundle(files)
        return self.parts

    def _note(self, look: int, name: str) -> dict:
        return self.looks[look]["values"].get(name, {})

    def _values(self, cut: int, live: set[str]) -> set[str]:
        """Return the live names after a section that have to be handed over: of which no repetition gives the value."""
        if cut == len(self.parts) - 1:
            return set()
        found, look = set(), self.looks[cut + 1]
        above = [each for part in self.parts[: cut + 1] for each in part.statements]
        above += [each for each in self.statements if each.kind == "parameter"]
        by_functions = {name for each in self.statements for name in each.later_binds}
        for name in live.intersection(look["there"]):
            kinds = [each.is_repeatable for each in above if name in each.binds]
            is_repeatable = kinds and all(kinds) and name not in by_functions
            if not is_repeatable and not (not kinds and any(each.kind == EFFECT for each in above)):
                if not (error := self._note(cut + 1, name).get("error")):
                    found.add(name)
                elif cell := self._first_reader(cut, name):
                    self._refuse(name, cell, self._note(cut + 1, name)["type"], error)
        return found

    def _first_reader(self, cut: int, name: str) -> int | None:
        """Return the cell after a cut in which the run read a name that no cell had bound since."""
        for part in self.parts[cut + 1 :]:
            for cell in part.section.cells:
                if name in self.seen.read.get(cell.number, ()):
                    return cell.number
                if any(name in each.always_binds for each in part.statements if each.cell == cell):
                    return None
        return None

    def _maker(self, name: str, before: int) -> str:
        cells = [each.cell.number for each in self.statements if name in each.binds and each.cell.number <= before]
        return f", made in cell {cells[-1]}," if cells else ""

    def _refuse(self, name: str, cell: int, kind: str, error: str) -> None:
        raise Refused(
            f"{self.notebook.path}: cell {cell}: reads `{name}` ({kind}){self._maker(name, cell)} and no file can hold it "
            f"({error}). Fix: make it again in cell {cell}, or {ELSEWHERE}"
        )

    def _refuse_counted(self) -> None:
        """Refuse what depends on the number of cells that ran before: `_`, `_3`, `Out[3]`, `In`."""
        bound = set()
        for part in self.parts:
            for each in part.statements:
                for name in sorted(each.reads):
                    is_ours = not _OF_IPYTHON.fullmatch(name) or name in bound
                    # In its own part, `_` is the cell before.
                    if not is_ours and (
                        name != "_" or each.cell == next(c for c in part.section.cells if c.type == "code")
                    ):
                        raise Refused(
                            f"{self.notebook.path}: cell {each.cell.number}: reads `{name}`, the output of a cell before, which another "
                            f"stage does not have. Fix: give it a name there (`result = ...`), and read that"
                        )
                bound |= each.binds

    def _refuse_views(self, values: list[set[str]]) -> None:
        for number, look in enumerate(self.looks[2:], 1):
            for first, second in look["written_through"]:
                if {first, second} <= values[number - 1]:
                    names = f"`{first}` and `{second}`" if first != second else f"two arrays in `{first}`"
                    raise Refused(
                        f"{self.notebook.path}: {names} share their memory, which {self.parts[number].section} change: from a file, "
                        f"each would have its own. Fix: make one a copy (`.copy()`), or {ELSEWHERE}"
                    )

    # What a stage repeats

    def _find_repeated(self, part: Part, given: set[str]) -> None:
        """Find what a stage keeps of its own statements, and repeats of those above.

        Args:
            given: the names that may be handed over to it.
        """
        movable = self._movable(part)
        needed = closure({name for each in part.statements if each not in movable for name in each.reads}, self.later)
        needed |= self._named_by_values(given)
        if part.number < len(self.parts) - 1:
            needed |= {name for each in movable for name in each.binds if name in self._handed(part)}
        while True:
            part.kept = [
                each
                for each in part.statements
                if each not in movable or each.kind in (EFFECT, SETTING, PLOT_SETTING, FOLDER) or each.binds & needed
            ]
            more = needed | closure({name for each in part.kept for name in each.reads}, self.later)
            if more == needed:
                break
            needed = more
        wanted = exposed(part.kept, (), self.later) | self._read_in_run(part) | self._named_by_values(given)
        part.expects = wanted & given
        above = [each for other in self.parts[: part.number] for each in other.statements]
        above = [each for each in self.statements if each in above or each.kind == "parameter"]
        part.repeated = repeated(above, wanted - given, self.statements, draws(part.kept))

    def _handed(self, part: Part) -> set[str]:
        """Return the names bound here whose value later sections cannot repeat."""
        return {
            name
            for name in self.live()[part.number]
            if not all(each.is_repeatable for each in self.statements if name in each.binds)
        }

    def _movable(self, part: Part) -> list[Statement]:
        """Return the statements of cells that only repeat and show nothing: of these a stage keeps what it needs."""
        computing = {each.cell.number for each in part.statements if not each.kind} | self.seen.showing
        return [each for each in part.statements if each.cell.number not in computing]

    def _named_by_values(self, names: Iterable[str]) -> set[str]:
        return closure(set().union(*(self.later.get(name, ()) for name in names)), self.later)

    # What it is handed

    def _hand_over(self, values: list[set[str]]) -> list[File]:
        files, current = [], {}
        for part in self.parts[:-1]:
            number = part.number
            look, live = self.looks[number + 1], values[number]
            called = closure({name for each in part.statements for name in each.reads}, self.later)
            bound = {name for each in part.statements for name in each.binds}.union(
                *(self.by_function.get(name, ()) for name in called)
            )
            old, current = current, {}
            for group in _groups(live, look["shared"]):
                same = {old.get(name) for name in group}
                changed = [
                    name
                    for name in group
                    if name in bound
                    or self._note(number, name).get("digest") != self._note(number + 1, name).get("digest")
                ]
                if len(same) == 1 and None not in same and not changed:
                    current |= dict.fromkeys(group, same.pop())
                    continue
                notes = [self._note(number + 1, name) for name in group]
                suffix = handover.TORCH if any("torch" in note.get("modules", ()) for note in notes) else ".pickle"
                made = File(
                    number,
                    tuple(sorted(group, key=self._order)),
                    suffix=suffix,
                    size=sum(note.get("size", 0) for note in notes),
                )
                files.append(made)
                current |= dict.fromkeys(group, made)
                # What it changes and does not make anew, it has to be given.
                fresh = {name for each in part.statements for name in each.always_binds}
                part.expects |= {name for name in group if name in old and name not in fresh}
            self._load(part, old, current)
        self._load(self.parts[-1], current, {})
        return files

    def _load(self, part: Part, given: dict[str, File], after: dict[str, File]) -> None:
        for name in sorted(part.expects & given.keys()):
            file = given[name]
            file.readers.add(part.number)
            kept = sorted((each for each in after if after[each] is file), key=self._order)
            if kept:
                part.keeps[file] = kept

    def _hand_over_state(self, tried: dict[int, dict]) -> list[File]:
        """Hand over what a later stage needs of the process's state: random generators that it draws from, other settings."""
        files = {}
        for part in self.parts[1:]:
            for name in handover.STATE:
                states = [look["state"].get(name) for look in self.looks[: part.number + 2]]
                here = states[part.number]
                if name in handover.RANDOM:
                    # Without a seed it differs in each run, and a new one is as good.
                    needs = here not in (None, states[0], states[-1]) and self._seeded(part, name) == here
                else:
                    fresh = tried.get(part.number, self.looks[0])
                    now = fresh["state"].get(name)
                    needs = here is not None and now is not None and here != now
                if name == "warnings" and needs:  # libraries that a stage does not need set filters, too
                    own = [{*look["filters"]} - self.seen.filters for look in (fresh, self.looks[part.number])]
                    needs = own[0] != own[1]
                if needs:
                    maker = next(at for at in range(part.number, 0, -1) if states[at] != states[at - 1]) - 1
                    files.setdefault((maker, name), File(maker, (name,), is_state=True)).readers.add(part.number)
        return [*files.values()]

    def _seeded(self, part: Part, name: str) -> str | None:
        """Return a part of the state before a section, as the other run had it."""
        before = [cell.number for each in self.parts[: part.number] for cell in each.section.cells]
        states = [self.seen.states[number] for number in before if number in self.seen.states]
        return states[-1].get(name) if states else None

    def _bundle(self, files: list[File]) -> None:
        """Put together what one stage hands to the same ones, and name the files."""
        bundles: dict[tuple, File] = {}
        for file in filter(lambda each: each.readers, files):
            bundle = bundles.setdefault((file.maker, file.is_state, file.suffix, *sorted(file.readers)), file)
            if bundle is not file:
                bundle.names += file.names
                bundle.size += file.size
                for part in self.parts:
                    if file in part.keeps:
                        part.keeps.setdefault(bundle, []).extend(part.keeps.pop(file))
        taken = set()
        for file in bundles.values():
            stem = self.parts[file.maker].section.name + "."
            stem += (
                "state"
                if file.is_state
                else "+".join(file.names)
                if len("+".join(file.names)) < 40
                else f"{file.names[0]}+{len(file.names) - 1}"
            )
            while f"{stem}{file.suffix}" in taken:
                stem += "_2"
            taken.add(f"{stem}{file.suffix}")
            file.path = f"{handover.FOLDER}/{stem}{file.suffix}"
            self.parts[file.maker].saves.append(file)
            for reader in file.readers:
                self.parts[reader].loads.append(file)

    def _order(self, name: str) -> tuple[int, int]:
        """Order names as the notebook first has them."""
        return next(
            ((at, each.source.find(name)) for at, each in enumerate(self.statements) if name in each.binds), (0, 0)
        )


def _groups(names: set[str], pairs: list[list[str]]) -> list[set[str]]:
    """Group names of which pairs belong together, also through others."""
    groups = [{name} for name in sorted(names)]
    for pair in pairs:
        if {*pair} <= names:
            meeting = [group for group in groups if group & {*pair}]
            groups = [group for group in groups if group not in meeting] + [set().union(*meeting)]
    return groups
