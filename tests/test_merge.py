"""What an update cannot merge by lines: the files taken apart, and put together again. Updates: `test_update.py`."""

import runpy

import pytest
import yaml
from conftest import TEMPLATE
from hypothesis import given
from hypothesis import strategies as st

module = runpy.run_path(str(TEMPLATE / "extensions" / "merge.py"))
merged, parsers = module["merged"], module["PARSERS"]

BASE = """\
# The head.
stages:
  # about a
  a:
    cmd: python a.py
    deps:
      - a.csv
      - a.py
    metrics:
      - a.yaml:
          cache: false # small

  # about b
  b:
    cmd: |
      python b.py
      # no comment

    deps: [b.csv]

plots:
  - a.png
"""


def merge(ours: list[tuple[str, str]], theirs: list[tuple[str, str]], base: str = BASE, suffix: str = ".yaml") -> str:
    """The merge of a text that two sides have changed, each by replacements."""
    texts = [base]
    for changes in (ours, theirs):
        text = base
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        texts.append(text)
    return str(merged(*map(parsers[suffix], texts)))


def changed(*changes: tuple[str, str], base: str = BASE) -> str:
    for old, new in changes:
        base = base.replace(old, new)
    return base


@pytest.mark.parametrize(
    "name", ["copier.yml", "pyproject.toml", "README.md", "template/.pre-commit-config.yaml", "template/.gitlab-ci.yml"]
)
def test_what_is_taken_apart_is_the_same_together(name):
    text = (TEMPLATE / name).read_text("utf-8")
    entry = parsers[name[name.rindex(".") :]](text)
    assert str(entry) == text and entry.entries


def test_entries_of_a_pipeline():
    entry = parsers[".yaml"](BASE)
    assert [*entry.entries] == ["stages", "plots"]
    stages = entry.entries["stages"].entries
    assert stages["b"].head == "\n  # about b\n  b:\n"
    assert [*stages["a"].entries] == ["cmd", "deps", "metrics"]
    assert [*stages["a"].entries["metrics"].entries] == ["a.yaml"]
    assert str(stages["b"].entries["cmd"]) == "    cmd: |\n      python b.py\n      # no comment\n"


B = BASE[BASE.index("\n  # about b") : BASE.index("\nplots:")]


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        # Lines that touch, of different keys.
        ([("a.py\n    deps", "a.py -v\n    deps")], [("      - a.csv\n", "      - new.csv\n      - a.csv\n")], None),
        # One place, two new items; and two new stages.
        ([("- a.csv\n", "- a.csv\n      - mine.csv\n")], [("- a.csv\n", "- a.csv\n      - new.csv\n")],
         [("- a.csv\n", "- a.csv\n      - new.csv\n      - mine.csv\n")]),
        ([("\nplots:", "\n  mine:\n    cmd: x\n\nplots:")], [("\nplots:", "\n  new: # new\n    cmd: y\n\nplots:")],
         [("\nplots:", "\n  new: # new\n    cmd: y\n\n  mine:\n    cmd: x\n\nplots:")]),
        # Removed here, changed there; and the other way round it stays, for a person to look at.
        ([(B, "")], [("[b.csv]", "[c.csv]"), ("- a.png", "- c.png")], [(B, ""), ("- a.png", "- c.png")]),
        # The same on both sides.
        ([("- a.png", "- c.png"), ("a.py\n    deps", "b.py\n    deps")], [("- a.png", "- c.png")], [("- a.png", "- c.png"), ("a.py\n    deps", "b.py\n    deps")]),
        # A comment of mine, a value of theirs.
        ([("  # about a\n", "  # about my a\n")], [("cmd: python a.py", "cmd: python c.py")], None),
    ],
)  # fmt: skip
def test_two_sides(ours, theirs, expected):
    text = merge(ours, theirs)
    assert text == changed(*(expected or [*ours, *theirs]))
    assert text == str(parsers[".yaml"](text))


