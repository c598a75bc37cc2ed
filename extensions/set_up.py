"""Sets a new project up by `uv run pipeline setup`. Copier runs it in the project at the end of a copy."""

import os
import shutil
import subprocess
import sys


def main(arguments: list[str]) -> int:
    """Calls the setup, which says what came of it; returns the exit code, always 0."""
    uv = os.environ.get("UV") or shutil.which("uv")  # uv tells its children where it is
    if uv is None:
        print("uv: not found, so the project is not set up. Fix: pip install uv, then, there, uv run pipeline setup")
        return 0
    # Those of Copier's own Python.
    environ = {
        name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH")
    }
    subprocess.run([uv, "run", "--quiet", "pipeline", "setup", *arguments], env=environ)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
