"""`python -m pipeline setup`: a new copy or clone becomes a working checkout.

Runs under any Python, before there is an environment: imports the standard library only. Each step is done where it is
still to do, so it can be run again at any time.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

AGAIN = "uv run python -m pipeline setup"
# Set in the configuration of a repository that was made here, until its first commit: a later run goes on from there.
FIRST_COMMIT_DUE = "pipeline.firstCommitDue"


class StepFailed(Exception):
    """A step that could not be done; one line that says why and what to type later."""


def main(argv: list[str]) -> int:
    """Takes all steps that can be taken and returns the exit code: 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m pipeline setup", description=__doc__.partition(": ")[2])
    parser.add_argument("--notebook", metavar="PATH", help="a notebook of yours, to make the first stage of")
    notebook = parser.parse_args(argv).notebook
    steps = [
        ("git repository", _repository),
        ("environment", _environment),
        ("data", _data),
        ("git hooks", _hooks),
        *([("notebook", lambda: _notebook(notebook))] if notebook else []),
        ("pipeline", _pipeline),
        ("first commit", _first_commit),
    ]
    failed = set()
    try:
        for name, step in steps:
            if name == "pipeline" and "notebook" in failed:
                continue  # it would run the same notebook again
            if not _take(name, step):
                failed.add(name)
            if "environment" in failed:
                break  # the rest runs in it
    except KeyboardInterrupt:
        failed.add(name)
    if failed:
        again = f"{AGAIN} --notebook {_quoted(notebook)}" if notebook else AGAIN
        print(f"\nThe project is here, but not all of it is set up. To go on from there: {again}", file=sys.stderr)
    return 1 if failed else 0


def _take(name: str, step: Callable[[], str]) -> bool:
    """Takes one step and says what came of it."""
    print(f"\n== {name}", flush=True)
    try:
        print(step(), flush=True)
    except StepFailed as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        return False
    return True


def _repository() -> str:
    if shutil.which("git") is None:
        raise StepFailed(f"git is not installed: install it from https://git-scm.com, then {AGAIN}")
    top = _top()
    if top and _first_commit_due():
        return "was made here, and waits for its first commit"
    # A folder that the repository around it ignores is no part of that repository.
    if top and subprocess.run(["git", "check-ignore", "-q", "."], env=_environ()).returncode != 0:
        return f"this is part of the repository {top}: nothing will be committed"
    _run("git", "init", "--quiet", "--initial-branch=main", hint=AGAIN)
    _run("git", "config", FIRST_COMMIT_DUE, "true", hint=AGAIN)
    return "made a new one"


def _environment() -> str:
    _run(_uv(), "sync", "--quiet", hint=f"see uv's message above; with a network again, {AGAIN}")
    return "installed what pyproject.toml asks for, into .venv"


def _data() -> str:
    if Path("data/external.dvc").exists():
        if Path("data/external").exists():
            return "data/external.dvc and its data are there"
        if not _read(_uv(), "run", "dvc", "remote", "list"):
            raise StepFailed(
                "data/external is not here, and no DVC remote says where it is; in the checkout that has it: "
                f"uv run dvc remote add --default storage URL, git commit, git push; then here: git pull, {AGAIN}"
            )
        _uv_run("dvc", "pull", hint="uv run dvc pull")
        return "fetched data and results"
    if not Path("data/external").is_dir():
        return "there is no folder data/external: nothing to track"
    _uv_run("dvc", "add", "--quiet", "data/external", hint="uv run dvc add data/external")
    return "DVC tracks data/external; git keeps data/external.dvc"


def _hooks() -> str:
    top = _top()
    if not top:
        raise StepFailed(f"there is no git repository: git init, then {AGAIN}")
    if Path(top).resolve() != Path.cwd().resolve():
        return f"git runs the hooks of {top} only: take over .pre-commit-config.yaml there if you want them"
    _uv_run("pre-commit", "install", hint="uv run pre-commit install", quiet=True)
    return "pre-commit checks each commit; DVC follows git push and git checkout"


