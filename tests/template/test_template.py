"""What `copier copy` renders."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import copier
import pytest
from conftest import Workspace, notebook
from copier.errors import UserMessageError
from ruamel.yaml import YAML

# What a project has, whatever it starts with.
FILES = """
.copier-answers.yml .dvc/.gitignore .dvc/config .dvcignore .gitattributes .gitignore .pre-commit-config.yaml
.vscode/extensions.json .vscode/settings.json AGENTS.md README.md data/.gitignore dvc.yaml outputs/.gitignore params.yaml
pyproject.toml
""".split()
# The package that it carries, as it lies here.
PACKAGE = Path(__file__).parents[2] / "template" / ".pipeline"
FILES += [
    f".pipeline/{path.relative_to(PACKAGE).as_posix()}"
    for path in PACKAGE.rglob("*")
    if path.suffix != ".pyc" and path.is_file()
]
EXAMPLE = ["data/external/penguins.csv", "notebooks/penguins.ipynb"]
OWN = {
    "example": EXAMPLE,
    "stages": [
        "data/external/penguins.csv",
        *(f"notebooks/{name}.ipynb" for name in ("data_load", "data_preprocess", "evaluate", "train")),
    ],
    "notebook": [],
}


@pytest.fixture
def churn(tmp_path) -> Path:
    """A notebook as people have it, with a module beside it."""
    path = tmp_path / "my work" / "Churn 2.ipynb"
    path.parent.mkdir()
    path.write_text(notebook("import pandas as pd, helpers", "from sklearn.svm import SVC"))
    path.with_name("helpers.py").write_text("import yaml\n")
    return path


def files(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in root.rglob("*") if path.is_file()}


def from_notebook(notebook: Path) -> dict[str, str]:
    return {"start": "notebook", "notebook": str(notebook)}


@pytest.mark.parametrize("start", OWN)
def test_exact_files_without_leftover_jinja(render, churn, start):
    rendered = files(render(**from_notebook(churn)) if start == "notebook" else render(start=start))
    assert sorted(rendered) == sorted(FILES + OWN[start])
    for name, text in rendered.items():
        # Python's own braces aside: f-strings and empty mappings.
        if not name.startswith(".pipeline/"):
            assert not re.search(r"\{\{|\{%|%\}", text), name
        assert text.endswith("\n") and not text.endswith("\n\n"), name
        assert "\n\n\n" not in text or name.endswith(".py"), name


def test_every_template_file_renders(template, render):
    rendered = files(render(ci="github")) | files(render("stages", start="stages", ci="gitlab"))
    for path in (template / "template").rglob("*"):
        name = path.relative_to(template / "template").as_posix().removesuffix(".jinja")
        assert path.is_dir() or name in rendered or "answers_file" in name, name


def test_pytest_copie_renders_with_the_defaults(copie):
    result = copie.copy(extra_answers={"setup": False})
    assert result.exception is None and result.exit_code == 0
    assert sorted(files(result.project_dir)) == sorted(FILES + EXAMPLE)
    assert set(result.answers) >= {"start", "project_name", "setup"}


@pytest.mark.parametrize(
    ("folder", "package"),
    [("Müller penguins", "muller-penguins"), ("Größe", "grosse"), ("企鹅", "project"), ("a.b_c", "a-b-c")],
)
def test_names_come_from_the_folder(render, folder, package):
    rendered = files(render(folder))
    assert f'name = "{package}"\n' in rendered["pyproject.toml"]
    assert rendered["README.md"].startswith(f"# {folder}\n")


def test_a_name_that_toml_cannot_hold_is_refused(render):
    with pytest.raises(UserMessageError, match='^project_name: "the .*best.*" cannot be a name. Fix: write one line'):
        render(project_name='the "best"')


def test_no_notebook_is_named_in_the_pipeline(template):
    for path in (template / "template" / ".pipeline").rglob("*.py"):
        assert "penguin" not in path.read_text("utf-8"), path.name


def test_no_trust_no_copy(template, tmp_path, environ):
    command = ["copier", "copy", "--defaults", str(template), str(tmp_path / "x")]
    done = subprocess.run(command, env=environ, text=True, capture_output=True)
    assert done.returncode == 4 and "unsafe" in done.stderr
    assert not (tmp_path / "x").exists()


def test_a_project_around_a_notebook(render, churn):
    rendered = files(render(**from_notebook(churn)))
    assert YAML(typ="safe").load(rendered[".copier-answers.yml"]).keys() == {
        "_commit", "_src_path", "start", "project_name", "dependencies", "remote", "ci", "setup",
    }  # fmt: skip
    project = tomllib.loads(rendered["pyproject.toml"])["project"]
    assert (project["name"], project["dependencies"]) == ("churn-2", ["pandas", "pyyaml", "scikit-learn"])
    assert rendered["README.md"].startswith("# Churn 2\n")
    assert [*YAML(typ="safe").load(rendered["dvc.yaml"])["stages"]] == ["code"]
    assert YAML(typ="safe").load(rendered["params.yaml"]) is None
    assert rendered["outputs/.gitignore"] == "/code\n"
    for name in FILES:
        assert not re.search("penguin|train.epochs", rendered[name]), name


def test_dependencies_as_they_were_typed(render, churn):
    typed = "pandas >= 2, <4, dask[array, dataframe], torch; python_version < '3.14',"
    rendered = files(render(**from_notebook(churn), dependencies=typed, project_name="Churn"))
    assert tomllib.loads(rendered["pyproject.toml"])["project"]["dependencies"] == [
        "pandas<4,>=2", "dask[array,dataframe]", "torch; python_version < '3.14'",
    ]  # fmt: skip
    assert tomllib.loads(files(render("none", **from_notebook(churn), dependencies=""))["pyproject.toml"])


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        (None, "x.ipynb: does not exist. Fix: correct the path"),
        ("{", "x.ipynb:1: not a valid notebook (broken JSON)"),
        ("{}", "x.ipynb: not a valid notebook (JSON of another kind). Fix: use a file that Jupyter wrote"),
        (notebook("x <- 1", language="R"), "x.ipynb: its language is r. Fix: use a Python notebook"),
    ],
)
def test_what_is_no_notebook_is_refused(render, tmp_path, text, refusal):
    if text is not None:
        (tmp_path / "x.ipynb").write_text(text)
    with pytest.raises(UserMessageError, match=f"^{re.escape(f'notebook: {tmp_path.as_posix()}/{refusal}')}"):
        render(**from_notebook(tmp_path / "x.ipynb"))
    assert not (tmp_path / "penguins").exists()


def test_no_notebook_is_refused(render):
    with pytest.raises(
        UserMessageError, match="^notebook: no notebook is given. Fix: type its path, or add `-d notebook=PATH`"
    ):
        render(start="notebook")
    with pytest.raises(UserMessageError, match="^notebook: no notebook is given"):
        render(start="notebook", notebook="")
    with pytest.raises(UserMessageError, match="^notebook: no notebook is given"):
        render(start="notebook", dependencies="numpy")
    with pytest.raises(UserMessageError, match="^notebook: .*/x.ipynb: does not exist. Fix: correct the path$"):
        render(start="notebook", notebook="~nobody-here/x.ipynb")


def test_dependencies_that_are_none_are_refused(render, churn):
    with pytest.raises(
        UserMessageError,
        match="^dependencies: 'scikit learn' is not a package. Fix: write names separated by commas, as in pandas",
    ):
        render(**from_notebook(churn), dependencies="pandas, scikit learn, ,numpy")


def test_the_set_up_is_given_the_notebook(template, churn, tmp_path, monkeypatch, capsys, environ):
    monkeypatch.setenv("COPIER_SETTINGS_PATH", environ["COPIER_SETTINGS_PATH"])
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(churn.parent)
    quoted = f'"{churn}"' if os.name == "nt" else f"'{churn}'"
    for given in ("Churn 2.ipynb", "~/my work/Churn 2.ipynb") if os.name != "nt" else ("Churn 2.ipynb",):
        for setup in (True, False):
            data = {"start": "notebook", "notebook": given, "setup": setup}
            copier.run_copy(str(template), tmp_path / "new", data=data, defaults=True, unsafe=True, pretend=True)
            arguments = f"--notebook {quoted}"
            printed = capsys.readouterr().err
            assert (f'/extensions/set_up.py" {arguments}\n' in printed) == setup
            assert (f"    uv run pipeline setup {arguments}\n" in printed) != setup


def test_the_last_words_after_a_set_up_that_failed(template, tmp_path, environ):
    """Without uv it fails at once. Copier's message then says what to do first, and not only that all can be run."""
    path = os.pathsep.join(
        folder for folder in environ["PATH"].split(os.pathsep) if not shutil.which("uv", path=folder)
    )
    if not shutil.which("git", path=path):
        pytest.skip("git and uv lie in one folder")
    without_uv = {name: value for name, value in environ.items() if name != "UV"} | {"PATH": path}
    command = [sys.executable, "-m", "copier", "copy", "--trust", "--defaults", str(template), str(tmp_path / "new")]
    done = subprocess.run(command, env=without_uv, check=True, capture_output=True, text=True, encoding="utf-8")
    assert (
        done.stdout.strip()
        == "uv: not found, so the project is not set up. Fix: pip install uv, then, there, uv run pipeline setup"
    )
    assert (
        f"\nnew is in {tmp_path / 'new'}, but it is not set up: first do what the lines above say. Then type there\n"
        "    uv run pipeline setup  "
    ) in done.stderr


