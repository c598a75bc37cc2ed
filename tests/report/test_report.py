"""What a reviewer reads: the report of a branch on which everything changed, and the pages of executed notebooks."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Workspace, on_path

from notebook_pipeline.report.markdown import difference

PAGE = "dvc_plots/report.html"
NEW_CELL = {"cell_type": "code", "id": "describe", "metadata": {}, "outputs": [], "execution_count": None}


@pytest.fixture(scope="module")
def reviewed(staged, tmp_path_factory) -> Workspace:
    """A project with the branch `topic`, and its report against `main`. Not to be changed."""
    path = tmp_path_factory.mktemp("reviewed") / "my penguins"
    shutil.copytree(staged.path, path, symlinks=True)
    project = Workspace(path, dict(staged.environ))
    project.run("uv", "sync", "--quiet", "--group", "report")
    project.environ["UV_NO_SYNC"] = "1"  # no joblib has the version that uv.lock gets
    project.write("data/external/old.txt", "o" * 2000)
    commit(project, "More data")
    project.run("git", "checkout", "--quiet", "-b", "topic")
    project.replace("params.yaml", "epochs: 15", "epochs: 10")
    notebook = json.loads(project.read("notebooks/train.ipynb"))
    cells = notebook["cells"]
    cells[5]["source"] = [line.replace("(16,)", "(24,)") for line in cells[5]["source"]]
    cells.insert(5, NEW_CELL | {"source": ["print(x_train.shape)"]})
    project.write("notebooks/train.ipynb", json.dumps(notebook, indent=1) + "\n")
    data = project.read("data/external/penguins.csv").splitlines(keepends=True)
    project.write("data/external/penguins.csv", "".join(data[:-20]))
    project.write("data/external/new.txt", "n" * 5000)
    (project.path / "data/external/old.txt").unlink()
    lock = re.sub(r'(\nname = "joblib"\nversion = ")', r"\g<1>99.", project.read("uv.lock"))
    project.write("uv.lock", re.sub(r'(\nname = "ruff"\nversion = ")', r"\g<1>99.", lock))
    commit(project, "Everything")
    project.run("git", "commit", "--quiet", "--allow-empty", "--no-verify", "--message", "And so on")
    assert project.run("uv", "run", "pipeline", "report", "main").stdout.endswith(f"{PAGE}\n")
    return project


def commit(project: Workspace, message: str) -> None:
    project.run("dvc", "repro", "--quiet")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--no-verify", "--message", message)


@pytest.fixture(scope="module")
def sections(reviewed) -> dict[str, str]:
    """The text of the summary below each heading."""
    text = reviewed.read("dvc_plots/report.md") + reviewed.read("dvc_plots/plots.md")
    parts = re.split(r"(?m)^###? (.*)\n", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_tables_and_plots_say_the_branch(reviewed, sections):
    assert next(iter(sections)) == "topic compared with main"
    assert re.search(r"\| Param +\| main +\| topic +\|", sections["Parameters"])
    assert re.search(r"\| Metric +\| main +\| topic +\| Change", sections["Metrics"])
    assert "of topic]" in sections["Plots"] and "workspace" not in "".join(sections.values())


def test_code_that_changed_is_shown_cell_by_cell(sections):
    assert sections["Code"].strip() == (
        "#### `notebooks/train.ipynb`\n\n"
        "**cell 6, new**\n\n```diff\n+print(x_train.shape)\n```\n\n"
        "**cell 7**\n\n```diff\n scaler = StandardScaler().fit(x_train)\n"
        "-network = MLPClassifier(hidden_layer_sizes=(16,), learning_rate_init=LEARNING_RATE, random_state=SEED)\n"
        "+network = MLPClassifier(hidden_layer_sizes=(24,), learning_rate_init=LEARNING_RATE, random_state=SEED)\n"
        ' model = make_pipeline(scaler, network)\n \n outputs = Path("outputs")\n```'
    )


def test_packages_are_shown_with_the_stages_that_they_rerun(reviewed, sections):
    version = re.search(r'\nname = "joblib"\nversion = "99\.([^"]+)"', reviewed.read("uv.lock"))[1]
    rows = sections["Packages"].strip().split("\n\n")
    assert rows[0].splitlines() == [
        "| Package | main | topic | Reruns |",
        "| --- | --- | --- | --- |",
        f"| joblib | {version} | 99.{version} | data_load, train, evaluate |",
    ]
    assert re.fullmatch(r"No notebook uses: ruff [\d.]+ → 99\.[\d.]+", rows[1])


def test_data_are_shown_file_by_file(sections):
    assert sections["Data"].strip().splitlines() == [
        "1 added, 1 removed, 1 changed",
        "",
        "| File | main | topic |",
        "| --- | --- | --- |",
        "| `data/external/new.txt` |  | 5.00kB |",
        "| `data/external/old.txt` | 2.00kB |  |",
        "| `data/external/penguins.csv` | 15.2kB | 14.3kB |",
    ]


def test_cells_that_show_something_else_are_shown(sections):
    found = re.split(r"(?m)^#### `outputs/(.*).ipynb`\n", sections["Outputs of notebooks"])
    notebooks = dict(zip(found[1::2], found[2::2], strict=True))
    assert list(notebooks) == ["data_preprocess", "data_load", "train", "evaluate"]
    line = "```diff\n-342 of 344 penguins are complete\n+322 of 324 penguins are complete\n```"
    assert notebooks["data_preprocess"].strip() == f"**cell 5**\n\n{line}"
    assert re.findall(r"\*\*cell (\d+)\*\*", notebooks["train"]) == ["6", "7", "8"]
    assert "\n+(257, 4)\n" in notebooks["train"] and "\n-epoch 15: loss" in notebooks["train"]
    table = r"\*\*cell 8\*\*\n\n\| main \| topic \|\n\| --- \| --- \|\n\| !\[cell 8\]\(plot(\d+).png\) \| !\[cell 8\]\(plot(\d+).png\) \|"
    before, now = map(int, re.search(table, notebooks["train"]).groups())
    assert now == before + 1


def browse(page: Path, script: str, folder: Path) -> str:
    """What a script writes into a page in a real browser."""
    chromium = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    if not chromium:
        pytest.skip("needs Chromium")
    copy = folder / "page.html"
    answer = f"<script>addEventListener('load', () => {{ document.title = JSON.stringify({script}) }})</script>"
    copy.write_text(page.read_text(encoding="utf-8") + answer, encoding="utf-8")
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]
    command += [
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=1300,900",
        "--virtual-time-budget=10000",
        "--dump-dom",
    ]
    done = subprocess.run([*command, copy.as_uri()], capture_output=True, text=True, encoding="utf-8", timeout=120)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)[1]
    for mark, letter in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        title = title.replace(mark, letter)
    return json.loads(title)


def test_the_page_in_a_browser(reviewed, tmp_path):
    """Figures side by side, lines in colour, the executed notebooks closed; all of it in one file."""
    page = reviewed.path / PAGE
    pairs = browse(
        page,
        "[...document.querySelectorAll('tr')].map(row => [...row.querySelectorAll('img')].map(i => "
        "[i.naturalWidth, i.getBoundingClientRect()]).map(([w, b]) => [w, b.top, b.left, b.width])).filter(r => r.length)",
        tmp_path,
    )
    assert len(pairs) == 4  # two pictures of dvc.yaml, and two figures of cells
    for (width, top, left, shown), (other_width, other_top, other_left, _) in pairs:
        assert width > 300 and other_width > 300 and top == other_top and other_left >= left + shown > 200
    colours = (
        "[...document.querySelectorAll('pre span')].map(s => [s.textContent[0], getComputedStyle(s).backgroundColor])"
    )
    assert {(sign, colour) for sign, colour in browse(page, colours, tmp_path) if sign in "+-"} == {
        ("+", "rgb(218, 251, 225)"), ("-", "rgb(255, 235, 233)"),
    }  # fmt: skip
    notebooks = browse(page, "[...document.querySelectorAll('details')].map(d => [d.innerText, d.open])", tmp_path)
    assert notebooks == [[name, False] for name in ("data_preprocess", "data_load", "train", "evaluate")]
    inside = browse(
        page,
        "new DOMParser().parseFromString(document.querySelectorAll('iframe')[2].srcdoc, 'text/html').body.innerText",
        tmp_path,
    )
    assert "EPOCHS = 10" in inside and "(257, 4)" in inside
    assert "http" not in re.sub(r'srcdoc="[^"]*"', "", page.read_text(encoding="utf-8"))


def test_a_notebook_is_one_page(reviewed, tmp_path):
    done = reviewed.run("uv", "run", "pipeline", "report", "--notebook", "train")
    assert done.stdout == "dvc_plots/notebooks/train.html\n"
    page = reviewed.path / "dvc_plots/notebooks/train.html"
    text, pictures = browse(
        page,
        "[document.body.innerText, [...document.images].map(i => [i.naturalWidth > 300, i.src.slice(0, 21)])]",
        tmp_path,
    )
    assert "EPOCHS = 10" in text and "(257, 4)" in text
    assert pictures == [[True, "data:image/png;base64"]]
    for stage, line in (
        (
            "nix",
            "dvc.yaml: no stage `nix` runs a notebook. Fix: name one of data_preprocess, data_load, train, evaluate",
        ),
        ("evaluate", "outputs/evaluate.ipynb: is not here. Fix: uv run dvc repro evaluate, or uv run dvc pull"),
    ):
        (reviewed.path / "outputs/evaluate.ipynb").rename(tmp_path / "evaluate.ipynb")
        done = reviewed.pipeline("report", "--notebook", stage, check=False)
        (tmp_path / "evaluate.ipynb").rename(reviewed.path / "outputs/evaluate.ipynb")
        assert (done.returncode, done.stdout) == (1, f"report: {line}\n")
    done = reviewed.pipeline("report", check=False)
    assert done.returncode == 2 and "name a TARGET, or a stage behind --notebook" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="has no pty")
def test_typed_by_hand_it_opens_the_page(reviewed, tmp_path):
    """In a terminal, not in CI."""
    import pty

    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > "{opened}"\n')
    browser.chmod(0o755)
    command = on_path(["pipeline", "report", "--notebook", "data_load"], reviewed.environ)
    environ = {key: value for key, value in reviewed.environ.items() if key != "CI"} | {"BROWSER": str(browser)}
    for more in ({"CI": "true"}, {}):
        leader, terminal = pty.openpty()
        subprocess.run(command, cwd=reviewed.path, env=environ | more, stdout=terminal, stderr=terminal, check=True)
        os.close(terminal)
        os.close(leader)
        assert opened.exists() == (not more)
    assert opened.read_text().strip() == (reviewed.path / "dvc_plots/notebooks/data_load.html").as_uri()


def test_what_is_neither_in_git_nor_in_a_remote_is_named(reviewed, tmp_path):
    project = Workspace(tmp_path / "clone", reviewed.environ)
    reviewed.run("git", "clone", "--quiet", "--branch", "topic", str(reviewed.path), str(project.path))
    project.run("uv", "run", "pipeline", "report", "origin/main")
    text = project.read("dvc_plots/report.md")
    assert "hidden_layer_sizes=(24,)" in text and "| joblib |" in text
    assert "Not compared: `data/external`: its list of files is not in DVC's cache, and not in a DVC remote" in text
    assert "Not compared: `outputs/train.ipynb` of main: new, or not in a DVC remote" in text
    assert "Not drawn: `outputs/train_history.csv` of topic and main: not in git, and not in a DVC remote" in text
    assert "Traceback" not in text


def test_a_project_in_a_folder_of_its_repository(staged, tmp_path):
    project = Workspace(tmp_path / "all of it" / "my penguins", staged.environ)
    shutil.copytree(staged.path, project.path, symlinks=True)
    shutil.rmtree(project.path / ".git")
    project.run("git", "init", "--quiet", "--initial-branch=main", "..")
    commit(project, "A part of it")
    project.run("git", "checkout", "--quiet", "-b", "topic")
    project.replace("params.yaml", "epochs: 15", "epochs: 3")
    project.write("data/external/new.txt", "n")
    commit(project, "Less")
    project.run("uv", "run", "--group", "report", "pipeline", "report", "main")
    text = project.read("dvc_plots/report.md") + project.read("dvc_plots/plots.md")
    assert "1 added\n\n| File | main | topic |\n| --- | --- | --- |\n| `data/external/new.txt` |  | 1.00B |\n" in text
    assert re.findall(r"#### `(outputs/.*)`", text) == ["outputs/train.ipynb", "outputs/evaluate.ipynb"]
    assert "train.epochs" in text and "Not " not in text


def test_another_python_is_named(reviewed, tmp_path):
    path = tmp_path / reviewed.path.name
    shutil.copytree(reviewed.path, path, symlinks=True)
    project = Workspace(path, reviewed.environ)
    executed = project.path / "outputs/evaluate.ipynb"
    text = executed.read_text("utf-8")
    executed.unlink()  # perhaps a link into DVC's cache
    executed.write_text(re.sub(r'("version": ")[\d.]+"\n', r'\g<1>3.99.1"\n', text), "utf-8")
    project.run("uv", "run", "pipeline", "report", "main")
    said = re.search(r"(?s)### Packages\n(.*?)### Data", project.read("dvc_plots/report.md"))[1]
    now = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"outputs/evaluate.ipynb: Python 3.99 made it, and this is Python {now}: results may differ. Fix: " in said
    assert f"Python: {now} → {now}, 3.99\n" in said


def test_a_change_that_is_not_committed(reviewed, tmp_path):
    project = Workspace(tmp_path / "my penguins", reviewed.environ)
    shutil.copytree(reviewed.path, project.path, symlinks=True)
    project.replace("params.yaml", "epochs: 10", "epochs: 9")
    project.run("uv", "run", "pipeline", "report", "topic")
    text = project.read("dvc_plots/report.md")
    assert text.startswith("## topic, not committed compared with topic\n")
    assert re.search(r"\| topic +\| topic, not committed +\|", text) and "### Code" not in text


HOSTILE = "```\n![x](plot1.png) <script>alert(1)</script>\n````"
MAKE_PAGE = f"""
from pathlib import Path
from notebook_pipeline.report.markdown import Pictures, difference, make_page, quote
Path("dvc_plots").mkdir()
pictures = Pictures()
blocks = [pictures.add(b"x", ".png", "one"), difference("", {HOSTILE!r}), quote("a`|![x](plot1.png)")]
Path("inner.html").write_text('"><script>alert(2)</script>')
print(make_page("<b>", blocks, pictures, {{"<i>": Path("inner.html")}}))
"""


def test_what_stands_in_code_and_outputs_stays_text(reviewed, tmp_path):
    page = Workspace(tmp_path, reviewed.environ).run("python", "-c", MAKE_PAGE).stdout
    assert page.count("<img") == 1 and not re.search("<(script|b|i)>", page)
    assert '<span class="add">+![x](plot1.png) &lt;script&gt;' in page
    assert 'sandbox="allow-scripts"' in page and 'srcdoc="&quot;&gt;&lt;script&gt;alert(2)' in page


def test_a_long_difference_is_cut():
    lines = difference("", "\n".join(map(str, range(1000)))).splitlines()
    assert lines[1] == "+0" and lines[-2] == "... and 920 lines more" and len(lines) == 80 + 3
    far = difference("a\n" + "b\n" * 20 + "c", "A\n" + "b\n" * 20 + "C").splitlines()
    assert far[1:-1] == ["-a", "+A", " b", " b", " b", "...", " b", " b", " b", "-c", "+C"]
