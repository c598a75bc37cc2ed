"""`pipeline sweep` on this machine."""

import ast
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket

import psutil
import pytest
from conftest import notebook
from sweep_samples import PIPELINE, Sweeps, in_a_subfolder, wait

from notebook_pipeline.sweep import command as sweep

# ---------------------------------------------------------------------------------------------------------------------
# On this machine
# ---------------------------------------------------------------------------------------------------------------------


def test_a_grid(sweeps):
    said = sweeps.sweep(
        "-S", "fit.x=range(1,4)", "-S", "fit.rate=0.25,0.5", "--workers", "2", "--by", "score.yaml:score"
    )
    assert said.startswith(
        f"6 experiments (3 x 2) from {sweeps.git('rev-parse', 'HEAD')[:7]}\n  fit.x     1, 2, 3\n  fit.rate  0.25, 0.5\n"
    )
    assert sweeps.values() == [1, 1, 2, 2, 3, 3]
    # No setting touches the first stage.
    assert sorted(sweeps.runs()) == ["x=1", "x=1", "x=2", "x=2", "x=3", "x=3"]
    table = said.partition("\nExperiment")[2].splitlines()[1:7]
    assert [line.split()[-2:][0] for line in table] == ["4", "4", "1", "1", "0", "0"]
    best = sweeps.sweep("-S", "fit.x=1,2", "-S", "fit.rate=0.25", "--by", "loss", "--sort-order", "asc")
    assert "2 of them are there already" in best
    assert len(sweeps.runs()) == 6
    assert sweeps.git("for-each-ref", "refs/sweep") == ""
    assert not [path for path in (sweeps.path / ".dvc/tmp/sweep").iterdir() if path.is_dir()]


def test_what_diverged_is_last(sweeps):
    sweeps.replace("fit.py", "score: {(x - 3) ** 2}", "score: {'.nan' if x == 2 else (x - 3) ** 2}")
    sweeps.git("commit", "--quiet", "--all", "--message", "diverges")
    for order, expected in {"desc": [1, 4, 3, 2], "asc": [3, 4, 1, 2]}.items():
        said = sweeps.sweep("-S", "fit.x=range(1,5)", "--by", "score", "--sort-order", order)
        assert [int(x) for x in re.findall(r"fit\.x=(\d)", said.partition("\nExperiment")[2])] == expected


def test_beside_another_dask(sweeps):
    """Its usual port, on which it would listen, is another program's, a notebook's say."""
    with contextlib.ExitStack() as until_the_end:
        with contextlib.suppress(OSError):  # taken already
            until_the_end.enter_context(socket.create_server(("", 8787)))
        said = sweeps.sweep("-S", "fit.x=4")
    assert "8787" not in said and "Warning" not in said


def test_nobody_else_can_reach_it(sweeps):
    """Scheduler, worker and their pages: every port is one of this machine alone."""
    held = sweeps.hold(1)
    with sweeps.started("-S", "fit.x=1") as sweep:
        wait(lambda: "x=1" in sweeps.runs())
        processes = [psutil.Process(sweep.pid), *psutil.Process(sweep.pid).children(recursive=True)]
        ports = [each for process in processes for each in process.net_connections("inet") if each.status == "LISTEN"]
        assert ports and {each.laddr.ip for each in ports} <= {"127.0.0.1", "::1"}, ports
        held.unlink()
        sweep.wait(60)


def test_a_stage_that_no_setting_touches(sweeps):
    """Where the commit has no result of it, each worker runs it at most once."""
    sweeps.replace("prepare.py", ".upper()", ".lower()")
    sweeps.git("commit", "--quiet", "--all", "--message", "not run")
    sweeps.sweep("-S", "fit.x=range(1,5)", "--workers", "2")
    assert len(sweeps.experiments()) == 4
    assert sweeps.runs().count("prepare") <= 2 and len(sweeps.runs()) <= 6


def test_a_folder_that_a_killed_process_left_empty(sweeps):
    """In the run cache, between its making and the record in it: DVC itself fails there."""
    sweeps.sweep("-S", "fit.x=1")
    for record in (sweeps.path / ".dvc/cache/runs").glob("*/*/*"):
        record.unlink()
    sweeps.run("dvc", "exp", "remove", "--all-commits")
    sweeps.sweep("-S", "fit.x=1")
    assert sweeps.values() == [1]


