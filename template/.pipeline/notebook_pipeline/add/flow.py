"""Finds the literals that a path was made of: those whose value may flow into the call that used it.

Names are followed by their spelling, whatever function they belong to. That finds rather too much than too little; which of the
literals is meant, the path that was seen tells.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from notebook_pipeline.add.observation import Site


@dataclass(frozen=True, eq=False)
class Literal:
    """A text that stands in the code."""

    source: int | str
    """The number of a cell, or the full path of a module."""
    node: ast.expr
    text: str
    is_piece: bool = False
    """Whether it is the beginning of an f-string."""


class Flow:
    """The code of a notebook and its modules, by where its values come from.

    Args:
        trees: the syntax tree of each cell, by its number, and of each module, by its full path.
    """

    def __init__(self, trees: Mapping[int | str, ast.Module]):
        self.trees = trees
        self._values: dict[str, list[tuple[int | str, ast.expr]]] = {}
        """What a name, an attribute (`.name`) or a call (`name()`) may stand for."""
        self._owners: dict[ast.AST, str] = {}
        """The function around each node."""
        self._arguments: dict[str, list[str]] = {}
        """The names of the arguments of the code's own functions and classes."""
        self.literals: dict[ast.expr, Literal] = {}
        for source, tree in trees.items():
            nodes = [*ast.walk(tree)]
            pieces = {piece for node in nodes if isinstance(node, ast.JoinedStr) for piece in node.values}
            for node in nodes:
                self._note_function(node)
                if node not in pieces and (literal := _literal(source, node)):
                    self.literals[node] = literal
        for source, tree in trees.items():
            for owner, node in _with_owners(tree):
                self._owners[node] = owner
                self._note_values(source, node, owner)

    def call_at(self, site: Site) -> ast.expr | None:
        """Return the innermost expression that contains the place of a call; None if the source is no longer that."""
        start, end = (site.line, site.column), (site.end_line, site.end_column)
        inside = []
        for node in ast.walk(self.trees.get(site.source, ast.Module([], []))):
            span = _span(node)
            if span == (start, end) and isinstance(node, ast.For | ast.AsyncFor):
                return node.iter  # a generator runs when the loop asks for its next value
            if isinstance(node, ast.expr) and span[0] <= start and end <= span[1]:
                inside.append(node)
        return max(inside, key=lambda node: (_span(node)[0], *(-each for each in _span(node)[1])), default=None)

    def origins(self, source: int | str, node: ast.expr, when: tuple[int, int]) -> tuple[list[Literal], set[str]]:
        """Return the literals and the names from which the value of an expression may come, the nearest first.

        Args:
            when: the number of the cell that ran, and the line: what a name was given last before that comes first.
        """
        found, names, seen, waiting = [], set(), set(), [(source, node)]
        while waiting:
            later = []
            for where, each in waiting:
                if each in seen:
                    continue
                seen.add(each)
                if each in self.literals:
                    found.append(self.literals[each])
                keys, inner = _parts(each)
                names |= {key for key in keys if key.isidentifier()}
                later += [(where, part) for part in inner]
                for key in keys:
                    later += sorted(
                        self._values.get(key, []),
                        key=lambda value: self._distance(value, where, each, when),  # noqa: B023
                    )
            waiting = later
        return found, names

    def _distance(
        self, value: tuple[int | str, ast.expr], where: int | str, user: ast.expr, when: tuple[int, int]
    ) -> tuple:
        """How far a value is from its user: one of a module, or of another function, is further, and what comes later is."""
        source, node = value
        place = (source, node.lineno) if isinstance(source, int) else (0, 0)
        is_of_module = source != where and not (isinstance(source, int) and isinstance(where, int))
        is_other = self._owners.get(node, "") != self._owners.get(user, "")
        return is_of_module, is_other, place > when, -place[0], -place[1]

    def bindings(self, name: str) -> list[tuple[int | str, ast.expr]]:
        """Return the expressions whose value a name may have."""
        return self._values.get(name, [])

    def _note_function(self, node: ast.AST) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._arguments.setdefault(node.name, _argument_names(node.args))
            case ast.ClassDef():
                init = next((each for each in node.body if getattr(each, "name", "") == "__init__"), None)
                fields = [
                    each.target.id
                    for each in node.body
                    if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
                ]
                self._arguments.setdefault(node.name, _argument_names(init.args) if init else fields)

    def _note_values(self, source: int | str, node: ast.AST, owner: str) -> None:
        note = lambda key, value: self._values.setdefault(key, []).append((source, value))  # noqa: E731
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    _bind(target, value, note)
            case (
                ast.AnnAssign(target=target, value=value)
                | ast.AugAssign(target=target, value=value)
                | ast.NamedExpr(target=target, value=value)
            ):
                if value is not None:
                    _bind(target, value, note)
            case (
                ast.For(target=target, iter=value)
                | ast.AsyncFor(target=target, iter=value)
                | ast.comprehension(target=target, iter=value)
            ):
                _bind(target, value, note)
            case ast.withitem(context_expr=value, optional_vars=target) if target is not None:
                _bind(target, value, note)
            case ast.arguments():
                positional = [*node.posonlyargs, *node.args]
                defaults = zip(positional[len(positional) - len(node.defaults) :], node.defaults, strict=True)
                for argument, value in [*defaults, *zip(node.kwonlyargs, node.kw_defaults, strict=True)]:
                    if value is not None:
                        note(argument.arg, value)
            case ast.Return(value=value) | ast.Yield(value=value) if value is not None:
                note(f"{owner}()", value)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in self._arguments:
                for argument, value in zip(self._arguments[name], node.args, strict=False):
                    note(argument, value)
                    note(f".{argument}", value)
                for keyword in node.keywords:
                    if keyword.arg:
                        note(keyword.arg, keyword.value)
                        note(f".{keyword.arg}", keyword.value)


