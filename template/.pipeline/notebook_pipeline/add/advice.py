"""Says where `pipeline split` would save time: a change of a parameter reruns also what comes before its first use."""

import re
from collections.abc import Mapping

from notebook_pipeline import shell
from notebook_pipeline.notebook.document import Notebook, as_python_reads

WORTH = 10.0
"""Seconds, because each stage needs some for its own start."""


def advise_split(notebook: Notebook, seconds: Mapping[int, float]) -> str | None:
    """Return a line if a split would save at least WORTH seconds; None if not.

    Args:
        seconds: how long each cell took, by its number.
    """
    code = [cell for cell in notebook.cells if cell.type == "code" and cell is not notebook.parameters_cell]
    saved = {}
    for parameter in notebook.parameters:
        word = rf"(?<!\w){re.escape(parameter.name)}(?!\w)"
        if first := next((cell for cell in code if re.search(word, as_python_reads(cell.source))), None):
            saved[parameter.name] = sum(took for number, took in seconds.items() if number < first.number)
    name = max(saved, key=saved.get, default="")
    if not name or saved[name] < WORTH:
        return None
    return (
        f"{notebook.path}: runs in {sum(seconds.values()):.0f} s, {saved[name]:.0f} s of them before it uses `{name}`. To rerun only "
        f"what a change concerns: uv run pipeline split {shell.quote(notebook.path)}"
    )
