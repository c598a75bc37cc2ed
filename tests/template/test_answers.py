"""Answers that no prompt checks, by `-d` or a data file: a wrong one ends Copier in one line, before anything is made."""

import os
import re
import select
import subprocess
import sys
import time

import pytest
from conftest import TEMPLATE, Workspace, notebook
from copier.errors import UserMessageError
from ruamel.yaml import YAML

QUESTIONS = [name for name in YAML(typ="safe").load(TEMPLATE / "copier.yml") if not name.startswith("_")]
# For each question what makes it apply, an answer that is wrong, and what is said of it.
WRONG = {
    "start": ({}, "nonsense", "'nonsense' is not an answer. Fix: write one of example, stages, notebook"),
    "notebook": ({"start": "notebook"}, "/no/such.ipynb", "/no/such.ipynb: does not exist. Fix: correct the path"),
    "project_name": ({}, "", '"" cannot be a name. Fix: write one line without quotes and backslashes, as in "Penguins".'),
    "dependencies": (
        {"start": "notebook", "notebook": "x.ipynb"},
        "scikit learn",
        "'scikit learn' is not a package. Fix: write names separated by commas, as in pandas, scikit-learn>=1.7",
    ),
    "remote": (
        {},
        "s3://AKIA:wJal@bucket",
        "'s3://***@bucket' is not an answer. Fix: write one of none, local, s3, gs, azure, ssh",
    ),
    "remote_url": ({"remote": "local"}, "store", "'store' is in the project. Fix: name a folder beside it, as in ../dvc-storage, or a full path"),
    "remote_endpoint": (
        {"remote": "s3", "remote_url": "s3://bucket"},
        "minio:9000",
        "'minio:9000' is not an endpoint. Fix: write https://HOST or http://HOST:PORT, or nothing for Amazon",
    ),
    "remote_profile": (
        {"remote": "s3", "remote_url": "s3://bucket"},
        "my team",
        "'my team' is not a profile. Fix: write the name of a section in ~/.aws/credentials, or nothing",
    ),
    "remote_account": (
        {"remote": "azure", "remote_url": "azure://box"},
        "Ours",
        "'Ours' is not a storage account. Fix: write its name, 3 to 24 lower-case letters and digits, or nothing",
    ),
    "ci": ({}, "jenkins", "'jenkins' is not an answer. Fix: write one of github, gitlab, none"),
    "setup": ({}, "maybe", "'maybe' is not an answer. Fix: write yes or no"),
}  # fmt: skip
UNKNOWN = f"'project' is not a question. Fix: write one of {', '.join(QUESTIONS)}"


@pytest.fixture
def place(tmp_path, environ) -> Workspace:
    """A folder with a notebook."""
    (tmp_path / "x.ipynb").write_text(notebook("import pandas"))
    return Workspace(tmp_path, environ)


def copier_says(place: Workspace, verb: str, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "copier", verb, *"--trust --defaults --quiet --vcs-ref HEAD".split(), *arguments]
    done = place.run(*command, check=False)
    return done.returncode, done.stdout


def given(answers: dict[str, str]) -> list[str]:
    return [word for name, answer in answers.items() for word in ("-d", f"{name}={answer}")]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_wrong_answer_is_refused(template, place, question):
    others, answer, refusal = WRONG[question]
    said = copier_says(place, "copy", *given({**others, question: answer}), str(template), "new")
    assert said == (1, f"{question}: {refusal}\n")
    assert not (place.path / "new").exists()


@pytest.mark.parametrize("verb", ["update", "recopy"])
def test_a_project_stays_as_it_is(render, place, verb):
    project = Workspace(render("p"), place.environ)
    project.run("git", "init", "--quiet")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", "work")
    refused = {
        "ci=jenkins": f"ci: {WRONG['ci'][2]}",
        "start=stages": "start: cannot change after the copy. Fix: add a stage by `uv run pipeline add NOTEBOOK`",
        "project_name=": f"project_name: {WRONG['project_name'][2]}",
        "remote=gs": "remote_url: no URL is given. Fix: type gs://BUCKET/PATH, or add `-d remote_url=...` to the command",
        "project=x": UNKNOWN,
        "notebook=x.ipynb": "notebook: 'x.ipynb' is not used if start is example. Fix: remove it, or copy with `-d start=notebook`",
    }
    overwrite = ["--overwrite"] if verb == "recopy" else []
    # Both ask the same; what `recopy` could do that `update` does not is to take another start.
    for answer, line in [*refused.items()][: 2 if verb == "recopy" else None]:
        assert copier_says(project, verb, *overwrite, "-d", answer) == (1, f"{line}\n")
    assert project.run("git", "status", "--porcelain").stdout == ""
    # Remembered of a question that is no more: no mistake of the person's.
    project.write(".copier-answers.yml", project.read(".copier-answers.yml") + "gone: x\n")
    project.run("git", "commit", "--quiet", "--all", "--message", "work")
    assert copier_says(project, verb, *overwrite, "-d", "setup=no", "-d", "start=example") == (0, "")
    project.run("git", "commit", "--quiet", "--all", "--message", "work")
    # With prompts, too, what the project starts with is asked no more.
    others = given({"project_name": "p", "remote": "none", "ci": "none", "setup": "no"})
    command = ("-m", "copier", verb, "--trust", "--quiet", "--vcs-ref", "HEAD", *overwrite)
    assert project.run(sys.executable, *command, *others).stdout == ""
    assert project.run("git", "status", "--porcelain").stdout == ""
    # A remembered answer that somebody broke is refused, too, and not forgotten.
    for right, wrong in {"start: example": "start: none", "ci: none": "ci: jenkins"}.items():
        project.replace(".copier-answers.yml", right, wrong)
        project.run("git", "commit", "--quiet", "--all", "--message", "work")
        question, answer = wrong.split(": ")
        refusal = (1, f"{question}: {WRONG[question][2].replace('nonsense', answer)}\n")
        assert copier_says(project, verb, *overwrite) == refusal
        if question == "start":
            done = project.run(sys.executable, *command, *others, check=False)
            assert (done.returncode, done.stdout) == refusal
        project.replace(".copier-answers.yml", wrong, right)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_list_is_refused_and_not_shown(render, question):
    others, *_ = WRONG[question]
    with pytest.raises(
        UserMessageError, match=rf"^{question}: a list is not an answer. Fix: write (yes or no|one (text|of .*))$"
    ):
        render(**others, **{question: ["https://ada:abc@host"]})


