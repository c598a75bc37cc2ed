"""The names that a cell's code binds and uses in the notebook, as Python's own `symtable` sees them."""

import ast
import contextlib
import copy
import symtable
from collections.abc import Iterator, Set

from .syntax import UNREADABLE, parse_python, recurse_deeply


def bindings(tree: ast.AST, wanted: Set[tuple[str, bool]] | None = None) -> Iterator[tuple[str, int, bool]]:
    """Find each name of the notebook that a cell uses or binds: name, line, and whether it is bound.

    A name counts once a statement at top level. What a function, a class or a comprehension has for itself is left out.

    Args:
        wanted: names, each with whether it is bound, that the caller looks for: to leave out other statements saves time.
    """
    for statement in tree.body if isinstance(tree, ast.Module) else [tree]:
        lines = _find_lines(statement)
        names = _resolve(statement) if wanted is None or wanted & lines.keys() else ()
        found = [(name, lines.get((name, stored), statement.lineno), stored) for name, stored in names]
        for node in ast.walk(statement):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="run_line_magic"),
                    args=[ast.Constant(value=magic), ast.Constant(value=str(text))],
                ):
                    found += [(name, node.lineno, stored) for name, stored in _names_of_magic(magic, text)]
        yield from sorted(found, key=lambda each: (each[1], each[2], each[0]))


def all_names(tree: ast.AST) -> set[str]:
    """Find all names in a tree, also those that a function or a comprehension has for itself."""
    return {name for table in _tables(tree) for name in table.get_identifiers()}


def _resolve(tree: ast.AST) -> set[tuple[str, bool]]:
    """Find the names of the notebook that a tree uses and binds, each with whether it is bound."""
    found, (top, *inner) = set(), _tables(tree) or [None]
    for table in (top, *inner) if top else ():
        for symbol in table.get_symbols():
            if (symbol.is_assigned() or symbol.is_imported()) and (table is top or symbol.is_declared_global()):
                found.add((symbol.get_name(), True))
            if symbol.is_referenced() and (table is top or symbol.is_global()):
                found.add((symbol.get_name(), False))
    return found


def _tables(tree: ast.AST) -> list[symtable.SymbolTable]:
    """Make the symbol table of a tree and all tables in it; none for code that Python rejects."""
    with contextlib.suppress(*UNREADABLE), recurse_deeply():
        text = ast.unparse(_NamesAlone().visit(copy.deepcopy(tree)))  # symtable reads text, not trees
        tables = [symtable.symtable(text, "cell", "exec")]
        for table in tables:  # it grows
            tables += table.get_children()
        return tables
    return []


def _find_lines(tree: ast.AST) -> dict[tuple[str, bool], int]:
    """Find the line of each name, which symtable does not know. Of several lines, the least nested one counts."""
    lines = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            lines.setdefault((node.id, not isinstance(node.ctx, ast.Load)), node.lineno)
        # An import, a function, a class, an exception, a pattern.
        elif name := next(filter(None, (getattr(node, field, None) for field in ("asname", "name", "rest"))), None):
            lines.setdefault((str(name).partition(".")[0], True), getattr(node, "lineno", 1))
    return lines


def _names_of_magic(magic: str, text: str) -> set[tuple[str, bool]]:
    """Find the names in the code that `%time CODE` runs in the notebook, and in `%%capture NAME`."""
    if magic in ("time", "prun"):
        with contextlib.suppress(*UNREADABLE):
            return _resolve(parse_python(text))
    return {(word, True) for word in text.split() if word.isidentifier()} if magic == "capture" else set()


class _NamesAlone(ast.NodeTransformer):
    """Keep what decides where a name belongs, in a form that symtable treats alike on every Python."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant(0)  # half a surrogate pair has no UTF-8

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.Tuple:
        """Python 3.11 cannot unparse all f-strings that it can parse."""
        values = [self.visit(each) for each in ast.walk(node) if isinstance(each, ast.FormattedValue)]
        return ast.Tuple([each.value for each in values], ast.Load())

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        """`name: type` assigns nothing, but symtable counts it as an assignment."""
        self.generic_visit(node)
        return node if node.value else ast.Expr(node.annotation)

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp) -> ast.GeneratorExp:
        """From Python 3.12 symtable counts the names of a comprehension as the module's, too, but not a generator's."""
        self.generic_visit(node)
        return ast.GeneratorExp(node.elt, node.generators)

    visit_SetComp = visit_ListComp

    def visit_DictComp(self, node: ast.DictComp) -> ast.GeneratorExp:
        self.generic_visit(node)
        return ast.GeneratorExp(ast.Tuple([node.key, node.value], ast.Load()), node.generators)
