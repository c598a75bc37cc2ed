"""What a run says of files that dvc.yaml does not declare: real kernels, native readers, and the audit hook."""

import contextlib
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import notebook, on_path
from ruamel.yaml import YAML
from test_run import RUN, ready

from notebook_pipeline.project.paths import by_folder
from notebook_pipeline.run.trace import Trace

STAGE = """\
stages:
  fit:
    cmd: pipeline run notebooks/fit.ipynb outputs/fit.ipynb
    deps: [notebooks/fit.ipynb, data/a.csv]
    params: [train]
    outs: [outputs/fit.ipynb, processed/out.csv]
"""
READ = "open('data/a.csv').read()\n"
WRITE = "open('processed/out.csv', 'w').write('1')\n"
READ_UNDECLARED = (
    "notebooks/fit.ipynb: stage `fit` read what dvc.yaml does not declare. Fix: add to its `deps:` "
    "(`pipeline add notebooks/fit.ipynb` does it)\n"
)
WROTE_UNDECLARED = (
    "notebooks/fit.ipynb: stage `fit` wrote what dvc.yaml does not declare. Fix: add to its `outs:` "
    "(`pipeline add notebooks/fit.ipynb` does it)\n"
)


def traced(bare, *cells: str, stage: str = STAGE):
    """A project whose notebook touches what its stage declares, and then runs these cells."""
    ready(bare, READ + WRITE + "None", *cells)
    bare.write("dvc.yaml", stage)
    for name in ("a", "b", "c"):
        bare.write(f"data/{name}.csv", "x\n1\n")
    return bare


def test_nothing_to_say(bare):
    """The folder of the output is not there, as in a fresh clone; what was written and then read is no input."""
    traced(
        bare,
        "open('processed/out.csv').read()\nopen('processed/out.csv', 'a').write('2')\n"
        "import tempfile\ntempfile.TemporaryFile().close()\nNone",
    )
    assert bare.pipeline(*RUN).stdout == ""
    assert bare.pipeline(*RUN, "--strict").stdout == ""


@pytest.mark.parametrize("strict", ["", "--strict", "PIPELINE_STRICT"])
def test_read_and_written_but_not_declared(bare, strict):
    traced(bare, "open('data/b.csv').read()\nopen('log: 1.txt', 'w').write('x')\nNone")
    bare.environ = bare.environ | {"PIPELINE_STRICT": "1" if strict == "PIPELINE_STRICT" else "0"}
    done = bare.pipeline(*RUN, *(["--strict"] if strict == "--strict" else []), check=False)
    assert done.stdout == f"{READ_UNDECLARED}      - data/b.csv\n{WROTE_UNDECLARED}      - 'log: 1.txt'\n"
    assert done.returncode == (1 if strict else 0)
    # They are the lines to add.
    bare.replace("dvc.yaml", "data/a.csv]", "data/a.csv, data/b.csv]")
    bare.replace(
        "dvc.yaml", "processed/out.csv]", "processed/out.csv]\n    metrics:\n      - 'log: 1.txt': {cache: false}"
    )
    assert bare.pipeline(*RUN).stdout == ""


def test_what_a_kernel_touches_while_it_ends(bare):
    """The files are looked at when it begins to end."""
    traced(
        bare,
        "import atexit\n"
        "log = open('data/b.csv', 'r+')\n"
        "log.read()\n"
        "def late():\n"
        "    import time\n"
        "    time.sleep(0.5)\n"
        "    log.write('2')\n"
        "    open('late.txt', 'w').write(open('data/c.csv').read())\n"
        "atexit.register(late)\n"
        "None",
    )
    said = bare.pipeline(*RUN).stdout
    assert said == f"{READ_UNDECLARED}      - data/c.csv\n{WROTE_UNDECLARED}      - data/b.csv\n      - late.txt\n"


