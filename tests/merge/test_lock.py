"""dvc.lock after each kind of merge: by stages, and `dvc repro` makes the rest. Real git, real DVC."""

import re

import pytest
from conftest import Workspace
from merge_samples import change, install_drivers, make_pipeline, pipeline, small, switch  # noqa: F401
from samples import ran

from notebook_pipeline.merge.lock import MergeError, describe, merge

DVC_CHECKOUT = ("dvc", "checkout", "--quiet", "--allow-missing")


def records(project: Workspace) -> list[str]:
    """The stages that dvc.lock has, one line each."""
    return re.findall(r"(?m)^  (\S+):$", project.read("dvc.lock"))


def lines(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("dvc.lock: ")]


def finish(project: Workspace) -> list[str]:
    """What `dvc repro` runs after a merge, when the other side's results are here; all is up to date then."""
    project.run(*DVC_CHECKOUT)
    done = ran(project.run("dvc", "repro").stdout)
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", "after the merge", check=False)
    assert "up to date" in project.run("dvc", "status").stdout
    assert project.run("git", "status", "--porcelain").stdout == ""
    assert "<<<<<<<" not in project.read("dvc.lock")
    return done


def without_report(project: Workspace) -> None:
    """Removes a stage and its record."""
    project.write("dvc.yaml", re.sub(r"(?m)^  report:\n(    .*\n)+\n", "", project.read("dvc.yaml")))
    project.write("dvc.lock", re.sub(r"(?m)^  report:\n(    .*\n)+", "", project.read("dvc.lock")))


def test_what_one_side_changed_is_taken(pipeline):
    change(pipeline, "theirs", ("title: penguins", "title: birds"), ("gentoo: 2", "gentoo: 30"))
    change(pipeline, "main", ("epochs: 1", "epochs: 20"))
    said = pipeline.run("git", "merge", "theirs", "--no-edit").stdout
    assert lines(said) == [
        "dvc.lock: merged by stages. Next: `uv run dvc checkout --allow-missing`, then `uv run dvc repro`, which runs nothing"
    ]
    assert finish(pipeline) == []
    assert pipeline.read("outputs/model.txt") == "20 0.1 1" and pipeline.read("outputs/report.txt") == "birds"
    assert pipeline.read("outputs/each-gentoo.txt") == "30"
    # As DVC itself writes it.
    merged = pipeline.read("dvc.lock")
    (pipeline.path / "dvc.lock").unlink()
    pipeline.run("dvc", "repro", "--quiet")
    assert sorted(merged.splitlines()) == sorted(pipeline.read("dvc.lock").splitlines())


