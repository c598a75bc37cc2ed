"""What a disk, a permission or an unusable file makes of each verb: one line with path, reason and fix, and nothing left behind.

A table a kind of fault. To extend one, add a line to it.
"""

import contextlib
import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import notebook, on_path

# Those of the verbs, too: a person without rights, as whom they are called below, may not read Python's own files.
from notebook_pipeline import __main__ as pipeline
from notebook_pipeline import files
from notebook_pipeline.add import command as add  # noqa: F401
from notebook_pipeline.check import command as check  # noqa: F401
from notebook_pipeline.code import command as code  # noqa: F401
from notebook_pipeline.project.project import Project, ProjectError
from notebook_pipeline.run import command as run  # noqa: F401

DVC = """\
stages:
  code:
    matrix:
      notebook: [fit]
    cmd: pipeline code notebooks/${item.notebook}.ipynb outputs/code/${item.notebook}.py
    deps: ['notebooks/${item.notebook}.ipynb']
    outs: ['outputs/code/${item.notebook}.py']
  fit:
    cmd: pipeline run notebooks/fit.ipynb outputs/fit.ipynb
    deps: [outputs/code/fit.py]
    params: [train]
    outs: [outputs/fit.ipynb]
"""
FILES = {
    "dvc.yaml": DVC,
    "params.yaml": "train:\n  lr: 1\n",
    "notebooks/fit.ipynb": notebook("LR = 1", "print(LR)"),
    "outputs/code/.gitkeep": "",
    "data/external/.gitkeep": "",
}
VERBS = {
    "run": "run notebooks/fit.ipynb outputs/fit.ipynb",
    "code": "code notebooks/fit.ipynb outputs/code/fit.py",
    "check": "check",
    "check --fix": "check --fix",
    "add": "add --no-run ../mine.ipynb",
}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with one stage, whose notebook is fine, and beside it a notebook to add."""
    folder = tmp_path / "project"
    write(folder, FILES)
    write(tmp_path, {"mine.ipynb": notebook("LR = 1", "open('data.csv').read()"), "data.csv": "a,b\n1,2\n" * 1000})
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def call(capsys):
    """Calls `pipeline COMMAND` in this process; returns the exit code and what it printed."""

    def call(command: str) -> tuple[int, str]:
        try:
            code = pipeline.main(command.split())
        finally:
            gc.enable()  # `check` ends its process instead
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return call


# How to have a folder that cannot be written. Each yields with the fault, and takes it away.


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    done = subprocess.run(["mount", *options, folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs to mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    with mounted(folder, "--bind", folder):
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        os.chdir(folder)
        yield
        os.chdir("/")


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    with mounted(folder, "-t", "tmpfs", "-o", "size=200k", "tmpfs"):
        write(folder, FILES)
        os.chdir(folder)
        with contextlib.suppress(OSError), open(folder / "filler", "wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        yield
        os.chdir("/")


@contextlib.contextmanager
def limited(folder: Path) -> Iterator[None]:
    resource = pytest.importorskip("resource")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


FAULTS = {"read-only": read_only, "full": full, "ulimit -f": limited}
REASONS = {
    "read-only": "Read-only file system. Fix: make its file system writable, then run the command again.",
    "full": "No space left on device. Fix: free some space on its disk, then run the command again.",
    "ulimit -f": "File too large. Fix: raise the limit of file sizes (`ulimit -f`), then run the command again.",
}
# The verb, what is to be written, and the path that the line begins with.
WRITES = {
    "code": ({}, "outputs/code/fit.py"),
    "check --fix": ({"notebooks/fit.ipynb": notebook("LR = 1\nW = 2", "LR, W")}, "params.yaml"),
    "add": ({}, "data/external/data.csv"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("verb", WRITES)
def test_what_cannot_be_written_is_one_line(here, call, monkeypatch, fault, verb):
    changed, path = WRITES[verb]
    monkeypatch.setattr(sys.modules[__name__], "FILES", FILES | changed)  # a full disk is another one
    write(here, changed)
    with FAULTS[fault](here):
        before = {file: file.stat().st_mtime_ns for file in here.rglob("*") if file.is_file()}
        code, printed = call(VERBS[verb])
        left = {file: file.stat().st_mtime_ns for file in here.rglob("*") if file.is_file()}
    assert (code, printed.splitlines()[-1]) == (1, f"{path}: {REASONS[fault]}")
    assert left == before and "Traceback" not in printed, printed


# The verb, and the file that another person owns.
READS = {"run": "params.yaml", "code": "notebooks/fit.ipynb", "check": "dvc.yaml", "add": "dvc.yaml"}


@pytest.mark.skipif(os.name != "posix", reason="Windows has other permissions")
@pytest.mark.parametrize("verb", READS)
def test_what_cannot_be_read_is_one_line(here, call, verb):
    (here / READS[verb]).chmod(0)
    with as_nobody(here):
        code, printed = call(VERBS[verb])
    reason = "Permission denied. Fix: change its permissions or those of its folder, then run the command again."
    assert (code, printed) == (1, f"{READS[verb]}: {reason}\n")


@contextlib.contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Root may read all."""
    is_root = os.geteuid() == 0
    for each in folder.parents if is_root else ():
        with contextlib.suppress(PermissionError):
            each.chmod(each.stat().st_mode | 0o011)
    try:
        if is_root:
            os.seteuid(65534)
        yield
    finally:
        if is_root:
            os.seteuid(0)


