"""The code of a notebook, by which DVC tells whether it changed: beside a formatter, another Python, an older version."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TEMPLATE, notebook

from notebook_pipeline.notebook.document import canonical, parse, read, renewed
from notebook_pipeline.run import command as run

# One cell each. Nothing in them is what `ruff check` of a project may change the meaning of.
CELLS = [
    "import sys\nimport os\nfrom b import d, c\nfrom b import a as z, a\nfrom a import x\nimport os, json.decoder\nimport json",
    "import sys; import os\nx = 1;  y = 2 ;",
    "import typing\nif typing.TYPE_CHECKING:\n    import sys\n    import os\nelse:\n    from .b import a\n    from . import c",
    "def f():\n\timport sys\n\timport os # both\n\n\n\ttry:\n\t\timport b, a\n\texcept ImportError: pass\n\treturn  u'x'",
    "import sys\n# why it is here\nimport os\n%matplotlib inline\nimport json\nimport ast",
    "from __future__ import annotations\nimport zlib\nimport ast",
    "x={'a':1,'b':[1,2,3,],}\ny = (1,)\nz = ((x))\nprint( (y) )\ndel (x, y), z",
    "x = 'a' \"b'\" f'{y}' 'c\\n' '''d\n  e'''\nb = b'\\xAB' B\"\\x00\"\nr = R'\\d' + r'\\d'\nn = 0XFF + 1E5 + 10J + 1_000",
    "x = f'{d[\"a\"]:.3f} {a!r:>{w}} {a = } {a=:>{w}.{p}} {{}} {(lambda: 1)()} { {1: 2} } {a:%Y-%m} {x!s:}'",
    "x = f'{f\"{a}\"!r}' + rf'\\d{a}' + f'\\N{EN DASH}\\{a}' + f'''{\na\n}''' + F'{a != b} {a == b} {x:{\"a\"}}'",
    "x = f\"{d[\"a\"]}\" + f'{'\\n'.join(a)}' + f'{f'{f'{a}'}'}' + f'{a # why\n}' + f\"{d[\"b\"] = }\"",
    "type X = int | str\ntype Y[T: (int, str) = int, *Ts, **P] = dict[T, 'X']\ntype = 1\ntype  = type in [1]",
    "def f[T:int , *Ts](a :T)->T: return a\nclass A[ T ](B ): x:int=1\nasync def g[T](): await x",
    "try:\n    pass\nexcept A, B:\n    pass\ntry: pass\nexcept* (A, B) as e: pass",
    "x = t'{a!r} b' + rt\"\\d{a=}\" + t'c'",
    "while (n:=next(it)) is not None: print(n , end = '')\nif (m := f(x)) and (k := 1): pass",
    "match x:\n    case {'a': 1, **rest}: pass\n    case [1, 'µ', *_] | A(b=-1) | None: pass\n    case (1, 2) if y: pass",
    "@ a.b(c)\n@(d)\ndef f(a, /, b:int=1, *args, c, d=2, **kw)->int: return (yield)",
    "a, *b = c\nx = [*a, *b]\ny[*a], y[1, *b] = {**c}, {*d}\nfor i in *a, *b: print(*i, **j)\ndef f(): return *a, b",
    "x[1:2, ..., ::3], x[(1, 2)], x[a+1 :], x[:, None], x[lambda: 1:2]\nf = lambda x, *y, z=1, **k: (x, y)",
    "x = not (a in b) and -(-1)**2 or (yield_ if a else b)\ny = 1 if (a) else (b, c)\nassert (x), ('y')",
    "with open('a') as f, open('b'): pass\nwith (open('a') as f, open('b') as g,): pass\nwith (a, b): pass",
    "größe, µ, x̂ = 'größe', \"日本語 🎉 \\U0001FAE8 \\u2028\", '\\x7f\\x85\\xad\\ud800'",
    "'''A string of the cell \t\n  is no docstring  '''",
    "class A():\n  '''Doc \"a\"'''\n  '''\n  no doc  \n  '''\n  def f(self):\n   r'''  First \\d\n\n\t tab\n      more   \n   '''",
    "x = '"
    + "long " * 60
    + "' 'and more'\nf(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb, cccccccccccccccccccccccccc=1)",
    "\n".join(f"x = {' + '.join(map(str, range(count)))}" for count in (1, 400)),
    "plot( x ) ;  # nothing to show\n# the end",
    "%%time\nx=1;y=2;",
    "%%timeit -n 3\nimport sys, os\nx=[1,2 ]",
    "%%capture out\nx=1;",
    "%%bash\necho   hi  \n\nls",
    "%time y=f( 1);\nz=!ls  *.csv\nd['q'] = %time  f(2)\n!echo 'it   \\\n  \"\n?x\nlist??\nif z:\n    !ls (\n    x  = 1",
    "pip install   x",
    "  x = 1\n  y  = [1,\n  2]",
    "x = '''\n%not magic\n!ls  \n'''\ny = (5\n%  3)\nz = 'a=%d' % y",
]
EQUAL = {
    "a t-string or not": ("t'a{x}'", "t\"a\" t'{x}'"),
    "an empty format": ("f'{x:}'", "f'{x}'"),
    "line ends": ("x = '''a\r\nb'''\r\ny = 1", "x = '''a\nb'''\ny = 1"),
    "imports that only look like two of a name": ("import a.c\nimport a.b\nimport a", "import a\nimport a.b\nimport a.c"),
}  # fmt: skip
DIFFERENT = {
    "two of one name": ("from b import x\nfrom a import x", "from a import x\nfrom b import x"),
    "all names of a module": ("from pylab import *\nimport datetime", "import datetime\nfrom pylab import *"),
    "what is between imports": ("import b\nf()\nimport a", "import a\nf()\nimport b"),
    "a closing semicolon": ("plot(x)", "plot(x);"),
    "the string of an f-string": ("f'{x} a'", "f'{x}  a'"),
    "a format": ("f'{x:.3f}'", "f'{x:.4f}'"),
    "a conversion": ("f'{x!r}'", "f'{x!s}'"),
    "braces": ("f'{{x}}'", "f'{x}'"),
    "a template": ("t'{x}'", "f'{x}'"),
    "type parameters": ("def f[T: int](): 1", "def f[T: str](): 1"),
    "spaces in a string": ("x = 'a  b'", "x = 'a b'"),
    "lines in a string": ("x = '''a\n\nb'''", "x = '''a\nb'''"),
    "a docstring": ("def f():\n    'a'", "def f():\n    'b'"),
    "a string of a cell": ("'a '", "'a'"),
    "what bash reads": ("%%bash\ncat <<E\na  \nE", "%%bash\ncat <<E\na\nE"),
    "shell": ("!echo  a", "!echo a"),
    "indentation": ("if a:\n    b\n    c", "if a:\n    b\nc"),
}


def test_the_projects_own_hooks_change_no_code(tmp_path):
    """One notebook a cell, so that ruff formats each that it can read, and the template's notebooks, untidied."""
    texts = {f"{number:02}": notebook("a = 1", cell) for number, cell in enumerate(CELLS)}
    for path in (TEMPLATE / "template/notebooks").glob("*.ipynb"):
        document = json.loads(path.read_text(encoding="utf-8"))
        for cell in document["cells"]:
            lines = "".join(cell["source"]).split("\n")
            if cell["cell_type"] == "code":
                count = next(
                    (at for at, each in enumerate(lines) if not each.startswith(("import", "from"))), len(lines)
                )
                cell["source"] = "\n".join(lines[:count][::-1] + lines[count:]).replace('"', "'").replace(" = ", "=")
        texts[path.stem] = json.dumps(document)
    # Of a project without jinja: [tool.ruff] is the same in all.
    settings = (TEMPLATE / "template/pyproject.toml.jinja").read_text(encoding="utf-8").partition("[tool.ruff]")
    (tmp_path / "pyproject.toml").write_text(
        "[project]\nname = 'x'\nversion = '0'\nrequires-python = '>=3.14'\n" + "".join(settings[1:])
    )
    for name, text in texts.items():
        (tmp_path / f"{name}.ipynb").write_text(text, encoding="utf-8")
    before = {name: read(tmp_path / f"{name}.ipynb").code() for name in texts}
    ruff = [sys.executable, "-m", "ruff"]
    subprocess.run([*ruff, "check", "--fix", "--quiet", "."], cwd=tmp_path, stdout=subprocess.PIPE)
    subprocess.run([*ruff, "format", "."], cwd=tmp_path, capture_output=True)
    changed = {name for name in texts if (tmp_path / f"{name}.ipynb").read_text(encoding="utf-8") != texts[name]}
    assert len(changed) > 0.7 * len(texts) and {"train", "penguins"} <= changed
    for name in texts:
        assert read(tmp_path / f"{name}.ipynb").code() == before[name], name


