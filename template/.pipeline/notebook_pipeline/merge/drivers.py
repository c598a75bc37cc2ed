"""`python -m notebook_pipeline.merge.drivers`: tells this clone's git how to merge what .gitattributes names.

Git takes no command from a repository that it has cloned: each clone has to be told, by `pipeline setup` or an update.
"""

import os
import shutil
import sys

from notebook_pipeline import git, shell

_TEXT = "git merge-file -L ours -L base -L theirs %A %O %B"
"""What git does without a driver."""
_IN_PROJECT = (
    # Git starts a driver at the repository's top, which may lie above the project, with names of files there.
    '{path}; top="$PWD"; cd "$(dirname %P)" && uv run --quiet --no-sync '
    'python -P -m notebook_pipeline.merge.{module} "$top"/%O "$top"/%A "$top"/%B %P; '
    # 0: merged; 3: merged, with something for a person to decide. In a commit from before this folder there is no driver.
    f'case $? in 0) ;; 3) exit 1;; *) cd "$top" && {_TEXT};; esac'
)
DRIVERS = {
    "pipeline-lock": ("dvc.lock, stage by stage", _IN_PROJECT.replace("{module}", "lock")),
    "pipeline-data": ("folders of data, file by file", _IN_PROJECT.replace("{module}", "data")),
    "pipeline-notebook": ("notebooks, cell by cell", _IN_PROJECT.replace("{module}", "notebook")),
    # What both sides' stages wrote and git keeps. dvc.lock has lost the record of these stages, so they run again.
    "pipeline-result": ("results of the pipeline: either side's", "true"),
}


def main() -> int:
    """Install the drivers; return the exit code, 1 if git has not taken them."""
    return 0 if install() else 1


def install() -> bool:
    """Write the drivers into this clone's git configuration, where they are not yet; return whether git has them now."""
    # Not uv's own word for where it is, which names its version if it comes from Homebrew.
    uv = shutil.which("uv") or os.environ.get("UV", "uv")
    entries = {
        f"merge.{name}.{key}": value.replace("{path}", shell.add_to_path(uv))
        for name, (title, command) in DRIVERS.items()
        for key, value in (("driver", command), ("name", title))
    }
    return all(
        git.text("config", "--local", key) == value or git.output("config", "--local", key, value) is not None
        for key, value in entries.items()
    )


if __name__ == "__main__":
    sys.exit(main())