def test_two_that_meet_in_the_cache(sweeps):
    """What fails otherwise than by a stage is tried again."""
    code = sweeps.path / ".pipeline/notebook_pipeline/sweep/experiment.py"
    fails_once = (
        "def _run(*arguments, **more):\n    first = Path(os.environ['NOTES'], 'first')\n    if not first.exists():\n"
        "        first.touch()\n        raise TypeError('met')\n    _run_really(*arguments, **more)\n\n\ndef _run_really("
    )
    code.write_text(code.read_text().replace("def _run(", fails_once))
    sweeps.git("commit", "--quiet", "--all", "--message", "fails once")
    sweeps.sweep("-S", "fit.x=1")
    assert (sweeps.notes / "first").exists() and sweeps.values() == [1]


def test_an_experiment_is_what_dvc_makes_of_it(sweeps):
    """The same values by `dvc exp run`: the same commit but for its time and name, and it can be applied."""
    said = sweeps.sweep("-S", "fit.x=5")
    (name,) = sweeps.experiments()
    assert f"uv run dvc exp apply {name}" in said
    other = shutil.copytree(sweeps.path, sweeps.path.with_name("other"))
    alone = Sweeps(other, sweeps.environ, sweeps.notes)
    alone.run("dvc", "exp", "run", "--name", "alone", "--force", "-S", "fit.x=5")
    tree = alone.git(
        "rev-parse",
        "refs/exps/" + alone.git("rev-parse", "HEAD")[:2] + "/" + alone.git("rev-parse", "HEAD")[2:] + "/alone^{tree}",
    )
    assert tree == sweeps.git("rev-parse", f"{sweeps.git('for-each-ref', '--format=%(refname)', 'refs/exps')}^{{tree}}")
    sweeps.run("dvc", "exp", "apply", name)
    assert sweeps.read("model.txt") == "5 0.5 A,B\n"


def test_values_that_dvc_takes_for_equal(sweeps):
    """The commit was run with 0: to DVC, 0.0 is no change."""
    sweeps.sweep("-S", "fit.x=0,0.0")
    assert sorted(map(repr, sweeps.values())) == ["0", "0.0"]
    shown = {sweeps.git("show", f"{name}:params.yaml").split("x: ")[1].split()[0]: sweeps.git("show", f"{name}:dvc.lock")
             for name in sweeps.git("for-each-ref", "--format=%(refname)", "refs/exps").split()}  # fmt: skip
    assert {x: f"x: {x}\n" in lock for x, lock in shown.items()} == {"0": True, "0.0": True}
    assert sweeps.runs().count("x=0.0") == 1


def test_the_grid_is_that_of_dvc(sweeps):
    """What `dvc exp run --queue` makes of the same `-S`."""
    sweeps.write("more.json", '{"deep": {"n": 1}, "s": "x"}')
    sweeps.git("add", "more.json")
    sweeps.git("commit", "--quiet", "-m", "more")
    settings = [
        "-S",
        "fit.x=choice(1,2)",
        "-S",
        "fit.rate=range(0.5,1.5,0.5)",
        "-S",
        "more.json:deep.n=3,4",
        "-S",
        "more.json:+t=a b",
    ]
    queued = sweeps.run("dvc", "exp", "run", "--queue", *settings).stdout
    queued = [ast.literal_eval(overrides) for overrides in re.findall(r"overrides '(.*)'\.", queued)]
    dvcs = {tuple(f"{file}:{one}" for file, ones in point.items() for one in ones) for point in queued}

    def grid(*settings: str) -> dict[str, list[str]]:
        code = "import sys, pathlib, json; from notebook_pipeline.sweep.grid import experiments; "
        code += "print(json.dumps({e.name: e.settings for e in experiments(sys.argv[1:], pathlib.Path(), '')}))"
        return json.loads(sweeps.run("python", "-c", code, *settings).stdout)

    ours = grid(*settings[1::2])
    assert len(ours) == 8
    assert {tuple(one) for one in ours.values()} == dvcs
    # Values are compared, not their spelling.
    assert grid("fit.rate=1.0,0.50", "fit.x=1,2", "more.json:deep.n=4,3", "more.json:+t=a b").keys() == ours.keys()


NOTEBOOK_STAGE = """\
  look:
    cmd: pipeline run notebooks/look.ipynb outputs/look.ipynb
    deps: [model.txt]
    params: [look]
    outs: [outputs/look.ipynb]
"""


