"""Where a notebook is cut."""

import pytest
from conftest import notebook
from split_samples import parts

from notebook_pipeline.notebook.document import parse
from notebook_pipeline.split import sections, statements


def read(*cells: str):
    return parse(notebook("", *parts(*cells)), "notebooks/work.ipynb")


def names(*cells: str, at: str = "") -> list[str]:
    book = read(*cells)
    code = statements.read(book)
    found = sections.by_request(book, at, code) if at else sections.by_headings(book, code)
    return [f"{each.name} {each}" for each in found]


def test_the_shallowest_level_with_two_sections_that_compute():
    assert names(
        "md:# Title", "import os", "md:## Load", "print(1)", "md:### Inner", "print(2)", "md:## Train it", "print(3)"
    ) == [
        "load cells 1-7",
        "train_it cell 9",
    ]
    assert names("md:# One", "print(1)", "md:## A", "print(2)", "md:# Two", "print(3)") == [
        "one cells 1-5",
        "two cell 7",
    ]
    assert names("print(1)", "md:# Only", "print(2)") == ["work_1 cells 1-2", "only cell 4"]


def test_a_section_without_computation_goes_with_the_next_one_and_the_last_with_the_one_before():
    assert names("md:## Imports", "import os", "md:## A", "print(1)", "md:## B", "print(2)", "md:## End", "x = 1") == [
        "a cells 1-5",
        "b cells 7-9",
    ]


def test_headings_in_fences_do_not_count_and_html_does():
    assert names(
        "md:```\n## no\n```",
        "print(1)",
        "md:~~~\n## no\n~~~\n<h2 style='x'>Yes <b>it</b> is</h2>",
        "print(2)",
        "md:## Two",
        "print(3)",
    ) == [
        "work_1 cells 1-3",
        "yes_it_is cell 5",
        "two cell 7",
    ]


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("2.1 Train the model", "train_the_model"),
        ("Step 3: Évaluate & plot", "évaluate_plot"),
        ("**Bold** [link](x.html)", "bold_link"),
        ("IV. Results", "results"),
        ("🚀", "work_2"),
    ],
)
def test_names_of_stages(title, name):
    assert names("md:## A", "print(1)", f"md:## {title}", "print(2)")[1] == f"{name} cell 5"


def test_two_headings_of_one_name():
    assert names("md:## A", "print(1)", "md:## A", "print(2)") == ["a cells 1-3", "a_2 cell 5"]


def test_at_cells_and_headings():
    cells = ("md:## A", "print(1)", "print(2)", "md:### Deep", "print(3)")
    assert names(*cells, at="4") == ["work_1 cells 1-3", "work_2 cells 4-6"]
    assert names(*cells, at="4,deep") == ["work_1 cells 1-3", "work_2 cell 4", "deep cell 6"]
    for at, what in (("9", "no cell or heading"), ("None", "no cell or heading"), ("1", "leaves no two parts")):
        with pytest.raises(sections.Refused, match=what):
            names(*cells, at=at)


def test_more_than_five_are_joined_where_a_cut_saves_least():
    book = read(*(line for number in range(7) for line in (f"md:## S{number}", f"print({number})")))
    found = sections.by_headings(book, statements.read(book))
    # Of the cut behind each section, by the source of the last cell before it.
    seconds = {"print(0)": 5.0, "print(1)": 0.0, "print(2)": 3.0, "print(3)": 0.0, "print(4)": 2.0, "print(5)": 1.0}
    joined = sections.joined(found, lambda each: [seconds[part.cells[-1].source] for part in each[:-1]])
    assert [part.name for part in joined] == ["s0", "s1", "s3", "s5", "s6"]


# What the statements read and bind


def test_what_a_stage_can_repeat():
    text = (
        "import numpy as np\nimport seaborn as sns, unused\nfrom x import *\nN = 3\nM = N * 2 + 1\nlist_ = [1]\np = Path('a')\n"
        "from pathlib import Path\nq = Path('a') / str(N)\nsns.set_theme()\nnp.set_printoptions(precision=2)\ndef f(x, n=N): return x\n"
        "def g(x, n=list_): return x\nh = lambda: list_\nt = time.time()\n%matplotlib inline\nfor i in []: pass\n"
        "for d in ('a', 'b'): Path(d).mkdir(exist_ok=True)\nos.makedirs('x')"
    )
    book = parse(notebook("", text), "x.ipynb")
    assert [each.kind for each in statements.read(book)] == [
        "import", "import", "effect", "constant", "constant", "", "", "import", "constant", "plot setting", "setting", "definition",
        "", "definition", "", "plot setting", "", "folder", "",
    ]  # fmt: skip


def test_what_comes_from_the_environment_is_asked_for_by_each_stage():
    text = "import os\nfrom dotenv import load_dotenv\nload_dotenv()\nkey = os.environ['KEY']\nurl = f'https://x?key={key}'\nother = os.getenv('B', '')"
    book = parse(notebook("", text), "x.ipynb")
    assert [each.kind for each in statements.read(book)] == [
        "import",
        "import",
        "setting",
        "constant",
        "constant",
        "constant",
    ]


def exposed(text: str) -> set[str]:
    found = statements.read(parse(notebook("", text), "x.ipynb"))
    return statements.exposed(found, (), statements.later_reads(found)) - {"print", "open", "len"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("x = a\nx = b", {"a", "b"}),
        ("if a: x = 1\nprint(x)", {"a", "x"}),
        ("for i in a:\n    y = i\n    print(y)\nprint(y)", {"a", "y"}),
        ("with open(a) as f:\n    text = f.read()\nprint(text, f)", {"a"}),
        ("def f(): return a\nf()", {"a"}),
        ("def f(): return a\nprint(len([]))", set()),
        ("def f(): return a\na = 1\nf()", set()),
        ("def f(): return g()\ndef g(): return a\nmap(f, [])", {"a", "map"}),
        ("class C:\n    def m(self): return a\nC()", {"a"}),
        ("d.query('x > @low')", {"d", "low"}),
        ("!echo {a + b} $c", {"a", "b", "c", "get_ipython"}),
        ("x += 1", {"x"}),
        ("del x", {"x"}),
        ("[i for i in a]", {"a"}),
        ("%time y = a + 1", {"a", "get_ipython"}),
    ],
)
def test_what_is_read_before_it_is_bound(text, names):
    assert exposed(text) == names
