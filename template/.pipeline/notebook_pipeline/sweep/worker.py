"""What a sweep has each Dask worker do: keep clones of the project, run experiments in them, push what is done.

Dask carries this module to the workers as it is, where nothing of the project need be installed: of the project it may
import nothing, and of the rest what Dask and DVC bring.
"""

import asyncio
import contextlib
import errno
import importlib.util
import json
import os
import random
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

from distributed import WorkerPlugin

TRIES = 3
"""How often an experiment is started whose process is killed, as by a lack of memory, or that fails otherwise than by its
stages: two that share DVC's cache may meet in it."""
WINDOWS_CRASH = 1 << 31
"""From here on exit codes are those of a process that Windows ended."""
PATIENCE = 128
"""For how many seconds a git remote may refuse."""

NEEDED = ("dvc", "papermill", "ipykernel")
"""What an experiment cannot do without, of what the project's environment has and Dask's own has not."""

_DISK_FULL = re.compile(
    r"No space left on device|Out of diskspace|Disk quota exceeded|disk is full|not enough space on the disk",
    re.IGNORECASE,
)


class GitError(Exception):
    """git could not; its last words."""


class Stopped(Exception):
    """The sweep was stopped."""


class Unable(Exception):
    """This worker can run no experiment, whichever it is; why, and what to do."""


def git(*arguments: str, cwd: str | Path, check: bool = True, **environ: str) -> str:
    """What a git command prints, with more environment variables; empty where it fails and need not be checked.

    Raises:
        GitError: it failed.
    """
    # A question would wait for ever, and a hook of the person's own has nothing to say here.
    done = subprocess.run(
        ["git", "-c", f"core.hooksPath={os.devnull}", "-c", "gc.auto=0", "-c", "core.quotePath=false", *arguments], cwd=cwd, text=True,
        encoding="utf-8", errors="replace", capture_output=True, stdin=subprocess.DEVNULL,
        env=_environ() | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"} | environ,
    )  # fmt: skip
    if done.returncode and check:
        words = [line for line in done.stderr.splitlines() if line.strip()]
        telling = [line for line in words if re.match(r"(fatal|error|remote|.*rejected)\b", line)]
        raise GitError(f"git {arguments[0]}: {' '.join(telling or words[-1:])}")
    return done.stdout.strip() if done.returncode == 0 else ""


