"""The project's README, walked through from top to bottom: each command in it is read from there and run."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from conftest import Workspace, free_port, notebook, on_path
from readme_reader import Reader, fenced, inline, sections
from readme_troubles import commit, when_something_is_wrong
from samples import ran, wait
from split_samples import parts

SECTIONS = [
    "See it run",
    "Change a number",
    "Add a parameter",
    "Add a notebook",
    "Split a notebook",
    "Change the data",
    "Upgrade a package",
    "Compare experiments, and take one over",
    "After a stop",
    "Many at once, on this machine or a cluster",
    "Share the results",
    "Merge a branch",
    "Review a branch",
    "Security",
    "Update from the template",
    "What belongs to whom",
    "When something is wrong",
]


def test_the_sections_stand_in_the_order_of_a_first_day(made, staged):
    for project in (made, staged):
        assert list(sections(project.read("README.md"))) == SECTIONS


def test_the_starts_show_the_same_commands(made, staged, render, tmp_path):
    one, other = (sections(project.read("README.md")) for project in (made, staged))
    for heading in SECTIONS:
        shown = [[*map(without_values, fenced(each[heading]))] for each in (one, other)]
        assert shown[0] == shown[1] and inline(one[heading]) == inline(other[heading])
    (tmp_path / "own.ipynb").write_text(notebook("N = 1"))
    own = render(start="notebook", notebook=str(tmp_path / "own.ipynb"))
    third = sections((own / "README.md").read_text("utf-8"))
    for heading in SECTIONS:
        known, those = ({without_values(c) for c in (*fenced(t[heading]), *inline(t[heading]))} for t in (one, third))
        assert those <= known


def without_values(command: str) -> str:
    """A command without what only a project's own parameters, metrics and stages can say."""
    return re.sub(r"(pipeline remove) .*", r"\1", re.sub(r' (-S|--by) ("[^"]*"|\S+)', "", command))


@pytest.fixture
def reader(staged, tmp_path) -> Reader:
    """A colleague's clone of a project of four stages, with a remote for git and none for data yet."""
    origin, path = tmp_path / "origin.git", tmp_path / "my penguins"
    shutil.copytree(staged.path, path, symlinks=True)
    project = Workspace(path, staged.environ)
    project.run("git", "init", "--quiet", "--bare", str(origin))
    project.run("git", "remote", "add", "origin", str(origin))
    project.run("git", "push", "--quiet", "--set-upstream", "origin", "main")
    return Reader(project)


