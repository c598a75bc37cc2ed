"""`pipeline check`: what a commit or a clone would lack, and results that no run of the pipeline made."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from check_samples import DVC, HEAD, cells, everything, here, json_values, lock, sources  # noqa: F401
from conftest import Workspace, notebook, on_path

from notebook_pipeline.check import command as check
from notebook_pipeline.project import lock as lock_file
from notebook_pipeline.project.project import Project


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
    """The whole way: an editor's run is refused, named, and corrected by what the message says."""
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
