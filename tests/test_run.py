"""`pipeline run`: exact values, refusals, and the ways to die. Real kernels, real `dvc`."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from conftest import KILL, TEMPLATE, Workspace, notebook, on_path
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from notebook_pipeline.notebook import document as notebooks
from notebook_pipeline.project.project import Project
from notebook_pipeline.run import command as run
from notebook_pipeline.run import stop

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

STAGE = """\
stages:
  fit:
    cmd: pipeline run notebooks/fit.ipynb outputs/fit.ipynb
    params: [train]
    outs: [outputs/fit.ipynb]
"""
RUN = ("run", "notebooks/fit.ipynb", "outputs/fit.ipynb")
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
    made = notebooks.parse(notebook("\n".join(f"{name.upper()} = 0" for name in values)), "notebooks/fit.ipynb")
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


GOOD, PARAMS = notebook("LR: float = 0.1\nSTEPS = 3", "print(LR, STEPS)"), "train:\n  lr: 0.5\n  steps: 7\n"
TAGGED = {"source": "LR = 1\nSTEPS = 2", "metadata": {"tags": ["parameters"]}}
REFUSALS = {
    "no parameters cell": (
        notebook({"source": "LR = 1"}),
        PARAMS,
        "notebooks/fit.ipynb: no cell is tagged `parameters`. Fix: tag the cell that assigns the parameters, "
        "or a new, empty one if there are none",
    ),
    "two": (
        notebook(TAGGED, {"source": "x"}, TAGGED),
        PARAMS,
        "notebooks/fit.ipynb: cells 1 and 3 are tagged `parameters`, so that the last one overrides params.yaml. "
        "Fix: keep the tag on one",
    ),
    "misspelt": (
        notebook({"source": "LR = 1", "metadata": {"tags": ["Parameters"]}}),
        PARAMS,
        "notebooks/fit.ipynb: cell 1: Papermill ignores the tag `Parameters`. Fix: rename it to `parameters`",
    ),
    "markdown": (
        notebook(TAGGED | {"cell_type": "markdown"}),
        PARAMS,
        "notebooks/fit.ipynb: cell 1: the tag `parameters` is on a markdown cell. Fix: move it to a code cell",
    ),
    "syntax": (
        notebook("LR = 1\nSTEPS = = 2"),
        PARAMS,
        "notebooks/fit.ipynb: cell 1, line 2: the parameters cell is not valid Python. Fix: correct the syntax",
    ),
    "parameter without key": (
        notebook("LR = 1\nSTEPS = 2\nWIDTH = 3"),
        PARAMS,
        "notebooks/fit.ipynb: cell 1, line 3: parameter `WIDTH` has no key `width` in what stage `fit` lists under "
        "`params:` (train). Fix: add `width: 3` to `train` in params.yaml",
    ),
    "key without parameter": (
        GOOD,
        PARAMS + "  width: 3\n",
        "params.yaml:4: `train.width` is given to stage `fit`, but the parameters cell (cell 1) of notebooks/fit.ipynb "
        "does not assign `width`. Fix: add it there, or list in the stage's `params:` only the keys that the notebook uses",
    ),
    "two sections": (
        GOOD,
        PARAMS + "base:\n  lr: 1\n",
        "params.yaml:5: `base.lr` and params.yaml:2: `train.lr` both define `lr` for stage `fit`. Fix: rename one, "
        "or list only the one wanted in the stage's `params:`",
    ),
    "annotation": (
        GOOD,
        "train:\n  lr: fast\n  steps: 7\n",
        "params.yaml:2: `train.lr` is 'fast' (str), but notebooks/fit.ipynb: cell 1, line 1 says `LR: float`. "
        "Fix: change one of them",
    ),
    "date": (
        GOOD,
        PARAMS + "other:\n  since: 2026-11-23\n",
        'params.yaml:5: `other.since` is an unquoted date, which DVC cannot track. Fix: quote it, as in "2026-11-23"',
    ),
    "no notebook": (
        "{}",
        PARAMS,
        "notebooks/fit.ipynb: not a valid notebook (JSON of another kind). Fix: use a file that Jupyter wrote",
    ),
    "broken": (
        "{\n",
        PARAMS,
        "notebooks/fit.ipynb:2: not a valid notebook (broken JSON). "
        "Fix: restore its last version, from git: `git checkout HEAD -- notebooks/fit.ipynb`",
    ),
    "R": (
        notebook("x <- 1", language="R"),
        PARAMS,
        "notebooks/fit.ipynb: its language is r. Fix: use a Python notebook",
    ),
    "yaml": (GOOD, "train:\n  lr: [1\n", "params.yaml:3: expected ',' or ']', but got '<stream end>'"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refused_in_one_line_before_a_kernel_starts(tmp_path, monkeypatch, capsys, case):
    text, params, message = REFUSALS[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "fit.ipynb").write_text(text, "utf-8")
    (tmp_path / "params.yaml").write_text(params)
    listed = "[train, base]" if case == "two sections" else "[train]"
    (tmp_path / "dvc.yaml").write_text(STAGE.replace("[train]", listed))
    assert run.main(list(RUN[1:])) == 1
    assert capsys.readouterr().err == message + "\n"
    # Papermill is not even here: nothing was started.
    assert "papermill" not in sys.modules


def test_refused_outside_the_environment(bare):
    bare.write("dvc.yaml", STAGE)
    (bare.path / ".venv").mkdir()
    environ = {name: value for name, value in bare.environ.items() if name != "UV_PROJECT_ENVIRONMENT"}
    environ["PYTHONPATH"] = str(TEMPLATE / "template" / ".pipeline")
    done = subprocess.run(
        [sys.executable, "-m", "notebook_pipeline", *RUN], cwd=bare.path, env=environ, text=True, capture_output=True
    )
    assert done.returncode == 1
    fix = "Fix: start it through uv, as in `uv run dvc repro`"
    assert done.stderr == f"{sys.executable} is not this project's Python. {fix}\n"


# What follows the message of a cell that failed.
TO_DEBUG = (
    "outputs/fit.ipynb: shows what ran, with the stage's values. Fix: open it in your editor, or by "
    "`uv run --with jupyterlab jupyter lab outputs/fit.ipynb`\n"
)


def ready(bare, *cells):
    """A project whose notebook has these cells below its parameters."""
    bare.write("params.yaml", PARAMS)
    bare.write("dvc.yaml", STAGE)
    bare.write("notebooks/fit.ipynb", notebook("LR: float = 0.1\nSTEPS = 3", *cells))
    return bare


def test_a_cell_that_fails(bare):
    ready(
        bare,
        {"cell_type": "markdown", "source": "# x"},
        "def f():\n    return {}['speces']\n\nprint('before')\nf()",
        "1",
    )
    done = bare.pipeline(*RUN, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("before\nnotebooks/fit.ipynb: cell 3, line 5: KeyError: 'speces'\n    f()\n")
    assert done.stdout.count("Traceback") == 1
    assert "apermill" not in done.stdout and "site-packages" not in done.stdout and "\x1b" not in done.stdout
    assert "KeyError" in bare.read("outputs/fit.ipynb")


def test_a_cell_that_is_no_python(bare):
    ready(bare, "print(7))")
    done = bare.pipeline(*RUN, check=False)
    assert done.stdout.startswith("notebooks/fit.ipynb: cell 2, line 1: SyntaxError: unmatched ')'\n    print(7))\n")


@pytest.mark.parametrize(
    ("call", "said"), [("import sys\nsys.exit(0)", "0"), ("exit()", ""), ("if LR:\n    quit(0)", "")]
)
def test_an_exit_is_a_failure(bare, call, said):
    ready(bare, call, "open('after', 'w')", "2")
    done = bare.pipeline(*RUN, check=False)
    assert done.returncode == 1
    assert done.stdout.endswith(
        f"notebooks/fit.ipynb: cell 2: called sys.exit({said}): cells 3, 4 never ran. Fix: remove the call: a run must reach the notebook's end\n{TO_DEBUG}"
    )
    assert not (bare.path / "after").exists()


def test_an_exit_after_which_cells_ran_names_none(bare):
    """IPython shows it, and goes on."""
    bare.write("leaves.py", "import sys\nsys.exit(2)\n")
    ready(bare, "%run leaves.py", "print('after')")
    assert bare.pipeline(*RUN, check=False).stdout == (
        f"after\nnotebooks/fit.ipynb: cell 2: called sys.exit(2). Fix: remove the call: a run must reach the notebook's end\n{TO_DEBUG}"
    )


@pytest.mark.parametrize("cells", [["%nowhere"], ["%nowhere", "print('after')"]])
def test_a_magic_that_is_not_there_is_a_failure(bare, cells):
    """IPython says so in a line on stderr, and nowhere else."""
    ready(bare, *cells)
    said = "UsageError: Line magic function `%nowhere` not found."
    done = bare.pipeline(*RUN, check=False)
    assert done.returncode == 1 and done.stdout == f"{said}\nnotebooks/fit.ipynb: cell 2: {said}\n{TO_DEBUG}"


def test_a_notebook_may_read_arguments_of_a_command(bare):
    """As scripts that became notebooks do: of ours it must see none."""
    ready(bare, "import sys\nprint(len(sys.argv), sys.argv[1])")
    assert bare.pipeline(*RUN).stdout == "3 -f\n"


def test_keys_of_mappings_keep_their_type(bare):
    """DVC's own commands stumble over such keys; a notebook must not get others in their place."""
    ready(bare, "import pathlib; pathlib.Path('got').write_text(repr(LR))")
    bare.write("notebooks/fit.ipynb", bare.read("notebooks/fit.ipynb").replace("LR: float", "LR: dict"))
    bare.write("params.yaml", "train:\n  lr: {2: two, false: no}\n  steps: 7\n")
    bare.pipeline(*RUN)
    assert bare.read("got") == "{2: 'two', False: 'no'}"


