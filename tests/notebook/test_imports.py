"""What is to be installed for a notebook, from its imports."""

import sys
from pathlib import Path

import pytest
from conftest import notebook

from notebook_pipeline.add.stage_entry import slug
from notebook_pipeline.notebook.document import parse
from notebook_pipeline.notebook.imports import distributions, local, local_files, needed, reach, root
from notebook_pipeline.setup import command as setup


def found(*cells, folder: Path = Path("nowhere")) -> list[str]:
    return distributions(parse(notebook(*cells), "x.ipynb"), folder)


def test_what_a_notebook_cannot_do_without():
    cells = (
        {"cell_type": "markdown", "source": "import nothing"},
        "import os, pandas as pd\nfrom sklearn.svm import SVC",
        "%matplotlib inline\ndef later():\n    import joblib.parallel\n    from . import sibling",
        "try:\n    import lightgbm, pandas\nexcept ImportError:\n    import xgboost",
        "import sys\nif 'google.colab' in sys.modules:\n    from google.colab import drive",
    )
    names = needed(parse(notebook(*cells), "x.ipynb"), Path("nowhere"))
    assert names == {"os", "sys", "pandas", "sklearn.svm.SVC"}
    assert [root(name) for name in ("sklearn.svm.SVC", "google.colab.drive", "google.cloud")] == [
        "sklearn", "google.colab", "google",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "packages"),
    [
        ("import os, sys, json, sqlite3, __future__", []),
        ("import sklearn.svm, cv2, yaml", ["opencv-python-headless", "pyyaml", "scikit-learn"]),
        ("from PIL import Image\nfrom bs4 import BeautifulSoup", ["beautifulsoup4", "pillow"]),
        ("import sentence_transformers", ["sentence-transformers"]),
        (
            "from google.cloud import storage, bigquery_storage",
            ["google-cloud-bigquery-storage", "google-cloud-storage"],
        ),
        ("import google.cloud.storage as s\nfrom google.protobuf import message", ["google-cloud-storage", "protobuf"]),
        ("from google.colab import drive\nimport kaggle_secrets", []),
        ("from IPython.display import display\nimport ipykernel, ipywidgets", ["ipywidgets"]),
        ("from mpl_toolkits.mplot3d import Axes3D", ["matplotlib"]),
        ("import ruamel.yaml\nfrom azure.identity import X", ["azure-identity", "ruamel-yaml"]),
        ("import distutils, imp, cPickle", ["setuptools"]),
        ("import größe, _private", []),
        ("!pip install nothing\nimport numpy", ["numpy"]),
        ("import numpy\nprint 'two'\nfrom scipy import stats", ["numpy", "scipy"]),
        ("%%writefile helper.py\nimport numpy", []),
        ("%%time\nimport numpy", ["numpy"]),
        ("import dask.dataframe as dd\nfrom dask.distributed import Client", ["dask[dataframe]", "distributed"]),
        ("import whisper, pywt", ["openai-whisper", "pywavelets"]),
    ],
)
def test_packages_of_imports(source, packages):
    assert found({"source": source}) == packages


@pytest.mark.parametrize("made", ["%%writefile helpers.py\nx = 1", "!rm x\n!wget -q https://example.com/helpers.py"])
def test_a_module_that_the_notebook_makes_is_no_package(made):
    assert found({"source": made}, "import numpy, helpers\nfrom helpers import x") == ["numpy"]


@pytest.mark.parametrize(
    ("source", "packages"),
    [
        ("pd.read_parquet('x')", ["pandas", "pyarrow"]),
        ("df.to_excel('x')", ["openpyxl", "pandas"]),
        ("pd.read_html(url)", ["lxml", "pandas"]),
        ("df.head().style.highlight_max()", ["jinja2", "pandas"]),
        ("plt.style.use('ggplot')", ["pandas"]),
        ("df.describe()", ["pandas"]),
    ],
)
def test_packages_that_pandas_needs(source, packages):
    assert found("import pandas as pd", source) == packages
    assert "pandas" not in found(source) and len(found(source)) == 0


