"""What a stage's `params:` list gives to its notebook, and what the two lack of each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from notebook_pipeline.notebook.document import NOT_LITERAL, Notebook, Parameter, as_python_reads, contradiction, key_of
from notebook_pipeline.project import yaml_edit
from notebook_pipeline.project.data_file import PARAMS_FILE, value_at, walk
from notebook_pipeline.project.stages import Stage

if TYPE_CHECKING:
    from notebook_pipeline.project.project import Project


@dataclass(frozen=True)
class Missing:
    """A parameter for which a stage has no value."""

    parameter: Parameter
    sections: tuple[tuple[str, ...], ...]
    """The sections of params.yaml that the stage lists and that may get a key: the one of its heading, or else all."""
    is_shared: bool
    """Whether a stage of another notebook would get the key, too."""
    is_clear: bool
    """Whether only one new key can be meant: one section, no other stage's, and no key that may be the parameter's."""


@dataclass
class Given:
    """What a stage gives to its notebook."""

    values: dict[str, object]
    """By the parameters' names in the notebook; complete only if there are no problems."""
    problems: list[str]
    """One line each, with its fix."""
    missing: list[Missing]
    doubts: list[str]
    """Values of another type than the parameter's default, text and numbers aside: given as they are, and most likely a mistake."""


def entries(stage: Stage) -> Iterator[tuple[str, str | None]]:
    """Yield file and key of each entry of a `params:` list; None stands for the whole file."""
    for entry in stage.params:
        if isinstance(entry, dict):
            for file, keys in entry.items():
                yield from ((file, str(key)) for key in keys) if keys else [(file, None)]
        else:
            yield PARAMS_FILE, str(entry)


def as_spelt(name: str, data: dict) -> str:
    """Return the key of a mapping that Python would take for the name; the name itself if there is none."""
    return name if name in data else next((own for own in data if as_python_reads(own) == as_python_reads(name)), name)


