"""What a shell line gives to a notebook: `papermill NOTEBOOK OUTPUT -p NAME ${section.key}`.

A value goes through DVC, the shell and Papermill on that way, and each of them may change it: here is what arrives.
"""

import itertools
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from notebook_pipeline.project.project import INTERPOLATION

# Words of a command as they stand, quotes included, and what ends the command.
_WORD = re.compile(r"""(?:\$\{[^}]*\}|"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\;&|<>])+|[;&|<>]+""", re.DOTALL)
# Papermill's options by the words that they take: https://papermill.readthedocs.io/en/latest/usage-cli.html
_PARAMETERS = {
    "-p": "-p", "--parameters": "-p", "-r": "-r", "--parameters_raw": "-r",
    "-y": "-y", "--parameters_yaml": "-y", "-f": "-f", "--parameters_file": "-f",
}  # fmt: skip
_WITH_VALUE = {
    "-b", "--parameters_base64", "-k", "--kernel", "-l", "--language", "--engine", "--cwd", "--autosave-cell-every",
    "--stdout-file", "--stderr-file", "--log-level", "--start-timeout", "--start_timeout", "--execution-timeout",
}  # fmt: skip


@dataclass(frozen=True)
class Argument:
    """One `-p`, `-r`, `-y` or `-f` of a papermill line."""

    option: str
    name: str
    """The parameter's name of -p and -r; empty for -y and -f."""
    word: str
    """The value as it stands in dvc.yaml, quotes and `${...}` included."""

    def __str__(self) -> str:
        return " ".join(part for part in (self.option, self.name, self.word) if part)


@dataclass(frozen=True)
class Papermill:
    """One call of papermill in a command."""

    notebook: str
    output: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Arrival:
    """What becomes of one parameter on its way."""

    name: str
    meant: object
    """The value in params.yaml."""
    got: object
    """What the notebook gets."""
    lost: str = ""
    """Why nothing arrives; empty where something does."""

    @property
    def changed(self) -> bool:
        return bool(self.lost) or repr(self.got) != repr(self.meant)


def papermill(command: str) -> Papermill | None:
    """Reads a command of dvc.yaml, its `${...}` not yet filled in; None where it does not call papermill."""
    words = _WORD.findall(command.replace("\\\n", " "))
    start = next(
        (index + 1 for index, word in enumerate(words) if re.search(r"(^|[/\\])papermill(\.exe)?$", word)), None
    )
    if start is None:
        return None
    paths, arguments, rest = [], [], iter(words[start:])
    for word in rest:
        if word[0] in ";&|<>":
            break
        # `--option=value`, and `-ovalue`.
        option, _, value = word.partition("=") if word.startswith("--") else (word[:2], "", word[2:])
        values = itertools.chain([value] if value else [], rest)
        if kind := _PARAMETERS.get(option):
            name = _unquoted(next(values, "")) if kind in ("-p", "-r") else ""
            arguments.append(Argument(kind, name, next(values, "")))
        elif option in _WITH_VALUE:
            next(values, "")
        elif not word.startswith("-"):
            paths.append(_unquoted(word))
    return Papermill(paths[0], paths[1], tuple(arguments)) if len(paths) > 1 else None


def names(argument: Argument) -> Iterator[str]:
    """The parameters that an argument other than -f is for."""
    if argument.option == "-y":
        yield from _yaml_template(argument)[0]
    elif argument.name:
        yield argument.name


def arrivals(argument: Argument, variable: Callable[[str], object]) -> Iterator[Arrival]:
    """What the notebook gets by a `-p`, `-r` or `-y` whose value names a variable; constants are not looked at.

    Args:
        variable: the value of an expression between `${` and `}`.
    """
    if not INTERPOLATION.search(argument.word):
        return
    if argument.option == "-y":
        template, holes = _yaml_template(argument)
        meant = {name: _with_holes_filled(value, holes, variable) for name, value in template.items()}
    elif whole := INTERPOLATION.fullmatch(_unquoted(argument.word)):
        meant = {argument.name: variable(whole[1])}
    else:
        return  # a value within a longer text: that is text
    filled, lost = argument.word, ""
    for match in reversed([*INTERPOLATION.finditer(argument.word)]):
        value = variable(match[1])
        if isinstance(value, dict | list):
            lost = "DVC writes a mapping as options" if isinstance(value, dict) else "DVC puts no list into a command"
        text = str(value).lower() if isinstance(value, bool) else str(value)
        filled = filled[: match.start()] + text + filled[match.end() :]
    words, hazard = _shell_words(filled)
    lost = lost or hazard
    if not lost and len(words) != 1:
        lost = "the shell drops the empty word" if not words else f"the shell makes {len(words)} words of it"
    got = {}
    if not lost and argument.option == "-y":
        try:
            got = _yaml_1_1(words[0])
        except ValueError as error:
            lost = str(error)
        if not lost and not isinstance(got, dict):
            lost = "it is no `name: value` to YAML"
    elif not lost:
        got = {argument.name: words[0] if argument.option == "-r" else _resolved(words[0])}
    for name, value in meant.items():
        yield Arrival(name, value, got.get(name), lost or ("" if name in got else "YAML reads another name"))


