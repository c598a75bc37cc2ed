"""What a notebook is run with: Python, the versions of its packages, and its data."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from notebook_pipeline import files, git
from notebook_pipeline.notebook import packages
from notebook_pipeline.notebook.document import NotebookError, read
from notebook_pipeline.project.project import Project
from notebook_pipeline.project.python_version import find_other_python, read_version
from notebook_pipeline.report.markdown import escape, quote, table
from notebook_pipeline.report.revisions import Revisions

MOST_FILES = 30
"""So many changed files are listed."""


def compare_packages(revisions: Revisions, project: Project) -> Iterator[str]:
    """Yield which locked versions changed, with the stages that they rerun, as Markdown."""
    texts = [revisions.read_in_git(packages.LOCK_FILE)]
    texts += [files.read(packages.LOCK_FILE) if Path(packages.LOCK_FILE).exists() else ""]
    if not all(texts) or texts[0] == texts[1]:
        return
    try:
        before, now = (packages.parse(text).versions for text in texts)
        reruns, rows, others = _find_users(revisions, project), [], []
    except packages.LockError as error:
        yield escape(str(error))
        return
    for name in sorted(before.keys() | now.keys()):
        old, new = (", ".join(sorted(versions.get(name, ()))) or "-" for versions in (before, now))
        if old != new and name in reruns:
            rows.append([escape(text) for text in (name, old, new, ", ".join(reruns[name]))])
        elif old != new:
            others.append(f"{name} {old} → {new}")
    if rows:
        yield table(["Package", escape(revisions.before), escape(revisions.now), "Reruns"], *rows)
    if others:
        yield f"No notebook uses: {escape(', '.join(others))}"


def compare_python(revisions: Revisions, executed: Iterable[str]) -> Iterator[str]:
    """Yield which minor versions of Python made the results, if they are not all that of this one, as Markdown.

    Args:
        executed: the executed notebooks, which say it.
    """
    if line := find_other_python():
        yield escape(line)
    paths = [path for path in executed if Path(path).exists()]
    before = {read_version(revisions.read_before(path) or b"") for path in paths} - {None}
    now = {read_version(Path(path).read_bytes()) for path in paths} - {None}
    if before and now and before != now:
        yield f"Python: {', '.join(sorted(before))} → {', '.join(sorted(now))}"


def _find_users(revisions: Revisions, project: Project) -> dict[str, list[str]]:
    """Find the stages that rerun with a package: those that depend on a code file that has or had its version."""
    users = {}
    for notebook, code in project.code_files.items():
        try:
            header = packages.header(read(notebook))
        except NotebookError:
            continue  # compare_code names it
        header += packages.split((revisions.read_before(code) or b"").decode("utf-8", "replace"))[0]
        stages = [stage.name for stage in project.stages() if code in stage.deps]
        for name in {line.split()[2] for line in header.splitlines() if line.startswith(packages.USES)}:
            users.setdefault(name, []).extend(stages)
    return users


def compare_data(revisions: Revisions) -> Iterator[str]:
    """Yield which files among the data that DVC tracks were added, removed and changed, with their sizes, as Markdown."""
    tracked = {path.removesuffix(".dvc") for path in git.paths("ls-files", "-z", "--", "*.dvc") or ()}
    listed = git.paths("ls-tree", "-r", "-z", "--name-only", revisions.base) or set()
    tracked |= {path.removesuffix(".dvc") for path in listed if path.endswith(".dvc")}
    rows, counts = [], {"added": 0, "removed": 0, "changed": 0}
    for top in sorted(tracked):
        try:
            before, now = (_find_files(*side, top) for side in revisions.sides)
        except Exception:  # of DVC's and of each store's own kinds
            yield f"Not compared: {quote(top)}: its list of files is not in DVC's cache, and not in a DVC remote"
            continue
        for path in sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path)):
            kind = "added" if path not in before else "removed" if path not in now else "changed"
            counts[kind] += 1
            if len(rows) < MOST_FILES:
                sides = zip(revisions.sides, (before, now), strict=True)
                rows.append([quote(path), *(_show_size(*side, path) if path in its else "" for side, its in sides)])
    if rows:
        yield ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        yield table(["File", escape(revisions.before), escape(revisions.now)], *rows)
    if (more := sum(counts.values()) - len(rows)) > 0:
        yield f"and {more} more"


def _find_files(side, prefix: str, top: str) -> dict[str, str]:
    """Find the files below a path that DVC tracks, each with its hash."""
    found = side.find(prefix + top, detail=True) if side.exists(prefix + top) else {}
    return {path.removeprefix(prefix): info["dvc_info"]["md5"] for path, info in found.items() if info.get("dvc_info")}


def _show_size(side, prefix: str, path: str) -> str:
    from tqdm import tqdm

    try:
        size = side.info(prefix + path).get("size")
        if size is None:  # a list of files has none
            with side.open(prefix + path, "rb") as file:
                size = file.seek(0, 2)
    except Exception:  # of DVC's and of each store's own kinds
        return "not here"
    return tqdm.format_sizeof(size, "B", 1000)