def test_a_cell_may_raise_where_its_tag_says_so(bare):
    ready(bare, {"source": "1 / 0", "metadata": {"tags": ["raises-exception"]}}, "print('after')")
    assert bare.pipeline(*RUN).stdout == "after\n"


@pytest.mark.skipif(os.name == "nt", reason="on Windows, a kernel does not catch what other processes print")
def test_what_other_processes_print_is_shown_once(bare):
    ready(bare, "import os\nos.system('echo out; echo err >&2')\nNone")
    assert sorted(bare.pipeline(*RUN).stdout.split()) == ["err", "out"]
    assert "err" in bare.read("outputs/fit.ipynb")


@pytest.mark.skipif(os.name == "nt", reason="there, the kernel's own messages go straight to the terminal")
def test_a_kernel_that_cannot_start_says_why(bare):
    ready(bare, "1")
    bare.write("broken/ipykernel_launcher.py", "raise RuntimeError('half installed')\n")
    bare.environ = bare.environ | {"PYTHONPATH": str(bare.path / "broken")}
    done = bare.pipeline(*RUN, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("notebooks/fit.ipynb: cannot be run: the kernel did not start\n")
    assert "RuntimeError: half installed" in done.stdout


# Jupyter's heartbeat opens sockets in a thread, while the kernel's end closes them: a traceback, or a run without end.
HEARTBEAT = """\
import sys
from jupyter_client.channels import HBChannel
from notebook_pipeline.run import command as run

def refuse(self):
    raise SystemExit("a heartbeat was started")

HBChannel.start = refuse
sys.exit(run.main(sys.argv[1:]))
"""


def test_a_run_has_no_heartbeat(bare):
    ready(bare, "1")
    bare.run("python", "-c", HEARTBEAT, *RUN[1:])


@pytest.mark.parametrize("version", [6, 7])
def test_each_ipykernel_runs_a_notebook(bare, tmp_path_factory, version):
    folder = tmp_path_factory.mktemp(f"ipykernel{version}")
    install = ["uv", "pip", "install", "--quiet", "--target", str(folder), f"ipykernel=={version}.*"]
    python = shutil.which("python", path=bare.environ["PATH"])
    done = subprocess.run([*install, "--python", python], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"uv cannot install ipykernel {version}: {done.stderr[-300:]}")
    bare.environ = bare.environ | {"PYTHONPATH": str(folder)}
    ready(bare, "import ipykernel\nprint(ipykernel.__version__, LR)", "%time 1", "input_ = 2\ninput_")
    bare.pipeline(*RUN)
    (text,) = re.findall(r'"(\d+\.\d+\.\d+\S*) (\S+?)\\n"', bare.read("outputs/fit.ipynb"))
    assert text[0].startswith(f"{version}.") and text[1] == "0.5"
    failing = "raise ValueError('no')"
    ready(bare, failing)
    assert "ValueError: no" in bare.pipeline(*RUN, check=False).stdout


def test_the_debugger_is_there_for_who_imports_it(bare):
    """The kernel itself starts without it."""
    ready(bare, "import sys\nassert 'debugpy' not in sys.modules\nimport debugpy\nprint(debugpy.__name__)")
    assert bare.pipeline(*RUN).stdout == "debugpy\n"


@pytest.mark.parametrize("own", [{}, {"PYTHONBREAKPOINT": "pdb.set_trace"}])
def test_a_forgotten_breakpoint_stops_nobody(bare, own):
    bare.environ = bare.environ | own
    ready(bare, "breakpoint()\nprint('after')", "breakpoint()")
    assert bare.pipeline(*RUN).stdout == "after\n"


def test_a_start_up_file_of_ones_own_is_left_alone(bare):
    bare.environ = bare.environ | {"PYTHONSTARTUP": str(bare.write("own.py", "np = 'numpy'\n"))}
    ready(bare, "print('np' in dir())")
    assert bare.pipeline(*RUN).stdout == "False\n"


def test_equal_runs_give_equal_files(bare):
    ready(
        bare,
        "import sys, warnings\nwarnings.warn('careful')\nprint('out')\nprint('err', file=sys.stderr)\n{'b', 'a', 'c'}",
        # An address in memory: printed, as `plt.plot(x)` shows it, and in a traceback.
        "class Own: pass\nprint(Own())\n[Own()]",
        {"source": "raise ValueError(Own())", "metadata": {"tags": ["raises-exception"]}},
        "import pandas as pd\npd.DataFrame({'x': [Own()]})",
        # As pandas names a styled table; a picture in SVG has a clock, and names of the same kind.
        "import secrets\nfrom IPython.display import HTML\nname = f'T_{secrets.token_hex(3)[:5]}'\nHTML(f'<i id={name}_1>{name}</i>')",
        "%config InlineBackend.figure_formats=['svg']\nimport matplotlib.pyplot as plt\nplt.plot([1, 2], marker='o')",
    )
    bare.pipeline(*RUN)
    first = bare.read("outputs/fit.ipynb")
    bare.pipeline(*RUN)
    assert bare.read("outputs/fit.ipynb") == first
    # As a shell completes the paths.
    bare.pipeline("run", "./notebooks/fit.ipynb", "./outputs/fit.ipynb")
    assert bare.read("outputs/fit.ipynb") == first
    assert "ipykernel_" not in first and "start_time" not in first
    assert "[<__main__.Own at 0x...>]" in first and "<__main__.Own object at 0x...>\\n" in first
    assert "<i id=T_a0000_1>T_a0000</i>" in first and "<svg " in first


def test_outputs_stand_as_they_came(bare):
    ready(
        bare,
        "import sys\nfrom IPython.display import display\n"
        "for name in 'ab':\n    print('err', name, file=sys.stderr, flush=True)\n    print('title', name, flush=True)\n"
        "    print('more', flush=True)\n    display(name)\n"
        "for done in range(3): print(f'\\r{done} of 2', end='', flush=True)\nprint('\\rx\\r\\n\\r')\n"
        "print('y\\r\\r')",
    )
    bare.pipeline(*RUN)
    outputs = json.loads(bare.read("outputs/fit.ipynb"))["cells"][-1]["outputs"]
    assert [("".join(each.get("text", "")) or each["data"]["text/plain"][0]) for each in outputs] == [
        "title a\nmore\n", "err a\n", "'a'", "title b\nmore\n", "err b\n", "'b'", "x\r\n\r\ny\r\n",
    ]  # fmt: skip


def test_values_that_change_during_the_run_are_not_recorded(bare):
    ready(
        bare, "import pathlib\nfile = pathlib.Path('params.yaml')\nfile.write_text(file.read_text().replace('7', '8'))"
    )
    bare.run("git", "init", "--quiet")
    bare.run("dvc", "init", "--quiet")
    done = bare.run("dvc", "repro", check=False)
    assert done.returncode != 0
    assert "params.yaml changed while notebooks/fit.ipynb ran, which used the old values" in done.stdout
    assert not (bare.path / "dvc.lock").exists()


def processes(mark: str) -> list[str]:
    """The command lines that hold a mark."""
    lines = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                lines.append(" ".join(process.cmdline()))
    return [line for line in lines if mark in line]


# It prints without end, so that the signal meets a run that is busy with messages.
BUSY = (
    "import subprocess, time\nchild = subprocess.Popen(['sleep', '{mark}'])\nopen('started', 'w').close()\n"
    "while True: print('.' * 50); time.sleep(0.0005)"
)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("command", "shell", "number", "expected"),
    [
        (["pipeline", *RUN], "bash", signal.SIGINT, "Ctrl-C"),
        (["pipeline", *RUN], "bash", signal.SIGTERM, "SIGTERM"),
        # A shell may replace itself by the command that DVC gives it, or wait beside it.
        (["dvc", "repro"], "bash", signal.SIGTERM, "SIGTERM"),
        (["dvc", "repro"], "sh", signal.SIGTERM, "SIGTERM"),
        (["dvc", "repro"], "sh", KILL, "SIGTERM"),
    ],
    ids=["ctrl-c", "sigterm", "dvc ended", "dvc and its shell ended", "dvc killed"],
)
def test_stopped_by_a_signal(bare, command, shell, number, expected, request):
    mark = f"{os.getpid()}.{abs(hash(request.node.name)) % 10**6}"
    ready(bare, BUSY.format(mark=mark))
    bare.run("git", "init", "--quiet")
    bare.run("dvc", "init", "--quiet")
    with (bare.path / "log").open("w") as log:
        # A suite that runs in the background has Ctrl-C ignored, and its children would inherit that.
        old = signal.signal(signal.SIGINT, signal.default_int_handler)
        environ = bare.environ | {"SHELL": shutil.which(shell)}
        process = subprocess.Popen(command, cwd=bare.path, env=environ, stdout=log, stderr=log)
        signal.signal(signal.SIGINT, old)
        wait(lambda: (bare.path / "started").exists())
        assert processes(f"sleep {mark}")
        process.send_signal(number)
        assert process.wait(timeout=120) != 0
    said = f"notebooks/fit.ipynb: stopped in cell 2 by {expected}"
    wait(lambda: said in bare.read("log") and not processes(f"sleep {mark}"), lambda: bare.read("log")[-2000:])
    wait(lambda: not processes(str(bare.path)))
    # What ran is there to be looked at.
    assert json.loads(bare.read("outputs/fit.ipynb"))["cells"][0]["execution_count"] == 1


