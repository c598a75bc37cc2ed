"""The addition of one notebook: observes it, plans, applies the plan, and proves that nothing changed."""

import argparse
import contextlib
import importlib.util
import io
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from notebook_pipeline import files, git, secret_files, shell
from notebook_pipeline.add.advice import advise_split
from notebook_pipeline.add.lift import lift_parameters
from notebook_pipeline.add.literals import find_named
from notebook_pipeline.add.observation import MUCH, Observation, observe
from notebook_pipeline.add.pictures import find_pictures
from notebook_pipeline.add.places import INPUTS, Places, same
from notebook_pipeline.add.plan import Plan, make_plan
from notebook_pipeline.add.proof import name_paths, prove
from notebook_pipeline.add.recording import (
    ignore_results,
    refuse_taken,
    results_of_others,
    run_and_record,
    said_secret,
    without_secrets,
)
from notebook_pipeline.add.refusal import INCOMPLETE, Refused, again
from notebook_pipeline.add.stage_entry import (
    FOLDER,
    Entry,
    complete_parameters,
    free_name,
    slug,
    write_code_stage,
    write_parameters,
)
from notebook_pipeline.add.written_notebook import is_copy, start_in_root, tidied, tidy, write_notebook
from notebook_pipeline.check import command as check
from notebook_pipeline.notebook import imports
from notebook_pipeline.notebook.comparison import compare_with_saved
from notebook_pipeline.notebook.document import Notebook, as_python_reads, id_of, read
from notebook_pipeline.project.paths import MANY, outermost
from notebook_pipeline.project.project import PARAMS_FILE, PIPELINE_FILE, Project, Stage
from notebook_pipeline.project.stages import quoted