class Match:
    """The parameters of a notebook beside the keys that its stage lists."""

    def __init__(self, project: Project, stage: Stage, notebook: Notebook):
        self.project, self.stage, self.notebook = project, stage, notebook
        self.parameters: dict[str, Parameter] = {}
        self.problems: list[str] = []
        for parameter in notebook.parameters:
            twin = self.parameters.setdefault(parameter.key, parameter)
            if twin is not parameter:
                names = f"`{twin.name}` and `{parameter.name}`"
                self._say(f"{self._place(parameter)}: {names} are the same key `{parameter.key}`. Fix: rename one")

    def give(self) -> Given:
        before = len(self.problems)
        found = {(file, keys): value for file, keys, value in self._read()}
        names = {_name(keys) for _, keys in found}
        # An entry that is not clear may be what gives them.
        is_clear = len(self.problems) == before
        lacking = [parameter for key, parameter in self.parameters.items() if key not in names and is_clear]
        surplus = [str(keys[-1]) for _, keys in found if _name(keys) not in self.parameters]
        values, origins, doubts = {}, {}, []
        for (file, keys), value in found.items():
            key = _name(keys)
            place = f"{self.project.place_of(file, keys)}: `{_dotted(keys)}`"
            parameter = self.parameters.get(key)
            if key in origins:
                self._say(
                    f"{place} and {origins[key]} both define `{key}` for stage `{self.stage.name}`. "
                    "Fix: rename one, or list only the one wanted in the stage's `params:`"
                )
            elif parameter is None:
                self._say(self._describe_surplus(place, keys, lacking))
            elif problem := self._describe_type(place, value, parameter):
                is_refused = parameter.annotation or _is_number_and_text(value, parameter.default)
                (self.problems if is_refused else doubts).append(problem)
            origins.setdefault(key, place)
            if parameter is not None:
                values[parameter.name] = value
        missing = [self._find_sections(parameter, surplus) for parameter in lacking]
        self.problems += [self._describe_missing(each, surplus) for each in missing]
        return Given(values, self.problems, missing, doubts)

    def _read(self) -> Iterator[tuple[str, tuple, object]]:
        """Yield file, path of keys and value of each parameter that the `params:` list names."""
        for file, entry in entries(self.stage):
            data = self.project.load(file)
            for keys in [tuple(entry.split("."))] if entry is not None else [(key,) for key in data]:
                try:
                    value = value_at(data, keys)
                except LookupError:
                    self._say(self._describe_no_key(file, entry))
                    continue
                self.problems += self._describe_mixed_keys(file, keys, value)
                inner = [(file, (*keys, key), each) for key, each in value.items()] if isinstance(value, dict) else []
                if self._is_section(keys, value):
                    yield from inner
                elif any(_name(path) in self.parameters for _, path, _ in inner):
                    self._say(
                        f"{self.project.place_of(file, keys)}: `{entry or keys[-1]}` may be a parameter or a section: "
                        "the notebook has parameters of its name and of its keys. Fix: rename one"
                    )
                else:
                    yield file, keys, value

    def _is_section(self, keys: tuple, value: object) -> bool:
        """Whether a value is a section, an empty one perhaps: a key of a parameter's name is that parameter."""
        return _name(keys) not in self.parameters and isinstance(value, dict | None)

    def _find_sections(self, parameter: Parameter, surplus: list[str]) -> Missing:
        data, sections = self.project.load(PARAMS_FILE), []
        for file, entry in entries(self.stage):
            keys = tuple(entry.split(".")) if entry else ()  # the whole file is the section ()
            if (
                file == PARAMS_FILE
                and keys not in sections
                and (not keys or self._is_section(keys, value_at(data, keys)))
            ):
                sections.append(keys)
        named = (as_spelt(parameter.section, data),)
        sections = [named] if named in sections else sections
        is_shared = bool(sections) and self._is_shared((*sections[0], parameter.key))
        # A key that no parameter takes may be its old name, whose value would be lost.
        is_clear = len(sections) == 1 and not is_shared and not surplus and parameter.default is not NOT_LITERAL
        return Missing(parameter, tuple(sections), is_shared, is_clear and not self._find_keys(parameter))

    def _is_shared(self, path: tuple[str, ...]) -> bool:
        """Whether a stage of another notebook would get a new key of params.yaml, too."""
        around = {(PARAMS_FILE, None), *((PARAMS_FILE, _dotted(path[:end])) for end in range(1, len(path) + 1))}
        others = [each for each in self.project.stages() if (each.calls("run") or ("",))[0] != self.notebook.path]
        return any(not around.isdisjoint(entries(other)) for other in others)

    def _find_keys(self, parameter: Parameter) -> list[tuple]:
        """Find the keys of a parameter's name in params.yaml, at top level and in its sections."""
        found = [
            path
            for key, value in self.project.load(PARAMS_FILE).items()
            if "." not in str(key)  # a dot leads to a key below, for DVC
            for path in ([(key, inner) for inner in value] if isinstance(value, dict) else [(key,)])
        ]
        return [path for path in found if _name(path) == parameter.key]

    def _say(self, problem: str) -> None:
        self.problems.append(problem)

    def _place(self, parameter: Parameter) -> str:
        return self.notebook.place(self.notebook.parameters_cell, parameter.line)

    def _describe_missing(self, missing: Missing, surplus: list[str]) -> str:
        parameter, stage, data = missing.parameter, self.stage, self.project.load(PARAMS_FILE)
        try:
            value = yaml_edit.on_one_line(parameter.default) if parameter.default is not NOT_LITERAL else "..."
        except yaml_edit.EditError:
            value = "..."
        new = f"add `{parameter.key}: {value}` to"
        fixes = [f"rename `{key}` to `{parameter.key}` in {PARAMS_FILE}" for key in dict.fromkeys(surplus)]
        fixes += [f"list `{_dotted(keys)}` under the stage's `params:`" for keys in self._find_keys(parameter)]
        places = [f"`{_dotted(section)}` in {PARAMS_FILE}" if section else PARAMS_FILE for section in missing.sections]
        if missing.is_shared or not places:
            options = (as_spelt(parameter.section, data), stage.keys[1], f"{stage.keys[1]}_parameters")
            unused = (name for name in options if name and name not in data and name not in self.parameters)
            name = next(unused, options[-1])
            places.append(f"`{name}` in {PARAMS_FILE} and list `{name}` under the stage's `params:`")
        fixes += [f"{new} {place}" for place in places]
        listed = ", ".join(entry or file for file, entry in entries(stage)) or "none"
        return (
            f"{self._place(parameter)}: parameter `{parameter.name}` has no key `{parameter.key}` in what stage "
            f"`{stage.name}` lists under `params:` ({listed}). Fix: {', or '.join(fixes)}"
        )

    def _describe_mixed_keys(self, file: str, keys: tuple, value: object) -> Iterator[str]:
        for path, inner in walk(value, keys):
            try:
                sorted(inner if isinstance(inner, dict) else ())
            except TypeError:
                kinds = ", ".join(sorted({type(key).__name__ for key in inner}))
                what = f"`{_dotted(path)}` has keys of several types ({kinds}), which DVC cannot sort"
                yield f"{self.project.place_of(file, path)}: {what}. Fix: quote them"

    def _describe_no_key(self, file: str, entry: str) -> str:
        fix = "add it there, or remove it from the list"
        if any(as_python_reads(_dotted(path)) == as_python_reads(entry) for path, _ in walk(self.project.load(file))):
            fix = "copy the one that looks the same and has other characters to the list"
        return (
            f"{self.project.place(self.stage, 'params')}: stage `{self.stage.name}` lists `{entry}` under `params:`, "
            f"but {file} has no such key. Fix: {fix}"
        )

    def _describe_surplus(self, place: str, keys: tuple, lacking: list[Parameter]) -> str:
        cell, path = self.notebook.parameters_cell, self.notebook.path
        where = f"the parameters cell (cell {cell.number}) of {path}" if cell else path
        renamed = "".join(f"rename it to `{parameter.key}`, " for parameter in lacking)
        return (
            f"{place} is given to stage `{self.stage.name}`, but {where} does not assign `{keys[-1]}`. "
            f"Fix: {renamed}add it there, or list in the stage's `params:` only the keys that the notebook uses"
        )

    def _describe_type(self, place: str, value: object, parameter: Parameter) -> str | None:
        """Describe a value that contradicts the parameter's annotation or default; None if it does not."""
        if (declared := contradiction(parameter, value)) is None:
            return None
        own = f"{self._place(parameter)} says `{declared}`"
        more = "" if parameter.annotation else ", or annotate the parameter"
        return f"{place} is {value!r} ({type(value).__name__}), but {own}. Fix: change one of them{more}"


def _is_number_and_text(*values: object) -> bool:
    """Whether one of two values is a number and the other one text: no code is meant for both."""
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in values]
    return any(numbers) and any(isinstance(value, str) for value in values)


def _name(keys: tuple) -> str:
    """Return what a parameter's key is compared with: the last of a path of keys."""
    return key_of(keys[-1])


def _dotted(keys: tuple) -> str:
    return ".".join(map(str, keys))
