"""Changes the texts of the code that name, or begin, a path that goes elsewhere in the project."""

import ast
import copy
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from notebook_pipeline.add.code import Code, span_of, when_used
from notebook_pipeline.add.flow import Literal
from notebook_pipeline.add.observation import Observation, Use
from notebook_pipeline.add.places import INPUTS, Places
from notebook_pipeline.add.sorting import WORD, Files
from notebook_pipeline.add.texts import head_of, is_upwards, parts, with_head
from notebook_pipeline.notebook.document import Notebook, replaced, stands_in_source

# Files that tell code where others are; larger ones are data.
_CONFIGURATION = (".yaml", ".yml", ".json", ".toml", ".ini", ".cfg")
_CONFIGURATION_SIZE = 100_000
_WORKING_DIRECTORY = re.compile(
    r"(os\.getcwd|(pathlib\.)?Path\.cwd)\(\)|(pathlib\.)?Path\((['\"]\.['\"])?\)\.(resolve|absolute)\(\)"
)


@dataclass(frozen=True)
class _Edit:
    """A part of the code that is replaced."""

    source: int | str
    node: ast.expr
    text: str


class Rewriter:
    """Follows the files of a notebook in its code."""

    def __init__(self, notebook: Notebook, found: Observation, places: Places, code: Code, files: Files):
        self.given, self.found, self.places, self.code, self.files = notebook, found, places, code, files
        self.edits: list[_Edit] = []
        self.lines: dict[int, dict[int, str]] = {}
        """The shell lines that change, by the number of the cell and the line's place in it."""
        self.wanted: dict[Literal, dict[str, list[tuple[Use, str]]]] = {}
        self.results: dict[Path, str] = {}
        self.texts: dict[Path, str] = {}
        self.notes: list[str] = []
        self.words: dict[tuple[Path, str], str] = {}
        """The words of configuration files that change."""

    def follow_uses(self) -> None:
        """Find for each use the text that must change, and change it."""
        for use in self._worth_following():
            place = self.files.place_of(use)
            if place is None:
                continue
            is_result = use.path in self.found.written and (
                use.path not in self.files.inputs or place == self.files.place_of_change(use.path)
            )
            if is_result:
                self.results.setdefault(use.path, place)
            for text in self._solve(use, place) or ():
                self.wanted.setdefault(text[0], {}).setdefault(text[1], []).append((use, place))
        for literal, options in self.wanted.items():
            # Inputs first: a result can go elsewhere.
            of_inputs = {
                new for new, uses in options.items() if any(self.files.holds_inputs(use.base) for use, _ in uses)
            }
            best = max(options, key=lambda new: (new in of_inputs, len(options[new])))  # noqa: B023
            if parts(best) != parts(literal.text):
                self._edit(literal, best)
            for new in options.keys() - {best}:
                for use, place in options[new]:
                    self._follow_at_call(use, place)

    def _worth_following(self) -> Iterator[Use]:
        """The uses of files and folders, one for each path and place; and what no call is known of."""
        seen = set()
        # Whether something exists is asked also of what leads to a path: what is used itself counts first.
        for use in sorted(self.code.uses, key=lambda use: use.what == "ask"):
            if (use.path, use.said, use.sites, use.what == "write") not in seen:
                seen.add((use.path, use.said, use.sites, use.what == "write"))
                yield use
        known = {use.path for use in self.code.uses}
        for path in sorted(((self.files.inputs & self.found.read) | {*self.found.written}) - known):
            said = Path(os.path.relpath(path, self.places.origin)).as_posix()
            yield Use("native", said, path, 0)

    def _solve(self, use: Use, place: str) -> list[tuple[Literal, str]] | None:
        """Return the literals with their new texts; None if another way was taken, or none is known."""
        literals, names = self.code.literals(use)
        for form, base in self.code.forms(use):
            found = _new_texts(literals, form, parts(place))
            if found is None:
                continue
            if base is None or (base == self.places.origin and not self._begins_above(use, names)):
                return found
            if (head := self._head_at(base, literals, names)) is not None:
                return [*found, *head]
        if use.what == "ask":
            return None
        is_followed = self._follow_in_configuration(use, place) or (
            use.what != "native" and self._follow_at_call(use, place)
        )
        if not is_followed:
            self._note_not_followed(use, place)
        return None

    def _begins_above(self, use: Use, names: set[str]) -> bool:
        """Whether a name stands for a folder above the notebook's, and none for that: the path begins with it."""
        values = [Path(self.found.names[name][1]) for name in names if name in self.found.names]
        heads = [value for value in values if value.is_absolute() and use.path.is_relative_to(value)]
        return bool(heads) and not any(value.is_relative_to(self.places.origin) for value in heads)

    def _head_at(self, base: Path, literals: list[Literal], names: set[str]) -> list[tuple[Literal, str]] | None:
        """Let what stands for a folder above the notebook stand for the project's root."""
        is_known = False
        for name in names:
            is_text, said = self.found.names.get(name, (False, ""))
            if not said or Path(os.path.normpath(self.places.origin / said)) != base:
                continue
            by_source: dict[int | str, list[ast.expr]] = {}
            for source, node in self.code.flow.bindings(name):
                by_source.setdefault(source, []).append(node)
            for source, nodes in by_source.items():
                is_search = any(_WORKING_DIRECTORY.fullmatch(ast.unparse(node)) for node in nodes)
                if len(nodes) == 1 and not is_search and not self._is_upwards(nodes[0], base):
                    start = ("os.", "") if isinstance(source, int) else ('__import__("os").', '__import__("pathlib").')
                    new = f"{start[0]}getcwd()" if is_text else f"{start[1]}Path.cwd()"
                    self.edits.append(_Edit(source, nodes[0], new))
                    is_known = True
                # A search begins in the working directory, and goes on as `ROOT = ROOT.parent`: in the project it ends there.
                is_known = is_known or is_search
        for literal in literals:
            if self._is_upwards(literal.node, base):
                return [(literal, "." + "/" * literal.text.endswith("/"))]
        return [] if is_known else None

    def _is_upwards(self, node: ast.expr, base: Path) -> bool:
        """Whether an expression begins with a text such as `..`, which leads from the notebook's folder to this one."""
        first = _first(node.func.value if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else node)
        text = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""
        return (
            bool(parts(text)) and is_upwards(parts(text)) and Path(os.path.normpath(self.places.origin / text)) == base
        )

    def _edit(self, literal: Literal, new: str) -> None:
        source = self.code.source_of(literal.source)
        if literal.is_piece:
            node = _piece(source, literal)
            if node is not None:
                self.edits.append(_Edit(literal.source, node, new))
        else:
            self.edits.append(_Edit(literal.source, literal.node, _quoted(new, source, literal.node)))

    def _follow_at_call(self, use: Use, place: str) -> bool:
        """Write the place into the call itself, if all that it was seen to use is this path; else in front of what it adds."""
        for site in use.sites:
            call = self.code.flow.call_at(site)
            if not isinstance(call, ast.Call):
                continue
            receiver = [call.func.value] if isinstance(call.func, ast.Attribute) else []
            for node in [*call.args, *(keyword.value for keyword in call.keywords), *receiver]:
                if isinstance(node, ast.Starred) or not self._leads_to(site.source, node, use):
                    continue
                is_path = node in receiver or self._is_path_object(node)
                others = {each.path for each in self.code.uses if site in each.sites and each.what != "list"}
                if others <= {use.path}:
                    text = f'Path("{place}")' if is_path else _quoted(place, self.code.source_of(site.source), node)
                    self.edits.append(_Edit(site.source, node, text))
                    return True
                if self._follow_front(site.source, node, use, place):
                    return True
        return False

    def _leads_to(self, source: int | str, node: ast.expr, use: Use) -> bool:
        """Whether an argument is the path, or something that begins it."""
        literals, names = self.code.flow.origins(source, node, when_used(use))
        forms = [form for form, _ in self.code.forms(use)]
        if any(head_of(literal.text, form) for literal in literals for form in forms):
            return True
        values = [self.found.names[name][1] for name in names if name in self.found.names]
        return any(parts(value) == form[: len(parts(value))] for value in values for form in forms if parts(value))

    def _follow_front(self, source: int | str, node: ast.expr, use: Use, place: str) -> bool:
        """Replace the name that a path begins with by the text of its folder in the project."""
        first, front = _first(node), node
        while (
            isinstance(first, ast.Name)
            and first.id not in self.found.names
            and len(bound := self.code.flow.bindings(first.id)) == 1
        ):
            source, front = bound[0]
            first = _first(front)
        if not isinstance(first, ast.Name) or first.id not in self.found.names or first is front:
            return False
        is_text, said = self.found.names[first.id]
        new = with_head(said, said, parts(use.said), parts(place))
        if new is None:
            return False
        if isinstance(front, ast.JoinedStr):
            segment = ast.get_source_segment(self.code.source_of(source), front) or ""
            text = re.sub(rf"\{{\s*{re.escape(first.id)}\s*\}}", lambda _: new, segment, count=1)
            self.edits.append(_Edit(source, front, text))
        else:
            self.edits.append(
                _Edit(source, first, _quoted(new, self.code.source_of(source), first) if is_text else f'Path("{new}")')
            )
        return True

    def _is_path_object(self, node: ast.expr) -> bool:
        """Whether the value of an expression is a `Path`, and not a text that was made of one."""
        if isinstance(node, ast.Name) and node.id in self.found.names:
            return not self.found.names[node.id][0]
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if name in ("str", "os.fspath") or name.startswith("os.path.") or name.endswith(".as_posix"):
            return False
        return any(
            (isinstance(each, ast.BinOp) and isinstance(each.op, ast.Div))
            or (isinstance(each, ast.Call) and ast.unparse(each.func).endswith("Path"))
            for each in ast.walk(node)
        )

    def _note_not_followed(self, use: Use, place: str) -> None:
        """Say what a person must change."""
        is_in_line = any(use.path.is_relative_to(path) for path in self.files.shell_paths)
        if use.path == self.places.origin or place == Path(use.said).as_posix() or is_in_line:
            return
        cell = self.code.cells.get(use.cell)
        where = self.given.place(cell) if cell else self.given.path
        verb = "writes" if use.path in self.found.written else "reads"
        self.notes.append(f"{where}: {verb} `{use.said}`, which no text of the code begins. Fix: write `{place}` there")

    def _follow_in_configuration(self, use: Use, place: str) -> bool:
        """Change the longest word that begins the path in a configuration file which the notebook has read."""
        path, found = parts(use.said), []
        for file in sorted(self.files.copies):
            if file.suffix in _CONFIGURATION and file.stat().st_size <= _CONFIGURATION_SIZE:
                for word in {*re.findall(WORD, file.read_text(encoding="utf-8", errors="replace"))}:
                    if (head := head_of(word, path)) and not is_upwards(parts(head)):
                        found.append((len(parts(head)), file, word, with_head(word, head, path, parts(place))))
        if not found:
            return False
        _, file, word, new = max(found, key=lambda each: each[0])
        return new is not None and self.words.setdefault((file, word), new) == new

    def _write_configuration(self) -> None:
        """Put the new words into the texts of the configuration files."""
        for (file, word), new in sorted(self.words.items(), key=lambda each: -len(each[0][1])):
            text = self.texts.get(file) or file.read_bytes().decode("utf-8", errors="replace")
            self.texts[file] = re.sub(rf"(?<![\w./-]){re.escape(word)}(?![\w./-])", lambda _: new, text)  # noqa: B023

    def follow_shell_lines(self) -> None:
        """Let the words of shell lines and magics that name moved files follow."""
        for cell, row, line in self.code.lines_for_shell():
            new = re.sub(r"^(\s*%?cd\s+)\S+", r"\1.", line)
            for word in sorted({*re.findall(WORD, line)}, key=len, reverse=True) if new == line else ():
                if place := self._place_of_word(word):
                    new = re.sub(rf"(?<![\w./-]){re.escape(word)}(?![\w./-])", lambda _: place, new)  # noqa: B023
            if new != line:
                self.lines.setdefault(cell.number, {})[row] = new

    def _place_of_word(self, word: str) -> str | None:
        """Where a word of a shell line leads in the project; None if it is no path that was seen."""
        if (found := self.files.path_of_word(word)) is None:
            return None
        path, plain = found
        place = self.files.place_of(Use("list" if path.is_dir() else "read", plain, path, 10**6))
        if place is None or parts(place) == parts(plain):
            return None
        return place + "/" * plain.endswith("/") + word[len(plain) :]

    def rewrite(self) -> Notebook:
        """Return the notebook with all texts changed; the modules and configuration files are in `texts`."""
        self.follow_uses()
        self.follow_shell_lines()
        self._write_configuration()
        document = copy.deepcopy(self.given.document)
        for number, cell in self.code.cells.items():
            lines = cell.source.split("\n")
            for row, line in self.lines.get(number, {}).items():
                lines[row] = line
            source = self._with_edits(number, "\n".join(lines))
            if source != cell.source:
                document["cells"][number - 1]["source"] = source
        for file, text in self.code.modules.items():
            if (new := self._with_edits(str(file), text)) != text:
                self.texts[file] = new
        self._note_missing()
        return Notebook(self.given.path, document)

    def _note_missing(self) -> None:
        for use in self.code.uses:
            if (
                use.what == "read"
                and self.files.place_of(use) is None
                and "://" not in use.said
                and not use.path.exists()
                and use.path not in self.found.written
                and use.sites
                and self.found.stopped
            ):
                cell = self.code.cells.get(use.cell)
                if cell and not any(path.name == use.path.name for path in self.found.written):
                    self.notes.append(
                        f"{self.given.place(cell)}: `{use.said}` does not exist. Fix: put it into {INPUTS}, and write its path from the "
                        "project's root (a parameter's in params.yaml)"
                    )

    def _with_edits(self, source: int | str, text: str) -> str:
        """The text with all its edits, the last place first; of two, one in the other, the outer one."""
        own = [edit for edit in self.edits if edit.source == source]
        if isinstance(source, int):
            own = [edit for edit in own if stands_in_source(self.code.cells[source], edit.node)]
        outer = [edit for edit in own if not any(_contains(other.node, edit.node) for other in own)]
        for edit in sorted(
            {(span_of(edit.node), edit.text): edit for edit in outer}.values(),
            key=lambda edit: span_of(edit.node),
            reverse=True,
        ):
            text = replaced(text, edit.node, edit.text)
        return text


