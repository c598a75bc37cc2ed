"""`pipeline sweep` with real processes: this machine's cores, a Dask cluster over TCP, and Slurm."""

import ast
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from conftest import TEMPLATE, Workspace, notebook, on_path

from notebook_pipeline.sweep import command as sweep

PIPELINE = """\
stages:
  prepare:
    cmd: python prepare.py
    deps: [data.csv, prepare.py]
    outs: [prepared.txt]
  fit:
    cmd: python fit.py
    deps: [prepared.txt, fit.py]
    params: [fit]
    outs: [model.txt]
    metrics: [score.yaml: {cache: false}]
"""
COMMON = """\
import os, pathlib, time
from ruamel.yaml import YAML

fit = YAML(typ="safe").load(pathlib.Path("params.yaml"))["fit"]
notes = pathlib.Path(os.environ["NOTES"])

def note(what):
    with open(notes / "runs", "a") as file:
        file.write(f"{what} {os.getpid()} {os.getcwd()}\\n")
"""
PREPARE = f"""\
{COMMON}
note("prepare")
pathlib.Path("prepared.txt").write_text(pathlib.Path("data.csv").read_text().upper())
"""
# It waits for as long as a file named after its value is there: so a test can act in the middle of an experiment.
FIT = f"""\
{COMMON}
x = fit["x"]
note(f"x={{x}}")
while (notes / f"hold {{x}}").exists():
    time.sleep(0.05)
pathlib.Path("model.txt").write_text(f"{{x}} {{fit['rate']}} {{pathlib.Path('prepared.txt').read_text()}}")
pathlib.Path("score.yaml").write_text(f"score: {{(x - 3) ** 2}}\\nloss: {{fit['rate'] / 3}}\\n")
"""


@dataclass
class Sweeps(Workspace):
    """A small project, quick to run, that tells what ran."""

    notes: Path = None

    def sweep(self, *arguments: str, check: bool = True, **kwargs) -> str:
        done = self.pipeline("sweep", *arguments, check=False, **kwargs)
        assert not check or done.returncode == 0, done.stdout
        return done.stdout

    def experiments(self) -> dict[str, str]:
        """What `dvc exp show` has of experiments: the value of x by name; none may be there twice."""
        shown = self.run("dvc", "exp", "show", "--json", "--all-commits").stdout
        table = json.loads(shown[shown.index("[{") :])
        found = [experiment for commit in table for experiment in commit["experiments"] or []]
        values = {one["name"]: one["revs"][0]["data"]["params"]["params.yaml"]["data"]["fit"]["x"] for one in found}
        assert len(values) == len(found)
        return values

    def values(self) -> list[int]:
        return sorted(self.experiments().values())

    def runs(self) -> list[str]:
        """What ran, in its order: `prepare` or `x=VALUE`."""
        file = self.notes / "runs"
        return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []

    def folders(self) -> list[str]:
        """The clones that they ran in."""
        return [line.split(maxsplit=2)[2] for line in (self.notes / "runs").read_text().splitlines()]

    def process_id(self, what: str) -> int:
        """Of the process that ran it last."""
        lines = [line.split() for line in (self.notes / "runs").read_text().splitlines()]
        return next(int(line[1]) for line in reversed(lines) if line[0] == what)

    def process(self, what: str) -> psutil.Process:
        return psutil.Process(self.process_id(what))

    def hold(self, x: int) -> Path:
        """Keeps the experiment with that value from its end until the file is deleted."""
        file = self.notes / f"hold {x}"
        file.touch()
        return file

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen]:
        """A sweep in the background, in a process group of its own, as a terminal has it."""
        with subprocess.Popen(
            on_path(["pipeline", "sweep", *arguments], self.environ), cwd=self.path, env=self.environ,
            text=True, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        ) as process:  # fmt: skip
            # A test that reads what does not come must end, too.
            watchdog = threading.Timer(300, process.kill)
            watchdog.start()
            try:
                yield process
            finally:
                watchdog.cancel()
                process.kill()

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments).stdout.strip()


