"""The executed notebook: what Papermill gets, and the file that is the same after each equal run."""

import copy
import itertools
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from notebook_pipeline.notebook.document import INJECTED_TAG, Notebook, id_of

STILL = "315532800"
"""The time that stands in the place of the clock's, in seconds: the start of 1980, the earliest that a ZIP archive can hold."""


def without_outputs(notebook: Notebook) -> dict:
    """Make the notebook that Papermill gets: with stable ids, without outputs and what an earlier run put in."""
    document = {key: value for key, value in notebook.document.items() if key != "cells"}
    document = copy.deepcopy(document) | {"nbformat_minor": max(5, document.get("nbformat_minor") or 0), "cells": []}
    metadata = document.setdefault("metadata", {})
    for stale in ("papermill", "widgets"):
        metadata.pop(stale, None)
    for cell in notebook.cells:
        raw = notebook.document["cells"][cell.number - 1]
        metadata = {
            key: value for key, value in (raw.get("metadata") or {}).items() if key not in ("papermill", "execution")
        }
        new = {
            "id": id_of(raw, cell.number),
            "cell_type": cell.type,
            "metadata": copy.deepcopy(metadata),
            "source": cell.source,
        }
        if cell.type == "code":
            new |= {"outputs": [], "execution_count": None}
        elif "attachments" in raw:
            new["attachments"] = copy.deepcopy(raw["attachments"])
        document["cells"].append(new)
    return document


def repeatable(executed, numbers: list[int], drawn: Iterable[str], since: float, until: float):
    """Copy an executed notebook without what differs in every run: clocks, random ids, the process.

    Args:
        executed: the notebook as nbclient leaves it.
        numbers: each cell's number in the notebook as the person has it. It takes the place of IPython's count, in
            tracebacks, too, so that a cell has one number everywhere.
        drawn: what the kernel drew, in hexadecimal.
        since, until: when the run began and ended, in seconds since 1970.
    """
    cells = [*zip(executed.cells, numbers, strict=True)]
    counts = {cell.execution_count: number for cell, number in cells if cell.get("execution_count") is not None}
    without_run = make_cleaner(drawn, since, until)

    def clean(text: str) -> str:
        return _CELL.sub(lambda match: f"{match[1]}{counts.get(int(match[2]), match[2])}", without_run(text))

    document = copy.copy(executed)
    document.cells = []
    for cell, number in cells:
        cell = copy.copy(cell)
        cell.metadata = {key: value for key, value in cell.metadata.items() if key != "papermill" and value != []}
        if INJECTED_TAG in cell.metadata.get("tags", []):
            cell.id = INJECTED_TAG
        if cell.get("execution_count") is not None:
            cell.execution_count = number
        if "outputs" in cell:
            cell.outputs = [_in_all_texts(output, clean) for output in _joined(_with_result_last(cell.outputs))]
            for output in cell.outputs:
                if output.get("execution_count") is not None:
                    output.execution_count = counts.get(output.execution_count, output.execution_count)
        document.cells.append(cell)
    # After the cells: widgets are numbered in the order in which cells show them.
    document.metadata = {key: value for key, value in executed.metadata.items() if key != "papermill"}
    if "widgets" in document.metadata:
        document.metadata["widgets"] = _in_all_texts(document.metadata["widgets"], clean)
    return document


def as_text(document) -> str:
    """Return a notebook as the text of its file."""
    from nbformat import v4

    return v4.writes_json(document) + "\n"


def _with_result_last(outputs: list) -> list:
    """Put the value of a cell's last line behind what is printed: that of other programs comes when the system has it, perhaps later."""
    results = [output for output in outputs if output.output_type == "execute_result"]
    return [each for each in outputs if each not in results] + results if len(results) == 1 else outputs


