"""What stage notebooks call: a value is the same after it, shares what it shared, and is the same bytes in equal runs."""

import subprocess
import sys
from pathlib import Path

import pytest

CODE = Path(__file__).parents[2] / "template" / ".pipeline"


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Runs lines as the notebook of a stage does, in `__main__`; what they print."""
    (tmp_path / "dvc.yaml").write_text("")

    def run(text: str, check: bool = True) -> str:
        text = "from notebook_pipeline.handover import *\nfrom notebook_pipeline import handover\n" + text
        command = [sys.executable, "-c", text]
        environ = {"PYTHONPATH": str(CODE), "PYTHONHASHSEED": "0", "PATH": "", "SYSTEMROOT": ""}
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout if check else done.stderr.strip().splitlines()[-1]

    return run


def test_names_that_share_an_object_keep_sharing_it(notebook):
    notebook("a = [1]; b = {'a': a}; hand_over('x.pickle', a=a, b=b)")
    assert notebook("a, b = load('x.pickle'); a.append(2); print(b['a'], a is b['a'])") == "[1, 2] True\n"
    notebook("hand_over('y.pickle', c=3)")
    assert notebook("a, b, c = load('x.pickle', 'y.pickle'); print(c, load('y.pickle'))") == "3 3\n"


def test_lambdas_read_the_globals_of_the_notebook_that_they_arrive_in(notebook, tmp_path):
    text = (
        "from collections import defaultdict\nk = 1\ndef outer(n):\n    def inner(x, more=2): return x + n + k + more\n    return inner\n"
        "hand_over('x.pickle', add=outer(10), counts=defaultdict(lambda: k))"
    )
    # IPython's names of files have the number of the process.
    notebook(f"exec(compile({text!r}, 'one', 'exec'))")
    first = (tmp_path / "x.pickle").read_bytes()
    assert notebook("k = 100\nadd, counts = load('x.pickle'); print(add(1), counts['new'])") == "113 100\n"
    notebook(f"exec(compile({text!r}, 'two', 'exec'))")
    assert (tmp_path / "x.pickle").read_bytes() == first, "the same bytes"


def test_classes_are_those_of_the_notebook(notebook):
    own = "class Point:\n    def __init__(self, x): self.x = x\n"
    notebook(own + "hand_over('x.pickle', p=Point(3))")
    assert notebook(own + "p = load('x.pickle'); print(isinstance(p, Point), p.x)") == "True 3\n"


def test_what_has_changed_is_named(notebook):
    notebook("hand_over('x.pickle', a=[1], b=2)")
    notebook("a, b = load('x.pickle'); unchanged('x.pickle', a=a, b=b)")
    said = notebook("a, b = load('x.pickle'); a.append(2); unchanged('x.pickle', a=a, b=b)", check=False)
    assert "`a` was changed here, and later stages load it from x.pickle" in said and "Fix: " in said
    assert "x.pickle: does not exist. Fix: uv run dvc repro" in notebook(
        "import os; os.remove('x.pickle'); load('x.pickle')", check=False
    )


def test_what_cannot_be_pickled_is_one_line(notebook):
    said = notebook("hand_over('x.pickle', a=(n for n in []))", check=False)
    assert "x.pickle: cannot pickle 'generator' object. Fix: " in said


def test_a_table_that_was_loaded_is_the_same(notebook):
    pytest.importorskip("pandas")
    make = "import pandas as pd\nd = pd.DataFrame({'a': ['x', 'y'], 'b': [1.0, 2.0]}); d['c'] = d.b * 2; d = d[['c', 'a', 'b']]\n"
    notebook(make + "hand_over('x.pickle', d=d)")
    notebook("d = load('x.pickle'); d.values; d.sum(); unchanged('x.pickle', d=d)")
    assert "was changed here" in notebook(
        "d = load('x.pickle'); d.iloc[0, 2] = 9; unchanged('x.pickle', d=d)", check=False
    )


def test_random_state_is_restored(notebook):
    first = notebook("import random; random.seed(3); hand_over_state('s.pickle', 'random'); print(random.random())")
    assert notebook("restore('s.pickle'); import random; print(random.random())") == first


def test_a_value_that_contains_itself_and_one_in_cycles(notebook):
    notebook("a = [1]; a.append(a); print(handover.digest(a)); hand_over('x.pickle', a=a)")
    notebook("a = load('x.pickle'); assert a[1] is a; unchanged('x.pickle', a=a)")
