"""`python -m notebook_pipeline.check.record`: renews what dvc.lock has of notebooks' code if only what does not count has changed since.

Other outputs or markdown, an upgrade of packages that the notebook does not use, and the same code as an older version of the
template or another Python wrote it: none of it reruns a stage, neither here nor in a clone.
"""

import contextlib
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml.error import YAMLError

from notebook_pipeline import files
from notebook_pipeline.notebook import packages
from notebook_pipeline.notebook.document import Notebook, NotebookError, read, renewed
from notebook_pipeline.project import lock, yaml_edit
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
    """When dvc.lock was written; 0 if there is none."""
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
        text = files.read(LOCK_FILE)
        entry = yaml_edit.node(text, ("stages", stage.name))
    except FileNotFoundError:
        return
    except (YAMLError, UnicodeDecodeError):
        yield lock.UNREADABLE  # which of two records is right only a run can say
        return
    deps = [(path, _find_record(entry, "deps", path)) for path in (notebook.path, *_list_locks(stage))]
    out = _find_record(entry, "outs", output)
    changed = [path for path, dep in deps if dep is None or _has_changed(path, dep, since)]
    if deps[0][1] is None or out is None or not changed:
        return
    try:
        new = _make_text(notebook, output, out, changed)
    except packages.LockError as error:
        yield str(error)
        return
    if not _is_same(yaml_edit.child(out, "md5").value, new, output, everywhere=fix):
        return  # other code, or other versions: the stage is to run
    same = "whose code and packages are those of its last run"
    if not fix:
        yield f"{LOCK_FILE}: is behind {notebook.path}, {same}. Fix: pipeline check --fix"
    elif yaml_edit.child(out, "md5").value == files.md5(new) and all(dep for _, dep in deps):
        _replace(text, [pair for path, dep in deps for pair in _list_changes(dep, Path(path).read_bytes())])
        yield f"{LOCK_FILE}: renewed the record of {notebook.path}, {same}"
    elif problem := _record(stage, output, new, text):
        yield f"{LOCK_FILE}: DVC cannot record stage `{stage.name}`: {problem}. Fix: pipeline check --fix, later"
    else:
        yield f"{LOCK_FILE}: renewed the record of {notebook.path}, {same}"


def _list_locks(stage: Stage) -> list[str]:
    """uv.lock as the stage lists it; nothing if it does not."""
    return [dep for dep in stage.deps if Path(dep).as_posix() == packages.LOCK_FILE and Path(dep).exists()]


def _find_record(entry, kind: str, path: str):
    """The node of a file among a stage's deps or outs in dvc.lock; None if it is not there."""
    for node in getattr(yaml_edit.child(entry, kind), "value", []):
        if (
            getattr(yaml_edit.child(node, "path"), "value", None) == path
            and yaml_edit.child(node, "md5")
            and yaml_edit.child(node, "size")
        ):
            return node
    return None


def _has_changed(path: str, dep, since: float) -> bool:
    """Whether a file is another one than the recorded. uv.lock, which is large, is not read if it looks untouched."""
    status = Path(path).stat()
    if status.st_size != int(yaml_edit.child(dep, "size").value):
        return True
    if Path(path).name == packages.LOCK_FILE and status.st_mtime <= since:
        return False
    return files.md5(Path(path).read_bytes()) != yaml_edit.child(dep, "md5").value


def _make_text(notebook: Notebook, output: str, out, changed: list[str]) -> str:
    """The text that the code file is to have now."""
    if changed == [notebook.path] and (text := _read_text(output, yaml_edit.child(out, "md5").value)):
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
    """The text of a file, if it has this hash."""
    try:
        text = files.read(path)
    except (OSError, UnicodeDecodeError):
        return None
    return text if files.md5(text) == md5 else None


def _record(stage: Stage, output: str, new: str, text: str) -> str | None:
    """Have DVC record the code file with this text, and that the stages that ran with the old one ran with the new one.

    The latter first: if it is stopped, the next call goes on. Returns what keeps DVC from it.
    """
    from dvc.exceptions import DvcException  # heavy, and seldom needed

    old = _find_record(yaml_edit.node(text, ("stages", stage.name)), "outs", output)
    changes = []
    for _, entry in yaml_edit.node(text, ("stages",)).value:
        dep = _find_record(entry, "deps", output)
        if dep and yaml_edit.child(dep, "md5").value == yaml_edit.child(old, "md5").value:
            changes += _list_changes(dep, new.encode("utf-8", "backslashreplace"))
    _replace(text, changes)
    files.write(output, new)
    try:
        _open_repo().commit(stage.name, force=True)
    except DvcException as error:
        return " ".join(str(error).split())
    return None


@functools.cache
def _open_repo():
    """The project as DVC sees it; None if it is none to DVC."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        return Repo()
    except NotDvcRepoError:
        return None


def _list_changes(node, content: bytes) -> list[tuple]:
    return [(yaml_edit.child(node, "md5"), files.md5(content)), (yaml_edit.child(node, "size"), str(len(content)))]


def _replace(text: str, changes: list[tuple]) -> None:
    if changes:
        files.edit(LOCK_FILE, yaml_edit.replaced(text, changes))


if __name__ == "__main__":
    sys.exit(main())
