"""`python -m notebook_pipeline.merge.notebook BASE OURS THEIRS PATH`: git's merge driver for notebooks, cell by cell.

It is nbdime's, in an environment of its own: nbdime brings a Jupyter server, which the project's environment has no use for.
"""

import os
import subprocess
import sys
from pathlib import Path

from notebook_pipeline import shell

NBDIME = "nbdime>=4,<5"
TO_DECIDE = 3
"""The exit code for a notebook in which a person has to decide."""


def main(argv: list[str] | None = None) -> int:
    """Write the merged notebook over OURS; return 0, TO_DECIDE, or 1 if git has to merge it like any text."""
    base, ours, theirs, path = sys.argv[1:] if argv is None else argv
    before = Path(ours).read_bytes()
    # The first merge fetches nbdime. Later ones need no package index, which may be out of reach.
    for option in (["--offline"], []):
        code = _merge(option, base, ours, theirs, path)
        if code == 0:
            return 0
        if Path(ours).read_bytes() != before:
            print(
                f"{path}: both sides changed the same lines. Fix: open it, keep what is right between <<<<<<< and >>>>>>>, "
                f"delete these marks, then git add {shell.quote(path)}",
                file=sys.stderr,
            )
            return TO_DECIDE
    print(f"{path}: nbdime cannot be started, so git merges it as text", file=sys.stderr)
    return 1


def _merge(options: list[str], base: str, ours: str, theirs: str, path: str) -> int:
    """Start nbdime, with the Python that runs this; return its exit code."""
    uv = [os.environ.get("UV", "uv"), "tool", "run", *options, "--python", sys.executable, "--from", NBDIME]
    command = [*uv, "git-nbmergedriver", "merge", base, ours, theirs, "7", path]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main())