def _joined(outputs: list) -> Iterator:
    """Join the streams of one name between two other outputs of a cell.

    How the kernel cuts and mixes what is printed is chance. (nbclient's own way draws the prints of a whole cell together,
    away from the figures among them, and takes a minute for a long line.)
    """
    from nbformat import v4

    for is_stream, group in itertools.groupby(outputs, lambda output: output.output_type == "stream"):
        if not is_stream:
            yield from group
            continue
        texts = {"stdout": [], "stderr": []}
        for output in group:
            texts.setdefault(output.name, []).append(output.text)
        for name, parts in texts.items():
            if parts:
                lines = map(without_overwritten, "".join(parts).split("\n"))
                yield v4.new_output("stream", name=name, text="\n".join(lines))


_JSON = re.compile(r"application/(.*\+)?json")


def make_valid(kind: str, content: dict) -> None:
    """Change a message of the kernel, in place, into one that nbformat takes: a notebook may send anything as its output.

    What should be a text is one: also where it came as a list of lines, which a notebook's file has in its place.
    """
    if kind == "stream":
        content |= {"name": str(content.get("name", "stdout")), "text": plain_text(content.get("text", ""))}
    elif kind == "error":
        lines = content.get("traceback") or []
        lines = lines if isinstance(lines, list) else [lines]
        content |= {name: plain_text(content.get(name, "")) for name in ("ename", "evalue")}
        content["traceback"] = [plain_text(line) for line in lines]
    elif kind in ("display_data", "update_display_data", "execute_result"):
        content["data"] = {
            mime: value if _JSON.fullmatch(mime) else plain_text(value)
            for mime, value in (content.get("data") or {}).items() if value is not None
        }  # fmt: skip
        content["metadata"] = content.get("metadata") or {}


def plain_text(value: object) -> str:
    """Return a text, which a notebook's file may have as a list of lines."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return value if isinstance(value, str) else str(value)


def without_overwritten(line: str) -> str:
    """Keep what a terminal shows of a line in the end: a progress bar returns to its start each time."""
    text = line.rstrip("\r")
    return text[text.rfind("\r") + 1 :] + "\r" * (text != line)


# How IPython names a cell in a traceback: "Cell In[3], line 2", with colours.
_CELL = re.compile(r"(Cell(?:\x1b\[[\d;]*m)* (?:\x1b\[[\d;]*m)*In\[)(\d+)")
# Bytes in base64 hold no ids: pictures, sounds, PDF.
_BYTES = re.compile(r"(?:image/(?!svg)|audio/|video/|application/(?:pdf|octet-stream))")


def _in_all_texts(value: object, clean: Callable[[str], str]) -> object:
    """Clean each text in a JSON value, also the keys of mappings; not what is in base64."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_in_all_texts(each, clean) for each in value]
    if isinstance(value, dict):
        return type(value)(
            {clean(key): each if _BYTES.match(key) else _in_all_texts(each, clean) for key, each in value.items()}
        )
    return value


# An object's address in memory; `..` is where a long text of it was cut.
_ADDRESS = re.compile(r"( at 0|\.\.)x[0-9A-Fa-f]{6,}")


def make_cleaner(drawn: Iterable[str], since: float, until: float) -> Callable[[str], str]:
    """Make a function that removes from a text all that belongs to one run only; the arguments are those of `repeatable`."""
    number = _numbering(drawn)
    # Warnings and tracebacks name a cell by a temporary file, in a folder that is named after the process. Windows may call
    # the folder by a short name, which the kernel does not.
    folders = {tempfile.gettempdir(), os.path.realpath(tempfile.gettempdir())}
    names = "|".join(re.escape(os.path.join(folder, "ipykernel_")) for folder in folders)
    of_process = re.compile(rf"(?:{names})\d+[/\\]")
    stop = _clock_stopper(since, until)
    return lambda text: stop(number(_ADDRESS.sub(r"\1x...", of_process.sub("cell-", text))))


# ---------------------------------------------------------------------------------------------------------------------
# Ids
# ---------------------------------------------------------------------------------------------------------------------

