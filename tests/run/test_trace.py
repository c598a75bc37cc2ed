"""What a run reports of files that dvc.yaml does not declare: real kernels, native readers, and the audit hook."""

import os
import subprocess
import time

import pytest
from conftest import on_path
from samples import RUN
from trace_samples import READ, READ_UNDECLARED, STAGE, WRITE, traced  # noqa: F401

from notebook_pipeline.project.paths import by_folder

WROTE_UNDECLARED = (
    "notebooks/fit.ipynb: stage `fit` wrote what dvc.yaml does not declare. Fix: add to its `outs:` "
    "(`pipeline add notebooks/fit.ipynb` does it)\n"
)


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
