"""The lines about packages with which a code file begins."""

import re
import tomllib
from pathlib import Path

import pytest
from conftest import TEMPLATE, notebook
from ruamel.yaml import YAML
from samples import UV_LOCK

from notebook_pipeline.add.stage_entry import Entry, write_code_stage
from notebook_pipeline.code import command as code
from notebook_pipeline.notebook import packages
from notebook_pipeline.notebook.document import parse

# What these packages have installed. Those of the test's own environment are not asked.
INSTALLED = {
    "google-cloud-core": (["google/cloud/_helpers/__init__.py", "google/cloud/client.py"], []),
    "google-cloud-storage": (["google/cloud/storage/__init__.py"], []),
    "numpy": (["numpy/__init__.py", "numpy.libs/libopenblas.so"], []),
    "pandas": (
        ["pandas/__init__.py"],
        [
            "numpy>=1.26",
            "matplotlib>=3.6; extra == 'plot'",
            "numexpr>=2.8; extra == 'performance'",
            "pyarrow>=10; extra == 'parquet'",
            "PyYAML; python_version > '3' and extra == 'test'",
        ],
    ),
    "pyyaml": (["yaml/__init__.py", "_yaml/__init__.py"], []),
    "from-git": (["odd_name.cpython-311-x86_64-linux-gnu.so"], []),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A project's folder with a lock file, and an environment with some packages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(packages, "_read_of", read_of)
    packages._record.cache_clear()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "uv.lock").write_text(UV_LOCK)
    yield tmp_path
    packages._record.cache_clear()


def read_of(package: str, name: str) -> str:
    paths, requirements = INSTALLED.get(package, ([], []))
    if name == "RECORD":
        return "".join(f"{path},sha256=0,0\n" for path in paths)
    return "Name: x\n" + "".join(f"Requires-Dist: {each}\n" for each in requirements) + "\nRequires-Dist: nothing\n"


def used(*cells, path: str = "notebooks/x.ipynb") -> list[str]:
    lines, body = packages.split(code.text(parse(notebook("N = 1", *cells), path)))
    assert body.startswith("# %%\n# parameters: N\n") and re.fullmatch(r"(# uses: .*\n)+\n", lines)
    return [line.removeprefix("# uses: ") for line in lines.splitlines() if line]


NUMPY, PANDAS = "numpy 2.2.6, 2.3.1", "pandas 2.3.0"
PANDAS_ALL = ["numexpr 2.11.0", NUMPY, PANDAS, "pyarrow 20.0.0"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import json, os.path", ["no package"]),
        ("from IPython.display import display\n%load_ext autoreload", ["no package"]),  # the kernel's own
        ("import numpy as np", [NUMPY]),
        ("import yaml", ["pyyaml 6.0.2"]),  # called otherwise than what installs it
        ("def later():\n    from yaml.loader import SafeLoader", ["pyyaml 6.0.2"]),
        ("import odd_name", ["from-git 1.0 (1a2b3c4d5e6f)"]),  # told by its files alone
        ("import from_url", ["from-url 2.0 (0123456789ab)"]),  # not installed here: told by its name
        ("import sklearn", ["scikit-learn 1.7.0"]),
        ("import importlib\nimportlib.import_module('yaml')", ["pyyaml 6.0.2"]),
        ("__import__('yaml')", ["pyyaml 6.0.2"]),
        ("%load_ext yaml", ["pyyaml 6.0.2"]),
        ("%matplotlib inline", ["matplotlib 3.10.0", NUMPY]),
        ("from google.cloud import storage", ["google-cloud-core 2.5.0", "google-cloud-storage 3.0.0"]),
        ("import google.cloud.client", ["google-cloud-core 2.5.0"]),
        # Whatever the system, with the extras that are locked, and what these need.
        ("import dask", ["colorama 0.4.6", "dask 2026.1.0", *PANDAS_ALL]),
        # What pandas uses by itself, if the project asks for it: not to draw, and not to be developed.
        ("import pandas as pd\npd.read_csv(N)", PANDAS_ALL),
        ("import pandas as pd\npd.read_csv(N).plot()", ["matplotlib 3.10.0", *PANDAS_ALL]),
        ("import pandas as pd\npd.read_excel(N)", [*PANDAS_ALL[:3], "openpyxl 3.1.5", *PANDAS_ALL[2:]]),
        ("import yaml\nread(N, engine='openpyxl')", ["openpyxl 3.1.5", "pyyaml 6.0.2"]),
        ("import yaml\nprint('ruff', 'pytest')", ["pyyaml 6.0.2"]),
    ],
)  # fmt: skip
def test_what_a_notebook_uses(here, source, expected):
    assert sorted(used(source)) == sorted({*expected})


def test_local_modules_count(here):
    for name, text in {
        "notebooks/beside.py": "import in_root",
        "in_root.py": "import package.inner",
        "package/__init__.py": "",
        "package/inner.py": "def later():\n    from . import other",
        "package/other.py": "import yaml",
        "unused.py": "import pandas",
    }.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(text)
    assert used("import beside") == ["pyyaml 6.0.2"]
    # Of a project that is itself a package, `src` is where its Python looks.
    (here / "src/own").mkdir(parents=True)
    (here / "src/own/__init__.py").write_text("import numpy")


