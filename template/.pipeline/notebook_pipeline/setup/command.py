"""`pipeline setup`: turns a new copy or clone into a working checkout.

Each step is taken if it is still to do, so it can be run again at any time.
"""

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path

from notebook_pipeline import files, git, shell
from notebook_pipeline.merge import drivers

AGAIN = "uv run pipeline setup"
# Set in the configuration of a repository that was made here, until its first commit: a later run goes on from there.
FIRST_COMMIT_DUE = "pipeline.firstCommitDue"

HOOKS = ("pre-commit", "pre-push", "post-checkout", "post-merge", "post-rewrite")
"""As .pre-commit-config.yaml has them."""
CALL_HOOKS = (
    "test ! -f .pre-commit-config.yaml || uv run pre-commit hook-impl --config=.pre-commit-config.yaml "
    '--hook-type="$(basename "$0")" --hook-dir="$(dirname "$0")" -- "$@"'
)


class StepFailed(Exception):
    """A step that could not be done; one line that says why and what to type later."""


def main(argv: list[str]) -> int:
    """Take all steps that can be taken; return the exit code: 1 if one failed."""
    parser = argparse.ArgumentParser(prog="pipeline setup", description=__doc__.partition(": ")[2])
    parser.add_argument("--notebook", metavar="PATH", help="a notebook of yours, to make the first stage of")
    notebook = parser.parse_args(argv).notebook
    steps = [
        ("git repository", _make_repository),
        ("environment", _repair_environment),
        ("data", _bring_data),
        ("git hooks", _install_hooks),
        ("git merges", _install_drivers),
        *([("notebook", lambda: _add_notebook(notebook))] if notebook else []),
        ("pipeline", _run_pipeline),
        ("first commit", _make_first_commit),
    ]
    failed, interrupted = [], False
    take_one_interrupt()
    try:
        for name, step in steps:
            if name == "pipeline" and {"data", "notebook"} & {*failed}:
                continue  # it would lack its inputs, or run the same notebook again
            print(f"\n== {name}", flush=True)
            try:
                print(step(), flush=True)
            except StepFailed as error:
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                failed.append(name)
            if {"git repository", "environment"} & {*failed}:
                break  # the rest needs both
    except KeyboardInterrupt:
        interrupted = True
    if failed or interrupted:
        again = f"{AGAIN} --notebook {shell.quote(notebook)}" if notebook else AGAIN
        first = f"First do what the line `{failed[0]}: ...` says, then" if failed else "To go on from there"
        print(f"\nThe project is here, but not all of it is set up. {first}: {again}", file=sys.stderr)
        return 1
    from notebook_pipeline.project.python_version import find_other_python  # needs the environment

    if other := find_other_python():
        print(f"\n{other}")
    print(f"\n{_describe_state()}", flush=True)
    return 0


def take_one_interrupt() -> None:
    """Ignore a second Ctrl-C, which comes from uv: it must not meet the work that the terminal's causes."""

    def interrupt(number, frame):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)


def _describe_state() -> str:
    """Say whether all is up to date, and what to open: the last line."""
    notebooks = sorted(Path("notebooks").glob("*.ipynb"))
    place = notebooks[0].as_posix() if len(notebooks) == 1 else "notebooks/"
    if _succeeds("uv", "run", "dvc", "status", "--quiet", quiet=True):
        state = "Everything is up to date."
    else:
        state = "Not everything is up to date: uv run dvc status says what, uv run dvc repro runs it."
    return f"{state} Open {place} in your editor, or: uv run pipeline lab"


def _make_repository() -> str:
    if shutil.which("git") is None:
        raise StepFailed(f"git is not installed. Fix: install it from https://git-scm.com, then {AGAIN}")
    top = _find_top()
    if top and _is_first_commit_due():
        if not _ask_git("rev-parse", "--verify", "--quiet", "HEAD"):
            return "was made here, and waits for its first commit"
        # A person has made it.
        _run("git", "config", "--unset", FIRST_COMMIT_DUE)
    # A folder that the repository around it ignores is no part of that repository.
    if top and not _ask_git("check-ignore", "."):
        place = "is there" if Path(top).resolve() == Path.cwd().resolve() else f"this is part of {top}"
        return f"{place}: nothing will be committed"
    _run("git", "init", "--quiet", "--initial-branch=main")
    _run("git", "config", FIRST_COMMIT_DUE, "true")
    return "made a new one"


def _repair_environment() -> str:
    # `uv run`, which starts this, has made it. Each program in it has its full path: none starts in a moved project.
    if not _succeeds("uv", "run", "dvc", "--version", quiet=True):
        _run("uv", "sync", "--reinstall", "--quiet")
    return "has what pyproject.toml asks for"


