"""What runs a project's pipeline on each pull request: the steps of its workflow themselves, in order, in a clone.

What is not run is what GitHub and GitLab bring: `uses:`, the image, the caches.
"""

import base64
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import copier
import pytest
from conftest import TEMPLATE, Workspace
from ruamel.yaml import YAML

HOSTS = ("github", "gitlab")
WORKFLOW = TEMPLATE / "template" / ".github" / "workflows" / "pipeline.yml"
GITLAB = TEMPLATE / "template" / ".gitlab-ci.yml"
OWN = sorted((TEMPLATE / ".github" / "workflows").glob("*.yml"))
PAGE = "dvc_plots/report.html"

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
        self.host, self.root, self.remote = host, root, remote
        self.project = Workspace(root / made.path.name, made.environ)
        shutil.copytree(made.path, self.project.path, symlinks=True)
        shutil.copytree(rendered, self.project.path, dirs_exist_ok=True)
        if remote:
            self.project.run("dvc", "remote", "add", "--quiet", "--default", "store", str(root / "store"))
        self.git("init", "--quiet", "--bare", str(root / "origin.git"))
        self.git("remote", "add", "origin", str(root / "origin.git"))
        self.save("CI")
        self.git("checkout", "--quiet", "-b", "topic")

    def git(self, *arguments: str) -> str:
        return self.project.run("git", *arguments).stdout

    def save(self, message: str) -> None:
        """Commits and pushes, the data, too. (What the hooks do: tests/test_made_project.py.)"""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--no-verify", "--message", message)
        if self.remote:
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
    job = workflow["jobs"]["pipeline"]
    files = {name: clone.path.parent / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    owner = "somebody" if fork else "ada"
    contexts = {
        "github": SimpleNamespace(
            event_name=event,
            repository="ada/penguins",
            event=SimpleNamespace(
                pull_request=SimpleNamespace(head=SimpleNamespace(repo=SimpleNamespace(full_name=f"{owner}/penguins")))
            ),
        ),
        "secrets": _Anything(),
        "steps": _Anything(),
    }
    environ = clone.environ | {"GITHUB_BASE_REF": "main", **{name: str(path) for name, path in files.items()}}
    outcome = Outcome([], "", "")
    for step in job["steps"]:
        condition = str(step.get("if", "success()"))
        if not re.search(r"(success|failure|always|cancelled)\(\)", condition):
            condition = f"success() && ({condition})"
        name, result = step.get("name", step.get("uses")), _Anything(outcome="skipped")
        contexts["steps"][step.get("id", name)] = result
        if name in skip or not _value(condition, contexts, not outcome.failed, clone.path):
            continue
        result["outcome"] = "success"
        if "run" not in step:
            result["outputs"] = _Anything(
                {"artifact-url": "https://github.com/ada/penguins/actions/runs/1/artifacts/2"}
            )
            continue
        variables = (workflow.get("env") or {}) | (job.get("env") or {}) | (step.get("env") or {})
        files["GITHUB_OUTPUT"].write_text("")
        script = clone.path.parent / "step.sh"
        script.write_text(step["run"], encoding="utf-8")
        clone.environ = environ | {
            key: _filled(value, contexts, not outcome.failed, clone.path) for key, value in variables.items()
        }
        done = clone.run("bash", "--noprofile", "--norc", "-eo", "pipefail", str(script), check=False)
        outcome.log += f"== {name}\n{done.stdout}"
        result["outputs"] = _Anything(
            line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text(encoding="utf-8").splitlines()
        )
        if done.returncode:
            result["outcome"] = "failure"
            outcome.failed.append(name)
    if (clone.path / PAGE).exists():
        outcome.page = clone.read(PAGE)
    if files["GITHUB_STEP_SUMMARY"].exists():
        outcome.summary = files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8")
    return outcome


class _Anything(dict):
    """A context of expressions: what it lacks is empty."""

    def __getattr__(self, name: str) -> object:
        return self.get(name, self.get(name.replace("_", "-"), ""))


def _filled(text: object, contexts: dict, success: bool, root: Path) -> str:
    return re.sub(r"\$\{\{(.*?)\}\}", lambda match: _text(_value(match[1], contexts, success, root)), str(text))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(expression: str, contexts: dict, success: bool, root: Path) -> object:
    """An expression of a workflow, as Python: `&&`, `||`, `!` and the functions that are used."""
    python = re.sub(r"^\s*\$\{\{(.*)\}\}\s*$", r"\1", expression).strip()
    python = python.replace("&&", " and ").replace("||", " or ").replace("artifact-url", "artifact_url")
    python = re.sub(r"!(?!=)", " not ", python)
    functions = {
        "success": lambda: success,
        "failure": lambda: not success,
        "cancelled": lambda: False,
        "always": lambda: True,
        "hashFiles": lambda *paths: "a1b2" if any(list(root.glob(path)) for path in paths) else "",
    }
    return eval(python.strip(), {"__builtins__": {}}, functions | contexts)


def _as_gitlab(clone: Workspace, skip: tuple[str, ...]) -> Outcome:
    job = YAML(typ="safe").load(clone.read(".gitlab-ci.yml"))["pipeline"]
    clone.environ |= {
        "CI_PROJECT_DIR": str(clone.path),
        "CI_PIPELINE_SOURCE": "merge_request_event",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
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


def cells(page: str) -> list[str]:
    """The cells of all tables of a page."""
    return re.findall(r"<td>(.*?)</td>", page, re.DOTALL)


@runs_steps
@pytest.mark.parametrize("host", HOSTS)
def test_what_was_run_before_the_commit_is_shown_and_not_run_again(branch, host):
    pull = branch(host, remote=True)
    pull.project.replace("params.yaml", "epochs: 15", "epochs: 3")
    pull.project.run("dvc", "repro")
    pull.save("three epochs")
    outcome = pull.run()
    assert outcome.failed == [], outcome.log
    assert "Running stage" not in outcome.log and "files fetched" in outcome.log
    assert cells(outcome.page)[:4] == ["params.yaml", "train.epochs", "15", "3"]
    metrics = YAML(typ="safe").load(pull.project.read("outputs/metrics.yaml"))
    assert f"{metrics['accuracy']:.4}" in outcome.page
    assert "Not drawn" not in outcome.page
    # Loss, accuracy and the confusion matrix with both branches; two pictures of the notebook's own, of each branch.
    pictures = outcome.pictures()
    assert len(pictures) == 7
    for picture in pictures:
        assert picture.startswith(b"\x89PNG") and len(picture) > 10_000
        width, height = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
        assert width > 300 and height > 300
    if host == "github":
        assert "| params.yaml | train.epochs | 15 " in outcome.summary
        assert "(https://github.com/ada/penguins/actions/runs/1/artifacts/2)" in outcome.summary