@dataclass
class Job:
    """The addition of one notebook."""

    source: Path
    """The notebook as it was given."""
    arguments: argparse.Namespace
    given: Notebook
    saved: bytes
    """Its file, with its outputs."""
    root: Path
    """The project's folder."""
    origin: Path
    """The notebook's folder."""
    target: str
    """Its path in the project."""
    inside: bool
    """Whether it lies in the project's notebooks/ already."""
    stage: Stage | None
    """The stage that runs it, if there is one."""
    allowed: set[Path]
    """Files that look like secrets and are none."""
    found: Observation = None
    modules: dict[Path, str] = None
    pictures: dict[Path, str] = None
    lines: list[str] = None
    """What is said once all is written."""

    @classmethod
    def of(cls, source: Path, arguments: argparse.Namespace) -> "Job":
        """Read the notebook.

        Raises:
            Refused, NotebookError: it cannot become a stage.
        """
        root, name = Path.cwd().resolve(), arguments.name
        if name is not None and not re.fullmatch(r"[\w-]+", name):
            raise Refused(f"--name {name}: DVC does not take this name. Fix: write letters, digits, _ and - only")
        saved = source.read_bytes() if source.is_file() else b""
        given = read(source)
        for number, cell in enumerate(given.document["cells"], 1):
            cell["id"] = id_of(cell, number)  # kept by its copy, whatever is added above
        if problem := next((line for line in given.problems(scratch=True) if "only Python" in line), None):
            raise Refused(problem)
        # A link in notebooks/ is the notebook, wherever it leads.
        folder, place = (root / FOLDER).resolve(), source.parent.resolve() / source.name
        inside = place.is_relative_to(folder)
        target = f"{FOLDER}/{place.relative_to(folder).as_posix() if inside else slug(source.stem) + '.ipynb'}"
        quoted(target)  # refused if no command can name it
        if not inside and Path(target).exists():
            raise Refused(
                f"{target} already exists. Fix: for that one, uv run pipeline add {quoted(target)}; else give {source.name} "
                "another name first"
            )
        return cls(
            source, arguments, given, saved, root,
            origin=root / Path(target).parent if inside else source.resolve().parent,
            target=target, inside=inside,
            stage=next((each for each in Project().stages() if (each.calls("run") or ("",))[0] == target), None),
            allowed={Path(path).expanduser().resolve() for path in arguments.allow} | secret_files.allowed_in(root),
        )  # fmt: skip

    # --- observe and plan ---

    def plan(self) -> Plan:
        """Observe the notebook, and plan what becomes of it.

        Raises:
            Refused: it would overwrite something, or needs an answer.
        """
        if tracked := [*secret_files.findings(["data"], self.allowed)]:
            raise Refused("\n".join(tracked))
        places = Places(self.origin, self.root, results_of_others(self.stage))
        self.found = self._observe(places)
        self.modules = {} if self.inside else _find_modules(self.given, self.origin, self.found)
        plan = make_plan(self.given, self.root, self.found, places, self.modules, self.allowed)
        refuse_taken(self.given, plan.outputs, self.stage)
        plan.secrets |= {file: reason for file in self.modules if (reason := secret_files.why(file, self.allowed))}
        self.modules = {file: place for file, place in self.modules.items() if file not in plan.secrets}
        self.pictures = {}
        if not self.inside:
            plan.notebook, self.pictures = find_pictures(plan.notebook, self.origin, FOLDER)
        self._refuse_overwriting(plan)
        plan.notes += imports.missing_runs(self.given, self.origin, self.root)
        if self.modules:
            plan.notebook = imports.with_runs_followed(plan.notebook, self.origin, self.modules)
        if not self.inside and (
            plan.notebook.document != self.given.document or plan.outputs or plan.folders or self.modules
        ):
            plan.notebook = start_in_root(plan.notebook, bool(self.modules), plan.folders, plan.working_copies)
        return plan

    def _observe(self, places: Places) -> Observation:
        """Run the notebook in a copy of its folder; what did not run, the code tells."""
        bases = [*places.bases, *([self.root] if self.inside and self.root not in places.bases else [])]
        if self.inside or self.arguments.no_run or _lacking(self.given, self.origin):
            return find_named(self.given, bases)
        most = None if self.arguments.yes else MUCH
        found = observe(self.given, self.origin, places.bases[-1], most)
        if found.too_much:
            file, size = found.too_much
            self._ask(
                f"asks for {file} ({_shown_size(size)}), with which its copies are more than {_shown_size(MUCH)}",
                "copy all of it",
            )
            found = observe(self.given, self.origin, places.bases[-1], None)
        if found.stopped or not found.sees_all:
            rest = find_named(self.given, bases, found.stopped_cell if found.sees_all else 1)
            found.uses += rest.uses
            found.read |= rest.read - {*found.written}
            found.written |= {path: digest for path, digest in rest.written.items() if path not in found.written}
        return found

    def _refuse_overwriting(self, plan: Plan) -> None:
        """Refuses to copy over another file of the project's."""

        def is_same(file: Path, place: Path) -> bool:
            if file in self.modules:
                return is_copy(file, place) or (
                    file in plan.texts and tidied(place.as_posix(), plan.texts[file].encode()) == place.read_bytes()
                )
            return place.read_bytes() == plan.texts[file].encode() if file in plan.texts else same(file, place)

        for verb, places in (("imports", self.modules), ("reads", plan.copies), ("shows", self.pictures)):
            for file, place in places.items():
                if Path(place).exists() and not is_same(file, Path(place)):
                    raise Refused(
                        f"{place} already exists, and is another file. Fix: rename the one that {self.source.name} {verb}"
                    )

    def _ask(self, what: str, fix: str) -> None:
        """Ask whether to go on.

        Raises:
            Refused: the answer is no, or nobody can answer.
        """
        if not sys.stdin.isatty():
            raise Refused(f"{self.source.name}: {what}. Fix: add `--yes` to {fix}")
        if input(f"{self.source.name}: {what}\nCopy into {INPUTS}? [y/N] ").strip().lower() not in ("y", "yes"):
            raise Refused(f"{self.source.name}: nothing was changed")

    def _ask_before_copying(self, copies: Collection[Path]) -> None:
        """Ask before much is copied, or files from outside the notebook's repository, or folder if it lies in none."""
        home = Places(self.source.resolve().parent, self.root).bases[-1]
        far = [file for file in copies if not file.resolve().is_relative_to(home)]
        if self.arguments.yes or not (far or sum(file.stat().st_size for file in copies) > MUCH):
            return
        asked, where = (far, f" outside {home}") if far else (copies, "")
        shown = ", ".join([*map(str, sorted(asked)[:3]), *(["..."] if len(asked) > 3 else [])])
        size = _shown_size(sum(file.stat().st_size for file in asked))
        self._ask(
            f"reads {len(asked)} file{'s' * (len(asked) > 1)} ({size}){where}: {shown}",
            "copy what lies outside" if far else "copy all of it",
        )

    def describe(self, plan: Plan) -> Iterator[str]:
        """Yield the plan, one line for each file and each changed line of the code."""
        for file, place in sorted({**plan.copies, **self.modules, **self.pictures}.items()):
            yield f"{place}: would be copied from {file} ({_shown_size(file.stat().st_size)})"
        for path in sorted(plan.outputs):
            yield f"{path}: would be a result"
        before = {
            cell.get("id"): Notebook("", {"cells": [cell]}).cells[0].source for cell in self.given.document["cells"]
        }
        for raw, cell in zip(plan.notebook.document["cells"], plan.notebook.cells, strict=False):
            old = before.get(raw.get("id"), "").split("\n")
            for line in cell.source.split("\n"):
                if cell.type == "code" and line not in old:
                    yield f"{self.target}: cell {cell.number}: {line}"
        yield from plan.notes

    # --- apply ---

    def apply(self, plan: Plan, is_first: bool) -> Entry | None:
        """Write the notebook, its files and its stage, or nothing.

        Args:
            is_first: whether what has changed in dvc.yaml and params.yaml is the person's.

        Returns the stage, unless it is a person's by now.
        """
        copies = {**plan.copies, **self.modules, **self.pictures}
        self._ask_before_copying([*copies])
        names = [as_python_reads(each.strip()) for each in self.arguments.lift.split(",") if each.strip()]
        lifted = lift_parameters(plan.notebook, names)
        is_written = not self.inside or lifted.notebook.document != self.given.document
        _refuse_unsaved(*([PIPELINE_FILE, PARAMS_FILE] if is_first else []), *([self.target] if is_written else []))
        # The numbers of cells are those of the copy, where the one of parameters may be new.
        lines = [*plan.notes, *(line.replace(self.given.path, self.target, 1) for line in lifted.notes)]
        lines += [said_secret(_shown(file), reason) for file, reason in sorted(plan.secrets.items())]
        own_modules = self._uncommitted_modules() if self.inside else []
        changed = (PARAMS_FILE, PIPELINE_FILE, secret_files.SETTINGS, self.target, *own_modules)
        new, said = [place for place in copies.values() if not Path(place).exists()], io.StringIO()
        with files.all_or_nothing([*changed, *new]), contextlib.redirect_stdout(said):
            print(*lines, *_said_copies(copies), sep="\n", end="\n" if lines or copies else "")
            for file, place in copies.items():
                if file in plan.texts:
                    files.write(self.root / place, plan.texts[file])
                elif not (self.root / place).exists():  # it is the same, perhaps behind a link
                    files.copy(file, self.root / place)
            own = [_shown(path) for path in self.allowed if path.is_relative_to(self.root)]
            allowed = secret_files.allowed_in(self.root)
            if listed := [place for place in (*copies.values(), *own) if secret_files.why(place, allowed)]:
                secret_files.allow(listed)
            if is_written:
                write_notebook(self.target, lifted.notebook.document, is_copy=not self.inside)
            for place in (*self.modules.values(), self.target, *own_modules):
                tidy(place)
            entry = self._write_stage(plan)
            ignore_results(self.target, self.source)
        print(said.getvalue(), end="")
        return entry

    def _write_stage(self, plan: Plan) -> Entry | None:
        notebook, entry = read(self.target), None
        if self.stage is None:
            entry = Entry(free_name(self.arguments.name or slug(self.source.stem)[:100]), self.target)
            entry.params = write_parameters(notebook.parameters, entry.name)
        else:
            complete_parameters(self.stage, notebook)
            for line in check.fix({self.target}):
                print(line)
            entry = Entry.of_unrecorded(Project().stage(self.stage.name))
        write_code_stage(entry or Entry(self.stage.name, self.target))
        if entry is not None:
            entry.deps = outermost({*plan.inputs, *self.modules.values()})
            entry.outs = without_secrets(plan.outputs, self.allowed)
            entry.write()
        return entry

    def _uncommitted_modules(self) -> list[str]:
        """Those that lie in the project and are part of the next commit: its hooks look at no others."""
        local = imports.local_files(self.given, self.origin)
        paths = [file.relative_to(self.root).as_posix() for file in local if file.is_relative_to(self.root)]
        return [path for path in paths if git.text("status", "--porcelain", "--", path)]

    # --- run and prove ---

    def run(self, plan: Plan, entry: Entry | None) -> int:
        """Run the stage, have it list what it touched, and compare it with the run in the notebook's own folder."""
        notebook = read(self.target)
        if lacking := _lacking(notebook):
            print("\n".join(lacking), file=sys.stderr)
            return INCOMPLETE
        stage = self._stage()
        output = stage.calls("run")[1]
        exit_code, seconds = run_and_record(Project(), stage, notebook, output, entry)
        if exit_code:
            print(
                f"{self.target}: the run failed; stage `{stage.name}` in {PIPELINE_FILE} has what it touched until then. Fix: correct "
                f"the notebook, {again(self.target)}",
                file=sys.stderr,
            )
            return INCOMPLETE
        is_same = self.inside or prove(self, plan, output)
        compared = compare_with_saved(self.saved, Path(output).read_bytes(), name_paths(self, plan))
        if compared.same or compared.different:
            print(f"{self.target}: {compared}" + f" (see {output})" * bool(compared.different))
        if advice := advise_split(notebook, seconds):
            print(advice)
        return max(self.finish(entry), 0 if is_same else INCOMPLETE)

    def finish(self, entry: Entry | None) -> int:
        """Say what was done. Returns the exit code."""
        stage = self._stage()
        if self.arguments.no_run:
            if lacking := _lacking(read(self.target)):
                print("\n".join(lacking), file=sys.stderr)
                return INCOMPLETE
            print(
                f"{PIPELINE_FILE}: stage `{stage.name}` lists what the code tells; `uv run dvc repro` names what it lacks"
            )
        exit_code = check.main([self.target])
        print(f"\nStage `{stage.name}` runs {self.target}. See `git diff`; `git add --all .` and `git commit` keep it.")
        return INCOMPLETE if exit_code else 0

    def _stage(self) -> Stage:
        return next(each for each in Project().stages() if (each.calls("run") or ("",))[0] == self.target)


