"""`python -m pipeline check`, and what `code` makes of a notebook."""

import hashlib
import json

import pytest
from conftest import notebook
from hypothesis import given
from hypothesis import strategies as st

from pipeline import check, code
from pipeline.notebook import NotebookError, parse

DVC = """\
stages:
  code:
    matrix:
      notebook: [fit]
    cmd: python -m pipeline code notebooks/${item.notebook}.ipynb outputs/code/${item.notebook}.py
    deps: ['notebooks/${item.notebook}.ipynb']
    outs: ['outputs/code/${item.notebook}.py']
  fit:
    cmd: python -m pipeline run notebooks/fit.ipynb outputs/fit.ipynb
    deps: [outputs/code/fit.py]
    params: [train]
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with one stage, whose notebook is fine."""
    monkeypatch.chdir(tmp_path)
    for folder in ("notebooks", "outputs/code"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "dvc.yaml").write_text(DVC)
    (tmp_path / "params.yaml").write_text("train:\n  lr: 1\n")
    (tmp_path / "notebooks/fit.ipynb").write_text(notebook("LR = 1", "print(LR)"))
    return tmp_path


def lock(here) -> str:
    """A dvc.lock as DVC writes it, with a comment that a person added."""
    assert code.main(["notebooks/fit.ipynb", "outputs/code/fit.py"]) == 0
    entries = {}
    for name in ("notebooks/fit.ipynb", "outputs/code/fit.py"):
        content = (here / name).read_bytes()
        entries[name] = (
            f"    - path: {name}\n      hash: md5\n      md5: {hashlib.md5(content).hexdigest()}\n      size: {len(content)}\n"
        )
    text = (
        "schema: '2.0'\nstages:\n  code@fit: # mine\n    cmd: x\n    deps:\n"
        + entries["notebooks/fit.ipynb"]
        + "    outs:\n"
        + entries["outputs/code/fit.py"]
    )
    (here / "dvc.lock").write_text(text)
    return text


def test_nothing_to_say(here, capsys):
    lock(here)
    assert check.main([]) == 0
    assert check.main(["notebooks/fit.ipynb", "params.yaml"]) == 0
    assert capsys.readouterr().out == ""


def test_what_a_run_would_refuse(here, capsys):
    (here / "notebooks/fit.ipynb").write_text(notebook("LR = 1\nWIDTH = 2", "LR, WIDTH"))
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out == (
        "notebooks/fit.ipynb: cell 1, line 2: parameter `WIDTH` has no key `width` in what stage `fit` lists under "
        "`params:` (train): add `width: ...` to params.yaml, in one of these sections\n"
    )


DRIFT = {
    "call": (
        ["LR = 1\nimport os", "LR"],
        "cell 1, line 2: only `name = literal` belongs into the parameters cell: move this to a cell below",
    ),
    "pair": (
        ["LR = 1\nX, Y = 1, 2", "LR"],
        "cell 1, line 2: only `name = literal` belongs into the parameters cell: move this to a cell below",
    ),
    "twice": (["LR = 1\n\nLR = 2", "LR"], "cell 1, line 3: `LR` was assigned in line 1 already: keep one of the two"),
    "derived": (
        ["LR = 1\nHALF = LR / 2", "LR, HALF"],
        "cell 1, line 2: `HALF` is derived from the parameter `LR`, and would not follow it: move this line to a cell below",
    ),
    "no literal": (
        ["LR = float('1')", "LR"],
        "cell 1, line 1: `LR` is not a literal, so params.yaml cannot say it: "
        "write a number, string, list or mapping, or move this line to a cell below",
    ),
    "above": (
        [{"source": "print(LR)"}, {"source": "LR = 1", "metadata": {"tags": ["parameters"]}}],
        "cell 1, line 1: uses the parameter `LR` above the parameters cell (cell 2): move one of the two cells",
    ),
    "again": (
        ["LR = 1", "def f(LR):\n    LR = 2\n[LR for LR in range(3)]", "%time x\nif LR:\n    LR += 1"],
        "cell 3, line 3: assigns the parameter `LR` again, so that params.yaml is ignored from here on: use another name",
    ),
}


@pytest.mark.parametrize("case", DRIFT)
def test_values_that_would_not_be_those_of_params(here, capsys, case):
    cells, message = DRIFT[case]
    (here / "params.yaml").write_text("train:\n  lr: 1\n" + ("  half: 2\n" if case == "derived" else ""))
    (here / "notebooks/fit.ipynb").write_text(notebook(*cells))
    assert check.main([]) == 1
    assert capsys.readouterr().out == f"notebooks/fit.ipynb: {message}\n"


def test_a_stage_that_would_not_rerun(here, capsys):
    (here / "dvc.yaml").write_text(DVC.replace("    deps: [outputs/code/fit.py]\n", ""))
    assert check.main([]) == 1
    assert capsys.readouterr().out == (
        "dvc.yaml: stage `fit` would not rerun when notebooks/fit.ipynb changes: add outputs/code/fit.py to its `deps:`\n"
    )
    (here / "dvc.yaml").write_text(DVC.replace("[fit]", "[]").replace("    deps: [outputs/code/fit.py]\n", ""))
    assert check.main([]) == 1
    assert capsys.readouterr().out == (
        "dvc.yaml: stage `fit` would not rerun when notebooks/fit.ipynb changes: "
        "add fit to the notebooks of stage `code`, and outputs/code/fit.py to the `deps:` of `fit`\n"
    )


def test_a_path_that_is_not_there(here, capsys):
    assert check.main(["notebooks/fti.ipynb"]) == 1
    assert capsys.readouterr().out == "notebooks/fti.ipynb: there is no such file\n"


