"""Brings what DVC records and this checkout lacks, from DVC's remote."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

_AGAIN = "{again}"
"""In the place of the command to type when the cause is gone."""
_KEYS = f"where README.md says (`Share the results`), then {_AGAIN}"

# What went wrong at a remote, by the names and words of the exceptions, of which each store has its own. The first that
# fits: a store that cannot be read often ends in "not found", too.
_CAUSES = [
    (
        r"_NoFolder: (.*)",
        "is a folder that does not exist. Fix: connect its drive, or set its path here: "
        rf"uv run dvc remote modify --local \1 url PATH, then {_AGAIN}",
    ),
    (r"requires 'dvc-(\w+)'", rf'needs a package. Fix: uv add --group dev "dvc[\1]", then {_AGAIN}'),
    (r"_NoKeyFile: (.*)", rf"is read with \1, which does not exist. Fix: put it there, or name another {_KEYS}"),
    (
        r"Passphrase must be specified",
        f"has a key with a passphrase. Fix: uv run dvc remote modify --local NAME ask_passphrase true, then {_AGAIN}",
    ),
    (
        r"NoCredential|PartialCredential|Default\w*Credential|ProfileNotFound|either account_name or connection_string",
        f"needs a key, and finds none. Fix: put yours {_KEYS}",
    ),
    (
        r"\b40[13]\b|Forbidden|Unauthorized|AccessDenied|ExpiredToken|Bad Request|InvalidAccessKeyId|Signature|"
        r"Permission ?[Dd]enied|PermissionError|Authentication|AuthorizationFail|Connection string is",
        f"refuses access. Fix: put a key that it takes {_KEYS}",
    ),
    (
        r"gaierror|Name or service|ConnectionRefused|EndpointConnection|TimeoutError|Timeout\b|[Tt]imed? ?out|"
        r"Cannot connect|Connect call failed|ServiceRequestError|Connection ?[Ll]ost|ConnectionReset|ConnectionError|"
        r"ServerDisconnected|unreachable|No route",
        f"cannot be reached. Fix: check the network and the address, then {_AGAIN}",
    ),
    (
        r"\b5\d\d, message|InternalError|Service ?Unavailable",
        f"has a problem of its own. Fix: some time later, {_AGAIN}",
    ),
    (
        r"NoSuchBucket|bucket does not exist|FileNotFoundError: b/[^/\n]+/o$|Container\w*NotFound|No such container",
        "has no such bucket or container. Fix: check its address in .dvc/config",
    ),
]  # fmt: skip

# A store that does not answer is tried for minutes by the packages that speak to it.
SECONDS_TO_ANSWER = 60


class NotFetched(Exception):
    """Something is still missing; one line that says why."""

    def say(self, again: str) -> str:
        """Return the line, with the command that its reader types at the end."""
        return str(self).replace(_AGAIN, again)


class _NoFolder(OSError):
    """A remote in a folder, a drive of the network perhaps, that does not exist."""


class _NoKeyFile(OSError):
    """The file with a person's key, which DVC's configuration names, does not exist."""


def fetch() -> str:
    """Fetch what is missing, and leave what was changed; return what came of it.

    Raises:
        NotFetched: something is still missing.
    """
    from dvc.exceptions import CheckoutError
    from dvc.repo import Repo

    remote = "DVC's remote"
    try:
        with Repo() as repo:
            name = _name_remote(repo)
            remote = name or remote
            missing, uncached = _find_missing(repo)
            if missing:
                # What an interrupted pull has left in the cache needs no network.
                repo.checkout(targets=[*map(str, missing)], allow_missing=True)
                # A folder may now be here, and the list of its files, which the cache needs, not yet.
                missing, uncached = _find_missing(repo)
            if not missing and not (uncached and name):
                return "data and results are here"
            if not name:
                return _describe_no_remote(repo, missing)
            _fill_cache(repo, [*uncached, *missing])
            if missing:
                repo.checkout(targets=[*map(str, missing)])
            return f"fetched data and results from {remote}"
    except CheckoutError as error:
        raise NotFetched(_describe_lack(remote, error.target_infos)) from None
    except NotFetched:
        raise
    except Exception as error:  # of DVC's and of each store's own kinds
        raise NotFetched(_explain(remote, error)) from None


def follow() -> None:
    """Make data and results those of the current dvc.lock and .dvc files; fetch what the cache lacks of them.

    Raises:
        NotFetched: the cache still lacks something, which is not in the checkout either.
        DvcException: a file here was changed, and no other copy of it exists; nothing was changed.
    """
    from dvc.repo import Repo

    with Repo() as repo:
        problem, remote = "", _name_remote(repo)
        _, uncached = _find_missing(repo)
        if uncached and remote:
            try:
                _fill_cache(repo, uncached)
            except Exception as error:  # of DVC's and of each store's own kinds
                problem = _explain(remote, error)
        repo.checkout(allow_missing=True)
        # What has no hash has no record in dvc.lock: its stage is to run.
        lacking = [str(out) for out in repo.index.outs if out.use_cache and out.hash_info and not out.exists]
        if lacking and not remote:
            problem = "there is no DVC remote. Fix: `uv run dvc repro` makes results; for data see README.md, `Share the results`"
        if lacking:
            raise NotFetched(f"{_name_some(lacking)}: {problem}" if problem else _describe_lack(remote, lacking))


def _name_remote(repo) -> str:
    """Describe the remote that is the default; empty if there is none."""
    name = repo.config["core"].get("remote")
    return f"the remote `{name}` ({_hide_password(repo.config['remote'][name]['url'])})" if name else ""


def _fill_cache(repo, outs: list) -> None:
    _try_to_read(repo, outs[0])
    repo.fetch(targets=[*map(str, outs)])


def _describe_lack(remote: str, paths: list[str]) -> str:
    them = "it" if len(paths) == 1 else "them"
    return f"{remote} lacks {_name_some(paths)}. Fix: in the checkout that has {them}, uv run dvc push; then here, {_AGAIN}"


def _name_some(paths: list[str]) -> str:
    return ", ".join(paths[:3]) + (", ..." if len(paths) > 3 else "")


def _find_missing(repo) -> tuple[list, list]:
    """Find the outs, as DVC has them, that the checkout and the cache lack at least in part; inputs first."""
    status = repo.data_status(granular=True)
    outs = sorted((out for out in repo.index.outs if out.use_cache), key=lambda out: not out.stage.is_data_source)

    def those(paths: list[str]) -> list:
        return [out for out in outs if any(Path(path).is_relative_to(str(out)) for path in paths)]

    return those(status.get("uncommitted", {}).get("deleted", [])), those(status.get("not_in_cache", []))


def _describe_no_remote(repo, missing: list) -> str:
    # What a stage makes can be made again.
    inputs = [str(out) for out in missing if out.stage.is_data_source]
    if not inputs:
        return "the inputs are here; results are made here, for no DVC remote has them"
    if repo.config["remote"]:
        first = next(iter(repo.config["remote"]))
        raise NotFetched(
            f"{inputs[0]} is not here, and no remote is the default. Fix: uv run dvc remote default {first}, then {_AGAIN}"
        )
    raise NotFetched(
        f"{inputs[0]} is not here, and no DVC remote says where it is. Fix: ask who has it to type in their copy: "
        'uv run dvc remote add --default storage URL, git commit --all --message "A place for data", git push '
        f"(README.md, `Share the results`); then here, git pull, {_AGAIN}"
    )


def _try_to_read(repo, out) -> None:
    """Read a byte of it at the remote: DVC takes what goes wrong at some stores for "not there", file by file.

    Raises:
        Exception: the store's own, unless the file is not there: others may be.
    """
    remote = repo.cloud.get_remote(out.remote)
    if remote.fs.version_aware or remote.worktree:
        return  # its files have names of their own
    for key in ("keyfile", "credentialpath"):
        file = repo.config["remote"].get(remote.name, {}).get(key)
        if file and not Path(file).expanduser().exists():
            raise _NoKeyFile(file)
    raised = []

    def look() -> None:
        try:
            with remote.odb.fs.open(remote.odb.oid_to_path(out.hash_info.value), "rb") as file:
                file.read(1)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_ANSWER)
    if thread.is_alive():
        raise TimeoutError
    for error in raised:
        if not isinstance(error, FileNotFoundError) or _find_cause(error):
            raise error
        if remote.fs.protocol == "local" and not Path(remote.path).exists():
            raise _NoFolder(remote.name)


def _explain(remote: str, error: BaseException) -> str:
    said = (line.strip() for each in _chain(error) for line in str(each).splitlines() if line.strip())
    return f"{remote} {_find_cause(error) or f'cannot be read: {next(said, repr(error))}. Fix: correct that, then {_AGAIN}'}"


def _find_cause(error: BaseException) -> str | None:
    """Describe what these exceptions mean at a remote, and what to do; None if it is not among the known."""
    said = "\n".join(f"{type(each).__name__}: {each}" for each in _chain(error))
    for pattern, meaning in _CAUSES:
        if found := re.search(pattern, said):
            return found.expand(meaning)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _hide_password(url: str) -> str:
    """Return a URL without the password that a person may have put into it."""
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@") if parts.password else url
