"""`python -m notebook_pipeline.check.record`: renews what dvc.lock has of notebooks' code if only what does not count has changed since.

Other outputs or markdown, an upgrade of packages that the notebook does not use, and the same code as an older version of the
template or another Python wrote it: none of it reruns a stage, neither here nor in a clone.
"""

import contextlib
import functools
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML

from notebook_pipeline import files
from notebook_pipeline.notebook import packages
from notebook_pipeline.notebook.document import Notebook, NotebookError, read, renewed
from notebook_pipeline.project import lock
from notebook_pipeline.project.lock import LOCK_FILE
from notebook_pipeline.project.project import Project, ProjectError, Stage


def main() -> int:
    """Renew all records, at the end of an update; returns the exit code, 0: what is wrong, `check` reports."""
    since = written()
    with contextlib.suppress(ProjectError):
        for stage in Project().stages():
            if call := stage.calls("code"):
                with contextlib.suppress(NotebookError):
                    for line in renew(stage, read(call[0]), call[1], since, fix=True):
                        print(line)
    return 0


def written() -> float:
    """Return when dvc.lock was written; 0 if there is none."""
    return Path(LOCK_FILE).stat().st_mtime if Path(LOCK_FILE).exists() else 0


def renew(stage: Stage, notebook: Notebook, output: str, since: float, fix: bool) -> Iterator[str]:
    """Renew what dvc.lock has of a stage that writes a notebook's code, and of the stages that depend on it.

    Yields one line if something is to be renewed, or was.

    Args:
        output: the code file.
        since: when dvc.lock was written, before the first record was renewed.
        fix: whether it is done, or only said.
    """
    try:
        records = lock.read()
    except ProjectError as error:
        yield str(error)  # which of two records is right only a run can say
        return
    locks = [dep for dep in stage.deps if Path(dep).as_posix() == packages.LOCK_FILE and Path(dep).exists()]
    deps = {path: _find_record(records.get(stage.name), "deps", path) for path in (notebook.path, *locks)}
    out = _find_record(records.get(stage.name), "outs", output)
    changed = [path for path, dep in deps.items() if dep is None or _has_changed(path, dep, since)]
    if deps[notebook.path] is None or out is None or not changed:
        return
    try:
        new = _make_text(notebook, output, out["md5"], changed)
    except packages.LockError as error:
        yield str(error)
        return
    if not _is_same(out["md5"], new, output, everywhere=fix):
        return  # other code, or other versions: the stage is to run
    same = "whose code and packages are those of its last run"
    if not fix:
        yield f"{LOCK_FILE}: is behind {notebook.path}, {same}. Fix: pipeline check --fix"
        return
    if out["md5"] == files.md5(new) and all(deps.values()):
        _write([stage.name], {path: Path(path).read_bytes() for path in deps})
    elif problem := _record(stage, output, new, out["md5"], records):
        yield f"{LOCK_FILE}: DVC cannot record stage `{stage.name}`: {problem}. Fix: pipeline check --fix, later"
        return
    yield f"{LOCK_FILE}: renewed the record of {notebook.path}, {same}"


def _find_record(entry: dict | None, kind: str, path: str) -> dict | None:
    """Find a file among the deps or outs of a stage in dvc.lock; None if it does not exist."""
    listed = (entry or {}).get(kind) or []
    return next((each for each in listed if each["path"] == path and {"md5", "size"} <= each.keys()), None)


def _has_changed(path: str, dep: dict, since: float) -> bool:
    """Whether a file is another one than the recorded. uv.lock, which is large, is not read if it looks untouched."""
    status = Path(path).stat()
    if status.st_size != dep["size"]:
        return True
    if Path(path).name == packages.LOCK_FILE and status.st_mtime <= since:
        return False
    return files.md5(Path(path).read_bytes()) != dep["md5"]


def _make_text(notebook: Notebook, output: str, recorded: str, changed: list[str]) -> str:
    """Make the text that the code file is to have now."""
    if changed == [notebook.path] and (text := _read_text(output, recorded)):
        return packages.split(text)[0] + notebook.code()  # uv.lock is as it was, so that nobody need read it
    return packages.header(notebook) + notebook.code()


def _is_same(recorded: str, new: str, output: str, everywhere: bool) -> bool:
    """Whether a recorded code file, given by its hash, says the same as a new one, if perhaps in another way.

    Args:
        everywhere: look for it in DVC's cache, too.
    """
    if recorded == files.md5(new):
        return True
    text = _read_text(output, recorded)
    if text is None and everywhere and (repo := _open_repo()):
        text = _read_text(repo.cache.local.oid_to_path(recorded), recorded)
    if text is None:
        return False
    (old_packages, old), (own_packages, own) = packages.split(text), packages.split(new)
    # Before 0.3.0 there were no lines about packages: what a stage ran with is not known, and it is to stay valid.
    return old_packages in ("", own_packages) and (old == own or renewed(old) == own)


def _read_text(path: str, md5: str) -> str | None:
    """Read the text of a file, if it has this hash."""
    try:
        text = files.read(path)
    except (OSError, UnicodeDecodeError):
        return None
    return text if files.md5(text) == md5 else None


def _record(stage: Stage, output: str, new: str, old: str, records: dict[str, dict]) -> str | None:
    """Have DVC record the code file with a new text, and that the stages that ran with the old one ran with the new one.

    The latter first: if it is stopped, the next call goes on. Returns what keeps DVC from it.
    """
    from dvc.exceptions import DvcException  # heavy, and seldom needed

    read_it = {name: _find_record(entry, "deps", output) for name, entry in records.items()}
    _write([name for name, dep in read_it.items() if dep and dep["md5"] == old], {output: files.encode(new)})
    files.write(output, new)
    try:
        _open_repo().commit(stage.name, force=True)
    except DvcException as error:
        return " ".join(str(error).split())
    return None


@functools.cache
def _open_repo():
    """Open the project as DVC sees it; None if it is none to DVC."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        return Repo()
    except NotDvcRepoError:
        return None


def _write(names: list[str], contents: dict[str, bytes]) -> None:
    """Have dvc.lock say that the last run of these stages read files with these contents."""
    text, stream = files.read(LOCK_FILE), io.StringIO()
    yaml = YAML()  # as DVC edits it itself (`modify_yaml` in dvc/utils/serialize/_yaml.py): every other byte stays
    data = yaml.load(text)
    for name in names:
        for dep in data["stages"][name]["deps"]:
            if content := contents.get(dep["path"]):
                dep |= {"md5": files.md5(content), "size": len(content)}
    yaml.dump(data, stream)
    files.edit(LOCK_FILE, stream.getvalue().replace("\n", "\r\n" if "\r\n" in text else "\n"))


if __name__ == "__main__":
    sys.exit(main())
