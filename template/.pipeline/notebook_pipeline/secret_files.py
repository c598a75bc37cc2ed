"""Which files look like secrets. They are never copied, tracked by git or DVC, or listed as a dep.

`python -m notebook_pipeline.secret_files [FILE...]` is the pre-commit hook: it refuses such files in git, and in the folders that
DVC pushes. The rule is one for `add` and the hook: a name, or what a small text file holds.
"""

import json
import os
import re
import stat
import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from notebook_pipeline import files

SETTINGS = "pyproject.toml"
PUSHED = ("data", "outputs")
"""The folders that git ignores in part, and DVC pushes."""
SMALL = 100_000
"""Bytes up to which a file's text is read; a key file has some 3,000."""

_FOLDERS = (".ssh", ".aws", ".azure", ".docker", ".gnupg", ".kube", ".secrets", ".config/gcloud")
_NAMES = re.compile(
    r"\.env.*|.*\.env|\.netrc|_netrc|\.pgpass|pgpass\.conf|\.my\.cnf|\.htpasswd|\.s3cfg|\.boto|\.git-credentials"
    r"|\.vault-token|\.databrickscfg|kaggle\.json|kubeconfig.*|rootkey\.csv|.*accesskeys.*\.csv"
    r"|.*\.(?:p12|pfx|jks|keystore|kdbx|ppk)|id_(?:rsa|dsa|ecdsa|ed25519).*"
)
# Without values: git is to keep it.
_EXAMPLES = re.compile(r"\.env\.(?:example|sample|template|dist)|.*\.pub")
# What the name alone does not tell: `client_secrets.json`, but not `secretary_salaries.csv`; `id_work`, but not `id_map.csv`.
_DOUBTFUL = re.compile(r"credential|secret(?!ar|io|or|in\b|ed|es\b|ly|ive)|^id_[^.]*$|\.(?:pem|key)$")
# Words or pixels, in which a secret stands only if the text shows it.
_DATA_OR_CODE = (".py", ".r", ".ipynb", ".md", ".rst", ".html", ".png", ".jpg", ".jpeg", ".svg", ".gif",
                 ".parquet", ".feather", ".arrow", ".npy", ".npz", ".h5", ".hdf5")  # fmt: skip