@pytest.mark.parametrize("name", EQUAL)
def test_what_does_not_count(name):
    first, second = EQUAL[name]
    assert canonical(first) == canonical(second)


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_counts(name):
    first, second = DIFFERENT[name]
    assert canonical(first) != canonical(second)


def interpreters() -> dict[str, str]:
    """The Pythons of this machine that the template supports, by their versions."""
    names = [f"python3.{minor}" for minor in range(11, 20)]
    found = [sys.executable, *filter(None, map(shutil.which, names))]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found += [str(path) for path in pyenv.glob("3.*/bin/python")]
    if launcher := shutil.which("py"):
        listed = subprocess.run([launcher, "-0p"], capture_output=True, text=True).stdout.splitlines()
        found += [line.split(maxsplit=1)[-1].lstrip("* ") for line in listed if line.strip()]
    versions = {}
    for path in found:
        ask = [path, "-c", "import sys; print(*sys.version_info[:2])"]
        try:
            said = subprocess.run(ask, capture_output=True, text=True, timeout=60).stdout.split()
        except OSError:
            continue
        if len(said) == 2 and (3, 11) <= tuple(map(int, said)):
            versions.setdefault(".".join(said), path)
    return versions


ASK = """\
import json, sys
sys.path.insert(0, sys.argv[1])
from notebook.document import parse
texts = [parse(text, "x").code() for text in json.loads(sys.stdin.buffer.read())]
sys.stdout.buffer.write(json.dumps(texts).encode())
"""


