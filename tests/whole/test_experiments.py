"""Experiments of two people, by the README's commands."""

import shlex

from readme_reader import Reader


def test_experiments_of_a_colleagues_branch_are_shown(stages):
    reader = Reader(stages)
    stages.run("git", "switch", "--quiet", "--create", "theirs")
    stages.run("git", "commit", "--quiet", "--allow-empty", "--no-verify", "--message", "theirs")
    stages.run("dvc", "exp", "run", "--quiet", "--name", "longer", "-S", "train.epochs=2")
    stages.run("git", "reset", "--quiet", "--hard")
    stages.run("git", "switch", "--quiet", "main")
    reader.section = "Compare experiments, and take one over"
    table = reader.command("exp show")
    assert "longer" in stages.run(*shlex.split(table)).stdout
    assert "longer" not in stages.run(*shlex.split(table.replace(" --all-commits", ""))).stdout
    stages.run("git", "init", "--quiet", "--bare", "../origin.git")
    stages.run("git", "remote", "add", "origin", "../origin.git")
    stages.run("git", "push", "--quiet", "--no-verify", "--all", "origin")
    stages.run("dvc", "exp", "push", "--no-cache", "origin", "longer")
    reader.section = "Share the results"
    assert "longer" in reader.types("exp list")
