"""Why a notebook does not become a stage."""

import shlex
from pathlib import Path


class Refused(Exception):
    """What keeps a notebook from becoming a stage; one line: what is wrong, what to do."""


INCOMPLETE = 3
"""The exit code when the stage was made, but its run failed."""


def again(notebook: str | Path) -> str:
    """What to type once the cause is cured; `add` may have changed dvc.yaml by then."""
    return f"`git add --all .`, then: uv run pipeline add {shlex.quote(str(notebook))}"
