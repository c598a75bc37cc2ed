"""What a notebook imports: the packages to install, and the modules that lie beside it.

Imports the standard library only, because the template's extension reads a notebook before there is an environment. A
distribution is known from a module's name only if it is installed; before that, a table answers.
"""

import ast
import contextlib
import copy
import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from .document import Cell, Notebook, NotebookError, read
from .syntax import UNREADABLE, parse_python

# Modules that are called otherwise than what installs them. The longest name counts: `google.protobuf`.
DISTRIBUTIONS = {
    "absl": "absl-py", "attr": "attrs", "azure.ai.ml": "azure-ai-ml", "azure.storage.blob": "azure-storage-blob",
    "bayes_opt": "bayesian-optimization", "Bio": "biopython", "bs4": "beautifulsoup4",
    "community": "python-louvain", "Crypto": "pycryptodome", "cv2": "opencv-python-headless",
    "dask.array": "dask[array]", "dask.bag": "dask[bag]", "dask.dataframe": "dask[dataframe]",
    "dask.distributed": "distributed", "dateutil": "python-dateutil", "distutils": "setuptools",
    "dns": "dnspython", "docx": "python-docx", "dotenv": "python-dotenv", "ee": "earthengine-api",
    "faiss": "faiss-cpu", "fitz": "pymupdf", "git": "gitpython", "google.auth": "google-auth",
    "google.genai": "google-genai", "google.generativeai": "google-generativeai", "google.oauth2": "google-auth",
    "google.protobuf": "protobuf", "googleapiclient": "google-api-python-client", "hydra": "hydra-core",
    "ignite": "pytorch-ignite", "imblearn": "imbalanced-learn", "jose": "python-jose", "jwt": "pyjwt",
    "kafka": "kafka-python", "Levenshtein": "levenshtein", "magic": "python-magic", "mpl_toolkits": "matplotlib",
    "mpl_toolkits.basemap": "basemap", "mysql": "mysql-connector-python", "MySQLdb": "mysqlclient",
    "nacl": "pynacl", "OpenGL": "pyopengl", "openslide": "openslide-python", "OpenSSL": "pyopenssl",
    "osgeo": "gdal", "pdfminer": "pdfminer-six", "PIL": "pillow", "pkg_resources": "setuptools",
    "pptx": "python-pptx", "psycopg2": "psycopg2-binary", "pylab": "matplotlib", "pynvml": "nvidia-ml-py",
    "pywt": "pywavelets", "ruamel.yaml": "ruamel-yaml", "scikitplot": "scikit-plot", "serial": "pyserial",
    "shapefile": "pyshp", "skfuzzy": "scikit-fuzzy", "skimage": "scikit-image", "sklearn": "scikit-learn",
    "skmultilearn": "scikit-multilearn", "skopt": "scikit-optimize", "sksurv": "scikit-survival",
    "skvideo": "scikit-video", "slugify": "python-slugify", "snappy": "python-snappy",
    "snowflake": "snowflake-connector-python", "speech_recognition": "speechrecognition", "sql": "jupysql",
    "surprise": "scikit-surprise", "talib": "ta-lib", "umap": "umap-learn", "usb": "pyusb",
    "whisper": "openai-whisper", "win32com": "pywin32", "yaml": "pyyaml", "zmq": "pyzmq",
}  # fmt: skip

# What no package provides: every kernel has IPython, Colab and Kaggle have their own modules, and old Pythons had more.
NOWHERE = {
    "IPython", "ipykernel", "autoreload", "storemagic", "__main__", "google.colab", "kaggle_secrets", "ConfigParser",
    "Queue", "StringIO", "Tkinter", "asynchat", "asyncore", "cPickle", "cgi", "cgitb", "imp", "pipes", "smtpd", "telnetlib", "urllib2",
    "urlparse",
}  # fmt: skip

