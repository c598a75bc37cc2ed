"""`pipeline check --fix`: what it writes, and what it leaves to a person."""

import os

import pytest
from check_samples import DVC, HEAD, cells, everything, here, json_values, lock, sources  # noqa: F401
from conftest import notebook

from notebook_pipeline.check import command as check

EACH = DVC.replace(
    "    cmd: pipeline run notebooks/fit.ipynb outputs/fit.ipynb\n    deps: [outputs/code/fit.py]\n    params: [train]\n",
    "    foreach: [a, b]\n    do:\n      cmd: pipeline run notebooks/fit.ipynb outputs/${item}.ipynb\n"
    "      deps: [outputs/code/fit.py]\n      params: ['models.${item}']\n",
)
FIXES = {
    "a key, its comment, its line ends": (
        {
            "notebook": "LR = 1\nSTEPS = 20  # of the optimiser",
            "params.yaml": "# mine\r\ntrain: # the model\r\n    lr:   '1'\r\n    # end of train\r\n\r\nother: [1,2]\r\n",
            "dvc.yaml": DVC,
        },
        {
            "params.yaml": "# mine\r\ntrain: # the model\r\n    lr:   '1'\r\n    steps: 20 # of the optimiser\r\n"
            "    # end of train\r\n\r\nother: [1,2]\r\n"
        },
        ["params.yaml:4: added `steps: 20` to `train`"],
    ),
    "the section that the heading names": (
        {
            "notebook": "# base\nSEED = 1\n\n# train\nLR = 1\n# how often\n# it looks\nSTEPS = 20",
            "params.yaml": "base: {seed: 1}\ntrain: {lr: 1}",
            "dvc.yaml": DVC.replace("[train]", "[base, train]"),
        },
        {"params.yaml": "base: {seed: 1}\ntrain: {lr: 1, steps: 20}"},
        ["params.yaml:2: added `steps: 20` to `train`"],
    ),
    "several changes": (
        {
            "notebook": "LR = 0.1\nNAME = 'no'\nSIZES = [1, 2]",
            "params.yaml": "train:\n",
            "dvc.yaml": DVC.replace("    deps: [outputs/code/fit.py]\n", ""),
        },
        {
            "params.yaml": "train:\n  lr: 0.1\n  name: no\n  sizes: [1, 2]\n",
            "dvc.yaml": DVC.replace("    deps: [outputs/code/fit.py]\n", "") + "    deps: [outputs/code/fit.py]\n",
        },
        [
            "dvc.yaml: added outputs/code/fit.py to the `deps:` of stage `fit`",
            "params.yaml:2: added `lr: 0.1` to `train`",
            "params.yaml:3: added `name: no` to `train`",
            "params.yaml:4: added `sizes: [1, 2]` to `train`",
        ],
    ),
    "the only section beside single keys": (
        {"notebook": "SEED = 1\nLR = 1", "params.yaml": "base: {seed: 1, x: 2}\ntrain:\n", "dvc.yaml": DVC.replace("[train]", "[base.seed, train]")},
        {"params.yaml": "base: {seed: 1, x: 2}\ntrain:\n  lr: 1\n"},
        ["params.yaml:3: added `lr: 1` to `train`"],
    ),
    "the whole file": (
        {"notebook": "SEED = 1\nLR = 1", "params.yaml": "--- # mine\nseed: 1\n", "dvc.yaml": DVC.replace("[train]", "[{params.yaml: }]")},
        {"params.yaml": "--- # mine\nseed: 1\nlr: 1\n"},
        ["params.yaml:3: added `lr: 1`"],
    ),
    "an empty section": (
        {"notebook": "LR = 1", "params.yaml": "train:\n\n# last\n", "dvc.yaml": DVC},
        {"params.yaml": "train:\n  lr: 1\n\n# last\n"},
        ["params.yaml:2: added `lr: 1` to `train`"],
    ),
    "an item of a shared list": (
        {
            "notebook": "LR = 1\nNAME = 'x'",
            "params.yaml": "models: {a: {lr: 1, name: p}, b: {lr: 2}}\n",
            "dvc.yaml": EACH,
        },
        {"params.yaml": "models: {a: {lr: 1, name: p}, b: {lr: 2, name: x}}\n"},
        ["params.yaml:1: added `name: x` to `models.b`"],
    ),
    "a section that is said to be empty": (
        {"notebook": "LR = 1", "params.yaml": "train: ~  # mine\nother: 1\n", "dvc.yaml": DVC},
        {"params.yaml": "train:  # mine\n  lr: 1\nother: 1\n"},
        ["params.yaml:2: added `lr: 1` to `train`"],
    ),
    "a list that is said to be empty": (
        {"notebook": "LR = 1", "params.yaml": "train:\n  lr: 1\n", "dvc.yaml": DVC.replace("[outputs/code/fit.py]", "~ # mine")},
        {"dvc.yaml": DVC.replace("[outputs/code/fit.py]", "# mine\n    - outputs/code/fit.py")},
        ["dvc.yaml: added outputs/code/fit.py to the `deps:` of stage `fit`"],
    ),
    "a code file": (
        {"notebook": "LR = 1", "params.yaml": "train:\n  lr: 1\n", "dvc.yaml": DVC.replace("    deps: [outputs/code/fit.py]\n", "")},
        {"dvc.yaml": DVC.replace("    deps: [outputs/code/fit.py]\n", "") + "    deps: [outputs/code/fit.py]\n"},
        ["dvc.yaml: added outputs/code/fit.py to the `deps:` of stage `fit`"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FIXES)
def test_what_is_mended(here, capsys, case):
    before, after, said = FIXES[case]
    names = [line.partition(" =")[0] for line in before["notebook"].splitlines() if "=" in line]
    (here / "notebooks/fit.ipynb").write_text(notebook(before["notebook"], ", ".join(names)))
    for name in ("params.yaml", "dvc.yaml"):
        (here / name).write_bytes(before[name].encode())
    files_before = everything(here)
    assert check.main([]) == 1
    assert everything(here) == files_before
    capsys.readouterr()
    assert check.main(["--fix"]) == 1
    assert [line for line in capsys.readouterr().out.splitlines() if "is '1' (str)" not in line] == said
    assert everything(here) == files_before | {name: text.encode() for name, text in after.items()}
    files_after = everything(here)
    check.main(["--fix"])
    assert everything(here) == files_after


def test_a_misspelt_tag_is_mended(here, capsys):
    text = (
        '{"cells":[{"cell_type":"code", "metadata" : {"tags": ["x",\r\n "Par\\u0061meters" ], "y": 1.50}, "source":"LR = 1",\n'
        '"outputs":[], "execution_count":null,"id":"ä"}, {"cell_type":"code","metadata":{},"source":["LR"],"outputs":[],'
        '"execution_count":null,"id":"b"}],"metadata":{},"nbformat":4,"nbformat_minor":5}'
    )
    (here / "notebooks/fit.ipynb").write_bytes(text.encode())
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out == "notebooks/fit.ipynb: cell 1: changed its tag `Parameters` to `parameters`\n"
    assert (here / "notebooks/fit.ipynb").read_bytes().decode() == text.replace("Par\\u0061meters", "parameters")
    assert check.main(["--fix"]) == 0


TAGS = {
    "two near misses": (
        [{"source": "LR = 1", "metadata": {"tags": ["params"]}}, {"source": "1", "metadata": {"tags": ["Parameters"]}}],
        [
            "notebooks/fit.ipynb: cell 1: Papermill ignores the tag `params`. Fix: "
            "remove it, or tag only the code cell that assigns the parameters, with `parameters`",
            "notebooks/fit.ipynb: cell 2: Papermill ignores the tag `Parameters`. Fix: "
            "remove it, or tag only the code cell that assigns the parameters, with `parameters`",
        ],
    ),
    "beside the right one": (
        ["LR = 1", {"source": "LR", "metadata": {"tags": ["params"]}}],
        ["notebooks/fit.ipynb: cell 2: Papermill ignores the tag `params`. Fix: remove it"],
    ),
    "on markdown": (
        [{"cell_type": "markdown", "source": "x", "metadata": {"tags": ["parameter"]}}, {"source": "LR = 1"}],
        [
            "notebooks/fit.ipynb: cell 1: Papermill ignores the tag `parameter`. Fix: "
            "remove it, or tag only the code cell that assigns the parameters, with `parameters`"
        ],
    ),
    "two": (
        ["LR = 1", {"source": "LR = 2", "metadata": {"tags": ["parameters"]}}],
        [
            "notebooks/fit.ipynb: cells 1 and 2 are tagged `parameters`, "
            "so that the last one overrides params.yaml. Fix: keep the tag on one"
        ],
    ),
    "raw": (
        [{"cell_type": "raw", "source": "LR = 1", "metadata": {"tags": ["parameters"]}}],
        ["notebooks/fit.ipynb: cell 1: the tag `parameters` is on a raw cell. Fix: move it to a code cell"],
    ),
    "none": (
        [{"source": "LR = 1"}],
        [
            "notebooks/fit.ipynb: no cell is tagged `parameters`. Fix: tag the cell that assigns the parameters, "
            "or a new, empty one if there are none"
        ],
    ),
}


@pytest.mark.parametrize("case", TAGS)
def test_tags_are_left_where_there_are_two_cures(here, capsys, case):
    cells, expected = TAGS[case]
    (here / "notebooks/fit.ipynb").write_text(notebook(*cells))
    before = everything(here)
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out.splitlines() == expected
    assert everything(here) == before


AGAINST_PARAMS = {
    "no list": (
        "# model\nLR = 0.1", "", "[]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `LR` has no key `lr` in what stage `fit` lists under `params:` "
        "(none). Fix: add `lr: 0.1` to `model` in params.yaml and list `model` under the stage's `params:`",
    ),
    "no list, and no heading": (
        "LR = 1", "--- # none yet\n", "[]",
        "notebooks/fit.ipynb: cell 1, line 1: parameter `LR` has no key `lr` in what stage `fit` lists under `params:` "
        "(none). Fix: add `lr: 1` to `fit` in params.yaml and list `fit` under the stage's `params:`",
    ),
    "no section in the list": (
        "LR = 1\nSTEPS = 2", "train:\n  lr: 1\n  x: 2\n", "[train.lr]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(train.lr). Fix: add `steps: 2` to `fit` in params.yaml and list `fit` under the stage's `params:`",
    ),
    "a section that the stage does not list": (
        "SEED = 7\nLR = 1", "base:\n  seed: 7\ntrain:\n  lr: 1\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 1: parameter `SEED` has no key `seed` in what stage `fit` lists under `params:` "
        "(train). Fix: list `base.seed` under the stage's `params:`, or add `seed: 7` to `train` in params.yaml",
    ),
    "a heading of which there is no section": (
        "# train\nLR = 1", "train: true\n", "[]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `LR` has no key `lr` in what stage `fit` lists under `params:` "
        "(none). Fix: add `lr: 1` to `fit` in params.yaml and list `fit` under the stage's `params:`",
    ),
    "a parameter that looks like an empty section": (
        "TRAIN = None\nLR = 1", "train:\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `LR` has no key `lr` in what stage `fit` lists under `params:` "
        "(train). Fix: add `lr: 1` to `fit` in params.yaml and list `fit` under the stage's `params:`",
    ),
    "a section of the stage's name": (
        "LR = 1", "fit: {x: 1}\n", "[]",
        "notebooks/fit.ipynb: cell 1, line 1: parameter `LR` has no key `lr` in what stage `fit` lists under `params:` "
        "(none). Fix: add `lr: 1` to `fit_parameters` in params.yaml and list `fit_parameters` under the stage's `params:`",
    ),
    "two sections to add to": (
        "LR = 1\nSTEPS = 2", "base:\n  lr: 1\ntrain:\n", "[base, train]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(base, train). Fix: add `steps: 2` to `base` in params.yaml, or add `steps: 2` to `train` in params.yaml",
    ),
    "a key elsewhere, or a new one": (
        "LR = 1\nSTEPS = 2", "train:\n  lr: 1\nother:\n  steps: 3\n  x: 1\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(train). Fix: list `other.steps` under the stage's `params:`, or add `steps: 2` to `train` in params.yaml",
    ),
    "a section of which the stage has a key": (
        "LR = 1\nSTEPS = 2", "train:\n  lr: 1\nother:\n  lr: 2\n  steps: 2\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(train). Fix: list `other.steps` under the stage's `params:`, or add `steps: 2` to `train` in params.yaml",
    ),
    "a section that nobody lists, with another value": (
        "LR = 1\nSTEPS = 2", "train:\n  lr: 1\nother:\n  steps: 3\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(train). Fix: list `other.steps` under the stage's `params:`, or add `steps: 2` to `train` in params.yaml",
    ),
    "a section of which one value is another": (
        "LR = 1\nSTEPS = 2\nTRAIN = 3", "base:\n  train: 3\nother:\n  lr: 5\n  steps: 2\n", "[base]",
        "notebooks/fit.ipynb: cell 1, line 1: parameter `LR` has no key `lr` in what stage `fit` lists under `params:` "
        "(base). Fix: list `other.lr` under the stage's `params:`, or add `lr: 1` to `base` in params.yaml\n"
        "notebooks/fit.ipynb: cell 1, line 2: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(base). Fix: list `other.steps` under the stage's `params:`, or add `steps: 2` to `base` in params.yaml",
    ),
    "a section with a dot, which no list can name": (
        "STEPS: int", "a.b:\n  steps: 1\n", "[]",
        "notebooks/fit.ipynb: cell 1, line 1: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(none). Fix: add `steps: ...` to `fit` in params.yaml and list `fit` under the stage's `params:`",
    ),
    "a section that is a parameter, too": (
        "# train\nLR = 1\nTRAIN = True", "train:\n  lr: 1\n", "[train]",
        "params.yaml:1: `train` may be a parameter or a section: "
        "the notebook has parameters of its name and of its keys. Fix: rename one",
    ),
    "an entry that is not there, beside a parameter without a key": (
        "LR = 1\nSTEPS = 2", "train:\n  lr: 1\n", "[train, trian]",
        "dvc.yaml:11: stage `fit` lists `trian` under `params:`, but params.yaml has no such key. "
        "Fix: add it there, or remove it from the list",
    ),
    "no default": (
        "LR = 1\nSTEPS: int", "train:\n  lr: 1\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(train). Fix: add `steps: ...` to `train` in params.yaml",
    ),
    "a key too many": (
        "LR = 1", "train:\n  lr: 1\n  steps: 2\n", "[train]",
        "params.yaml:3: `train.steps` is given to stage `fit`, but the parameters cell (cell 1) of notebooks/fit.ipynb does "
        "not assign `steps`. Fix: add it there, or list in the stage's `params:` only the keys that the notebook uses",
    ),
    "a new name in the notebook": (
        "LR = 1\nSTEPS = 2", "train:\n  lr: 1\n  epochs: 4\n", "[train]",
        "params.yaml:3: `train.epochs` is given to stage `fit`, but the parameters cell (cell 1) of notebooks/fit.ipynb does not "
        "assign `epochs`. Fix: rename it to `steps`, add it there, or list in the stage's `params:` only the keys that the notebook uses\n"
        "notebooks/fit.ipynb: cell 1, line 2: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(train). Fix: rename `epochs` to `steps` in params.yaml, or add `steps: 2` to `train` in params.yaml",
    ),
    "one key twice": (
        "LR = 1", "base:\n  LR: 1\ntrain:\n  lr: 1\n", "[base, train]",
        "params.yaml:4: `train.lr` and params.yaml:2: `base.LR` both define `lr` for stage `fit`. "
        "Fix: rename one, or list only the one wanted in the stage's `params:`",
    ),
    "the annotation": (
        "LR: float = 1", "train:\n  lr: '1'\n", "[train]",
        "params.yaml:2: `train.lr` is '1' (str), but notebooks/fit.ipynb: cell 1, line 1 says `LR: float`. Fix: change one of them",
    ),
    "the default": (
        "LR = True", "train:\n  lr: no\n", "[train]",
        "params.yaml:2: `train.lr` is 'no' (str), but notebooks/fit.ipynb: cell 1, line 1 says `LR = True`. "
        "Fix: change one of them, or annotate the parameter",
    ),
    "nothing": (
        "LR = 'x'", "train:\n  lr:\n", "[train]",
        "params.yaml:2: `train.lr` is None (NoneType), but notebooks/fit.ipynb: cell 1, line 1 says `LR = 'x'`. "
        "Fix: change one of them, or annotate the parameter",
    ),
    "an entry that is not there": (
        "LR = 1", "train:\n  lr: 1\n", "[train, trian]",
        "dvc.yaml:11: stage `fit` lists `trian` under `params:`, but params.yaml has no such key. "
        "Fix: add it there, or remove it from the list",
    ),
    "a date": (
        "LR = 1", "train:\n  lr: 2026-01-01\n", "[train]",
        'params.yaml:2: `train.lr` is an unquoted date, which DVC cannot track. Fix: quote it, as in "2026-01-01"',
    ),
    "a tuple in a list": (
        "LR = [(1, 2)]", "train:\n  lr: [[1, 2]]\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 1: `LR` contains a tuple, which params.yaml cannot hold. Fix: write a list or a string",
    ),
    "a tuple as a key": (
        "LR = {(1, 2): 3}", "train:\n  lr: {}\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 1: `LR` contains a tuple, which params.yaml cannot hold. Fix: write a list or a string",
    ),
    "a Literal": (
        "LR: Literal[-1, Literal['a', None]] = -1", "train:\n  lr: 1\n", "[train]",
        "params.yaml:2: `train.lr` is 1 (int), but notebooks/fit.ipynb: cell 1, line 1 says "
        "`LR: Literal[-1, Literal['a', None]]`. Fix: change one of them",
    ),
    "a tuple": (
        "LR = (1, 2)", "train:\n  lr: [1, 2]\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 1: `LR` is a tuple, which params.yaml cannot hold. Fix: write a list or a string",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", AGAINST_PARAMS)
def test_notebook_against_params(here, capsys, case):
    source, params, listed, expected = AGAINST_PARAMS[case]
    (here / "notebooks/fit.ipynb").write_text(notebook(source, "LR, STEPS, TRAIN, SEED"))
    (here / "params.yaml").write_text(params)
    (here / "dvc.yaml").write_text(DVC.replace("[train]", listed))
    before = everything(here)
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out == expected + "\n"
    assert everything(here) == before


@pytest.mark.parametrize("listed", ["[]", "['models.${item}']"])
def test_nothing_is_written_for_one_item_of_a_shared_list(here, capsys, listed):
    """What is added to it would come to each item, and once more to those that have it."""
    (here / "notebooks/fit.ipynb").write_text(notebook("LR = 1\nNAME = 'y'", "LR, NAME"))
    (here / "params.yaml").write_text("models: {a: {lr: 1, name: p}, b: {lr: 2}}\nbase: {name: y}\n")
    (here / "dvc.yaml").write_text(EACH.replace("['models.${item}']", listed))
    before = everything(here)
    assert check.main(["--fix"]) == 1
    assert everything(here) == before
    assert capsys.readouterr().out.count(": list `base.name` under") == (2 if listed == "[]" else 1)


def test_another_stages_value_is_taken_by_nobody_but_its_own(here, capsys):
    """It has a section of which the stage gets a key already, and a room of its own for the new one."""
    (here / "notebooks/boost.ipynb").write_text(notebook("SEED = 2\nRATE = 0.1\nDEPTH = 6", "SEED, RATE, DEPTH"))
    (here / "notebooks/fit.ipynb").write_text(notebook("SEED = 1\nDEPTH = 3", "SEED, DEPTH"))
    (here / "params.yaml").write_text("forest: {seed: 1, depth: 3}\nboost: {seed: 2, rate: 0.1}\n")
    fit = DVC[DVC.index("  fit:") :].replace("[train]", "[forest]")
    boost = fit.replace("fit", "boost").replace("[forest]", "[boost]")
    (here / "dvc.yaml").write_text(DVC[: DVC.index("  fit:")].replace("[fit]", "[fit, boost]") + fit + boost)
    before = everything(here)
    assert check.main(["--fix"]) == 1
    assert everything(here) == before
    assert capsys.readouterr().out == (
        "notebooks/boost.ipynb: cell 1, line 3: parameter `DEPTH` has no key `depth` in what stage `boost` lists under "
        "`params:` (boost). Fix: list `forest.depth` under the stage's `params:`, or add `depth: 6` to `boost` in params.yaml\n"
    )


# The cells of `fit` and of `boost`, params.yaml, the two lists; then params.yaml after --fix, the list of `fit`, what is said.
TWO_STAGES = {
    "the heading's section is the other's, too": (
        ("SEED = 1\n\n# base\nSHUFFLE = True", "SEED = 1"), "base: {seed: 1}\n", ("[base]", "[base]"),
        "base: {seed: 1}\n", "[base]",
        [HEAD.format("fit", 4, "SHUFFLE", "shuffle") + "(base). Fix: add `shuffle: true` to `base` in params.yaml, "
         "or add `shuffle: true` to `fit` in params.yaml and list `fit` under the stage's `params:`"],
    ),
    "the heading's section is the other's, and there is one more": (
        ("SEED = 1\nLR = 1\n\n# base\nSHUFFLE = True", "SEED = 1"), "base: {seed: 1}\ntrain: {lr: 1}\n", ("[base, train]", "[base]"),
        "base: {seed: 1}\ntrain: {lr: 1}\n", "[base, train]",
        [HEAD.format("fit", 5, "SHUFFLE", "shuffle") + "(base, train). Fix: add `shuffle: true` to `base` in params.yaml, "
         "or add `shuffle: true` to `fit` in params.yaml and list `fit` under the stage's `params:`"],
    ),
    "the other takes the whole file": (
        ("SEED = 1\nLR = 1", "SEED = 1"), "base: {seed: 1}\n", ("[base]", "[{params.yaml: }]"),
        "base: {seed: 1}\n", "[base]",
        [HEAD.format("fit", 2, "LR", "lr") + "(base). Fix: add `lr: 1` to `base` in params.yaml, "
         "or add `lr: 1` to `fit` in params.yaml and list `fit` under the stage's `params:`"],
    ),
    "nothing listed, and the other has the heading's section": (
        ("# train\nLR = 1", "SEED = 1"), "train: {seed: 1}\n", ("[]", "[train]"), "train: {seed: 1}\n", "[]",
        [HEAD.format("fit", 2, "LR", "lr") + "(none). Fix: add `lr: 1` to `fit` in params.yaml and list `fit` under the stage's `params:`"],
    ),
    "both lack it": (
        ("SEED = 1\nLR = 1", "SEED = 1\nLR = 2"), "base: {seed: 1}\n", ("[base]", "[base]"), "base: {seed: 1}\n", "[base]",
        [HEAD.format(name, 2, "LR", "lr") + f"(base). Fix: add `lr: {value}` to `base` in params.yaml, "
         f"or add `lr: {value}` to `{name}` in params.yaml and list `{name}` under the stage's `params:`"
         for name, value in (("fit", 1), ("boost", 2))],
    ),
    "the other lists it already, with another default": (
        ("# train\nLR = 1", "LR = 2\nSTEPS = 3"), "train:\nboost: {steps: 3}\n", ("[train]", "[boost, train.lr]"),
        "train:\nboost: {steps: 3}\n", "[train]",
        [HEAD.format("fit", 2, "LR", "lr") + "(train). Fix: add `lr: 1` to `train` in params.yaml, or add `lr: 1` to `fit` in params.yaml "
         "and list `fit` under the stage's `params:`",
         "dvc.yaml:15: stage `boost` lists `train.lr` under `params:`, but params.yaml has no such key. Fix: add it there, or remove "
         "it from the list"],
    ),
    "the other has it from elsewhere": (
        ("SEED = 1\nLR = 1", "SEED = 1\nLR = 1\nSTEPS = 2"), "base: {seed: 1}\nboost: {LR: 1, steps: 2}\n", ("[base]", "[base, boost]"),
        "base: {seed: 1}\nboost: {LR: 1, steps: 2}\n", "[base]",
        [HEAD.format("fit", 2, "LR", "lr") + "(base). Fix: list `boost.LR` under the stage's `params:`, or add `lr: 1` to `base` in "
         "params.yaml, or add `lr: 1` to `fit` in params.yaml and list `fit` under the stage's `params:`"],
    ),
    "the other lists a key of its name": (
        ("LR = 1\nSTEPS = 3", "STEPS = 5"), "train: {lr: 1, steps: 5}\n", ("[train.lr]", "[train.steps]"),
        "train: {lr: 1, steps: 5}\n", "[train.lr]",
        [HEAD.format("fit", 2, "STEPS", "steps") + "(train.lr). Fix: list `train.steps` under the stage's `params:`, "
         "or add `steps: 3` to `fit` in params.yaml and list `fit` under the stage's `params:`"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TWO_STAGES)
def test_what_another_stage_takes_in_stays_as_it_is(here, capsys, case):
    cells, params, lists, params_after, list_after, said = TWO_STAGES[case]
    fit = DVC[DVC.index("  fit:") :]
    text = DVC[: DVC.index("  fit:")].replace("[fit]", "[fit, boost]") + fit + fit.replace("fit", "boost")
    for name, cell in zip(("fit", "boost"), cells, strict=True):
        (here / f"notebooks/{name}.ipynb").write_text(notebook(cell, "SEED, LR, STEPS, SHUFFLE"))
    first, second = text.split("[train]")[:2]
    (here / "params.yaml").write_text(params)
    (here / "dvc.yaml").write_text(f"{first}{lists[0]}{second}{lists[1]}\n")
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out.splitlines() == said
    assert (here / "params.yaml").read_text() == params_after
    assert (here / "dvc.yaml").read_text() == f"{first}{list_after}{second}{lists[1]}\n"


@pytest.mark.parametrize(
    ("source", "params"),
    [("LR = 1", "0.5"), ("LR = 0.5", "1"), ("LR = None", "x"), ("LR = []", "[1]"), ("LR: int | str = 1", "x"), ("LR: 'T'", "x"),
     ("LR: Literal[-1, 1] = 1", "-1"), ("LR: Literal[Literal['a'], None]", "a"), ("LR: Literal[Colour.RED]", "x")],
)  # fmt: skip
def test_values_that_fit(here, capsys, source, params):
    (here / "notebooks/fit.ipynb").write_text(notebook(source, "LR"))
    (here / "params.yaml").write_text(f"train:\n  lr: {params}\n")
    assert check.main([]) == 0
    assert capsys.readouterr().out == ""


def test_a_stop_half_way_leaves_each_file_old_or_new(here, monkeypatch, capsys):
    case = FIXES["several changes"]
    for stop_at in range(1, 5):
        for name in ("params.yaml", "dvc.yaml"):
            (here / name).write_text(case[0][name])
        (here / "notebooks/fit.ipynb").write_text(notebook(case[0]["notebook"], "LR, NAME, SIZES"))
        replaced, real = [], os.replace

        def stop(source, target, stop_at=stop_at, replaced=replaced, real=real):
            replaced.append(target)
            if len(replaced) == stop_at:
                raise KeyboardInterrupt
            real(source, target)

        monkeypatch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            check.main(["--fix"])
        monkeypatch.setattr(os, "replace", real)
        assert sorted(everything(here)) == ["dvc.yaml", "fit.ipynb", "params.yaml"]
        assert check.main(["--fix"]) == 1
        assert (here / "params.yaml").read_text() == case[1]["params.yaml"]
        assert (here / "dvc.yaml").read_text() == case[1]["dvc.yaml"]
