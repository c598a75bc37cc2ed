"""The stages of dvc.yaml that take the place of the one that runs the whole notebook."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from notebook_pipeline import files
from notebook_pipeline.notebook.document import Notebook, key_of
from notebook_pipeline.notebook.imports import local_files
from notebook_pipeline.project import yaml_edit
from notebook_pipeline.project.data_file import PARAMS_FILE, value_at
from notebook_pipeline.project.parameters import entries
from notebook_pipeline.project.paths import is_covered
from notebook_pipeline.project.project import PIPELINE_FILE, Project, Stage
from notebook_pipeline.project.stages import command, literal
from notebook_pipeline.split.notebooks import composed, write_notebook
from notebook_pipeline.split.observation import Seen
from notebook_pipeline.split.plan import Part
from notebook_pipeline.split.sections import ELSEWHERE, Refused

_LISTS = ("deps", "params", "outs", "metrics", "plots")
_ENVIRONMENT = ("uv.lock", "pyproject.toml")


@dataclass(frozen=True)
class _Entry:
    """An entry of one of the lists of a stage."""

    key: str
    path: str
    text: str
    """As it stands in dvc.yaml, with its options and comments."""

    @property
    def name(self) -> str:
        """Return the path as it is written there, perhaps with `${...}`."""
        node = yaml_edit.node(self.text, ())
        node = node.value[0][0] if isinstance(node.value, list) else node
        return self.text[node.start_mark.index : node.end_mark.index]


class Writer:
    """Writes what a plan says into the current folder.

    Args:
        stage: the one that runs the whole notebook.
        seen: what that did with files.
    """

    def __init__(self, project: Project, stage: Stage, notebook: Notebook, seen: Seen, parts: list[Part]):
        self.project, self.stage, self.notebook, self.seen, self.parts = project, stage, notebook, seen, parts
        codes = [each for each in project.stages() if (each.calls("code") or ("",))[0] == notebook.path]
        self.code_stage = codes[0] if codes else None
        folders = [Path(path).parent for path in (*stage.calls("run"), *(each.calls("code")[1] for each in codes[:1]))]
        self.names = self._free_names(folders[:2])
        self.notebooks, self.outputs, *code = (
            [(folder / f"{name}{suffix}").as_posix() for name in self.names]
            for folder, suffix in zip(folders, (".ipynb", ".ipynb", ".py"), strict=False)
        )
        self.code = code[0] if code else []
        self.read, self.written = [[self._used(done, part) for part in parts] for done in "rw"]

    def _free_names(self, folders: list[Path]) -> list[str]:
        own = (self.stage, self.code_stage)
        taken = {"code", *(str(each.keys[1]) for each in self.project.stages() if each not in own)}
        for part in self.parts:
            name = part.section.name
            options = (name, f"{Path(self.notebook.path).stem}_{name}", *(f"{name}_{at}" for at in range(2, 99)))
            used = (taken, {path.stem for folder in folders for path in folder.glob("*.ipynb")})
            part.name = next(each for each in options if not any(each in names for names in used))
            taken.add(part.name)
        return [part.name for part in self.parts]

    def write(self) -> None:
        """Write the notebooks and dvc.yaml, and remove the notebook that they replace.

        Raises:
            Refused, yaml_edit.EditError: two stages would make one file, or dvc.yaml has a form that cannot be edited.
        """
        made = self._results()
        blocks = [self._block(part, made) for part in self.parts]
        for path, part in zip(self.notebooks, self.parts, strict=True):
            write_notebook(composed(self.notebook, part, path))
        text = self._with_code(files.read(PIPELINE_FILE))
        files.edit(PIPELINE_FILE, _replaced(text, str(self.stage.keys[1]), blocks))
        Path(self.notebook.path).unlink()
        ignored = Path("data/.gitignore")
        if ignored.exists() and "/handover" not in files.read(ignored).splitlines():
            files.edit(ignored, files.read(ignored).rstrip("\n") + "\n/handover\n")

    def code_names(self) -> list[str]:
        """Return what DVC calls the stages that write the code of the new notebooks."""
        if self.code_stage is None:
            return []
        start = f"{self.code_stage.keys[1]}@" if "@" in self.code_stage.name else "code_"
        return [start + name for name in self.names]

    def _with_code(self, text: str) -> str:
        """Have the stages that write code do so for the new notebooks."""
        if self.code_stage is None:
            return text
        stem, keys = Path(self.notebook.path).stem, ("stages", self.code_stage.keys[1], "matrix", "notebook")
        if "@" in self.code_stage.name:
            items = yaml_edit.node(text, keys)
            item = next((each for each in getattr(items, "value", []) if each.value == stem), None)
            if item is None:
                raise Refused(f"{PIPELINE_FILE}: `{keys[1]}` lists no `{stem}`. Fix: list it below its `matrix:`")
            lead = text[text.rindex("\n", 0, item.start_mark.index) : item.start_mark.index]
            names = (", " if items.flow_style else lead).join(map(yaml_edit.on_one_line, self.names))
            return text[: item.start_mark.index] + names + text[item.end_mark.index :]
        deps = [dep for dep in self.code_stage.deps if dep != self.notebook.path]
        blocks = [
            _block(name, command("code", path, code), {"deps": [path, *deps], "outs": [code]})
            for name, path, code in zip(self.code_names(), self.notebooks, self.code, strict=True)
        ]
        return _replaced(text, str(self.code_stage.keys[1]), blocks)

    def _block(self, part: Part, made: list[list[_Entry]]) -> str:
        at = part.number
        lists = {key: [each.text for each in made[at] if each.key == key] for key in _LISTS}
        lists["deps"] = sorted(
            self._deps(part, made) | {yaml_edit.on_one_line(each) for each in self.code[at : at + 1]}
        )
        lists["params"] = self._params(part)
        lists["outs"] += [
            yaml_edit.on_one_line(each) for each in (self.outputs[at], *(file.path for file in part.saves))
        ]
        lists["outs"].sort()
        return _block(self.names[at], command("run", self.notebooks[at], self.outputs[at]), lists)

    # What each stage reads and makes

    def _deps(self, part: Part, made: list[list[_Entry]]) -> set[str]:
        here, read = Path.cwd(), self.read[part.number]
        modules = local_files(composed(self.notebook, part, self.notebook.path), here / Path(self.notebook.path).parent)
        used = read | {each.relative_to(here).as_posix() for each in modules if each.is_relative_to(here)}
        of_others = [each for entries in made[: part.number] for each in entries]
        found = [
            each
            for each in self._entries("deps")
            if each.path in _ENVIRONMENT or any(is_covered(path, {each.path}) for path in used)
        ]
        found += [each for each in of_others if any(is_covered(path, {each.path}) for path in read)]
        return {each.name for each in found} | {yaml_edit.on_one_line(file.path) for file in part.loads}

    def _params(self, part: Part) -> list[str]:
        """Return the entries of `params:` that give exactly the parameters that a stage uses."""
        wanted, found = {key_of(name) for name in part.parameters()}, {}
        for file, entry in entries(self.stage):
            keys = tuple(entry.split(".")) if entry else ()
            value = value_at(self.project.load(file), keys)
            inner = [key for key in value if key_of(key) in wanted] if isinstance(value, dict) else []
            if keys and (key_of(keys[-1]) in wanted or inner and len(inner) == len(value)):
                found.setdefault(file, []).append(entry)
            else:
                found.setdefault(file, []).extend(".".join([*keys, str(key)]) for key in inner)
        own = [yaml_edit.on_one_line(entry) for entry in found.pop(PARAMS_FILE, [])]
        return own + [yaml_edit.on_one_line({file: listed}) for file, listed in found.items() if listed]

    def _results(self) -> list[list[_Entry]]:
        """Return what each stage makes.

        Raises:
            Refused: two stages would make one file.
        """
        made, entries = [[] for _ in self.parts], [each for key in _LISTS[2:] for each in self._entries(key)]
        for path in sorted(set().union(*self.written)):
            makers = [part for part in self.parts if path in self.written[part.number]]
            later = set().union(*self.read[makers[0].number + 1 :])
            if len(makers) > 1 or path in later and path not in self.seen.trace.written:
                what = (
                    f"and {makers[1].section} write {path}"
                    if makers[1:]
                    else f"write {path}, which later ones read and remove"
                )
                raise Refused(
                    f"{self.notebook.path}: {makers[0].section} {what}: a file has one stage that makes it. Fix: write it in one of "
                    f"them and keep it, or {ELSEWHERE}"
                )
            if path in later and not any(is_covered(path, {each.path}) for each in entries):
                made[makers[0].number].append(_Entry("outs", path, yaml_edit.on_one_line(literal(path))))
        for each in entries:
            own = {
                at: [path for path in sorted(paths) if is_covered(path, {each.path})]
                for at, paths in enumerate(self.written)
            }
            makers = [at for at, paths in own.items() if paths] or [len(self.parts) - 1]
            for at in makers if each.path != self.stage.calls("run")[1] else ():
                # A folder in which several write is listed file by file.
                paths = own[at] if len(makers) > 1 else [each.path]
                names = [yaml_edit.on_one_line(literal(path)) if len(makers) > 1 else each.name for path in paths]
                made[at] += [
                    _Entry(each.key, path, each.text.replace(each.name, name, 1))
                    for path, name in zip(paths, names, strict=True)
                ]
        return made

    def _used(self, done: str, part: Part) -> set[str]:
        """Return the files that a section read or wrote, as far as they count."""
        seen, cells = self.seen, {cell.number for cell in part.section.cells}
        found = {path for cell in cells for how, path in seen.files.get(cell, ()) if how == done}
        if done == "w":
            # Also what is gone again at the end, but not what was only opened so.
            return {
                path for path in found if path in seen.trace.written or path not in seen.trace.files and path[0] != "."
            }
        # Who opened it may not be Python: then it is of the cells that name it, or of all.
        for path in seen.trace.read - {path for opened in seen.files.values() for _, path in opened}:
            naming = {cell.number for cell in self.notebook.cells if Path(path).stem in cell.source}
            found |= {path} if not naming or cells & naming else set()
        return found

    def _entries(self, key: str) -> list[_Entry]:
        """Return the entries of a list of the whole's stage."""
        text, found = files.read(PIPELINE_FILE), []
        for each in _LISTS:
            items = yaml_edit.node(text, (*self.stage.keys, each))
            for item in getattr(items, "value", []) if each != "params" else ():
                end = item.end_mark.index if items.flow_style else _end_of(text, item)
                found.append((each, text[item.start_mark.index : end].rstrip()))
        paths = (*self.stage.deps, *self.stage.outs)
        return [_Entry(each, path, entry) for (each, entry), path in zip(found, paths, strict=True) if each == key]


def _block(name: str, cmd: str, lists: dict[str, Iterable[str]]) -> str:
    """Write a stage as the template writes its own."""
    lines = [f"  {yaml_edit.on_one_line(name)}:", f"    cmd: {yaml_edit.on_one_line(cmd)}"]
    for key in filter(lists.get, _LISTS):
        lines += [f"    {key}:", *(f"      - {entry}" for entry in lists[key])]
    return "\n".join(lines) + "\n"


def _replaced(text: str, name: str, blocks: list[str]) -> str:
    """Put blocks in the place of a stage; a comment above it stays.

    Raises:
        Refused: the stages are not written a key a line.
    """
    stages = yaml_edit.node(text, ("stages",))
    key, value = next((key, value) for key, value in stages.value if key.value == name)
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
