"""Runs this project's notebooks as stages of its DVC pipeline: `pipeline`."""

import sys

# `python -m` puts the project's root first on the path: a file random.py or queue.py there would be imported in the place of
# Python's own. It stays on the path, for processes that import this package anew.
_root = __path__[0][: -len(__name__) - 1]  # an older Python comes as far as the line that refuses it
if _root in sys.path:
    sys.path.remove(_root)
    sys.path.append(_root)