def test_each_command(reader, tmp_path, request):
    project = reader.project

    reader.section = "See it run"
    # .ci/run types it; an environment of uv's has no pip.
    assert reader.command("^pip") == "pip install uv"
    assert "Everything is up to date. Open notebooks/ in" in reader.types("setup")
    assert ran(reader.types("repro")) == []
    assert "accuracy" in reader.types("metrics show")
    assert "dvc_plots/index.html" in reader.types("plots show")
    editor(project, reader.command("pipeline lab"))
    editor(project, reader.command("pipeline open").replace("STAGE", "train"))

    reader.section = "Change a number"
    project.replace("params.yaml", "epochs: 15", "epochs: 10")
    assert ran(reader.types("repro")) == ["train", "evaluate"]
    assert "accuracy" in reader.types("metrics diff")
    reader.types("git commit --all")
    assert reader.command("dvc exp run$") == "dvc exp run"  # test_lock.py has a value that DVC takes for equal

    reader.section = "Change the data"
    data = project.read("data/external/penguins.csv").splitlines(keepends=True)
    project.write("data/external/penguins.csv", "".join(line for line in data if line != data[1]))
    assert ran(reader.types("^uv run dvc repro")) == ["data_preprocess", "data_load", "train", "evaluate"]
    reader.types("git commit")
    assert "data/external.dvc" in project.run("git", "show", "--stat").stdout
    assert project.run("git", "status", "--porcelain").stdout == ""
    project.write("data/external/more.csv", "a\n1\n")
    reader.types("dvc add")
    commit(project)
    project.run("git", "checkout", "--quiet", "HEAD~1")
    assert not (project.path / "data/external/more.csv").exists()
    project.run("git", "checkout", "--quiet", "main")
    assert project.read("data/external/more.csv") == "a\n1\n"

    reader.section = "Upgrade a package"
    upgrade_a_package(reader)

    reader.section = "Add a parameter"
    assign = re.search(r"`(HIDDEN: int = 16)` below `# train`", reader.text)[1]
    project.replace("notebooks/train.ipynb", '"BATCH_SIZE: int = 16', f'"{assign}\\n", "BATCH_SIZE: int = 16')
    project.replace("notebooks/train.ipynb", "hidden_layer_sizes=(16,)", "hidden_layer_sizes=(HIDDEN,)")
    assert "added `hidden: 16` to `train`" in reader.types("check --fix", check=False)
    assert ran(project.run("dvc", "repro").stdout)[:2] == ["code@train", "train"]
    commit(project)

    reader.section = "Add a notebook"
    on_ones_own(reader)
    one_more = project.write("../plus.ipynb", notebook("N: int = 3", "open('n.txt', 'w').write(str(N))"))
    assert "notebooks/plus.ipynb" in reader.types(r"pipeline add", NOTEBOOK=str(one_more))
    commit(project)
    reader.types("pipeline rename", OLD="plus", NEW="more")
    assert ran(project.run("dvc", "repro").stdout) == []
    commit(project)
    project.write("../gone.ipynb", notebook("N: int = 3", "print(N)"))
    project.pipeline("add", "../gone.ipynb")
    commit(project)
    reader.types("pipeline remove STAGE", STAGE="gone")
    assert not (project.path / "notebooks/gone.ipynb").exists() and "gone" not in project.read("dvc.yaml")
    commit(project)
    many_items(reader)
    commit(project)

    reader.section = "Split a notebook"
    two = notebook("N: int = 3", *parts("md:## First", "x = N + 1\nprint(x)", "md:## Second", "print(x)"))
    project.pipeline("add", str(project.write("../two.ipynb", two)))
    commit(project)
    assert "in 2 stages: 3 of 3 cells are the same" in reader.types("pipeline split", NOTEBOOK="notebooks/two.ipynb")
    assert "second" in reader.types("dvc dag")
    commit(project)

    reader.section = "Compare experiments, and take one over"
    assert ran(reader.types("--name longer")) == ["train", "evaluate"]
    assert "epochs: 25" in project.read("params.yaml")
    reader.types("git checkout HEAD")
    reader.types("^uv run dvc checkout")
    assert project.run("git", "status", "--porcelain").stdout == ""
    assert "up to date" in project.run("dvc", "status").stdout
    reader.types("--queue")
    reader.types("queue start")
    queue = reader.command("queue status")
    deadline = time.monotonic() + 400
    while re.search("Queued|Running", status := project.run(*shlex.split(queue)).stdout):
        assert time.monotonic() < deadline, status
        time.sleep(1)
    assert status.count("Success") == 4
    table = reader.types("exp show")
    assert "longer" in table and "accuracy" in table and "joblib" not in table
    assert re.search(r"train\.epochs\s+10\s+25", reader.types("params diff"))
    assert "accuracy" in reader.types("metrics diff")
    assert "dvc_plots/index.html" in reader.types("plots diff")
    reader.types("exp apply")
    assert "EPOCHS = 25" in project.read("outputs/train.ipynb")
    reader.types("exp branch")
    assert "try-longer" in project.run("git", "branch").stdout
    project.run("git", "reset", "--quiet", "--hard")
    project.run("dvc", "checkout", "--force", "--quiet")

    reader.section = "After a stop"  # test_run.py has a real one
    project.write("params.yaml", "")
    project.write("outputs/train.ipynb", "half")
    project.write("data/external/new.csv", "1")
    for pattern in ("git checkout", "dvc checkout", "dvc add", "switch", "update-ref", "git status"):
        said = reader.types(pattern)
    assert "On branch main" in said and "EPOCHS" in project.read("outputs/train.ipynb")
    assert project.run("git", "status", "--porcelain").stdout == "M  data/external.dvc\n"
    project.run("git", "checkout", "--quiet", "HEAD", "data/external.dvc")
    project.run("dvc", "checkout", "--quiet", "--force")

    reader.section = "Share the results"
    before_that = project.run("git", "rev-parse", "HEAD").stdout.strip()
    reader.project = apart(project, tmp_path)
    for command in fenced(reader.text)[:3]:
        words = {"URL": "s3://bucket/path"} if "URL" in command else {}
        # More packages are another uv.lock, and the hook renews dvc.lock: "it stops: type it again".
        said = reader.types(f"^{re.escape(command)}$", check="commit" not in command, **words)
    assert "dvc.lock: renewed the record of notebooks/more.ipynb" in said
    reader.types("git commit")
    committed = project.run("git", "show").stdout
    assert '+    "dvc[s3]' in committed and "+    url = s3://bucket/path" in committed
    reader.project = project
    project.run("git", "reset", "--quiet", "--hard", before_that)
    # "For a folder leave out the first line."
    reader.types("remote add", URL=str(tmp_path / "storage"))
    reader.types("git commit")
    reader.types("git push")
    # "Must be committed before the experiment runs": DVC asks the commit that it began with.
    project.run("dvc", "exp", "remove", "longer")
    project.run("dvc", "exp", "run", "--name", "longer", "-S", "train.epochs=25")
    project.run("git", "reset", "--quiet", "--hard")
    project.run("dvc", "checkout", "--force", "--quiet")
    reader.types("exp push")
    project.run("git", "clone", "--quiet", str(tmp_path / "origin.git"), str(tmp_path / "clone"))
    colleague = Workspace(tmp_path / "clone", project.environ)
    assert "fetched data and results" in colleague.pipeline("setup").stdout
    colleague.run(*shlex.split(reader.command("exp pull")))
    colleague.run("dvc", "exp", "apply", "longer")
    assert "EPOCHS = 25" in colleague.read("outputs/train.ipynb")
    assert colleague.run(*shlex.split(reader.command("dvc pull"))).returncode == 0
    assert "longer" in reader.types("exp list")

    reader.section = "Merge a branch"
    for branch, old, new in (
        ("others", "learning_rate: 0.002", "learning_rate: 0.003"),
        ("main", "batch_size: 16", "batch_size: 32"),
    ):
        project.run("git", "checkout", "--quiet", "-B", branch, "main")
        project.replace("params.yaml", old, new)
        project.run("dvc", "repro")
        commit(project)
    assert "which runs train, evaluate, unless" in reader.types("git merge BRANCH", BRANCH="others")
    assert ran(reader.types("dvc repro")) == ["train", "evaluate"]
    reader.types("git commit")  # test_journey.py has conflicts, and the other kinds of merges
    project.run("git", "checkout", "--quiet", "HEAD~1", "params.yaml")
    project.replace("params.yaml", "batch_size: 32", "batch_size: 16")
    project.run("dvc", "repro")
    commit(project)

    try:
        slurm = request.getfixturevalue("slurm")
    except pytest.skip.Exception:
        slurm = None  # test_sweep.py says what is missing
    many_at_once(reader, tmp_path, slurm)

    reader.section = "Review a branch"
    assert reader.types("--group report").endswith("dvc_plots/report.html\n")
    assert reader.types("--notebook", STAGE="train").endswith("dvc_plots/notebooks/train.html\n")

    reader.section = "Update from the template"
    reader.types("copier update")
    assert "`check-update` in place of `update --trust --defaults`" in reader.text
    check = reader.command("copier update").replace("update --trust --defaults", "check-update")
    assert "up-to-date" in project.run(*shlex.split(check)).stdout

    when_something_is_wrong(reader)

    reader.section = "What belongs to whom"
    assert reader.command("uv add") == "uv add NAME"  # each dependency was added so
    assert reader.left == set()


