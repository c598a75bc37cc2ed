"""What the tests of `check` share."""

import hashlib

import pytest
from conftest import notebook
from hypothesis import strategies as st

from notebook_pipeline.code import command as code

DVC = """\
stages:
  code:
    matrix:
      notebook: [fit]
    cmd: pipeline code notebooks/${item.notebook}.ipynb outputs/code/${item.notebook}.py
    deps: ['notebooks/${item.notebook}.ipynb']
    outs: ['outputs/code/${item.notebook}.py']
  fit:
    cmd: pipeline run notebooks/fit.ipynb outputs/fit.ipynb
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


def everything(here) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in here.rglob("*") if path.is_file()}


HEAD = (
    "notebooks/{0}.ipynb: cell 1, line {1}: parameter `{2}` has no key `{3}` in what stage `{0}` lists under `params:` "
)
