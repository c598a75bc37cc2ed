"""`pipeline add` compares the stage's run with the one in the notebook's own folder."""

import os

import pytest
from add_samples import contents, project, stage, untagged  # noqa: F401

from notebook_pipeline.add import command as add

pytestmark = pytest.mark.project


def test_the_verdict(project, tmp_path):
    (tmp_path / "a.csv").write_text("x")
    cells = (
        "import os, random, json", "print(open('a.csv').read())", "random.random()", "print(os.getcwd())",
        "json.dump({'loss': 0.5}, open('score.json', 'w'))", "_ = open('drawn.txt', 'w').write(str(random.random()))", "print(os.listdir())",
    )  # fmt: skip
    (tmp_path / "own.ipynb").write_text(untagged(*cells))
    before = contents(tmp_path / ".").keys()
    said = project.pipeline("add", str(tmp_path / "own.ipynb")).stdout
    verdict = "notebooks/own.ipynb: 2 of 2 cells and 1 file as in the notebook's own folder; not comparable, other in each run or folder: cells"
    assert f"\n{verdict} " in said and said.partition(verdict)[2].split("\n")[0].endswith(", drawn.txt"), said
    assert before <= contents(tmp_path / ".").keys()
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"


def test_what_the_move_changes_is_said(project, tmp_path):
    """A cell that shows something else in the project: the stage exists, and the exit code is not 0."""
    (tmp_path / "here.ipynb").write_text(
        untagged(
            "import os",
            "print(os.path.exists('README.md'))",
            "_ = open('x.txt', 'w').write(str(os.path.exists('dvc.yaml')))",
        )
    )
    done = project.pipeline("add", str(tmp_path / "here.ipynb"), check=False)
    assert done.returncode == add.INCOMPLETE
    said = "notebooks/here.ipynb: 0 of 1 cell and 0 of 1 file as in the notebook's own folder; cell 4, x.txt differ (see outputs/here.ipynb)\n"
    assert said in done.stdout
    assert stage(project, "here")["outs"] == ["outputs/here.ipynb", "x.txt"]


def test_paths_and_folders_that_a_cell_shows(project, tmp_path):
    """A path as seen from the repository's root; a folder of results beside files of before; the system's own folders."""
    for folder in ("work/notebooks", "work/data/raw", "work/figures"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("requirements.txt", "data/raw/a.csv", "figures/of_before.png"):
        (tmp_path / "work" / name).write_text("x")
    cells = (
        "import os\nfrom pathlib import Path\nROOT = Path.cwd().parent",
        "clean = ROOT / 'data' / 'clean.csv'\n_ = clean.write_text((ROOT / 'data/raw/a.csv').read_text())",
        "print(f'saved to {clean.relative_to(ROOT)}, {clean}')\nprint(repr(clean.parent))",
        "_ = open('../figures/new.txt', 'w').write('x')",
        "print(sorted(os.listdir('../figures')))",
        "print('expected: ../figures/new.txt')",
        "print(any(map(str.isdigit, os.listdir('/proc'))))" if os.path.isdir("/proc") else "print(True)",
    )
    (tmp_path / "work/notebooks/shown.ipynb").write_text(untagged(*cells))
    said = project.pipeline("add", str(tmp_path / "work/notebooks/shown.ipynb")).stdout
    verdict = "notebooks/shown.ipynb: 3 of 3 cells and 2 files as in the notebook's own folder; not comparable, other in each run or folder: cell 8\n"
    assert verdict in said, said
    assert stage(project, "shown")["deps"] == ["data/external/data/raw/a.csv", "outputs/code/shown.py"]


def test_a_dry_run_changes_nothing(project, tmp_path):
    (tmp_path / "a.csv").write_text("x" * 2000)
    (tmp_path / "dry.ipynb").write_text(
        untagged("N = 2", "text = open('a.csv').read()\nopen('new.csv', 'w').write(text * N)")
    )
    before = project.run("git", "status", "--porcelain").stdout
    said = project.pipeline("add", "--dry-run", str(tmp_path / "dry.ipynb")).stdout.splitlines()
    assert said[:2] == [
        f"data/external/a.csv: would be copied from {tmp_path}/a.csv (2.0 kB)",
        "new.csv: would be a result",
    ]
    assert "notebooks/dry.ipynb: cell 3: text = open('data/external/a.csv').read()" in said
    assert (
        project.run("git", "status", "--porcelain").stdout == before
        and not (project.path / "data/external/a.csv").exists()
    )