# Each really runs a notebook: the fault, the notebook's last cell, and the lines on standard error, of which a `...` leaves out some.
RUNS = {
    "limited": (
        "print('x' * 9000)\n1 / 0",
        "notebooks/fit.ipynb: cell 2, line 2: ZeroDivisionError: division by zero\n    1 / 0\n...\n"
        f"outputs/fit.ipynb: {REASONS['ulimit -f']}\n",
    ),
    "read-only": ("print(LR)", f"outputs/fit.ipynb: {REASONS['read-only']}\n"),
    "full": (
        "open('outputs/x', 'w').write('x' * 99999)",
        "notebooks/fit.ipynb: cell 2, line 1: OSError: [Errno 28] No space left on device\n...\n"
        f"outputs/fit.ipynb: {REASONS['full']}\n",
    ),
    "no temporary folder": (
        "print(LR)",
        "notebooks/fit.ipynb: cannot be run: No usable temporary directory found in [...]. "
        "Fix: free some space there, or set TMPDIR to another folder, then run the command again.\n",
    ),
    "no reader": (
        "print(LR)",
        "notebooks/fit.ipynb: cannot be run in cell 2: Broken pipe. "
        "Fix: keep its output open (`| head` closes it), then run the command again.\n"
        "outputs/fit.ipynb: shows what ran. Fix: ...\n",
    ),
}


@pytest.mark.skipif(os.name != "posix", reason="has no such limits")
@pytest.mark.parametrize("fault", RUNS)
def test_a_run_tells_the_notebooks_error_and_then_its_own(here, bare, tmp_path, fault):
    import resource

    cell, expected = RUNS[fault]
    write(here, {"notebooks/fit.ipynb": notebook("LR = 1", cell)})
    size = {"limited": 8000, "no temporary folder": 0}.get(fault)
    command = ["pipeline", *VERBS["run"].split()]
    environ = bare.environ | {"PYTHONPATH": str(bare.path), "PYTHONDONTWRITEBYTECODE": "1"}
    environ |= {"TMPDIR": str(tmp_path)} if fault != "no temporary folder" else {}
    fill = {"read-only": read_only, "full": full}.get(fault, lambda folder: contextlib.nullcontext())
    ended, reader = os.pipe()
    os.close(ended)
    with fill(here / "outputs"):
        done = subprocess.run(
            on_path(command, environ), cwd=here, env=environ, text=True, stderr=subprocess.PIPE,
            stdout=reader if fault == "no reader" else subprocess.DEVNULL,
            preexec_fn=lambda: size is not None and resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        )  # fmt: skip
        os.chdir(here)
    os.close(reader)
    pattern = ".*".join(map(re.escape, expected.split("...")))
    assert re.fullmatch(pattern, done.stderr, re.DOTALL) and "site-packages" not in done.stderr, done.stderr
    assert done.returncode == 1
    assert not [*(here / "outputs").glob(".[!g]*"), *tmp_path.glob("kernel*")]


