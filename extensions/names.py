"""Jinja filters for names: of the project, of the folder that a project lies in, of its package, and of the place of its template."""

import json
import re
import unicodedata
from pathlib import Path, PurePath

from jinja2 import Environment
from jinja2.ext import Extension

# What a string in TOML cannot have as it is.
UNFIT = r'["\\\x00-\x1f\x7f]'


def name_problem(name: str) -> str:
    """Why a project cannot have this name, in one line; empty if it can: it becomes a heading, and a string in TOML."""
    if name.strip() and not re.search(UNFIT, name):
        return ""
    return (
        f"{json.dumps(name, ensure_ascii=False)} cannot be a name. Fix: write one line without quotes and backslashes, "
        'as in "Penguins".'
    )


def possible_name(name: str) -> str:
    """The name without what a project's cannot have; a folder or a notebook can."""
    return re.sub(UNFIT, "", name).strip() or "project"


def folder_name(path: PurePath) -> str:
    """The name of a folder, also where the path is `.`; empty for a root, which has none."""
    return Path(path).resolve().name


def package_name(name: str) -> str:
    """A name of ASCII letters, digits and hyphens, as pyproject.toml wants it, by the rule of
    https://packaging.python.org/specifications/name-normalization; `project` if nothing of the name is left.
    """
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "project"


def is_file(path: PurePath) -> bool:
    """Whether there is such a file."""
    return Path(path).is_file()


def from_anywhere(source: str) -> str:
    """Where the template is, as each folder sees it: `.` is another place at an update. A URL stays as it is."""
    path = Path(source).expanduser()
    return path.resolve().as_posix() if path.is_dir() else source


class Names(Extension):
    """Register the filters to copier.yml and the template's files."""

    def __init__(self, environment: Environment):
        super().__init__(environment)
        environment.filters["folder_name"] = folder_name
        environment.filters["from_anywhere"] = from_anywhere
        environment.filters["is_file"] = is_file
        environment.filters["name_problem"] = name_problem
        environment.filters["package_name"] = package_name
        environment.filters["possible_name"] = possible_name
