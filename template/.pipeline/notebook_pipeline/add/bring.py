"""Finds the files that a notebook names, and where they belong in the project; the notebook's literals follow.

Reads the notebook's code, not its runs: a path counts where it can be told from the code alone.
"""

import ast
import contextlib
import copy
import filecmp
import itertools
import os
import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from notebook_pipeline import secret_files
from notebook_pipeline.notebook.document import Cell, Notebook, bindings, read, replaced, stands_in_source

INPUTS = "data/external"
WRITTEN_BESIDE_INPUTS = "data/processed"
RESULTS = "outputs"

# Calls that write the file they name, whatever library they belong to: by the last part of their name.
_WRITES = re.compile(
    r"to_\w+|save\w*|dump|write_\w+|imwrite|imsave|touch|export\w*|ExcelWriter|VideoWriter|"
    r"ModelCheckpoint|CSVLogger|FileHandler|SummaryWriter|sink_\w+|urlretrieve|extractall"
)
# Calls that read it, or say at least that a text is a path, also where it is one bare word.
_READS = re.compile(
    r"read\w*|open\w*|load\w*|imread\w*|i?glob|rglob|listdir|walk|scandir|iterdir|File|memmap|fromfile|genfromtxt|"
    r"ImageFolder|\w*from_directory|scan_\w+|ZipFile"
)
# Calls that only ask for it, or make it where it is not there.
_ASKS = re.compile(r"exists|isfile|isdir|is_file|is_dir|connect")
# Calls that say by a mode, after the path, what they do.
_OPENS = ("open", "File", "ZipFile", "TarFile", "HDFStore", "memmap")
# Programs of shell lines that make files.
_MAKES = re.compile(r"\b(wget|curl|gdown|kaggle|unzip|tar|gunzip|cp|mv|git|aws|gsutil|writefile)\b|>")
# A word of a shell line, and the file that one writes: `> FILE`, `curl -o FILE`, but not `unzip -o ARCHIVE`; `cp ... FILE`.
_WORD = r"[^\s\"'`;|&<>()=,]+"
_SHELL_WRITES = re.compile(
    r"(?:(?<![^\s\d&])>>?|\bcurl\b(?:(?!&&)[^|;])*?\s(?:-\w*o|--output)\b|\b(?:wget|gdown)\b(?:(?!&&)[^|;])*?\s-\w*O\b"
    rf"|^%%writefile(?:\s+-a\b)?|\b(?:cp|mv)\s[^|;&]*\s(?=\S+\s*$))\s*[\"']?({_WORD})"
)
_PATHS = ("Path", "PurePath", "join", "joinpath")
_SKIPPED = {".git", ".dvc", ".venv", "venv", "__pycache__", ".ipynb_checkpoints", "node_modules", ".pytest_cache"}
_URL = re.compile(r"[a-zA-Z][\w+.-]+://")
# What a notebook of a project begins with: see add.START.
_STARTS_IN_ROOT = re.compile(r"""if Path\.cwd\(\)\.name == ["']notebooks["']:\n +os\.chdir\(["']\.\.["']\)""")
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}$")


@dataclass
class Brought:
    """A notebook whose paths are those of the project."""

    notebook: Notebook
    copies: dict[Path, str] = field(default_factory=dict)
    """The files to copy, and where to."""
    inputs: set[str] = field(default_factory=set)
    """What the notebook reads, as far as the code tells; a folder may be one."""
    outputs: set[str] = field(default_factory=set)
    """What it writes, as far as the code tells."""
    folders: set[str] = field(default_factory=set)
    """Where it writes what is named as it runs, and found a folder that it does not make."""
    notes: list[str] = field(default_factory=list)
    secrets: dict[Path, str] = field(default_factory=dict)
    """What looks like secrets, and why: not copied, and named by the code as before."""


@dataclass
class _Use:
    """One place where the notebook uses a path."""

    cell: Cell
    node: ast.expr
    path: str
    """As the notebook says it."""
    head: ast.expr
    """The text that it begins with, where it is written."""
    head_cell: Cell
    role: str
    """`read`, `write`, `folder` where it is made as one or lists results, or empty where nothing tells."""
    is_path: bool
    """Whether something but the text itself says that it is a path."""
    whole: bool
    """Whether it is all of the path; more may be added to it as the notebook runs."""

    @property
    def looks_like_path(self) -> bool:
        return bool(self.is_path or _EXTENSION.search(self.path) or "/" in self.path)


