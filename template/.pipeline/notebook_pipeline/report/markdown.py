"""Markdown, in which a report is written, and the page that is made of it."""

import base64
import difflib
import html
import mimetypes
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from notebook_pipeline.report.revisions import FOLDER

MOST_LINES = 80
"""So many lines of one difference are shown."""

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; color: #1f2328; max-width: 80rem; margin: 1.5rem auto; padding: 0 1.5rem }}
h2 {{ margin: 0 }} h3 {{ border-bottom: 1px solid #d0d7de; padding-bottom: 0.3rem; margin: 2rem 0 0.8rem }}
h4 {{ margin: 1.2rem 0 0.5rem }} h4 code {{ font-size: 15px; font-weight: 600 }} p {{ margin: 0.5rem 0 }}
table {{ border-collapse: collapse; margin: 0.5rem 0 }}
th, td {{ border: 1px solid #d0d7de; padding: 0.25rem 0.7rem; text-align: left; vertical-align: top }}
th {{ background: #f6f8fa }}
td img {{ max-width: 100%; max-height: 24rem }} p > img {{ max-width: min(100%, 40rem) }}
code, pre {{ font: 13px/1.45 ui-monospace, monospace }}
pre {{ border: 1px solid #d0d7de; border-radius: 6px; padding: 0.5rem 0; margin: 0.3rem 0; overflow-x: auto }}
pre span {{ display: block; padding: 0 0.8rem; min-width: max-content }}
.add {{ background: #dafbe1 }} .del {{ background: #ffebe9 }} .gap {{ color: #656d76 }}
summary {{ cursor: pointer; font-weight: 600; margin: 0.5rem 0 }} iframe {{ width: 100%; height: 85vh; border: 1px solid #d0d7de }}
</style>
{body}
</html>
"""


def escape(text: str) -> str:
    """Escape a text for Markdown: a name or a value may be a picture's or a link's."""
    return re.sub(r"[\\`*\[\]<&~]", r"\\\g<0>", text)


def quote(text: str) -> str:
    """Write a text in the letters of code."""
    return f"`{' '.join(text.split()).replace('`', chr(39)).replace('|', '¦')}`"


def table(*rows: Iterable[str]) -> str:
    """Make a table; the first row has the names of the columns."""
    head, *others = [*map(list, rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *others))


def difference(before: str, now: str) -> str:
    """Show which lines of a text differ, each with its sign before it, and three lines around them."""
    lines = [*difflib.unified_diff(before.splitlines(), now.splitlines(), lineterm="")][2:]
    lines = ["..." if line.startswith("@@") else line for line in lines]
    lines = lines[1:] if lines[:1] == ["..."] else lines
    more = [f"... and {len(lines) - MOST_LINES} lines more"] if len(lines) > MOST_LINES else []
    text = "\n".join([*lines[:MOST_LINES], *more])
    fence = "`" * max(3, *(1 + len(run) for run in re.findall("`+", text)), 3)
    return f"{fence}diff\n{text}\n{fence}"


class Pictures:
    """The pictures of a report, which lie in `FOLDER`, beside its text."""

    def __init__(self):
        self.names: list[str] = []

    def add(self, content: bytes, suffix: str, shown: str) -> str:
        """Write a picture and return it as Markdown.

        Args:
            shown: the text in its place where it cannot be seen.
        """
        self.names.append(f"plot{len(self.names) + 1}{suffix}")
        (FOLDER / self.names[-1]).write_bytes(content)
        return f"![{shown}]({self.names[-1]})"


def make_page(title: str, blocks: Iterable[str], pictures: Pictures, notebooks: Mapping[str, Path]) -> str:
    """Make one HTML page of Markdown that has its pictures in it: it can be sent, kept and opened from anywhere.

    Args:
        pictures: those that it may show; any other stays the text that it is.
        notebooks: pages that it has in it, closed, by their names. They can do nothing to the page around them.
    """
    from markdown_it import MarkdownIt

    def image(tokens, index, *_) -> str:
        token = tokens[index]
        name, text = token.attrs["src"], html.escape(token.content)
        if name not in pictures.names:
            return html.escape(f"![{token.content}]({name})")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return f'<img src="data:{kind};base64,{base64.b64encode((FOLDER / name).read_bytes()).decode()}" alt="{text}">'

    def fence(tokens, index, *_) -> str:
        kinds = {"+": "add", "-": "del", ".": "gap"}
        lines = tokens[index].content.removesuffix("\n").split("\n")
        spans = (f'<span class="{kinds.get(line[:1], "")}">{html.escape(line) or " "}</span>' for line in lines)
        return f"<pre>{''.join(spans)}</pre>\n"

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.renderer.rules |= {"image": image, "fence": fence}
    body = markdown.render("\n\n".join([*blocks, *(["### Executed notebooks"] if notebooks else [])]))
    for name, page in notebooks.items():
        inner = html.escape(page.read_text(encoding="utf-8"))
        frame = f'<iframe sandbox="allow-scripts" loading="lazy" srcdoc="{inner}"></iframe>'
        body += f"<details><summary>{html.escape(name)}</summary>{frame}</details>\n"
    return _PAGE.format(title=html.escape(title), body=body)
