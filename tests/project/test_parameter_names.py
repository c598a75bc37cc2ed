"""Names, compared as Python compares them: `µ` of the keyboard (U+00B5) is `μ` (U+03BC), and `ö` has one character or two."""

import json
import unicodedata

import pytest
from conftest import notebook

from notebook_pipeline.add import lift
from notebook_pipeline.check import command as check
from notebook_pipeline.notebook.document import parse

MICRO, MU = "\u00b5", "\u03bc"
NFC, NFD = "größe", unicodedata.normalize("NFD", "größe")
HAT = "x\u0302"  # no single character is that
SPELLINGS = [
    (MICRO, MU),
    (MU, MICRO),
    (MICRO, MICRO),
    (NFC, NFD),
    (NFD, NFC),
    (unicodedata.normalize("NFD", "HÖHE"), "höhe"),
    (HAT, HAT),
    ("ﬁt", "fit"),
]
DVC = """\
stages:
  code:
    cmd: pipeline code notebooks/fit.ipynb outputs/code/fit.py
    deps: [notebooks/fit.ipynb]
    outs: [outputs/code/fit.py]
  fit:
    cmd: pipeline run notebooks/fit.ipynb outputs/fit.ipynb
    deps: [outputs/code/fit.py]
    params: [t]
"""


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """What `check` says of a notebook and a params.yaml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notebooks").mkdir()

    def of(cells: tuple[str, ...], params: str, dvc: str = DVC, *options: str) -> str:
        for name, text in (("notebooks/fit.ipynb", notebook(*cells)), ("params.yaml", params), ("dvc.yaml", dvc)):
            (tmp_path / name).write_text(text, encoding="utf-8")
        check.main([*options])
        done = capsys.readouterr()
        return done.out + done.err

    return of


@pytest.mark.parametrize(("name", "key"), SPELLINGS)
def test_a_parameter_and_its_key(said, name, key):
    assert said((f"{name} = 0.5", f"print({name})"), f"t:\n  {key}: 0.9\n") == ""
    assert said((f"{name} = 0.5", f"print({name})"), f"{key}: 0.9\n", DVC.replace("[t]", f"[{key}]")) == ""


@pytest.mark.parametrize(("name", "key"), SPELLINGS)
def test_a_later_assignment_is_found(said, name, key):
    """However a cell below writes the name."""
    other = key if name.islower() else key.upper()
    line = said((f"{name} = 0.5", f"{other} = 0.9", f"print({other})"), f"t:\n  {key}: 0.9\n")
    assert "cell 2, line 1: assigns the parameter" in line and line.count("\n") == 1
    line = said((f"{name} = 0.5",), f"t:\n  {key}: 0.9\n")
    assert "no cell uses the parameter" in line and line.count("\n") == 1


def test_a_missing_parameter_and_the_key_that_is_there(said):
    added = said((f"# base\n{MU} = 1", f"print({MICRO})"), f"base:\n  {MICRO}: 1\n", DVC.replace("[t]", "[]"), "--fix")
    assert f"(none). Fix: list `base.{MICRO}` under the stage's `params:`, or add" in added
    added = said(
        (f"# {NFC}\nLR = 1\nEPS = 2", "print(LR, EPS)"), f"{NFD}:\n  lr: 1\n", DVC.replace("[t]", f"[{NFD}]"), "--fix"
    )
    assert added == f"params.yaml:3: added `eps: 2` to `{NFD}`\n"


def test_a_list_that_only_looks_as_params_yaml_has_it(said):
    """DVC finds no such key, so neither do we."""
    line = said((f"{NFC} = 0.5", f"print({NFC})"), f"{NFC}: 0.9\n", DVC.replace("[t]", f"[{NFD}]"))
    assert "Fix: copy the one that looks the same and has other characters to the list\n" in line
    assert "rename" not in line


def test_no_parameter_is_lifted_twice():
    made = parse(notebook({"source": f"{NFC} = 1\nf(size={NFC})"}, {"source": f"{NFD} = 2"}), "x.ipynb")
    assert not lift.lift_parameters(made, []).notebook.parameters
    made = parse(notebook({"source": f"import os\n{NFD} = 1\nos.f({NFC})"}, {"source": f"!ls {{{NFD}}}"}), "x.ipynb")
    assert [each.name for each in lift.lift_parameters(made, []).notebook.parameters] == [NFC]


@pytest.mark.parametrize("name", [MICRO, NFD])
def test_a_run_has_the_value_of_params_yaml(bare, name):
    bare.write("notebooks/fit.ipynb", notebook(f"{name} = 0.5", f"print('it is', {name})"))
    bare.write("params.yaml", f"t:\n  {name}: 0.9\n")
    bare.write("dvc.yaml", DVC)
    bare.pipeline("run", "notebooks/fit.ipynb", "outputs/fit.ipynb")
    outputs = [cell.get("outputs") for cell in json.loads(bare.read("outputs/fit.ipynb"))["cells"]]
    assert outputs[-1][0]["text"] in ("it is 0.9\n", ["it is 0.9\n"])