def brought(
    notebook: Notebook,
    origin: Path,
    root: Path,
    made_by_stages: Mapping[str, str] = MappingProxyType({}),
    allowed: Collection[Path] = (),
) -> Brought:
    """The notebook with its inputs below data/external, the copies to make for that, and what cannot be resolved.

    Args:
        origin: the folder that its relative paths start from.
        root: the project's.
        made_by_stages: the results of the project's other stages, each with its stage's name: inputs as they are.
        allowed: full paths that look like secrets and are none.
    """
    result = Brought(Notebook(notebook.path, copy.deepcopy(notebook.document)))
    places = _Places(_bases(origin.resolve()), root.resolve(), result, made_by_stages, allowed)
    edits: dict[int, dict[tuple, tuple[ast.expr, str]]] = {}

    def follow(cell: Cell, node: ast.expr, old: str, new: str) -> None:
        if old != new:
            text = new if getattr(node, "bare", False) else _quoted(new, cell, node)
            if isinstance(node, ast.BinOp | ast.Call):
                text = f"Path({text})" if _is_path_object(node) else text
            edits.setdefault(cell.number, {})[node.lineno, node.col_offset] = (node, text)

    def follow_whole(use: _Use, new: str) -> None:
        if isinstance(use.node, ast.Name):
            result.notes.append(
                f"{notebook.place(use.cell)}: `{use.node.id}` is `{use.path}`. Fix: write `{new}` in its place"
            )
        else:
            follow(use.cell, use.node, "", new)

    every = [*_uses(notebook)]
    uses, missing, as_they_are = _without_own_lists(every), set(), []
    written = {**_written_by_shell(notebook, uses), **_written(uses)}
    results = _results_folders(uses, written)
    no_inputs = {*written, *(head.value for head in results)}
    # What is named where a shell line makes a file, as in `!wget URL/a.csv`, will be there.
    shell = "\n".join(line for _, line in _shell_lines(notebook) if _MAKES.search(line))

    def made(path: str) -> bool:
        return bool(re.search(rf"(?<![\w.-]){re.escape(path.rpartition('/')[2])}(?![\w.-])", shell))

    inputs = [use for use in uses if use.path not in written and use.head not in results and use.looks_like_path]
    there = [(places.find(use.head.value), found) for use in inputs if (found := places.find(use.path))]
    in_shell = {word for cell, line in _shell_lines(notebook) for word in re.findall(_WORD, line) if "/" in word}
    there.append(
        [places.find(word) for word in sorted(in_shell) if _place_below(word, {path: path for path in written}) is None]
    )
    places.give_folders_a_place([found for several in there for found in several if found])
    moved = {path: _in_project(path, places) for path in written}
    made_folders = {path: moved[path] for path, role in written.items() if role == "folder"}
    beside = {}
    for use, literals in _overwriting(uses):
        new = f"{WRITTEN_BESIDE_INPUTS}/{PurePosixPath(use.path).name}"
        if literals and places.find(use.path) and use.path != new:
            beside |= dict.fromkeys(literals, new)
        elif places.find(use.path):
            result.notes.append(
                f"{notebook.place(use.cell)}: writes over `{use.path}`, which it reads above. Fix: write `{new}` there, and where that "
                "is read again"
            )
    for use in uses:
        if use.head in beside:
            follow(use.head_cell, use.head, use.path, beside[use.head])
            result.outputs.add(beside[use.head])
            continue
        # `BASE / "results"`, where BASE is `.`: what the path begins with does not tell.
        below = None if re.search(r"\w", use.head.value) else _place_below(use.path, made_folders)
        if use.path in written or use.head in results or below:
            if use.head in results:
                new_head = _place_of_result(replace(use, path=use.head.value), uses, written, places)
                moved[use.head.value] = new_head
                new = new_head.rstrip("/") + use.path.removeprefix(use.head.value.rstrip("/"))
                follow(use.head_cell, use.head, use.head.value, new_head)
            else:
                new = below or _place_of_result(use, uses, written, places)
                if use.head.value == use.path:
                    follow(use.head_cell, use.head, use.path, new)
                elif new != use.path:
                    follow_whole(use, new)
            moved[use.path] = new
            if use.role == "write" and not use.whole and (found := places.find(use.path)) and found.source.is_dir():
                result.folders.add(PurePosixPath(new).as_posix())
            # Not what the code only begins to tell, as `model_{epoch}.keras`, nor the folder of what is written.
            if written.get(use.path) == "write" and not re.search(r"[{}%*]", new) and not _is_hidden(new):
                result.outputs.add(PurePosixPath(new).as_posix())  # without `./`
            continue
        found, head = places.find(use.path), places.find(use.head.value)
        is_needed = use.role == "read" and use.whole and _may_be_missing(use.path) and not made(use.path)
        is_needed = is_needed and use.path not in places.kept_out
        if found is None and is_needed and (there := places.in_project(use.path)):
            result.inputs.add(there)
        elif found is None and is_needed and use.path not in missing:
            missing.add(use.path)
            result.notes.append(
                f"{notebook.place(use.cell)}: `{use.path}` does not exist. Fix: put it into {INPUTS}, and write its path from the "
                "project's root (a parameter's in params.yaml)"
            )
        if found is None or not use.looks_like_path:
            continue
        # It begins with the notebook's own folder, or is the one of its files there that a stage makes.
        if head is None or not found.source.is_relative_to(head.source):
            new, new_head = places.destination(found), None
            if PurePosixPath(new) == PurePosixPath(use.path):
                as_they_are.append(use)
            else:
                follow_whole(use, new + found.tail)
        else:
            new_head = places.destination(head) + head.tail
            new = places.destination(head) + found.source.as_posix().removeprefix(head.source.as_posix())
            follow(use.head_cell, use.head, use.head.value, new_head)
        places.copy(found, new, no_inputs)
        result.inputs.add(new)
        if note := places.note_on_result(use, found, new, new_head):
            result.notes.append(f"{notebook.place(use.cell)}: {note}")
    made_paths = {moved.get(use.path, use.path) for use in every if use.role == "folder"}
    made_paths = {folder for path in made_paths for folder in (posixpath.normpath(path), *_around(path))}
    result.folders -= made_paths
    for use in as_they_are:
        if (use.head.lineno, use.head.col_offset) in edits.get(use.head_cell.number, {}):
            follow_whole(use, use.path)
    for cell in notebook.cells:
        text = _STARTS_IN_ROOT.sub("\n", cell.source)
        if cell.type == "code" and (place := re.search(r"os\.chdir\(|^\s*%?cd ", text, re.MULTILINE)):
            line = text.count("\n", 0, place.end()) + 1
            result.notes.append(
                f"{notebook.place(cell, line)}: changes the folder. Fix: remove that, and write paths from the project's root"
            )
        source = places.with_shell_lines_followed(cell, moved)
        for _, (node, text) in sorted(edits.get(cell.number, {}).items(), reverse=True):
            source = replaced(source, node, text)
        if source != cell.source:
            result.notebook.document["cells"][cell.number - 1]["source"] = source
    result.notebook = Notebook(notebook.path, result.notebook.document)
    result.notes = [*dict.fromkeys(result.notes)]
    return result


