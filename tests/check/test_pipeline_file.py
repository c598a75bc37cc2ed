"""`pipeline check`: dvc.yaml and params.yaml that are broken, or lose values."""

import pytest
from check_samples import DVC, HEAD, cells, everything, here, json_values, lock, sources  # noqa: F401
from conftest import notebook

from notebook_pipeline.check import command as check
from notebook_pipeline.project.project import Project

# The command, and what it is to be.
PAPERMILL = {
    "of the guides": (
        ">\n      papermill\n      notebooks/fit.ipynb\n      outputs/fit.ipynb\n      -p LR ${train.lr}\n      -y 'X: ${train.lr}'",
        "pipeline run notebooks/fit.ipynb outputs/fit.ipynb",
    ),
    "a module": ("python -m papermill -k python3 notebooks/fit.ipynb out.ipynb", "pipeline run notebooks/fit.ipynb out.ipynb"),
    "a place": (".venv/bin/papermill ./notebooks/fit.ipynb out.ipynb", "pipeline run ./notebooks/fit.ipynb out.ipynb"),
    "a variable": ("papermill notebooks/${name}.ipynb out/${name}.ipynb -p S \"it's\"",
                   "pipeline run notebooks/${name}.ipynb out/${name}.ipynb"),
    "quotes": ("papermill 'notebooks/fit.ipynb' \"my out.ipynb\"", 'pipeline run notebooks/fit.ipynb "my out.ipynb"'),
    "a list": ("[mkdir out, papermill notebooks/fit.ipynb out.ipynb]", "pipeline run notebooks/fit.ipynb out.ipynb"),
    "a backslash": ("|\n      papermill \\\n      notebooks/fit.ipynb \\\n      out.ipynb", "pipeline run notebooks/fit.ipynb out.ipynb"),
    "no notebook as output": ("papermill notebooks/fit.ipynb /dev/null", "pipeline run notebooks/fit.ipynb OUTPUT"),
}  # fmt: skip


@pytest.mark.parametrize("case", PAPERMILL)
def test_a_stage_that_calls_papermill_itself(here, capsys, case):
    cmd, better = PAPERMILL[case]
    (here / "dvc.yaml").write_text(
        f"stages:\n  fit:\n    cmd: {cmd}\n    deps: [notebooks/fit.ipynb]\n    params: [train]\n"
    )
    (here / "params.yaml").write_text("name: fit\ntrain:\n  lr: 1\n")
    before = everything(here)
    said = (
        "dvc.yaml:3: stage `fit`: calls papermill itself, so values may change on their way through the shell. "
        f"Fix: write `cmd: {better}`\n"
    )
    for arguments in [], ["--fix"], ["notebooks/fit.ipynb"]:
        assert check.main(arguments) == 1
        assert capsys.readouterr().out == said
    assert everything(here) == before
    # Its notebook is one of the pipeline's, whose parameters cell counts.
    (here / "notebooks/fit.ipynb").write_text(notebook({"source": "LR = 1"}))
    assert check.main([]) == 1
    assert "no cell is tagged `parameters`" in capsys.readouterr().out


