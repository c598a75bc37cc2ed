"""`python -m notebook_pipeline.merge.data BASE OURS THEIRS PATH`: git's merge driver for .dvc files of folders, file by file.

It is DVC's own (`dvc git-hook merge-driver`), which needs the list of each side's files: here, it is fetched.
"""

import logging
import sys

from notebook_pipeline import files


def main(argv: list[str] | None = None) -> int:
    """Write the merged file over OURS; return 1 if git has to merge it like any text."""
    base, ours, theirs, path = sys.argv[1:] if argv is None else argv
    from dvc.dvcfile import load_file
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.disable(logging.CRITICAL)
    before = files.read(ours)
    try:
        with Repo() as repo:
            versions = [load_file(repo, file, verify=False) for file in (base, ours, theirs)]
            for out in (out for version in versions for out in version.stage.outs):
                out.get_dir_cache()
            ancestor, own, other = versions
            own.merge(ancestor, other, allowed=["add", "remove", "change"])
            command = "pull" if repo.config["core"].get("remote") else "checkout"
    except (DvcException, OSError, ValueError) as error:
        files.write(ours, before)
        print(f"{path}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(f"{path}: merged file by file. Next: `uv run dvc {command} --allow-missing`", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
