"""Jinja filters for names: of the folder that a project lies in, and of its package."""

import re
import unicodedata
from pathlib import Path, PurePath

from jinja2 import Environment
from jinja2.ext import Extension


def folder_name(path: PurePath) -> str:
    """The name of a folder, also where the path is `.`; `project` for a root, which has no name."""
    return Path(path).resolve().name or "project"


def package_name(name: str) -> str:
    """A name of ASCII letters, digits and hyphens, as pyproject.toml wants it, by the rule of
    https://packaging.python.org/specifications/name-normalization; `project` where nothing of the name is left.
    """
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "project"


class Names(Extension):
    """Makes the filters known to copier.yml and the template's files."""

    def __init__(self, environment: Environment):
        super().__init__(environment)
        environment.filters["folder_name"] = folder_name
        environment.filters["package_name"] = package_name
