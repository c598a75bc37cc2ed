"""The last table of a project's README: makes each thing go wrong, and does what its row says."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable

from conftest import Workspace, notebook, on_path
from readme_reader import Reader
from samples import ran, wait

METRICS = "outputs/metrics.yaml"


def commit(project: Workspace) -> None:
    """As the README says: where a hook has changed a file, type it again."""
    project.run("git", "add", "--all")
    command = ["git", "commit", "--quiet", "--message", "Go on"]
    if "files were modified by this hook" in project.run(*command, check=False).stdout:
        project.run("git", "add", "--all")
        project.run(*command)


def moved(project: Workspace, command: str, seen: Callable[[str, str], None]) -> None:
    """Moves a project that has an environment of its own, as people have it, and does what the table says."""
    environ = {name: value for name, value in project.environ.items() if name != "UV_PROJECT_ENVIRONMENT"}
    environ["PATH"] = environ["PATH"].partition(os.pathsep)[2]
    project = Workspace(project.path, environ)
    for folder, word in (("a b", "Failed to spawn"), ("plain", ".venv/bin/python: not found")):
        project.run("uv", "sync", "--quiet")
        project.path = project.path.rename(project.path.parent / folder)
        if os.name != "nt":
            seen(word, project.run("uv", "run", "dvc", "status", check=False).stdout)
        project.run(*shlex.split(command))
    project.run("uv", "run", "dvc", "exp", "run", "--temp", "-S", "train.epochs=2")


def when_something_is_wrong(reader: Reader) -> None:
    """Makes each thing go wrong, sees the words that the table has, and does what it says."""
    project = reader.project
    reader.section = "When something is wrong"
    rows = re.findall(r"(?m)^\| (.*?) \| (.*) \|$", reader.text)[2:]
    words = [word for see, _ in rows for word in re.findall(r"`([^`]*)`", see)]

    def seen(word: str, output: str) -> None:
        words.remove(word)
        assert word in output, output

    project.replace("params.yaml", "  batch_size: 16\n", "")
    refused = project.run("dvc", "repro", check=False).stdout
    seen("params.yaml", refused)
    assert "added `batch_size: 16` to `train`" in reader.types("check --fix", check=False)
    seen("dvc.yaml", project.pipeline("run", "notebooks/train.ipynb", "elsewhere.ipynb", check=False).stdout)

    project.run("git", "reset", "--quiet", "--hard")
    project.run("dvc", "checkout", "--force", "--quiet")
    before = {name: project.read(name) for name in ("outputs/metrics.yaml", "outputs/evaluate.ipynb")}
    text = project.read("notebooks/evaluate.ipynb")
    project.replace("notebooks/evaluate.ipynb", "import joblib", 'import joblib  \\n", "no_such_name')
    assert "uv run pipeline open evaluate\n" in project.run("dvc", "repro", check=False).stdout
    assert reader.command("pipeline open") == "uv run pipeline open STAGE"
    assert not (project.path / "outputs/metrics.yaml").exists()
    project.write("notebooks/evaluate.ipynb", text)
    assert "'evaluate' is cached" in project.run(*shlex.split(reader.command("^uv run dvc repro"))).stdout
    assert before == {name: project.read(name) for name in before}

    read = "str(N) + open('data/external/penguins.csv').readline()"
    project.replace("notebooks/more.ipynb", "str(N)", read)
    seen("what dvc.yaml does not declare", project.run("dvc", "repro").stdout)
    project.run("git", "add", "notebooks/more.ipynb")
    reader.types("pipeline add", NOTEBOOK="notebooks/more.ipynb")
    assert "does not declare" not in project.run("dvc", "repro", "--force", "more").stdout

    words.remove("changed while")  # test_trace.py has a real one
    words.remove("a hook changed what dvc.lock recorded")  # test_check.py has a real one
    reader.types("dvc commit", STAGE="more")

    project.replace("notebooks/more.ipynb", "N: int = 3", "N: int =  3")
    project.run("git", "add", "--all")
    refused = project.run("git", "commit", "--message", "x", check=False).stdout
    seen("files were modified by this hook", refused)
    commit(project)

    slow = notebook("N: int = 3", "import time\nopen('started', 'w').close()\ntime.sleep(60)")
    project.write("../slow.ipynb", slow)
    project.pipeline("add", "../slow.ipynb", "--no-run")
    process = subprocess.Popen(
        on_path(["dvc", "repro", "slow"], project.environ), cwd=project.path, env=project.environ,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    wait(lambda: (project.path / "started").exists())
    seen("is being blocked by", project.run("dvc", "status", check=False).stdout)
    process.terminate()
    process.wait(timeout=120)
    wait(lambda: (project.path / "outputs/slow.ipynb").exists())  # the run ends a moment after DVC, and keeps what ran
    (project.path / "started").unlink()
    project.run("git", "reset", "--quiet", "--hard")
    project.run("git", "clean", "-fdq")

    for branch, epochs in (("theirs", 2), ("main", 3)):
        project.run("git", "checkout", "--quiet", *(["-b"] if branch == "theirs" else []), branch)
        project.run("dvc", "exp", "run", "--quiet", "-S", f"train.epochs={epochs}")
        commit(project)
    project.run("git", "config", "--remove-section", "merge.pipeline-lock")  # as in a clone that was not set up
    project.run("git", "config", "--remove-section", "merge.pipeline-result")
    assert "CONFLICT" in project.run("git", "merge", "theirs", check=False).stdout
    conflict = project.read("params.yaml")
    assert "<<<<<<<" in conflict and "<<<<<<<" in project.read("dvc.lock") and "<<<<<<<" in project.read(METRICS)
    # Neither what the one nor what the other had: the results of both are wrong.
    project.write("params.yaml", re.sub(r"(?s)<<<<<<<.*>>>>>>> theirs", "  epochs: 4", conflict))
    words.remove("dvc.lock")
    reader.types("checkout HEAD dvc.lock", check=False)
    assert ran(reader.types("^uv run dvc repro")) == ["train", "evaluate"]
    reader.types("git add --all")
    project.run("git", "commit", "--quiet", "--no-edit")
    assert project.run("git", "status", "--porcelain").stdout == ""
    assert "up to date" in project.run("dvc", "status").stdout
    assert "<<<<<<<" not in project.read(METRICS)

    project.write("data/external/more.csv", "a\n2\n")
    seen("Can't remove the following unsaved files", project.run("git", "checkout", "theirs", check=False).stdout)
    reader.types("^git checkout -$", check=False)
    reader.types("dvc add")
    commit(project)
    project.run("git", "checkout", "--quiet", "theirs")
    assert project.read("data/external/more.csv") == "a\n1\n"
    project.run("git", "checkout", "--quiet", "main")
    assert project.read("data/external/more.csv") == "a\n2\n"

    umlaut = Workspace(project.path.parent / "Müller", project.environ)
    shutil.copytree(project.path, umlaut.path, symlinks=True)
    done = umlaut.run("dvc", "exp", "run", "--temp", "-S", "train.epochs=2", check=False)
    seen("codec can't encode", done.stdout)
    moved(umlaut, reader.command("pipeline setup"), seen)
    words.remove("start it through uv")  # test_run.py has a real one
    words.remove("made it")  # test_setup.py has a real one
    words.remove("was changed here, and later stages load it")  # test_handover.py has a real one
    for word, typed in (
        ("uv.lock", ["git checkout HEAD uv.lock", "^uv lock$", "git add pyproject.toml", "^git commit$"]),
        ("pyproject.toml", ["git add NOTEBOOK", "git checkout --merge", "dvc pull"]),
        ("data/external.dvc", ["git checkout --ours", "dvc checkout data"]),
    ):  # test_journey.py has real ones, and test_notebook.py in tests/merge/
        words.remove(word)
        for pattern in typed:
            reader.command(pattern)
    assert reader.command("^uv run$") == "uv run"
    assert words == []
