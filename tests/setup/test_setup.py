"""A copy or a clone becomes a working checkout, or says in one line why not. Real clones, real servers on loopback."""

import collections
import contextlib
import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import KILL, Workspace
from samples import ran, wait

AGAIN = "uv run pipeline setup"


@pytest.fixture(scope="session")
def shared(made, tmp_path_factory) -> Workspace:
    """A repository that a team shares, with all data and results in the folder `store` beside it. Not to be changed."""
    folder = tmp_path_factory.mktemp("shared")
    project = Workspace(folder / "penguins", made.environ)
    shutil.copytree(made.path, project.path, symlinks=True)
    project.run("dvc", "remote", "add", "--default", "storage", str(folder / "store"))
    project.run("git", "commit", "--quiet", "--all", "--message", "A place for data")
    project.run("dvc", "push", "--quiet")
    return project


@pytest.fixture
def clone(shared, tmp_path) -> Workspace:
    """What a newcomer has after `git clone`."""
    # A folder's name as people have it.
    path = tmp_path / "Müller penguins"
    shared.run("git", "clone", "--quiet", ".", str(path))
    return Workspace(path, dict(shared.environ))


def setup(workspace: Workspace, code: int = 0) -> list[str]:
    """The lines that the newcomer's command prints."""
    done = workspace.run("uv", "run", "--no-sync", "pipeline", "setup", check=False)
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout.splitlines()


def remote_at(workspace: Workspace, url: str) -> None:
    workspace.run("dvc", "remote", "modify", "--local", "storage", "url", url)


def assert_up_to_date(workspace: Workspace) -> None:
    """Nothing is to be computed again."""
    status = workspace.run("dvc", "status").stdout
    assert "up to date" in status, status
    done = workspace.run("dvc", "repro").stdout
    assert not ran(done), done


def test_a_newcomer_is_working_in_one_command(clone):
    lines = setup(clone)
    assert lines[-1] == (
        "Everything is up to date. Open notebooks/penguins.ipynb in your editor, or: uv run pipeline lab"
    )
    assert any(line.startswith("fetched data and results from the remote `storage` (") for line in lines)
    assert_up_to_date(clone)
    assert clone.run("git", "status", "--porcelain").stdout == ""
    for hook in ("pre-commit", "pre-push", "post-checkout", "post-merge", "post-rewrite"):
        assert (clone.path / ".git" / "hooks" / hook).exists()
    # A second time there is nothing left to do; what somebody has changed meanwhile stays and is said.
    clone.replace("params.yaml", "epochs: 15", "epochs: 2")
    lines = setup(clone)
    assert "data and results are here" in lines
    assert "the repository was there before: commit when you like" in lines
    assert lines[-1].startswith("Not everything is up to date: uv run dvc status says what, uv run dvc repro runs it.")


def test_without_a_remote_what_has_its_inputs_is_made_here(shared, clone):
    clone.run("dvc", "remote", "remove", "storage")
    clone.run("git", "commit", "--quiet", "--all", "--message", "No place for data")
    typed = ["uv run dvc remote add --default storage URL", 'git commit --all --message "A place for data"', "git push"]
    assert set(typed) <= set(shared.read("README.md").splitlines())
    lines = setup(clone, 1)
    assert (
        "data: data/external is not here, and no DVC remote says where it is. Fix: ask who has it to type in their copy: "
        f"{', '.join(typed)} (README.md, `Share the results`); then here, git pull, {AGAIN}"
    ) in lines
    assert "nothing is left to commit" in lines
    assert lines[-1] == (
        f"The project is here, but not all of it is set up. First do what the line `data: ...` says, then: {AGAIN}"
    )
    # As the line says, or by hand.
    shutil.copytree(shared.path / "data" / "external", clone.path / "data" / "external")
    lines = setup(clone)
    assert ran("\n".join(lines)) == ["code@penguins", "run_notebook"]
    assert lines[-1].startswith("Everything is up to date.")


def test_a_remote_that_is_no_default(clone):
    clone.run("dvc", "config", "--unset", "core.remote")
    assert (
        "data: data/external is not here, and no remote is the default. Fix: uv run dvc remote default storage, then "
        + AGAIN
    ) in setup(clone, 1)


