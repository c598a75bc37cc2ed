"""`pipeline add`: the parameters cell that it finds or makes."""

import pytest
from add_samples import untagged
from conftest import notebook

from notebook_pipeline.add.lift import lift_parameters
from notebook_pipeline.notebook.document import NotebookError, parse

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
    made = lift_parameters(before, [])
    assert [cell.source for cell in made.notebook.cells] == sources
    assert [cell.number - 1 for cell in made.notebook.cells if "parameters" in cell.tags] == [index]
    assert made.notes == notes
    assert not [*made.notebook.problems()] and not [*made.notebook.drift()]
    assert before.document == parse(text, "x.ipynb").document


def test_arguments_are_lifted():
    made = lift_parameters(
        parse(notebook("N = 3", "fit('ü', epochs=10); fit(epochs=10)", "%time fit(epochs=1)"), "x.ipynb"), ["epochs"]
    )
    assert [cell.source for cell in made.notebook.cells[:2]] == [
        "N = 3\nEPOCHS = 10", "fit('ü', epochs=EPOCHS); fit(epochs=EPOCHS)",
    ]  # fmt: skip
    assert made.notes == ["x.ipynb: cell 2: `epochs=` is now the parameter `EPOCHS`"]
    # A function's own argument of that name, or Python's, would take the place of a parameter that is called so.
    made = lift_parameters(
        parse(notebook("m = 3", "def f(n, max=2):\n    g(n=n)\nf(n=1, max=5)"), "x.ipynb"), ["n", "max"]
    )
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
        ("N", "f(x=1); f(x=2)", "x", "`x=` is 1 in cell 2 and 2 in cell 2. Fix: lift it by hand, under two names"),
        ("N", "f(n=1)", "n", "there is a `N` already. Fix: rename it, or lift `n` by hand"),
        ("m", "[f(n, N, n=1) for n, N in x]", "n", "`N` is also a name in cell 2. Fix: rename one, or lift `n` by hand"),
        ("N", "def run(x):\n    X = 2\n    f(x=1)", "x", "`X` is also a name in cell 2. Fix: rename one, or lift `x` by hand"),
        ("m", "x = [sum]\nsum = 1\nf(sum)", "sum", nothing.replace("`x", "`sum")),
        (
            "m", "from math import *\nf(e=1)", "e",
            "cell 2 may bring a `e` of its own. Fix: import names there, not `*`, or lift `e` by hand",
        ),
    ):  # fmt: skip
        with pytest.raises(NotebookError) as error:
            lift_parameters(parse(notebook(f"{parameter} = 3", source), "x.ipynb"), [name])
        assert str(error.value) == f"x.ipynb: {message}"
    with pytest.raises(
        NotebookError, match=r"cell 1 passes `n=` above the parameters cell \(cell 2\). Fix: move one of the two"
    ):
        lift_parameters(
            parse(notebook({"source": "f(n=1)"}, {"source": "m = 3", "metadata": {"tags": ["parameters"]}}), "x.ipynb"),
            ["n"],
        )


def test_what_was_a_script_takes_the_defaults_of_its_options():
    source = (
        "%matplotlib inline\nparser = argparse.ArgumentParser()\nparser.add_argument('-e', '--epochs', type=int, default=2)\n"
        "parser.add_argument('--learning-rate', nargs='?', const=7, default=0.5)\nargs = parser.parse_args()  # ü"
    )
    text = notebook("N = 1", "import argparse", source.partition("\n")[2], "print(args.epochs * args.learning_rate)")
    made = lift_parameters(parse(text, "x.ipynb"), ["epochs"])
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
        in lift_parameters(parse(notebook("N = 1", source), "x.ipynb"), []).notebook.cells[1].source
    )
    for other in ("import sys\nsys.argv = ['x']", "args = parser.parse_args(['--epochs', '3'])"):
        plain = (
            source.replace("args = parser.parse_args()", "")
            + other
            + ("\nparser.parse_args()" if "sys" in other else "")
        )
        assert lift_parameters(parse(notebook("N = 1", plain), "x.ipynb"), []).notebook.cells[1].source == plain
    # Nor another object's method of that name.
    plain = "command.parse_args()"
    assert lift_parameters(parse(notebook("N = 1", plain), "x.ipynb"), []).notebook.cells[1].source == plain


def test_the_command_line_is_left_at_each_place():
    """Of calls over several lines, in a function above and within one another."""
    cell = (
        "%matplotlib inline\nimport argparse\nmake = argparse.ArgumentParser\ndef options():\n    return make().parse_args(\n    )\n"
        "class A:\n    x = [make().parse_args(  # none )\n    ), 1]\nboth = f(make().parse_args(), make().parse_args( ))\n"
        "last = make().parse_args().parse_args()"
    )
    (_, made) = lift_parameters(parse(notebook("N = 1", cell), "x.ipynb"), []).notebook.cells
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
    made = lift_parameters(parse(notebook(*cells), "x.ipynb"), ["EPOCHS", "SEED", "N"])
    assert [cell.source for cell in made.notebook.cells] == [
        "# train\nN = 3\nEPOCHS = 10  # how often\nSEED = 1", "print(EPOCHS)", "f(SEED, N, seed=2)",
    ]  # fmt: skip
    assert made.notes == ["x.ipynb: cell 2: `EPOCHS` is now a parameter", "x.ipynb: cell 3: `SEED` is now a parameter"]
    # What is suggested can be lifted together.
    cells = ("N = 3", "def f(k=1):\n    return k", "rate = 0.1", "f(k=rate, steps=4)\nsteps = [f(k=2)]")
    made = lift_parameters(parse(notebook(*cells), "x.ipynb"), [])
    assert made.notes[0].endswith("`--lift rate,steps,k` makes them so")
    made = lift_parameters(parse(notebook(*cells), "x.ipynb"), ["rate", "steps", "k"])
    assert made.notebook.cells[0].source == "N = 3\nSTEPS = 4\nK = 2\nrate = 0.1"
    # Where there was no parameters cell, it may be in the new one already.
    made = lift_parameters(parse(untagged("N = 3\nprint(N)"), "x.ipynb"), ["N"])
    assert made.notes == ["x.ipynb: cell 1: new, tagged `parameters`, with N"]
