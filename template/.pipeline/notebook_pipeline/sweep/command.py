"""`pipeline sweep -S NAME=VALUES ...`: many experiments at once, on this machine's cores or a Dask cluster.

Each is what `dvc exp run` with these values makes; `worker.py` runs it, in a clone. Its name follows from its values, so
that a sweep which is started again finds what is done.
"""

import argparse
import contextlib
import importlib.util
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from notebook_pipeline import files, git, shell
from notebook_pipeline.sweep import cluster
from notebook_pipeline.sweep.clone import Place, patiently
from notebook_pipeline.sweep.grid import Experiment, SweepError, describe, experiments, messages
from notebook_pipeline.sweep.metrics import Metrics

GO_ON = "what is done is kept, and the same command goes on from there"
STOPPED = f"\nstopped: {GO_ON}"


def main(argv: list[str]) -> int:
    """Run what is missing of the grid; return the exit code: 1 if an experiment failed, 130 after Ctrl-C."""
    arguments = _parse(argv)
    if importlib.util.find_spec("distributed") is None:
        print("sweep: Dask is not installed. Fix: uv run --group sweep pipeline sweep ...", file=sys.stderr)
        return 1
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    # Also in a file, each result is there when it comes.
    sys.stdout.reconfigure(line_buffering=True)
    try:
        with Repo() as repo:
            return _Sweep(repo, arguments).run()
    except (SweepError, DvcException, git.GitError) as error:
        print(" ".join(messages(error)), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return 130


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pipeline sweep", description=__doc__.partition(": ")[2])
    parser.add_argument(
        "-S", "--set-param", dest="settings", metavar="[FILE:]NAME=VALUES", action="append", required=True,
        help="as in `dvc exp run`: a value, a list with commas, range() or choice()",
    )  # fmt: skip
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="ADDRESS", help="of a running Dask cluster, as in tcp://host:8786")
    where.add_argument(
        "--cluster", choices=cluster.BATCH_SYSTEMS, help="a batch system, with the options in Dask's configuration"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="how many at a time (without a cluster: as many as cores)"
    )
    parser.add_argument("--by", metavar="[FILE:]METRIC", help="the summary's order, best first")
    parser.add_argument(
        "--sort-order", choices=["asc", "desc"], default="desc", help="desc (default): the highest is best"
    )
    parser.add_argument("--dirty", action="store_true", help="run with what is not committed")
    arguments = parser.parse_args(argv)
    if arguments.scheduler and arguments.workers:
        parser.error("--workers: a running cluster has those that it has")
    if arguments.cluster and not arguments.workers:
        parser.error("--cluster needs --workers N")
    if arguments.workers is not None and arguments.workers < 1:
        parser.error("--workers: at least 1")
    return arguments