def _find_main_worktree() -> Path | None:
    """Find this project in the main worktree of a repository that has several; None if this is the one."""
    listed = _ask_git("worktree", "list", "--porcelain").partition("\n")[0].removeprefix("worktree ")
    project = Path(listed, _ask_git("rev-parse", "--show-prefix")) if listed else Path()
    return project if (project / ".dvc").is_dir() and project.resolve() != Path.cwd().resolve() else None


def _share_cache(main_worktree: Path) -> str:
    """Have DVC use the main worktree's cache, so that nothing is fetched or computed again."""
    cache = _read("uv", "run", "dvc", "--cd", str(main_worktree), "cache", "dir")
    own = _read("uv", "run", "dvc", "cache", "dir")
    if not cache or own == cache:
        return f"{own} is used by all worktrees"
    config = Path(".dvc/config.local")
    if config.exists() or any(Path(own, "files", "md5").glob("*")):
        return f"{own} is this worktree's own. To use the main one's: uv run dvc cache dir --local {shell.quote(cache)}"
    # `dvc cache dir` fails on an umlaut. In the system's encoding, as DVC reads it.
    config.write_text(f'[cache]\n    dir = "{Path(cache).as_posix()}"\n')
    return f"uses the main worktree's, {cache}: `dvc gc` needs `--projects` with the other worktree's folder"


def _bring_data() -> str:
    if main_worktree := _find_main_worktree():
        print(f"DVC's cache: {_share_cache(main_worktree)}", flush=True)
    if Path("data/external").is_dir() and not Path("data/external.dvc").exists():
        _run("uv", "run", "dvc", "add", "--quiet", "data/external", hint="uv run dvc add data/external")
        return "DVC tracks data/external; git keeps data/external.dvc"
    if not (Path("data/external.dvc").exists() or Path("dvc.lock").exists()):
        return "there is no folder data/external: nothing to track"
    # Progress goes to the screen; the one line comes back.
    done = _call("uv", "run", "python", "-m", "notebook_pipeline.setup.fetch", stdout=subprocess.PIPE)
    if done.returncode:
        raise StepFailed(done.stdout.strip() or f"`uv run dvc pull` failed. Fix: later, {AGAIN}")
    return done.stdout.strip()


def _install_hooks() -> str:
    top = _find_top()
    if not top:
        raise StepFailed(f"there is no git repository. Fix: git init, then {AGAIN}")
    if Path(top).resolve() != Path.cwd().resolve():
        return f"git runs the hooks of {top} only: before a commit, type here: uv run pipeline check --fix"
    if folder := _ask_git("config", "--type=path", "core.hooksPath"):
        return _describe_hooks_elsewhere(Path(folder))
    folder = Path(_ask_git("rev-parse", "--git-path", "hooks"))
    if _find_main_worktree() and _is_installed(folder / HOOKS[0]):
        return "the main worktree's hooks are used here, too"
    # On Windows it would write the hook in another encoding than git's shell reads.
    _run(
        "uv", "run", "python", "-X", "utf8", "-m", "pre_commit", "install", hint="uv run pre-commit install", quiet=True
    )
    for hook in (folder / name for name in HOOKS):
        if hook.exists():  # a project may have taken one out
            _adapt_hook(hook)
    return "pre-commit checks each commit; DVC follows git push, checkout, merge and rebase"


def _install_drivers() -> str:
    if not drivers.install():
        raise StepFailed(f"git's configuration cannot be written. Fix: make .git/config writable, then {AGAIN}")
    return "git merges dvc.lock by stages, notebooks by cells, data by files"


def _describe_hooks_elsewhere(folder: Path) -> str:
    """Say what to do if git runs the hooks of a folder of the person's own, in which pre-commit installs none."""
    with contextlib.suppress(OSError):  # there may be no such hook
        if "hook-impl" in (folder / HOOKS[0]).read_text(encoding="utf-8", errors="replace"):
            return f"git runs the hooks in {folder} (core.hooksPath), which call pre-commit"
    return (
        f"git runs the hooks in {folder} (core.hooksPath): none was installed. Fix: in its executable files {', '.join(HOOKS)} "
        f"add the line: {CALL_HOOKS}"
    )


def _is_installed(hook: Path) -> bool:
    """Whether pre-commit wrote this hook, for a Python that still exists."""
    text = hook.read_text(encoding="utf-8", errors="replace") if hook.exists() else ""
    python = re.search(r"^INSTALL_PYTHON=(.+)$", text, re.MULTILINE)
    return bool(python) and os.path.exists("".join(shlex.split(python[1])))


def _adapt_hook(hook: Path) -> None:
    """Have a hook of pre-commit's find uv if git runs without a terminal's PATH: in an editor started from the desktop."""
    # Not uv's own word for where it is, which names its version if it comes from Homebrew.
    line = f"# end templated\n{shell.add_to_path(shutil.which('uv') or _find_uv())}\n"
    # During a merge it would only say that the merge is not at its end.
    line += 'test -z "$(git ls-files --unmerged)" || exit 0\n' if hook.name.startswith("post-") else ""
    files.write(hook, files.read(hook).replace("# end templated\n", line, 1))