def test_what_a_kernel_touches_only_while_it_ends(bare):
    """As in a second run by hand: what is written was there, and nothing has touched it before."""
    traced(
        bare,
        "import atexit\n"
        "held = open('data/b.csv', 'a')\n"
        "held.write('2')\n"
        "def late():\n"
        "    open('data/c.csv').read()\n"
        "    open('processed/late.txt', 'w').write('1')\n"
        "atexit.register(late)\n"
        "None",
        stage=STAGE.replace("out.csv]", "out.csv, processed/late.txt]"),
    )
    for _ in range(2):
        said = bare.pipeline(*RUN).stdout
        assert said == f"{READ_UNDECLARED}      - data/c.csv\n{WROTE_UNDECLARED}      - data/b.csv\n"


def test_dvc_shows_it(bare):
    traced(bare, "open('data/b.csv').read()\nNone")
    bare.run("git", "init", "--quiet")
    bare.run("dvc", "init", "--quiet")
    assert f"{READ_UNDECLARED}      - data/b.csv\n" in bare.run("dvc", "repro").stdout
    assert bare.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."
    bare.environ = bare.environ | {"PIPELINE_STRICT": "1"}
    assert bare.run("dvc", "repro", "--force", check=False).returncode != 0


WAIT = """\
import pathlib, time
pathlib.Path(".git/started").touch()
while not pathlib.Path(".git/go").exists(): time.sleep(0.01)
"""


def repro_beside(bare, change, stage: str, *cells: str):
    """Runs the stage under DVC; what `change` does is done while the notebook is at its last cell."""
    traced(bare, *cells, WAIT + "None", stage=stage)
    for command in ("git init --quiet", "dvc init --quiet"):
        bare.run(*command.split())
    command = on_path(["dvc", "repro"], bare.environ)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "encoding": "utf-8"}
    with subprocess.Popen(command, cwd=bare.path, env=bare.environ, **streams) as dvc:
        while not (bare.path / ".git/started").exists():
            assert dvc.poll() is None, dvc.stdout.read()
            time.sleep(0.01)
        change()
        (bare.path / ".git/go").touch()
        said = dvc.communicate(timeout=60)[0]
    return dvc.returncode, said


def test_an_input_that_changes_during_the_run_is_not_recorded(bare, tmp_path_factory):
    """Files, what a folder holds, modules, what lies outside of the project or behind a link: DVC would record the new ones."""
    far = tmp_path_factory.mktemp("shared folder")
    inputs = [
        "data/a.csv",
        "data/many",
        "notebooks/helper.py",
        str(far / "far.csv"),
        str(far / "all"),
        "link.csv",
        ".own",
    ]
    for name in ("data/many/gone.csv", "data/many/old.csv", "notebooks/helper.py", ".own/x.csv"):
        bare.write(name, "1\n")
    (far / "all").mkdir()
    for name in ("far.csv", "all/x.csv", "linked.csv"):
        (far / name).write_text("1\n")
    if os.name != "nt":
        (bare.path / "link.csv").symlink_to(far / "linked.csv")
    else:
        inputs.remove("link.csv")

    def change():
        for path in (*map(bare.path.joinpath, ("data/a.csv", "data/b.csv", "data/many/new.csv", ".own/x.csv")),
                     bare.path / "notebooks/helper.py", *map(far.joinpath, ("far.csv", "all/new.csv", "linked.csv"))):  # fmt: skip
            path.write_text("2\n2\n")
        (bare.path / "data/many/gone.csv").unlink()

    code, said = repro_beside(bare, change, STAGE.replace("data/a.csv]", f"{', '.join(inputs[1:])}, data/a.csv]"))
    changed = sorted(
        [".own/x.csv", "data/a.csv", "data/many/gone.csv", "data/many/new.csv", "notebooks/helper.py"]
        + [(far / name).as_posix() for name in ("far.csv", "all/new.csv")]
        + ["link.csv"] * ("link.csv" in inputs)
    )
    assert code != 0
    assert f"{', '.join(changed[:5])} and {len(changed) - 5} more: changed while notebooks/fit.ipynb ran" in said
    assert "add to its" not in said and not (bare.path / "dvc.lock").exists()
    assert "data/b.csv" not in said  # nobody has declared it
    # Who knows that the result is the same says so.
    bare.run("dvc", "commit", "--force", "fit")
    assert "up to date" in bare.run("dvc", "status").stdout


