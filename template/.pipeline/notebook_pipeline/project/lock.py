"""What dvc.lock records of each stage's last run, and if that is no longer true although DVC or git see no change."""

import functools
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from notebook_pipeline import files, git, shell
from notebook_pipeline.project.paths import upwards
from notebook_pipeline.project.project import Project, ProjectError, Stage

LOCK_FILE = "dvc.lock"


def read() -> dict[str, dict]:
    """The record of each stage by its name, as it lies in the current folder; nothing if no stage has run.

    Raises:
        ProjectError: dvc.lock cannot be read.
    """
    try:
        return _records(files.read(LOCK_FILE))
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise ProjectError(UNREADABLE) from None


UNREADABLE = f"{LOCK_FILE}: cannot be read, perhaps because of a merge conflict. Fix: `git checkout HEAD {LOCK_FILE}`, `uv run dvc repro`"


@functools.lru_cache(maxsize=2)
def _records(text: str) -> dict[str, dict]:
    try:
        return YAML(typ="safe", pure=True).load(text)["stages"]
    except (YAMLError, TypeError, LookupError):
        raise ProjectError(UNREADABLE) from None


# Values that DVC takes for equal


def retyped(project: Project, stages: Iterable[Stage], records: dict[str, dict]) -> Iterator[str]:
    """The stages that DVC does not run although a value has another type: to it, 1, 1.0 and true are the same."""
    for stage in stages:
        recorded = records.get(stage.name, {}).get("params") or {}
        try:
            now = project.tracked(stage)
            recorded = {file: {entry: recorded[file][entry] for entry in values} for file, values in now.items()}
        except (ProjectError, LookupError):
            continue  # not readable, which others say; or not recorded, which DVC sees
        # A stage with a change that DVC sees, too, runs in any case.
        if recorded == now and (found := _difference(recorded, now)):
            (file, *keys), old, new = found
            name = shell.quote(stage.name)
            yield (
                f"{project.place_of(file, (*'.'.join(keys).split('.'),))}: `{'.'.join(keys)}` is {new!r}, but stage "
                f"`{stage.name}` last ran with {old!r}, which DVC takes for the same. "
                f"Fix: uv run dvc repro --force {name} --single-item"
            )


def _difference(old: object, new: object, keys: tuple[str, ...] = ()) -> tuple[tuple[str, ...], object, object] | None:
    """Where two values that are equal differ in a type: the keys that lead there, and both values."""
    if isinstance(old, dict) and isinstance(new, dict) and sorted(map(repr, old)) == sorted(map(repr, new)):
        return next(filter(None, (_difference(old[key], new[key], (*keys, str(key))) for key in new)), None)
    return None if _exact(old) == _exact(new) else (keys, old, new)


def _exact(value: object) -> str:
    """A text that only values of the same type share: 1 and 1.0, 0.0 and -0.0 have different ones."""
    if isinstance(value, dict):
        return f"{{{', '.join(sorted(f'{key!r}: {_exact(inner)}' for key, inner in value.items()))}}}"
    return f"[{', '.join(map(_exact, value))}]" if isinstance(value, list) else repr(value)


# Results that no run of the pipeline made


def committed_from_outside(project: Project, stages: Iterable[Stage]) -> Iterator[str]:
    """The results that git keeps and that are not, as staged, those of the run in dvc.lock, as staged."""
    staged = {}
    for entry in git.paths("ls-files", "--stage", "-z") or ():
        (mode, content, number), path = entry.partition("\t")[0].split(), entry.partition("\t")[2]
        # Of a link git has the target's name; a file in a merge conflict cannot be committed.
        if number == "0" and mode.startswith("100"):
            staged[path] = content
    folders = {folder for path in staged for folder in upwards(path)[1:]}
    outs = [
        (place, path, stage.name)
        for stage in stages
        for path in stage.outs
        for place in project.placed(stage, [path])
        if place in staged or place in folders
    ]
    if not outs or LOCK_FILE not in staged:
        return
    found = {place: [path for path in staged if _is_in(path, place)] for place, _, _ in outs}
    contents = _contents({staged[path] for path in (LOCK_FILE, *(each for paths in found.values() for each in paths))})
    records = _records(contents[staged[LOCK_FILE]].decode("utf-8", "replace"))
    for place, path, stage in outs:
        recorded = next(
            (out.get("md5") for out in records.get(stage, {}).get("outs") or [] if out["path"] == path), None
        )
        if recorded and recorded not in _hashes(place, {each: contents[staged[each]] for each in found[place]}):
            yield (
                f"{place}: comes from a run outside the pipeline. "
                f"Fix: uv run dvc repro, then git add {LOCK_FILE} {shell.quote(place)}"
            )


def _is_in(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def _contents(ids: set[str]) -> dict[str, bytes]:
    """The contents of git's objects."""
    answer, found = git.output("cat-file", "--batch", given="".join(f"{each}\n" for each in ids)) or b"", {}
    while answer:
        head, _, answer = answer.partition(b"\n")
        name, _, size = head.decode().split()
        found[name], answer = answer[: int(size)], answer[int(size) + 1 :]
    return found


def _hashes(place: str, contents: dict[str, bytes]) -> set[str]:
    """The hashes that DVC may give to a file, or to a folder by its files, whose contents in git these are.

    On Windows, git may have other ends of lines than the disk.
    """
    possible = set()
    for convert in (lambda content: content, lambda content: content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")):
        hashes = {path: files.md5(convert(content)) for path, content in contents.items()}
        if place in hashes:
            possible.add(hashes[place])
        else:
            entries = [{"md5": each, "relpath": path.removeprefix(f"{place}/")} for path, each in hashes.items()]
            entries.sort(key=lambda entry: entry["relpath"])
            possible.add(f"{files.md5(json.dumps(entries, sort_keys=True).encode())}.dir")
    return possible


def overwritten(stages: Iterable[Stage], records: dict[str, dict]) -> Iterator[str]:
    """The results that lie here and are not those of their stage's last run.

    It takes a second, and no hash of a large file that DVC has seen before: its own `dvc status` reports it.
    """
    if not (names := [stage.name for stage in stages if stage.name in records]):
        return
    done = subprocess.run([sys.executable, "-m", "dvc", "status", "--json", *names], capture_output=True)
    try:
        status = json.loads(done.stdout)
    except ValueError:
        return  # DVC is at work, or not here
    for changes in status.values():
        outs = {}
        for change in changes:
            outs |= change.get("changed outs", {}) if isinstance(change, dict) else {}
        # Of a stage that failed DVC itself has told, and its other results are gone.
        if "deleted" not in outs.values():
            for path in (path for path, how in outs.items() if how == "modified"):
                yield f"{Path(path).as_posix()}: comes from a run outside the pipeline. Fix: uv run dvc repro"
