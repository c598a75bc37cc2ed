"""What changed in notebooks: their code, what their executed copies show, and the executed copies as HTML pages."""

import base64
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from notebook_pipeline import git
from notebook_pipeline.notebook.comparison import PICTURES, find_differences
from notebook_pipeline.notebook.document import Cell, NotebookError, id_of, parse
from notebook_pipeline.report.markdown import Pictures, difference, escape, quote, table
from notebook_pipeline.report.revisions import FOLDER, ReportError, Revisions

CONVERTER = "nbconvert>=7.16,<8"
"""What makes a page of a notebook, in an environment of its own: no stage imports it."""


def compare_code(revisions: Revisions) -> Iterator[str]:
    """Yield which code cells of the notebooks in git differ, as Markdown."""
    for path in sorted(git.paths("diff", "--name-only", "-z", "--relative", revisions.base, "--", "*.ipynb") or ()):
        now = Path(path).read_text(encoding="utf-8", errors="replace") if Path(path).exists() else ""
        try:
            before, after = (_find_code(text, path) for text in (revisions.read_in_git(path), now))
        except NotebookError as error:
            yield escape(str(error))
            continue
        if not before or not after:
            what = f"new, {len(after)} cells with code" if after else "removed"
            yield f"#### {quote(path)}: {what}"
            continue
        blocks = []
        for name in [*after, *(name for name in before if name not in after)]:
            old, new = before.get(name), after.get(name)
            if not old or not new or old.source != new.source:
                what = f"cell {new.number}{'' if old else ', new'}" if new else f"cell {old.number}, removed"
                blocks += [f"**{what}**", difference(*(each.source if each else "" for each in (old, new)))]
        if not blocks and [*before] != [*after]:
            blocks = ["cells in another order"]
        yield from [f"#### {quote(path)}", *blocks] if blocks else []


def _find_code(text: str, path: str) -> dict[str, Cell]:
    """Return the code cells of a notebook by their ids."""
    notebook = parse(text, path) if text else None
    cells = [cell for cell in notebook.cells if cell.type == "code"] if notebook else []
    return {id_of(notebook.document["cells"][cell.number - 1], cell.number): cell for cell in cells}


def compare_outputs(revisions: Revisions, executed: Iterable[str], pictures: Pictures) -> Iterator[str]:
    """Yield what the cells of executed notebooks show now and did not show before, and the other way round."""
    for path in executed:
        before = revisions.read_before(path)
        if before is None or not Path(path).exists():
            name = revisions.now if before is not None else revisions.before
            yield f"Not compared: {quote(path)} of {escape(name)}: new, or not in a DVC remote"
            continue
        blocks = []
        for number, old, new in find_differences(before, Path(path).read_bytes()):
            blocks += [f"**cell {number}**", *_compare_cell(old, new, revisions, pictures, f"cell {number}")]
        yield from [f"#### {quote(path)}", *blocks] if blocks else []


def _compare_cell(old: list, new: list, revisions: Revisions, pictures: Pictures, shown: str) -> Iterator[str]:
    texts = ["\n".join(text for kind, text in outputs if kind not in PICTURES) for outputs in (old, new)]
    if texts[0] != texts[1]:
        yield difference(*texts)
    figures = ([(kind, content) for kind, content in outputs if kind in PICTURES] for outputs in (old, new))
    for pair in itertools.zip_longest(*figures):
        if pair[0] != pair[1]:
            names = [escape(name) for name in (revisions.before, revisions.now)]
            yield table(names, [_show(*figure, pictures, shown) if figure else "" for figure in pair])


def _show(kind: str, content: str, pictures: Pictures, shown: str) -> str:
    suffix = kind.partition("/")[2].partition("+")[0]
    try:
        return pictures.add(content.encode() if suffix == "svg" else base64.b64decode(content), f".{suffix}", shown)
    except ValueError:  # a notebook may call anything a picture
        return "not a picture"


def make_pages(executed: Iterable[str]) -> dict[str, Path]:
    """Make a page of each executed notebook, and return them by the notebooks' names.

    Raises:
        ReportError: it cannot be made.
    """
    executed, folder = [path for path in executed if Path(path).exists()], FOLDER / "notebooks"
    shutil.rmtree(folder, ignore_errors=True)
    if not executed:
        return {}
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise ReportError("uv is not installed, which runs nbconvert. Fix: pip install uv")
    command = [uv, "tool", "run", "--quiet", "--from", CONVERTER, "jupyter-nbconvert", "--to", "html", "--embed-images"]
    done = subprocess.run(
        [*command, "--output-dir", str(folder), *executed], capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        words = (done.stderr.strip().splitlines() or [""])[-1]
        raise ReportError(f"nbconvert failed: {words}. Fix: correct that, then run the command again")
    return {Path(path).stem: folder / f"{Path(path).stem}.html" for path in executed}
