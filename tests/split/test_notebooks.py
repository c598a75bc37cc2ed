"""What `pipeline split` made of public notebooks: facts that were measured, and that CHANGELOG.md and the README may cite."""

import tomllib
from pathlib import Path

NOTEBOOKS = tomllib.loads((Path(__file__).parent / "notebooks.toml").read_text("utf-8"))["notebook"]


def test_thirty_notebooks_split_the_same_or_are_refused_with_a_reason():
    assert len(NOTEBOOKS) >= 30
    assert {each["result"] for each in NOTEBOOKS} == {"same", "refused"}, "none is split wrong"
    assert all(each["why"] for each in NOTEBOOKS if each["result"] == "refused")
    # Another name of a file or a heading is no other notebook.
    assert len({(each["repository"], each["path"]) for each in NOTEBOOKS}) == len(NOTEBOOKS)


def test_most_of_them_are_split():
    same = [each for each in NOTEBOOKS if each["result"] == "same"]
    assert len(same) >= 25 and all(each["stages"] > 1 and each["cells"] for each in same)
