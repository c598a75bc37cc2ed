"""Jinja filters for a project that starts with a notebook of the person's own: what it is called, and what it needs."""

import importlib
import importlib.util
import os
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

from copier.errors import UserMessageError
from jinja2 import Environment
from jinja2.ext import Extension
from packaging.requirements import InvalidRequirement, Requirement

PACKAGE = Path(__file__).parents[1] / "template" / ".pipeline" / "notebook_pipeline" / "notebook"
# The answer to `start` that makes use of the others.
START = "notebook"


class Notebook(Extension):
    """Register the filters to copier.yml and the template's files."""

    def __init__(self, environment: Environment):
        super().__init__(environment)
        self._reader, self._imports = _load("document", "imports")
        environment.filters |= {
            "absolute": absolute,
            "notebook_dependencies": self.dependencies,
            "notebook_name": notebook_name,
            "notebook_problem": self.problem,
            "quoted": quoted,
            "requirements": requirements,
            "requirements_problem": requirements_problem,
        }

    def problem(self, path: str, start: str = START) -> str:
        """Why a project cannot start with this notebook, in one line; empty if it can."""
        if start != START:
            return _of_no_use(path, start)
        if not path.strip():
            return "no notebook is given. Fix: type its path, or add `-d notebook=PATH` to the command"
        try:
            notebook = self._reader.read(_expanded(path))
        except self._reader.NotebookError as error:
            return str(error)
        return "" if notebook.language in ("python", "ipython") else next(notebook.problems())

    def dependencies(self, path: str) -> str:
        """The packages that the notebook imports, with commas between.

        Raises:
            UserMessageError: no project can start with this notebook.
        """
        if problem := self.problem(path):
            raise UserMessageError(f"notebook: {problem}")
        notebook = self._reader.read(_expanded(path))
        return ", ".join(self._imports.distributions(notebook, _expanded(path).parent))


def notebook_name(path: str) -> str:
    """The notebook's name, without what its file is called by."""
    return _expanded(path).stem


def absolute(path: str) -> str:
    """The path as seen from anywhere: the set-up runs in the new project, not where Copier was called."""
    return os.path.abspath(_expanded(path))


def quoted(word: str) -> str:
    """A word of a command line, for the shell that Copier runs a task with: sh, or Windows' cmd."""
    return f'"{word}"' if os.name == "nt" else shlex.quote(word)


def requirements(text: str) -> list[str]:
    """The requirements of a text with commas between, in quotes that suit TOML."""
    return [str(Requirement(one)).replace('"', "'") for one in _split(text)]


def requirements_problem(text: str, start: str = START) -> str:
    """What is wrong with a text of requirements, in one line; empty if nothing is."""
    if start != START:
        return _of_no_use(text, start)
    for one in _split(text):
        try:
            Requirement(one)
        except InvalidRequirement:
            return f"{one!r} is not a package. Fix: write names separated by commas, as in pandas, scikit-learn>=1.7"
    return ""


def _of_no_use(answer: str, start: str) -> str:
    what = f"{answer!r} is not used if start is {start}"
    return f"{what}. Fix: remove it, or copy with `-d start={START}`" if answer.strip() else ""


def _split(text: str) -> list[str]:
    """The parts between commas, of which one may also stand within a part: `pandas>=2,<4`, `dask[array,dataframe]`."""
    return [one.strip() for one in re.split(r",[\s,]*(?=[A-Za-z0-9])(?![^\[]*\])", text.strip(" ,")) if one.strip()]


def _expanded(path: str) -> Path:
    return Path(os.path.expanduser(path.strip()))  # pathlib's own raises an error where there is no such person


def _load(*names: str) -> list[ModuleType]:
    """Modules of a project's code, out of this template.

    An update has two versions of the template in one process: they are loaded under a private name, and not kept in
    `sys.modules`, where a dataclass looks for its module while it is made.
    """
    private = "_template_notebook"
    spec = importlib.util.spec_from_file_location(
        private, PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
    )
    sys.modules[private] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(sys.modules[private])
        return [importlib.import_module(f"{private}.{name}") for name in names]
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == private]:
            del sys.modules[name]
