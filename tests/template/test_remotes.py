"""`remote`: where data and results go, from the question to a colleague's clone."""

import getpass
import json
import os
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from conftest import TEMPLATE, Workspace, free_port
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from moto.server import ThreadedMotoServer
from remote_samples import ADD, BY_HAND, MODIFY

problem = runpy.run_path(str(TEMPLATE / "extensions" / "remotes.py"))["remote_problem"]


def files(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in root.rglob("*") if path.is_file()}


# ---------------------------------------------------------------------------------------------------------------------
# What is rendered
# ---------------------------------------------------------------------------------------------------------------------


def test_without_a_remote_all_is_as_it_was(render):
    rendered = files(render())
    assert rendered[".dvc/config"] == "[core]\n    analytics = false\n    autostage = true\n"
    assert '    "dvc>=3.67,<4",\n' in rendered["pyproject.toml"]
    assert "\nuv run dvc remote add --default storage URL\n" in rendered["README.md"]


@pytest.mark.parametrize("kind", BY_HAND)
def test_the_configuration_is_what_dvc_itself_writes(render, made, kind):
    answers, commands = BY_HAND[kind]
    by_hand, rendered = Workspace(render(), made.environ), render("given", **answers)
    by_hand.run("git", "init", "--quiet")
    for command in commands:
        by_hand.run("dvc", *command)
    assert (rendered / ".dvc" / "config").read_bytes() == (by_hand.path / ".dvc" / "config").read_bytes()


@pytest.mark.parametrize("kind", BY_HAND)
def test_it_changes_what_it_governs_and_nothing_else(render, kind):
    answers, _ = BY_HAND[kind]
    without, rendered = files(render()), files(render("given", project_name="penguins", **answers))
    extra = set() if answers["remote"] == "local" else {"pyproject.toml"}
    assert {name for name in without.keys() | rendered.keys() if without.get(name) != rendered.get(name)} == {
        ".copier-answers.yml", ".dvc/config", "README.md", *extra,
    }  # fmt: skip
    dev = [tomllib.loads(made["pyproject.toml"])["dependency-groups"]["dev"] for made in (without, rendered)]
    of_dvc = f"dvc[{answers['remote']}]>=3.67,<4" if extra else "dvc>=3.67,<4"
    assert dev[1] == [of_dvc, *dev[0][1:]]
    before, after = (re.split(r"(?m)^(?=## )", made["README.md"]) for made in (without, rendered))
    assert [new for old, new in zip(before, after, strict=True) if old != new][0].startswith("## Share the results\n")
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 1


# ---------------------------------------------------------------------------------------------------------------------
# An update
# ---------------------------------------------------------------------------------------------------------------------


def update(project: Workspace, **answers: str) -> str:
    """`copier update` to other answers, with the version of the template that the project has."""
    data = [word for name, value in answers.items() for word in ("--data", f"{name}={value}")]
    command = (sys.executable, "-m", "copier", "update", "--trust", "--defaults", "--vcs-ref", "HEAD", *data)
    return project.run(*command).stdout


@pytest.fixture
def rendered(render, environ) -> Workspace:
    """A project in git, not set up: enough for what copies files."""
    project = Workspace(render(), environ)
    project.run("git", "init", "--quiet")
    commit(project)
    return project


def commit(project: Workspace) -> None:
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--no-verify", "--message", "work")


def test_a_remote_of_the_persons_own_stays(rendered, made):
    """Made by hand, before the template had the question; then told to the template, as it is or as another."""
    rendered.environ = made.environ
    rendered.run("dvc", *ADD, "s3://bucket/path")
    commit(rendered)
    by_hand = rendered.read(".dvc/config")
    update(rendered)
    assert rendered.run("git", "status", "--porcelain").stdout == ""
    update(rendered, remote="s3", remote_url="s3://bucket/path")
    assert rendered.run("git", "ls-files", "--unmerged").stdout == ""
    assert rendered.read(".dvc/config") == by_hand and '"dvc[s3]>=' in rendered.read("pyproject.toml")
    commit(rendered)
    # An answer that no longer fits is refused in one line.
    with pytest.raises(
        AssertionError, match=r"\n *remote_url: 's3://bucket/path' is not a URL of gs. Fix: write gs://BUCKET/PATH"
    ):
        update(rendered, remote="gs")
    assert rendered.run("git", "status", "--porcelain").stdout == ""
    # What the template does not know of that remote stays with it.
    rendered.run("dvc", *MODIFY, "region", "eu-central-1")
    rendered.run("dvc", "remote", "add", "backup", "/backup")
    commit(rendered)
    update(rendered, project_name="Other birds", remote_profile="team")
    for line in ("url = s3://bucket/path", "region = eu-central-1", "profile = team", "url = /backup"):
        assert f"\n    {line}\n" in rendered.read(".dvc/config")
    rendered.run("git", "reset", "--quiet", "--hard")
    # Which of two is meant, a person has to say.
    update(rendered, remote="ssh", remote_url="ssh://host/path")
    assert ".dvc/config" in rendered.run("git", "diff", "--name-only", "--diff-filter=U").stdout
    for line in ("url = s3://bucket/path", "region = eu-central-1", "url = ssh://host/path", "url = /backup"):
        assert f"\n    {line}\n" in rendered.read(".dvc/config")


