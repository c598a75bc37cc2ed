"""The metrics of a sweep's experiments, as DVC has them."""

import math
from pathlib import Path


class Metrics:
    """The metrics of experiments and commits, each as `outputs/metrics.yaml:f1`. What was read is kept: it does not change.

    Args:
        root: the project's folder.
        by: the metric that --by names, with or without its file.
    """

    def __init__(self, root: Path, by: str | None):
        self.root = root
        self.by = by
        self.known = {}

    def read(self, *revisions: str) -> dict[str, dict[str, object]]:
        """Return the metrics of each of some experiments or commits."""
        from dvc.repo import Repo
        from dvc.utils.flatten import flatten

        if new := [revision for revision in revisions if revision not in self.known]:
            with Repo(str(self.root)) as repo:  # a new one: it sees what git has got meanwhile
                shown = repo.metrics.show(revs=new)
            for revision in new:
                self.known[revision] = {
                    f"{file}:{key}": value
                    for file, content in shown.get(revision, {}).get("data", {}).items()
                    if isinstance(data := content.get("data"), dict)
                    for key, value in flatten(data).items()
                }
        return {revision: self.known[revision] for revision in revisions}

    def describe(self, revision: str) -> str:
        """Return its metrics, or the one that counts, as text."""
        return "  ".join(
            f"{name.partition(':')[2]} {format(value, '.5g' if isinstance(value, float) else '')}"
            for name, value in self.read(revision)[revision].items()
            if self.is_wanted(name)
        )

    def is_wanted(self, name: str) -> bool:
        """Whether --by names this metric, or none."""
        return self.by in (None, name, name.partition(":")[2])

    def value(self, revision: str) -> float | None:
        """Return the metric that --by names; None if it is not a number."""
        found = next((value for name, value in self.read(revision)[revision].items() if self.is_wanted(name)), None)
        # A NaN, as of a training that diverged, would leave all of them in no order.
        return found if isinstance(found, int | float) and not math.isnan(found) else None
