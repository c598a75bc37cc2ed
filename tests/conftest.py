"""One environment and one project that has run, made once; each test works in a copy of its own."""

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import copier
import pytest
from hypothesis import settings
from ruamel.yaml import YAML

# What these make once is made once for all files: a fixture that two files import is another one in each.
pytest_plugins = ["add_samples", "sweep_samples", "update_samples"]

TEMPLATE = Path(__file__).parents[1]
# Of our own variables. With PYTEST_CURRENT_TEST, kernels do not catch what subprocesses print; without compiled modules each
# `dvc` would take a second longer.
NOT_THEIRS = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "DVC_STAGE", "PYTEST_CURRENT_TEST")
# Windows has none, and skips the tests that send it.
KILL = getattr(signal, "SIGKILL", None)

# How long an example takes says how busy the machine is.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


# What takes minutes begins first: nobody waits for it at the end, alone.
LONGEST = (
    "test_readme.py",
    "test_journey.py",
    "test_update.py",
    "test_remotes.py",
    "test_cluster.py",
    "test_stages.py",
    "test_sweep.py",
)


def pytest_collection_modifyitems(items) -> None:
    """Mark what needs a project that `copier copy` or `copier update` makes, with its environment."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
    for item in items:
        if {"made", "staged", "template", "environ"} & {*item.fixturenames}:
            item.add_marker("project")


def pytest_addoption(parser) -> None:
    parser.addoption("--pictures", metavar="FOLDER", help="where the pictures that README.md shows are made anew")


def on_path(command: Sequence[str], environ: dict[str, str]) -> list[str]:
    """A command with its program's place: Windows would look for it on our own PATH."""
    return [shutil.which(command[0], path=environ["PATH"]) or command[0], *command[1:]]


