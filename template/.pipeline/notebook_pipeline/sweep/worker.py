"""What a sweep has each Dask worker do: keep clones of the project, run experiments in them, push what is done.

Dask carries this module to the workers, with the classes and functions of the project that it uses, where nothing of the
project need be installed: import them by name (a module would be looked for there), and else what Dask and DVC bring.
"""

import asyncio
import importlib.util
import itertools
import os
import re
import shutil
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from distributed import WorkerPlugin

from notebook_pipeline.files import lock
from notebook_pipeline.git import GitError
from notebook_pipeline.git import run as git
from notebook_pipeline.sweep.clone import Clone, Stopped, patiently, tells_of_full_disk


class Unable(Exception):
    """This worker can run no experiment, whichever it is; why, and what to do."""


@dataclass(eq=False)
class Experiments(WorkerPlugin):
    """Run a sweep's experiments on one worker, each in a clone that is its own for that time.

    Args:
        name: the sweep's, among the worker's plugins.
        source: the git repository that has the commit and gets the experiments.
        baseline: the commit that the experiments belong to.
        commit: the commit that they start from: the baseline, or what was not committed on top of it.
        prefix: the project's folder in the repository, with slashes; empty if it is the whole.
        author: git's user.name and user.email.
        folder: where clones are, until the sweep ends; None for a place beside Dask's own on the worker, where they stay.
        config: the text of .dvc/config.local; None for a cache of the worker's own, and data over the DVC remote.
    """

    name: str
    source: str
    baseline: str
    commit: str
    prefix: str
    author: tuple[str, str]
    folder: str | None
    config: str | None

    def __post_init__(self):
        self.ref = f"refs/sweep/{self.name}"
        """Where git has the commit."""
        self.namespace = f"refs/exps/{self.baseline[:2]}/{self.baseline[2:]}"
        """Where git has the experiments, as DVC does it."""
        self.is_local, self.has_remote = self.folder is not None, self.config is None

    def setup(self, worker) -> None:
        """Get ready: Dask calls it on each worker, also on those that come later."""
        self.worker = worker
        if not self.is_local:
            # Dask gives each worker a new folder, and clears it; what lies beside it is there for the next one.
            # Each user of the machine can read its name: who logs in, by a token perhaps, is no part of that.
            key = re.sub(r"\W+", "-", re.sub("://.*@", "://", self.source)).strip("-")[-60:]
            self.folder = Path(worker.local_directory).parent / f"sweep-{key}" / socket.gethostname()
        self.folder = Path(self.folder)
        self.idle, self.all = [], []
        self.lock = threading.Lock()
        self.stopping = threading.Event()

    async def teardown(self, worker) -> None:
        """Stop what runs: Dask calls it when the sweep is over, or the worker."""
        self.stopping.set()
        with self.lock:
            clones = list(self.all)
        for clone in clones:
            clone.hang_up()
        for clone in clones:
            await asyncio.to_thread(clone.close)

    def run(self, name: str, settings: list[str]) -> dict[str, str]:
        """Run one experiment and push it.

        Returns:
            `status`: "done", "failed", "unable" (as any other would be on this worker) or "stopped"; for what is not done
            also `message`, `log`, `worker` (its address) and `host`.
        """
        clone, log = None, ""
        ref = f"{self.namespace}/{name}"
        try:
            if not self.is_local:
                _check_environment()
            # A worker that was taken for dead may have finished it.
            if git("ls-remote", self.source, ref, cwd=os.curdir, check=False):
                return {"status": "done"}
            clone = self._take_clone()
            error = clone.run(name, ref, settings)
            if error is None:
                clone.owes = True
                patiently(clone.push, ref, stop=self.stopping)
                clone.owes = False
                return {"status": "done"}
            status, log = "failed", clone.read_log()
        except Stopped:
            status, error = "stopped", "stopped"
        except Unable as problem:
            status, error = "unable", str(problem)
        except (GitError, OSError) as problem:
            status, error = "failed", str(problem)
        finally:
            if clone is not None:
                with self.lock:
                    self.idle.append(clone)
        if status == "failed" and self.stopping.is_set():
            status = "stopped"
        if status == "failed" and tells_of_full_disk(error, log):
            status, error = "unable", f"there is no room on its disk, in {self.folder}"
        return {
            "status": status,
            "message": error,
            "log": log[-100_000:],
            "worker": self.worker.address,
            "host": socket.gethostname(),
        }

    def _take_clone(self) -> Clone:
        with self.lock:
            if self.stopping.is_set():
                raise Stopped
            if self.idle:
                return self.idle.pop()
            self.folder.mkdir(parents=True, exist_ok=True)
            handles = (lock(self.folder / f"{number}.lock") for number in itertools.count())
            self.all.append(clone := Clone(self, next(filter(None, handles))))
            return clone


def _check_environment() -> None:
    """Raise Unable if this worker was not started in the project's environment, or has no git."""
    # What the project's environment has and Dask's own has not.
    if lacks := [name for name in ("dvc", "papermill", "ipykernel") if importlib.util.find_spec(name) is None]:
        start = "in a clone of the project, by uv run --group sweep dask worker ..."
        raise Unable(f"its Python, {sys.executable}, lacks {', '.join(lacks)}. Fix: start it {start}")
    if shutil.which("git") is None:
        raise Unable("there is no git. Fix: install it there")
