"""What an update cannot merge by lines: the files taken apart, and put together again. Updates: `test_update.py`."""

import os
import runpy
import subprocess
import sys

import pytest
import yaml
from conftest import TEMPLATE
from hypothesis import given
from hypothesis import strategies as st

module = runpy.run_path(str(TEMPLATE / "extensions" / "merge.py"))
merged_text, parsers = module["merged_text"], module["PARSERS"]

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
    return merged_text(parsers[suffix], *texts)


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
        # A list's order is its meaning: also where nothing else has changed in it.
        ([("- a.csv\n      - a.py", "- a.py\n      - a.csv")], [("- a.png", "- c.png"), ("[b.csv]", "[c.csv]")], None),
        ([("- a.csv\n", "- mine.csv\n      - a.csv\n")], [("- a.csv\n      - a.py", "- a.py\n      - a.csv")],
         [("- a.csv\n      - a.py", "- a.py\n      - mine.csv\n      - a.csv")]),
        # Each renamed one of two.
        ([("- a.csv", "- mine.csv")], [("- a.py", "- new.py")], None),
        # One of two removed, and something put below each.
        ([("- a.csv\n", "- mine.csv\n")], [("- a.py\n", "- a.py\n      - new.py\n")], None),
        # Renamed here, changed there.
        ([("  a:\n", "  fit:\n")], [("      - a.py\n", "      - a.py\n      - new.py\n"), ("# about b", "# of b"), ("- a.png", "- c.png")], None),
        ([("  a:\n    cmd: python a.py", "  fit:\n    cmd: python fit.py")], [("    deps:\n", "    desc: new\n    deps:\n"), (" # small", "")], None),
        # A comment of mine, a value of theirs.
        ([("  # about a\n", "  # about my a\n")], [("cmd: python a.py", "cmd: python c.py")], None),
    ],
)  # fmt: skip
def test_two_sides(ours, theirs, expected):
    text = merge(ours, theirs)
    assert text == changed(*(expected or [*ours, *theirs]))
    assert text == str(parsers[".yaml"](text))


def test_lists_that_dvc_has_written_itself():
    """`dvc stage add` sets the lists of the whole file two columns to the left, and comments elsewhere."""
    text = merge(
        [("      - a.csv\n      - a.py\n", "    - a.csv\n    - a.py\n"),
         ("      - a.yaml:\n          cache: false #", "    - a.yaml:\n        cache: false   #"),
         ("  - a.png", "- a.png\n- mine.png")],
        [("      - a.py\n", "      - a.py\n      - new: # new\n          - x\n"), ("- a.png", "- c.png")],
    )  # fmt: skip
    assert "    deps:\n    - a.csv\n    - a.py\n    - new: # new\n        - x\n    metrics:\n    - a.yaml:\n" in text
    assert text.endswith("\nplots:\n- c.png\n- mine.png\n") and yaml.safe_load(text)


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "expected"),
    [
        # The line above the first entry is not the entry's.
        ("a: &x\n  b: 1\n", "a: &x\n  m: 1\n  b: 1\n", "a: &x\n  t: 1\n  b: 1\n", "a: &x\n  t: 1\n  m: 1\n  b: 1\n"),
        ("# all\n\na: 1\n", "# all\n\nm: 1\na: 1\n", "# all\n\nt: 1\na: 1\n", "# all\n\nt: 1\nm: 1\na: 1\n"),
        # A comment at the end, below what both add.
        ("a:\n  - b\n# end\n", "a:\n  - b\n  - m\n# end\n", "a:\n  - b\n  - t\n# end\n", "a:\n  - b\n  - t\n  - m\n# end\n"),
        # An alias is read where its anchor stands.
        ("a: &x b\nc:\n  - d\n  - *x\n", "a: &x b\nc:\n  - d\n  - *x\nm: 1\n", "a: &x b\nc:\n  - t\n  - *x\n",
         "a: &x b\nc:\n  - t\n  - *x\nm: 1\n"),
        # Nothing is left.
        ("a:\n  b: 1\n  c: 1\n", "a:\n  b: 1\n", "a:\n  c: 1\n",
         "a:\n<<<<<<< before updating\n  b: 1\n=======\n  c: 1\n>>>>>>> after updating\n"),
        # A line of its own for the dash or the question mark: by lines.
        ("-\n  a: 1\n", "-\n  a: 1\n-\n  m: 1\n", "-\n  a: 1\n-\n  t: 1\n",
         "-\n  a: 1\n-\n<<<<<<< before updating\n  m: 1\n=======\n  t: 1\n>>>>>>> after updating\n"),
        ("? a\n: - b\n  - c\nd: 1\n", "? a\n: - c\nd: 1\n", "? a\n: - b\n  - t\nd: 1\n",
         "? a\n<<<<<<< before updating\n: - c\n=======\n: - b\n  - t\n>>>>>>> after updating\nd: 1\n"),
        ("? [a, b]\n: 1\n", "? [a, b]\n: 2\n", "? [a, b]\n: 1\nt: 1\n",
         "? [a, b]\n<<<<<<< before updating\n: 2\n=======\n: 1\nt: 1\n>>>>>>> after updating\n"),
        # A comment at the top is the file's.
        ("# c\na: 1\n", "# c\nm: 1\na: 1\n", "# c\nt: 1\na: 1\n", "# c\nt: 1\nm: 1\na: 1\n"),
        # Nothing was there but comments, or is.
        ("", "m: 1\n", "t: 1\n", "t: 1\nm: 1\n"),
        ("# c\n# d\n", "# c\n# d\nm: # e\n  a: 1\n", "# c\n# d\n\nt:\n  a: 1\n", "# c\n# d\n\nt:\n  a: 1\nm: # e\n  a: 1\n"),
        ("# c\n# d\n", "# c\n# d\n\nm: # e\n  a: 1\n", "# t\n# d\n\nt:\n  a: 1\n", "# t\n# d\n\nt:\n  a: 1\nm: # e\n  a: 1\n"),
        ("# c\n\na: 1\n", "# c\n", "# c\n\na: 2\nt: 1\n", "# c\nt: 1\n"),
    ],
)  # fmt: skip
def test_yaml_of_all_kinds(base, ours, theirs, expected):
    assert merged_text(parsers[".yaml"], base, ours, theirs) == expected


