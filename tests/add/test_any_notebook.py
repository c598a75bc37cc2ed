"""`pipeline add`: any cells become a notebook that can run."""

import ast

from add_samples import project, untagged  # noqa: F401
from hypothesis import given
from hypothesis import strategies as st

from notebook_pipeline.add.lift import lift_parameters
from notebook_pipeline.add.literals import find_named
from notebook_pipeline.add.places import Places
from notebook_pipeline.add.plan import make_plan
from notebook_pipeline.notebook.document import parse

fragments = st.sampled_from(
    ["import os", "from pathlib import Path", "N = 3", "N = 3  # three", "x: int = 4", "N += 1", "d = {}", "d['a'] = N", "F = 'a.csv'",
     "R = Path('raw')", "open(F)", "open(R / 'a.csv')", "open(R / f'{N}.csv')", "pd.read_csv('raw/b.csv')", "df.to_csv('raw/new.csv')",
     "for i in range(N):\n    print(i)", "def f(N=2):\n    return N", "%matplotlib inline", "!head a.csv", "%%time\nx = 1", "# remark",
     "'''text'''", "f(epochs=10, seed=N)", "x = y = 2", "a, b = 1, 2", "N = 3; M = 4", "if True:\n    N = 5", "(1 +", "z = [1,\n  2,\n]",
     "print('ü', F)", "glob('raw/*.csv')", "s = f'raw/{N}.csv'", "with open('out/x.txt', 'w') as file:\n    file.write(F)", "\\", "#", ""]
)  # fmt: skip


@given(st.lists(st.lists(fragments, max_size=4).map("\n".join), max_size=5), st.booleans())
def test_any_cells_become_a_notebook_that_can_run(tmp_path_factory, sources, title):
    folder = tmp_path_factory.getbasetemp() / "any"
    for name in ("work/a.csv", "work/raw/a.csv", "work/raw/b.csv", "project/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    before = parse(untagged(*[{"cell_type": "markdown", "source": "# T"}] * title, *sources), "x.ipynb")
    places = Places(folder / "work", folder / "project")
    found = make_plan(before, folder / "project", find_named(before, places.bases), places)
    assert [cell.tree is None for cell in found.notebook.cells] == [cell.tree is None for cell in before.cells]
    made = lift_parameters(found.notebook, []).notebook
    assert not [*made.problems()] and not [*made.drift()]
    assert sum(cell.tree is None for cell in made.cells if cell.type == "code") == sum(
        cell.tree is None for cell in before.cells if cell.type == "code"
    )
    # What ran before runs still: the same statements, the parameters' own above the others.
    assert sorted(statements(made)) == sorted(statements(found.notebook))


FUNCTIONS = "def f(n, k=1):\n    return n, k\ndef g():\n    return e\ndef h():\n    return max(1, 2)"
plain_fragments = st.sampled_from(
    ["from math import *", "e = 0.001", "print(e)", "print(dict(e=9))", "print(g())", "max = 255", "print(h())", "N = 3",
     "print(N)", "print([f(n, k=7) for n in range(2)])", "print([f(n=6) for n in range(2)])"]
)  # fmt: skip


def printed_by(sources: list[str]) -> list[tuple]:
    lines = []
    exec("\n".join(sources), {"print": lambda *values: lines.append(values)})
    return lines


def runs(source: str, namespace: dict) -> bool:
    try:
        exec(source, namespace)
    except (NameError, TypeError):
        return False
    return True


@given(st.lists(st.lists(plain_fragments, min_size=2, max_size=4), min_size=2, max_size=4), st.booleans())
def test_a_lifted_notebook_prints_the_same(cells, star_first):
    namespace = {"print": repr}
    cells = [["from math import *"] * star_first + [FUNCTIONS], *cells]
    sources = ["\n".join(each for each in cell if runs(each, namespace)) for cell in cells]
    before, expected = parse(untagged(*sources), "x.ipynb"), printed_by(sources)
    made = lift_parameters(before, [])
    assert printed_by([cell.source for cell in made.notebook.cells]) == expected
    for note in made.notes:
        if "--lift" in note:
            names = note.partition("--lift ")[2].partition("`")[0].split(",")
            assert printed_by([cell.source for cell in lift_parameters(before, names).notebook.cells]) == expected


def statements(made) -> list[str]:
    return [ast.unparse(each) for cell in made.cells if cell.type == "code" and cell.tree for each in cell.tree.body]
