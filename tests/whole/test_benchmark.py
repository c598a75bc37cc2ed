"""Our pipeline beside the guide's own, on the same notebook in one run: `uv run pytest -m benchmark -n 0 -s`.

Prints both times and their ratio; asserts no timing.
"""

import itertools
import json
import os
import re
import shutil
import time

import pytest
from conftest import Workspace, copied, notebook

OURS = """\
stages:
  code:
    matrix:
      notebook: [n]
    cmd: pipeline code notebooks/${item.notebook}.ipynb outputs/code/${item.notebook}.py
    deps: ['notebooks/${item.notebook}.ipynb']
    outs: ['outputs/code/${item.notebook}.py']
  run_notebook:
    cmd: pipeline run notebooks/n.ipynb outputs/n.ipynb
    deps: [outputs/code/n.py]
    params: [train]
    outs: [outputs/n.ipynb]
"""
GUIDES = """\
stages:
  run_notebook:
    cmd: papermill notebooks/n.ipynb outputs/n.ipynb -p EPOCHS ${train.epochs}
    deps: [notebooks/n.ipynb]
    outs: [outputs/n.ipynb]
"""
NOTEBOOKS = {
    "small": notebook("EPOCHS = 1", "print(EPOCHS)", "EPOCHS + 1"),
    "one line of 270 KB": notebook("EPOCHS = 1", "print(list(range(40000)))"),
    "20,000 prints": notebook("EPOCHS = 1", "for number in range(20_000): print(number, flush=True)"),
    "100 cells, 30 MB of outputs": notebook("EPOCHS = 1", *["print(('x' * 99 + '\\n') * 3000)"] * 100),
}


@pytest.mark.benchmark
@pytest.mark.parametrize("case", NOTEBOOKS)
def test_repro_beside_the_guides(bare, tmp_path_factory, case):
    guides = Workspace(tmp_path_factory.mktemp("guide"), bare.environ)
    for workspace, pipeline in ((bare, OURS), (guides, GUIDES)):
        workspace.write("dvc.yaml", pipeline)
        workspace.write("params.yaml", "train:\n  epochs: 3\n")
        workspace.write("notebooks/n.ipynb", NOTEBOOKS[case])
        workspace.write("outputs/.keep", "")
        workspace.run("git", "init", "--quiet")
        workspace.run("dvc", "init", "--quiet")
    times = {"ours": [], "guide's": []}
    for _ in range(5):
        for name, workspace in (("ours", bare), ("guide's", guides)):
            start = time.perf_counter()
            workspace.run("dvc", "repro", "--force")
            times[name].append(time.perf_counter() - start)
    ours, theirs = (sorted(values)[len(values) // 2] for values in times.values())
    print(
        f"\n{case}: dvc repro --force takes {ours:.2f} s, the guide's {theirs:.2f} s (medians of 5): {ours / theirs:.2f}"
    )


CELLS = [
    "import pandas as pd\nfrom pathlib import Path",
    "data = pd.read_csv(Path(SOURCE) / 'data.csv')\nfor column in data:\n    print(column, data[column].mean())",
    "model.fit(data, epochs=EPOCHS)\nmodel.summary()",
    "fig, axes = plt.subplots(1, 2)\naxes[0].plot(history)\nfig.savefig('outputs/history.png')",
]


@pytest.mark.benchmark
def test_check_beside_reading_json(bare):
    """100 notebooks of 50 cells with 1 MB of outputs each, all run by stages; and one notebook."""
    stages = ""
    for number in range(100):
        text = notebook("EPOCHS: int = 3\nSOURCE = 'data'", *(CELLS[index % len(CELLS)] for index in range(49)))
        document = json.loads(text)
        for cell in document["cells"]:
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["x" * 70 + "\n"] * 280}]
        bare.write(f"notebooks/n{number}.ipynb", json.dumps(document, indent=1))
        stages += (
            f"  n{number}:\n    cmd: pipeline run notebooks/n{number}.ipynb outputs/n{number}.ipynb\n"
            f"    deps: [outputs/code/n{number}.py]\n    params: [train]\n"
        )
    names = ", ".join(f"n{number}" for number in range(100))
    bare.write("dvc.yaml", OURS.replace("[n]", f"[{names}]").partition("  run_notebook:")[0] + stages)
    bare.write("params.yaml", "train:\n  epochs: 3\n  source: data\n")
    single = Workspace(bare.path / "single", bare.environ)
    shutil.copytree(bare.path / ".pipeline", single.path / ".pipeline")
    single.write("notebooks/n.ipynb", NOTEBOOKS["small"])
    single.write("dvc.yaml", OURS)
    single.write("params.yaml", "train:\n  epochs: 3\n")
    read_json = "import glob, json\nfor file in glob.glob('notebooks/*'): json.load(open(file, encoding='utf-8'))"
    commands = {
        "check": (bare, ["-m", "notebook_pipeline", "check", "--fix"]),
        "json.load": (bare, ["-c", read_json]),
        "check of one": (single, ["-m", "notebook_pipeline", "check", "--fix"]),
        "imports": (single, ["-c", "import json, ast, ruamel.yaml"]),
    }
    times = {name: [] for name in commands}
    for _ in range(7):
        for name, (workspace, arguments) in commands.items():
            start = time.perf_counter()
            workspace.run("python", *arguments)
            times[name].append(time.perf_counter() - start)
    check, load, one, imports = (sorted(values)[3] for values in times.values())
    print(
        f"\ncheck of 100 notebooks takes {check:.2f} s, json.load of them {load:.2f} s (medians of 7): {check / load:.2f}; "
        f"of one {one:.2f} s, the imports alone {imports:.2f} s"
    )