def _find_modules(notebook: Notebook, origin: Path, found: Observation) -> dict[Path, str]:
    """The files of the modules of the person's own that it imports, and those that it runs, with their places here."""
    files = {**found.modules, **imports.local_files(notebook, origin)}
    modules = {file: f"{FOLDER}/{place}" for file, place in files.items()}
    for file, place in modules.items():
        if other := next((each for each in modules if each != file and modules[each] == place), None):
            raise Refused(f"{file}: would be {place}, and so would {other}. Fix: rename one of the two")
        if file.suffix == ".ipynb":
            read(file)  # a broken one is refused before anything is written
    return modules


def _shown_size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _shown(file: Path) -> str:
    """A path as seen from the project if it is in it."""
    return file.relative_to(Path.cwd()).as_posix() if file.is_relative_to(Path.cwd()) else str(file)


def _lacking(notebook: Notebook, folder: Path | None = None) -> list[str]:
    """What its imports lack in this environment, one line each: packages to install, and what none brings."""
    names = imports.needed(notebook, folder or Path(notebook.path).parent, Path())
    names = {name for name in names if not _is_there(imports.root(name))}
    lines = []
    if packages := sorted({imports.distribution(name) for name in names} - {None}):
        lines.append(
            f"{notebook.path}: needs packages that this environment lacks. Fix: uv add {shell.join(packages)}, {again(notebook.path)}"
        )
    if nowhere := sorted({imports.root(name) for name in names if imports.distribution(name) is None}):
        lines.append(
            f"{notebook.path}: imports {', '.join(nowhere)}, which no package provides. Fix: remove the import, {again(notebook.path)}"
        )
    return lines


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # not even the package around it; a module without a spec
        return module in sys.modules


def _said_copies(copies: dict[Path, str]) -> list[str]:
    """One line for a file; one for a folder's, where there are many."""
    folders: dict[tuple, list[tuple]] = {}
    for file, place in sorted(copies.items()):
        folders.setdefault((Path(place).parent.as_posix(), file.parent), []).append((place, file))
    lines = []
    for (folder, origin), pairs in folders.items():
        if len(pairs) >= MANY:
            lines.append(f"{folder}: copied {len(pairs)} files from {origin}")
        else:
            lines += [f"{place}: copied from {file}" for place, file in pairs]
    return lines


def _refuse_unsaved(*written: str) -> None:
    """Refuses to change what git could not bring back; before the first commit there is nothing to bring back."""
    has_commit = git.text("rev-parse", "--verify", "--quiet", "HEAD") is not None
    if has_commit and (unsaved := git.find_unsaved(*written)):
        raise Refused(
            f"{', '.join(unsaved)}: changed since git last had it, and this would change it. Fix: `git add {shell.join(unsaved)}` "
            "first, so that it can be undone"
        )
