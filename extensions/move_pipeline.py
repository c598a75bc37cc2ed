"""Migration to the command `pipeline`: projects of 0.1.0 and 0.2.0 have its code in a visible folder `pipeline/`.

Runs twice in each update, in the project's folder, and does nothing in a project that has been moved already.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLD = "pipeline"
# `uv run python -m pipeline check`, in dvc.lock perhaps over two lines.
COMMAND = re.compile(r"\bpython3?\s+-m\s+pipeline(?=\s+(?:run|code|check|add|setup|sweep)\b)")
REPORT = re.compile(r"\bpython3?\s+-m\s+pipeline\.report\b")


def main(stage: str, version: str = "") -> int:
    """Moves a project: `before` the update its commands, `after` it what is left of the old folder.

    Args:
        version: of the template, that the project comes from.
    """
    if _git("cat-file", "-e", f"HEAD:./{OLD}/__main__.py") is None:
        return 0
    if stage == "before":
        # Where the template changed little else: its own lines become the same, so that there is nothing to merge.
        for name in _rename_commands(["dvc.yaml", "dvc.lock", ".pre-commit-config.yaml"]):
            _git("add", "--", name)  # Copier compares what is staged
    else:
        for name in _staged():
            if not _git("ls-files", "--unmerged", "--", name):
                _git("reset", "--quiet", "--", name)  # without a name it would reset conflicts, too
        _rename_commands([".", *(f":(exclude){each}" for each in ("*.ipynb", f"{OLD}/", "data/", "outputs/"))])
        _name_changes(version)
        _remove_leftovers()
    return 0


def with_new_commands(text: str) -> str:
    """A text with `pipeline` for `python -m pipeline`."""
    return COMMAND.sub("pipeline", REPORT.sub("pipeline report", text))


def _rename_commands(places: list[str]) -> list[str]:
    """Write `pipeline` for `python -m pipeline` in text that git tracks; returns the files.

    In dvc.lock, too, so that no stage reruns because its command has another name.
    """
    renamed = []
    found = _git("grep", "-lIzE", "-e", r"-m[[:space:]]+pipeline|-m$", "--", *places) or ""
    for name in filter(None, found.split("\0")):
        path = Path(name)
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        new = with_new_commands(text)
        if new != text:
            path.write_bytes(new.encode("utf-8", "surrogateescape"))
            renamed.append(name)
    return renamed


def _staged() -> list[str]:
    return list(filter(None, (_git("diff", "--cached", "--name-only", "--relative", "-z") or "").split("\0")))


def _name_changes(version: str) -> None:
    """Says which files of the old folder the person had changed, or added."""
    source = Path(__file__).parents[1]
    for name in filter(None, (_git("ls-tree", "-r", "-z", "--name-only", "HEAD", f"{OLD}/") or "").split("\0")):
        original = _git("rev-parse", f"{version}:template/{name}", cwd=source)
        if original is None:
            print(
                f"{name}: a file of your own in the template's old folder; it stays. The template's code is in .pipeline/ now"
            )
        elif original != _git("rev-parse", f"HEAD:./{name}"):
            print(
                f"{name}: you had changed it; the template's code is in .pipeline/ now, without your change. "
                f"`git show HEAD:./{name}` shows your file"
            )


def _remove_leftovers() -> None:
    """Removes the folder if nothing but compiled modules is left in it."""
    shutil.rmtree(Path(OLD, "__pycache__"), ignore_errors=True)
    if Path(OLD).is_dir() and not os.listdir(OLD):
        os.rmdir(OLD)


def _git(*arguments: str, cwd: Path | None = None) -> str | None:
    """What git prints; None if it fails."""
    done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, encoding="utf-8")
    return done.stdout.strip("\n") if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
