"""The locked versions of the packages that a notebook uses, with which its code file begins.

Knows nothing of DVC. A stage depends on its code file, so that an upgrade of pandas reruns the stages that use pandas, and an
upgrade of ruff none. The lines are the same on every system: uv.lock holds the versions for all of them.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

from notebook_pipeline import files
from notebook_pipeline.notebook import imports
from notebook_pipeline.notebook.document import Notebook
from notebook_pipeline.notebook.syntax import find_conflict

LOCK_FILE = "uv.lock"
USES = "# uses: "
"""Begins each line about a package."""

# Extras for the development of a package: no notebook uses what they install.
_DEVELOPMENT = re.compile(r"dev|doc|test|lint|bench|build|example|maint|typ|ci$|tutorial", re.IGNORECASE)
# A package draws with another one only if it is asked to, by `frame.plot()` or `ConfusionMatrixDisplay`.
_DRAWING = {"altair", "bokeh", "hvplot", "matplotlib", "plotly", "seaborn"}
_DRAWS = re.compile(r"[Pp]lot|(^|_)(draw|hist|figure|chart)(_|$)|Display")


class LockError(Exception):
    """A uv.lock that cannot be used; one line: file, problem, fix."""


@dataclass
class Lock:
    """What uv.lock contains about all packages, by their names."""

    versions: dict[str, set[str]] = field(default_factory=dict)
    """Several, if systems or Pythons differ; with the commit or the hash if the version alone does not identify what is installed."""
    needs: dict[str, set[str]] = field(default_factory=dict)
    """Whatever the markers say, with the extras that are locked."""
    direct: set[str] = field(default_factory=set)
    """What the project itself asks for, without its dependency groups."""


@lru_cache(maxsize=1)
def parse(text: str) -> Lock:
    """Read the text of uv.lock.

    Raises:
        LockError: it is not a valid lock file.
    """
    if line := find_conflict(text):
        raise LockError(f"{LOCK_FILE}:{line}: contains a merge conflict. Fix: git checkout HEAD {LOCK_FILE}, uv lock")
    # Nine tenths of it are wheels, each on a line of its own, and one is enough to know a version by its hash.
    text = re.sub(r"^(wheels = \[\n.*\n)(?: .*\n)+", r"\1", text.replace("\r\n", "\n"), flags=re.MULTILINE)
    lock = Lock()
    try:
        for package in tomllib.loads(text)["package"]:
            name, source = package["name"], package["source"]
            lists = [package.get("dependencies", []), *package.get("optional-dependencies", {}).values()]
            needs = {each["name"] for entries in lists for each in entries}
            lock.needs.setdefault(name, set()).update(needs)
            lock.versions.setdefault(name, set()).add(_version(package, source))
            if "." in (source.get("virtual"), source.get("editable")):
                lock.direct |= needs
    except (ValueError, LookupError, TypeError, AttributeError):
        raise LockError(f"{LOCK_FILE}: not a valid lock file. Fix: uv lock") from None
    return lock


def _version(package: dict, source: dict) -> str:
    """Write `2.3.0`; for a package from outside a registry, `2.3.0 (1a2b3c4d5e6f)`: its version may stay when it changes."""
    source_id = source.get("git", "").rpartition("#")[2]
    if source.keys() & {"url", "path"}:
        hashes = [each["hash"] for each in (package.get("sdist", {}), *package.get("wheels", [])) if "hash" in each]
        source_id = hashes[0].partition(":")[2] if hashes else ""
    return package.get("version", "") + (f" ({source_id[:12]})" if source_id else "")


def header(notebook: Notebook) -> str:
    """Make the first lines of a notebook's code file: `# uses: pandas 2.3.0`, one package a line; nothing without uv.lock.

    Raises:
        LockError: uv.lock is not a valid lock file.
    """
    try:
        lock = parse(files.read(LOCK_FILE))
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise LockError(f"{LOCK_FILE}: not a valid lock file. Fix: uv lock") from None
    used = sorted(_used(notebook, lock))
    lines = [f"{name} {', '.join(sorted(lock.versions[name]))}".rstrip() for name in used]
    return "".join(f"{USES}{line}\n" for line in lines or ["no package"]) + "\n"


def split(text: str) -> tuple[str, str]:
    """Split the text of a code file into its lines about packages and the notebook's code."""
    lines = text.splitlines(keepends=True)
    count = next((index for index, line in enumerate(lines) if not line.startswith(USES)), len(lines))
    return "".join(lines[: count + 1 if count else 0]), "".join(lines[count + 1 if count else 0 :])


