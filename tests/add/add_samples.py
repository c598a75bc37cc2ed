"""What the tests of `add` share."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import Workspace, notebook, on_path
from ruamel.yaml import YAML


def untagged(*cells: object) -> str:
    """A notebook without a parameters cell."""
    return notebook(*({"source": cell} if isinstance(cell, str) else cell for cell in cells))


# ---------------------------------------------------------------------------------------------------------------------
# In a real project
# ---------------------------------------------------------------------------------------------------------------------

CHURN = untagged(
    {"cell_type": "markdown", "source": "# Churn"},
    "import json\nimport pandas as pd\nimport matplotlib.pyplot as plt\nimport helpers\n%matplotlib inline",
    "# train\nEPOCHS = 3  # rounds\nRATE: float = 0.5",
    "data = pd.read_csv('customers.csv')\nprint(len(data))",
    "history = pd.DataFrame({'epoch': range(EPOCHS), 'loss': [helpers.loss(RATE, n) for n in range(EPOCHS)]})\n"
    "history.to_csv('history.csv', index=False)\nhistory.plot(x='epoch', figsize=(3, 2))\nplt.savefig('history.png')",
    "with open('metrics.json', 'w') as file:\n    json.dump({'loss': float(history.loss.iloc[-1]), 'rows': len(data)}, file)\n"
    "data.to_pickle('model.pkl')\nagain = pd.read_pickle('model.pkl')",
)
DEPENDENCIES = "pandas, matplotlib, pyarrow, h5py, pillow"


@pytest.fixture(scope="session")
def own_environ(environ, tmp_path_factory) -> dict[str, str]:
    """An environment beside the example's, with what these notebooks import."""
    place = tmp_path_factory.mktemp("environment") / "venv"
    binaries = str(place / ("Scripts" if os.name == "nt" else "bin"))
    return environ | {
        "UV_PROJECT_ENVIRONMENT": str(place),
        "PATH": os.pathsep.join([binaries, environ["PATH"]]),
    }


@pytest.fixture(scope="session")
def churn(template, own_environ, tmp_path_factory) -> Workspace:
    """A project as `copier copy -d start=notebook` makes it around a notebook. Not to be changed."""
    folder = tmp_path_factory.mktemp("churn")
    work = folder / "my wörk"
    work.mkdir()
    (work / "Customer churn.ipynb").write_text(CHURN, encoding="utf-8")
    (work / "customers.csv").write_text("name,left\nAda,1\nGrace,0\n")
    (work / "helpers.py").write_text("def loss(rate, epoch):\n    return rate / (epoch + 1)\n")
    before = contents(work)
    workspace, done = started(template, own_environ, work / "Customer churn.ipynb", folder / "churn")
    assert done.returncode == 0 and contents(work) == before, done.stdout
    workspace.write(".log", done.stdout)
    return workspace


