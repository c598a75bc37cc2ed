"""The statements of a notebook: what each reads and binds, and which of them a stage can simply repeat."""

import ast
import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from notebook_pipeline.notebook.document import Cell, Notebook
from notebook_pipeline.notebook.names import bindings
from notebook_pipeline.notebook.syntax import UNREADABLE, parse_python

SETTING, PLOT_SETTING, EFFECT, FOLDER = "setting", "plot setting", "effect", "folder"
# Settings that people write at the top of a notebook. Any other one, as of a function that a notebook calls, crosses a cut in
# the file of the process's state: this list decides how a stage reads, not whether it is right.
_SETTINGS = re.compile(
    r"(warnings\.(filterwarnings|simplefilter)|sys\.path|os\.(chdir|environ)|logging\.(basicConfig|disable)|dotenv\.load_dotenv"
    r"|pandas\.(set_option|options)|numpy\.(set_printoptions|seterr)|matplotlib\.(use|rc|style|pyplot\.(rc|style))"
    r"|seaborn\.set)"
)
_MAGICS = ("matplotlib", "config", "load_ext", "autoreload", "reload_ext")
_PLOTTING = re.compile(r"matplotlib|seaborn|\b(plt|sns)\b|\.(plot|hist|boxplot)\b")
# Calls whose result depends on what they are given alone, and of which a copy is as good. What comes from the environment may be
# a password: each stage asks for it, and no file holds it.
_PURE = re.compile(
    r"(pathlib\.(Pure)?Path|os\.path\.(join|dirname|basename|splitext)|os\.(getenv|environ\.get)"
    r"|str|int|float|bool|tuple|frozenset|len|min|max|round)"
)
_CONSTANT = (
    ast.Constant | ast.Tuple | ast.Name | ast.Attribute | ast.BinOp | ast.UnaryOp | ast.JoinedStr | ast.FormattedValue
    | ast.Starred | ast.Call | ast.operator | ast.unaryop | ast.expr_context | ast.keyword
)  # fmt: skip


@dataclass(frozen=True)
class Statement:
    """One statement at the top level of a cell; a cell that is not Python is one, too."""

    cell: Cell
    node: ast.stmt | None
    source: str
    """Its lines, with the comments above it."""
    binds: frozenset[str]
    reads: frozenset[str]
    """What it reads when it is executed."""
    later: frozenset[str] = frozenset()
    """What the functions that it defines read when they are called."""
    later_binds: frozenset[str] = frozenset()
    """What they bind then: `global x`."""
    kind: str = ""
    """How a stage can repeat it: `import`, `definition`, `constant`, `parameter`, SETTING, PLOT_SETTING; empty if it cannot. EFFECT is
    an import whose names nobody uses, or of all names; FOLDER makes one where there is none."""

    @property
    def is_repeatable(self) -> bool:
        # A stage's run makes the folders of its results.
        return self.kind not in ("", FOLDER)

    @property
    def always_binds(self) -> frozenset[str]:
        """Return what it binds whatever happens; what stands in an `if` or a loop may not be executed."""
        return _always_bound(self.node, self.binds)

    def narrowed(self, needed: set[str]) -> str:
        """Return the source; of an import, only with the names that are needed."""
        if not isinstance(self.node, ast.Import | ast.ImportFrom) or self.kind == EFFECT:
            return self.source
        kept = [each for each in self.node.names if _bound_by(each) in needed]
        if len(kept) == len(self.node.names):
            return self.source
        node = ast.Import(kept) if isinstance(self.node, ast.Import) else None
        return ast.unparse(node or ast.ImportFrom(self.node.module, kept, self.node.level))


def read(notebook: Notebook) -> list[Statement]:
    """Read all statements of a notebook, in order."""
    found = [each for cell in notebook.cells if cell.type == "code" for each in _of_cell(cell, notebook)]
    return [*_with_kinds(found)]


def _of_cell(cell: Cell, notebook: Notebook) -> Iterator[Statement]:
    text, tree = cell.python
    if tree is None:
        # `%%bash` or `%%timeit`: any word may be a name of the notebook.
        yield Statement(cell, None, cell.source, frozenset(), frozenset(re.findall(r"[^\W\d]\w*", cell.source)))
        return
    # Without an indentation that the whole cell has; a line for a line, as in `text`.
    lines, end = cell.source.split("\n"), 0
    for node in tree.body:
        start = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))]) - 1
        if start < end:  # `import a; import b`
            source = ast.get_source_segment(text, node) or ast.unparse(node)
        else:
            above = next((at for at in range(start, end, -1) if not lines[at - 1].strip().startswith("#")), end)
            source = "\n".join(lines[above : node.end_lineno])
            if any(each is not node and each.lineno == node.end_lineno for each in tree.body):
                source = ast.get_source_segment(text, node)
        end = node.end_lineno
        kind = "parameter" if cell is notebook.parameters_cell else ""
        yield Statement(cell, node, source, *_names(node), kind)