def reads_and_writes(notebook: Notebook, origin: Path) -> tuple[set[Path], set[Path]]:
    """Return the full paths that the code of a notebook in this folder says it reads, and those that it says it writes, or makes as folders."""
    uses = _without_own_lists([*_uses(notebook)])
    written = {**_written_by_shell(notebook, uses), **_written(uses)}
    full = lambda path: Path(os.path.normpath(origin / Path(_without_pattern(path)[0]).expanduser()))  # noqa: E731
    reads = {full(use.path) for use in uses if use.path not in written and use.looks_like_path}
    return reads - {origin, *origin.parents}, {*map(full, written)}


# Files that tell code where others are; larger ones are data.
_CONFIGURATION = (".yaml", ".yml", ".json", ".toml", ".ini", ".cfg", ".py", ".ipynb")
_CONFIGURATION_SIZE = 100_000


def not_followed(copies: Mapping[Path, str], origin: Path, root: Path) -> Iterator[str]:
    """What is to be said of the paths that stand in configuration and modules, which come along as they are.

    Whether they are read or written, no call around them tells.

    Args:
        copies: the files that were copied, and where to.
        origin: the notebook's folder, from which relative paths start.
        root: the project's.
    """
    places = _Places(_bases(origin.resolve()), root.resolve(), Brought(Notebook("", {"cells": []})), {})
    for file, place in copies.items():
        if file.suffix not in _CONFIGURATION or file.stat().st_size > _CONFIGURATION_SIZE:
            continue
        named = {}
        for where, line in _lines(file):
            for word in re.findall(_WORD, re.sub(r"(^|\s)#.*", "", line)):
                found = places.find(word) if _EXTENSION.search(word) or "/" in word else None
                if found and not same(found.source, root / word):
                    named.setdefault(word, f"`{word}` ({where})")
        if named:
            more = ["..."] if len(named) > 3 else []
            yield (
                f"{place}: names {', '.join([*named.values()][:3] + more)}: paths in it stay as they are. Fix: put what is read into "
                f"{INPUTS}, and write its path from the project's root there"
            )


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """The lines of a text, each with its place; of a notebook, those of its code."""
    if file.suffix == ".ipynb":
        code = (cell for cell in read(file).cells if cell.type == "code")
        yield from ((f"cell {cell.number}", line) for cell in code for line in cell.source.split("\n"))
    else:
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
        yield from ((f"line {number}", line) for number, line in enumerate(lines, 1))


@dataclass(frozen=True)
class _Found:
    """A path of the notebook's that is there."""

    source: Path
    tail: str
    """What follows it as it is: a pattern (`/*.csv`), a slash."""


