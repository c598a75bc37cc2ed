"""`python -m notebook_pipeline.merge.lock BASE OURS THEIRS PATH`: git's merge driver for dvc.lock, stage by stage.

The record of a stage that one side changed is taken from that side. A record that both sides changed is dropped: no run made
these results from the merged files, so `dvc repro` runs the stage, or finds its results in the run cache.
"""

import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from notebook_pipeline import files
from notebook_pipeline.project import lock
from notebook_pipeline.project.project import Project, ProjectError

_ABSENT = object()
"""In the place of a value that a version does not have."""
_BOTH = object()
"""In the place of a value that both sides changed, each in its own way."""
_SHOWN = 6
"""So many stages are named in one line."""


class MergeError(Exception):
    """A version is not a dvc.lock, or both sides changed something other than stages."""


@dataclass(frozen=True)
class Merged:
    """A dvc.lock made of two."""

    text: str
    stale: list[str]
    """The stages that `dvc repro` will run, or take from the run cache."""
    theirs: list[str]
    """The stages whose results are now those of the other side."""


def main(argv: list[str] | None = None) -> int:
    """Write the merged file over OURS and print one line about it; return 1 if git has to merge it like any text."""
    base, ours, theirs, path = sys.argv[1:] if argv is None else argv
    try:
        merged = merge(*map(files.read, (base, ours, theirs)), _list_stages())
        files.write(ours, merged.text)
    except (MergeError, OSError, UnicodeDecodeError):
        return 1
    print(f"{path}: {describe(merged, _has_remote())}", file=sys.stderr)
    return 0


def merge(base: str, ours: str, theirs: str, stages: Collection[str] = ()) -> Merged:
    """Merge three versions of a dvc.lock; the first is empty if the sides have nothing in common.

    Args:
        stages: those of our dvc.yaml; an earlier merge may have dropped the record of one.

    Raises:
        MergeError: a person has to.
    """
    versions = [_read(text) for text in (base, ours, theirs)]
    whole = _merge(*({key: value for key, value in version.items() if key != "stages"} for version in versions))
    if _BOTH in whole.values():
        raise MergeError
    records = [version["stages"] for version in versions]
    merged, own = _merge(*records), records[1]
    kept = {name: record for name, record in merged.items() if record is not _BOTH}
    taken = [name for name, record in kept.items() if not _is_same(record, own.get(name, _ABSENT))]
    facts = _merge(*(dict(_list_facts(each)) for each in records))
    return Merged(lock.to_text(whole | {"stages": kept}), [*_find_stale(merged, own, facts, stages)], taken)


def describe(merged: Merged, has_remote: bool) -> str:
    """Say what to type after the merge: it brings the results of the other side, and makes those of neither."""
    if merged.stale:
        shown, more = ", ".join(merged.stale[:_SHOWN]), len(merged.stale) - _SHOWN
        runs = f"runs {shown}{f' and {more} more' if more > 0 else ''}, unless DVC has their results already"
    else:
        runs = "runs nothing"
    # A stage without a record has nothing to fetch.
    first = f"`uv run dvc {'pull' if has_remote else 'checkout'} --allow-missing`, then " if merged.theirs else ""
    return f"merged by stages. Next: {first}`uv run dvc repro`, which {runs}"


def _list_stages() -> list[str]:
    """List the stages of the dvc.yaml beside dvc.lock; none if it cannot be read, which others report."""
    try:
        return [stage.name for stage in Project().stages()]
    except ProjectError:
        return []


def _has_remote() -> bool:
    """Whether DVC has a remote by default, here or in the person's own configuration of this clone."""
    configs = (path for path in (Path(".dvc/config"), Path(".dvc/config.local")) if path.exists())
    return any(re.search(r"^\s*remote\s*=", path.read_text(errors="replace"), re.MULTILINE) for path in configs)


def _read(text: str) -> dict:
    """Read a dvc.lock; an empty one has no stages."""
    try:
        data = YAML().load(text) if text.strip() else {}
        records = data.setdefault("stages", {})
        valid = isinstance(records, dict) and all(isinstance(record, dict) for record in records.values())
    except (YAMLError, AttributeError):
        valid = False
    if not valid:
        raise MergeError
    return data


def _merge(base: Mapping, ours: Mapping, theirs: Mapping) -> dict:
    """Merge three mappings key by key; what both sides changed is _BOTH, and what one side removed is not there."""
    merged = {}
    for key in {**ours, **theirs}:
        before, own, other = (version.get(key, _ABSENT) for version in (base, ours, theirs))
        if _is_same(own, other) or _is_same(before, other):
            merged[key] = own
        else:
            merged[key] = other if _is_same(before, own) else _BOTH
    return {key: value for key, value in merged.items() if value is not _ABSENT}


def _is_same(value: object, other: object) -> bool:
    """Whether two values are the same, types included: 1, 1.0 and true are three values, though equal."""
    if not {id(value), id(other)}.isdisjoint({id(_ABSENT), id(_BOTH)}):
        return value is other
    return json.dumps(value, sort_keys=True) == json.dumps(other, sort_keys=True)


def _find_stale(merged: dict, own: dict, facts: dict, stages: Collection[str]) -> Iterator[str]:
    """Yield the stages whose record is missing, or is no longer that of their inputs."""
    for name in {**merged, **dict.fromkeys(stages)}:
        record = merged.get(name, _ABSENT)
        if record is _ABSENT:
            is_stale = name not in own  # else the other side has removed the stage
        elif record is _BOTH:
            is_stale = name in own or name in stages  # else our side has removed the stage
        else:
            is_stale = not _is_valid(record, facts)
        if is_stale:
            yield name


def _is_valid(record: dict, facts: dict) -> bool:
    """Whether a stage ran with the files and values that the merge leaves, as far as dvc.lock has them."""
    return all(_is_same(value, facts.get(key, value)) for key, value in _list_inputs(record))


def _list_facts(records: dict[str, dict]) -> Iterator[tuple[tuple, object]]:
    """Yield what all records say of files and parameters."""
    for record in records.values():
        yield from _list_inputs(record)
    for record in records.values():  # what a stage made is newer than what another one read of it
        yield from _list_files(record.get("outs"))


def _list_inputs(record: dict) -> Iterator[tuple[tuple, object]]:
    yield from _list_files(record.get("deps"))
    for file, values in (record.get("params") or {}).items():
        for key, value in values.items():
            yield from _list_values((file, *key.split(".")), value)


def _list_files(entries: list[dict] | None) -> Iterator[tuple[tuple, object]]:
    for entry in entries or ():
        yield (entry["path"],), next((entry[kind] for kind in ("md5", "etag", "checksum") if kind in entry), None)


def _list_values(keys: tuple, value: object) -> Iterator[tuple[tuple, object]]:
    """Yield the single values of a section: another stage may list one of them alone."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _list_values((*keys, str(key)), inner)
    else:
        yield keys, value


if __name__ == "__main__":
    sys.exit(main())
