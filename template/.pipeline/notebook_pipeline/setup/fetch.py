"""`python -m notebook_pipeline.setup.fetch`: the step of `pipeline setup` that brings data and results.

In a process of its own: DVC can be imported only once the environment is there.
"""

import logging
import sys

from notebook_pipeline.remote.fetch import NotFetched, fetch
from notebook_pipeline.setup.command import AGAIN, take_one_interrupt


def main() -> int:
    """Fetch what is missing and print one line that says what came of it; return 1 if something still is."""
    take_one_interrupt()
    sys.stdout.reconfigure(encoding="utf-8")  # as setup reads it
    # What DVC tells beside its exceptions is for developers.
    logging.disable(logging.CRITICAL)
    try:
        print(fetch())
    except NotFetched as error:
        print(error.say(AGAIN))
        return 1
    except KeyboardInterrupt:
        return 1  # setup has been interrupted as well, and says so
    return 0


if __name__ == "__main__":
    sys.exit(main())
