"""The two states of a project that a report compares: the commit where its branch began, and the checkout as it is."""

import functools
import os
import subprocess
import sys
from pathlib import Path

from notebook_pipeline import git

FOLDER = Path("dvc_plots")
"""Where DVC, too, puts its plots; git ignores it."""


class ReportError(Exception):
    """What there is to show cannot be had; one line that says why and what to do."""


class Revisions:
    """The two states.

    Attributes:
        base: the commit to compare with. Not the target as it is now: what it got since then is no change of this checkout's.
        before, now: how a reader calls the two, by their branches.

    Raises:
        ReportError: there is no such target.
    """

    def __init__(self, target: str):
        self.base = git.text("merge-base", target, "HEAD")
        if self.base is None:
            raise ReportError(f"{target}: not found, or without a commit in common. Fix: fetch it, with its history")
        # CI checks out no branch, but the commit of a merge.
        branch = os.environ.get("GITHUB_HEAD_REF") or os.environ.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME")
        branch = (
            branch or git.text("symbolic-ref", "--short", "--quiet", "HEAD") or git.text("rev-parse", "--short", "HEAD")
        )
        self.before, self.now = (name.replace("|", "/") for name in (target.removeprefix("origin/"), branch))
        if self.now == self.before:
            self.now += ", not committed"
        _repeat_relative_remote()

    @functools.cached_property
    def sides(self) -> list[tuple]:
        """The files of `base` and of the checkout, also those that DVC keeps, each with the path to the project in them."""
        from dvc.api import DVCFileSystem

        prefix = git.text("rev-parse", "--show-prefix") or ""
        return [(DVCFileSystem(rev=self.base, subrepos=bool(prefix)), prefix), (DVCFileSystem(), "")]

    def read_before(self, path: str) -> bytes | None:
        """Return a file of `base`; None if it did not exist, or is neither in git nor in DVC's cache or remote."""
        side, prefix = self.sides[0]
        try:
            return side.read_bytes(prefix + path)
        except Exception:  # of DVC's and of each store's own kinds
            return None

    def read_in_git(self, path: str) -> str:
        """Return a text file of `base` that git keeps; empty if it did not exist."""
        return (git.output("show", f"{self.base}:./{path}") or b"").decode("utf-8", "replace")


def _repeat_relative_remote() -> None:
    """Repeat a relative path of the default remote in `.dvc/config.local`, if that has none.

    When it compares with another revision, DVC reads `.dvc/config` from there, and takes a relative path in it from `/`.
    (Not for `setup` to do: if the team moves its folder, a person's checkout would silently keep the old one.)
    """
    from dvc.config_schema import RelPath
    from dvc.repo import Repo

    with Repo() as repo:
        name = repo.config["core"].get("remote")
        path = repo.config["remote"].get(name, {}).get("url")
        if not isinstance(path, RelPath) or not Path(path).is_dir():
            return
        # DVC writes ASCII alone, and loses the file over anything else.
        if os.path.relpath(path, repo.dvc_dir).isascii() and "url" not in repo.config.read("local")["remote"].get(
            name, {}
        ):
            with repo.config.edit("local") as local:
                local["remote"].setdefault(name, {})["url"] = path


def ask_dvc(*arguments: str) -> str:
    """Return what a command of DVC prints; its messages go to the screen.

    Raises:
        ReportError: it failed.
    """
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    if done.returncode:
        raise ReportError(f"`dvc {' '.join(arguments)}` failed. Fix: follow its message above")
    return done.stdout
