"""Files that are either old or new, never half written; and what to do about one that cannot be written."""

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_FIXES = {
    errno.ENOSPC: "free some space on its disk",
    errno.EDQUOT: "free some space, your quota is used up",
    errno.EFBIG: "raise the limit of file sizes (`ulimit -f`)",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.EACCES: "change its permissions or those of its folder",
    errno.EPERM: "change its permissions or those of its folder",
    errno.EROFS: "make its file system writable",
    errno.ENAMETOOLONG: "shorten its name",
    errno.EPIPE: "keep its output open (`| head` closes it)",
}


def explain(error: OSError, otherwise: str) -> str:
    """Say what failed, in one line: `path: reason. Fix: imperative.`

    Args:
        otherwise: stands in the place of a path that the error does not tell.
    """
    # Of a copy or a move, the second path is the one that is written.
    place = str(error.filename2 or error.filename or otherwise)
    with contextlib.suppress(OSError):  # this folder itself may be gone
        place = place.removeprefix(os.getcwd() + os.sep)
    reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
    fix = _FIXES.get(error.errno, "check this path")
    if "temporary directory" in reason:  # Python tries each of several, and says why of none
        fix = "free some space there, or set TMPDIR to another folder"
    return f"{place}: {reason}. Fix: {fix}, then run the command again."


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Have an OSError name this path, not the one beside it that is written first; that of a full disk names none."""
    try:
        yield
    except OSError as error:
        told = error.filename2 or error.filename
        if told and os.path.dirname(told) != os.path.dirname(os.path.abspath(path)):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


def read(path: str | Path) -> str:
    """Read the text of a UTF-8 file, its line ends as they are.

    Raises:
        OSError, UnicodeDecodeError: it does not exist, or is no such text.
    """
    with naming(path):
        return Path(path).read_bytes().decode("utf-8")


def encode(text: str) -> bytes:
    """Make the bytes that `write` writes."""
    return text.encode("utf-8", "backslashreplace")  # JSON may hold half a surrogate pair, which UTF-8 cannot


def md5(content: bytes | str) -> str:
    """Compute the hash that DVC gives to a file with this content; of a text, as `write` writes it."""
    content = encode(content) if isinstance(content, str) else content
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def write(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file, its line ends as they are, beside its place first; its folder is made if there is none.

    Raises:
        OSError: the file cannot be written; what was there is untouched.
    """
    with replacing(path) as beside, open(beside, "wb") as file:
        file.write(encode(text))


def copy(source: str | Path, path: str | Path) -> None:
    """Copy a file with its mode: what only its owner may read, stays so.

    Raises:
        OSError: the file cannot be read or written; what was there is untouched.
    """
    import shutil

    with replacing(path) as beside:
        shutil.copyfile(source, beside)
        shutil.copymode(source, beside)


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[str]:
    """Yield a place beside a file for its new content, which takes the file's place at the end; else nothing is left of it.

    Raises:
        OSError: the file cannot be written; what was there is untouched.
    """
    import tempfile  # a check that changes nothing has no use for it

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        # Short: the file's own name may be as long as the file system takes.
        handle, beside = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
        os.close(handle)
        try:
            # mkstemp's files are private; the new file gets the rights of the old one, or the usual ones.
            os.chmod(beside, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
            yield beside
            _replace(beside, path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise


def edit(path: str | Path, text: str) -> None:
    """Write a file that a person edits, too: a symbolic link to a shared folder, perhaps, which stays one.

    What a run makes is written by `write`, which replaces a link: DVC's links lead into its cache.

    Raises:
        OSError: the file cannot be written; what was there is untouched.
    """
    write(os.path.realpath(path) if os.path.islink(path) else path, text)


def edit_all(texts: dict[str, str]) -> None:
    """Write several files as `edit` does: all of them, or none.

    Raises:
        OSError: one cannot be written; all are as they were.
    """
    with all_or_nothing(texts):
        for path, text in texts.items():
            edit(path, text)


@contextlib.contextmanager
def all_or_nothing(paths: Iterable[str | Path]) -> Iterator[None]:
    """Leave files as they were, and those that did not exist away with their folders, if an error ends it."""
    before = {path: path.read_bytes() if path.exists() else None for path in map(Path, paths)}
    new = [path for path, content in before.items() if content is None]
    folders = {folder for path in new for folder in path.parents if not folder.exists()}
    try:
        yield
    except BaseException:
        for path, content in before.items():
            if content is not None and (not path.exists() or path.read_bytes() != content):
                path.write_bytes(content)
        for path in filter(Path.exists, new):  # a read-only disk refuses to remove also what is not there
            path.unlink()
        for folder in sorted(folders, reverse=True):
            with contextlib.suppress(OSError):  # what else is in it stays
                folder.rmdir()
        raise


def lock(path: Path):
    """Open a file, locked until it is closed here and in the processes that have it; None if another has it.

    Raises:
        OSError: its file system has no locks.
    """
    handle = path.open("a+b")
    try:
        if os.name == "nt":
            import msvcrt

            handle.seek(0)  # it locks a byte, not the file
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        handle.close()
        return None
    except OSError as error:
        handle.close()
        raise OSError(error.errno, f"files cannot be locked ({error.strerror})", str(path)) from None
    return handle


def _replace(source: str, target: Path) -> None:
    """Move a file; Windows refuses while another program, an indexer perhaps, has the target open: mostly not for long."""
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