@dataclass
class Workspace:
    """A folder with a project, and the environment variables to work in it."""

    path: Path
    environ: dict[str, str]

    def run(self, *command: str, check: bool = True, **kwargs) -> subprocess.CompletedProcess:
        """Runs a command in the project, both output streams in `stdout`."""
        done = subprocess.run(
            on_path(command, self.environ), cwd=self.path, env=self.environ, text=True, encoding="utf-8",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **{"timeout": 300, "stdin": subprocess.DEVNULL} | kwargs,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done

    def pipeline(self, *arguments: str, check: bool = True, **kwargs) -> subprocess.CompletedProcess:
        """Runs `pipeline ...` with the project's Python."""
        return self.run("pipeline", *arguments, check=check, **kwargs)

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        return path

    def read(self, name: str) -> str:
        return (self.path / name).read_text(encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        """Replaces the one place where `old` stands."""
        text = self.read(name)
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        self.write(name, text.replace(old, new))


def notebook(*cells: object, language: str = "python") -> str:
    """A notebook's text. The first cell, a string, is tagged `parameters`; a cell may also be a mapping that overrides."""
    made = []
    for number, cell in enumerate(cells):
        base = {"cell_type": "code", "id": f"c{number}", "metadata": {}, "outputs": [], "execution_count": None}
        if isinstance(cell, str):
            base |= {"source": cell, "metadata": {"tags": ["parameters"]} if number == 0 else {}}
        else:
            base |= cell
        if base["cell_type"] != "code":
            del base["outputs"], base["execution_count"]
        made.append(base)
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": language}}
    return json.dumps({"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"


def free_port() -> int:
    """A TCP port of this machine that nobody listens to."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="session")
def environ(tmp_path_factory) -> dict[str, str]:
    """Variables for all that tests start: one shared environment, no settings of the person's own."""
    own = tmp_path_factory.mktemp("home")
    environment = tmp_path_factory.mktemp("environment") / "venv"
    (own / "gitconfig").write_text(
        "[user]\n\tname = Ada\n\temail = ada@example.com\n[init]\n\tdefaultBranch = main\n"
        # On Windows; releases of the template say nothing of line ends.
        "[core]\n\tautocrlf = false\n"
    )
    (own / "copier.yml").write_text("{}\n")
    variables = {
        name: value for name, value in os.environ.items() if name not in NOT_THEIRS and not name.startswith("GIT_")
    }
    return variables | {
        "UV_PROJECT_ENVIRONMENT": str(environment),
        "PATH": os.pathsep.join([str(environment / ("Scripts" if os.name == "nt" else "bin")), variables["PATH"]]),
        "GIT_CONFIG_GLOBAL": str(own / "gitconfig"),
        "COPIER_SETTINGS_PATH": str(own / "copier.yml"),
        "DVC_GLOBAL_CONFIG_DIR": str(own),
        "DVC_SITE_CACHE_DIR": str(own / "site"),
        "PYTHONIOENCODING": "utf-8",
    }


@pytest.fixture
def noatime(tmp_path_factory) -> Iterator[Path]:
    """A folder whose file system notes no reads."""
    folder = tmp_path_factory.mktemp("noatime")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "noatime", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"needs a file system that notes no reads: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """The template as it lies here, committed in a clone, so that a dirty checkout is tested as it is."""
    clone = tmp_path_factory.mktemp("template") / "template"
    ignore = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(TEMPLATE, clone, ignore=ignore)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "as it is"]):
        subprocess.run(
            ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", *command], cwd=clone, check=True
        )
    return clone


def copied(template: Path, environ: dict[str, str], path: Path, *options: str) -> Workspace:
    """A project as `copier copy --trust --defaults` leaves it, set up, run and committed."""
    command = [
        sys.executable,
        "-m",
        "copier",
        "copy",
        "--trust",
        "--defaults",
        "--quiet",
        *options,
        str(template),
        str(path),
    ]
    done = subprocess.run(
        command, env=environ, text=True, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    workspace = Workspace(path, environ)
    assert "Start of the project" in workspace.run("git", "log", "--oneline").stdout, done.stdout
    return workspace


@pytest.fixture(scope="session")
def made(template, environ, tmp_path_factory) -> Workspace:
    """The project that the defaults make. Not to be changed."""
    # A folder's name as people have it: with a space and an umlaut.
    return copied(template, environ, tmp_path_factory.mktemp("made") / "Müller penguins")


@pytest.fixture
def project(made, tmp_path) -> Workspace:
    """A copy of the made project, to work in."""
    path = tmp_path / made.path.name
    shutil.copytree(made.path, path, symlinks=True)
    return Workspace(path, made.environ)


@pytest.fixture(scope="session")
def staged(template, environ, tmp_path_factory) -> Workspace:
    """The project that `start: stages` makes. Not to be changed."""
    # Plain ASCII: queued experiments need it.
    return copied(template, environ, tmp_path_factory.mktemp("staged") / "my penguins", "-d", "start=stages")


@pytest.fixture
def stages(staged, tmp_path) -> Workspace:
    """A copy of the made project, to work in."""
    path = tmp_path / staged.path.name
    shutil.copytree(staged.path, path, symlinks=True)
    return Workspace(path, staged.environ)


@pytest.fixture
def bare(made, tmp_path) -> Workspace:
    """The pipeline's code alone: a test writes the notebook, params.yaml and dvc.yaml that it is about."""
    shutil.copytree(
        TEMPLATE / "template" / ".pipeline", tmp_path / ".pipeline", ignore=shutil.ignore_patterns("__pycache__")
    )
    return Workspace(tmp_path, made.environ)


@pytest.fixture(scope="session")
def rendered_once() -> dict[str, Path]:
    """The projects that were rendered already, by folder and answers. Not to be changed."""
    return {}


@pytest.fixture
def render(template, tmp_path, tmp_path_factory, monkeypatch, environ, rendered_once):
    """Renders the template with some answers, without tasks; an answer that is no question is an error."""
    monkeypatch.setenv("COPIER_SETTINGS_PATH", environ["COPIER_SETTINGS_PATH"])

    def render(folder: str = "penguins", **answers) -> Path:
        copier_yml = YAML(typ="safe").load(template / "copier.yml")
        questions = {name for name in copier_yml if not name.startswith("_")}
        assert answers.keys() <= questions, f"no question: {answers.keys() - questions}"
        key = repr((folder, answers))
        if key not in rendered_once:
            path, data = tmp_path_factory.mktemp("rendered") / folder, {"setup": False, **answers}
            copier.run_copy(str(template), path, data=data, defaults=True, unsafe=True, quiet=True)
            rendered_once[key] = path
        return shutil.copytree(rendered_once[key], tmp_path / folder, symlinks=True)

    return render


# Where Debian has daemons; an ordinary user has it not on the path.
SBIN = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
SLURM = """\
ClusterName=penguins
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
JOBQUEUE = """\
jobqueue:
  slurm:
    cores: 1
    memory: 1GB
    interface: lo
    local-directory: "{folder}/nodes"
    log-directory: "{folder}/logs"
"""


@pytest.fixture
def slurm(tmp_path_factory) -> Iterator[dict[str, str]]:
    """A Slurm of one node with two places; the environment variables by which its commands find it."""
    missing = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(name, path=SBIN) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install slurm-wlm munge")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool", "nodes", "logs"):
        (folder / name).mkdir()
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(SLURM.format(folder=folder, host=host, user=getpass.getuser(), ports=ports))
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o600)
    (folder / "jobqueue.yaml").write_text(JOBQUEUE.format(folder=folder))
    munge = [f"--{name}={folder}/munge.{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
    environ = os.environ | {
        "SLURM_CONF": str(folder / "slurm.conf"),
        "DASK_CONFIG": str(folder / "jobqueue.yaml"),
        "PATH": SBIN,
    }
    processes, log = [], folder / "log"

    def node() -> str:
        return subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], env=environ, capture_output=True, text=True
        ).stdout.strip()

    try:
        with log.open("wb") as file:
            for command in (
                ["munged", "--foreground", "--force", f"--key-file={folder}/key", *munge],
                ["slurmctld", "-D"],
                ["slurmd", "-D", "-N", host],
            ):
                processes.append(subprocess.Popen(command, env=environ, stdout=file, stderr=file))
                time.sleep(0.5)
        until = time.monotonic() + 60
        while node() != "idle":
            if time.monotonic() > until or any(process.poll() is not None for process in processes):
                pytest.skip(f"Slurm does not start here ({node() or 'no answer'}): {log.read_text()[-500:]}")
            time.sleep(0.5)
        yield {name: environ[name] for name in ("SLURM_CONF", "DASK_CONFIG")}
    finally:
        subprocess.run(["scancel", "--user", getpass.getuser()], env=environ, capture_output=True)
        for process in reversed(processes):
            process.terminate()
            process.wait(30)