def test_a_folder_that_is_not_there(clone, tmp_path):
    remote_at(clone, str(tmp_path / "no drive"))
    assert (
        f"data: the remote `storage` ({tmp_path / 'no drive'}) is a folder that does not exist. Fix: connect its drive, or set "
        f"its path here: uv run dvc remote modify --local storage url PATH, then {AGAIN}"
    ) in setup(clone, 1)


def test_what_was_never_pushed_is_named_and_the_rest_fetched(shared, clone, tmp_path):
    shutil.copytree(shared.path.parent / "store", tmp_path / "store")
    model = re.search(r"md5: (\w+)\n\s+size: \d+\n\s+- path: outputs/penguins.ipynb", shared.read("dvc.lock"))[1]
    (tmp_path / "store" / "files" / "md5" / model[:2] / model[2:]).unlink()
    remote_at(clone, str(tmp_path / "store"))
    line = f"data: the remote `storage` ({tmp_path / 'store'}) lacks outputs/model.joblib. Fix: in the checkout that has it, "
    assert f"{line}uv run dvc push; then here, {AGAIN}" in setup(clone, 1)
    assert (clone.path / "data" / "external" / "penguins.csv").exists()
    remote_at(clone, str(shared.path.parent / "store"))
    setup(clone)
    assert_up_to_date(clone)


def test_changes_of_ones_own_are_not_overwritten(clone):
    setup(clone)
    clone.write("data/external/penguins.csv", "mine\n")
    clone.write("data/external/more.csv", "mine, too\n")
    (clone.path / "outputs" / "model.joblib").unlink()
    setup(clone)
    assert clone.read("data/external/penguins.csv") == "mine\n" and clone.read("data/external/more.csv")
    assert (clone.path / "outputs" / "model.joblib").exists()


def test_a_store_whose_package_is_not_there(clone):
    remote_at(clone, "s3://bucket/penguins")
    assert (
        'data: the remote `storage` (s3://bucket/penguins) needs a package. Fix: uv add --group dev "dvc[s3]", then '
        + AGAIN
    ) in setup(clone, 1)


@contextlib.contextmanager
def served(folder: Path, answer: Callable[[str], int] = lambda path: 200) -> Iterator[tuple[str, list[str]]]:
    """A web server over a folder, by default one that gives all; its URL, and the paths that it has given."""
    given = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def do_GET(self):
            with contextlib.suppress(ConnectionError):  # who asked may be gone
                if (status := answer(self.path)) != 200:
                    return self.send_error(status)
                super().do_GET()
                given.append(self.path)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", given
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (403, "refuses access. Fix: put a key that it takes where README.md says (`Share the results`), then " + AGAIN),
        (500, "has a problem of its own. Fix: some time later, " + AGAIN),
    ],
)
def test_a_server_that_refuses(shared, clone, status, expected):
    with served(shared.path.parent / "store", lambda path: status) as (url, _):
        remote_at(clone, url)
        lines = setup(clone, 1)
        said = [line for line in lines if line.startswith("data: ")]
        assert said and said[0].startswith(f"data: the remote `storage` ({url}) {expected}"), said
    with served(shared.path.parent / "store") as (url, _):
        remote_at(clone, url)
        setup(clone)
    assert_up_to_date(clone)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://no-such-host.invalid"])
def test_no_network(clone, address):
    remote_at(clone, address)
    line = f"data: the remote `storage` ({address}) cannot be reached. Fix: check the network and the address, then {AGAIN}"
    assert line in setup(clone, 1)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, KILL])