def test_local_modules_are_no_packages_but_theirs_are(tmp_path):
    for name, text in {
        "beside/helpers.py": "import yaml\nfrom tools import x",
        "beside/tools/__init__.py": "",
        "beside/tools/x.py": "from . import y\nimport requests",
        "beside/space/deep/z.py": "",
        "beside/datasets/a.csv": "",
        "src/utils.py": "import seaborn",
        "beside/broken.py": "import :",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    folder = tmp_path / "beside"
    assert local(folder, "helpers") == folder / "helpers.py"
    assert local(folder, "tools") == folder / "tools"
    assert local(folder, "space") == folder / "space"
    assert local(folder, "datasets") is None
    source = "import sys\nsys.path.insert(0, '../src')\nimport helpers, datasets, utils, broken\nimport space.deep.z"
    assert found(source, folder=folder) == ["datasets", "pyyaml", "requests", "seaborn"]
    files = local_files(parse(notebook("import helpers"), "x.ipynb"), folder)
    assert files == {
        folder / "helpers.py": "helpers.py", folder / "tools/__init__.py": "tools/__init__.py", folder / "tools/x.py": "tools/x.py",
    }  # fmt: skip


@pytest.mark.parametrize(
    "added",
    ["'../src'", "os.path.abspath('../src')", "os.path.join(os.getcwd(), '..', 'src')", "str(Path.cwd().parent / 'src')",
     "str(Path('../src').resolve())"],
)  # fmt: skip
def test_a_module_is_found_where_the_notebook_looks(tmp_path, added):
    for name in ("beside/x", "src/utils.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("import seaborn")
    looking = parse(notebook(f"sys.path.insert(0, {added})\nimport utils, nowhere"), "x.ipynb")
    assert local_files(looking, tmp_path / "beside") == {tmp_path / "src/utils.py": "utils.py"}
    assert needed(looking, tmp_path / "beside") == {"nowhere", "seaborn"}
    # Where it cannot be told, nothing is said to be missing.
    assert needed(parse(notebook("sys.path.append(x)\nimport nowhere"), "x.ipynb"), tmp_path) == set()


@pytest.mark.parametrize("change", ["import os\nos.chdir('..')", "%cd ..", "os.chdir(Path.cwd().parent)"])
def test_a_module_is_found_in_the_folder_that_the_notebook_changes_to(tmp_path, change):
    (tmp_path / "beside").mkdir()
    (tmp_path / "run_experiment.py").write_text("import seaborn")
    changed = parse(notebook(change, "import run_experiment, nowhere"), "x.ipynb")
    assert local_files(changed, tmp_path / "beside") == {tmp_path / "run_experiment.py": "run_experiment.py"}
    assert distributions(changed, tmp_path / "beside") == ["nowhere", "seaborn"]
    # From the project's root, where a stage runs, no notebook changes to the folder around it.
    assert "run_experiment.x" in needed(
        parse(notebook(change, "from run_experiment import x"), "x.ipynb"), tmp_path / "a/b", tmp_path / "a"
    )


def test_it_imports_the_standard_library_only(template):
    text = (template / "template/.pipeline/notebook_pipeline/notebook/imports.py").read_text("utf-8")
    imported = {
        name.partition(".")[0] for name in reach(parse(notebook({"source": text}), "x.ipynb"), Path("nowhere")).names
    }
    assert "ast" in imported and imported <= sys.stdlib_module_names


def test_setup_names_a_stage_as_add_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for stem in ("churn", "my churn (2)", "Größe_1", "..."):
        Path("dvc.lock").write_text(f"cmd: pipeline run notebooks/{slug(stem)}.ipynb outputs/x.ipynb\n")
        assert setup._add_notebook(f"/work/{stem}.ipynb").endswith(" has a stage already")