# Methods for which pandas needs a package that the notebook need not import.
PANDAS = {
    "read_excel": "openpyxl", "to_excel": "openpyxl", "ExcelFile": "openpyxl", "ExcelWriter": "openpyxl", "read_feather": "pyarrow", "to_feather": "pyarrow",
    "read_parquet": "pyarrow", "to_parquet": "pyarrow", "read_hdf": "tables", "to_hdf": "tables", "read_html": "lxml",
    "to_markdown": "tabulate", "plot": "matplotlib", "hist": "matplotlib", "boxplot": "matplotlib", "plotting": "matplotlib",
}  # fmt: skip
# `df.style.format`, but not `plt.style.use`.
_STYLER = re.compile(r"(background|text)_gradient|bar|format|apply|applymap|map|hide|highlight_\w+|set_\w+|to_html")


@dataclass
class Reach:
    """What code asks for: a cell, or a notebook with its local modules."""

    names: set[str] = field(default_factory=set)
    """The dotted names of its imports: `from a import b` gives `a.b`, which may be a module. Of a notebook, those from elsewhere."""
    always: set[str] = field(default_factory=set)
    """Those that are imported in any case: not in a `try`, an `if` or a function."""
    behind_pandas: set[str] = field(default_factory=set)
    """The packages that pandas imports itself when a method is called."""
    attributes: set[str] = field(default_factory=set)
    """The names that are called or read, and imported ones, each without what is before its dot."""
    words: set[str] = field(default_factory=set)
    """The strings of one word."""
    folders: dict[tuple[bool, str | None], None] = field(default_factory=dict)
    """In which Python looks for modules, too, each with whether the notebook changes to it; None if the folder is not known."""
    runs: set[tuple[int, str]] = field(default_factory=set)
    """The lines of `%run FILE` and `%load FILE`, each with the file as it is written."""


def distributions(notebook: Notebook, folder: Path) -> list[str]:
    """Find the packages to install for a notebook that lies in this folder, and for its local modules, sorted."""
    found = reach(notebook, folder)
    packages = {distribution(name) for name in found.names}
    return sorted((packages | found.behind_pandas if "pandas" in packages else packages) - {None})


def needed(notebook: Notebook, *folders: Path) -> set[str]:
    """Find the dotted names from elsewhere that it always imports.

    Args:
        folders: in which it may start; its own modules lie there.
    """
    found = reach(notebook, *folders)
    # Any of them may lie in a folder that is not known.
    return set() if (False, None) in found.folders else found.names & found.always


def local(notebook_folder: Path, module: str) -> Path | None:
    """Find the file or folder beside the notebook that is this module; None if there is none.

    A folder without Python files is not a module: a folder `datasets` of data does not hide the package of that name.
    """
    file, package = notebook_folder / f"{module}.py", notebook_folder / module
    if (package / "__init__.py").is_file():  # Python, too, prefers a package to a file
        return package
    if file.is_file():
        return file
    is_package = package.is_dir() and (any(package.glob("*.py")) or any(package.glob("*/*.py")))
    return package if is_package else None


def local_files(notebook: Notebook, folder: Path) -> dict[Path, str]:
    """Find the files of the local modules that a notebook in this folder imports, of those that they import, and what it runs.

    Each has its path from the folder in which Python finds the module: the notebook's, or one that it adds to `sys.path`. What
    `%run` names has its path from the notebook's folder; what lies elsewhere, its name.
    """
    _, paths = _follow(notebook, folder)
    return {
        file: file.relative_to(place).as_posix()
        for path, place in sorted(paths.items())
        for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))
    }


def reach(notebook: Notebook, *folders: Path) -> Reach:
    """Find what a notebook and its local modules, which lie in these folders, ask for."""
    return _follow(notebook, *folders)[0]


def _follow(notebook: Notebook, *given: Path) -> tuple[Reach, dict[Path, Path]]:
    """Find what a notebook asks for, and its local modules with their folders."""
    parts, folders = [_look(tree) for cell in notebook.cells for tree in _trees(cell)], [*given]
    for is_changed_to, place in [found for part in parts for found in part.folders]:
        # A notebook starts in its own folder, so that only from there it changes to another one.
        starts = given[:1] if is_changed_to else given
        folders += [Path(os.path.normpath(start / place)) for start in starts if place is not None]
    made = _made(notebook)
    names, paths, found = set(), {}, Reach()
    for part in parts:  # it grows
        new = {}
        for name in part.names:
            module = name.partition(".")[0]
            if place := next((place for place in folders if local(place, module)), None):
                new[local(place, module)] = place
            elif module not in made:
                names.add(name)
        for _, word in part.runs:
            if path := _run_file(word, *folders):
                # Beside the notebook, as it is in the project; else it would lead out of it.
                new.setdefault(path, next((folder for folder in folders if path.is_relative_to(folder)), path.parent))
        for path in [path for path in new if path not in paths]:
            paths[path] = new[path]
            parts += map(_look, _trees_of(path))
        for each in fields(Reach):
            getattr(found, each.name).update(getattr(part, each.name))
    found.names = names
    return found, paths


