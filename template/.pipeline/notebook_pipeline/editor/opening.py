"""`pipeline open STAGE`: opens a stage's notebook in JupyterLab with the values and the inputs of a run, to find an error.

An experiment is opened in a folder of its own, as it was, so that nothing in the project changes.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from notebook_pipeline import git, shell
from notebook_pipeline.editor.lab import start_lab
from notebook_pipeline.editor.values import STAGE
from notebook_pipeline.notebook.document import NotebookError, parse
from notebook_pipeline.project.lock import LOCK_FILE
from notebook_pipeline.project.paths import is_covered
from notebook_pipeline.project.project import Project, ProjectError, Stage

FOLDER = Path(".dvc/tmp/open")
"""Where the folders of experiments are."""


class OpenError(Exception):
    """A run that cannot be opened; one line: place, problem, fix."""


def main(argv: list[str]) -> int:
    """Open the notebook, and return the exit code of JupyterLab; 1 if there is nothing to open."""
    parser = argparse.ArgumentParser(prog="pipeline open", description=__doc__.partition(": ")[2].partition("\n")[0])
    parser.add_argument("stage", metavar="STAGE", help="a stage of dvc.yaml, or an item of one, as in islands@Dream")
    parser.add_argument(
        "--experiment", metavar="NAME", help="open it as it was in this experiment, which may have failed"
    )
    arguments, options = parser.parse_known_args(argv)
    try:
        if not arguments.experiment:
            stage = _find_stage(Project(), arguments.stage)
            _bring_inputs(Path(), stage)
            return _open(Path(), stage, options)
        commit, is_failed = _find_experiment(arguments.experiment)
        folder = _check_out(f"{arguments.experiment}-{commit[:7]}", commit)
        project = Project(folder)
        stage = _find_stage(project, arguments.stage)
        _bring_inputs(folder, stage, *project.upstream(stage) if is_failed else ())
        code = _open(folder, stage, options)
        _close(folder, stage)
        return code
    except (OpenError, ProjectError, NotebookError, git.GitError) as error:
        print(f"open: {error}", file=sys.stderr)
        return 1


def _open(folder: Path, stage: Stage, options: list[str]) -> int:
    notebook = Path(stage.wdir, stage.calls("run")[0]).as_posix()
    return start_lab([notebook, *options], folder, **{STAGE: stage.name})


def _find_stage(project: Project, name: str) -> Stage:
    """Find a stage that runs a notebook, by its name; of `foreach` and `matrix` stages, an item.

    Raises:
        OpenError: there is none.
    """
    stages = [stage for stage in project.stages() if stage.calls("run")]
    named = [stage for stage in stages if stage.name == name] or [
        stage for stage in stages if stage.name.partition("@")[0] == name
    ]
    if len(named) == 1:
        return named[0]
    what = f"stage `{name}` has {len(named)} items" if named else f"no stage `{name}` runs a notebook"
    names = ", ".join(stage.name for stage in named or stages)
    raise OpenError(f"dvc.yaml: {what}. Fix: name one of {names}")


def _find_experiment(name: str) -> tuple[str, bool]:
    """Find the commit of an experiment, by its name or the start of its commit, and whether it failed.

    Raises:
        OpenError: there is none.
    """
    printed = _ask_dvc(Path(), "exp", "show", "--json", "--all-commits")
    for baseline in json.loads(printed or "[]"):
        for group in baseline.get("experiments") or []:
            for run in group["revs"]:
                if run.get("name") == name or run["rev"].startswith(name):
                    return run["rev"], bool(run.get("error"))
    raise OpenError(
        f"{name}: there is no such experiment. Fix: uv run dvc exp list --all-commits and uv run dvc queue status name them"
    )


def _check_out(name: str, commit: str) -> Path:
    """Check out a commit in a folder that shares the project's cache and its remotes; return the project in it."""
    top, prefix = Path(git.text("rev-parse", "--show-toplevel")), git.text("rev-parse", "--show-prefix")
    worktree = FOLDER / name
    folder = worktree / prefix
    if not worktree.is_dir():
        FOLDER.mkdir(parents=True, exist_ok=True)
        git.run("worktree", "prune", cwd=top)  # what a person has deleted by hand
        git.run("worktree", "add", "--detach", str(worktree.resolve()), commit, cwd=top)
    from configobj import ConfigObj
    from dvc.repo import Repo

    with Repo() as repo:
        local = ConfigObj(repo.config.read("local"))
        local.setdefault("cache", {})["dir"] = repo.cache.local_cache_dir
    # In the system's encoding, as DVC reads it.
    (folder / ".dvc" / "config.local").write_text("\n".join(local.write()) + "\n")
    return folder


def _bring_inputs(folder: Path, stage: Stage, *before: Stage) -> None:
    """Have DVC put the missing inputs of a stage in their places.

    Args:
        before: the stages before it, if they have to be run first: DVC takes what ran already from its cache.

    Raises:
        OpenError: an input is still missing.
    """

    def list_missing(*stages: Stage) -> list[str]:
        paths = {Path(each.wdir, dep).as_posix() for each in stages for dep in each.deps if "://" not in dep}
        return sorted(path for path in paths if not (folder / path).exists())

    if missing := list_missing(stage, *before):
        _ask_dvc(folder, "checkout", *missing)
        if (missing := list_missing(stage, *before)) and _ask_dvc(folder, "remote", "list"):
            _ask_dvc(folder, "pull", *missing)
    if before:
        environ = os.environ | {"PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])}
        names = [each.name for each in before]
        subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet", *names], cwd=folder, env=environ)
    if missing := list_missing(stage):
        raise OpenError(
            f"{missing[0]}: an input of stage `{stage.name}`, which is neither here nor in DVC's cache. "
            f"Fix: uv run dvc repro {shell.quote(stage.name)}"
        )


def _close(folder: Path, stage: Stage) -> None:
    """Remove an experiment's folder, unless a person has edited something in it: that is named."""
    worktree = Path(git.run("rev-parse", "--show-toplevel", cwd=folder))
    edited = [path for path in _list_changed(folder) if not _is_result(folder, path)]
    if not edited:
        git.run("worktree", "remove", "--force", str(worktree), cwd=Path.cwd())
        return
    place = shell.quote(folder.as_posix())
    print(
        f"{place} has your changes of {', '.join(edited)}: copy what you need. "
        f"To remove it: git worktree remove --force {place}"
    )


def _list_changed(folder: Path) -> list[str]:
    changed = git.run("diff", "--name-only", "--relative", "-z", "HEAD", cwd=folder)
    new = git.run("ls-files", "--others", "--exclude-standard", "-z", cwd=folder)
    return [path for path in f"{changed}\0{new}".split("\0") if path]


def _is_result(folder: Path, path: str) -> bool:
    """Whether a changed file is what running cells changes: a result, or a notebook of which only the outputs differ."""
    outs = {LOCK_FILE, *(out for stage in Project(folder).stages() for out in stage.outs)}
    if is_covered(path, outs):
        return True
    if not path.endswith(".ipynb"):
        return False
    before = git.run("show", f"HEAD:./{path}", cwd=folder, check=False)
    now, then = (parse(text, path) for text in ((folder / path).read_text(encoding="utf-8"), before))
    return [(cell.type, cell.source) for cell in now.cells] == [(cell.type, cell.source) for cell in then.cells]


def _ask_dvc(folder: Path, *arguments: str) -> str:
    """Return what DVC prints; empty if it fails: what it could not do is looked at then."""
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    return done.stdout if done.returncode == 0 else ""