def _new_texts(literals: list[Literal], path: list[str], place: list[str]) -> list[tuple[Literal, str]] | None:
    """Return the literals that begin a path, with the texts for which it leads to a place; None if no texts do that."""
    heads = [(literal, head) for literal in literals if (head := head_of(literal.text, path)) is not None]
    named = [(literal, head) for literal, head in heads if head and parts(head) and not is_upwards(parts(head))]
    if named:
        literal, head = max(named, key=lambda each: len(parts(each[1])))
        new = with_head(literal.text, head, path, place)
        return None if new is None else [(literal, new)]
    for literal, head in heads:
        if head and parts(head):  # `..`, from which another text goes on
            others, rest = [each for each in literals if each is not literal], path[len(parts(head)) :]
            if (found := _new_texts(others, rest, place)) is not None and (found or rest == place):
                return [(literal, "." + "/" * head.endswith("/") + literal.text[len(head) :]), *found]
            if (new := with_head(literal.text, head, path, place)) is not None:
                return [(literal, new)]
    for literal, head in heads:  # a name that goes on: `"img_" + str(n)`, but not the `"r"` of `open`
        if head == "" and len(literal.text) > 2 and (new := with_head(literal.text, head, path, place)) is not None:
            return [(literal, new)]
    return [] if path == place else None