@dataclass
class _Places:
    """Where the files are, and where they go."""

    bases: list[Path]
    """Where relative paths may start: the notebook's folder, and those around it up to its repository's."""
    root: Path
    result: Brought
    made_by_stages: Mapping[str, str]
    allowed: Collection[Path] = ()
    """What looks like a secret, and is none."""
    kept_out: set[str] = field(default_factory=set)
    """The notebook's paths that lead to secrets."""
    folders: dict[Path, str] = field(default_factory=dict)
    """The folders that got a place."""
    sources: set[Path] = field(default_factory=set)
    """All that is to be copied."""

    @property
    def origin(self) -> Path:
        return self.bases[0]

    def find(self, text: str) -> _Found | None:
        """What a path of the notebook's names, if it is there, and no folder around the notebook.

        That is a stage's result, where the file beside the notebook is the same, or there is none.
        """
        found = self._beside(text)
        made = self._made(text, found)
        if made and (same(found.source, self.root / made) if found else made == posixpath.normpath(text)):
            return _Found(self.root / made, found.tail if found else "")
        return found

    def _made(self, text: str, found: _Found | None) -> str | None:
        """The stage's result of this path; or of this name: `data/clean.csv` may have gone to data/processed.

        Or the folder that holds results, where one of them lies beside the notebook, too.
        """
        path = posixpath.normpath(_without_pattern(text)[0])
        if any(path == out or path.startswith(f"{out}/") for out in self.made_by_stages):
            return path
        below = [out.removeprefix(f"{path}/") for out in self.made_by_stages if out.startswith(f"{path}/")]
        if found and any((found.source / inner).exists() for inner in below):
            return path
        name = path.rpartition("/")[2]
        return next((out for out in self.made_by_stages if out.rpartition("/")[2] == name and "." in name), None)

    def note_on_result(self, use: _Use, found: _Found, new: str, new_head: str | None) -> str:
        """What is to be said where a stage makes what the notebook reads, or makes another file of that name.

        Args:
            new_head: what the path begins with now, where that is not all that was replaced.
        """
        text, made = use.path, self._made(use.path, found)
        if made is None or self.origin.is_relative_to(self.root):
            return ""
        stage = next(
            stage for out, stage in self.made_by_stages.items()
            if made == out or made.startswith(f"{out}/") or out.startswith(f"{made}/")
        )  # fmt: skip
        there = self.root / made
        if found.source == there:
            return f"`{made}` is the result of stage `{stage}`: read from there"
        differs = "differs from" if there.exists() else "cannot be compared with"
        old, instead = new + found.tail, made + found.tail
        if new_head is not None and use.head.value != text:  # the code that names it stays
            old = _with_head(use, new_head)
            if not isinstance(use.node, ast.Name):
                instead = f'Path("{made}")' if _is_path_object(use.node) else f'"{instead}"'
        return f"`{text}` {differs} the result of stage `{stage}`: copied; to read that one, write `{instead}` in place of `{old}`"

    def _beside(self, text: str) -> _Found | None:
        if not text.strip() or "\n" in text or len(text) > 400 or _URL.match(text) or text.startswith("/dev/"):
            return None
        head, pattern = _without_pattern(text)
        # Written from the root already?
        bases = [*self.bases, *([self.root] if self.origin.is_relative_to(self.root) else [])]
        try:
            there = ((base / Path(head).expanduser()).resolve() for base in bases)
            source = next(path for path in there if path.exists() and path not in self.bases[1:] and path != self.root)
            if len(source.parts) < 3 or _SKIPPED & {*Path(head).parts}:  # `/`, `/tmp`; `.git`, which marks a root
                return None
            if pattern and not any(source.glob(pattern)):  # a text of another kind: `select * from t`
                return None
        # Any text of the notebook is tried: it may be no path, no pattern, nobody's `~name`, or not there.
        except (OSError, RuntimeError, ValueError, IndexError, NotImplementedError, StopIteration):
            return None
        if source in self.origin.parents or (source == self.origin and not pattern):
            return None
        if any(self.is_secret(place) for place in (source, *(base / Path(head).expanduser() for base in bases))):
            self.kept_out.add(text)
            return None
        return _Found(source, "/" + pattern if pattern else "/" if head.endswith("/") else "")

    def is_secret(self, file: Path) -> bool:
        """Whether it looks like a secret; notes it then."""
        if reason := os.path.lexists(file) and secret_files.why(file, self.allowed):
            self.result.secrets[file.resolve()] = reason
        return bool(reason)

    def in_project(self, text: str) -> str | None:
        """The path of what the project has already where a path of the notebook's, read from the root, names it."""
        with contextlib.suppress(OSError, ValueError):  # it can be no path, or leads out of the project
            there = (self.root / text).resolve()
            if there.exists():
                return there.relative_to(self.root).as_posix()
        return None

    def give_folders_a_place(self, every: list[_Found]) -> None:
        """The outer ones first: what lies in them goes with them."""
        self.sources = {found.source for found in every if not found.source.is_relative_to(self.root)}
        for found in sorted(every, key=lambda found: len(found.source.parts)):
            if found.source.is_dir():
                self.destination(found)

    def destination(self, found: _Found) -> str:
        """Its path from the root: as it is within the project, else below data/external.

        The same name from two folders gets the folder's name, too.
        """
        source = found.source
        if source.is_relative_to(self.root):
            return source.relative_to(self.root).as_posix()
        for folder in (source, *source.parents):
            if folder in self.folders:
                return self.folders[folder] + source.as_posix().removeprefix(folder.as_posix())
        name = f"{INPUTS}/{self._below_inputs(source)}".rstrip("/")
        if name == INPUTS and not self._is_free(name, source):
            name = f"{INPUTS}/{source.name}"
        if not self._is_free(name, source):
            name = f"{INPUTS}/{source.parent.name}_{source.name}"
        if source.is_dir():
            self.folders[source] = name
        return name

    def _is_free(self, name: str, source: Path) -> bool:
        """Whether a place has no files but what the source has, too, and will get no other."""
        taken = {target: other for other, target in (*self.result.copies.items(), *self.folders.items())}
        if taken.get(name, source) != source or ((self.root / name).exists() and not same(self.root / name, source)):
            return False
        others = [each for each in self.sources if not each.is_relative_to(source)] if name == INPUTS else []
        return not any((source / self._below_inputs(each)).exists() for each in others)

    def _below_inputs(self, source: Path) -> str:
        """What lies below the notebook keeps its folders, but for `data` or `data/external` in front; the rest its name."""
        base = next((base for base in self.bases if source.is_relative_to(base)), None)
        parts = source.relative_to(base).parts if base else (source.name,)
        if parts[:2] == ("data", "external"):
            return "/".join(parts[2:])
        return "/".join(parts[1:] if parts[:1] == ("data",) and (len(parts) > 1 or source.is_dir()) else parts)

    def copy(self, found: _Found, new: str, no_inputs: Collection[str]) -> None:
        """Notes the files to copy so that it is at its new place."""
        if found.source.is_relative_to(self.root):
            return
        if found.source.is_file():
            self.result.copies[found.source] = new
            return
        results = {(base / path).resolve() for path in no_inputs for base in self.bases}
        results -= {found.source, *found.source.parents}
        pattern = found.tail.lstrip("/")
        every = [*(found.source.glob(pattern) if pattern else found.source.rglob("*"))]
        if pattern:  # a folder that the pattern names
            every += [inner for folder in every if folder.is_dir() for inner in folder.rglob("*")]
        for file in every:
            below = file.relative_to(found.source)
            if (
                file.is_file()
                and results.isdisjoint((file, *file.parents))
                and not _SKIPPED & {*below.parts}
                and file.suffix != ".ipynb"
                and not self.is_secret(file)
            ):
                self.result.copies[file] = f"{new}/{below.as_posix()}"

    def with_shell_lines_followed(self, cell: Cell, moved: Mapping[str, str]) -> str:
        """`!head data.csv`: the words of shell lines and magics that are files follow, too.

        Args:
            moved: where the notebook's results and their folders go. No word of them is an input.
        """
        if cell.type != "code" or cell.python[0] == cell.source and not cell.source.startswith("%%"):
            return cell.source
        lines, plain = cell.source.split("\n"), cell.python[0].split("\n")
        for index, line in enumerate(lines):
            if line == plain[index] and cell.tree is not None:
                continue
            for word in sorted({*re.findall(_WORD, line)}, key=len, reverse=True):
                if not (_EXTENSION.search(word) or "/" in word):
                    continue
                new = _place_below(word, moved)
                if new is None:
                    found = self.find(word)
                    if found is None or found.source.suffix in (".py", ".ipynb"):
                        continue
                    new = self.destination(found)
                    self.copy(found, new, moved)
                    self.result.inputs.add(new)
                    new += found.tail
                lines[index] = re.sub(rf"(?<![\w./-]){re.escape(word)}(?![\w./-])", lambda _: new, lines[index])  # noqa: B023
        return "\n".join(lines)


