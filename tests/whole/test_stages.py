"""The example in four stages: which of them run, and what DVC draws."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Workspace, on_path
from ruamel.yaml import YAML
from samples import ran

from notebook_pipeline.notebook.document import bindings, read

STAGES = ["data_preprocess", "data_load", "train", "evaluate"]

# By parameter: another value, the stages whose notebook uses it, and those that a change runs: these, and the ones below
# them whose inputs are others then.
PARAMETERS = {
    "base.seed": (7, ["data_load", "train"], STAGES[1:]),
    "base.target": ("island", STAGES, STAGES),
    "data_preprocess.source_directory": ("data/other", ["data_preprocess"], ["data_preprocess"]),
    "data_preprocess.source_file": ("fewer.csv", ["data_preprocess"], STAGES),
    "data_preprocess.destination_directory": ("data/made", STAGES[:2], STAGES[:2]),
    "data_preprocess.destination_file": ("complete.csv", STAGES[:2], STAGES[:2]),
    "data_load.test_size": (0.3, ["data_load"], STAGES[1:]),
    "train.learning_rate": (0.01, ["train"], STAGES[2:]),
    "train.epochs": (3, ["train"], STAGES[2:]),
    "train.batch_size": (32, ["train"], STAGES[2:]),
}


def parameters(workspace: Workspace) -> dict[str, object]:
    """The values of params.yaml by `section.key`."""
    sections = YAML(typ="safe").load(workspace.read("params.yaml"))
    return {f"{section}.{key}": value for section, keys in sections.items() for key, value in keys.items()}


def set_parameter(workspace: Workspace, name: str, value: object) -> None:
    section, key = name.split(".")
    before, heading, after = workspace.read("params.yaml").partition(f"\n{section}:\n")
    after, found = re.subn(rf"(?m)^  {key}: \S+", f"  {key}: {value}", after, count=1)
    assert found
    workspace.write("params.yaml", before + heading + after)


def stage_runs(output: str) -> list[str]:
    """The notebooks that ran, without the stages that only write code."""
    return [stage for stage in ran(output) if not stage.startswith("code@")]


def test_it_is_committed_clean_and_up_to_date(staged):
    assert staged.run("git", "status", "--porcelain").stdout == ""
    assert staged.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."
    assert staged.pipeline("check").stdout == ""


def test_the_numbers_are_those_of_one_notebook(made, staged):
    for name in ("metrics.yaml", "predictions.csv", "train_history.csv", "model.joblib"):
        assert (staged.path / "outputs" / name).read_bytes() == (made.path / "outputs" / name).read_bytes(), name
    assert len(staged.read("outputs/train_history.csv").splitlines()) == 1 + 15
    assert set(parameters(staged).values()) == set(parameters(made).values())


def test_the_graph(staged):
    text = staged.run("dvc", "dag", "--mermaid").stdout
    names = dict(re.findall(r'(node\d+)\["(.*)"\]', text))
    edges = {(names[one], names[other]) for one, other in re.findall(r"(node\d+)-->(node\d+)", text)}
    assert edges == {
        ("data/external.dvc", "data_preprocess"),
        ("data_preprocess", "data_load"),
        ("data_load", "train"),
        ("train", "evaluate"),
        ("data_load", "evaluate"),  # the held-out birds
        *((f"code@{stage}", stage) for stage in STAGES),
    }


def test_all_is_declared_and_repeatable(stages):
    before = stages.read("dvc.lock")
    stages.environ = stages.environ | {"PIPELINE_STRICT": "1"}
    assert stage_runs(stages.run("dvc", "repro", "--force").stdout) == STAGES
    assert stages.read("dvc.lock") == before


def test_each_parameter_runs_the_stages_that_use_it(stages):
    assert parameters(stages).keys() == PARAMETERS.keys()
    for name, (_, uses, _) in PARAMETERS.items():
        assert uses == [stage for stage in STAGES if name.split(".")[1] in used(stages, stage)], name
    # What the other values name: the same birds elsewhere, and fewer of them.
    birds = stages.read("data/external/penguins.csv")
    stages.write("data/other/penguins.csv", birds)
    stages.write("data/external/fewer.csv", birds[: birds.index("Chinstrap,Dream,50.2")])
    stages.run("dvc", "add", "--quiet", "data/external", "data/other")
    stages.run("git", "commit", "--quiet", "--all", "--no-verify", "--message", "More data")
    stages.environ = stages.environ | {"PIPELINE_STRICT": "1"}
    alike = ("train.epochs", "train.batch_size")  # like the learning rate
    for name, (value, uses, runs) in PARAMETERS.items():
        set_parameter(stages, name, value)
        if name in alike:
            assert stage_runs(stages.run("dvc", "repro", "--dry").stdout) == uses, name
        else:
            assert stage_runs(stages.run("dvc", "repro").stdout) == runs, name
        stages.run("git", "reset", "--quiet", "--hard")
        if name not in alike:
            stages.run("dvc", "checkout", "--quiet", "--force")


def used(workspace: Workspace, stage: str) -> set[str]:
    """The parameters that a notebook's cells name."""
    document = read(workspace.path / "notebooks" / f"{stage}.ipynb")
    names = {
        name for cell in document.cells if cell.tree and cell is not document.parameters_cell
        for name, _, _ in bindings(cell.tree)
    }  # fmt: skip
    return {parameter.key for parameter in document.parameters if parameter.name in names}


