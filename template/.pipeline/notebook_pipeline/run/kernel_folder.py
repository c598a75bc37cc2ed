"""The temporary folder of a kernel, and what the kernel leaves in it."""

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from notebook_pipeline import files

LOG = "kernel.log"
"""What the kernel writes beside its messages."""
DRAWN = "drawn"
"""What the kernel drew by lot."""


@contextlib.contextmanager
def make_kernel_folder() -> Iterator[str]:
    """Make a temporary folder. Those that killed runs left behind are removed.

    A run keeps a file in its own locked. The lock ends with the process, also if it is killed, and another user's process, or
    one of another machine with the same folder for temporary files, holds it just as well.
    """
    for path in glob.glob(os.path.join(glob.escape(tempfile.gettempdir()), "kernel*", "in-use")):
        if _is_left_behind(Path(path)):
            shutil.rmtree(os.path.dirname(path), ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(prefix="kernel", ignore_cleanup_errors=True) as folder,
        contextlib.ExitStack() as ends,
    ):
        path = Path(folder, "in-use")
        new = path if os.name == "nt" else path.with_suffix(".new")  # Windows renames no open file
        with contextlib.suppress(OSError):  # a file system without locks: then nobody removes anything
            ends.enter_context(files.lock(new))
            new.rename(path)
        yield folder


def _is_left_behind(path: Path) -> bool:
    """Whether the process that made a folder with this file is gone."""
    with contextlib.suppress(OSError):
        if os.name == "nt" or path.parent.lstat().st_uid == os.getuid():
            if handle := files.lock(path):
                handle.close()
                return True
    return False
