"""`pipeline lab`: starts JupyterLab, whose kernels are those of the project's environment.

JupyterLab has an environment of its own, made by uv: the project's has what `dvc repro` runs with, and nothing else.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

LAB = "jupyterlab>=4,<5"


def main(argv: list[str]) -> int:
    """Start JupyterLab with these arguments, and return its exit code at its end."""
    if argv[:1] in (["-h"], ["--help"]):
        print(f"usage: pipeline lab [NOTEBOOK] [OPTION OF JUPYTERLAB ...]\n\n{__doc__.partition(': ')[2].strip()}")
        return 0
    return start_lab(argv)


def start_lab(arguments: list[str], folder: str | Path = ".", **variables: str) -> int:
    """Start JupyterLab in a folder, wait for its end, and return its exit code.

    Args:
        arguments: JupyterLab's own.
        variables: environment variables of its kernels.
    """
    uv = os.environ.get("UV") or shutil.which("uv")
    if importlib.util.find_spec("jupyterlab"):
        command = [sys.executable, "-m", "jupyterlab"]
    elif uv:
        command = [uv, "tool", "run", "--from", LAB, "jupyter-lab"]
    else:
        print("lab: uv is not installed. Fix: pip install uv, or install jupyterlab here", file=sys.stderr)
        return 1
    # Else a notebook among the arguments has JupyterLab show its folder alone.
    arguments = [f"--ServerApp.root_dir={Path(folder).resolve()}", *arguments]
    with _make_kernel_spec() as places:
        process = subprocess.Popen([*command, *arguments], cwd=folder, env=os.environ | places | variables)
        # At Ctrl-C, JupyterLab asks whether to stop: the answer ends this, too.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        return process.wait()


@contextlib.contextmanager
def _make_kernel_spec() -> Iterator[dict[str, str]]:
    """Describe the kernel of this environment in a temporary folder; yield the variable by which JupyterLab finds it."""
    from ipykernel.kernelspec import write_kernel_spec

    # The programs that a cell calls (`!dvc status`) are the environment's, too.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    overrides = {"display_name": f"Python ({Path.cwd().name})", "env": {"PATH": path}}
    with tempfile.TemporaryDirectory(prefix="lab", ignore_cleanup_errors=True) as folder:
        # The name that notebooks have: JupyterLab asks for no other kernel.
        write_kernel_spec(os.path.join(folder, "kernels", "python3"), overrides)
        # Behind it, what packages of the project bring for JupyterLab, as ipywidgets does.
        places = [folder, os.path.join(sys.prefix, "share", "jupyter"), os.environ.get("JUPYTER_PATH")]
        yield {"JUPYTER_PATH": os.pathsep.join(filter(None, places))}
