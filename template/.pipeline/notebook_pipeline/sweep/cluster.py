"""A sweep's cluster: Dask's scheduler and workers, the tasks they are given, and what becomes of them."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator

from notebook_pipeline.sweep.grid import Experiment, SweepError

BATCH_SYSTEMS = {name.lower(): f"{name}Cluster" for name in ("HTCondor", "LSF", "Moab", "OAR", "PBS", "SGE", "SLURM")}
"""Those of dask-jobqueue."""
PATIENCE = 30
"""For how many seconds a scheduler may be out of reach."""
TRIES = 3
"""How often an experiment is given to workers whose time is up."""


@contextlib.contextmanager
def connect(scheduler: str | None, batch_system: str | None, workers: int | None) -> Iterator:
    """Yield a client of a running scheduler, of a batch system's workers, or of this machine's cores.

    Raises:
        SweepError: it cannot be reached or started, or has another Python.
    """
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster
    from distributed.gc import disable_gc_diagnosis

    for name in [*logging.root.manager.loggerDict, "asyncio"]:
        if name.startswith(("distributed", "tornado", "asyncio")):
            # They speak of connections; what that means for the sweep is said here.
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with contextlib.ExitStack() as until_the_end:
        if scheduler:
            try:
                client = Client(scheduler, timeout=PATIENCE / 3)
            except (OSError, ValueError) as error:
                why = str(error).strip().partition("\n")[0]
                fix = "start one there, or correct the address"
                raise SweepError(f"--scheduler {scheduler}: no scheduler answers ({why}). Fix: {fix}") from None
        else:
            if batch_system:
                cluster = until_the_end.enter_context(_batch_cluster(batch_system))
                cluster.scale(workers)
            else:
                # Threads are enough: each experiment is a process of its own.
                threads = {"n_workers": 1, "threads_per_worker": workers or CPU_COUNT, "processes": False}
                # Without a dashboard Dask still listens, scheduler and worker alike: to this machine alone, and not on the
                # usual port, which another program may have.
                own = "127.0.0.1:0"
                quiet = {"dashboard": False, "dashboard_address": own}
                cluster = LocalCluster(**threads, worker_dashboard_address=own, scheduler_kwargs=quiet, memory_limit=0)
                until_the_end.enter_context(cluster)
            client = Client(cluster)
            # Python would drop a Ctrl-C that comes while it is called.
            disable_gc_diagnosis(force=True)
        until_the_end.enter_context(client)
        _check_pythons(client)
        yield client


def _batch_cluster(name: str):
    try:
        import dask_jobqueue

        return getattr(dask_jobqueue, BATCH_SYSTEMS[name])()
    except ModuleNotFoundError as error:
        fix = "uv add --group sweep dask-jobqueue"
        raise SweepError(f"--cluster: `{error.name}` is not installed. Fix: {fix}") from None
    except (ValueError, RuntimeError) as error:  # as without `cores` and `memory`
        where = "https://jobqueue.dask.org/en/latest/configurations.html"
        reason = str(error).partition("\n")[0].removesuffix(", for example:")
        raise SweepError(f"--cluster {name}: {reason}. Fix: set it in Dask's configuration ({where})") from None


def _check_pythons(client) -> None:
    """Raise SweepError if there is another Python: one that is sent compiled code of this one may crash."""
    versions = client.get_versions()
    told = {"this sweep": versions["client"], f"the scheduler at {client.scheduler.address}": versions["scheduler"]}
    told |= {f"the worker at {address}": worker for address, worker in versions["workers"].items()}
    pythons = {who: ".".join(its["host"]["python"].split(".")[:2]) for who, its in told.items()}
    own = pythons["this sweep"]
    if others := [f"{who} has {python}" for who, python in pythons.items() if python != own]:
        raise SweepError(
            f"this sweep has Python {own}, and {', '.join(others)}. Fix: start all with the same, "
            f"by uv run --python {own} --group sweep ..."
        )


class Tasks:
    """The experiments that a cluster runs.

    Args:
        client: of the cluster.
        plugin: what the workers are to do, a `worker.Experiments`.
        say: prints a line that is about a worker.
    """

    def __init__(self, client, plugin, say: Callable[[str], None]):
        self.client = client
        self.plugin = plugin
        self.say = say
        self.running = {}
        """The experiment of each task, and the workers that alone may run it if others cannot."""
        self.waiting = []
        """Experiments that a worker gave back, as it can run none."""
        self.unable = set()
        """The addresses of such workers."""
        self.seen = self.looked = time.monotonic()
        """When the scheduler was last in reach, and its workers were last looked at."""
        self.state, self.since = "able", self.looked
        """What its workers are: "able", "unable" (all that there are) or "none"; and since when."""

    def run(self, missing: list[Experiment]) -> Iterator[tuple[Experiment, dict[str, str]]]:
        """Run experiments; yield each with its last result, as `worker.Experiments.run` gives it.

        Whatever ends this, what still runs is stopped.

        Raises:
            SweepError: the cluster is gone, or has no worker that could.
        """
        import cloudpickle
        from distributed import CancelledError

        import notebook_pipeline

        # The workers have no such package.
        cloudpickle.register_pickle_by_value(notebook_pipeline)
        try:
            self.client.register_plugin(self.plugin, self.plugin.name)
            for experiment in missing:
                self._submit(experiment)
            while self.running or self.waiting:
                time.sleep(0.1)
                self._check_scheduler()
                for future in [future for future in self.running if future.status != "pending"]:
                    experiment, _ = self.running.pop(future)
                    if (result := self._read_result(future, experiment)) is not None:
                        yield experiment, result
                if time.monotonic() - self.looked > 1 and self.client.status == "running":
                    self._look_after_workers()
        except (CancelledError, OSError):
            # What is asked of it now fails before the client knows: to that it may be "running" for another moment.
            raise SweepError("the scheduler is gone") from None
        finally:
            if self.client.status == "running":
                with contextlib.suppress(Exception):  # nothing more can be done about a cluster that goes right now
                    self.client.cancel(list(self.running))
                    self.client.unregister_worker_plugin(self.plugin.name)

    def _submit(self, experiment: Experiment, workers: list[str] | None = None) -> None:
        # Inside of a method, so that Dask does not take it for something that the workers can import.
        def run(plugin: str, name: str, settings: list[str]) -> dict[str, str]:
            from distributed import get_worker

            return get_worker().plugins[plugin].run(name, settings)

        task = (run, self.plugin.name, experiment.name, experiment.settings)
        experiment.tries += 1
        key = f"{self.plugin.name}-{experiment.name}-{experiment.tries}"
        future = self.client.submit(*task, key=key, pure=False, workers=workers)
        self.running[future] = experiment, workers

    def _check_scheduler(self) -> None:
        gone = self.client.status != "running" or any(each.status in ("cancelled", "lost") for each in self.running)
        if not gone:
            self.seen = time.monotonic()
        elif self.client.status != "connecting" or time.monotonic() - self.seen > PATIENCE:
            raise SweepError("the scheduler is gone")

    def _read_result(self, future, experiment: Experiment) -> dict[str, str] | None:
        """Return what came of a task; None if the experiment is given to a worker again."""
        if problem := future.exception():
            killed = type(problem).__name__ == "KilledWorker"
            why = "each worker that ran it died: out of memory?" if killed else f"{type(problem).__name__}: {problem}"
            return {"status": "failed", "message": why, "log": ""}
        result = future.result()
        if result["status"] == "stopped" and experiment.tries < TRIES:  # a worker whose time was up
            return self._submit(experiment)
        if result["status"] == "unable":
            if result["worker"] not in self.unable:
                self.say(f"{result['worker']} ({result['host']}) is given no more: {result['message']}")
            self.unable.add(result["worker"])
            self.waiting.append(experiment)
            return None
        return result

    def _look_after_workers(self) -> None:
        """Give what some could not run to those that can; say so when there has been none at all for a while.

        Raises:
            SweepError: none of them can, and for a while no other has come.
        """
        self.looked = time.monotonic()
        try:
            here = self.client.nthreads()
        except OSError:  # out of reach, which is for `_check_scheduler` to judge
            return
        able = [address for address in here if address not in self.unable]
        for future, (experiment, workers) in list(self.running.items()):
            if workers and here.keys().isdisjoint(workers):  # those that were to take over are gone
                del self.running[future]
                self.waiting.append(experiment)
        # None but these: Dask would also give it to an idle worker, which is idle because it can run none.
        while able and self.waiting:
            self._submit(self.waiting.pop(0), able)
        state = "able" if able or (here and self.running) else "unable" if here else "none"
        if state != self.state:
            self.state, self.since = state, self.looked
        if state == "able" or self.looked - self.since < PATIENCE / 3:
            return
        if state == "unable":
            raise SweepError("no worker is left that could run the rest")
        asked = self.client.cluster and f"{len(self.client.cluster.requested)} asked for, and none there yet"
        self.say(f"waiting for workers: {asked or f'{self.client.scheduler.address} has none'}")
        self.since = math.inf  # said once