def on_ones_own(reader: Reader) -> None:
    """Takes the example out of a copy of the project, and has a notebook of one's own run there."""
    project = Workspace(reader.project.path.parent / "own", reader.project.environ)
    shutil.copytree(reader.project.path, project.path, symlinks=True)
    for pattern in ("pipeline remove data_preprocess", "^uv run dvc repro$", "^git commit"):
        said = project.run(*shlex.split(reader.command(pattern))).stdout
        if "data/external/penguins.csv: no stage reads it any more" in said:
            for file in (project.path / "data/external").iterdir():
                file.unlink()
    assert "notebook: []" in project.read("dvc.yaml")
    assert project.run("git", "status", "--porcelain").stdout == ""
    project.write("../mine.csv", "a\n1\n")
    own = project.write("../own.ipynb", notebook("N: int = 3", "print(open('mine.csv').read(), N)"))
    project.pipeline("add", str(own))
    commit(project)
    assert ran(project.run("dvc", "repro", "--force").stdout) == ["code@own", "own"]
    assert project.run("git", "status", "--porcelain").stdout == ""


def upgrade_a_package(reader: Reader) -> None:
    """Of a package that there is no newer version of, so that uv leaves the environment alone."""
    project = reader.project
    assert reader.command("^uv lock") == "uv lock --upgrade-package pandas"
    project.environ["UV_NO_SYNC"] = "1"
    lock = project.read("uv.lock")
    project.write("uv.lock", re.sub(r'(\nname = "joblib"\nversion = ")', r"\g<1>99.", lock))
    writes = [
        "code@data_load",
        "code@evaluate",
        "code@train",
    ]  # whose notebooks import it, or scikit-learn, which needs it
    project.pipeline("check", "--fix", check=False)
    assert sorted(ran(reader.types("repro code"))) == writes
    assert re.findall(r"^(\w+):$", reader.types("dvc status"), re.MULTILINE) == ["data_load", "train", "evaluate"]
    for stage in ("data_load", "train"):
        reader.types("dvc commit", "--force", STAGE=stage)
    assert ran(reader.types("dvc repro$")) == ["evaluate"]
    project.write("uv.lock", lock)
    project.run("git", "checkout", "--quiet", "dvc.lock")
    project.run("dvc", "checkout", "--quiet", "--force")
    del project.environ["UV_NO_SYNC"]


