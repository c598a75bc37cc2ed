"""Routes `pipeline VERB ...` to the module of that name."""

import contextlib
import gc
import importlib
import os
import sys
from pathlib import Path

VERBS = {
    "run": "execute a notebook with its parameters from params.yaml: what a stage calls",
    "code": "write a notebook's code, for DVC to compare",
    "check": "compare notebooks, params.yaml and dvc.yaml: the pre-commit hook",
    "add": "make a stage of a notebook",
    "setup": "turn a new clone or copy into a working checkout",
    "sweep": "run many experiments at once, on this machine or a Dask cluster",
}


def main(argv: "list[str]") -> int:  # quoted, so that an older Python comes as far as the line that refuses it
    """Runs one verb and returns its exit code; 2 where there is no such verb."""
    # Copier, which starts the setup, may run under an older Python than the project does.
    if sys.version_info < ((3, 9) if argv[:1] == ["setup"] else (3, 11)):
        return _say_outside("Python {}.{} is too old".format(*sys.version_info), "pipeline " + " ".join(argv))
    # A Windows console may lack a character that a notebook prints; that must not end the run.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")
    if not argv or argv[0] not in VERBS:
        print("usage: pipeline VERB ...\n", file=sys.stderr)
        print("\n".join(f"  {verb:6} {what}" for verb, what in VERBS.items()), file=sys.stderr)
        return 0 if argv[:1] in (["-h"], ["--help"]) else 2
    verb, rest = argv[0], argv[1:]
    if verb == "check":
        # It runs at every commit, and ends before there is garbage: looking for some takes half of its time.
        gc.disable()
    return _call(verb, rest)


def _call(verb: str, arguments: "list[str]") -> int:
    """Run one verb; a disk, a permission or Ctrl-C that stops it is one line on standard error."""
    try:
        if verb != "setup" and _outside_environment():
            return _say_outside(f"{sys.executable} is not this project's Python")
        try:
            return importlib.import_module(f"pipeline.{verb}").main(arguments)
        finally:
            sys.stdout.flush()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "pipeline":
            raise
        return _say_outside(f"{sys.executable} has no `{error.name}`")
    except KeyboardInterrupt:
        _say(f"{verb}: stopped by Ctrl-C")
        return 130
    except OSError as error:
        _give_up_output()
        if isinstance(error, BrokenPipeError):
            return 141  # as a shell has it: who reads the output has seen enough
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


def _give_up_output() -> None:
    """Python tries at its end to write what is left, and tells of a failure in lines of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _outside_environment() -> bool:
    """Whether the project has an environment of its own and this Python is another one.

    `uv run --with ...` adds a layer over the environment, which is then on `sys.path`. Without a `.venv` (conda, a
    container, an experiment of DVC's in a folder of its own) there is nothing to compare with.
    """
    environment = Path(os.environ.get("UV_PROJECT_ENVIRONMENT") or ".venv").resolve()
    places = [Path(sys.prefix), *(Path(place) for place in sys.path if place)]
    return environment.is_dir() and not any(place.resolve().is_relative_to(environment) for place in places)


def _say_outside(what: str, command: str = "dvc repro") -> int:
    print(f"{what}: start it through uv, as in `uv run {command}`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