def missing_runs(notebook: Notebook, *folders: Path) -> list[str]:
    """Report the files of `%run` that do not exist, one line each, before anything runs."""
    made = _made(notebook)
    return [
        f"{notebook.place(cell, line)}: `%run {word}`: the file does not exist. Fix: put it beside the notebook"
        for cell in notebook.cells if cell.type == "code" and cell.tree is not None
        for line, word in sorted(_look(cell.tree).runs)
        if not re.search(r"[{$]", word) and Path(word).stem not in made and not _run_file(word, *folders)
    ]  # fmt: skip


def with_runs_followed(notebook: Notebook, folder: Path, places: Mapping[Path, str]) -> Notebook:
    """Let `%run` of a notebook that was in this folder follow the files to their new places."""
    document = copy.deepcopy(notebook.document)
    for cell in notebook.cells:
        lines = cell.source.split("\n")
        for line, word in _look(cell.tree).runs if cell.type == "code" and cell.tree is not None else ():
            if place := places.get(_run_file(word, folder)):
                new = f'"{place}"' if " " in place else place
                # Not the `run` of `%run run.py`.
                word = rf"(?<=\s)([\"']?){re.escape(word)}\1(?=\s|$)"
                lines[line - 1] = re.sub(word, lambda _, new=new: new, lines[line - 1], count=1)
        if "\n".join(lines) != cell.source:
            document["cells"][cell.number - 1]["source"] = "\n".join(lines)
    return Notebook(notebook.path, document)


def _run_file(word: str, *folders: Path) -> Path | None:
    """Find the file of `%run` from one of these folders: it may be written without `.py`."""
    places = (
        Path(os.path.normpath(folder / Path(word + end).expanduser())) for folder in folders for end in ("", ".py")
    )
    return next((place for place in places if place.is_file()), None)


