"""The executed notebook: the same after each equal run, readable whatever the outputs are, and still a picture."""

import hashlib
import json
import re
import shutil
import subprocess
import time
import uuid

import pytest
from conftest import TEMPLATE, Workspace
from samples import RUN, ready

from notebook_pipeline.notebook import executed

LIBRARIES = "altair bokeh folium great-tables ipympl ipywidgets itables matplotlib pandas plotly tqdm xarray".split()
CELLS = {
    "ipywidgets": "import ipywidgets as w\nslider = w.IntSlider()\ndisplay(w.VBox([slider, w.Button()]))\nslider",
    "output": "out = w.Output()\nwith out:\n    print('inside')\nout",
    "tqdm": "import time\nfrom tqdm.notebook import tqdm\nfor _ in tqdm(range(3)): time.sleep(0.01)",
    "plotly connected": "import plotly.express as px\nfig = px.scatter(x=[1, 2, 3], y=[3, 1, 2])\nfig.show('notebook_connected')",
    "plotly": "fig.show('notebook')",
    "altair": "import altair as alt, pandas as pd\ndf = pd.DataFrame({'a': [1, 2], 'b': [2, 1]})\n"
    "alt.renderers.enable('html')\nalt.Chart(df).mark_point().encode(x='a', y='b')",
    "bokeh": "from bokeh.io import output_notebook\nfrom bokeh.plotting import figure, show\nfrom bokeh.resources import INLINE\n"
    "output_notebook(INLINE)\np = figure(width=300, height=300)\np.line([1, 2, 3], [3, 1, 2])\nshow(p)",
    "folium": "import folium\nfolium.Marker([45, 10], popup='hi').add_to(m := folium.Map(location=[45, 10]))\nm",
    "xarray": "import xarray as xr\nxr.Dataset({'t': ('x', [1, 2])}, coords={'x': [0, 1]})",
    "Styler": "df.style.highlight_max()",
    "itables": "import itables\nitables.show(df)",
    "great_tables": "from great_tables import GT\nGT(df)",
    "nbagg": "%matplotlib notebook\nimport matplotlib.pyplot as plt\nplt.figure(); plt.plot([1, 2]); plt.show()",
    "ipympl": "%matplotlib widget\nplt.figure(); plt.plot([1, 2]); plt.show()",
    "figures": "%matplotlib inline\n%config InlineBackend.figure_formats=['svg', 'pdf']\nplt.plot([1, 2], marker='o')\n"
    "for kind in ('pdf', 'svg', 'eps'): plt.savefig(f'outputs/figure.{kind}')",
    "own": "import uuid, secrets, os\nmine = uuid.uuid4()\nprint(mine, mine.hex[:8], secrets.token_hex(12))\nmine",
    "values": "import hashlib\nprint(hashlib.md5(b'x').hexdigest(), uuid.UUID(bytes=hashlib.md5(b'y').digest(), version=4))",
}
WRITTEN = "outputs/figure.pdf, outputs/figure.svg, outputs/figure.eps"


