"""`pipeline add`: how it writes a notebook, and what it says to type."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from add_samples import project, stage, untagged  # noqa: F401
from conftest import Workspace, notebook

from notebook_pipeline.add import command as add
from notebook_pipeline.add import job
from notebook_pipeline.add.observation import Observation
from notebook_pipeline.add.stage_entry import Entry
from notebook_pipeline.add.written_notebook import START, start_in_root, write_notebook
from notebook_pipeline.notebook import imports
from notebook_pipeline.notebook.document import NotebookError, parse, read
from notebook_pipeline.project.project import Project


def test_whose_entry_is_add_s_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = Entry("fit", "notebooks/fit.ipynb", ["fit"], {"data/external"}, {"a.csv", "b.png"})
    head, rest = "stages:\n", "\n  more:\n    cmd: x\n"
    for after in ("", rest, f"# of mine\n{rest}", f"\n\n{rest}", "plots: []\n"):
        Path("dvc.yaml").write_text(head + entry.text() + after)
        found = Entry.of_unrecorded(Project().stage("fit"))
        assert (found.deps, found.outs) == ({"data/external", "outputs/code/fit.py"}, entry.outs)
    Path("dvc.lock").write_text("stages:\n  fit:\n    cmd: x\n")
    assert Entry.of_unrecorded(Project().stage("fit")) is None
    Path("dvc.lock").write_text("stages:\n  more:\n    cmd: x\n")
    assert Entry.of_unrecorded(Project().stage("fit"))
    for after in ("    frozen: true\n", "\n    frozen: true\n", "    # of mine\n"):
        Path("dvc.yaml").write_text(head + entry.text() + after + rest)
        assert Entry.of_unrecorded(Project().stage("fit")) is None
    Path("dvc.yaml").write_text(head + entry.text().replace("external\n", "external # mine\n"))
    assert Entry.of_unrecorded(Project().stage("fit")) is None


def test_line_ends_are_those_that_git_will_keep(project, samples):
    """DVC records what lies on the disk: with others it would be another file in each clone."""
    (samples / "of_windows.py").write_bytes(b"WIDTH = 2\r\n")
    (samples / "ends.ipynb").write_bytes(
        untagged("import of_windows", "print(of_windows.WIDTH)").encode().replace(b"\n", b"\r\n")
    )
    project.pipeline("add", str(samples / "ends.ipynb"))
    for name in ("of_windows.py", "ends.ipynb"):
        assert b"\r" not in (project.path / "notebooks" / name).read_bytes()


def test_a_notebook_is_written_as_editors_write_it(tmp_path):
    """So that `git diff` shows what has changed, and no more."""
    cells = ({"source": ["N = 1"]}, {"source": ["print(N)"]})
    text = json.dumps(json.loads(untagged(*cells)), indent=1, sort_keys=True) + "\n"
    (tmp_path / "x.ipynb").write_text(text)
    write_notebook((tmp_path / "x.ipynb").as_posix(), read(tmp_path / "x.ipynb").document, is_copy=False)
    assert (tmp_path / "x.ipynb").read_text() == text


def test_a_notebook_that_changes_the_folder_starts_in_the_root_once_that_is_taken_out():
    made = start_in_root(parse(untagged("import os\nos.chdir('..')"), "x.ipynb"), has_modules=False)
    assert [cell.source for cell in made.cells] == [START.rstrip("\n"), "import os\nos.chdir('..')"]
    assert start_in_root(made, has_modules=True) is made


def test_the_cure_of_an_old_format_has_quotes_where_it_needs_them():
    with pytest.raises(NotebookError, match='--inplace "my old.ipynb"`$'):
        parse('{"nbformat": 3, "worksheets": []}', "my old.ipynb")


def test_what_the_commit_makes_of_it_is_there_before_the_run(project, tmp_path):
    """The project's hooks change nothing of what was recorded; what another hook changes, the last one says."""
    unsorted = "import sys\nimport os\n"
    old = [{"output_type": "stream", "name": "stdout", "text": "old"}]
    cells = (
        "N = 2", {"source": f"{unsorted}from local import f", "outputs": old},
        "%run beside.ipynb\nprint( f(N), globals()['g'](N), os, sys )",
    )  # fmt: skip
    project.write("notebooks/here.ipynb", notebook(*cells))
    project.write("notebooks/local.py", f"{unsorted}def f(n): return n\n")
    project.write("notebooks/beside.ipynb", notebook({"source": f"{unsorted}def g(n):\n    return n"}))
    (tmp_path / "over").mkdir()
    (tmp_path / "over/conf.py").write_text(f"{unsorted}LIMIT = 5\n")
    (tmp_path / "over/helper.ipynb").write_text(notebook({"source": f"{unsorted}def h(n):\n    return n"}))
    (tmp_path / "over/there.ipynb").write_text(
        notebook("N = 2", "%run -i conf.py\n%run helper.ipynb", "print( h(N), LIMIT )")
    )
    project.pipeline("add", "notebooks/here.ipynb")
    project.run("git", "add", "--all")
    project.pipeline("add", str(tmp_path / "over/there.ipynb"))
    assert {"notebooks/conf.py", "notebooks/helper.ipynb"} <= {*stage(project, "there")["deps"]}
    assert {"notebooks/local.py", "notebooks/beside.ipynb"} <= {*stage(project, "here")["deps"]}
    project.run("git", "add", "--all")
    project.run("git", "commit", "--message", "Two more")
    assert project.run("git", "status", "--porcelain").stdout == ""
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"

    project.write("more.py", "import sys\n\nfor path in sys.argv[1:]:\n    open(path, 'a').write('# more\\n')\n")
    project.replace(".pre-commit-config.yaml", "      # Put your own hooks that change files", """\
      - id: more
        name: more
        entry: uv run python more.py
        language: system
        files: ^notebooks/local.py$
      # Put your own hooks that change files""")  # fmt: skip
    project.write("notebooks/local.py", project.read("notebooks/local.py") + "\n\nx = 1\n")
    said = "notebooks/local.py: a hook changed what dvc.lock recorded. Fix: run `uv run dvc repro` and commit again"
    project.run("git", "add", "--all")
    # Not of what is stale in any case.
    assert said not in project.run("git", "commit", "--message", "More", check=False).stdout
    project.run("dvc", "repro", "--quiet", "here")
    project.run("git", "add", "--all")
    assert said in project.run("git", "commit", "--message", "More", check=False).stdout.splitlines()