def home(origin: Path) -> Path:
    """The repository or project of a notebook in this folder; the folder itself if it lies in none."""
    return _bases(origin)[-1]


def _bases(origin: Path) -> list[Path]:
    """The notebook's folder, and those around it up to that of its repository or project, where it is in one."""
    around = [origin, *origin.parents]
    marks = (".git", ".dvc", "pyproject.toml", "requirements.txt", "environment.yml")
    last = next((at for at, folder in enumerate(around[:5]) if any((folder / mark).exists() for mark in marks)), 0)
    return around[: last + 1]


def same(one: Path, other: Path) -> bool:
    """Whether the other is a file of the same bytes; of a folder, whether the other has all its files."""
    if one.is_dir():
        inner = (file for file in one.rglob("*") if file.is_file() and file.name != ".gitignore")
        return all(same(file, other / file.relative_to(one)) for file in inner)
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def _without_pattern(text: str) -> tuple[str, str]:
    """A path up to its first wildcard, and the rest."""
    parts = text.split("/")
    for index, part in enumerate(parts):
        if any(character in part for character in "*?["):
            return "/".join(parts[:index]) or ("/" if text.startswith("/") else "."), "/".join(parts[index:])
    return text, ""


def _without_own_lists(uses: list[_Use]) -> list[_Use]:
    """The uses; to list a folder that the notebook has written to, and has read nothing from, is not to read inputs.

    It has written to it where names are known later only, or where it made the folder, or calls it one of results.
    """
    files = {use.path for use in uses if use.role == "write" and use.whole}
    made, written, read, every = set(), set(), {".", ".."}, []
    for use in uses:
        if use.role == "read" and use.whole and _EXTENSION.search(use.path) and use.path not in files:
            read |= {*_around(use.path)} if not _without_pattern(use.path)[1] else set()
    for use in uses:
        path = posixpath.normpath(_without_pattern(use.path)[0])
        folder = posixpath.dirname(path)
        if use.role == "folder":
            made.add(path)
        elif use.role == "write":
            written |= {path} - files
            written |= {folder} if folder in made or _RESULTS_NAME.search(folder) else set()
        elif use.role == "read" and path in written - read:
            use = replace(use, role="folder")
        elif use.role == "read":
            read.add(path)
        every.append(use)
    return every


def _around(path: str) -> Iterator[str]:
    """The folders around a path, as far as it names them."""
    return map(str, PurePosixPath(posixpath.normpath(path)).parents)


def _written(uses: list[_Use]) -> dict[str, str]:
    """The paths that the notebook writes before it reads them, and the folders that it makes and reads nothing from.

    Each with its role, `write` or `folder`.
    """
    roles = {}
    for use in uses:
        if use.role and (use.whole or use.role != "read"):
            # The folder in front of names that are known later is made, too.
            roles.setdefault(use.path, use.role if use.whole else "folder")
    read = {use.path for use in uses if use.role == "read" and roles.get(use.path) != "write"}
    folders = {folder for path in read for folder in (posixpath.normpath(path), *_around(path))}
    return {
        path: role for path, role in roles.items()
        if role == "write" and (_EXTENSION.search(path) or "/" in path)
        or role == "folder" and posixpath.normpath(path) not in folders
    }  # fmt: skip


def _overwriting(uses: list[_Use]) -> Iterator[tuple[_Use, set[ast.expr]]]:
    """The uses that write over a file which the notebook has read, and the literals that name what is written.

    None where one literal names both.
    """
    named: dict[str, list[_Use]] = {}
    for use in uses:
        if use.whole and _EXTENSION.search(use.path):
            named.setdefault(use.path, []).append(use)
    for every in named.values():
        roles = [use.role for use in every]
        if "write" in roles and "read" in roles[: roles.index("write")]:
            first = roles.index("write")
            before, after = ({use.head for use in part} for part in (every[:first], every[first:]))
            is_own = before.isdisjoint(after) and all(head.value == every[0].path for head in after)
            yield every[first], after if is_own else set()


def _written_by_shell(notebook: Notebook, uses: list[_Use]) -> dict[str, str]:
    """The files that shell lines write, and that no cell above reads, each with its role."""
    return {
        path: "write"
        for cell, line in _shell_lines(notebook) for path in _SHELL_WRITES.findall(line)
        if _EXTENSION.search(path) and not path.endswith((".py", ".ipynb"))
        and not any(use.path == path and use.role == "read" and use.cell.number < cell.number for use in uses)
    }  # fmt: skip


def _place_below(path: str, moved: Mapping[str, str]) -> str | None:
    """Where a path goes with the innermost of these, if it is one or lies in one."""
    normal = posixpath.normpath(path)
    for old in sorted(moved, key=len, reverse=True):
        folder = posixpath.normpath(old)
        if normal == folder or normal.startswith(f"{folder}/"):
            rest = normal.removeprefix(folder)
            return path if posixpath.normpath(moved[old]) == folder else posixpath.normpath(moved[old]) + rest
    return None


# What a word begins with in the name of a folder of results, or in the one that the code gives it.
_RESULTS_NAME = re.compile(
    r"(?<![a-z])(out|result|save|fig|plot|model|log|checkpoint|ckpt|export|report)", re.IGNORECASE
)


