"""`pipeline run`: every value arrives as params.yaml has it, and stages are those of DVC."""

import json

import pytest
from conftest import Workspace, notebook
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from run_samples import TO_DEBUG  # noqa: F401
from samples import RUN, STAGE

from notebook_pipeline.notebook import document as notebooks
from notebook_pipeline.project.project import Project

# The table of what a shell line loses, as YAML text; and lists and mappings.
EXACT = """\
a_true: true
a_false: false
small: 1e-05
large: 1e5
no_word: no
on_word: on
time: 12:30:00
octal: 010
agent: "007"
underscore: "1_000"
version: "3.10"
exponent: "1e3"
nan_word: "nan"
true_word: "True"
none_word: "None"
home: "$HOME"
command: "a;echo x"
words: hello world
empty: ""
colour: "#ff0000"
pair: "a: b"
quote: "it's"
double: 'say "so"'
newline: "one\\ntwo"
backslash: 'a\\b'
braces: "{x} ${y}"
umlaut: Grüße 🐧
date: "2026-11-23"
nothing: null
not_a_number: .nan
infinite: -.inf
big: 123456789012345678901234567890
float_one: 1.0
numbers: [1, 2.5, "3", true, null]
nested: {lr: 1e-3, layers: [16, 8], "no": no}
no_list: []
no_mapping: {}
"""
DUMP = "import json, pathlib; pathlib.Path('got.json').write_text(json.dumps({n: repr(v) for n, v in {%s}.items()}))"


def dump(names) -> str:
    """A cell that writes the values of some names."""
    return DUMP % ", ".join(f"{name!r}: {name}" for name in names)


def section(text: str) -> str:
    return "train:\n" + "".join(f"  {line}\n" for line in text.splitlines())


def test_every_value_arrives_as_it_is_written(bare):
    values = YAML(typ="safe").load(EXACT)
    bare.write("params.yaml", section(EXACT))
    bare.write("dvc.yaml", STAGE)
    cell = "\n".join(f"{name.upper()} = None" for name in values)
    bare.write("notebooks/fit.ipynb", notebook(cell, dump(name.upper() for name in values)))
    bare.pipeline(*RUN)
    got = json.loads(bare.read("got.json"))
    assert got == {name.upper(): repr(value) for name, value in values.items()}
    # The same as DVC itself says the stage has.
    bare.run("git", "init", "--quiet")
    bare.run("dvc", "init", "--quiet")
    script = "import dvc.api, json; print(json.dumps({n: repr(v) for n, v in dvc.api.params_show(stages='fit')['train'].items()}))"
    shown = json.loads(bare.run("python", "-c", script).stdout)
    assert {name.upper(): value for name, value in shown.items()} == got


@pytest.mark.parametrize(("cell", "value"), [("50", '"50"'), ("0.5", "abc"), ('"50"', "50"), ('"a"', "1.5")])
def test_a_number_that_meets_text_is_refused(bare, cell, value):
    bare.write("params.yaml", f"train:\n  n_trees: {value}\n")
    bare.write("dvc.yaml", STAGE)
    bare.write("notebooks/fit.ipynb", notebook(f"N_TREES = {cell}", "print(N_TREES)"))
    done, checked = bare.pipeline(*RUN, check=False), bare.pipeline("check", check=False).stdout
    read = YAML(typ="safe").load(value)
    line = (
        f"params.yaml:2: `train.n_trees` is {read!r} ({type(read).__name__}), but notebooks/fit.ipynb: cell 1, line 1 says "
        f"`N_TREES = {cell.replace(chr(34), chr(39))}`. Fix: change one of them, or annotate the parameter"
    )
    assert (done.returncode, done.stdout) == (1, f"{line}\n") and line in checked.splitlines()
    assert not (bare.path / "outputs/fit.ipynb").exists()
    # An annotation says that both are meant.
    bare.write("notebooks/fit.ipynb", notebook(f"N_TREES: int | float | str = {cell}", "print(N_TREES)"))
    bare.pipeline(*RUN)


