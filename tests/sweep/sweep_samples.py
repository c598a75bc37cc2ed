"""What the tests of `sweep` share."""

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from conftest import TEMPLATE, Workspace, on_path

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
