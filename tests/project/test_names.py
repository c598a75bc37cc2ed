"""Names of notebooks and files as people give them: they work, or are refused in one line that changes nothing.

One more name is one more line of `NAMES`.
"""

import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Workspace, notebook
from ruamel.yaml import YAML

from notebook_pipeline import files
from notebook_pipeline.add import command as add
from notebook_pipeline.add import job
from notebook_pipeline.project.project import Project, ProjectError, Stage
from notebook_pipeline.project.stages import command

# A notebook's name in notebooks/, and the stage's; None if it is refused.
NAMES = [
    ("R&D", "R_D"),
    ("eda_(v2)", "eda__v2"),
    ("Anna's", "Anna_s"),
    ("a b", "a_b"),
    ("a;id>X;b", "a_id_X_b"),
    ("Übung", "Übung"),
    ("数据", "数据"),
    ("a@b", "a_b_notebook"),
    ("a^b!c~d=e,f", "a_b_c_d_e_f"),
    ("x{y}[z]", "x_y_z"),
    ("-x", "x"),
    ("1", "1"),
    ("2024", "2024"),
    ("null", "null"),
    ("true", "true"),
    ("no", "no"),
    ("1e3", "1e3"),
    ("0x10", "0x10"),
    ("100%", "100"),
    ("a#1", "a_1"),
    ("a #1", "a_1_notebook"),
    ("a: b", "a_b_2"),
    ("n" * 249, "n" * 100),
    ("a\tb", None),
    ("a\nb", None),
    ("a\rb", None),
    ('say "hi"', None),
    ("$HOME", None),
    ("${x}", None),
    ("`id`", None),
    ("a\\b", None),
    ("%PATH%", None),
]
ON_WINDOWS = pytest.mark.skipif(os.name == "nt", reason="no such names on Windows")


@pytest.mark.skipif(os.name == "nt", reason="asks sh")
@pytest.mark.parametrize("name", [name for name, stage in NAMES if stage])
def test_a_shell_and_the_stage_read_the_command_alike(name):
    paths = (f"notebooks/{name}.ipynb", f"outputs/{name}.ipynb")
    line = command("run", *paths)
    said = subprocess.run(["sh", "-c", line.replace("pipeline", "printf '%s\\n' ", 1)], capture_output=True, text=True)
    assert said.stdout.splitlines() == ["run", *paths]
    assert Stage("x", (line,)).calls("run") == paths


@pytest.mark.parametrize("name", [name for name, stage in NAMES if stage is None])
def test_what_no_shell_reads_is_refused(name):
    with pytest.raises(
        ProjectError, match=r"^notebooks/.+: a stage's command cannot name a file with .+\. Fix: rename the file$"
    ):
        command("run", f"notebooks/{name}.ipynb")


@pytest.fixture
def project(made, tmp_path) -> Workspace:
    """A project without a stage, committed."""
    place = tmp_path / "my project"
    project = Workspace(place, made.environ)
    shutil.copytree(
        made.path, place, symlinks=True, ignore=shutil.ignore_patterns("cache", "notebooks", "outputs", "dvc.lock")
    )
    project.write("dvc.yaml", "stages:\n  code:\n    matrix:\n      notebook: []\n    cmd: pipeline code "
                  "notebooks/${item.notebook}.ipynb outputs/code/${item.notebook}.py\n    deps:\n      - "
                  "notebooks/${item.notebook}.ipynb\n    outs:\n      - outputs/code/${item.notebook}.py\n")  # fmt: skip
    project.write("params.yaml", "other: 1\n")
    project.write("outputs/.gitignore", "")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--no-verify", "--message", "nothing yet")
    return project


ADD_ALL = """
import json, subprocess, sys
from notebook_pipeline.add import command as add
from notebook_pipeline.add import job
codes = {}
for name in json.load(open(sys.argv[1])):
    subprocess.run(["git", "add", "--all"], check=True)
    codes[name] = add.main([f"notebooks/{name}.ipynb", "--no-run"])
    if codes[name] == 1:
        assert not subprocess.run(["git", "diff", "--name-only"], capture_output=True).stdout, name
json.dump(codes, open(sys.argv[2], "w"))
"""


