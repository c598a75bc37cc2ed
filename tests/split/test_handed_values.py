"""What crosses a cut: each test splits a notebook whose later parts show whether they got what the whole has."""

import re

from split_samples import shown, sources, split, stages, whole  # noqa: F401


def test_values_changed_in_place_and_shared_reach_later_stages(whole):
    project = whole(
        {},
        "md:## Make",
        "import pandas as pd\ntable = {'x': [1]}\nsame = table\ninner = table['x']\nframe = pd.DataFrame({'a': [1, 2]})\n"
        "pair = (inner, 3)\ndef grow(what):\n    what['y'] = 2\nprint(frame.shape)",
        # Reads `same` and `inner` alone; by them `table` and `pair` change.
        "md:## Change",
        "grow(same)\ninner.append(5)\nframe['b'] = frame.a * 2\nprint(len(same))",
        "md:## Show",
        "print(table, pair, table is same, inner is table['x'], pair[0] is inner, list(frame.columns))",
    )
    assert "3 of 3 cells" in split(project)
    assert shown(project, "show") == ["{'x': [1, 5], 'y': 2} ([1, 5], 3) True True True ['a', 'b']\n"]
    # One file, as they share objects; the table of pandas shares none with them.
    assert "data/handover/change." in sources(project, "show")["load"]


def test_random_state_and_settings_cross_a_stage_that_needs_neither(whole):
    project = whole(
        {},
        "md:## Seed",
        "import random\nimport numpy as np\nimport pandas as pd\n"
        "def set_up():\n    pd.set_option('display.precision', 2)\n    np.set_printoptions(precision=3)\n"
        "set_up()\nrandom.seed(1)\nnp.random.seed(2)\nprint(random.random(), np.random.rand())",
        "md:## Between",
        "count = len('abc')\nprint(count)",
        "md:## Draw",
        "print(random.random(), np.random.rand(), count)\nprint(pd.Series([1.23456]).to_string(), np.array([1.23456]))",
    )
    said = split(project)
    assert "3 of 3 cells" in said and "the state of" in said
    between = stages(project)["between"]
    assert not any("state" in path for path in between.get("deps", [])), "it draws nothing, and needs no state"
    assert "1.23 [1.235]" in shown(project, "draw")[0]
    assert any("state" in path for path in stages(project)["draw"]["deps"])


def test_filters_of_warnings_and_the_working_directory_cross(whole):
    project = whole(
        {},
        "md:## Set",
        "import os\nimport sys\nimport warnings\ndef set_up():\n    warnings.simplefilter('error', UserWarning)\n    os.chdir('notebooks')\n"
        "    sys.path.append(os.path.abspath('../own'))\nset_up()\nprint(len('abc'))",
        "md:## Show",
        "try:\n    warnings.warn('no', UserWarning)\nexcept UserWarning:\n    print('raised')\n"
        "import helper\nprint(os.path.basename(os.getcwd()), helper.x)",
    )
    project.write("own/helper.py", "x = 5\n")
    project.run("git", "add", "-A")
    assert "hands over the state of warnings, folder, sys_path" in split(project)
    assert shown(project, "show") == ["raised\nnotebooks 5\n"]


def test_functions_see_current_globals_and_keep_their_defaults(whole):
    project = whole(
        {"scale": 2},
        "md:## Define",
        "N = 3\ndata = [1, 2]\ndef f(x, n=N):\n    return (x + n) * scale + len(data)\n"
        "g = lambda x: f(x) + offset\n"
        "class Point:\n    def __init__(self, x): self.x = x\n    def far(self): return self.x > limit\n"
        "from collections import defaultdict\noffset = sum(data)\nlimit = 1\np = Point(6)\ncounts = defaultdict(lambda: offset)\n"
        "print(f(1), g(1))",
        "md:## Change",
        "N = 10\noffset = offset + 100\ndata.append(9)\nprint(f(1), g(1), isinstance(p, Point))",
        "md:## Call",
        "limit = len(data) + 5\nprint(f(1), g(1), p.far(), isinstance(p, Point), N, [h(2) for h in [g]], counts['new'])",
    )
    assert "of 4 cells" in split(project)
    assert shown(project, "call") == ["11 114 False True 10 [116] 103\n"]
    # Repeated as code, not handed over; the parameter comes with the function that reads it.
    assert "def f(x, n=N):" in sources(project, "call")["repeated-below"]
    assert stages(project)["call"]["params"] == ["work"]
    assert not any(
        re.search(r"\b(f|g|N|Point)\b", path.partition("handover/")[2]) for path in stages(project)["call"]["deps"]
    )


def test_names_in_texts_and_of_a_run_cross(whole):
    project = whole(
        {},
        "md:## Make",
        "import pandas as pd\nx1, x2, word = sum([1]), sum([2]), str(5)\nframe = pd.DataFrame({'a': [1, 2, 3]})\nlow = len(frame) - 1",
        "md:## Use",
        "print(frame.query('a >= @low').a.tolist(), [globals()[f'x{number}'] for number in (1, 2)], eval('x1 + x2'))\n!echo {word}",
    )
    split(project)
    assert "".join(shown(project, "use")).split() == "[2, 3] [1, 2] 3 5".split()


def test_a_global_that_a_function_counts_up(whole):
    project = whole(
        {},
        "md:## Once",
        "count = 0\ndef tick():\n    global count\n    count += 1\ntick()\nprint(count)",
        "md:## Twice",
        "tick()\nprint(count)",
        "md:## Show",
        "print(count)",
    )
    split(project)
    assert shown(project, "show") == ["2\n"]


def test_names_that_begin_with_an_underscore(whole):
    project = whole(
        {},
        "md:## Make",
        "from gettext import gettext as _\n_x = sum([1])\ndef _f(a):\n    return a + _x\nprint(_f(1))",
        "md:## Use",
        "print(_f(2), _('text'))",
    )
    split(project)
    assert shown(project, "use") == ["3 text\n"]


def test_a_parameter_that_is_changed_in_place(whole):
    project = whole(
        {"columns": ["a"], "k": 3},
        "md:## First",
        "print(k)",
        "md:## Add",
        "columns.append('b')\nprint(k)",
        "md:## Show",
        "print(columns, k)",
    )
    split(project)
    assert shown(project, "show") == ["['a', 'b'] 3\n"]
    listed = {name: stages(project)[name].get("params") for name in ("first", "add", "show")}
    assert listed == {"first": ["work.k"], "add": ["work"], "show": ["work.k"]}