_ASSIGNS = re.compile(r"""(?i)(?:passw|pwd|secret|token|key|auth)\w*\\?["']?\s*[:=]\s*\\?["'][^"'\\\s]+""")
_PUBLIC = re.compile(r"-----BEGIN [A-Z0-9 ]*(?:PUBLIC KEY|CERTIFICATE)")
# As gitleaks has them: a word that is fast to look for, and only where the text has it, the pattern.
_HOLDS = {
    "-----BEGIN": ("a private key", r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY"),
    "PuTTY-User-Key-File": ("a private key", r"PuTTY-User-Key-File-\d"),
    "AGE-SECRET-KEY": ("a private key", r"AGE-SECRET-KEY-1[A-Z0-9]"),
    "client-key-data": ("a private key", r"client-key-data:\s*\w"),
    # `"` and not `\"`: JSON itself, no code of a notebook.
    "service_account": ("the key of a service account", r'\A\s*\{(?s:.*)(?<!\\)"type"\s*:\s*"service_account"'),
    "private_key": ("a private key", r'(?<!\\)"private_key"\s*:\s*"[^"]{8}'),
    "client_secret": ("a password", r'\\?"client_secret\\?"\s*:\s*\\?"[\w./+=-]{8}'),
    "refresh_token": ("a token", r'\\?"refresh_token\\?"\s*:\s*\\?"[\w./+=-]{8}'),
    "aws_secret_access_key": ("a key of AWS", r"""aws_secret_access_key\\?["']?\s*[:=]\s*\\?["']?[A-Za-z0-9/+]{30}"""),
    "AKIA": ("a key of AWS", r"\bAKIA[0-9A-Z]{16}\b"),
    "AIza": ("a key of Google", r"\bAIza[\w-]{35}"),
    "sk-": ("a key of OpenAI or Anthropic", r"\bsk-(?:proj-|ant-)?(?:api\d\d-)?\w{32}"),
    "hf_": ("a token of Hugging Face", r"\bhf_[A-Za-z0-9]{30}"),
    "gh": ("a token of GitHub", r"\bgh[pousr]_[A-Za-z0-9]{36}"),
    "github_pat_": ("a token of GitHub", r"\bgithub_pat_\w{40}"),
    "glpat-": ("a token of GitLab", r"\bglpat-[\w-]{20}"),
    "xox": ("a token of Slack", r"\bxox[abprs]-\w{8}"),
    "_authToken": ("a token of npm", r"_authToken\s*=\s*[\w-]{8}"),
    "pypi-": ("a token of PyPI", r"\bpypi-[A-Za-z0-9]{20}"),
}


def why(path: str | Path, allowed: Collection[Path] = ()) -> str | None:
    """Describe why a file looks like a secret, as in `its name`; None if it does not, or is among those allowed.

    Of a folder only its place tells, as in `~/.ssh`; what it holds is for the caller to ask. A link is judged by its own name
    and by what it leads to.

    Args:
        allowed: full paths of files, or of folders around them.
    """
    text = _read_small(path)
    held = next(
        (what for word, (what, pattern) in _HOLDS.items() if word in (text or "") and re.search(pattern, text)), None
    )
    places = [os.path.abspath(path), *([os.path.realpath(path)] if os.path.islink(path) else [])]
    reason = f"it holds {held}" if held else next((why for place in places if (why := _judge_name(place, text))), None)
    if reason and allowed:
        target = Path(path).resolve()
        return reason if {*allowed}.isdisjoint((target, *target.parents)) else None
    return reason


def _judge_name(place: str, text: str | None) -> str | None:
    place = place.replace(os.sep, "/").casefold()
    if folder := next((folder for folder in _FOLDERS if f"/{folder}/" in f"{place}/"), None):
        return f"it lies in {folder}"
    name = place.rpartition("/")[2]
    if text is None or _EXAMPLES.fullmatch(name):
        return None
    if _NAMES.fullmatch(name):
        return "its name"
    if not _DOUBTFUL.search(name) or name.endswith((".pem", ".key")) and _PUBLIC.search(text):
        return None
    return "its name" if not name.endswith(_DATA_OR_CODE) or _ASSIGNS.search(text) else None


def _read_small(path: str | Path) -> str | None:
    """Read a small text file; return an empty text for any other, None for a folder."""
    try:
        about = os.stat(path)
        if stat.S_ISDIR(about.st_mode):
            return None
        if not stat.S_ISREG(about.st_mode) or about.st_size > SMALL:
            return ""
        with open(path, "rb", buffering=0) as file:
            content = file.read(SMALL)
            return "" if b"\0" in content[:1000] else content.decode("utf-8", "replace")
    except OSError:  # gone, or closed to us: its name tells
        return ""


def allowed_in(root: Path) -> set[Path]:
    """Read the full paths that the project's pyproject.toml allows: `allow = [...]` below `[tool.pipeline]`."""
    try:
        listed = tomllib.loads(files.read(root / SETTINGS))["tool"]["pipeline"]["allow"]
        return {(root / path).resolve() for path in listed}
    except (OSError, ValueError, LookupError, TypeError):
        return set()


def allow(places: Collection[str]) -> None:
    """List files of the project in its pyproject.toml, so that the hook takes them."""
    import tomlkit  # DVC brings it; few have a use for it

    document = tomlkit.parse(files.read(SETTINGS)) if Path(SETTINGS).exists() else tomlkit.document()
    settings = document.setdefault("tool", tomlkit.table(is_super_table=True)).setdefault("pipeline", tomlkit.table())
    listed = settings.setdefault("allow", tomlkit.array())
    listed.extend(place for place in sorted(places) if place not in listed)
    files.edit(SETTINGS, tomlkit.dumps(document))


def main(argv: list[str]) -> int:
    """Print one line for each file that looks like a secret, of those given and those that DVC pushes; return 1 if there is one."""
    found = [*findings((*argv, *PUSHED), allowed_in(Path()))]
    for line in found:
        print(line)
    return 1 if found else 0


def findings(paths: Iterable[str], allowed: Collection[Path]) -> Iterator[str]:
    """Yield one line for each of some files, and of those in some folders, that looks like a secret."""
    every = (path for given in paths for path in (_list_files(given) if os.path.isdir(given) else [given]))
    for path in dict.fromkeys(every):
        if reason := why(path, allowed):
            yield (
                f"{path}: looks like a secret ({reason}). Fix: move it out of the project, and give its value by an environment "
                f"variable; if it is no secret, list it in {SETTINGS}: `allow = [{json.dumps(path)}]` below `[tool.pipeline]`"
            )


def _list_files(folder: str) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name).as_posix() for name in names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
