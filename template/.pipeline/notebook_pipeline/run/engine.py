"""Papermill's engine and translator, as a run needs them. Slow to import: done while the kernel starts."""

import logging
import sys
from pathlib import Path

import nbformat
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.execute import execute_notebook
from papermill.translators import PythonTranslator, papermill_translators

from notebook_pipeline.notebook import executed


def execute_with_papermill(run, kernel) -> None:
    """Execute the notebook of an `Execution` in a started kernel.

    Raises:
        Exception: Papermill's, nbclient's or the kernel's.
    """
    # Their messages are about themselves; ours come from the notebook.
    for name in ("papermill", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    papermill_engines.register("pipeline", _Engine)
    papermill_translators.register("python", _Translator)
    execute_notebook(
        nbformat.from_dict(executed.without_outputs(run.notebook)),
        None,
        run.values,
        engine_name="pipeline",
        kernel_name="python3",
        language="python",
        progress_bar={"desc": Path(run.notebook.path).stem} if sys.stderr.isatty() else False,
        run=run,
        kernel=kernel,
    )


class _Engine(Engine):
    """Papermill's execution, with a notebook that can be had when it fails, and saved now and then."""

    @classmethod
    def execute_notebook(cls, *args, **kwargs):
        super().execute_notebook(*args, **kwargs)
        # Papermill would now look for errors and write the notebook once more: both are done here.
        return nbformat.v4.new_notebook()

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, *, run, kernel, **kwargs):
        run.executed = nb_man.nb
        run.executed.metadata.papermill.pop("parameters", None)
        silent = sys.stderr.isatty() or run.folder is not None
        run.client = _Client(
            nb_man,
            km=kernel,
            log=logging.getLogger("papermill"),
            stdout_file=None if silent else sys.stdout,
            stderr_file=None if silent else sys.stderr,
            startup_timeout=300,
            timeout=None,
            # What a cell prints may take longer to come than the cell took to print it.
            iopub_timeout=3600,
            on_cell_execute=run.note_current,
            on_cell_executed=run.note_request,
            on_cell_error=run.note_error,
            record_timing=False,
        )
        run.client.run = run
        run.client.execute(cleanup_kc=True)


class _Client(PapermillNotebookClient):
    """Papermill's client, which saves the notebook now and then: as often as Papermill does takes longer than the cells."""

    def process_message(self, *args, **kwargs):
        output = super().process_message(*args, **kwargs)
        self.run.save_now_and_then()
        return output


class _Translator(PythonTranslator):
    """Papermill's way to write a value as Python, with keys of mappings that keep their type."""

    @classmethod
    def translate_dict(cls, val):
        return "{" + ", ".join(f"{cls.translate(key)}: {cls.translate(val[key])}" for key in val) + "}"
