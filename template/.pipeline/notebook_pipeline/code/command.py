"""`pipeline code NOTEBOOK OUTPUT`: writes the notebook's code, for DVC to compare."""

import argparse
import sys

from notebook_pipeline import files
from notebook_pipeline.notebook import document as notebook
from notebook_pipeline.notebook import packages


def main(argv: list[str]) -> int:
    """Writes OUTPUT; returns the exit code: 1 if NOTEBOOK or uv.lock cannot be read."""
    parser = argparse.ArgumentParser(prog="pipeline code", description=__doc__.partition(": ")[2])
    parser.add_argument("notebook", metavar="NOTEBOOK")
    parser.add_argument("output", metavar="OUTPUT")
    arguments = parser.parse_args(argv)
    try:
        files.write(arguments.output, text(notebook.read(arguments.notebook)))
    except (notebook.NotebookError, packages.LockError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def text(source: notebook.Notebook) -> str:
    """Make the text of a notebook's code file: the packages that it uses, and its code.

    Raises:
        packages.LockError: uv.lock is not a valid lock file.
    """
    return packages.header(source) + source.code()
