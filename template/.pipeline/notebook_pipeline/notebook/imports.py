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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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


def modules_of(source: str) -> list[str]:
    """Find the top-level modules that a Python file imports; none if it is not valid Python."""
    with contextlib.suppress(*UNREADABLE):
        return sorted({name.partition(".")[0] for name in _imported(parse_python(source))})
    return []


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


def distributions(notebook: Notebook, folder: Path) -> list[str]:
    """Find the packages to install for a notebook that lies in this folder, and for its local modules, sorted."""
    names, trees, _ = _followed(notebook, folder)
    found = {distribution(name) for name in names}
    if "pandas" in found:
        found.update(name for tree in trees for name in _behind_pandas(tree))
    return sorted(found - {None})


def needed(notebook: Notebook, *folders: Path) -> set[str]:
    """Find the dotted names from elsewhere that it always imports: not in a `try`, an `if` or a function.

    Args:
        folders: in which it may start; its own modules lie there.
    """
    names, trees, _ = _followed(notebook, *folders)
    if (False, None) in {found for tree in trees for found in _searched(tree)}:
        return set()  # any of them may lie where it looks
    return names & {name for tree in trees for statement in tree.body for name in _imported_by(statement)}


def local_files(notebook: Notebook, folder: Path) -> dict[Path, str]:
    """Find the files of the local modules that a notebook in this folder imports, of those that they import, and what it runs.

    Each has its path from the folder in which Python finds the module: the notebook's, or one that it adds to `sys.path`. What
    `%run` names has its path from the notebook's folder; what lies elsewhere, its name.
    """
    _, _, paths = _followed(notebook, folder)
    return {
        file: file.relative_to(place).as_posix()
        for path, place in sorted(paths.items())
        for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))
    }


@dataclass
class Reach:
    """What a notebook and its local modules ask for; all names from which a package can be derived."""

    names: set[str]
    """The dotted names of the imports from elsewhere."""
    behind_pandas: set[str]
    """The packages that pandas imports itself when a method is called."""
    attributes: set[str]
    """The names that are called or read, and imported ones, each without what is before its dot."""
    words: set[str]
    """The strings of one word."""


def reach(notebook: Notebook, *folders: Path) -> Reach:
    """Find what a notebook and its local modules, which lie in these folders, ask for."""
    names, trees, _ = _followed(notebook, *folders, *_of_the_project())
    nodes = [node for tree in trees for node in ast.walk(tree)]
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    attributes |= {node.id for node in nodes if isinstance(node, ast.Name)}
    attributes |= {name.rpartition(".")[2] for name in names}
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    words = {text for text in texts if re.fullmatch(r"\w[\w.-]*", text)}
    return Reach(names, {name for tree in trees for name in _behind_pandas(tree)}, attributes, words)


def _of_the_project() -> Iterator[Path]:
    """Find the folders of the project in which its Python looks, as `src` of a project that is itself a package."""
    for place in map(Path, filter(None, sys.path)):
        if place.is_relative_to(Path.cwd()) and not place.is_relative_to(sys.prefix):
            yield place.relative_to(Path.cwd())


def _followed(notebook: Notebook, *given: Path) -> tuple[set[str], list[ast.Module], dict[Path, Path]]:
    """Find the names that are imported from elsewhere, the trees that import, and the local modules with their folders."""
    trees, folders = [tree for cell in notebook.cells for tree in _trees(cell)], [*given]
    for is_changed_to, place in [found for tree in trees for found in _searched(tree) if found[1] is not None]:
        # A notebook starts in its own folder, so that only from there it changes to another one.
        starts = given[:1] if is_changed_to else given
        folders += [Path(os.path.normpath(start / place)) for start in starts]
    made = _made(notebook)
    names, paths = set(), {}
    for tree in trees:  # it grows
        for name in _imported(tree):
            module = name.partition(".")[0]
            place = next((place for place in folders if local(place, module)), None)
            if place is None:
                names |= {name} if module not in made else set()
            elif (path := local(place, module)) not in paths:
                paths[path] = place
                trees.extend(_trees_of(path))
        for _, word in _runs(tree):
            if (path := _run_file(word, *folders)) and path not in paths:
                # Beside the notebook, as it is in the project; else it would lead out of it.
                paths[path] = next((folder for folder in folders if path.is_relative_to(folder)), path.parent)
                trees.extend(_trees_of(path))
    return names, trees, paths


