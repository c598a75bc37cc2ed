"""The Python that made the results here, beside the one that runs now."""

import json
import sys
from pathlib import Path

from notebook_pipeline.project import lock
from notebook_pipeline.project.project import Project, ProjectError


def find_other_python() -> str | None:
    """Say that another minor version of Python made the results in dvc.lock, in one line; None if this one did.

    Each executed notebook has the version. Those that are not here, or that no stage has recorded, say nothing.
    """
    try:
        stages, records = Project().stages(), lock.read()
    except ProjectError:
        return None  # which others report
    now = f"{sys.version_info.major}.{sys.version_info.minor}"
    for stage in stages:
        call = stage.calls("run")
        path = Path(stage.wdir, call[1]) if call and stage.name in records else None
        version = read_version(path.read_bytes()) if path and path.is_file() else None
        if version and version != now:
            return (
                f"{call[1]}: Python {version} made it, and this is Python {now}: results may differ. "
                f"Fix: uv sync --python {version}, or, to go on with {now}, uv run dvc repro --force"
            )
    return None


def read_version(executed: bytes) -> str | None:
    """Read `3.13` from the content of an executed notebook; None if it does not say."""
    try:
        version = json.loads(executed)["metadata"]["language_info"]["version"]
        return ".".join(version.split(".")[:2])
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