def test_an_update_needs_no_notebook(template, churn, tmp_path, monkeypatch, capsys, environ):
    monkeypatch.setenv("COPIER_SETTINGS_PATH", environ["COPIER_SETTINGS_PATH"])
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", environ["GIT_CONFIG_GLOBAL"])

    def git(*arguments: str, cwd: Path) -> str:
        done = subprocess.run(["git", *arguments], cwd=cwd, env=environ, check=True, capture_output=True, text=True)
        return done.stdout

    clone = tmp_path / "template"
    shutil.copytree(template, clone)
    git("tag", "v1", cwd=clone)
    data = {**from_notebook(churn), "setup": False}
    copier.run_copy(str(clone), tmp_path / "p", data=data, defaults=True, unsafe=True, quiet=True)
    git("init", cwd=tmp_path / "p")
    git("add", "--all", cwd=tmp_path / "p")
    git("commit", "-m", "p", cwd=tmp_path / "p")
    with (clone / "template" / ".dvcignore").open("a") as file:
        file.write("*.tmp\n")
    git("commit", "-am", "v2", cwd=clone)
    git("tag", "v2", cwd=clone)
    shutil.rmtree(churn.parent)
    capsys.readouterr()
    copier.run_update(tmp_path / "p", defaults=True, unsafe=True, overwrite=True)
    assert "otebook" not in "".join(capsys.readouterr())
    assert git("diff", "--name-only", cwd=tmp_path / "p").split() == [".copier-answers.yml", ".dvcignore"]
    git("commit", "-am", "updated", cwd=tmp_path / "p")
    copier.run_recopy(tmp_path / "p", defaults=True, unsafe=True, overwrite=True, quiet=True)
    assert git("status", "--porcelain", cwd=tmp_path / "p") == ""
    # An update loads the template's code twice, from two places: none of it stays.
    assert not [name for name in sys.modules if name.startswith("_template_notebook")]