def patiently(stop: threading.Event, what, *arguments) -> None:
    """Calls until git is content, with growing pauses.

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


class Experiments(WorkerPlugin):
    """Runs a sweep's experiments on one worker, each in a clone that is its own for that time.

    Args:
        name: the sweep's, among the worker's plugins.
        source: the git repository that has the commit and gets the experiments.
        ref: the reference there that has the commit.
        baseline: the commit that the experiments belong to.
        commit: the commit that they start from: the baseline, or what was not committed on top of it.
        prefix: the project's folder in the repository, with slashes; empty where it is the whole.
        folder: where clones are, until the sweep ends; None for a place beside Dask's own on the worker, where they stay.
        config: the text of .dvc/config.local; None for one with a cache of the worker's own.
        remote: whether the data goes over the DVC remote.
        author: git's user.name and user.email.
    """

    def __init__(self, name, source, ref, baseline, commit, prefix, folder, config, remote, author):
        self.name = name
        self.source = source
        self.ref = ref
        self.baseline = baseline
        self.commit = commit
        self.prefix = prefix
        self.is_local = folder is not None
        self.folder = folder
        self.config = config
        self.remote = remote
        self.author = author

    def setup(self, worker) -> None:
        """Called by Dask on each worker, also on those that come later."""
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
        """Called by Dask when the sweep is over, or the worker: stops what runs."""
        self.stopping.set()
        with self.lock:
            clones = list(self.all)
        for clone in clones:
            clone.hang_up()
        for clone in clones:
            await asyncio.to_thread(clone.close)

    def run(self, name: str, settings: list[str]) -> dict[str, str]:
        """Runs one experiment and pushes it.

        Returns:
            `status`: "done", "failed", "unable" (as any other would be on this worker) or "stopped"; for what is not done
            also `message`, `log`, `worker` (its address) and `host`.
        """
        clone, log = None, ""
        ref = f"refs/exps/{self.baseline[:2]}/{self.baseline[2:]}/{name}"
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
                patiently(self.stopping, clone.push, ref)
                clone.owes = False
                return {"status": "done"}
            log = clone.read_log()
            status = "failed"
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
        if status == "failed" and _tells_of_full_disk(error, log):
            status, error = "unable", f"there is no room on its disk, in {self.folder}"
        return {
            "status": status,
            "message": error,
            "log": log[-100_000:],
            "worker": self.worker.address,
            "host": socket.gethostname(),
        }

    def _take_clone(self) -> "_Clone":
        with self.lock:
            if self.stopping.is_set():
                raise Stopped
            if self.idle:
                return self.idle.pop()
            self.folder.mkdir(parents=True, exist_ok=True)
            number = 0
            while (handle := locked(self.folder / f"{number}.lock")) is None:
                number += 1
            self.all.append(clone := _Clone(self, self.folder / str(number), handle))
            return clone


class _Clone:
    """A clone of the project, and the process that runs experiments in it."""

    def __init__(self, sweep: Experiments, path: Path, handle):
        self.sweep = sweep
        self.path = path
        self.handle = handle
        self.log = path.with_suffix(".log")
        self.process = None
        self.owes = False
        """Whether it has an experiment that could not be pushed."""

    def run(self, name: str, ref: str, settings: list[str]) -> str | None:
        """Runs an experiment; returns what went wrong.

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
        request = {"name": name, "ref": ref, "settings": settings, "pull": self.sweep.remote, "push": self.sweep.remote}
        for tries_left in reversed(range(TRIES)):
            self.log.write_bytes(b"")
            answer = self._ask(request)
            if self.sweep.stopping.is_set():
                raise Stopped
            if answer:
                answer = json.loads(answer)
                error, is_stages = answer["error"], answer.get("is_stages")
                if error is None or is_stages or not tries_left or _tells_of_full_disk(error, self.read_log()):
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
        """Gives an experiment to the repository that the clone is of, where it is not there yet.

        Raises:
            GitError: refused.
        """
        try:
            git("push", "--quiet", self.sweep.source, f"{ref}:{ref}", cwd=self.path)
        except GitError:
            if not git("ls-remote", self.sweep.source, ref, cwd=self.path, check=False):
                raise

    def read_log(self) -> str:
        """What the experiment's stages and DVC printed."""
        with contextlib.suppress(OSError):
            return self.log.read_text(encoding="utf-8", errors="replace")
        return ""

    def hang_up(self) -> None:
        """Tells the process to stop what it does, and itself."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def close(self) -> None:
        """Waits for the process to end, and lets others have the clone; on the person's own machine it is removed."""
        self._end()
        if self.sweep.is_local and not self.owes:
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
        """Makes the clone, or what an earlier experiment left of it, the commit as it was."""
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
        config = sweep.config if sweep.config is not None else f'[cache]\n    dir = "{sweep.folder.as_posix()}/cache"\n'
        (project / ".dvc/config.local").write_text(config)  # in the system's encoding, as DVC reads it

    def _fetch(self) -> None:
        git("fetch", "--quiet", "--no-tags", "--update-shallow", self.sweep.source, self.sweep.ref, cwd=self.path)

    def _ask(self, request: dict) -> str:
        """The answer to a request; empty where the process has ended."""
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
        environ = _environ() | {
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


def _tells_of_full_disk(error: str, log: str) -> bool:
    return _DISK_FULL.search(error + log[-20_000:]) is not None


def _remove(clone: Path) -> None:
    if os.name == "nt":  # where git's objects, which cannot be written, cannot be deleted
        for path in clone.glob(".git/objects/**/*"):
            with contextlib.suppress(OSError):
                path.chmod(stat.S_IWRITE)
    shutil.rmtree(clone, ignore_errors=True)


def _check_environment() -> None:
    """Raises Unable where this worker was not started in the project's environment, or has no git."""
    if lacks := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        start = "in a clone of the project, by uv run --group sweep dask worker ..."
        raise Unable(f"its Python, {sys.executable}, lacks {', '.join(lacks)}: start it {start}")
    if shutil.which("git") is None:
        raise Unable("there is no git: install it there")


def _environ() -> dict[str, str]:
    """The environment variables without those by which git and DVC tell their children of another repository."""
    others = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "DVC_STAGE", "DVC_ROOT")
    return {name: value for name, value in os.environ.items() if name not in others}


def locked(path: Path):
    """The opened file, locked until it is closed here and in the processes that have it; None where another has it.

    Raises:
        OSError: its file system has no locks.
    """
    handle = path.open("a+b")
    try:
        if os.name == "nt":
            import msvcrt

            handle.seek(0)  # it locks a byte, not the file
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        handle.close()
        return None
    except OSError as error:
        handle.close()
        raise OSError(error.errno, f"files cannot be locked ({error.strerror})", str(path)) from None
    return handle