@pytest.mark.parametrize(("yaml", "kind"), [("{a: b}", "a mapping"), ("", "null"), ("2026-01-01", "a date")])
def test_other_types_are_refused(render, yaml, kind):
    with pytest.raises(UserMessageError, match=f"^project_name: {kind} is not an answer. Fix: write one text$"):
        render(project_name=YAML(typ="safe").load(yaml))


def test_a_misspelt_question_is_named_and_its_value_not_shown(template, place):
    (place.path / "answers.yml").write_text("_commit: 1.0\nproject: s3://AKIA:wJal@bucket\nsetup: no\n")
    said = copier_says(place, "copy", "--data-file", "answers.yml", str(template), "new")
    assert said == (1, f"{UNKNOWN}\n")
    assert not (place.path / "new").exists()


def test_what_is_wrong_by_itself_is_refused_before_a_prompt(template, place):
    command = (sys.executable, "-m", "copier", "copy", "--trust", "-d", "ci=jenkins", str(template), "new")
    done = place.run(*command, check=False)
    assert done.stdout.splitlines()[-1] == f"ci: {WRONG['ci'][2]}" and "Interactive session" not in done.stdout


def test_numbers_are_texts_and_yes_has_many_words(render):
    rendered = render("p", project_name=2026, setup="OFF", remote="s3", remote_url="s3://b", remote_profile=1)
    answers = YAML(typ="safe").load(rendered / ".copier-answers.yml")
    assert (answers["project_name"], answers["remote_profile"], answers["setup"]) == ("2026", "1", False)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such letters in names")
def test_a_folder_that_cannot_be_a_name_is_one_without_what_is_in_the_way(render):
    rendered = render('my "best" \\ one')
    assert YAML(typ="safe").load(rendered / ".copier-answers.yml")["project_name"] == "my best  one"


@pytest.mark.skipif(os.name == "nt", reason="needs a terminal as Linux and macOS have them")
def test_a_prompt_says_it_and_asks_again(template, place):
    import pty

    data = given({"start": "notebook", "remote": "s3", "ci": "none", "setup": "no"})
    command = [sys.executable, "-m", "copier", "copy", "--trust", "--quiet", *data, str(template), "new"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=place.path, env=place.environ | {"TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    dialogue = [
        ("Where is the notebook?", "none.ipynb"), ("does not exist", "x.ipynb"),
        ("What is the project called?", 'the "best"'), ("cannot be a name", "Birds"),
        ("Which packages does", "scikit learn"), ("is not a package", "pandas"),
        ("At which URL?", ""), ("no URL is given", "s3://bucket"),
        ("At which address", ""), ("With which profile", ""),
    ]  # fmt: skip
    try:
        for words, answer in dialogue:
            wait_for(ours, words)
            # What stands there is removed, a letter at a time.
            os.write(ours, b"\x05" + b"\x7f" * 40 + answer.encode() + b"\r")
        wait_for(ours, None)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    answers = YAML(typ="safe").load(place.path / "new" / ".copier-answers.yml")
    assert (answers["project_name"], answers["dependencies"], answers["remote_url"]) == (
        "Birds",
        "pandas",
        "s3://bucket",
    )


def wait_for(terminal: int, words: str | None) -> None:
    """Reads what a terminal shows until the words are in it, or all where there are none."""
    seen, until = "", time.monotonic() + 120
    while words is None or words not in seen:
        assert time.monotonic() < until and select.select([terminal], [], [], 120)[0], f"{words} is not in:\n{seen}"
        try:
            read = os.read(terminal, 65536)
        except OSError:  # so Linux says that the other end is closed
            read = b""
        if b"\x1b[6n" in read:
            os.write(terminal, b"\x1b[1;1R")  # where the cursor is, as terminals tell it
        if not read:
            assert words is None, f"{words} is not in:\n{seen}"
            return
        seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", read.decode(errors="replace"))
