"""`pipeline report TARGET`: what a checkout changes, for those who review it: values, results, code, packages, data, outputs.

CI calls it, and a reviewer by hand, with the group `report`, which has what draws pictures.
"""

import argparse
import os
import sys
import webbrowser
from pathlib import Path

from notebook_pipeline.project.project import Project, ProjectError
from notebook_pipeline.report.inputs import compare_data, compare_packages, compare_python
from notebook_pipeline.report.markdown import Pictures, escape, make_page
from notebook_pipeline.report.notebooks import compare_code, compare_outputs, make_pages
from notebook_pipeline.report.plots import list_plots
from notebook_pipeline.report.revisions import FOLDER, ReportError, Revisions, ask_dvc


def main(argv: list[str]) -> int:
    """Write the report or the pages of notebooks into `FOLDER`; return 1 if there is nothing to compare with or to show.

    `report.md` and, with pictures, `plots.md` are for a summary; `report.html` has all of them in it. What stands in
    `notes.md` there is put first.
    """
    parser = argparse.ArgumentParser(prog="pipeline report", description=__doc__.partition(": ")[2].partition("\n")[0])
    parser.add_argument("target", metavar="TARGET", nargs="?", help="the branch to compare with, as in origin/main")
    parser.add_argument("--notebook", metavar="STAGE", help="make one HTML page of a stage's executed notebook instead")
    arguments = parser.parse_args(argv)
    if bool(arguments.target) == bool(arguments.notebook):
        parser.error("name a TARGET, or a stage behind --notebook")
    FOLDER.mkdir(exist_ok=True)
    try:
        page = _make_notebook_page(arguments.notebook) if arguments.notebook else _make_report(arguments.target)
    except (ReportError, ProjectError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    print(page.as_posix())
    # A person waits for it, not a program.
    if sys.stdout.isatty() and "CI" not in os.environ:
        webbrowser.open(page.resolve().as_uri())
    return 0


def _make_notebook_page(name: str) -> Path:
    executed = _find_executed()
    if name not in executed:
        raise ReportError(f"dvc.yaml: no stage `{name}` runs a notebook. Fix: name one of {', '.join(executed)}")
    if pages := make_pages([executed[name]]):
        return next(iter(pages.values()))
    raise ReportError(f"{executed[name]}: is not here. Fix: uv run dvc repro {name}, or uv run dvc pull")


def _find_executed() -> dict[str, str]:
    """Find the executed notebooks of the stages, by the stages' names."""
    return {
        stage.name: Path(stage.wdir, call[1]).as_posix() for stage in Project().stages() if (call := stage.calls("run"))
    }


def _make_report(target: str) -> Path:
    revisions, project, executed, pictures = Revisions(target), Project(), _find_executed(), Pictures()
    title, notes = f"{revisions.now} compared with {revisions.before}", FOLDER / "notes.md"
    said = notes.read_text(encoding="utf-8").strip().replace("\n", "\n\n") if notes.exists() else ""
    sections = [
        [f"## {escape(title)}", *filter(None, [said])],
        ["### Parameters", _make_table("params", revisions) or "No parameter differs."],
        ["### Metrics", _make_table("metrics", revisions) or "No metric differs."],
        ["### Code", *compare_code(revisions)],
        ["### Packages", *compare_python(revisions, executed.values()), *compare_packages(revisions, project)],
        ["### Data", *compare_data(revisions)],
        ["### Plots", *list_plots(revisions, pictures)],
        ["### Outputs of notebooks", *compare_outputs(revisions, executed.values(), pictures)],
    ]
    sections = [section for section in sections if len(section) > 1 or section[0].startswith("## ")]
    try:
        pages = make_pages(executed.values())
    except ReportError as error:
        pages = {}
        sections.append(["### Executed notebooks", escape(str(error))])
    for name, is_drawn in (("report.md", False), ("plots.md", True)):
        blocks = [block for section in sections for block in section if _is_drawn(section, pictures) is is_drawn]
        (FOLDER / name).write_text("".join(f"{block}\n\n" for block in blocks), encoding="utf-8", newline="\n")
    page = FOLDER / "report.html"
    page.write_text(make_page(title, sum(sections, []), pictures, pages), encoding="utf-8", newline="\n")
    return page


def _is_drawn(section: list[str], pictures: Pictures) -> bool:
    """Whether a section of a report has pictures."""
    return any(f"]({name})" in block for block in section for name in pictures.names)


def _make_table(what: str, revisions: Revisions) -> str:
    """Return what differs, as Markdown; empty if nothing does: DVC then writes the heads of the columns alone."""
    head, *rows = ask_dvc(what, "diff", "--md", revisions.base).strip().partition("\n")[::2]
    head = head.replace(revisions.base, revisions.before).replace("workspace", revisions.now)
    return escape("\n".join([head, *rows])) if rows[0].count("\n") else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