def _notebook(path: str) -> str:
    # As add.py calls its copy. YAML cannot be read here, but a stage's command has that path word for word.
    name = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", Path(path).stem)).strip("_-") or "notebook"
    if f"run notebooks/{name}.ipynb " in Path("dvc.yaml").read_text(encoding="utf-8"):
        return f"notebooks/{name}.ipynb has a stage already"
    _uv_run("python", "-m", "pipeline", "add", path, hint=f"uv run python -m pipeline add {_quoted(path)}")
    return f"made a stage of notebooks/{name}.ipynb"


def _pipeline() -> str:
    if Path("dvc.lock").exists():
        return "dvc.lock is there: it has run before"
    _uv_run("dvc", "repro", hint="uv run dvc repro")
    if not Path("dvc.lock").exists():
        return "has no stage yet; this makes one: uv run python -m pipeline add NOTEBOOK"
    _uv_run("dvc", "metrics", "show", hint="uv run dvc metrics show")
    return "outputs/ has the results"


def _first_commit() -> str:
    if not _first_commit_due():
        return "the repository was there before: commit when you like"
    _run("git", "add", "--all", hint="git add --all")
    later = 'git commit -m "Start of the project"'
    if not _read("git", "var", "GIT_COMMITTER_IDENT"):
        raise StepFailed(
            'git does not know you: git config --global user.name "Your Name", '
            f"git config --global user.email you@example.com, then {later}"
        )
    commit = ("git", "commit", "--quiet", "--message", "Start of the project")
    said = "committed the project as it is"
    # Hooks refuse the commit in which they mend a file, and accept the next one.
    if not _succeeds(*commit, quiet=True):
        _run("git", "add", "--all", hint="git add --all")
        if not _succeeds(*commit):
            _run(*commit, "--no-verify", hint=later)
            said += ", though the hooks object: uv run pre-commit run --all-files says to what"
    _run("git", "config", "--unset", FIRST_COMMIT_DUE, hint=later)
    return said


def _top() -> str:
    """The folder of the git repository around this one; empty where there is none."""
    return _read("git", "rev-parse", "--show-toplevel")


def _first_commit_due() -> bool:
    return _read("git", "config", "--local", FIRST_COMMIT_DUE) == "true"


def _uv() -> str:
    """uv, which tells its children where it is; it need not be on the PATH."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise StepFailed(f"uv is not installed: pip install uv, then {AGAIN}")
    return uv


def _quoted(word: str) -> str:
    """A word of a command line, as it is typed here."""
    return subprocess.list2cmdline([word]) if os.name == "nt" else shlex.quote(word)


def _uv_run(*command: str, hint: str, quiet: bool = False) -> None:
    _run(_uv(), "run", *command, hint=hint, quiet=quiet)


def _run(*command: str, hint: str, quiet: bool = False) -> None:
    """Runs a command whose messages go to the screen.

    Raises:
        StepFailed: it failed; the message says what to type later.
    """
    try:
        done = subprocess.run(command, env=_environ(), stdout=subprocess.PIPE if quiet else None)
    except OSError as error:
        raise StepFailed(f"{command[0]} cannot be started ({error.strerror}); later: {hint}") from None
    if done.returncode != 0:
        shown = " ".join(Path(command[0]).stem if index == 0 else word for index, word in enumerate(command))
        raise StepFailed(f"`{shown}` failed; later: {hint}")


def _succeeds(*command: str, quiet: bool = False) -> bool:
    return subprocess.run(command, env=_environ(), capture_output=quiet).returncode == 0


def _read(*command: str) -> str:
    """What a command prints; empty where it fails."""
    done = subprocess.run(command, env=_environ(), capture_output=True, text=True, encoding="utf-8")
    return done.stdout.strip() if done.returncode == 0 else ""


def _environ() -> dict[str, str]:
    """The environment variables without those that point at the Python which runs this, Copier's perhaps."""
    return {
        name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH")
    }
