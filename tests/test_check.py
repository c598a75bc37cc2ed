"""`pipeline check`, and what `code` makes of a notebook."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Workspace, notebook, on_path
from hypothesis import given
from hypothesis import strategies as st
from test_packages import UV_LOCK

from notebook_pipeline.check import command as check
from notebook_pipeline.code import command as code
from notebook_pipeline.notebook.document import NotebookError, parse
from notebook_pipeline.project import lock as lock_file
from notebook_pipeline.project.project import Project
from notebook_pipeline.run import command as run

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
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with one stage, whose notebook is fine."""
    monkeypatch.chdir(tmp_path)
    for folder in ("notebooks", "outputs/code"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "dvc.yaml").write_text(DVC)
    (tmp_path / "params.yaml").write_text("train:\n  lr: 1\n")
    (tmp_path / "notebooks/fit.ipynb").write_text(notebook("LR = 1", "print(LR)"))
    return tmp_path


def lock(here) -> str:
    """A dvc.lock as DVC writes it, with a comment that a person added."""
    assert code.main(["notebooks/fit.ipynb", "outputs/code/fit.py"]) == 0
    entries = {}
    for name in ("notebooks/fit.ipynb", "outputs/code/fit.py"):
        content = (here / name).read_bytes()
        entries[name] = (
            f"    - path: {name}\n      hash: md5\n      md5: {hashlib.md5(content).hexdigest()}\n      size: {len(content)}\n"
        )
    text = (
        "schema: '2.0'\nstages:\n  code@fit: # mine\n    cmd: x\n    deps:\n"
        + entries["notebooks/fit.ipynb"]
        + "    outs:\n"
        + entries["outputs/code/fit.py"]
    )
    (here / "dvc.lock").write_text(text)
    return text


def test_nothing_to_say(here, capsys):
    lock(here)
    assert check.main([]) == 0
    assert check.main(["notebooks/fit.ipynb", "params.yaml"]) == 0
    assert capsys.readouterr().out == ""


def test_what_a_run_would_refuse(here, capsys):
    (here / "notebooks/fit.ipynb").write_text(notebook("LR = 1\nWIDTH = 2", "LR, WIDTH"))
    assert check.main([]) == 1
    assert capsys.readouterr().out == (
        "notebooks/fit.ipynb: cell 1, line 2: parameter `WIDTH` has no key `width` in what stage `fit` lists under "
        "`params:` (train). Fix: add `width: 2` to `train` in params.yaml\n"
    )


DRIFT = {
    "call": (
        ["LR = 1\nimport os", "LR"],
        "cell 1, line 2: only `name = literal` belongs in the parameters cell. Fix: move this to a cell below",
    ),
    "pair": (
        ["LR = 1\nX, Y = 1, 2", "LR"],
        "cell 1, line 2: only `name = literal` belongs in the parameters cell. Fix: move this to a cell below",
    ),
    "twice": (
        ["LR = 1\n\nLR = 2", "LR"],
        "cell 1, line 3: `LR` is already assigned in line 1. Fix: keep one of the two",
    ),
    "derived": (
        ["LR = 1\nHALF = LR / 2", "LR, HALF"],
        "cell 1, line 2: `HALF` is computed from the parameter `LR` and would not follow it. Fix: move this line to a cell below",
    ),
    "no literal": (
        ["LR = float('1')", "LR"],
        "cell 1, line 1: `LR` is not a literal, so params.yaml cannot hold it. Fix: "
        "write a number, string, list or mapping, or move this line to a cell below",
    ),
    "above": (
        [{"source": "print(LR)"}, {"source": "LR = 1", "metadata": {"tags": ["parameters"]}}],
        "cell 1, line 1: uses the parameter `LR` above the parameters cell (cell 2). Fix: move one of the two cells",
    ),
    "again": (
        ["LR = 1", "def f(LR):\n    LR = 2\n[LR for LR in range(3)]", "%time x\nif LR:\n    LR += 1"],
        "cell 3, line 3: assigns the parameter `LR` again, so that params.yaml is ignored from here on. Fix: use another name",
    ),
}


ASSIGNMENTS = [
    "%time LR = 5", "%prun -q LR\n%prun LR = 5", "%%time\nLR = 5", "%%capture --no-stderr LR\nprint(1)", "any((LR := x) for x in [2])",
    "def f(x=(LR := 2)): pass", "@(LR := f)\ndef g(): pass", "lambda x=(LR := 2): x", "class A((LR := B)): pass",
    "with (open('f') as\n  LR): pass", "    x = 1\n    LR = 2", "\n    %%time\n    LR = 2",
]  # fmt: skip
NONE = [
    "%timeit LR = 5", "%time LR == 5", "%time (LR", "%%capture out\nLR", "def f():\n    return [LR := 2]", "lambda: (LR := 2)",
    "class A:\n    x = (LR := 2)", "[f(LR=x) for x in y]", {"source": "LR = 5", "metadata": {"tags": ["skip-execution"]}},
]  # fmt: skip


@pytest.mark.parametrize("cell", ASSIGNMENTS + NONE, ids=str)
def test_what_assigns_a_parameter_in_a_later_cell(here, capsys, cell):
    (here / "notebooks/fit.ipynb").write_text(notebook("LR = 1", cell, "LR"))
    assert check.main([]) == (cell in ASSIGNMENTS)
    assert capsys.readouterr().out.count("assigns the parameter `LR` again") == (cell in ASSIGNMENTS)


@pytest.mark.parametrize("case", DRIFT)
def test_values_that_would_not_be_those_of_params(here, capsys, case):
    cells, message = DRIFT[case]
    (here / "params.yaml").write_text("train:\n  lr: 1\n" + ("  half: 2\n" if case == "derived" else ""))
    (here / "notebooks/fit.ipynb").write_text(notebook(*cells))
    assert check.main([]) == 1
    assert capsys.readouterr().out == f"notebooks/fit.ipynb: {message}\n"


def test_a_stage_that_would_not_rerun(here, capsys):
    (here / "dvc.yaml").write_text(DVC.replace("    deps: [outputs/code/fit.py]\n", ""))
    assert check.main([]) == 1
    assert capsys.readouterr().out == (
        "dvc.yaml:8: stage `fit` would not rerun when notebooks/fit.ipynb changes. Fix: add outputs/code/fit.py to its `deps:`\n"
    )
    (here / "dvc.yaml").write_text(DVC.replace("[fit]", "[]").replace("    deps: [outputs/code/fit.py]\n", ""))
    assert check.main([]) == 1
    assert capsys.readouterr().out == (
        "dvc.yaml:8: stage `fit` would not rerun when notebooks/fit.ipynb changes. Fix: "
        "add fit to the notebooks of stage `code`, and outputs/code/fit.py to the `deps:` of `fit`\n"
    )


def test_a_path_that_is_not_there(here, capsys):
    assert check.main(["notebooks/fti.ipynb"]) == 1
    assert capsys.readouterr().out == "notebooks/fti.ipynb: does not exist. Fix: correct the path\n"


def test_an_unused_parameter_is_a_warning(here, capsys):
    (here / "notebooks/fit.ipynb").write_text(notebook("LR = 1", "1"))
    assert check.main([]) == 0
    assert (
        capsys.readouterr().out == "notebooks/fit.ipynb: cell 1, line 1: no cell uses the parameter `LR` (a warning)\n"
    )


def test_a_scratch_notebook_may_have_no_parameters_but_not_wrong_ones(here, capsys):
    scratch = here / "notebooks/scratch.ipynb"
    scratch.write_text(notebook({"source": "1"}))
    assert check.main(["notebooks/scratch.ipynb"]) == 0
    scratch.write_text(notebook({"source": "1", "metadata": {"tags": ["params"]}}))
    assert check.main([]) == 1
    assert (
        capsys.readouterr().out
        == "notebooks/scratch.ipynb: cell 1: Papermill ignores the tag `params`. Fix: rename it to `parameters`\n"
    )


def test_a_notebook_that_is_not_there_is_said_once(here, capsys):
    (here / "notebooks/fit.ipynb").unlink()
    gone = "needs notebooks/fit.ipynb, which does not exist. Fix: restore it (`git checkout HEAD -- notebooks/fit.ipynb`), or "
    both = "delete the stage `fit` and remove `fit` from the list of the stage `code`"
    assert check.main([]) == 1
    assert capsys.readouterr().out == f"dvc.yaml:9: stage `fit` {gone}{both}\n"
    assert run.main(["notebooks/fit.ipynb", "outputs/fit.ipynb"]) == 1
    assert capsys.readouterr().err == f"dvc.yaml:9: stage `fit` {gone}{both}\n"
    # The half of it that is left when the stage alone was deleted; and a stage of another kind.
    (here / "dvc.yaml").write_text(DVC[: DVC.index("  fit:")])
    assert check.main([]) == 1
    assert capsys.readouterr().out == f"dvc.yaml:5: stage `code` {gone}remove `fit` from the list of the stage `code`\n"
    (here / "dvc.yaml").write_text("stages:\n  fit:\n    cmd: papermill notebooks/fit.ipynb outputs/fit.ipynb\n")
    assert check.main([]) == 1
    assert capsys.readouterr().out == f"dvc.yaml:3: stage `fit` {gone}delete the stage `fit`\n"


