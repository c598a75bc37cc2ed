"""`pipeline add` of several notebooks: each after those whose results it reads."""

from pathlib import Path

import pytest
from add_samples import contents, project, stage, untagged  # noqa: F401

from notebook_pipeline.add.order import find_notebooks, in_order

# The cells of each notebook in the order given, and the order in which they are added.
ORDERS = {
    "as given": ({"b": "print(1)", "a": "print(2)"}, "ba"),
    "a file": ({"a": "open('x.csv').read()", "b": "df.to_csv('x.csv')"}, "ba"),
    "a file under a name": ({"a": "F = './x.csv'\npd.read_csv(F)", "b": "OUT = 'x.csv'\ndf.to_csv(OUT)"}, "ba"),
    "a file in a folder": ({"a": "glob('made/*.csv')", "b": "df.to_csv('made/x.csv')"}, "ba"),
    "a folder": ({"a": "pd.read_csv('made/x.csv')", "b": "for n in range(3): df.to_csv(f'made/{n}.csv')"}, "ba"),
    "in a row": ({"a": "read('2.csv')", "b": "read('1.csv').to_csv('2.csv')", "c": "df.to_csv('1.csv')"}, "cba"),
    "in a circle": ({"a": "read('2.csv').to_csv('1.csv')", "b": "read('1.csv').to_csv('2.csv')"}, "ab"),
    "its own": ({"a": "df.to_csv('x.csv')\nread('x.csv')", "b": "print(1)"}, "ab"),
    "not a notebook": ({"a": None, "b": "print(1)"}, "ab"),
}  # fmt: skip


@pytest.mark.parametrize("case", ORDERS)
def test_each_comes_after_those_whose_results_it_reads(tmp_path, case):
    cells, expected = ORDERS[case]
    for name, cell in cells.items():
        (tmp_path / f"{name}.ipynb").write_text("{" if cell is None else untagged(cell))
    found = in_order([tmp_path / f"{name}.ipynb" for name in cells])
    assert "".join(path.stem for path in found) == expected


def test_names_patterns_and_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.ipynb", "b.ipynb", "c[1].ipynb", "more/d.ipynb", "more/e.txt", "more/deep/f.ipynb"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    found = find_notebooks(["c[1].ipynb", "[ab].ipynb", "more", "a.ipynb", "gone.ipynb"])
    assert [path.as_posix() for path in found] == ["c[1].ipynb", "a.ipynb", "b.ipynb", "more/d.ipynb", "gone.ipynb"]
    assert find_notebooks(["*.py"]) == []


def test_a_folder_becomes_stages(project, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "made.csv").write_text("2")
    (work / "all.ipynb").write_text(untagged("text = open('made.csv').read()", "open('all.txt', 'w').write(text * 2)"))
    (work / "prep.ipynb").write_text(untagged("N = 2", "open('made.csv', 'w').write(str(N))"))
    (work / "of_r.ipynb").write_text(untagged("x <- 1").replace('"python"', '"R"'))
    before = contents(work)
    done = project.pipeline("add", str(work), check=False)
    assert done.returncode == 3 and contents(work) == before
    said = done.stdout
    assert said.index(f"== {work / 'prep.ipynb'}") < said.index(f"== {work / 'all.ipynb'}"), said
    assert said.endswith(f"\n2 of 3 notebooks are stages; not {work / 'of_r.ipynb'}: see above\n")
    assert stage(project, "all")["deps"] == ["made.csv", "outputs/code/all.py"]
    assert project.read("all.txt") == "22"
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
    # A name is one notebook's; nothing was changed, so the exit code is 1.
    for options in (["--name", "x"], ["--lift", "N"]):
        done = project.pipeline("add", *options, str(work), check=False)
        assert (done.returncode, done.stdout) == (
            1,
            "--name, --lift: belong to one notebook. Fix: add the notebooks one by one\n",
        )
    done = project.pipeline("add", "none/*.ipynb", check=False)
    assert (done.returncode, done.stdout) == (1, "none/*.ipynb: contains no notebook. Fix: correct the path\n")