@pytest.fixture(scope="module")
def libraries(made, tmp_path_factory) -> dict[str, str]:
    """Variables for a project that has the libraries, in a folder of their own."""
    folder = tmp_path_factory.mktemp("libraries")
    python = shutil.which("python", path=made.environ["PATH"])
    done = subprocess.run(
        ["uv", "pip", "install", "--quiet", "--python", python, "--target", str(folder), *LIBRARIES],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"uv cannot install {', '.join(LIBRARIES)}: {done.stderr[-300:]}")
    return made.environ | {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def shown(made, libraries, tmp_path_factory) -> Workspace:
    """A project that has run with all the libraries."""
    workspace = Workspace(tmp_path_factory.mktemp("shown"), libraries)
    shutil.copytree(
        TEMPLATE / "template/.pipeline", workspace.path / ".pipeline", ignore=shutil.ignore_patterns("__py*")
    )
    ready(workspace, *CELLS.values())
    workspace.replace("dvc.yaml", "outs: [", f"outs: [{WRITTEN}, ")
    workspace.run("git", "init", "--quiet")
    workspace.run("dvc", "init", "--quiet")
    workspace.run("dvc", "repro")
    return workspace


def outputs(workspace: Workspace, name: str) -> list[dict]:
    cells = json.loads(workspace.read("outputs/fit.ipynb"))["cells"]
    return cells[2 + list(CELLS).index(name)]["outputs"]


def test_a_forced_run_leaves_the_lock_as_it_was(shown):
    first, lock = shown.read("outputs/fit.ipynb"), shown.read("dvc.lock")
    shown.run("dvc", "repro", "--force")
    for one, other in zip(first.splitlines(), shown.read("outputs/fit.ipynb").splitlines(), strict=True):
        assert one == other
    assert shown.read("dvc.lock") == lock


def test_what_was_not_drawn_stays(shown):
    """Also in the form of what is: a number there would hide a changed result."""
    hashes = [hashlib.md5(b"x").hexdigest(), str(uuid.UUID(bytes=hashlib.md5(b"y").digest(), version=4))]
    assert "".join(outputs(shown, "values")[0]["text"]).split() == hashes
    full, short, token = "".join(outputs(shown, "own")[0]["text"]).split()
    assert re.fullmatch("a0000000-0000-0000-0000-0{10}[0-9a-f]{2}", full)
    assert re.fullmatch("a0{5}[0-9a-f]{2}", short) and re.fullmatch("a0{21}[0-9a-f]{2}", token)
    assert outputs(shown, "own")[1]["data"]["text/plain"] == [f"UUID('{full}')"]


def test_widgets_are_found_by_their_numbers(shown):
    document = json.loads(shown.read("outputs/fit.ipynb"))
    state = document["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    for name in ("ipywidgets", "output", "tqdm", "ipympl"):
        ids = [each["data"]["application/vnd.jupyter.widget-view+json"]["model_id"]
               for each in outputs(shown, name) if "application/vnd.jupyter.widget-view+json" in each.get("data", {})]  # fmt: skip
        assert ids and all(each in state for each in ids), name
    references = set(re.findall(r"IPY_MODEL_(\w+)", json.dumps(state)))
    assert references and references <= state.keys()


# What is drawn, bokeh's in shadow roots: into the page's title.
LOOK = """<script>setTimeout(() => {
  const below = node => [node, ...(node.shadowRoot ? below(node.shadowRoot) : []), ...[...node.children].flatMap(below)];
  const all = below(document.body);
  const inked = canvas => canvas.width && canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some(x => x);
  document.title = `${all.filter(x => x.matches && x.matches("path.point")).length} points, `
    + `${all.some(x => x.tagName == "CANVAS" && inked(x)) ? "ink" : "nothing"}`;
}, 3000)</script>"""


def test_figures_are_still_drawn(shown, tmp_path):
    chromium = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    if not chromium:
        pytest.skip("needs Chromium, to draw what the executed notebook holds")
    parts = []
    for output in [*outputs(shown, "plotly"), *outputs(shown, "bokeh")]:
        data = {kind: "".join(text) for kind, text in output.get("data", {}).items() if isinstance(text, list)}
        if "application/javascript" in data:
            parts.append(f"<script>{data['application/javascript']}</script>")
        else:
            parts.append(data.get("text/html", ""))
    page = tmp_path / "page.html"
    page.write_text(f"<html><body>{''.join(parts)}{LOOK}</body></html>", encoding="utf-8")
    done = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--virtual-time-budget=10000", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        text=True, encoding="utf-8", capture_output=True, timeout=120,
    )  # fmt: skip
    assert re.search("<title>.*</title>", done.stdout)[0] == "<title>3 points, ink</title>"


def still(text: str, since: float = 0.0) -> str:
    return executed._clock_stopper(time.time() - 2 + since, time.time() + 2)(text)


@pytest.mark.parametrize(
    ("form", "stopped"),
    [
        ("%Y-%m-%d %H:%M:%S", "1980-01-01 00:00:00"),
        ("%Y-%m-%dT%H:%M:%S.123456", "1980-01-01T00:00:00"),
        ("%Y-%m-%d %H:%M:%S,123 INFO x", "1980-01-01 00:00:00 INFO x"),
        ("run_%Y%m%d-%H%M%S.csv", "run_19800101-000000.csv"),
        ("%Y-%m-%d_%H-%M-%S", "1980-01-01_00-00-00"),
        ("%a %b %d %H:%M:%S %Y", "Tue Jan  1 00:00:00 1980"),
        (
            "Date:      %a, %d %b %Y  Prob\nTime:   %H:%M:%S  Log",
            "Date:      Tue, 01 Jan 1980  Prob\nTime:   00:00:00  Log",
        ),
        ("[%H:%M:%S] start", "[00:00:00] start"),
        ("x\n%H:%M:%S", "x\n00:00:00"),
    ],
)
def test_the_clock_stands_still(form, stopped):
    assert still(time.strftime(form)) == stopped
    an_hour_ago = time.strftime(form, time.localtime(time.time() - 90000))
    assert still(an_hour_ago) == an_hour_ago  # data: older than the run


def test_seconds_and_durations_stand_still():
    now = time.time()
    assert still(f"{now} {int(now * 1000)} 1500000000.5") == "315532800.0 315532800000 1500000000.5"
    assert still("100%|███| 3/3 [00:00<00:00, 98.51it/s, loss=0.1]") == "100%|███| 3/3 [..., ?/s, loss=0.1]"
    assert still("3it [01:02,  1.20s/it]") == "3it [..., ?/s]"
    assert still("32/32 - 1s 12ms/step - loss: 0.3") == "32/32 - ?/step - loss: 0.3"
    assert still("12:30:00 and a [12:30, 13:45] range, 3 ± 1") == "12:30:00 and a [12:30, 13:45] range, 3 ± 1"


def test_numbers_are_the_same_for_one_id_in_each_form():
    raw = "0123456789abcdef0123456789abcdef"
    number = executed._numbering([raw])
    made = uuid.UUID(bytes=bytes.fromhex(raw), version=4)
    assert number(f"{made} {made.hex}") == "a0000000-0000-0000-0000-000000000000 a" + "0" * 31
    assert number(f"map_{raw}_x T_{raw[:5]}_row0 {raw[:9]}") == f"map_a{'0' * 31}_x T_a0000_row0 a00000000"
    assert number("T_54321 deadbeefdeadbeef") == "T_54321 deadbeefdeadbeef"


def test_whatever_the_outputs_are_the_notebook_is_written(bare):
    ready(
        bare,
        "from IPython.display import display\nkernel = get_ipython().kernel\n"
        "def send(kind, **content): kernel.send_response(kernel.iopub_socket, kind, content)\n"
        "display({'text/plain': ['a\\n', 'b'], 'text/html': {'a': 1}, 'application/json': {'x': [1, {'y': None}]},\n"
        "         'application/vnd.x.v1+json': ['a', 'b'], 'text/latex': None, 'image/png': 5}, raw=True)\n"
        "send('stream', name='stdout', text=['one\\n', 'two\\n'])\nsend('stream', text={'a': 1})\nsend('display_data', data=None)",
        {"source": "send('error', traceback='text', evalue=['x'])", "metadata": {"tags": ["raises-exception"]}},
    )
    assert bare.pipeline(*RUN).stdout == "one\ntwo\n{'a': 1}"
    cell = json.loads(bare.read("outputs/fit.ipynb"))["cells"][2]
    shown = {kind: value for output in cell["outputs"] for kind, value in output.get("data", {}).items()}
    assert shown == {
        "text/plain": ["a\n", "b"], "text/html": ["{'a': 1}"], "application/json": {"x": [1, {"y": None}]},
        "application/vnd.x.v1+json": ["a", "b"], "image/png": "5",
    }  # fmt: skip


def test_a_cell_has_one_number(bare):
    """In the message, in IPython's traceback and beside the cell: its place in the notebook."""
    ready(
        bare, *[{"cell_type": "markdown", "source": "# x"}] * 2, "def f(): return 1 / 0",
        {"source": "f()", "metadata": {"tags": ["raises-exception"]}}, "print(3)\nf()",
    )  # fmt: skip
    done = bare.pipeline(*RUN, check=False)
    assert done.stdout.startswith(
        "3\nnotebooks/fit.ipynb: cell 6, line 2: ZeroDivisionError: division by zero\n    f()\n"
    )
    assert re.findall(r"Cell In\[\d+\], line \d", done.stdout) == ["Cell In[6], line 2", "Cell In[4], line 1"]
    assert done.stdout.endswith(
        "\noutputs/fit.ipynb: shows what ran. Fix: to run its cells one by on"
        "e with the same values, uv run pipeline open fit\n"
    )
    cells = json.loads(bare.read("outputs/fit.ipynb"))["cells"]
    assert [cell.get("execution_count") for cell in cells] == [1, 1, None, None, 4, 5, 6]
    plain = re.sub(r"\x1b\[[\d;]*m", "", "".join(cells[5]["outputs"][0]["traceback"]))
    assert re.findall(r"Cell In\[(\d+)\]", plain) == ["5", "4"]


MINE = ("random", "queue", "copy", "statistics", "json", "re", "logging", "tempfile")


def test_files_that_are_called_as_a_module_of_pythons_own(bare):
    for name in MINE:
        bare.write(f"{name}.py", "raise ImportError('mine')\n")
        bare.write(f"notebooks/{name}.py", "raise ImportError('mine')\n")
    bare.write("notebooks/types.py", "raise ImportError('mine')\n")
    bare.write("helper.py", "WHERE = 'root'\n")
    bare.write("notebooks/helper.py", "WHERE = 'beside'\n")
    bare.write("inputs.py", "WHERE = 'root'\n")
    ready(bare, f"import helper, inputs, {', '.join(MINE)}\nprint(helper.WHERE, inputs.WHERE, random.random() < 1)")
    assert bare.pipeline(*RUN).stdout.startswith("beside root True\n")


def test_what_threads_print_is_kept(bare):
    ready(
        bare,
        "import sys, threading, time\ndef work():\n    time.sleep(1)\n    print('working', file=sys.stderr)\n    print('done')\n"
        "threading.Thread(target=work).start()",
        "print('last')",
    )
    assert sorted(bare.pipeline(*RUN).stdout.split()) == ["done", "last", "working"]
    cells = json.loads(bare.read("outputs/fit.ipynb"))["cells"]
    assert [(each["name"], each["text"]) for each in cells[-1]["outputs"]] == [
        ("stdout", ["last\n", "done\n"]), ("stderr", ["working\n"]),
    ]  # fmt: skip


def test_a_result_stands_behind_what_another_program_prints(bare):
    """That comes when the system has it: before the result, or a moment later."""
    late = "import sys, threading, time\ndef work():\n    time.sleep(0.5)\n    print('late')\nthreading.Thread(target=work).start()\n7"
    ready(bare, late)
    bare.pipeline(*RUN)
    outputs = json.loads(bare.read("outputs/fit.ipynb"))["cells"][-1]["outputs"]
    assert [each["output_type"] for each in outputs] == ["stream", "execute_result"]


def test_an_exit_handler(bare):
    handler = "import atexit\n@atexit.register\ndef leave():\n    print('bye')\n    {}"
    ready(bare, handler.format("open('left', 'w')"))
    assert bare.pipeline(*RUN).stdout.startswith("bye\n") and (bare.path / "left").exists()
    # The kernel sends what Python says of it in pieces, here each by itself.
    pieces = "import sys\nwrite = sys.stderr.write\ndef in_pieces(text):\n    write(text)\n    sys.stderr.flush()\n"
    ready(bare, pieces + handler.format("sys.stderr.write = in_pieces\n    raise ValueError('no')"))
    done = bare.pipeline(*RUN, check=False)
    assert done.returncode == 1
    assert (
        "\nnotebooks/fit.ipynb: an exit handler (`atexit`) failed: ValueError: no. Fix: correct or remove it\n"
        in done.stdout
    )
    assert "ValueError: no" in bare.read("outputs/fit.ipynb") and "bye" in bare.read("outputs/fit.ipynb")


def test_threads_without_end_are_stopped(bare):
    script = (
        "import sys; from notebook_pipeline.run import command, outcome; outcome.PATIENCE_AT_END = 1; "
        "sys.exit(command.main(sys.argv[1:]))"
    )
    ready(bare, "import threading, time\nthreading.Thread(target=time.sleep, args=[600]).start()")
    done = bare.run("python", "-c", script, *RUN[1:], check=False)
    assert done.returncode == 1
    assert "its threads or exit handlers had not ended 1 s after its last cell, and were stopped. Fix: " in done.stdout