LOCK = """\
import sys, time, tomllib
from pathlib import Path
from notebook_pipeline.notebook import packages
text = Path("uv.lock").read_text(encoding="utf-8")
for read in (packages.parse, tomllib.loads):
    start = time.perf_counter()
    read(text)
    print(time.perf_counter() - start)
"""


@pytest.mark.benchmark
def test_code_beside_the_same_without_packages(bare, made):
    """With the lock file of the example, which is about 1 MB."""
    bare.write("notebooks/n.ipynb", (made.path / "notebooks/penguins.ipynb").read_text(encoding="utf-8"))
    times = {"without": [], "with": [], "parse": [], "tomllib": []}
    for _ in range(9):
        for name in ("without", "with"):
            (bare.path / "uv.lock").unlink(missing_ok=True)
            if name == "with":
                bare.write("uv.lock", made.read("uv.lock"))
            start = time.perf_counter()
            bare.pipeline("code", "notebooks/n.ipynb", "outputs/code/n.py")
            times[name].append(time.perf_counter() - start)
        ours, theirs = map(float, bare.run("python", "-c", LOCK).stdout.split())
        times["parse"].append(ours)
        times["tomllib"].append(theirs)
    without, with_packages, parse, toml = (1000 * sorted(values)[4] for values in times.values())
    print(
        f"\ncode takes {with_packages:.0f} ms, without uv.lock {without:.0f} ms (medians of 9): {with_packages / without:.2f}; "
        f"{(bare.path / 'uv.lock').stat().st_size:,} bytes are read in {parse:.0f} ms, tomllib {toml:.0f} ms: {parse / toml:.2f}"
    )


TIMED = """\
import sys, time
start = time.perf_counter()
from notebook_pipeline.run import command as run
from notebook_pipeline.run.trace import Trace

spent = 0
def timed(method):
    if sys.argv[1:]:  # without the trace
        return lambda self, *_: self
    def call(*arguments):
        global spent
        start = time.perf_counter()
        result = method(*arguments)
        spent += time.perf_counter() - start
        return result
    return call

Trace.__enter__, Trace.__exit__ = timed(Trace.__enter__), timed(Trace.__exit__)
assert run.main(["notebooks/n.ipynb", "outputs/n.ipynb"]) == 0
print(spent, time.perf_counter() - start)
"""
READERS = {
    "a small notebook": "print(EPOCHS)",
    "one that computes for five seconds": "import time\ntime.sleep(5)",
    "one that reads all of them": "from pathlib import Path\nlen({path.read_bytes() for path in Path('data').rglob('*.*')})",
}