# Hexadecimal digits, alone or in the groups of a UUID; five of them as pandas and itables name a table.
_ID = re.compile(
    r"[0-9A-Fa-f]{8,}(?:([-_])[0-9A-Fa-f]{4}\1[0-9A-Fa-f]{4}\1[0-9A-Fa-f]{4}\1[0-9A-Fa-f]{12})?"
    r"|\bT_[0-9a-f]{5}(?![0-9A-Za-z])"
)
# Libraries that draw letters from `random`, from which a notebook draws values, too: such an id is known by its form and place
# alone. great_tables: <div id="eenmetdnfr">; shap: <div id='iQK3X0ZT5W8N4V9B2M7L1'>.
_LETTERS = re.compile(r"""<div id=["']([a-z]{10}|i[0-9A-Z]{20})["']""")


def _numbering(drawn: Iterable[str]) -> Callable[[str], str]:
    """Make a function that replaces random ids by numbers in their order of appearance: one id, one number everywhere."""
    by_start = {made[:length]: made for made in drawn for length in (5, 8)}
    numbers = {}

    def replace(match: re.Match) -> str:
        mark = "T_" if match[0].startswith("T_") else ""
        text = match[0].removeprefix(mark)
        digits, shortest = re.sub("[-_]", "", text).lower(), 5 if mark else 8
        for at in range(len(digits) - shortest + 1):
            if made := by_start.get(digits[at : at + shortest]):
                length = max(len(os.path.commonprefix([form, digits[at:]])) for form in (made, _as_uuid(made)))
                # As long as before, with a letter first: it may be a name of CSS or JavaScript.
                count = numbers.setdefault(made, len(numbers))
                new = iter(f"{digits[:at]}a{count:0{length - 1}x}{digits[at + length :]}")
                return mark + "".join(each if each in "-_" else next(new) for each in text)
        return match[0]

    def number(text: str) -> str:
        if by_start:
            text = _ID.sub(replace, text)
        for name in dict.fromkeys(_LETTERS.findall(text)):
            new = f"a{numbers.setdefault(name, len(numbers)):0{len(name) - 1}}"
            text = re.sub(rf"(?<![A-Za-z0-9]){name}(?![A-Za-z0-9])", new, text)
        return text

    return number


def _as_uuid(digits: str) -> str:
    """Set the version digit and the variant bits as `uuid4` does."""
    if len(digits) != 32:
        return digits
    return f"{digits[:12]}4{digits[13:16]}{8 + int(digits[16], 16) % 4:x}{digits[17:]}"


# ---------------------------------------------------------------------------------------------------------------------
# Clocks
# ---------------------------------------------------------------------------------------------------------------------

