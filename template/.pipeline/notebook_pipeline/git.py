"""What git says of the current folder's repository."""

import contextlib
import os
import subprocess


def output(*arguments: str, given: str = "") -> bytes | None:
    """What a git command prints, with `given` as its input; None if there is no git or no repository, or it fails."""
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
    """The same as text, without the line end."""
    printed = output(*arguments)
    return None if printed is None else printed.decode("utf-8", "replace").rstrip("\r\n")


def paths(*arguments: str, given: str = "") -> set[str] | None:
    """The paths that a git command prints with `-z`; None as above."""
    printed = output(*arguments, given=given)
    return None if printed is None else set(os.fsdecode(printed).split("\0")) - {""}
