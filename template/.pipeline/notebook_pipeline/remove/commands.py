"""The commands in README.md and in comments that name parameters which no longer exist."""

import re
from pathlib import Path

from notebook_pipeline.project.project import PARAMS_FILE

README = "README.md"


def generalize(plan, keys: list[tuple], has_metrics: bool) -> None:
    """Put general words in the place of removed parameters, as a project without the example has them.

    `-S fit.lr=1` becomes `-S SECTION.NAME=VALUE`, and `--by f1` becomes `--by METRIC` if no stage has metrics.

    Args:
        plan: the Plan to which the changed texts are added.
        keys: the removed keys of params.yaml.
        has_metrics: whether a stage is left that has metrics.
    """
    names = "|".join(re.escape(".".join(map(str, key))) for key in keys)
    for path in (README, PARAMS_FILE):
        if not names or not Path(path).exists():
            continue
        text = plan.text(path)
        new = re.sub(rf'(-S "?)(?:{names})(?:\.[\w.]+)?=([^\s"`]+)', _name_value, text)
        new = re.sub(r'( -S "[^"]*")\1+', r"\1", new)
        if not has_metrics:
            new = re.sub(r"(pipeline sweep .* --by )\w+", r"\1METRIC", new)
        if new != text:
            plan.texts[path] = new
            plan.lines.append(f"{path}: commands with removed parameters now say SECTION.NAME=VALUE")


def _name_value(found: re.Match) -> str:
    return f"{found[1]}SECTION.NAME={'VALUE,VALUE' if re.search('[,(]', found[2]) else 'VALUE'}"
