"""Answers for a remote: which are refused, and how."""

import runpy
import subprocess
import sys

import pytest
from conftest import TEMPLATE
from copier.errors import UserMessageError
from hypothesis import given
from hypothesis import strategies as st
from remote_samples import BY_HAND

problem = runpy.run_path(str(TEMPLATE / "extensions" / "remotes.py"))["remote_problem"]

GOOD = [
    *(answers for answers, _ in BY_HAND.values()),
    *({"remote": "local", "remote_url": path} for path in (r"C:\dvc\store", "C:/dvc", r"\\server\share\dvc", r"..\x")),
    {"remote": "local", "remote_url": "../../Dropbox (Personal)/x"},
    {"remote": "s3", "remote_url": "s3://b-1.c_d/x/@y/", "remote_endpoint": "", "remote_profile": ""},
    {"remote": "s3", "remote_url": "s3://b", "remote_endpoint": "https://x.supabase.co/storage/v1/s3"},
    {"remote": "azure", "remote_url": "azure://$web", "remote_account": ""},
    {"remote": "ssh", "remote_url": "ssh://host/p"},
]
WORDS = "of ASCII letters, digits and -._~+= without spaces"
SECRET = "contains a secret. Fix: remove the secret; the project's README.md says where to put it"
FOLDER = "name a folder beside it, as in ../dvc-storage, or a full path"
ODD = "which DVC's configuration cannot keep. Fix: use a folder with a plain name"
BAD = [
    ("s3", "", "no URL is given. Fix: type s3://BUCKET/PATH, or add `-d remote_url=...` to the command"),
    ("local", " ", "no folder is given. Fix: type its path, or add `-d remote_url=...` to the command"),
    ("none", "s3://b", "'s3://b' is not used if remote is none. Fix: remove it, or choose another remote"),
    *(
        ("s3", url, f"{url!r} is not a URL of s3. Fix: write s3://BUCKET/PATH, {WORDS}")
        for url in ("gs://b/x", "S3://b", "s3a://b", "b/x", "s3://", "s3:///x", "s3://b/a b", "s3://b/ü", 's3://b/"')
    ),
    *(("s3", url, f"{url!r} is not a URL of s3. Fix: write s3://BUCKET/PATH, {WORDS}") for url in ("s3://b/#", "s3://b\n[x]")),
    ("s3", "ssh://ada@host/p", f"'ssh://***@host/p' is not a URL of s3. Fix: write s3://BUCKET/PATH, {WORDS}"),
    ("gs", "gcs://b", f"'gcs://b' is not a URL of gs. Fix: write gs://BUCKET/PATH, {WORDS}"),
    ("azure", "az://c/x", f"'az://c/x' is not a URL of azure. Fix: write azure://CONTAINER/PATH, {WORDS}"),
    *(
        ("ssh", url, f"{shown!r} is not a URL of ssh. Fix: write ssh://USER@HOST/FULL/PATH, {WORDS}")
        for url, shown in [
            ("ssh://host", "ssh://host"),
            ("ssh://host/", "ssh://host/"),
            ("ssh://host:x/p", "ssh://host:x/p"),
            ("ssh://u@host/~/p", "ssh://***@host/~/p"),
            ("u@host:/p", "***@host:/p"),
        ]
    ),
    ("s3", "s3://AKIA:abc@b/x", f"'s3://***@b/x' {SECRET}"),
    ("s3", "s3://AKIA:a/b/c@b/x", f"'s3://***@b/x' {SECRET}"),
    ("s3", "s3://AKIA@b/x", f"'s3://***@b/x' {SECRET}"),
    ("s3", "s3://b/x?AWSAccessKeyId=AKIA&Signature=abc", f"'s3://b/x?***' {SECRET}"),
    ("ssh", "ssh://ada:abc@host/p", f"'ssh://***@host/p' {SECRET}"),
    ("s3", "ssh://ada:abc@host/p", f"'ssh://***@host/p' {SECRET}"),
    ("azure", "azure://c/p?sv=1&sig=abc", f"'azure://c/p?***' {SECRET}"),
    ("azure", "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=abc", f"'DefaultEndpointsProtocol=***' {SECRET}"),
    ("local", "s3://b/x", "'s3://b/x' is a URL, but remote is local. Fix: name a folder, as in ../dvc-storage, or choose another remote"),
    ("local", "ssh://ada@host/p", "'ssh://***@host/p' is a URL, but remote is local. Fix: name a folder, as in ../dvc-storage, or choose another remote"),
    ("local", "store", f"'store' is in the project. Fix: {FOLDER}"),
    ("local", "a/../.", f"'a/../.' is in the project. Fix: {FOLDER}"),
    ("local", "/mnt/Büro", f"'/mnt/Büro' has 'ü' in it, {ODD}"),
    ("local", "/mnt/a\nb", f"'/mnt/a\\nb' has '\\n' in it, {ODD}"),
    ("local", "$HOME/x", f"'$HOME/x' has '$' in it, {ODD}"),
    ("local", "/mnt/#1", f"'/mnt/#1' has '#' in it, {ODD}"),
]  # fmt: skip
BAD_OTHERS = [
    ("remote_endpoint", "s3", "minio:9000", "'minio:9000' is not an endpoint. Fix: write https://HOST or http://HOST:PORT, or nothing for Amazon"),
    ("remote_endpoint", "s3", "https://ada:abc@host", f"'https://***@host' {SECRET}"),
    ("remote_endpoint", "gs", "http://host", "'http://host' is not used if remote is gs. Fix: remove it, or choose another remote"),
    ("remote_profile", "s3", "my team", "'my team' is not a profile. Fix: write the name of a section in ~/.aws/credentials, or nothing"),
    ("remote_account", "azure", "My_Account", "'My_Account' is not a storage account. Fix: write its name, 3 to 24 lower-case letters and digits, or nothing"),
]  # fmt: skip


