"""The example's notebook as four stages, beside those written by hand."""

import json
import shutil

import pytest
from conftest import Workspace
from split_samples import sources, stages

NAMES = ["data_preprocess", "data_load", "train", "evaluate"]
RESULTS = [
    "outputs/metrics.yaml",
    "outputs/train_history.csv",
    "outputs/predictions.csv",
    "data/processed/penguins.csv",
]


@pytest.fixture(scope="module")
def parted(made, tmp_path_factory) -> tuple[Workspace, str]:
    """The example, split and committed. Not to be changed."""
    path = tmp_path_factory.mktemp("parted") / made.path.name
    shutil.copytree(made.path, path, symlinks=True)
    workspace = Workspace(path, made.environ)
    said = workspace.pipeline("split", "notebooks/penguins.ipynb").stdout
    workspace.run("git", "add", "--all", ".")
    workspace.run("git", "commit", "-qm", "Split")
    return workspace, said


@pytest.fixture
def project(parted, tmp_path) -> Workspace:
    path = tmp_path / parted[0].path.name
    shutil.copytree(parted[0].path, path, symlinks=True)
    return Workspace(path, parted[0].environ)


def test_the_numbers_of_the_stages_written_by_hand(parted, staged):
    workspace, said = parted
    assert "ran whole twice, and in 4 stages: 8 of 8 cells and 7 of 7 files are the same" in said
    assert [name for name in stages(workspace) if name != "code"] == NAMES
    for path in RESULTS:
        assert workspace.read(path) == staged.read(path), path
    assert "up to date" in workspace.run("dvc", "status").stdout
    assert workspace.pipeline("check").stdout == ""


def test_a_changed_value_reruns_its_stage_and_those_behind_it(project):
    project.replace("params.yaml", "epochs: 15", "epochs: 3")
    said = project.run("dvc", "repro").stdout
    assert [name for name in NAMES if f"Running stage '{name}'" in said] == ["train", "evaluate"]


def test_running_all_again_leaves_the_lock_as_it_was(project):
    before = project.read("dvc.lock")
    project.run("dvc", "repro", "--force")
    assert project.read("dvc.lock") == before


def test_a_stage_that_changes_what_it_does_not_hand_over_fails(project):
    text = project.read("notebooks/train.ipynb")
    document = json.loads(text)
    cell = next(each for each in document["cells"] if each["id"] == "train-history")
    cell["source"] += ["\n", "x_test.iloc[0, 0] = 99.0"]
    project.write("notebooks/train.ipynb", json.dumps(document))
    done = project.run("dvc", "repro", check=False)
    assert (
        done.returncode
        and "`x_test` was changed here" in done.stdout
        and "data_load.x_test+y_test.pickle" in done.stdout
    )


def test_each_notebook_opens_in_an_editor_and_runs_alone(project):
    for name in NAMES:
        code = sources(project, name)
        assert all(len(code[each].splitlines()) <= 6 for each in ("load", "hand-over") if each in code)
        run = (
            "import nbformat, nbclient, sys\n"
            "nbclient.NotebookClient(nbformat.read(sys.argv[1], 4), kernel_name='python3', resources={'metadata': {'path': '.'}}).execute()"
        )
        # As an editor that starts it in its own folder.
        Workspace(project.path / "notebooks", project.environ).run("python", "-c", run, f"{name}.ipynb")


def test_each_stage_is_given_exactly_the_parameters_that_it_uses(parted):
    listed = {name: stages(parted[0])[name].get("params") for name in NAMES}
    assert listed == {
        "data_preprocess": ["base.target", "data_preprocess"],
        "data_load": [
            "base",
            "data_preprocess.destination_directory",
            "data_preprocess.destination_file",
            "train.test_size",
        ],
        "train": ["base.seed", "train.learning_rate", "train.epochs", "train.batch_size"],
        "evaluate": None,
    }
    metrics = stages(parted[0])["evaluate"]["metrics"]
    assert metrics == [{"outputs/metrics.yaml": {"cache": False}}] and "# small: git keeps it" in parted[0].read(
        "dvc.yaml"
    )


def test_a_revert_brings_the_one_stage_back_without_a_rerun(project):
    project.run("git", "revert", "--no-edit", "HEAD")
    said = project.run("dvc", "repro").stdout
    assert "Running stage" not in said and [*stages(project)] == ["code", "run_notebook"]
