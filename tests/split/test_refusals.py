"""What is not split, and why: nothing in the project may have changed then."""

import pytest
from split_samples import refused, split, whole  # noqa: F401

SQL = "import sqlite3\nconnection = sqlite3.connect(':memory:')\nprint(connection.total_changes)"


def test_the_first_cell_that_differs_is_shown(whole):
    project = whole(
        {},
        "md:## One",
        "def f(x, seen=[]):\n    seen.append(x)\n    return len(seen)\nprint(f(1))",
        "md:## Two",
        "print('same')",
        "print('count', f(1))",
    )
    said = refused(project)
    assert "notebooks/work.ipynb: cell 6: shows something else" in said
    assert "whole:\n      count 2" in said and "stage:\n      count 1" in said


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("class C:\n    n = 0\n    def __init__(self): C.n += 1\nC()\nprint(C.n)", "print(C.n, C().n)"),
        (
            "from functools import lru_cache\n@lru_cache\ndef f(x): return x\nf(1)\nprint(1)",
            "f(1)\nprint(f.cache_info())",
        ),
        (
            "import matplotlib.pyplot as plt\n%config InlineBackend.close_figures = False\nfigure = plt.figure()\nplt.plot([1, 2])\nprint(1)",
            "plt.title('later')\nplt.gcf().axes[0].lines",
        ),
    ],
)
def test_what_the_code_does_not_show_is_found_by_the_comparison(whole, first, second):
    assert "cell 5: shows something else" in refused(whole({}, "md:## One", first, "md:## Two", second))


def test_a_file_that_differs(whole):
    project = whole(
        {},
        "md:## One",
        "def f(seen=[]):\n    seen.append(1)\n    return len(seen)\nprint(f())",
        "md:## Two",
        "with open('outputs/n.txt', 'w') as file:\n    file.write(str(f()))",
        outs=["outputs/n.txt"],
    )
    assert "outputs/n.txt is another when the parts run as stages" in refused(project)


def test_what_differs_in_each_run_is_not_counted_as_the_same(whole):
    project = whole({}, "md:## One", "import os\nx = os.getpid()\nprint(x)", "md:## Two", "print('same')", "print(x)")
    said = split(project)
    assert "1 of 3 cells are the same" in said
    assert "not provable, as they differ between two runs of the whole: cells 3, 6" in said


def test_a_notebook_that_fails(whole):
    said = refused(whole({}, "md:## One", "print(1)", "md:## Two", "1 / 0"))
    assert said.startswith("notebooks/work.ipynb: cell 5: ZeroDivisionError: division by zero")


def test_two_arrays_over_one_memory(whole):
    first = "import numpy as np\nx = np.zeros(5)\ny = x[1:]\nprint(1)"
    said = refused(whole({}, "md:## One", first, "md:## Two", "x[2] = 7\nprint(x)", "md:## Three", "print(y)"))
    assert "`x` and `y` share their memory" in said and "cell 5" in said and ".copy()" in said


def test_two_arrays_over_one_memory_that_nobody_changes(whole):
    first = "import pandas as pd\nd = pd.DataFrame({'a': [1.0, 2.0], 't': [0, 1]})\ny, x = d['t'], d[['a']]\nprint(1)"
    split(whole({}, "md:## One", first, "md:## Two", "d['p'] = 1\nprint(d)", "md:## Three", "print(y, x, d)"))


@pytest.mark.parametrize(
    ("first", "read", "what"),
    [
        (SQL, "print(connection.total_changes)", "reads `connection` (sqlite3.Connection), made in cell 3"),
        (
            "numbers = (n for n in range(5))\nprint(next(numbers))",
            "print(next(numbers))",
            "reads `numbers` (generator), made in cell 3",
        ),
        (
            "file = open('params.yaml')\nprint(1)",
            "print(file.closed)",
            "reads `file` (_io.TextIOWrapper), made in cell 3",
        ),
        (
            "import matplotlib.pyplot as plt\nfigure, axis = plt.subplots()\nprint(1)",
            "axis.plot([1])\nfigure",
            "made in cell 3",
        ),
        ("x = sum([3])\nx + 1", "print(_ + 1)", "reads `_`, the output of a cell before"),
        ("x = sum([3])\nx + 1", "print(Out[2])", "reads `Out`"),
        ("x = sum([3])\nx + 1", "print(_2)", "reads `_2`"),
    ],
)
def test_what_no_file_can_hold(whole, first, read, what):
    said = refused(whole({}, "md:## One", first, "md:## Two", read))
    assert "notebooks/work.ipynb: cell 5: reads" in said and what in said and ". Fix: " in said


def test_a_closed_file_that_nobody_reads(whole):
    first = "file = open('params.yaml')\nfile.close()\nprint(1)"
    split(
        whole(
            {},
            "md:## One",
            first,
            "md:## Two",
            "if False:\n    print(file)\nwith open('params.yaml') as file:\n    print(len(file.read()))",
        )
    )


def test_two_stages_that_write_one_file(whole):
    first, second = (f"with open('outputs/log.txt', '{mode}') as file:\n    file.write('x')\nprint(1)" for mode in "wa")
    said = refused(whole({}, "md:## One", first, "md:## Two", second, outs=["outputs/log.txt"]))
    assert "cells 1-3 and cell 5 write outputs/log.txt" in said


def test_a_notebook_of_no_stage_or_with_changes(whole):
    project = whole({}, "md:## One", "print(1)", "md:## Two", "print(2)")
    project.write("notebooks/other.ipynb", project.read("notebooks/work.ipynb"))
    done = project.pipeline("split", "notebooks/other.ipynb", check=False)
    assert (done.returncode, done.stdout) == (
        1,
        "notebooks/other.ipynb: no stage of dvc.yaml runs it. Fix: uv run pipeline add notebooks/other.ipynb\n",
    )
    project.replace("notebooks/work.ipynb", "print(2)", "print(3)")
    assert "changed since git last had it" in refused(project)


def test_without_headings_it_proposes_cuts_and_writes_nothing(whole):
    said = refused(whole({}, "import time\nx = sum([1])", "time.sleep(1)\ny = x + 1", "print(y)"))
    assert "uv run pipeline split notebooks/work.ipynb --at 3,4" in said and "cell 3" in said
