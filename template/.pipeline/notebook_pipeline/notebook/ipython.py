"""IPython's syntax in a cell (`%magic`, `!shell`), and what only newer Pythons can read."""

import ast
import contextlib
import re

from .syntax import UNREADABLE, parse_python

# Cell magics whose body is Python of the notebook.
PYTHON_CELL_MAGIC = re.compile(r"%%(time|capture|prun)\b(?!.*-[a-zA-Z]*c\b)")
# Of those that ruff takes for Python, too, the others.
FORMATTED_CELL_MAGIC = re.compile(r"%%(debug|ipytest|pypy|python3?|timeit)\b")


def read_python(source: str) -> tuple[str, ast.Module | None]:
    """Replace IPython's own syntax by the calls that it stands for, so that `ast` can read the cell.

    Only a line that begins a statement is taken for IPython's, so a `%` or `!` within a string or an expression stays. The
    calls are those of IPython.core.inputtransformer2.
    """
    first = next(filter(str.strip, source.split("\n")), "")
    if first.startswith("%%") and not PYTHON_CELL_MAGIC.match(first):
        return source, None
    text = remove_indentation(source)
    with contextlib.suppress(*UNREADABLE):
        return text, parse_python(text)
    with contextlib.suppress(*UNREADABLE):
        text = replace_parts(text, Scan(text).magics)
        return text, parse_python(text)
    return source, None


def remove_indentation(source: str) -> str:
    """Remove the indentation of a pasted part of a function, as IPython does."""
    indent = re.match(r"(?:[ \t]*\n)*([ \t]+)\S", source)
    return re.sub(f"^{indent[1]}", "", source, flags=re.MULTILINE) if indent else source


def replace_parts(source: str, edits: list[tuple[int, int, str]]) -> str:
    """Replace parts of a text, each given with its start, its end and the new text."""
    for start, end, text in sorted(edits, reverse=True):
        source = source[:start] + text + source[end:]
    return source


_LOGICAL_LINE = re.compile(r"(?:\\\n|[^\n])*")
_ASSIGNED = re.compile(r"""(?P<target>(?:[^=!%?#'"]|"[^"]*"|'[^']*')*=)\s*(?P<sign>[!%])(?P<rest>.*)""")
_HELP = re.compile(r"""\?.*|[^#'"]+\?""")


def _ipython_call(line: str) -> str | None:
    """Make the call that a line of IPython syntax stands for; None if it is not such a line."""
    indent, text = line[: len(line) - len(line.lstrip())], line.strip()
    if text.startswith("!"):
        return f"{indent}get_ipython().system({text[1:].lstrip('!')!r})"
    if text.startswith("%"):
        return indent + _magic_call(text)
    if _HELP.fullmatch(text):
        return f"{indent}get_ipython().run_line_magic('pinfo', {text.strip('?')!r})"
    if match := _ASSIGNED.fullmatch(text):
        call = (
            f"get_ipython().getoutput({match['rest']!r})" if match["sign"] == "!" else _magic_call("%" + match["rest"])
        )
        return f"{indent}{match['target']} {call}"
    return None


def _magic_call(text: str) -> str:
    name, _, rest = text.lstrip("%").partition(" ")
    return f"get_ipython().run_line_magic({name!r}, {rest.strip()!r})"


_BRACKETS = r"\[(?:[^\[\]]|\[(?:[^\[\]]|\[[^\[\]]*\])*\])*\]"
_STEP = re.compile(
    r"""\#[^\n]*|\\\n|[\n()\[\]{}:]|!(?!=)"""
    r"""|(?P<prefix>(?<!\w)[bfrtuBFRTU]{1,2})?(?P<quote>\"{3}|'{3}|["'])"""
    # Python 3.12: type parameters, and `type X = ...`;
    rf"""|\b(?:def|class)[ \t]+(?P<generic>\w+[ \t]*{_BRACKETS})"""
    rf"""|\b(?P<alias>type[ \t]+(?!(?:and|else|for|if|in|is|not|or)\b)\w+[ \t]*(?:{_BRACKETS})?)(?=\s*=[^=])"""
    # 3.14: several exceptions without parentheses.
    r"""|\bexcept\b\*?[ \t]*(?P<exceptions>[^:()\n#]*,[^:()\n#]*)(?=:)"""
)


class Scan:
    """The places in a cell's source that `ast` can read on some Pythons only, found alike on every Python.

    Attributes:
        magics: lines of IPython's syntax, each with start, end, and the call that it stands for.
        fields: the expressions in f-strings, but not those in them; start and end, as of all that follows.
        names: names with type parameters, and `type X`.
        templates: the places of the `t` of a template string and of the start of its text.
        exceptions: those that `except A, B:` names.
    """

    def __init__(self, source: str):
        self.source, self.magics, self.fields, self.names = source, [], [], []
        self.templates, self.exceptions = [], []
        self._pass_code(self._pass_magics(0), is_field=False)

    def _pass_code(self, at: int, is_field: bool) -> int:
        """Go to the end of the source, or of a field's expression."""
        depth = 0
        while step := _STEP.search(self.source, at):
            at, token = step.end(), step[0]
            if step["quote"]:
                at = self._pass_string(at, (step["prefix"] or "").lower(), step["quote"], is_field)
            elif is_field and not depth and token in ("!", ":", "}", "]", ")"):
                return step.start()
            elif token in ("(", "[", "{"):
                depth += 1
            elif token in (")", "]", "}"):
                depth = max(depth - 1, 0)
            elif token == "\n" and not depth and not is_field:
                at = self._pass_magics(at)
            elif step["exceptions"]:
                self.exceptions.append(step.span("exceptions"))
            elif name := step["generic"] or step["alias"]:
                self.names.append((at - len(name), at))
        return len(self.source)

    def _pass_magics(self, at: int) -> int:
        """Skip lines of IPython's syntax at the start of a statement; a backslash at the end continues a line."""
        while line := _LOGICAL_LINE.match(self.source, at):
            call = _ipython_call(line[0].replace("\\\n", " ").rstrip("\\"))
            if call is None:
                break
            self.magics.append((*line.span(), call + "\n" * line[0].count("\n")))
            at = min(line.end() + 1, len(self.source))
        return at

    def _pass_string(self, at: int, prefix: str, quote: str, is_inner: bool) -> int:
        if not {*prefix} & {*"ft"}:
            end = re.compile(rf"(?:\\.|[^\\])*?{quote}", re.DOTALL).match(self.source, at)
            return end.end() if end else len(self.source)
        if "t" in prefix and not is_inner:
            self.templates.append((at - len(quote) - len(prefix) + prefix.index("t"), at))
        name = "" if "r" in prefix else r"\\N\{[^{}]*\}|"
        step = re.compile(rf"{name}\\[^{{}}]|\{{\{{|(?P<field>\{{)|(?P<end>{quote})", re.DOTALL)
        while found := step.search(self.source, at):
            at = found.end()
            if found["end"]:
                break
            if found["field"]:
                at = self._pass_field(at, is_inner)
        return at

    def _pass_field(self, at: int, is_inner: bool) -> int:
        """Skip `x!r:>{width}}`."""
        end = self._pass_code(at, is_field=True)
        if not is_inner:
            self.fields.append((at, end))
        while end < len(self.source) and self.source[end] != "}":
            end = self._pass_field(end + 1, is_inner) if self.source[end] == "{" else end + 1
        return end + 1
