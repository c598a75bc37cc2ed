"""Has an updated project renew dvc.lock, so that the update alone reruns no stage, and tell git the merge drivers.

Copier runs it at the end of each update. It needs the project's own packages. Without an environment here
`pipeline check --fix` and `pipeline setup` do it later, as the message and CHANGELOG.md say.
"""

import os
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Start the project's own Python; returns the exit code, 0: what is not renewed is no reason to end the update."""
    environment = Path(os.environ.get("UV_PROJECT_ENVIRONMENT") or ".venv").absolute()
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if python.exists():
        # Of a project from before `.pipeline`, the environment does not know the package yet.
        environ = os.environ | {"PYTHONPATH": str(Path(".pipeline").absolute())}
        for module in (*(["check.record"] if Path("dvc.lock").exists() else []), "merge.drivers"):
            subprocess.run([python, "-m", f"notebook_pipeline.{module}"], env=environ)
    return 0


if __name__ == "__main__":
    sys.exit(main())