def stopped_experiment(bare, order, number) -> None:
    """An experiment of whose process tree each got a signal, as by the Stop of VS Code."""
    ready(bare, "1")
    bare.run("git", "init", "--quiet")
    bare.run("dvc", "init", "--quiet")
    bare.write("data/external/a.csv", "1\n")
    bare.run("dvc", "add", "--quiet", "data/external")
    bare.run("dvc", "repro", "--quiet")
    ready(bare, BUSY.format(mark=f"{os.getpid()}.{abs(hash(str(bare.path))) % 10**6}"))
    bare.run("git", "add", "--all", ".")
    bare.run("git", "commit", "--quiet", "--message", "start")
    bare.write("data/external/a.csv", "2\n")  # nobody has saved it
    with (bare.path / "log").open("w") as log:
        command = on_path(["dvc", "exp", "run", "-S", "train.steps=2"], bare.environ)
        process = psutil.Popen(command, cwd=bare.path, env=bare.environ, stdout=log, stderr=log)
        wait(lambda: (bare.path / "started").exists(), lambda: bare.read("log")[-2000:])
        tree = [process, *process.children(recursive=True)]
        for each in order(tree):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(number)
        assert not psutil.wait_procs(tree, timeout=60)[1]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("order", [reversed, lambda tree: tree[:1]], ids=["dvc last", "dvc alone"])