# ---------------------------------------------------------------------------------------------------------------------
# The real thing
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Store:
    """A remote that is there: the answers, a person's secrets as variables, what stands for the words of README's
    commands, variables that only say where the server is, and what `setup` says to whom has no or a wrong secret.
    """

    answers: dict[str, str]
    environ: dict[str, str] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    place: dict[str, str] = field(default_factory=dict)
    refused: str = ""
    wrong: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def anew(made, tmp_path_factory) -> Workspace:
    """The variables of a machine on which nobody has logged in anywhere, with an environment that each project adds to."""
    home, environment = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("environment") / "venv"
    uv = os.environ.get("UV") or shutil.which("uv")
    of_uv = {f"UV_{name.upper()}": made.run(uv, *words.split()).stdout.strip() for name, words in
             {"cache_dir": "cache dir", "python_install_dir": "python dir"}.items()}  # fmt: skip
    environ = {name: value for name, value in made.environ.items() if not re.match("(AWS|AZURE|GOOGLE|SSH)_", name)}
    path = environ["PATH"].split(os.pathsep)[1:]
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    return Workspace(
        home,
        environ
        | of_uv
        | {
            "HOME": str(home),
            "USERPROFILE": str(home),
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "UV_PROJECT_ENVIRONMENT": str(environment),
            "PATH": os.pathsep.join([str(scripts), *path]),
        },
    )


@contextmanager
def serving(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Runs a server until it is no longer needed; skips where it does not come up."""
    with log.open("w") as file:
        process = psutil.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, cwd=log.parent)
    try:
        until = time.monotonic() + 240
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    pytest.skip(f"{command[0]} does not serve: {log.read_text()[-500:]}")
                time.sleep(0.1)
        yield
    finally:
        for one in [*process.children(recursive=True), process] if process.is_running() else []:
            one.kill()
        process.wait()


@pytest.fixture
def local(tmp_path) -> Store:
    return Store(
        {"remote_url": "../store"}, words={"PATH": str(tmp_path / "store")}, refused="is a folder that does not exist"
    )


@pytest.fixture
def endpoint() -> Iterator[str]:
    """A store that works like S3, with a bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket", method="PUT")).close()
    yield endpoint
    server.stop()


@pytest.fixture
def s3(endpoint) -> Store:
    return Store(
        {"remote_url": "s3://bucket/a/path", "remote_endpoint": endpoint},
        {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "wJal"},
        {"KEY_ID": "AKID", "SECRET": "wJal"},
        refused="needs a key, and finds none",
    )


@pytest.fixture
def s3_profile(endpoint, tmp_path) -> Store:
    """Two persons with credentials: one under the profile's name, and one under another."""
    for name in ("team", "mine"):
        (tmp_path / name).write_text(f"[{name}]\naws_access_key_id = AKID\naws_secret_access_key = wJal\n")
    # Another path: all of moto's servers in one process have the same content.
    return Store(
        {"remote_url": "s3://bucket/another/path", "remote_endpoint": endpoint, "remote_profile": "team"},
        {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "team")},
        {"NAME": "mine"},
        {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "mine")},
        refused="needs a key, and finds none",
    )


@pytest.fixture
def gs(tmp_path) -> Iterator[Store]:
    """An emulator lets everybody in: that each of two service accounts gets its token is what this looks at."""
    asked = set()

    class Tokens(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.add(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"access_token": "token", "expires_in": 3600, "token_type": "Bearer"}')

        def log_message(self, *_):
            pass

    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    tokens, port = ThreadingHTTPServer(("127.0.0.1", 0), Tokens), free_port()
    threading.Thread(target=tokens.serve_forever, daemon=True).start()
    for name in ("variable", "file"):
        account = {"type": "service_account", "client_email": f"{name}@example.com", "private_key": key.decode()}
        account["token_uri"] = f"http://127.0.0.1:{tokens.server_port}/{name}"
        (tmp_path / name).write_text(json.dumps(account))
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host=127.0.0.1", f"--port={port}"]
    with serving([*command, "--in-memory", "--default-bucket=bucket"], port, tmp_path / "gs.log"):
        yield Store(
            {"remote_url": "gs://bucket/a/path"},
            {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "variable")},
            {"FILE": str(tmp_path / "file")},
            # The second: no question to Google itself, where no emulator answers, of what kind the bucket is.
            {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"},
        )
    tokens.shutdown()
    assert asked == {"/variable", "/file"}


@pytest.fixture
def azure(tmp_path, anew) -> Iterator[Store]:
    if not (npx := shutil.which("npx")):
        pytest.skip("Azurite needs npx, of Node.js")
    port = free_port()
    # The last one that Node.js 20 runs, too.
    command = [npx, "--yes", "--package", "azurite@3.35.0", "azurite-blob", "--silent", "--disableTelemetry"]
    command += ["--skipApiVersionCheck", "--inMemoryPersistence", "--blobPort", str(port)]
    # The one account that Azurite has, with the key that its documentation names.
    account, key = (
        "devstoreaccount1",
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    )
    connection = f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};BlobEndpoint=http://127.0.0.1:{port}/{account};"
    with serving(command, port, tmp_path / "azurite.log"):
        make = "import sys; from azure.storage.blob import ContainerClient as C; C.from_connection_string(*sys.argv[1:]).create_container()"
        anew.run("uv", "run", "--no-project", "--with", "azure-storage-blob", "python", "-c", make, connection, "box")
        yield Store(
            {"remote_url": "azure://box/a/path", "remote_account": account},
            {"AZURE_STORAGE_CONNECTION_STRING": connection},
            {"STRING": connection},
            refused="refuses access",
            wrong={"AZURE_STORAGE_CONNECTION_STRING": connection.replace("Eby8", "AAAA")},
        )