def test_a_record_is_renewed_only_where_the_code_is_the_same(here, capsys):
    before = lock(here)
    old = (here / "notebooks/fit.ipynb").read_bytes()
    new = notebook({"cell_type": "markdown", "source": "# new"}, {"source": "LR = 1", "metadata": {"tags": ["parameters"]}},
                   "print( LR )  # comment")  # fmt: skip
    (here / "notebooks/fit.ipynb").write_text(new)
    assert check.main([]) == 1
    assert capsys.readouterr().out == (
        "dvc.lock: is behind notebooks/fit.ipynb, whose code and packages are those of its last run. "
        "Fix: pipeline check --fix\n"
    )
    assert (here / "dvc.lock").read_text() == before
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out == (
        "dvc.lock: renewed the record of notebooks/fit.ipynb, whose code and packages are those of its last run\n"
    )
    expected = before.replace(hashlib.md5(old).hexdigest(), hashlib.md5(new.encode()).hexdigest())
    assert (here / "dvc.lock").read_text() == expected.replace(f"size: {len(old)}\n", f"size: {len(new)}\n")
    assert check.main(["--fix"]) == 0
    # Other code: the stage is to run, nobody may say that it did.
    (here / "notebooks/fit.ipynb").write_text(notebook("LR = 1", "print(LR, 1)"))
    renewed = (here / "dvc.lock").read_text()
    assert check.main(["--fix"]) == 0
    assert (here / "dvc.lock").read_text() == renewed


def test_the_packages_are_not_read_if_nothing_has_changed(here, capsys):
    (here / "uv.lock").write_text(UV_LOCK)
    (here / "dvc.yaml").write_text(DVC.replace(".ipynb']", ".ipynb', uv.lock]", 1))
    text, size = lock(here), len(UV_LOCK)
    dep = (
        f"    - path: uv.lock\n      md5: {hashlib.md5(UV_LOCK.encode()).hexdigest()}\n      size: {size}\n    outs:\n"
    )
    (here / "dvc.lock").write_text(text.replace("    outs:\n", dep))
    assert check.main([]) == 0
    # What it says is no lock file: nobody has looked.
    (here / "uv.lock").write_text("x" * size)
    os.utime(here / "uv.lock", ns=(0, 0))
    assert check.main(["--fix"]) == 0 and capsys.readouterr().out == ""
    os.utime(here / "uv.lock")
    assert check.main([]) == 1 and capsys.readouterr().out == "uv.lock: not a valid lock file. Fix: uv lock\n"


def test_a_stage_that_would_not_see_an_upgrade(here, capsys):
    assert code.main(["notebooks/fit.ipynb", "outputs/code/fit.py"]) == 0
    (here / "uv.lock").write_text(UV_LOCK)
    assert check.main([]) == 1
    assert capsys.readouterr().out == (
        "dvc.yaml:6: stage `code` would not rerun after an upgrade of packages. Fix: add uv.lock to its `deps:`\n"
    )
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out == "dvc.yaml: added uv.lock to the `deps:` of stage `code@fit`\n"
    assert (here / "dvc.yaml").read_text() == DVC.replace(".ipynb']", ".ipynb', uv.lock]", 1)
    assert check.main([]) == 0


@pytest.mark.parametrize("end", [b"<<<<<<< ours\n", b"# \xff\n"])
def test_a_record_that_cannot_be_read_is_one_line(here, capsys, end):
    broken = lock(here).encode() + end
    (here / "dvc.lock").write_bytes(broken)
    for arguments in [], ["--fix"]:
        assert check.main(arguments) == 1
        assert capsys.readouterr().out == (
            "dvc.lock: cannot be read, perhaps because of a merge conflict. Fix: `git checkout HEAD dvc.lock`, `uv run dvc repro`\n"
        )
    assert (here / "dvc.lock").read_bytes() == broken


@pytest.fixture
def repository(here, environ, monkeypatch):
    """The folder in git, its notebook and dvc.yaml added; a call of it is one of git."""
    for name in [name for name in os.environ if name.startswith("GIT_") or name == "PRE_COMMIT"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", environ["GIT_CONFIG_GLOBAL"])

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], check=True, capture_output=True)

    (here / ".gitignore").write_text("*.joblib\n*.bin\n")
    git("init", "--quiet")
    git("add", "--all")
    return git


def with_deps(*names: str, more: str = "") -> str:
    """The pipeline with more deps of its stage `fit`."""
    return DVC.replace("[outputs/code/fit.py]", json.dumps(["outputs/code/fit.py", *names], ensure_ascii=False)) + more