def _always_bound(node: ast.stmt | None, binds: frozenset[str] | None = None) -> frozenset[str]:
    if isinstance(node, ast.With):
        return frozenset(_targets(node)).union(*map(_always_bound, node.body))
    fixed = ast.Assign | ast.AnnAssign | ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.Delete
    if not isinstance(node, fixed):
        return frozenset()
    return _names(node)[0] if binds is None else binds


def _names(node: ast.stmt) -> tuple[frozenset[str], ...]:
    """Return what a statement binds and reads at once, and what its functions read and bind later."""
    every = [*bindings(ast.Module([node], []))]
    binds = {name for name, _, stored in every if stored} | {
        name.id for each in ast.walk(node) if isinstance(each, ast.Delete) for name in each.targets if isinstance(name, ast.Name)
    }  # fmt: skip
    now = _evaluated_at_once(node)
    if now is None:
        return frozenset(binds), frozenset(_reads(node)), frozenset(), frozenset()
    later = {name for name, _, stored in every if not stored} | {*_names_in_texts(node)}
    own = {getattr(node, "name", "")} if not isinstance(node, ast.Assign) else binds
    return frozenset(own & binds), frozenset(_read_by(now)), frozenset(later), frozenset(binds - own)


def _reads(node: ast.stmt) -> set[str]:
    """Find what a statement reads that it has not bound itself before."""
    match node:
        case ast.With():
            return _read_by(each.context_expr for each in node.items) | (_read_by_all(node.body) - _targets(node))
        case ast.For():
            return _read_by([node.iter]) | (_read_by_all(node.body) - _targets(node)) | _read_by_all(node.orelse)
        case ast.If() | ast.While():
            return _read_by([node.test]) | _read_by_all(node.body) | _read_by_all(node.orelse)
        case ast.AugAssign(target=ast.Name(id=name)):
            return _read_by([node.value]) | {name}
        case ast.Delete(targets=targets):
            return {name.id for each in targets for name in ast.walk(each) if isinstance(name, ast.Name)}
    return {name for name, _, stored in bindings(ast.Module([node], [])) if not stored} | {*_names_in_texts(node)}


def _read_by(expressions: Iterable[ast.expr]) -> set[str]:
    return set().union(*(_reads(ast.copy_location(ast.Expr(each), each)) for each in expressions))


def _read_by_all(body: list[ast.stmt]) -> set[str]:
    live = set()
    for each in reversed(body):
        live = live - _always_bound(each) | _reads(each)
    return live


def _targets(node: ast.With | ast.For) -> set[str]:
    places = (
        [node.target]
        if isinstance(node, ast.For)
        else [each.optional_vars for each in node.items if each.optional_vars]
    )
    return {
        each.id
        for place in places
        for each in ast.walk(place)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
    }


