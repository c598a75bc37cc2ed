"""`python -m notebook_pipeline.remote.hook`: git's hooks post-checkout, post-merge and post-rewrite, called by pre-commit.

Makes data and results those of the commit that git has brought, as git does with the files that it keeps.
"""

import logging
import os
import sys

from notebook_pipeline import git
from notebook_pipeline.merge import drivers
from notebook_pipeline.remote.fetch import NotFetched, follow


def main() -> int:
    """Bring data and results; print one line and return 1 if something is missing."""
    if not _has_moved():
        return 0
    drivers.install()  # for a clone that was set up before the template had them
    from dvc.exceptions import DvcException, NotDvcRepoError

    # What DVC tells beside its exceptions is for developers.
    logging.disable(logging.CRITICAL)
    try:
        follow()
    except NotDvcRepoError:
        return 0  # a branch from before the project
    except NotFetched as error:
        print(error.say("uv run dvc pull"))
        return 1
    except DvcException as error:
        print(error)
        return 1
    return 0


def _has_moved() -> bool:
    """Whether git has come to another commit, where it stays."""
    ask = os.environ.get
    if ask("PRE_COMMIT_CHECKOUT_TYPE") == "0" or ask("PRE_COMMIT_REWRITE_COMMAND") == "amend":
        return False  # single files; the same files
    if "PRE_COMMIT_CHECKOUT_TYPE" in os.environ:
        folders = (git.text("rev-parse", "--git-path", name) for name in ("rebase-merge", "rebase-apply"))
        # A rebase goes on to other commits; its end comes as post-rewrite.
        return ask("PRE_COMMIT_FROM_REF") != ask("PRE_COMMIT_TO_REF") and not any(
            map(os.path.isdir, filter(None, folders))
        )
    return True


if __name__ == "__main__":
    sys.exit(main())