def test_data_code_and_markdown(stages):
    def edit(name: str, old: str, new: str) -> list[str]:
        stages.replace(name, old, new)
        return ran(stages.run("dvc", "repro").stdout)

    assert edit("notebooks/train.ipynb", "# Train\\n", "# How it learns\\n") == ["code@train"]
    metrics = '    "metrics"\n'
    assert edit("notebooks/evaluate.ipynb", metrics, '    "metrics  # as a mapping"\n') == ["code@evaluate"]
    assert edit("notebooks/evaluate.ipynb", "metrics  # as a mapping", "metrics['f1']") == ["code@evaluate", "evaluate"]
    assert (
        edit("data/external/penguins.csv", "Adelie,Torgersen,39.1,18.7,181,3750", "Adelie,Torgersen,NA,NA,NA,NA")
        == STAGES
    )


# ---------------------------------------------------------------------------------------------------------------------
# Plots
# ---------------------------------------------------------------------------------------------------------------------

IMAGES = ["outputs/confusion_matrix.png", "outputs/train_history.png"]


class Browser:
    """Headless Chromium, with the scripts that a page of DVC's would load from elsewhere."""

    # As in dvc_render/vega.py.
    SCRIPTS = {"vega": "5.20.2", "vega-lite": "5.2.0", "vega-embed": "6.18.2"}

    def __init__(self, chromium: str, folder: Path):
        self.chromium, self.folder = chromium, folder
        self.head = "".join(
            f'<script src="{(folder / "node_modules" / name / "build" / f"{name}.min.js").as_uri()}"></script>'
            for name in self.SCRIPTS
        )

    def page(self, project: Workspace, *command: str) -> Path:
        """The page that a command of DVC's makes."""
        # As SVG, what is drawn can be read.
        svg = '<script>const embed = vegaEmbed; vegaEmbed = (id, spec) => embed(id, spec, {renderer: "svg"})</script>'
        template = self.folder / "page.html"
        template.write_text(f"<html><head>{self.head}{svg}</head><body>{{plot_divs}}</body></html>", encoding="utf-8")
        project.run("dvc", *command, "--html-template", str(template), "--out", str(self.folder / "out"))
        return self.folder / "out" / "index.html"

    def drawn(self, page: Path) -> str:
        """The page as it is when its scripts have run."""
        return self._run(page, "--dump-dom")

    def drawn_by_itself(self, specs: list[str]) -> str:
        """A page with these Vega-Lite plots, when they are drawn."""
        draw = "".join(f'vegaEmbed("#p{number}", {spec}, {{renderer: "svg"}});' for number, spec in enumerate(specs))
        divs = "".join(f'<div id="p{number}"></div>' for number in range(len(specs)))
        page = self.folder / "specs.html"
        page.write_text(
            f"<html><head>{self.head}</head><body>{divs}<script>{draw}</script></body></html>", encoding="utf-8"
        )
        return self.drawn(page)

    def photographed(self, page: Path, picture: Path) -> None:
        self._run(page, f"--screenshot={picture}", "--window-size=1760,480", "--hide-scrollbars")

    def _run(self, page: Path, *options: str) -> str:
        always = (
            "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
            "--disable-component-update --disable-sync --virtual-time-budget=10000"
        ).split()
        done = subprocess.run(
            [self.chromium, *always, f"--user-data-dir={self.folder / 'profile'}", *options, page.as_uri()],
            text=True, encoding="utf-8", capture_output=True, timeout=120,
        )  # fmt: skip
        return done.stdout


@pytest.fixture(scope="session")
def browser(tmp_path_factory, environ) -> Browser:
    chromium = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    npm = shutil.which("npm")
    if not (chromium and npm):
        pytest.skip("needs Chromium and npm, to draw what DVC's page describes")
    folder = tmp_path_factory.mktemp("vega")
    install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--legacy-peer-deps"]
    done = subprocess.run(
        [*install, *(f"{name}@{version}" for name, version in Browser.SCRIPTS.items())], cwd=folder, env=environ,
        text=True, capture_output=True, timeout=120,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"npm cannot install {', '.join(Browser.SCRIPTS)}: {done.stderr[-200:]}")
    return Browser(chromium, folder)