def file_arrivals(text: str, meant: dict) -> Iterator[Arrival]:
    """What the notebook gets by `-f FILE`: Papermill reads YAML 1.1, DVC 1.2.

    Args:
        text: the file's.
        meant: its values as DVC reads them.
    """
    try:
        got, lost = _yaml_1_1(text), ""
    except ValueError as error:
        got, lost = {}, str(error)
    for name, value in meant.items():
        yield Arrival(str(name), value, got.get(name), lost)


def _unquoted(word: str) -> str:
    try:
        return "".join(shlex.split(word))
    except ValueError:
        return word


def _yaml_template(argument: Argument) -> tuple[dict, dict[str, str]]:
    """The mapping of a -y with a mark in the place of each expression, and the expressions by their marks."""
    holes = {}

    def mark(match: re.Match) -> str:
        holes[f"hole{len(holes)}x"] = match[1]
        return [*holes][-1]

    try:
        found = _yaml_1_1(_unquoted(INTERPOLATION.sub(mark, argument.word)))
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}, holes


def _with_holes_filled(value: object, holes: dict[str, str], variable: Callable[[str], object]) -> object:
    if isinstance(value, dict):
        return {key: _with_holes_filled(inner, holes, variable) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_holes_filled(inner, holes, variable) for inner in value]
    if value in holes:
        return variable(holes[value])
    if isinstance(value, str):
        return re.sub(r"hole\d+x", lambda match: str(variable(holes[match[0]])), value)
    return value


def _shell_words(text: str) -> tuple[list[str], str]:
    """The words that a POSIX shell makes of a text, and what else it would do with it.

    The shell's quoting is that of https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html (2.2).
    """
    words, word, quote, index = [], None, "", 0
    while index < len(text):
        character, index = text[index], index + 1
        if quote == "'" or (quote == '"' and character not in '"\\$`'):
            word, quote = (word, "") if character == quote else (word + character, quote)
        elif character == quote:
            quote = ""
        elif character == "\\":
            escaped, index = text[index : index + 1], index + 1
            word = (word or "") + ("\\" if quote and escaped not in '"\\$`' else "") + escaped
        elif character == "`" or (character == "$" and re.match(r"[A-Za-z_0-9({@*#?$!-]", text[index:])):
            return [], "the shell expands it"
        elif character in "'\"":
            word, quote = word or "", character
        elif character in ";&|<>()\n":
            return [], f"the shell takes `{character.strip() or 'the line end'}` for its own"
        elif character in " \t":
            words, word = (words if word is None else [*words, word]), None
        elif character in "*?[" or (character == "~" and word is None):
            return [], f"the shell may replace `{character}` by names of files"
        elif character == "#" and word is None:
            return [], "the shell takes `#` for a comment"
        else:
            word = (word or "") + character
    if quote:
        return [], "its quote ends the shell's"
    return words if word is None else [*words, word], ""


def _resolved(word: str) -> object:
    """What -p makes of a word (`_resolve_type` in papermill/cli.py)."""
    if word in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[word]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            pass
    return word


def _yaml_1_1(text: str) -> object:
    """The text as -y and -f read it: with PyYAML, dates left as strings (`NoDatesSafeLoader` in papermill/utils.py).

    Raises:
        ValueError: it cannot be read; one line.
    """
    import yaml  # Papermill's own; only where a stage calls Papermill this way

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {
            first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    try:
        return yaml.load(text, Loader=Loader)
    except (yaml.YAMLError, ValueError) as error:
        what = getattr(error, "problem", None) or str(error)
        raise ValueError(f"YAML cannot read it ({' '.join(str(what).split())})") from None
