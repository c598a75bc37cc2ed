"""The names that a cell binds and uses, compared with what Python compiles it to."""

import ast
import dis
from types import CodeType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notebook_pipeline.notebook.names import all_names, bindings

LINES = [
    "N = 1", "N == 1", "N: int", "N: int = 1", "f(N)", "x, N = 1, 2", "(x,\n N) = 1, 2", "for N in x: pass", "N += 1",
    "import N.a", "from a import (\n  b as N,\n)", "with a as (\n  N):\n  pass", "if (N := 2): pass", "del N", "def N(): pass",
    "class N: pass", "def f():\n  global N\n  N = 2", "def f():\n  global N\n  return N", "def f():\n  N = 2\n  return lambda: N",
    "try: pass\nexcept E as N: pass", "x = N", "d[N] = 1", "N.x = 1", "N[0] = 1", "lambda N: N", "lambda x: N", "[N for N in x]",
    "[N for x in y]", "[x for x in N]", "{N for N in x}", "{N: N for N in x}", "(N for N in x)", "[N := y for y in x]",
    "class A:\n  [N for N in x]", "def f(a=(N := 1)): pass", "def f(N=N): pass", "@(N := f)\nclass A: pass", "class A(N): pass",
    "class A:\n  N = 1", "class A:\n  N = 1\n  def f(self): return N", "match x:\n  case [a, N]: pass", "match x:\n  case {**N}: pass",
    "match x:\n  case {'a': 1} as N: pass", "f'{N}'", "f'{x:{N}}'", "f'{(N := 1)}'", "f'{x!r:\"{N}\"}'", "'\\ud800', (N := 1)",
    "x = await N", "async with N as y: pass", "try:\n  N = 1\nfinally:\n  N = 2", "from N import x", "print(N, N := 1)",
]  # fmt: skip

N = {("N", True), ("N", False)}


def compiled(code: CodeType, is_top: bool = True) -> set[tuple[str, bool]]:
    """The names of the module that code loads, and those that it stores or deletes."""
    found = set()
    kinds = [each for each in dis.get_instructions(code) if each.opname.split("_", 1)[-1] in ("NAME", "GLOBAL")]
    kinds = [each for each in kinds if each.opname.startswith(("LOAD", "STORE", "DELETE"))]
    stored = {each.argval for each in kinds if each.opname in ("STORE_NAME", "DELETE_NAME")}
    for each in kinds:
        if each.opname.endswith("GLOBAL") or is_top or each.argval not in stored:
            found.add((each.argval, not each.opname.startswith("LOAD")))
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return found.union(*(compiled(each, is_top=False) for each in inner))


@pytest.mark.parametrize("part", LINES)
def test_names_are_those_that_python_compiles(part):
    tree = ast.parse(part)
    expected = compiled(compile(tree, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))
    if part == "N += 1":
        expected.discard(("N", False))  # it only changes what the name has
    assert {(name, is_bound) for name, _, is_bound in bindings(tree)} & N == expected & N


@given(st.lists(st.sampled_from(LINES), max_size=3))
def test_the_line_is_that_of_the_cell(parts):
    tree = ast.parse("\n".join(parts))
    assert [found for found in bindings(tree) if found[0] == "N"] == [
        (name, line + ast.parse("\n".join([*parts[:at], "0"])).body[-1].lineno - 1, bound)
        for at, part in enumerate(parts)
        for name, line, bound in bindings(ast.parse(part))
        if name == "N"
    ]


def test_the_line_is_that_of_the_name():
    source = (
        "def f():\n  N = 0\nx = [\n  0,\n  N]\nif x:\n  y = 1\n  N = 1\nx = 1; N = 2\ntry:\n  0\nexcept E as N:\n  0"
    )
    assert [(line, bound) for name, line, bound in bindings(ast.parse(source)) if name == "N"] == [
        (5, False), (8, True), (9, True), (12, True),
    ]  # fmt: skip


def test_all_names_are_those_of_functions_too():
    assert all_names(ast.parse("def f(a, *b):\n  c = [d for d in e]\n  lambda g: h")) >= {*"abcdefgh"}