FIVE = "  b: 1\n  c: 1\n  d: 1\n  e: 1\n  f: 1\n"
FOUR = "  b: 1\n  c: 1\n  d: 1\n  e: 2\n"


@pytest.mark.parametrize(
    ("base", "ours", "theirs"),
    [
        # Both put something between a comment and what it stood above.
        ("a:\n  # c\n  b: 1\n", "a:\n  # c\n  m: 1\n  b: 1\n", "a:\n  # c\n  t: 1\n  b: 1\n"),
        # One name for what differs: the template's is wanted under the anchor of the project's.
        ("a: &x b\n", "c: b\n", "a: &x b\nt: *x\n"),
        # The template renamed what the project changed: by lines that is no conflict.
        ("a:\n  b: 1\n  c: 1\n  d: 1\n", "a:\n  b: 1\n  c: 1\n  d: 2\n", "t:\n  b: 1\n  c: 1\n  d: 1\n"),
        # The project has another name for what the template changed: two that could be it, or one with little left of it.
        (f"a:\n{FIVE}x: 1\n", f"m:\n{FIVE}n:\n{FIVE}x: 2\n", f"a:\n{FIVE}x: 3\n".replace("  d", "  t: 1\n  d")),
        (f"a:\n{FIVE}x: 1\n", f"m:\n{FOUR}x: 2\n", f"a:\n{FIVE}x: 3\n".replace("  d", "  t: 1\n  d")),
        (f"a:\n{FIVE}x: 1\n", f"m:\n{FOUR}x: 2\n", f"a:\n{FIVE}x: 3\n".replace("  c: 1\n", "")),
        # A list becomes a mapping.
        ("a:\n  - b\n  - c\n", "a:\n  b: 1\n  m: 1\n", "a:\n  - b\n  - c\n  - t\n"),
    ],
)
def test_what_does_not_come_out_stays_as_copier_left_it(base, ours, theirs):
    with pytest.raises(module["Unreadable"]):
        merged_text(parsers[".yaml"], base, ours, theirs)


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


def test_toml_over_several_lines():
    base = (
        '# a\n\n[a] # a\nb = [\n[1, 2],\n[3, 4],\n]\nc = """\nd = 1\n[e]\n"""\nf = [ # f\n    # g\n    \'g\',\n] # h\n\n'
        "[[i]]\nj = 1\n\n[[i]]\nj = 2\n"
    )
    entries = parsers[".toml"](base).entries
    assert [*entries] == ["", "[a]", "[[i]]"] and [*entries["[a]"].entries] == ["", "b", "c", "f"]
    text = merge(
        [("[a] # a", "[a] # mine"), ("    'g',\n", "    'g',\n    'm',\n"), ("d = 1\n", "d = 2\n"), ("j = 1\n", "j = 3\n")],
        [("    'g',\n", "    'g',\n    't',\n"), ("\n[[i]]\nj = 2", "\n[[i]]\nj = 2\n\n[t]\nk = 1")],
        base, ".toml",
    )  # fmt: skip
    replaced = [
        ("[a] # a", "[a] # mine"),
        ("d = 1", "d = 2"),
        ("'g',\n", "'g',\n    't',\n    'm',\n"),
        ("j = 1", "j = 3"),
    ]
    assert text == changed(*replaced, base=base) + "\n[t]\nk = 1\n"
    # Two new tables of a list are two.
    new = ["[[x]]\nm = 1\n", "[[x]]\nt = 1\n"]
    assert "<<<<<<<" in merged_text(parsers[".toml"], "a = 1\n", *(f"a = 1\n{each}" for each in new))


