"""Routes `pipeline VERB ...` to the folder of that verb."""

import contextlib
import importlib
import os
import sys
from pathlib import Path

VERBS = {
    "run": "execute a notebook with its parameters from params.yaml: what a stage calls",
    "code": "write a notebook's code, for DVC to compare",
    "check": "compare notebooks, params.yaml and dvc.yaml: the pre-commit hook",
    "add": "make a stage of a notebook",
    "lab": "start JupyterLab with the project's kernel, which gives notebooks the values of params.yaml",
    "open": "open a stage's notebook with the values and inputs of a run, to find an error",
    "setup": "turn a new clone or copy into a working checkout",
    "sweep": "run many experiments at once, on this machine or a Dask cluster",
    "report": "show what a branch changes: values, results, code, packages, data and outputs",
}
MODULES = {"lab": "editor.lab", "open": "editor.opening"}
"""Those of the verbs that share a folder; any other has a folder of its own."""
FOLDER = Path(__file__).resolve().parents[1]
"""The `.pipeline` that this code is part of."""


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return its exit code; 2 if there is no such verb."""
    argv = sys.argv[1:] if argv is None else argv
    if code := _code_of_current_folder():
        return code.main(argv)
    # A Windows console may lack a character that a notebook prints; that must not end the run.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")
    if not argv or argv[0] not in VERBS:
        print("usage: pipeline VERB ...\n", file=sys.stderr)
        print("\n".join(f"  {verb:6} {what}" for verb, what in VERBS.items()), file=sys.stderr)
        return 0 if argv[:1] in (["-h"], ["--help"]) else 2
    return _call(argv[0], argv[1:])


def _code_of_current_folder():
    """The same module from the `.pipeline` of the current folder; None if it is this one.

    DVC runs an experiment in a folder of its own, and a sweep in a clone: each has its own version of the code.
    """
    folder = Path(".pipeline").resolve()
    if folder == FOLDER or not (folder / "notebook_pipeline" / "__main__.py").is_file():
        return None
    if "DVC_STAGE" in os.environ:
        print(f"pipeline: uses the code in {folder}", file=sys.stderr)
    sys.path.insert(0, str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "notebook_pipeline"]:
        del sys.modules[name]
    return importlib.import_module("notebook_pipeline.__main__")


def _call(verb: str, arguments: list[str]) -> int:
    """Run one verb; a disk, a permission or Ctrl-C that stops it is one line on standard error."""
    try:
        if verb != "setup" and _is_outside_environment():
            return _say_outside(f"{sys.executable} is not this project's Python")
        try:
            return importlib.import_module(f"notebook_pipeline.{MODULES.get(verb, f'{verb}.command')}").main(arguments)
        finally:
            sys.stdout.flush()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "notebook_pipeline":
            raise
        return _say_outside(f"{sys.executable} has no package `{error.name}`")
    except KeyboardInterrupt:
        _say(f"{verb}: stopped by Ctrl-C")
        return 130
    except OSError as error:
        _give_up_output()
        if isinstance(error, BrokenPipeError):
            return 141  # as a shell does: the reader of the output has seen enough
        from notebook_pipeline import files

        _say(files.explain(error, verb))
        return 1
    except Exception as error:
        if type(error).__module__ != "sqlite3":
            raise
        _say(
            f"DVC's databases, in .dvc/tmp and DVC's site cache: {error}. Fix: free some space there and make both "
            "folders writable, then run the command again."
        )
        return 1


def _is_outside_environment() -> bool:
    """Whether the project has an environment of its own and this Python is another one.

    `uv run --with ...` adds a layer over the environment, which is then on `sys.path`. Without a `.venv` (conda, a
    container, an experiment in a folder of its own) there is nothing to compare with.
    """
    environment = Path(os.environ.get("UV_PROJECT_ENVIRONMENT") or ".venv").resolve()
    places = [Path(sys.prefix), *(Path(place) for place in sys.path if place)]
    return environment.is_dir() and not any(place.resolve().is_relative_to(environment) for place in places)


def _say_outside(problem: str) -> int:
    _say(f"{problem}. Fix: start it through uv, as in `uv run dvc repro`")
    return 1


def _give_up_output() -> None:
    """Close standard output: at its end Python tries to write what is left, and reports a failure in lines of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
