"""What `pipeline add` made of public notebooks, with the network cut: facts that were measured, and that CHANGELOG.md may cite."""

import tomllib
from pathlib import Path

NOTEBOOKS = tomllib.loads((Path(__file__).parent / "notebooks.toml").read_text("utf-8"))["notebook"]
RUNNING = [each for each in NOTEBOOKS if each["result"] != "own folder fails"]


def test_forty_notebooks_that_run_in_their_own_folder():
    assert len(RUNNING) >= 40
    assert len({(each["repository"], each["path"]) for each in NOTEBOOKS}) == len(NOTEBOOKS)
    assert {each["result"] for each in NOTEBOOKS} <= {"right", "wrong", "own folder fails"}
    assert all(each["why"] for each in NOTEBOOKS if each["result"] != "right")


def test_almost_all_of_them_became_right_stages():
    right = [each for each in RUNNING if each["result"] == "right"]
    assert len(right) >= 0.95 * len(RUNNING)
    assert sum(each["cells"] for each in right) > 300 and sum(each["files"] for each in right) > 50
