"""Finds the picture files that markdown cells show, and where they go in the project."""

import copy
import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

from notebook_pipeline.notebook.document import Notebook

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".bmp")
# `![a logo](images/logo.png)`, `<img src="images/logo.png">`
_SHOWN = re.compile(r"""(!\[[^\]]*\]\(\s*<?|<img\b[^>]*?\bsrc=["'])([^)>"'\s]+)""", re.IGNORECASE)


def find_pictures(notebook: Notebook, origin: Path, folder: str) -> tuple[Notebook, dict[Path, str]]:
    """Return the notebook whose markdown shows the copied pictures, and the files with their places.

    A picture below the notebook keeps its path from there. Any other gets the folder `images`, and its cell follows. Pictures
    from the web and attachments, which the notebook holds itself, stay as they are.

    Args:
        origin: the notebook's folder.
        folder: the project's folder for notebooks.
    """
    document, places = copy.deepcopy(notebook.document), {}

    def follow(match: re.Match) -> str:
        file = Path(os.path.normpath(origin / unquote(match[2])))
        if file.suffix.lower() not in SUFFIXES or not file.is_file():
            return match[0]
        if file.is_relative_to(origin):
            places[file] = f"{folder}/{file.relative_to(origin).as_posix()}"
            return match[0]
        is_taken = f"{folder}/images/{file.name}" in {place for other, place in places.items() if other != file}
        name = f"images/{f'{file.parent.name}_' * is_taken}{file.name}"
        places[file] = f"{folder}/{name}"
        return f"{match[1]}{quote(name)}"

    for cell in notebook.cells:
        if cell.type == "markdown":
            document["cells"][cell.number - 1]["source"] = _SHOWN.sub(follow, cell.source)
    return Notebook(notebook.path, document), places
