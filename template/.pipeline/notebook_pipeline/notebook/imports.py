"""What a notebook imports: the packages to install, and the modules that lie beside it.

Imports the standard library only, because the template's extension reads a notebook before there is an environment. A
distribution can be told from a module's name only where it is installed; before that there is a table.
"""

import ast
import copy
import json
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from notebook_pipeline.notebook.document import Cell, Notebook

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

# What no package brings: each kernel has IPython, Colab and Kaggle have their own; and what Python itself had once.
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
    """The top-level modules that a Python file imports; none where it cannot be read as Python."""
    tree = _parsed(source)
    return sorted({name.partition(".")[0] for name in _imported(tree)}) if tree is not None else []


def local(notebook_folder: Path, module: str) -> Path | None:
    """The file or folder beside the notebook that is this module; None where there is none.

    A folder without Python files is no module: a folder `datasets` of data hides no package of that name.
    """
    file, package = notebook_folder / f"{module}.py", notebook_folder / module
    if (package / "__init__.py").is_file():  # Python, too, prefers a package to a file
        return package
    if file.is_file():
        return file
    is_package = package.is_dir() and (any(package.glob("*.py")) or any(package.glob("*/*.py")))
    return package if is_package else None


def distributions(notebook: "Notebook", folder: Path) -> list[str]:
    """The names of the packages to install for a notebook that lies in this folder, and for its local modules, sorted."""
    names, trees, _ = _followed(notebook, folder)
    found = {distribution(name) for name in names}
    if "pandas" in found:
        found.update(name for tree in trees for name in _behind_pandas(tree))
    return sorted(found - {None})


def needed(notebook: "Notebook", *folders: Path) -> set[str]:
    """The dotted names from elsewhere that it cannot do without: not what a `try`, an `if` or a function imports.

    Args:
        folders: in which it may start; its own modules lie there.
    """
    names, trees, _ = _followed(notebook, *folders)
    if None in {place for tree in trees for place in _added_to_path(tree)}:
        return set()  # any of them may lie where it looks
    return names & {name for tree in trees for statement in tree.body for name in _imported_by(statement)}


def local_files(notebook: "Notebook", folder: Path) -> dict[Path, str]:
    """The files of the local modules that a notebook in this folder imports, of those that they import, and what it runs.

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
    """What a notebook and its local modules ask for; all names, from which a package can be told."""

    names: set[str]
    """The dotted names of the imports from elsewhere."""
    behind_pandas: set[str]
    """The packages that pandas imports itself when a method is called."""
    attributes: set[str]
    """The names that are called or read, and imported ones, each without what is before its dot."""
    words: set[str]
    """The strings of one word."""


def reach(notebook: "Notebook", *folders: Path) -> Reach:
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
    """The folders of the project in which its Python looks, as `src` of one that is itself a package."""
    for place in map(Path, filter(None, sys.path)):
        if place.is_relative_to(Path.cwd()) and not place.is_relative_to(sys.prefix):
            yield place.relative_to(Path.cwd())


def _followed(notebook: "Notebook", *folders: Path) -> tuple[set[str], list[ast.Module], dict[Path, Path]]:
    """The names that are imported from elsewhere, the trees that import, and the local modules with their folders."""
    trees = [tree for cell in notebook.cells for tree in _trees(cell)]
    added = [place for tree in trees for place in _added_to_path(tree) if place is not None]
    # A notebook starts in its own folder, so that only from there it changes to another one.
    changed = [folders[0] / place for tree in trees for place in _changed_to(tree) if place is not None]
    added = [*changed, *(folder / place for folder in folders for place in added)]
    folders = [*folders, *(Path(os.path.normpath(folder)) for folder in added)]
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
                trees.extend(_trees_of(path, type(notebook)))
        for _, word in _runs(tree):
            if (path := _run_file(word, *folders)) and path not in paths:
                # Beside the notebook, as it is in the project; else it would lead out of it.
                paths[path] = next((folder for folder in folders if path.is_relative_to(folder)), path.parent)
                trees.extend(_trees_of(path, type(notebook)))
    return names, trees, paths


def missing_runs(notebook: "Notebook", *folders: Path) -> list[str]:
    """What `%run` names and is not there, one line each, before anything runs."""
    made = _made(notebook)
    return [
        f"{notebook.place(cell, line)}: `%run {word}`: there is no such file. Fix: put it beside the notebook"
        for cell in notebook.cells if cell.type == "code" and cell.tree is not None
        for line, word in _runs(cell.tree)
        if not re.search(r"[{$]", word) and Path(word).stem not in made and not _run_file(word, *folders)
    ]  # fmt: skip


def with_runs_followed(notebook: "Notebook", folder: Path, places: Mapping[Path, str]) -> "Notebook":
    """The notebook, which was in this folder, with `%run` of the files at their new places."""
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
    return type(notebook)(notebook.path, document)


def _runs(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The lines of `%run FILE` and `%load FILE`, with the file as it is named."""
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
    """The file that `%run` finds from one of these folders: it may leave out `.py`."""
    places = (
        Path(os.path.normpath(folder / Path(word + end).expanduser())) for folder in folders for end in ("", ".py")
    )
    return next((place for place in places if place.is_file()), None)


