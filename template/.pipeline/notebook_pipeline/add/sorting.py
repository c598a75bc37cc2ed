"""Sorts the files that a notebook was seen to use: inputs, results, and where each goes."""

import glob
import os
import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from notebook_pipeline import secret_files
from notebook_pipeline.add.code import Code
from notebook_pipeline.add.observation import Observation, Use
from notebook_pipeline.add.places import WRITTEN_BESIDE_INPUTS, Places, is_hidden, is_of_a_tool
from notebook_pipeline.add.texts import is_upwards, parts

# A word of a shell line or of a configuration file.
WORD = r"[^\s\"'`;|&<>()=,]+"
# What a notebook of a project begins with: see written_notebook.py.
STARTS_IN_ROOT = re.compile(r"""if Path\.cwd\(\)\.name == ["']notebooks["']:\n +os\.chdir\(["']\.\.["']\)""")


class Files:
    """The files of a notebook, sorted.

    Attributes:
        inputs: the files that it reads.
        input_folders: those of which it lists what is in them.
        changed: the inputs that it changes.
        own_copies: those of them that it changes under the very text by which it reads them.
        named_inputs: the inputs as paths of the project.
        copies: the files to copy, and where to.
        secrets: what looks like secrets, and why.
        shell_paths: the paths that words of shell lines are.
    """

    def __init__(
        self,
        root: Path,
        found: Observation,
        places: Places,
        code: Code,
        modules: Mapping[Path, str],
        allowed: Collection[Path],
    ):
        self.root, self.found, self.places, self.code, self.modules, self.allowed = (
            root,
            found,
            places,
            code,
            modules,
            allowed,
        )
        self.inputs: set[Path] = set()
        self.input_folders: set[Path] = set()
        self.named_inputs: set[str] = set()
        self.copies: dict[Path, str] = {}
        self.secrets: dict[Path, str] = {}
        self.notes: list[str] = []
        self.patterns: dict[str, set[Path]] = {}
        """The patterns of files beside the notebook, each with what it matches."""
        self.results_above = _with_folders(found.written)
        self.inputs_above: set[Path] = set()
        self.used_folders = {
            use.base for use in code.uses
            if use.what in ("make", "ask", "list", "glob") and not self.is_around(use.base) and use.base not in found.written
        }  # fmt: skip
        """The folders that the code names by themselves: what lies in one goes with it."""
        self.sort_files()

    def sort_files(self) -> None:
        """Decide for each file and folder whether it is an input or a result, and where it goes."""
        self.shell_paths = {*self._paths_in_shell_lines()}
        unseen = set() if self.found.sees_all else self.shell_paths - {*self.found.written}
        self.inputs = {file for file in self.found.read | unseen if self._is_data(file)}
        listing = []
        for use in [*self.code.uses, *(Use("list", str(path), path, 10**6) for path in self.shell_paths)]:
            folder = use.base
            is_beside = use.what == "glob" and folder == self.places.origin
            if use.what not in ("list", "glob") or not folder.is_dir() or self.is_around(folder) and not is_beside:
                continue
            if not self._is_of_results(use, folder):
                listed = folder.iterdir() if use.what == "list" else _matches(use.path)
                data = {file for file in listed if file not in self.found.written and self._is_data(file)}
                self.inputs |= data
                if is_beside:
                    self.patterns[use.path.relative_to(folder).as_posix()] = data
                else:
                    self.input_folders.add(folder)
                    listing += [use] if use.what == "list" else []
        self.inputs_above = _with_folders(self.inputs)
        self.places.inputs = self.inputs | self.input_folders
        named = {head for use in self.code.uses if (head := self.code.head_folder(use)) and self.holds_inputs(head)}
        self.places.give_folders_a_place(named | self.input_folders)
        for pattern, data in self.patterns.items():
            self.places.keep_apart(pattern, data)
        for file in sorted(self.inputs, key=self.places.distance):
            made = self.places.made_by_stage(file)
            place = made or self.places.of_input(file)
            self.named_inputs.add(place)
            self._note_result(file, place)
            if made is None and not file.is_relative_to(self.root):
                self.copies[file] = place
        for use in listing:
            self.named_inputs.add(self.places.made_by_stage(use.path) or self.places.of_input(use.path))
        self._divide_changed_inputs()

    def _note_result(self, file: Path, place: str) -> None:
        """Say that a stage makes what the notebook reads, or makes another file of that name."""
        result = self.places.result_named(file)
        if result is None or self.places.origin.is_relative_to(self.root):
            return
        stage, use = self.places.maker(result), next((use for use in self.code.uses if use.path == file), None)
        where = f"cell {use.cell}: " if use else ""
        if place == result:
            self.notes.append(f"{where}`{place}` is the result of stage `{stage}`: read from there")
        else:
            said = use.said if use else Path(os.path.relpath(file, self.places.origin)).as_posix()
            differs = "differs from" if (self.root / result).exists() else "cannot be compared with"
            self.notes.append(
                f"{where}`{said}` {differs} the result of stage `{stage}`: copied; to read that one, write "
                f"`{result}` in place of `{place}`"
            )

    def _divide_changed_inputs(self) -> None:
        """What is read and then changed goes to data/processed when it is changed: DVC would find its input changed."""
        self.changed = {file for file in self.inputs & {*self.found.written} if not file.is_relative_to(self.root)}
        self.own_copies = set()
        for file in self.changed:
            uses = [use for use in self.code.uses if use.path == file and use.what in ("read", "write")]
            first = next((at for at, use in enumerate(uses) if use.what == "write"), 0)
            before, after = (
                {lit for use in part for lit in self.code.literals(use)[0][:1]} for part in (uses[:first], uses[first:])
            )
            if not first or not after or before & after:
                self.own_copies.add(file)

    def place_of_change(self, file: Path) -> str:
        return f"{WRITTEN_BESIDE_INPUTS}/{file.name}"

    def _is_data(self, file: Path) -> bool:
        """Whether a file may be an input: neither code, nor a tool's, nor a secret."""
        if not file.is_file() or file in self.modules or file.suffix == ".ipynb" or is_of_a_tool(file):
            return False
        return not self._is_secret(file)

    def holds_inputs(self, folder: Path) -> bool:
        return folder in self.inputs_above

    def holds_results(self, folder: Path) -> bool:
        return folder in self.results_above

    def is_around(self, folder: Path) -> bool:
        """Whether a folder is the notebook's own, or one around it."""
        return self.places.origin.is_relative_to(folder)

    def _is_of_results(self, use: Use, folder: Path) -> bool:
        """Whether the notebook had written into a folder when it listed it, and reads nothing that was there before."""
        before = self.code.uses[: self.code.uses.index(use)] if use in self.code.uses else self.code.uses
        wrote = any(each.what == "write" and each.path.is_relative_to(folder) for each in before)
        return wrote and not any(file.is_relative_to(folder) for file in self.found.read)

    def _is_secret(self, file: Path) -> bool:
        if reason := secret_files.why(file, self.allowed):
            self.secrets[file.resolve()] = reason
        return bool(reason)

    def place_of(self, use: Use) -> str | None:
        """Return the path in the project of what is used; None if it stays what it is."""
        if use.what == "chdir":
            return (
                None if use.cell in self.code.cells and STARTS_IN_ROOT.search(self.code.cells[use.cell].source) else "."
            )
        path, pattern = use.base, use.path.as_posix().removeprefix(use.base.as_posix())
        if use.what == "glob" and path == self.places.origin and (data := self.patterns.get(pattern.lstrip("/"))):
            return posixpath.dirname(self.places.of_input(min(data))) + pattern
        home = self.places.bases[-1]
        is_far = not path.is_relative_to(home)
        if path in self.secrets or self.is_around(path) or is_hidden(path if is_far else path.relative_to(home)):
            return None
        if is_far and not (self.holds_inputs(path) or self.holds_results(path) or self.code.is_named(use)):
            return None  # a package's own
        if use.what in ("list", "glob") and not path.exists() and not self.holds_results(path):
            return None
        if use.what == "read" and not path.exists() and path not in self.found.written:
            if made := self.places.made_by_stage(path):
                self.named_inputs.add(made)
            return made
        if path in self.changed and (path in self.own_copies or use.what == "write" or self._comes_after_change(use)):
            return self.place_of_change(path)
        if path in self.inputs or path in self.input_folders or self.holds_inputs(path):
            return (self.places.made_by_stage(path) or self.places.of_input(path)) + pattern
        if path in self.found.written or use.what in ("make", "list", "glob") or self.holds_results(path):
            return self._place_of_result(use, path) + pattern
        return None

    def _comes_after_change(self, use: Use) -> bool:
        own = [each for each in self.code.uses if each.path == use.path]
        first = next((at for at, each in enumerate(own) if each.what == "write"), len(own))
        return use in own[first:]

    def _place_of_result(self, use: Use, path: Path) -> str:
        heads = [folder for folder in self.used_folders if path.is_relative_to(folder)]
        heads += [head] if (head := self.code.head_folder(use)) else []
        head = min(heads, key=lambda folder: len(folder.parts), default=None)
        place = self.places.of_result(path, head)
        # The text that it begins with leads to inputs.
        if head and path != head and self.holds_inputs(head) and not self._has_own_literal(use):
            return f"{WRITTEN_BESIDE_INPUTS}/{path.relative_to(head).as_posix()}"
        return place

    def _has_own_literal(self, use: Use) -> bool:
        return any(parts(literal.text) == parts(use.said) for literal in self.code.literals(use)[0])

    def _paths_in_shell_lines(self) -> Iterator[Path]:
        for _, _, line in self.code.lines_for_shell():
            for word in re.findall(WORD, line):
                if found := self.path_of_word(word):
                    yield found[0]

    def path_of_word(self, word: str) -> tuple[Path, str] | None:
        """Return the path that a word of a shell line is or begins, and that beginning; None if there is none."""
        plain = re.split(r"[*?\[{$]", word, maxsplit=1)[0]
        plain = plain if plain == word else plain[: plain.rfind("/") + 1]
        if not plain or not parts(plain) or is_upwards(parts(plain)):
            return None
        path = Path(os.path.normpath(self.places.origin / Path(plain).expanduser()))
        is_known = path.exists() or path in self.found.written
        return (path, plain) if is_known and path.suffix not in (".py", ".ipynb") else None


def _with_folders(files: Collection[Path]) -> set[Path]:
    """The files, and all folders around them."""
    folders = {file.parent for file in files}
    return {*files} | folders | {above for folder in folders for above in folder.parents}


def _matches(pattern: Path) -> Iterator[Path]:
    """Yield what a pattern matches on the disk, and what lies in the folders among it."""
    for name in glob.iglob(str(pattern), recursive=True):
        yield Path(name)