@pytest.mark.skipif(os.name != "posix", reason="has no such device")
def test_output_that_nobody_takes_is_no_traceback(here, bare):
    environ = bare.environ | {"PYTHONPATH": str(bare.path), "PYTHONDONTWRITEBYTECODE": "1"}
    write(here, {"notebooks/fit.ipynb": notebook("LR = 1\nW = 2", "LR, W")})
    for where, expected, said in (
        ("| true", 141, ""),
        ("> /dev/full", 1, "check: " + REASONS["full"] + "\n"),
        ("> /dev/full 2>&1", 1, ""),
    ):
        # Waits, so that nobody reads any more.
        command = f"set -o pipefail; {{ sleep 0.3; pipeline check; }} {where}"
        done = subprocess.run(["bash", "-c", command], cwd=here, env=environ, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (expected, "", said), where


def test_ctrl_c_is_one_line(here, call, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "write", interrupt)
    assert call(VERBS["code"]) == (130, "code: stopped by Ctrl-C\n")


# What a person, or somebody else's file, may write: the file, its text, and the one line.
STAGE = DVC + "  other:\n    cmd: x\n"
LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)
DIGITS = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"
YAMLS = {
    "a mapping in itself": ("params.yaml", "a: &x {b: *x}\n", "its aliases (`*name`) lead back to where they stand."),
    "a list in itself": ("params.yaml", "a: &x [*x]\n", "its aliases (`*name`) lead back to where they stand."),
    "lists": ("params.yaml", f"a: {'[' * 3000}{']' * 3000}\n", "is nested too deep to be read."),
    "mappings": ("dvc.yaml", "".join(f"{' ' * depth}a:\n" for depth in range(2000)), "is nested too deep to be read."),
    "laughs": ("params.yaml", LAUGHS, "its aliases (`*name`) stand for too many values."),
    "laughs of stages": ("dvc.yaml", LAUGHS + STAGE, "its aliases (`*name`) stand for too many values."),
    "a matrix": (
        "dvc.yaml",
        "stages:\n  other:\n    cmd: x\n    matrix:\n" + "".join(f"      {axis}: {DIGITS}\n" for axis in "abcdefgh")
        + DVC.removeprefix("stages:\n"),
        "stage `other`: matrix: means 100000000 stages, too many for DVC.",
    ),
    "vars of vars": ("dvc.yaml", "vars: [{a: '${b}'}, {b: '${a}'}]\n" + STAGE, "vars: DVC fills in no `${...}` here."),
}  # fmt: skip


@pytest.mark.parametrize("verb", ["run", "check", "check --fix", "add"])
@pytest.mark.parametrize("case", YAMLS)
def test_yaml_that_has_no_end_is_one_line(here, call, case, verb):
    file, text, said = YAMLS[case]
    write(here, {file: text})
    ended, printed = call(VERBS[verb])
    assert ended == 1 and printed.startswith(f"{file}: {said} Fix: ") and printed.count("\n") == 1, printed


# Bodies of a stage: what DVC makes of each is asked, not written down here.
BODIES = [
    "cmd: x", "cmd:", "cmd: ''", "cmd: []", "cmd: 3", "deps: [a]", "cmd: x\n    deps: [null]",
    "cmd: x\n    deps: [3]", "cmd: x\n    deps: [{a: b}]", "cmd: x\n    deps: {a: b}", "cmd: x\n    outs: [null]",
    "cmd: x\n    outs: [{a: null}]", "cmd: x\n    outs: [{a: {cache: false}}]", "cmd: x\n    metrics: [3]",
    "cmd: x\n    plots: [{a: [{x: b}]}]", "cmd: x\n    params: [null]", "cmd: x\n    params: [a, {p.yaml: [b]}]",
    "cmd: x\n    vars: [3]", "cmd: x\n    wdir:", "cmd: x\n    wdir: 3", "cmd: x\n    frozen: 'yes'", "cmd: x\n    desc: 3",
    "cmd: x\n    meta: 3", "cmd: x\n    foo: 1", "foreach:\n    do: {cmd: x}", "foreach: [a]", "foreach: {a: 1}\n    do: {cmd: x}",
    "cmd: x\n    matrix: {a: {b: 1}}", "cmd: x\n    matrix: {a: [b]}",
]  # fmt: skip
NAMED = ["a", "'1'", "1", "true", "null"]
ASK_DVC = """\
import json, sys
from dvc.schema import COMPILED_MULTI_STAGE_SCHEMA as check
from ruamel.yaml import YAML
from voluptuous import Invalid
def takes(text):
    try:
        check(YAML(typ="safe").load(text))
        return True
    except Invalid:
        return False
print(json.dumps([takes(text) for text in json.load(sys.stdin)]))
"""


def test_a_stage_is_refused_if_dvc_refuses_it(bare):
    texts = [f"stages:\n  other:\n    {body}\n" for body in BODIES] + [
        f"stages:\n  {name}:\n    cmd: x\n" for name in NAMED
    ]
    theirs = json.loads(bare.run("python", "-c", ASK_DVC, input=json.dumps(texts), stdin=None).stdout)
    ours = []
    for text in texts:
        bare.write("dvc.yaml", text)
        try:
            ours.append(bool([*Project(bare.path).stages()] or True))
        except ProjectError as error:
            assert str(error).startswith("dvc.yaml: stage `") and "\n" not in str(error)
            ours.append(False)
    assert dict(zip(texts, ours, strict=True)) == dict(zip(texts, theirs, strict=True))


@pytest.mark.parametrize("key", ["deps", "params", "outs", "metrics", "plots", "vars"])
def test_a_list_without_an_entry_is_one_line(here, call, key):
    write(here, {"dvc.yaml": DVC + f"  other:\n    cmd: x\n    {key}:\n"})
    ended, printed = call("check")
    line = f"dvc.yaml:15: stage `other`: `{key}:` has no entry. Fix: write one, or remove the line\n"
    assert (ended, printed) == (1, line)
