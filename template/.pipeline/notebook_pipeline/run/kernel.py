"""Starts and ends the kernel of a run, of the Python that runs this, whatever kernels this machine has registered."""

import contextlib
import os
import queue
import sys
import time
from pathlib import Path

from jupyter_client import AsyncKernelClient, AsyncKernelManager
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_core.utils import ensure_event_loop, run_sync

from notebook_pipeline import files
from notebook_pipeline.notebook import executed
from notebook_pipeline.run import in_kernel
from notebook_pipeline.run.kernel_folder import DRAWN, LOG


def start_kernel(run, folder: str) -> AsyncKernelManager:
    """Start a kernel for an `Execution`, which hears each of its messages.

    Args:
        folder: a temporary folder of the kernel's own, also its IPYTHONDIR.
    """
    ensure_event_loop(prefer_selector_loop=True)  # on Windows, ZeroMQ warns of the usual one
    _configure(run, folder)
    # Sockets in the file system: no port to lose to a kernel started at the same moment, nothing to encrypt. Windows
    # has none for ZeroMQ, and a path has room for about 100 characters.
    transport = "ipc" if os.name == "posix" and len(folder) < 80 else "tcp"
    specs = _Specs()
    specs.spec = _describe(folder)
    connection = {"transport": transport, "connection_file": os.path.join(folder, "kernel.json")}
    kernel = _Kernel(run, kernel_spec_manager=specs, **connection)
    with open(os.path.join(folder, LOG), "wb") as log:
        # What the notebook and its processes print comes as messages; here it would come a second time, and with it what
        # ZeroMQ now and then has to say about its end. On Windows, what other processes print comes here alone.
        outputs = {"stdout": log, "stderr": log} if os.name == "posix" else {}
        run_sync(kernel.start_kernel)(cwd=run.folder, **outputs)
    run.kernel_group = run_sync(kernel.provisioner.get_provisioner_info)().get("pgid")
    return kernel


def _configure(run, folder: str) -> None:
    """Write the kernel's configuration and its start-up file: both call `in_kernel.py`, by its path."""
    # In files, not in the arguments, which a notebook that parses some sees in `sys.argv`.
    profile = Path(folder, "profile_default")
    beside = Path(run.folder or Path(os.path.abspath(run.notebook.path)).parent).as_posix()
    load = f"__import__('runpy').run_path({os.path.abspath(in_kernel.__file__)!r})"
    files.write(
        profile / "ipython_kernel_config.py",
        f"{load}['configure'](c, {beside!r}, {os.path.join(folder, DRAWN)!r})\n",
    )
    opened = run.trace.watch_kernel(folder)
    files.write(
        profile / "startup" / "prepare.py",
        f"{load}['prepare'](get_ipython(), {beside!r}, {os.getcwd()!r}, {opened!r})\n{run.startup}",
    )


def _describe(folder: str) -> KernelSpec:
    # Without the debugger's `-Xfrozen_modules=off` of the stock kernel: nobody debugs a run, and it starts sooner.
    return KernelSpec(
        # With `-P`, nothing in the working directory is taken for a module of Python's own.
        argv=[sys.executable, "-P", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        display_name="Python 3",
        language="python",
        env={
            # No start-up folder of one person's own, and one order for sets of strings: equal runs everywhere.
            "IPYTHONDIR": folder,
            # Papermill gives the values; editor/ does so in an editor.
            "PIPELINE_INTERACTIVE": "0",
            "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0"),
            # A forgotten `breakpoint()` stops nobody, as in a kernel with the debugger that no editor is attached to.
            "PYTHONBREAKPOINT": "0",
            # The date that matplotlib writes into PDF, PostScript and SVG.
            "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", executed.STILL),
        },
    )


class _Specs(KernelSpecManager):
    """Knows the kernel of this run only."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return self.spec


class _Outputs(AsyncZMQSocketChannel):
    """The channel on which outputs come."""

    hear = None
    """What is called with each message."""

    async def get_msg(self, *args, **kwargs):
        message = await super().get_msg(*args, **kwargs)
        self.hear(message)
        return message


class _Client(AsyncKernelClient):
    iopub_channel_class = _Outputs

    def start_channels(self, **channels):
        # Its process shows whether a kernel lives. Jupyter's heartbeat is a thread, which opens sockets while the kernel's
        # end closes them: it then dies with a traceback, or the end waits for its socket for ever.
        super().start_channels(**channels | {"hb": False})
        self.iopub_channel.hear = self.parent.run.hear

    async def wait_for_ready(self, timeout=None):
        # Jupyter's own then waits until nothing has come for 0.2 s. What belongs to no cell, nbclient drops itself.
        until = time.monotonic() + timeout
        while time.monotonic() < until and await self.is_alive():
            self.kernel_info()
            with contextlib.suppress(queue.Empty):
                await self.shell_channel.get_msg(timeout=1)
                await self.iopub_channel.get_msg(timeout=0.2)  # what it sends is heard from now on
                return
        raise RuntimeError("the kernel did not start")


class _Kernel(AsyncKernelManager):
    client_factory = _Client

    def __init__(self, run, **traits):
        super().__init__(**traits)
        self.run = run

    async def shutdown_kernel(self, now=False, restart=False):
        """End the kernel. One that is busy would not answer a polite request, and is killed.

        Jupyter's own waits 5 s, asleep, and kills what has not ended then.
        """
        if not now and not isinstance(sys.exc_info()[1], KeyboardInterrupt) and await self.is_alive():
            await self.interrupt_kernel()
            await self.request_shutdown()
            self.run.trace.end()  # it takes some 0.1 s: a better use of them than to sleep
            await self.run.listen_to_the_end(self.is_alive)
            if not self.run.endless:
                return await self.cleanup_resources()
        return await super().shutdown_kernel(now=True)
