"""The stage of a notebook, as it is written into dvc.yaml, and its parameters in params.yaml."""

import csv
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from notebook_pipeline import files
from notebook_pipeline.add.places import RESULTS
from notebook_pipeline.check import command as check
from notebook_pipeline.notebook import packages
from notebook_pipeline.notebook.document import NOT_LITERAL, Notebook, Parameter, key_of
from notebook_pipeline.project import yaml_edit
from notebook_pipeline.project.parameters import as_spelt
from notebook_pipeline.project.project import PARAMS_FILE, PIPELINE_FILE, Project, ProjectError, Stage
from notebook_pipeline.project.stages import command, literal

FOLDER = "notebooks"
METRICS = (".json", ".yaml", ".yml", ".toml")


IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".bmp")


SMALL = 100_000
"""Bytes up to which a file of numbers is a metric and a table may be a plot; larger ones are data."""


@dataclass
class Entry:
    """A stage to be written into dvc.yaml."""

    name: str
    notebook: str
    params: list[str] = field(default_factory=list)
    deps: set[str] = field(default_factory=set)
    outs: set[str] = field(default_factory=set)
    _written: str = ""

    @classmethod
    def of_unrecorded(cls, stage: Stage) -> "Entry | None":
        """The entry of a stage that no run has been recorded of, and that no person has edited; None of any other."""
        lock = Path("dvc.lock")
        # As DVC writes it.
        key = re.escape(yaml_edit.on_one_line(stage.name))
        if lock.exists() and re.search(rf"^  {key}:$", files.read(lock), re.MULTILINE):
            return None
        entry = cls(stage.name, stage.calls("run")[0], [*stage.params], {*stage.deps}, {*stage.outs})
        entry.outs.discard(entry.output)
        entry._written = entry.text()
        # Nothing more of it may follow.
        is_there = re.search(
            rf"^{re.escape(entry._written)}(?=\s*\Z|\n* {{0,2}}\S)", files.read(PIPELINE_FILE), re.MULTILINE
        )
        return entry if is_there else None

    @property
    def stem(self) -> str:
        return Path(self.notebook).relative_to(FOLDER).with_suffix("").as_posix()

    @property
    def output(self) -> str:
        return f"{RESULTS}/{self.stem}.ipynb"

    @property
    def code_file(self) -> str:
        return f"{RESULTS}/code/{self.stem}.py"

    def text(self) -> str:
        """The stage as the template writes its own."""
        lists: dict[str, list] = {
            "deps": sorted(map(literal, {*self.deps, self.code_file})),
            "params": self.params,
            "outs": [self.output],
        }
        for path in sorted(self.outs):
            key, item = out_item(path, literal(path))
            lists.setdefault(key, []).append(item)
        cmd = yaml_edit.on_one_line(command("run", self.notebook, self.output))
        lines = [f"  {yaml_edit.on_one_line(self.name)}:", f"    cmd: {cmd}"]
        for key in ("deps", "params", "outs", "metrics", "plots"):
            items = lists.get(key) or []
            lines += [f"    {key}:"] if items else []
            for item in sorted(items) if key == "outs" else items:
                path = yaml_edit.on_one_line(item if isinstance(item, str) else next(iter(item)))
                lines += (
                    [f"      - {path}"] if isinstance(item, str) else [f"      - {path}:", "          cache: false"]
                )
        return "\n".join(lines) + "\n"

    def write(self) -> None:
        """Writes the stage, or in the place of what was written of it before."""
        text, now = files.read(PIPELINE_FILE), self.text()
        if self._written and self._written in text:
            new = text.replace(self._written, now)
        else:
            new = yaml_edit.with_block(text, ("stages", self.name), now)
        files.edit(PIPELINE_FILE, new)
        self._written = now


def out_item(path: str, said: str = "") -> tuple[str, object]:
    """The list that a result belongs to, and its entry: metrics are small and git's, the rest is DVC's.

    Args:
        said: the path as the entry has it, if that is another.
    """
    said = said or path
    if _is_metrics(Path(path)):
        return "metrics", {said: {"cache": False}}
    if path.lower().endswith(IMAGES) or _is_series(Path(path)):
        return "plots", said
    return "outs", said


def _is_metrics(path: Path) -> bool:
    """A small file of names and numbers."""
    if path.suffix not in METRICS or not path.is_file() or path.stat().st_size > SMALL:
        return False
    try:
        data = Project().load(path.as_posix())
    except ProjectError:
        return False

    def numbers(value: object) -> bool:
        if isinstance(value, dict):
            return any(map(numbers, value.values()))
        return isinstance(value, int | float) and not isinstance(value, bool)

    return isinstance(data, dict) and numbers(data)


def _is_series(path: Path) -> bool:
    """A small table of numbers in which something is followed step by step: a loss by epoch, a score by round."""
    if path.suffix not in (".csv", ".tsv") or not path.is_file() or path.stat().st_size > SMALL:
        return False
    try:
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            for row in rows:
                [float(cell or 0) for cell in row]
    except (ValueError, csv.Error):
        return False
    followed = r"epoch|step|iter|round|loss|acc|error|score|auc|f1|precision|recall|\br?m[as]e\b"
    return len(rows) > 1 and any(re.search(followed, name, re.IGNORECASE) for name in head)


