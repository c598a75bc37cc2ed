"""`pipeline add` sees which files a notebook uses, in a copy of its folder that is made as it asks."""

import os
import sys
from pathlib import Path

import pytest
from add_samples import contents, untagged
from observed import execute

from notebook_pipeline.add import observation
from notebook_pipeline.add.observation import observe
from notebook_pipeline.notebook.document import parse


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    """A notebook's folder, in a repository, and a project beside it."""
    for name in ("work/a.csv", "work/deep/b.csv", "work/deep/c.csv", "work/.git/config", "far/d.csv", "project/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "work"


def seen(work: Path, *cells: str, most: int | None = None) -> observation.Observation:
    before = contents(work.parent)
    found = observe(parse(untagged(*cells), "x.ipynb"), work, work, most, execute)
    after = contents(work.parent)
    assert {path: text for path, text in after.items() if ".dvc" not in path.parts} == before
    return found


def test_what_is_read_written_and_by_which_call(work):
    found = seen(
        work,
        "import os",
        "NAME = 'b'\ndef load(path): return open(path).read()\nprint(load(f'deep/{NAME}.csv'))\nopen('new.txt', 'w').write('x')",
    )
    assert (found.read, {*found.written}, found.stopped) == ({work / "deep/b.csv"}, {work / "new.txt"}, "")
    read, written = (next(use for use in found.uses if use.what == what) for what in ("read", "write"))
    assert (read.said, read.path, read.cell) == ("deep/b.csv", work / "deep/b.csv", 2)
    assert [(site.source, site.line) for site in read.sites] == [(2, 2), (2, 3)]
    assert (written.said, [(site.source, site.line, site.column) for site in written.sites]) == ("new.txt", [(2, 4, 0)])


def test_equal_cells_are_two(work):
    """IPython gives them one name."""
    cell = "open('a.csv').read()"
    found = seen(work, cell, "x = 1", cell)
    assert [(use.cell, use.sites[0].source) for use in found.uses if use.what == "read"] == [(1, 1), (3, 3)]


# A cell, the files that it reads, and those that it writes.
USES = {
    "a file that is removed stays removed": ("os.remove('a.csv')\nassert not os.path.exists('a.csv')", set(), set()),
    "a file that is renamed": ("os.rename('a.csv', 'z.csv')", {"a.csv"}, {"z.csv"}),
    "a child": ("os.system('cat deep/b.csv > all.txt')", {"deep/b.csv"}, {"all.txt"}),
    "a folder of a child": ("os.system('cat deep/*.csv')", {"deep/b.csv", "deep/c.csv"}, set()),
    "a child's file, read again": ("os.system('cat a.csv > deep/b.csv')\nread('deep/b.csv')", {"a.csv"}, {"deep/b.csv"}),
    "another folder": ("os.chdir('deep')\nread('b.csv')\nread('../a.csv')", {"deep/b.csv", "a.csv"}, set()),
    "what is opened to be made": ("open('a.csv', 'x')", set(), set()),
    "what is added to": ("open('a.csv', 'a').write('x')", {"a.csv"}, {"a.csv"}),
    "what is written as it was": ("text = open('a.csv').read()\nopen('a.csv', 'w').write(text)", {"a.csv"}, {"a.csv"}),
    "what is only asked for": ("os.path.getsize('a.csv'), os.path.exists('deep/b.csv')", set(), set()),
    "a full path": ("read('WORK/deep/b.csv')\nopen('WORK/new.txt', 'w').write('x')", {"deep/b.csv"}, {"new.txt"}),
    "a module": ("import sys\nsys.path.append('lib')\nimport own", set(), set()),
}  # fmt: skip


@pytest.mark.parametrize("case", USES)
def test_files_are_seen(work, case):
    if case == "a module":
        (work / "lib").mkdir()
        (work / "lib/own.py").write_text("X = 1")
    if "child" in case and os.name == "nt":
        pytest.skip("a shell of POSIX")
    source, read, written = USES[case]
    found = seen(work, source.replace("WORK", work.as_posix()))
    assert {path.relative_to(work).as_posix() for path in found.read if path.suffix != ".py"} == read
    assert {path.relative_to(work).as_posix() for path in found.written if path.suffix != ".pyc"} == written
    if case == "a module":
        assert found.modules == {work / "lib/own.py": "own.py"}


def test_nothing_is_copied_in_vain(work, monkeypatch):
    """A large file is copied when it is opened, and not before."""
    monkeypatch.setattr(observation, "_SMALL", 100)
    (work / "large.bin").write_bytes(b"x" * 1000)
    (work / "other.bin").write_bytes(b"x" * 1000)
    cells = [
        "import os",
        "name = 'lar' + 'ge.bin'\nprint(len(open(name, 'rb').read()))",
        f"os.listdir({str(work.parent / 'far')!r})",
        "os.listdir(os.sep)",
    ]
    names = set()

    def look(found) -> None:
        names.update(path.name for path in Path(found.scratch).rglob("*") if path.is_file())

    monkeypatch.setattr(observation, "_look_at_files", look)
    found = seen(work, *cells)
    assert found.stopped == "" and "large.bin" in names and "other.bin" not in names


def test_more_than_may_be_copied_ends_the_run(work, monkeypatch):
    monkeypatch.setattr(observation, "_SMALL", 100)
    (work / "large.bin").write_bytes(b"x" * 1000)
    cell = "name = 'lar' + 'ge.bin'\nopen(name, 'rb').read()"
    found = seen(work, cell, most=500)
    assert found.too_much == (work / "large.bin", 1000) and found.stopped_cell == 1
    assert seen(work, cell, most=None).read == {work / "large.bin"}


@pytest.mark.skipif(sys.platform != "linux", reason="access times as Linux has them")
def test_a_reader_that_is_not_python_is_seen(work):
    """Native libraries raise no event: what a text names is there from the start, and access times tell."""
    found = seen(
        work,
        "import ctypes\nlibrary = ctypes.CDLL(None)\nhandle = library.open(b'deep/b.csv', 0)\nlibrary.read(handle, ctypes.create_string_buffer(9), 9)",
    )
    assert found.read == {work / "deep/b.csv"}
