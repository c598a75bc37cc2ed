"""What dvc.lock has of a notebook's code, under DVC itself."""

import json
import re

import pytest
from conftest import Workspace, notebook
from samples import UV_LOCK, ran

from notebook_pipeline import files
from notebook_pipeline.check import record

# Each result is quickly made of its code file.
PIPELINE = """\
stages:
  code:
    matrix:
      notebook: [a, b, c]
    cmd: pipeline code notebooks/${item.notebook}.ipynb outputs/code/${item.notebook}.py
    deps:
      - notebooks/${item.notebook}.ipynb
    outs:
      - outputs/code/${item.notebook}.py
""" + "".join(
    f"  {name}:\n    cmd: python -c \"open('{name}.txt', 'w')\"\n    deps: [outputs/code/{name}.py]\n    outs: [{name}.txt]\n"
    for name in "abc"
)
NOTEBOOKS = {"a": "import pandas\nprint(f'{N}')", "b": "import yaml", "c": "import json"}
RENEWED = "dvc.lock: renewed the record of notebooks/{}.ipynb, whose code and packages are those of its last run\n"


@pytest.fixture
def old(bare) -> Workspace:
    """A project that has run without the lines about packages, as by 0.2.0, and has a lock file and other markdown since."""
    for name, source in NOTEBOOKS.items():
        bare.write(f"notebooks/{name}.ipynb", notebook("N = 1", source))
    bare.write("dvc.yaml", PIPELINE)
    bare.write("params.yaml", "n: 1\n")
    bare.run("git", "init", "--quiet")
    bare.run("dvc", "init", "--quiet")
    bare.run("dvc", "repro")
    bare.write("notebooks/b.ipynb", notebook("N = 1", "import yaml", {"cell_type": "markdown", "source": "b"}))
    bare.write("uv.lock", UV_LOCK)
    return bare


def stale(project: Workspace) -> list[str]:
    return [*json.loads(project.run("dvc", "status", "--json").stdout)]


def upgrade(project: Workspace, name: str) -> None:
    """To a version of the same length: the file's size does not tell."""
    text = project.read("uv.lock")
    new = re.sub(rf'(\nname = "{name}"\nversion = "\d+\.)(\d)', lambda match: match[1] + str(int(match[2]) + 1), text)
    assert new != text and len(new) == len(text)
    project.write("uv.lock", new)


def test_a_record_without_packages_is_renewed_and_an_upgrade_is_not(old):
    # The text that was recorded is in the cache alone; c's code did change.
    (old.path / "outputs/code/a.py").unlink()
    old.write("notebooks/c.ipynb", notebook("N = 1", "import json, os"))
    before = old.read("dvc.lock")
    said = old.pipeline("check", "--fix", check=False).stdout
    added = "dvc.yaml: added uv.lock to the `deps:` of stage `code@a`\n"
    assert re.sub("^(?!dvc).*\n", "", said, flags=re.MULTILINE) == added + RENEWED.format("a") + RENEWED.format("b")
    assert stale(old) == ["code@c"]
    assert before.partition("code@c:")[2].partition("  a:")[0] in old.read("dvc.lock")
    assert "\n# uses: pandas 2.3.0\n" in old.read("outputs/code/a.py").partition("# %%")[0]
    assert json.loads(old.run("dvc", "data", "status", "--json").stdout).keys() <= {
        "committed",
        "git",
    }  # all is in the cache
    assert ran(old.run("dvc", "repro").stdout) == ["code@c", "c"]

    upgrade(old, "ruff")
    assert stale(old) == ["code@a", "code@b", "code@c"]
    assert old.pipeline("check", "--fix", check=False).stdout == "".join(map(RENEWED.format, "abc"))
    assert stale(old) == []
    upgrade(old, "pandas")
    assert old.pipeline("check", "--fix", check=False).stdout == RENEWED.format("b") + RENEWED.format("c")
    assert stale(old) == ["code@a"]
    assert ran(old.run("dvc", "repro", "code").stdout) == ["code@a"]
    assert stale(old) == ["a"]
    assert old.pipeline("check", "--fix").stdout == ""
    assert stale(old) == ["a"]
    old.run("dvc", "commit", "--force", "a")
    assert ran(old.run("dvc", "repro").stdout) == []


def test_a_renewal_that_was_stopped_goes_on(old):
    stopped = (
        "import sys\nfrom unittest import mock\nfrom dvc.exceptions import DvcException\nfrom notebook_pipeline.check import command as check\n"
        "with mock.patch('dvc.repo.Repo.commit', side_effect=DvcException('busy')):\n    check.main(['--fix'])\n"
    )
    said = old.run("python", "-c", stopped).stdout
    for name in "abc":
        assert f"dvc.lock: DVC cannot record stage `code@{name}`: busy. Fix: pipeline check --fix, later\n" in said
    assert old.pipeline("check", "--fix", check=False).stdout.count("renewed") == 3
    assert ran(old.run("dvc", "repro").stdout) == []


OLD = "# %%\n# parameters: N, M\n\n# %%\nfor x in y:\n    print('a', x)\n\n# %%\n%%bash\nls\n"
NEW = "# uses: pandas 2.3.0\n\n" + OLD


@pytest.mark.parametrize(
    ("recorded", "is_same"),
    [
        (NEW, True),
        (OLD, True),
        # As a version of the template, or of Python, might write it.
        (OLD.replace("    print('a', x)", '  print("a",x)'), True),
        (NEW.replace("    print('a', x)", '  print("a",x)'), True),
        # Other code, names or versions.
        (OLD.replace("'a'", "'b'"), False),
        (OLD.replace("N, M", "N"), False),
        (OLD.replace("ls", "ls -l"), False),
        (OLD + "\n# %%\n1\n", False),
        (NEW.replace("2.3.0", "2.3.1"), False),
        (NEW.replace("# uses: pandas 2.3.0", "# uses: no package"), False),
    ],
)
def test_what_is_the_same_in_another_way(tmp_path, recorded, is_same):
    path = tmp_path / "x.py"
    path.write_bytes(recorded.encode())
    md5 = files.md5(recorded)
    assert record._is_same(md5, NEW, str(path), everywhere=False) is is_same
    path.write_bytes(b"another text")
    assert record._is_same(md5, NEW, str(path), everywhere=False) is (recorded == NEW)
