"""`pipeline sweep` on a Dask cluster: workers, remotes, Ctrl-C, Slurm."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import Workspace, on_path
from sweep_samples import Sweeps, in_a_subfolder, wait

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
    assert nobody.stdout.splitlines()[-1].startswith("--scheduler tcp://127.0.0.1:9: no scheduler answers (")
    assert "Traceback" not in nobody.stdout
    no_options = shared.pipeline("sweep", "-S", "fit.x=1", "--cluster", "slurm", "--workers", "2", check=False)
    assert no_options.returncode == 1 and "Traceback" not in no_options.stdout
    assert re.search(r"\n--cluster slurm: .*cores.* \(https://jobqueue.dask.org", no_options.stdout)
    shared.run("dvc", "remote", "default", "--unset")
    shared.git("commit", "--quiet", "--all", "--message", "no remote")
    no_remote = shared.pipeline("sweep", "-S", "fit.x=1", "--scheduler", "tcp://127.0.0.1:9", check=False)
    assert no_remote.stdout.startswith("there is no DVC remote, from which the workers take the inputs. Fix: ")


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
    assert re.fullmatch(rf"its Python, \S+, lacks dvc\. Fix: {re.escape(start)}", why)
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
    there = rf"and the worker at tcp://\S+ has {other}\. Fix: start all with the same, by uv run --python {own} --group sweep \.\.\."
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
