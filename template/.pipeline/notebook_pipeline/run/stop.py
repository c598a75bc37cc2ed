"""What ends a run early: signals, the death of DVC; and the branch that a stopped experiment is put back on."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

from notebook_pipeline import git

PATIENCE = 5.0
"""Seconds in which a run that was asked to end does so: a kernel is killed at once."""
_RUNNING = "refs/exps/exec/EXEC_BASELINE"
"""The ref that DVC has while an experiment runs in the workspace, and that stays if DVC is ended."""


class Stopped(KeyboardInterrupt):
    """A signal asks the run to end. (asyncio swallows any other exception that a signal raises in its callbacks.)"""

    def __init__(self, number: int):
        self.number = number


@contextlib.contextmanager
def signals_as_exceptions() -> Iterator[list]:
    """Have SIGTERM and the death of DVC raise Stopped, so that the kernel is ended and the notebook kept.

    Yields a list that has DVC's process, once it is known, if DVC runs this.
    """

    def stop(number, frame):
        asked.set()
        raise Stopped(number)

    def watch():
        # DVC ended by a signal leaves its stage running; nobody would record what it makes.
        if process := _dvc_process():
            dvc.append(process)
        while not ended.wait(1):
            # Python drops an exception that is raised while a finalizer runs: who did not hear is asked again.
            unheard = asked.is_set() and not ended.wait(PATIENCE)
            if unheard or (dvc and not _is_alive(dvc[0]) and not asked.is_set()):
                os.kill(os.getpid(), signal.SIGTERM)

    dvc, old = [], signal.signal(signal.SIGTERM, stop)
    asked, ended = threading.Event(), threading.Event()
    if os.name == "posix":
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield dvc
    finally:
        ended.set()
        signal.signal(signal.SIGTERM, old)


def _dvc_process():
    """Find DVC's process if it runs this one as a stage: the nearest above that has not been given the stage's name.

    Between the two may be a shell: bash replaces itself by its last command, dash does not.
    """
    import psutil  # ipykernel's, and slow to import

    name = os.environ.get("DVC_STAGE")
    try:
        above = psutil.Process().parents()
    except psutil.Error:  # one of them has just ended
        return None
    for process in above:
        try:
            if process.environ().get("DVC_STAGE") != name:
                return process
        except psutil.Error:  # not to be looked into: not a shell that got our variables
            return process if name else None
    return None


def _is_alive(process) -> bool:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def restore_branch(dvc, patience: float) -> None:
    """Do what DVC does when an experiment ends, and cannot do if it was ended itself: put HEAD back on its branch.

    While an experiment runs, HEAD is detached, and `HEAD` is to DVC what it was at the start. Files stay as they are.

    Args:
        dvc: its process.
        patience: seconds in which DVC may end: the one that stops both may come to it last.
    """
    if git.text("rev-parse", "--verify", _RUNNING) is None:
        return
    until = time.monotonic() + patience
    while _is_alive(dvc):
        if time.monotonic() >= until:
            return  # it will do that itself
        time.sleep(0.1)
    head, branch = git.text("rev-parse", "HEAD"), git.text("rev-parse", "--symbolic-full-name", "@{-1}") or ""
    if git.text("symbolic-ref", "HEAD") is None:
        if not branch.startswith("refs/heads/") or git.text("rev-parse", branch) != head:
            return  # it was on no branch, or has gone on: a person decides
        git.text("symbolic-ref", "-m", f"dvc: Restore HEAD to '{branch.removeprefix('refs/heads/')}'", "HEAD", branch)
        git.text("reset", "--quiet")
    for name in ("EXEC_MERGE", "EXEC_BRANCH", "EXEC_BASELINE"):
        git.text("update-ref", "--no-deref", "-d", f"{_RUNNING.rpartition('/')[0]}/{name}")
