"""How a text of the code begins a path, and what it must be for the path to lead elsewhere."""

import os
import posixpath
import re

# The address of a file: `sqlite:///data/a.db`
_SCHEME = re.compile(r"[a-z][\w+.-]*:///")


def parts(path: str) -> list[str]:
    """Return the parts of a path without `.`: `./a/../b` is `b`, the working directory has none. Of an address, those of its path."""
    path = _SCHEME.sub("", path, count=1)
    normal = posixpath.normpath(os.path.expanduser(path) if path.startswith("~") else path.replace(os.sep, "/"))
    return [] if normal == "." else normal.split("/")


def is_upwards(path: list[str]) -> bool:
    """Tell whether parts only lead upwards, as `../..`."""
    return all(part == ".." for part in path)


def head_of(text: str, path: list[str]) -> str | None:
    """Return the beginning of a text that is a path's beginning, up to a slash or the text's end; None if there is none.

    Wildcards, and what is put in later (`{}`, `%s`), end it: of `data/{}.csv` it is `data/`. It is empty if a text without a slash
    begins a name.
    """
    if text and parts(text) == path:
        return text
    if scheme := _SCHEME.match(text):
        head = head_of(text[scheme.end() :], path)
        return head and scheme[0] + head
    plain = re.split(r"[*?\[{%]", text, maxsplit=1)[0]
    if plain == text and text and parts(text) == path[: len(parts(text))]:
        return text
    head, rest = plain[: plain.rfind("/") + 1], plain[plain.rfind("/") + 1 :]
    if head and (own := parts(head)) == path[: len(own)]:
        # What is left of the text begins the next part; of a pattern also its folder alone is used.
        begun = len(own) < len(path) and path[len(own)].startswith(rest)
        return head if begun or (plain != text and own == path) else None
    if "/" not in plain and plain and path and path[0].startswith(plain) and path != parts(text):
        return ""
    return None


def with_head(text: str, head: str, path: list[str], place: list[str]) -> str | None:
    """Return the text for which the path leads to another place; None if what follows the text would have to change, too.

    Args:
        head: see `head_of`.
        path: the parts of the whole path.
        place: those of where it is to lead.
    """
    if scheme := _SCHEME.match(head):
        new = with_head(text[scheme.end() :], head[scheme.end() :], path, place)
        return new and scheme[0] + new
    rest = path[len(parts(head) if head else []) :]
    if rest and place[-len(rest) :] != rest:
        return None
    new = "/".join(place[: len(place) - len(rest)])
    if head.endswith("/") or not head:
        new = new + "/" if new else "./" if head else ""
    if head and not parts(head) and not new.strip("./"):
        return text  # `.` stays
    return (new or ".") + text[len(head) :] if head else new + text