def _made(notebook: Notebook) -> set[str]:
    """Find the modules that the notebook itself writes or downloads, by `%%writefile helpers.py` or `!wget URL/helpers.py`."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.type == "code")
    lines = re.findall(r"^\s*(?:%%(?:writefile|file)|!\s*(?:wget|curl|cp)) .*", code, re.MULTILINE)
    return {name for line in lines for name in re.findall(r"(\w+)\.py\b", line)}


def distribution(name: str) -> str | None:
    """Find the package that provides a module, as `cv2` or `google.cloud.storage`; None if none does or can."""
    parts = name.split(".")
    if parts[0] in sys.stdlib_module_names and parts[0] not in DISTRIBUTIONS:
        return None
    for length in range(len(parts), 0, -1):
        known = ".".join(parts[:length])
        if known in NOWHERE:
            return None
        if known in DISTRIBUTIONS:
            return DISTRIBUTIONS[known]
    if parts[0] == "google":
        parts = parts[:3] if parts[1:2] == ["cloud"] and len(parts) > 2 else []
    elif parts[0] == "azure":
        parts = parts[:2]
    else:
        parts = parts[:1]
    plain = "-".join(parts).lower().replace("_", "-")
    # Package indexes reject other names.
    return plain if re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", plain) else None


def root(name: str) -> str:
    """Find the part of a dotted name that is installed or not: the first; or what no package provides, as `google.colab`."""
    parts = name.split(".")
    prefixes = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((prefix for prefix in prefixes if prefix in NOWHERE), parts[0])


def _look(tree: ast.Module) -> Reach:
    """Find what one tree asks for."""
    found = Reach(always={name for statement in tree.body for name in _imported(statement)})
    for node in ast.walk(tree):
        found.names.update(_imported(node))
        match node:
            case ast.Name(id=name):
                found.attributes.add(name)
            case ast.Attribute(value=value, attr=name):
                found.attributes.add(name)
                if name in PANDAS:
                    found.behind_pandas.add(PANDAS[name])
                elif isinstance(value, ast.Attribute) and value.attr == "style" and _STYLER.fullmatch(name):
                    found.behind_pandas.add("jinja2")
            case ast.Constant(value=str(text)):
                found.words |= {text} if re.fullmatch(r"\w[\w.-]*", text) else set()
            case ast.Call(func=ast.Attribute(attr="run_line_magic"), args=[ast.Constant(value="cd"), place]):
                found.folders[True, _folder(place)] = None
            case ast.Call(
                func=ast.Attribute(attr="run_line_magic"),
                args=[ast.Constant(value="run" | "load"), ast.Constant(value=str(text))],
            ):
                found.runs |= {(node.lineno, file) for file in _file_of_run(text)}
            case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr="chdir"), args=[place]):
                found.folders[True, _folder(place)] = None
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(value=ast.Name(id="sys"), attr="path")), args=[*_, place]
            ):
                found.folders[False, _folder(place)] = None
    found.attributes |= {name.rpartition(".")[2] for name in found.names}
    return found


def _imported(node: ast.AST) -> list[str]:
    """Find the dotted names that a statement or a call imports."""
    match node:
        case ast.Import(names=aliases):
            return [alias.name for alias in aliases]
        case ast.ImportFrom(module=str(module), names=aliases, level=0):
            return [f"{module}.{alias.name}" for alias in aliases]
        case ast.Call(
            func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
            args=[ast.Constant(value=str(name)), *_],
        ) if not name.startswith("."):
            return [name]
        case ast.Call(func=ast.Attribute(attr="run_line_magic"), args=[ast.Constant(value=magic), text]):
            names = str(text.value).split() if magic == "load_ext" and isinstance(text, ast.Constant) else []
            return ["matplotlib"] if magic in ("matplotlib", "pylab") else names
    return []


def _file_of_run(text: str) -> list[str]:
    """Find the file that follows `%run`, behind its options; none if there is none."""
    try:
        words = shlex.split(text)
    except ValueError:  # a lone quote
        return []
    while words and words[0].startswith("-"):
        option = words.pop(0)
        del words[: option in ("-b", "-l", "-N", "-s", "-T")]  # its value
        words = [] if option == "-m" else words  # a module's name
    return words[:1]


def _folder(place: ast.expr) -> str | None:
    """Read a folder, relative to the notebook's: `os.path.abspath("..")`, `str(Path.cwd().parent / "src")`."""
    match place:
        case ast.Constant(value=str(text)):
            return text
        case ast.Attribute(value=inner, attr="parent"):
            parts = [_folder(inner), ".."]
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            parts = [_folder(left), _folder(right)]
        case ast.Call(func=ast.Attribute(attr="cwd" | "getcwd"), args=[]):
            return "."
        case ast.Call(func=ast.Attribute(value=inner, attr="resolve" | "absolute" | "as_posix"), args=[]):
            return _folder(inner)
        case ast.Call(
            func=ast.Name(id="str" | "Path") | ast.Attribute(attr="abspath" | "realpath" | "join" | "Path"),
            args=arguments,
        ):
            parts = [_folder(each) for each in arguments]
        case _:
            return None
    return None if None in parts else "/".join(parts)


def _trees(cell: Cell) -> list[ast.Module]:
    """Parse a code cell; if it is not valid Python as a whole, its import lines."""
    if cell.type != "code":
        return []
    if cell.tree is not None:
        return [cell.tree]
    if cell.source.lstrip().startswith("%%"):  # another language, or a file to be written
        return []
    trees = []
    for line in re.findall(r"^[ \t]*((?:import|from)[ \t].*)", cell.source, re.MULTILINE):
        with contextlib.suppress(*UNREADABLE):
            trees.append(parse_python(line))
    return trees


def _trees_of(path: Path) -> list[ast.Module]:
    """Parse the file of a module or a notebook, or all files of a package."""
    trees = []
    for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
        try:
            if file.suffix == ".ipynb":
                trees += [tree for cell in read(file).cells for tree in _trees(cell)]
            else:
                trees.append(parse_python(file.read_bytes()))
        except (OSError, NotebookError, *UNREADABLE):
            continue
    return trees
