"""`pipeline add`: files that come along, and paths that follow them."""

import pytest
from add_samples import churn, own_environ, project, stage, untagged  # noqa: F401

from notebook_pipeline.add import command as add
from notebook_pipeline.add.bring import brought
from notebook_pipeline.notebook.document import parse

# What the notebook says, what becomes of it, the copies, the inputs and the results.
PATHS = {
    "a file": ("pd.read_csv('a.csv')", "pd.read_csv('data/external/a.csv')", {"a.csv": "a.csv"}, {"a.csv"}, set()),
    "a constant": (
        'F = "raw/b.csv"\nread(F)', 'F = "data/external/raw/b.csv"\nread(F)', {"raw/b.csv": "raw/b.csv"}, {"raw/b.csv"}, set(),
    ),
    "a folder named data": ("read('data/d.csv')", "read('data/external/d.csv')", {"data/d.csv": "d.csv"}, {"d.csv"}, set()),
    "the folder data itself": (
        "DATA = 'data'\nread(DATA + '/d.csv')", "DATA = 'data/external'\nread(DATA + '/d.csv')", {"data/d.csv": "d.csv"}, {"d.csv"}, set(),
    ),
    "a folder and what lies in it": (
        "read('img/1.png'); os.listdir('img')", "read('data/external/img/1.png'); os.listdir('data/external/img')",
        {"img/1.png": "img/1.png", "img/2.png": "img/2.png"}, {"img/1.png", "img"}, set(),
    ),
    "pathlib": (
        "R = Path('raw')\nread(R / 'b.csv')", "R = Path('data/external/raw')\nread(R / 'b.csv')",
        {"raw/b.csv": "raw/b.csv"}, {"raw/b.csv"}, set(),
    ),
    "os.path": (
        "R = '../up/'\nread(os.path.join(R, 'c.csv'))", "R = 'data/external/up/'\nread(os.path.join(R, 'c.csv'))",
        {"../up/c.csv": "up/c.csv"}, {"up/c.csv"}, set(),
    ),
    "a folder that is walked": (
        "for f in os.listdir('img'): open('img/' + f)", "for f in os.listdir('data/external/img'): open('data/external/img/' + f)",
        {"img/1.png": "img/1.png", "img/2.png": "img/2.png"}, {"img"}, set(),
    ),
    "a formatted name": (
        "open(f'img/{n}.png')", "open(f'data/external/img/{n}.png')",
        {"img/1.png": "img/1.png", "img/2.png": "img/2.png"}, {"img"}, set(),
    ),
    "a pattern": ("glob.glob('img/1*.png')", "glob.glob('data/external/img/1*.png')", {"img/1.png": "img/1.png"}, {"img"}, set()),
    "a method's pattern": (
        "Path('img').glob('*.png')", "Path('data/external/img').glob('*.png')",
        {"img/1.png": "img/1.png", "img/2.png": "img/2.png"}, {"img"}, set(),
    ),
    "absolute": ("read('ABS/up/c.csv')", "read('data/external/c.csv')", {"../up/c.csv": "c.csv"}, {"c.csv"}, set()),
    "a shell line": ("!head -3 a.csv 2>/dev/null", "!head -3 data/external/a.csv 2>/dev/null", {"a.csv": "a.csv"}, {"a.csv"}, set()),
    "a result in a shell line": (
        "OUT = 'raw/b.csv'\ndf.to_csv(OUT)\ndf.to_csv('../up/c.csv')\n!head ./raw/b.csv ../up/c.csv\n!cp raw/b.csv raw/a.csv",
        "OUT = 'raw/b.csv'\ndf.to_csv(OUT)\ndf.to_csv('outputs/c.csv')\n!head ./raw/b.csv outputs/c.csv\n!cp raw/b.csv raw/a.csv",
        {}, set(), {"raw/b.csv", "outputs/c.csv"},
    ),
    "what lies in a folder of results, in a shell line": (
        "os.makedirs('img', exist_ok=True)\nfor n in range(3): fig.savefig(f'img/{n}.png')\n!ls img/*.png img/1.png", None, {}, set(), set(),
    ),
    "what a shell line writes": (
        "!head a.csv > raw/b.csv\n!curl -sLo raw/a.csv https://example.com/a.csv\nread('raw/b.csv')\n!wc a.csv > ../up/c.csv 2>&1",
        "!head data/external/a.csv > raw/b.csv\n!curl -sLo raw/a.csv https://example.com/a.csv\nread('raw/b.csv')\n"
        "!wc data/external/a.csv > outputs/c.csv 2>&1",
        {"a.csv": "a.csv"}, {"a.csv"}, {"raw/b.csv"},
    ),
    "an option that is of another program": (
        "!curl -O https://example.com/b.zip && unzip -o a.csv", "!curl -O https://example.com/b.zip && unzip -o data/external/a.csv",
        {"a.csv": "a.csv"}, {"a.csv"}, set(),
    ),
    "one name from two folders": (
        "read('a.csv'); read('../up/a.csv')", "read('data/external/a.csv'); read('data/external/up_a.csv')",
        {"a.csv": "a.csv", "../up/a.csv": "up_a.csv"}, {"a.csv", "up_a.csv"}, set(),
    ),
    "a column of a file's name": ("df['raw']; df.drop('raw'); plot(title='img')", None, {}, set(), set()),
    "an address": ("read('https://example.com/a.csv')", None, {}, set(), set()),
    "a result": ("df.to_csv('out.csv')\nread('out.csv')", None, {}, set(), {"out.csv"}),
    "a result of before": ("df.to_csv('a.csv')\nread('a.csv')", None, {}, set(), {"a.csv"}),
    "a result outside": ("df.to_csv('../up/new.csv')", "df.to_csv('outputs/new.csv')", {}, set(), {"outputs/new.csv"}),
    "a mark of a root": ("(here / '.git').exists()", None, {}, set(), set()),
    "a query": ("pd.read_sql('select * from t', con)", None, {}, set(), set()),
    "what a mode says": (
        "h5py.File('./new.h5', 'w')\nZipFile('new.zip', mode='w')\nh5py.File('a.csv')",
        "h5py.File('./new.h5', 'w')\nZipFile('new.zip', mode='w')\nh5py.File('data/external/a.csv')",
        {"a.csv": "a.csv"}, {"a.csv"}, {"new.h5", "new.zip"},
    ),
    "asked for, then made": (
        "if not os.path.exists('raw/n.csv'): df.to_csv('raw/n.csv')\nread('raw/n.csv')\nsqlite3.connect('new.db')",
        None, {}, set(), {"raw/n.csv"},
    ),
    "a folder of results that was there": (
        "os.makedirs('img', exist_ok=True)\nfor n in range(3): fig.savefig(f'img/{n}.png')\ndf.to_csv('raw/' + name)", None, {}, set(), set(),
    ),
    "a folder of results under a name": (
        "OUT = Path('img')\n(OUT / 'more').mkdir(parents=True, exist_ok=True)\nreport(str(OUT))\ndf.to_csv(OUT / 'n.csv')\n"
        "read(OUT / 'n.csv')", None, {}, set(), {"img/n.csv"},
    ),
    "a folder that is called so": (
        "PLOTS = 'img'\nf(PLOTS)\nopen(os.path.join(PLOTS, '1.png'), 'w')", None, {}, set(), {"img/1.png"},
    ),
    "a folder of results outside": (
        "OUT = '../up'\nf(OUT)\nos.makedirs(OUT + '/more')\ndf.to_csv(OUT + '/n.csv')",
        "OUT = 'outputs/up'\nf(OUT)\nos.makedirs(OUT + '/more')\ndf.to_csv(OUT + '/n.csv')", {}, set(), {"outputs/up/n.csv"},
    ),
    "a folder of results below the notebook's own": (
        "BASE = Path('.').resolve()\nOUT = BASE / 'img'\nOUT.mkdir(exist_ok=True)\ndf.to_csv(OUT / f'{n}.csv')\nlist(OUT.glob('*.png'))\n"
        "f(OUT, OUT / '1.png')",
        None, {}, set(), set(),
    ),
    "a folder that is made and read": (
        "os.makedirs('img', exist_ok=True)\nos.listdir('img')",
        "os.makedirs('data/external/img', exist_ok=True)\nos.listdir('data/external/img')",
        {"img/1.png": "img/1.png", "img/2.png": "img/2.png"}, {"img"}, set(),
    ),
    "a folder of results that is listed": (
        "D = 'img'\nos.makedirs(D, exist_ok=True)\nfor n in x: open(f'{D}/nb_{n}.png', 'wb')\nglob(os.path.join(D, '*.png'))\nos.listdir(D)\n"
        "f(D)\nfor n in x: df.to_csv(os.path.join('raw', n))\nread(os.path.join('raw', x[0]))\nglob('./raw/*.csv')",
        None, {}, set(), set(),
    ),
    "a folder that is called so, and listed": ("df.to_csv('results/n.csv')\nglob('results/*.csv')", None, {}, set(), {"results/n.csv"}),
    "a folder that is listed, then written to": (
        "for f in glob('img/1*.png'): g(f).save(f'img/{n}.png')\nglob('img/1*.png')",
        "for f in glob('data/external/img/1*.png'): g(f).save(f'data/external/img/{n}.png')\nglob('data/external/img/1*.png')",
        {"img/1.png": "img/1.png", "img/2.png": "img/2.png"}, {"img"}, set(),
    ),
    "a folder that is written to, with an input": (
        "df.to_csv(f'raw/{n}.csv')\nglob('raw/*.csv')\nread('raw/b.csv')",
        "df.to_csv(f'data/external/raw/{n}.csv')\nglob('data/external/raw/*.csv')\nread('data/external/raw/b.csv')",
        {"raw/a.csv": "raw/a.csv", "raw/b.csv": "raw/b.csv"}, {"raw", "raw/b.csv"}, set(),
    ),
    "a name that is not told": ("ModelCheckpoint('m_{epoch}.keras')", None, {}, set(), set()),
    "what the notebook's own function does": ("def save(df, name): df.to_csv(folder + name)\nsave(df, 'n.csv')", None, {}, set(), set()),
    "a folder of what a function names": (
        "ROOT_DIR = '.'\ndef place(name): return os.path.join(ROOT_DIR, 'img', name)\ndef keep(name): plt.savefig(place(name) + '.png')",
        None, {}, set(), set(),
    ),
    "a folder of what a function names to read": (
        "def place(name): return os.path.join('img', name)\nplt.savefig(place('new.png'))\nimread(place('1.png'))",
        "def place(name): return os.path.join('data/external/img', name)\nplt.savefig(place('new.png'))\nimread(place('1.png'))",
        {"img/1.png": "img/1.png", "img/2.png": "img/2.png"}, {"img"}, set(),
    ),
    "a folder of what a function's own name says": (
        "ROOT = '.'\ndef save_fig(name):\n    path = os.path.join(ROOT, 'img', name + '.png')\n    print(path)\n    plt.savefig(path)",
        None, {}, set(), set(),
    ),
    "a folder of what a function's own name says to read": (
        "def load(name):\n    path = os.path.join('img', name)\n    return imread(path)",
        "def load(name):\n    path = os.path.join('data/external/img', name)\n    return imread(path)",
        {"img/1.png": "img/1.png", "img/2.png": "img/2.png"}, {"img"}, set(),
    ),
    "a folder that an archive fills": (
        "ZipFile('a.csv').extractall('img')\nglob('img/*.png')\ntarfile.open('raw/a.csv').extractall(path='raw')\nos.listdir('raw')",
        "ZipFile('data/external/a.csv').extractall('img')\nglob('img/*.png')\ntarfile.open('data/external/raw/a.csv').extractall(path='data/external/raw')"
        "\nos.listdir('data/external/raw')",
        {"a.csv": "a.csv", "raw/a.csv": "raw/a.csv", "raw/b.csv": "raw/b.csv"}, {"a.csv", "raw/a.csv", "raw"}, set(),
    ),
    "a pattern behind a folder that is not told": (
        "read(os.path.join(args.dir, label, '*.csv'))\nread(d / '*.csv')\nread(d.joinpath('*.png'))",
        None, {}, set(), set(),
    ),
    "a name behind a folder that is not told": (
        "for d in ['.']: read(os.path.join(d, 'a.csv'))",
        "for d in ['.']: read(os.path.join(d, 'data/external/a.csv'))",
        {"a.csv": "a.csv"}, {"a.csv"}, set(),
    ),
    "a folder that an argument names": (
        "def keep(fig, name, folder='./img', *, more='./raw'):\n    with open(os.path.join(folder, name), 'wb') as file: dump(fig, file)\n"
        "    fig.savefig(f'{more}/{name}')",
        None, {}, set(), set(),
    ),
    "one name for a result, then for an input": (
        "path = f'img/{n}.png'\nfig.savefig(path)\npath = 'a.csv'\nread(path)\npath = base / path\nread(path + path)",
        "path = f'img/{n}.png'\nfig.savefig(path)\npath = 'data/external/a.csv'\nread(path)\npath = base / path\nread(path + path)",
        {"a.csv": "a.csv"}, {"a.csv"}, set(),
    ),
    "a result under a name that is another's, too": (
        "def keep():\n    path = 'a.csv'\n    df.to_csv(path)\ndef load():\n    path = 'raw/b.csv'\n    return read(path)",
        "def keep():\n    path = 'a.csv'\n    df.to_csv(path)\ndef load():\n    path = 'data/external/raw/b.csv'\n    return read(path)",
        {"raw/b.csv": "raw/b.csv"}, {"raw/b.csv"}, {"a.csv"},
    ),
    "a folder outside": (
        "PLACE = '../up/'\nfor n in range(3): urlretrieve(url, f'{PLACE}{n}.png')",
        "PLACE = 'outputs/up/'\nfor n in range(3): urlretrieve(url, f'{PLACE}{n}.png')", {}, set(), set(),
    ),
    "a program's own": ("p = Path('~/.tool/key.json').expanduser()\np.write_text(key)", None, {}, set(), set()),
    "a root that is found": (
        "ROOT = find()\nread(ROOT / 'raw' / 'b.csv').to_csv(ROOT / 'out' / 'n.csv')\nread(os.path.join(os.getcwd(), 'a.csv'))",
        "ROOT = find()\nread(ROOT / 'data/external/raw' / 'b.csv').to_csv(ROOT / 'out' / 'n.csv')\n"
        "read(os.path.join(os.getcwd(), 'data/external/a.csv'))",
        {"raw/b.csv": "raw/b.csv", "a.csv": "a.csv"}, {"raw/b.csv", "a.csv"}, {"out/n.csv"},
    ),
    "a folder that is found": ("for d in glob(x): read(d / 'labels.csv').to_csv(d / 'new.csv')", None, {}, set(), set()),
    "a result beside the inputs": (
        "R = Path('raw')\nread(R / 'b.csv').to_csv(R / 'n.csv')\nread(R / 'n.csv')",
        "R = Path('data/external/raw')\nread(R / 'b.csv').to_csv(Path('data/processed/n.csv'))\nread(Path('data/processed/n.csv'))",
        {"raw/b.csv": "raw/b.csv"}, {"raw/b.csv"}, {"data/processed/n.csv"},
    ),
    "a name that is put together": (
        "read('img/{}.png'.format(n)); read('raw/%s.csv' % name); read(r'img/{n}.png'.format(n=1)); print('{}/{}'.format(1, 2))",
        "read('data/external/img/{}.png'.format(n)); read('data/external/raw/%s.csv' % name); "
        "read(r'data/external/img/{n}.png'.format(n=1)); print('{}/{}'.format(1, 2))",
        {"img/1.png": "img/1.png", "img/2.png": "img/2.png", "raw/a.csv": "raw/a.csv", "raw/b.csv": "raw/b.csv"}, {"img", "raw"}, set(),
    ),
    "a text that was made of a path": (
        "R = Path('.')\nglob(str(R / 'raw' / '*.csv')); read(os.path.join(R, 'raw', 'b.csv')); read(R / 'raw' / 'b.csv')",
        "R = Path('.')\nglob('data/external/raw/*.csv'); read('data/external/raw/b.csv'); read(Path('data/external/raw/b.csv'))",
        {"raw/a.csv": "raw/a.csv", "raw/b.csv": "raw/b.csv"}, {"raw", "raw/b.csv"}, set(),
    ),
    "a folder in a shell line, and its file in a call": (
        "!ls ./raw\nread('raw/b.csv')\n!ls ./data img/", "!ls data/external/raw\nread('data/external/raw/b.csv')\n!ls data/external data/external/img/",
        {"raw/a.csv": "raw/a.csv", "raw/b.csv": "raw/b.csv", "data/d.csv": "d.csv", "img/1.png": "img/1.png", "img/2.png": "img/2.png"},
        None, set(),
    ),
    "a text that is compared with, and a key": (
        "if source == 'a.csv': read('a.csv')\nnotes = {'a.csv': 1}\nprint(notes['a.csv'])",
        "if source == 'a.csv': read('data/external/a.csv')\nnotes = {'a.csv': 1}\nprint(notes['a.csv'])",
        {"a.csv": "a.csv"}, {"a.csv"}, set(),
    ),
    "an input that is written over": (
        "read('raw/b.csv').to_csv('raw/b.csv')\nread('raw/b.csv')",
        "read('data/external/raw/b.csv').to_csv('data/processed/b.csv')\nread('data/processed/b.csv')",
        {"raw/b.csv": "raw/b.csv"}, {"raw/b.csv"}, {"data/processed/b.csv"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PATHS)
def test_files_come_along(tmp_path, case):
    origin, root = tmp_path / "work", tmp_path / "project"
    for name in (
        "work/a.csv",
        "work/raw/a.csv",
        "work/raw/b.csv",
        "work/data/d.csv",
        "up/a.csv",
        "up/c.csv",
        "work/img/1.png",
        "work/img/2.png",
        "work/.git/config",
        "project/x",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    source, expected, copies, inputs, outputs = PATHS[case]
    given = parse(untagged(source.replace("ABS", tmp_path.as_posix())), "x.ipynb")
    found = brought(given, origin, root)
    assert found.notebook.cells[0].source == (source if expected is None else expected)
    assert found.copies == {(origin / file).resolve(): f"data/external/{place}" for file, place in copies.items()}
    if inputs is not None:
        assert found.inputs == {f"data/external/{place}" for place in inputs}
    assert found.outputs == outputs
    assert found.notes == []


def test_what_begins_with_the_notebooks_own_folder(tmp_path):
    for name in ("work/data/a.csv", "project/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    source = "HERE = Path('.').resolve()\nDATA = HERE / 'data'\nread(HERE / 'data' / 'a.csv')\nlist(DATA.iterdir())\nos.chdir('data')"
    found = brought(parse(untagged(source), "x.ipynb"), tmp_path / "work", tmp_path / "project")
    assert found.notebook.cells[0].source == source.replace("HERE / 'data' / 'a.csv'", "Path('data/external/a.csv')")
    assert found.notes == [
        "x.ipynb: cell 1: `DATA` is `./data`. Fix: write `data/external` in its place",
        "x.ipynb: cell 1, line 5: changes the folder. Fix: remove that, and write paths from the project's root",
    ]


def test_a_folder_of_results_that_leads_out_under_a_name(tmp_path):
    source = "OUT = Path('..') / 'new'\nOUT.mkdir()\ndf.to_csv(OUT / 'a.csv')"
    found = brought(parse(untagged(source), "x.ipynb"), tmp_path / "work", tmp_path / "project")
    assert found.notebook.cells[0].source == source.replace("OUT / 'a.csv'", "Path('outputs/new/a.csv')")
    assert found.notes == ["x.ipynb: cell 1: `OUT` is `../new`. Fix: write `outputs/new` in its place"]


# What the notebook reads, what lies in data/external, and the folder that it reads then.
FOLDERS = {
    "data": ("os.listdir('data')", {}, "os.listdir('data/external')"),
    "data outside": ("os.listdir('../data')", {}, "os.listdir('data/external')"),
    "the same": ("os.listdir('data')", {"d.csv": "data/d.csv", ".gitignore": ""}, "os.listdir('data/external')"),
    "another notebook's": ("os.listdir('data')", {"x.csv": "x"}, "os.listdir('data/external/data')"),
    "another file": ("os.listdir('data')", {"d.csv": "x"}, "os.listdir('data/external/data')"),
    "there twice": ("os.listdir('data')", {"data/d.csv": "x"}, "os.listdir('data/external/work_data')"),
    "beside the notebook": ("glob('*.csv')", {}, "glob('data/external/*.csv')"),
    "beside the notebook, and another's": ("glob('*.csv')", {"x.csv": "x"}, "glob('data/external/work/*.csv')"),
    "one name": ("os.listdir('data'); read('d.csv')", {}, "os.listdir('data/external/data'); read('data/external/d.csv')"),
    "two folders": ("os.listdir('data'); os.listdir('../data')", {},
                    "os.listdir('data/external/work_data'); os.listdir('data/external/data')"),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_holds_only_its_own_files(tmp_path, case):
    source, there, expected = FOLDERS[case]
    for name in ("home/work/data/d.csv", "home/work/d.csv", "home/data/e.csv", "project/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name.removeprefix("home/work/"))
    for name, text in there.items():
        (tmp_path / "project/data/external" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project/data/external" / name).write_text(text)
    found = brought(parse(untagged(source), "x.ipynb"), tmp_path / "home/work", tmp_path / "project")
    assert found.notebook.cells[0].source == expected
    assert len({*found.copies.values()}) == len(found.copies)
    assert found.notes == []


def test_paths_from_the_root_of_its_repository(tmp_path):
    """As in the guide's example: the notebook in notebooks/, its paths from the folder above."""
    for name in (
        "repository/notebooks/x.ipynb",
        "repository/data/external/images/1.png",
        "repository/data/external/a.csv",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "repository/.git").mkdir()
    source = (
        "SOURCE = 'data/external'\nTARGET = 'data/processed'\nread(os.path.join(SOURCE, 'a.csv'))\n"
        "for name in os.listdir(f'{SOURCE}/images'): copy(name, os.path.join(TARGET, name))"
    )
    found = brought(parse(untagged(source), "x.ipynb"), tmp_path / "repository/notebooks", tmp_path / "project")
    assert found.notebook.cells[0].source == source
    assert sorted(found.copies.values()) == ["data/external/a.csv", "data/external/images/1.png"]


def test_an_input_that_is_written_over_under_its_name(tmp_path):
    for name in ("work/a.csv", "project/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    source = "F = 'a.csv'\nread(F).to_csv(F)"
    found = brought(parse(untagged(source), "x.ipynb"), tmp_path / "work", tmp_path / "project")
    assert found.notebook.cells[0].source == "F = 'data/external/a.csv'\nread(F).to_csv(F)"
    assert found.notes == [
        "x.ipynb: cell 1: writes over `a.csv`, which it reads above. Fix: write `data/processed/a.csv` there, and where that is read again"
    ]


def test_what_is_not_there_is_said(tmp_path):
    cells = (
        "1", "pd.read_csv('gone.csv')", "pd.read_csv('gone.csv')\nos.walk('/elsewhere/input')\nread_text('select 1')",
        "!wget https://example.com/fetched.csv", "pd.read_csv('fetched.csv')", f"{add.START}%cd ..",
    )  # fmt: skip
    found = brought(parse(untagged(*cells), "x.ipynb"), tmp_path / "work", tmp_path / "project")
    assert found.notes == [
        "x.ipynb: cell 2: `gone.csv` does not exist. Fix: put it into data/external, and write its path from the project's root (a parameter's in params.yaml)",
        "x.ipynb: cell 3: `/elsewhere/input` does not exist. Fix: put it into data/external, and write its path from the project's root (a parameter's in params.yaml)",
        "x.ipynb: cell 6, line 7: changes the folder. Fix: remove that, and write paths from the project's root",
    ]


def test_what_the_project_has_already_is_no_loss(tmp_path):
    """A notebook from elsewhere that was written for this project: the paths are as they are, and inputs."""
    for name in ("project/data/external/a.csv", "secret.csv", "work/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    source = "read_csv('data/external/a.csv')\nread_csv('./data/external/a.csv')\nread_csv('data/external/b.csv')"
    found = brought(parse(untagged(source), "x.ipynb"), tmp_path / "work", tmp_path / "project")
    assert found.notebook.cells[0].source == source
    assert (found.inputs, found.copies) == ({"data/external/a.csv"}, {})
    assert found.notes == [
        "x.ipynb: cell 1: `data/external/b.csv` does not exist. Fix: put it into data/external, and write its path from the project's root (a parameter's in params.yaml)"
    ]
    # What lies outside of it is not the project's.
    found = brought(
        parse(untagged("read_csv('../secret.csv')"), "x.ipynb"), tmp_path / "work/deep/er", tmp_path / "project"
    )
    assert not found.inputs and len(found.notes) == 1


# What the notebook says, what becomes of it, the inputs, and the notes.
MADE = {
    "the same": ("read('clean.csv')", None, {"clean.csv"}, ["`clean.csv` is the result of stage `prep`: read from there"]),
    "not beside the notebook": ("read('./gone.csv')", "read('gone.csv')", {"gone.csv"}, ["`gone.csv` is the result of stage `prep`: read from there"]),
    "in a folder": (
        "for name in os.listdir('parts'): read('parts/' + name)", None, {"parts"}, ["`parts` is the result of stage `split`: read from there"],
    ),
    "in a shell line": ("!head clean.csv", None, {"clean.csv"}, []),
    "beside an input": (
        "R = Path('raw')\nread(R / 'b.csv')\nread(R / 'made.csv')",
        "R = Path('data/external/raw')\nread(R / 'b.csv')\nread(Path('raw/made.csv'))",
        {"data/external/raw/b.csv", "raw/made.csv"}, ["`raw/made.csv` is the result of stage `prep`: read from there"],
    ),
    "alone in its folder": (
        "R = Path('raw')\nread(R / 'made.csv')", None, {"raw/made.csv"}, ["`raw/made.csv` is the result of stage `prep`: read from there"],
    ),
    "in another place": (
        "read('data/moved.csv')", "read('data/processed/moved.csv')", {"data/processed/moved.csv"},
        ["`data/processed/moved.csv` is the result of stage `split`: read from there"],
    ),
    "another content": (
        "read('other.csv')", "read('data/external/other.csv')", {"data/external/other.csv"},
        ["`other.csv` differs from the result of stage `prep`: copied; to read that one, write `other.csv` in place of `data/external/other.csv`"],
    ),
    "another content below a name": (
        "R = Path('raw')\nread(R / 'b.csv')\nread(R / 'old.csv')\nO = R / 'old.csv'\nread(O)",
        "R = Path('data/external/raw')\nread(R / 'b.csv')\nread(R / 'old.csv')\nO = R / 'old.csv'\nread(O)",
        {"data/external/raw/b.csv", "data/external/raw/old.csv"},
        ["`raw/old.csv` differs from the result of stage `prep`: copied; to read that one, write `Path(\"raw/old.csv\")` in place of "
         "`R / 'old.csv'`",
         "`raw/old.csv` differs from the result of stage `prep`: copied; to read that one, write `raw/old.csv` in place of `O`"],
    ),
    "a folder of results": (
        "R = Path('tables')\nlist((R / 'all').glob('*.csv'))", None, {"tables/all"}, ["`tables/all` is the result of stage `prep`: read from there"],
    ),
    "a folder of other results": (
        "glob('mixed/*.csv')", "glob('data/external/mixed/*.csv')", {"data/external/mixed"},
        ["`mixed/*.csv` differs from the result of stage `prep`: copied; to read that one, write `mixed/*.csv` in place of "
         "`data/external/mixed/*.csv`"],
    ),
    "not in the project": (
        "read('lost.csv')", "read('data/external/lost.csv')", {"data/external/lost.csv"},
        ["`lost.csv` cannot be compared with the result of stage `prep`: copied; to read that one, write `lost.csv` in place of "
         "`data/external/lost.csv`"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MADE)
def test_the_result_of_a_stage_is_read_where_it_is(tmp_path, case):
    same = ("clean.csv", "parts/1.csv", "parts/2.csv", "raw/made.csv", "tables/all/1.csv", "tables/all/2.csv")
    for name in (*same, "raw/b.csv", "raw/old.csv", "mixed/1.csv", "data/moved.csv", "other.csv", "lost.csv"):
        (tmp_path / "work" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "work" / name).write_text(name)
    for name in (*same, "gone.csv"):
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text(name)
    for name in ("other.csv", "raw/old.csv", "mixed/1.csv"):
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text("another")
    (tmp_path / "project/data/processed").mkdir(parents=True)
    (tmp_path / "project/data/processed/moved.csv").write_text("data/moved.csv")
    made = dict.fromkeys(["clean.csv", "gone.csv", "lost.csv", "other.csv", "raw/made.csv", "raw/old.csv"], "prep")
    made |= dict.fromkeys(["tables/all/1.csv", "tables/all/2.csv", "mixed/1.csv"], "prep")
    made |= dict.fromkeys(["parts", "data/processed/moved.csv"], "split")
    source, expected, inputs, notes = MADE[case]
    found = brought(parse(untagged(source), "x.ipynb"), tmp_path / "work", tmp_path / "project", made)
    assert found.notebook.cells[0].source == (source if expected is None else expected)
    assert found.inputs == inputs
    copies = {place.removesuffix("/1.csv") for place in found.copies.values()}
    assert copies == {path for path in inputs if path.startswith("data/external/")}
    assert found.notes == [f"x.ipynb: cell 1: {note}" for note in notes]
