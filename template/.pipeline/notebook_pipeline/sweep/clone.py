"""A clone of the project on a Dask worker, and the process that runs experiments in it.

As `worker.py`, it is carried to the workers as it is.
"""

import contextlib
import functools
import json
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

from notebook_pipeline.git import GitError, environment
from notebook_pipeline.git import run as git

TRIES = 3
"""How often an experiment is started whose process is killed, as by a lack of memory, or that fails otherwise than by its
stages: two that share DVC's cache may meet in it."""
WINDOWS_CRASH = 1 << 31
"""From here on exit codes are those of a process that Windows ended."""
PAUSES = (1, 2, 4, 8, 16, 32, 64)
"""Seconds between the calls to a git remote that refuses."""

_DISK_FULL = re.compile(
    r"No space left on device|Out of diskspace|Disk quota exceeded|disk is full|not enough space on the disk",
    re.IGNORECASE,
)


class Stopped(Exception):
    """The sweep was stopped."""


def patiently(what, *arguments, stop: threading.Event | None = None) -> None:
    """Call until git is content, with growing pauses.

    Raises:
        GitError: it was not after all PAUSES.
        Stopped: `stop` was set meanwhile.
    """
    stop = stop or threading.Event()
    for pause in PAUSES:
        with contextlib.suppress(GitError):
            return what(*arguments)
        # Two that were refused because of each other must not meet again.
        if stop.wait(pause * random.uniform(0.7, 1.3)):
            raise Stopped
    return what(*arguments)


class Clone:
    """A clone of the project, and the process that runs experiments in it.

    Args:
        sweep: what the worker is to do, a `worker.Experiments`.
        handle: the locked file that keeps others out of the clone, which lies beside it.
    """

    def __init__(self, sweep, handle):
        self.sweep = sweep
        self.handle = handle
        self.path = Path(handle.name).with_suffix("")
        self.log = self.path.with_suffix(".log")
        self.process = None
        self.owes = False
        """Whether it has an experiment that could not be pushed."""

    def run(self, name: str, ref: str, settings: list[str]) -> str | None:
        """Run an experiment; return what went wrong.

        Raises:
            GitError, OSError: there can be no clone.
            Stopped: the sweep was stopped meanwhile.
        """
        request = {"name": name, "ref": ref, "settings": settings, "remote": self.sweep.has_remote}
        for _ in range(TRIES):
            try:
                self._check_out()
            except GitError:
                # A worker may have been killed at any moment: what is left is not worth looking at.
                self._end()
                _remove(self.path)
                self._check_out()
            self.log.write_bytes(b"")
            answer = self._ask(request)
            if self.sweep.stopping.is_set():
                raise Stopped
            if answer:
                answer = json.loads(answer)
                error = answer["error"]
                if error is None or answer["is_stages"] or tells_of_full_disk(error, self.read_log()):
                    return error
                continue
            code = self.process.wait()
            self.process = None
            if 0 <= code < WINDOWS_CRASH:  # it could not even start: the log says why
                return f"python -m notebook_pipeline.sweep.experiment ended with {code}"
            how = f"signal {-code}" if code < 0 else f"{code:#x}"
            error = f"its process was killed {TRIES} times ({how}): out of memory?"
        return error

    def push(self, ref: str) -> None:
        """Give an experiment to the repository that the clone is of, if it is not there yet.

        Raises:
            GitError: refused.
        """
        try:
            git("push", "--quiet", self.sweep.source, f"{ref}:{ref}", cwd=self.path)
        except GitError:
            if not git("ls-remote", self.sweep.source, ref, cwd=self.path, check=False):
                raise

    def read_log(self) -> str:
        """Return what the experiment's stages and DVC printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def hang_up(self) -> None:
        """Tell the process to stop what it does, and itself."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def close(self) -> None:
        """Wait for the process to end, and let others have the clone; on the person's own machine it is removed."""
        self._end()
        if self.sweep.is_local and not self.owes:
            _remove(self.path)
            self.log.unlink(missing_ok=True)
        self.handle.close()

    def _end(self) -> None:
        self.hang_up()
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=30)
            self.process.kill()
            self.process.wait()
            self.process = None

    def _check_out(self) -> None:
        """Make the clone, or what an earlier experiment left of it, the commit as it was."""
        sweep = self.sweep
        project = self.path / sweep.prefix
        if self.process is None:
            for left in (*self.path.glob(".git/**/*.lock"), *self.path.glob(".git/**/refs/exps/stash")):
                left.unlink(missing_ok=True)
            for left in (project / ".dvc/tmp", self.path / ".git/refs/exps/exec"):
                shutil.rmtree(left, ignore_errors=True)
            git("init", "--quiet", str(self.path), cwd=sweep.folder)
            for key, value in zip(("user.name", "user.email"), sweep.author, strict=True):
                git("config", key, value, cwd=self.path)
        if not git("rev-parse", "--quiet", "--verify", f"{sweep.commit}^{{commit}}", cwd=self.path, check=False):
            fetch = ("fetch", "--quiet", "--no-tags", "--update-shallow", sweep.source, sweep.ref)
            patiently(functools.partial(git, *fetch, cwd=self.path), stop=sweep.stopping)
        git("checkout", "--quiet", "--force", "--detach", sweep.commit, cwd=self.path)
        git("reset", "--quiet", "--soft", sweep.baseline, cwd=self.path)
        git("clean", "--quiet", "--force", "-d", cwd=self.path)
        # DVC would add what runs in it to the cache folder of the person.
        config = sweep.config if sweep.config is not None else f'[cache]\n    dir = "{sweep.folder.as_posix()}/cache"\n'
        (project / ".dvc/config.local").write_text(config)  # in the system's encoding, as DVC reads it

    def _ask(self, request: dict) -> str:
        """Return the answer to a request; empty if the process has ended."""
        if self.process is None:
            self.process = self._start()
            if self.sweep.stopping.is_set():  # since a moment: nobody else will tell the new one
                self.hang_up()
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            return self.process.stdout.readline()
        except (OSError, ValueError):  # it has ended, or was told to
            return ""

    def _start(self) -> subprocess.Popen:
        environ = environment() | {
            # A stage's `pipeline` is the one of this environment, which calls the code of the clone.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "PYTHONPATH": str(self.path / self.sweep.prefix / ".pipeline"),
            # The worker pushes, and says when it cannot.
            "DVC_EXP_AUTO_PUSH": "false",
            "DVC_NO_ANALYTICS": "true",
        }
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "notebook_pipeline.sweep.experiment"], cwd=self.path / self.sweep.prefix, env=environ,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8",
                # Ctrl-C is for the sweep; and nobody else may have the clone before this process has ended, too.
                **({"start_new_session": True, "pass_fds": [self.handle.fileno()]} if os.name == "posix" else {}),
            )  # fmt: skip


def tells_of_full_disk(error: str, log: str) -> bool:
    return _DISK_FULL.search(error + log[-20_000:]) is not None


def _remove(clone: Path) -> None:
    if os.name == "nt":  # where git's objects, which cannot be written, cannot be deleted
        for path in clone.glob(".git/objects/**/*"):
            with contextlib.suppress(OSError):
                path.chmod(stat.S_IWRITE)
    shutil.rmtree(clone, ignore_errors=True)
