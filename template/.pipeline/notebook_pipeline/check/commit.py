"""What a clone would lack of the pipeline: it has what a stage makes, what DVC tracks and what git tracks.

What is neither lies on this disk alone: all works here, and nothing in any clone. And what a hook made of a commit, after
its results were recorded, is stale in each of them.
"""

import contextlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PureWindowsPath

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from notebook_pipeline import files, git, shell
from notebook_pipeline.code import command as code
from notebook_pipeline.notebook import packages
from notebook_pipeline.notebook.document import NotebookError, parse
from notebook_pipeline.project.paths import folders_above_all, from_here, is_covered, upwards
from notebook_pipeline.project.project import PIPELINE_FILE, Project, ProjectError, Stage


def find_missing(project: Project, stages: list[Stage]) -> Iterator[str]:
    """Find the deps of stages that a clone would lack; one line each, with its fix.

    What git does not ignore is only missing while a commit is made: until then, a person may still `git add` it. Without
    git, or if git has no dvc.yaml, there is no clone.
    """
    made = _Places(_place_outs(project))
    deps = {}
    for stage in stages:
        for dep in project.placed(stage, filter(_is_relative, stage.deps)):
            if not dep.startswith("../") and not made.cover(dep) and not _is_beside_its_dvc_file(dep):
                deps.setdefault(dep, stage)
    # The repository's top may lie above.
    tracked = git.paths("ls-files", "-z", "--", ":/") if deps else None
    if not tracked or PIPELINE_FILE not in tracked:
        return
    # Git does not follow a link.
    deps = _Places(tracked).exclude({dep: deps[dep] for dep in deps if not any(map(os.path.islink, upwards(dep)[1:]))})
    if not deps or (elsewhere := _find_elsewhere(tracked, deps)) is None or not (deps := elsewhere.exclude(deps)):
        return
    # `./`: a colon at the beginning would mean something to git.
    asked = "\0".join(sorted({f"./{each}" for dep in deps for each in upwards(dep)}))
    ignored = git.paths("check-ignore", "--no-index", "-z", "--stdin", given=asked)
    for dep, stage in deps.items() if ignored is not None else ():
        head = f"{project.place(stage, 'deps')}: stage `{stage.name}`: a clone would lack {dep}, "
        if below := [each for each in upwards(dep) if f"./{each}" in ignored]:
            # Of a folder that git ignores DVC adds nothing but the whole: git would not see the .dvc file.
            yield (
                f"{head}which no stage makes and git ignores. Fix: "
                f"list it under `outs:` of the stage that makes it, or `uv run dvc add {shell.quote(below[-1])}`"
            )
        elif "PRE_COMMIT" in os.environ and os.path.exists(dep):
            own = shell.quote(dep)
            yield f"{head}which is not in git. Fix: `git add {own}`, or, if it is data, `uv run dvc add {own}`"


def find_deleted(project: Project, stages: list[Stage]) -> Iterator[str]:
    """Find results that the commit deletes: a run that fails leaves none, and `git commit --all` takes that in."""
    gone = {out: stage for stage in stages for out in project.placed(stage, stage.outs) if not os.path.exists(out)}
    deleted = git.paths("diff", "--cached", "--name-only", "--diff-filter=D", "--relative", "-z") if gone else None
    places = _Places(deleted or ())
    for out, stage in gone.items():
        if places.cover(out):
            yield (
                f"{project.place(stage, 'outs')}: stage `{stage.name}`: the commit deletes {out}, missing from its last run. "
                f"Fix: make it with `uv run dvc repro`, or restore the last one with `git checkout HEAD -- {shell.quote(out)}`"
            )


def find_stopped_experiment() -> Iterator[str]:
    """Report a HEAD that a killed `dvc exp run` left on no branch, so that nobody would find the commit again."""
    if not git.output("for-each-ref", "--points-at=HEAD", "refs/exps/exec/EXEC_BASELINE"):
        return  # as at nearly every commit
    rebases = git.paths("rev-parse", "--git-path", "rebase-merge", "--git-path", "rebase-apply") or {""}
    if git.output("symbolic-ref", "--quiet", "HEAD") or any(map(os.path.exists, next(iter(rebases)).splitlines())):
        return
    branch = os.fsdecode(git.output("rev-parse", "--abbrev-ref", "@{-1}") or b"").strip() or "BRANCH"
    yield (
        "HEAD: is on no branch: `dvc exp run` was stopped, or is still at work. "
        f'Fix: git switch {shell.quote(branch)} (README.md, "After a stop", says the rest)'
    )


