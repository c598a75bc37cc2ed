"""Writes the notebooks of the stages, and their entries in dvc.yaml."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from notebook_pipeline import files
from notebook_pipeline.notebook.document import PARAMETERS_TAG, Cell, Notebook, id_of, key_of
from notebook_pipeline.notebook.imports import local_files
from notebook_pipeline.project import yaml_edit
from notebook_pipeline.project.data_file import value_at
from notebook_pipeline.project.parameters import entries
from notebook_pipeline.project.paths import is_covered
from notebook_pipeline.project.project import PIPELINE_FILE, Project, Stage
from notebook_pipeline.project.stages import command, literal
from notebook_pipeline.split.observation import Seen
from notebook_pipeline.split.plan import Part
from notebook_pipeline.split.sections import Refused

_LISTS = ("deps", "params", "outs", "metrics", "plots")


class Writer:
    """Writes what a plan says into the current folder.

    Args:
        stage: the one that runs the whole notebook.
        seen: what that did with files.
    """

    def __init__(self, project: Project, stage: Stage, notebook: Notebook, seen: Seen, parts: list[Part]):
        self.project, self.stage, self.notebook, self.seen, self.parts = project, stage, notebook, seen, parts
        self.output = stage.calls("run")[1]
        self.code_stage = next(
            (each for each in project.stages() if (each.calls("code") or ("",))[0] == notebook.path), None
        )
        folders = [Path(notebook.path).parent, Path(self.output).parent]
        self.names = self._free_names(*folders)
        self.notebooks = [(folders[0] / f"{name}.ipynb").as_posix() for name in self.names]
        self.outputs = [(folders[1] / f"{name}.ipynb").as_posix() for name in self.names]
        code = Path(self.code_stage.calls("code")[1]).parent if self.code_stage else None
        self.code = [(code / f"{name}.py").as_posix() for name in self.names] if code else []

    def _free_names(self, *folders: Path) -> list[str]:
        taken = {str(each.keys[1]) for each in self.project.stages() if each not in (self.stage, self.code_stage)} | {
            "code"
        }
        names = []
        for part in self.parts:
            options = (
                part.section.name,
                f"{Path(self.notebook.path).stem}_{part.section.name}",
                *(f"{part.section.name}_{at}" for at in range(2, 99)),
            )
            names.append(next(
                each for each in options
                if each not in taken and each not in names and not any((folder / f"{each}.ipynb").exists() for folder in folders)
            ))  # fmt: skip
        return names

    def write(self) -> None:
        """Write the notebooks and dvc.yaml, and remove the notebook that they replace.

        Raises:
            Refused, yaml_edit.EditError: dvc.yaml has a form that cannot be edited.
        """
        for path, part in zip(self.notebooks, self.parts, strict=True):
            write_notebook(path, self.notebook, compose(self.notebook, part))
        text = self._replaced_code(files.read(PIPELINE_FILE))
        files.edit(PIPELINE_FILE, _replaced_stage(text, str(self.stage.keys[1]), self._stages()))
        Path(self.notebook.path).unlink()

    def code_names(self) -> list[str]:
        """Return what DVC calls the stages that write the code of the new notebooks."""
        if self.code_stage is None:
            return []
        is_matrix = "@" in self.code_stage.name
        return [f"{self.code_stage.keys[1]}@{name}" if is_matrix else f"code_{name}" for name in self.names]

    # dvc.yaml

    def _replaced_code(self, text: str) -> str:
        """Have the stages that write code do so for the new notebooks."""
        if self.code_stage is None:
            return text
        stem, keys = Path(self.notebook.path).stem, ("stages", self.code_stage.keys[1], "matrix", "notebook")
        if "@" in self.code_stage.name:
            items = yaml_edit.node(text, keys)
            item = next((each for each in getattr(items, "value", []) if each.value == stem), None)
            if item is None or not items.flow_style or any("/" in each.value for each in items.value):
                raise Refused(
                    f"{PIPELINE_FILE}: stage `{keys[1]}` does not list `{stem}`. Fix: write `notebook: [{stem}]` below its `matrix:`"
                )
            return text[: item.start_mark.index] + ", ".join(self.names) + text[item.end_mark.index :]
        deps = [dep for dep in self.code_stage.deps if dep != self.notebook.path]
        blocks = [
            _block(f"code_{name}", command("code", path, code), {"deps": [path, *deps], "outs": [code]})
            for name, path, code in zip(self.names, self.notebooks, self.code, strict=True)
        ]
        return _replaced_stage(text, str(self.code_stage.keys[1]), blocks)

    def _stages(self) -> list[str]:
        made, blocks = self._results(), []
        for number, part in enumerate(self.parts):
            lists = {key: [*items] for key, items in made[number].items()}
            lists["deps"] = self._deps(number, made)
            lists["params"] = self._params(part)
            own = [yaml_edit.on_one_line(each) for each in (self.outputs[number], *(file.path for file in part.saves))]
            lists["outs"] = sorted([*lists.get("outs", []), *own])
            blocks.append(
                _block(self.names[number], command("run", self.notebooks[number], self.outputs[number]), lists)
            )
        return blocks

    def _deps(self, number: int, made: list[dict[str, list[str]]]) -> list[str]:
        part, read = self.parts[number], self._used("r", number)
        modules = {
            Path(file).as_posix()
            for file in local_files(
                compose_notebook(self.notebook, part, self.notebooks[number]),
                Path(self.notebook.path).parent.absolute(),
            )
        }
        modules = {
            Path(each).relative_to(Path.cwd()).as_posix() for each in modules if Path(each).is_relative_to(Path.cwd())
        }
        found, entries_of = set(), self._entries("deps")
        for path, text in entries_of.items():
            if any(is_covered(each, {path}) for each in read | modules) or path in ("uv.lock", "pyproject.toml"):
                found.add(text)
        known = {each for other in range(len(self.parts)) if other != number for each in self._used("w", other)}
        for path in read & known:
            maker = next(other for other in range(len(self.parts)) if path in self._used("w", other))
            if maker < number:
                found |= {
                    text for texts in made[maker].values() for text in texts if is_covered(path, {_path_of(text)})
                }
        found = {_path_text(each) for each in found}
        found |= {yaml_edit.on_one_line(file.path) for file in part.loads}
        return sorted(found | {yaml_edit.on_one_line(each) for each in self.code[number : number + 1]})

    def _params(self, part: Part) -> list[str]:
        """Return the entries of `params:` that give exactly the parameters that a stage uses."""
        wanted, found = {key_of(name) for name in part.parameters()}, []
        for file, entry in entries(self.stage):
            data = self.project.load(file)
            keys = tuple(entry.split(".")) if entry else ()
            value = value_at(data, keys)
            if keys and key_of(keys[-1]) in wanted:
                found.append((file, entry))
            elif isinstance(value, dict):
                inner = [key for key in value if key_of(key) in wanted]
                whole = len(inner) == len(value) and inner and entry
                found += [(file, entry)] if whole else [(file, ".".join([*keys, str(key)])) for key in inner]
        own = [yaml_edit.on_one_line(entry) for file, entry in found if file == "params.yaml"]
        others = {
            file: [entry for other, entry in found if other == file] for file, _ in found if file != "params.yaml"
        }
        return own + [yaml_edit.on_one_line({file: listed}) for file, listed in others.items()]

    def _results(self) -> list[dict[str, list[str]]]:
        """Return what each stage makes: by the lists of dvc.yaml, the entries as they are written there.

        Raises:
            Refused: two stages would make one file.
        """
        made = [{} for _ in self.parts]
        written = [self._used("w", number) for number in range(len(self.parts))]
        for path in sorted(set().union(*written)):
            makers = [part.section for part, paths in zip(self.parts, written, strict=True) if path in paths]
            if len(makers) > 1:
                raise Refused(
                    f"{self.notebook.path}: {makers[0]} and {makers[1]} write {path}, and a file of DVC's has one stage that makes it. "
                    "Fix: write it in one of them, or cut elsewhere: `--at CELL,CELL`"
                )
            number = self.parts[[part.section for part in self.parts].index(makers[0])].number
            if not any(is_covered(path, self._entries(key).keys()) for key in _LISTS[2:]) and any(
                path in self._used("r", other) for other in range(number + 1, len(self.parts))
            ):
                if not Path(path).exists():
                    raise Refused(
                        f"{self.notebook.path}: {makers[0]} write {path}, which later cells read and remove. Fix: keep the file, or cut elsewhere: `--at CELL,CELL`"
                    )
                made[number].setdefault("outs", []).append(yaml_edit.on_one_line(literal(path)))
        for key in _LISTS[2:]:
            for path, text in self._entries(key).items():
                if path == self.output:
                    continue
                makers = {
                    number for number, paths in enumerate(written) if any(is_covered(each, {path}) for each in paths)
                }
                if len(makers) <= 1:
                    made[makers.pop() if makers else -1].setdefault(key, []).append(text)
                    continue
                for number in makers:  # a folder
                    own = [each for each in sorted(written[number]) if is_covered(each, {path})]
                    made[number].setdefault(key, []).extend(
                        text.replace(_path_text(text), yaml_edit.on_one_line(literal(each)), 1) for each in own
                    )
        return made

    def _used(self, done: str, number: int) -> set[str]:
        """Return the files that a section read or wrote, as far as they count."""
        seen, cells = self.seen, {cell.number for cell in self.parts[number].section.cells}
        found = {path for cell in cells for how, path in seen.files.get(cell, ()) if how == done}
        if done == "w":
            return {
                path
                for path in found
                if path in seen.trace.written or not path.startswith(".") and not Path(path).exists()
            }
        # Who opened it may not be Python: then it is of the cells that name it, or of all.
        unseen = seen.trace.read - {path for opened in seen.files.values() for _, path in opened}
        for path in unseen:
            naming = [cell.number for cell in self.notebook.cells if Path(path).stem in cell.source]
            found |= {path} if not naming or cells & {*naming} else set()
        return found

    def _entries(self, key: str) -> dict[str, str]:
        """Return the entries of a list of the whole stage: by path, the text in dvc.yaml with its options and comments."""
        text = files.read(PIPELINE_FILE)
        node = yaml_edit.node(text, (*self.stage.keys, key))
        starts = [each.start_mark.index for each in getattr(node, "value", [])]
        if not starts:
            return {}
        if node.flow_style:
            texts = [text[each.start_mark.index : each.end_mark.index] for each in node.value]
        else:
            ends = [text.rindex("-", 0, start) for start in starts[1:]]
            texts = [text[start:end].rstrip() for start, end in zip(starts, [*ends, _end_of(text, node)], strict=True)]
        paths = self.stage.deps if key == "deps" else [path for path in self.stage.outs]
        if key != "deps":
            counts = {
                each: len(getattr(yaml_edit.node(text, (*self.stage.keys, each)), "value", [])) for each in _LISTS[2:]
            }
            begin = sum(counts[each] for each in _LISTS[2 : _LISTS.index(key)])
            paths = paths[begin : begin + counts[key]]
        return dict(zip(paths, texts, strict=True))


def _path_text(entry: str) -> str:
    """Return the path in the text of an entry, as it is written."""
    node = yaml_edit.node(entry, ())
    node = node.value[0][0] if isinstance(node.value, list) else node
    return entry[node.start_mark.index : node.end_mark.index]


def _path_of(entry: str) -> str:
    node = yaml_edit.node(entry, ())
    return node.value[0][0].value if isinstance(node.value, list) else node.value


def _block(name: str, cmd: str, lists: dict[str, Iterable[str]]) -> str:
    """Write a stage as the template writes its own."""
    lines = [f"  {yaml_edit.on_one_line(name)}:", f"    cmd: {yaml_edit.on_one_line(cmd)}"]
    for key in _LISTS:
        if lists.get(key):
            lines.append(f"    {key}:")
            lines += [f"      - {entry}" for entry in lists[key]]
    return "\n".join(lines) + "\n"


def _replaced_stage(text: str, name: str, blocks: list[str]) -> str:
    """Put blocks in the place of a stage; a comment above it stays.

    Raises:
        Refused: the stages are not written a key a line.
    """
    stages = yaml_edit.node(text, ("stages",))
    at = next(index for index, (key, _) in enumerate(stages.value) if key.value == name)
    key, value = stages.value[at]
    if stages.flow_style or value.flow_style or key.start_mark.column != 2:
        raise Refused(f"{PIPELINE_FILE}: stage `{name}` is not written a key a line. Fix: write it so, indented by two")
    start = text.rindex("\n", 0, key.start_mark.index) + 1
    return text[:start] + "\n".join(blocks) + text[_end_of(text, value) :]


def _end_of(text: str, node) -> int:
    """Return where the last line of a block ends; ruamel's own mark is behind the comments that follow."""
    while isinstance(node.value, list) and node.value and not node.flow_style:
        node = node.value[-1][1] if isinstance(node.value[-1], tuple) else node.value[-1]
    end = text.find("\n", max(node.end_mark.index - 1, node.start_mark.index))
    return end + 1 if end >= 0 else len(text)


