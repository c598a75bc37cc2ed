"""`pipeline run`: signals, killed runs and killed kernels."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time

import psutil
import pytest
from conftest import KILL, TEMPLATE, on_path
from run_samples import TO_DEBUG  # noqa: F401
from samples import RUN, ready, wait

from notebook_pipeline.run import stop


def processes(mark: str) -> list[str]:
    """The command lines that hold a mark."""
    lines = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                lines.append(" ".join(process.cmdline()))
    return [line for line in lines if mark in line]


# It prints without end, so that the signal meets a run that is busy with messages.
BUSY = (
    "import subprocess, time\nchild = subprocess.Popen(['sleep', '{mark}'])\nopen('started', 'w').close()\n"
    "while True: print('.' * 50); time.sleep(0.0005)"
)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("command", "shell", "number", "expected"),
    [
        (["pipeline", *RUN], "bash", signal.SIGINT, "Ctrl-C"),
        (["pipeline", *RUN], "bash", signal.SIGTERM, "SIGTERM"),
        # A shell may replace itself by the command that DVC gives it, or wait beside it.
        (["dvc", "repro"], "bash", signal.SIGTERM, "SIGTERM"),
        (["dvc", "repro"], "sh", signal.SIGTERM, "SIGTERM"),
        (["dvc", "repro"], "sh", KILL, "SIGTERM"),
    ],
    ids=["ctrl-c", "sigterm", "dvc ended", "dvc and its shell ended", "dvc killed"],
)
def test_stopped_by_a_signal(bare, command, shell, number, expected, request):
    mark = f"{os.getpid()}.{abs(hash(request.node.name)) % 10**6}"
    ready(bare, BUSY.format(mark=mark))
    bare.run("git", "init", "--quiet")
    bare.run("dvc", "init", "--quiet")
    with (bare.path / "log").open("w") as log:
        # A suite that runs in the background has Ctrl-C ignored, and its children would inherit that.
        old = signal.signal(signal.SIGINT, signal.default_int_handler)
        environ = bare.environ | {"SHELL": shutil.which(shell)}
        process = subprocess.Popen(command, cwd=bare.path, env=environ, stdout=log, stderr=log)
        signal.signal(signal.SIGINT, old)
        wait(lambda: (bare.path / "started").exists())
        assert processes(f"sleep {mark}")
        process.send_signal(number)
        assert process.wait(timeout=120) != 0
    said = f"notebooks/fit.ipynb: stopped in cell 2 by {expected}"
    wait(lambda: said in bare.read("log") and not processes(f"sleep {mark}"), lambda: bare.read("log")[-2000:])
    wait(lambda: not processes(str(bare.path)))
    # What ran is there to be looked at.
    assert json.loads(bare.read("outputs/fit.ipynb"))["cells"][0]["execution_count"] == 1


def stopped_experiment(bare, order, number) -> None:
    """An experiment of whose process tree each got a signal, as by the Stop of VS Code."""
    ready(bare, "1")
    bare.run("git", "init", "--quiet")
    bare.run("dvc", "init", "--quiet")
    bare.write("data/external/a.csv", "1\n")
    bare.run("dvc", "add", "--quiet", "data/external")
    bare.run("dvc", "repro", "--quiet")
    ready(bare, BUSY.format(mark=f"{os.getpid()}.{abs(hash(str(bare.path))) % 10**6}"))
    bare.run("git", "add", "--all", ".")
    bare.run("git", "commit", "--quiet", "--message", "start")
    bare.write("data/external/a.csv", "2\n")  # nobody has saved it
    with (bare.path / "log").open("w") as log:
        command = on_path(["dvc", "exp", "run", "-S", "train.steps=2"], bare.environ)
        process = psutil.Popen(command, cwd=bare.path, env=bare.environ, stdout=log, stderr=log)
        wait(lambda: (bare.path / "started").exists(), lambda: bare.read("log")[-2000:])
        tree = [process, *process.children(recursive=True)]
        for each in order(tree):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(number)
        assert not psutil.wait_procs(tree, timeout=60)[1]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("order", [reversed, lambda tree: tree[:1]], ids=["dvc last", "dvc alone"])
def test_an_experiment_that_is_stopped_leaves_its_branch_as_it_was(bare, order):
    stopped_experiment(bare, order, signal.SIGTERM)
    assert bare.run("git", "branch", "--show-current").stdout == "main\n"
    assert bare.run("git", "diff", "--cached", "--name-only").stdout == ""
    refs = bare.run("git", "for-each-ref", "--format=%(refname:lstrip=3)", "refs/exps/exec").stdout.split()
    assert refs == ["EXEC_HEAD"]  # as after one that has ended
    # What it had is there to be looked at, and the way to go on is the usual one.
    assert "steps: 2" in bare.read("params.yaml")
    assert json.loads(bare.read("outputs/fit.ipynb"))["cells"][0]["execution_count"] == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_an_experiment_that_is_killed_has_a_way_back(bare):
    stopped_experiment(bare, list, KILL)
    assert "HEAD detached" in bare.run("git", "status").stdout
    lines = (TEMPLATE / "template/README.md.jinja").read_text(encoding="utf-8").partition("## After a stop")[2]
    blocks = re.findall(r"```\n(.*?)```", lines, re.S)[:2]
    for line in "".join(blocks).splitlines():
        bare.run(*shlex.split(line.removeprefix("uv run ")))
    assert bare.run("git", "branch", "--show-current").stdout == "main\n"
    assert "EXEC_BASELINE" not in bare.run("git", "for-each-ref", "refs/exps").stdout
    # The new data stays, and DVC has it since.
    assert bare.run("git", "status", "--short", "--untracked-files=no").stdout == " M data/external.dvc\n"
    assert json.loads(bare.read("outputs/fit.ipynb"))["cells"][-1]["source"] == ["1"]
    assert bare.read("data/external/a.csv") == "2\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_the_folder_of_a_killed_run_is_removed_by_the_next(bare, tmp_path_factory):
    """That of a run that goes on is not, nor what is not a run's."""
    folder = tmp_path_factory.mktemp("tmp")
    bare.environ = bare.environ | {"TMPDIR": str(folder)}
    mark = f"{os.getpid()}.7"
    ready(bare, BUSY.format(mark=mark))
    (folder / "kernel-of-mine").mkdir()
    (folder / "kernel-of-mine" / "file").touch()

    def left() -> set[str]:
        return {path.parent.name for path in folder.glob("kernel*/*")}

    first, second = (
        psutil.Popen(
            on_path(["pipeline", *RUN], bare.environ), cwd=bare.path, env=bare.environ,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    )  # fmt: skip
    wait(lambda: len(processes(f"sleep {mark}")) == 2)
    assert len(left()) == 3
    killed = [first, *first.children(recursive=True)]
    for process in killed:
        process.kill()
    psutil.wait_procs(killed)
    ready(bare, "1")
    bare.pipeline(*RUN)
    assert len(left()) == 2
    assert second.poll() is None
    second.terminate()
    second.wait(timeout=60)
    assert left() == {"kernel-of-mine"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_python_drops_is_heard_all_the_same(monkeypatch):
    class Finalizer:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    monkeypatch.setattr(stop, "PATIENCE", 0.1)
    with pytest.raises(KeyboardInterrupt), stop.signals_as_exceptions():
        Finalizer()
        wait(lambda: False)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_killed_kernel(bare):
    mark = f"{os.getpid()}.99"
    ready(bare, BUSY.format(mark=mark).replace("while True: ", "import os; os.kill(os.getpid(), 9); "), "1")
    done = bare.pipeline(*RUN, check=False)
    assert done.returncode == 1
    assert done.stdout.endswith(
        "notebooks/fit.ipynb: the kernel died in cell 2: out of memory, or ended by the code: cell 3 never ran\n"
        + TO_DEBUG
    )
    assert not processes(f"sleep {mark}")
