"""What the code alone tells of the files that a notebook uses: for cells that did not run, and before there is a run.

A path counts if its text can be told from the code. Whether a call writes, only its name tells here: no run has shown it.
"""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

from notebook_pipeline.add.observation import Observation, Site, Use
from notebook_pipeline.add.places import is_of_a_tool
from notebook_pipeline.notebook.document import Cell, Notebook, bindings, stands_in_source

# Calls that write the file they name, whatever library they belong to: by the last part of their name.
_WRITES = re.compile(
    r"to_(?!datetime|numeric)\w+|save\w*|dump|write_\w+|imwrite|touch|export\w*|ExcelWriter|sink_\w+|mkdir|makedirs"
)
# Calls that read it: what does not exist is said of them only.
_READS = re.compile(r"read\w*|open|load\w*|imread\w*|genfromtxt|File|i?glob|listdir")
_ASKS = re.compile(r"exists|isfile|isdir|is_file|is_dir")
_URL = re.compile(r"[a-zA-Z][\w+.-]+://")
_FILE = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}$")


def find_named(notebook: Notebook, bases: list[Path], first_cell: int = 1) -> Observation:
    """Return what the code names, as if a run had used it.

    Args:
        bases: the folders from which relative paths may start, the notebook's own first.
        first_cell: the number of the first cell that counts.
    """
    found = Observation(stopped="not run")
    code = [cell for cell in notebook.cells if cell.type == "code" and cell.tree is not None]
    once = _assigned_once(code)
    for cell in code:
        if cell.number >= first_cell:
            for node, text, call in _paths(cell, once):
                _note(found, cell, node, text, call, bases)
    return found


def _note(found: Observation, cell: Cell, node: ast.expr, text: str, call: ast.Call | None, bases: list[Path]) -> None:
    name, pattern = _name(call), re.search(r"[*?\[]", text)
    plain = text[: pattern.start()].rpartition("/")[0] or "." if pattern else text
    path = next((each for base in bases if (each := _existing(base, plain)) and each not in bases[1:]), None)
    writes = bool(_WRITES.fullmatch(name)) or _opens_to_write(call)
    site = Site(cell.number, node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)
    is_folder = isinstance(node, ast.JoinedStr)
    if path is None:
        is_path = _FILE.search(text) or is_folder
        if not is_path or not (writes or _READS.fullmatch(name)):
            return
        path = Path(os.path.normpath(bases[0] / Path(plain).expanduser()))
    elif is_of_a_tool(Path(plain)) or not (call or _FILE.search(text) or "/" in text):
        return
    if writes and path not in found.read:
        what = "make" if name in ("mkdir", "makedirs") or is_folder else "write"
        if what == "write":
            found.written.setdefault(path, "")
    else:
        what = "glob" if pattern else "list" if path.is_dir() or is_folder else "read"
        if what == "read" and path.is_file() and path not in found.written and not _ASKS.fullmatch(name):
            found.read.add(path)
    end = path / text[len(plain) :].lstrip("/") if pattern else path
    found.uses.append(Use(what, text, end, cell.number, (site,)))


def _existing(base: Path, text: str) -> Path | None:
    """A path that exists, and is not as short as `/tmp`."""
    try:
        path = Path(os.path.normpath(base / Path(text).expanduser()))
        return path if path.exists() and len(path.parts) > 2 else None
    except (OSError, RuntimeError, ValueError):  # any text of the notebook is tried
        return None


def _opens_to_write(call: ast.Call | None) -> bool:
    if _name(call) not in ("open", "File", "ZipFile"):
        return False
    mode = next((word.value for word in call.keywords if word.arg == "mode"), None)
    mode = mode or next(iter(call.args[0 if isinstance(call.func, ast.Attribute) and not call.args[1:] else 1 :]), None)
    return isinstance(mode, ast.Constant) and str(mode.value)[:1] in ("w", "a", "x")


def _paths(cell: Cell, once: dict) -> Iterator[tuple[ast.expr, str, ast.Call | None]]:
    """Yield the expressions that stand for a text which the code tells, each with the text and the call around it."""
    parents = {child: node for node in ast.walk(cell.tree) for child in ast.iter_child_nodes(node)}
    nodes = [node for node in ast.walk(cell.tree) if isinstance(node, ast.expr)]
    static = {node: text for node in nodes if (text := _static(node, once))}
    for node in nodes:  # `f"images/{name}.png"`: the folder in front
        match node:
            case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]) if "/" in text:
                static[node] = text.rpartition("/")[0] or "/"
    for node in sorted(static, key=lambda each: (each.lineno, each.col_offset)):
        text, parent = static[node], parents.get(node)
        if parent in static or _URL.match(text) or "\n" in text or len(text) > 400 or not stands_in_source(cell, node):
            continue
        match parent:
            case ast.Assign() | ast.AnnAssign() if (
                isinstance(getattr(parent, "target", None) or parent.targets[0], ast.Name)
                and (getattr(parent, "target", None) or parent.targets[0]).id in once
            ):
                continue  # where the name is used, it counts
            case ast.Expr() | ast.JoinedStr() | ast.Compare():
                continue
            case ast.Subscript(slice=key) if key is node:
                continue
            case ast.Dict(keys=keys) if node in keys:
                continue
        call = parent
        while isinstance(call, ast.expr | ast.keyword) and not (
            isinstance(call, ast.Call) and _name(call) not in _TRANSPARENT
        ):
            call = parents.get(call)
        yield node, text, call if isinstance(call, ast.Call) else None


_TRANSPARENT = ("Path", "PurePath", "str", "fspath", "join", "joinpath", "abspath", "expanduser", "resolve", "absolute")


def _assigned_once(code: list[Cell]) -> dict[str, ast.expr]:
    """The names that the notebook assigns once, at top level, with the expression."""
    counts, found = {}, {}
    for cell in code:
        for name, _, stored in bindings(cell.tree):
            counts[name] = counts.get(name, 0) + stored
        for statement in cell.tree.body:
            match statement:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=value)
                ):
                    found[name] = value
    return {name: value for name, value in found.items() if counts.get(name) == 1 and value is not None}


def _static(node: ast.expr, once: dict, depth: int = 0) -> str:
    """The text or path that an expression stands for; empty if the code does not tell."""
    inner = lambda each: _static(each, once, depth + 1)  # noqa: E731
    if depth > 20:
        return ""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name, ctx=ast.Load()) if name in once:
            return inner(once[name])
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _joined([inner(left), inner(right)])
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            first, second = inner(left), inner(right)
            return first + second if first and second else ""
        case ast.Call(args=arguments, keywords=[]) if _name(node) in _TRANSPARENT:
            if _name(node) == "join" and not ast.unparse(node.func).endswith("path.join"):
                return ""
            of_method = isinstance(node.func, ast.Attribute) and _name(node) in (
                "joinpath",
                "expanduser",
                "resolve",
                "absolute",
            )
            start = [node.func.value] if of_method and not ast.unparse(node.func).startswith("os.") else []
            return _joined([inner(each) for each in (*start, *arguments)])
    return ""


def _joined(texts: list[str]) -> str:
    if not texts or "" in texts:
        return ""
    return "/".join([texts[0].rstrip("/") or "/", *(text.strip("/") for text in texts[1:])])


def _name(call: ast.Call | None) -> str:
    if call is None:
        return ""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