def test_a_pipeline_without_stages_is_one(render, churn, made):
    project = Workspace(render(**from_notebook(churn)), made.environ)
    project.run("git", "init", "--quiet")
    for command in ("repro", "status", "metrics show", "exp show"):
        project.run("dvc", *command.split())
    assert project.pipeline("check").stdout == ""
    assert "ruff" not in project.run("ruff", "check", ".").stdout
    project.run("check-yaml", "dvc.yaml", "params.yaml")


@pytest.mark.skipif(os.name == "nt", reason="stands in for uv with a shell script")
@pytest.mark.parametrize("fails", [False, True])
def test_setup_adds_the_notebook_once(render, churn, tmp_path, environ, fails):
    uv = tmp_path / "uv"
    cases = f'*" data status "*) exit;; *" add "*) echo "uv $*"; exit {int(fails)};; *) echo "uv $*";;'
    uv.write_text(f'#!/bin/sh\ncase "$*" in {cases} esac\n')
    uv.chmod(0o755)
    project = Workspace(render(**from_notebook(churn)), {**environ, "UV": str(uv)})
    command = ("python", "-m", "notebook_pipeline", "setup", "--notebook", str(churn))
    done = project.run(*command, check=False)
    assert f"== notebook\nuv run pipeline add {churn}\n" in done.stdout
    # After a failure the notebook is not run a second time.
    assert ("uv run dvc repro" in done.stdout) != fails
    assert done.returncode == fails
    if fails:
        assert f'failed. Fix: later, uv run pipeline add "{churn}"\n' in done.stdout
        assert f'says, then: uv run pipeline setup --notebook "{churn}"\n' in done.stdout
    else:
        assert "has no stage yet; this makes one: uv run pipeline add NOTEBOOK" in done.stdout
        # As DVC wraps a long command.
        project.write("dvc.lock", "run\n      notebooks/Churn_2.ipynb ")
        assert "notebooks/Churn_2.ipynb has a stage already" in project.run(*command).stdout