def started(
    template: Path, environ: dict[str, str], notebook: Path, path: Path
) -> tuple[Workspace, subprocess.CompletedProcess]:
    """What `copier copy` makes of a notebook, with the one environment of all these projects, and what it says."""
    command = [
        sys.executable, "-m", "copier", "copy", "--trust", "--defaults", "--quiet", "-d", "start=notebook",
        "-d", f"notebook={notebook}", "-d", f"dependencies={DEPENDENCIES}", str(template), str(path),
    ]  # fmt: skip
    done = subprocess.run(
        command, env=environ, text=True, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return Workspace(path, environ), done


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stage(project: Workspace, name: str) -> dict:
    return YAML(typ="safe").load(project.read("dvc.yaml"))["stages"][name]


@pytest.fixture
def project(churn, tmp_path) -> Workspace:
    """A copy of that project, to work in."""
    shutil.copytree(churn.path, tmp_path / "churn", symlinks=True)
    (tmp_path / "churn/.log").unlink()
    return Workspace(tmp_path / "churn", churn.environ)


SAMPLES = """
import sqlite3, h5py, pandas as pd
from pathlib import Path
from PIL import Image
table = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
table.to_parquet("table.parquet")
table.to_csv("table.csv", index=False)
h5py.File("arrays.h5", "w")["x"] = [1, 2, 3]
for number in range(3):
    Path("images").mkdir(exist_ok=True)
    Image.new("L", (2, 2), number).save(f"images/{number}.png")
base = sqlite3.connect("base.sqlite")
base.execute("create table t (x)")
base.execute("insert into t values (7)")
base.commit()
Path("../shared").mkdir(exist_ok=True)
table.to_csv("../shared/far.csv", index=False)
table.to_csv("../shared/full.csv", index=False)
Path("../shared/tool.py").write_text("def double(x): return 2 * x")
Path("beside.py").write_text("def one(x): return x")
Path("text").mkdir(exist_ok=True)
Path("text/one.txt").write_text("1")
Path("text/two.txt").write_text("2")
"""


@pytest.fixture(scope="session")
def samples(churn, tmp_path_factory) -> Path:
    """The folder of the notebooks below, with what they read."""
    folder = tmp_path_factory.mktemp("samples") / "work"
    folder.mkdir()
    # As that of a repository: what is beside `work` belongs to it.
    folder.with_name("requirements.txt").touch()
    subprocess.run(on_path(["python", "-c", SAMPLES], churn.environ), cwd=folder, env=churn.environ, check=True)
    return folder


@dataclass
class Kind:
    """A notebook as people write them, and what its stage lists besides the notebook's own files."""

    text: str
    deps: list[str] = field(default_factory=list)
    outs: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)
    parameter: tuple[str, str] = ("", "")
    """A line of params.yaml, and another value."""
    change: str = ""
    """Python that changes an input."""

    def write(self, folder: Path, name: str) -> None:
        """Puts the notebook into the folder of `samples`."""
        (folder / f"{name}.ipynb").write_text(self.text.replace("ABSOLUTE", (folder.parent / "shared").as_posix()))

    def assert_is_stage(self, project: Workspace, name: str, said: str) -> None:
        made = stage(project, name)
        assert made["deps"] == sorted([*self.deps, f"outputs/code/{name}.py"]), said
        assert made["outs"] == sorted([*self.outs, f"outputs/{name}.ipynb"]), said
        assert made.get("metrics", []) == [{path: {"cache": False}} for path in self.metrics], said
        assert made.get("plots", []) == self.plots, said
        assert project.run("dvc", "status").stdout == "Data and pipelines are up to date.\n", said

    def assert_reruns(self, project: Workspace, name: str) -> None:
        """It runs if a parameter or an input changes, and only then."""
        assert "Running stage" not in project.run("dvc", "repro").stdout
        if self.parameter[0]:
            project.replace("params.yaml", *self.parameter)
            assert f"Running stage '{name}'" in project.run("dvc", "repro").stdout
        if self.change:
            project.run("python", "-c", self.change)
            assert f"Running stage '{name}'" in project.run("dvc", "repro").stdout


def large() -> str:
    document = json.loads(notebook("N = 1", "print(N)"))
    document["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x" * 30_000_000}]
    return json.dumps(document)


