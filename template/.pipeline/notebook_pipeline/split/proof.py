"""Runs the stages under DVC, and compares what they show and write with the whole notebook."""

import json
import os
import re
from pathlib import Path

from notebook_pipeline import files
from notebook_pipeline.notebook.comparison import compare_with_saved
from notebook_pipeline.notebook.document import Notebook, id_of
from notebook_pipeline.split.observation import Seen, code_cells, find_errors, run_dvc
from notebook_pipeline.split.sections import ELSEWHERE, Refused
from notebook_pipeline.split.stages import Writer

_ERROR = re.compile(r"^(ERROR: |.*\.ipynb: |.*Error)")


class Proof:
    """What two runs of the whole and one of the stages have in common.

    Attributes:
        same, chance: numbers of cells that showed the same, and of those that differed between the two runs of the whole.
        files, chance_files: so for the files.
    """

    def __init__(self, notebook: Notebook, first: Seen, second: Seen):
        self.notebook, self.first, self.second = notebook, first, second
        self.numbers = {
            id_of(notebook.document["cells"][cell.number - 1], cell.number): cell.number for cell in notebook.cells
        }
        self.same, self.files = [], []
        self.chance = sorted(
            self.numbers[cell] for cell in _different(first.output, second.output) if cell in self.numbers
        )
        self.chance_files = sorted({path for path, _ in first.hashes.items() ^ second.hashes.items()})

    def make(self, writer: Writer) -> None:
        """Run the stages, and compare.

        Raises:
            Refused: a stage fails, or a cell or a file differs.
        """
        before = json.loads(self.second.output)
        names = [each for each in writer.code_names()] + writer.names
        done = run_dvc("repro", "--single-item", "--force", *names)
        outputs = [Path(path).read_bytes() for path in writer.outputs if os.path.exists(path)]
        for output in outputs:
            for cell, error in find_errors(output):
                self._refuse(cell, error, before, output)
        if done.returncode:
            lines = [line for line in (done.stderr + done.stdout).splitlines() if _ERROR.match(line)]
            raise Refused("\n".join(lines[-2:]) or done.stderr)
        for output in outputs:
            for cell in _different(self.second.output, output):
                if self.numbers.get(cell) not in self.chance:
                    self._refuse(cell, "", before, output)
        self.same = [number for number in sorted(self.first.seconds) if number not in self.chance]
        for path, md5 in self.second.hashes.items():
            if path in self.chance_files:
                continue
            if not os.path.exists(path) or files.md5(Path(path).read_bytes()) != md5:
                what = "is another" if os.path.exists(path) else "does not exist"
                raise Refused(f"{self.notebook.path}: {path} {what} when the parts run as stages. Fix: {ELSEWHERE}")
            self.files.append(path)

    def _refuse(self, cell: str, error: str, before: dict, output: bytes) -> None:
        old, new = code_cells(json.dumps(before).encode()).get(cell, {}), code_cells(output).get(cell, {})
        if cell not in self.numbers:
            raise Refused(f"{self.notebook.path}: {error.partition(': ')[2]}")
        number = self.numbers[cell]
        shown = [
            f"    {line}" for name, each in (("whole", old), ("stage", new)) for line in [f"{name}:", *_lines(each)]
        ]
        raise Refused("\n".join([
            f"{self.notebook.path}: cell {number}: shows something else when the parts run as stages"
            + f" ({error})" * bool(error) + f". Fix: {ELSEWHERE}. Nothing was changed", *shown,
        ]))  # fmt: skip


def _different(first: bytes, second: bytes) -> list[str]:
    """Return the ids of the cells of the second notebook that show something else than in the first."""
    compared = compare_with_saved(first, second)
    cells = code_cells(second)
    return [cell for cell, raw in cells.items() if raw["execution_count"] in compared.different]


def _lines(cell: dict, most: int = 8) -> list[str]:
    """Return the first lines of what a cell shows."""
    texts = []
    for each in cell.get("outputs", []):
        if each["output_type"] == "error":
            texts.append(f"{each['ename']}: {each['evalue']}")
        elif each.get("name") != "stderr":
            data = each.get("data") or {"text/plain": each.get("text", "")}
            text = data.get("text/plain", "")
            texts.append(
                ("".join(text) if isinstance(text, list) else text)
                + " (picture)" * any(kind.startswith("image/") for kind in data)
            )
    lines = "\n".join(texts).splitlines() or ["(nothing)"]
    return [f"  {line[:160]}" for line in lines[:most]] + ["  ..."] * (len(lines) > most)