# ---------------------------------------------------------------------------------------------------------------------
# Notebooks
# ---------------------------------------------------------------------------------------------------------------------


def compose(notebook: Notebook, part: Part, alone: bool = False) -> list[dict]:
    """Make the cells of a stage's notebook.

    Args:
        alone: leave out what is handed over, and the section itself: only what it repeats.
    """
    above, below, parameters = [], [], notebook.parameters_cell
    for each, names in part.repeated:
        if each.kind != "parameter":
            (above if parameters is None or each.cell.number < parameters.number else below).append(
                each.narrowed(names)
            )
    own = [cell for cell in part.section.cells if cell is not parameters]
    at = next((index for index, cell in enumerate(own) if cell.type == "code"), len(own))
    cells = [_raw(notebook, cell) for cell in own[:at]]
    if part.number or alone:
        cells += [_code("repeated", "\n".join(above))] if above else []
    else:
        # The first one keeps the parameters where they are.
        before = [cell for cell in own if cell.number < parameters.number] if parameters else []
        cells = [each for cell in before for each in _own(notebook, cell, part)]
        own, at = own[len(before) :], 0
    cells.append(_parameters(notebook, part))
    cells += [_code("repeated-below", "\n".join(below))] if below else []
    if alone:
        imports = [each.source for each in part.kept if isinstance(each.node, ast.Import | ast.ImportFrom)]
        return [*cells, _code("imports", "\n".join([*(f"import {module}" for module in sorted(part.modules)), *imports]))]
    cells += [_code("load", _load_text(part))] if part.loads else []
    cells += [each for cell in own[at:] for each in _own(notebook, cell, part)]
    return cells + ([_code("hand-over", _hand_over_text(part))] if part.saves or part.keeps else [])