def _first(node: ast.expr) -> ast.expr:
    """What a path begins with: the first operand, or the first argument of a join."""
    match node:
        case ast.BinOp(left=left, op=ast.Div() | ast.Add()):
            return _first(left)
        case ast.Call(func=ast.Attribute(attr="join") | ast.Name(id="Path" | "str"), args=[first, *_]):
            return _first(first)
        case ast.JoinedStr(values=[ast.FormattedValue(value=value), *_]):
            return _first(value)
    return node


def _piece(source: str, literal: Literal) -> ast.expr | None:
    """The text in front of what is put into an f-string; None if it does not stand in the source as it is."""
    node = literal.node
    segment = ast.get_source_segment(source, node) or ""
    match = re.match(r"[fFrR]*(\"\"\"|\'\'\'|\"|\')", segment)
    # Python 3.11 has no place for the text itself.
    if not match or not segment[match.end() :].startswith(literal.text):
        return None
    start = node.col_offset + len(match[0])
    return ast.Constant(
        literal.text,
        lineno=node.lineno,
        col_offset=start,
        end_lineno=node.lineno,
        end_col_offset=start + len(literal.text.encode()),
    )


def _quoted(text: str, source: str, node: ast.expr) -> str:
    """The text as a literal, in the quotes that the code uses there."""
    segment = ast.get_source_segment(source, node) or ""
    quote = "'" if "'" in segment and '"' not in segment else '"'
    return quote + text.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote


def _contains(outer: ast.expr, inner: ast.expr) -> bool:
    """Whether a node lies in another, larger one."""
    start, end = span_of(outer)[:2], span_of(outer)[2:]
    return span_of(outer) != span_of(inner) and start <= span_of(inner)[:2] and span_of(inner)[2:] <= end
