"""What is said of a notebook whose cells show something else than when its owner last saved it."""

import json

import pytest

from notebook_pipeline.notebook.comparison import NOTICE, compare_with_saved


def stream(text: str, name: str = "stdout") -> dict:
    return {"output_type": "stream", "name": name, "text": text}


def result(**data: str) -> dict:
    named = {kind.replace("_", "/"): text for kind, text in data.items()}
    return {"output_type": "display_data", "metadata": {}, "data": named}


def error(name: str, text: str) -> dict:
    return {"output_type": "error", "ename": name, "evalue": text, "traceback": ["at", "some line"]}


def saved(*cells: list[dict], count: int | None = 7, ids: bool = True) -> bytes:
    """A notebook whose cells have these outputs."""
    cells = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "metadata": {},
            "source": "x",
            "execution_count": count,
            "outputs": outputs,
        }
        for number, outputs in enumerate(cells, 1)
    ]
    for cell in cells if not ids else ():
        del cell["id"]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5 if ids else 4}).encode()


# The outputs when it was saved, those of the run, and whether they count as the same; None if nothing can be compared.
OUTPUTS = {
    "equal": ([stream("a\n")], [stream("a\n")], True),
    "another number": ([stream("loss 0.25")], [stream("loss 0.26")], False),
    "a progress bar": ([stream("1 of 2\r"), stream("2 of 2\n")], [stream("2 of 2\n")], True),
    "in pieces": ([stream("a"), stream("b")], [stream("ab")], True),
    "lines of a list": ([{**stream(""), "text": ["a\n", "b\n"]}], [stream("a\nb\n")], True),
    "a warning": ([stream("/lib/x.py:3: Warning", "stderr")], [stream("/other/x.py:4: Warning", "stderr"), stream("1")], False),
    "warnings alone": ([stream("/lib/x.py:3: Warning", "stderr")], [], None),
    "an address": ([result(text_plain="<A at 0x7f3a10>")], [result(text_plain="<A at 0x55d2f5>")], True),
    "a duration": ([stream("Wall time: 3 s")], [stream("Wall time: 4 s")], True),
    "a table": ([result(text_plain="  a\n0 1", text_html="<table>1")], [result(text_plain="  a\n0 1", text_html="<table class=x>1")], True),
    "a picture": ([result(text_plain="<Figure>", image_png="AAAA")], [result(text_plain="<Figure>", image_png="BBBB")], False),
    "JSON": ([result(application_json="1")], [result(application_json="2")], False),
    "an error": ([error("KeyError", "'a'")], [error("KeyError", "'a'")], True),
    "no output then": ([], [stream("a")], False),
    "no output now": ([stream("a")], [], False),
    "nothing": ([], [], None),
    "the values of params.yaml": ([{**result(text_plain="params.yaml: lr = 1"), "metadata": NOTICE}], [], None),
    "the path of a copy": ([stream("read ../raw/a.csv")], [stream("read data/external/a.csv")], True),
    "a path that is only a text": ([stream("see ../raw/a.csv")], [stream("see ../raw/a.csv")], True),
    "the path of another file": ([stream("read ../raw/a.csv")], [stream("read more/data/external/a.csv")], False),
    "not valid": ([{"output_type": "stream"}, {"data": None}, {}, 3], [stream("a")], False),
}  # fmt: skip


@pytest.mark.parametrize("case", OUTPUTS)
def test_what_counts_as_the_same(case):
    before, now, same = OUTPUTS[case]
    found = compare_with_saved(
        saved(before), saved(now, count=1), {"../raw/a.csv": "a.csv", "data/external/a.csv": "a.csv"}
    )
    assert (found.same, found.different) == {True: ([1], []), False: ([], [1]), None: ([], [])}[same]


def test_cells_have_their_numbers_in_the_run():
    """An older format has no ids; a cell that was never executed says nothing."""
    run = json.loads(saved([stream("a")], [stream("b")], [stream("c")]))
    for number, cell in enumerate(run["cells"]):
        cell["execution_count"] = number + 4
    found = compare_with_saved(saved([stream("a")], [stream("x")], [stream("y")], ids=False), json.dumps(run).encode())
    assert str(found) == "1 of 3 cells as when you last saved it; cells 5, 6 differ"
    assert not compare_with_saved(saved([stream("a")], count=None), json.dumps(run).encode()).same


def test_a_cell_that_became_two():
    run = json.loads(saved([], [stream("a")]))
    run["cells"][1]["id"] = "cell-1-2"
    assert (
        str(compare_with_saved(saved([stream("a")]), json.dumps(run).encode()))
        == "1 of 1 cell as when you last saved it"
    )