def test_an_experiment_that_is_stopped_leaves_its_branch_as_it_was(bare, order):
    stopped_experiment(bare, order, signal.SIGTERM)
    assert bare.run("git", "branch", "--show-current").stdout == "main\n"
    assert bare.run("git", "diff", "--cached", "--name-only").stdout == ""
    refs = bare.run("git", "for-each-ref", "--format=%(refname:lstrip=3)", "refs/exps/exec").stdout.split()
    assert refs == ["EXEC_HEAD"]  # as after one that has ended
    # What it had is there to be looked at, and the way to go on is the usual one.
    assert "steps: 2" in bare.read("params.yaml")
    assert json.loads(bare.read("outputs/fit.ipynb"))["cells"][0]["execution_count"] == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_an_experiment_that_is_killed_has_a_way_back(bare):
    stopped_experiment(bare, list, KILL)
    assert "HEAD detached" in bare.run("git", "status").stdout
    lines = (TEMPLATE / "template/README.md.jinja").read_text(encoding="utf-8").partition("## After a stop")[2]
    blocks = re.findall(r"```\n(.*?)```", lines, re.S)[:2]
    for line in "".join(blocks).splitlines():
        bare.run(*shlex.split(line.removeprefix("uv run ")))
    assert bare.run("git", "branch", "--show-current").stdout == "main\n"
    assert "EXEC_BASELINE" not in bare.run("git", "for-each-ref", "refs/exps").stdout
    # The new data stays, and DVC has it since.
    assert bare.run("git", "status", "--short", "--untracked-files=no").stdout == " M data/external.dvc\n"
    assert json.loads(bare.read("outputs/fit.ipynb"))["cells"][-1]["source"] == ["1"]
    assert bare.read("data/external/a.csv") == "2\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_the_folder_of_a_killed_run_is_removed_by_the_next(bare, tmp_path_factory):
    """That of a run that goes on is not, nor what is not a run's."""
    folder = tmp_path_factory.mktemp("tmp")
    bare.environ = bare.environ | {"TMPDIR": str(folder)}
    mark = f"{os.getpid()}.7"
    ready(bare, BUSY.format(mark=mark))
    (folder / "kernel-of-mine").mkdir()
    (folder / "kernel-of-mine" / "file").touch()

    def left() -> set[str]:
        return {path.parent.name for path in folder.glob("kernel*/*")}

    first, second = (
        psutil.Popen(
            on_path(["pipeline", *RUN], bare.environ), cwd=bare.path, env=bare.environ,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    )  # fmt: skip
    wait(lambda: len(processes(f"sleep {mark}")) == 2)
    assert len(left()) == 3
    killed = [first, *first.children(recursive=True)]
    for process in killed:
        process.kill()
    psutil.wait_procs(killed)
    ready(bare, "1")
    bare.pipeline(*RUN)
    assert len(left()) == 2
    assert second.poll() is None
    second.terminate()
    second.wait(timeout=60)
    assert left() == {"kernel-of-mine"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_python_drops_is_heard_all_the_same(monkeypatch):
    class Finalizer:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    monkeypatch.setattr(stop, "PATIENCE", 0.1)
    with pytest.raises(KeyboardInterrupt), stop.signals_as_exceptions():
        Finalizer()
        wait(lambda: False)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_killed_kernel(bare):
    mark = f"{os.getpid()}.99"
    ready(bare, BUSY.format(mark=mark).replace("while True: ", "import os; os.kill(os.getpid(), 9); "), "1")
    done = bare.pipeline(*RUN, check=False)
    assert done.returncode == 1
    assert done.stdout.endswith(
        "notebooks/fit.ipynb: the kernel died in cell 2: out of memory, or ended by the code: cell 3 never ran\n"
        + TO_DEBUG
    )
    assert not processes(f"sleep {mark}")


def wait(condition, seen=lambda: "", seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {seen()}"
        time.sleep(0.1)