def write_code_stage(entry: Entry) -> None:
    """Has the stage `code` write this notebook's code, too; where there is none of that form, a stage of its own does."""
    text = files.read(PIPELINE_FILE)
    if any((stage.calls("code") or ("",))[0] == entry.notebook for stage in Project().stages()):
        return
    # The matrix has them without quotes, DVC finds no stage `code@a@b`, and a key in YAML has 128 characters at most.
    if yaml_edit.node(text, ("stages", "code", "matrix", "notebook")) is not None and re.fullmatch(
        r"[\w./-]{1,100}", entry.stem
    ):
        text = yaml_edit.with_item(text, ("stages", "code", "matrix", "notebook"), entry.stem)
        deps = yaml_edit.node(text, ("stages", "code", "deps"))
        listed = {Path(each.value).as_posix() for each in getattr(deps, "value", [])}
        if Path(packages.LOCK_FILE).exists() and packages.LOCK_FILE not in listed:
            text = yaml_edit.with_item(text, ("stages", "code", "deps"), packages.LOCK_FILE)
        files.edit(PIPELINE_FILE, text)
        return
    name = free_name(f"code_{entry.name}")
    lock = f"      - {packages.LOCK_FILE}\n" if Path(packages.LOCK_FILE).exists() else ""
    cmd, notebook, code_file = map(
        yaml_edit.on_one_line, (command("code", entry.notebook, entry.code_file), entry.notebook, entry.code_file)
    )
    block = f"  {name}:\n    cmd: {cmd}\n    deps:\n      - {notebook}\n{lock}    outs:\n      - {code_file}\n"
    files.edit(PIPELINE_FILE, yaml_edit.with_block(text, ("stages", name), block))


def free_name(name: str) -> str:
    """A name that no stage has."""
    taken = {str(stage.keys[1]) for stage in Project().stages()} | {"code"}
    return next(
        each for each in (name, f"{name}_notebook", *(f"{name}_{count}" for count in range(2, 99))) if each not in taken
    )


def slug(stem: str) -> str:
    """A name that needs no quotes in a command line, and that DVC takes for a stage."""
    plain = unicodedata.normalize("NFC", stem)
    return re.sub(r"[^\w-]+", "_", plain).strip("_-") or "notebook"


def complete_parameters(stage: Stage, notebook: Notebook) -> None:
    """Give a stage the parameters that it lacks, with the notebook's values: in its own section, or in a new one."""
    missing, elsewhere = Project().parameters(Project().stage(stage.name), notebook).missing, []
    for each in missing:
        if each.parameter.default is NOT_LITERAL:
            continue  # `check` reports it
        if len(each.sections) == 1:
            text, line = check.add_key(each.sections[0], each.parameter)
            files.edit(PARAMS_FILE, text)
            print(line)
        else:
            elsewhere.append(each.parameter)
    if "@" in stage.name:
        return  # its list is that of all its items
    for section in write_parameters(elsewhere, str(stage.keys[1])):
        files.edit(PIPELINE_FILE, yaml_edit.with_item(files.read(PIPELINE_FILE), (*stage.keys, "params"), section))
        print(f"{PIPELINE_FILE}: added `{section}` to the `params:` of stage `{stage.name}`")


def write_parameters(given: Collection[Parameter], stage: str) -> list[str]:
    """Writes the parameters' values into params.yaml, and returns the sections that the stage is to list.

    A heading above a parameter names its section, the stage where there is none. A section that is there already belongs
    to other stages: it is shared where it has these very keys, its values kept; else a new one is made.
    """
    sections: dict[str, list] = {}
    there = Project().load(PARAMS_FILE)
    for parameter in given:
        sections.setdefault(as_spelt(parameter.section or stage, there), []).append(parameter)
    listed = []
    for name, parameters in sections.items():
        keys = {parameter.key for parameter in parameters}
        if isinstance(there.get(name), dict) and {*map(key_of, there[name])} == keys:
            print(f"{PARAMS_FILE}: `{name}` already exists: stage `{stage}` gets its values")
            listed.append(name)
            continue
        # A section of a parameter's name could be taken for the parameter.
        taken = {parameter.key for parameter in given} | {*there}
        if name in taken:
            options = (stage, f"{stage}_parameters", f"{stage}_{name}", *(f"{stage}_{count}" for count in range(2, 99)))
            name = next(each for each in options if each not in taken and (each == stage or each not in sections))
        for parameter in parameters:
            text = yaml_edit.with_key(
                files.read(PARAMS_FILE), (name, parameter.key), parameter.default, parameter.comment
            )
            files.edit(PARAMS_FILE, text)
        print(f"{PARAMS_FILE}: added `{name}`: {', '.join(parameter.key for parameter in parameters)}")
        listed.append(name)
    return listed
