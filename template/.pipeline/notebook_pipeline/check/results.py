"""Results that no run of the pipeline made: they are not those that dvc.lock records."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from notebook_pipeline import files, git, shell
from notebook_pipeline.project import lock
from notebook_pipeline.project.lock import LOCK_FILE
from notebook_pipeline.project.project import Project, Stage

_FROM_OUTSIDE = "comes from a run outside the pipeline. Fix: uv run dvc repro"


def find_committed(project: Project, stages: Iterable[Stage]) -> Iterator[str]:
    """Find the results that git keeps and that are not, as staged, those of the run in dvc.lock, as staged."""
    # Of a link git has the target's name.
    staged = {path for path in git.paths("ls-files", "-z") or () if not os.path.islink(path)}
    if LOCK_FILE not in staged:
        return
    changed = git.paths("diff", "--name-only", "--relative", "-z") or set()

    def read(path: str) -> bytes:
        return git.output("cat-file", "blob", f":./{path}") or b"" if path in changed else Path(path).read_bytes()

    records = lock.parse(read(LOCK_FILE).decode("utf-8", "replace"))
    for stage in stages:
        recorded = {out["path"]: out.get("md5") for out in records.get(stage.name, {}).get("outs") or []}
        for path in stage.outs:
            for place in project.placed(stage, [path]) if recorded.get(path) else ():
                contents = {each: read(each) for each in staged if f"{each}/".startswith(f"{place}/")}
                if contents and recorded[path] not in _hash(place, contents):
                    yield f"{place}: {_FROM_OUTSIDE}, then git add {LOCK_FILE} {shell.quote(place)}"


def _hash(place: str, contents: dict[str, bytes]) -> set[str]:
    """Compute the hashes that DVC may give to a file, or to a folder of files, with these contents in git.

    On Windows, the disk may have other ends of lines than git, and than the run had.
    """
    possible = set()
    for ends in (None, b"\n", b"\r\n"):
        hashes = {
            path: files.md5(content.replace(b"\r\n", b"\n").replace(b"\n", ends) if ends else content)
            for path, content in sorted(contents.items())
        }
        entries = [{"md5": each, "relpath": path.removeprefix(f"{place}/")} for path, each in hashes.items()]
        folder = f"{files.md5(json.dumps(entries, sort_keys=True))}.dir"
        possible.add(hashes.get(place, folder))
    return possible


def find_overwritten(stages: Iterable[Stage], records: dict[str, dict]) -> Iterator[str]:
    """Find the results that lie here and are not those of their stage's last run.

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
                yield f"{Path(path).as_posix()}: {_FROM_OUTSIDE}"
