"""The experiments of a sweep: which values `-S` means, and what each experiment is called."""

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class SweepError(Exception):
    """A sweep that cannot be, or cannot go on; one line that says why and what to do."""


@dataclass
class Experiment:
    """One point of the grid."""

    name: str
    settings: list[str]
    """As `dvc exp run -S` takes them, one value each."""
    tries: int = 0
    """How often it was given to a worker."""

    def __str__(self) -> str:
        return " ".join(setting.removeprefix("params.yaml:") for setting in self.settings)


def experiments(settings: list[str], root: Path, salt: str) -> list[Experiment]:
    """List the experiments of a grid. Equal values, however they are written, have equal names.

    Args:
        settings: as in `dvc exp run --queue -S`.
        root: the project's folder.
        salt: what else sets experiments apart, as the commit.

    Raises:
        SweepError: DVC cannot set one of the values.
    """
    from dvc.exceptions import InvalidArgumentError
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import apply_overrides, get_hydra_sweeps
    from hydra.errors import HydraException

    try:
        points = get_hydra_sweeps(to_path_overrides(settings))
    except HydraException as error:
        raise SweepError(f"-S {' -S '.join(settings)}: {str(error).splitlines()[0]}") from None
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for point in points:
            digest = hashlib.sha256(salt.encode())
            for file, overrides in sorted(point.items()):
                copy = Path(folder, Path(file).name)
                try:
                    copy.write_bytes((root / file).read_bytes())
                    apply_overrides(copy, overrides)
                except InvalidArgumentError as error:
                    raise SweepError(_describe_misfit(file, overrides, error)) from None
                digest.update(file.encode() + b"\0" + copy.read_bytes())
            name = f"sweep-{digest.hexdigest()[:8]}"
            settings = [f"{file}:{override}" for file, overrides in point.items() for override in overrides]
            found.setdefault(name, Experiment(name, settings))
    return list(found.values())


def describe(grid: list[Experiment], baseline: str) -> str:
    """Describe a grid: its size, and the values of each key."""
    values = {}
    for experiment in grid:
        for setting in experiment.settings:
            key, _, value = setting.removeprefix("params.yaml:").partition("=")
            values.setdefault(key, {})[value] = None
    size = " x ".join(str(len(each)) for each in values.values())
    width = max(map(len, values))
    lines = [f"{len(grid)} experiment{'s' if len(grid) > 1 else ''} ({size}) from {baseline[:7]}"]
    return "\n".join([*lines, *(f"  {key:{width}}  {', '.join(each)}" for key, each in values.items())])


def messages(error: BaseException | None) -> list[str]:
    """List what an exception and its causes say."""
    return [str(each) or type(each).__name__ for each in chain(error)]


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what caused it."""
    while error is not None:
        yield error
        error = error.__cause__


def _describe_misfit(file: str, overrides: list[str], error: Exception) -> str:
    """Say which override cannot be set, in one line."""
    cause = " ".join(messages(error)).splitlines()
    for override in overrides:
        key = override.partition("=")[0]
        if any(f"'{key}'" in line for line in cause):
            return f"-S {override}: `{key}` is not in {file} (+{override} would add it)"
    return f"-S {' -S '.join(overrides)}: {cause[0]}"
