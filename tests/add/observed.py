"""Notebooks of a few words, observed without a kernel."""

import json
import re
import subprocess
import sys
from pathlib import Path

from notebook_pipeline.add import recorder
from notebook_pipeline.add.observation import Observation, observe
from notebook_pipeline.add.places import Places
from notebook_pipeline.add.plan import Plan, make_plan
from notebook_pipeline.notebook.document import Notebook

# What the notebooks call: readers, writers, and what only looks like one.
NAMES = """
import glob as _glob, json, os, shutil, sqlite3, tarfile, types, zipfile
from pathlib import Path
from zipfile import ZipFile
from glob import glob
class Frame:
    def to_csv(self, path, **_):
        with open(path, "w") as file: file.write("new")
    savefig = save = to_csv
    def __getitem__(self, key): return key
    def drop(self, name): return self
def read(path, *_):
    with open(path) as file: file.read()
    return Frame()
imread = load = read_csv = read
pd = types.SimpleNamespace(read_csv=read, read_sql=lambda *_: Frame(), ExcelFile=read)
plt = types.SimpleNamespace(savefig=Frame().to_csv, title=str)
df = fig = Frame()
def plot(**_): pass
name, n, label = "a", 1, "x"
"""
RUN = """
import json, runpy, sys, traceback, types
recorder, names, folder, notebook, arguments = json.loads(sys.stdin.read())
import os
os.chdir(folder)
events = {}
shell = types.SimpleNamespace(user_ns={}, events=types.SimpleNamespace(register=lambda name, call: events.update({name: call})))
exec(compile(names, "/names", "exec"), shell.user_ns)
runpy.run_path(recorder)["record"](shell, *arguments)
for number, source in notebook:
    events["pre_run_cell"](types.SimpleNamespace(raw_cell=source))
    try:
        python = "\\n".join("os.system(%r)" % line[1:] if line[:1] == "!" else line for line in source.split("\\n"))
        exec(compile(python, f"/nowhere/{hash(python)}", "exec"), shell.user_ns)
    except BaseException as error:
        print(f"stopped {number} {type(error).__name__}: {error}")
        break
    events["post_run_cell"](None)
"""


def execute(notebook: Notebook, folder: str, output: str, arguments: tuple) -> tuple[str, int]:
    """Run the cells in a Python of their own."""
    cells = [[cell.number, cell.source] for cell in notebook.cells if cell.type == "code"]
    given = json.dumps([recorder.__file__, NAMES, folder, cells, arguments])
    done = subprocess.run([sys.executable, "-c", RUN], input=given, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    stopped = re.search(r"^stopped (\d+) (.*)", done.stdout, re.MULTILINE)
    return (stopped[2], int(stopped[1])) if stopped else ("", 0)


def plan(
    notebook: Notebook, origin: Path, root: Path, made_by_stages: dict[str, str] | None = None, allowed=()
) -> tuple[Plan, Observation]:
    """Observe and plan: no file of the project changes."""
    places = Places(origin.resolve(), root.resolve(), made_by_stages or {})
    found = observe(notebook, origin.resolve(), places.bases[-1], execute=execute)
    modules = {file: f"notebooks/{place}" for file, place in found.modules.items()}
    return make_plan(notebook, root.resolve(), found, places, modules, allowed), found