def test_each_python_writes_the_same(record_property, capsys):
    """Of cells, of the template's notebooks, and of modules of the standard library and of this project."""
    files = [*Path(os.__file__).parent.glob("[a-m]*.py"), *(TEMPLATE / "template/.pipeline").rglob("*.py")]
    cells = CELLS + [text for pair in (*EQUAL.values(), *DIFFERENT.values()) for text in pair]
    cells += [path.read_text(encoding="utf-8") for path in files if path.stat().st_size < 40_000]
    texts = [notebook("a = f(f'{b!r}')\nc = 1", cell) for cell in cells]
    texts += [path.read_text(encoding="utf-8") for path in (TEMPLATE / "template/notebooks").glob("*.ipynb")]
    versions, answers = interpreters(), {}
    with capsys.disabled():
        print(f" (Pythons found: {', '.join(sorted(versions))})", end="")
    if len(versions) == 1:
        pytest.skip(f"needs two Pythons, and found {', '.join(versions)}")
    package = TEMPLATE / "template/.pipeline/notebook_pipeline"
    for version, path in versions.items():
        done = subprocess.run(
            [path, "-W", "ignore", "-c", ASK, package], input=json.dumps(texts).encode(), capture_output=True
        )
        assert done.returncode == 0, f"{version}: {done.stderr.decode()}"
        answers[version] = json.loads(done.stdout)
    first, *others = answers
    for other in others:
        for text, one, another in zip(texts, answers[first], answers[other], strict=True):
            assert one == another, f"{first} and {other}: {text[:300]}"


