"""Our pipeline beside the guide's own, on the same notebook in one run: `uv run pytest -m benchmark -s`.

Prints both times and their ratio; asserts no timing.
"""

import time

import pytest
from conftest import Workspace, notebook

OURS = """\
stages:
  code:
    matrix:
      notebook: [n]
    cmd: python -m pipeline code notebooks/${item.notebook}.ipynb outputs/code/${item.notebook}.py
    deps: ['notebooks/${item.notebook}.ipynb']
    outs: ['outputs/code/${item.notebook}.py']
  run_notebook:
    cmd: python -m pipeline run notebooks/n.ipynb outputs/n.ipynb
    deps: [outputs/code/n.py]
    params: [train]
    outs: [outputs/n.ipynb]
"""
GUIDES = """\
stages:
  run_notebook:
    cmd: papermill notebooks/n.ipynb outputs/n.ipynb -p EPOCHS ${train.epochs}
    deps: [notebooks/n.ipynb]
    outs: [outputs/n.ipynb]
"""
NOTEBOOKS = {
    "small": notebook("EPOCHS = 1", "print(EPOCHS)", "EPOCHS + 1"),
    "100 cells, 30 MB of outputs": notebook("EPOCHS = 1", *["print(('x' * 99 + '\\n') * 3000)"] * 100),
}


@pytest.mark.benchmark
@pytest.mark.parametrize("case", NOTEBOOKS)
def test_repro_beside_the_guides(bare, tmp_path_factory, case):
    guides = Workspace(tmp_path_factory.mktemp("guide"), bare.environ)
    for workspace, pipeline in ((bare, OURS), (guides, GUIDES)):
        workspace.write("dvc.yaml", pipeline)
        workspace.write("params.yaml", "train:\n  epochs: 3\n")
        workspace.write("notebooks/n.ipynb", NOTEBOOKS[case])
        workspace.write("outputs/.keep", "")
        workspace.run("git", "init", "--quiet")
        workspace.run("dvc", "init", "--quiet")
    times = {"ours": [], "guide's": []}
    for _ in range(5):
        for name, workspace in (("ours", bare), ("guide's", guides)):
            start = time.perf_counter()
            workspace.run("dvc", "repro", "--force")
            times[name].append(time.perf_counter() - start)
    ours, theirs = (sorted(values)[len(values) // 2] for values in times.values())
    print(
        f"\n{case}: dvc repro --force takes {ours:.2f} s, the guide's {theirs:.2f} s (medians of 5): {ours / theirs:.2f}"
    )