@pytest.mark.benchmark
@pytest.mark.parametrize("case", READERS)
def test_trace_beside_its_run(bare, case):
    """10,000 files in 100 folders."""
    for number in range(10_000):
        bare.write(f"data/{number % 100}/{number}.txt", str(number))
    bare.write("params.yaml", "train:\n  epochs: 3\n")
    bare.write("dvc.yaml", OURS.replace("deps: [outputs/code/n.py]", "deps: [data]"))
    bare.write("notebooks/n.ipynb", notebook("EPOCHS = 1", READERS[case]))
    traces, runs, bare_runs = [], [], []
    for _ in range(15):
        spent, whole = map(float, bare.run("python", "-c", TIMED).stdout.splitlines()[-1].split())
        traces.append(spent)
        runs.append(whole)
        bare_runs.append(float(bare.run("python", "-c", TIMED, "off").stdout.splitlines()[-1].split()[1]))
        for path in (bare.path / "data").rglob("*.txt"):  # as each run leaves them
            os.utime(path, ns=(0, path.stat().st_mtime_ns))
    trace, run, bare_run = (sorted(values)[7] for values in (traces, runs, bare_runs))
    # Most of the trace is done while the kernel starts and while it ends.
    print(
        f"\n{case}, 10,000 files: the run takes {run:.2f} s, without the trace {bare_run:.2f} s (medians of 15): "
        f"{run / bare_run:.3f}; the trace itself takes {1000 * trace:.0f} ms"
    )


GRID = {"train.learning_rate": [0.001, 0.002, 0.005, 0.01], "train.batch_size": [8, 32], "train.epochs": [10, 20, 30]}


