"""`pipeline add`: files that come along, and paths that follow them."""

import sqlite3

import pytest
from add_samples import untagged
from observed import plan

from notebook_pipeline.add.literals import find_named
from notebook_pipeline.add.places import Places
from notebook_pipeline.add.plan import make_plan
from notebook_pipeline.add.written_notebook import start_in_root
from notebook_pipeline.notebook.document import parse

# What the notebook says, what becomes of it, the copies and the results.
PATHS = {
    'a file': ("pd.read_csv('a.csv')", "pd.read_csv('data/external/a.csv')", {'a.csv': 'a.csv'}, set()),
    'a constant': ('F = "raw/b.csv"\nread(F)', 'F = "data/external/raw/b.csv"\nread(F)', {'raw/b.csv': 'raw/b.csv'}, set()),
    'a folder named data': ("read('data/d.csv')", "read('data/external/d.csv')", {'data/d.csv': 'd.csv'}, set()),
    'the folder data itself': ("DATA = 'data'\nread(DATA + '/d.csv')", "DATA = 'data/external'\nread(DATA + '/d.csv')", {'data/d.csv': 'd.csv'}, set()),
    'a folder and what lies in it': ("read('img/1.png'); os.listdir('img')", "read('data/external/img/1.png'); os.listdir('data/external/img')", {'img/1.png': 'img/1.png', 'img/2.png': 'img/2.png'}, set()),
    'pathlib': ("R = Path('raw')\nread(R / 'b.csv')", "R = Path('data/external/raw')\nread(R / 'b.csv')", {'raw/b.csv': 'raw/b.csv'}, set()),
    'os.path': ("R = '../up/'\nread(os.path.join(R, 'c.csv'))", "R = 'data/external/up/'\nread(os.path.join(R, 'c.csv'))", {'../up/c.csv': 'up/c.csv'}, set()),
    'a folder that is walked': ("for f in os.listdir('img'): open('img/' + f)", "for f in os.listdir('data/external/img'): open('data/external/img/' + f)", {'img/1.png': 'img/1.png', 'img/2.png': 'img/2.png'}, set()),
    'a formatted name': ('open(f"img/{n}.png").read()', 'open(f"data/external/img/{n}.png").read()', {'img/1.png': 'img/1.png'}, set()),
    'a pattern': ("glob('img/1*.png')", "glob('data/external/img/1*.png')", {'img/1.png': 'img/1.png'}, set()),
    "a method's pattern": ("list(Path('img').glob('*.png'))", "list(Path('data/external/img').glob('*.png'))", {'img/1.png': 'img/1.png', 'img/2.png': 'img/2.png'}, set()),
    'absolute': ("read('ABS/up/c.csv')", "read('data/external/c.csv')", {'../up/c.csv': 'c.csv'}, set()),
    'a shell line': ('!head -3 a.csv 2>/dev/null', '!head -3 data/external/a.csv 2>/dev/null', {'a.csv': 'a.csv'}, set()),
    'a result in a shell line': ("OUT = 'raw/b.csv'\ndf.to_csv(OUT)\ndf.to_csv('../up/c.csv')\n!head ./raw/b.csv ../up/c.csv\n!cp raw/b.csv raw/a.csv", "OUT = 'raw/b.csv'\ndf.to_csv(OUT)\ndf.to_csv('outputs/c.csv')\n!head ./raw/b.csv outputs/c.csv\n!cp raw/b.csv raw/a.csv", {}, {'raw/b.csv', 'outputs/c.csv', 'raw/a.csv'}),
    'what lies in a folder of results, in a shell line': ("os.makedirs('img', exist_ok=True)\nfor n in range(3): fig.savefig(f'img/{n}.png')\n!ls img/*.png img/1.png", None, {}, {'img/0.png', 'img/1.png', 'img/2.png'}),
    'what a shell line writes': ("!head a.csv > raw/b.csv\nread('raw/b.csv')\n!wc a.csv > ../up/c.csv 2>&1", "!head data/external/a.csv > raw/b.csv\nread('raw/b.csv')\n!wc data/external/a.csv > outputs/c.csv 2>&1", {'a.csv': 'a.csv'}, {'outputs/c.csv', 'raw/b.csv'}),
    'one name from two folders': ("read('a.csv'); read('../up/a.csv')", "read('data/external/a.csv'); read('data/external/up_a.csv')", {'a.csv': 'a.csv', '../up/a.csv': 'up_a.csv'}, set()),
    "a column of a file's name": ("df['raw']; df.drop('raw'); plot(title='img')", None, {}, set()),
    'an address': ("'https://example.com/a.csv'.split('/')", None, {}, set()),
    'a result': ("df.to_csv('out.csv')\nread('out.csv')", None, {}, {'out.csv'}),
    'a result of before': ("df.to_csv('a.csv')\nread('a.csv')", None, {}, {'a.csv'}),
    'a result outside': ("df.to_csv('../up/new.csv')", "df.to_csv('outputs/new.csv')", {}, {'outputs/new.csv'}),
    'a mark of a root': ("here = Path('.')\n(here / '.git').exists()", None, {}, set()),
    'a query': ("pd.read_sql('select * from t', None)", None, {}, set()),
    'what a mode says': ("ZipFile('new.zip', mode='w')\nopen('./new.h5', mode='wb').close()\nread('a.csv')", "ZipFile('new.zip', mode='w')\nopen('./new.h5', mode='wb').close()\nread('data/external/a.csv')", {'a.csv': 'a.csv'}, {'new.h5', 'new.zip'}),
    'asked for, then made': ("if not os.path.exists('raw/n.csv'): df.to_csv('raw/n.csv')\nread('raw/n.csv')\nsqlite3.connect('new.db')", None, {}, {'raw/n.csv', 'new.db'}),
    'a folder of results that was there': ("os.makedirs('img', exist_ok=True)\nfor n in range(3): fig.savefig(f'img/{n}.png')\ndf.to_csv('raw/' + name)", None, {}, {'img/0.png', 'img/1.png', 'raw/a', 'img/2.png'}),
    'a folder of results under a name': ("OUT = Path('img')\n(OUT / 'more').mkdir(parents=True, exist_ok=True)\nprint(str(OUT))\ndf.to_csv(OUT / 'n.csv')\nread(OUT / 'n.csv')", None, {}, {'img/n.csv'}),
    'a folder that is called so': ("PLOTS = 'img'\nopen(os.path.join(PLOTS, '1.png'), 'w').write('x')", None, {}, {'img/1.png'}),
    'a folder of results outside': ("OUT = '../up'\nos.makedirs(OUT + '/more')\ndf.to_csv(OUT + '/n.csv')", "OUT = 'outputs/up'\nos.makedirs(OUT + '/more')\ndf.to_csv(OUT + '/n.csv')", {}, {'outputs/up/n.csv'}),
    "a folder of results below the notebook's own": ("BASE = Path('.').resolve()\nOUT = BASE / 'img'\nOUT.mkdir(exist_ok=True)\ndf.to_csv(OUT / f'{n}.csv')\nlist(OUT.glob('*.png'))", None, {}, {'img/1.csv'}),
    'a folder that is made and read': ("os.makedirs('img', exist_ok=True)\nos.listdir('img')", "os.makedirs('data/external/img', exist_ok=True)\nos.listdir('data/external/img')", {'img/1.png': 'img/1.png', 'img/2.png': 'img/2.png'}, set()),
    'a folder of results that is listed': ("D = 'img'\nos.makedirs(D, exist_ok=True)\nfor n in 'ab': open(f'{D}/nb_{n}.png', 'wb').close()\nglob(os.path.join(D, '*.png'))\nos.listdir(D)\nfor n in 'ab': df.to_csv(os.path.join('raw', n))\nread(os.path.join('raw', 'a'))\nglob('./raw/*.csv')", None, {}, {'img/nb_b.png', 'raw/a', 'raw/b', 'img/nb_a.png'}),
    'a folder that is called so, and listed': ("os.mkdir('results')\ndf.to_csv('results/n.csv')\nglob('results/*.csv')", None, {}, {'results/n.csv'}),
    'a folder that is listed, then written to': ("for f in glob('img/1*.png'): read(f).save(f'img/{label}.png')\nglob('img/1*.png')", "for f in glob('data/external/img/1*.png'): read(f).save(f'data/processed/{label}.png')\nglob('data/external/img/1*.png')", {'img/1.png': 'img/1.png'}, {'data/processed/x.png'}),
    'a folder that is written to, with an input': ("df.to_csv(f'raw/{n}.csv')\nread('raw/b.csv')\nglob('raw/*.csv')", "df.to_csv(f'data/processed/{n}.csv')\nread('data/external/raw/b.csv')\nglob('data/external/raw/*.csv')", {'raw/a.csv': 'raw/a.csv', 'raw/b.csv': 'raw/b.csv'}, {'data/processed/1.csv'}),
    'a name that is not told': ("open('m_{epoch}.keras'.format(epoch=1), 'w').write('x')", None, {}, {'m_1.keras'}),
    "what the notebook's own function does": ("folder = 'img/'\ndef save(df, name): df.to_csv(folder + name)\nsave(df, 'n.csv')", None, {}, {'img/n.csv'}),
    'a folder of what a function names': ("ROOT_DIR = '.'\ndef place(name): return os.path.join(ROOT_DIR, 'img', name)\ndef keep(name): plt.savefig(place(name) + '.png')\nkeep('new')", None, {}, {'img/new.png'}),
    'a folder of what a function names to read': ("def place(name): return os.path.join('img', name)\nplt.savefig(place('new.png'))\nimread(place('1.png'))", "def place(name): return os.path.join('data/external/img', name)\nplt.savefig('data/processed/new.png')\nimread(place('1.png'))", {'img/1.png': 'img/1.png'}, {'data/processed/new.png'}),
    "a folder of what a function's own name says": ("ROOT = '.'\ndef save_fig(name):\n    path = os.path.join(ROOT, 'img', name + '.png')\n    print(path)\n    plt.savefig(path)\nsave_fig('new')", None, {}, {'img/new.png'}),
    "a folder of what a function's own name says to read": ("def load(name):\n    path = os.path.join('img', name)\n    return imread(path)\nload('1.png')", "def load(name):\n    path = os.path.join('data/external/img', name)\n    return imread(path)\nload('1.png')", {'img/1.png': 'img/1.png'}, set()),
    'a folder that an archive fills': ("shutil.make_archive('new', 'zip', 'raw')\nZipFile('new.zip').extractall('img')\nos.listdir('img')", "shutil.make_archive('new', 'zip', 'data/external/raw')\nZipFile('new.zip').extractall('img')\nos.listdir('img')", {'raw/a.csv': 'raw/a.csv', 'raw/b.csv': 'raw/b.csv'}, {'img/a.csv', 'new.zip', 'img/b.csv'}),
    'a name behind a folder that is not told': ("for d in ['.']: read(os.path.join(d, 'a.csv'))", "for d in ['.']: read(os.path.join(d, 'data/external/a.csv'))", {'a.csv': 'a.csv'}, set()),
    'a folder that an argument names': ("def keep(name, folder='./img', *, more='./raw'):\n    with open(os.path.join(folder, name), 'wb') as file: pass\n    fig.savefig(f'{more}/{name}')\nkeep('new')", None, {}, {'raw/new', 'img/new'}),
    'one name for a result, then for an input': ("path = f'img/{label}.png'\nfig.savefig(path)\npath = 'a.csv'\nread(path)", "path = f'img/{label}.png'\nfig.savefig(path)\npath = 'data/external/a.csv'\nread(path)", {'a.csv': 'a.csv'}, {'img/x.png'}),
    "a result under a name that is another's, too": ("def keep():\n    path = 'a.csv'\n    df.to_csv(path)\ndef load():\n    path = 'raw/b.csv'\n    return read(path)\nkeep()\nload()", "def keep():\n    path = 'a.csv'\n    df.to_csv(path)\ndef load():\n    path = 'data/external/raw/b.csv'\n    return read(path)\nkeep()\nload()", {'raw/b.csv': 'raw/b.csv'}, {'a.csv'}),
    'a folder outside': ("PLACE = '../up/'\nfor n in range(2): df.to_csv(f'{PLACE}{n}.png')", "PLACE = 'outputs/up/'\nfor n in range(2): df.to_csv(f'{PLACE}{n}.png')", {}, {'outputs/up/0.png', 'outputs/up/1.png'}),
    "a program's own": ("p = Path('~/.tool/key.json').expanduser()\np.exists()", None, {}, set()),
    'a root that is found': ("def find(): return Path.cwd()\nROOT = find()\nread(ROOT / 'raw' / 'b.csv').to_csv(ROOT / 'img' / 'n.csv')\nread(os.path.join(os.getcwd(), 'a.csv'))", "def find(): return Path.cwd()\nROOT = find()\nread(ROOT / 'data/external/raw' / 'b.csv').to_csv(ROOT / 'img' / 'n.csv')\nread(os.path.join(os.getcwd(), 'data/external/a.csv'))", {'raw/b.csv': 'raw/b.csv', 'a.csv': 'a.csv'}, {'img/n.csv'}),
    'a folder that is found': ("for d in sorted(Path('.').glob('ra*')): read(d / 'b.csv').to_csv(d / 'new.csv')", 'for d in sorted(Path(\'.\').glob(\'data/external/ra*\')): read(d / \'b.csv\').to_csv(Path("raw/new.csv"))', {'raw/b.csv': 'raw/b.csv'}, {'raw/new.csv'}),
    'a result beside the inputs': ("R = Path('raw')\nread(R / 'b.csv').to_csv(R / 'n.csv')\nread(R / 'n.csv')", 'R = Path(\'data/external/raw\')\nread(R / \'b.csv\').to_csv(Path("data/processed/n.csv"))\nread(Path("data/processed/n.csv"))', {'raw/b.csv': 'raw/b.csv'}, {'data/processed/n.csv'}),
    'a name that is put together': ("read('img/{}.png'.format(n)); read('raw/%s.csv' % name); read(r'img/{n}.png'.format(n=1)); print('{}/{}'.format(1, 2))", "read('data/external/img/{}.png'.format(n)); read('data/external/raw/%s.csv' % name); read('data/external/img/{n}.png'.format(n=1)); print('{}/{}'.format(1, 2))", {'img/1.png': 'img/1.png', 'raw/a.csv': 'raw/a.csv'}, set()),
    'a text that was made of a path': ("R = Path('.')\nglob(str(R / 'raw' / '*.csv')); read(os.path.join(R, 'raw', 'b.csv')); read(R / 'raw' / 'b.csv')", "R = Path('.')\nglob(str(R / 'data/external/raw' / '*.csv')); read(os.path.join(R, 'data/external/raw', 'b.csv')); read(R / 'data/external/raw' / 'b.csv')", {'raw/a.csv': 'raw/a.csv', 'raw/b.csv': 'raw/b.csv'}, set()),
    'a folder in a shell line, and its file in a call': ("!ls ./raw\nread('raw/b.csv')\n!ls ./data img/", "!ls data/external/raw\nread('data/external/raw/b.csv')\n!ls data/external data/external/img/", {'raw/a.csv': 'raw/a.csv', 'raw/b.csv': 'raw/b.csv', 'data/d.csv': 'd.csv', 'img/1.png': 'img/1.png', 'img/2.png': 'img/2.png'}, set()),
    'a text that is compared with, and a key': ("source = 'a.csv'\nif source == 'a.csv': read('a.csv')\nnotes = {'a.csv': 1}\nprint(notes['a.csv'])\nplt.title('a.csv')", "source = 'a.csv'\nif source == 'a.csv': read('data/external/a.csv')\nnotes = {'a.csv': 1}\nprint(notes['a.csv'])\nplt.title('a.csv')", {'a.csv': 'a.csv'}, set()),
    'an input that is written over': ("read('raw/b.csv').to_csv('raw/b.csv')\nread('raw/b.csv')", "read('data/external/raw/b.csv').to_csv('data/processed/b.csv')\nread('data/processed/b.csv')", {'raw/b.csv': 'raw/b.csv'}, {'data/processed/b.csv'}),
    'a formatted name with a parameter': ("NAME = 'b'\nread(f'../work/raw/{NAME}.csv')", "NAME = 'b'\nread(f'data/external/raw/{NAME}.csv')", {'raw/b.csv': 'raw/b.csv'}, set()),
    'a copy in a folder that is made': ("folder = 'made/'\nos.mkdir(folder)\nfor i in range(2): shutil.copy('img/1.png', folder + f'img_{i}.png')", "folder = 'made/'\nos.mkdir(folder)\nfor i in range(2): shutil.copy('data/external/img/1.png', folder + f'img_{i}.png')", {'img/1.png': 'img/1.png'}, {'made/img_1.png', 'made/img_0.png'}),
    'a folder of inputs and results': ("read('../up/a.csv')\ndf.to_csv('../up/scaled.csv')", "read('data/external/a.csv')\ndf.to_csv('outputs/scaled.csv')", {'../up/a.csv': 'a.csv'}, {'outputs/scaled.csv'}),
    'a folder of inputs and results under a name': ("D = '../up/'\nread(D + 'a.csv')\ndf.to_csv(D + 'scaled.csv')", "D = 'data/external/up/'\nread(D + 'a.csv')\ndf.to_csv('data/processed/scaled.csv')", {'../up/a.csv': 'up/a.csv'}, {'data/processed/scaled.csv'}),
    'a value of a mapping': ("files = {'train': 'raw/a.csv', 'test': 'raw/b.csv', 'a.csv': 1}\nfor each in ('train', 'test'): read(files[each])", "files = {'train': 'data/external/raw/a.csv', 'test': 'data/external/raw/b.csv', 'a.csv': 1}\nfor each in ('train', 'test'): read(files[each])", {'raw/a.csv': 'raw/a.csv', 'raw/b.csv': 'raw/b.csv'}, set()),
    'a bare word': ("corpus = 'img'\nlen(os.listdir(corpus))\nprint('img')", "corpus = 'data/external/img'\nlen(os.listdir(corpus))\nprint('img')", {'img/1.png': 'img/1.png', 'img/2.png': 'img/2.png'}, set()),
    'a folder above that is computed': ("HERE = Path.cwd().parent\nread(HERE / 'work' / 'raw' / 'b.csv')", 'HERE = Path.cwd().parent\nread(Path("data/external/raw/b.csv"))', {'raw/b.csv': 'raw/b.csv'}, set()),
    "the address of a database": (
        "def engine(address): return sqlite3.connect(address.removeprefix('sqlite:///'))\nengine('sqlite:///../up/new.db').execute('create table t (x)')",
        "def engine(address): return sqlite3.connect(address.removeprefix('sqlite:///'))\nengine('sqlite:///outputs/new.db').execute('create table t (x)')",
        {}, {"outputs/new.db"},
    ),
    "a root that is searched": (
        "ROOT = Path.cwd()\nwhile not (ROOT / '.git').exists(): ROOT = ROOT.parent\nread(ROOT / 'raw' / 'b.csv')",
        "ROOT = Path.cwd()\nwhile not (ROOT / '.git').exists(): ROOT = ROOT.parent\nread(ROOT / 'data/external/raw' / 'b.csv')",
        {"raw/b.csv": "raw/b.csv"}, set(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PATHS)
def test_files_come_along(tmp_path, monkeypatch, case):
    origin, root = tmp_path / "work", tmp_path / "project"
    lay(
        tmp_path,
        "work/a.csv work/raw/a.csv work/raw/b.csv work/data/d.csv up/a.csv up/c.csv work/img/1.png work/img/2.png work/.git/config project/x",
    )
    monkeypatch.chdir(root)
    source, expected, copies, outputs = PATHS[case]
    given = parse(untagged(source.replace("ABS", tmp_path.as_posix())), "x.ipynb")
    found, run = plan(given, origin, root)
    assert run.stopped == ""
    assert found.notebook.cells[0].source == (source if expected is None else expected)
    assert found.copies == {(origin / file).resolve(): f"data/external/{place}" for file, place in copies.items()}
    assert found.outputs == outputs
    assert found.notes == []


def lay(folder, names: str) -> None:
    """Write files that hold their own names."""
    for name in names.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_what_begins_with_the_notebooks_own_folder(tmp_path, monkeypatch):
    lay(tmp_path, "work/data/a.csv project/x")
    monkeypatch.chdir(tmp_path / "project")
    source = "HERE = Path('.').resolve()\nDATA = HERE / 'data'\nread(HERE / 'data' / 'a.csv')\nlist(DATA.iterdir())\nos.chdir('data')\nread('a.csv')"
    found, _ = plan(parse(untagged(source), "x.ipynb"), tmp_path / "work", tmp_path / "project")
    expected = (
        source.replace("/ 'data'", "/ 'data/external'")
        .replace("chdir('data')", "chdir('.')")
        .replace("read('a", "read('data/external/a")
    )
    assert (found.notebook.cells[0].source, found.notes) == (expected, [])


def test_a_folder_of_results_that_leads_out_under_a_name(tmp_path, monkeypatch):
    lay(tmp_path, "project/x work/x")
    monkeypatch.chdir(tmp_path / "project")
    source = "OUT = Path('..') / 'new'\nOUT.mkdir()\ndf.to_csv(OUT / 'a.csv')"
    found, _ = plan(parse(untagged(source), "x.ipynb"), tmp_path / "work", tmp_path / "project")
    assert found.notebook.cells[0].source == source.replace("Path('..') / 'new'", "Path('.') / 'outputs/new'")
    assert (found.outputs, found.notes) == ({"outputs/new/a.csv"}, [])


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
def test_a_folder_holds_only_its_own_files(tmp_path, monkeypatch, case):
    source, there, expected = FOLDERS[case]
    for name in ("home/work/data/d.csv", "home/work/d.csv", "home/data/e.csv", "project/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name.removeprefix("home/work/"))
    for name, text in there.items():
        (tmp_path / "project/data/external" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project/data/external" / name).write_text(text)
    monkeypatch.chdir(tmp_path / "project")
    found, _ = plan(parse(untagged(source), "x.ipynb"), tmp_path / "home/work", tmp_path / "project")
    assert found.notebook.cells[0].source == expected
    assert len({*found.copies.values()}) == len(found.copies)
    assert found.notes == []


def test_paths_from_the_root_of_its_repository(tmp_path, monkeypatch):
    """As in the guide's example: the notebook in notebooks/, its paths from the folder above, where it goes first."""
    lay(
        tmp_path,
        "repository/notebooks/x.ipynb repository/data/external/images/1.png repository/data/external/a.csv repository/.git/x project/x",
    )
    monkeypatch.chdir(tmp_path / "project")
    source = (
        "os.chdir('..')\nSOURCE = 'data/external'\nTARGET = 'data/processed'\nos.makedirs(TARGET)\nread(os.path.join(SOURCE, 'a.csv'))\n"
        "for name in os.listdir(f'{SOURCE}/images'): shutil.copy(f'{SOURCE}/images/{name}', os.path.join(TARGET, name))"
    )
    found, _ = plan(parse(untagged(source), "x.ipynb"), tmp_path / "repository/notebooks", tmp_path / "project")
    assert found.notebook.cells[0].source == source.replace("chdir('..')", "chdir('.')")
    assert sorted(found.copies.values()) == ["data/external/a.csv", "data/external/images/1.png"]
    assert found.outputs == {"data/processed/1.png"}


def test_a_root_that_code_finds(tmp_path, monkeypatch):
    """A module by its own place, the notebook by a search upwards."""
    lay(tmp_path, "work/notebooks/x.ipynb work/data/raw/a.csv work/.git/x project/x")
    module = tmp_path / "work/src/load.py"
    module.parent.mkdir()
    module.write_text("import os\nROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))\nDATA = os.path.join(ROOT, 'data', 'raw')\n\n\n"
                      "def load(name):\n    return open(os.path.join(DATA, name)).read()\n")  # fmt: skip
    monkeypatch.chdir(tmp_path / "project")
    search = "HERE = Path.cwd()\nwhile not (HERE / '.git').exists(): HERE = HERE.parent\n"
    source = f"import sys\nsys.path.append('..')\nfrom src.load import load\nload('a.csv')\n{search}read(HERE / 'data/raw' / 'a.csv')"
    found, run = plan(parse(untagged(source), "x.ipynb"), tmp_path / "work/notebooks", tmp_path / "project")
    assert (run.stopped, found.notes, found.copies) == (
        "",
        [],
        {tmp_path / "work/data/raw/a.csv": "data/external/raw/a.csv"},
    )
    assert found.texts[module].split("\n")[1:3] == [
        'ROOT = __import__("os").getcwd()',
        "DATA = os.path.join(ROOT, 'data/external', 'raw')",
    ]
    assert found.notebook.cells[0].source == source.replace("'data/raw'", "'data/external/raw'")


@pytest.mark.parametrize(
    "write",
    [
        "read(F).to_csv(F)",
        "open(F, 'a').write('x')",
        "base = sqlite3.connect(F)\nbase.execute('create table more (x)')",
    ],
)
def test_an_input_that_is_changed_under_its_name(tmp_path, monkeypatch, write):
    """In the project it would be changed for each later run: the notebook works on a copy."""
    lay(tmp_path, "work/a.csv project/x")
    if "sqlite3" in write:
        (tmp_path / "work/a.csv").unlink()
        base = sqlite3.connect(tmp_path / "work/a.csv")
        base.execute("create table t (x)")
        base.close()
    monkeypatch.chdir(tmp_path / "project")
    found, _ = plan(parse(untagged(f"F = 'a.csv'\n{write}"), "x.ipynb"), tmp_path / "work", tmp_path / "project")
    assert found.notebook.cells[0].source == f"F = 'data/processed/a.csv'\n{write}"
    assert found.working_copies == {"data/external/a.csv": "data/processed/a.csv"}
    assert (found.outputs, found.notes) == ({"data/processed/a.csv"}, [])
    started = start_in_root(found.notebook, False, (), found.working_copies).cells[0].source
    assert started.endswith("shutil.copyfile(source, target)")


def test_what_is_not_there_is_said(tmp_path, monkeypatch):
    lay(tmp_path, "work/x project/x")
    monkeypatch.chdir(tmp_path / "project")
    gone = "does not exist. Fix: put it into data/external, and write its path from the project's root (a parameter's in params.yaml)"
    found, run = plan(
        parse(untagged("1", "read('gone.csv')", "read('late.csv')"), "x.ipynb"), tmp_path / "work", tmp_path / "project"
    )
    assert run.stopped_cell == 2 and found.notes == [f"x.ipynb: cell 2: `gone.csv` {gone}"]
    # What did not run, the code tells.
    told = find_named(
        parse(untagged("1", "pd.read_csv('gone.csv')", "open('/elsewhere/late.csv')"), "x.ipynb"),
        [tmp_path / "work"],
        2,
    )
    assert [(use.what, use.said) for use in told.uses] == [("read", "gone.csv"), ("read", "/elsewhere/late.csv")]


def test_what_the_project_has_already_is_no_loss(tmp_path, monkeypatch):
    """A notebook from elsewhere that was written for this project: the paths are as they are, and inputs."""
    lay(tmp_path, "project/data/external/a.csv work/x")
    monkeypatch.chdir(tmp_path / "project")
    given = parse(untagged("pd.read_csv('data/external/a.csv')"), "x.ipynb")
    places = Places(tmp_path / "work", tmp_path / "project")
    found = make_plan(given, tmp_path / "project", find_named(given, [*places.bases, tmp_path / "project"]), places)
    assert found.notebook.cells[0].source == given.cells[0].source
    assert (found.inputs, found.copies, found.notes) == ({"data/external/a.csv"}, {}, [])


# What the notebook says, what becomes of it, the inputs, and the notes.
MADE = {
    "the same": ("read('clean.csv')", None, {"clean.csv"}, ['cell 1: `clean.csv` is the result of stage `prep`: read from there']),
    "in a folder": ("for name in os.listdir('parts'): read('parts/' + name)", None, {"parts", "parts/1.csv", "parts/2.csv"}, ['cell 1: `parts/1.csv` is the result of stage `split`: read from there', 'cell 1: `parts/2.csv` is the result of stage `split`: read from there']),
    "in a shell line": ("!head clean.csv", None, {"clean.csv"}, ["`clean.csv` is the result of stage `prep`: read from there"]),
    "beside an input": (
        "R = Path('raw')\nread(R / 'b.csv')\nread(R / 'made.csv')",
        "R = Path('data/external/raw')\nread(R / 'b.csv')\nread(Path(\"raw/made.csv\"))", {"data/external/raw/b.csv", "raw/made.csv"}, ['cell 1: `raw/made.csv` is the result of stage `prep`: read from there']),
    "alone in its folder": ("R = Path('raw')\nread(R / 'made.csv')", None, {"raw/made.csv"}, ['cell 1: `raw/made.csv` is the result of stage `prep`: read from there']),
    "in another place": ("read('data/moved.csv')", "read('data/processed/moved.csv')", {"data/processed/moved.csv"}, ['cell 1: `data/processed/moved.csv` is the result of stage `split`: read from there']),
    "another content": ("read('other.csv')", "read('data/external/other.csv')", {"data/external/other.csv"}, ['cell 1: `other.csv` differs from the result of stage `prep`: copied; to read that one, write `other.csv` in place of `data/external/other.csv`']),
    "a folder of other results": ("glob('mixed/*.csv')", "glob('data/external/mixed/*.csv')", {"data/external/mixed/1.csv"}, ['`mixed/1.csv` differs from the result of stage `prep`: copied; to read that one, write `mixed/1.csv` in place of `data/external/mixed/1.csv`']),
    "not in the project": ("read('lost.csv')", "read('data/external/lost.csv')", {"data/external/lost.csv"}, ['cell 1: `lost.csv` cannot be compared with the result of stage `prep`: copied; to read that one, write `lost.csv` in place of `data/external/lost.csv`']),
}  # fmt: skip


@pytest.mark.parametrize("case", MADE)
def test_the_result_of_a_stage_is_read_where_it_is(tmp_path, monkeypatch, case):
    same = "clean.csv parts/1.csv parts/2.csv raw/made.csv"
    for name in f"{same} raw/b.csv raw/old.csv mixed/1.csv data/moved.csv other.csv lost.csv".split():
        (tmp_path / "work" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "work" / name).write_text(name)
    lay(tmp_path / "project", same)
    for name, text in {
        "other.csv": "another",
        "mixed/1.csv": "another",
        "data/processed/moved.csv": "data/moved.csv",
    }.items():
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text(text)
    monkeypatch.chdir(tmp_path / "project")
    made = dict.fromkeys(["clean.csv", "lost.csv", "other.csv", "raw/made.csv", "mixed/1.csv"], "prep")
    made |= dict.fromkeys(["parts", "data/processed/moved.csv"], "split")
    source, expected, inputs, notes = MADE[case]
    found, _ = plan(parse(untagged(source), "x.ipynb"), tmp_path / "work", tmp_path / "project", made)
    assert found.notebook.cells[0].source == (source if expected is None else expected)
    assert found.inputs == inputs
    assert {*found.copies.values()} == {path for path in inputs if path.startswith("data/external/")}
    assert found.notes == [f"x.ipynb: {note}" for note in notes]
