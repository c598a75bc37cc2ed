"""Python's parser, without warnings and for deep expressions, and edits of what it has read."""

import ast
import contextlib
import re
import sys
import warnings
from collections.abc import Iterator

UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What Python's parser raises for a text that is not Python."""


def parse_python(source: str | bytes, feature_version: tuple[int, int] | None = None) -> ast.Module:
    """Parse a source without the warnings (`"\\d"`) that belong to the person who runs it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source, feature_version=feature_version)


@contextlib.contextmanager
def recurse_deeply() -> Iterator[None]:
    """Read expressions of thousands of terms: with the usual limit, how deep one gets differs by Python."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 20_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def find_conflict(text: str) -> int | None:
    """Find the line, counted from 1, of a file's first merge conflict."""
    found = re.search(r"^(<<<<<<<|>>>>>>>)", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else None


def replaced(source: str, node: ast.AST, text: str) -> str:
    """Replace a node of a cell's tree by another text in its source."""
    lines = source.encode().split(b"\n")  # `ast` counts columns in bytes
    start = sum(len(line) + 1 for line in lines[: node.lineno - 1]) + node.col_offset
    end = sum(len(line) + 1 for line in lines[: node.end_lineno - 1]) + node.end_col_offset
    return (source.encode()[:start] + text.encode() + source.encode()[end:]).decode()