def test_an_interrupted_pull_goes_on(shared, clone, number):
    go_on = threading.Event()
    asked, log = collections.Counter(), clone.path.parent / "log"

    def hesitate(path: str) -> int:
        asked[path] += 1
        # DVC asks for each once to see whether it is there, then to have it.
        if sum(count > 1 for other, count in asked.items() if not other.endswith(".dir")) > 1:
            go_on.wait(60)
            return 503
        return 200

    def arrived() -> set[str]:
        cache = clone.path / ".dvc" / "cache"
        return {f"/{path.relative_to(cache).as_posix()}" for path in cache.glob("files/md5/??/" + "[0-9a-f]" * 30)}

    with served(shared.path.parent / "store", hesitate) as (url, _):
        remote_at(clone, url)
        with log.open("w") as file:
            # A suite that runs in the background has Ctrl-C ignored, and its children would inherit that.
            old = signal.signal(signal.SIGINT, signal.default_int_handler)
            process = subprocess.Popen(
                ["uv", "run", "--no-sync", "pipeline", "setup"], cwd=clone.path, env=clone.environ,
                stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
            signal.signal(signal.SIGINT, old)
        wait(lambda: arrived(), log.read_text)
        os.killpg(process.pid, number)
        process.wait(timeout=120)
        go_on.set()
    said = log.read_text()
    assert "Traceback" not in said
    assert number == KILL or said.strip().endswith(f"To go on from there: {AGAIN}")
    before = arrived()
    with served(shared.path.parent / "store") as (url, given):
        remote_at(clone, url)
        setup(clone)
        # What had arrived is looked for, and not had again.
        assert before and {given.count(path) for path in before} <= {0, 1}, given
    assert_up_to_date(clone)


def test_a_folder_that_came_without_the_list_of_its_files(shared, clone):
    """An interrupt may leave that: DVC reads the list at the remote to check the folder out."""
    remote_at(clone, str(shared.path.parent / "store"))
    setup(clone)
    (cached,) = (clone.path / ".dvc/cache").glob("files/md5/??/*.dir")
    cached.unlink()
    assert setup(clone)[-1].startswith("Everything is up to date.")
    assert_up_to_date(clone)


def test_a_first_copy_says_what_it_lacks(made, tmp_path):
    shutil.copytree(made.path, tmp_path / "p", ignore=shutil.ignore_patterns(".git", "dvc.lock"))
    project = Workspace(tmp_path / "p", dict(made.environ))
    python = shutil.which("python", path=made.environ["PATH"])
    without_uv = made.environ | {"PATH": os.pathsep.join(["/usr/bin", "/bin"])}
    without_uv.pop("UV", None)
    done = subprocess.run(
        [python, "-m", "notebook_pipeline", "setup"], cwd=project.path, env=without_uv, text=True, capture_output=True
    )
    assert done.returncode == 1
    assert f"environment: uv is not installed. Fix: pip install uv, then {AGAIN}\n" in done.stderr
    without_git = made.environ | {"PATH": str(tmp_path / "empty")}
    done = subprocess.run(
        [python, "-m", "notebook_pipeline", "setup"], cwd=project.path, env=without_git, text=True, capture_output=True
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"git repository: git is not installed. Fix: install it from https://git-scm.com, then {AGAIN}",
        "",
        "The project is here, but not all of it is set up. First do what the line `git repository: ...` says, then: "
        + AGAIN,
    ]
    project.environ = dict(made.environ)
    project.environ["GIT_CONFIG_GLOBAL"] = os.devnull
    project.environ |= {
        "EMAIL": "",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "user.useConfigOnly",
        "GIT_CONFIG_VALUE_0": "true",
    }
    lines = setup(project, 1)
    assert (
        'first commit: git does not know you. Fix: git config --global user.name "Your Name", '
        "git config --global user.email you@example.com"
    ) in lines
    assert lines[-1].endswith(f"First do what the line `first commit: ...` says, then: {AGAIN}")
    project.environ = made.environ
    assert "committed the project as it is" in setup(project)
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_what_the_hooks_object_to_at_the_first_commit_is_the_last_word(project):
    shutil.rmtree(project.path / ".git")
    project.write("id_ed25519", "mine\n")
    lines = setup(project, 1)
    assert any(line.startswith("id_ed25519: looks like a secret") for line in lines)
    assert (
        "first commit: committed, although the hooks object (above). Fix: correct what `uv run pre-commit run --all-files` "
        "lists, then commit again"
    ) in lines
    assert lines[-1].endswith(f"First do what the line `first commit: ...` says, then: {AGAIN}")
    assert project.run("git", "status", "--porcelain").stdout == ""
    project.run("git", "rm", "--quiet", "id_ed25519")
    project.run("git", "commit", "--quiet", "--message", "Without it")
    setup(project)


def test_a_first_commit_of_the_persons_own_is_the_first(project):
    """Made before setup could; what they have begun since is theirs to commit."""
    project.run("git", "config", "pipeline.firstCommitDue", "true")
    project.write("begun.txt", "not done\n")
    lines = setup(project)
    assert "is there: nothing will be committed" in lines
    assert "the repository was there before: commit when you like" in lines
    assert project.run("git", "status", "--porcelain").stdout == "?? begun.txt\n"
    assert project.run("git", "rev-list", "--count", "HEAD").stdout == "1\n"
    assert project.run("git", "config", "pipeline.firstCommitDue", check=False).returncode == 1


def test_a_project_that_was_moved_starts_its_programs_again(project):
    """With an environment of its own, as people have it."""
    project.environ = {name: value for name, value in project.environ.items() if name != "UV_PROJECT_ENVIRONMENT"}
    project.environ["PATH"] = project.environ["PATH"].partition(os.pathsep)[2]
    project.run("uv", "sync", "--quiet")
    project.path = project.path.rename(project.path.parent / "moved")
    assert project.run("uv", "run", "dvc", "--version", check=False).returncode
    done = project.run("uv", "run", "pipeline", "setup")
    assert done.stdout.splitlines()[-1].startswith("Everything is up to date.")
    project.run("uv", "run", "--no-sync", "dvc", "--version")
    project.replace("params.yaml", "learning_rate: 0.002", "learning_rate: 0.0020")
    project.run("git", "commit", "--quiet", "--all", "--message", "The hooks start")


def test_setup_again_changes_nothing(project):
    done = project.pipeline("setup")
    assert "nothing is left to commit" in done.stdout
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_setup_commits_nothing_in_a_repository_of_the_persons_own(made, tmp_path):
    shutil.copytree(made.path, tmp_path / "p", ignore=shutil.ignore_patterns(".git", "dvc.lock", "external.dvc"))
    project = Workspace(tmp_path / "p", made.environ)
    project.run("git", "init", "--quiet")
    done = project.pipeline("setup")
    assert "nothing will be committed" in done.stdout
    assert project.run("git", "rev-parse", "--verify", "HEAD", check=False).returncode != 0
    assert (project.path / "dvc.lock").exists()
    # In a folder of a repository the hooks could not be taken over: they start from its top, where there is no environment.
    (project.path / ".git").rename(tmp_path / ".git")
    line = f"git runs the hooks of {tmp_path.as_posix()} only: before a commit, type here: "
    (said,) = [said for said in setup(project) if said.startswith(line)]
    assert project.run(*said.removeprefix(line).split()).stdout == ""


def hooks(workspace: Workspace) -> str:
    """What setup does with the hooks alone, and says."""
    return workspace.run(
        "python", "-c", "from notebook_pipeline.setup import command as setup\nprint(setup._install_hooks())"
    ).stdout


@pytest.fixture
def git_alone(tmp_path, environ) -> dict[str, str]:
    """Variables as an editor has them that was started from the desktop: git and its shell, and no uv."""
    folder = tmp_path / "git alone"
    folder.mkdir()
    if os.name == "nt":
        return environ | {"PATH": os.path.dirname(shutil.which("git"))}
    for program in ("git", "sh", "bash", "env", "dirname", "basename"):
        (folder / program).symlink_to(shutil.which(program))
    return environ | {"PATH": str(folder), "UV": ""}


def test_hooks_find_uv_where_git_does_not(project, git_alone):
    assert "pre-commit checks each commit" in hooks(project)
    project.environ = git_alone
    project.write("README.md", "new\n")
    done = project.run("git", "commit", "--all", "--message", "From an editor")
    assert "no conflict markers" in done.stdout and "Failed" not in done.stdout
    done = project.run("git", "checkout", "-b", "other")
    assert re.search("data and results of this commit.*Passed", done.stdout), done.stdout


def test_hooks_in_a_folder_of_the_persons_own(project, tmp_path):
    folder = tmp_path / "my hooks"
    folder.mkdir()
    project.run("git", "config", "core.hooksPath", str(folder))
    said = hooks(project)
    assert said.startswith(f"git runs the hooks in {folder} (core.hooksPath): none was installed. Fix: ")
    for name in ("pre-commit", "pre-push", "post-checkout", "post-merge", "post-rewrite"):
        (folder / name).write_text(f"#!/bin/sh\n{said.partition('the line: ')[2]}")
        (folder / name).chmod(0o755)
    project.write("notebooks/bad.ipynb", "{")
    project.run("git", "add", "--all")
    refused = project.run("git", "commit", "--message", "Bad", check=False)
    assert refused.returncode == 1 and "notebooks/bad.ipynb:1: not a valid notebook" in refused.stdout
    assert "data and results of this commit" in project.run("git", "checkout", "-b", "other").stdout
    assert hooks(project) == f"git runs the hooks in {folder} (core.hooksPath), which call pre-commit\n"
    # Other repositories may have no such hooks.
    other = Workspace(tmp_path / "other", project.environ)
    other.path.mkdir()
    other.run("git", "init", "--quiet")
    other.run("git", "-c", f"core.hooksPath={folder}", "commit", "--quiet", "--allow-empty", "--message", "Other")


def test_a_worktree_has_the_cache_and_the_hooks_of_the_main_one(project, tmp_path):
    side = Workspace(tmp_path / "side", project.environ)
    project.run("git", "-c", "core.hooksPath=none", "worktree", "add", "--quiet", str(side.path))
    installed = project.read(".git/hooks/pre-commit")
    cache = (
        "from notebook_pipeline.setup import command as setup\nprint(setup._share_cache(setup._find_main_worktree()))"
    )
    assert side.run("python", "-c", cache).stdout == (
        f"uses the main worktree's, {(project.path / '.dvc/cache').as_posix()}: "
        "`dvc gc` needs `--projects` with the other worktree's folder\n"
    )
    side.run("dvc", "checkout", "--quiet")
    assert side.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
    assert side.run("git", "status", "--porcelain").stdout == ""
    assert side.run("python", "-c", cache).stdout.endswith("/.dvc/cache is used by all worktrees\n")
    assert hooks(side) == "the main worktree's hooks are used here, too\n"
    assert project.read(".git/hooks/pre-commit") == installed
    project.run(
        "python",
        "-c",
        "from notebook_pipeline.setup import command as setup\nassert setup._find_main_worktree() is None",
    )
    # A cache with something in it stays.
    side.write(".dvc/config.local", "")
    side.write(".dvc/cache/files/md5/ab/cd", "")
    assert (
        "is this worktree's own. To use the main one's: uv run dvc cache dir --local "
        in side.run("python", "-c", cache).stdout
    )
    assert side.read(".dvc/config.local") == ""


def test_git_sees_a_change_of_the_second_in_which_it_wrote_the_file(project):
    """DVC writes git's index anew, which then takes equal size and second for no change: only ctime tells (core.trustctime)."""
    path = project.path / "params.yaml"
    project.run("git", "checkout", "--quiet", "HEAD", "params.yaml")
    os.utime(path, ns=(path.stat().st_mtime_ns, path.stat().st_mtime_ns // 10**9 * 10**9))
    project.run("git", "update-index", "-q", "--refresh")
    before = path.stat().st_mtime_ns
    project.replace("params.yaml", "epochs: 15", "epochs: 16")
    time.sleep(1.1)
    os.utime(path, ns=(0, before))  # as a run does, which notes what is read
    script = "from dvc.repo import Repo; Repo().scm.add('dvc.yaml')"
    project.run("python", "-c", script)
    assert project.run("git", "status", "--porcelain").stdout == " M params.yaml\n"


def test_another_python_is_named(clone):
    """A stage's executed notebook says which Python made what dvc.lock has."""
    assert not any("made it" in line for line in setup(clone))
    now = f"{sys.version_info.major}.{sys.version_info.minor}"
    text = clone.read("outputs/penguins.ipynb")
    clone.write("outputs/penguins.ipynb", re.sub(r'("version": ")3\.\d+\.', r"\g<1>3.99.", text))
    line = (
        f"outputs/penguins.ipynb: Python 3.99 made it, and this is Python {now}: results may differ. Fix: uv sync --python 3.99, "
        f"or, to go on with {now}, uv run dvc repro --force"
    )
    assert setup(clone).count(line) == 1
    # Without a record it is not of dvc.lock.
    (clone.path / "dvc.lock").unlink()
    code = "from notebook_pipeline.project.python_version import find_other_python as f; print(f())"
    assert clone.run("python", "-c", code).stdout == "None\n"


def test_each_clone_gets_the_merge_drivers(clone):
    assert "git merges dvc.lock by stages, notebooks by cells, data by files" in setup(clone)
    drivers = clone.run("git", "config", "--local", "--get-regexp", r"^merge\..*\.driver$").stdout.splitlines()
    used = set(re.findall(r"merge=(pipeline-\w+)", clone.read(".gitattributes")))
    assert {line.split(".")[1] for line in drivers} == used
    assert used == {"pipeline-data", "pipeline-lock", "pipeline-notebook", "pipeline-result"}
