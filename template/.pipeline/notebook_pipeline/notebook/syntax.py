"""Python's parser, without its warnings and with room for deep expressions."""

import ast
import contextlib
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
