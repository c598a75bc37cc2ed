"""Notebooks as people write them become stages: `pipeline add`, and the two steps before the run."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import Workspace, notebook, on_path
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from notebook_pipeline.add import command as add
from notebook_pipeline.add.bring import brought
from notebook_pipeline.add.lift import lifted
from notebook_pipeline.notebook import imports
from notebook_pipeline.notebook.document import NotebookError, parse, read
from notebook_pipeline.project.project import Project


def untagged(*cells: object) -> str:
    """A notebook without a parameters cell."""
    return notebook(*({"source": cell} if isinstance(cell, str) else cell for cell in cells))


LIFTS = {
    "tagged": (
        notebook("EPOCHS = 3", "print(EPOCHS)"),
        ["EPOCHS = 3", "print(EPOCHS)"], 0, [],
    ),
    "a cell of literals": (
        untagged("import os", "# train\nEPOCHS = 3  # rounds\nLR: float = 0.1", "print(EPOCHS, LR)"),
        ["import os", "# train\nEPOCHS = 3  # rounds\nLR: float = 0.1", "print(EPOCHS, LR)"], 1,
        ["x.ipynb: cell 2: tagged `parameters`"],
    ),
    "used above": (
        untagged("from math import *", "print(e)", "e = 0.001\nN = 3\nprint(e, pi, N)\npi = 3\nprint(pi)"),
        ["from math import *", "N = 3", "print(e)", "e = 0.001\nprint(e, pi, N)\npi = 3\nprint(pi)"], 1,
        ["x.ipynb: cell 2: new, tagged `parameters`, with N"],
    ),
    "used above by a function": (
        untagged("def f(n=FIRST):\n    return n * N", "(lambda: M)", "FIRST = 1\nN = 3\nM = 4\nprint(f(), M)"),
        ["N = 3\nM = 4", "def f(n=FIRST):\n    return n * N", "(lambda: M)", "FIRST = 1\nprint(f(), M)"], 0,
        ["x.ipynb: cell 1: new, tagged `parameters`, with N, M"],
    ),
    "used above by a function that has it from elsewhere": (
        untagged("from math import *", "def area(r=1):\n    return r * pi", "print(area())", "pi = 3\nN = 4\nprint(pi, N)"),
        ["from math import *", "N = 4", "def area(r=1):\n    return r * pi", "print(area())", "pi = 3\nprint(pi, N)"], 1,
        ["x.ipynb: cell 2: new, tagged `parameters`, with N"],
    ),
    "above names that are not told": (
        untagged("N = 3\nprint(N)", "%run other.ipynb", "e = 0.001\nfit(e, rate=1)"),
        ["N = 3", "print(N)", "%run other.ipynb", "e = 0.001\nfit(e, rate=1)"], 0,
        ["x.ipynb: cell 1: new, tagged `parameters`, with N"],
    ),
    "Python's own names": (
        untagged("print(sum)", "max = 255\nsum = 0\nN = 3\nprint(max, sum, N)"),
        ["N = 3", "print(sum)", "max = 255\nsum = 0\nprint(max, sum, N)"], 0,
        ["x.ipynb: cell 1: new, tagged `parameters`, with N"],
    ),
    "names of functions and loops": (
        notebook("rate = 3", "[f(n, n=3, m=4, k=5, q=6, sum=8) for n in range(rate)]", "def run(m):\n    k = 1\n    return f(m, x=7)",
                 "lambda q: q"),
        ["rate = 3", "[f(n, n=3, m=4, k=5, q=6, sum=8) for n in range(rate)]", "def run(m):\n    k = 1\n    return f(m, x=7)",
         "lambda q: q"], 0,
        ["x.ipynb: might be parameters, too: n=3 (cell 2), m=4 (cell 2), k=5 (cell 2), q=6 (cell 2), sum=8 (cell 2), x=7 (cell 3): "
         "`--lift n,m,k,q,sum,x` makes them so"],
    ),
    "scattered": (
        untagged(
            {"cell_type": "markdown", "source": "# Title"},
            "%matplotlib inline\nimport numpy as np",
            "# how often\nepochs = 3\nfor i in range(epochs):\n    last = 1",
            "rate: float = 0.1  # of learning\nmodel = fit(rate)\nresults = []\nresults.append(model)",
            "last = 2\nprint(last, unused_twice)\nunused = 5",
        ),
        [
            "# Title", "%matplotlib inline\nimport numpy as np", "epochs = 3  # how often\n\nrate: float = 0.1  # of learning",
            "for i in range(epochs):\n    last = 1", "model = fit(rate)\nresults = []\nresults.append(model)",
            "last = 2\nprint(last, unused_twice)\nunused = 5",
        ], 2,
        ["x.ipynb: cell 3: new, tagged `parameters`, with epochs, rate"],
    ),
    "one name in two cases": (
        untagged("N = 3\nprint(N)", "n = 4\nprint(n)"), ["N = 3", "print(N)", "n = 4\nprint(n)"], 0,
        ["x.ipynb: cell 1: new, tagged `parameters`, with N"],
    ),
    "below headings": (
        untagged("# train\nepochs = 3\nrate = 0.1\nfit(epochs, rate)", "# 2. Then what is seen of it\nlimit = 5\nprint(limit)"),
        [
            "# 2. Then what is seen of it\nlimit = 5\n\n# train\nepochs = 3\nrate = 0.1", "fit(epochs, rate)", "print(limit)",
        ], 0,
        ["x.ipynb: cell 1: new, tagged `parameters`, with epochs, rate, limit"],
    ),
    "no parameters": (
        untagged("query = '''\nselect *\n'''\nempty = ''", "API_KEY = 'x'", "depth = 3", "f(query, empty, API_KEY, depth)"),
        ["query = '''\nselect *\n'''\nempty = ''", "API_KEY = 'x'", "depth = 3", "f(query, empty, API_KEY, depth)"], 2,
        ["x.ipynb: cell 3: tagged `parameters`"],
    ),
    "below imports in one cell": (
        untagged("import os\n\nN = 3\nprint(N)\ndef f():\n    x = 1"),
        ["import os", "N = 3", "print(N)\ndef f():\n    x = 1"], 1,
        ["x.ipynb: cell 2: new, tagged `parameters`, with N"],
    ),
    "none at all": (
        untagged("print(1)"),
        ["# What you want to change between runs, as `name = value`; params.yaml then has the value.", "print(1)"], 0,
        ["x.ipynb: cell 1: new, tagged `parameters`, empty: the notebook assigns no literal that is used as it is"],
    ),
    "empty": (
        untagged(),
        ["# What you want to change between runs, as `name = value`; params.yaml then has the value."], 0,
        ["x.ipynb: cell 1: new, tagged `parameters`, empty: the notebook assigns no literal that is used as it is"],
    ),
    "misspelt": (
        notebook({"source": "N = 3", "metadata": {"tags": ["Parameters"]}}, {"source": "N"}),
        ["N = 3", "N"], 0, ["x.ipynb: cell 1: changed its tag `Parameters` to `parameters`"],
    ),
    "suggestions": (
        notebook("N = 3", "fit(x, epochs=10, batch_size=120, verbose=True)\nsplit(test_size=-0.2, loss='mse')",
                 "plot(alpha=0.5, fontsize=9)\nf(depth=1)\nf(depth=2)\nRATE = 1\nf(rate=0.1)"),
        ["N = 3", "fit(x, epochs=10, batch_size=120, verbose=True)\nsplit(test_size=-0.2, loss='mse')",
         "plot(alpha=0.5, fontsize=9)\nf(depth=1)\nf(depth=2)\nRATE = 1\nf(rate=0.1)"], 0,
        ["x.ipynb: might be parameters, too: epochs=10 (cell 2), batch_size=120 (cell 2), test_size=-0.2 (cell 2): "
         "`--lift epochs,batch_size,test_size` makes them so"],
    ),
    "several cells of literals": (
        untagged("vec = [1, 0]", "DATA = 'a.csv'", "EPOCHS = 10\nLR = 0.1", "fit(DATA, EPOCHS, LR, depth=3)"),
        ["vec = [1, 0]", "DATA = 'a.csv'", "EPOCHS = 10\nLR = 0.1", "fit(DATA, EPOCHS, LR, depth=3)"], 2,
        ["x.ipynb: cell 3: tagged `parameters`",
         "x.ipynb: might be parameters, too: DATA='a.csv' (cell 2), depth=3 (cell 4): `--lift DATA,depth` makes them so"],
    ),
    "used in a shell line": (
        untagged("EPOCHS = 3", "!train {EPOCHS}"), ["EPOCHS = 3", "!train {EPOCHS}"], 0, ["x.ipynb: cell 1: tagged `parameters`"],
    ),
    "literals of other cells": (
        untagged("above = 1\nprint(above)", {"source": "N = 3", "metadata": {"tags": ["parameters"]}},
                 "RATE = 0.1; x = 1\nAPI_KEY = 'k'\ntext = 'a\\nb'\nn = 5\nNAMES = ['an item', 'another item', 'one more item']",
                 "f(RATE, x, API_KEY, text, n, NAMES)", "twice = 2\nf(twice)\ntwice = 3"),
        ["above = 1\nprint(above)", "N = 3",
         "RATE = 0.1; x = 1\nAPI_KEY = 'k'\ntext = 'a\\nb'\nn = 5\nNAMES = ['an item', 'another item', 'one more item']",
         "f(RATE, x, API_KEY, text, n, NAMES)", "twice = 2\nf(twice)\ntwice = 3"], 1,
        ["x.ipynb: might be parameters, too: NAMES=['an item', 'another item', 'one more... (cell 3): `--lift NAMES` makes them so"],
    ),
    "assigned again in another Python": (
        untagged("steps = 3\nrate = 1\nsize = 2\nn = 4\nprint(steps, rate, size, n)", "for rate, size in x: print rate\nsteps += 1\nif n == 5: pass"),
        ["n = 4", "steps = 3\nrate = 1\nsize = 2\nprint(steps, rate, size, n)", "for rate, size in x: print rate\nsteps += 1\nif n == 5: pass"], 0,
        ["x.ipynb: cell 1: new, tagged `parameters`, with n"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LIFTS)
def test_a_parameters_cell_is_found_or_made(case):
    text, sources, index, notes = LIFTS[case]
    before = parse(text, "x.ipynb")
    made = lifted(before, [])
    assert [cell.source for cell in made.notebook.cells] == sources
    assert [cell.number - 1 for cell in made.notebook.cells if "parameters" in cell.tags] == [index]
    assert made.notes == notes
    assert not [*made.notebook.problems()] and not [*made.notebook.drift()]
    assert before.document == parse(text, "x.ipynb").document


def test_arguments_are_lifted():
    made = lifted(
        parse(notebook("N = 3", "fit('ü', epochs=10); fit(epochs=10)", "%time fit(epochs=1)"), "x.ipynb"), ["epochs"]
    )
    assert [cell.source for cell in made.notebook.cells[:2]] == [
        "N = 3\nEPOCHS = 10", "fit('ü', epochs=EPOCHS); fit(epochs=EPOCHS)",
    ]  # fmt: skip
    assert made.notes == ["x.ipynb: cell 2: `epochs=` is now the parameter `EPOCHS`"]
    # A function's own argument of that name, or Python's, would take the place of a parameter that is called so.
    made = lifted(parse(notebook("m = 3", "def f(n, max=2):\n    g(n=n)\nf(n=1, max=5)"), "x.ipynb"), ["n", "max"])
    assert [cell.source for cell in made.notebook.cells] == [
        "m = 3\nN = 1\nMAX = 5", "def f(n, max=2):\n    g(n=n)\nf(n=N, max=MAX)",
    ]  # fmt: skip
    nothing = (
        "no call passes `x=` a number, a string, True or False, nor is `x` assigned one, once, above all that uses it: "
        "nothing to lift"
    )
    for parameter, source, name, message in (
        ("N", "f(x)", "x", nothing),
        ("N", "f(x)\nx = 1", "x", nothing),
        ("N", "f(x=1); f(x=2)", "x", "`x=` is 1 in cell 2 and 2 in cell 2: lift it by hand, under two names"),
        ("N", "f(n=1)", "n", "there is a `N` already: rename it, or lift `n` by hand"),
        ("m", "[f(n, N, n=1) for n, N in x]", "n", "`N` is also a name in cell 2: rename one, or lift `n` by hand"),
        ("N", "def run(x):\n    X = 2\n    f(x=1)", "x", "`X` is also a name in cell 2: rename one, or lift `x` by hand"),
        ("m", "x = [sum]\nsum = 1\nf(sum)", "sum", nothing.replace("`x", "`sum")),
        (
            "m", "from math import *\nf(e=1)", "e",
            "cell 2 may bring a `e` of its own: import names there, not `*`, or lift `e` by hand",
        ),
    ):  # fmt: skip
        with pytest.raises(NotebookError) as error:
            lifted(parse(notebook(f"{parameter} = 3", source), "x.ipynb"), [name])
        assert str(error.value) == f"x.ipynb: {message}"
    with pytest.raises(
        NotebookError, match=r"cell 1 passes `n=` above the parameters cell \(cell 2\): move one of the two"
    ):
        lifted(
            parse(notebook({"source": "f(n=1)"}, {"source": "m = 3", "metadata": {"tags": ["parameters"]}}), "x.ipynb"),
            ["n"],
        )


def test_what_was_a_script_takes_the_defaults_of_its_options():
    source = (
        "%matplotlib inline\nparser = argparse.ArgumentParser()\nparser.add_argument('-e', '--epochs', type=int, default=2)\n"
        "parser.add_argument('--learning-rate', nargs='?', const=7, default=0.5)\nargs = parser.parse_args()  # ü"
    )
    text = notebook("N = 1", "import argparse", source.partition("\n")[2], "print(args.epochs * args.learning_rate)")
    made = lifted(parse(text, "x.ipynb"), ["epochs"])
    assert made.notebook.cells[0].source == "N = 1\nEPOCHS = 2"
    assert made.notebook.cells[2].source == (
        source.partition("\n")[2].replace("default=2", "default=EPOCHS").replace("parse_args()", "parse_args([])")
    )
    assert made.notes == [
        "x.ipynb: cell 3: `epochs=` is now the parameter `EPOCHS`",
        "x.ipynb: cell 3, line 4: `parse_args()` would read Jupyter's own arguments: it is `parse_args([])` now, which takes the "
        "defaults",
        "x.ipynb: might be parameters, too: learning_rate=0.5 (cell 3): `--lift learning_rate` makes them so",
    ]
    assert (
        source.replace("parse_args()", "parse_args([])")
        in lifted(parse(notebook("N = 1", source), "x.ipynb"), []).notebook.cells[1].source
    )
    for other in ("import sys\nsys.argv = ['x']", "args = parser.parse_args(['--epochs', '3'])"):
        plain = (
            source.replace("args = parser.parse_args()", "")
            + other
            + ("\nparser.parse_args()" if "sys" in other else "")
        )
        assert lifted(parse(notebook("N = 1", plain), "x.ipynb"), []).notebook.cells[1].source == plain
    # Nor another object's method of that name.
    plain = "command.parse_args()"
    assert lifted(parse(notebook("N = 1", plain), "x.ipynb"), []).notebook.cells[1].source == plain


def test_the_command_line_is_left_at_each_place():
    """Of calls over several lines, in a function above and within one another."""
    cell = (
        "%matplotlib inline\nimport argparse\nmake = argparse.ArgumentParser\ndef options():\n    return make().parse_args(\n    )\n"
        "class A:\n    x = [make().parse_args(  # none )\n    ), 1]\nboth = f(make().parse_args(), make().parse_args( ))\n"
        "last = make().parse_args().parse_args()"
    )
    (_, made) = lifted(parse(notebook("N = 1", cell), "x.ipynb"), []).notebook.cells
    assert made.source == (
        "%matplotlib inline\nimport argparse\nmake = argparse.ArgumentParser\ndef options():\n    return make().parse_args(\n    [])\n"
        "class A:\n    x = [make().parse_args(  # none )\n    []), 1]\nboth = f(make().parse_args([]), make().parse_args( []))\n"
        "last = make().parse_args([]).parse_args([])"
    )


def test_a_reminder_or_a_word_to_a_tool_is_no_section():
    def second(comment):
        parameter = parse(notebook(f"A = 1\n\n# {comment}\nB = 2"), "x.ipynb").parameters[1]
        return parameter.section, parameter.comment

    for comment in ("TODO", "FIXME later", "XXX", "NOTE", "todo", "Note"):
        assert second(comment) == ("", comment)
    for comment in ("noqa", "noqa: E501", "pylint: disable=C0103", "fmt: off", "type: ignore", "pragma: no cover"):
        assert second(comment) == ("", "")
    assert second("train") == ("train", "") and second("notes") == ("notes", "")
    # What stands between a heading and its parameters.
    (only,) = parse(notebook("# train\n# noqa\nB = 2  # fmt: skip"), "x.ipynb").parameters
    assert (only.section, only.comment) == ("train", "")


def test_variables_are_lifted():
    cells = ("# train\nN = 3", "# how often\nEPOCHS = 10\nprint(EPOCHS)", "SEED = 1", "f(SEED, N, seed=2)")
    made = lifted(parse(notebook(*cells), "x.ipynb"), ["EPOCHS", "SEED", "N"])
    assert [cell.source for cell in made.notebook.cells] == [
        "# train\nN = 3\nEPOCHS = 10  # how often\nSEED = 1", "print(EPOCHS)", "f(SEED, N, seed=2)",
    ]  # fmt: skip
    assert made.notes == ["x.ipynb: cell 2: `EPOCHS` is now a parameter", "x.ipynb: cell 3: `SEED` is now a parameter"]
    # What is suggested can be lifted together.
    cells = ("N = 3", "def f(k=1):\n    return k", "rate = 0.1", "f(k=rate, steps=4)\nsteps = [f(k=2)]")
    made = lifted(parse(notebook(*cells), "x.ipynb"), [])
    assert made.notes[0].endswith("`--lift rate,steps,k` makes them so")
    made = lifted(parse(notebook(*cells), "x.ipynb"), ["rate", "steps", "k"])
    assert made.notebook.cells[0].source == "N = 3\nSTEPS = 4\nK = 2\nrate = 0.1"
    # Where there was no parameters cell, it may be in the new one already.
    made = lifted(parse(untagged("N = 3\nprint(N)"), "x.ipynb"), ["N"])
    assert made.notes == ["x.ipynb: cell 1: new, tagged `parameters`, with N"]


# What the notebook says, what becomes of it, the copies, the inputs and the results.
PATHS = {
    "a file": ("pd.read_csv('a.csv')", "pd.read_csv('data/external/a.csv')", {"a.csv": "a.csv"}, {"a.csv"}, set()),
    "a constant": (
        'F = "raw/b.csv"\nread(F)', 'F = "data/external/raw/b.csv"\nread(F)', {"raw/b.csv": "raw/b.csv"}, {"raw/b.csv"}, set(),
    ),
    "a folder named data": ("read('data/d.csv')", "read('data/external/d.csv')", {"data/d.csv": "d.csv"}, {"d.csv"}, set()),
    "the folder data itself": (
        "DATA = 'data'\nread(DATA + '/d.csv')", "DATA = 'data/external'\nread(DATA + '/d.csv')", {"data/d.csv": "d.csv"}, {"d.csv"}, set(),
    ),
    "a folder and what lies in it": (
        "read('img/1.png'); os.listdir('img')", "read('data/external/img/1.png'); os.listdir('data/external/img')",
        {"img/1.png": "img/1.png", "img/2.png": "img/2.png"}, {"img/1.png", "img"}, set(),
    ),
    "pathlib": (
        "R = Path('raw')\nread(R / 'b.csv')", "R = Path('data/external/raw')\nread(R / 'b.csv')",
        {"raw/b.csv": "raw/b.csv"}, {"raw/b.csv"}, set(),
    ),
    "os.path": (
        "R = '../up/'\nread(os.path.join(R, 'c.csv'))", "R = 'data/external/up/'\nread(os.path.join(R, 'c.csv'))",
        {"../up/c.csv": "up/c.csv"}, {"up/c.csv"}, set(),
    ),
    "a folder that is walked": (
        "for f in os.listdir('img'): open('img/' + f)", "for f in os.listdir('data/external/img'): open('data/external/img/' + f)",
        {"img/1.png": "img/1.png", "img/2.png": "img/2.png"}, {"img"}, set(),
    ),
    "a formatted name": (
        "open(f'img/{n}.png')", "open(f'data/external/img/{n}.png')",
        {"img/1.png": "img/1.png", "img/2.png": "img/2.png"}, {"img"}, set(),
    ),
    "a pattern": ("glob.glob('img/1*.png')", "glob.glob('data/external/img/1*.png')", {"img/1.png": "img/1.png"}, {"img"}, set()),
    "a method's pattern": (
        "Path('img').glob('*.png')", "Path('data/external/img').glob('*.png')",
        {"img/1.png": "img/1.png", "img/2.png": "img/2.png"}, {"img"}, set(),
    ),
    "absolute": ("read('ABS/up/c.csv')", "read('data/external/c.csv')", {"../up/c.csv": "c.csv"}, {"c.csv"}, set()),
    "a shell line": ("!head -3 a.csv 2>/dev/null", "!head -3 data/external/a.csv 2>/dev/null", {"a.csv": "a.csv"}, {"a.csv"}, set()),
    "a result in a shell line": (
        "OUT = 'raw/b.csv'\ndf.to_csv(OUT)\ndf.to_csv('../up/c.csv')\n!head ./raw/b.csv ../up/c.csv\n!cp raw/b.csv raw/a.csv",
        "OUT = 'raw/b.csv'\ndf.to_csv(OUT)\ndf.to_csv('outputs/c.csv')\n!head ./raw/b.csv outputs/c.csv\n!cp raw/b.csv raw/a.csv",
        {}, set(), {"raw/b.csv", "outputs/c.csv"},
    ),
    "what lies in a folder of results, in a shell line": (
        "os.makedirs('img', exist_ok=True)\nfor n in range(3): fig.savefig(f'img/{n}.png')\n!ls img/*.png img/1.png", None, {}, set(), set(),
    ),
    "what a shell line writes": (
        "!head a.csv > raw/b.csv\n!curl -sLo raw/a.csv https://example.com/a.csv\nread('raw/b.csv')\n!wc a.csv > ../up/c.csv 2>&1",
        "!head data/external/a.csv > raw/b.csv\n!curl -sLo raw/a.csv https://example.com/a.csv\nread('raw/b.csv')\n"
        "!wc data/external/a.csv > outputs/c.csv 2>&1",
        {"a.csv": "a.csv"}, {"a.csv"}, {"raw/b.csv"},
    ),
    "an option that is of another program": (
        "!curl -O https://example.com/b.zip && unzip -o a.csv", "!curl -O https://example.com/b.zip && unzip -o data/external/a.csv",
        {"a.csv": "a.csv"}, {"a.csv"}, set(),
    ),
    "one name from two folders": (
        "read('a.csv'); read('../up/a.csv')", "read('data/external/a.csv'); read('data/external/up_a.csv')",
        {"a.csv": "a.csv", "../up/a.csv": "up_a.csv"}, {"a.csv", "up_a.csv"}, set(),
    ),
    "a column of a file's name": ("df['raw']; df.drop('raw'); plot(title='img')", None, {}, set(), set()),
    "an address": ("read('https://example.com/a.csv')", None, {}, set(), set()),
    "a result": ("df.to_csv('out.csv')\nread('out.csv')", None, {}, set(), {"out.csv"}),
    "a result of before": ("df.to_csv('a.csv')\nread('a.csv')", None, {}, set(), {"a.csv"}),
    "a result outside": ("df.to_csv('../up/new.csv')", "df.to_csv('outputs/new.csv')", {}, set(), {"outputs/new.csv"}),
    "a mark of a root": ("(here / '.git').exists()", None, {}, set(), set()),
    "a query": ("pd.read_sql('select * from t', con)", None, {}, set(), set()),
    "what a mode says": (
        "h5py.File('./new.h5', 'w')\nZipFile('new.zip', mode='w')\nh5py.File('a.csv')",
        "h5py.File('./new.h5', 'w')\nZipFile('new.zip', mode='w')\nh5py.File('data/external/a.csv')",
        {"a.csv": "a.csv"}, {"a.csv"}, {"new.h5", "new.zip"},
    ),
    "asked for, then made": (
        "if not os.path.exists('raw/n.csv'): df.to_csv('raw/n.csv')\nread('raw/n.csv')\nsqlite3.connect('new.db')",
        None, {}, set(), {"raw/n.csv"},
    ),
    "a folder of results that was there": (
        "os.makedirs('img', exist_ok=True)\nfor n in range(3): fig.savefig(f'img/{n}.png')\ndf.to_csv('raw/' + name)", None, {}, set(), set(),
    ),
    "a folder of results under a name": (
        "OUT = Path('img')\n(OUT / 'more').mkdir(parents=True, exist_ok=True)\nreport(str(OUT))\ndf.to_csv(OUT / 'n.csv')\n"
        "read(OUT / 'n.csv')", None, {}, set(), {"img/n.csv"},
    ),
    "a folder that is called so": (
        "PLOTS = 'img'\nf(PLOTS)\nopen(os.path.join(PLOTS, '1.png'), 'w')", None, {}, set(), {"img/1.png"},
    ),
    "a folder of results outside": (
        "OUT = '../up'\nf(OUT)\nos.makedirs(OUT + '/more')\ndf.to_csv(OUT + '/n.csv')",
        "OUT = 'outputs/up'\nf(OUT)\nos.makedirs(OUT + '/more')\ndf.to_csv(OUT + '/n.csv')", {}, set(), {"outputs/up/n.csv"},
    ),
    "a folder of results below the notebook's own": (
        "BASE = Path('.').resolve()\nOUT = BASE / 'img'\nOUT.mkdir(exist_ok=True)\ndf.to_csv(OUT / f'{n}.csv')\nlist(OUT.glob('*.png'))\n"
        "f(OUT, OUT / '1.png')",
        None, {}, set(), set(),
    ),
    "a folder that is made and read": (
        "os.makedirs('img', exist_ok=True)\nos.listdir('img')",
        "os.makedirs('data/external/img', exist_ok=True)\nos.listdir('data/external/img')",
        {"img/1.png": "img/1.png", "img/2.png": "img/2.png"}, {"img"}, set(),
    ),
    "a folder of results that is listed": (
        "D = 'img'\nos.makedirs(D, exist_ok=True)\nfor n in x: open(f'{D}/nb_{n}.png', 'wb')\nglob(os.path.join(D, '*.png'))\nos.listdir(D)\n"
        "f(D)\nfor n in x: df.to_csv(os.path.join('raw', n))\nread(os.path.join('raw', x[0]))\nglob('./raw/*.csv')",
        None, {}, set(), set(),
    ),
    "a folder that is called so, and listed": ("df.to_csv('results/n.csv')\nglob('results/*.csv')", None, {}, set(), {"results/n.csv"}),
    "a folder that is listed, then written to": (
        "for f in glob('img/1*.png'): g(f).save(f'img/{n}.png')\nglob('img/1*.png')",
        "for f in glob('data/external/img/1*.png'): g(f).save(f'data/external/img/{n}.png')\nglob('data/external/img/1*.png')",
        {"img/1.png": "img/1.png", "img/2.png": "img/2.png"}, {"img"}, set(),
    ),
    "a folder that is written to, with an input": (
        "df.to_csv(f'raw/{n}.csv')\nglob('raw/*.csv')\nread('raw/b.csv')",
        "df.to_csv(f'data/external/raw/{n}.csv')\nglob('data/external/raw/*.csv')\nread('data/external/raw/b.csv')",
        {"raw/a.csv": "raw/a.csv", "raw/b.csv": "raw/b.csv"}, {"raw", "raw/b.csv"}, set(),
    ),
    "a name that is not told": ("ModelCheckpoint('m_{epoch}.keras')", None, {}, set(), set()),
    "what the notebook's own function does": ("def save(df, name): df.to_csv(folder + name)\nsave(df, 'n.csv')", None, {}, set(), set()),
    "a folder of what a function names": (
        "ROOT_DIR = '.'\ndef place(name): return os.path.join(ROOT_DIR, 'img', name)\ndef keep(name): plt.savefig(place(name) + '.png')",
        None, {}, set(), set(),
    ),
    "a folder of what a function names to read": (
        "def place(name): return os.path.join('img', name)\nplt.savefig(place('new.png'))\nimread(place('1.png'))",
        "def place(name): return os.path.join('data/external/img', name)\nplt.savefig(place('new.png'))\nimread(place('1.png'))",
        {"img/1.png": "img/1.png", "img/2.png": "img/2.png"}, {"img"}, set(),
    ),
    "a folder of what a function's own name says": (
        "ROOT = '.'\ndef save_fig(name):\n    path = os.path.join(ROOT, 'img', name + '.png')\n    print(path)\n    plt.savefig(path)",
        None, {}, set(), set(),
    ),
    "a folder of what a function's own name says to read": (
        "def load(name):\n    path = os.path.join('img', name)\n    return imread(path)",
        "def load(name):\n    path = os.path.join('data/external/img', name)\n    return imread(path)",
        {"img/1.png": "img/1.png", "img/2.png": "img/2.png"}, {"img"}, set(),
    ),
    "a folder that an archive fills": (
        "ZipFile('a.csv').extractall('img')\nglob('img/*.png')\ntarfile.open('raw/a.csv').extractall(path='raw')\nos.listdir('raw')",
        "ZipFile('data/external/a.csv').extractall('img')\nglob('img/*.png')\ntarfile.open('data/external/raw/a.csv').extractall(path='data/external/raw')"
        "\nos.listdir('data/external/raw')",
        {"a.csv": "a.csv", "raw/a.csv": "raw/a.csv", "raw/b.csv": "raw/b.csv"}, {"a.csv", "raw/a.csv", "raw"}, set(),
    ),
    "a pattern behind a folder that is not told": (
        "read(os.path.join(args.dir, label, '*.csv'))\nread(d / '*.csv')\nread(d.joinpath('*.png'))",
        None, {}, set(), set(),
    ),
    "a name behind a folder that is not told": (
        "for d in ['.']: read(os.path.join(d, 'a.csv'))",
        "for d in ['.']: read(os.path.join(d, 'data/external/a.csv'))",
        {"a.csv": "a.csv"}, {"a.csv"}, set(),
    ),
    "a folder that an argument names": (
        "def keep(fig, name, folder='./img', *, more='./raw'):\n    with open(os.path.join(folder, name), 'wb') as file: dump(fig, file)\n"
        "    fig.savefig(f'{more}/{name}')",
        None, {}, set(), set(),
    ),
    "one name for a result, then for an input": (
        "path = f'img/{n}.png'\nfig.savefig(path)\npath = 'a.csv'\nread(path)\npath = base / path\nread(path + path)",
        "path = f'img/{n}.png'\nfig.savefig(path)\npath = 'data/external/a.csv'\nread(path)\npath = base / path\nread(path + path)",
        {"a.csv": "a.csv"}, {"a.csv"}, set(),
    ),
    "a result under a name that is another's, too": (
        "def keep():\n    path = 'a.csv'\n    df.to_csv(path)\ndef load():\n    path = 'raw/b.csv'\n    return read(path)",
        "def keep():\n    path = 'a.csv'\n    df.to_csv(path)\ndef load():\n    path = 'data/external/raw/b.csv'\n    return read(path)",
        {"raw/b.csv": "raw/b.csv"}, {"raw/b.csv"}, {"a.csv"},
    ),
    "a folder outside": (
        "PLACE = '../up/'\nfor n in range(3): urlretrieve(url, f'{PLACE}{n}.png')",
        "PLACE = 'outputs/up/'\nfor n in range(3): urlretrieve(url, f'{PLACE}{n}.png')", {}, set(), set(),
    ),
    "a program's own": ("p = Path('~/.tool/key.json').expanduser()\np.write_text(key)", None, {}, set(), set()),
    "a root that is found": (
        "ROOT = find()\nread(ROOT / 'raw' / 'b.csv').to_csv(ROOT / 'out' / 'n.csv')\nread(os.path.join(os.getcwd(), 'a.csv'))",
        "ROOT = find()\nread(ROOT / 'data/external/raw' / 'b.csv').to_csv(ROOT / 'out' / 'n.csv')\n"
        "read(os.path.join(os.getcwd(), 'data/external/a.csv'))",
        {"raw/b.csv": "raw/b.csv", "a.csv": "a.csv"}, {"raw/b.csv", "a.csv"}, {"out/n.csv"},
    ),
    "a folder that is found": ("for d in glob(x): read(d / 'labels.csv').to_csv(d / 'new.csv')", None, {}, set(), set()),
    "a result beside the inputs": (
        "R = Path('raw')\nread(R / 'b.csv').to_csv(R / 'n.csv')\nread(R / 'n.csv')",
        "R = Path('data/external/raw')\nread(R / 'b.csv').to_csv(Path('data/processed/n.csv'))\nread(Path('data/processed/n.csv'))",
        {"raw/b.csv": "raw/b.csv"}, {"raw/b.csv"}, {"data/processed/n.csv"},
    ),
    "an input that is written over": (
        "read('raw/b.csv').to_csv('raw/b.csv')\nread('raw/b.csv')",
        "read('data/external/raw/b.csv').to_csv('data/processed/b.csv')\nread('data/processed/b.csv')",
        {"raw/b.csv": "raw/b.csv"}, {"raw/b.csv"}, {"data/processed/b.csv"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PATHS)
def test_files_come_along(tmp_path, case):
    origin, root = tmp_path / "work", tmp_path / "project"
    for name in (
        "work/a.csv",
        "work/raw/a.csv",
        "work/raw/b.csv",
        "work/data/d.csv",
        "up/a.csv",
        "up/c.csv",
        "work/img/1.png",
        "work/img/2.png",
        "work/.git/config",
        "project/x",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    source, expected, copies, inputs, outputs = PATHS[case]
    given = parse(untagged(source.replace("ABS", tmp_path.as_posix())), "x.ipynb")
    found = brought(given, origin, root)
    assert found.notebook.cells[0].source == (source if expected is None else expected)
    assert found.copies == {(origin / file).resolve(): f"data/external/{place}" for file, place in copies.items()}
    assert found.inputs == {f"data/external/{place}" for place in inputs}
    assert found.outputs == outputs
    assert found.notes == []


def test_what_begins_with_the_notebooks_own_folder(tmp_path):
    for name in ("work/data/a.csv", "project/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    source = "HERE = Path('.').resolve()\nDATA = HERE / 'data'\nread(HERE / 'data' / 'a.csv')\nlist(DATA.iterdir())\nos.chdir('data')"
    found = brought(parse(untagged(source), "x.ipynb"), tmp_path / "work", tmp_path / "project")
    assert found.notebook.cells[0].source == source.replace("HERE / 'data' / 'a.csv'", "Path('data/external/a.csv')")
    assert found.notes == [
        "x.ipynb: cell 1: `DATA` is `./data`: write `data/external` in its place",
        "x.ipynb: cell 1, line 5: changes the folder: take that out, and write paths from the project's root",
    ]


def test_a_folder_of_results_that_leads_out_under_a_name(tmp_path):
    source = "OUT = Path('..') / 'new'\nOUT.mkdir()\ndf.to_csv(OUT / 'a.csv')"
    found = brought(parse(untagged(source), "x.ipynb"), tmp_path / "work", tmp_path / "project")
    assert found.notebook.cells[0].source == source.replace("OUT / 'a.csv'", "Path('outputs/new/a.csv')")
    assert found.notes == ["x.ipynb: cell 1: `OUT` is `../new`: write `outputs/new` in its place"]


# What the notebook reads, what lies in data/external, and the folder that it reads then.
FOLDERS = {
    "data": ("os.listdir('data')", {}, "os.listdir('data/external')"),
    "data outside": ("os.listdir('../data')", {}, "os.listdir('data/external')"),
    "the same": ("os.listdir('data')", {"d.csv": "data/d.csv", ".gitignore": ""}, "os.listdir('data/external')"),
    "another notebook's": ("os.listdir('data')", {"x.csv": "x"}, "os.listdir('data/external/data')"),
    "another file": ("os.listdir('data')", {"d.csv": "x"}, "os.listdir('data/external/data')"),
    "there twice": ("os.listdir('data')", {"data/d.csv": "x"}, "os.listdir('data/external/work_data')"),
    "beside the notebook": ("glob('*.csv')", {}, "glob('data/external/*.csv')"),
    "beside the notebook, and another's": ("glob('*.csv')", {"x.csv": "x"}, "glob('data/external/work/*.csv')"),
    "one name": ("os.listdir('data'); read('d.csv')", {}, "os.listdir('data/external/data'); read('data/external/d.csv')"),
    "two folders": ("os.listdir('data'); os.listdir('../data')", {},
                    "os.listdir('data/external/work_data'); os.listdir('data/external/data')"),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_holds_only_its_own_files(tmp_path, case):
    source, there, expected = FOLDERS[case]
    for name in ("home/work/data/d.csv", "home/work/d.csv", "home/data/e.csv", "project/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name.removeprefix("home/work/"))
    for name, text in there.items():
        (tmp_path / "project/data/external" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project/data/external" / name).write_text(text)
    found = brought(parse(untagged(source), "x.ipynb"), tmp_path / "home/work", tmp_path / "project")
    assert found.notebook.cells[0].source == expected
    assert len({*found.copies.values()}) == len(found.copies)
    assert found.notes == []


def test_paths_from_the_root_of_its_repository(tmp_path):
    """As in the guide's example: the notebook in notebooks/, its paths from the folder above."""
    for name in (
        "repository/notebooks/x.ipynb",
        "repository/data/external/images/1.png",
        "repository/data/external/a.csv",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "repository/.git").mkdir()
    source = (
        "SOURCE = 'data/external'\nTARGET = 'data/processed'\nread(os.path.join(SOURCE, 'a.csv'))\n"
        "for name in os.listdir(f'{SOURCE}/images'): copy(name, os.path.join(TARGET, name))"
    )
    found = brought(parse(untagged(source), "x.ipynb"), tmp_path / "repository/notebooks", tmp_path / "project")
    assert found.notebook.cells[0].source == source
    assert sorted(found.copies.values()) == ["data/external/a.csv", "data/external/images/1.png"]