def test_one_that_fails(sweeps):
    sweeps.write(
        "notebooks/look.ipynb",
        notebook("MOST = 1", "x = 1", "if MOST > 5:\n    raise ValueError(f'{MOST} is too much')"),
    )
    sweeps.write("dvc.yaml", PIPELINE + NOTEBOOK_STAGE)
    sweeps.git("add", "--all")
    sweeps.git("commit", "--quiet", "-m", "a notebook")
    done = sweeps.pipeline("sweep", "-S", "look.most=6,2,3", "--workers", "1", check=False)
    assert done.returncode == 1
    failed = re.search(r"(sweep-\w+)  look.most=6  failed: (.*)\n(.*)\n(.*)\n", done.stdout)
    assert failed[2] == "notebooks/look.ipynb: cell 3, line 2: ValueError: 6 is too much"
    assert failed[3] == "    raise ValueError(f'{MOST} is too much')"
    assert failed[4] == f"    more in .dvc/tmp/{failed[1]}.log"
    assert "> pipeline run" in sweeps.read(f".dvc/tmp/{failed[1]}.log")
    assert f"1 failed: {failed[1]}" in done.stdout
    assert len(sweeps.experiments()) == 2
    again = sweeps.pipeline("sweep", "-S", "look.most=6,2,3", check=False)
    assert again.returncode == 1
    assert "2 of them are there already" in again.stdout and "6 is too much" in again.stdout


def kernels(sweeps: Sweeps) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if "ipykernel_launcher" in " ".join(process.cmdline()) and process.cwd().startswith(str(sweeps.path)):
                found.append(process)
    return found


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C goes to a process group")
def test_ctrl_c(sweeps):
    sweeps.write("notebooks/look.ipynb", notebook("MOST = 1", "import time\nif MOST == 2:\n    time.sleep(600)"))
    sweeps.write("dvc.yaml", PIPELINE + NOTEBOOK_STAGE)
    sweeps.git("add", "--all")
    sweeps.git("commit", "--quiet", "-m", "a notebook")
    with sweeps.started("-S", "look.most=1,2,3", "--workers", "1") as process:
        line = next(line for line in process.stdout if line.startswith("sweep-"))
        assert "look.most=1" in line
        wait(lambda: kernels(sweeps))
        os.killpg(process.pid, signal.SIGINT)
        said = process.stdout.read()
        assert process.wait(60) == 130
    assert "what is done is kept, and the same command goes on from there" in said and "2 were not run" in said
    assert "Traceback" not in said
    wait(lambda: not kernels(sweeps), 20)
    assert len(sweeps.experiments()) == 1
    assert sweeps.git("status", "--porcelain") == "" and sweeps.git("for-each-ref", "refs/sweep") == ""
    sweeps.sweep("-S", "look.most=1,3")
    assert len(sweeps.experiments()) == 2


def test_a_process_that_is_killed(sweeps):
    """As where memory ends; it is started again, but not for ever."""
    held = sweeps.hold(2)
    with sweeps.started("-S", "fit.x=1,2", "--workers", "1") as process:
        for number in (1, 2):
            wait(lambda number=number: sweeps.runs().count("x=2") == number)
            runner = next(
                parent
                for parent in sweeps.process("x=2").parents()
                if "notebook_pipeline.sweep.experiment" in parent.cmdline()
            )
            runner.kill()
        wait(lambda: sweeps.runs().count("x=2") == 3)
        held.unlink()
        said = process.stdout.read()
        assert process.wait(60) == 0, said
    assert sweeps.values() == [1, 2]


def test_what_is_not_committed(sweeps):
    def refused() -> str:
        done = sweeps.pipeline("sweep", "-S", "fit.x=1", check=False)
        assert done.returncode == 1 and done.stdout.count("\n") == 1, done.stdout
        return done.stdout

    sweeps.replace("fit.py", "score: ", "score: 10")
    sweeps.write("notebooks/größer.ipynb", notebook("A = 1"))
    assert (
        refused()
        == "fit.py, notebooks/größer.ipynb: not committed. Fix: git commit, or --dirty to run with it as it is\n"
    )
    before = sweeps.git("status", "--porcelain")
    said = sweeps.sweep("-S", "fit.x=1", "--dirty")
    assert "score 104" in said
    (name,) = sweeps.experiments()
    assert sweeps.git("status", "--porcelain") == before
    assert sweeps.git("for-each-ref", "refs/sweep") == ""
    # The experiment has it, as with `dvc exp run`.
    ref = sweeps.git("for-each-ref", "--format=%(refname)", "refs/exps")
    assert "score: 10" in sweeps.git("show", f"{ref}:fit.py")
    assert "notebooks/größer.ipynb" in sweeps.git("-c", "core.quotePath=false", "ls-tree", "-r", "--name-only", ref)
    assert sweeps.git("rev-parse", f"{ref}^") == sweeps.git("rev-parse", "HEAD")
    # Another state is another experiment.
    sweeps.replace("fit.py", "score: 10", "score: 20")
    assert "score 204" in sweeps.sweep("-S", "fit.x=1", "--dirty")
    sweeps.write("data.csv", "c\n")
    assert refused() == "data.csv: changed since `dvc add`. Fix: uv run dvc add data.csv\n"


