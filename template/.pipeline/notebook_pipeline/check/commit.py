"""What a clone would lack of the pipeline: it has what a stage makes, what DVC tracks and what git tracks.

What is neither lies on this disk alone: all works here, and nothing in any clone. And what a hook made of a commit, after
its results were recorded, is stale in each of them.
"""

import bisect
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
from notebook_pipeline.project.paths import from_here, upwards
from notebook_pipeline.project.project import PIPELINE_FILE, Project, ProjectError, Stage


def find_missing(project: Project, stages: list[Stage], chosen: list[Stage]) -> Iterator[str]:
    """Find the deps that a clone would lack, and the results that the commit takes from it; one line each, with its fix.

    What git does not ignore is only missing while a commit is made: until then, a person may still `git add` it. Without
    git, or if git has no dvc.yaml, there is no clone.

    Args:
        project: in the current folder.
        stages: all of its stages.
        chosen: those that are looked at.

    Raises:
        ProjectError: a variable in a `wdir:` is not defined.
    """
    yield from _find_missing_deps(project, stages, chosen)
    if "PRE_COMMIT" in os.environ:
        yield from _find_deleted(project, chosen)


def _find_missing_deps(project: Project, stages: list[Stage], chosen: list[Stage]) -> Iterator[str]:
    made = _Places(_place_outs(project, stages))
    suspects = {}
    for stage in chosen:
        for dep in project.placed(stage, filter(_is_relative, stage.deps)):
            if not dep.startswith("../") and not made.cover(dep) and not _is_beside_its_dvc_file(dep):
                suspects.setdefault(dep, stage)
    # The repository's top may lie above.
    tracked = git.paths("ls-files", "-z", "--", ":/") if suspects else None
    if not tracked or PIPELINE_FILE not in tracked:
        return
    suspects = _exclude(_Places(tracked), suspects)
    # Git does not follow a link.
    suspects = {dep: stage for dep, stage in suspects.items() if not any(map(os.path.islink, upwards(dep)[1:]))}
    if not suspects or (elsewhere := _find_elsewhere(tracked, suspects)) is None:
        return
    suspects = _exclude(elsewhere, suspects)
    # `./`: a colon at the beginning would mean something to git.
    asked = "\0".join(sorted({f"./{each}" for dep in suspects for each in upwards(dep)}))
    ignored = git.paths("check-ignore", "--no-index", "-z", "--stdin", given=asked) if suspects else None
    for dep, stage in suspects.items() if ignored is not None else ():
        head = f"{project.place(stage, 'deps')}: stage `{stage.name}`: a clone would lack {dep}, "
        if below := [each for each in upwards(dep) if f"./{each}" in ignored]:
            # Of a folder that git ignores DVC adds nothing but the whole: git would not see the .dvc file.
            yield (
                f"{head}which no stage makes and git ignores. Fix: "
                f"list it under `outs:` of the stage that makes it, or `uv run dvc add {shell.quote(below[-1])}`"
            )
        elif "PRE_COMMIT" in os.environ and os.path.exists(dep):
            yield f"{head}which is not in git. Fix: `git add {shell.quote(dep)}`, or, if it is data, `uv run dvc add {shell.quote(dep)}`"


def _find_deleted(project: Project, stages: list[Stage]) -> Iterator[str]:
    """A run that fails leaves no results, and `git commit --all` would delete those that git keeps."""
    gone = {out: stage for stage in stages for out in project.placed(stage, stage.outs) if not os.path.exists(out)}
    deleted = git.paths("diff", "--cached", "--name-only", "--diff-filter=D", "--relative", "-z") if gone else None
    places = _Places(deleted or ())
    for out, stage in gone.items():
        if places.cover(out):
            yield (
                f"{project.place(stage, 'outs')}: stage `{stage.name}`: the commit deletes {out}, missing from its last run. Fix: make "
                f"it with `uv run dvc repro`, or restore the last one with `git checkout HEAD -- {shell.quote(out)}`"
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
        for one, other in ((staged, now), (_code(path, staged), _code(path, now))):
            if files.md5(one) in recorded and files.md5(other) not in recorded:
                yield f"{path}: a hook changed what {lock_file} recorded. Fix: run `uv run dvc repro` and commit again"
                break


def _code(path: str, content: bytes) -> bytes:
    """A notebook's code as its stage `code` writes it; any other file as it is."""
    with contextlib.suppress(NotebookError, packages.LockError, UnicodeDecodeError):
        if path.endswith(".ipynb"):
            return code.text(parse(content.decode(), path)).encode("utf-8", "backslashreplace")
    return content


class _Places:
    """Files and folders. Names that a disk may take for the same (`Ä` in two ways, capitals) are the same."""

    def __init__(self, paths: Iterable[str]):
        self.paths = sorted({_same(path) for path in paths})

    def cover(self, path: str) -> bool:
        """Whether a path, a folder above it or something below it is among them."""
        path = _same(path)
        if any(self._first_from(each) == each for each in upwards(path)):
            return True
        below = f"{path}/"
        return self._first_from(below).startswith(below)

    def _first_from(self, path: str) -> str:
        index = bisect.bisect_left(self.paths, path)
        return self.paths[index] if index < len(self.paths) else ""


def _exclude(places: _Places, suspects: dict[str, Stage]) -> dict[str, Stage]:
    return {dep: stage for dep, stage in suspects.items() if not places.cover(dep)}


def _same(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _is_relative(path: str) -> bool:
    """Whether a path is relative, on this system and on Windows, on which the pipeline may have been written."""
    return not os.path.isabs(path) and not PureWindowsPath(path).is_absolute()


def _place_outs(project: Project, stages: Iterable[Stage]) -> Iterator[str]:
    for stage in stages:
        yield from project.placed(stage, stage.outs)


def _is_beside_its_dvc_file(dep: str) -> bool:
    """As `dvc add` puts it, of the dep or of a folder above it; most data needs no other look."""
    return any(os.path.isfile(f"{each}.dvc") for each in upwards(dep))


def _find_elsewhere(tracked: set[str], suspects: Iterable[str]) -> _Places | None:
    """Find what DVC files of any name and place provide, and other dvc.yaml files; None if one of them cannot be read."""
    # What `dvc add` has just made is not in git yet.
    folders = {Path(each).parent for dep in suspects for each in upwards(dep)}
    found = tracked | {path.as_posix() for folder in folders for path in _dvc_files(folder)}
    places = []
    try:
        for file in found:
            name = os.path.basename(file)
            if name == PIPELINE_FILE and file != PIPELINE_FILE:
                other = Project(os.path.dirname(file))
                places += _place_outs(other, other.stages())
            elif name.endswith(".dvc") and os.path.isfile(file):
                content = YAML(typ="safe").load(files.read(file))
                folder = Path(os.path.dirname(file), content.get("wdir") or ".")
                places += from_here(folder, [out["path"] for out in content.get("outs") or []])
    except (ProjectError, YAMLError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return _Places(places)


def _dvc_files(folder: Path) -> list[Path]:
    return [*folder.glob("*.dvc"), *folder.glob(PIPELINE_FILE)]