yaml_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcxyz", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.from_regex(r"[a-z]{3,8}_[0-9]", fullmatch=True), yaml_values, max_size=5))
def test_what_the_list_names_is_what_is_given(tmp_path_factory, values):
    root = tmp_path_factory.mktemp("given")
    with (root / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump({"train": values, "other": {"unused": 1}}, file)
    (root / "dvc.yaml").write_text(STAGE)
    made = notebooks.parse(notebook("\n".join(f"{name.upper()} = None" for name in values)), "notebooks/fit.ipynb")
    project = Project(root)
    expected = YAML(typ="safe").load(root / "params.yaml")["train"]
    given_here = project.parameters(project.stage("fit"), made)
    assert (given_here.problems, given_here.missing) == ([], [])
    assert repr(given_here.values) == repr({name.upper(): value for name, value in expected.items()})


NAMES = """\
stages:
  plain: {cmd: "echo ${one} ${nothing} ${number} ${floats[0]} \\\\${x}"}
  größe µ: {cmd: echo 1}
  a: {foreach: "${flags}", do: {cmd: "echo ${item}"}}
  b: {foreach: [true, false, null, 1e-05, 1e5, 010, 0x1f, 1_000, .inf, -.inf, .nan, -0.0, "no", "2024-01-01", a b, ß],
      do: {cmd: "echo '${item}'"}}
  c: {foreach: ["${one}", "${flags[1]}", true, "x${one}", "${nothing}", "${number}"], do: {cmd: "echo ${item}"}}
  d: {foreach: "${floats}", do: {cmd: "echo ${item}"}}
  e: {foreach: "${words}", do: {cmd: "echo '${item}'"}}
  f: {foreach: "${mixed}", do: {cmd: "echo 1"}}
  g: {foreach: [{a: true}, {a: "${one}"}], do: {cmd: "echo ${item.a}"}}
  h: {foreach: "${section}", do: {cmd: "echo ${key} ${item}"}}
  i: {foreach: "${keys}", do: {cmd: "echo ${key} ${item}"}}
  j: {foreach: {2: a, true: b, null: c, 2.5: d, x: e}, do: {cmd: "echo ${key} ${item}"}}
  k: {foreach: [a, b, a, 1, "1", true, "true"], do: {cmd: "echo ${item}"}}
  l: {matrix: {flag: "${flags}", x: [1, 2.0, true, null]}, cmd: "echo ${item.flag} ${item.x} ${key}"}
  m: {matrix: {v: ["${one}", false, {a: 1}, [2], 3, null, "${nothing}", "${mixed[1]}", "${section}"]}, cmd: "echo ${key}"}
  n: {matrix: {v: "${maps}", w: "${words}"}, cmd: "echo ${item.v.a} '${item.w}'"}
  o: {matrix: {v: "${section}", w: "${keys}"}, cmd: "echo ${item.v}"}
  p: {matrix: {a: [x, x-y], b: [y-z, z]}, cmd: "echo ${item.a} ${item.b}"}
  q: {matrix: {a: [], b: [1]}, cmd: "echo ${key}"}
"""
VARIABLES = """\
flags: [true, false]
floats: [1e-05, 1e5, 1.0, .inf, -.inf, .nan, -0.0, 1.10, 3.0e+10, 1e22]
words: ["no", yes, "2024-01-01", "1", a b, "a:b", a/b, größe, µ, "~", a-b]
mixed: [1, [2], {a: 3}]
maps: [{a: true}, {a: false}]
section: {a: true, b: null, c: 1.0}
keys: {1: a, null: c, 2.5: d, x: e, false: b}
one: true
nothing: null
number: 1e5
"""


def test_stages_are_called_as_dvc_calls_them(bare):
    bare.write("params.yaml", VARIABLES)
    bare.write("dvc.yaml", NAMES)
    bare.run("git", "init", "--quiet")
    bare.run("dvc", "init", "--quiet")
    code = "import json, dvc.repo; print(json.dumps({s.name: s.cmd for s in dvc.repo.Repo().index.stages}))"
    dvcs = json.loads(bare.run("python", "-c", code).stdout)
    ours = [(stage.name, "\n".join(stage.cmd)) for stage in Project(bare.path).stages()]
    assert sorted(ours) == sorted(dvcs.items()) and len(ours) > 100


TWO_STAGES = """\
stages:
  first:
    cmd: pipeline run notebooks/first.ipynb outputs/first.ipynb
    deps: [notebooks/first.ipynb]
    params: [first]
    outs: [outputs/first.ipynb, outputs/first.txt]
  second:
    cmd: pipeline run notebooks/second.ipynb outputs/second.ipynb
    deps: [notebooks/second.ipynb, outputs/first.txt]
    params: [second]
    outs: [outputs/second.ipynb, outputs/second.txt]
"""


def test_in_a_subfolder_and_after_a_stage_that_dvc_skipped(bare):
    bare.write("params.yaml", "first:\n  x: 1\nsecond:\n  y: 1\n")
    bare.write("dvc.yaml", TWO_STAGES)
    bare.write("notebooks/first.ipynb", notebook("X = None", "open('outputs/first.txt', 'w').write(repr(X))"))
    second = "open('outputs/second.txt', 'w').write(open('outputs/first.txt').read() + repr(Y))"
    bare.write("notebooks/second.ipynb", notebook("Y = None", second))
    bare.run("git", "init", "--quiet")
    bare.run("dvc", "init", "--quiet")
    within = Workspace(bare.path / "notebooks", bare.environ)
    assert "Running stage '../dvc.yaml:second'" in within.run("dvc", "repro", "--all-pipelines").stdout
    assert bare.read("outputs/second.txt") == "11"
    bare.write("params.yaml", "first:\n  x: 1.0\nsecond:\n  y: 2\n")
    refused = bare.run("dvc", "repro", check=False).stdout
    said = (
        "params.yaml:2: `first.x` is 1.0, but stage `first` last ran with 1, which DVC takes for the same. "
        "Fix: uv run dvc repro --force first --single-item\n"
    )
    assert said in refused
    bare.run("dvc", "repro", "--force", "first", "--single-item")
    bare.run("dvc", "repro", "./dvc.yaml:second")
    assert bare.read("outputs/second.txt") == "1.02"
    # A dvc.yaml elsewhere has no params.yaml beside it.
    bare.write("other/dvc.yaml", TWO_STAGES.replace("    cmd", "    wdir: ..\n    cmd").replace("outputs/", "results/"))
    said = "other/dvc.yaml:first: a notebook runs only in a stage of the dvc.yaml beside params.yaml. Fix: move the stage there\n"
    assert said in bare.run("dvc", "repro", "other/dvc.yaml:first", check=False).stdout


def test_foreach_and_matrix_agree_with_dvc(bare):
    bare.write(
        "params.yaml",
        "base: {seed: 1}\nmodels:\n  adelie: {species: Adelie, depth: 2}\n  gentoo: {species: Gentoo, depth: 3}\nsizes: [1, 2]\n",
    )
    bare.write(
        "dvc.yaml",
        """\
vars: [{folder: notebooks}]
stages:
  each:
    foreach: ${models}
    do:
      cmd: pipeline run ${folder}/fit.ipynb outputs/${key}.ipynb
      params: [base.seed, 'models.${key}']
      outs: ['outputs/${key}.ipynb']
  grid:
    matrix:
      model: [adelie, gentoo]
      size: ${sizes}
    cmd: pipeline run ${folder}/fit.ipynb outputs/${item.model}-${item.size}.ipynb
    params: [base, 'models.${item.model}']
    outs: ['outputs/${item.model}-${item.size}.ipynb']
""",
    )
    bare.write("notebooks/fit.ipynb", notebook("SEED = 0\nSPECIES: str = ''\nDEPTH = 0", "print(SEED, SPECIES, DEPTH)"))
    bare.run("git", "init", "--quiet")
    bare.run("dvc", "init", "--quiet")
    names = [stage.name for stage in Project(bare.path).stages()]
    assert sorted(names) == sorted(line.split()[0] for line in bare.run("dvc", "stage", "list").stdout.splitlines())
    done = bare.run("dvc", "repro", "each@gentoo", "grid@adelie-2")
    assert "\n1 Gentoo 3\n" in done.stdout and "\n1 Adelie 2\n" in done.stdout
    shown = bare.run(
        "python", "-c", "import dvc.api, json; print(json.dumps(dvc.api.params_show(stages='each@gentoo')))"
    )
    assert json.loads(shown.stdout) == {"base": {"seed": 1}, "models": {"gentoo": {"species": "Gentoo", "depth": 3}}}
