"""What dvc.lock records of each stage's last run, and the values that differ from it though DVC sees no change.

A dvc.lock that cannot be read raises ProjectError.
"""

import functools
import io
import json
from collections.abc import Iterable, Iterator

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from notebook_pipeline import files, shell
from notebook_pipeline.project.project import Project, ProjectError, Stage

LOCK_FILE = "dvc.lock"
UNREADABLE = f"{LOCK_FILE}: cannot be read, perhaps because of a merge conflict. Fix: `git checkout HEAD {LOCK_FILE}`, `uv run dvc repro`"


def read() -> dict[str, dict]:
    """Read the record of each stage, by its name, in the current folder; nothing if no stage has run."""
    try:
        return parse(files.read(LOCK_FILE))
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise ProjectError(UNREADABLE) from None


@functools.lru_cache(maxsize=2)
def parse(text: str) -> dict[str, dict]:
    """Read the record of each stage in the text of a dvc.lock."""
    try:
        return {**YAML(typ="safe", pure=True).load(text)["stages"]}
    except (YAMLError, TypeError, LookupError):
        raise ProjectError(UNREADABLE) from None


def to_text(data: dict) -> str:
    """Write a dvc.lock that ruamel's `YAML()` has read, as DVC does: what has not changed stays, byte for byte."""
    stream = io.StringIO()
    YAML().dump(data, stream)
    return stream.getvalue()


def retyped(project: Project, stages: Iterable[Stage], records: dict[str, dict]) -> Iterator[str]:
    """Find the stages that DVC does not run although a value has another type: to it, 1, 1.0 and true are the same."""
    for stage in stages:
        recorded = records.get(stage.name, {}).get("params") or {}
        try:
            now = project.tracked(stage)
            recorded = {file: {entry: recorded[file][entry] for entry in values} for file, values in now.items()}
        except (ProjectError, LookupError):
            continue  # not readable, which others say; or not recorded, which DVC sees
        # A stage with a change that DVC sees, too, runs in any case.
        if recorded == now and (found := _find_difference(recorded, now)):
            (file, *keys), old, new = found
            name = shell.quote(stage.name)
            yield (
                f"{project.place_of(file, (*'.'.join(keys).split('.'),))}: `{'.'.join(keys)}` is {new!r}, but stage "
                f"`{stage.name}` last ran with {old!r}, which DVC takes for the same. "
                f"Fix: uv run dvc repro --force {name} --single-item"
            )


def _find_difference(
    old: object, new: object, keys: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], object, object] | None:
    """Find where two values that are equal differ in a type: the keys that lead there, and both values."""
    if isinstance(old, dict) and isinstance(new, dict) and sorted(map(repr, old)) == sorted(map(repr, new)):
        return next(filter(None, (_find_difference(old[key], new[key], (*keys, str(key))) for key in new)), None)
    # 1, 1.0 and true have different texts, as have 0.0 and -0.0.
    is_same = json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)
    return None if is_same else (keys, old, new)
