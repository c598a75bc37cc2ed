"""A clone of the project on a Dask worker, and the process that runs experiments in it.

As `worker.py`, it is carried to the workers as it is.
"""

import contextlib
import errno
import json
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from notebook_pipeline.git import GitError, environment
from notebook_pipeline.git import run as git

TRIES = 3
"""How often an experiment is started whose process is killed, as by a lack of memory, or that fails otherwise than by its
stages: two that share DVC's cache may meet in it."""
WINDOWS_CRASH = 1 << 31
"""From here on exit codes are those of a process that Windows ended."""
PATIENCE = 128
"""For how many seconds a git remote may refuse."""

_DISK_FULL = re.compile(
    r"No space left on device|Out of diskspace|Disk quota exceeded|disk is full|not enough space on the disk",
    re.IGNORECASE,
)


class Stopped(Exception):
    """The sweep was stopped."""


@dataclass
class Place:
    """Where workers get the project, and where experiments go."""

    source: str
    """The git repository that has the commit and gets the experiments."""
    remote: bool
    """Whether the data goes over the DVC remote."""
    config: str | None
    """The text of the clones' .dvc/config.local; None for one with a cache of the worker's own."""
    folder: str | None
    """Where clones are until the sweep ends; None for a place beside Dask's own on each worker, where they stay."""
    git_remote: str = ""
    """What git calls the repository, if it is another one than this."""


def patiently(stop: threading.Event, what, *arguments) -> None:
    """Call until git is content, with growing pauses.

    Raises:
        GitError: it was not within PATIENCE.
        Stopped: `stop` was set meanwhile.
    """
    pause = 1.0
    while True:
        try:
            return what(*arguments)
        except GitError:
            if pause > PATIENCE / 2:
                raise
        # Two that were refused because of each other must not meet again.
        if stop.wait(pause * random.uniform(0.7, 1.3)):
            raise Stopped
        pause *= 2


class Clone:
    """A clone of the project, and the process that runs experiments in it.

    Args:
        sweep: what the worker is to do, a `worker.Experiments`.
        handle: the locked file that keeps others out of the clone.
    """

    def __init__(self, sweep, path: Path, handle):
        self.sweep = sweep
        self.path = path
        self.handle = handle
        self.log = path.with_suffix(".log")
        self.process = None
        self.owes = False
        """Whether it has an experiment that could not be pushed."""

    def run(self, name: str, ref: str, settings: list[str]) -> str | None:
        """Run an experiment; return what went wrong.

        Raises:
            GitError, OSError: there can be no clone.
            Stopped: the sweep was stopped meanwhile.
        """
        try:
            self._prepare()
        except GitError:
            # A worker may have been killed at any moment: what is left is not worth looking at.
            self._end()
            _remove(self.path)
            self._prepare()
        request = {"name": name, "ref": ref, "settings": settings, "remote": self.sweep.place.remote}
        for tries_left in reversed(range(TRIES)):
            self.log.write_bytes(b"")
            answer = self._ask(request)
            if self.sweep.stopping.is_set():
                raise Stopped
            if answer:
                answer = json.loads(answer)
                error, is_stages = answer["error"], answer.get("is_stages")
                if error is None or is_stages or not tries_left or tells_of_full_disk(error, self.read_log()):
                    return error
                self._prepare()
                continue
            code = self.process.wait()
            self.process = None
            if 0 <= code < WINDOWS_CRASH:  # it could not even start: the log says why
                return f"python -m notebook_pipeline.sweep.experiment ended with {code}"
            self._prepare()
        how = f"signal {-code}" if code < 0 else f"{code:#x}"
        return f"its process was killed {TRIES} times ({how}): out of memory?"

    def push(self, ref: str) -> None:
        """Give an experiment to the repository that the clone is of, if it is not there yet.

        Raises:
            GitError: refused.
        """
        try:
            git("push", "--quiet", self.sweep.place.source, f"{ref}:{ref}", cwd=self.path)
        except GitError:
            if not git("ls-remote", self.sweep.place.source, ref, cwd=self.path, check=False):
                raise

    def read_log(self) -> str:
        """Read what the experiment's stages and DVC printed."""
        with contextlib.suppress(OSError):
            return self.log.read_text(encoding="utf-8", errors="replace")
        return ""

    def hang_up(self) -> None:
        """Tell the process to stop what it does, and itself."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def close(self) -> None:
        """Wait for the process to end, and let others have the clone; on the person's own machine it is removed."""
        self._end()
        if self.sweep.place.folder is not None and not self.owes:
            _remove(self.path)
            self.log.unlink(missing_ok=True)
        self.handle.close()

    def _end(self) -> None:
        self.hang_up()
        if self.process is not None:
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def _prepare(self) -> None:
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
            patiently(sweep.stopping, self._fetch)
        git("checkout", "--quiet", "--force", "--detach", sweep.commit, cwd=self.path)
        git("reset", "--quiet", "--soft", sweep.baseline, cwd=self.path)
        git("clean", "--quiet", "--force", "-d", cwd=self.path)
        # DVC would add what runs in it to the cache folder of the person.
        config = sweep.place.config
        config = f'[cache]\n    dir = "{sweep.folder.as_posix()}/cache"\n' if config is None else config
        (project / ".dvc/config.local").write_text(config)  # in the system's encoding, as DVC reads it

    def _fetch(self) -> None:
        git("fetch", "--quiet", "--no-tags", "--update-shallow", self.sweep.place.source, self.sweep.ref, cwd=self.path)

    def _ask(self, request: dict) -> str:
        """Ask the process for an experiment; return its answer, empty if it has ended."""
        try:
            if self.process is None:
                self.process = self._start()
                if self.sweep.stopping.is_set():  # since a moment: nobody else will tell the new one
                    self.hang_up()
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            return self.process.stdout.readline()
        except ValueError:  # told to end
            return ""
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EINVAL):  # ended; the second is what Windows says then
                raise
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
