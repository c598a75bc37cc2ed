"""Words of a command line, as a person types them or as a stage's `cmd:` has them."""

import os
import re
import shlex
from collections.abc import Iterable


def quote(word: str) -> str:
    """Put a word in quotes if it needs them: in double ones, which sh and Windows' cmd both know, if these are enough."""
    if re.fullmatch(r"[\w@./:+=-]+", word):
        return word
    return shlex.quote(word) if os.name != "nt" and re.search(r'["$`\\]', word) else f'"{word}"'


def join(words: Iterable[str]) -> str:
    """Make one text of several words."""
    return " ".join(map(quote, words))


def add_to_path(program: str) -> str:
    """Make the line by which a script of git's shell finds a program that is not on the PATH of every terminal or editor."""
    folder = os.path.dirname(program)
    # On Windows, too, it is a POSIX shell: `C:/Users` is `/c/Users`.
    folder = re.sub(r"^([A-Za-z]):", r"/\1", folder.replace("\\", "/")) if os.name == "nt" else folder
    # Last, so that everything else is found as before.
    return f'PATH="$PATH":{shlex.quote(folder)}'