def test_what_it_runs_comes_along_or_is_named(tmp_path):
    for name in ("lib/conf.py", "up.py", "my helper.ipynb"):
        path = tmp_path / "origin" / name if name != "up.py" else tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("import bs4" if name.endswith(".py") else notebook("import cv2"))
    source = (
        "%run -i -N 3 lib/conf --x lib/conf\nif True:\n    %run '../up.py' 1\n%run \"my helper.ipynb\"\n%run gone.py\n%run {which}\n"
        "%run -m pkg\n%load up\n%run made.py"
    )
    given, origin = parse(untagged("%%writefile made.py\nx = 1", source), "x.ipynb"), tmp_path / "origin"
    modules = job._find_modules(given, origin, Observation())
    assert {file.relative_to(tmp_path).as_posix(): place for file, place in modules.items()} == {
        "origin/lib/conf.py": "notebooks/lib/conf.py", "up.py": "notebooks/up.py",
        "origin/my helper.ipynb": "notebooks/my helper.ipynb",
    }  # fmt: skip
    assert imports.distributions(given, origin) == ["beautifulsoup4", "opencv-python-headless"]
    assert imports.with_runs_followed(given, origin, modules).cells[1].source == (
        '%run -i -N 3 notebooks/lib/conf.py --x lib/conf\nif True:\n    %run notebooks/up.py 1\n%run "notebooks/my helper.ipynb"\n'
        "%run gone.py\n%run {which}\n%run -m pkg\n%load up\n%run made.py"
    )
    assert imports.missing_runs(given, origin) == [
        "x.ipynb: cell 2, line 5: `%run gone.py`: the file does not exist. Fix: put it beside the notebook",
        "x.ipynb: cell 2, line 8: `%run up`: the file does not exist. Fix: put it beside the notebook",
    ]
    with pytest.raises(add.Refused, match="conf.py: would be notebooks/conf.py, and so would "):
        (tmp_path / "conf.py").write_text("")
        (origin / "conf.py").write_text("")
        job._find_modules(parse(untagged("import conf", "%run ../conf.py"), "x.ipynb"), origin, Observation())