def test_every_cell_that_is_python_is_read():
    """Of all Pythons that are supported, also where this one could not run it."""
    as_they_are = [cell for cell in CELLS if canonical(f"{cell}\n\n# more") != canonical(cell)]
    assert [cell.split()[0] for cell in as_they_are] == ["%%bash", "pip"]


def test_a_cell_that_is_not_python_stands_as_it_is():
    for source in (
        "f'{x",
        "f'{x:{y}",
        "f'{x!",
        "'''",
        "x = (",
        "def f[T(): 1",
        "type X = ",
        "f'{}'",
        "\0",
        "%%",
        "t'",
        "(" * 999,
    ):
        assert canonical(source) == source
        assert "\n" not in "".join(parse(notebook("", source), "x.ipynb").unused())


# As 0.2.0 wrote them, under Python 3.11.
OF_0_2_0 = """\
# %%
# parameters: LR, TWICE
import sys
import os
TWICE = LR * 2

# %%
x = f"{d['a']:.3f} m"
plot(x);

# %%
%%timeit
x=[1,2 ]

# %%
get_ipython().run_line_magic('time', 'f(x);');

# %%
def f():
    \"\"\"Doc

\\tmore\"\"\"
    return 'ä\\u2028'
"""


def test_a_text_of_an_older_version_stays_valid():
    made = parse(
        notebook(
            "import sys, os\nLR = 1\nTWICE = LR * 2", 'x = f"{d["a"]:.3f} m"\nplot(x);', "%%timeit\nx=[1,2 ]",
            "%time f(x);", 'def f():\n  """Doc\n\n\tmore"""\n  return "ä\\u2028"',
        ),
        "x.ipynb",
    )  # fmt: skip
    assert made.code() != OF_0_2_0
    assert renewed(OF_0_2_0) == made.code() == renewed(made.code())
    assert renewed(OF_0_2_0.replace(".3f", ".4f")) != made.code()


STAGES = """\
stages:
  code:
    cmd: pipeline code notebooks/x.ipynb outputs/code/x.py
    deps: [notebooks/x.ipynb]
    outs: [outputs/code/x.py]
  x:
    cmd: pipeline run notebooks/x.ipynb outputs/x.ipynb
    deps: [outputs/code/x.py]
"""


def test_a_code_file_that_differs_is_named_with_what_helps(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "x")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "outputs/code").mkdir(parents=True)
    (tmp_path / "dvc.yaml").write_text(STAGES)
    (tmp_path / "params.yaml").write_text("{}\n")
    Path("notebooks/x.ipynb").write_text(
        notebook("", {"cell_type": "markdown", "source": "#"}, "a = 1", "b = 2\nc = 3")
    )
    code = read("notebooks/x.ipynb").code()
    compared = "outputs/code/x.py, which DVC compares, has"
    for text, said in (
        (code.replace("c = 3", "c = 4"), f"notebooks/x.ipynb: cell 4: has `c = 3`, but {compared} `c = 4`"),
        (code.replace("\nc = 3", ""), f"notebooks/x.ipynb: cell 4: has `c = 3`, but {compared} nothing"),
        (code + "\n# %%\nd\n", f"notebooks/x.ipynb: has nothing, but {compared} `# %%`"),
    ):
        Path("outputs/code/x.py").write_text(text)
        assert run.main(["notebooks/x.ipynb", "outputs/x.ipynb"]) == 1
        assert capsys.readouterr().err == f"{said}. Fix: uv run dvc repro --force code, then uv run dvc repro\n"