OPERATIONS = {
    "merge": ["git merge theirs --no-edit"],
    "rebase": ["git rebase theirs"],
    "cherry-pick": ["git cherry-pick theirs"],
    "stash pop": ["git reset --soft HEAD~1", "git stash", "git merge theirs --quiet", "git stash pop"],
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_both_sides_changed_runs(pipeline, operation):
    change(pipeline, "theirs", ("epochs: 1", "epochs: 20"), ("title: penguins", "title: birds"))
    change(pipeline, "main", ("rate: 0.1", "rate: 0.55"), ("gentoo: 2", "gentoo: 30"))
    for command in OPERATIONS[operation]:
        said = pipeline.run(*command.split()).stdout
    assert len(lines(said)) == 1
    assert lines(said)[0].endswith("`uv run dvc repro`, which runs train, unless DVC has their results already")
    # The metrics of one side stay until the stage has run.
    assert pipeline.read("outputs/metrics.yaml") in ("score: 20 0.1 1\n", "score: 1 0.55 1\n")
    assert sorted(records(pipeline)) == ["each@adelie", "each@gentoo", "load", "report"]
    assert finish(pipeline) == ["train"]
    assert pipeline.read("outputs/metrics.yaml") == "score: 20 0.55 1\n"
    assert pipeline.read("outputs/each-gentoo.txt") == "30" and pipeline.read("outputs/report.txt") == "birds"


def test_revert(pipeline):
    change(pipeline, "main", ("epochs: 1", "epochs: 20"))
    change(pipeline, "main", ("rate: 0.1", "rate: 0.55"), ("gentoo: 2", "gentoo: 30"))
    said = pipeline.run("git", "revert", "--no-edit", "HEAD~1").stdout
    assert lines(said)[0].endswith("which runs train, unless DVC has their results already")
    assert finish(pipeline) == ["train"]
    assert pipeline.read("outputs/metrics.yaml") == "score: 1 0.55 1\n"
    # Back to values that have run before: they come from the run cache.
    pipeline.run("git", "revert", "--no-edit", "HEAD~2")
    assert finish(pipeline) == []
    assert pipeline.read("outputs/metrics.yaml") == "score: 1 0.1 1\n"


def test_a_rebase_of_several_commits(pipeline):
    change(pipeline, "theirs", ("epochs: 1", "epochs: 20"))
    change(pipeline, "main", ("rate: 0.1", "rate: 0.55"))
    change(pipeline, "main", ("title: penguins", "title: birds"))
    said = pipeline.run("git", "rebase", "theirs").stdout
    # The first commit has dropped `train`; the second knows that it is still to run.
    assert [line.rpartition("which ")[2] for line in lines(said)] == [
        "runs train, unless DVC has their results already"
    ] * 2
    assert finish(pipeline) == ["train"]


def test_what_follows_from_the_other_side(pipeline):
    # `load` is theirs; `train` ran with our `load` and with theirs.
    change(pipeline, "theirs", ("size: 1", "size: 50"))
    change(pipeline, "main", ("epochs: 1", "epochs: 20"))
    said = pipeline.run("git", "merge", "theirs", "--no-edit").stdout
    assert "which runs train, unless" in lines(said)[0]
    assert finish(pipeline) == ["train"] and pipeline.read("outputs/model.txt") == "20 0.1 50"


def test_a_new_stage_that_ran_with_other_inputs(pipeline):
    stage = "  plot:\n    cmd: python step.py plot.txt ${train.rate} outputs/data.txt\n    deps: [outputs/data.txt]\n"
    stage += "    params: [train.rate]\n    outs: [outputs/plot.txt]\n\n  report:\n"
    change(pipeline, "theirs", ("  report:\n", stage), file="dvc.yaml")
    switch(pipeline, "main")
    pipeline.run("git", "branch", "values")
    change(pipeline, "main", ("size: 1", "size: 50"))
    assert "which runs plot, unless" in lines(pipeline.run("git", "merge", "theirs", "--no-edit").stdout)[0]
    assert finish(pipeline) == ["plot"] and pipeline.read("outputs/plot.txt") == "0.1 50"
    # The value of a section of which the new stage lists one key.
    change(pipeline, "values", ("rate: 0.1", "rate: 0.55"))
    assert "which runs plot, unless" in lines(pipeline.run("git", "merge", "theirs", "--no-edit").stdout)[0]
    assert finish(pipeline) == ["plot"] and pipeline.read("outputs/plot.txt") == "0.55 1"


@pytest.mark.parametrize("ours", ["theirs", "main"])
def test_a_stage_that_one_side_removed(pipeline, ours):
    pipeline.run("git", "branch", "theirs")
    without_report(pipeline)
    change(pipeline, "main", ("epochs: 1", "epochs: 20"))
    change(pipeline, "theirs", ("rate: 0.1", "rate: 0.55"))
    switch(pipeline, ours)
    said = pipeline.run("git", "merge", "theirs" if ours == "main" else "main", "--no-edit").stdout
    assert "which runs train, unless" in lines(said)[0]
    assert finish(pipeline) == ["train"]
    assert "report" not in records(pipeline)


def test_a_stage_that_one_side_removed_and_the_other_changed(pipeline):
    pipeline.run("git", "branch", "theirs")
    without_report(pipeline)
    change(pipeline, "main", ("epochs: 1", "epochs: 20"))
    change(pipeline, "theirs", ("title: penguins", "title: birds"), ("gentoo: 2", "gentoo: 30"))
    switch(pipeline, "main")
    said = pipeline.run("git", "merge", "theirs", "--no-edit").stdout
    assert lines(said)[0].endswith("which runs nothing") and finish(pipeline) == []


def test_results_of_a_switch_come_back_from_the_run_cache(pipeline):
    change(pipeline, "theirs", ("epochs: 1", "epochs: 20"), ("rate: 0.1", "rate: 0.55"))
    pipeline.run("git", "branch", "same", "main")
    change(pipeline, "main", ("epochs: 1", "epochs: 20"))
    # Merged, the values are those of `theirs`, which ran here.
    pipeline.run("git", "merge", "theirs", "--no-edit", check=False)
    assert "train" not in records(pipeline)
    assert finish(pipeline) == [] and pipeline.read("outputs/metrics.yaml") == "score: 20 0.55 1\n"


def test_a_project_below_the_top_of_its_repository(small, made, tmp_path):
    top = Workspace(tmp_path, made.environ)
    top.run("git", "init", "--quiet")
    project = Workspace(tmp_path / "our team's" / "peng uins", made.environ)
    make_pipeline(project, made)
    # A pipeline of its own, further below.
    inner = Workspace(project.path / "inner", made.environ)
    for name in ("params.yaml", "step.py"):
        inner.write(name, project.read(name))
    metrics = "    metrics:\n      - outputs/metrics.yaml: {cache: false}\n"
    inner.write("dvc.yaml", project.read("dvc.yaml").replace(metrics, "").replace("model.txt", "fit.txt"))
    install_drivers(project)
    for each in (project, inner):
        each.run("dvc", "repro", "--quiet")
    top.run("git", "add", "--all")
    top.run("git", "commit", "--quiet", "--message", "start")
    top.run("git", "branch", "theirs")
    for branch, old, new in (("theirs", "epochs: 1", "epochs: 20"), ("main", "rate: 0.1", "rate: 0.55")):
        for each in (project, inner):
            change(each, branch, (old, new))
    said = top.run("git", "merge", "theirs", "--no-edit").stdout
    assert sorted(line for line in said.splitlines() if "merged by stages" in line) == [
        f"our team's/peng uins/{place}: merged by stages. Next: `uv run dvc repro`, which runs train, "
        "unless DVC has their results already"
        for place in ("dvc.lock", "inner/dvc.lock")
    ]
    assert ran(inner.run("dvc", "repro").stdout) == ["train"] and finish(project) == ["train"]


@pytest.mark.parametrize("driver", [None, "(exit 127)", "no-such-program %O %A %B"])
def test_without_a_driver_it_is_a_conflict_as_before(pipeline, driver):
    command = pipeline.run("git", "config", "merge.pipeline-lock.driver").stdout
    if driver:
        # No environment, or a commit from before the driver: what cannot be started leaves git's own merge.
        start, _, end = command.strip().partition("uv run --quiet")
        pipeline.run("git", "config", "merge.pipeline-lock.driver", f"{start}{driver}; {end.partition('; ')[2]}")
    else:
        pipeline.run("git", "config", "--remove-section", "merge.pipeline-lock")
    change(pipeline, "theirs", ("epochs: 1", "epochs: 20"))
    change(pipeline, "main", ("rate: 0.1", "rate: 0.55"))
    assert (
        "CONFLICT (content): Merge conflict in dvc.lock" in pipeline.run("git", "merge", "theirs", check=False).stdout
    )
    text = pipeline.read("dvc.lock")
    assert "<<<<<<<" in text and "epochs: 20" in text and "rate: 0.55" in text
    # The way in README.md.
    pipeline.run("git", "checkout", "HEAD", "dvc.lock")
    assert finish(pipeline) == ["train"]


def test_a_clone_that_gets_the_driver_during_the_merge(pipeline):
    change(pipeline, "theirs", ("epochs: 1", "epochs: 20"))
    change(pipeline, "main", ("rate: 0.1", "rate: 0.55"))
    pipeline.run("git", "config", "--remove-section", "merge.pipeline-lock")
    assert "CONFLICT" in pipeline.run("git", "merge", "theirs", check=False).stdout
    install_drivers(pipeline)
    pipeline.run("git", "checkout", "--merge", "dvc.lock")
    assert "<<<<<<<" not in pipeline.read("dvc.lock") and "train" not in records(pipeline)
    assert finish(pipeline) == ["train"]


LOCK = """\
schema: '2.0'
stages:
  fit:
    cmd: fit
    params:
      params.yaml:
        a: 1
"""


def changed(old: str, new: str) -> str:
    assert old in LOCK
    return LOCK.replace(old, new)


def test_a_type_is_a_change(tmp_path):
    # To Python, as to DVC, 1, 1.0 and true are equal.
    for new in ("1.0", "true"):
        assert merge(LOCK, LOCK, changed("a: 1", f"a: {new}")).text == changed("a: 1", f"a: {new}")
    assert merge(LOCK, changed("a: 1", "a: 1.0"), changed("a: 1", "a: true")).stale == ["fit"]


def test_files_that_have_nothing_in_common():
    other = LOCK.replace("fit:", "plot:")
    merged = merge("", LOCK, other)
    assert merged.text == LOCK + other.split("stages:\n")[1] and not merged.stale and merged.theirs == ["plot"]
    assert merge("", LOCK, LOCK).text == LOCK
    assert merge("", LOCK, changed("cmd: fit", "cmd: more")).text == "schema: '2.0'\nstages: {}\n"


@pytest.mark.parametrize("text", ["<<<<<<< ours\n", "[]\n", "stages: 1\n", "stages: {fit: 1}\n"])
def test_what_is_no_lock_file_is_left_to_git(text):
    with pytest.raises(MergeError):
        merge(LOCK, LOCK, text)


def test_what_both_changed_outside_of_stages_is_left_to_git():
    with pytest.raises(MergeError):
        merge(LOCK, changed("2.0", "2.1"), changed("2.0", "2.2"))
    assert merge(LOCK, LOCK, changed("2.0", "2.2")).text == changed("2.0", "2.2")


def test_a_long_list_of_stages_is_cut():
    many = "stages:\n" + "".join(f"  s{number}:\n    cmd: NEW\n" for number in range(9))
    merged = merge(many, many.replace("NEW", "a"), many.replace("NEW", "b"))
    assert describe(merged, has_remote=True).endswith(
        "which runs s0, s1, s2, s3, s4, s5 and 3 more, unless DVC has their results already"
    )
