"""Sets a new project up by `uv run pipeline setup`. Copier runs it in the project at the end of a copy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

FAILED = Path(".dvc/tmp/setup-failed")
"""Exists in a new project from a failed setup until Copier's last message, which then does not say that all is well."""


def main(arguments: list[str]) -> int:
    """Call the setup, which reports its result. Returns the exit code, always 0: else Copier removes the project."""
    FAILED.unlink(missing_ok=True)
    uv = os.environ.get("UV") or shutil.which("uv")  # uv tells its children where it is
    if uv is None:
        print("uv: not found, so the project is not set up. Fix: pip install uv, then, there, uv run pipeline setup")
        _note_failure()
        return 0
    # Those of Copier's own Python.
    environ = {
        name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH")
    }
    if subprocess.run([uv, "run", "--quiet", "pipeline", "setup", *arguments], env=environ).returncode:
        _note_failure()
    return 0


def _note_failure() -> None:
    FAILED.parent.mkdir(parents=True, exist_ok=True)
    FAILED.touch()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