def test_an_own_package_counts_by_what_it_imports(here, monkeypatch):
    (here / "src/own").mkdir(parents=True)
    (here / "src/own/__init__.py").write_text("import yaml")
    monkeypatch.syspath_prepend(here / "src")
    assert used("import own") == ["pyyaml 6.0.2"]


def test_an_upgrade_changes_the_files_of_those_who_use_it(here):
    def texts() -> list[str]:
        sources = ("import pandas", "import yaml", "import json")
        return [code.text(parse(notebook("N = 1", each), "notebooks/x.ipynb")) for each in sources]

    def upgrade(name: str) -> list[bool]:
        before, lock = texts(), Path("uv.lock").read_text()
        changed, count = re.subn(rf'(name = "{name}"\nversion = ")', r"\g<1>9", lock, count=1)
        assert count
        Path("uv.lock").write_text(changed)
        return [old != new for old, new in zip(before, texts(), strict=True)]

    assert upgrade("ruff") == upgrade("dask") == [False, False, False]
    assert upgrade("pandas") == upgrade("numpy") == upgrade("pyarrow") == [True, False, False]
    assert upgrade("pyyaml") == [False, True, False]


def test_the_text_is_the_same_with_other_line_ends(here):
    before = used("import dask")
    Path("uv.lock").write_bytes(UV_LOCK.replace("\n", "\r\n").encode())
    assert used("import dask") == before


def test_without_a_lock_file_there_are_no_lines(here, capsys):
    Path("uv.lock").unlink()
    Path("notebooks/x.ipynb").write_text(notebook("N = 1", "import pandas"))
    assert code.main(["notebooks/x.ipynb", "outputs/code/x.py"]) == 0
    assert Path("outputs/code/x.py").read_text() == "# %%\n# parameters: N\n\n# %%\nimport pandas\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"<<<<<<< ours\n{UV_LOCK}", "uv.lock:1: contains a merge conflict. Fix: git checkout HEAD uv.lock, uv lock\n"),
        ('\n[[package]]\nversion = "1"\n', "uv.lock: not a valid lock file. Fix: uv lock\n"),
        ("not TOML", "uv.lock: not a valid lock file. Fix: uv lock\n"),
        (b"\xff", "uv.lock: not a valid lock file. Fix: uv lock\n"),
    ],
)
def test_a_lock_file_that_cannot_be_read_is_one_line(here, capsys, text, said):
    Path("uv.lock").write_bytes(text if isinstance(text, bytes) else text.encode())
    Path("notebooks/x.ipynb").write_text(notebook("N = 1", "import pandas"))
    assert code.main(["notebooks/x.ipynb", "outputs/code/x.py"]) == 1
    assert capsys.readouterr().err == said and not Path("outputs/code/x.py").exists()


def as_toml(text: str) -> packages.Lock:
    """What `tomllib` reads of a lock file."""
    lock = packages.Lock()
    for package in tomllib.loads(text)["package"]:
        name, source = package["name"], package["source"]
        lists = [package.get("dependencies", []), *package.get("optional-dependencies", {}).values()]
        needs = {each["name"] for entries in lists for each in entries}
        lock.needs.setdefault(name, set()).update(needs)
        told = source["git"].rpartition("#")[2] if "git" in source else ""
        if source.keys() & {"url", "path"}:
            hashes = [
                each["hash"] for each in (package.get("sdist"), *package.get("wheels", [])) if "hash" in (each or ())
            ]
            told = hashes[0].partition(":")[2] if hashes else ""
        lock.versions.setdefault(name, set()).add(package.get("version", "") + (f" ({told[:12]})" if told else ""))
        if "." in (source.get("virtual"), source.get("editable")):
            lock.direct |= needs
    return lock


def test_a_lock_file_is_read_as_toml(made):
    """Those of this repository and of a made project, one with all that there is, and one of more than a megabyte."""
    for text in (UV_LOCK, (TEMPLATE / "uv.lock").read_text("utf-8"), made.read("uv.lock")):
        assert packages.parse(text) == as_toml(text)
    many = UV_LOCK + "".join(
        block.replace('name = "', f'name = "{letter}-', 1)
        for letter in "abc"
        for block in re.split(r"^(?=\[\[package\]\])", made.read("uv.lock"), flags=re.MULTILINE)[1:]
    )
    assert len(many) > 1_000_000 and packages.parse(many) == as_toml(many)
    assert len(packages.parse(many).versions) > 400


@pytest.mark.parametrize("stages", ["stages: {}\n", "stages:\n  other:\n    cmd: x\n"])
def test_add_has_the_code_depend_on_the_lock_file(here, stages):
    """Where the stage `code` is not of the template's form."""
    for is_there in (True, False):
        Path("dvc.yaml").write_text(stages)
        write_code_stage(Entry("x", "notebooks/x.ipynb"))
        deps = YAML(typ="safe").load(Path("dvc.yaml"))["stages"]["code_x"]["deps"]
        assert deps == ["notebooks/x.ipynb", *(["uv.lock"] if is_there else [])]
        Path("uv.lock").unlink(missing_ok=True)