def with_sweep(template, environ, tmp_path, *options: str) -> Workspace:
    """A made project with the packages of a sweep, in an environment of its own."""
    # As a person has it: what is compiled once stays.
    environ = {name: value for name, value in environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environ["UV_PROJECT_ENVIRONMENT"] = str(tmp_path / "venv")
    binaries = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    environ["PATH"] = os.pathsep.join([str(binaries), environ["PATH"]])
    made = copied(template, environ, tmp_path / "penguins", *options)
    made.run("uv", "sync", "--quiet", "--group", "sweep", "--compile-bytecode", timeout=900)
    return made


@pytest.mark.benchmark
def test_sweep_beside_a_queue_and_a_loop(template, environ, tmp_path):
    """24 experiments of the example in four stages: a sweep with two workers, DVC's queue with two jobs, a shell loop."""
    made = with_sweep(template, environ, tmp_path, "-d", "start=stages")
    environ = made.environ
    lists = [f"{name}={','.join(map(str, values))}" for name, values in GRID.items()]
    points = list(itertools.product(*([f"{name}={value}" for value in values] for name, values in GRID.items())))

    def settings(words) -> list[str]:
        return [word for setting in words for word in ("-S", setting)]

    def sweep(project: Workspace) -> None:
        project.pipeline("sweep", *settings(lists), "--workers", "2", timeout=3600)

    def queue(project: Workspace) -> None:
        project.run("dvc", "exp", "run", "--queue", *settings(lists))
        project.run("dvc", "queue", "start", "--jobs", "2")
        # Its workers are on their own; known to hang (DVC's issues 8165 and 10398).
        until = time.monotonic() + 3600
        while re.search(r"Queued|Running", project.run("dvc", "queue", "status").stdout) and time.monotonic() < until:
            time.sleep(2)

    def loop(project: Workspace) -> None:
        for point in points:
            project.run("dvc", "exp", "run", *settings(point))

    times, results = {}, {}
    for side in (sweep, queue, loop):
        name = side.__name__
        project = Workspace(shutil.copytree(made.path, tmp_path / name / "penguins", symlinks=True), environ)
        start = time.perf_counter()
        side(project)
        times[name] = time.perf_counter() - start
        shown = project.run("dvc", "exp", "show", "--json").stdout
        rows = [row["revs"][0]["data"] for row in json.loads(shown[shown.index("[{") :])[1]["experiments"]]
        keep = ("params", "metrics", "outs")
        results[name] = sorted(json.dumps([row[key] for key in keep], sort_keys=True) for row in rows)
        assert len(rows) == len(points), f"{name} has made {len(rows)}"
    assert results["sweep"] == results["queue"] == results["loop"]
    print(
        f"\n{len(points)} experiments: the sweep takes {times['sweep']:.0f} s, DVC's queue {times['queue']:.0f} s, "
        f"a loop {times['loop']:.0f} s: {times['sweep'] / times['queue']:.2f} of the queue's, "
        f"{times['sweep'] / times['loop']:.2f} of the loop's"
    )


BUSY = "import time\nuntil = time.perf_counter() + {}\nwhile time.perf_counter() < until: sum(range(10000))\n"
PARTED = [
    "## Clean", BUSY.format(20) + "data = list(range(1000))",
    "## Train", BUSY.format(4) + "model = [RATE * each for each in data]",
    "## Evaluate", "import json\njson.dump({'score': sum(model)}, open('score.json', 'w'))",
]  # fmt: skip


@pytest.mark.benchmark
def test_sweep_over_a_split_notebook(template, environ, tmp_path):
    """Six values of a parameter that a late section uses: 24 s as one stage, of which a split leaves 4 to each experiment."""
    cells = [{"cell_type": "markdown", "source": each} if each.startswith("#") else {"source": each} for each in PARTED]
    (tmp_path / "slow.ipynb").write_text(notebook("RATE = 0.5", *cells))
    made = with_sweep(template, environ, tmp_path)
    made.pipeline("add", str(tmp_path / "slow.ipynb"))
    commit = ("git", "commit", "--quiet", "--no-verify", "--message", "Slow")
    made.run("git", "add", "--all"), made.run(*commit)
    times, scores = {}, {}
    for side in ("whole", "split"):
        project = Workspace(shutil.copytree(made.path, tmp_path / side / "penguins", symlinks=True), made.environ)
        if side == "split":
            project.pipeline("split", "notebooks/slow.ipynb")
            project.run("git", "add", "--all"), project.run(*commit)
        section = "slow" if side == "whole" else re.search(r"(\w+):\n  rate: 0\.5", project.read("params.yaml"))[1]
        start = time.perf_counter()
        said = project.pipeline("sweep", "-S", f"{section}.rate=1,2,3,4,5,6", "--workers", "2", timeout=3600).stdout
        times[side] = time.perf_counter() - start
        scores[side] = sorted(re.findall(r"\b\d{6,}\b", said))
    assert scores["whole"] == scores["split"] and len(scores["whole"]) >= 6
    whole, split = times["whole"], times["split"]
    print(
        f"\nsix experiments: over the whole notebook {whole:.0f} s, over the split one {split:.0f} s: {split / whole:.2f}"
    )


OBSERVED = (
    "import sys, time\nfrom pathlib import Path\nfrom notebook_pipeline.add.observation import observe\n"
    "from notebook_pipeline.notebook.document import read\nsource = Path(sys.argv[1])\nstart = time.perf_counter()\n"
    "observe(read(source), source.parent, source.parent)\nprint(time.perf_counter() - start)"
)
ADDED = {
    "short": ["open('a.csv').read()", "open('b.csv', 'w').write('x')"],
    "10 s, 500 files": [
        "import os, time\nfor n in range(500): open(f'many/{n}.txt').read()",
        "os.makedirs('made', exist_ok=True)\nfor n in range(100): open(f'made/{n}.txt', 'w').write('x')",
        "until = time.perf_counter() + 10\nwhile time.perf_counter() < until: sum(range(10000))",
    ],
}


@pytest.mark.benchmark
@pytest.mark.parametrize("case", ADDED)
def test_add_beside_one_run(bare, tmp_path_factory, case):
    work = tmp_path_factory.mktemp("work")
    (work / "many").mkdir()
    for name in ("a.csv", *(f"many/{number}.txt" for number in range(500))):
        (work / name).write_text("x")
    source = work / "n.ipynb"
    source.write_text(notebook("N = 1", *ADDED[case]))
    bare.write("dvc.yaml", "stages:\n")
    bare.write("params.yaml", "other: 1\n")
    for arguments in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"]):
        bare.run(*arguments)
    start = time.perf_counter()
    bare.pipeline("add", str(source))
    whole = time.perf_counter() - start
    observed, runs = [], []
    for _ in range(3):
        observed.append(float(bare.run("python", "-c", OBSERVED, str(source)).stdout))
        start = time.perf_counter()
        bare.run("pipeline", "run", "notebooks/n.ipynb", "outputs/n.ipynb")
        runs.append(time.perf_counter() - start)
    one, two = sorted(runs)[1], sorted(observed)[1] + sorted(runs)[1]
    print(
        f"\n{case}: one run {one:.2f} s, both runs of `add` {two:.2f} s: {two / one:.2f}; `add` as a whole {whole:.2f} s"
    )
