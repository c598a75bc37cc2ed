"""What `copier copy` renders."""

import re
import subprocess
from pathlib import Path

import pytest

FILES = """
.copier-answers.yml .dvc/.gitignore .dvc/config .dvcignore .gitattributes .gitignore .pre-commit-config.yaml
.vscode/extensions.json .vscode/settings.json README.md data/.gitignore data/external/penguins.csv dvc.yaml
notebooks/penguins.ipynb outputs/.gitignore params.yaml pipeline/__init__.py pipeline/__main__.py pipeline/check.py
pipeline/code.py pipeline/edits.py pipeline/files.py pipeline/notebook.py pipeline/project.py pipeline/run.py
pipeline/setup.py pipeline/shell_line.py pyproject.toml
""".split()


def files(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in root.rglob("*") if path.is_file()}


def test_exact_files_without_leftover_jinja(render):
    rendered = files(render())
    assert sorted(rendered) == sorted(FILES)
    for name, text in rendered.items():
        # Python's own braces aside: f-strings and empty mappings.
        if not name.startswith("pipeline/"):
            assert not re.search(r"\{\{|\{%|%\}", text), name
        assert text.endswith("\n"), name


def test_every_template_file_renders(template, render):
    rendered = files(render())
    for path in (template / "template").rglob("*"):
        name = path.relative_to(template / "template").as_posix().removesuffix(".jinja")
        assert path.is_dir() or name in rendered or "answers_file" in name, name


def test_pytest_copie_renders_with_the_defaults(copie):
    result = copie.copy(extra_answers={"setup": False})
    assert result.exception is None and result.exit_code == 0
    assert sorted(files(result.project_dir)) == sorted(FILES)
    assert set(result.answers) >= {"project_name", "setup"}


@pytest.mark.parametrize(
    ("folder", "package"),
    [("Müller penguins", "muller-penguins"), ("Größe", "grosse"), ("企鹅", "project"), ("a.b_c", "a-b-c")],
)
def test_names_come_from_the_folder(render, folder, package):
    rendered = files(render(folder))
    assert f'name = "{package}"\n' in rendered["pyproject.toml"]
    assert rendered["README.md"].startswith(f"# {folder}\n")


def test_a_name_that_toml_cannot_hold_is_refused(render):
    with pytest.raises(ValueError, match="cannot be a name: write one line"):
        render(project_name='the "best"')


def test_no_notebook_is_named_in_the_pipeline(template):
    for path in (template / "template" / "pipeline").glob("*.py"):
        assert "penguin" not in path.read_text("utf-8"), path.name


def test_no_trust_no_copy(template, tmp_path, environ):
    command = ["copier", "copy", "--defaults", str(template), str(tmp_path / "x")]
    done = subprocess.run(command, env=environ, text=True, capture_output=True)
    assert done.returncode == 4 and "unsafe" in done.stderr
    assert not (tmp_path / "x").exists()
