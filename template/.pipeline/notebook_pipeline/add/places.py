"""Where the files of a notebook go in the project."""

import filecmp
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

INPUTS = "data/external"
WRITTEN_BESIDE_INPUTS = "data/processed"
RESULTS = "outputs"
_SKIPPED = {".git", ".dvc", ".venv", "venv", "__pycache__", ".ipynb_checkpoints", "node_modules", ".pytest_cache"}


def around(origin: Path) -> list[Path]:
    """Return the notebook's folder, and those around it up to that of its repository or project, if it is in one."""
    folders = [origin, *origin.parents]
    marks = (".git", ".dvc", "pyproject.toml", "requirements.txt", "environment.yml")
    last = next((at for at, folder in enumerate(folders[:5]) if any((folder / mark).exists() for mark in marks)), 0)
    return folders[: last + 1]


def same(one: Path, other: Path) -> bool:
    """Tell whether the other is a file of the same bytes; of a folder, whether the other has all its files."""
    if one.is_dir():
        inner = (file for file in one.rglob("*") if file.is_file() and file.name != ".gitignore")
        return all(same(file, other / file.relative_to(one)) for file in inner)
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def is_of_a_tool(path: Path) -> bool:
    """Tell whether a path lies in a folder of a tool: of git, or of an environment."""
    return bool(_SKIPPED & {*path.parts})


@dataclass
class Places:
    """Gives each file of the notebook its path in the project.

    Attributes:
        origin: the notebook's folder.
        root: the project's.
        made_by_stages: the results of the project's other stages, each with its stage's name.
        inputs: all that is to be copied.
    """

    origin: Path
    root: Path
    made_by_stages: Mapping[str, str] = field(default_factory=dict)
    inputs: Collection[Path] = ()
    _folders: dict[Path, str] = field(default_factory=dict)
    _given: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self):
        self.bases = around(self.origin)

    def give_folders_a_place(self, folders: Iterable[Path]) -> None:
        """Keep together what lies in these folders; the outer ones first, what lies in them goes with them."""
        for folder in sorted(folders, key=lambda each: len(each.parts)):
            if not folder.is_relative_to(self.root) and folder not in self.origin.parents and folder != self.origin:
                self._folders.setdefault(folder, self.of_input(folder))

    def keep_apart(self, pattern: str, files: Collection[Path]) -> None:
        """Give the files beside the notebook that a pattern matches a folder of their own, if it would match others in data/external, too."""
        there = [path for path in (self.root / INPUTS).glob(pattern) if not any(same(file, path) for file in files)]
        others = [each for each in self.inputs if each not in files and Path(self._below_inputs(each)).match(pattern)]
        if there or any("/" not in self._below_inputs(each) for each in others):
            self._folders |= {file: f"{INPUTS}/{self.origin.name}/{file.name}" for file in files}

    def distance(self, source: Path) -> tuple:
        """Order files by how far from the notebook they are: the nearest gets the plainest name."""
        return not source.is_relative_to(self.origin), not source.is_relative_to(self.bases[-1]), source

    def of_input(self, source: Path) -> str:
        """Return the path of what is read: as it is within the project, else below data/external.

        The same name from two folders gets the folder's name, too.
        """
        if source.is_relative_to(self.root):
            return source.relative_to(self.root).as_posix()
        for folder in (source, *source.parents):
            if folder in self._folders:
                return self._folders[folder] + source.as_posix().removeprefix(folder.as_posix())
        below = self._below_inputs(source)
        name = f"{INPUTS}/{below}".rstrip("/")
        if name == INPUTS and not self._is_free(name, source):
            name = f"{INPUTS}/{source.name}"
        if not self._is_free(name, source):
            name = f"{INPUTS}/{source.parent.name}_{source.name}"
        self._given[name] = source
        return name

    def of_result(self, target: Path, head: Path | None = None) -> str:
        """Return the path of what is written: as it is below the notebook or within the project, else below outputs.

        Args:
            head: a folder that the code names, and in which the result lies.
        """
        for base in (self.root, self.origin):
            if target.is_relative_to(base) and not is_hidden(target.relative_to(base)):
                return target.relative_to(base).as_posix()
        below = target.relative_to(self.bases[-1]).as_posix() if target.is_relative_to(self.bases[-1]) else ""
        if below.startswith((f"{RESULTS}/", f"{WRITTEN_BESIDE_INPUTS}/")) or below in (RESULTS, WRITTEN_BESIDE_INPUTS):
            return below
        if head is not None and target.is_relative_to(head) and head not in (self.origin, *self.origin.parents):
            folder = RESULTS if head.name == RESULTS else f"{RESULTS}/{head.name}"
            return f"{folder}/{target.relative_to(head).as_posix()}".removesuffix("/.")
        return f"{RESULTS}/{target.name}"

    def made_by_stage(self, source: Path) -> str | None:
        """Return a stage's result that is this file or folder; None if the file beside the notebook has other bytes."""
        found = self.result_named(source)
        return found if found and (not source.exists() or same(source, self.root / found)) else None

    def result_named(self, source: Path) -> str | None:
        """Return a stage's result of this path, as seen from here, or of this name: `data/a.csv` may be `data/processed/a.csv`."""
        base = next((each for each in (self.root, *self.bases) if source.is_relative_to(each)), None)
        path = source.relative_to(base).as_posix() if base else source.name
        if any(path == out or path.startswith(f"{out}/") or out.startswith(f"{path}/") for out in self.made_by_stages):
            return path
        return next(
            (out for out in self.made_by_stages if out.rpartition("/")[2] == source.name and "." in source.name), None
        )

    def maker(self, result: str) -> str:
        """Return the name of the stage that makes a result, or what it holds."""
        return next(
            stage for out, stage in self.made_by_stages.items()
            if result == out or result.startswith(f"{out}/") or out.startswith(f"{result}/")
        )  # fmt: skip

    def _is_free(self, name: str, source: Path) -> bool:
        """Whether a place has no files but what the source has, too, and will get no other."""
        taken = {**self._given, **{place: folder for folder, place in self._folders.items()}}
        if taken.get(name, source) != source or ((self.root / name).exists() and not same(self.root / name, source)):
            return False
        others = [each for each in self.inputs if not each.is_relative_to(source)] if name == INPUTS else []
        return not any((source / self._below_inputs(each)).exists() for each in others)

    def _below_inputs(self, source: Path) -> str:
        """What lies below the notebook keeps its folders, but for `data` or `data/external` in front; the rest its name."""
        base = next((base for base in self.bases if source.is_relative_to(base)), None)
        parts = source.relative_to(base).parts if base else (source.name,)
        if parts[:2] == ("data", "external"):
            return "/".join(parts[2:])
        return "/".join(parts[1:] if parts[:1] == ("data",) and (len(parts) > 1 or source.is_dir()) else parts)


def is_hidden(path: Path) -> bool:
    """Tell whether a path lies in a hidden folder, as `.kaggle/kaggle.json`: a program's own."""
    return any(part.startswith(".") and part.strip(".") for part in path.parts)
