"""Files that are either old or new, never half written."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path


def read(path: str | Path) -> str:
    """The text of a UTF-8 file, its line ends as they are.

    Raises:
        OSError, UnicodeDecodeError: it is not there, or no such text.
    """
    return Path(path).read_bytes().decode("utf-8")


def write(path: str | Path, text: str) -> None:
    """Writes a UTF-8 text file, its line ends as they are, beside its place first; its folder is made where there is none.

    Raises:
        OSError: the file cannot be written; what was there is untouched.
    """
    path = Path(path)
    with _beside(path) as beside:
        # JSON may hold half a surrogate pair, which UTF-8 cannot.
        with open(beside, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
        # mkstemp's files are private; the new file gets the rights of the old one, or the usual ones.
        os.chmod(beside, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())


def copy(source: str | Path, path: str | Path) -> None:
    """Copies a file with its mode, beside its place first: what only its owner may read, stays so.

    Raises:
        OSError: the file cannot be read or written; what was there is untouched.
    """
    import shutil

    with _beside(Path(path)) as beside:
        shutil.copyfile(source, beside)
        shutil.copymode(source, beside)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[str]:
    """A new file in the folder of `path`, which takes its place at the end; after an error it is gone."""
    import tempfile  # a check that changes nothing has no use for it

    path.parent.mkdir(parents=True, exist_ok=True)
    # Short: the file's own name may be as long as the file system takes.
    handle, beside = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    os.close(handle)
    try:
        yield beside
        _replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def edit(path: str | Path, text: str) -> None:
    """Writes a file that a person edits, too: a symbolic link to a shared folder, perhaps, which stays one.

    What a run makes is written by `write`, which replaces a link: DVC's links lead into its cache.

    Raises:
        OSError: the file cannot be written; what was there is untouched.
    """
    write(os.path.realpath(path) if os.path.islink(path) else path, text)


def _replace(source: str, target: Path) -> None:
    """Windows refuses while another program, an indexer perhaps, has the target open: mostly not for long."""
    for pause in (0.05, 0.1, 0.2, 0.5, 1):
        try:
            return os.replace(source, target)
        except PermissionError:
            if os.name != "nt":
                raise
            time.sleep(pause)
    os.replace(source, target)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
