"""A project's README as somebody reads it, who types its commands."""

import re
import shlex

from conftest import Workspace


def sections(text: str) -> dict[str, str]:
    """The text below each heading."""
    parts = re.split(r"(?m)^## (.*)\n", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def fenced(text: str) -> list[str]:
    """The commands that stand alone."""
    blocks = re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", text)
    return "".join(block for language, block in blocks if not language).splitlines()


def inline(text: str) -> list[str]:
    """The commands within a sentence or a table."""
    return re.findall(r"`((?:uv|uvx|git|dvc|python) [^`]*)`", re.sub(r"(?ms)^```.*?^```$", "", text))


class Reader:
    """Somebody who works in a project by its README, and types each command of it."""

    def __init__(self, project: Workspace):
        self.project = project
        self.sections = sections(project.read("README.md"))
        self.left = {(name, c) for name, text in self.sections.items() for c in (*fenced(text), *inline(text))}
        self.section = ""

    def command(self, pattern: str) -> str:
        """The one command of this section that fits; from now on it counts as typed."""
        found = {c for c in (*fenced(self.text), *inline(self.text)) if re.search(pattern, c)}
        assert len(found) == 1, (self.section, pattern, found)
        command = found.pop()
        # A sentence may name it by its first words.
        self.left = {(section, c) for section, c in self.left if not f"{command} ".startswith(f"{c} ")}
        return command

    @property
    def text(self) -> str:
        return self.sections[self.section]

    def types(self, pattern: str, *more: str, check: bool = True, **words: str) -> str:
        """Runs it, with the words in capitals replaced; what it prints."""
        command = shlex.split(self.command(pattern))
        assert words.keys() <= {*command}
        return self.project.run(*(words.get(part, part) for part in command), *more, check=check).stdout