@pytest.mark.parametrize(
    ["arguments", "message"],
    [
        (["-S", "fit.y=1"], "-S fit.y=1: `fit.y` is not in params.yaml (+fit.y=1 would add it)"),
        (["-S", "fit.x=range(1"], "-S fit.x=range(1: "),
        (["-S", "none.yaml:x=1"], "none.yaml: No such file or directory"),
        (["-S", "fit.x=1", "--by", "f1"], "--by f1: there is no such metric. Fix: name one of score.yaml:score, score.yaml:loss"),
        (["-S", "fit.x=1", "--cluster", "slurm", "--workers", "2"], "there is no git remote, from which the workers take the project. Fix: git remote add origin URL"),
    ],
)  # fmt: skip
def test_what_cannot_be(sweeps, arguments, message):
    done = sweeps.pipeline("sweep", *arguments, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith(message) and done.stdout.count("\n") == 1


@pytest.mark.parametrize("start", ["stages", "notebook"])
def test_the_commands_of_the_readme(render, tmp_path, start):
    (tmp_path / "own.ipynb").write_text(notebook("N = 1"))
    given = {"notebook": str(tmp_path / "own.ipynb")} if start == "notebook" else {}
    text = (render(start=start, **given) / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"(?m)^uv run --group sweep pipeline sweep (.*)$", text)
    assert len(commands) == 3
    for command in commands:
        arguments = sweep._parse(shlex.split(command))
        assert all(re.match(r"[\w.]+=.+", setting) for setting in arguments.settings)


def test_a_project_in_a_subfolder(sweeps):
    in_a_subfolder(sweeps)
    twin = Sweeps(shutil.copytree(sweeps.path, sweeps.path.with_name("twin")), sweeps.environ, sweeps.notes)
    twin.git("add", "--all")
    twin.git("commit", "--quiet", "--message", "The same again")
    sweeps.sweep("-S", "fit.x=1,2")
    assert sweeps.values() == [1, 2] and sorted(sweeps.runs()) == ["x=1", "x=2"]
    # Of the same commit and values, and still other experiments.
    assert "there already" not in twin.sweep("-S", "fit.x=1")
    assert sorted(sweeps.runs()) == ["x=1", "x=1", "x=2"]
    sweeps.replace("fit.py", "score: ", "score: 10")
    sweeps.write("notebooks/größer als.ipynb", notebook("A = 1"))
    refused = sweeps.pipeline("sweep", "-S", "fit.x=1", check=False)
    assert refused.stdout.startswith("fit.py, notebooks/größer als.ipynb: not committed. Fix: git commit, or --dirty ")
    assert "score 104" in sweeps.sweep("-S", "fit.x=1", "--dirty")
    assert sweeps.git("for-each-ref", "refs/sweep") == ""


def test_one_that_was_killed(sweeps):
    """What it left goes when the next one starts, of whatever values."""
    held = sweeps.hold(1)
    with sweeps.started("-S", "fit.x=1", "--workers", "1") as process:
        wait(lambda: sweeps.runs() == ["x=1"])
        process.kill()
    assert len(sweeps.git("for-each-ref", "refs/sweep").splitlines()) == 1
    wait(lambda: not psutil.pid_exists(sweeps.process_id("x=1")))
    held.unlink()
    sweeps.sweep("-S", "fit.x=2")
    assert sweeps.git("for-each-ref", "refs/sweep") == ""
    assert not list((sweeps.path / ".dvc/tmp/sweep").glob("*.ref"))


def test_where_a_worker_has_its_clones(sweeps):
    """In a folder that others of the machine may see, whose name tells no token."""
    script = (
        "import sys, types; from pathlib import Path; from notebook_pipeline.sweep.worker import Experiments\n"
        "plugin = Experiments('s', sys.argv[1], 'base', 'commit', '', ('me', 'me@host'), folder=None, config=None)\n"
        "plugin.setup(types.SimpleNamespace(local_directory='/scratch/dask'))\n"
        "print(Path(plugin.folder).parent.as_posix())"
    )
    for source in ("https://me:glpat-1@host/team/churn.git", "https://host/team/churn.git"):
        assert sweeps.run("python", "-c", script, source).stdout == "/scratch/sweep-https-host-team-churn-git\n"


def test_without_dask(bare):
    done = bare.pipeline("sweep", "-S", "a=1", check=False)
    assert done.returncode == 1
    assert done.stdout == "sweep: Dask is not installed. Fix: uv run --group sweep pipeline sweep ...\n"