def _span(node: ast.AST) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a node begins and ends; nowhere if it has no place."""
    return (getattr(node, "lineno", 0), getattr(node, "col_offset", 0)), (
        getattr(node, "end_lineno", 0),
        getattr(node, "end_col_offset", 0),
    )


def _literal(source: int | str, node: ast.AST) -> Literal | None:
    match node:
        case ast.Constant(value=str(text)):
            return Literal(source, node, text)
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
            return Literal(source, node, text, is_piece=True)
    return None


def _parts(node: ast.expr) -> tuple[list[str], list[ast.expr]]:
    """Return the keys under which the values of an expression are noted, and the expressions that it is made of."""
    match node:
        case ast.Name(id=name):
            return [name], []
        case ast.Attribute(value=value, attr=name):
            return [f".{name}"], [value]
        case ast.Call(func=function, args=arguments, keywords=keywords):
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            inner = [function.value] if isinstance(function, ast.Attribute) else []
            # The arguments first: `frame.to_csv("b.csv")` is nearer to them than to what `frame` was read from.
            return [f"{name}()"], [*arguments, *(keyword.value for keyword in keywords), *inner]
        case ast.Subscript(value=value):
            return [], [value]  # by a key, which is no path
        case ast.Dict(values=values):
            return [], values
        case ast.IfExp(body=body, orelse=other):
            return [], [body, other]
        case ast.Compare():
            return [], []  # it only says yes or no
        case ast.JoinedStr(values=values):
            return [], [each.value for each in values if isinstance(each, ast.FormattedValue)]
    inner = []
    for child in ast.iter_child_nodes(node):
        inner += (
            [child.iter] if isinstance(child, ast.comprehension) else [child] if isinstance(child, ast.expr) else []
        )
    return [], inner


def _bind(target: ast.expr, value: ast.expr, note) -> None:
    match target, value:
        case ast.Name(id=name), _:
            note(name, value)
        case ast.Attribute(attr=name), _:
            note(f".{name}", value)
        case ((ast.Subscript(value=inner) | ast.Starred(value=inner)), _):
            _bind(inner, value, note)
        case ((ast.Tuple(elts=targets) | ast.List(elts=targets)), (ast.Tuple(elts=values) | ast.List(elts=values))) if (
            len(targets) == len(values)
        ):
            for one, other in zip(targets, values, strict=True):
                _bind(one, other, note)
        case ((ast.Tuple(elts=targets) | ast.List(elts=targets)), _):
            for each in targets:
                _bind(each, value, note)


def _argument_names(arguments: ast.arguments) -> list[str]:
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def _with_owners(tree: ast.AST, owner: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Yield each node with the name of the function around it."""
    waiting = [(owner, tree)]
    while waiting:
        owner, node = waiting.pop()
        yield owner, node
        inner = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else owner
        waiting += [(inner, child) for child in ast.iter_child_nodes(node)]
        # What a class says of itself is also an attribute of it.
        if isinstance(node, ast.ClassDef):
            for each in node.body:
                if isinstance(each, ast.Assign | ast.AnnAssign) and each.value is not None:
                    target = each.targets[0] if isinstance(each, ast.Assign) else each.target
                    if isinstance(target, ast.Name):
                        attribute = ast.Attribute(target, target.id, ast.Store())
                        yield owner, ast.Assign([attribute], each.value)