def test_an_unused_parameter_is_a_warning(here, capsys):
    (here / "notebooks/fit.ipynb").write_text(notebook("LR = 1", "1"))
    assert check.main([]) == 0
    assert (
        capsys.readouterr().out == "notebooks/fit.ipynb: cell 1, line 1: no cell uses the parameter `LR` (a warning)\n"
    )


def test_a_scratch_notebook_may_have_no_parameters_but_not_wrong_ones(here, capsys):
    scratch = here / "notebooks/scratch.ipynb"
    scratch.write_text(notebook({"source": "1"}))
    assert check.main(["notebooks/scratch.ipynb"]) == 0
    scratch.write_text(notebook({"source": "1", "metadata": {"tags": ["params"]}}))
    assert check.main([]) == 1
    assert capsys.readouterr().out == "notebooks/scratch.ipynb: cell 1: its tag `params` must read `parameters`\n"


def test_a_notebook_that_is_not_there_is_said_once(here, capsys):
    (here / "notebooks/fit.ipynb").unlink()
    assert check.main([]) == 1
    assert capsys.readouterr().out == "notebooks/fit.ipynb: there is no such file\n"


def test_a_record_is_renewed_only_where_the_code_is_the_same(here, capsys):
    before = lock(here)
    old = (here / "notebooks/fit.ipynb").read_bytes()
    new = notebook({"cell_type": "markdown", "source": "# new"}, {"source": "LR = 1", "metadata": {"tags": ["parameters"]}},
                   "print( LR )  # comment")  # fmt: skip
    (here / "notebooks/fit.ipynb").write_text(new)
    assert check.main([]) == 1
    assert capsys.readouterr().out == (
        "notebooks/fit.ipynb: its outputs or markdown changed since dvc.lock was written, its code did not: "
        "`python -m pipeline check --fix` renews the record\n"
    )
    assert (here / "dvc.lock").read_text() == before
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out == (
        "dvc.lock: renewed the record of notebooks/fit.ipynb, whose outputs or markdown changed and whose code did not\n"
    )
    expected = before.replace(hashlib.md5(old).hexdigest(), hashlib.md5(new.encode()).hexdigest())
    assert (here / "dvc.lock").read_text() == expected.replace(f"size: {len(old)}\n", f"size: {len(new)}\n")
    assert check.main(["--fix"]) == 0
    # Other code: the stage is to run, nobody may say that it did.
    (here / "notebooks/fit.ipynb").write_text(notebook("LR = 1", "print(LR, 1)"))
    renewed = (here / "dvc.lock").read_text()
    assert check.main(["--fix"]) == 0
    assert (here / "dvc.lock").read_text() == renewed


def test_code_of_ipython_cells():
    made = parse(
        notebook(
            "LR: float = 1  # rate\nimport os\nTWICE = LR * 2",
            "%matplotlib inline\nfiles = !ls *.csv\n!pip list\nx = 10\ny = (x\n  % 3)",
            "%%bash\necho  hi",
            {"cell_type": "markdown", "source": "text"},
            {"source": "print(1)", "metadata": {"tags": ["skip-execution"]}},
            "# only a comment",
            's = """\n%not magic\n"""\nplot(s);',
        ),
        "x.ipynb",
    )
    assert made.code() == (
        "# %%\n# parameters: LR, TWICE\nimport os\nTWICE = LR * 2\n\n"
        "# %%\nget_ipython().run_line_magic('matplotlib', 'inline')\nfiles = get_ipython().getoutput('ls *.csv')\n"
        "get_ipython().system('pip list')\nx = 10\ny = x % 3\n\n"
        "# %%\n%%bash\necho  hi\n\n"
        "# %%\ns = '\\n%not magic\\n'\nplot(s);\n"
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
sources = st.text(max_size=40) | st.sampled_from(
    ["%time x", "!ls\\\n-l", "x = !ls", "a?", "x = 1 # c", "%%capture\nx=1", "if x:\n  %y", "\x00", "(" * 300, "\ud800"]
)
cells = st.fixed_dictionaries(
    {"cell_type": st.sampled_from(["code", "markdown", "raw"]), "source": sources | st.lists(sources, max_size=3)},
    optional={
        "metadata": json_values
        | st.fixed_dictionaries({"tags": st.lists(st.sampled_from(["parameters", "x", "params"]))}),
        "outputs": json_values,
    },
)


@given(
    json_values | st.fixed_dictionaries({"nbformat": st.just(4), "cells": st.lists(cells | json_values, max_size=4)})
)
def test_any_json_is_a_notebook_or_a_line(document):
    try:
        made = parse(json.dumps(document), "x.ipynb")
    except NotebookError as error:
        assert "\n" not in str(error) and str(error).startswith("x.ipynb")
    else:
        problems = [*made.problems()] or [*made.drift(), *made.unused()]
        assert all("\n" not in problem for problem in problems)
        made.code()


@given(st.lists(cells, max_size=4), json_values, st.text(max_size=9))
def test_code_never_depends_on_outputs_metadata_or_markdown(given_cells, other, text):
    before = parse(json.dumps({"nbformat": 4, "cells": given_cells}), "x.ipynb")
    changed = []
    for cell in given_cells:
        tags = [tag for tag in before.cells[len(changed)].tags]
        cell = cell | {
            "outputs": other,
            "execution_count": 7,
            "id": text,
            "metadata": {"tags": tags, "collapsed": other},
        }
        changed.append(cell if cell["cell_type"] == "code" else cell | {"source": text})
    after = parse(json.dumps({"nbformat": 4, "cells": changed, "metadata": {"x": other}}), "x.ipynb")
    assert after.code() == before.code()
