"""What tests of several folders share: a small project of one notebook, and how to wait for it."""

import re
import time

from conftest import notebook

STAGE = """\
stages:
  fit:
    cmd: pipeline run notebooks/fit.ipynb outputs/fit.ipynb
    params: [train]
    outs: [outputs/fit.ipynb]
"""

RUN = ("run", "notebooks/fit.ipynb", "outputs/fit.ipynb")


GOOD, PARAMS = notebook("LR: float = 0.1\nSTEPS = 3", "print(LR, STEPS)"), "train:\n  lr: 0.5\n  steps: 7\n"


def ready(bare, *cells):
    """A project whose notebook has these cells below its parameters."""
    bare.write("params.yaml", PARAMS)
    bare.write("dvc.yaml", STAGE)
    bare.write("notebooks/fit.ipynb", notebook("LR: float = 0.1\nSTEPS = 3", *cells))
    return bare


def wait(condition, seen=lambda: "", seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {seen()}"
        time.sleep(0.1)


def ran(output: str) -> list[str]:
    """The stages that a `dvc repro` ran."""
    return re.findall(r"Running stage '(.*)'", output)


# A lock file as uv writes it, of a project with all that makes a difference: extras, groups, systems with other versions,
# and packages from other places than a registry.
UV_LOCK = """\
version = 1
revision = 3
requires-python = ">=3.11"
resolution-markers = [
    "python_full_version >= '3.12'",
    "python_full_version < '3.12'",
]

[manifest]
members = [
    "libs",
    "penguins",
]

[[package]]
name = "colorama"
version = "0.4.6"
source = { registry = "https://example.com/simple" }
sdist = { url = "https://example.com/colorama-0.4.6.tar.gz", hash = "sha256:08", size = 27697 }
wheels = [
    { url = "https://example.com/colorama-0.4.6-py3-none-any.whl", hash = "sha256:4f", size = 25335 },
]

[[package]]
name = "dask"
version = "2026.1.0"
source = { registry = "https://example.com/simple" }
dependencies = [
    { name = "colorama", marker = "sys_platform == 'win32'" },
]
wheels = [
    { url = "https://example.com/dask-2026.1.0-py3-none-any.whl", hash = "sha256:4f" },
]

[package.optional-dependencies]
dataframe = [
    { name = "pandas" },
    { name = "pyarrow", extra = ["test"] },
]

[[package]]
name = "from-git"
version = "1.0"
source = { git = "https://example.com/from-git?rev=main#1a2b3c4d5e6f7a8b9c0d" }

[[package]]
name = "from-url"
version = "2.0"
source = { url = "https://example.com/from_url-2.0-py3-none-any.whl" }
wheels = [
    { url = "https://example.com/from_url-2.0-py3-none-any.whl", hash = "sha256:0123456789abcdef" },
]

[[package]]
name = "google-cloud-core"
version = "2.5.0"
source = { registry = "https://example.com/simple" }

[[package]]
name = "google-cloud-storage"
version = "3.0.0"
source = { registry = "https://example.com/simple" }
dependencies = [
    { name = "google-cloud-core" },
]

[[package]]
name = "libs"
source = { editable = "libs" }
dependencies = [
    { name = "dask", extra = ["dataframe"] },
]

[package.metadata]
requires-dist = [{ name = "dask", extras = ["dataframe"] }]

[[package]]
name = "numpy"
version = "2.2.6"
source = { registry = "https://example.com/simple" }
resolution-markers = [
    "python_full_version < '3.12'",
]

[[package]]
name = "numpy"
version = "2.3.1"
source = { registry = "https://example.com/simple" }
resolution-markers = [
    "python_full_version >= '3.12'",
]

[[package]]
name = "matplotlib"
version = "3.10.0"
source = { registry = "https://example.com/simple" }
dependencies = [
    { name = "numpy", version = "2.2.6", source = { registry = "https://example.com/simple" }, marker = "python_full_version < '3.12'" },
    { name = "numpy", version = "2.3.1", source = { registry = "https://example.com/simple" }, marker = "python_full_version >= '3.12'" },
]

[[package]]
name = "pandas"
version = "2.3.0"
source = { registry = "https://example.com/simple" }
dependencies = [
    { name = "numpy", version = "2.2.6", source = { registry = "https://example.com/simple" }, marker = "python_full_version < '3.12'" },
    { name = "numpy", version = "2.3.1", source = { registry = "https://example.com/simple" }, marker = "python_full_version >= '3.12'" },
]

[[package]]
name = "penguins"
version = "0.1.0"
source = { virtual = "." }
dependencies = [
    { name = "from-git" },
    { name = "from-url" },
    { name = "google-cloud-storage" },
    { name = "matplotlib" },
    { name = "numexpr" },
    { name = "openpyxl" },
    { name = "pandas" },
    { name = "pyarrow" },
    { name = "pyyaml" },
]

[package.optional-dependencies]
more = [
    { name = "dask", extra = ["dataframe"] },
]

[package.dev-dependencies]
dev = [
    { name = "pytest" },
    { name = "ruff" },
]

[package.metadata]
requires-dist = [
    { name = "pandas", specifier = ">=2.3" },
]

[package.metadata.requires-dev]
dev = [
    { name = "ruff", specifier = ">=0.15" },
]
""" + "".join(
    f'\n[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{ registry = "https://example.com/simple" }}\n'
    for name, version in {
        "numexpr": "2.11.0", "openpyxl": "3.1.5", "pyarrow": "20.0.0", "pytest": "9.0", "pyyaml": "6.0.2",
        "ruff": "0.15.0", "scikit-learn": "1.7.0",
    }.items()
)  # fmt: skip