@ON_WINDOWS
def test_each_name_becomes_a_stage_or_changes_nothing(project, tmp_path):
    for name, _ in NAMES:
        if "/" not in name:
            project.write(f"notebooks/{name}.ipynb", notebook("N = 1", "print(N)"))
    (tmp_path / "names.json").write_text(json.dumps([name for name, _ in NAMES]))
    said = project.run("python", "-c", ADD_ALL, str(tmp_path / "names.json"), str(tmp_path / "codes.json")).stdout
    assert json.loads((tmp_path / "codes.json").read_text()) == {name: 0 if stage else 1 for name, stage in NAMES}, said
    assert "Traceback" not in said
    stages = YAML(typ="safe").load(project.read("dvc.yaml"))["stages"]
    assert {stage for _, stage in NAMES if stage} <= {*stages}
    parameters = YAML(typ="safe").load(project.read("params.yaml"))
    assert all(parameters[stage] == {"n": 1} for _, stage in NAMES if stage)
    # DVC and the hook read each of them, and one command runs what stands in no shell.
    assert project.pipeline("check", check=False).stdout.count("cannot") == 0
    project.run("dvc", "repro", "code_a_id_X_b", "a_id_X_b", "Anna_s", "100", "null")
    assert (
        project.run("dvc", "status", "a_id_X_b", "Anna_s", "100", "null").stdout
        == "Data and pipelines are up to date.\n"
    )
    assert not (project.path / "X").exists()


@ON_WINDOWS
def test_files_with_such_names(project, tmp_path):
    """A notebook from elsewhere that reads and writes files which DVC or the file system would stumble over."""
    long = "l" * 251 + ".csv"
    read, written = ["${x}.csv", "a#1.csv", "true", long], ["${y}.csv", "out: 1.csv", "r" * 251 + ".csv"]
    work = tmp_path / "Anna's work"
    work.mkdir()
    for name in read:
        (work / name).write_text("a,b\n")
    cell = f"for name in {read!r}:\n    pass\n" + "".join(f"open({name!r}).read()\n" for name in read)
    cell += "".join(f"open({name!r}, 'w').write('x')\n" for name in written)
    (work / "R&D.ipynb").write_text(notebook("N = 1", cell), encoding="utf-8")
    project.pipeline("add", str(work / "R&D.ipynb"))
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
    stage = next(each for each in Project(project.path).stages() if each.name == "R_D")
    assert {f"data/external/{name}" for name in read} <= {*stage.deps} or "data/external" in stage.deps
    assert {*written} <= {*stage.outs}
    project.run("dvc", "repro", "--force")


def test_the_file_beside_is_short(tmp_path):
    name = "n" * 255
    files.write(tmp_path / name, "old")
    (tmp_path / name).chmod(0o600)
    files.copy(tmp_path / name, tmp_path / "folder" / name)
    assert (tmp_path / "folder" / name).stat().st_mode & 0o777 == 0o600 or os.name == "nt"
    assert [path.name for path in tmp_path.rglob("n*")] == [name, name] and not [*tmp_path.rglob(".*")]


# What ends `add` once it has begun to write.
STEPS = ["write_notebook", "write_parameters", "write_code_stage", "ignore_results"]


@pytest.mark.parametrize("step", STEPS)
def test_an_add_that_is_refused_has_changed_nothing(tmp_path, monkeypatch, capsys, step):
    work, project = tmp_path / "work", tmp_path / "project"
    (work / "deep").mkdir(parents=True)
    (work / "deep/a.csv").write_text("a")
    (work / "helpers.py").write_text("X = 1")
    (work / "x.ipynb").write_text(notebook("N = 1", "import helpers\nopen('deep/a.csv').read()"))
    (project / ".dvc/tmp").mkdir(parents=True)
    monkeypatch.chdir(project)
    Path("dvc.yaml").write_text("stages:\n  old: {cmd: echo}\n")
    Path("params.yaml").write_text("other: 1\n")

    def contents() -> dict[Path, bytes]:  # git ignores what Ruff remembers
        return {
            path: path.is_file() and path.read_bytes() for path in project.rglob("*") if ".ruff_cache" not in path.parts
        }

    before = contents()

    def refuse(*_, **__):
        raise add.Refused("no")

    for later in itertools.dropwhile(lambda each: each != step, STEPS):
        monkeypatch.setattr(job, later, refuse)
    assert add.main([str(work / "x.ipynb")]) == 1
    assert contents() == before
    said = capsys.readouterr()
    assert said.err == "no\n" and said.out == ""


@pytest.mark.parametrize("name", ["a b", "a@b", "a/b", "", "x: y"])
def test_a_stage_s_name_is_one_that_dvc_takes(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    Path("x.ipynb").write_text(notebook("N = 1"))
    assert add.main(["x.ipynb", "--name", name]) == 1
    assert "DVC does not take this name. Fix: write letters, digits, _ and - only" in capsys.readouterr().err