def test_sections():
    base = "# Penguins\n\nAbout.\n\n## Run\n\n```bash\n## no heading\n```\n\n## Last\n\nWords.\n"
    text = merge(
        [("# Penguins\n", "# Mine\n"), ("Words.\n", "Words.\nMine.\n")],
        [("About.\n\n## Run", "About it.\n\n## Run it"), ("Words.\n", "Words.\n\n## New\n")],
        base, ".md",
    )  # fmt: skip
    run = "\n## Run it\n\n```bash\n## no heading\n```\n"
    assert text == f"# Mine\n\nAbout it.\n{run}\n## Last\n\nWords.\nMine.\n\n## New\n"


@pytest.mark.parametrize(
    "code",
    [
        "```\n## no\n```\n", "~~~ sh\n## no\n```\n## no\n~~~\n", "````\n```\n## no\n````\n", "  ```sh\n## no\n  ```\n",
        "```a``` b\n```\n## no\n```\n",
    ],
)  # fmt: skip
def test_headings_in_code_are_none(code):
    assert [*parsers[".md"](f"# A\n\n## B\n\n{code}\n## C\n").entries] == ["", "## B", "## C"]


def test_a_readme_that_was_written_anew():
    base = "# A\n\n## Run\n\nRun it.\n\n## Update\n\nUpdate it.\n"
    ours = "# Mine\n\nWords.\n\n## Data\n\nMany.\n"
    theirs = base.replace("Run it.", "Run it!") + "\n## New\n\nNew.\n"
    assert merged_text(parsers[".md"], base, ours, theirs) == f"{ours}\n## New\n\nNew.\n"


def test_the_file_keeps_its_mode_and_its_line_ends(tmp_path):
    """As Copier leaves it: the three versions in git's index, a conflict in the file."""

    def git(*arguments: str, stdin: str = "") -> str:
        options = ("-c", "core.autocrlf=false", "-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        done = subprocess.run(
            ["git", *options, *arguments], cwd=tmp_path, check=True, input=stdin.encode(), stdout=subprocess.PIPE
        )
        return done.stdout.decode()

    name = "ä b/dvc.yaml"
    path = tmp_path / name
    path.parent.mkdir()
    path.write_bytes(b"a: 1\r\nm: 1\r\n")
    path.chmod(0o755)
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "x")
    mode = git("ls-files", "--stage").split()[0]
    versions = ["a: 1\n", path.read_bytes().decode(), "a: 1\nt: 1\n"]
    stages = [git("hash-object", "-w", "--stdin", stdin=each).strip() for each in versions]
    stages[1] = git("rev-parse", f":{name}").strip()
    index = [f"0 {'0' * 40}\t{name}"] + [f"{mode} {stage} {number}\t{name}" for number, stage in enumerate(stages, 1)]
    git("update-index", "--index-info", stdin="\n".join(index))
    path.write_text("<<<<<<<")
    subprocess.run([sys.executable, TEMPLATE / "extensions" / "merge.py"], cwd=path.parent, check=True)
    assert path.read_bytes() == b"a: 1\r\nt: 1\r\nm: 1\r\n"
    assert os.name == "nt" or path.stat().st_mode & 0o777 == 0o755
    assert git("status", "--porcelain", "-z") == f" M {name}\0"


@pytest.mark.parametrize("text", ["a: [", "a: 1\n---\nb: 1\n", "a: \x85\n", "a: 1\r", "a: 1\na: 2\n", "a:\n\t- b\n"])
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
        assert merged_text(parse, *sides) == expected


@given(*[st.dictionaries(st.sampled_from("abcd"), st.sampled_from([1, 2, 3]))] * 3)
def test_keys_are_merged_each_by_itself(base, ours, theirs):
    def text(values: dict) -> str:
        return yaml.safe_dump({"top": 0} | values, default_flow_style=False, sort_keys=False)

    try:
        result = merged_text(parsers[".yaml"], *map(text, (base, ours, theirs)))
    except module["Unreadable"]:
        # By lines what one side moves is new, also where the other has removed it.
        assert any([*filter(base.get, side)] != [*filter(side.get, base)] for side in (ours, theirs))
        return
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


def test_patterns():
    base = "# data\n/data/*\n!/data/*.dvc\n"
    ours, theirs = base + "/mine/\n", base.replace("# data", "# The data") + "\n# new\n/new/\n"
    assert merged_text(parsers[".gitignore"], base, ours, theirs) == (
        "# The data\n/data/*\n!/data/*.dvc\n\n# new\n/new/\n/mine/\n"
    )
