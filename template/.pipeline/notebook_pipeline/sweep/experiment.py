"""`python -m notebook_pipeline.sweep.experiment`: runs experiments in the clone that it is started in, for a worker of a sweep.

A process that stays: importing DVC and reading its files anew would take as long as a short notebook. Each line on stdin
asks for one experiment, as JSON; each line on stdout answers: `error` is null where it is done, and `is_stages` says whether
the command of a stage failed.
"""

import contextlib
import json
import os
import queue
import sys
import threading
from pathlib import Path

from notebook_pipeline.sweep.grid import chain, messages


def main() -> int:
    """Answer until stdin ends; what runs then is stopped. Return the exit code."""
    # What DVC, the stages and their processes print goes to the log, which is stderr; none of them may read a request.
    asked, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    requests = queue.SimpleQueue()
    threading.Thread(target=_listen, args=[asked, requests], daemon=True).start()
    while True:
        request = json.loads(requests.get())
        answer = {"error": None, "is_stages": False}
        try:
            _run(**request)
        except Exception as problem:  # DVC's, git's, the remote's: all are the experiment's, and the next one may do
            kinds = {type(each).__name__ for each in chain(problem)}
            answer = {"error": " <- ".join(messages(problem)), "is_stages": "StageCmdFailedError" in kinds}
        sys.stdout.flush()
        print(json.dumps(answer), file=answers, flush=True)


def _run(name: str, ref: str, settings: list[str], remote: bool) -> None:
    """Run one experiment as `dvc exp run` does, and push its data; one that has run is only pushed.

    Args:
        name: of the experiment.
        ref: the git reference that DVC gives it.
        settings: as in `dvc exp run -S`.
        remote: whether inputs that are not in the cache come from the DVC remote, and results go there.
    """
    from dvc.repo import Repo

    with Repo() as repo:
        # A process that was killed may have left an empty folder in the run cache, at which DVC fails for ever.
        for folder in Path(repo.cache.legacy.path, "runs").glob("*/*"):
            with contextlib.suppress(OSError):  # mostly it is not empty
                folder.rmdir()
        if not repo.scm.get_ref(ref):
            repo.experiments.run(
                name=name, params=settings, pull=remote, allow_missing=remote, force=_need_force(settings)
            )
    if remote:
        # A new one: it reads the git objects that are there now.
        with Repo() as repo:
            repo.push(revs=[repo.scm.get_ref(ref)], workspace=False, run_cache=True)


def _need_force(settings: list[str]) -> bool:
    """Whether a value gets another type (`1`, `1.0`, `true`) in a stage that DVC would then not run."""
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import apply_overrides

    from notebook_pipeline.project import lock
    from notebook_pipeline.project.project import Project, ProjectError

    overrides = to_path_overrides(settings)
    before = {path: Path(path).read_bytes() for path in overrides}
    try:
        for path, own in overrides.items():
            apply_overrides(path, own)
        project = Project()
        return any(lock.retyped(project, project.stages(), lock.read()))
    except ProjectError:
        return False  # DVC or the stage says what is wrong
    finally:
        for path, content in before.items():
            Path(path).write_bytes(content)


def _listen(asked, requests: queue.SimpleQueue) -> None:
    """Hand requests on; if the worker closes the line, or dies, nobody would take the result."""
    for line in asked:
        requests.put(line)
    import psutil

    running = psutil.Process().children(recursive=True)
    # A stage of ours ends its kernel and keeps the notebook as far as it got.
    for signal in ("terminate", "kill"):
        for process in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                getattr(process, signal)()
        _, running = psutil.wait_procs(running, timeout=10)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