def test_what_calls_no_papermill(here, capsys):
    more = "".join(
        f"  s{at}:\n    cmd: {cmd}\n" for at, cmd in enumerate(("pip install papermill", "ls papermill/fit.ipynb"))
    )
    (here / "dvc.yaml").write_text(DVC + more)
    assert check.main([]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("named", [["notebooks/fit.ipynb"], []])
def test_a_backslash_does_not_join_lines(here, capsys, named):
    shell = "|\n      pipeline run \\\n      notebooks/fit.ipynb \\\n      outputs/fit.ipynb\n"
    line = "pipeline run notebooks/fit.ipynb outputs/fit.ipynb\n"
    (here / "dvc.yaml").write_text(DVC.replace(line, shell))
    assert check.main(named) == 1
    assert capsys.readouterr().out == (
        "dvc.yaml:9: stage `fit`: DVC runs each line of `cmd: |` by itself. Fix: write `cmd: >-`, without backslashes\n"
    )
    (here / "dvc.yaml").write_text(DVC.replace(line, shell.replace("|", ">-").replace("\\", "")))
    assert check.main(named) == 0


BROKEN = {
    "stages:\n  b:\n": "dvc.yaml: stage `b`: must be a mapping of `name: value`",
    "stages: [1]\n": "dvc.yaml: stages: must be a mapping of `name: value`",
    DVC.replace("[train]", "train"): "dvc.yaml: stage `fit`: params: must be a list, one `- name` a line",
    DVC.replace(
        "[train]", "[{params.yaml: train}]"
    ): "dvc.yaml: stage `fit`: params: must be a list, one `- name` a line",
    DVC.replace("[train]", "[train"): "dvc.yaml:12: expected ',' or ']', but got '<stream end>'",
    DVC + "<<<<<<< ours\n": "dvc.yaml:12: holds a merge conflict. Fix: keep one side of it and delete the marker lines",
    DVC.replace(
        "fit.ipynb outputs", "${x} outputs"
    ): "dvc.yaml: stage `fit`: `${x}` is not defined in params.yaml or `vars:`",
    f"vars: {{x: 1}}\n{DVC}": "dvc.yaml: vars: must be a list, one `- name` a line",
    f"vars: [1]\n{DVC}": "dvc.yaml: vars: must be a mapping of `name: value`",
    "stages: {b: {cmd: x, vars: {x: 1}}}\n": "dvc.yaml: stage `b`: vars: must be a list, one `- name` a line",
    "stages: {b: {foreach: 3, do: {cmd: x}}}\n": "dvc.yaml: stage `b`: foreach: must be a list, one `- name` a line",
    "stages: {b: {matrix: [1], cmd: x}}\n": "dvc.yaml: stage `b`: matrix: must be a mapping of `name: value`",
    "stages: {b: {matrix: {x: 3}, cmd: x}}\n": "dvc.yaml: stage `b`: matrix: `x`: must be a list, one `- name` a line",
    "stages: {b: {cmd: 3}}\n": "dvc.yaml: stage `b`: cmd: must be a command, or a list of them",
}


TWICE = {
    "train:\n  lr: 1\nbase:\n  x: 1\n'train':\n  epochs: 2\n": "5: `train` is defined twice (line 1, too)",
    "base:\n  - train: 1\n  - lr: 1\n    rate: 2\n    lr: 3\n": "5: `lr` is defined twice (line 3, too)",
    "train: {lr: 1, lr: 2}\n": "1: `lr` is defined twice (line 1, too)",
    "train: &own\n  lr: 1\n  again: *own\n  lr: 2\n": "4: `lr` is defined twice (line 2, too)",
    "train: &own {lr: 1}\nbase:\n  <<: *own\n  <<: *own\n": "4: `<<` is defined twice (line 3, too)",
}


NOT_READ = {
    b"train:\n\tlr: 1\n": "params.yaml:2: holds a tab, which YAML does not allow here. Fix: write spaces",
    b"train:\n  lr: 1\n---\nx: 1\n": "params.yaml:3: begins a second document, and DVC reads one. Fix: remove this line",
    "train: {lr: 1} # für".encode("latin-1"): "params.yaml: is not UTF-8 text. Fix: save it as UTF-8",
    "train: {lr: 1}".encode("utf-16"): "params.yaml: is not UTF-8 text. Fix: save it as UTF-8",
    b"train:\n  lr: [{0: a, other: b}]\n": "params.yaml:2: `train.lr` has keys of several types (int, str), "
    "which DVC cannot sort. Fix: quote them",
    b"train: {lr: 1, 1: b}\n": "params.yaml:1: `train` has keys of several types (int, str), which DVC cannot sort. Fix: quote them",
}


@pytest.mark.parametrize("text", NOT_READ, ids=NOT_READ.get)
def test_what_dvc_would_not_read_is_named_with_its_cure(here, capsys, text):
    (here / "params.yaml").write_bytes(text)
    (here / "notebooks/fit.ipynb").write_text(notebook("LR = []", "LR"))
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out.startswith(NOT_READ[text] + "\n")


def test_keys_that_no_stage_lists_may_be_of_any_type(here):
    (here / "params.yaml").write_text("train:\n  lr: 1\nother: {0: a, other: b}\n")
    assert check.main([]) == 0


@pytest.mark.parametrize("text", TWICE)
def test_what_stands_twice_is_named_with_both_lines(here, capsys, text):
    (here / "params.yaml").write_text(text)
    assert check.main([]) == 1
    assert capsys.readouterr().out == f"params.yaml:{TWICE[text]}. Fix: keep one\n"


def test_one_key_in_two_spellings_is_one_line(here, capsys):
    (here / "params.yaml").write_text("train:\n  1: 1\n  0x1: 2\n")
    assert check.main([]) == 1
    out = capsys.readouterr().out
    assert out.startswith("params.yaml:3: found duplicate key") and out.count("\n") == 1


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_pipeline_is_one_line(here, capsys, text):
    (here / "dvc.yaml").write_text(text)
    assert check.main(["--fix"]) == 1
    assert capsys.readouterr().out == BROKEN[text] + "\n"


def test_two_variables_in_one_text(here, capsys):
    (here / "params.yaml").write_text("train:\n  lr: 1\npaths: {folder: outputs/code, file: fit.py}\n")
    (here / "dvc.yaml").write_text(DVC.replace("[outputs/code/fit.py]", "['${paths.folder}/${paths.file}']"))
    assert check.main([]) == 0
    assert capsys.readouterr().out == ""


def test_a_section_of_several_files_is_one_as_to_dvc(bare):
    bare.write("params.yaml", "train: {lr: 1, note: {by: me}}\n")
    bare.write("more.yaml", "train: {more: 2}\n")
    bare.write("sub/own.yaml", "train: {own: 5}\n")
    bare.write(
        "dvc.yaml",
        "vars: [more.yaml, {train: {note: {of: 3}}}]\nstages:\n  say:\n    wdir: sub\n    vars: [{train: {note: {at: 4}}}, own.yaml]\n"
        "    cmd: echo ${train.lr} ${train.more} ${train.note.by} ${train.note.of} ${train.note.at} ${train.own}\n",
    )
    bare.run("git", "init", "--quiet")
    bare.run("dvc", "init", "--quiet")
    assert "> echo 1 2 me 3 4 5\n" in bare.run("dvc", "repro", "--dry").stdout
    assert Project(bare.path).stage("say").cmd == ("echo 1 2 me 3 4 5",)


def test_a_matrix_over_a_section_is_one_over_its_keys_as_to_dvc(bare):
    bare.write("params.yaml", "models: {forest: {trees: 9}, net: {layers: 2}}\n")
    bare.write("dvc.yaml", "stages:\n  say:\n    matrix: {model: '${models}'}\n    cmd: echo ${item.model}\n")
    bare.run("git", "init", "--quiet")
    bare.run("dvc", "init", "--quiet")
    said = bare.run("dvc", "repro", "--dry").stdout
    for model in ("forest", "net"):
        assert f"> echo {model}\n" in said
        assert Project(bare.path).stage(f"say@{model}").cmd == (f"echo {model}",)


def test_paths_as_people_give_them(here, capsys):
    (here / "notebooks/fit.ipynb").write_text(notebook("LR = 1\nLR = 2", "LR"))
    for path in ("notebooks", "./notebooks/fit.ipynb", str(here / "notebooks/fit.ipynb")):
        assert check.main([path]) == 1
        assert "cell 1, line 2: `LR` is already assigned in line 1" in capsys.readouterr().out