def charts(dom: str) -> list[str]:
    """The drawn charts, each as its SVG."""
    return re.findall(r'<svg [^>]*class="marks".*?</svg>', dom, re.DOTALL)


def texts(chart: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]+)</text>", chart)


@pytest.mark.parametrize("start", ["example", "stages"])
def test_plots_are_drawn(start, request, browser):
    project = request.getfixturevalue("made" if start == "example" else "staged")
    dom = browser.drawn(browser.page(project, "plots", "show"))
    loss, accuracy, matrix = charts(dom)
    for chart, measure in ((loss, "loss"), (accuracy, "accuracy")):
        assert {f"{measure.capitalize()} by epoch", "epoch", measure, f"train_{measure}", f"test_{measure}"} <= {
            *texts(chart)
        }
        lines = re.findall(r'<path aria-label="epoch: [^>]* aria-roledescription="line mark" d="([^"]*)"', chart)
        # A line for each kind of data, of 15 points; the template draws it a second time to be pointed at.
        assert len({*lines}) == 2 and all(line.count("L") == 14 for line in lines)
    assert {"Confusion matrix of the held-out data", "predicted", "actual", "Adelie", "Gentoo"} <= {*texts(matrix)}
    assert matrix.count("xy_count: 30") >= 1
    assert dom.count("<img") == len(IMAGES)


def test_two_experiments_are_drawn_in_one_chart(stages, browser, pytestconfig):
    done = stages.run("dvc", "exp", "run", "--name", "larger-test", "-S", "data_load.test_size=0.3")
    assert stage_runs(done.stdout) == ["data_load", "train", "evaluate"]
    page = browser.page(stages, "plots", "diff", "HEAD", "larger-test")
    loss, _, matrix = charts(browser.drawn(page))
    for chart in (loss, matrix):
        assert {"HEAD", "larger-test"} <= {*texts(chart)}
    if pictures := pytestconfig.getoption("pictures"):
        page.write_text(page.read_text("utf-8").replace("<body>", '<body style="display: flex">'), encoding="utf-8")
        browser.photographed(page, Path(pictures).absolute() / "plots.png")
    # The view of the VS Code extension: what it asks DVC for (extension/src/cli/dvc/reader.ts of iterative/vscode-dvc) and
    # then fills in and draws itself.
    found = json.loads(
        stages.run("dvc", "plots", "diff", "HEAD", "larger-test", "-o", ".dvc/tmp/plots", "--split", "--json").stdout
    )
    assert not found.get("errors")
    plots = [plot for versions in found["data"].values() for plot in versions]
    drawn = charts(browser.drawn_by_itself([filled(plot) for plot in plots if plot["type"] == "vega"]))
    assert len(drawn) == 3
    for chart in (drawn[0], drawn[2]):
        assert {"HEAD", "larger-test"} <= {*texts(chart)}
    images = [Path(plot["url"]) for plot in plots if plot["type"] == "image"]
    assert len(images) == 2 * len(IMAGES) and all(path.read_bytes().startswith(b"\x89PNG") for path in images)


def filled(plot: dict) -> str:
    """The Vega-Lite plot of a part of `dvc plots diff --split --json`."""
    text = plot["content"] if isinstance(plot["content"], str) else json.dumps(plot["content"])
    for anchor, value in plot["anchor_definitions"].items():
        text = text.replace(json.dumps(anchor), json.dumps(value))
    assert "<DVC_METRIC" not in text
    return text


def test_the_history_can_be_drawn_while_it_grows(stages):
    process = subprocess.Popen(
        on_path(["dvc", "exp", "run", "-S", "train.epochs=100000"], stages.environ), cwd=stages.path, env=stages.environ,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        history = stages.path / "outputs/train_history.csv"
        deadline = time.monotonic() + 180
        while not (history.exists() and len(history.read_text().splitlines()) > 20):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.2)
        shown = json.loads(stages.run("dvc", "plots", "show", "--json").stdout)
        epochs = [point["epoch"] for point in points(shown["data"]["Loss"])]
        assert len({*epochs}) >= 20 and process.poll() is None
    finally:
        process.terminate()
        process.wait(timeout=120)


def points(plot: list[dict]) -> list[dict]:
    """The rows that a plot of `dvc plots show --json` draws."""
    content = plot[0]["content"]
    return (json.loads(content) if isinstance(content, str) else content)["data"]["values"]
