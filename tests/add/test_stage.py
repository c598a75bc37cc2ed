"""`pipeline add`: a notebook becomes a stage, or its stage is brought up to date."""

import json
import os
import re
from pathlib import Path

import pytest
from add_samples import KINDS, contents, project, stage, untagged  # noqa: F401
from conftest import notebook

from notebook_pipeline.add import command as add
from notebook_pipeline.add.recording import move_aside
from notebook_pipeline.notebook.document import read


@pytest.mark.parametrize("name", KINDS)
def test_a_notebook_becomes_one_more_stage(project, samples, name):
    kind = KINDS[name]
    kind.write(samples, name)
    project.environ = project.environ | {"PIPELINE_STRICT": "1"}  # what it reads and writes is declared
    before, lines = contents(samples), project.read("dvc.yaml").splitlines()
    said = project.pipeline("add", str(samples / f"{name}.ipynb")).stdout
    assert contents(samples) == before
    # What was there is there, but for the list of notebooks whose code is written.
    changed = [line for line in lines if line not in project.read("dvc.yaml").splitlines()]
    assert changed == ["      notebook: [Customer_churn]"]
    assert project.pipeline("check").stdout == ""
    assert project.run("git", "diff", "--exit-code", "--stat", "--", "notebooks/Customer_churn.ipynb").stdout == ""
    kind.assert_is_stage(project, name, said)
    kind.assert_reruns(project, name)


def test_the_next_notebook_reads_what_the_first_one_makes(project, tmp_path):
    """Both have run where they were written: the results of then lie there, too."""
    work = tmp_path / "work"
    (work / "results/old").mkdir(parents=True)
    (work / "results/old/1.txt").write_text("1")
    (work / "clean.csv").write_text("2")
    (work / "prep.ipynb").write_text(
        untagged("N = 2\nopen('clean.csv', 'w').write(str(N))", "import os\nprint(os.listdir())")
    )
    (work / "train.ipynb").write_text(
        untagged("from pathlib import Path\nOUT = Path('results')\nprint(str(OUT))",
                 "(OUT / 'figures').mkdir(parents=True, exist_ok=True)\nROUNDS = 3\n(OUT / 'model.txt').write_text(open('clean.csv').read() * ROUNDS)")
    )  # fmt: skip
    project.pipeline("add", str(work / "prep.ipynb"))
    project.run("git", "add", "--all")
    said = project.pipeline("add", str(work / "train.ipynb")).stdout
    assert "/work/train.ipynb: cell 2: `clean.csv` is the result of stage `prep`: read from there\n" in said
    assert stage(project, "train")["deps"] == ["clean.csv", "outputs/code/train.py"]
    assert stage(project, "train")["outs"] == ["outputs/train.ipynb", "results/model.txt"]
    assert [path.name for path in (project.path / "data/external").iterdir()] == ["customers.csv"]
    project.replace("params.yaml", "n: 2", "n: 4")
    ran = project.run("dvc", "repro").stdout
    assert (
        "Running stage 'prep'" in ran and "Running stage 'train'" in ran and project.read("results/model.txt") == "444"
    )


def test_what_differs_from_the_owners_last_session_is_said(project, tmp_path):
    (tmp_path / "a.csv").write_text("x")
    sources = [
        "N = 2",
        "import os\nSIZE = 3\nprint(SIZE)",
        "print(open('a.csv').name)",
        "print(os.getpid())",
        "import random\nrandom.seed(N)\nrandom.random()",
    ]
    shown = [[], "3\n", "a.csv\n", "7\n", []]
    cells = [
        {"source": source, "execution_count": 5, "outputs": [{"output_type": "stream", "name": "stdout", "text": text}] if text else []}
        for source, text in zip(sources, shown, strict=True)
    ]  # fmt: skip
    cells[-1]["outputs"] = [
        {
            "output_type": "execute_result",
            "execution_count": 5,
            "metadata": {},
            "data": {"text/plain": ["0.9560342718892494"]},
        }
    ]
    (tmp_path / "owned.ipynb").write_text(untagged({"cell_type": "markdown", "source": "# T"}, *cells))
    said = project.pipeline("add", str(tmp_path / "owned.ipynb")).stdout
    # A cell in front starts it in the root.
    assert (
        "\nnotebooks/owned.ipynb: 3 of 4 cells as when you last saved it; cell 6 differs (see outputs/owned.ipynb)\n"
        in said
    )