def missing_runs(notebook: Notebook, *folders: Path) -> list[str]:
    """Report the files of `%run` that do not exist, one line each, before anything runs."""
    made = _made(notebook)
    return [
        f"{notebook.place(cell, line)}: `%run {word}`: the file does not exist. Fix: put it beside the notebook"
        for cell in notebook.cells if cell.type == "code" and cell.tree is not None
        for line, word in _runs(cell.tree)
        if not re.search(r"[{$]", word) and Path(word).stem not in made and not _run_file(word, *folders)
    ]  # fmt: skip


def with_runs_followed(notebook: Notebook, folder: Path, places: Mapping[Path, str]) -> Notebook:
    """Let `%run` of a notebook that was in this folder follow the files to their new places."""
    document = copy.deepcopy(notebook.document)
    for cell in notebook.cells:
        lines = cell.source.split("\n")
        for line, word in _runs(cell.tree) if cell.type == "code" and cell.tree is not None else ():
            if place := places.get(_run_file(word, folder)):
                new = f'"{place}"' if " " in place else place
                # Not the `run` of `%run run.py`.
                word = rf"(?<=\s)([\"']?){re.escape(word)}\1(?=\s|$)"
                lines[line - 1] = re.sub(word, lambda _, new=new: new, lines[line - 1], count=1)
        if "\n".join(lines) != cell.source:
            document["cells"][cell.number - 1]["source"] = "\n".join(lines)
    return Notebook(notebook.path, document)


def _runs(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Find the lines of `%run FILE` and `%load FILE`, each with the file as it is written."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="run_line_magic"),
                args=[ast.Constant(value="run" | "load"), ast.Constant(value=text)],
            ):
                try:
                    words = shlex.split(text)
                except ValueError:  # a lone quote
                    continue
                while words and words[0].startswith("-"):
                    option = words.pop(0)
                    del words[: option in ("-b", "-l", "-N", "-s", "-T")]  # its value
                    words = [] if option == "-m" else words  # a module's name
                if words:
                    yield node.lineno, words[0]


def _run_file(word: str, *folders: Path) -> Path | None:
    """Find the file of `%run` from one of these folders: it may be written without `.py`."""
    places = (
        Path(os.path.normpath(folder / Path(word + end).expanduser())) for folder in folders for end in ("", ".py")
    )
    return next((place for place in places if place.is_file()), None)


def _made(notebook: Notebook) -> set[str]:
    """Find the modules that the notebook itself writes or downloads, by `%%writefile helpers.py` or `!wget URL/helpers.py`."""
    lines = re.findall(r"^\s*(?:%%(?:writefile|file)|!\s*(?:wget|curl|cp)) .*", _all_code(notebook), re.MULTILINE)
    return {name for line in lines for name in re.findall(r"(\w+)\.py\b", line)}


def _all_code(notebook: Notebook) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.type == "code")


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


def _imported(tree: ast.AST) -> Iterator[str]:
    """Find the dotted names of all imports: `from a import b` gives `a.b`, which may be a module."""
    for node in ast.walk(tree):
        yield from _imported_by(node)


def _imported_by(node: ast.AST) -> list[str]:
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
        case ast.Call(
            func=ast.Attribute(attr="run_line_magic"),
            args=[ast.Constant(value="load_ext"), ast.Constant(value=str(name))],
        ):
            return name.split()
        case ast.Call(func=ast.Attribute(attr="run_line_magic"), args=[ast.Constant(value="matplotlib" | "pylab"), _]):
            return ["matplotlib"]
    return []


def _searched(tree: ast.AST) -> Iterator[tuple[bool, str | None]]:
    """Find the folders in which Python looks for modules, too, each with whether the notebook changes to it.

    `sys.path.append("../src")`, `os.chdir("..")`, `%cd ..`. None if the folder is not known.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(value=ast.Name(id="sys"), attr="path")), args=[*_, place]
            ):
                yield False, _folder(place)
            case (
                ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr="chdir"), args=[place])
                | ast.Call(func=ast.Attribute(attr="run_line_magic"), args=[ast.Constant(value="cd"), place])
            ):
                yield True, _folder(place)


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


def _behind_pandas(tree: ast.AST) -> Iterator[str]:
    """Find what pandas itself imports when a method is called."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) if name in PANDAS:
                yield PANDAS[name]
            case ast.Attribute(value=ast.Attribute(attr="style"), attr=name) if _STYLER.fullmatch(name):
                yield "jinja2"
