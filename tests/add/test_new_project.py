"""`copier copy` around a notebook of one's own."""

import pytest
from add_samples import KINDS, contents, large, project, stage, started, untagged  # noqa: F401
from conftest import notebook


def test_a_project_around_a_notebook(churn):
    log = churn.read(".log")
    assert stage(churn, "Customer_churn") == {
        "cmd": "pipeline run notebooks/Customer_churn.ipynb outputs/Customer_churn.ipynb",
        "deps": ["data/external/customers.csv", "notebooks/helpers.py", "outputs/code/Customer_churn.py"],
        "params": ["train"],
        "outs": ["model.pkl", "outputs/Customer_churn.ipynb"],
        "metrics": [{"metrics.json": {"cache": False}}],
        "plots": ["history.csv", "history.png"],
    }, log
    assert churn.read("params.yaml").endswith("\ntrain:\n  epochs: 3 # rounds\n  rate: 0.5\n")
    assert churn.run("dvc", "status").stdout == "Data and pipelines are up to date.\n", log
    assert "Start of the project" in churn.run("git", "log", "--oneline").stdout, log
    assert churn.run("git", "status", "--porcelain", "--", ":!.log").stdout == "", log
    assert churn.pipeline("check").stdout == ""


def test_inputs_and_parameters_rerun_it(project):
    assert "Running stage" not in project.run("dvc", "repro").stdout
    project.replace("params.yaml", "epochs: 3", "epochs: 4")
    assert "Running stage 'Customer_churn'" in project.run("dvc", "repro").stdout
    assert project.read("history.csv").count("\n") == 5
    project.write("data/external/customers.csv", "name,left\nAda,1\n")
    assert "Running stage 'Customer_churn'" in project.run("dvc", "repro").stdout
    project.write("notebooks/helpers.py", "def loss(rate, epoch):\n    return rate\n")
    assert "Running stage 'Customer_churn'" in project.run("dvc", "repro").stdout
    assert '"rows": 1' in project.read("metrics.json") and '"loss": 0.5' in project.read("metrics.json")


# The other kinds become stages in test_stage.py: `copier copy` calls `pipeline add`.
@pytest.mark.parametrize("name", ["far", "modules", "nothing", "large"])
def test_a_project_around_each_kind(template, samples, churn, tmp_path, name):
    kind = KINDS[name]
    kind.write(samples, name)
    before = contents(samples)
    environ = churn.environ | {"PIPELINE_STRICT": "1"}  # what it reads and writes is declared
    project, done = started(template, environ, samples / f"{name}.ipynb", tmp_path / "project")
    assert contents(samples) == before
    kind.assert_is_stage(project, name, done.stdout)
    assert project.run("git", "status", "--porcelain").stdout == "" and project.pipeline("check").stdout == ""
    assert "Start of the project" in project.run("git", "log", "--oneline").stdout, done.stdout
    # Neither the outputs nor anything else that is large is git's.
    assert (project.path / f"notebooks/{name}.ipynb").stat().st_size < 5000


# The notebook, what `copier copy` says, the deps that its stage has nevertheless, and the correction.
BROKEN = {
    "syntax": (
        untagged("N = 1", "open('text/one.txt').read()", "print(N))"),
        ["notebooks/syntax.ipynb: cell 4, line 1: SyntaxError: unmatched ')'",
         "notebooks/syntax.ipynb: the run failed; stage `syntax` in dvc.yaml has what it touched until then. Fix: correct the notebook, "
         "`git add --all .`, then: uv run pipeline add notebooks/syntax.ipynb",
         "syntax.ipynb` failed. Fix: later, uv run pipeline add notebooks/syntax.ipynb"],
        ["data/external/text/one.txt"], ("print(N))", "print(N)"),
    ),
    "missing": (
        untagged("import nowhere_to_be_found\nfrom google.colab import drive", "open('text/one.txt').read()"),
        ["notebooks/missing.ipynb: needs packages that this environment lacks. Fix: uv add nowhere-to-be-found, `git add --all .`, then: uv run "
         "pipeline add notebooks/missing.ipynb",
         "notebooks/missing.ipynb: imports google.colab, which no package provides. Fix: remove the import, `git add --all .`, then: uv run "
         "pipeline add notebooks/missing.ipynb"],
        ["data/external/text/one.txt"], ("import nowhere_to_be_found", "import json"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_project_around_what_cannot_run(template, samples, churn, tmp_path, name):
    text, messages, deps, correction = BROKEN[name]
    (samples / f"{name}.ipynb").write_text(text)
    project, done = started(template, churn.environ, samples / f"{name}.ipynb", tmp_path / "project")
    assert done.returncode == 0 and all(message in done.stdout for message in messages), done.stdout
    assert "The project is here, but not all of it is set up." in done.stdout and ".pipeline/" not in done.stdout
    assert stage(project, name)["deps"] == sorted([*deps, f"outputs/code/{name}.py"])
    assert "Start of the project" in project.run("git", "log", "--oneline").stdout
    assert not {f"outputs/{name}.ipynb", f"outputs/code/{name}.py"} & {*project.run("git", "ls-files").stdout.split()}
    # The same command goes on from there.
    project.replace(f"notebooks/{name}.ipynb", *correction)
    if name == "missing":
        project.replace("notebooks/missing.ipynb", "from google.colab import drive", "")
    again = ("setup", "--notebook", str(samples / f"{name}.ipynb"))
    assert f"made a stage of notebooks/{name}.ipynb\n" in project.pipeline(*again).stdout
    assert f"notebooks/{name}.ipynb has a stage already\n" in project.pipeline(*again).stdout
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"


REFUSED = {
    "r": (notebook("N <- 1", language="R"), "FILE: its language is r. Fix: use a Python notebook"),
    "json": ("{", "FILE:1: not a valid notebook (broken JSON). "),
    "other": ("{}", "FILE: not a valid notebook (JSON of another kind). Fix: use a file that Jupyter wrote"),
    "gone": (None, "FILE: does not exist. Fix: correct the path"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_project_around_what_is_no_notebook(template, environ, tmp_path, name):
    text, message = REFUSED[name]
    file = tmp_path / f"{name}.ipynb"
    if text is not None:
        file.write_text(text)
    _, done = started(template, environ, file, tmp_path / "project")
    assert done.returncode == 1 and not (tmp_path / "project").exists()
    assert done.stdout.splitlines()[-1].startswith(f"notebook: {message.replace('FILE', file.as_posix())}"), done.stdout
    assert "Traceback" not in done.stdout