def test_what_both_changed_is_a_conflict_of_these_lines():
    text = merge([("python a.py", "python mine.py")], [("python a.py", "python new.py")])
    both = "<<<<<<< before updating\n    cmd: python mine.py\n=======\n    cmd: python new.py\n>>>>>>> after updating\n"
    assert text == BASE.replace("    cmd: python a.py\n", both)
    # What the template has no longer, and the project changed.
    text = merge([("[b.csv]", "[mine.csv]")], [(B, "")])
    assert text.count("<<<<<<< before updating\n") == 1 and "mine.csv" in text


def test_requirements_and_tables():
    base = '[project]\nname = "x"\ndependencies = [\n    "pandas>=2",\n]\n\n[tool.x]\na = 1\n'
    text = merge(
        [('"pandas>=2",\n', '"pandas>=2",\n    "attrs",\n'), ("a = 1\n", "a = 1\n\n[tool.mine]\nb = 1\n")],
        [('"pandas>=2",\n', '"pandas>=3",\n    "numpy",\n'), ("a = 1\n", "a = 2\n\n[tool.new]\nb = 1\n")],
        base, ".toml",
    )  # fmt: skip
    assert text == (
        '[project]\nname = "x"\ndependencies = [\n    "pandas>=3",\n    "numpy",\n    "attrs",\n]\n\n'
        "[tool.x]\na = 2\n\n[tool.new]\nb = 1\n\n[tool.mine]\nb = 1\n"
    )


def test_sections():
    base = "# Penguins\n\nAbout.\n\n## Run\n\n```bash\n## no heading\n```\n\n## Last\n\nWords.\n"
    text = merge(
        [("# Penguins\n", "# Mine\n"), ("Words.\n", "Words.\nMine.\n")],
        [("About.\n\n## Run", "About it.\n\n## Run it"), ("Words.\n", "Words.\n\n## New\n")],
        base, ".md",
    )  # fmt: skip
    run = "\n## Run it\n\n```bash\n## no heading\n```\n"
    assert text == f"# Mine\n\nAbout it.\n{run}\n## Last\n\nWords.\nMine.\n\n## New\n"


@pytest.mark.parametrize("text", ["a: [", "a: 1\n---\nb: 1\n", "a: \x85\n"])
def test_no_yaml(text):
    with pytest.raises(module["Unreadable"]):
        parsers[".yaml"](text)


values = st.recursive(
    st.sampled_from([1, "x", None, "a b"]),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3) | st.lists(st.sampled_from("wxyz"), unique=True, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(*[st.dictionaries(st.sampled_from("abcd"), values, min_size=1)] * 3)
def test_what_one_side_changed_is_that_side(base, ours, theirs):
    base, ours, theirs = (
        yaml.safe_dump(each, default_flow_style=False, sort_keys=False) for each in (base, ours, theirs)
    )
    parse = parsers[".yaml"]
    assert str(parse(base)) == base
    for sides, expected in (((base, base, theirs), theirs), ((base, ours, base), ours), ((base, ours, ours), ours)):
        assert str(merged(*map(parse, sides))) == expected


@given(*[st.dictionaries(st.sampled_from("abcd"), st.sampled_from([1, 2, 3]))] * 3)
def test_keys_are_merged_each_by_itself(base, ours, theirs):
    def text(values: dict) -> str:
        return yaml.safe_dump({"top": 0} | values, default_flow_style=False, sort_keys=False)

    result = str(merged(*(parsers[".yaml"](text(each)) for each in (base, ours, theirs))))
    conflict = any(
        ours.get(key) != base.get(key) != theirs.get(key) != ours.get(key) and key in ours
        for key in base | ours | theirs
    )
    assert ("<<<<<<< " in result) == conflict
    if not conflict:
        expected = {"top": 0}
        for key in base | ours | theirs:
            value = theirs.get(key) if ours.get(key) == base.get(key) else ours.get(key)
            expected |= {} if value is None else {key: value}
        assert yaml.safe_load(result) == expected
