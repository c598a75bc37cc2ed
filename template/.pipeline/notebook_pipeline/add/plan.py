"""Plans how a notebook becomes one of the project: which file goes where, and which texts of its code follow.

Nothing is written here. A text follows only if the run was seen to use the path that it is, or begins.
"""

import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from notebook_pipeline.add.code import Code
from notebook_pipeline.add.observation import Observation
from notebook_pipeline.add.places import Places, is_hidden
from notebook_pipeline.add.rewriting import Rewriter
from notebook_pipeline.add.sorting import Files
from notebook_pipeline.notebook.document import Notebook


@dataclass
class Plan:
    """A notebook whose paths are those of the project, and what must happen for that."""

    notebook: Notebook
    copies: dict[Path, str] = field(default_factory=dict)
    """The files to copy, and where to."""
    texts: dict[Path, str] = field(default_factory=dict)
    """Of those whose own paths follow: the new text."""
    inputs: set[str] = field(default_factory=set)
    """What the notebook reads; a folder may be one."""
    outputs: set[str] = field(default_factory=set)
    """The files that it writes."""
    results: dict[Path, str] = field(default_factory=dict)
    """The files that it was seen to write, and where they go."""
    folders: set[str] = field(default_factory=set)
    """Those in which it writes, and that it does not make."""
    working_copies: dict[str, str] = field(default_factory=dict)
    """The inputs that it changes, each with the place of the copy that it changes in the project."""
    notes: list[str] = field(default_factory=list)
    secrets: dict[Path, str] = field(default_factory=dict)
    """What looks like secrets, and why: not copied, and named by the code as before."""


def make_plan(
    notebook: Notebook,
    root: Path,
    found: Observation,
    places: Places,
    modules: Mapping[Path, str] = MappingProxyType({}),
    allowed: Collection[Path] = (),
) -> Plan:
    """Plan the move of a notebook into the project.

    Args:
        root: the project's folder.
        found: what the notebook was seen to use.
        places: where its files go.
        modules: the modules of its own that come along, and where to.
        allowed: full paths that look like secrets and are none.
    """
    code = Code(notebook, found, places, modules)
    files = Files(root, found, places, code, modules, allowed)
    rewriter = Rewriter(notebook, found, places, code, files)
    plan = Plan(
        rewriter.rewrite(),
        files.copies,
        rewriter.texts,
        files.named_inputs,
        results=rewriter.results,
        secrets=files.secrets,
    )
    plan.working_copies = {places.of_input(file): files.place_of_change(file) for file in files.own_copies}
    plan.notes = [*dict.fromkeys([*(f"{notebook.path}: {note}" for note in files.notes), *rewriter.notes])]
    for place in plan.results.values():
        if not is_hidden(Path(place)) and not place.startswith(("/", "..")):
            plan.outputs.add(posixpath.normpath(place))
    made = {f"{place}/" for use in code.uses if use.what == "make" and (place := files.place_of(use))}
    text = "\n".join(cell.source for cell in code.cells.values())
    for place in plan.outputs:
        folder = f"{posixpath.dirname(place)}/"
        if (
            folder != "/"
            and not any(each.startswith(folder) for each in made)
            and posixpath.basename(place) not in text
        ):
            plan.folders.add(folder.rstrip("/"))
    return plan
