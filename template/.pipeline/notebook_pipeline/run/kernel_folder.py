"""The temporary folder of a kernel, and what the kernel leaves in it."""

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOG = "kernel.log"
"""What the kernel writes beside its messages."""
DRAWN = "drawn"
"""What the kernel drew by lot."""


@contextlib.contextmanager
def make_kernel_folder() -> Iterator[str]:
    """A temporary folder. Those that killed runs left behind are removed.

    A run keeps a file in its own locked. The lock ends with the process, also if it is killed, and another user's process, or
    one of another machine with the same folder for temporary files, holds it just as well.
    """
    for path in glob.glob(os.path.join(glob.escape(tempfile.gettempdir()), "kernel*", "in-use")):
        if _is_left_behind(path):
            shutil.rmtree(os.path.dirname(path), ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="kernel", ignore_cleanup_errors=True) as folder:
        path = os.path.join(folder, "in-use")
        with open(path if fcntl is None else f"{path}.new", "wb") as file:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # a file system without locks: then nobody removes anything
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.rename(file.name, path)
            yield folder


def _is_left_behind(path: str) -> bool:
    """Whether the process that made a folder with this file is gone."""
    try:
        if fcntl is None:
            os.unlink(path)  # Windows refuses it while a process has the file open
            return True
        if os.lstat(os.path.dirname(path)).st_uid != os.getuid():
            return False
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:
        return False
