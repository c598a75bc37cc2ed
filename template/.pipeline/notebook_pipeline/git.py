"""The one way to call git: `run` acts in any repository, the others ask that of the current folder."""

import contextlib
import os
import re
import subprocess


class GitError(Exception):
    """git could not; its last words."""


def output(*arguments: str, given: str = "") -> bytes | None:
    """Return what a git command prints, with `given` as its input; None if there is no git or no repository, or it fails."""
    # By itself git finds the repository of this folder; a hook of a linked worktree is told of a folder above, perhaps.
    # GIT_INDEX_FILE stays: `git commit --all` has what it commits in an index of its own.
    environment = {name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE")}
    with contextlib.suppress(OSError):
        done = subprocess.run(["git", *arguments], input=os.fsencode(given), capture_output=True, env=environment)
        # check-ignore ends with 1 if it has nothing to say.
        if done.returncode == 0 or (arguments[0] == "check-ignore" and done.returncode == 1):
            return done.stdout
    return None


def text(*arguments: str) -> str | None:
    """Return the same as text, without the line end."""
    printed = output(*arguments)
    return None if printed is None else printed.decode("utf-8", "replace").rstrip("\r\n")


def paths(*arguments: str, given: str = "") -> set[str] | None:
    """Return the paths that a git command prints with `-z`; None as above."""
    printed = output(*arguments, given=given)
    return None if printed is None else set(os.fsdecode(printed).split("\0")) - {""}


def find_unsaved(*files: str) -> list[str]:
    """Return the files that git could not bring back as they are."""
    # One by one: `git status --porcelain` names a path from the repository's root, and quotes what is not ASCII.
    there = [path for path in files if os.path.exists(path)]
    return [path for path in there if (text("status", "--porcelain", "--", path) or "  ")[1] != " "]


def run(*arguments: str, cwd: str | os.PathLike, check: bool = True, **environ: str) -> str:
    """Return what a git command prints in any repository, with more environment variables; empty if it fails and `check` is off.

    Raises:
        GitError: it failed.
    """
    # A question would wait for ever, and a hook of the person's own has nothing to say here.
    done = subprocess.run(
        ["git", "-c", f"core.hooksPath={os.devnull}", "-c", "gc.auto=0", "-c", "core.quotePath=false", *arguments], cwd=cwd, text=True,
        encoding="utf-8", errors="replace", capture_output=True, stdin=subprocess.DEVNULL,
        env=environment() | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"} | environ,
    )  # fmt: skip
    if done.returncode and check:
        words = [line for line in done.stderr.splitlines() if line.strip()]
        telling = [line for line in words if re.match(r"(fatal|error|remote|.*rejected)\b", line)]
        raise GitError(f"git {arguments[0]}: {' '.join(telling or words[-1:])}")
    return done.stdout.strip() if done.returncode == 0 else ""


def environment() -> dict[str, str]:
    """Return the environment variables without those by which git and DVC tell their children of another repository."""
    others = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "DVC_STAGE", "DVC_ROOT")
    return {name: value for name, value in os.environ.items() if name not in others}
