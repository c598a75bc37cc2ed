"""`pipeline report TARGET`: what a checkout changes in parameters, metrics and plots, for those who review it.

CI calls it, with the group `report`, which has what draws pictures.
"""

import argparse
import base64
import html
import json
import mimetypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from notebook_pipeline import git

FOLDER = Path("dvc_plots")
"""Where DVC, too, puts its plots; git ignores it."""

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }}
th, td {{ border: 1px solid #d0d7de; padding: 0.3rem 0.8rem; text-align: left }}
img {{ max-width: min(100%, 45rem) }}
</style>
{body}
</html>
"""


class ReportError(Exception):
    """What there is to compare cannot be had; one line that says why and what to do."""


def main(argv: list[str]) -> int:
    """Write `report.md`, `plots.md` with its pictures, and `report.html`, which has all of them, into `FOLDER`.

    What stands in `notes.md` there is put first. Returns the exit code: 1 if there is nothing to compare with.
    """
    parser = argparse.ArgumentParser(prog="pipeline report", description=__doc__.partition(": ")[2])
    parser.add_argument("target", metavar="TARGET", help="the branch to compare with, as in origin/main")
    target = parser.parse_args(argv).target
    try:
        # Not the branch as it is now: what it got since then is no change of this checkout's.
        base = git.text("merge-base", target, "HEAD")
        if base is None:
            raise ReportError(f"{target}: not found, or without a commit in common. Fix: fetch it, with its history")
        label = target.removeprefix("origin/")
        FOLDER.mkdir(exist_ok=True)
        notes = FOLDER / "notes.md"
        report = [
            f"## Compared with {_escape(label)}",
            *([notes.read_text(encoding="utf-8").strip().replace("\n", "\n\n")] if notes.exists() else []),
            "### Parameters",
            _make_table("params", base, label) or "No parameter differs.",
            "### Metrics",
            _make_table("metrics", base, label) or "No metric differs.",
        ]
        _repeat_relative_remote()
        found = _dvc("plots", "diff", "--json", base).replace(json.dumps(base), json.dumps(label))
        pictures = set()
        plots = [*_list_plots(json.loads(found or "{}"), pictures)]
    except ReportError as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    plots = ["### Plots", *plots] if plots else []
    _write("report.md", report)
    _write("plots.md", plots)
    (FOLDER / "report.html").write_text(
        _make_page(f"Compared with {label}", [*report, *plots], pictures), encoding="utf-8"
    )
    return 0


def _repeat_relative_remote() -> None:
    """Repeat a relative path of the default remote in `.dvc/config.local`, if that has none.

    When it compares with another revision, DVC reads `.dvc/config` from there, and takes a relative path in it from `/`.
    (Not for `setup` to do: if the team moves its folder, a person's checkout would silently keep the old one.)
    """
    from dvc.config_schema import RelPath
    from dvc.repo import Repo

    with Repo() as repo:
        name = repo.config["core"].get("remote")
        path = repo.config["remote"].get(name, {}).get("url")
        if not isinstance(path, RelPath) or not Path(path).is_dir():
            return
        # DVC writes ASCII alone, and loses the file over anything else.
        if os.path.relpath(path, repo.dvc_dir).isascii() and "url" not in repo.config.read("local")["remote"].get(
            name, {}
        ):
            with repo.config.edit("local") as local:
                local["remote"].setdefault(name, {})["url"] = path


def _make_table(what: str, base: str, label: str) -> str:
    """Return what differs, as Markdown; empty if nothing does: DVC then writes the heads of the columns alone."""
    table = _dvc(what, "diff", "--md", base).strip()
    return _escape(table.replace(base, label)) if len(table.splitlines()) > 2 else ""


def _escape(text: str) -> str:
    """Escape a text for Markdown: a name or a value may be a picture's or a link's."""
    return re.sub(r"[\\`*\[\]<&~]", r"\\\g<0>", text)


def _quote(text: str) -> str:
    """Write a text in the letters of code."""
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"


def _list_plots(found: dict, written: set[str]) -> Iterator[str]:
    """Yield the plots as Markdown; the pictures are written beside it, and their names added to those `written`."""
    number = 0
    for name, versions in found.get("data", {}).items():
        pictures, shown = {}, _escape(" ".join(name.split()))
        # A link may lead to any file of this machine.
        if not Path(name).resolve().is_relative_to(Path.cwd().resolve()):
            yield f"Not drawn: {_quote(name)} leads out of the project"
            continue
        for version in versions:
            number += 1
            revision = _escape(" and ".join(version["revisions"]))
            if version["type"] == "image":
                suffix = Path(version["url"]).suffix
                path = FOLDER / f"plot{number}{suffix if suffix.isascii() and suffix[1:].isalnum() else ''}"
                shutil.copyfile(version["url"], path)
            else:
                path = FOLDER / f"plot{number}.png"
                try:
                    path.write_bytes(_draw(version["content"]))
                except ValueError as error:
                    yield f"{_quote(name)} cannot be drawn: {_escape(' '.join(str(error).split())[:200])}"
                    continue
            written.add(path.name)
            pictures[revision] = f"![{shown} of {revision}]({path.name})"
        # The target comes first, as in the tables.
        pictures = dict(sorted(pictures.items(), key=lambda picture: picture[0] == "workspace"))
        if len(pictures) > 1:
            yield f"#### {shown}"
            yield "\n".join(f"| {' | '.join(row)} |" for row in (pictures, ["---"] * len(pictures), pictures.values()))
        elif pictures:
            yield f"#### {shown}"
            yield from pictures.values()
    missing = {}
    for error in found.get("errors", []):
        # A branch whose dvc.yaml cannot be read has neither.
        what = error.get("source") or error.get("name") or "plots"
        missing.setdefault((what, error["type"], error["msg"]), []).append(error["rev"])
    for (what, kind, message), revisions in missing.items():
        why = "not in git, and not in a DVC remote" if kind == "FileNotFoundError" else " ".join(message.split())
        yield f"Not drawn: {_quote(what)} of {_escape(' and '.join(dict.fromkeys(revisions)))}: {_escape(why)}"


def _draw(spec: dict) -> bytes:
    """Draw a Vega-Lite plot as PNG.

    Raises:
        ValueError: it is no such plot.
        ReportError: the drawing library is not here.
    """
    try:
        import vl_convert  # 30 MB that the project's environment has no other use for
    except ModuleNotFoundError:
        command = "uv run --group report pipeline report TARGET"
        raise ReportError(
            f"report: nothing is installed that draws plots. Fix: {command} {' '.join(sys.argv[1:])}"
        ) from None
    if _shows_pictures(spec):
        raise ValueError("its template shows pictures of other places")
    return vl_convert.vegalite_to_png(spec, scale=2, allowed_base_urls=[])


def _shows_pictures(spec: object) -> bool:
    """Whether a plot has marks that are pictures: the drawing library takes them from any file and address."""
    match spec:
        case {"mark": "image" | {"type": "image"}}:
            return True
        case dict() | list():
            return any(map(_shows_pictures, spec.values() if isinstance(spec, dict) else spec))
    return False


def _make_page(title: str, blocks: list[str], pictures: set[str]) -> str:
    """Make one HTML page of Markdown that has its pictures in it: it can be sent, kept and opened from anywhere.

    Args:
        pictures: the names in `FOLDER` of those that were written there; any other stays the text that it is.
    """
    from markdown_it import MarkdownIt

    def image(tokens, index, options, environment) -> str:
        token = tokens[index]
        name, text = token.attrs["src"], html.escape(token.content)
        return (
            f'<img src="{_embed(name)}" alt="{text}">'
            if name in pictures
            else html.escape(f"![{token.content}]({name})")
        )

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.renderer.rules["image"] = image
    return _PAGE.format(title=html.escape(title), body=markdown.render("\n\n".join(blocks)))


def _embed(name: str) -> str:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode((FOLDER / name).read_bytes()).decode()}"


def _write(name: str, blocks: list[str]) -> None:
    (FOLDER / name).write_text("".join(f"{block}\n\n" for block in blocks), encoding="utf-8", newline="\n")


def _dvc(*arguments: str) -> str:
    """Return what a command of DVC prints; its messages go to the screen.

    Raises:
        ReportError: it failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    if done.returncode:
        raise ReportError(f"`dvc {' '.join(arguments)}` failed. Fix: follow its message above")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