def _evaluated_at_once(node: ast.stmt) -> list[ast.expr] | None:
    """Return the parts of a definition that are evaluated where it stands; None of any other statement."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Assign(value=ast.Lambda()):
            arguments = (node if not isinstance(node, ast.Assign) else node.value).args
            return [*getattr(node, "decorator_list", []), *arguments.defaults, *filter(None, arguments.kw_defaults)]
        case ast.ClassDef():
            inner = [_evaluated_at_once(each) or [] for each in node.body]
            own = [
                value for each in node.body if isinstance(each, ast.Assign | ast.AnnAssign) and (value := each.value)
            ]
            return [*node.decorator_list, *node.bases, *(each.value for each in node.keywords), *own, *sum(inner, [])]
    return None


def _names_in_texts(node: ast.AST) -> Iterator[str]:
    """Find the names that pandas reads in `@name`, and IPython in `{expression}` and `$name` of a magic or a shell line."""
    for each in ast.walk(node):
        match each:
            case ast.Call(func=ast.Attribute(attr="run_line_magic" | "system" | "getoutput"), args=arguments):
                for text in (part.value for part in arguments if isinstance(part, ast.Constant)):
                    yield from re.findall(r"\$(\w+)", str(text))
                    for expression in re.findall(r"\{([^{}]+)\}", str(text)):
                        with contextlib.suppress(*UNREADABLE):
                            yield from (name for name, _, _ in bindings(parse_python(expression)))
            case ast.Constant(value=str(text)):
                yield from re.findall(r"@(\w+)", text)


# ---------------------------------------------------------------------------------------------------------------------
# What a stage can repeat
# ---------------------------------------------------------------------------------------------------------------------


def _with_kinds(statements: list[Statement]) -> Iterator[Statement]:
    """Say of each statement how a stage can repeat it. It must not read at once what is no such repetition itself."""
    used = {name for each in statements for name in each.reads | each.later}
    modules, values = {}, {name for each in statements for name in each.later_binds}
    by_functions = {*values}
    for each in statements:
        kind = each.kind or _kind(each, modules, used)
        if kind not in ("import", EFFECT, "") and each.reads & values:
            kind = ""
        values = values - each.binds | by_functions if kind else values | each.binds
        if isinstance(each.node, ast.Import | ast.ImportFrom):
            # What stands for what, to know a setting: `plt` is matplotlib.pyplot.
            start = f"{each.node.module}." if isinstance(each.node, ast.ImportFrom) else ""
            modules |= {
                _bound_by(one): start + (one.name if one.asname or start else _bound_by(one)) for one in each.node.names
            }
        yield replace(each, kind=kind)


def _kind(statement: Statement, modules: dict[str, str], used: set[str]) -> str:
    match statement.node:
        case ast.Import() | ast.ImportFrom():
            names = [_bound_by(each) for each in statement.node.names]
            return EFFECT if names == ["*"] or not used.intersection(names) else "import"
        case (
            ast.FunctionDef()
            | ast.AsyncFunctionDef()
            | ast.ClassDef()
            | ast.Assign(targets=[ast.Name()], value=ast.Lambda())
        ):
            return "definition"
        case node if node is not None and (name := _setting(node, modules)):
            return (
                FOLDER
                if {*name.split()} <= {"makedirs", "mkdir"}
                else PLOT_SETTING
                if _PLOTTING.search(name)
                else SETTING
            )
        case ast.Assign(targets=[ast.Name()], value=value) | ast.AnnAssign(target=ast.Name(), value=value) if value:
            return "constant" if _is_constant(value, modules) else ""
    return ""


def _setting(node: ast.stmt, modules: dict[str, str]) -> str:
    """Return what a statement sets, as `pandas.set_option`; empty if it sets nothing of a library."""
    match node:
        case ast.Expr(
            value=ast.Call(func=ast.Attribute(attr="run_line_magic"), args=[ast.Constant(value=str(magic)), *_])
        ):
            return magic if magic in _MAGICS else ""
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="makedirs" | "mkdir" as verb), keywords=options)):
            is_fine = any(each.arg == "exist_ok" and ast.unparse(each.value) == "True" for each in options)
            return verb if is_fine else ""
        case ast.Expr(value=ast.Call(func=place)) | ast.Assign(targets=[ast.Attribute() | ast.Subscript() as place]):
            name = _full_name(place, modules)
            return name if _SETTINGS.match(name) else ""
        case ast.If(body=body, orelse=rest) | ast.For(body=body, orelse=rest):
            names = [_setting(each, modules) for each in (*body, *rest)]
            return " ".join(names) if all(names) else ""
    return ""


def _is_constant(value: ast.expr, modules: dict[str, str]) -> bool:
    """Whether an expression gives an immutable value that depends on its parts alone, or on the environment."""
    for each in ast.walk(value):
        if isinstance(each, ast.Call) and not _PURE.fullmatch(_full_name(each.func, modules)):
            return False
        if isinstance(each, ast.Subscript) and _full_name(each, modules) == "os.environ":
            continue
        if not isinstance(each, _CONSTANT):
            return False
    return True


def _full_name(node: ast.expr, modules: dict[str, str]) -> str:
    while isinstance(node, ast.Subscript):
        node = node.value
    first, _, rest = ast.unparse(node).partition(".")
    return modules.get(first, first) + (f".{rest}" if rest else "")


def _bound_by(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def later_reads(statements: Iterable[Statement]) -> dict[str, frozenset[str]]:
    """Find what is read when a function is called, by its name."""
    later = {}
    for each in statements:
        for name in each.binds if each.later else ():
            later[name] = later.get(name, frozenset()) | each.later
    return later


def repeated(
    before: Iterable[Statement], needed: set[str], everywhere: list[Statement], plots: bool
) -> list[tuple[Statement, set[str]]]:
    """Find the statements that a stage repeats to have some names, each with those of its names that count; in order.

    Args:
        before: those above the stage.
        needed: names that the stage reads and that repetition can give.
        everywhere: all statements.
        plots: whether the stage draws, so that it repeats settings of plots as well.
    """
    before, later = [each for each in before if each.is_repeatable], later_reads(everywhere)
    while True:
        kept, open_names = [], {*needed}
        for each in reversed(before):
            always = each.kind in (EFFECT, SETTING) or (each.kind == PLOT_SETTING and plots)
            if always or each.binds & open_names:
                kept.append((each, each.binds & open_names))
                open_names = open_names - each.always_binds | each.reads
                plots = plots or each.kind == "import" and bool(_PLOTTING.search(each.source))
        more = {*needed}.union(*(later.get(name, ()) for _, names in kept for name in names))
        if more == needed:
            return kept[::-1]
        needed = more


def draws(statements: Iterable[Statement]) -> bool:
    """Whether some of the statements draw, as far as their text tells."""
    return any(_PLOTTING.search(each.source) for each in statements if each.kind != PLOT_SETTING)


def exposed(statements: Iterable[Statement], after: Iterable[str], later: dict[str, frozenset[str]]) -> set[str]:
    """Find the names that statements, or what follows them, read and do not bind first.

    Args:
        after: what is read after them.
        later: what is read as well where a name is read: of a function, what its body reads.
    """
    live = {*after}
    for each in reversed([*statements]):
        live -= each.always_binds
        live |= closure(each.reads, later)
    return live


def closure(names: Iterable[str], later: dict[str, frozenset[str]]) -> set[str]:
    """Find names and all that is read through them."""
    found, left = set(), [*names]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += later.get(name, ())
    return found