def editor(project: Workspace, command: str) -> None:
    """Starts JupyterLab as the README says, and asks it for its page."""
    port = free_port()
    log = project.path.parent / "jupyter.log"
    options = ["--no-browser", "--allow-root", f"--ServerApp.port={port}", "--IdentityProvider.token="]
    with log.open("w") as file:
        process = subprocess.Popen(
            on_path([*shlex.split(command), *options], project.environ), cwd=project.path, env=project.environ, stdout=file,
            stderr=file,
        )  # fmt: skip

    def page() -> bytes:
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/lab", timeout=60).read()
        return b""

    try:
        wait(lambda: b"JupyterLab" in page(), log.read_text, 300)
    finally:
        process.terminate()
        process.wait(timeout=120)


def many_items(reader: Reader) -> None:
    project = reader.project
    values, stage = re.findall(r"(?s)```yaml\n(.*?)```", reader.text)
    assert len(stage.splitlines()) == 1 + 6
    project.write("params.yaml", f"{project.read('params.yaml')}\n{values}")
    project.replace("dvc.yaml", "evaluate, more]", "evaluate, more, island]")
    project.replace("dvc.yaml", "\n# What `uv run dvc plots", f"{stage}\n# What `uv run dvc plots")
    cell = (
        "import pandas as pd\nbirds = pd.read_csv('data/external/penguins.csv')\nprint((birds.island == ISLAND).sum())"
    )
    project.write("notebooks/island.ipynb", notebook('# islands\nISLAND: str = "Biscoe"', cell))
    assert project.pipeline("check").stdout == ""
    strict = Workspace(project.path, project.environ | {"PIPELINE_STRICT": "1"})
    assert ran(strict.run("dvc", "repro").stdout) == ["code@island", "islands@Biscoe", "islands@Dream"]
    assert "124" in project.read("outputs/island-Dream.ipynb") and "168" in project.read("outputs/island-Biscoe.ipynb")
    # A third one runs alone.
    project.replace(
        "params.yaml", "  Dream: {island: Dream}", "  Dream: {island: Dream}\n  Torgersen: {island: Torgersen}"
    )
    assert ran(strict.run("dvc", "repro").stdout) == ["islands@Torgersen"]
    reader.types("islands@Dream")


def apart(project: Workspace, tmp_path: Path) -> Workspace:
    """The project with an environment of its own: what is added to it must not be there for other tests."""
    environment = tmp_path / "environment"
    path = os.pathsep.join([str(environment / ("Scripts" if os.name == "nt" else "bin")), project.environ["PATH"]])
    return Workspace(project.path, project.environ | {"UV_PROJECT_ENVIRONMENT": str(environment), "PATH": path})


def many_at_once(reader: Reader, tmp_path: Path, slurm: dict[str, str] | None) -> None:
    """On this machine, on a cluster of a scheduler and a worker, and under Slurm where there is one; it comes later than it
    stands, as it says: data and commit must be where workers fetch them.
    """
    reader.section = "Many at once, on this machine or a cluster"
    project = apart(reader.project, tmp_path)
    done = project.run(*shlex.split(reader.command("sweep .* --by f1")), timeout=900)
    assert "6 experiments (2 x 3)" in done.stdout and "to take one over: uv run dvc exp apply sweep-" in done.stdout
    address = f"127.0.0.1:{free_port()}"
    log = tmp_path / "dask.log"
    with contextlib.ExitStack() as cluster, log.open("w") as file:
        for pattern, options in (
            ("dask scheduler", ["--host", f"tcp://{address}", "--no-dashboard"]),
            ("dask worker", ["--no-dashboard", "--local-directory", str(tmp_path / "dask")]),
        ):
            command = reader.command(pattern).replace("HOST:8786", address)
            process = subprocess.Popen(
                on_path([*shlex.split(command), *options], project.environ),
                cwd=tmp_path if "worker" in pattern else project.path, env=project.environ, stdout=file, stderr=file,
            )  # fmt: skip
            cluster.callback(process.wait, timeout=120)
            cluster.callback(process.terminate)
        command = reader.command("--scheduler").replace("HOST:8786", address)
        wait(lambda: "Registered to" in log.read_text(), log.read_text, 120)
        done = project.run(*shlex.split(command), timeout=900)
        assert "3 experiments (3)" in done.stdout and "were not run" not in done.stdout
    command = reader.command("slurm --workers")
    if slurm:
        done = Workspace(project.path, project.environ | slurm).run(*shlex.split(command), timeout=900)
        assert "2 experiments (2)" in done.stdout and not re.search("there already|were not run", done.stdout)
    # test_sweep.py sweeps over such a cache.
    project.run(*shlex.split(reader.command("cache dir").replace("/FULL/PATH", str(tmp_path / "cache"))))
    assert f"dir = {tmp_path / 'cache'}\n" in project.read(".dvc/config")
    project.run("git", "checkout", "--quiet", ".dvc/config")
