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