def test_links_stay_links(bare, tmp_path):
    """What a person shares by a link is written where it lies; a copy that already exists stays as it is."""
    (tmp_path / "p").mkdir()
    bare.path = (tmp_path / ".pipeline").rename(tmp_path / "p/.pipeline").parent
    bare.run("dvc", "init", "--quiet", "--no-scm")
    texts = {
        "params.yaml": "", "dvc.yaml": "stages:\n", "notebooks/x.ipynb": untagged("N = 2", "print( N )"),
        "data/external/a.csv": "1",
    }  # fmt: skip
    shared = tmp_path / "shared"
    shared.mkdir()
    for name, text in texts.items():
        place = bare.write(name, text)
        place.rename(shared / place.name)
        place.symlink_to(shared / place.name)
    bare.pipeline("add", "--no-run", "notebooks/x.ipynb")
    (tmp_path / "a.csv").write_text("1")
    (tmp_path / "y.ipynb").write_text(notebook("N = 3", "open('a.csv')\nN"))
    bare.pipeline("add", "--no-run", "../y.ipynb")
    assert all((bare.path / name).is_symlink() for name in texts)
    assert (shared / "params.yaml").read_text() == "x:\n  n: 2\n\ny:\n  n: 3\n"
    assert "print(N)" in (shared / "x.ipynb").read_text() and '"parameters"' in (shared / "x.ipynb").read_text()
    assert "data/external/a.csv" in (shared / "dvc.yaml").read_text()
    assert sorted(path.name for path in shared.iterdir()) == ["a.csv", "dvc.yaml", "params.yaml", "x.ipynb"]


def test_what_is_to_be_typed_works_as_it_is_typed(tmp_path, monkeypatch):
    """In a folder of a repository, in any shell."""
    monkeypatch.setattr(job, "_is_there", lambda module: False)
    (line,) = job._lacking(parse(notebook("", "import dask.array, torch"), "x.ipynb"))
    assert 'uv add "dask[array]" torch, ' in line
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["init", "--quiet"],
        ["-c", "user.name=A", "-c", "user.email=a", "commit", "--allow-empty", "-qm", "-"],
    ):
        subprocess.run(["git", *arguments], check=True)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir("sub")
    for name in ("ä b.ipynb", "dvc.yaml"):
        Path(name).write_text("")
    with pytest.raises(add.Refused) as refused:
        job._refuse_unsaved("ä b.ipynb", "dvc.yaml", "gone.yaml")
    (command,) = re.findall(r"`(.+)`", str(refused.value))
    assert command == 'git add "ä b.ipynb" dvc.yaml'
    subprocess.run(command, shell=True, check=True)
    job._refuse_unsaved("ä b.ipynb", "dvc.yaml")


def test_where_no_read_is_noted(project, samples, noatime):
    """What the code tells is an input there, whoever reads it."""
    shutil.copytree(project.path, noatime / "project", symlinks=True)
    project = Workspace(noatime / "project", project.environ)
    (samples / "cat.ipynb").write_text(
        untagged("import subprocess\nsubprocess.run(['cat', 'text/one.txt'], check=True)")
    )
    project.pipeline("add", str(samples / "cat.ipynb"))
    assert stage(project, "cat")["deps"] == ["data/external/text/one.txt", "outputs/code/cat.py"]


def test_without_a_run(project, samples):
    (samples / "later.ipynb").write_text(
        untagged("N = 1", "text = open('text/one.txt').read()\nopen('copy.txt', 'w').write(text * N)")
    )
    done = project.pipeline("add", "--no-run", str(samples / "later.ipynb"))
    assert not (project.path / "copy.txt").exists(), done.stdout
    assert stage(project, "later")["deps"] == ["data/external/text/one.txt", "outputs/code/later.py"]
    assert stage(project, "later")["outs"] == ["copy.txt", "outputs/later.ipynb"]
    assert "/copy.txt" in project.read(".gitignore")
    assert "Running stage 'later'" in project.run("dvc", "repro").stdout
