"""The plots that dvc.yaml lists, of both states, as pictures."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from notebook_pipeline.report.markdown import Pictures, escape, quote, table
from notebook_pipeline.report.revisions import ReportError, Revisions, ask_dvc


def list_plots(revisions: Revisions, pictures: Pictures) -> Iterator[str]:
    """Yield the plots as Markdown; what cannot be drawn is named."""
    printed = ask_dvc("plots", "diff", "--json", revisions.base) or "{}"
    found = json.loads(printed.replace(json.dumps(revisions.base), json.dumps(revisions.before)))
    for name, versions in found.get("data", {}).items():
        drawn, shown = {}, escape(" ".join(name.split()))
        # A link may lead to any file of this machine.
        if not Path(name).resolve().is_relative_to(Path.cwd().resolve()):
            yield f"Not drawn: {quote(name)} leads out of the project"
            continue
        # The target comes first, as in the tables.
        for version in sorted(versions, key=lambda each: each["revisions"] == ["workspace"]):
            revision = escape(_name(version["revisions"], revisions))
            try:
                content, suffix = _draw(version, revisions.now)
            except ValueError as error:
                yield f"{quote(name)} cannot be drawn: {escape(' '.join(str(error).split())[:200])}"
                continue
            drawn[revision] = pictures.add(content, suffix, f"{shown} of {revision}")
        if drawn:
            yield f"#### {shown}"
            yield table(drawn, drawn.values()) if len(drawn) > 1 else "".join(drawn.values())
    missing = {}
    for error in found.get("errors", []):
        # A branch whose dvc.yaml cannot be read has neither.
        what = error.get("source") or error.get("name") or "plots"
        missing.setdefault((what, error["type"], error["msg"]), []).append(error["rev"])
    for (what, kind, message), names in missing.items():
        why = "not in git, and not in a DVC remote" if kind == "FileNotFoundError" else " ".join(message.split())
        yield f"Not drawn: {quote(what)} of {escape(_name(dict.fromkeys(names), revisions))}: {escape(why)}"


def _name(names: Iterator[str], revisions: Revisions) -> str:
    return " and ".join(revisions.now if name == "workspace" else name for name in names)


def _draw(version: dict, now: str) -> tuple[bytes, str]:
    """Return a plot's picture and the suffix of its name.

    Raises:
        ValueError: it is no plot that can be drawn.
        ReportError: the drawing library is not here.
    """
    if version["type"] == "image":
        suffix = Path(version["url"]).suffix
        return Path(version["url"]).read_bytes(), suffix if suffix.isascii() and suffix[1:].isalnum() else ""
    try:
        import vl_convert  # 30 MB that the project's environment has no other use for
    except ModuleNotFoundError:
        command = f"uv run --group report pipeline report {' '.join(sys.argv[1:])}"
        raise ReportError(f"report: nothing is installed that draws plots. Fix: {command}") from None
    if _shows_pictures(version["content"]):
        raise ValueError("its template shows pictures of other places")
    return vl_convert.vegalite_to_png(_rename(version["content"], now), scale=2, allowed_base_urls=[]), ".png"


def _rename(spec: object, now: str) -> object:
    """Call the checkout `now` in a plot, where DVC calls it `workspace`: in its scales, and in the column `rev` of its data."""
    match spec:
        case {"rev": "workspace", **columns}:
            return columns | {"rev": now}
        case {"rev": str()}:
            return spec
        case dict():
            return {key: _rename(inner, now) for key, inner in spec.items()}
        case list():
            return [_rename(inner, now) for inner in spec]
    return now if spec == "workspace" else spec


def _shows_pictures(spec: object) -> bool:
    """Whether a plot has marks that are pictures: the drawing library takes them from any file and address."""
    match spec:
        case {"mark": "image" | {"type": "image"}}:
            return True
        case dict() | list():
            return any(map(_shows_pictures, spec.values() if isinstance(spec, dict) else spec))
    return False
