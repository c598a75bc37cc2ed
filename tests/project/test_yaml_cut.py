"""Cuts in a YAML text: every other byte stays."""

import pytest

from notebook_pipeline.project.yaml_cut import renamed, without_item, without_key
from notebook_pipeline.project.yaml_edit import EditError

TEXT = """\
# the file's own

# about a
a: 1 # one
b:
  c: [1, x, "y"] # flow
  d: |
    text

# about e
# and more
e:
- 1
# about two
- 2

f: {g: 1, h: 2}
"""


@pytest.mark.parametrize(
    ("keys", "old", "new"),
    [
        (("a",), "# about a\na: 1 # one\n", ""),
        (("b", "c"), '  c: [1, x, "y"] # flow\n', ""),
        (("b", "d"), "  d: |\n    text\n", ""),
        (("e",), "# about e\n# and more\ne:\n- 1\n# about two\n- 2\n\n", ""),
        (("f",), "\nf: {g: 1, h: 2}\n", ""),
        (("f", "g"), "g: 1, ", ""),
        (("f", "h"), ", h: 2", ""),
    ],
)
def test_a_key_goes_with_its_comments(keys, old, new):
    assert TEXT.count(old) == 1
    assert without_key(TEXT, keys) == TEXT.replace(old, new)


@pytest.mark.parametrize(
    ("keys", "index", "old", "new"),
    [
        (("b", "c"), 0, "[1, ", "["),
        (("b", "c"), 2, ', "y"', ""),
        (("e",), 0, "- 1\n", ""),
        (("e",), 1, "# about two\n- 2\n", ""),
    ],
)
def test_an_item_goes(keys, index, old, new):
    assert TEXT.count(old) == 1
    assert without_item(TEXT, keys, index) == TEXT.replace(old, new)


def test_the_last_one_leaves_an_empty_list_or_mapping():
    assert without_item("a: [1]\n", ("a",), 0) == "a: []\n"
    assert without_item("a:\n  - 1\nb: 2\n", ("a",), 0) == "a: []\nb: 2\n"
    assert without_key("a:\n  b: 1\nc: 2\n", ("a", "b")) == "a: {}\nc: 2\n"
    assert without_key("# top\n\na: 1\n", ("a",)) == "# top\n"


def test_what_cannot_be_cut_out_is_refused():
    for text, keys in (("a: &x {b: 1}\nc: *x\n", ("a",)), ("a: 1\n", ("b",)), ("- 1\n", ("a",))):
        with pytest.raises(EditError):
            without_key(text, keys)
    with pytest.raises(EditError):
        without_item("a: {b: 1}\n", ("a",), 0)


def test_names_change_where_they_stand():
    def rename(keys: tuple, text: str, is_key: bool) -> str:
        return text.replace("x", "new") if keys == ("b", "c") and not is_key else text

    assert renamed(TEXT, rename) == TEXT.replace("x,", "new,")
