"""What the tests of `editor` share: kernels as JupyterLab, Visual Studio Code and others start them."""

import contextlib
import json
import shlex
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from conftest import Workspace, free_port, on_path
from samples import wait

TOKEN = "secret"
IN_KERNEL = Path(__file__).with_name("in_kernel.py")


def in_kernel(project: Workspace, python: str = "python", **given) -> list[list[str]]:
    """What cells show, in a kernel of the project's environment (see in_kernel.py)."""
    done = project.run(python, str(IN_KERNEL), input=json.dumps(given), stdin=None)
    return json.loads(done.stdout.splitlines()[-1])


def as_vscode(
    project: Workspace, notebook: str, *cells: str, python: str = "python", **environ: str
) -> list[list[str]]:
    """What cells show in Visual Studio Code: it starts kernels in the project's folder, as its settings say.

    Before the first cell it runs code of its own, with a variable for the notebook's path (src/kernels/kernel.ts of
    microsoft/vscode-jupyter), and it calls a cell by its place in the window.
    """
    path = str(project.path / notebook).replace("\\", "\\\\")
    code = f'import os as _VSCODE_os\n__vsc_ipynb_file__ = "{path}"\n%config Completer.use_jedi = False'
    numbered = [[cell, f"vscode-notebook-cell:/x.ipynb#W{number}sZmlsZQ%3D%3D"] for number, cell in enumerate(cells)]
    start = {"cwd": str(project.path), "env": environ}
    return in_kernel(project, python, start=start, silently=[code], cells=numbered)


class Lab:
    """A JupyterLab server that runs."""

    def __init__(self, project: Workspace, port: int, runtime: Path):
        self.project, self.port, self.runtime = project, port, runtime

    def ask(self, path: str, /, **data) -> dict:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/{path}", headers={"Authorization": f"token {TOKEN}"},
            data=json.dumps(data).encode() if data else None,
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def run(self, notebook: str, *numbers: int, source: str | None = None) -> list[list[str]]:
        """What some cells of a notebook show, run as JupyterLab's page does: a session, then the cells with their ids.

        Args:
            source: what is run in place of the first of them: what a person has typed and not saved.
        """
        kernel = {"name": "python3"}
        session = self.ask("sessions", path=notebook, name=Path(notebook).name, type="notebook", kernel=kernel)
        cells = self.ask(f"contents/{notebook}")["content"]["cells"]
        given = [[cells[number]["source"], cells[number]["id"]] for number in numbers]
        given[0][0] = source or given[0][0]
        connection = self.runtime / f"kernel-{session['kernel']['id']}.json"
        wait(connection.exists)
        return in_kernel(self.project, connection=str(connection), cells=given)


@contextlib.contextmanager
def lab(project: Workspace, command: str) -> Iterator[Lab]:
    """Starts JupyterLab by a command, and ends it as a person does, by Ctrl-C."""
    port, runtime = free_port(), project.path.parent / "runtime"
    options = ["--no-browser", "--allow-root", f"--ServerApp.port={port}", f"--IdentityProvider.token={TOKEN}"]
    log = project.path.parent / "jupyter.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            on_path([*shlex.split(command), *options], project.environ), cwd=project.path, stdout=file, stderr=file,
            stdin=subprocess.DEVNULL, env=project.environ | {"JUPYTER_RUNTIME_DIR": str(runtime)}, start_new_session=True,
        )  # fmt: skip
    server = Lab(project, port, runtime)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            return "version" in server.ask("")
        return False

    try:
        wait(answers, log.read_text, 300)
        yield server
    finally:
        for _ in range(2):  # the first one is a question
            with contextlib.suppress(OSError):
                process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)
