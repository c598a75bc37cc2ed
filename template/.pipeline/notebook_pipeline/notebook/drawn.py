"""What a kernel draws by lot. Loaded in the kernel by its path: the standard library alone."""

import atexit
import functools
import os
import secrets

MOST = 100_000
"""So many are remembered: ids stand in outputs in hundreds, and who draws more makes data of them."""
_SHORTEST, _LONGEST = 3, 64


def note_drawn(log: str) -> None:
    """Writes into a file, when the kernel ends, the bytes that were drawn to make ids of: in hexadecimal, one draw a line.

    What was drawn stays as random as it is. All of `uuid` and `secrets` comes from these two functions. That an output
    shows an id is thereby known, and not guessed from its form: a hash or an id in the data has the same.
    """
    drawn = {}

    def noting(draw):
        @functools.wraps(draw)
        def noted(*arguments):
            made = draw(*arguments)
            if _SHORTEST <= len(made) <= _LONGEST and len(drawn) < MOST:
                drawn[made] = None
            return made

        return noted

    def tell():
        with open(log, "a", encoding="ascii") as file:
            file.writelines(f"{made.hex()}\n" for made in drawn)

    os.urandom = noting(os.urandom)
    os.urandom.__module__ = "os"  # pickled by its name
    secrets.token_bytes = noting(secrets.token_bytes)
    atexit.register(tell)  # the first to register is the last to be called