def compose_notebook(notebook: Notebook, part: Part, path: str, alone: bool = False) -> Notebook:
    return Notebook(path, {**notebook.document, "cells": compose(notebook, part, alone)})


def _own(notebook: Notebook, cell: Cell, part: Part) -> list[dict]:
    """Return a cell of the section; of one of imports and the like, only what the stage needs."""
    every = [each for each in part.statements if each.cell == cell]
    kept = [each for each in every if each in part.kept]
    if cell.type != "code" or len(kept) == len(every):
        return [_raw(notebook, cell)]
    return [{**_raw(notebook, cell), "source": "\n".join(each.source for each in kept)}] if kept else []


def _raw(notebook: Notebook, cell: Cell) -> dict:
    return {
        **notebook.document["cells"][cell.number - 1],
        "id": id_of(notebook.document["cells"][cell.number - 1], cell.number),
    }


def _code(name: str, source: str) -> dict:
    return {"cell_type": "code", "id": name, "metadata": {}, "source": source}


def _parameters(notebook: Notebook, part: Part) -> dict:
    cell = notebook.parameters_cell
    sections, lines, last = {each.name: each.section for each in notebook.parameters}, [], ""
    for each in [each for each, _ in part.repeated if each.kind == "parameter"]:
        section = next((sections[name] for name in each.binds if name in sections), "")
        source = each.source
        if section and section != last:
            lines += [""] * bool(lines) + [f"# {section}"]
            source = (
                re.sub(r"\A#.*\n", "", source)
                if key_of(source[1:].partition("\n")[0].strip().replace(" ", "_")) == section
                else source
            )
        lines, last = [*lines, source], section
    source = "\n".join(lines)
    return {
        **(_raw(notebook, cell) if cell else _code(PARAMETERS_TAG, "")),
        "source": source,
        "metadata": {"tags": [PARAMETERS_TAG]},
    }