_DAY, _MONTHS = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)", "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_MONTH, _TIME = f"(?P<B>{'|'.join(_MONTHS)})", r"(?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)(?:[.,]\d+)?"
# A time in an output, as programs write it, and what stands there instead. It is the clock's if it lies within the run: what
# a notebook reads is older, what it computes seldom is of this very second.
_TIMES = [
    (re.compile(pattern, re.MULTILINE), still)
    for pattern, still in (
        # 2026-11-29 20:12:08.123, 2026-11-29T20:12:08+01:00, 2026-11-29_20-12-08
        (
            r"(?<!\d)(?P<Y>\d{4})([-/])(?P<m>\d\d)\2(?P<d>\d\d)([T _])(?P<H>\d\d)([:-])(?P<M>\d\d)"
            r"(?:\7(?P<S>\d\d)(?:[.,]\d+)?)?(?P<zone>Z|[+-]\d\d:?\d\d)?(?!\d)",
            r"1980\g<2>01\g<2>01\g<5>00\g<7>00\g<7>00",
        ),
        # 20261129-201208
        (
            r"(?<!\d)(?P<Y>\d{4})(?P<m>\d\d)(?P<d>\d\d)([-_T]?)(?P<H>\d\d)(?P<M>\d\d)(?P<S>\d\d)(?!\d)",
            r"19800101\g<4>000000",
        ),
        (
            r"datetime\((?P<Y>\d{4}), (?P<m>\d+), (?P<d>\d+), (?P<H>\d+), (?P<M>\d+)(?:, (?P<S>\d+)(?:, \d+)?)?",
            "datetime(1980, 1, 1, 0, 0",
        ),
        (rf"{_DAY} {_MONTH} +(?P<d>\d+) {_TIME}(?: [A-Z]+)? (?P<Y>\d{{4}})(?!\d)", "Tue Jan  1 00:00:00 1980"),
        (rf"{_DAY}, (?P<d>\d+) {_MONTH} (?P<Y>\d{{4}}) {_TIME}", "Tue, 01 Jan 1980 00:00:00"),
        # A table of statsmodels has the two apart; a line of a log may have the time alone.
        (rf"{_DAY}, (?P<d>\d+) {_MONTH} (?P<Y>\d{{4}})", "Tue, 01 Jan 1980"),
        (rf"(?<=Time:)(?P<between>[^\d\n]*){_TIME}", r"\g<between>00:00:00"),
        (rf"^(?P<between>\W?){_TIME}", r"\g<between>00:00:00"),
        # Seconds since 1970, or their thousandths and so on.
        (r"(?<![\w.])(?P<s>1\d{9})(?P<part>(?:\d{3}){0,3})(?P<point>\.\d+)?(?![\d])", None),
    )
]
# How long something took is chance in each digit: it has no number. As tqdm, `%time`, `%timeit` and Keras show it.
_DURATIONS = [
    (re.compile(pattern, re.MULTILINE), still)
    for pattern, still in (
        (r"\[(?:\d+:)?\d\d:\d\d((?:<|&lt;)(?:(?:\d+:)?\d\d:\d\d|\?))?,\s*[^,\]\n]*/[^,\]\n]*", r"[..., ?/s"),
        (r"^(CPU times: |Wall time: |Compiler *: |Parser *: ).*", r"\1..."),
        (r"^.* ± .* per loop \(mean ± std\. dev\. of .*\)$", "... per loop"),
        (r"\b\d+(?::\d\d)*s? \d+(?:s|ms|us)/(step|epoch)", r"?/\1"),
    )
]


def _clock_stopper(since: float, until: float) -> Callable[[str], str]:
    """Make a function that replaces times of the run by one fixed time, and durations by dots."""

    def is_now(parts: dict[str, str | None]) -> bool:
        if "s" in parts:
            return since - 1 < int(parts["s"]) <= until
        month = _MONTHS.index(parts["B"]) + 1 if "B" in parts else parts.get("m")
        given = {"year": parts.get("Y"), "month": month, "day": parts.get("d"), "hour": parts.get("H", 0)}
        given |= {"minute": parts.get("M", 0), "second": parts.get("S") or 0}
        step = 86400 if "H" not in parts else 1 if parts["S"] else 60
        zones = [datetime.strptime(parts["zone"], "%z").tzinfo] if parts.get("zone") else [None, UTC]
        for zone, near in itertools.product(zones, (since, until)):
            moment = datetime.fromtimestamp(near, zone).replace(microsecond=0)
            moment = moment.replace(**{name: int(value) for name, value in given.items() if value is not None})
            if since - step < moment.timestamp() <= until:
                return True
        return False

    def stop(text: str) -> str:
        for pattern, still in _DURATIONS:
            text = pattern.sub(still, text)
        for pattern, still in _TIMES:
            text = pattern.sub(lambda match, still=still: put(match, still), text)
        return text

    def put(match: re.Match, still: str | None) -> str:
        try:
            if not is_now(match.groupdict()):
                return match[0]
        except ValueError:  # no such day
            return match[0]
        return match.expand(still) if still else f"{STILL}{'0' * len(match['part'])}{'.0' if match['point'] else ''}"

    return stop