def find_changes_of_hooks(lock_file: str) -> Iterator[str]:
    """Report what a hook of this commit made of files, so that they are no longer what dvc.lock recorded; one line each.

    pre-commit puts aside what is not staged: what differs from the index while a commit is made, another hook has changed.
    A file that was another one before that, too, is a person's own: its stage is to run, now or later.
    """
    if not {"PRE_COMMIT", "GIT_INDEX_FILE"} <= os.environ.keys() or not os.path.exists(lock_file):
        return
    recorded = {*re.findall(r"\bmd5: ([0-9a-f]{32})\b", files.read(lock_file))}
    for path in sorted(git.paths("diff", "--name-only", "--diff-filter=M", "--relative", "-z") or ()):
        staged, now = git.output("cat-file", "blob", f":./{path}") or b"", Path(path).read_bytes()
        # A notebook is recorded by its code, by a stage that runs it itself as it is.
        for one, other in ((staged, now), (_make_code(path, staged), _make_code(path, now))):
            if files.md5(one) in recorded and files.md5(other) not in recorded:
                yield f"{path}: a hook changed what {lock_file} recorded. Fix: run `uv run dvc repro` and commit again"
                break


def _make_code(path: str, content: bytes) -> bytes:
    """Make a notebook's code as its stage `code` writes it; return any other file as it is."""
    with contextlib.suppress(NotebookError, packages.LockError, UnicodeDecodeError):
        if path.endswith(".ipynb"):
            return files.encode(code.text(parse(content.decode(), path)))
    return content


class _Places:
    """Files and folders. Names that a disk may take for the same (`Ä` in two ways, capitals) are the same."""

    def __init__(self, paths: Iterable[str]):
        self.paths = {_normalize(path) for path in paths}
        self.folders = folders_above_all(self.paths)

    def cover(self, path: str) -> bool:
        """Whether a path, a folder above it or something below it is among them."""
        path = _normalize(path)
        return path in self.folders or is_covered(path, self.paths)

    def exclude(self, deps: dict[str, Stage]) -> dict[str, Stage]:
        """Return the deps that they do not cover."""
        return {dep: stage for dep, stage in deps.items() if not self.cover(dep)}


def _normalize(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _is_relative(path: str) -> bool:
    """Whether a path is relative, on this system and on Windows, on which the pipeline may have been written."""
    return not os.path.isabs(path) and not PureWindowsPath(path).is_absolute()


def _place_outs(project: Project) -> Iterator[str]:
    for stage in project.stages():
        yield from project.placed(stage, stage.outs)


def _is_beside_its_dvc_file(dep: str) -> bool:
    """Whether `dvc add` put it there, or a folder above it; most data needs no other look."""
    return any(os.path.isfile(f"{each}.dvc") for each in upwards(dep))


def _find_elsewhere(tracked: set[str], deps: Iterable[str]) -> _Places | None:
    """Find what DVC files of any name and place provide, and other dvc.yaml files; None if one of them cannot be read."""
    # What `dvc add` has just made is not in git yet.
    folders = {Path(each).parent for dep in deps for each in upwards(dep)}
    beside = {path.as_posix() for folder in folders for path in (*folder.glob("*.dvc"), folder / PIPELINE_FILE)}
    places = []
    try:
        for file in map(Path, tracked | beside):
            if file.name == PIPELINE_FILE and file.parent != Path() and file.exists():
                places += _place_outs(Project(file.parent))
            elif file.suffix == ".dvc" and file.is_file():
                content = YAML(typ="safe").load(files.read(file))
                paths = [out["path"] for out in content.get("outs") or []]
                places += from_here(file.parent / (content.get("wdir") or "."), paths)
    except (ProjectError, YAMLError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return _Places(places)