def _load_text(part: Part) -> str:
    values, states = ([file for file in part.loads if file.is_state == is_state] for is_state in (False, True))
    lines = [
        f"from notebook_pipeline.handover import {', '.join(['load'] * bool(values) + ['restore'] * bool(states))}",
        "",
    ]
    if values:
        names = ", ".join(name for file in values for name in file.names)
        lines.append(f"{names} = load({', '.join(json.dumps(file.path, ensure_ascii=False) for file in values)})")
    if states:
        lines.append(f"restore({', '.join(json.dumps(file.path, ensure_ascii=False) for file in states)})")
    return "\n".join(lines)


def _hand_over_text(part: Part) -> str:
    calls = []
    for file in part.saves:
        if file.is_state:
            calls.append(("hand_over_state", file, ", ".join(f'"{name}"' for name in file.names)))
        else:
            calls.append(("hand_over", file, ", ".join(f"{name}={name}" for name in file.names)))
    calls += [("unchanged", file, ", ".join(f"{name}={name}" for name in names)) for file, names in part.keeps.items()]
    lines = [f"{verb}({json.dumps(file.path, ensure_ascii=False)}, {names})" for verb, file, names in calls]
    return "\n".join(
        [f"from notebook_pipeline.handover import {', '.join(sorted({verb for verb, _, _ in calls}))}", "", *lines]
    )


def write_notebook(path: str, notebook: Notebook, cells: list[dict]) -> None:
    """Write a notebook as an editor and the project's hooks leave it: they must not change what a run was recorded with."""
    for cell in cells:
        source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
        cell["source"] = source.splitlines(keepends=True)
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    document = {
        **notebook.document,
        "cells": cells,
        "nbformat": 4,
        "nbformat_minor": max(5, notebook.document.get("nbformat_minor") or 0),
    }
    content = (json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()
    for tool in (["check", "--fix"], ["format"]):
        if importlib.util.find_spec("ruff"):
            command = [sys.executable, "-m", "ruff", *tool, "--quiet", "--force-exclude", "--stdin-filename", path, "-"]
            content = subprocess.run(command, input=content, capture_output=True).stdout or content
    files.edit(path, content.decode())
