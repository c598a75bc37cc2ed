"""Jinja filters for the place where DVC keeps data and results: what cannot be one is refused, without showing a secret."""

import posixpath
import re

from jinja2 import Environment
from jinja2.ext import Extension

# For each `remote` what its URL looks like, and how to write it.
PATH = r"(/[\w.~+=@:/-]*)?"
URLS = {
    "s3": (rf"s3://[\w.-]+{PATH}", "s3://BUCKET/PATH"),
    "gs": (rf"gs://[\w.-]+{PATH}", "gs://BUCKET/PATH"),
    "azure": (rf"azure://[\w$-]+{PATH}", "azure://CONTAINER/PATH"),
    "ssh": (r"ssh://([\w.-]+@)?[\w.-]+(:\d{1,5})?/[\w.+=:/-]+", "ssh://USER@HOST/FULL/PATH"),
}
FOLDER = "../dvc-storage"
# A password before the @, also with a slash in it; a key in a query or in Azure's connection string.
SECRET = re.compile(
    r"://[^/@:]*:[^@]*@|(key|key_?id|password|secret|signature|credential|token|\bsig)=", re.ASCII | re.IGNORECASE
)


class Remotes(Extension):
    """Register the filters to copier.yml and the template's files."""

    def __init__(self, environment: Environment):
        super().__init__(environment)
        environment.filters |= {
            "as_dvc_writes": as_dvc_writes,
            "masked": masked,
            "remote_example": remote_example,
            "remote_problem": remote_problem,
        }


def remote_example(remote: str) -> str:
    """How the URL of such a remote is written."""
    return URLS[remote][1] if remote in URLS else FOLDER


def remote_problem(answer: str, question: str, remote: str) -> str:
    """Why an answer to one of the questions about a `remote` is refused, in one line; empty if not."""
    check, remotes = QUESTIONS[question]
    answer = answer.strip()
    if remote not in remotes:
        return (
            f"{masked(answer)} is not used if remote is {remote}. Fix: remove it, or choose another remote"
            if answer
            else ""
        )
    # Who logs in to a server is no secret; what stands there for a store is a key.
    of_server = remote == "ssh" or answer.startswith("ssh://")
    if SECRET.search(answer) or (not of_server and re.search(r"://[^/]*@", answer)):
        return (
            f"{masked(answer)} contains a secret. Fix: remove the secret; the project's README.md says where to put it"
        )
    return check(answer, remote)


def as_dvc_writes(url: str, remote: str) -> str:
    """The URL as `dvc remote add` writes it: a relative path, which is the project's, as seen from `.dvc/`."""
    url = url.strip()
    return url if remote != "local" or _is_full(url) else posixpath.normpath("../" + url.replace("\\", "/"))


def _url_problem(url: str, remote: str) -> str:
    example = remote_example(remote)
    if not url:
        what = "folder is given. Fix: type its path" if remote == "local" else f"URL is given. Fix: type {example}"
        return f"no {what}, or add `-d remote_url=...` to the command"
    if remote == "local":
        return _folder_problem(url)
    shape, _ = URLS[remote]
    if re.fullmatch(shape, url, re.ASCII):
        return ""
    return f"{masked(url)} is not a URL of {remote}. Fix: write {example}, of ASCII letters, digits and -._~+= without spaces"


def _folder_problem(path: str) -> str:
    if "://" in path:
        return f"{masked(path)} is a URL, but remote is local. Fix: name a folder, as in {FOLDER}, or choose another remote"
    # DVC writes its configuration in ASCII, and loses all of it over any other letter; the others mean something in it.
    if odd := re.sub(r"[\w .~+=@&()!:/\\-]", "", path, flags=re.ASCII):
        return f"{masked(path)} has {odd[0]!r} in it, which DVC's configuration cannot keep. Fix: use a folder with a plain name"
    if not _is_full(path) and not as_dvc_writes(path, "local").startswith("../.."):
        return f"{masked(path)} is in the project. Fix: name a folder beside it, as in {FOLDER}, or a full path"
    return ""


def _is_full(path: str) -> bool:
    """Whether a path, of this or another system, is the same from everywhere; DVC expands `~` for each person."""
    return re.match(r"[/\\]|~[/\\]|[A-Za-z]:[/\\]", path) is not None


def _endpoint_problem(url: str, remote: str) -> str:
    if not url or re.fullmatch(rf"https?://[\w.-]+(:\d{{1,5}})?{PATH}", url, re.ASCII):
        return ""
    return f"{masked(url)} is not an endpoint. Fix: write https://HOST or http://HOST:PORT, or nothing for Amazon"


def _profile_problem(name: str, remote: str) -> str:
    if re.fullmatch(r"[\w.@+-]*", name, re.ASCII):
        return ""
    return f"{name!r} is not a profile. Fix: write the name of a section in ~/.aws/credentials, or nothing"


def _account_problem(name: str, remote: str) -> str:
    if not name or re.fullmatch(r"[a-z0-9]{3,24}", name):
        return ""
    return f"{masked(name)} is not a storage account. Fix: write its name, 3 to 24 lower-case letters and digits, or nothing"


def masked(text: str) -> str:
    """A text in quotes, without what may be a secret in it: what stands before the last @, or after the first ? or =."""
    scheme, rest = re.fullmatch(r"(\w+://)?(.*)", text, re.DOTALL).groups("")
    if "@" in rest and re.search("[?=]", rest):
        return repr(f"{scheme}***")  # either of them may be part of the secret
    rest = re.sub(r"^.*@", "***@", rest, flags=re.DOTALL)
    return repr(scheme + re.sub(r"([?=]).*", r"\1***", rest, flags=re.DOTALL))


# Each question, what checks its answer, and the remotes that it is asked for.
QUESTIONS = {
    "remote_url": (_url_problem, ("local", *URLS)),
    "remote_endpoint": (_endpoint_problem, ("s3",)),
    "remote_profile": (_profile_problem, ("s3",)),
    "remote_account": (_account_problem, ("azure",)),
}