def _made(notebook: "Notebook") -> set[str]:
    """The modules that the notebook itself makes or fetches, by `%%writefile helpers.py` or `!wget URL/helpers.py`."""
    lines = re.findall(r"^\s*(?:%%(?:writefile|file)|!\s*(?:wget|curl|cp)) .*", _all_code(notebook), re.MULTILINE)
    return {name for line in lines for name in re.findall(r"(\w+)\.py\b", line)}


def _all_code(notebook: "Notebook") -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.type == "code")


def distribution(name: str) -> str | None:
    """The package that installs a module, as `cv2` or `google.cloud.storage`; None where none does or can."""
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
    # A name that no package can have would be refused.
    return plain if re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", plain) else None


def root(name: str) -> str:
    """The module of a dotted name that is there or not: the first part; of what no package brings, as `google.colab`."""
    parts = name.split(".")
    prefixes = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((prefix for prefix in prefixes if prefix in NOWHERE), parts[0])


def _trees(cell: "Cell") -> list[ast.Module]:
    """The syntax tree of a code cell; where it is not Python as a whole, of its import lines."""
    if cell.type != "code":
        return []
    if cell.tree is not None:
        return [cell.tree]
    if cell.source.lstrip().startswith("%%"):  # another language, or a file to be written
        return []
    lines = re.findall(r"^[ \t]*((?:import|from)[ \t].*)", cell.source, re.MULTILINE)
    return [tree for line in lines if (tree := _parsed(line)) is not None]


def _trees_of(path: Path, kind: "type[Notebook]") -> list[ast.Module]:
    """The syntax trees of a module's file or a notebook's, or of all files of a package."""
    trees = []
    for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
        try:
            if file.suffix == ".ipynb":
                trees += [
                    tree for cell in kind(file.name, json.loads(file.read_bytes())).cells for tree in _trees(cell)
                ]
                continue
            tree = _parsed(file.read_bytes())
        except (OSError, ValueError, LookupError, TypeError, AttributeError):  # not there; no notebook
            continue
        trees.extend([tree] if tree is not None else [])
    return trees


def _parsed(source: str | bytes) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _imported(tree: ast.AST) -> Iterator[str]:
    """The dotted names of all imports: of `from a import b` it is `a.b`, which may be a module."""
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


def _added_to_path(tree: ast.AST) -> Iterator[str | None]:
    """Folders of `sys.path.append("../src")`: what lies there is local, too. None where the code does not tell which."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(value=ast.Name(id="sys"), attr="path")), args=[*_, place]
            ):
                yield _told(place)


def _changed_to(tree: ast.AST) -> Iterator[str | None]:
    """Folders of `os.chdir("..")` and `%cd ..`: Python looks there, too."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr="chdir"), args=[place]):
                yield _told(place)
            case ast.Call(func=ast.Attribute(attr="run_line_magic"), args=[ast.Constant(value="cd"), place]):
                yield _told(place)


def _told(place: ast.expr) -> str | None:
    """A folder as seen from the notebook's: `os.path.abspath("..")`, `str(Path.cwd().parent / "src")`."""
    match place:
        case ast.Constant(value=str(text)):
            return text
        case ast.Attribute(value=inner, attr="parent"):
            parts = [_told(inner), ".."]
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            parts = [_told(left), _told(right)]
        case ast.Call(func=ast.Attribute(attr="cwd" | "getcwd"), args=[]):
            return "."
        case ast.Call(func=ast.Attribute(value=inner, attr="resolve" | "absolute" | "as_posix"), args=[]):
            return _told(inner)
        case ast.Call(
            func=ast.Name(id="str" | "Path") | ast.Attribute(attr="abspath" | "realpath" | "join" | "Path"),
            args=arguments,
        ):
            parts = [_told(each) for each in arguments]
        case _:
            return None
    return None if None in parts else "/".join(parts)


def _behind_pandas(tree: ast.AST) -> Iterator[str]:
    """What pandas imports itself when a method is called."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) if name in PANDAS:
                yield PANDAS[name]
            case ast.Attribute(value=ast.Attribute(attr="style"), attr=name) if _STYLER.fullmatch(name):
                yield "jinja2"
