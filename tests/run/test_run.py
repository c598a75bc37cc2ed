"""`pipeline run`: refusals, failures, and what the executed notebook has."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import TEMPLATE, notebook
from run_samples import TO_DEBUG  # noqa: F401
from samples import GOOD, PARAMS, RUN, STAGE, ready

from notebook_pipeline.run import command as run

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


AT_EACH_MESSAGE = """\
import sys
from notebook_pipeline.run import command, execution

execution.SAVE_EVERY = 0
sys.exit(command.main(sys.argv[1:]))
"""


def test_a_long_run_can_be_looked_at(bare):
    """Its notebook is saved while it runs, by what Papermill's client is asked to do with each message."""
    ready(bare, "print('first')", "print('first' in open('outputs/fit.ipynb').read())")
    assert bare.run("python", "-c", AT_EACH_MESSAGE, *RUN[1:]).stdout == "first\nTrue\n"
    # Otherwise after half a minute, which this one does not take.
    ready(bare, "import os\nprint(os.path.exists('outputs/fit.ipynb'))")
    (bare.path / "outputs/fit.ipynb").unlink()
    assert bare.pipeline(*RUN).stdout == "False\n"


def test_the_kernel_is_of_the_same_python_whatever_is_registered(bare):
    spec = {"argv": ["false"], "display_name": "Python 3", "language": "python"}
    bare.write("jupyter/kernels/python3/kernel.json", json.dumps(spec))
    bare.environ = bare.environ | {"JUPYTER_PATH": str(bare.path / "jupyter")}
    ready(bare, "import sys\nprint(sys.executable)")
    assert bare.pipeline(*RUN).stdout == bare.run("python", "-c", "import sys\nprint(sys.executable)").stdout


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