@pytest.fixture
def ssh(tmp_path) -> Iterator[Store]:
    """A server on this machine, for the person who runs the tests, with keys of its own."""
    sshd = shutil.which("sshd", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"]))
    if os.name == "nt" or not sshd or not shutil.which("ssh-keygen"):
        pytest.skip("there is no sshd here: it is in Debian's openssh-server")
    for name in ("host", "home/.ssh/id_ed25519"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    port = free_port()
    configuration = f"""
        Port {port}
        ListenAddress 127.0.0.1
        HostKey {tmp_path}/host
        AuthorizedKeysFile {tmp_path}/home/.ssh/id_ed25519.pub
        PidFile none
        StrictModes no
        UsePAM no
        PasswordAuthentication no
        KbdInteractiveAuthentication no
        PermitRootLogin yes
        Subsystem sftp internal-sftp
    """
    (tmp_path / "sshd_config").write_text(configuration)
    key, log = tmp_path / "home" / ".ssh" / "id_ed25519", tmp_path / "sshd.log"
    with serving([sshd, "-D", "-e", "-f", str(tmp_path / "sshd_config")], port, log):
        host = f"{getpass.getuser()}@127.0.0.1:{port}"
        # Some systems let nobody in whose account has no password.
        options = (
            "-oBatchMode=yes -oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null -oIdentitiesOnly=yes".split()
        )
        if subprocess.run(["ssh", *options, "-i", str(key), f"ssh://{host}", "true"], timeout=60).returncode != 0:
            pytest.skip(f"sshd lets nobody in here: {log.read_text()[-500:]}")
        yield Store(
            {"remote_url": f"ssh://{host}{tmp_path}/store"}, {"HOME": str(tmp_path / "home")}, {"FILE": str(key)},
            refused="refuses access",
        )  # fmt: skip


@pytest.mark.parametrize("kind", ["local", "s3", "s3_profile", "gs", "azure", "ssh"])
def test_a_clone_has_data_and_results(render, project, anew, tmp_path, request, kind):
    """Pushed with secrets that the environment has; fetched with those that README's commands keep for one checkout."""
    store = request.getfixturevalue(kind)
    answers = {"project_name": project.path.name, "remote": kind.partition("_")[0], **store.answers}
    rendered = render("rendered", **answers)
    for name in (".copier-answers.yml", ".dvc/config", "README.md", "pyproject.toml"):
        shutil.copy2(rendered / name, project.path / name)
    project.environ = anew.environ | store.place | store.environ
    project.run("uv", "lock", "--quiet")
    project.run(
        "uv", "run", "--quiet", "dvc", "repro"
    )  # DVC's part for S3 wants an older python-dateutil, which the notebook uses, too
    commit(project)
    assert "pushed" in project.run("uv", "run", "--quiet", "dvc", "push").stdout

    there = Workspace(tmp_path / "elsewhere" / "clone", anew.environ | store.place)
    project.run("git", "clone", "--quiet", ".", str(there.path))
    if store.refused:
        set_up(there, store.wrong, 1, f" {store.refused}")
    section = re.search(r"^## Share the results$.*?^(?=## )", there.read("README.md"), re.M | re.S)[0]
    commands = [line for line in section.splitlines() if line.startswith("uv run dvc remote modify --local storage ")]
    assert commands
    for command in commands:
        there.run(*(store.words.get(word, word) for word in shlex.split(command)))
    set_up(there, {}, 0, "fetched data and results from the remote `storage` (")
    assert there.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
    assert "Cache and remote 'storage' are in sync.\n" in there.run("dvc", "status", "--cloud").stdout
    assert there.run("git", "status", "--porcelain").stdout == ""
    for name in ("data/external/penguins.csv", "outputs/penguins.ipynb", "outputs/model.joblib"):
        assert (there.path / name).read_bytes() == (project.path / name).read_bytes()


def set_up(project: Workspace, environ: dict[str, str], code: int, said: str) -> None:
    """Runs the newcomer's command, and looks for a line with these words."""
    project = Workspace(project.path, project.environ | environ)
    done = project.run("uv", "run", "--quiet", "pipeline", "setup", check=False)
    assert done.returncode == code and "Traceback" not in done.stdout, done.stdout
    assert any(said in line for line in done.stdout.splitlines()), done.stdout