def test_an_input_that_is_written_over_under_its_name(tmp_path):
    for name in ("work/a.csv", "project/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    source = "F = 'a.csv'\nread(F).to_csv(F)"
    found = brought(parse(untagged(source), "x.ipynb"), tmp_path / "work", tmp_path / "project")
    assert found.notebook.cells[0].source == "F = 'data/external/a.csv'\nread(F).to_csv(F)"
    assert found.notes == [
        "x.ipynb: cell 1: writes over `a.csv`, which it reads above: write `data/processed/a.csv` there, and where that is read again"
    ]


def test_what_is_not_there_is_said(tmp_path):
    cells = (
        "1", "pd.read_csv('gone.csv')", "pd.read_csv('gone.csv')\nos.walk('/elsewhere/input')\nread_text('select 1')",
        "!wget https://example.com/fetched.csv", "pd.read_csv('fetched.csv')", f"{add.START}%cd ..",
    )  # fmt: skip
    found = brought(parse(untagged(*cells), "x.ipynb"), tmp_path / "work", tmp_path / "project")
    assert found.notes == [
        "x.ipynb: cell 2: `gone.csv` is not there: put it into data/external, and write its path from the project's root (a parameter's in params.yaml)",
        "x.ipynb: cell 3: `/elsewhere/input` is not there: put it into data/external, and write its path from the project's root (a parameter's in params.yaml)",
        "x.ipynb: cell 6, line 7: changes the folder: take that out, and write paths from the project's root",
    ]


def test_what_the_project_has_already_is_no_loss(tmp_path):
    """A notebook from elsewhere that was written for this project: the paths are as they are, and inputs."""
    for name in ("project/data/external/a.csv", "secret.csv", "work/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    source = "read_csv('data/external/a.csv')\nread_csv('./data/external/a.csv')\nread_csv('data/external/b.csv')"
    found = brought(parse(untagged(source), "x.ipynb"), tmp_path / "work", tmp_path / "project")
    assert found.notebook.cells[0].source == source
    assert (found.inputs, found.copies) == ({"data/external/a.csv"}, {})
    assert found.notes == [
        "x.ipynb: cell 1: `data/external/b.csv` is not there: put it into data/external, and write its path from the project's root (a parameter's in params.yaml)"
    ]
    # What lies outside of it is not the project's.
    found = brought(
        parse(untagged("read_csv('../secret.csv')"), "x.ipynb"), tmp_path / "work/deep/er", tmp_path / "project"
    )
    assert not found.inputs and len(found.notes) == 1


# What the notebook says, what becomes of it, the inputs, and the notes.
MADE = {
    "the same": ("read('clean.csv')", None, {"clean.csv"}, ["`clean.csv` is the result of stage `prep`: read from there"]),
    "not beside the notebook": ("read('./gone.csv')", "read('gone.csv')", {"gone.csv"}, ["`gone.csv` is the result of stage `prep`: read from there"]),
    "in a folder": (
        "for name in os.listdir('parts'): read('parts/' + name)", None, {"parts"}, ["`parts` is the result of stage `split`: read from there"],
    ),
    "in a shell line": ("!head clean.csv", None, {"clean.csv"}, []),
    "beside an input": (
        "R = Path('raw')\nread(R / 'b.csv')\nread(R / 'made.csv')",
        "R = Path('data/external/raw')\nread(R / 'b.csv')\nread(Path('raw/made.csv'))",
        {"data/external/raw/b.csv", "raw/made.csv"}, ["`raw/made.csv` is the result of stage `prep`: read from there"],
    ),
    "alone in its folder": (
        "R = Path('raw')\nread(R / 'made.csv')", None, {"raw/made.csv"}, ["`raw/made.csv` is the result of stage `prep`: read from there"],
    ),
    "in another place": (
        "read('data/moved.csv')", "read('data/processed/moved.csv')", {"data/processed/moved.csv"},
        ["`data/processed/moved.csv` is the result of stage `split`: read from there"],
    ),
    "another content": (
        "read('other.csv')", "read('data/external/other.csv')", {"data/external/other.csv"},
        ["`other.csv` differs from the result of stage `prep`: copied; to read that one, write `other.csv` in place of `data/external/other.csv`"],
    ),
    "another content below a name": (
        "R = Path('raw')\nread(R / 'b.csv')\nread(R / 'old.csv')\nO = R / 'old.csv'\nread(O)",
        "R = Path('data/external/raw')\nread(R / 'b.csv')\nread(R / 'old.csv')\nO = R / 'old.csv'\nread(O)",
        {"data/external/raw/b.csv", "data/external/raw/old.csv"},
        ["`raw/old.csv` differs from the result of stage `prep`: copied; to read that one, write `Path(\"raw/old.csv\")` in place of "
         "`R / 'old.csv'`",
         "`raw/old.csv` differs from the result of stage `prep`: copied; to read that one, write `raw/old.csv` in place of `O`"],
    ),
    "a folder of results": (
        "R = Path('tables')\nlist((R / 'all').glob('*.csv'))", None, {"tables/all"}, ["`tables/all` is the result of stage `prep`: read from there"],
    ),
    "a folder of other results": (
        "glob('mixed/*.csv')", "glob('data/external/mixed/*.csv')", {"data/external/mixed"},
        ["`mixed/*.csv` differs from the result of stage `prep`: copied; to read that one, write `mixed/*.csv` in place of "
         "`data/external/mixed/*.csv`"],
    ),
    "not in the project": (
        "read('lost.csv')", "read('data/external/lost.csv')", {"data/external/lost.csv"},
        ["`lost.csv` cannot be compared with the result of stage `prep`: copied; to read that one, write `lost.csv` in place of "
         "`data/external/lost.csv`"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MADE)
def test_the_result_of_a_stage_is_read_where_it_is(tmp_path, case):
    same = ("clean.csv", "parts/1.csv", "parts/2.csv", "raw/made.csv", "tables/all/1.csv", "tables/all/2.csv")
    for name in (*same, "raw/b.csv", "raw/old.csv", "mixed/1.csv", "data/moved.csv", "other.csv", "lost.csv"):
        (tmp_path / "work" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "work" / name).write_text(name)
    for name in (*same, "gone.csv"):
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text(name)
    for name in ("other.csv", "raw/old.csv", "mixed/1.csv"):
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text("another")
    (tmp_path / "project/data/processed").mkdir(parents=True)
    (tmp_path / "project/data/processed/moved.csv").write_text("data/moved.csv")
    made = dict.fromkeys(["clean.csv", "gone.csv", "lost.csv", "other.csv", "raw/made.csv", "raw/old.csv"], "prep")
    made |= dict.fromkeys(["tables/all/1.csv", "tables/all/2.csv", "mixed/1.csv"], "prep")
    made |= dict.fromkeys(["parts", "data/processed/moved.csv"], "split")
    source, expected, inputs, notes = MADE[case]
    found = brought(parse(untagged(source), "x.ipynb"), tmp_path / "work", tmp_path / "project", made)
    assert found.notebook.cells[0].source == (source if expected is None else expected)
    assert found.inputs == inputs
    copies = {place.removesuffix("/1.csv") for place in found.copies.values()}
    assert copies == {path for path in inputs if path.startswith("data/external/")}
    assert found.notes == [f"x.ipynb: cell 1: {note}" for note in notes]


# ---------------------------------------------------------------------------------------------------------------------
# In a real project
# ---------------------------------------------------------------------------------------------------------------------

CHURN = untagged(
    {"cell_type": "markdown", "source": "# Churn"},
    "import json\nimport pandas as pd\nimport matplotlib.pyplot as plt\nimport helpers\n%matplotlib inline",
    "# train\nEPOCHS = 3  # rounds\nRATE: float = 0.5",
    "data = pd.read_csv('customers.csv')\nprint(len(data))",
    "history = pd.DataFrame({'epoch': range(EPOCHS), 'loss': [helpers.loss(RATE, n) for n in range(EPOCHS)]})\n"
    "history.to_csv('history.csv', index=False)\nhistory.plot(x='epoch', figsize=(3, 2))\nplt.savefig('history.png')",
    "with open('metrics.json', 'w') as file:\n    json.dump({'loss': float(history.loss.iloc[-1]), 'rows': len(data)}, file)\n"
    "data.to_pickle('model.pkl')\nagain = pd.read_pickle('model.pkl')",
)
DEPENDENCIES = "pandas, matplotlib, pyarrow, h5py, pillow"


@pytest.fixture(scope="session")
def own_environ(environ, tmp_path_factory) -> dict[str, str]:
    """An environment beside the example's, with what these notebooks import."""
    place = tmp_path_factory.mktemp("environment") / "venv"
    binaries = str(place / ("Scripts" if os.name == "nt" else "bin"))
    return environ | {
        "UV_PROJECT_ENVIRONMENT": str(place),
        "PATH": os.pathsep.join([binaries, environ["PATH"]]),
    }


@pytest.fixture(scope="session")
def churn(template, own_environ, tmp_path_factory) -> Workspace:
    """A project as `copier copy -d start=notebook` makes it around a notebook. Not to be changed."""
    folder = tmp_path_factory.mktemp("churn")
    work = folder / "my wörk"
    work.mkdir()
    (work / "Customer churn.ipynb").write_text(CHURN, encoding="utf-8")
    (work / "customers.csv").write_text("name,left\nAda,1\nGrace,0\n")
    (work / "helpers.py").write_text("def loss(rate, epoch):\n    return rate / (epoch + 1)\n")
    before = contents(work)
    workspace, done = started(template, own_environ, work / "Customer churn.ipynb", folder / "churn")
    assert done.returncode == 0 and contents(work) == before, done.stdout
    workspace.write(".log", done.stdout)
    return workspace


def started(
    template: Path, environ: dict[str, str], notebook: Path, path: Path
) -> tuple[Workspace, subprocess.CompletedProcess]:
    """What `copier copy` makes of a notebook, with the one environment of all these projects, and what it says."""
    command = [
        sys.executable, "-m", "copier", "copy", "--trust", "--defaults", "--quiet", "-d", "start=notebook",
        "-d", f"notebook={notebook}", "-d", f"dependencies={DEPENDENCIES}", str(template), str(path),
    ]  # fmt: skip
    done = subprocess.run(
        command, env=environ, text=True, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return Workspace(path, environ), done


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stage(project: Workspace, name: str) -> dict:
    return YAML(typ="safe").load(project.read("dvc.yaml"))["stages"][name]


def test_a_project_around_a_notebook(churn):
    log = churn.read(".log")
    assert stage(churn, "Customer_churn") == {
        "cmd": "pipeline run notebooks/Customer_churn.ipynb outputs/Customer_churn.ipynb",
        "deps": ["data/external/customers.csv", "notebooks/helpers.py", "outputs/code/Customer_churn.py"],
        "params": ["train"],
        "outs": ["model.pkl", "outputs/Customer_churn.ipynb"],
        "metrics": [{"metrics.json": {"cache": False}}],
        "plots": ["history.csv", "history.png"],
    }, log
    assert churn.read("params.yaml").endswith("\ntrain:\n  epochs: 3 # rounds\n  rate: 0.5\n")
    assert churn.run("dvc", "status").stdout == "Data and pipelines are up to date.\n", log
    assert "Start of the project" in churn.run("git", "log", "--oneline").stdout, log
    assert churn.run("git", "status", "--porcelain", "--", ":!.log").stdout == "", log
    assert churn.pipeline("check").stdout == ""


@pytest.fixture
def project(churn, tmp_path) -> Workspace:
    """A copy of that project, to work in."""
    shutil.copytree(churn.path, tmp_path / "churn", symlinks=True)
    (tmp_path / "churn/.log").unlink()
    return Workspace(tmp_path / "churn", churn.environ)


def test_inputs_and_parameters_rerun_it(project):
    assert "Running stage" not in project.run("dvc", "repro").stdout
    project.replace("params.yaml", "epochs: 3", "epochs: 4")
    assert "Running stage 'Customer_churn'" in project.run("dvc", "repro").stdout
    assert project.read("history.csv").count("\n") == 5
    project.write("data/external/customers.csv", "name,left\nAda,1\n")
    assert "Running stage 'Customer_churn'" in project.run("dvc", "repro").stdout
    project.write("notebooks/helpers.py", "def loss(rate, epoch):\n    return rate\n")
    assert "Running stage 'Customer_churn'" in project.run("dvc", "repro").stdout
    assert '"rows": 1' in project.read("metrics.json") and '"loss": 0.5' in project.read("metrics.json")


SAMPLES = """
import sqlite3, h5py, pandas as pd
from pathlib import Path
from PIL import Image
table = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
table.to_parquet("table.parquet")
table.to_csv("table.csv", index=False)
h5py.File("arrays.h5", "w")["x"] = [1, 2, 3]
for number in range(3):
    Path("images").mkdir(exist_ok=True)
    Image.new("L", (2, 2), number).save(f"images/{number}.png")
base = sqlite3.connect("base.sqlite")
base.execute("create table t (x)")
base.execute("insert into t values (7)")
base.commit()
Path("../shared").mkdir(exist_ok=True)
table.to_csv("../shared/far.csv", index=False)
table.to_csv("../shared/full.csv", index=False)
Path("../shared/tool.py").write_text("def double(x): return 2 * x")
Path("beside.py").write_text("def one(x): return x")
Path("text").mkdir(exist_ok=True)
Path("text/one.txt").write_text("1")
Path("text/two.txt").write_text("2")
"""


@pytest.fixture(scope="session")
def samples(churn, tmp_path_factory) -> Path:
    """The folder of the notebooks below, with what they read."""
    folder = tmp_path_factory.mktemp("samples") / "work"
    folder.mkdir()
    # As that of a repository: what is beside `work` belongs to it.
    folder.with_name("requirements.txt").touch()
    subprocess.run(on_path(["python", "-c", SAMPLES], churn.environ), cwd=folder, env=churn.environ, check=True)
    return folder


@dataclass
class Kind:
    """A notebook as people write them, and what its stage lists besides the notebook's own files."""

    text: str
    deps: list[str] = field(default_factory=list)
    outs: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)
    parameter: tuple[str, str] = ("", "")
    """A line of params.yaml, and another value."""
    change: str = ""
    """Python that changes an input."""


def large() -> str:
    document = json.loads(notebook("N = 1", "print(N)"))
    document["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x" * 30_000_000}]
    return json.dumps(document)


TABLE, NEW_TABLE = "data/external/table.csv", "open('data/external/table.csv', 'w').write('a,b\\n5,6\\n7,8\\n9,0\\n')"
KINDS = {
    "tagged": Kind(
        notebook("ROWS = 2  # to read", "import pandas as pd\npd.read_csv('table.csv', nrows=ROWS).to_csv('head.csv', index=False)"),
        deps=[TABLE], outs=["head.csv"], parameter=("rows: 2", "rows: 1"), change=NEW_TABLE,
    ),
    "untagged": Kind(
        untagged({"cell_type": "markdown", "source": "# Title"}, "import json", "# score\nLIMIT = 2  # at most",
                 "rows = len(open('table.csv').readlines()) - 1\njson.dump({'rows': min(rows, LIMIT)}, open('score.json', 'w'))"),
        deps=[TABLE], metrics=["score.json"], parameter=("limit: 2", "limit: 1"), change=NEW_TABLE,
    ),
    "scattered": Kind(
        untagged("import pandas as pd", "PATH = 'table.csv'\ndata = pd.read_csv(PATH)", "steps = 3\nfor step in range(steps):\n    pass",
                 "# what is lost\nrate = 0.5\npd.DataFrame({'step': range(steps), 'loss': rate}).to_csv('loss.csv', index=False)"),
        deps=[TABLE], plots=["loss.csv"], parameter=("rate: 0.5", "rate: 0.25"), change=NEW_TABLE,
    ),
    "shell": Kind(
        untagged("%matplotlib inline\nimport matplotlib.pyplot as plt", "!cat text/one.txt\nfiles = !ls text",
                 "WIDTH = 3\nplt.figure(figsize=(WIDTH, 2))\nplt.plot([1, 2])\nplt.savefig('line.png')", "%%time\nopen('text/two.txt').read()"),
        deps=["data/external/text"], plots=["line.png"], parameter=("width: 3", "width: 4"),
        change="open('data/external/text/one.txt', 'w').write('3')",
    ),
    "far": Kind(
        untagged("import pandas as pd\nN = 1", "full = pd.read_csv('ABSOLUTE/full.csv')",
                 "pd.read_csv('../shared/far.csv').head(N).to_csv('../shared/new.csv', index=False)"),
        deps=["data/external/shared"], outs=["outputs/new.csv"], parameter=("n: 1", "n: 2"),
        change="open('data/external/shared/full.csv', 'w').write('a,b\\n5,6\\n')",
    ),
    "pathlib": Kind(
        untagged("from pathlib import Path\nimport os\nHERE = Path('text')\nNOTE = 'x'",
                 "(HERE / 'one.txt').read_text()\nopen(os.path.join('images', '0.png'), 'rb').read()\n"
                 "Path('results').mkdir(exist_ok=True)\n(Path('results') / 'note.txt').write_text(NOTE)"),
        deps=["data/external/images/0.png", "data/external/text/one.txt"], outs=["results/note.txt"], parameter=("note: x", "note: y"),
        change="open('data/external/text/one.txt', 'w').write('3')",
    ),
    "parquet": Kind(
        untagged("import pyarrow.parquet as pq", "COLUMN = 'a'\npq.read_table('table.parquet', memory_map=True)[COLUMN].to_pylist()"),
        deps=["data/external/table.parquet"], parameter=("column: a", "column: b"),
        change="import pandas as pd; pd.DataFrame({'a': [5], 'b': [6]}).to_parquet('data/external/table.parquet')",
    ),
    "h5": Kind(
        untagged("import h5py", "COUNT = 2\nwith h5py.File('arrays.h5') as file:\n    print(file['x'][:COUNT])"),
        deps=["data/external/arrays.h5"], parameter=("count: 2", "count: 1"),
        change="import h5py; h5py.File('data/external/arrays.h5', 'w')['x'] = [4, 5, 6]",
    ),
    "images": Kind(
        untagged("from PIL import Image\nfrom glob import glob", "SIDE = 2\nfor name in sorted(glob('images/*.png')):\n"
                 "    print(Image.open(name).resize((SIDE, SIDE)).getpixel((0, 0)))"),
        deps=["data/external/images"], parameter=("side: 2", "side: 3"),
        change="from PIL import Image; Image.new('L', (2, 2), 9).save('data/external/images/1.png')",
    ),
    "sqlite": Kind(
        untagged("import sqlite3", "COUNT = 1\nsqlite3.connect('base.sqlite').execute('select x from t limit ?', (COUNT,)).fetchall()"),
        deps=["data/external/base.sqlite"], parameter=("count: 1", "count: 2"),
        change="import sqlite3; c = sqlite3.connect('data/external/base.sqlite'); c.execute('insert into t values (8)'); c.commit()",
    ),
    "readback": Kind(
        untagged("import pickle, json", "pickle.dump([1], open('list.pkl', 'wb'))", "pickle.load(open('list.pkl', 'rb'))",
                 "SCORE = 1.5\njson.dump({'score': SCORE}, open('score.json', 'w'))\njson.dump({'name': 'x'}, open('names.json', 'w'))"),
        outs=["list.pkl", "names.json"], metrics=["score.json"], parameter=("score: 1.5", "score: 2.5"),
    ),
    "modules": Kind(
        untagged("import sys\nsys.path.append('../shared')\nimport tool\nimport beside", "N = 2\nprint(tool.double(beside.one(N)))"),
        deps=["notebooks/beside.py", "notebooks/tool.py"], parameter=("n: 2", "n: 3"),
        change="open('notebooks/tool.py', 'a').write('MORE = 1\\n')",
    ),
    "no_parameters": Kind(untagged("print(open('table.csv').read())"), deps=[TABLE], change=NEW_TABLE),
    "listed": Kind(
        untagged("import os\nFOLDER = 'text'\nlen(os.listdir(FOLDER))"), deps=["data/external/text"],
        change="open('data/external/text/new.txt', 'w').write('3')",
    ),
    "nothing": Kind(untagged()),
    "large": Kind(large(), parameter=("n: 1", "n: 2")),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_project_around_each_kind(template, samples, churn, tmp_path, name):
    kind = KINDS[name]
    shared = (samples.parent / "shared").as_posix()
    (samples / f"{name}.ipynb").write_text(kind.text.replace("ABSOLUTE", shared))
    before = contents(samples)
    environ = churn.environ | {"PIPELINE_STRICT": "1"}  # what it reads and writes is declared
    project, done = started(template, environ, samples / f"{name}.ipynb", tmp_path / "project")
    assert contents(samples) == before
    made = stage(project, name)
    assert made["deps"] == sorted([*kind.deps, f"outputs/code/{name}.py"]), done.stdout
    assert made["outs"] == sorted([*kind.outs, f"outputs/{name}.ipynb"])
    assert made.get("metrics", []) == [{path: {"cache": False}} for path in kind.metrics]
    assert made.get("plots", []) == kind.plots
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n", done.stdout
    assert project.run("git", "status", "--porcelain").stdout == "" and project.pipeline("check").stdout == ""
    assert "Start of the project" in project.run("git", "log", "--oneline").stdout, done.stdout
    # Neither the outputs nor anything else that is large is git's.
    assert (project.path / f"notebooks/{name}.ipynb").stat().st_size < 5000

    assert "Running stage" not in project.run("dvc", "repro").stdout
    if kind.parameter[0]:
        project.replace("params.yaml", *kind.parameter)
        assert f"Running stage '{name}'" in project.run("dvc", "repro").stdout
    if kind.change:
        project.run("python", "-c", kind.change)
        assert f"Running stage '{name}'" in project.run("dvc", "repro").stdout


# What the notebook is, what `copier copy` says, the deps of the stage that there is nevertheless, and what mends it.
BROKEN = {
    "syntax": (
        untagged("N = 1", "open('text/one.txt').read()", "print(N))"),
        ["notebooks/syntax.ipynb: cell 4, line 1: SyntaxError: unmatched ')'",
         "notebooks/syntax.ipynb: the run failed; stage `syntax` in dvc.yaml has what it touched until then: mend the notebook, "
         "`git add --all .`, then: uv run pipeline add notebooks/syntax.ipynb",
         "syntax.ipynb` failed; later: uv run pipeline add notebooks/syntax.ipynb"],
        ["data/external/text/one.txt"], ("print(N))", "print(N)"),
    ),
    "missing": (
        untagged("import nowhere_to_be_found\nfrom google.colab import drive", "open('text/one.txt').read()"),
        ["notebooks/missing.ipynb: needs what this environment lacks: uv add nowhere-to-be-found, `git add --all .`, then: uv run "
         "pipeline add notebooks/missing.ipynb",
         "notebooks/missing.ipynb: imports google.colab, which no package brings: take it out, `git add --all .`, then: uv run "
         "pipeline add notebooks/missing.ipynb"],
        ["data/external/text/one.txt"], ("import nowhere_to_be_found", "import json"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_project_around_what_cannot_run(template, samples, churn, tmp_path, name):
    text, messages, deps, mend = BROKEN[name]
    (samples / f"{name}.ipynb").write_text(text)
    project, done = started(template, churn.environ, samples / f"{name}.ipynb", tmp_path / "project")
    assert done.returncode == 0 and all(message in done.stdout for message in messages), done.stdout
    assert "The project is here, but not all of it is set up." in done.stdout and ".pipeline/" not in done.stdout
    assert stage(project, name)["deps"] == sorted([*deps, f"outputs/code/{name}.py"])
    assert "Start of the project" in project.run("git", "log", "--oneline").stdout
    assert not {f"outputs/{name}.ipynb", f"outputs/code/{name}.py"} & {*project.run("git", "ls-files").stdout.split()}
    # The same command goes on from there.
    project.replace(f"notebooks/{name}.ipynb", *mend)
    if name == "missing":
        project.replace("notebooks/missing.ipynb", "from google.colab import drive", "")
    again = ("setup", "--notebook", str(samples / f"{name}.ipynb"))
    assert f"made a stage of notebooks/{name}.ipynb\n" in project.pipeline(*again).stdout
    assert f"notebooks/{name}.ipynb has a stage already\n" in project.pipeline(*again).stdout
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"


REFUSED = {
    "r": (notebook("N <- 1", language="R"), "FILE: its language is r. Fix: use a Python notebook"),
    "json": ("{", "FILE:1: not a valid notebook (broken JSON). "),
    "other": ("{}", "FILE: not a valid notebook (JSON of another kind). Fix: use a file that Jupyter wrote"),
    "gone": (None, "FILE: does not exist. Fix: correct the path"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_project_around_what_is_no_notebook(template, environ, tmp_path, name):
    text, message = REFUSED[name]
    file = tmp_path / f"{name}.ipynb"
    if text is not None:
        file.write_text(text)
    _, done = started(template, environ, file, tmp_path / "project")
    assert done.returncode == 1 and not (tmp_path / "project").exists()
    assert done.stdout.splitlines()[-1].startswith(f"notebook: {message.replace('FILE', file.as_posix())}"), done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("name", ["far", "readback"])
def test_a_notebook_becomes_one_more_stage(project, samples, name):
    kind = KINDS[name]
    (samples / f"{name}.ipynb").write_text(kind.text.replace("ABSOLUTE", (samples.parent / "shared").as_posix()))
    before, lines = contents(samples), project.read("dvc.yaml").splitlines()
    done = project.pipeline("add", str(samples / f"{name}.ipynb"))
    assert contents(samples) == before
    assert stage(project, name)["deps"] == sorted([*kind.deps, f"outputs/code/{name}.py"]), done.stdout
    assert stage(project, name)["outs"] == sorted([*kind.outs, f"outputs/{name}.ipynb"])
    # What was there is there, but for the list of notebooks whose code is written.
    changed = [line for line in lines if line not in project.read("dvc.yaml").splitlines()]
    assert changed == ["      notebook: [Customer_churn]"]
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
    assert project.pipeline("check").stdout == ""
    assert project.run("git", "diff", "--exit-code", "--stat", "--", "notebooks/Customer_churn.ipynb").stdout == ""


def test_the_next_notebook_reads_what_the_first_one_makes(project, tmp_path):
    """Both have run where they were written: the results of then lie there, too."""
    work = tmp_path / "work"
    (work / "results/old").mkdir(parents=True)
    (work / "results/old/1.txt").write_text("1")
    (work / "clean.csv").write_text("2")
    (work / "prep.ipynb").write_text(
        untagged("N = 2\nopen('clean.csv', 'w').write(str(N))", "import os\nprint(os.listdir())")
    )
    (work / "train.ipynb").write_text(
        untagged("from pathlib import Path\nOUT = Path('results')\nprint(str(OUT))",
                 "(OUT / 'figures').mkdir(parents=True, exist_ok=True)\nROUNDS = 3\n(OUT / 'model.txt').write_text(open('clean.csv').read() * ROUNDS)")
    )  # fmt: skip
    project.pipeline("add", str(work / "prep.ipynb"))
    project.run("git", "add", "--all")
    said = project.pipeline("add", str(work / "train.ipynb")).stdout
    assert "/work/train.ipynb: cell 2: `clean.csv` is the result of stage `prep`: read from there\n" in said
    assert stage(project, "train")["deps"] == ["clean.csv", "outputs/code/train.py"]
    assert stage(project, "train")["outs"] == ["outputs/train.ipynb", "results/model.txt"]
    assert [path.name for path in (project.path / "data/external").iterdir()] == ["customers.csv"]
    project.replace("params.yaml", "n: 2", "n: 4")
    ran = project.run("dvc", "repro").stdout
    assert (
        "Running stage 'prep'" in ran and "Running stage 'train'" in ran and project.read("results/model.txt") == "444"
    )


FAILURES = {
    "r": (notebook("N <- 1", language="R"), "r.ipynb: its language is r. Fix: use a Python notebook"),
    "gone": (None, "gone.ipynb: does not exist. Fix: correct the path"),
    "two": (
        notebook("N = 1", {"source": "N = 2", "metadata": {"tags": ["parameters"]}}),
        "two.ipynb: cells 1 and 2 are tagged `parameters`",
    ),
    "theirs": (
        untagged("open('history.csv', 'w').write('x')"),
        "theirs.ipynb: writes history.csv, a result of stage `Customer_churn`: give the file another name there, "
        "`git add --all .`, then: uv run pipeline add ",
    ),
    "near": (
        untagged("open('far/a.csv')"), "data/external/far_a.csv is there already, and another file: rename the one that near.ipynb reads first\n",
    ),
    "helped": (
        untagged("import helpers"), "notebooks/helpers.py is there already, and another file: rename the one that helped.ipynb imports first\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_what_is_no_stage(project, tmp_path, name):
    text, message = FAILURES[name]
    inputs = project.path / "data/external"
    for place in (tmp_path / "far/a.csv", inputs / "far/a.csv", inputs / "far_a.csv"):
        place.parent.mkdir(exist_ok=True)
        place.write_text(place.as_posix())
    (tmp_path / "helpers.py").write_text("def another():\n    pass\n")
    if text is not None:
        (tmp_path / f"{name}.ipynb").write_text(text)
    done = project.pipeline("add", str(tmp_path / f"{name}.ipynb"), check=False)
    assert done.returncode == 1
    assert message in done.stdout and ".pipeline/" not in done.stdout
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_a_stage_is_brought_up_to_date(project):
    project.replace("dvc.yaml", "params:\n      - train", "params:\n      - train # mine")
    project.write("data/external/more.txt", "x")
    project.replace(
        "notebooks/Customer_churn.ipynb",
        "print(len(data))",
        "print(len(data), WIDTH, open('data/external/more.txt').read())",
    )
    project.replace(
        "notebooks/Customer_churn.ipynb", '"RATE: float = 0.5"', '"RATE: float = 0.5\\n",\n    "WIDTH = 7  # of it"'
    )
    refused = project.pipeline("add", "notebooks/Customer_churn.ipynb", check=False)
    assert refused.returncode == 1
    assert refused.stdout == (
        "dvc.yaml: changed since git last had it, and this would change it: `git add dvc.yaml` first, so that it can be undone\n"
    )
    project.run("git", "add", "--all")
    done = project.pipeline("add", "notebooks/Customer_churn.ipynb").stdout
    assert "params.yaml:6: added `width: 7` to `train`\n" in done
    assert "dvc.yaml: added data/external/more.txt to the `deps:` of stage `Customer_churn`\n" in done
    assert "- train # mine" in project.read("dvc.yaml")
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
    # Undone with git.
    project.run("git", "checkout", "--", "params.yaml", "dvc.yaml")
    assert "more.txt" not in project.read("dvc.yaml")


def test_results_whose_names_another_run_changes(project, tmp_path):
    source = (
        "import os, time\nfor folder in ('models', 'logs', 'parts', 'mixed', 'outputs/deep'): os.makedirs(folder, exist_ok=True)\n"
        "open(f'models/{KIND}_{DEPTH}.pkl', 'w').write(KIND)\nopen(time.strftime('logs/%Y-%m-%d.log'), 'w').write('x')\n"
        "for n in range(DEPTH): open(f'parts/{n}.csv', 'w').write('x')\n"
        "open(f'd_{DEPTH}.txt', 'w').write('x')\nopen('note_v' + str(2) + '.txt', 'w').write('x')\nopen(f'mixed/{KIND}.csv', 'w').write('x')\nopen('mixed/score.json', 'w').write('{\"a\": 1}')"
    )
    (tmp_path / "deep.ipynb").write_text(untagged("KIND = 'tree'\nDEPTH = 2\nFAST = True", source, "print(FAST)"))
    said = project.pipeline("add", str(tmp_path / "deep.ipynb")).stdout
    assert "dvc.yaml: lists models as a whole: models/tree_2.pkl has the value of `KIND` in its name\n" in said
    assert re.search(r"^dvc.yaml: lists logs as a whole: logs/[\d-]+.log has the time in its name$", said, re.MULTILINE)
    assert "dvc.yaml: lists parts as a whole: parts/0.csv has a number in its name\n" in said
    for path, name in (("d_2.txt", "DEPTH"), ("mixed/tree.csv", "KIND")):
        assert (
            f"notebooks/deep.ipynb: writes {path}, which has the value of `{name}` in its name, and the stage fails where that is "
            "another: give it one name, DVC keeps that of each run; or write it to outputs/deep/, and dvc.yaml lists the folder; "
            "then `git add --all .`, then: uv run pipeline add notebooks/deep.ipynb\n"
        ) in said
    assert "note_v2" not in said.partition("dvc.yaml: added stage")[0]
    outs = [
        "d_2.txt",
        "logs",
        "mixed/tree.csv",
        "models",
        "note_v2.txt",
        "outputs/deep.ipynb",
        "parts",
    ]
    assert stage(project, "deep")["outs"] == outs
    # What is said works, and so does the next run with other values.
    project.replace("notebooks/deep.ipynb", "d_{DEPTH}.txt", "outputs/deep/{DEPTH}.txt")
    project.replace("notebooks/deep.ipynb", "mixed/{KIND}.csv", "mixed/kind.csv")
    for path in ("d_2.txt", "mixed/tree.csv"):
        project.replace("dvc.yaml", f"      - {path}\n", "")
    project.run("git", "add", "--all")
    project.pipeline("add", "notebooks/deep.ipynb")
    assert {"mixed/kind.csv", "outputs/deep"} < {*stage(project, "deep")["outs"]}
    project.run("git", "add", "--all")
    assert "in its name" not in project.pipeline("add", "notebooks/deep.ipynb").stdout
    project.replace("params.yaml", "kind: tree", "kind: bush")
    project.replace("params.yaml", "depth: 2", "depth: 3")
    project.run("git", "add", "--all")
    project.run("dvc", "repro")
    assert [path.name for path in (project.path / "models").glob("*.pkl")] == ["bush_3.pkl"]
    assert "Running stage" not in project.run("dvc", "repro").stdout


def test_paths_in_configuration_and_modules_are_named(project, tmp_path):
    work = tmp_path / "work"
    (work / "data").mkdir(parents=True)
    (work / "data/train.csv").write_text("1")
    (work / "config.yaml").write_text(
        "# of data/train.csv\ntrain: data/train.csv\nold: data/external/customers.csv\nout: new.csv\n"
    )
    (work / "config.json").write_text(
        json.dumps({"a": ["./data", "data/train.csv", "config.yaml", "data/", "gone.csv"]}, indent=1)
    )
    (work / "tool.py").write_text("PLACE = './data/train.csv'\n")
    source = "import tool\nfor name in ('config.yaml', 'config.json'): print(open(name).read())"
    (work / "led.ipynb").write_text(untagged(source))
    said = project.pipeline("add", str(work / "led.ipynb")).stdout
    stays = ": paths in it stay as they are: put what is read into data/external, and write its path from the project's root there\n"
    assert f"data/external/config.yaml: names `data/train.csv` (line 2){stays}" in said
    assert (
        f"data/external/config.json: names `./data` (line 3), `data/train.csv` (line 4), `config.yaml` (line 5), ...{stays}"
        in said
    )
    assert f"notebooks/tool.py: names `./data/train.csv` (line 1){stays}" in said


def test_a_folder_of_results_that_the_notebook_only_found(project, tmp_path):
    """Where it was written, the folder was there; in the project DVC takes it away before each run."""
    for folder in ("work/figs", "up/old", "work/made"):
        (tmp_path / folder).mkdir(parents=True)
    source = (
        "import os\nos.makedirs('made', exist_ok=True)\ndef keep(name):\n    path = os.path.join('figs', name)\n"
        "    open(path, 'w').write('x')\nkeep(f'{N}.txt')\nopen(f'../up/old/{N}.txt', 'w').write('x')\nopen('made/' + 'a', 'w').write('x')"
    )
    (tmp_path / "work/found.ipynb").write_text(untagged("N = 1", source))
    project.pipeline("add", str(tmp_path / "work/found.ipynb"))
    assert "data/external" not in str(stage(project, "found"))
    assert 'for folder in ["figs", "outputs/old"]:' in read(project.path / "notebooks/found.ipynb").cells[0].source
    project.run("git", "add", "--all")
    project.replace("params.yaml", "n: 1", "n: 2")
    project.run("dvc", "repro")
    assert [path.name for path in (project.path / "figs").glob("*.txt")] == ["2.txt"]


def test_what_is_lifted_keeps_its_value_beside_another_stages(project, tmp_path):
    """Of the name of a key that another stage has, with another value, and where the stage has no parameter yet."""
    rate = re.search(r"^  rate: (.*)$", project.read("params.yaml"), re.MULTILINE)[1]
    (tmp_path / "other.ipynb").write_text(
        untagged("def fit(rate=1, seed=2):\n    print(rate, seed)\n\nfit(rate=9, seed=5)")
    )
    said = project.pipeline("add", str(tmp_path / "other.ipynb")).stdout
    assert "`--lift rate,seed` makes them so" in said
    project.run("git", "add", "--all")
    said = project.pipeline("add", "notebooks/other.ipynb", "--lift", "rate,seed").stdout
    assert "\n9 5\n" in said and "params.yaml: added `other`: rate, seed\n" in said
    assert "dvc.yaml: added `other` to the `params:` of stage `other`\n" in said
    assert stage(project, "other")["params"] == ["other"] and f"  rate: {rate}\n" in project.read("params.yaml")
    assert project.pipeline("check").stdout == ""


def test_a_notebook_is_asked_for_where_it_would_be_written(project):
    project.replace("notebooks/Customer_churn.ipynb", '"parameters"', '"Parameters"')
    assert project.pipeline("add", "notebooks/Customer_churn.ipynb", check=False).stdout == (
        "notebooks/Customer_churn.ipynb: changed since git last had it, and this would change it: "
        "`git add notebooks/Customer_churn.ipynb` first, so that it can be undone\n"
    )


def test_what_is_said_of_a_run_that_failed_works(project, tmp_path):
    source = (
        "open('early.csv', 'w').write('a')\n1 / 0\nfor name in ('one', 'two'):\n"
        "    open(f'text/{name}.txt').read()\nif 0:\n    open('late.csv', 'w').write('a')"
    )
    (tmp_path / "text").mkdir()
    for name in ("one", "two", "three", "four"):
        (tmp_path / f"text/{name}.txt").write_text("x")
    project.write("late.csv", "mine")
    (tmp_path / "early.ipynb").write_text(untagged(source))
    done = project.pipeline("add", str(tmp_path / "early.ipynb"), check=False)
    assert done.returncode == add.INCOMPLETE and done.stdout.endswith(
        "notebooks/early.ipynb: the run failed; stage `early` in dvc.yaml has what it touched until then: mend the notebook, "
        "`git add --all .`, then: uv run pipeline add notebooks/early.ipynb\n"
    )
    assert project.read("late.csv") == "mine"
    # Before the run has been seen, what the code tells; then what it did.
    assert stage(project, "early")["deps"] == ["data/external/text", "outputs/code/early.py"]
    assert stage(project, "early")["outs"] == ["early.csv", "late.csv", "outputs/early.ipynb"]
    project.replace("notebooks/early.ipynb", "1 / 0", "1 / 1")
    project.run("git", "add", "--all")
    assert not {"early.csv", "outputs/early.ipynb"} & {*project.run("git", "ls-files").stdout.split()}
    # The notebook itself is only read.
    project.replace("notebooks/early.ipynb", "1 / 1", "1 / 2")
    project.pipeline("add", "notebooks/early.ipynb")
    deps = ["data/external/text/one.txt", "data/external/text/two.txt", "outputs/code/early.py"]
    assert stage(project, "early")["deps"] == deps
    assert stage(project, "early")["outs"] == ["early.csv", "outputs/early.ipynb"]
    assert project.read("late.csv") == "mine"
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", "early")


def test_a_result_that_git_tracks(project, tmp_path):
    project.write("kept.csv", "mine")
    project.run("git", "add", "--all")
    (tmp_path / "kept.ipynb").write_text(untagged("open('kept.csv', 'w').write('a')"))
    done = project.pipeline("add", str(tmp_path / "kept.ipynb"), check=False)
    assert done.returncode == 1 and done.stdout.splitlines()[-1] == (
        "notebooks/kept.ipynb: git tracks results of its stage, which DVC is to keep: `git rm -r --cached kept.csv`, "
        f"then: uv run pipeline add {tmp_path}/kept.ipynb"
    )
    assert project.read("kept.csv") == "mine" and project.run("git", "status", "--porcelain").stdout == "A  kept.csv\n"
    project.run("git", "rm", "-r", "--cached", "kept.csv")
    project.pipeline("add", str(tmp_path / "kept.ipynb"))
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"


def test_a_run_finds_no_results_of_before(project, tmp_path):
    cells = ("N = 1", "import os\nif not os.path.exists('cache.csv'):\n    open('cache.csv', 'w').write(str(N))",
             "import sqlite3\nbase = sqlite3.connect('made.db')\nbase.execute('create table t (x)')\nbase.close()")  # fmt: skip
    project.write("cache.csv", "of another project")
    (tmp_path / "cached.ipynb").write_text(untagged(*cells))
    project.pipeline("add", str(tmp_path / "cached.ipynb"))
    assert project.read("cache.csv") == "1"
    again = ("add", "notebooks/cached.ipynb")
    project.run("git", "add", "--all")
    project.replace("params.yaml", "n: 1", "n: 2")
    project.run("git", "add", "--all")
    project.pipeline(*again)
    assert project.read("cache.csv") == "2"
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
    # What it does not make stays, and is not taken for what it made.
    project.replace("notebooks/cached.ipynb", "if not os", "if 0 and not os")
    done = project.pipeline(*again, check=False)
    assert done.returncode == add.INCOMPLETE and done.stdout.splitlines()[-1] == (
        "notebooks/cached.ipynb: did not write cache.csv, which stage `cached` lists among its results: take it off the list, "
        "or write it"
    )
    assert project.read("cache.csv") == "2" and not [*(project.path / ".dvc/tmp").glob("results-*")]
    # As DVC does, it leaves in place what is to stay there.
    project.replace("dvc.yaml", "      - cache.csv\n", "      - cache.csv:\n          persist: true\n")
    project.replace("notebooks/cached.ipynb", "if 0 and not os", "if not os")
    project.replace("params.yaml", "n: 2", "n: 3")
    project.run("git", "add", "--all")
    project.pipeline(*again)
    assert project.read("cache.csv") == "2"


@pytest.mark.parametrize("dropped", [False, True])
def test_what_is_moved_out_of_the_way_comes_back(tmp_path, monkeypatch, dropped):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv", "folder/1/x", "folder/2"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("old")
    with pytest.raises(KeyboardInterrupt), add._moved_aside({"a.csv", "b.csv", "folder", "gone"}) as moved:
        assert not {"a.csv", "b.csv", "folder"} & {*os.listdir()}
        Path("folder/1").mkdir(parents=True)
        for name in ("a.csv", "folder/2"):
            Path(name).write_text("new")
        if dropped:
            del moved["folder"]
        raise KeyboardInterrupt
    texts = {path.as_posix(): path.read_text() for path in Path().rglob("*") if path.is_file()}
    of_folder = {} if dropped else {"folder/1/x": "old"}
    assert texts == {"a.csv": "new", "b.csv": "old", "folder/2": "new"} | of_folder
    assert os.listdir(".dvc/tmp") == []


def test_whose_entry_is_add_s_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = add._Entry("fit", "notebooks/fit.ipynb", ["fit"], {"data/external"}, {"a.csv", "b.png"})
    head, rest = "stages:\n", "\n  more:\n    cmd: x\n"
    for after in ("", rest, f"# of mine\n{rest}", f"\n\n{rest}", "plots: []\n"):
        Path("dvc.yaml").write_text(head + entry.text() + after)
        found = add._Entry.of_unrecorded(Project().stage("fit"))
        assert (found.deps, found.outs) == ({"data/external", "outputs/code/fit.py"}, entry.outs)
    Path("dvc.lock").write_text("stages:\n  fit:\n    cmd: x\n")
    assert add._Entry.of_unrecorded(Project().stage("fit")) is None
    Path("dvc.lock").write_text("stages:\n  more:\n    cmd: x\n")
    assert add._Entry.of_unrecorded(Project().stage("fit"))
    for after in ("    frozen: true\n", "\n    frozen: true\n", "    # of mine\n"):
        Path("dvc.yaml").write_text(head + entry.text() + after + rest)
        assert add._Entry.of_unrecorded(Project().stage("fit")) is None
    Path("dvc.yaml").write_text(head + entry.text().replace("external\n", "external # mine\n"))
    assert add._Entry.of_unrecorded(Project().stage("fit")) is None


def test_line_ends_are_those_that_git_will_keep(project, samples):
    """DVC records what lies on the disk: with others it would be another file in each clone."""
    (samples / "of_windows.py").write_bytes(b"WIDTH = 2\r\n")
    (samples / "ends.ipynb").write_bytes(
        untagged("import of_windows", "print(of_windows.WIDTH)").encode().replace(b"\n", b"\r\n")
    )
    project.pipeline("add", str(samples / "ends.ipynb"))
    for name in ("of_windows.py", "ends.ipynb"):
        assert b"\r" not in (project.path / "notebooks" / name).read_bytes()


def test_a_notebook_is_written_as_editors_write_it(tmp_path):
    """So that `git diff` shows what has changed, and no more."""
    cells = ({"source": ["N = 1"]}, {"source": ["print(N)"]})
    text = json.dumps(json.loads(untagged(*cells)), indent=1, sort_keys=True) + "\n"
    (tmp_path / "x.ipynb").write_text(text)
    add._write_notebook((tmp_path / "x.ipynb").as_posix(), read(tmp_path / "x.ipynb").document, is_copy=False)
    assert (tmp_path / "x.ipynb").read_text() == text


def test_a_notebook_that_changes_the_folder_starts_in_the_root_once_that_is_taken_out():
    made = add._starting_in_root(parse(untagged("import os\nos.chdir('..')"), "x.ipynb"), has_modules=False)
    assert [cell.source for cell in made.cells] == [add.START.rstrip("\n"), "import os\nos.chdir('..')"]
    assert add._starting_in_root(made, has_modules=True) is made


def test_the_cure_of_an_old_format_has_quotes_where_it_needs_them():
    with pytest.raises(NotebookError, match='--inplace "my old.ipynb"`$'):
        parse('{"nbformat": 3, "worksheets": []}', "my old.ipynb")


def test_what_the_commit_makes_of_it_is_there_before_the_run(project, tmp_path):
    """The project's hooks change nothing of what was recorded; what another hook changes, the last one says."""
    unsorted = "import sys\nimport os\n"
    old = [{"output_type": "stream", "name": "stdout", "text": "old"}]
    cells = (
        "N = 2", {"source": f"{unsorted}from local import f", "outputs": old},
        "%run beside.ipynb\nprint( f(N), globals()['g'](N), os, sys )",
    )  # fmt: skip
    project.write("notebooks/here.ipynb", notebook(*cells))
    project.write("notebooks/local.py", f"{unsorted}def f(n): return n\n")
    project.write("notebooks/beside.ipynb", notebook({"source": f"{unsorted}def g(n):\n    return n"}))
    (tmp_path / "over").mkdir()
    (tmp_path / "over/conf.py").write_text(f"{unsorted}LIMIT = 5\n")
    (tmp_path / "over/helper.ipynb").write_text(notebook({"source": f"{unsorted}def h(n):\n    return n"}))
    (tmp_path / "over/there.ipynb").write_text(
        notebook("N = 2", "%run -i conf.py\n%run helper.ipynb", "print( h(N), LIMIT )")
    )
    project.pipeline("add", "notebooks/here.ipynb")
    project.run("git", "add", "--all")
    project.pipeline("add", str(tmp_path / "over/there.ipynb"))
    assert {"notebooks/conf.py", "notebooks/helper.ipynb"} <= {*stage(project, "there")["deps"]}
    assert {"notebooks/local.py", "notebooks/beside.ipynb"} <= {*stage(project, "here")["deps"]}
    project.run("git", "add", "--all")
    project.run("git", "commit", "--message", "Two more")
    assert project.run("git", "status", "--porcelain").stdout == ""
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"

    project.write("more.py", "import sys\n\nfor path in sys.argv[1:]:\n    open(path, 'a').write('# more\\n')\n")
    project.replace(".pre-commit-config.yaml", "      # Hooks of your own", """\
      - id: more
        name: more
        entry: uv run python more.py
        language: system
        files: ^notebooks/local.py$
      # Hooks of your own""")  # fmt: skip
    project.write("notebooks/local.py", project.read("notebooks/local.py") + "\n\nx = 1\n")
    said = "notebooks/local.py: a hook changed what dvc.lock recorded. Fix: run `uv run dvc repro` and commit again"
    project.run("git", "add", "--all")
    # Not of what is stale in any case.
    assert said not in project.run("git", "commit", "--message", "More", check=False).stdout
    project.run("dvc", "repro", "--quiet", "here")
    project.run("git", "add", "--all")
    assert said in project.run("git", "commit", "--message", "More", check=False).stdout.splitlines()


def test_what_it_runs_comes_along_or_is_named(tmp_path):
    for name in ("lib/conf.py", "up.py", "my helper.ipynb"):
        path = tmp_path / "origin" / name if name != "up.py" else tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("import bs4" if name.endswith(".py") else notebook("import cv2"))
    source = (
        "%run -i -N 3 lib/conf --x lib/conf\nif True:\n    %run '../up.py' 1\n%run \"my helper.ipynb\"\n%run gone.py\n%run {which}\n"
        "%run -m pkg\n%load up\n%run made.py"
    )
    given, origin = parse(untagged("%%writefile made.py\nx = 1", source), "x.ipynb"), tmp_path / "origin"
    modules = add._modules(given, origin)
    assert {file.relative_to(tmp_path).as_posix(): place for file, place in modules.items()} == {
        "origin/lib/conf.py": "notebooks/lib/conf.py", "up.py": "notebooks/up.py",
        "origin/my helper.ipynb": "notebooks/my helper.ipynb",
    }  # fmt: skip
    assert imports.distributions(given, origin) == ["beautifulsoup4", "opencv-python-headless"]
    assert imports.with_runs_followed(given, origin, modules).cells[1].source == (
        '%run -i -N 3 notebooks/lib/conf.py --x lib/conf\nif True:\n    %run notebooks/up.py 1\n%run "notebooks/my helper.ipynb"\n'
        "%run gone.py\n%run {which}\n%run -m pkg\n%load up\n%run made.py"
    )
    assert imports.missing_runs(given, origin) == [
        "x.ipynb: cell 2, line 5: `%run gone.py`: the file does not exist. Fix: put it beside the notebook",
        "x.ipynb: cell 2, line 8: `%run up`: the file does not exist. Fix: put it beside the notebook",
    ]
    with pytest.raises(add.Refused, match="conf.py: would be notebooks/conf.py, and so would "):
        (tmp_path / "conf.py").write_text("")
        (origin / "conf.py").write_text("")
        add._modules(parse(untagged("import conf", "%run ../conf.py"), "x.ipynb"), origin)


def test_links_stay_links(bare, tmp_path):
    """What a person shares by a link is written where it lies; a copy that is there already stays as it is."""
    (tmp_path / "p").mkdir()
    bare.path = (tmp_path / ".pipeline").rename(tmp_path / "p/.pipeline").parent
    bare.run("dvc", "init", "--quiet", "--no-scm")
    texts = {
        "params.yaml": "", "dvc.yaml": "stages:\n", "notebooks/x.ipynb": untagged("N = 2", "print( N )"),
        "data/external/a.csv": "1",
    }  # fmt: skip
    shared = tmp_path / "shared"
    shared.mkdir()
    for name, text in texts.items():
        place = bare.write(name, text)
        place.rename(shared / place.name)
        place.symlink_to(shared / place.name)
    bare.pipeline("add", "--no-run", "notebooks/x.ipynb")
    (tmp_path / "a.csv").write_text("1")
    (tmp_path / "y.ipynb").write_text(notebook("N = 3", "open('a.csv')\nN"))
    bare.pipeline("add", "--no-run", "../y.ipynb")
    assert all((bare.path / name).is_symlink() for name in texts)
    assert (shared / "params.yaml").read_text() == "x:\n  n: 2\n\ny:\n  n: 3\n"
    assert "print(N)" in (shared / "x.ipynb").read_text() and '"parameters"' in (shared / "x.ipynb").read_text()
    assert "data/external/a.csv" in (shared / "dvc.yaml").read_text()
    assert sorted(path.name for path in shared.iterdir()) == ["a.csv", "dvc.yaml", "params.yaml", "x.ipynb"]


def test_what_is_to_be_typed_works_as_it_is_typed(tmp_path, monkeypatch):
    """In a folder of a repository, in any shell."""
    monkeypatch.setattr(add, "_is_there", lambda module: False)
    (line,) = add._lacking(parse(notebook("", "import dask.array, torch"), "x.ipynb"))
    assert 'uv add "dask[array]" torch, ' in line
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["init", "--quiet"],
        ["-c", "user.name=A", "-c", "user.email=a", "commit", "--allow-empty", "-qm", "-"],
    ):
        subprocess.run(["git", *arguments], check=True)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir("sub")
    for name in ("ä b.ipynb", "dvc.yaml"):
        Path(name).write_text("")
    with pytest.raises(add.Refused) as refused:
        add._refuse_unsaved("ä b.ipynb", "dvc.yaml", "gone.yaml")
    (command,) = re.findall(r"`(.+)`", str(refused.value))
    assert command == 'git add "ä b.ipynb" dvc.yaml'
    subprocess.run(command, shell=True, check=True)
    add._refuse_unsaved("ä b.ipynb", "dvc.yaml")


def test_where_no_read_is_noted(project, samples, noatime):
    """What the code tells is an input there, whoever reads it."""
    shutil.copytree(project.path, noatime / "project", symlinks=True)
    project = Workspace(noatime / "project", project.environ)
    (samples / "cat.ipynb").write_text(
        untagged("import subprocess\nsubprocess.run(['cat', 'text/one.txt'], check=True)")
    )
    project.pipeline("add", str(samples / "cat.ipynb"))
    assert stage(project, "cat")["deps"] == ["data/external/text/one.txt", "outputs/code/cat.py"]


def test_without_a_run(project, samples):
    (samples / "later.ipynb").write_text(
        untagged("N = 1", "text = open('text/one.txt').read()\nopen('copy.txt', 'w').write(text * N)")
    )
    done = project.pipeline("add", "--no-run", str(samples / "later.ipynb"))
    assert not (project.path / "copy.txt").exists(), done.stdout
    assert stage(project, "later")["deps"] == ["data/external/text/one.txt", "outputs/code/later.py"]
    assert stage(project, "later")["outs"] == ["copy.txt", "outputs/later.ipynb"]
    assert "/copy.txt" in project.read(".gitignore")
    assert "Running stage 'later'" in project.run("dvc", "repro").stdout


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
    found = brought(before, folder / "work", folder / "project")
    assert [cell.tree is None for cell in found.notebook.cells] == [cell.tree is None for cell in before.cells]
    made = lifted(found.notebook, []).notebook
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
    made = lifted(before, [])
    assert printed_by([cell.source for cell in made.notebook.cells]) == expected
    for note in made.notes:
        if "--lift" in note:
            names = note.partition("--lift ")[2].partition("`")[0].split(",")
            assert printed_by([cell.source for cell in lifted(before, names).notebook.cells]) == expected


def statements(made) -> list[str]:
    return [ast.unparse(each) for cell in made.cells if cell.type == "code" and cell.tree for each in cell.tree.body]
