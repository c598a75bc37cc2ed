"""What a run reports if other programs read or write the same files, or access times do not tell."""

import contextlib
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from conftest import Workspace, notebook
from ruamel.yaml import YAML
from samples import RUN
from trace_samples import READ, READ_UNDECLARED, STAGE, WRITE, traced  # noqa: F401

from notebook_pipeline.run.trace import Trace

CAT = "import subprocess\nsubprocess.run(['cat', 'data/{}'], stdout=subprocess.DEVNULL)\nNone"
# Until git and DVC have each been called from start to end.
BUSY = """
import os, time
def rounds():
    return [os.path.getsize(os.environ["ROUNDS_OF_" + name]) for name in ("GIT", "DVC")]
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
    rounds = {f"ROUNDS_OF_{name.upper()}": str(project.path / ".git" / name) for name in ("git", "dvc")}
    project = Workspace(project.path, project.environ | rounds)
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