FAILURES = {
    "r": (notebook("N <- 1", language="R"), "r.ipynb: its language is r. Fix: use a Python notebook"),
    "gone": (None, "gone.ipynb: does not exist. Fix: correct the path"),
    "two": (
        notebook("N = 1", {"source": "N = 2", "metadata": {"tags": ["parameters"]}}),
        "two.ipynb: cells 1 and 2 are tagged `parameters`",
    ),
    "theirs": (
        untagged("open('history.csv', 'w').write('x')"),
        "theirs.ipynb: writes history.csv, a result of stage `Customer_churn`. Fix: give the file another name there, "
        "`git add --all .`, then: uv run pipeline add ",
    ),
    "near": (
        untagged("open('far/a.csv')"), "data/external/far_a.csv already exists, and is another file. Fix: rename the one that near.ipynb reads\n",
    ),
    "helped": (
        untagged("import helpers"), "notebooks/helpers.py already exists, and is another file. Fix: rename the one that helped.ipynb imports\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_what_is_no_stage(project, tmp_path, name):
    text, message = FAILURES[name]
    inputs = project.path / "data/external"
    for place in (tmp_path / "far/a.csv", inputs / "far/a.csv", inputs / "far_a.csv"):
        place.parent.mkdir(exist_ok=True)
        place.write_text(place.as_posix())
    (tmp_path / "helpers.py").write_text("def another():\n    pass\n")
    if text is not None:
        (tmp_path / f"{name}.ipynb").write_text(text)
    done = project.pipeline("add", str(tmp_path / f"{name}.ipynb"), check=False)
    assert done.returncode == 1
    assert message in done.stdout and ".pipeline/" not in done.stdout
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_a_stage_is_brought_up_to_date(project):
    project.replace("dvc.yaml", "params:\n      - train", "params:\n      - train # mine")
    project.write("data/external/more.txt", "x")
    project.replace(
        "notebooks/Customer_churn.ipynb",
        "print(len(data))",
        "print(len(data), WIDTH, open('data/external/more.txt').read())",
    )
    project.replace(
        "notebooks/Customer_churn.ipynb", '"RATE: float = 0.5"', '"RATE: float = 0.5\\n",\n    "WIDTH = 7  # of it"'
    )
    refused = project.pipeline("add", "notebooks/Customer_churn.ipynb", check=False)
    assert refused.returncode == 1
    assert refused.stdout == (
        "dvc.yaml: changed since git last had it, and this would change it. Fix: `git add dvc.yaml` first, so that it can be undone\n"
    )
    project.run("git", "add", "--all")
    done = project.pipeline("add", "notebooks/Customer_churn.ipynb").stdout
    assert "params.yaml:6: added `width: 7` to `train`\n" in done
    assert "dvc.yaml: added data/external/more.txt to the `deps:` of stage `Customer_churn`\n" in done
    assert "- train # mine" in project.read("dvc.yaml")
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
    # Undone with git.
    project.run("git", "checkout", "--", "params.yaml", "dvc.yaml")
    assert "more.txt" not in project.read("dvc.yaml")


def test_results_whose_names_another_run_changes(project, tmp_path):
    source = (
        "import os, time\nfor folder in ('models', 'logs', 'parts', 'mixed', 'outputs/deep'): os.makedirs(folder, exist_ok=True)\n"
        "open(f'models/{KIND}_{DEPTH}.pkl', 'w').write(KIND)\nopen(time.strftime('logs/%Y-%m-%d.log'), 'w').write('x')\n"
        "for n in range(DEPTH): open(f'parts/{n}.csv', 'w').write('x')\n"
        "open(f'd_{DEPTH}.txt', 'w').write('x')\nopen('note_v' + str(2) + '.txt', 'w').write('x')\nopen(f'mixed/{KIND}.csv', 'w').write('x')\nopen('mixed/score.json', 'w').write('{\"a\": 1}')"
    )
    (tmp_path / "deep.ipynb").write_text(untagged("KIND = 'tree'\nDEPTH = 2\nFAST = True", source, "print(FAST)"))
    said = project.pipeline("add", str(tmp_path / "deep.ipynb")).stdout
    assert "dvc.yaml: lists models as a whole: models/tree_2.pkl has the value of `KIND` in its name\n" in said
    assert re.search(r"^dvc.yaml: lists logs as a whole: logs/[\d-]+.log has the time in its name$", said, re.MULTILINE)
    assert "dvc.yaml: lists parts as a whole: parts/0.csv has a number in its name\n" in said
    for path, name in (("d_2.txt", "DEPTH"), ("mixed/tree.csv", "KIND")):
        assert (
            f"notebooks/deep.ipynb: writes {path}, which has the value of `{name}` in its name, and the stage fails if that is "
            "another. Fix: give it one name, DVC keeps that of each run; or write it to outputs/deep/, and dvc.yaml lists the folder; "
            "then `git add --all .`, then: uv run pipeline add notebooks/deep.ipynb\n"
        ) in said
    assert "note_v2" not in said.partition("dvc.yaml: added stage")[0]
    outs = [
        "d_2.txt",
        "logs",
        "mixed/tree.csv",
        "models",
        "note_v2.txt",
        "outputs/deep.ipynb",
        "parts",
    ]
    assert stage(project, "deep")["outs"] == outs
    # What is said works, and so does the next run with other values.
    project.replace("notebooks/deep.ipynb", "d_{DEPTH}.txt", "outputs/deep/{DEPTH}.txt")
    project.replace("notebooks/deep.ipynb", "mixed/{KIND}.csv", "mixed/kind.csv")
    for path in ("d_2.txt", "mixed/tree.csv"):
        project.replace("dvc.yaml", f"      - {path}\n", "")
    project.run("git", "add", "--all")
    project.pipeline("add", "notebooks/deep.ipynb")
    assert {"mixed/kind.csv", "outputs/deep"} < {*stage(project, "deep")["outs"]}
    project.run("git", "add", "--all")
    assert "in its name" not in project.pipeline("add", "notebooks/deep.ipynb").stdout
    project.replace("params.yaml", "kind: tree", "kind: bush")
    project.replace("params.yaml", "depth: 2", "depth: 3")
    project.run("git", "add", "--all")
    project.run("dvc", "repro")
    assert [path.name for path in (project.path / "models").glob("*.pkl")] == ["bush_3.pkl"]
    assert "Running stage" not in project.run("dvc", "repro").stdout


def test_a_folder_whose_files_were_known_before_the_run(project, tmp_path):
    """Git is told to ignore them one by one before it, and all of the folder afterwards."""
    source = "import os\nos.makedirs('outputs/figs', exist_ok=True)\nfor name in ('plain', KIND): open(f'outputs/figs/{name}.txt', 'w').write('x')"
    (tmp_path / "figs.ipynb").write_text(
        untagged("KIND = 'tree'", source, "open('outputs/figs/one.txt', 'w').write('x')")
    )
    said = project.pipeline("add", str(tmp_path / "figs.ipynb")).stdout
    assert (
        "dvc.yaml: lists outputs/figs as a whole: outputs/figs/tree.txt has the value of `KIND` in its name\n" in said
    )
    assert stage(project, "figs")["outs"] == ["outputs/figs", "outputs/figs.ipynb"]
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
    assert project.run("git", "ls-files", "outputs/figs").stdout == ""


def test_paths_in_configuration_and_modules_follow(project, tmp_path):
    work = tmp_path / "work"
    (work / "data").mkdir(parents=True)
    for name in ("train", "test", "more"):
        (work / f"data/{name}.csv").write_text(name)
    (work / "config.yaml").write_text("# of data/train.csv\ntrain: data/train.csv\ntitle: train.csv\n")
    (work / "config.json").write_text(json.dumps({"folder": "./data"}, indent=1))
    (work / "tool.py").write_text(
        "PLACE = './data/more.csv'\n\n\ndef load(path=PLACE):\n    return open(path).read()\n"
    )
    source = (
        "import json, tool\nconfig = dict(line.split(': ') for line in open('config.yaml').read().split('\\n')[1:-1])\n"
        "print(open(config['train']).read(), tool.load(), config['title'])\n"
        "print(open(json.load(open('config.json'))['folder'] + '/test.csv').read())"
    )
    (work / "led.ipynb").write_text(untagged(source))
    said = project.pipeline("add", str(work / "led.ipynb")).stdout
    assert "\nnotebooks/led.ipynb: 1 of 1 cell as in the notebook's own folder\n" in said
    assert (
        project.read("data/external/config.yaml")
        == "# of data/external/train.csv\ntrain: data/external/train.csv\ntitle: train.csv\n"
    )
    assert json.loads(project.read("data/external/config.json")) == {"folder": "data/external"}
    assert 'PLACE = "data/external/more.csv"' in project.read("notebooks/tool.py")
    assert (work / "config.yaml").read_text().startswith("# of data/train.csv")


def test_a_folder_of_results_that_the_notebook_only_found(project, tmp_path):
    """Where it was written, the folder was there; in the project DVC takes it away before each run."""
    for folder in ("work/figs", "up/old", "work/made"):
        (tmp_path / folder).mkdir(parents=True)
    source = (
        "import os\nos.makedirs('made', exist_ok=True)\ndef keep(name):\n    path = os.path.join('figs', name)\n"
        "    open(path, 'w').write('x')\nkeep(f'{N}.txt')\nopen(f'../up/old/{N}.txt', 'w').write('x')\nopen('made/' + 'a', 'w').write('x')"
    )
    (tmp_path / "work/found.ipynb").write_text(untagged("N = 1", source))
    project.pipeline("add", str(tmp_path / "work/found.ipynb"))
    assert "data/external" not in str(stage(project, "found"))
    assert 'for folder in ["figs", "outputs/old"]:' in read(project.path / "notebooks/found.ipynb").cells[0].source
    project.run("git", "add", "--all")
    project.replace("params.yaml", "n: 1", "n: 2")
    project.run("dvc", "repro")
    assert [path.name for path in (project.path / "figs").glob("*.txt")] == ["2.txt"]


def test_what_is_lifted_keeps_its_value_beside_another_stages(project, tmp_path):
    """Of the name of a key that another stage has, with another value, and where the stage has no parameter yet."""
    rate = re.search(r"^  rate: (.*)$", project.read("params.yaml"), re.MULTILINE)[1]
    (tmp_path / "other.ipynb").write_text(
        untagged("def fit(rate=1, seed=2):\n    print(rate, seed)\n\nfit(rate=9, seed=5)")
    )
    said = project.pipeline("add", str(tmp_path / "other.ipynb")).stdout
    assert "`--lift rate,seed` makes them so" in said
    project.run("git", "add", "--all")
    said = project.pipeline("add", "notebooks/other.ipynb", "--lift", "rate,seed").stdout
    assert "\n9 5\n" in said and "params.yaml: added `other`: rate, seed\n" in said
    assert "dvc.yaml: added `other` to the `params:` of stage `other`\n" in said
    assert stage(project, "other")["params"] == ["other"] and f"  rate: {rate}\n" in project.read("params.yaml")
    assert project.pipeline("check").stdout == ""


def test_a_notebook_is_asked_for_where_it_would_be_written(project):
    project.replace("notebooks/Customer_churn.ipynb", '"parameters"', '"Parameters"')
    assert project.pipeline("add", "notebooks/Customer_churn.ipynb", check=False).stdout == (
        "notebooks/Customer_churn.ipynb: changed since git last had it, and this would change it. Fix: "
        "`git add notebooks/Customer_churn.ipynb` first, so that it can be undone\n"
    )


def test_what_is_said_of_a_run_that_failed_works(project, tmp_path):
    source = (
        "open('early.csv', 'w').write('a')\n1 / 0\nfor name in ('one', 'two'):\n"
        "    open(f'text/{name}.txt').read()\nif 0:\n    open('late.csv', 'w').write('a')"
    )
    (tmp_path / "text").mkdir()
    for name in ("one", "two", "three", "four"):
        (tmp_path / f"text/{name}.txt").write_text("x")
    project.write("late.csv", "mine")
    (tmp_path / "early.ipynb").write_text(untagged(source))
    done = project.pipeline("add", str(tmp_path / "early.ipynb"), check=False)
    assert done.returncode == add.INCOMPLETE and done.stdout.endswith(
        "notebooks/early.ipynb: the run failed; stage `early` in dvc.yaml has what it touched until then. Fix: correct the notebook, "
        "`git add --all .`, then: uv run pipeline add notebooks/early.ipynb\n"
    )
    assert project.read("late.csv") == "mine"
    # Before the run has been seen, what the code tells; then what it did.
    assert stage(project, "early")["deps"] == ["data/external/text", "outputs/code/early.py"]
    assert stage(project, "early")["outs"] == ["early.csv", "late.csv", "outputs/early.ipynb"]
    project.replace("notebooks/early.ipynb", "1 / 0", "1 / 1")
    project.run("git", "add", "--all")
    assert not {"early.csv", "outputs/early.ipynb"} & {*project.run("git", "ls-files").stdout.split()}
    # The notebook itself is only read.
    project.replace("notebooks/early.ipynb", "1 / 1", "1 / 2")
    project.pipeline("add", "notebooks/early.ipynb")
    deps = ["data/external/text/one.txt", "data/external/text/two.txt", "outputs/code/early.py"]
    assert stage(project, "early")["deps"] == deps
    assert stage(project, "early")["outs"] == ["early.csv", "outputs/early.ipynb"]
    assert project.read("late.csv") == "mine"
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", "early")


def test_a_result_that_git_tracks(project, tmp_path):
    project.write("kept.csv", "mine")
    project.run("git", "add", "--all")
    (tmp_path / "kept.ipynb").write_text(untagged("open('kept.csv', 'w').write('a')"))
    done = project.pipeline("add", str(tmp_path / "kept.ipynb"), check=False)
    assert done.returncode == 1 and done.stdout.splitlines()[-1] == (
        "notebooks/kept.ipynb: git tracks results of its stage, which DVC is to keep. Fix: `git rm -r --cached kept.csv`, "
        f"then: uv run pipeline add {tmp_path}/kept.ipynb"
    )
    assert project.read("kept.csv") == "mine" and project.run("git", "status", "--porcelain").stdout == "A  kept.csv\n"
    project.run("git", "rm", "-r", "--cached", "kept.csv")
    project.pipeline("add", str(tmp_path / "kept.ipynb"))
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"


def test_a_run_finds_no_results_of_before(project, tmp_path):
    cells = ("N = 1", "import os\nif not os.path.exists('cache.csv'):\n    open('cache.csv', 'w').write(str(N))",
             "import sqlite3\nbase = sqlite3.connect('made.db')\nbase.execute('create table t (x)')\nbase.close()")  # fmt: skip
    project.write("cache.csv", "of another project")
    (tmp_path / "cached.ipynb").write_text(untagged(*cells))
    project.pipeline("add", str(tmp_path / "cached.ipynb"))
    assert project.read("cache.csv") == "1"
    again = ("add", "notebooks/cached.ipynb")
    project.run("git", "add", "--all")
    project.replace("params.yaml", "n: 1", "n: 2")
    project.run("git", "add", "--all")
    project.pipeline(*again)
    assert project.read("cache.csv") == "2"
    assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
    # What it does not make stays, and is not taken for what it made.
    project.replace("notebooks/cached.ipynb", "if not os", "if 0 and not os")
    done = project.pipeline(*again, check=False)
    assert done.returncode == add.INCOMPLETE and done.stdout.splitlines()[-1] == (
        "notebooks/cached.ipynb: did not write cache.csv, which stage `cached` lists among its results. Fix: remove it from "
        "the list, or write it"
    )
    assert project.read("cache.csv") == "2" and not [*(project.path / ".dvc/tmp").glob("results-*")]
    # As DVC does, it leaves in place what is to stay there.
    project.replace("dvc.yaml", "      - cache.csv\n", "      - cache.csv:\n          persist: true\n")
    project.replace("notebooks/cached.ipynb", "if 0 and not os", "if not os")
    project.replace("params.yaml", "n: 2", "n: 3")
    project.run("git", "add", "--all")
    project.pipeline(*again)
    assert project.read("cache.csv") == "2"


@pytest.mark.parametrize("dropped", [False, True])
def test_what_is_moved_out_of_the_way_comes_back(tmp_path, monkeypatch, dropped):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv", "folder/1/x", "folder/2"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("old")
    with pytest.raises(KeyboardInterrupt), move_aside({"a.csv", "b.csv", "folder", "gone"}) as moved:
        assert not {"a.csv", "b.csv", "folder"} & {*os.listdir()}
        Path("folder/1").mkdir(parents=True)
        for name in ("a.csv", "folder/2"):
            Path(name).write_text("new")
        if dropped:
            del moved["folder"]
        raise KeyboardInterrupt
    texts = {path.as_posix(): path.read_text() for path in Path().rglob("*") if path.is_file()}
    of_folder = {} if dropped else {"folder/1/x": "old"}
    assert texts == {"a.csv": "new", "b.csv": "old", "folder/2": "new"} | of_folder
    assert os.listdir(".dvc/tmp") == []
