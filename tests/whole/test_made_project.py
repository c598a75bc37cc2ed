"""A made project, used as its owner uses it."""

import json
import re
import shutil
import subprocess

import pytest
from conftest import on_path
from ruamel.yaml import YAML
from samples import ran

LOCK, NOTEBOOK = "dvc.lock", "notebooks/penguins.ipynb"


def edit_notebook(project, change) -> None:
    document = json.loads(project.read(NOTEBOOK))
    for one in document["cells"]:
        one["source"] = "".join(one["source"])
    change(document)
    project.write(NOTEBOOK, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def cell(document: dict, identity: str) -> dict:
    return next(cell for cell in document["cells"] if cell["id"] == identity)


def execute_in_editor(project) -> None:
    """Runs and saves the notebook as an editor does: in its own folder."""
    subprocess.run(
        on_path(["jupyter", "execute", "--inplace", "penguins.ipynb"], project.environ), cwd=project.path / "notebooks",
        env=project.environ, check=True, capture_output=True,
    )  # fmt: skip


def test_what_a_newcomer_sees(made):
    """The template's code is behind a dot: nothing that lists, searches or checks a project's files comes to it."""
    seen = sorted(path.name for path in made.path.iterdir() if not path.name.startswith("."))
    files = "AGENTS.md README.md data dvc.lock dvc.yaml notebooks outputs params.yaml pyproject.toml uv.lock"
    assert seen == files.split()
    assert len(made.read("AGENTS.md").splitlines()) <= 25
    package = ".pipeline/notebook_pipeline/__main__.py"
    assert ".pipeline" not in made.run("ruff", "check", "--show-files").stdout
    assert made.run("ruff", "check", "--force-exclude", "--show-files", package).stdout.count(".py") == 0
    vendored = made.run("git", "check-attr", "linguist-vendored", "--", package).stdout
    assert vendored == f"{package}: linguist-vendored: set\n"
    assert '".pipeline": true' in made.read(".vscode/settings.json")


def test_it_has_run(made):
    metrics = YAML(typ="safe").load(made.read("outputs/metrics.yaml"))
    assert list(metrics) == ["accuracy", "precision", "recall", "f1"]
    assert all(0.85 <= value < 1 for value in metrics.values())
    for name in ("model.joblib", "train_history.png", "confusion_matrix.png", "penguins.ipynb"):
        assert (made.path / "outputs" / name).stat().st_size > 1000
    assert len(made.read("data/processed/penguins.csv").splitlines()) == 343
    assert made.run("git", "status", "--porcelain").stdout == ""
    assert made.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."


def test_it_passes_its_own_hooks_unchanged(made):
    done = made.run("uv", "run", "pre-commit", "run", "--all-files")
    assert "Failed" not in done.stdout
    assert made.run("git", "status", "--porcelain").stdout == ""


def test_configuration(made):
    assert made.run("dvc", "config", "core.analytics").stdout.strip() == "false"
    assert made.run("dvc", "config", "core.autostage").stdout.strip() == "true"
    for hook in ("pre-commit", "pre-push", "post-checkout", "post-merge", "post-rewrite"):
        assert (made.path / ".git" / "hooks" / hook).exists()
    assert "lakeFS.lakefs-dvc" in made.read(".vscode/extensions.json")
    assert "data/external.dvc" in made.run("git", "ls-files").stdout
    assert "data/external/penguins.csv" not in made.run("git", "ls-files").stdout


def test_repro_runs_nothing_twice_and_is_repeatable(project):
    assert ran(project.run("dvc", "repro").stdout) == []
    before = project.read(LOCK)
    assert ran(project.run("dvc", "repro", "--force").stdout) == ["code@penguins", "run_notebook"]
    assert project.read(LOCK) == before


def test_a_save_with_outputs_reruns_the_code_stage_only_and_commits_clean(project, tmp_path):
    project.run("git", "init", "--quiet", "--bare", str(tmp_path / "origin.git"))
    project.run("git", "remote", "add", "origin", str(tmp_path / "origin.git"))
    project.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    execute_in_editor(project)
    edit_notebook(project, lambda document: cell(document, "title").update(source="# Another title"))
    assert "epoch 15" in project.read(NOTEBOOK)
    assert ran(project.run("dvc", "repro").stdout) == ["code@penguins"]
    # The hooks strip the outputs and renew the record, and ask to have a second look, as hooks do.
    assert project.run("git", "commit", "--all", "--message", "edit", check=False).returncode == 1
    project.run("git", "commit", "--all", "--message", "edit")
    assert "epoch 15" not in project.read(NOTEBOOK)
    assert "up to date" in project.run("dvc", "status").stdout
    project.run("git", "push", "--quiet", "origin", "main")  # its hook pushes the data
    clone = tmp_path / "clone"
    project.run("git", "clone", "--quiet", str(tmp_path / "origin.git"), str(clone))
    there = type(project)(clone, project.environ)
    assert "fetched data and results" in there.pipeline("setup").stdout
    assert "up to date" in there.run("dvc", "status").stdout
    assert there.read("outputs/penguins.ipynb") == project.read("outputs/penguins.ipynb")


def test_a_commit_is_refused_mended_and_accepted(project):
    project.replace("notebooks/penguins.ipynb", '"parameters"\n    ]', '"Parameters"\n    ]')
    project.replace(
        "notebooks/penguins.ipynb",
        '"BATCH_SIZE: int = 16"',
        '"BATCH_SIZE: int = 16\\n", "ALPHA: float = 1e-4  # decay"',
    )
    project.replace(
        "notebooks/penguins.ipynb", "learning_rate_init=LEARNING_RATE", "learning_rate_init=LEARNING_RATE, alpha=ALPHA"
    )
    refused = project.run("git", "commit", "--all", "--message", "decay", check=False)
    assert refused.returncode == 1
    assert "notebooks/penguins.ipynb: cell 4: changed its tag `Parameters` to `parameters`" in refused.stdout
    assert "params.yaml:19: added `alpha: 0.0001` to `train`" in refused.stdout
    assert project.read("params.yaml").endswith("  batch_size: 16\n  alpha: 0.0001 # decay\n")
    project.run("git", "commit", "--all", "--message", "decay")
    project.run("dvc", "repro")
    assert "ALPHA = 0.0001" in project.read("outputs/penguins.ipynb")
    # What has no single cure is refused until a person decides.
    project.write("params.yaml", project.read("params.yaml") + "  beta: 1\n")
    refused = project.run("git", "commit", "--all", "--message", "beta", check=False)
    assert refused.returncode == 1
    assert "params.yaml:20: `train.beta` is given to stage `run_notebook`, but" in refused.stdout
    assert project.read("params.yaml").endswith("  beta: 1\n")


def test_git_push_works_without_a_remote_for_data(project, tmp_path):
    project.run("git", "init", "--quiet", "--bare", str(tmp_path / "origin.git"))
    project.run("git", "remote", "add", "origin", str(tmp_path / "origin.git"))
    project.run("git", "push", "--quiet", "origin", "main")


def test_code_and_values_rerun_the_notebook(project):
    def comment(document):
        cell(document, "train")["source"] += "\n# a comment\n"

    edit_notebook(project, comment)
    assert ran(project.run("dvc", "repro").stdout) == ["code@penguins"]
    edit_notebook(
        project, lambda document: cell(document, "train").update(source=cell(document, "train")["source"] + "\n1")
    )
    assert ran(project.run("dvc", "repro").stdout) == ["code@penguins", "run_notebook"]
    project.replace("params.yaml", "epochs: 15", "epochs: 2")
    done = project.run("dvc", "repro")
    assert ran(done.stdout) == ["run_notebook"]
    # No terminal here: what the notebook prints comes through.
    assert "epoch 2: loss" in done.stdout and "epoch 3" not in done.stdout


def test_a_prefilled_cell_does_not_count(project):
    """The values in the parameters cell are for editors."""

    def other_default(document):
        parameters = cell(document, "parameters")
        parameters["source"] = parameters["source"].replace("EPOCHS: int = 15", "EPOCHS: int = 3")

    edit_notebook(project, other_default)
    assert ran(project.run("dvc", "repro").stdout) == ["code@penguins"]


@pytest.mark.parametrize("how", [[], ["--temp"], ["--queue"]], ids=["here", "temp", "queue"])
def test_experiments(made, tmp_path, how):
    # DVC 3.67 cannot make a folder for an experiment below one whose name is not ASCII (configobj writes ASCII).
    project = type(made)(tmp_path / "my penguins", made.environ)
    shutil.copytree(made.path, project.path)
    said = project.run("dvc", "exp", "run", *how, "--name", "longer", "-S", "train.epochs=2").stdout
    if how == ["--queue"]:
        project.run("dvc", "exp", "run", "--run-all")
    shown = json.loads(project.run("dvc", "exp", "show", "--json", "--no-pager").stdout)
    experiments = [rev for branch in shown for group in branch["experiments"] or [] for rev in group["revs"]]
    data = next(rev["data"] for rev in experiments if rev["name"] == "longer")
    assert data["params"]["params.yaml"]["data"]["train"]["epochs"] == 2
    assert data["metrics"]["outputs/metrics.yaml"]["data"]["accuracy"] < 0.9
    # DVC's temporary folder has the `.pipeline` of its commit, whichever one the environment has.
    own = r"pipeline: uses the code in .*[/\\]\.dvc[/\\]tmp[/\\]exps[/\\].*[/\\]\.pipeline\n"
    assert how != ["--temp"] or re.search(own, said), said