@pytest.mark.parametrize("answers", GOOD, ids=lambda answers: answers["remote_url"])
def test_what_will_do(answers):
    for question in answers.keys() - {"remote"}:
        assert problem(answers[question], question, answers["remote"]) == ""


@pytest.mark.parametrize(("remote", "url", "refusal"), BAD)
def test_what_will_not_do(remote, url, refusal):
    assert problem(url, "remote_url", remote) == refusal


@pytest.mark.parametrize(("question", "remote", "answer", "refusal"), BAD_OTHERS)
def test_what_else_will_not_do(question, remote, answer, refusal):
    assert problem(answer, question, remote) == refusal


@given(
    st.sampled_from(["s3", "gs", "azure", "ssh"]),
    st.text("sWX0/+=:@?&;# ü\n", max_size=9),
    st.sampled_from(["{0}://user:{1}@host/path", "ssh://user:{1}@host/path", "user:{1}@host:/path", "{0}://b/p?sig={1}", "{0}://b/p?x=1&key={1}", "AccountKey={1}"]),
)  # fmt: skip
def test_a_secret_is_refused_and_never_shown(remote, rest, form):
    secret = "QQ" + rest + "QQ"
    said = problem(form.format(remote, secret), "remote_url", remote)
    assert said and "Q" not in said and "\n" not in said


@pytest.mark.parametrize(
    ("answers", "refusal"),
    [
        ({"remote": "s3"}, f"remote_url: {BAD[0][2]}"),
        ({"remote": "s3", "remote_url": "s3://k:abc@b"}, f"remote_url: 's3://***@b' {SECRET}"),
        ({"remote_url": "s3://b"}, f"remote_url: {BAD[2][2]}"),
        ({"remote": "gs", "remote_url": "gs://b", "remote_endpoint": "http://host"}, f"remote_endpoint: {BAD_OTHERS[2][3]}"),
    ],
)  # fmt: skip
def test_a_command_is_refused_in_one_line(render, answers, refusal):
    with pytest.raises(UserMessageError) as error:
        render(**answers)
    assert str(error.value) == refusal


def test_one_line_is_all_that_copier_says(template, tmp_path, environ):
    command = [sys.executable, "-m", "copier", "copy", "--trust", "--defaults", "--vcs-ref", "HEAD", "-d", "remote=ssh"]
    for url, said in (("ssh://ada:abc@host/p", f"'ssh://***@host/p' {SECRET}"), ("", BAD[0][2].replace("s3://BUCKET/PATH", "ssh://USER@HOST/FULL/PATH"))):  # fmt: skip
        done = subprocess.run(
            [*command, "-d", f"remote_url={url}", str(template), str(tmp_path / "p")],
            env=environ, text=True, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 1 and done.stdout == f"remote_url: {said}\n"
        assert not (tmp_path / "p").exists()