def _add_notebook(path: str) -> str:
    # As add.py calls its copy.
    name = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", Path(path).stem)).strip("_-") or "notebook"
    own = f"notebooks/{name}.ipynb"
    if _is_run_in(own, "dvc.lock"):
        return f"{own} has a stage already"
    # If the stage already exists, but has never succeeded, the copy is the notebook that was fixed since.
    given = own if _is_run_in(own, "dvc.yaml") else path
    if not _succeeds("uv", "run", "pipeline", "add", given):
        later = own if _is_run_in(own, "dvc.yaml") else path
        add = "uv run pipeline add"
        raise StepFailed(f"`{add} {shell.quote(given)}` failed. Fix: later, {add} {shell.quote(later)}")
    return f"made a stage of {own}"


def _is_run_in(notebook: str, file: str) -> bool:
    """Whether a stage in dvc.yaml or dvc.lock runs it: a command has that path word for word."""
    path = Path(file)
    return path.exists() and bool(re.search(rf"run\s+{re.escape(notebook)}\s", path.read_text(encoding="utf-8")))


def _run_pipeline() -> str:
    if Path("dvc.lock").exists():
        status = json.loads(_read("uv", "run", "dvc", "data", "status", "--json") or "{}")
        if not status.get("uncommitted", {}).get("deleted"):  # else no remote had a result
            return "dvc.lock is there: it has run before"
    _run("uv", "run", "dvc", "repro", hint="uv run dvc repro")
    if not Path("dvc.lock").exists():
        return "has no stage yet; this makes one: uv run pipeline add NOTEBOOK"
    _run("uv", "run", "dvc", "metrics", "show", hint="uv run dvc metrics show")
    return "outputs/ has the results"


def _make_first_commit() -> str:
    if not _is_first_commit_due():
        is_changed = _ask_git("status", "--porcelain", ".")
        return "the repository was there before: commit when you like" if is_changed else "nothing is left to commit"
    _run("git", "add", "--all", hint="git add --all")
    if not _ask_git("var", "GIT_COMMITTER_IDENT"):
        raise StepFailed(
            'git does not know you. Fix: git config --global user.name "Your Name", '
            "git config --global user.email you@example.com"
        )
    commit = ("git", "commit", "--quiet", "--message", "Start of the project")
    # Hooks refuse the commit in which they fix a file, and accept the next one.
    is_accepted = _succeeds(*commit, quiet=True)
    if not is_accepted:
        _run("git", "add", "--all", hint="git add --all")
        is_accepted = _succeeds(*commit)
    if not is_accepted:
        _run(*commit, "--no-verify")  # what follows needs a first commit
    _run("git", "config", "--unset", FIRST_COMMIT_DUE)
    if not is_accepted:
        raise StepFailed(
            "committed, although the hooks object (above). Fix: correct what `uv run pre-commit run --all-files` lists, "
            "then commit again"
        )
    return "committed the project as it is"


def _find_top() -> str:
    """Return the folder of the git repository around this one; empty if there is none."""
    return _ask_git("rev-parse", "--show-toplevel")


def _is_first_commit_due() -> bool:
    return _ask_git("config", "--local", FIRST_COMMIT_DUE) == "true"


def _find_uv() -> str:
    """Find uv, which tells its children where it is; it need not be on the PATH."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise StepFailed(f"uv is not installed. Fix: pip install uv, then {AGAIN}")
    return uv


def _run(*command: str, hint: str = AGAIN, quiet: bool = False) -> None:
    """Run a command whose messages go to the screen.

    Raises:
        StepFailed: it failed; the message says what to type later.
    """
    done = _call(*command, **({"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if quiet else {}))
    if done.returncode != 0:
        lines = (done.stdout or "").split("\n")
        reason = next((f" ({line.strip()})" for line in reversed(lines) if re.search(r"[Ee]rror\b", line)), "")
        raise StepFailed(f"`{' '.join(command)}` failed{reason}. Fix: later, {hint}")


def _succeeds(*command: str, quiet: bool = False) -> bool:
    return _call(*command, capture_output=quiet).returncode == 0


def _read(*command: str) -> str:
    """Return what a command prints; empty if it fails."""
    done = _call(*command, capture_output=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def _call(program: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Call a program without the environment variables that point at the Python which runs this, Copier's perhaps."""
    ours = ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH")
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    command = [_find_uv() if program == "uv" else program, *arguments]
    return subprocess.run(command, env=environ, encoding="utf-8", errors="replace", **options)


def _ask_git(*arguments: str) -> str:
    """Return what a git command prints; empty if it fails."""
    return git.text(*arguments) or ""
