"""`pipeline check`: what it finds in notebooks, values and records."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from check_samples import DVC, HEAD, cells, everything, here, json_values, lock, sources  # noqa: F401
from conftest import notebook
from hypothesis import given
from hypothesis import strategies as st
from samples import UV_LOCK

from notebook_pipeline.check import command as check
from notebook_pipeline.code import command as code
from notebook_pipeline.notebook.document import NotebookError, parse
from notebook_pipeline.run import command as run


def test_nothing_to_say(here, capsys):
    lock(here)
    assert check.main([]) == 0
    assert check.main(["notebooks/fit.ipynb", "params.yaml"]) == 0
    assert capsys.readouterr().out == ""


def test_what_a_run_would_refuse(here, capsys):
    (here / "notebooks/fit.ipynb").write_text(notebook("LR = 1\nWIDTH = 2", "LR, WIDTH"))
    assert check.main([]) == 1
    assert capsys.readouterr().out == (
        "notebooks/fit.ipynb: cell 1, line 2: parameter `WIDTH` has no key `width` in what stage `fit` lists under "
        "`params:` (train). Fix: add `width: 2` to `train` in params.yaml\n"
    )


DRIFT = {
    "call": (
        ["LR = 1\nimport os", "LR"],
        "cell 1, line 2: only `name = literal` belongs in the parameters cell. Fix: move this to a cell below",
    ),
    "pair": (
        ["LR = 1\nX, Y = 1, 2", "LR"],
        "cell 1, line 2: only `name = literal` belongs in the parameters cell. Fix: move this to a cell below",
    ),
    "twice": (
        ["LR = 1\n\nLR = 2", "LR"],
        "cell 1, line 3: `LR` is already assigned in line 1. Fix: keep one of the two",
    ),
    "derived": (
        ["LR = 1\nHALF = LR / 2", "LR, HALF"],
        "cell 1, line 2: `HALF` is computed from the parameter `LR` and would not follow it. Fix: move this line to a cell below",
    ),
    "no literal": (
        ["LR = float('1')", "LR"],
        "cell 1, line 1: `LR` is not a literal, so params.yaml cannot hold it. Fix: "
        "write a number, string, list or mapping, or move this line to a cell below",
    ),
    "above": (
        [{"source": "print(LR)"}, {"source": "LR = 1", "metadata": {"tags": ["parameters"]}}],
        "cell 1, line 1: uses the parameter `LR` above the parameters cell (cell 2). Fix: move one of the two cells",
    ),
    "again": (
        ["LR = 1", "def f(LR):\n    LR = 2\n[LR for LR in range(3)]", "%time x\nif LR:\n    LR += 1"],
        "cell 3, line 3: assigns the parameter `LR` again, so that params.yaml is ignored from here on. Fix: use another name",
    ),
}


ASSIGNMENTS = [
    "%time LR = 5", "%prun -q LR\n%prun LR = 5", "%%time\nLR = 5", "%%capture --no-stderr LR\nprint(1)", "any((LR := x) for x in [2])",
    "def f(x=(LR := 2)): pass", "@(LR := f)\ndef g(): pass", "lambda x=(LR := 2): x", "class A((LR := B)): pass",
    "with (open('f') as\n  LR): pass", "    x = 1\n    LR = 2", "\n    %%time\n    LR = 2",
]  # fmt: skip
NONE = [
    "%timeit LR = 5", "%time LR == 5", "%time (LR", "%%capture out\nLR", "def f():\n    return [LR := 2]", "lambda: (LR := 2)",
    "class A:\n    x = (LR := 2)", "[f(LR=x) for x in y]", {"source": "LR = 5", "metadata": {"tags": ["skip-execution"]}},
]  # fmt: skip


@pytest.mark.parametrize("cell", ASSIGNMENTS + NONE, ids=str)
def test_what_assigns_a_parameter_in_a_later_cell(here, capsys, cell):
    (here / "notebooks/fit.ipynb").write_text(notebook("LR = 1", cell, "LR"))
    assert check.main([]) == (cell in ASSIGNMENTS)
    assert capsys.readouterr().out.count("assigns the parameter `LR` again") == (cell in ASSIGNMENTS)


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
        "dvc.yaml:8: stage `fit` would not rerun when notebooks/fit.ipynb changes. Fix: add outputs/code/fit.py to its `deps:`\n"
    )
    (here / "dvc.yaml").write_text(DVC.replace("[fit]", "[]").replace("    deps: [outputs/code/fit.py]\n", ""))
    assert check.main([]) == 1
    assert capsys.readouterr().out == (
        "dvc.yaml:8: stage `fit` would not rerun when notebooks/fit.ipynb changes. Fix: "
        "add fit to the notebooks of stage `code`, and outputs/code/fit.py to the `deps:` of `fit`\n"
    )


def test_a_path_that_is_not_there(here, capsys):
    assert check.main(["notebooks/fti.ipynb"]) == 1
    assert capsys.readouterr().out == "notebooks/fti.ipynb: does not exist. Fix: correct the path\n"


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
    assert (
        capsys.readouterr().out
        == "notebooks/scratch.ipynb: cell 1: Papermill ignores the tag `params`. Fix: rename it to `parameters`\n"
    )


def test_a_notebook_that_is_not_there_is_said_once(here, capsys):
    (here / "notebooks/fit.ipynb").unlink()
    gone = "needs notebooks/fit.ipynb, which does not exist. Fix: restore it (`git checkout HEAD -- notebooks/fit.ipynb`), or "
    both = "delete the stage `fit` and remove `fit` from the list of the stage `code`"
    assert check.main([]) == 1
    assert capsys.readouterr().out == f"dvc.yaml:9: stage `fit` {gone}{both}\n"
    assert run.main(["notebooks/fit.ipynb", "outputs/fit.ipynb"]) == 1
    assert capsys.readouterr().err == f"dvc.yaml:9: stage `fit` {gone}{both}\n"
    # The half of it that is left when the stage alone was deleted; and a stage of another kind.
    (here / "dvc.yaml").write_text(DVC[: DVC.index("  fit:")])
    assert check.main([]) == 1
    assert capsys.readouterr().out == f"dvc.yaml:5: stage `code` {gone}remove `fit` from the list of the stage `code`\n"
    (here / "dvc.yaml").write_text("stages:\n  fit:\n    cmd: papermill notebooks/fit.ipynb outputs/fit.ipynb\n")
    assert check.main([]) == 1
    assert capsys.readouterr().out == f"dvc.yaml:3: stage `fit` {gone}delete the stage `fit`\n"


def test_a_record_is_renewed_only_where_the_code_is_the_same(here, capsys):
    before = lock(here)
    old = (here / "notebooks/fit.ipynb").read_bytes()
    new = notebook({"cell_type": "markdown", "source": "# new"}, {"source": "LR = 1", "metadata": {"tags": ["parameters"]}},
                   "print( LR )  # comment")  # fmt: skip
    (here / "notebooks/fit.ipynb").write_text(new)
    assert check.main([]) == 1
    assert capsys.readouterr().out == (
        "dvc.lock: is behind notebooks/fit.ipynb, whose code and packages are those of its last run. "
        "Fix: pipeline check --fix\n"
    )
    assert (here / "dvc.lock").read_text() == before
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out == (
        "dvc.lock: renewed the record of notebooks/fit.ipynb, whose code and packages are those of its last run\n"
    )
    expected = before.replace(hashlib.md5(old).hexdigest(), hashlib.md5(new.encode()).hexdigest())
    assert (here / "dvc.lock").read_text() == expected.replace(f"size: {len(old)}\n", f"size: {len(new)}\n")
    assert check.main(["--fix"]) == 0
    # Other code: the stage is to run, nobody may say that it did.
    (here / "notebooks/fit.ipynb").write_text(notebook("LR = 1", "print(LR, 1)"))
    renewed = (here / "dvc.lock").read_text()
    assert check.main(["--fix"]) == 0
    assert (here / "dvc.lock").read_text() == renewed


def test_the_packages_are_not_read_if_nothing_has_changed(here, capsys):
    (here / "uv.lock").write_text(UV_LOCK)
    (here / "dvc.yaml").write_text(DVC.replace(".ipynb']", ".ipynb', uv.lock]", 1))
    text, size = lock(here), len(UV_LOCK)
    dep = (
        f"    - path: uv.lock\n      md5: {hashlib.md5(UV_LOCK.encode()).hexdigest()}\n      size: {size}\n    outs:\n"
    )
    (here / "dvc.lock").write_text(text.replace("    outs:\n", dep))
    assert check.main([]) == 0
    # What it says is no lock file: nobody has looked.
    (here / "uv.lock").write_text("x" * size)
    os.utime(here / "uv.lock", ns=(0, 0))
    assert check.main(["--fix"]) == 0 and capsys.readouterr().out == ""
    os.utime(here / "uv.lock")
    assert check.main([]) == 1 and capsys.readouterr().out == "uv.lock: not a valid lock file. Fix: uv lock\n"


def test_a_stage_that_would_not_see_an_upgrade(here, capsys):
    assert code.main(["notebooks/fit.ipynb", "outputs/code/fit.py"]) == 0
    (here / "uv.lock").write_text(UV_LOCK)
    assert check.main([]) == 1
    assert capsys.readouterr().out == (
        "dvc.yaml:6: stage `code` would not rerun after an upgrade of packages. Fix: add uv.lock to its `deps:`\n"
    )
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out == "dvc.yaml: added uv.lock to the `deps:` of stage `code@fit`\n"
    assert (here / "dvc.yaml").read_text() == DVC.replace(".ipynb']", ".ipynb', uv.lock]", 1)
    assert check.main([]) == 0


@pytest.mark.parametrize("end", [b"<<<<<<< ours\n", b"# \xff\n"])
def test_a_record_that_cannot_be_read_is_one_line(here, capsys, end):
    broken = lock(here).encode() + end
    (here / "dvc.lock").write_bytes(broken)
    for arguments in [], ["--fix"]:
        assert check.main(arguments) == 1
        assert capsys.readouterr().out == (
            "dvc.lock: cannot be read, perhaps because of a merge conflict. Fix: `git checkout HEAD dvc.lock`, `uv run dvc repro`\n"
        )
    assert (here / "dvc.lock").read_bytes() == broken


def test_links_stay_links_except_to_results(here, capsys):
    """A link of DVC's leads into its cache, where nothing may change."""
    lock(here)
    (here / "shared").mkdir()
    for name in ("params.yaml", "dvc.yaml", "dvc.lock", "notebooks/fit.ipynb", "outputs/code/fit.py"):
        place = (here / name).rename(here / "shared" / Path(name).name)
        (here / name).symlink_to(place)
    cached = (here / "shared/fit.py").read_bytes()
    (here / "shared/fit.ipynb").write_text(notebook("LR = 1", "print( LR )"))
    assert check.main(["--fix"]) == 1
    assert "renewed the record" in capsys.readouterr().out
    (here / "shared/fit.ipynb").write_text(
        notebook({"source": "LR = 1\nN = 2", "metadata": {"tags": ["Parameters"]}}, "print(LR, N)")
    )
    assert check.main(["--fix"]) == 1
    assert '"parameters"' in (here / "shared/fit.ipynb").read_text()
    assert (here / "shared/params.yaml").read_text() == "train:\n  lr: 1\n  n: 2\n"
    assert code.main(["notebooks/fit.ipynb", "outputs/code/fit.py"]) == 0
    assert not (here / "outputs/code/fit.py").is_symlink() and (here / "shared/fit.py").read_bytes() == cached
    assert all((here / name).is_symlink() for name in ("params.yaml", "dvc.yaml", "dvc.lock", "notebooks/fit.ipynb"))


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