def _used(notebook: Notebook, lock: Lock) -> set[str]:
    """Find the locked packages that a notebook and its local modules import, with all that these need in turn."""
    found = imports.reach(notebook, Path(notebook.path).parent, Path(), *_find_own_folders())
    used = {package for name in found.names for package in _providers(name, lock)}
    words = {_normalized(word) for word in found.words}
    # `engine="openpyxl"`, `KERAS_BACKEND = "torch"`: a word may be a module or a package.
    used |= lock.direct & (
        words | {_normalized(imports.distribution(word) or "") for word in words if word.isidentifier()}
    )
    used = _with_needs(used, lock)
    if "pandas" in used:
        used |= _with_needs(found.behind_pandas & lock.versions.keys(), lock)
    draws = any(_DRAWS.search(name) for name in found.attributes)
    for package in used.copy():
        for engine, extra in _extras(package) if lock.direct - used else ():
            if engine in lock.direct and (draws if engine in _DRAWING else not _DEVELOPMENT.match(extra)):
                used |= _with_needs({engine}, lock)
    return used


def _find_own_folders() -> Iterator[Path]:
    """Find the folders of the project in which its Python looks, as `src` of a project that is itself a package."""
    for place in map(Path, filter(None, sys.path)):
        if place.is_relative_to(Path.cwd()) and not place.is_relative_to(sys.prefix):
            yield place.relative_to(Path.cwd())


def _with_needs(packages: Iterable[str], lock: Lock) -> set[str]:
    found = [*packages]
    for name in found:  # it grows
        found += lock.needs.get(name, set()) - {*found}
    return {*found}


def _providers(name: str, lock: Lock) -> set[str]:
    """Find the locked packages that install a module, as `google.cloud.storage`.

    Known from the files that they have installed; from the name for one that is not installed on this system.
    """
    guess = _normalized(re.sub(r"\[.*", "", imports.distribution(name) or ""))
    known = {guess} & lock.versions.keys()
    if name.partition(".")[0] in sys.stdlib_module_names or imports.root(name) in imports.NOWHERE:
        return known
    if known and _depth(name, _record(guess)):
        return known
    depths = {package: depth for package in lock.versions if (depth := _depth(name, _record(package)))}
    return known | {package for package, depth in depths.items() if depth == max(depths.values())}


@cache
def _record(package: str) -> str:
    """List the paths that a package has installed, each after a line end; empty if it is not installed."""
    return "\n" + _read_of(package, "RECORD")


def _depth(name: str, record: str) -> int:
    """Count the parts of a dotted name that are a module among the installed files."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = "/".join(parts[:length])
        if f"\n{path}/__init__.py" in record or re.search(rf"\n{re.escape(path)}\.(py|[^/\n]*so|[^/\n]*pyd),", record):
            return length
    return 0


def _extras(package: str) -> Iterator[tuple[str, str]]:
    """Find the optional packages of a package, each with the extra's name: pyarrow and `parquet` of pandas."""
    text = _read_of(package, "METADATA").partition("\n\n")[0]
    for line in re.findall(r"^Requires-Dist: (.*)", text, re.MULTILINE):
        requirement = re.match(r"([\w.-]+).*\bextra\s*==\s*['\"]([\w.-]+)", line)
        if requirement:
            yield _normalized(requirement[1]), requirement[2]


def _read_of(package: str, name: str) -> str:
    """Read a file about an installed package; empty if it is not installed."""
    from importlib import metadata  # a check has no use for it

    try:
        return metadata.distribution(package).read_text(name) or ""
    except metadata.PackageNotFoundError:
        return ""


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
