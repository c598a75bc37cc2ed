"""`python -m pipeline code NOTEBOOK OUTPUT`: writes the notebook's code, for DVC to compare."""

import argparse
import sys

from pipeline import files, notebook


def main(argv: list[str]) -> int:
    """Writes OUTPUT; returns the exit code: 1 where NOTEBOOK is no notebook."""
    parser = argparse.ArgumentParser(prog="python -m pipeline code", description=__doc__.partition(": ")[2])
    parser.add_argument("notebook", metavar="NOTEBOOK")
    parser.add_argument("output", metavar="OUTPUT")
    arguments = parser.parse_args(argv)
    try:
        files.write(arguments.output, notebook.read(arguments.notebook).code())
    except notebook.NotebookError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