def test_what_a_clone_would_lack(here, repository, capsys, monkeypatch):
    for name in ("outputs/model v1.joblib", "notebooks/helper.py", "data/a/ä.csv"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("")
    # In a clone, the first is not even there. Of the last three, git would not know, or DVC says it.
    deps = ("outputs/gone.joblib", "outputs/model v1.joblib", "notebooks/helper.py", "data/a")
    deps += ("../beside.bin", str(here / "full.bin"), "data/not there.csv")
    (here / "dvc.yaml").write_text(with_deps(*deps), encoding="utf-8")
    ignored = [
        "dvc.yaml:10: stage `fit`: a clone would lack outputs/gone.joblib, which no stage makes and git ignores. Fix: "
        "list it under `outs:` of the stage that makes it, or `uv run dvc add outputs/gone.joblib`",
        "dvc.yaml:10: stage `fit`: a clone would lack outputs/model v1.joblib, which no stage makes and git ignores. Fix: "
        'list it under `outs:` of the stage that makes it, or `uv run dvc add "outputs/model v1.joblib"`',
    ]
    assert check.main([]) == 1
    assert capsys.readouterr().out.splitlines() == ignored
    monkeypatch.setenv("PRE_COMMIT", "1")
    untracked = [
        f"dvc.yaml:10: stage `fit`: a clone would lack {name}, which is not in git. Fix: "
        f"`git add {name}`, or, if it is data, `uv run dvc add {name}`"
        for name in ("notebooks/helper.py", "data/a")
    ]
    assert check.main([]) == 1
    assert capsys.readouterr().out.splitlines() == ignored + untracked
    # Of other notebooks only what is theirs.
    (here / "notebooks/scratch.ipynb").write_text(notebook({"source": "1"}))
    assert check.main(["notebooks/scratch.ipynb"]) == 0
    assert check.main(["notebooks/fit.ipynb"]) == 1
    repository("add", "--force", "--all")
    capsys.readouterr()
    assert check.main([]) == 1
    assert capsys.readouterr().out.splitlines() == ignored[:1]
    # An index of its own, as `git commit --all` has it.
    monkeypatch.setenv("GIT_INDEX_FILE", str(here / ".git/other"))
    repository("add", "dvc.yaml", "notebooks/fit.ipynb")
    assert check.main([]) == 1
    assert capsys.readouterr().out.splitlines() == ignored + untracked


MADE = """\
  make:
    foreach: [a, b]
    do:
      wdir: data
      cmd: make ${item}
      outs: ['${item}/x.bin', {'m-${item}.bin': {cache: false}}]
      deps: [../notebooks/fit.ipynb, /full/path.bin, 'C:\\\\data\\\\x.bin', s3://bucket/x.bin, ../../beside.bin]
"""
THERE = {
    "made in another folder": (["data/a/x.bin", "data/m-b.bin", "data/a", "data/b/x.bin/part.bin", "."], {}, MADE),
    "beside its .dvc": (["d.bin/x/y.bin"], {"d.bin.dvc": "outs:\n- path: d.bin\n"}, ""),
    "a .dvc of any name": (
        ["data/ü x.bin", "e/f.bin"],
        {"data/any.dvc": "outs:\n- path: ü x.bin\n", "deep/er/own.dvc": "wdir: ../..\nouts:\n- path: e\n"},
        "",
    ),
    "a .dvc that cannot be read": (["x.bin"], {"data/any.dvc": "<<<<<<< HEAD\n"}, ""),
    "another dvc.yaml": (
        ["x.bin"], {"other/dvc.yaml": "stages:\n  x:\n    cmd: x\n    outs: ['../${name}.bin']\n", "other/params.yaml": "name: x\n"}, "",
    ),
    "capitals and umlauts": (["Data/a\u0308.bin"], {"data/ä.bin": "1"}, ""),
    "folders": (["src", "src/"], {"src/deep/x.py": "1"}, ""),
}  # fmt: skip


@pytest.mark.parametrize("how", ["merge", "stash"])
@pytest.mark.parametrize("is_added", [False, True])
def test_a_conflict_in_a_notebook_is_left_as_the_message_says(here, repository, capsys, how, is_added):
    path = here / "notebooks/fit.ipynb"

    def commit(number: int) -> None:
        path.write_text(notebook("LR = 1", f"print(LR, {number})"))
        repository("-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "--all", "--message", "work")

    commit(1)
    if how == "merge":
        repository("checkout", "--quiet", "-b", "theirs")
        commit(3)
        repository("checkout", "--quiet", "-")
    else:
        path.write_text(notebook("LR = 1", "print(LR, 3)"))
        repository("-c", "user.name=x", "-c", "user.email=x", "stash")
    commit(2)
    with pytest.raises(subprocess.CalledProcessError):
        repository(*(["merge", "theirs"] if how == "merge" else ["stash", "pop"]))
    if is_added:
        repository("add", "--all")
    for side, number in (("--ours", 2), ("--theirs", 3)):
        capsys.readouterr()
        assert check.main(["notebooks"]) == 1
        found = re.fullmatch(
            r"notebooks/fit.ipynb:\d+: contains a merge conflict\. Fix: `git (checkout .*?)` and then "
            r"`git (checkout .*?)` \(or `--theirs`\)\n",
            capsys.readouterr().out,
        )
        repository(*found[1].split())
        repository(*found[2].replace("--ours", side).split())
        assert path.read_text() == notebook("LR = 1", f"print(LR, {number})")
        assert check.main(["notebooks"]) == 0
        repository("checkout", "--merge", "--", "notebooks/fit.ipynb")


@pytest.mark.parametrize("top", [".", "sub folder"])
@pytest.mark.parametrize("case", THERE)
def test_what_a_clone_has(here, repository, capsys, monkeypatch, case, top):
    deps, files, more = THERE[case]
    monkeypatch.setenv("PRE_COMMIT", "1")
    if top != ".":  # the repository's top is above; as a hook of a linked worktree is told
        shutil.rmtree(here / ".git")
        (here / top).mkdir()
        for path in [path for path in here.iterdir() if path.name != top]:
            path.rename(here / top / path.name)
        repository("init", "--quiet")
        monkeypatch.chdir(here / top)
    for name, text in files.items():
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)
    with open("dvc.yaml", "w", encoding="utf-8") as file:
        file.write(with_deps(*deps, more=more))
    repository("add", "--force", "--all")
    if top != ".":
        monkeypatch.setenv("GIT_DIR", str(here / ".git"))
    assert check.main([]) == 0, capsys.readouterr().out
    # Without these it would be said.
    for name in files:
        os.remove(name)
    with monkeypatch.context() as without:
        without.delenv("GIT_DIR", raising=False)
        repository("add", "--force", "--all")
    assert check.main([]) == (1 if files else 0)


def test_another_project_of_the_repository_may_make_it(here, repository, monkeypatch):
    (here / "dvc.yaml").write_text(with_deps("x.bin", more="  other: {cmd: x, outs: [other/y.bin]}\n"))
    other = here / "other"
    (other / "notebooks").mkdir(parents=True)
    (other / "params.yaml").write_text("name: x\n")
    (other / "dvc.yaml").write_text("stages:\n  x: {cmd: x, deps: [y.bin], outs: ['../${name}.bin']}\n")
    repository("add", "--all")
    assert check.main([]) == 0
    monkeypatch.chdir(other)
    assert check.main([]) == 0


@pytest.mark.parametrize("case", ["no repository", "no git", "dvc.yaml is not in it"])
def test_where_there_is_no_clone_to_speak_of(here, repository, capsys, monkeypatch, case):
    monkeypatch.setenv("PRE_COMMIT", "1")
    (here / "dvc.yaml").write_text(with_deps("data/x.bin"))
    assert check.main([]) == 1
    if case == "no repository":
        shutil.rmtree(here / ".git")
    elif case == "no git":
        monkeypatch.setenv("PATH", "")
    else:
        repository("rm", "--quiet", "--force", "--cached", "dvc.yaml")
    assert check.main([]) == 0


def test_the_whole_of_an_ignored_folder_is_for_dvc(here, repository, capsys):
    """A `.dvc` file below it would be ignored as well, which `dvc add` refuses."""
    (here / ".gitignore").write_text("/data/raw\n")
    (here / "dvc.yaml").write_text(with_deps("data/raw/x/1.csv"))
    assert check.main([]) == 1
    assert capsys.readouterr().out.endswith("or `uv run dvc add data/raw`\n")


def test_results_that_a_failed_run_left_out_of_the_commit(here, repository, capsys, monkeypatch):
    """`git commit --all` would delete them: DVC removes the outs of a stage before it runs."""
    metrics, plots = here / "outputs/metrics.yaml", here / "outputs/plots/loss.csv"
    plots.parent.mkdir(parents=True)
    outs = "outs: [outputs/plots]\n    metrics: [{outputs/metrics.yaml: {cache: false}}]\n    "
    (here / "dvc.yaml").write_text(DVC.replace("deps: [outputs", f"{outs}deps: [outputs"))
    for path in (metrics, plots):
        path.write_text("loss: 1\n")
    repository("add", "--all")
    repository("-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "--message", "work")
    monkeypatch.setenv("PRE_COMMIT", "1")
    for path in (metrics, plots):
        path.unlink()
    plots.parent.rmdir()
    assert check.main([]) == 0  # not in the commit
    repository("add", "--all")
    assert check.main([]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"dvc.yaml:{line}: stage `fit`: the commit deletes {out}, missing from its last run. Fix: make it with "
        f"`uv run dvc repro`, or restore the last one with `git checkout HEAD -- {out}`"
        for line, out in ((10, "outputs/plots"), (10, "outputs/metrics.yaml"))
    ]
    repository("checkout", "HEAD", "--", "outputs/plots", "outputs/metrics.yaml")
    assert check.main([]) == 0
    # DVC tracks it now, or nobody makes it any more.
    repository("rm", "--cached", "--quiet", "-r", "outputs")
    assert check.main([]) == 0
    shutil.rmtree(here / "outputs/plots")
    metrics.unlink()
    (here / "dvc.yaml").write_text(DVC)
    repository("add", "--all")
    assert check.main([]) == 0


LOCKED = """\
schema: '2.0'
stages:
  fit:
    cmd: x
    params: {{params.yaml: {{train: {train}}}}}
    outs:
    - {{path: outputs/metrics.yaml, hash: md5, md5: {file}, size: 8}}
    - {{path: outputs/plots, hash: md5, md5: {folder}, size: 16, nfiles: 2}}
"""


@pytest.fixture
def ran(here, repository, monkeypatch):
    """The folder with a run in dvc.lock whose metrics and plots are in git; a call stages a result's new text."""
    outs = "outs: [{outputs/plots: {cache: false}}]\n    metrics: [{outputs/metrics.yaml: {cache: false}}]\n    "
    (here / "dvc.yaml").write_text(DVC.replace("deps: [outputs", f"{outs}deps: [outputs"))
    hashed = hashlib.md5(b"loss: 1\n").hexdigest()
    entries = [{"md5": hashed, "relpath": name} for name in ("a.csv", "deep/b.csv")]
    folder = hashlib.md5(json.dumps(entries).encode()).hexdigest() + ".dir"
    (here / "dvc.lock").write_text(LOCKED.format(file=hashed, folder=folder, train="{lr: 1}"))
    (here / "outputs/plots/deep").mkdir(parents=True)
    for path in ("metrics.yaml", "plots/a.csv", "plots/deep/b.csv"):
        (here / "outputs" / path).write_text("loss: 1\n")
    repository("add", "--all")
    repository("-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "--message", "work")
    monkeypatch.setenv("PRE_COMMIT", "1")

    def stage(path: str, text: str) -> None:
        (here / path).write_bytes(text.encode())
        repository("add", path)

    return stage


def from_outside(*paths: str) -> str:
    return "".join(
        f"{path}: comes from a run outside the pipeline. Fix: uv run dvc repro, then git add dvc.lock {path}\n"
        for path in paths
    )


def test_results_that_no_run_of_the_pipeline_made(here, ran, repository, capsys):
    assert check.main([]) == 0
    # What counts is what would be committed.
    (here / "outputs/metrics.yaml").write_text("loss: 2\n")
    assert check.main([]) == 0
    repository("add", "outputs/metrics.yaml")
    (here / "outputs/metrics.yaml").write_text("loss: 1\n")
    assert check.main([]) == 1
    assert capsys.readouterr().out == from_outside("outputs/metrics.yaml")
    ran("outputs/metrics.yaml", "loss: 1\n")
    ran("outputs/plots/deep/c.csv", "loss: 1\n")
    assert check.main([]) == 1
    assert capsys.readouterr().out == from_outside("outputs/plots")
    repository("rm", "--quiet", "-f", "outputs/plots/deep/c.csv")
    # A run whose dvc.lock is left out of the commit, and the dvc.lock of one whose metrics are.
    text = (here / "dvc.lock").read_text()
    new = text.replace(hashlib.md5(b"loss: 1\n").hexdigest(), hashlib.md5(b"loss: 3\n").hexdigest())
    (here / "dvc.lock").write_text(new)
    ran("outputs/metrics.yaml", "loss: 3\n")
    assert check.main([]) == 1
    ran("dvc.lock", new)
    assert check.main([]) == 0
    ran("outputs/metrics.yaml", "loss: 1\n")
    assert check.main([]) == 1
    assert capsys.readouterr().out == from_outside("outputs/metrics.yaml") * 2


def test_results_that_git_has_in_another_form(here, ran, repository):
    # DVC has the ends of lines of the disk; git has none of a link's target, and nothing here of a stage that never ran.
    text = (here / "dvc.lock").read_text()
    ran("dvc.lock", text.replace(hashlib.md5(b"loss: 1\n").hexdigest(), hashlib.md5(b"loss: 1\r\n").hexdigest()))
    assert check.main([]) == 0
    if os.name != "nt":
        (here / "outputs/metrics.yaml").rename(here / "elsewhere.yaml")
        (here / "outputs/metrics.yaml").symlink_to("../elsewhere.yaml")
        repository("add", "--all")
        assert check.main([]) == 0
    ran("outputs/plots/a.csv", "loss: 9\n")
    ran("dvc.lock", text.replace("  fit:", "  other:"))
    assert check.main([]) == 0


RETYPED = [
    ("1", "1", None),
    ("1", "2", None),
    ("1e5", "100000.0", None),
    (".nan", ".nan", None),
    ("{a: 1, b: 2}", "{b: 2, a: 1}", None),
    ("1", "1.0", ("train.lr", 1.0, 1)),
    ("1", "true", ("train.lr", True, 1)),
    ("0.0", "-0.0", ("train.lr", -0.0, 0.0)),
    ("[1, [2]]", "[1, [2.0]]", ("train.lr", [1, [2.0]], [1, [2]])),
    ("{a: {b: 1}}", "{a: {b: true}}", ("train.lr.a.b", True, 1)),
    ("{1: x}", "{1.0: x}", ("train.lr", {1.0: "x"}, {1: "x"})),
    ("'1'", "1", None),
]


@pytest.mark.parametrize("entry", ["train", "train.lr", "params.yaml:"])
@pytest.mark.parametrize("case", RETYPED, ids=str)
def test_values_that_dvc_takes_for_equal(here, entry, case):
    old, new, found = case
    (here / "params.yaml").write_text(f"train:\n  lr: {new}\n")
    (here / "dvc.yaml").write_text(DVC.replace("[train]", "[{params.yaml: }]" if entry.endswith(":") else f"[{entry}]"))
    recorded = f"{{train.lr: {old}}}" if entry == "train.lr" else f"{{train: {{lr: {old}}}}}"
    (here / "dvc.lock").write_text(f"stages:\n  fit:\n    params:\n      params.yaml: {recorded}\n")
    project = Project()
    said = [*lock_file.retyped(project, project.stages(), lock_file.read())]
    assert said == [
        f"params.yaml:2: `{key}` is {value!r}, but stage `fit` last ran with {before!r}, which DVC takes for the same. "
        "Fix: uv run dvc repro --force fit --single-item"
        for key, value, before in ([found] if found else [])
    ]


def test_beside_an_editor(project):
    """The whole way: an editor's run is refused, named, and mended by what the message says."""
    metrics = project.read("outputs/metrics.yaml")
    project.write("outputs/metrics.yaml", "accuracy: 1.0\n")
    with (project.path / "outputs/predictions.csv").open("a") as file:
        file.write("more\n")
    done = project.run("git", "commit", "--all", "--message", "edited", check=False)
    assert done.returncode == 1 and from_outside("outputs/metrics.yaml") in done.stdout
    said = project.pipeline("check", check=False).stdout.splitlines()
    assert sorted(said) == [
        f"outputs/{name}: comes from a run outside the pipeline. Fix: uv run dvc repro"
        for name in ("metrics.yaml", "predictions.csv")
    ]
    project.run("uv", "run", "dvc", "repro")
    project.run("git", "add", "dvc.lock", "outputs/metrics.yaml")
    assert project.read("outputs/metrics.yaml") == metrics
    assert project.pipeline("check").stdout == ""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_commit_after_an_experiment_was_killed(bare, tmp_path):
    """What the VS Code extension's Stop does: SIGTERM to all processes, DVC first here."""
    bare.write("dvc.yaml", "stages:\n  wait:\n    cmd: touch running; sleep 60\n    params: [x]\n    outs: [out]\n")
    bare.write("params.yaml", "x: 1\n")
    bare.write(".gitignore", "running\n__pycache__\n/out\n")
    for command in ("git init --quiet", "dvc init --quiet", "git add --all", "git commit --quiet --message work"):
        bare.run(*command.split())
    command = on_path(["dvc", "exp", "run", "-S", "x=2"], bare.environ)
    hook = Workspace(bare.path, bare.environ | {"PRE_COMMIT": "1"})
    with subprocess.Popen(command, cwd=bare.path, env=bare.environ, start_new_session=True) as process:
        while not (tmp_path / "running").exists():
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
    refused = (
        "HEAD: is on no branch: `dvc exp run` was stopped, or is still at work. "
        'Fix: git switch main (README.md, "After a stop", says the rest)\n'
    )
    assert hook.pipeline("check", check=False).stdout == refused
    # A rebase has HEAD on no branch, too.
    (tmp_path / ".git/rebase-merge").mkdir()
    assert hook.pipeline("check").stdout == ""
    (tmp_path / ".git/rebase-merge").rmdir()
    bare.run("git", "switch", "main")
    assert hook.pipeline("check").stdout == ""
    assert bare.read("params.yaml") == "x: 2\n"
    # A commit of one's own, on no branch.
    bare.run("git", "switch", "--detach", "main")
    bare.run("git", "commit", "--quiet", "--allow-empty", "--message", "mine")
    assert hook.pipeline("check").stdout == ""


def test_what_dvc_has_just_added_is_not_in_git_yet(here, repository):
    (here / "dvc.yaml").write_text(with_deps("data/deep/x.bin"))
    assert check.main([]) == 1
    (here / "data").mkdir()
    (here / "data/own.dvc").write_text("outs:\n- path: deep/x.bin\n")
    assert check.main([]) == 0


def test_what_is_behind_a_link_is_no_business_of_git(here, repository, capsys):
    (here / "dvc.yaml").write_text(with_deps("data/x.bin", "y.bin"))
    try:
        (here / "data").symlink_to(here.parent, target_is_directory=True)
    except OSError:
        pytest.skip("this account may not make links")
    assert check.main([]) == 1
    assert re.findall("would lack (.*?),", capsys.readouterr().out) == ["y.bin"]


def test_a_notebook_that_is_not_added_stops_the_commit(project):
    project.write("notebooks/more.ipynb", notebook("", "print(1)"))
    project.replace("dvc.yaml", "[penguins]", "[penguins, more]")
    said = "stage `code@more`: a clone would lack notebooks/more.ipynb, which is not in git. Fix: `git add notebooks/more.ipynb`"
    assert project.pipeline("check").stdout == ""
    refused = project.run("git", "commit", "--all", "--message", "more", check=False)
    assert refused.returncode == 1
    assert said in refused.stdout
    project.run("git", "add", "notebooks/more.ipynb")
    project.run("git", "commit", "--all", "--message", "more")


def test_what_a_hook_made_of_what_was_recorded(here, repository, capsys, monkeypatch):
    module = here / "notebooks/helper.py"
    module.write_text("x = 1")
    text = lock(here).encode() + f"    - path: x\n      md5: {hashlib.md5(b'x = 1').hexdigest()}\n".encode()
    (here / "dvc.lock").write_bytes(text)
    repository("add", "--all")
    module.write_text("x = 1\n")
    changed = here / "notebooks/fit.ipynb"
    changed.write_text(notebook("LR = 1", "print(LR, end='')"))
    line = "a hook changed what dvc.lock recorded. Fix: run `uv run dvc repro` and commit again\n"
    # While no commit is made, a person has done so.
    assert check.main(["--fix"]) == 0
    monkeypatch.setenv("PRE_COMMIT", "1")
    assert check.main(["--fix"]) == 0
    monkeypatch.setenv("GIT_INDEX_FILE", str(here / ".git/index"))
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out == f"notebooks/fit.ipynb: {line}notebooks/helper.py: {line}"
    # What was stale before; and what counts for nothing.
    repository("add", "--all")
    module.write_text("x = 2\n")
    changed.write_text(notebook("LR = 1", "print(LR, end='!')"))
    assert check.main(["--fix"]) == 0
    changed.write_text(notebook("LR = 1", "print(LR)"))
    repository("add", "--all")
    changed.write_text(notebook("LR = 1", "print( LR )  # now"))
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out.count("\n") == 1


def test_links_stay_links_except_to_results(here, capsys):
    """A link of DVC's leads into its cache, where nothing may change."""
    lock(here)
    (here / "shared").mkdir()
    for name in ("params.yaml", "dvc.yaml", "dvc.lock", "notebooks/fit.ipynb", "outputs/code/fit.py"):
        place = (here / name).rename(here / "shared" / Path(name).name)
        (here / name).symlink_to(place)
    cached = (here / "shared/fit.py").read_bytes()
    (here / "shared/fit.ipynb").write_text(notebook("LR = 1", "print( LR )"))
    assert check.main(["--fix"]) == 1
    assert "renewed the record" in capsys.readouterr().out
    (here / "shared/fit.ipynb").write_text(
        notebook({"source": "LR = 1\nN = 2", "metadata": {"tags": ["Parameters"]}}, "print(LR, N)")
    )
    assert check.main(["--fix"]) == 1
    assert '"parameters"' in (here / "shared/fit.ipynb").read_text()
    assert (here / "shared/params.yaml").read_text() == "train:\n  lr: 1\n  n: 2\n"
    assert code.main(["notebooks/fit.ipynb", "outputs/code/fit.py"]) == 0
    assert not (here / "outputs/code/fit.py").is_symlink() and (here / "shared/fit.py").read_bytes() == cached
    assert all((here / name).is_symlink() for name in ("params.yaml", "dvc.yaml", "dvc.lock", "notebooks/fit.ipynb"))


def test_code_of_ipython_cells():
    made = parse(
        notebook(
            "LR: float = 1  # rate\nimport os\nTWICE = LR * 2",
            "%matplotlib inline\nfiles = !ls *.csv\n!pip list\nx = 10\ny = (x\n  % 3)",
            "%%bash\necho  hi",
            {"cell_type": "markdown", "source": "text"},
            {"source": "print(1)", "metadata": {"tags": ["skip-execution"]}},
            "# only a comment",
            's = """\n%not magic\n"""\nplot(s);',
        ),
        "x.ipynb",
    )
    assert made.code() == (
        "# %%\n# parameters: LR, TWICE\nimport os\nTWICE = LR * 2\n\n"
        "# %%\nget_ipython().run_line_magic('matplotlib', 'inline')\nfiles = get_ipython().getoutput('ls *.csv')\n"
        "get_ipython().system('pip list')\nx = 10\ny = x % 3\n\n"
        "# %%\n%%bash\necho  hi\n\n"
        "# %%\ns = '\\n%not magic\\n'\nplot(s);\n"
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
sources = st.text(max_size=40) | st.sampled_from(
    ["%time x", "!ls\\\n-l", "x = !ls", "a?", "x = 1 # c", "%%capture\nx=1", "if x:\n  %y", "\x00", "(" * 300, "\ud800"]
)
cells = st.fixed_dictionaries(
    {"cell_type": st.sampled_from(["code", "markdown", "raw"]), "source": sources | st.lists(sources, max_size=3)},
    optional={
        "metadata": json_values
        | st.fixed_dictionaries({"tags": st.lists(st.sampled_from(["parameters", "x", "params"]))}),
        "outputs": json_values,
    },
)


@given(
    json_values | st.fixed_dictionaries({"nbformat": st.just(4), "cells": st.lists(cells | json_values, max_size=4)})
)
def test_any_json_is_a_notebook_or_a_line(document):
    try:
        made = parse(json.dumps(document), "x.ipynb")
    except NotebookError as error:
        assert "\n" not in str(error) and str(error).startswith("x.ipynb")
    else:
        problems = [*made.problems()] or [*made.drift(), *made.unused()]
        assert all("\n" not in problem for problem in problems)
        made.code()


@given(st.lists(cells, max_size=4), json_values, st.text(max_size=9))
def test_code_never_depends_on_outputs_metadata_or_markdown(given_cells, other, text):
    before = parse(json.dumps({"nbformat": 4, "cells": given_cells}), "x.ipynb")
    changed = []
    for cell in given_cells:
        tags = [tag for tag in before.cells[len(changed)].tags]
        cell = cell | {
            "outputs": other,
            "execution_count": 7,
            "id": text,
            "metadata": {"tags": tags, "collapsed": other},
        }
        changed.append(cell if cell["cell_type"] == "code" else cell | {"source": text})
    after = parse(json.dumps({"nbformat": 4, "cells": changed, "metadata": {"x": other}}), "x.ipynb")
    assert after.code() == before.code()


def everything(here) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in here.rglob("*") if path.is_file()}


EACH = DVC.replace(
    "    cmd: pipeline run notebooks/fit.ipynb outputs/fit.ipynb\n    deps: [outputs/code/fit.py]\n    params: [train]\n",
    "    foreach: [a, b]\n    do:\n      cmd: pipeline run notebooks/fit.ipynb outputs/${item}.ipynb\n"
    "      deps: [outputs/code/fit.py]\n      params: ['models.${item}']\n",
)
FIXES = {
    "a key, its comment, its line ends": (
        {
            "notebook": "LR = 1\nSTEPS = 20  # of the optimiser",
            "params.yaml": "# mine\r\ntrain: # the model\r\n    lr:   '1'\r\n    # end of train\r\n\r\nother: [1,2]\r\n",
            "dvc.yaml": DVC,
        },
        {
            "params.yaml": "# mine\r\ntrain: # the model\r\n    lr:   '1'\r\n    steps: 20 # of the optimiser\r\n"
            "    # end of train\r\n\r\nother: [1,2]\r\n"
        },
        ["params.yaml:4: added `steps: 20` to `train`"],
    ),
    "the section that the heading names": (
        {
            "notebook": "# base\nSEED = 1\n\n# train\nLR = 1\n# how often\n# it looks\nSTEPS = 20",
            "params.yaml": "base: {seed: 1}\ntrain: {lr: 1}",
            "dvc.yaml": DVC.replace("[train]", "[base, train]"),
        },
        {"params.yaml": "base: {seed: 1}\ntrain: {lr: 1, steps: 20}"},
        ["params.yaml:2: added `steps: 20` to `train`"],
    ),
    "several changes": (
        {
            "notebook": "LR = 0.1\nNAME = 'no'\nSIZES = [1, 2]",
            "params.yaml": "train:\n",
            "dvc.yaml": DVC.replace("    deps: [outputs/code/fit.py]\n", ""),
        },
        {
            "params.yaml": "train:\n  lr: 0.1\n  name: no\n  sizes: [1, 2]\n",
            "dvc.yaml": DVC.replace("    deps: [outputs/code/fit.py]\n", "") + "    deps: [outputs/code/fit.py]\n",
        },
        [
            "dvc.yaml: added outputs/code/fit.py to the `deps:` of stage `fit`",
            "params.yaml:2: added `lr: 0.1` to `train`",
            "params.yaml:3: added `name: no` to `train`",
            "params.yaml:4: added `sizes: [1, 2]` to `train`",
        ],
    ),
    "the only section beside single keys": (
        {"notebook": "SEED = 1\nLR = 1", "params.yaml": "base: {seed: 1, x: 2}\ntrain:\n", "dvc.yaml": DVC.replace("[train]", "[base.seed, train]")},
        {"params.yaml": "base: {seed: 1, x: 2}\ntrain:\n  lr: 1\n"},
        ["params.yaml:3: added `lr: 1` to `train`"],
    ),
    "the whole file": (
        {"notebook": "SEED = 1\nLR = 1", "params.yaml": "--- # mine\nseed: 1\n", "dvc.yaml": DVC.replace("[train]", "[{params.yaml: }]")},
        {"params.yaml": "--- # mine\nseed: 1\nlr: 1\n"},
        ["params.yaml:3: added `lr: 1`"],
    ),
    "an empty section": (
        {"notebook": "LR = 1", "params.yaml": "train:\n\n# last\n", "dvc.yaml": DVC},
        {"params.yaml": "train:\n  lr: 1\n\n# last\n"},
        ["params.yaml:2: added `lr: 1` to `train`"],
    ),
    "an item of a shared list": (
        {
            "notebook": "LR = 1\nNAME = 'x'",
            "params.yaml": "models: {a: {lr: 1, name: p}, b: {lr: 2}}\n",
            "dvc.yaml": EACH,
        },
        {"params.yaml": "models: {a: {lr: 1, name: p}, b: {lr: 2, name: x}}\n"},
        ["params.yaml:1: added `name: x` to `models.b`"],
    ),
    "a section that is said to be empty": (
        {"notebook": "LR = 1", "params.yaml": "train: ~  # mine\nother: 1\n", "dvc.yaml": DVC},
        {"params.yaml": "train:  # mine\n  lr: 1\nother: 1\n"},
        ["params.yaml:2: added `lr: 1` to `train`"],
    ),
    "a code file": (
        {"notebook": "LR = 1", "params.yaml": "train:\n  lr: 1\n", "dvc.yaml": DVC.replace("    deps: [outputs/code/fit.py]\n", "")},
        {"dvc.yaml": DVC.replace("    deps: [outputs/code/fit.py]\n", "") + "    deps: [outputs/code/fit.py]\n"},
        ["dvc.yaml: added outputs/code/fit.py to the `deps:` of stage `fit`"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FIXES)
def test_what_is_mended(here, capsys, case):
    before, after, said = FIXES[case]
    names = [line.partition(" =")[0] for line in before["notebook"].splitlines() if "=" in line]
    (here / "notebooks/fit.ipynb").write_text(notebook(before["notebook"], ", ".join(names)))
    for name in ("params.yaml", "dvc.yaml"):
        (here / name).write_bytes(before[name].encode())
    files_before = everything(here)
    assert check.main([]) == 1
    assert everything(here) == files_before
    capsys.readouterr()
    assert check.main(["--fix"]) == 1
    assert [line for line in capsys.readouterr().out.splitlines() if "is '1' (str)" not in line] == said
    assert everything(here) == files_before | {name: text.encode() for name, text in after.items()}
    files_after = everything(here)
    check.main(["--fix"])
    assert everything(here) == files_after


def test_a_misspelt_tag_is_mended(here, capsys):
    text = (
        '{"cells":[{"cell_type":"code", "metadata" : {"tags": ["x",\r\n "Par\\u0061meters" ], "y": 1.50}, "source":"LR = 1",\n'
        '"outputs":[], "execution_count":null,"id":"ä"}, {"cell_type":"code","metadata":{},"source":["LR"],"outputs":[],'
        '"execution_count":null,"id":"b"}],"metadata":{},"nbformat":4,"nbformat_minor":5}'
    )
    (here / "notebooks/fit.ipynb").write_bytes(text.encode())
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out == "notebooks/fit.ipynb: cell 1: changed its tag `Parameters` to `parameters`\n"
    assert (here / "notebooks/fit.ipynb").read_bytes().decode() == text.replace("Par\\u0061meters", "parameters")
    assert check.main(["--fix"]) == 0


TAGS = {
    "two near misses": (
        [{"source": "LR = 1", "metadata": {"tags": ["params"]}}, {"source": "1", "metadata": {"tags": ["Parameters"]}}],
        [
            "notebooks/fit.ipynb: cell 1: Papermill ignores the tag `params`. Fix: "
            "remove it, or tag only the code cell that assigns the parameters, with `parameters`",
            "notebooks/fit.ipynb: cell 2: Papermill ignores the tag `Parameters`. Fix: "
            "remove it, or tag only the code cell that assigns the parameters, with `parameters`",
        ],
    ),
    "beside the right one": (
        ["LR = 1", {"source": "LR", "metadata": {"tags": ["params"]}}],
        ["notebooks/fit.ipynb: cell 2: Papermill ignores the tag `params`. Fix: remove it"],
    ),
    "on markdown": (
        [{"cell_type": "markdown", "source": "x", "metadata": {"tags": ["parameter"]}}, {"source": "LR = 1"}],
        [
            "notebooks/fit.ipynb: cell 1: Papermill ignores the tag `parameter`. Fix: "
            "remove it, or tag only the code cell that assigns the parameters, with `parameters`"
        ],
    ),
    "two": (
        ["LR = 1", {"source": "LR = 2", "metadata": {"tags": ["parameters"]}}],
        [
            "notebooks/fit.ipynb: cells 1 and 2 are tagged `parameters`, "
            "so that the last one overrides params.yaml. Fix: keep the tag on one"
        ],
    ),
    "raw": (
        [{"cell_type": "raw", "source": "LR = 1", "metadata": {"tags": ["parameters"]}}],
        ["notebooks/fit.ipynb: cell 1: the tag `parameters` is on a raw cell. Fix: move it to a code cell"],
    ),
    "none": (
        [{"source": "LR = 1"}],
        [
            "notebooks/fit.ipynb: no cell is tagged `parameters`. Fix: tag the cell that assigns the parameters, "
            "or a new, empty one if there are none"
        ],
    ),
}


@pytest.mark.parametrize("case", TAGS)
def test_tags_are_left_where_there_are_two_cures(here, capsys, case):
    cells, expected = TAGS[case]
    (here / "notebooks/fit.ipynb").write_text(notebook(*cells))
    before = everything(here)
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out.splitlines() == expected
    assert everything(here) == before


AGAINST_PARAMS = {
    "no list": (
        "# model\nLR = 0.1", "", "[]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `LR` has no key `lr` in what stage `fit` lists under `params:` "
        "(none). Fix: add `lr: 0.1` to `model` in params.yaml and list `model` under the stage's `params:`",
    ),
    "no list, and no heading": (
        "LR = 1", "--- # none yet\n", "[]",
        "notebooks/fit.ipynb: cell 1, line 1: parameter `LR` has no key `lr` in what stage `fit` lists under `params:` "
        "(none). Fix: add `lr: 1` to `fit` in params.yaml and list `fit` under the stage's `params:`",
    ),
    "no section in the list": (
        "LR = 1\nSTEPS = 2", "train:\n  lr: 1\n  x: 2\n", "[train.lr]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(train.lr). Fix: add `steps: 2` to `fit` in params.yaml and list `fit` under the stage's `params:`",
    ),
    "a section that the stage does not list": (
        "SEED = 7\nLR = 1", "base:\n  seed: 7\ntrain:\n  lr: 1\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 1: parameter `SEED` has no key `seed` in what stage `fit` lists under `params:` "
        "(train). Fix: list `base.seed` under the stage's `params:`, or add `seed: 7` to `train` in params.yaml",
    ),
    "a heading of which there is no section": (
        "# train\nLR = 1", "train: true\n", "[]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `LR` has no key `lr` in what stage `fit` lists under `params:` "
        "(none). Fix: add `lr: 1` to `fit` in params.yaml and list `fit` under the stage's `params:`",
    ),
    "a parameter that looks like an empty section": (
        "TRAIN = None\nLR = 1", "train:\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `LR` has no key `lr` in what stage `fit` lists under `params:` "
        "(train). Fix: add `lr: 1` to `fit` in params.yaml and list `fit` under the stage's `params:`",
    ),
    "a section of the stage's name": (
        "LR = 1", "fit: {x: 1}\n", "[]",
        "notebooks/fit.ipynb: cell 1, line 1: parameter `LR` has no key `lr` in what stage `fit` lists under `params:` "
        "(none). Fix: add `lr: 1` to `fit_parameters` in params.yaml and list `fit_parameters` under the stage's `params:`",
    ),
    "two sections to add to": (
        "LR = 1\nSTEPS = 2", "base:\n  lr: 1\ntrain:\n", "[base, train]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(base, train). Fix: add `steps: 2` to `base` in params.yaml, or add `steps: 2` to `train` in params.yaml",
    ),
    "a key elsewhere, or a new one": (
        "LR = 1\nSTEPS = 2", "train:\n  lr: 1\nother:\n  steps: 3\n  x: 1\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(train). Fix: list `other.steps` under the stage's `params:`, or add `steps: 2` to `train` in params.yaml",
    ),
    "a section of which the stage has a key": (
        "LR = 1\nSTEPS = 2", "train:\n  lr: 1\nother:\n  lr: 2\n  steps: 2\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(train). Fix: list `other.steps` under the stage's `params:`, or add `steps: 2` to `train` in params.yaml",
    ),
    "a section that nobody lists, with another value": (
        "LR = 1\nSTEPS = 2", "train:\n  lr: 1\nother:\n  steps: 3\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(train). Fix: list `other.steps` under the stage's `params:`, or add `steps: 2` to `train` in params.yaml",
    ),
    "a section of which one value is another": (
        "LR = 1\nSTEPS = 2\nTRAIN = 3", "base:\n  train: 3\nother:\n  lr: 5\n  steps: 2\n", "[base]",
        "notebooks/fit.ipynb: cell 1, line 1: parameter `LR` has no key `lr` in what stage `fit` lists under `params:` "
        "(base). Fix: list `other.lr` under the stage's `params:`, or add `lr: 1` to `base` in params.yaml\n"
        "notebooks/fit.ipynb: cell 1, line 2: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(base). Fix: list `other.steps` under the stage's `params:`, or add `steps: 2` to `base` in params.yaml",
    ),
    "a section with a dot, which no list can name": (
        "STEPS: int", "a.b:\n  steps: 1\n", "[]",
        "notebooks/fit.ipynb: cell 1, line 1: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(none). Fix: add `steps: ...` to `fit` in params.yaml and list `fit` under the stage's `params:`",
    ),
    "a section that is a parameter, too": (
        "# train\nLR = 1\nTRAIN = True", "train:\n  lr: 1\n", "[train]",
        "params.yaml:1: `train` may be a parameter or a section: "
        "the notebook has parameters of its name and of its keys. Fix: rename one",
    ),
    "an entry that is not there, beside a parameter without a key": (
        "LR = 1\nSTEPS = 2", "train:\n  lr: 1\n", "[train, trian]",
        "dvc.yaml:11: stage `fit` lists `trian` under `params:`, but params.yaml has no such key. "
        "Fix: add it there, or remove it from the list",
    ),
    "no default": (
        "LR = 1\nSTEPS: int", "train:\n  lr: 1\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 2: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(train). Fix: add `steps: ...` to `train` in params.yaml",
    ),
    "a key too many": (
        "LR = 1", "train:\n  lr: 1\n  steps: 2\n", "[train]",
        "params.yaml:3: `train.steps` is given to stage `fit`, but the parameters cell (cell 1) of notebooks/fit.ipynb does "
        "not assign `steps`. Fix: add it there, or list in the stage's `params:` only the keys that the notebook uses",
    ),
    "a new name in the notebook": (
        "LR = 1\nSTEPS = 2", "train:\n  lr: 1\n  epochs: 4\n", "[train]",
        "params.yaml:3: `train.epochs` is given to stage `fit`, but the parameters cell (cell 1) of notebooks/fit.ipynb does not "
        "assign `epochs`. Fix: rename it to `steps`, add it there, or list in the stage's `params:` only the keys that the notebook uses\n"
        "notebooks/fit.ipynb: cell 1, line 2: parameter `STEPS` has no key `steps` in what stage `fit` lists under `params:` "
        "(train). Fix: rename `epochs` to `steps` in params.yaml, or add `steps: 2` to `train` in params.yaml",
    ),
    "one key twice": (
        "LR = 1", "base:\n  LR: 1\ntrain:\n  lr: 1\n", "[base, train]",
        "params.yaml:4: `train.lr` and params.yaml:2: `base.LR` both define `lr` for stage `fit`. "
        "Fix: rename one, or list only the one wanted in the stage's `params:`",
    ),
    "the annotation": (
        "LR: float = 1", "train:\n  lr: '1'\n", "[train]",
        "params.yaml:2: `train.lr` is '1' (str), but notebooks/fit.ipynb: cell 1, line 1 says `LR: float`. Fix: change one of them",
    ),
    "the default": (
        "LR = True", "train:\n  lr: no\n", "[train]",
        "params.yaml:2: `train.lr` is 'no' (str), but notebooks/fit.ipynb: cell 1, line 1 says `LR = True`. "
        "Fix: change one of them, or annotate the parameter",
    ),
    "nothing": (
        "LR = 'x'", "train:\n  lr:\n", "[train]",
        "params.yaml:2: `train.lr` is None (NoneType), but notebooks/fit.ipynb: cell 1, line 1 says `LR = 'x'`. "
        "Fix: change one of them, or annotate the parameter",
    ),
    "an entry that is not there": (
        "LR = 1", "train:\n  lr: 1\n", "[train, trian]",
        "dvc.yaml:11: stage `fit` lists `trian` under `params:`, but params.yaml has no such key. "
        "Fix: add it there, or remove it from the list",
    ),
    "a date": (
        "LR = 1", "train:\n  lr: 2026-01-01\n", "[train]",
        'params.yaml:2: `train.lr` is an unquoted date, which DVC cannot track. Fix: quote it, as in "2026-01-01"',
    ),
    "a tuple in a list": (
        "LR = [(1, 2)]", "train:\n  lr: [[1, 2]]\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 1: `LR` contains a tuple, which params.yaml cannot hold. Fix: write a list or a string",
    ),
    "a tuple as a key": (
        "LR = {(1, 2): 3}", "train:\n  lr: {}\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 1: `LR` contains a tuple, which params.yaml cannot hold. Fix: write a list or a string",
    ),
    "a Literal": (
        "LR: Literal[-1, Literal['a', None]] = -1", "train:\n  lr: 1\n", "[train]",
        "params.yaml:2: `train.lr` is 1 (int), but notebooks/fit.ipynb: cell 1, line 1 says "
        "`LR: Literal[-1, Literal['a', None]]`. Fix: change one of them",
    ),
    "a tuple": (
        "LR = (1, 2)", "train:\n  lr: [1, 2]\n", "[train]",
        "notebooks/fit.ipynb: cell 1, line 1: `LR` is a tuple, which params.yaml cannot hold. Fix: write a list or a string",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", AGAINST_PARAMS)
def test_notebook_against_params(here, capsys, case):
    source, params, listed, expected = AGAINST_PARAMS[case]
    (here / "notebooks/fit.ipynb").write_text(notebook(source, "LR, STEPS, TRAIN, SEED"))
    (here / "params.yaml").write_text(params)
    (here / "dvc.yaml").write_text(DVC.replace("[train]", listed))
    before = everything(here)
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out == expected + "\n"
    assert everything(here) == before


@pytest.mark.parametrize("listed", ["[]", "['models.${item}']"])
def test_nothing_is_written_for_one_item_of_a_shared_list(here, capsys, listed):
    """What is added to it would come to each item, and once more to those that have it."""
    (here / "notebooks/fit.ipynb").write_text(notebook("LR = 1\nNAME = 'y'", "LR, NAME"))
    (here / "params.yaml").write_text("models: {a: {lr: 1, name: p}, b: {lr: 2}}\nbase: {name: y}\n")
    (here / "dvc.yaml").write_text(EACH.replace("['models.${item}']", listed))
    before = everything(here)
    assert check.main(["--fix"]) == 1
    assert everything(here) == before
    assert capsys.readouterr().out.count(": list `base.name` under") == (2 if listed == "[]" else 1)


def test_another_stages_value_is_taken_by_nobody_but_its_own(here, capsys):
    """It has a section of which the stage gets a key already, and a room of its own for the new one."""
    (here / "notebooks/boost.ipynb").write_text(notebook("SEED = 2\nRATE = 0.1\nDEPTH = 6", "SEED, RATE, DEPTH"))
    (here / "notebooks/fit.ipynb").write_text(notebook("SEED = 1\nDEPTH = 3", "SEED, DEPTH"))
    (here / "params.yaml").write_text("forest: {seed: 1, depth: 3}\nboost: {seed: 2, rate: 0.1}\n")
    fit = DVC[DVC.index("  fit:") :].replace("[train]", "[forest]")
    boost = fit.replace("fit", "boost").replace("[forest]", "[boost]")
    (here / "dvc.yaml").write_text(DVC[: DVC.index("  fit:")].replace("[fit]", "[fit, boost]") + fit + boost)
    before = everything(here)
    assert check.main(["--fix"]) == 1
    assert everything(here) == before
    assert capsys.readouterr().out == (
        "notebooks/boost.ipynb: cell 1, line 3: parameter `DEPTH` has no key `depth` in what stage `boost` lists under "
        "`params:` (boost). Fix: list `forest.depth` under the stage's `params:`, or add `depth: 6` to `boost` in params.yaml\n"
    )


HEAD = (
    "notebooks/{0}.ipynb: cell 1, line {1}: parameter `{2}` has no key `{3}` in what stage `{0}` lists under `params:` "
)
# The cells of `fit` and of `boost`, params.yaml, the two lists; then params.yaml after --fix, the list of `fit`, what is said.
TWO_STAGES = {
    "the heading's section is the other's, too": (
        ("SEED = 1\n\n# base\nSHUFFLE = True", "SEED = 1"), "base: {seed: 1}\n", ("[base]", "[base]"),
        "base: {seed: 1}\n", "[base]",
        [HEAD.format("fit", 4, "SHUFFLE", "shuffle") + "(base). Fix: add `shuffle: true` to `base` in params.yaml, "
         "or add `shuffle: true` to `fit` in params.yaml and list `fit` under the stage's `params:`"],
    ),
    "the heading's section is the other's, and there is one more": (
        ("SEED = 1\nLR = 1\n\n# base\nSHUFFLE = True", "SEED = 1"), "base: {seed: 1}\ntrain: {lr: 1}\n", ("[base, train]", "[base]"),
        "base: {seed: 1}\ntrain: {lr: 1}\n", "[base, train]",
        [HEAD.format("fit", 5, "SHUFFLE", "shuffle") + "(base, train). Fix: add `shuffle: true` to `base` in params.yaml, "
         "or add `shuffle: true` to `fit` in params.yaml and list `fit` under the stage's `params:`"],
    ),
    "the other takes the whole file": (
        ("SEED = 1\nLR = 1", "SEED = 1"), "base: {seed: 1}\n", ("[base]", "[{params.yaml: }]"),
        "base: {seed: 1}\n", "[base]",
        [HEAD.format("fit", 2, "LR", "lr") + "(base). Fix: add `lr: 1` to `base` in params.yaml, "
         "or add `lr: 1` to `fit` in params.yaml and list `fit` under the stage's `params:`"],
    ),
    "nothing listed, and the other has the heading's section": (
        ("# train\nLR = 1", "SEED = 1"), "train: {seed: 1}\n", ("[]", "[train]"), "train: {seed: 1}\n", "[]",
        [HEAD.format("fit", 2, "LR", "lr") + "(none). Fix: add `lr: 1` to `fit` in params.yaml and list `fit` under the stage's `params:`"],
    ),
    "both lack it": (
        ("SEED = 1\nLR = 1", "SEED = 1\nLR = 2"), "base: {seed: 1}\n", ("[base]", "[base]"), "base: {seed: 1}\n", "[base]",
        [HEAD.format(name, 2, "LR", "lr") + f"(base). Fix: add `lr: {value}` to `base` in params.yaml, "
         f"or add `lr: {value}` to `{name}` in params.yaml and list `{name}` under the stage's `params:`"
         for name, value in (("fit", 1), ("boost", 2))],
    ),
    "the other lists it already, with another default": (
        ("# train\nLR = 1", "LR = 2\nSTEPS = 3"), "train:\nboost: {steps: 3}\n", ("[train]", "[boost, train.lr]"),
        "train:\nboost: {steps: 3}\n", "[train]",
        [HEAD.format("fit", 2, "LR", "lr") + "(train). Fix: add `lr: 1` to `train` in params.yaml, or add `lr: 1` to `fit` in params.yaml "
         "and list `fit` under the stage's `params:`",
         "dvc.yaml:15: stage `boost` lists `train.lr` under `params:`, but params.yaml has no such key. Fix: add it there, or remove "
         "it from the list"],
    ),
    "the other has it from elsewhere": (
        ("SEED = 1\nLR = 1", "SEED = 1\nLR = 1\nSTEPS = 2"), "base: {seed: 1}\nboost: {LR: 1, steps: 2}\n", ("[base]", "[base, boost]"),
        "base: {seed: 1}\nboost: {LR: 1, steps: 2}\n", "[base]",
        [HEAD.format("fit", 2, "LR", "lr") + "(base). Fix: list `boost.LR` under the stage's `params:`, or add `lr: 1` to `base` in "
         "params.yaml, or add `lr: 1` to `fit` in params.yaml and list `fit` under the stage's `params:`"],
    ),
    "the other lists a key of its name": (
        ("LR = 1\nSTEPS = 3", "STEPS = 5"), "train: {lr: 1, steps: 5}\n", ("[train.lr]", "[train.steps]"),
        "train: {lr: 1, steps: 5}\n", "[train.lr]",
        [HEAD.format("fit", 2, "STEPS", "steps") + "(train.lr). Fix: list `train.steps` under the stage's `params:`, "
         "or add `steps: 3` to `fit` in params.yaml and list `fit` under the stage's `params:`"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TWO_STAGES)
def test_what_another_stage_takes_in_stays_as_it_is(here, capsys, case):
    cells, params, lists, params_after, list_after, said = TWO_STAGES[case]
    fit = DVC[DVC.index("  fit:") :]
    text = DVC[: DVC.index("  fit:")].replace("[fit]", "[fit, boost]") + fit + fit.replace("fit", "boost")
    for name, cell in zip(("fit", "boost"), cells, strict=True):
        (here / f"notebooks/{name}.ipynb").write_text(notebook(cell, "SEED, LR, STEPS, SHUFFLE"))
    first, second = text.split("[train]")[:2]
    (here / "params.yaml").write_text(params)
    (here / "dvc.yaml").write_text(f"{first}{lists[0]}{second}{lists[1]}\n")
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out.splitlines() == said
    assert (here / "params.yaml").read_text() == params_after
    assert (here / "dvc.yaml").read_text() == f"{first}{list_after}{second}{lists[1]}\n"


@pytest.mark.parametrize(
    ("source", "params"),
    [("LR = 1", "0.5"), ("LR = 0.5", "1"), ("LR = None", "x"), ("LR = []", "[1]"), ("LR: int | str = 1", "x"), ("LR: 'T'", "x"),
     ("LR: Literal[-1, 1] = 1", "-1"), ("LR: Literal[Literal['a'], None]", "a"), ("LR: Literal[Colour.RED]", "x")],
)  # fmt: skip
def test_values_that_fit(here, capsys, source, params):
    (here / "notebooks/fit.ipynb").write_text(notebook(source, "LR"))
    (here / "params.yaml").write_text(f"train:\n  lr: {params}\n")
    assert check.main([]) == 0
    assert capsys.readouterr().out == ""


def test_a_stop_half_way_leaves_each_file_old_or_new(here, monkeypatch, capsys):
    case = FIXES["several changes"]
    for stop_at in range(1, 5):
        for name in ("params.yaml", "dvc.yaml"):
            (here / name).write_text(case[0][name])
        (here / "notebooks/fit.ipynb").write_text(notebook(case[0]["notebook"], "LR, NAME, SIZES"))
        replaced, real = [], os.replace

        def stop(source, target, stop_at=stop_at, replaced=replaced, real=real):
            replaced.append(target)
            if len(replaced) == stop_at:
                raise KeyboardInterrupt
            real(source, target)

        monkeypatch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            check.main(["--fix"])
        monkeypatch.setattr(os, "replace", real)
        assert sorted(everything(here)) == ["dvc.yaml", "fit.ipynb", "params.yaml"]
        assert check.main(["--fix"]) == 1
        assert (here / "params.yaml").read_text() == case[1]["params.yaml"]
        assert (here / "dvc.yaml").read_text() == case[1]["dvc.yaml"]


# The command, and what it is to be.
PAPERMILL = {
    "of the guides": (
        ">\n      papermill\n      notebooks/fit.ipynb\n      outputs/fit.ipynb\n      -p LR ${train.lr}\n      -y 'X: ${train.lr}'",
        "pipeline run notebooks/fit.ipynb outputs/fit.ipynb",
    ),
    "a module": ("python -m papermill -k python3 notebooks/fit.ipynb out.ipynb", "pipeline run notebooks/fit.ipynb out.ipynb"),
    "a place": (".venv/bin/papermill ./notebooks/fit.ipynb out.ipynb", "pipeline run ./notebooks/fit.ipynb out.ipynb"),
    "a variable": ("papermill notebooks/${name}.ipynb out/${name}.ipynb -p S \"it's\"",
                   "pipeline run notebooks/${name}.ipynb out/${name}.ipynb"),
    "quotes": ("papermill 'notebooks/fit.ipynb' \"my out.ipynb\"", 'pipeline run notebooks/fit.ipynb "my out.ipynb"'),
    "a list": ("[mkdir out, papermill notebooks/fit.ipynb out.ipynb]", "pipeline run notebooks/fit.ipynb out.ipynb"),
    "a backslash": ("|\n      papermill \\\n      notebooks/fit.ipynb \\\n      out.ipynb", "pipeline run notebooks/fit.ipynb out.ipynb"),
    "no notebook as output": ("papermill notebooks/fit.ipynb /dev/null", "pipeline run notebooks/fit.ipynb OUTPUT"),
}  # fmt: skip


@pytest.mark.parametrize("case", PAPERMILL)
def test_a_stage_that_calls_papermill_itself(here, capsys, case):
    cmd, better = PAPERMILL[case]
    (here / "dvc.yaml").write_text(
        f"stages:\n  fit:\n    cmd: {cmd}\n    deps: [notebooks/fit.ipynb]\n    params: [train]\n"
    )
    (here / "params.yaml").write_text("name: fit\ntrain:\n  lr: 1\n")
    before = everything(here)
    said = (
        "dvc.yaml:3: stage `fit`: calls papermill itself, so values may change on their way through the shell. "
        f"Fix: write `cmd: {better}`\n"
    )
    for arguments in [], ["--fix"], ["notebooks/fit.ipynb"]:
        assert check.main(arguments) == 1
        assert capsys.readouterr().out == said
    assert everything(here) == before
    # Its notebook is one of the pipeline's, whose parameters cell counts.
    (here / "notebooks/fit.ipynb").write_text(notebook({"source": "LR = 1"}))
    assert check.main([]) == 1
    assert "no cell is tagged `parameters`" in capsys.readouterr().out


def test_what_calls_no_papermill(here, capsys):
    more = "".join(
        f"  s{at}:\n    cmd: {cmd}\n" for at, cmd in enumerate(("pip install papermill", "ls papermill/fit.ipynb"))
    )
    (here / "dvc.yaml").write_text(DVC + more)
    assert check.main([]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("named", [["notebooks/fit.ipynb"], []])
def test_a_backslash_does_not_join_lines(here, capsys, named):
    shell = "|\n      pipeline run \\\n      notebooks/fit.ipynb \\\n      outputs/fit.ipynb\n"
    line = "pipeline run notebooks/fit.ipynb outputs/fit.ipynb\n"
    (here / "dvc.yaml").write_text(DVC.replace(line, shell))
    assert check.main(named) == 1
    assert capsys.readouterr().out == (
        "dvc.yaml:9: stage `fit`: DVC runs each line of `cmd: |` by itself. Fix: write `cmd: >-`, without backslashes\n"
    )
    (here / "dvc.yaml").write_text(DVC.replace(line, shell.replace("|", ">-").replace("\\", "")))
    assert check.main(named) == 0


BROKEN = {
    "stages:\n  b:\n": "dvc.yaml: stage `b`: must be a mapping of `name: value`",
    "stages: [1]\n": "dvc.yaml: stages: must be a mapping of `name: value`",
    DVC.replace("[train]", "train"): "dvc.yaml: stage `fit`: params: must be a list, one `- name` a line",
    DVC.replace(
        "[train]", "[{params.yaml: train}]"
    ): "dvc.yaml: stage `fit`: params: must be a list, one `- name` a line",
    DVC.replace("[train]", "[train"): "dvc.yaml:12: expected ',' or ']', but got '<stream end>'",
    DVC + "<<<<<<< ours\n": "dvc.yaml:12: holds a merge conflict. Fix: keep one side of it and delete the marker lines",
    DVC.replace(
        "fit.ipynb outputs", "${x} outputs"
    ): "dvc.yaml: stage `fit`: `${x}` is not defined in params.yaml or `vars:`",
    f"vars: {{x: 1}}\n{DVC}": "dvc.yaml: vars: must be a list, one `- name` a line",
    f"vars: [1]\n{DVC}": "dvc.yaml: vars: must be a mapping of `name: value`",
    "stages: {b: {cmd: x, vars: {x: 1}}}\n": "dvc.yaml: stage `b`: vars: must be a list, one `- name` a line",
    "stages: {b: {foreach: 3, do: {cmd: x}}}\n": "dvc.yaml: stage `b`: foreach: must be a list, one `- name` a line",
    "stages: {b: {matrix: [1], cmd: x}}\n": "dvc.yaml: stage `b`: matrix: must be a mapping of `name: value`",
    "stages: {b: {matrix: {x: 3}, cmd: x}}\n": "dvc.yaml: stage `b`: matrix: `x`: must be a list, one `- name` a line",
    "stages: {b: {cmd: 3}}\n": "dvc.yaml: stage `b`: cmd: must be a command, or a list of them",
}


TWICE = {
    "train:\n  lr: 1\nbase:\n  x: 1\n'train':\n  epochs: 2\n": "5: `train` is defined twice (line 1, too)",
    "base:\n  - train: 1\n  - lr: 1\n    rate: 2\n    lr: 3\n": "5: `lr` is defined twice (line 3, too)",
    "train: {lr: 1, lr: 2}\n": "1: `lr` is defined twice (line 1, too)",
    "train: &own\n  lr: 1\n  again: *own\n  lr: 2\n": "4: `lr` is defined twice (line 2, too)",
    "train: &own {lr: 1}\nbase:\n  <<: *own\n  <<: *own\n": "4: `<<` is defined twice (line 3, too)",
}


NOT_READ = {
    b"train:\n\tlr: 1\n": "params.yaml:2: holds a tab, which YAML does not allow here. Fix: write spaces",
    b"train:\n  lr: 1\n---\nx: 1\n": "params.yaml:3: begins a second document, and DVC reads one. Fix: remove this line",
    "train: {lr: 1} # für".encode("latin-1"): "params.yaml: is not UTF-8 text. Fix: save it as UTF-8",
    "train: {lr: 1}".encode("utf-16"): "params.yaml: is not UTF-8 text. Fix: save it as UTF-8",
    b"train:\n  lr: [{0: a, other: b}]\n": "params.yaml:2: `train.lr` has keys of several types (int, str), "
    "which DVC cannot sort. Fix: quote them",
    b"train: {lr: 1, 1: b}\n": "params.yaml:1: `train` has keys of several types (int, str), which DVC cannot sort. Fix: quote them",
}


@pytest.mark.parametrize("text", NOT_READ, ids=NOT_READ.get)
def test_what_dvc_would_not_read_is_named_with_its_cure(here, capsys, text):
    (here / "params.yaml").write_bytes(text)
    (here / "notebooks/fit.ipynb").write_text(notebook("LR = []", "LR"))
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out.startswith(NOT_READ[text] + "\n")


def test_keys_that_no_stage_lists_may_be_of_any_type(here):
    (here / "params.yaml").write_text("train:\n  lr: 1\nother: {0: a, other: b}\n")
    assert check.main([]) == 0


@pytest.mark.parametrize("text", TWICE)
def test_what_stands_twice_is_named_with_both_lines(here, capsys, text):
    (here / "params.yaml").write_text(text)
    assert check.main([]) == 1
    assert capsys.readouterr().out == f"params.yaml:{TWICE[text]}. Fix: keep one\n"


def test_one_key_in_two_spellings_is_one_line(here, capsys):
    (here / "params.yaml").write_text("train:\n  1: 1\n  0x1: 2\n")
    assert check.main([]) == 1
    out = capsys.readouterr().out
    assert out.startswith("params.yaml:3: found duplicate key") and out.count("\n") == 1


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_pipeline_is_one_line(here, capsys, text):
    (here / "dvc.yaml").write_text(text)
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out == BROKEN[text] + "\n"


def test_two_variables_in_one_text(here, capsys):
    (here / "params.yaml").write_text("train:\n  lr: 1\npaths: {folder: outputs/code, file: fit.py}\n")
    (here / "dvc.yaml").write_text(DVC.replace("[outputs/code/fit.py]", "['${paths.folder}/${paths.file}']"))
    assert check.main([]) == 0
    assert capsys.readouterr().out == ""


def test_a_section_of_several_files_is_one_as_to_dvc(bare):
    bare.write("params.yaml", "train: {lr: 1, note: {by: me}}\n")
    bare.write("more.yaml", "train: {more: 2}\n")
    bare.write("sub/own.yaml", "train: {own: 5}\n")
    bare.write(
        "dvc.yaml",
        "vars: [more.yaml, {train: {note: {of: 3}}}]\nstages:\n  say:\n    wdir: sub\n    vars: [{train: {note: {at: 4}}}, own.yaml]\n"
        "    cmd: echo ${train.lr} ${train.more} ${train.note.by} ${train.note.of} ${train.note.at} ${train.own}\n",
    )
    bare.run("git", "init", "--quiet")
    bare.run("dvc", "init", "--quiet")
    assert "> echo 1 2 me 3 4 5\n" in bare.run("dvc", "repro", "--dry").stdout
    assert Project(bare.path).stage("say").cmd == ("echo 1 2 me 3 4 5",)


def test_a_matrix_over_a_section_is_one_over_its_keys_as_to_dvc(bare):
    bare.write("params.yaml", "models: {forest: {trees: 9}, net: {layers: 2}}\n")
    bare.write("dvc.yaml", "stages:\n  say:\n    matrix: {model: '${models}'}\n    cmd: echo ${item.model}\n")
    bare.run("git", "init", "--quiet")
    bare.run("dvc", "init", "--quiet")
    said = bare.run("dvc", "repro", "--dry").stdout
    for model in ("forest", "net"):
        assert f"> echo {model}\n" in said
        assert Project(bare.path).stage(f"say@{model}").cmd == (f"echo {model}",)


def test_paths_as_people_give_them(here, capsys):
    (here / "notebooks/fit.ipynb").write_text(notebook("LR = 1\nLR = 2", "LR"))
    for path in ("notebooks", "./notebooks/fit.ipynb", str(here / "notebooks/fit.ipynb")):
        assert check.main([path]) == 1
        assert "cell 1, line 2: `LR` is already assigned in line 1" in capsys.readouterr().out