def _results_folders(uses: list[_Use], written: dict[str, str]) -> set[ast.expr]:
    """The literals of folders that the notebook makes or calls so, writes to and reads nothing from.

    What lies there is of an earlier run: no input.
    """
    every: dict[ast.expr, list[_Use]] = {}
    for use in uses:
        every.setdefault(use.head, []).append(use)
    reads = [use for use in uses if use.role == "read" and use.path not in written]
    read = {use.head for use in reads}
    listed = {use.path.rstrip("/") for use in reads}
    return {
        head for head, own in every.items()
        # Neither `..` nor a file.
        if re.search(r"\w", PurePosixPath(head.value).name) and not _EXTENSION.search(head.value)
        and any(use.role in ("write", "folder") for use in own)
        and head not in read and head.value.rstrip("/") not in listed
        and (
            any(use.role == "folder" for use in own)
            or _RESULTS_NAME.search(PurePosixPath(head.value).name)
            or any(
                isinstance(node, ast.Name) and _RESULTS_NAME.search(node.id)
                for use in own for node in ast.walk(use.node)
            )
        )
    }  # fmt: skip


def _place_of_result(use: _Use, uses: list[_Use], written: dict[str, str], places: _Places) -> str:
    """Where a result goes: out of the way of the inputs, and not out of the project."""
    reads_below = any(other.head is use.head and other.path not in written for other in uses)
    if not _leads_out(use.path) and use.head.value != use.path and reads_below and places.find(use.head.value):
        return f"{WRITTEN_BESIDE_INPUTS}/{Path(use.path).name}"
    return _in_project(use.path, places)


def _in_project(text: str, places: _Places) -> str:
    """The path of a result, or one below outputs where that leads out of the project."""
    if not _leads_out(text) or text.startswith(("/tmp/", "/dev/")) or _is_hidden(text):
        return text
    path, slash = Path(text), "/" if text.endswith("/") else ""
    target = (places.origin / path.expanduser()).resolve()
    inside = target.is_relative_to(places.root)
    outside = RESULTS if path.name == RESULTS else f"{RESULTS}/{path.name}"
    return (target.relative_to(places.root).as_posix() if inside else outside) + slash


def _leads_out(path: str) -> bool:
    return path.startswith(("/", "~", "..")) or Path(path).is_absolute() or _is_hidden(path)


def _is_hidden(path: str) -> bool:
    """Whether it lies in a hidden folder, as `~/.kaggle/kaggle.json`: a program's own."""
    return any(part.startswith(".") and part.strip(".") for part in path.split("/"))


def _may_be_missing(path: str) -> bool:
    """Whether something is said of a path that is not there: of a file's, and of a folder that is another machine's."""
    return bool(_EXTENSION.search(path) or path.startswith(("/", "~"))) and not _URL.match(path) and "\n" not in path


def _shell_lines(notebook: Notebook) -> Iterator[tuple[Cell, str]]:
    """The lines of code cells that are not Python: shell lines, magics, and what a cell magic is about."""
    for cell in notebook.cells:
        if cell.type == "code":
            plain = cell.python[0].split("\n")
            yield from (
                (cell, line)
                for row, line in enumerate(cell.source.split("\n"))
                if cell.tree is None or line != plain[row]
            )


def _quoted(text: str, cell: Cell, node: ast.expr) -> str:
    """The text as a literal, in the quotes that the notebook uses there."""
    source = ast.get_source_segment(cell.source, node) or ""
    quote = "'" if "'" in source and '"' not in source else '"'
    return quote + text.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote


def _with_head(use: _Use, new_head: str) -> str:
    """The code of a path as it is when the literal that it begins with is another, which may stand elsewhere."""
    code = ast.get_source_segment(use.cell.python[0], use.node)
    head = ast.get_source_segment(use.head_cell.source, use.head)
    return code.replace(head, _quoted(new_head, use.head_cell, use.head))


def _is_path_object(node: ast.expr) -> bool:
    """Whether the value of an expression is a `Path`, and not a text that was made of one."""
    if isinstance(node, ast.Call) and (
        _name(node) in ("str", "fspath", "as_posix") or ast.unparse(node.func).startswith("os.path.")
    ):
        return False
    return any(
        (isinstance(each, ast.BinOp) and isinstance(each.op, ast.Div))
        or (isinstance(each, ast.Call) and _name(each) == "Path")
        for each in ast.walk(node)
    )


def _uses(notebook: Notebook) -> Iterator[_Use]:
    """All uses of a path that the code makes, in its order; a name's own assignment is none."""
    code = [cell for cell in notebook.cells if cell.type == "code" and cell.tree is not None]
    once, flow = _assigned_once(code), _Flow(code)
    for cell in code:
        nodes = [node for node in ast.walk(cell.tree) if isinstance(node, ast.expr)]
        static = {node: found for node in nodes if (found := _static(node, cell, once)) is not None}
        for node in sorted(nodes, key=lambda each: (each.lineno, each.col_offset, -(each.end_col_offset or 0))):
            parent = flow.parents.get(node)
            if isinstance(node, ast.JoinedStr):
                yield from _formatted(cell, node, flow)
            if filled := _filled(node):
                yield from _formatted(cell, node, flow, filled)
            if node not in static or parent in static or _is_no_use(node, parent, once):
                continue
            path, head, head_cell = static[node]
            if not stands_in_source(head_cell, head):
                continue
            # A file that lies beside the notebook under this very name is meant; what a pattern matches there, perhaps not.
            if _without_pattern(path)[1] and _goes_on_a_path(node, parent):
                continue
            role, is_path, whole = flow.role(node)
            is_path = is_path or (isinstance(node, ast.Name) and bool(_FOLDER_NAME.search(node.id)))
            yield _Use(cell, node, path, head, head_cell, role, is_path, whole)


def _is_no_use(node: ast.expr, parent: ast.AST | None, once: dict) -> bool:
    match parent:
        case ast.Assign() | ast.AnnAssign():
            return _target(parent) in once
        case ast.Expr() | ast.JoinedStr():
            return True  # a text of its own; a piece of a formatted one
        case ast.Subscript(slice=key):
            return key is node  # a column
        case ast.Dict(keys=keys) if node in keys:
            return True  # elsewhere in the code it is asked for by this name
        case ast.Attribute(attr="format") | ast.BinOp(op=ast.Mod()):
            return True  # something is put in
        case ast.Compare():
            return True  # what it is compared with has this name still
        case ast.Call(func=ast.Attribute(value=folder, attr="glob" | "rglob")) if node in parent.args:
            # `folder.glob("*.png")`: the pattern belongs to the folder; that of `glob.glob` is a path.
            return not (isinstance(folder, ast.Name) and folder.id == "glob")
    return False