def wait(for_what: Callable[[], object], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not for_what():
        assert time.monotonic() < until, "did not come"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def dask_environ(environ, template, tmp_path_factory) -> dict[str, str]:
    """An environment with the groups of a made project, and no more: it has what a sweep needs."""
    folder = tmp_path_factory.mktemp("dask")
    from copier import run_copy

    run_copy(str(template), folder / "project", defaults=True, data={"setup": False}, unsafe=True, quiet=True)
    # It is this session's own: what is compiled once stays.
    environ = {name: value for name, value in environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environ["UV_PROJECT_ENVIRONMENT"] = str(folder / "venv")
    binaries = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    environ["PATH"] = os.pathsep.join([str(binaries), environ["PATH"]])
    Workspace(folder / "project", environ).run(
        "uv", "sync", "--quiet", "--only-group", "dev", "--only-group", "sweep", timeout=600
    )
    return environ


@pytest.fixture(scope="session")
def small(dask_environ, tmp_path_factory) -> Path:
    """The project, run and committed. Not to be changed."""
    # A folder's name as people have it.
    environ = dask_environ | {"NOTES": str(tmp_path_factory.mktemp("notes"))}
    project = Workspace(tmp_path_factory.mktemp("small") / "Müller sweeps", environ)
    shutil.copytree(
        TEMPLATE / "template" / ".pipeline", project.path / ".pipeline", ignore=shutil.ignore_patterns("__pycache__")
    )
    project.write(".gitignore", "__pycache__/\n/.venv\n")
    project.write("dvc.yaml", PIPELINE)
    project.write("params.yaml", "fit:\n  x: 0 # what differs\n  rate: 0.5\nlook:\n  most: 1\n")
    project.write("prepare.py", PREPARE)
    project.write("fit.py", FIT)
    project.write("data.csv", "a,b\n")
    project.run("git", "init", "--quiet")
    project.run("dvc", "init", "--quiet")
    project.run("dvc", "add", "--quiet", "data.csv")
    project.run("dvc", "repro", "--quiet")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", "Start")
    return project.path


@pytest.fixture
def sweeps(small, dask_environ, tmp_path) -> Sweeps:
    """A copy of the project, to work in."""
    notes = tmp_path / "notes"
    notes.mkdir()
    return Sweeps(shutil.copytree(small, tmp_path / small.name), dask_environ | {"NOTES": str(notes)}, notes)


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
        refused() == "not committed: fit.py, notebooks/größer.ipynb: git commit, or --dirty to run with it as it is\n"
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
    assert refused() == "changed since `dvc add`: data.csv: uv run dvc add data.csv\n"


@pytest.mark.parametrize(
    ["arguments", "message"],
    [
        (["-S", "fit.y=1"], "-S fit.y=1: `fit.y` is not in params.yaml (+fit.y=1 would add it)"),
        (["-S", "fit.x=range(1"], "-S fit.x=range(1: "),
        (["-S", "none.yaml:x=1"], "none.yaml: No such file or directory"),
        (["-S", "fit.x=1", "--by", "f1"], "--by f1: there is no such metric; there is score.yaml:score, score.yaml:loss"),
        (["-S", "fit.x=1", "--cluster", "slurm", "--workers", "2"], "there is no git remote, from which the workers take the project: git remote add origin URL"),
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
        arguments = sweep._arguments(shlex.split(command))
        assert all(re.match(r"[\w.]+=.+", setting) for setting in arguments.settings)


def in_a_subfolder(sweeps: Sweeps) -> None:
    """Moves a project into a larger git repository, committed."""
    top = sweeps.path.with_name("lab")
    folder = top / "Große analyses" / sweeps.path.name
    folder.parent.mkdir(parents=True)
    shutil.move(sweeps.path, folder)
    shutil.move(folder / ".git", top / ".git")
    sweeps.path = folder
    sweeps.git("add", "--all", ":/")
    sweeps.git("commit", "--quiet", "--message", "One of many")


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
    assert refused.stdout.startswith("not committed: fit.py, notebooks/größer als.ipynb: git commit, or --dirty ")
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
        "plugin = Experiments('s', sys.argv[1], *[None] * 8)\n"
        "plugin.setup(types.SimpleNamespace(local_directory='/scratch/dask'))\n"
        "print(Path(plugin.folder).parent.as_posix())"
    )
    for source in ("https://me:glpat-1@host/team/churn.git", "https://host/team/churn.git"):
        assert sweeps.run("python", "-c", script, source).stdout == "/scratch/sweep-https-host-team-churn-git\n"


def test_without_dask(bare):
    done = bare.pipeline("sweep", "-S", "a=1", check=False)
    assert done.returncode == 1
    assert done.stdout == "`sweep` needs Dask: uv run --group sweep pipeline sweep ...\n"


# ---------------------------------------------------------------------------------------------------------------------
# On a cluster, over remotes
# ---------------------------------------------------------------------------------------------------------------------


class Cluster:
    """A Dask scheduler, and workers that share nothing with it, nor with each other: folder, home, caches."""

    def __init__(self, environ: dict[str, str], folder: Path):
        self.environ = environ
        self.folder = folder
        self.processes = {}
        self.file = folder / "scheduler.json"
        folder.mkdir()

    def start_scheduler(self) -> None:
        self.file.unlink(missing_ok=True)
        self._start("scheduler", "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(self.file))
        wait(lambda: self.file.exists() and self.file.read_text().endswith("}"))
        self.address = json.loads(self.file.read_text())["address"]

    def start_worker(self, name: str, **environ: str) -> None:
        home = self.folder / name
        home.mkdir(exist_ok=True)
        own = {"HOME": str(home), "DVC_SITE_CACHE_DIR": str(home / "site"), "DVC_GLOBAL_CONFIG_DIR": str(home)}
        options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(home), "--name", name)
        self._start(name, "worker", self.address, *options, **own | environ)

    def _start(self, name: str, *command: str, **environ: str) -> None:
        environ = self.environ | environ
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = psutil.Popen(
                on_path(["dask", *command, "--no-dashboard"], environ), cwd=self.folder, env=environ,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def worker_of(self, process: psutil.Process) -> str:
        """The name of the worker that a process descends from."""
        above = [parent.pid for parent in process.parents()]
        return next(name for name, worker in self.processes.items() if worker.pid in above)

    def stop(self) -> None:
        for process in self.processes.values():
            for child in [process, *process.children(recursive=True)] if process.is_running() else []:
                with contextlib.suppress(psutil.Error):
                    child.kill()
            process.wait()


@pytest.fixture
def cluster(sweeps, tmp_path) -> Iterator[Cluster]:
    cluster = Cluster(sweeps.environ, tmp_path / "cluster")
    try:
        cluster.start_scheduler()
        for name in ("one", "two", "three"):
            cluster.start_worker(name)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def shared(sweeps, tmp_path) -> Sweeps:
    """The project with a bare git repository and a DVC remote, that have nothing yet."""
    sweeps.git("init", "--quiet", "--bare", str(tmp_path / "hub.git"))
    sweeps.git("remote", "add", "origin", str(tmp_path / "hub.git"))
    sweeps.run("dvc", "remote", "add", "--quiet", "--default", "store", str(tmp_path / "store"))
    sweeps.git("commit", "--quiet", "--all", "--message", "remotes")
    return sweeps


def hub(sweeps: Sweeps) -> list[str]:
    """The references of the bare repository."""
    return sweeps.git("ls-remote", "origin").split()[1::2]


def test_over_remotes(shared, cluster):
    said = shared.sweep(
        "-S", "fit.x=range(0,6)", "--scheduler", cluster.address, "--by", "score", "--sort-order", "asc"
    )
    names = shared.experiments()
    assert sorted(names.values()) == [0, 1, 2, 3, 4, 5]
    # The value of HEAD needs no run; nor does a stage that no setting touches.
    assert sorted(shared.runs()) == ["x=1", "x=2", "x=3", "x=4", "x=5"]
    assert [ref.rpartition("/")[2] for ref in hub(shared) if "refs/exps" in ref] == sorted(names)
    assert not [ref for ref in hub(shared) if "refs/sweep" in ref]
    # A worker has one clone, for all.
    assert len({*shared.folders()}) == len({folder.partition("/sweep-")[0] for folder in shared.folders()}) <= 3
    # The data is where the workers put it.
    best = next(name for name, x in names.items() if x == 3)
    assert f"to take one over: uv run dvc exp pull origin {best}, then uv run dvc exp apply {best}\n" in said
    shared.run("dvc", "exp", "pull", "origin", best)
    shared.run("dvc", "exp", "apply", best)
    assert shared.read("model.txt") == "3 0.5 A,B\n"
    shared.git("reset", "--quiet", "--hard")
    # A colleague's sweep finds them, and so does one of a clone that has lost them.
    shared.run("dvc", "exp", "remove", *names)
    assert "6 of them are there already" in shared.sweep("-S", "fit.x=range(0,6)", "--scheduler", cluster.address)
    assert len(shared.runs()) == 5
    assert shared.values() == [0, 1, 2, 3, 4, 5]


def test_over_a_shared_cache(sweeps, cluster, tmp_path):
    """As on a cluster whose machines have a file system in common: nothing is pushed, nothing pulled."""
    shutil.move(sweeps.path / ".dvc/cache", tmp_path / "cache")
    sweeps.run("dvc", "cache", "dir", str(tmp_path / "cache"))
    sweeps.git("commit", "--quiet", "--all", "--message", "A cache for all")
    sweeps.git("init", "--quiet", "--bare", str(tmp_path / "hub.git"))
    sweeps.git("remote", "add", "origin", str(tmp_path / "hub.git"))
    said = sweeps.sweep("-S", "fit.x=1,2,3", "--scheduler", cluster.address)
    assert sweeps.values() == [1, 2, 3] and sorted(sweeps.runs()) == ["x=1", "x=2", "x=3"]
    name = next(name for name, x in sweeps.experiments().items() if x == 3)
    assert "\nto take one over: uv run dvc exp apply sweep-" in said
    sweeps.run("dvc", "exp", "apply", name)
    assert sweeps.read("model.txt") == "3 0.5 A,B\n"
    assert not [path for path in cluster.folder.rglob("cache") if path.is_dir()]


def test_a_subfolder_over_remotes(shared, cluster):
    in_a_subfolder(shared)
    shared.sweep("-S", "fit.x=1,2", "--scheduler", cluster.address)
    assert shared.values() == [1, 2] and sorted(shared.runs()) == ["x=1", "x=2"]
    name = next(name for name, x in shared.experiments().items() if x == 2)
    shared.run("dvc", "exp", "pull", "origin", name)
    shared.run("dvc", "exp", "apply", name)
    assert shared.read("model.txt") == "2 0.5 A,B\n"


def test_two_from_one_commit(shared, cluster):
    """One is killed, another ends: none takes the commit away from the third."""

    def given() -> list[str]:
        return [ref for ref in hub(shared) if "refs/sweep" in ref]

    held = [shared.hold(1), shared.hold(2)]
    with shared.started("-S", "fit.x=2", "--scheduler", cluster.address) as process:
        wait(lambda: "x=2" in shared.runs())
        with shared.started("-S", "fit.x=1", "--scheduler", cluster.address) as killed:
            wait(lambda: "x=1" in shared.runs())
            killed.kill()
        assert len(given()) == 2
        shared.sweep("-S", "fit.x=3", "--scheduler", cluster.address)
        assert len(given()) == 1
        # What the killed one had started is stopped, too.
        wait(lambda: not psutil.pid_exists(shared.process_id("x=1")))
        first = cluster.worker_of(shared.process("x=2"))
        # One that has never seen the commit takes over.
        for name in sorted({"one", "two", "three"} - {first}) + [first]:
            cluster.processes[name].kill()
        cluster.start_worker("four")
        wait(lambda: shared.runs().count("x=2") == 2)
        for each in held:
            each.unlink()
        said = process.stdout.read()
        assert process.wait(60) == 0, said
    assert shared.values() == [2, 3] and given() == []


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C goes to a process group")
def test_ctrl_c_before_the_first_experiment(shared, cluster):
    """While it waits for a scheduler, and for a DVC remote: both take the call, and say nothing."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.settimeout(120)
        host, port = deaf.getsockname()

        def interrupted(scheduler: str) -> None:
            with shared.started("-S", "fit.x=1", "--scheduler", scheduler) as process, deaf.accept()[0]:
                os.killpg(process.pid, signal.SIGINT)
                said = process.stdout.read()
                assert process.wait(60) == 130, said
            lines = said.splitlines()
            assert re.match(r"1 experiment \(1\) from \w+$", lines[0])
            assert lines[2:] == ["", "stopped: what is done is kept, and the same command goes on from there"]

        interrupted(f"tcp://{host}:{port}")
        shared.run("dvc", "remote", "modify", "store", "url", f"http://{host}:{port}/")
        shared.git("commit", "--quiet", "--all", "--message", "deaf")
        interrupted(cluster.address)
    assert not [ref for ref in hub(shared) if "refs/sweep" in ref]


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C goes to a process group")
def test_ctrl_c_reaches_the_workers(shared, cluster):
    held = shared.hold(2)
    with shared.started("-S", "fit.x=1,2", "--scheduler", cluster.address) as process:
        next(line for line in process.stdout if "fit.x=1 " in line)
        wait(lambda: "x=2" in shared.runs())
        os.killpg(process.pid, signal.SIGINT)
        said = process.stdout.read()
        assert process.wait(60) == 130 and "Traceback" not in said, said
    wait(lambda: not psutil.pid_exists(shared.process_id("x=2")))
    held.unlink()
    assert shared.values() == [1]
    assert not [ref for ref in hub(shared) if "refs/sweep" in ref]
    assert "1 of them is there already" in shared.sweep("-S", "fit.x=1,2", "--scheduler", cluster.address)
    assert shared.values() == [1, 2] and sorted(shared.runs()) == ["x=1", "x=2", "x=2"]


def test_a_cluster_that_cannot_be(shared):
    nobody = shared.pipeline("sweep", "-S", "fit.x=1", "--scheduler", "tcp://127.0.0.1:9", check=False)
    assert nobody.returncode == 1
    assert nobody.stdout.splitlines()[-1].startswith("no scheduler answers at tcp://127.0.0.1:9: ")
    assert "Traceback" not in nobody.stdout
    no_options = shared.pipeline("sweep", "-S", "fit.x=1", "--cluster", "slurm", "--workers", "2", check=False)
    assert no_options.returncode == 1 and "Traceback" not in no_options.stdout
    assert re.search(r"\n--cluster slurm: .*cores.* \(https://jobqueue.dask.org", no_options.stdout)
    shared.run("dvc", "remote", "default", "--unset")
    shared.git("commit", "--quiet", "--all", "--message", "no remote")
    no_remote = shared.pipeline("sweep", "-S", "fit.x=1", "--scheduler", "tcp://127.0.0.1:9", check=False)
    assert no_remote.stdout.startswith("there is no DVC remote, from which the workers take the inputs: ")


def test_a_worker_that_is_killed(shared, cluster):
    held = shared.hold(2)
    with shared.started("-S", "fit.x=range(1,5)", "--scheduler", cluster.address) as process:
        wait(lambda: sorted(shared.runs()) == ["x=1", "x=2", "x=3", "x=4"])
        first = shared.process("x=2")
        name = cluster.worker_of(first)
        cluster.processes[name].kill()
        wait(lambda: shared.runs().count("x=2") == 2)
        # What it had started is gone, too.
        wait(lambda: not first.is_running())
        # Its machine comes back, with what lies there.
        cluster.start_worker(name)
        held.unlink()
        said = process.stdout.read()
        assert process.wait(60) == 0, said
    assert shared.values() == [1, 2, 3, 4]
    assert len([ref for ref in hub(shared) if "refs/exps" in ref]) == 4
    for other in {"one", "two", "three"} - {name}:
        cluster.processes[other].kill()
    # Alone, it has to use the clone in which it was killed.
    shared.sweep("-S", "fit.x=5,6", "--scheduler", cluster.address)
    assert shared.values() == [1, 2, 3, 4, 5, 6]
    assert all(f"/{name}/" in folder for folder in shared.folders()[-2:])


def test_a_git_remote_that_refuses(shared, cluster, tmp_path):
    """Three workers push at once, and are refused twice each."""
    hook = tmp_path / "hub.git" / "hooks" / "pre-receive"
    refusals = tmp_path / "refusals"
    hook.write_text(
        f"""#!/bin/sh
read old new ref
case $ref in refs/exps/*) ;; *) exit 0;; esac
echo $ref >> '{refusals}'
test $(wc -l < '{refusals}') -gt 6 || {{ echo busy; exit 1; }}
"""
    )
    hook.chmod(0o755)
    shared.sweep("-S", "fit.x=1,2,3", "--scheduler", cluster.address)
    assert shared.values() == [1, 2, 3]
    assert sorted(shared.runs()) == ["x=1", "x=2", "x=3"]


def test_a_scheduler_that_goes_away(shared, cluster):
    held = shared.hold(2)
    with shared.started("-S", "fit.x=1,2,3", "--scheduler", cluster.address) as process:
        wait(lambda: len([ref for ref in hub(shared) if "refs/exps" in ref]) == 2)
        cluster.processes["scheduler"].kill()
        said = process.stdout.read()
        assert process.wait(120) == 1, said
    assert "the scheduler is gone: what is done is kept, and the same command goes on from there\n" in said
    assert "1 was not run" in said and "Traceback" not in said
    assert shared.values() == [1, 3]
    held.unlink()
    cluster.stop()
    cluster.start_scheduler()
    cluster.start_worker("one")
    assert "2 of them are there already" in shared.sweep("-S", "fit.x=1,2,3", "--scheduler", cluster.address)
    assert shared.values() == [1, 2, 3]
    assert shared.runs().count("x=1") == shared.runs().count("x=3") == 1


NOBODY = "no worker is left that could run the rest: what is done is kept, and the same command goes on from there\n"


def no_more(said: str) -> list[str]:
    """Why workers are given no more, as the sweep says it."""
    return re.findall(rf"(?m)^tcp://\S+ \({re.escape(socket.gethostname())}\) is given no more: (.*)$", said)


def path_of_dask_alone(cluster: Cluster, *options: str) -> str:
    """PATH with an environment as of `uv run --only-group sweep dask worker`."""
    project = Path(cluster.environ["UV_PROJECT_ENVIRONMENT"]).with_name("project")
    folder = cluster.folder / "venv"
    environ = cluster.environ | {"UV_PROJECT_ENVIRONMENT": str(folder)}
    Workspace(project, environ).run("uv", "sync", "--quiet", "--only-group", "sweep", *options, timeout=600)
    return os.pathsep.join([str(folder / ("Scripts" if os.name == "nt" else "bin")), environ["PATH"]])


def test_a_worker_of_another_environment(shared, cluster):
    for name in ("one", "two", "three"):
        cluster.processes[name].kill()
    path = path_of_dask_alone(cluster)
    with shared.started("-S", "fit.x=1,2,3", "--scheduler", cluster.address) as process:
        line = next(line for line in process.stdout if "waiting" in line)
        assert line == f"waiting for workers: {cluster.address} has none\n"
        cluster.start_worker("four", PATH=path)
        said = process.stdout.read()
        assert process.wait(60) == 1, said
    (why,) = no_more(said)
    start = "start it in a clone of the project, by uv run --group sweep dask worker ..."
    assert re.fullmatch(rf"its Python, \S+, lacks dvc: {re.escape(start)}", why)
    assert said.endswith(NOBODY + "3 were not run\n")
    cluster.start_worker("one")
    assert len(no_more(shared.sweep("-S", "fit.x=1,2,3", "--scheduler", cluster.address))) <= 1
    assert shared.values() == [1, 2, 3]


def test_a_worker_of_another_python(shared, cluster):
    """It would crash, and take the others' sweep with it."""
    own = shared.run("python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").stdout.strip()
    # pyenv and uv keep theirs side by side.
    found = [*Path(sys.base_prefix).parent.glob("*/bin/python3.1[1-9]"), *Path("/usr/bin").glob("python3.1[1-9]")]
    others = [path for path in found if not path.name.endswith(own)]
    if not others:
        pytest.skip(f"needs one more Python than {own}")
    other = others[0].name.removeprefix("python")
    cluster.start_worker("four", PATH=path_of_dask_alone(cluster, "--python", str(others[0])))
    wait(lambda: "Registered to" in (cluster.folder / "four.log").read_text())
    done = shared.pipeline("sweep", "-S", "fit.x=1,2", "--scheduler", cluster.address, check=False)
    assert done.returncode == 1
    there = rf"and the worker at tcp://\S+ has {other}: start all with the same, by uv run --python {own} --group sweep \.\.\."
    assert re.fullmatch(f"this sweep has Python {own}, {there}", done.stdout.splitlines()[-1])
    assert shared.runs() == [] and all(cluster.processes[name].poll() is None for name in ("one", "four"))


def test_a_disk_that_is_full(shared, cluster, tmp_path):
    small = cluster.folder / "four"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"needs a small file system: {mounted.stderr.strip()}")
    try:
        for name in ("one", "two", "three"):
            cluster.processes[name].kill()
        cluster.start_worker("four")
        alone = shared.pipeline("sweep", "-S", "fit.x=1,2", "--scheduler", cluster.address, check=False)
        assert alone.returncode == 1
        assert no_more(alone.stdout)[0].startswith("there is no room on its disk, in /")
        assert alone.stdout.endswith(NOBODY + "2 were not run\n")
        cluster.start_worker("one")
        # While one works on what it was given, the other is idle, and would be given the rest again and again.
        held = shared.hold(1)
        with shared.started("-S", "fit.x=1,2,3,4", "--scheduler", cluster.address) as process:
            line = next(line for line in process.stdout if "no more" in line)
            assert "there is no room on its disk, in /" in line and "/four/" in line
            time.sleep(10)
            # Those that were to take over go away, too, and another one comes.
            cluster.processes["one"].kill()
            time.sleep(2)
            cluster.start_worker("two")
            held.unlink()
            said = process.stdout.read()
            assert process.wait(60) == 0, said
        assert shared.values() == [1, 2, 3, 4]
    finally:
        cluster.stop()
        subprocess.run(["umount", str(small)], check=True)


# ---------------------------------------------------------------------------------------------------------------------
# Under Slurm
# ---------------------------------------------------------------------------------------------------------------------


def test_under_slurm(shared, slurm):
    shared.environ = shared.environ | slurm
    # Others have the node, at first.
    job = shared.run("sbatch", "--parsable", "--exclusive", "--output=/dev/null", "--wrap", "sleep 600").stdout.strip()
    with shared.started("-S", "fit.x=1,2,3,4", "--cluster", "slurm", "--workers", "2") as process:
        next(line for line in process.stdout if line == "waiting for workers: 2 asked for, and none there yet\n")
        shared.run("scancel", job)
        said = process.stdout.read()
        assert process.wait(300) == 0, said
    assert shared.values() == [1, 2, 3, 4], said
    assert sorted(shared.runs()) == ["x=1", "x=2", "x=3", "x=4"]
    # Each job has a clone, and none is left.
    assert all("/nodes/" in folder for folder in shared.folders())
    wait(lambda: shared.run("squeue", "--noheader").stdout == "")