def test_parameters_of_another_file_that_change_during_the_run(bare):
    bare.write("more.yaml", "base: {}\n")
    code, said = repro_beside(
        bare,
        lambda: bare.write("more.yaml", "base: {x: 1}\n"),
        STAGE.replace("[train]", "[train, {more.yaml: [base]}]"),
    )
    assert code != 0 and not (bare.path / "dvc.lock").exists()
    assert "\nmore.yaml changed while notebooks/fit.ipynb ran, which used the old values" in said


def test_what_changes_beside_the_inputs_is_no_reason(bare):
    """Another's file, one that DVC ignores, a compiled module, and an input whose time alone was read."""
    bare.environ = {name: value for name, value in bare.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    bare.write(".dvcignore", ".DS_Store\n")
    bare.write("data/many/helper.py", "")

    def change():
        for name in ("data/b.csv", "data/many/.DS_Store"):
            bare.write(name, "2")

    stage = STAGE.replace("data/a.csv]", "data/a.csv, data/many]")
    code, said = repro_beside(bare, change, stage, "import sys\nsys.path.append('data/many')\nimport helper")
    assert code == 0, said
    assert "changed while" not in said


OWN = {
    "open": "open('data/a.csv', 'a').write('2')",
    "replace": "import os\nopen('data/a.part', 'w').write('2')\nos.replace('data/a.part', 'data/a.csv')",
    "remove": "import os\nos.remove('data/a.csv')",
}


@pytest.mark.parametrize("way", OWN)
def test_a_notebook_that_writes_its_own_input(bare, way):
    """It has a line of its own, whose advice helps."""
    traced(bare, OWN[way] + "\nNone")
    done = bare.pipeline(*RUN, check=False)
    assert done.returncode == 1
    assert done.stdout == (
        "data/a.csv: an input of stage `fit`, and written by notebooks/fit.ipynb: a rerun would start from another one, so "
        "nothing is recorded. Fix: write to data/processed/ or outputs/, and list that under `outs:`\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_a_program_that_the_notebook_calls_writes_an_input(bare):
    """Nobody knows that it was the notebook's."""
    traced(bare, "import subprocess\nsubprocess.run('echo 2 >> data/a.csv', shell=True)\nNone")
    done = bare.pipeline(*RUN, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith(
        "data/a.csv: changed while notebooks/fit.ipynb ran, which may have used the old content"
    )
    assert "if a program that the notebook calls writes it" in done.stdout


def test_declared_but_not_touched(bare):
    # The environment's files, the notebook and its code are read by others, or not at all.
    code = "  code:\n    cmd: pipeline code notebooks/fit.ipynb code/fit.py\n    outs: [code/fit.py]\n"
    deps = "deps: [code/fit.py, data/a.csv, data/b.csv, ./uv.lock, images/]"
    stage = STAGE.replace("deps: [notebooks/fit.ipynb, data/a.csv]", deps)
    traced(bare, "open('images/1.png').read()\nNone", stage=stage.replace("out.csv]", "out.csv, processed/two]") + code)
    for name in ("images/1.png", "images/2.png"):
        bare.write(name, "x")
    bare.write("uv.lock", 'version = 1\n\n[[package]]\nname = "x"\nversion = "1"\nsource = { virtual = "." }\n')
    bare.pipeline("code", "notebooks/fit.ipynb", "code/fit.py")
    done = bare.pipeline(*RUN, "--strict", check=False)
    assert done.returncode == 1
    assert done.stdout == (
        "dvc.yaml:4: stage `fit` declares the input data/b.csv, which notebooks/fit.ipynb did not read. "
        "Fix: remove it from the list, or read it\n"
        "dvc.yaml:6: stage `fit` declares the output processed/two, which notebooks/fit.ipynb did not write. "
        "Fix: remove it from the list, or write it\n"
    )
    # What another command of the stage touches is not known.
    bare.replace("dvc.yaml", "outputs/fit.ipynb\n", "outputs/fit.ipynb && touch processed/two\n")
    assert bare.pipeline(*RUN, "--strict").stdout == ""


def test_a_folder_that_is_declared(bare):
    stage = STAGE.replace("data/a.csv]", "data/]").replace("processed/out.csv", "processed")
    traced(bare, "open('data/b.csv').read()\nopen('processed/two', 'w').close()", stage=stage)
    (bare.path / "processed").mkdir()
    assert bare.pipeline(*RUN).stdout == ""


def test_many_files_of_a_folder_are_named_by_it(bare):
    traced(
        bare,
        "import pathlib\nfor number in range(11): pathlib.Path(f'images/{number}.png').read_bytes()\n"
        "for number in range(10): pathlib.Path(f'processed/log/{number}').mkdir(parents=True)\n"
        "for number in range(10): pathlib.Path(f'processed/log/{number}/x').touch()",
    )
    for number in range(20):
        bare.write(f"images/{number}.png", "x")
    assert bare.pipeline(*RUN).stdout == f"{READ_UNDECLARED}      - images\n{WROTE_UNDECLARED}      - processed/log\n"


def test_folders_that_are_only_listed(bare):
    """Where a file comes to them, the notebook sees it. Not where Python looks for modules, and not what the run makes."""
    other = "  other:\n    cmd: x\n    outs: [data/beside/x.csv, data/whole]\n"
    traced(
        bare,
        "import glob, os, sys\nfrom pathlib import Path\nsys.path += ['data/lib', 'src']\nimport tool, own\n"
        "list(os.walk('data/pics')), glob.glob('data/tables/*.csv'), [*Path('data/deep').iterdir()], os.listdir(b'data/whole')\n"
        "for name in ('.', 'data', 'data/beside', 'data/declared', 'data/empty', 'data/made', 'data/processed', 'docs', 'outputs'):\n"
        "    os.listdir(name)\n"
        "open('data/made/new.csv', 'w').close()\nos.chdir('data')\nlen(os.listdir('there'))",
        stage=STAGE.replace("data/a.csv]", "data/a.csv, data/declared]") + other,
    )
    for name in ("beside", "declared", "deep/1", "made", "pics/1", "pics/2", "processed", "tables", "there", "whole"):
        bare.write(f"data/{name}/x.csv", "1")
    for name in ("data/lib/tool.py", "data/lib/other.txt", "docs/x.md", "src/own/__init__.py"):
        bare.write(name, "")
    (bare.path / "data/empty").mkdir()
    found = "data/deep data/lib/tool.py data/pics data/tables data/there data/whole src/own/__init__.py".split()
    assert bare.pipeline(*RUN).stdout == (
        READ_UNDECLARED
        + "".join(f"      - {name}\n" for name in found)
        + f"{WROTE_UNDECLARED}      - data/made/new.csv\n"
    )


LIBRARIES = """
import importlib.metadata, pkgutil
import matplotlib.pyplot as plt, pandas as pd, sklearn.datasets
importlib.metadata.version("pandas"), [*importlib.metadata.distributions()], [*pkgutil.iter_modules()]
pd.read_csv("data/a.csv").plot()
plt.close()
sklearn.datasets.load_iris()
None
"""


def test_what_libraries_list_is_no_input(bare):
    traced(bare, LIBRARIES)
    for name in ("data/pics/x.png", "docs/x.md", "notebooks/helper.py"):
        bare.write(name, "")
    assert bare.pipeline(*RUN).stdout == ""


def test_by_folder():
    found = {f"a/b/{number}" for number in range(10)}
    assert by_folder(found, {"a/x"}, set(), whole=True) == ["a/b"]
    assert by_folder(found, set(), {"a/c"}, whole=True) == ["a/b"]
    assert by_folder(found, {"a/b/x"}, set(), whole=True) == sorted(found)
    assert by_folder({"a/1", "a/2"}, set(), set(), whole=True) == ["a/1", "a/2"]
    assert by_folder({"a/1", "a/2", "top"}, {"a/3"}, set(), whole=False) == ["a", "top"]
    assert by_folder({"a/1", "a/2"}, {"a/3", "a/4"}, set(), whole=False) == ["a/1", "a/2"]
    assert by_folder({"data/external/1", "data/external/2"}, set(), set(), whole=False) == [
        "data/external/1",
        "data/external/2",
    ]
    assert by_folder({"a/1"}, set(), set(), whole=False) == ["a/1"]


NATIVE = {
    "subprocess": "import subprocess\nsubprocess.run(['cat', 'data/b.csv'], stdout=subprocess.DEVNULL)",
    "shell line": "!cat data/b.csv > /dev/null",
    "numpy": "import numpy\nint(numpy.memmap('data/b.csv', mode='r').sum())",
    "sqlite3": "import sqlite3\nsqlite3.connect('data/b.csv').execute('select * from t').fetchall()",
    "pandas": "import pandas\npandas.read_csv('data/b.csv')",
    "pyarrow": "import pyarrow.csv\npyarrow.csv.read_csv('data/b.csv')",
    "polars": "import polars\npolars.read_csv('data/b.csv')",
    "duckdb": "import duckdb\nduckdb.sql(\"from 'data/b.csv'\").fetchall()",
    "chdir": "import os\nos.chdir('data')\nopen('b.csv').read()",
}


@pytest.mark.skipif(os.name == "nt", reason="there, access times do not tell, and the hook knows Python's own only")
@pytest.mark.parametrize("reader", NATIVE)
def test_whoever_reads(bare, reader):
    if reader in ("numpy", "pandas", "pyarrow", "polars", "duckdb"):
        if bare.run("python", "-c", f"import {reader}", check=False).returncode:
            pytest.skip(f"the project has no {reader}")
    traced(bare, NATIVE[reader] + "\nNone")
    if reader == "sqlite3":
        (bare.path / "data" / "b.csv").unlink()
        make = "import sqlite3; c = sqlite3.connect('data/b.csv'); c.execute('create table t (x)'); c.commit()"
        bare.run("python", "-c", make)
    for _ in range(2):  # the second time, the file was read since it was written
        assert f"{READ_UNDECLARED}      - data/b.csv\n" in bare.pipeline(*RUN).stdout


def test_modules_beside_the_notebook_are_inputs(bare):
    bare.environ = {name: value for name, value in bare.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    bare.write("notebooks/helper.py", "from own.deep import x\n")
    bare.write("own/__init__.py", "")
    bare.write("own/deep.py", "x = 1\n")
    traced(bare, "import helper")
    expected = READ_UNDECLARED + "".join(
        f"      - {name}\n" for name in ("notebooks/helper.py", "own/__init__.py", "own/deep.py")
    )
    assert bare.pipeline(*RUN).stdout == expected
    assert [*(bare.path / "own" / "__pycache__").glob("deep.*.pyc")]
    assert bare.pipeline(*RUN).stdout == expected


def test_parameter_files(bare):
    stage = STAGE.replace("[train]", "[train, {more.yaml: [base]}, {all.yaml: }]")
    traced(bare, "for name in ('params', 'more', 'all', 'dvc'): open(f'{name}.yaml').read()", stage=stage)
    bare.write("more.yaml", "base: {}\n")
    bare.write("all.yaml", "{}\n")
    assert bare.pipeline(*RUN).stdout == "".join(
        f"notebooks/fit.ipynb: read {name}.yaml itself: DVC tracks only what `params:` of stage `fit` "
        "lists. Fix: take the values from the parameters cell\n"
        for name in ("more", "params")
    )


def test_what_is_not_watched(bare):
    traced(
        bare,
        "import pathlib\nfor name in ('.env', 'data/b.csv.dvc', 'env/lib/x.py', '.git/x', 'data/gone'):\n"
        "    path = pathlib.Path(name)\n    path.write_text(path.read_text() + 'x')\npath.unlink()",
    )
    for name in (".env", "data/b.csv.dvc", "env/pyvenv.cfg", "env/lib/x.py", ".git/x", "data/gone"):
        bare.write(name, "x")
    assert bare.pipeline(*RUN).stdout == ""


CAT = "import subprocess\nsubprocess.run(['cat', 'data/{}'], stdout=subprocess.DEVNULL)\nNone"
# Until git and DVC have each been called from start to end.
BUSY = """
import pathlib, time
def rounds():
    return [len(pathlib.Path(".git", name).read_bytes()) for name in ("git", "dvc")]
start = rounds()
while any(now < before + 2 for now, before in zip(rounds(), start)): time.sleep(0.01)
"""


@contextlib.contextmanager
def editor(workspace):
    """What VS Code does all the time."""
    commands = {
        "git": (["git", "status"],),
        "dvc": (["dvc", "exp", "show", "--json"], ["dvc", "plots", "diff", "--json"]),
    }
    ended, counts = threading.Event(), {name: workspace.write(f".git/{name}", "") for name in commands}

    def loop(name: str) -> None:
        while not ended.is_set():
            for command in commands[name]:
                workspace.run(*command, check=False)
                with counts[name].open("a") as file:
                    file.write("x")

    threads = [threading.Thread(target=loop, args=(name,)) for name in commands]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.skipif(os.name == "nt", reason="there, access times do not tell, and the hook knows Python's own only")
def test_a_run_and_an_add_beside_an_editor(project):
    """Of what git and DVC read, nothing is named; of two natively read files, the one that the code names."""
    for name in ("data/own.csv", "data/other.csv"):
        project.write(name, "x\n1\n")
    project.run("git", "add", "--force", "data/own.csv", "data/other.csv")
    project.run("git", "commit", "--quiet", "--no-verify", "--message", "data")
    project.write("quick.ipynb", notebook("WORD = 'own.csv'", CAT.format("' + WORD + '"), BUSY))
    with editor(project):
        added = project.pipeline("add", "quick.ipynb", "--name", "quick").stdout
        project.replace("params.yaml", "epochs: 15", "epochs: 16")  # git reads what differs each time
        ran = project.pipeline("run", "notebooks/quick.ipynb", "outputs/quick.ipynb").stdout
    stage = YAML(typ="safe").load(project.read("dvc.yaml"))["stages"]["quick"]
    assert stage["deps"] == ["data/own.csv", "outputs/code/quick.py"], added
    assert stage["outs"] == ["outputs/quick.ipynb"], added
    assert ran == ""


def tracked(bare, monkeypatch):
    """A repository with two tracked files and a metric, and the trace in it."""
    monkeypatch.chdir(bare.path)
    for name in (
        "README.md",
        "dvc.yaml",
        "data/tracked.csv",
        "data/changed.csv",
        "data/metrics.json",
        "data/other.csv",
    ):
        bare.write(name, "1\n")
        os.utime(bare.path / name, (1_600_000_000, 1_600_000_000))
    bare.run("git", "init", "--quiet")
    bare.run("git", "add", "README.md", "dvc.yaml", "data/tracked.csv", "data/changed.csv")
    bare.write("data/changed.csv", "2\n")
    return ("data/tracked.csv", "data/changed.csv", "data/metrics.json", "data/other.csv")


OTHERS = {
    "nobody": ([], {"tracked", "changed", "metrics", "other"}),
    "a notebook that asks for the commit": (
        ["git", "rev-parse", "--git-dir"],
        {"tracked", "changed", "metrics", "other"},
    ),
    "git": (["git", "status"], {"other"}),
    # It rereads what differs, and only that.
    "git that trusts no ctime": (["git", "status"], {"tracked", "metrics", "other"}),
    "DVC": (["cat", "dvc.yaml"], {"other"}),
}


@pytest.mark.skipif(os.name == "nt", reason="there, access times do not tell, and the hook knows Python's own only")
@pytest.mark.parametrize("who", OTHERS)
def test_who_may_have_read_what_a_kernel_does_not_tell_of(bare, monkeypatch, who):
    """On a quiet machine each read is named; beside git and DVC, those that are not theirs."""
    names = tracked(bare, monkeypatch)
    command, expected = OTHERS[who]
    bare.run("git", "config", "core.trustctime", str("trusts no" not in who))
    if command == ["git", "status"]:
        time.sleep(1.1)  # it compares ctimes by the second
    with Trace() as trace:
        bare.run("cat", *names)
        if command:
            bare.run(*command)
    if not trace.sees_all:
        pytest.skip("no reads are noted here")
    sure = trace.noticed - trace.doubtful(lambda: ["data/metrics.json"])
    assert {Path(path).stem for path in sure if path in names} == expected


@pytest.mark.skipif(os.name == "nt", reason="Windows lets few people make links")
def test_links(bare, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "x.csv").write_text("x")
    traced(bare, "open('data/far/x.csv').read()\nopen('data/link.csv').read()\nNone")
    (bare.path / "data" / "far").symlink_to(elsewhere)
    (bare.path / "data" / "loop").symlink_to(bare.path)
    (bare.path / "data" / "link.csv").symlink_to(elsewhere / "x.csv")
    (bare.path / "data" / "broken.csv").symlink_to("nowhere")
    assert bare.pipeline(*RUN).stdout == f"{READ_UNDECLARED}      - data/far/x.csv\n      - data/link.csv\n"


# As if all files were someone else's: nobody may set their times.
NOT_OURS = """\
import os, sys
from notebook_pipeline.run import command as run

def refuse(*_, **__):
    raise PermissionError(1, "Operation not permitted")

os.utime = refuse
sys.exit(run.main(sys.argv[1:]))
"""


def test_where_access_times_do_not_tell(bare):
    bare.environ = {name: value for name, value in bare.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    bare.write("helper.py", "")
    traced(
        bare,
        "import helper, os\nos.close(os.open(b'data/b.csv', os.O_RDONLY))\nopen('data/c.csv', 'r+').close()",
        "print(sorted(dir()))",
    )
    bare.pipeline(*RUN)
    # The hook leaves no names behind.
    assert "'spec'" not in bare.read("outputs/fit.ipynb") and "'trace'" not in bare.read("outputs/fit.ipynb")
    # Reads in this hour are not noted by the file system.
    later = time.time() + 3600
    for path in bare.path.rglob("*.*"):
        os.utime(path, (later, path.stat().st_mtime))
    done = bare.run("python", "-c", NOT_OURS, *RUN[1:])
    assert done.stdout.partition("\n")[2] == (
        f"{READ_UNDECLARED}      - data/b.csv\n      - data/c.csv\n      - helper.py\n"
    )


def test_what_another_program_reads_where_no_read_is_noted(bare, noatime):
    bare.path = shutil.copytree(bare.path, noatime / "project")
    stage = STAGE.replace("data/a.csv]", "data/a.csv, data/b.csv]")
    traced(bare, "import subprocess\nsubprocess.run(['cat', 'data/b.csv'], capture_output=True)\nNone", stage=stage)
    assert bare.pipeline(*RUN).stdout == ""


def test_a_link_from_where_no_read_is_noted_to_where_it_is(bare, noatime, tmp_path_factory):
    data = tmp_path_factory.mktemp("elsewhere")
    bare.path = shutil.copytree(bare.path, noatime / "project")
    (bare.path / "data").symlink_to(data)
    traced(bare, "import subprocess\nsubprocess.run(['cat', 'data/b.csv'], capture_output=True)\nNone")
    for _ in range(2):
        (data / "b.csv").read_bytes()  # as DVC does, which computes its hash
        assert bare.pipeline(*RUN).stdout == f"{READ_UNDECLARED}      - data/b.csv\n"


@pytest.mark.skipif(shutil.which("setpriv") is None or os.getuid() != 0, reason="needs root, to have files of others")
def test_a_native_reader_of_someone_elses_file(bare):
    """No read of it is noted, so nobody knows whether there was one."""
    traced(
        bare,
        "import subprocess\nsubprocess.run(['cat', 'data/b.csv'], capture_output=True)\nNone",
        stage=STAGE.replace("data/a.csv]", "data/a.csv, data/b.csv, data/c.csv]"),
    )
    path = bare.path / "data" / "b.csv"
    os.chown(path, 1234, 1234)
    os.utime(path, (time.time() + 3600, path.stat().st_mtime))
    # As an ordinary user, whom this machine's Python may be closed to.
    done = bare.run("setpriv", "--bounding-set=-fowner", "--inh-caps=-fowner", "pipeline", *RUN)
    assert done.stdout == (
        "dvc.yaml:4: stage `fit` declares the input data/c.csv, which notebooks/fit.ipynb did not read. "
        "Fix: remove it from the list, or read it\n"
    )


# As if data/ were a link to a disk that keeps access times by the day.
COARSE = """\
import os, sys
from notebook_pipeline.run import command as run

utime = os.utime

def by_the_day(path, ns):
    day = 24 * 3600 * 10**9 if os.fspath(path).startswith("data/") else 1
    utime(path, ns=(ns[0] // day * day, ns[1]))

os.utime = by_the_day
sys.exit(run.main(sys.argv[1:]))
"""


def test_where_access_times_are_coarse(bare):
    """What nobody read is not named."""
    traced(bare, "open('data/b.csv').read()\nNone")
    for name in "abc":
        (bare.path / "data" / f"{name}.csv").read_bytes()
    assert bare.run("python", "-c", COARSE, *RUN[1:]).stdout == f"{READ_UNDECLARED}      - data/b.csv\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows may note no reads")
def test_one_file_under_two_names(bare):
    """As DVC's cache has equal files where it links; in the second run, too, whose access times the first one set."""
    traced(bare, "import subprocess\nsubprocess.run(['cat', 'data/b.csv'], capture_output=True)\nNone")
    (bare.path / "data" / "c.csv").unlink()
    (bare.path / "data" / "c.csv").hardlink_to(bare.path / "data" / "b.csv")
    bare.replace("dvc.yaml", "data/a.csv]", "data/a.csv, data/b.csv, data/c.csv]")
    for _ in range(2):
        assert bare.pipeline(*RUN).stdout == ""


def test_two_runs_at_once(bare, monkeypatch):
    """One sets access times, while the other watches the same files."""
    path = bare.write("data/b.csv", "x")
    os.utime(path, (1_600_000_000, 1_600_000_000))
    monkeypatch.chdir(bare.path)
    with Trace() as first:
        path.read_bytes()
        with Trace() as second:
            path.read_bytes()
            second.end()
    if not first.sees_all:
        pytest.skip("no reads are noted here")
    assert "data/b.csv" in first.read & second.read


def test_a_file_as_an_archive_brings_it(bare, monkeypatch):
    """Its times are equal, and of a whole second. macOS notes no read of it unless it is set back."""
    second = 1_600_000_000
    path = bare.write("data/b.csv", "x")
    os.utime(path, (second, second))
    monkeypatch.chdir(bare.path)
    with Trace():
        assert path.stat().st_atime < path.stat().st_mtime == second


def test_a_run_that_fails_says_only_that(bare):
    traced(bare, "open('data/b.csv').read()\n1 / 0")
    done = bare.pipeline(*RUN, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("notebooks/fit.ipynb: cell 3, line 2: ZeroDivisionError: division by zero\n")
    assert "declare" not in done.stdout