def _goes_on_a_path(node: ast.expr, parent: ast.AST | None) -> bool:
    """Whether it comes behind the beginning of a path that the code does not tell: `folder / "a.csv"`."""
    match parent:
        case ast.BinOp(right=right):
            return node is right
        case ast.Call(func=ast.Attribute(attr="joinpath")):
            return node in parent.args
        case ast.Call(args=[_, *more]) if _name(parent) in _PATHS:
            return node in more
    return False


def _filled(node: ast.expr) -> str:
    """The beginning of `"data/{}.csv".format(x)` and `"data/%s.csv" % x`, up to what is put in; empty of anything else."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format")):
            return text.partition("{")[0]
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod()):
            return text.partition("%")[0]
    return ""


def _formatted(cell: Cell, node: ast.expr, flow: "_Flow", begins: str = "") -> Iterator[_Use]:
    """`f"images/{name}.png"`: the folder in front can be told, and is replaced by its text.

    Args:
        begins: the text in front of what is put in, unless the node is an f-string.
    """
    if isinstance(node, ast.JoinedStr) and isinstance(node.values[0] if node.values else None, ast.Constant):
        begins = node.values[0].value
    folder = begins.rpartition("/")[0]
    if not folder or not stands_in_source(cell, node):
        return
    source = ast.get_source_segment(cell.source, node) or ""
    match = re.match(r"[fFrR]*(\"\"\"|\'\'\'|\"|\')", source)
    # Python 3.11 has no place for the text itself: only where it stands in the source as it is.
    if match and source[match.end() :].startswith(folder + "/"):
        start = node.col_offset + len(match[0])
        text = ast.Constant(
            folder,
            lineno=node.lineno,
            col_offset=start,
            end_lineno=node.lineno,
            end_col_offset=start + len(folder.encode()),
        )
        text.bare = True
        yield _Use(cell, text, folder, text, cell, flow.role(node)[0], True, False)


_FOLDER_NAME = re.compile(r"dir|path|folder|root|file|source", re.IGNORECASE)


def _target(statement: ast.Assign | ast.AnnAssign) -> str:
    target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
    return target.id if isinstance(target, ast.Name) else ""


def _assigned_once(code: list[Cell]) -> dict[str, tuple[ast.expr, Cell]]:
    """The names that the notebook assigns once, at top level, with the expression and its cell."""
    counts, found = {}, {}
    for cell in code:
        for name, _, stored in bindings(cell.tree):
            if stored:
                counts[name] = counts.get(name, 0) + 1
        for statement in cell.tree.body:
            if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None and _target(statement):
                found[_target(statement)] = (statement.value, cell)
    return {name: value for name, value in found.items() if counts.get(name) == 1}


def _static(node: ast.expr, cell: Cell, once: dict, depth: int = 0) -> tuple[str, ast.Constant, Cell] | None:
    """The text or path that an expression stands for, and the literal that it begins with; None where it depends."""
    if depth > 20:
        return None
    inner = lambda each: _static(each, cell, once, depth + 1)  # noqa: E731
    match node:
        case ast.Constant(value=str(text)):
            return (text, node, cell) if text else None
        case ast.Name(id=name, ctx=ast.Load()) if name in once:
            value, where = once[name]
            return _static(value, where, once, depth + 1)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return inner(right) if _is_root(left, once) else _joined([inner(left), inner(right)])
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            first, second = inner(left), inner(right)
            return (first[0] + second[0], *first[1:]) if first and second else None
        case ast.Call(args=arguments, keywords=[]) if arguments:
            match _name(node):
                case "Path" | "PurePath" | "join" | "str" | "fspath" | "abspath" | "expanduser" | "normpath":
                    if _name(node) == "join" and not ast.unparse(node.func).endswith("path.join"):
                        return None
                    return _joined([inner(each) for each in arguments[_is_root(arguments[0], once) :]])
                case "joinpath" if isinstance(node.func, ast.Attribute):
                    return _joined([inner(each) for each in (node.func.value, *arguments)])
        case ast.Call(
            func=ast.Attribute(value=value, attr="resolve" | "absolute" | "expanduser" | "as_posix"), args=[]
        ):
            return inner(value)
    return None


_ROOT_NAME = re.compile(r"root|base|project|repo|here|cwd", re.IGNORECASE)


def _is_root(node: ast.expr, once: dict) -> bool:
    """Whether it is the folder of a project as a notebook finds it when it runs: `ROOT = find_root()`, `Path.cwd()`.

    In the project that is its root, from which all paths start.
    """
    match node:
        case ast.Name(id=name) if name in once and _ROOT_NAME.search(name):
            value = once[name][0]
            return isinstance(value, ast.Call | ast.Attribute) and _static(value, once[name][1], once, 1) is None
        case ast.Call():
            return _name(node) in ("cwd", "getcwd")
    return False


def _joined(parts: list) -> tuple[str, ast.Constant, Cell] | None:
    if not parts or None in parts:
        return None
    return "/".join([parts[0][0].rstrip("/") or "/", *(part[0].strip("/") for part in parts[1:])]), *parts[0][1:]


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class _Flow:
    """What becomes of the paths that the code says: in the calls around them, and where a name stands for them."""

    def __init__(self, code: list[Cell]):
        every = [(cell.number, node) for cell in code for node in ast.walk(cell.tree)]
        self.parents = {child: node for _, node in every for child in ast.iter_child_nodes(node)}
        bound = [node for _, node in every if _bound_name(node) is not None]
        self._bound = {(self._function(node), _bound_name(node)) for node in bound}
        self._names: dict[tuple, list[tuple[tuple, ast.AST]]] = {}
        """By function and name: the places, in their order, that give it a value or use it."""
        for number, node in every:
            if isinstance(node, ast.Name | ast.arg):
                # A value is there before the name has it: `path = path + "/x"`.
                around = self.parents[node]
                end = around if _bound_name(node) and isinstance(around, ast.Assign | ast.AnnAssign) else node
                place = (number, end.end_lineno, end.end_col_offset, _bound_name(node) is not None)
                self._names.setdefault(self._meant(node), []).append((place, node))
        for places in self._names.values():
            places.sort(key=lambda each: each[0])
        self._own = {node.name: set() for _, node in every if isinstance(node, ast.FunctionDef)}
        """The notebook's own functions, each with the roles of what its calls return."""
        self._roles: dict[ast.expr, tuple[str, bool, bool]] = {}
        calls = [node for _, node in every if isinstance(node, ast.Call) and _name(node) in self._own]
        for name, role in [(_name(call), self.role(call)[0]) for call in calls]:
            self._own[name].add(role)
        self._roles.clear()  # they did not know yet what functions return

    def role(self, node: ast.expr) -> tuple[str, bool, bool]:
        """What the call around a path does with it, whether something says that it is one, and whether that is all of it.

        What a function of the notebook's own writes, and in which folder, its name does not tell. What it returns has the role
        of its calls; what a name is given, that of the name's uses.
        """
        if node in self._roles:  # two names may lead to one use, and so on
            return self._roles[node]
        role, is_path, last = self._role_in_expression(node)
        around = self.parents.get(node)
        whole = not isinstance(around, ast.BinOp | ast.FormattedValue)
        if not role:
            later = [self.role(use) for use in self._uses_of_name(last)]
            roles = [each[0] for each in later if each[0]]
            role = next((each for each in roles if each != "folder"), "")
            role = "folder" if "folder" in roles and role != "read" else role
            whole = whole and all(each[2] for each in later)
        call = self.parents.get(around) if isinstance(around, ast.keyword) else around
        is_folder = role == "write" and isinstance(call, ast.Call) and _name(call) in (*_PATHS, "extractall")
        self._roles[node] = role, is_path, whole and not is_folder
        return self._roles[node]

    def _role_in_expression(self, node: ast.expr) -> tuple[str, bool, ast.expr]:
        """The role, whether it is a path, and the last expression that has no other value than the path's."""
        is_path = isinstance(node, ast.Call | ast.BinOp)
        child, parent = node, self.parents.get(node)
        while isinstance(parent, ast.expr | ast.keyword):
            if isinstance(parent, ast.BinOp):
                is_path = is_path or isinstance(parent.op, ast.Div)
            elif isinstance(parent, ast.Call):
                name, receiver = _name(parent), child is parent.func
                if name in _OPENS:
                    mode = next((word.value for word in parent.keywords if word.arg == "mode"), None)
                    mode = mode or next(iter(parent.args[0 if receiver else 1 :]), None)
                    writes = isinstance(mode, ast.Constant) and str(mode.value)[:1] in ("w", "a", "x")
                    return "write" if writes else "" if name == "HDFStore" else "read", True, child
                if _WRITES.fullmatch(name):
                    return "" if name in self._own else "write", True, child
                if name in ("mkdir", "makedirs"):
                    return "folder", True, child
                if _ASKS.fullmatch(name):
                    return "", True, child
                if name in _PATHS:
                    is_path = True
                elif _READS.fullmatch(name):
                    return "read", True, child
                elif name not in ("str", "fspath", "abspath", "expanduser", "resolve", "absolute"):
                    return "", is_path, child
            elif not isinstance(parent, ast.Attribute | ast.Starred | ast.JoinedStr | ast.FormattedValue | ast.keyword):
                return "", is_path, child
            child, parent = parent, self.parents.get(parent)
        if isinstance(parent, ast.Return):
            function = self._function(parent)
            writes = isinstance(function, ast.FunctionDef) and self._own.get(function.name) == {"write"}
            return "write" if writes else "", is_path, child
        return "", is_path, child

    def _uses_of_name(self, value: ast.expr) -> list[ast.Name]:
        """Where the name is used that an assignment, or an argument's default, gives this value: until it has another."""
        match self.parents.get(value):
            case ast.Assign(targets=[ast.Name() as target]) | ast.AnnAssign(target=ast.Name() as target):
                pass
            case ast.arguments(posonlyargs=first, args=more, kwonlyargs=last) as every:
                positional = [*first, *more]
                names = [*positional[len(positional) - len(every.defaults) :], *last]
                target = names[[*every.defaults, *every.kw_defaults].index(value)]
            case _:
                return []
        nodes = [node for _, node in self._names[self._meant(target)]]
        later = nodes[nodes.index(target) + 1 :]
        return [*itertools.takewhile(lambda node: _bound_name(node) is None, later)]

    def _function(self, node: ast.AST) -> ast.AST | None:
        """The function whose code it is; None at top level."""
        node = self.parents.get(node)
        while node is not None and not isinstance(node, _FUNCTION):
            node = self.parents.get(node)
        return node

    def _meant(self, node: ast.Name | ast.arg) -> tuple[ast.AST | None, str]:
        """The function to which a name belongs, and the name."""
        name = node.id if isinstance(node, ast.Name) else node.arg
        function = self._function(node)
        while function is not None and (function, name) not in self._bound:
            function = self._function(function)
        return function, name


def _bound_name(node: ast.AST) -> str | None:
    """The name that is given a value there; None elsewhere."""
    match node:
        case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return name
    return None