class _Sweep:
    """One call of the verb."""

    def __init__(self, repo, arguments: argparse.Namespace):
        self.repo = repo
        self.arguments = arguments
        self.root = Path(repo.root_dir)
        self.top = Path(repo.scm.root_dir)
        self.prefix = self._git("rev-parse", "--show-prefix")
        """The project's folder in the repository, as `analyses/churn/`; empty if it is the whole."""
        self.failed = {}
        """Why, by the experiments' names."""
        self.metrics = Metrics(self.root, arguments.by)

    def run(self) -> int:
        """Show the grid, run what is missing of it, and sum up; return the exit code."""
        self.baseline = self._git("rev-parse", "--quiet", "--verify", "HEAD", check=False)
        if not self.baseline:
            raise SweepError("there is no commit yet, from which experiments could start. Fix: git commit")
        self.namespace = f"refs/exps/{self.baseline[:2]}/{self.baseline[2:]}"
        self.commit, tree = self._find_commit()
        # To DVC one name is one experiment, whatever the commit; to git, whatever the project.
        self.experiments = experiments(self.arguments.settings, self.root, self.baseline + tree + self.prefix)
        self._check_metric()
        self.place = self._find_place()
        done = self._list_done()
        print(describe(self.experiments, self.baseline))
        if done:
            print(f"{len(done)} of them {'is' if len(done) == 1 else 'are'} there already")
        missing = [experiment for experiment in self.experiments if experiment.name not in done]
        code = self._run(missing) if missing else 0
        self._sum_up()
        return code or bool(self.failed)

    def _run(self, missing: list[Experiment]) -> int:
        """Run experiments; return 130 if Ctrl-C ended it, 1 if the cluster did, else 0."""
        where = self.arguments
        with contextlib.ExitStack() as until_the_end:
            client = until_the_end.enter_context(cluster.connect(where.scheduler, where.cluster, where.workers))
            name = until_the_end.enter_context(self._offer(client))
            try:
                self._run_on(client, name, missing)
                return 0
            except KeyboardInterrupt:
                print(STOPPED, file=sys.stderr)
                return 130
            except (SweepError, git.GitError) as error:
                print(f"{error}: {GO_ON}", file=sys.stderr)
                return 1
            finally:
                # What was done in the meantime.
                with contextlib.suppress(git.GitError):
                    self._collect()

    def _run_on(self, client, name: str, missing: list[Experiment]) -> None:
        """Run experiments on a cluster, as the sweep of that name, and report each as it comes.

        Raises:
            SweepError, git.GitError: the cluster is gone, or the git remote.
        """
        from tqdm import tqdm

        from notebook_pipeline.sweep.worker import Experiments

        plugin = Experiments(name, self.place, _ref(name), self.baseline, self.commit, self.prefix, self._read_author())
        with tqdm(total=len(missing), unit="experiment", disable=None) as bar:
            for experiment, result in cluster.Tasks(client, plugin, bar.write).run(missing):
                if result["status"] == "done":
                    patiently(threading.Event(), self._collect)
                    bar.write(f"{experiment.name}  {experiment}  {self.metrics.describe(experiment.name)}".rstrip())
                else:
                    self.failed[experiment.name] = self._explain(experiment, result)
                    bar.write(f"{experiment.name}  {experiment}  failed: {self.failed[experiment.name]}")
                bar.update()

    # What is to be done

    def _find_commit(self) -> tuple[str, str]:
        """Return the commit that experiments start from; and its tree if that is not the baseline's.

        Raises:
            SweepError: there is something that no commit has, and no --dirty.
        """
        outs = [out for stage in self.repo.index.stages if stage.is_data_source for out in stage.outs]
        changed = [os.path.relpath(out.fspath) for out in outs if out.exists and out.changed_checksum()]
        if changed:
            raise SweepError(
                f"{', '.join(changed)}: changed since `dvc add`. Fix: uv run dvc add {shell.join(changed)}"
            )
        status = self._git("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", ".")
        if not status:
            return self.baseline, ""
        if not self.arguments.dirty:
            # git names them as seen from the repository.
            names = [line.split(maxsplit=1)[1].removeprefix(self.prefix) for line in status.split("\0") if line]
            names = ", ".join(names)
            raise SweepError(f"{names}: not committed. Fix: git commit, or --dirty to run with it as it is")
        # As `git stash` does: a tree of what is here, by an index of its own.
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
            self._git("read-tree", "HEAD", **index)
            self._git("add", "--all", "--", ".", **index)
            tree = self._git("write-tree", **index)
        name, email = self._read_author()
        author = ("-c", f"user.name={name}", "-c", f"user.email={email}")
        return self._git(*author, "commit-tree", tree, "-p", self.baseline, "-m", "Not committed"), tree

    def _check_metric(self) -> None:
        """Raise SweepError if --by names no metric, as far as that can be known before a run."""
        by = self.arguments.by
        known = self.metrics.read(self.baseline)[self.baseline] if by else {}
        if known and not any(map(self.metrics.is_wanted, known)):
            raise SweepError(f"--by {by}: there is no such metric. Fix: name one of {', '.join(known)}")

    def _list_done(self) -> set[str]:
        """Return the names of those experiments that are there; those of the git remote are fetched."""
        self._collect()
        there = set(self._git("for-each-ref", "--format=%(refname:lstrip=4)", self.namespace).split())
        return {experiment.name for experiment in self.experiments} & there

    # Repositories

    def _find_place(self) -> Place:
        """Find where workers get the project.

        Raises:
            SweepError: a cluster has no way to get it.
        """
        from configobj import ConfigObj

        if not (self.arguments.scheduler or self.arguments.cluster):
            # As DVC does for an experiment in a folder of its own.
            local = ConfigObj(self.repo.config.read("local"))
            local.setdefault("cache", {})["dir"] = self.repo.cache.local_cache_dir
            text = "\n".join(local.write()) + "\n"
            return Place(str(self.top), False, text, str(self._make_folder()))
        names = self._git("remote").split()
        if not names:
            raise SweepError(
                "there is no git remote, from which the workers take the project. Fix: git remote add origin URL"
            )
        name = "origin" if "origin" in names else names[0]
        url = self._git("remote", "get-url", name)
        if (self.top / url).exists():
            url = str((self.top / url).resolve())
        committed = ConfigObj(str(self.root / ".dvc/config"))
        shared = os.path.isabs(committed.get("cache", {}).get("dir", ""))
        if not shared and not committed.get("core", {}).get("remote"):
            raise SweepError(
                "there is no DVC remote, from which the workers take the inputs. Fix: "
                "uv run dvc remote add --default storage URL, and git commit"
            )
        return Place(url, not shared, "" if shared else None, None, name)

    @contextlib.contextmanager
    def _offer(self, client) -> Iterator[str]:
        """Put the commit, and over a DVC remote its data, where workers can take it; yield the sweep's name.

        The reference is this sweep's own: another one from the same commit may end earlier. A sweep has a file locked
        while it lives, so that the next one here finds what one that was killed has left, in git and on the cluster.
        """
        for left in self._make_folder().glob("*.ref"):
            if self._withdraw(left):
                with contextlib.suppress(Exception):  # the cluster may know nothing of it
                    client.unregister_worker_plugin(left.stem)
        file = self._make_folder() / f"sweep-{os.urandom(4).hex()}.ref"
        try:
            with files.lock(file) as handle:
                handle.write((self.place.source if self.place.git_remote else "").encode())
                handle.flush()
                self._publish(_ref(file.stem))
                yield file.stem
        finally:
            self._withdraw(file)

    def _make_folder(self) -> Path:
        folder = Path(self.repo.tmp_dir, "sweep")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _publish(self, ref: str) -> None:
        if not self.place.git_remote:
            # Also keeps git from tidying up what `--dirty` made.
            self._git("update-ref", ref, self.commit)
            return
        if self.place.remote:
            try:
                count = self.repo.push(run_cache=True)
            except Exception as error:  # each kind of remote has its own
                raise SweepError(f"the DVC remote takes no data: {' '.join(messages(error))}") from None
            if count:
                print(f"pushed {count} file{'s' if count > 1 else ''} to the DVC remote")
        patiently(threading.Event(), self._git, "push", "--quiet", "--force", self.place.source, f"{self.commit}:{ref}")

    def _withdraw(self, file: Path) -> bool:
        """Delete a sweep's reference, of which a file says where it is; return False if the sweep lives, or git refuses."""
        if (handle := files.lock(file)) is None:
            return False
        with handle:
            handle.seek(0)
            source, ref = handle.read().decode(), _ref(file.stem)
            try:
                if not source:
                    self._git("update-ref", "-d", ref)
                elif self._git("ls-remote", source, ref):
                    self._git("push", "--quiet", source, f":{ref}")
            except git.GitError:
                return False
        file.unlink(missing_ok=True)
        return True

    def _collect(self) -> None:
        """Fetch what the git remote has of the sweep."""
        if not self.place.git_remote:
            return
        refs = {f"{self.namespace}/{experiment.name}" for experiment in self.experiments}
        there = self._git("ls-remote", self.place.source, f"{self.namespace}/*").split()[1::2]
        here = self._git("for-each-ref", "--format=%(refname)", self.namespace).split()
        new = sorted(refs & set(there) - set(here))
        for start in range(0, len(new), 100):  # a command line has an end
            wanted = [f"{name}:{name}" for name in new[start : start + 100]]
            self._git("fetch", "--quiet", "--no-tags", self.place.source, *wanted)

    def _read_author(self) -> tuple[str, str]:
        """Return the name and e-mail address by which git knows the person; DVC's experiments need none."""
        known = re.match(r"(.+) <(.+)> ", self._git("var", "GIT_AUTHOR_IDENT", check=False))
        return known.groups() if known else ("sweep", "sweep@localhost")

    def _git(self, *arguments: str, check: bool = True, **environ: str) -> str:
        return git.run(*arguments, cwd=self.root, check=check, **environ)

    # Results

    def _explain(self, experiment: Experiment, result: dict[str, str]) -> str:
        """Return what a notebook's run says of its end, or else DVC; and where all that they said is."""
        lines = result["log"].splitlines()
        if not lines:
            return result["message"]
        reason = result["message"]
        if result["status"] == "failed":
            for index, line in enumerate(lines):
                if re.match(r"\S.*\.ipynb: (?!shows what ran)", line):
                    source = [each for each in lines[index + 1 : index + 2] if each.startswith("    ")]
                    reason = "\n".join([line, *source])
        log = Path(self.repo.tmp_dir, f"{experiment.name}.log")
        log.write_text(result["log"], encoding="utf-8")
        return f"{reason}\n    more in {os.path.relpath(log)}"

    def _sum_up(self) -> None:
        """Print the table of all experiments that are there, best first, and what is not."""
        from tabulate import tabulate

        done = self._list_done()
        found = [experiment for experiment in self.experiments if experiment.name in done]
        metrics = self.metrics.read(*(experiment.name for experiment in found))
        if self.arguments.by:
            sign = 1 if self.arguments.sort_order == "asc" else -1
            values = {name: self.metrics.value(name) for name in metrics}
            found.sort(key=lambda each: (values[each.name] is None, sign * (values[each.name] or 0)))
        names = list(dict.fromkeys(name for own in metrics.values() for name in own))
        heads = [name.partition(":")[2] for name in names]
        heads = heads if len(set(heads)) == len(heads) else names
        if found:
            rows = [[each.name, str(each), *map(metrics[each.name].get, names)] for each in found]
            print("\n" + tabulate(rows, ["Experiment", "Settings", *heads], tablefmt="plain", floatfmt=".5g"))
            name = found[0].name
            fetch = f"uv run dvc exp pull {self.place.git_remote} {name}, then " if self.place.remote else ""
            print(f"\nto take one over: {fetch}uv run dvc exp apply {name}")
        if self.failed:
            print(f"{len(self.failed)} failed: {', '.join(self.failed)}", file=sys.stderr)
        if rest := len(self.experiments) - len(done) - len(self.failed):
            print(f"{rest} {'was' if rest == 1 else 'were'} not run", file=sys.stderr)


def _ref(name: str) -> str:
    """Return the reference from which the workers of a sweep take the commit."""
    return f"refs/sweep/{name}"
