"""`pipeline remove`: stages go with what only they used, and what another one needs stays. Real projects, real DVC."""

from conftest import Workspace, notebook
from samples import ran


def test_a_stage_with_what_only_it_used(stages):
    said = stages.pipeline("remove", "evaluate").stdout
    assert said.splitlines() == [
        "dvc.yaml: removed `evaluate`",
        "dvc.yaml: removed evaluate from stage `code`",
        "dvc.yaml: removed an entry of `plots`",
        "dvc.yaml: removed an entry of `plots`",
        "deleted outputs/confusion_matrix.png, outputs/evaluate.ipynb, outputs/predictions.csv, outputs/metrics.yaml, "
        "outputs/code/evaluate.py",
        "deleted notebooks/evaluate.ipynb, which git still has",
    ]
    text = stages.read("dvc.yaml")
    assert "evaluate" not in text and "Confusion" not in text and "  - outputs/train_history.png\n" in text
    assert "notebook: [data_preprocess, data_load, train]" in text
    # `base.target`, of which other stages have the section, stays.
    assert "target: species" in stages.read("params.yaml") and "epochs: 15" in stages.read("params.yaml")
    assert "evaluate" not in stages.read("dvc.lock") and "evaluate" not in stages.read("outputs/.gitignore")
    assert ran(stages.run("dvc", "repro").stdout) == [] and "up to date" in stages.run("dvc", "status").stdout
    assert stages.pipeline("check").stdout == ""
    stages.run("git", "commit", "--quiet", "--all", "--message", "x")
    assert stages.run("git", "status", "--porcelain").stdout == ""


def test_parameters_plots_and_commands_of_two_stages(stages):
    stages.pipeline("remove", "train", "evaluate")
    text, params, readme = (stages.read(name) for name in ("dvc.yaml", "params.yaml", "README.md"))
    assert "plots" not in text and "epochs" not in params and "test_size: 0.2" in params
    assert "train." not in "".join(line for line in readme.splitlines() if " -S " in line)
    assert '-S "SECTION.NAME=VALUE,VALUE" --by METRIC' in readme
    assert stages.pipeline("check").stdout == "" and ran(stages.run("dvc", "repro").stdout) == []
    assert not [path for path in (stages.path / "outputs").rglob("*") if "train" in path.name or "model" in path.name]


def test_what_another_stage_reads_is_not_removed(staged):
    done = staged.pipeline("remove", "train", check=False)
    assert done.returncode == 1
    assert done.stdout == (
        f"dvc.yaml:{line_of(staged, 'deps:', after='  evaluate:')}: stage `evaluate` reads outputs/model.joblib, which would not "
        "be made any more. Fix: remove it, too (pipeline remove train evaluate), or remove this dep\n"
    )
    done = staged.pipeline("remove", "nothing", check=False)
    assert done.stdout == (
        "dvc.yaml: there is no stage `nothing` to remove. Fix: name one of data_preprocess, data_load, train, evaluate\n"
    )
    assert staged.pipeline("remove", "--dry-run", "evaluate").stdout.startswith("dvc.yaml: removed `evaluate`\n")
    assert staged.run("git", "status", "--porcelain").stdout == "" and (staged.path / "outputs/metrics.yaml").exists()


def line_of(project: Workspace, text: str, after: str) -> int:
    lines = project.read("dvc.yaml").splitlines()
    start = lines.index(after)
    return next(at for at, line in enumerate(lines[start:], start + 1) if line.strip() == text)


def test_the_example_goes_and_ones_own_notebook_comes(project):
    said = project.pipeline("remove", "run_notebook").stdout
    assert (
        "data/external/penguins.csv: no stage reads it any more. Fix: delete it, if you do not need it, then "
        "uv run dvc add data/external"
    ) in said.splitlines()
    assert "notebook: []" in project.read("dvc.yaml") and not (project.path / "dvc.lock").exists()
    assert [*(project.path / "notebooks").glob("*")] == [] and "seed" not in project.read("params.yaml")
    project.run("dvc", "repro")
    project.run("git", "commit", "--quiet", "--all", "--message", "x")
    project.write("../own.ipynb", notebook("N: int = 3", "open('outputs/n.txt', 'w').write(str(N))"))
    project.pipeline("add", "../own.ipynb")
    assert "up to date" in project.run("dvc", "status").stdout


def test_a_notebook_that_git_lacks_stays(stages):
    stages.replace("notebooks/evaluate.ipynb", "import joblib", "import joblib  # mine")
    said = stages.pipeline("remove", "evaluate").stdout
    line = (
        "notebooks/evaluate.ipynb: stays, because git does not have it as it is. Fix: delete it, if you do not need it"
    )
    assert line in said.splitlines() and "# mine" in stages.read("notebooks/evaluate.ipynb")


ITEMS = """\
stages:
  one:
    foreach: ${items}
    do:
      cmd: echo ${item} > outputs/one-${key}.txt
      params: ["items.${key}"]
      outs: ["outputs/one-${key}.txt"]
  two:
    cmd: echo ${shared.a} > outputs/two.txt
    params: [shared.a, shared.b]
    outs: [outputs/two.txt]
"""


def test_a_stage_of_several_items_and_a_shared_section(bare):
    bare.write(
        "params.yaml", "# mine\n\nitems: # many\n  a: 1\n  b: 2\n\n# of both\nshared:\n  a: 1\n  b: 2 # two\n  c: 3\n"
    )
    bare.write("dvc.yaml", ITEMS)
    bare.run("git", "init", "--quiet")
    bare.run("dvc", "init", "--quiet")
    bare.write("outputs/.gitignore", "")
    bare.run("dvc", "repro", "--quiet")
    done = bare.pipeline("remove", "one@a", check=False)
    assert done.stdout == "dvc.yaml: there is no stage `one@a` to remove. Fix: name the whole stage, `one`\n"
    bare.pipeline("remove", "one")
    assert bare.read("params.yaml") == "# mine\n\n# of both\nshared:\n  a: 1\n  b: 2 # two\n  c: 3\n"
    assert [path.name for path in (bare.path / "outputs").glob("*.txt")] == ["two.txt"]
    assert "up to date" in bare.run("dvc", "status").stdout
    # What nobody lists is nobody's, and stays.
    bare.pipeline("remove", "two")
    assert bare.read("params.yaml") == "# mine\n\n# of both\nshared:\n  c: 3\n"
    assert bare.read("dvc.yaml") == "stages: {}\n" and not (bare.path / "dvc.lock").exists()


def test_a_file_that_cannot_be_written_leaves_all(stages):
    code = (
        "import os; from notebook_pipeline.remove import command; real = os.replace\n"
        "def fail(source, target):\n"
        "    if str(target).endswith('params.yaml'): raise OSError(28, 'No space left on device', str(target))\n"
        "    return real(source, target)\n"
        "os.replace = fail; command.main(['train', 'evaluate'])"
    )
    assert "No space left" in stages.run("python", "-c", code, check=False).stdout
    assert stages.run("git", "status", "--porcelain").stdout == "" and (stages.path / "outputs/model.joblib").exists()