TABLE, NEW_TABLE = "data/external/table.csv", "open('data/external/table.csv', 'w').write('a,b\\n5,6\\n7,8\\n9,0\\n')"
KINDS = {
    "tagged": Kind(
        notebook("ROWS = 2  # to read", "import pandas as pd\npd.read_csv('table.csv', nrows=ROWS).to_csv('head.csv', index=False)"),
        deps=[TABLE], outs=["head.csv"], parameter=("rows: 2", "rows: 1"), change=NEW_TABLE,
    ),
    "untagged": Kind(
        untagged({"cell_type": "markdown", "source": "# Title"}, "import json", "# score\nLIMIT = 2  # at most",
                 "rows = len(open('table.csv').readlines()) - 1\njson.dump({'rows': min(rows, LIMIT)}, open('score.json', 'w'))"),
        deps=[TABLE], metrics=["score.json"], parameter=("limit: 2", "limit: 1"), change=NEW_TABLE,
    ),
    "scattered": Kind(
        untagged("import pandas as pd", "PATH = 'table.csv'\ndata = pd.read_csv(PATH)", "steps = 3\nfor step in range(steps):\n    pass",
                 "# what is lost\nrate = 0.125\npd.DataFrame({'step': range(steps), 'loss': rate}).to_csv('loss.csv', index=False)"),
        deps=[TABLE], plots=["loss.csv"], parameter=("rate: 0.125", "rate: 0.25"), change=NEW_TABLE,
    ),
    "shell": Kind(
        untagged("%matplotlib inline\nimport matplotlib.pyplot as plt", "!cat text/one.txt\nfiles = !ls text",
                 "WIDTH = 3\nplt.figure(figsize=(WIDTH, 2))\nplt.plot([1, 2])\nplt.savefig('line.png')", "%%time\nopen('text/two.txt').read()"),
        deps=["data/external/text"], plots=["line.png"], parameter=("width: 3", "width: 4"),
        change="open('data/external/text/one.txt', 'w').write('3')",
    ),
    "far": Kind(
        untagged("import pandas as pd\nN = 1", "full = pd.read_csv('ABSOLUTE/full.csv')",
                 "pd.read_csv('../shared/far.csv').head(N).to_csv('../shared/new.csv', index=False)"),
        deps=["data/external/shared"], outs=["outputs/new.csv"], parameter=("n: 1", "n: 2"),
        change="open('data/external/shared/full.csv', 'w').write('a,b\\n5,6\\n')",
    ),
    "pathlib": Kind(
        untagged("from pathlib import Path\nimport os\nHERE = Path('text')\nNOTE = 'x'",
                 "(HERE / 'one.txt').read_text()\nopen(os.path.join('images', '0.png'), 'rb').read()\n"
                 "Path('results').mkdir(exist_ok=True)\n(Path('results') / 'note.txt').write_text(NOTE)"),
        deps=["data/external/images/0.png", "data/external/text/one.txt"], outs=["results/note.txt"], parameter=("note: x", "note: y"),
        change="open('data/external/text/one.txt', 'w').write('3')",
    ),
    "parquet": Kind(
        untagged("import pyarrow.parquet as pq", "COLUMN = 'a'\npq.read_table('table.parquet', memory_map=True)[COLUMN].to_pylist()"),
        deps=["data/external/table.parquet"], parameter=("column: a", "column: b"),
        change="import pandas as pd; pd.DataFrame({'a': [5], 'b': [6]}).to_parquet('data/external/table.parquet')",
    ),
    "h5": Kind(
        untagged("import h5py", "COUNT = 2\nwith h5py.File('arrays.h5') as file:\n    print(file['x'][:COUNT])"),
        deps=["data/external/arrays.h5"], parameter=("count: 2", "count: 1"),
        change="import h5py; h5py.File('data/external/arrays.h5', 'w')['x'] = [4, 5, 6]",
    ),
    "images": Kind(
        untagged("from PIL import Image\nfrom glob import glob", "SIDE = 2\nfor name in sorted(glob('images/*.png')):\n"
                 "    print(Image.open(name).resize((SIDE, SIDE)).getpixel((0, 0)))"),
        deps=["data/external/images"], parameter=("side: 2", "side: 3"),
        change="from PIL import Image; Image.new('L', (2, 2), 9).save('data/external/images/1.png')",
    ),
    "sqlite": Kind(
        untagged("import sqlite3", "COUNT = 1\nsqlite3.connect('base.sqlite').execute('select x from t limit ?', (COUNT,)).fetchall()"),
        deps=["data/external/base.sqlite"], parameter=("count: 1", "count: 2"),
        change="import sqlite3; c = sqlite3.connect('data/external/base.sqlite'); c.execute('insert into t values (8)'); c.commit()",
    ),
    "readback": Kind(
        untagged("import pickle, json", "pickle.dump([1], open('list.pkl', 'wb'))", "pickle.load(open('list.pkl', 'rb'))",
                 "SCORE = 1.5\njson.dump({'score': SCORE}, open('score.json', 'w'))\njson.dump({'name': 'x'}, open('names.json', 'w'))"),
        outs=["list.pkl", "names.json"], metrics=["score.json"], parameter=("score: 1.5", "score: 2.5"),
    ),
    "modules": Kind(
        untagged("import sys\nsys.path.append('../shared')\nimport tool\nimport beside", "N = 2\nprint(tool.double(beside.one(N)))"),
        deps=["notebooks/beside.py", "notebooks/tool.py"], parameter=("n: 2", "n: 3"),
        change="open('notebooks/tool.py', 'a').write('MORE = 1\\n')",
    ),
    "no_parameters": Kind(untagged("print(open('table.csv').read())"), deps=[TABLE], change=NEW_TABLE),
    "listed": Kind(
        untagged("import os\nFOLDER = 'text'\nlen(os.listdir(FOLDER))"), deps=["data/external/text"],
        change="open('data/external/text/new.txt', 'w').write('3')",
    ),
    "nothing": Kind(untagged()),
    "large": Kind(large(), parameter=("n: 1", "n: 2")),
}  # fmt: skip
