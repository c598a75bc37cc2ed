"""What looks like a secret stays where it is: a table of files, and the ways on which one could travel.

One more file that must not travel, or must, is one more line of `FILES`.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TEMPLATE, Workspace, notebook
from observed import plan
from ruamel.yaml import YAML

from notebook_pipeline import secret_files
from notebook_pipeline.notebook.document import parse
from notebook_pipeline.report import plots as report

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
PUBLIC = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"
SERVICE = '{"type": "service_account", "project_id": "a", "private_key": "KEY"}'.replace(
    "KEY", KEY.replace("\n", "\\n")
)
# A file, what it holds, and whether it looks like a secret.
FILES = [
    (".env", "DB=ada:pw@host", True),
    (".env.local", "A=1", True),
    (".env-production", "A=1", True),
    ("prod.env", "A=1", True),
    (".ssh/config", "Host *", True),
    (".ssh/id_rsa", KEY, True),
    (".aws/credentials", "[default]", True),
    (".gnupg/pubring.kbx", "x", True),
    (".config/gcloud/access_tokens.db", "x", True),
    (".kube/config", "kind: Config", True),
    (".docker/config.json", "{}", True),
    (".netrc", "machine a", True),
    (".pgpass", "a:b:c:d:e", True),
    (".git-credentials", "https://a:b@c", True),
    ("id_rsa", "x", True),
    ("id_rsa.old", "x", True),
    ("id_ed25519", "x", True),
    ("id_work", "x", True),
    ("credentials", "x", True),
    ("credentials.json", "{}", True),
    ("new_user_credentials.csv", "User name,Password\n", True),
    ("rootkey.csv", "AWSAccessKeyId=x", True),
    ("client_secret_1.json", "{}", True),
    ("secrets.toml", "a = 1", True),
    ("mysecret.txt", "x", True),
    ("secrets.py", 'DB_PASSWORD = "hunter2"', True),
    ("SECRET.KEY", "x", True),
    ("server.pem", KEY, True),
    ("server.pem", "x", True),
    ("private.key", "x", True),
    ("cert.p12", "x", True),
    ("kaggle.json", '{"username": "ada", "key": "1"}', True),
    ("service_account.json", SERVICE, True),
    ("my-project-1a2b3c.json", SERVICE, True),
    ("notes.txt", f"see below\n{KEY}", True),
    ("kube.yaml", "users:\n- user:\n    client-key-data: LS0tLS1C\n", True),
    ("config.npmrc", "//registry/:_authToken=0123456789abcdef", True),
    ("pypirc.txt", "password = pypi-AgEIcHlwaS5vcmcCJDAxMjM0NTY3", True),
    ("talk.ipynb", notebook(f'client = OpenAI(api_key="sk-proj-{"a1" * 20}")'), True),
    ("boto.py", 's3 = client(aws_secret_access_key="wJalrXUtnFEMIK7MDENGbPxRfiCYzEXAMPLEKEYX")', True),
    # What a rule that is too wide would take.
    (".env.example", "DB=", False),
    ("environment.yml", "dependencies: []", False),
    ("id_rsa.pub", "ssh-rsa AAAA", False),
    ("id_mapping.csv", "id,name\n1,a\n", False),
    ("id_map.parquet", "PAR1\0", False),
    ("secretary_salaries.csv", "name,salary\na,1\n", False),
    ("secretion.txt", "x", False),
    ("credentials.md", "# Where to put your credentials\n", False),
    ("credentials.py", "def load():\n    return os.environ['TOKEN']\n", False),
    ("secret_santa.png", "\x89PNG\0", False),
    ("public.key", PUBLIC, False),
    ("ca.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", False),
    ("keys.csv", "key,value\na,1\n", False),
    ("tokens.txt", "the\nof\nand\n", False),
    ("talk.ipynb", notebook('client = OpenAI(api_key=os.environ["OPENAI_API_KEY"])'), False),
    ("docs.ipynb", notebook('info = {"type": "service_account"}', 'aws_secret_access_key = os.environ["X"]'), False),
    ("hashes.csv", "id,sha256\n1,6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b\n", False),
]


def written(root: Path, name: str, text: str, mode: int = 0o600) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("name", "text", "is_secret"), FILES, ids=[f"{name}-{is_secret}" for name, _, is_secret in FILES]
)
def test_what_looks_like_a_secret(tmp_path, name, text, is_secret):
    path = written(tmp_path, name, text)
    assert bool(secret_files.why(path)) == is_secret
    assert secret_files.why(path, {path.resolve()}) is None


def test_a_link_is_what_it_leads_to(tmp_path):
    written(tmp_path, ".ssh/id_rsa", "x")
    (tmp_path / "data.csv").symlink_to(".ssh/id_rsa")
    (tmp_path / "credentials.json").symlink_to("nothing")
    assert secret_files.why(tmp_path / "data.csv") == "it lies in .ssh"
    assert secret_files.why(tmp_path / "credentials.json") == "its name"


# A cell that reads secrets, and what of the folder it may bring along.
READERS = [
    ("open('.env').read()", []),
    ("import json\njson.load(open('service_account.json'))", []),
    ("import os\nopen(os.path.expanduser('~/.ssh/id_rsa')).read()", []),
    ("from pathlib import Path\n(Path.home() / '.aws' / 'credentials').read_text()", []),
    ("open('HOME/.ssh/id_rsa').read()", []),
    ("!cat .env", []),
    ("import os\nfor name in os.listdir('data'):\n    open(f'data/{name}')", ["data/external/a.csv"]),
    ("import os\nos.listdir('HOME/.ssh')", []),
    ("from glob import glob\nfor name in glob('data/*'):\n    open(name)", ["data/external/a.csv"]),
    ("pd.read_csv('id_mapping.csv')", ["data/external/id_mapping.csv"]),
]


@pytest.mark.parametrize(("cell", "expected"), READERS, ids=[cell.splitlines()[-1] for cell, _ in READERS])
def test_none_comes_along(tmp_path, monkeypatch, cell, expected):
    home, work = tmp_path / "home/ada", tmp_path / "work"
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(home))
    for name, text, _ in FILES:
        written(home, name, text)
    for name in (".env", "data/.env", "data/cert.p12", "data/a.csv", "id_mapping.csv"):
        written(work, name, "a,b\n1,2\n")
    written(work, "service_account.json", SERVICE)
    (work / "data/b.csv").symlink_to(home / ".ssh/id_rsa")
    given = parse(notebook({"source": cell.replace("HOME", home.as_posix())}), "x.ipynb")
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    found, _ = plan(given, work, tmp_path / "project")
    assert sorted(found.copies.values()) == expected
    # The code names them as before, and nobody is told to put them into the project.
    assert not [note for note in found.notes if "does not exist" in note]


@pytest.fixture(scope="session")
def base(made, tmp_path_factory) -> Workspace:
    """A project without a stage, committed. Not to be changed."""
    base = Workspace(tmp_path_factory.mktemp("secret") / "project", made.environ)
    shutil.copytree(made.path, base.path, symlinks=True, ignore=shutil.ignore_patterns("cache", "data", "outputs"))
    base.write("data/.gitignore", "/external\n")
    base.write("dvc.yaml", "stages:\n  code:\n    matrix:\n      notebook: []\n    cmd: pipeline code "
               "notebooks/${item.notebook}.ipynb outputs/code/${item.notebook}.py\n")  # fmt: skip
    base.write("params.yaml", "other: 1\n")
    base.write("data/external/old.csv", "old")
    base.run("dvc", "add", "--quiet", "data/external")
    base.run("git", "add", "--all")
    base.run("git", "commit", "--quiet", "--no-verify", "--message", "nothing yet")
    return base


@pytest.fixture
def empty(base, tmp_path) -> Workspace:
    """A copy of that project, to work in."""
    return Workspace(shutil.copytree(base.path, tmp_path / "project", symlinks=True), base.environ)


def files(root: Path) -> dict[str, bytes]:
    every = {path.relative_to(root): path for path in root.rglob("*") if path.is_file()}
    mine = {name: path for name, path in every.items() if not {".git", "__pycache__", "tmp"} & {*name.parts}}
    return {name.as_posix(): path.read_bytes() for name, path in mine.items()}


def test_add_copies_tracks_and_lists_none(empty, tmp_path):
    """What the code tells, what a run sees, and what a run writes."""
    work = tmp_path / "work"
    for name in (".env", "data/secret.txt", "data/a.csv"):
        written(work, name, "hunter2\n")
    empty.write("config/credentials.json", '{"password": "hunter2"}')
    cell = (
        "import os, pathlib\npaths = ['.env', 'config/credentials.json']\n"
        "text = [open(path).read() for path in paths if os.path.exists(path)]\n"
        "for name in sorted(os.listdir('data')):\n    open(f'data/{name}').read()\n"
        "open('token.key', 'w').write('hunter2')\nopen('out.txt', 'w').write('x')"
    )
    (work / "x.ipynb").write_text(notebook("N = 1", cell), encoding="utf-8")
    said = empty.pipeline("add", str(work / "x.ipynb")).stdout
    stage = YAML(typ="safe").load(empty.read("dvc.yaml"))["stages"]["x"]
    assert stage["deps"] == ["data/external/data", "outputs/code/x.py"]
    assert stage["outs"] == ["out.txt", "outputs/x.ipynb"]
    for path in (work / ".env", work / "data/secret.txt", "config/credentials.json", "token.key"):
        assert f"{path}: looks like a secret (its name), and is not copied, tracked or listed. Fix: " in said
    assert sorted(name for name in files(empty.path) if name.startswith("data/external/")) == [
        "data/external/data/a.csv",
        "data/external/old.csv",
    ]
    assert stat.S_IMODE((empty.path / "data/external/data/a.csv").stat().st_mode) == 0o600 or os.name == "nt"
    cached = [path.read_bytes() for path in (empty.path / ".dvc/cache").rglob("*") if path.is_file()]
    assert b'{"password": "hunter2"}' not in cached and b"hunter2" not in cached
    # The stage's own runs do not ask for them either.
    strict = Workspace(empty.path, empty.environ | {"PIPELINE_STRICT": "1"})
    assert "does not declare" not in strict.run("dvc", "repro", "--force", "x").stdout


def test_what_is_allowed(empty, tmp_path):
    work = tmp_path / "work"
    path = written(work, "secret_santa.csv", "a,b\n")
    (work / "x.ipynb").write_text(notebook("N = 1", "open('secret_santa.csv').read()"), encoding="utf-8")
    empty.pipeline("add", str(work / "x.ipynb"), "--no-run", "--allow", str(path))
    assert (empty.path / "data/external/secret_santa.csv").exists()
    assert 'allow = ["data/external/secret_santa.csv"]' in empty.read("pyproject.toml")
    # So the hook takes it; and no other.
    empty.write("data/external/other_secret.csv", "x")
    empty.write("notes.txt", KEY)
    done = empty.run("python", "-m", "notebook_pipeline.secret_files", "notes.txt", "README.md", check=False)
    assert done.returncode == 1
    assert [line.partition(". Fix: ")[0] for line in done.stdout.splitlines()] == [
        "notes.txt: looks like a secret (it holds a private key)",
        "data/external/other_secret.csv: looks like a secret (its name)",
    ]
    # What DVC would take with the whole folder keeps `add` from all.
    empty.run("git", "add", "--all")
    before = files(empty.path)
    (work / "y.ipynb").write_text(notebook("N = 1"), encoding="utf-8")
    done = empty.pipeline("add", str(work / "y.ipynb"), check=False)
    assert done.returncode == 1 and done.stdout.startswith("data/external/other_secret.csv: looks like a secret")
    assert files(empty.path) == before


def test_a_commit_with_one_is_refused(empty):
    """By the hook of the project, with what git ignores and DVC would push."""
    empty.write("data/external/.env", "A=1")
    empty.write("id_rsa", "x")
    empty.run("git", "add", "id_rsa")
    done = empty.run("pre-commit", "run", "no-secrets", check=False)
    assert done.returncode == 1
    assert "\nid_rsa: looks like a secret" in done.stdout and "\ndata/external/.env: looks like a secret" in done.stdout


def test_every_file_of_a_project_passes(made):
    done = made.run("pre-commit", "run", "no-secrets", "--all-files", check=False)
    assert done.returncode == 0, done.stdout


def test_what_lies_outside_is_asked_for(empty, tmp_path):
    far = written(tmp_path / "far", "far.csv", "a" * 12_345)
    work = tmp_path / "repository/notebooks"
    written(work.parent, "requirements.txt", "")
    written(work.parent, "data/near.csv", "b")
    cell = f"open({far.as_posix()!r}).read()\nopen('../data/near.csv').read()"
    (work).mkdir()
    (work / "x.ipynb").write_text(notebook("N = 1", cell), encoding="utf-8")
    before = files(empty.path)
    done = empty.pipeline("add", str(work / "x.ipynb"), "--no-run", check=False)
    assert done.returncode == 1 and files(empty.path) == before
    line = f"x.ipynb: reads 1 file (12 kB) outside {work.parent}: {far}. Fix: add `--yes` to copy what lies outside\n"
    assert done.stdout == line
    empty.pipeline("add", str(work / "x.ipynb"), "--no-run", "--yes")
    assert (empty.path / "data/external/far.csv").exists() and (empty.path / "data/external/near.csv").exists()


def test_before_much_is_copied_it_asks(empty, tmp_path):
    large = written(tmp_path / "work", "large.csv", "a")
    os.truncate(large, 1_200_000_000)  # it takes no room on the disk
    (tmp_path / "work/x.ipynb").write_text(
        notebook("N = 1", "for line in open('large.csv'): print(line)"), encoding="utf-8"
    )
    before = files(empty.path)
    done = empty.pipeline("add", str(tmp_path / "work/x.ipynb"), check=False)
    assert done.returncode == 1 and files(empty.path) == before
    assert done.stdout == (
        f"x.ipynb: asks for {large} (1.2 GB), with which its copies are more than 1.0 GB. Fix: add `--yes` to copy all of it\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="a terminal of POSIX")
@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 1)])
def test_a_terminal_is_asked(tmp_path, answer, code):
    import pty

    (tmp_path / "far").mkdir()
    written(tmp_path, "far/far.csv", "x")
    script = (
        "from pathlib import Path\nfrom notebook_pipeline.add.command import _parse\n"
        "from notebook_pipeline.add.job import Job\njob = Job(Path('work/x.ipynb'), _parse(['x']), *[None] * 8)\n"
        "job._ask_before_copying([Path('far/far.csv').resolve()])"
    )
    (tmp_path / "work").mkdir()
    own, theirs = pty.openpty()
    os.write(own, answer.encode())
    environ = os.environ | {"PYTHONPATH": str(TEMPLATE / "template" / ".pipeline")}
    done = subprocess.run(
        [sys.executable, "-c", script], stdin=theirs, cwd=tmp_path, env=environ, capture_output=True, text=True
    )
    os.close(own), os.close(theirs)
    assert "x.ipynb: reads 1 file (1 B) outside " in done.stdout and "Copy into data/external? [y/N] " in done.stdout
    assert bool(done.returncode) == bool(code)


HOSTILE = [
    "![a](/etc/hostname)",
    "![a](http://127.0.0.1:9/a.png)",
    "<script>alert(1)</script>",
    "[a](javascript:alert)",
    "a`b*c|d",
]


def test_a_report_shows_pictures_of_the_pipeline_alone(bare):
    """Whatever stands in values and names; and the pictures are links to a file outside."""
    bare.run("git", "init", "--quiet", "--initial-branch=main")
    bare.run("dvc", "init", "--quiet")
    outside = bare.path.parent / f"{bare.path.name} of others.png"
    outside.write_bytes(b"not yours")
    bare.write("dvc.yaml", "metrics:\n  - m.json\nplots:\n  - a.png\n  - link.png\n")
    (bare.path / "link.png").symlink_to(outside)
    for branch, value in (("main", "old"), ("topic", "")):
        bare.write("a.png", f"picture of {branch}")
        yaml = YAML(typ="safe")
        with open(bare.path / "params.yaml", "w") as file:
            yaml.dump({f"p{at}": value or text for at, text in enumerate(HOSTILE)}, file)
        bare.write("m.json", json.dumps(dict.fromkeys(HOSTILE, len(value))))
        bare.run("git", "add", "--all")
        bare.run("git", "commit", "--quiet", "--message", branch)
        bare.run("git", "checkout", "--quiet", "-B", "topic")
    done = bare.run("pipeline", "report", "main")
    page = bare.read("dvc_plots/report.html")
    assert "Traceback" not in done.stdout
    for text in HOSTILE[:4]:
        assert page.count(text.replace("<", "&lt;").replace(">", "&gt;")) == 2, text
    assert page.count("<img") == page.count('src="data:image/png;base64,cGljdHVyZSBvZi') == 2
    assert "<p>Not drawn: <code>link.png</code> leads out of the project</p>" in page
    assert "<script" not in page and "href" not in page and "bm90IHlvdXJz" not in page


def test_a_plot_s_template_shows_no_pictures():
    mark = {"type": "image", "url": "file:///etc/logo.png"}
    for spec in ({"mark": "image"}, {"layer": [{"mark": "line"}, {"mark": mark}]}, {"spec": {"mark": mark}}):
        assert report._shows_pictures(spec)
    assert not report._shows_pictures({"layer": [{"mark": {"type": "line"}}], "data": {"values": [{"a": "image"}]}})


def test_ci_gives_keys_to_the_steps_that_need_them():
    workflow = YAML(typ="safe").load(TEMPLATE / "template/.github/workflows/pipeline.yml")
    jobs = workflow["jobs"].values()
    assert "secrets." not in str(workflow["env"]) + "".join(str(job.get("env")) for job in jobs)
    given = [step["name"] for job in jobs for step in job["steps"] if "secrets." in str(step)]
    assert given == ["Data", "Report"]


@pytest.mark.skipif(os.name == "nt", reason="the steps are for Linux runners")
def test_gitlab_runs_notebooks_without_keys(tmp_path):
    """Each command of the job, with a `uv` that writes down which keys it sees."""
    job = YAML(typ="safe").load(TEMPLATE / "template/.gitlab-ci.yml")["pipeline"]
    seen = (
        '#!/bin/sh\necho "$*: ${AWS_ACCESS_KEY_ID-none}" >> "$SEEN"\ncase "$*" in *"remote list") echo store;; esac\n'
    )
    for name in ("uv", "pip"):
        written(tmp_path, f"bin/{name}", seen, 0o755)
    script = "\n".join(line for line in (*job["before_script"], *job["script"]))
    environ = {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "SEEN": str(tmp_path / "seen"),
        "AWS_ACCESS_KEY_ID": "key",
    }
    subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=tmp_path, env=environ | job["variables"], check=True)
    lines = [line.removeprefix("run ") for line in (tmp_path / "seen").read_text().splitlines()]
    assert [line.rpartition(": ")[0] for line in lines if line.endswith(": key") and "remote list" not in line] == [
        "install --quiet uv", "dvc pull"
    ]  # fmt: skip
    assert "dvc repro: none" in lines
