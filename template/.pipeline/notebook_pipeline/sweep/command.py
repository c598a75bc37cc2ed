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
from collections.abc import Iterator
from pathlib import Path

from notebook_pipeline import files, git, shell
from notebook_pipeline.sweep import cluster
from notebook_pipeline.sweep.clone import patiently
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

    # Each result is there when it comes, in a file, too.
    sys.stdout.reconfigure(line_buffering=True)
    try:
        with Repo() as repo:
            return _Sweep(repo, arguments).run()
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return 130
    except (SweepError, DvcException, git.GitError) as error:
        print(" ".join(messages(error)), file=sys.stderr)
        return 1


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
        self.prefix = self._git("rev-parse", "--show-prefix")
        """The project's folder in the repository, as `analyses/churn/`; empty if it is the whole."""
        self.folder = Path(repo.tmp_dir, "sweep")
        self.failed = {}
        """Why, by the experiments' names."""
        self.metrics = Metrics(self.root, arguments.by)

    def run(self) -> int:
        """Show the grid, run what is missing of it, and sum up; return the exit code."""
        self.baseline = self._git("rev-parse", "--quiet", "--verify", "HEAD", check=False)
        if not self.baseline:
            raise SweepError("there is no commit yet, from which experiments could start. Fix: git commit")
        self.commit, tree = self._find_commit()
        # To DVC one name is one experiment, whatever the commit; to git, whatever the project.
        self.experiments = experiments(self.arguments.settings, self.root, self.baseline + tree + self.prefix)
        by = self.arguments.by
        known = self.metrics.read(self.baseline)[self.baseline] if by else {}
        if known and not any(map(self.metrics.is_wanted, known)):
            raise SweepError(f"--by {by}: there is no such metric. Fix: name one of {', '.join(known)}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.plugin = self._plan()
        # To git this repository is one like any other, `.` even in a subfolder: `git push . COMMIT:REF`.
        self.source = "." if self.plugin.is_local else self.plugin.source
        done = self._collect()
        print(describe(self.experiments, self.baseline))
        if done:
            print(f"{len(done)} of them {'is' if len(done) == 1 else 'are'} there already")
        missing = [experiment for experiment in self.experiments if experiment.name not in done]
        code = self._run(missing) if missing else 0
        self._sum_up()
        return code or bool(self.failed)

    def _run(self, missing: list[Experiment]) -> int:
        """Run experiments and tell of each as it comes; return 130 if Ctrl-C ended it, 1 if the cluster did, else 0."""
        from tqdm import tqdm

        where = self.arguments
        with cluster.connect(where.scheduler, where.cluster, where.workers) as client, self._offer(client):
            try:
                with tqdm(total=len(missing), unit="experiment", disable=None) as bar:
                    for experiment, result in cluster.Tasks(client, self.plugin, bar.write).run(missing):
                        if result["status"] == "done":
                            patiently(self._collect)
                            said = self.metrics.describe(experiment.name)
                        else:
                            self.failed[experiment.name] = self._keep_log(experiment, result)
                            said = f"failed: {self.failed[experiment.name]}"
                        bar.write(f"{experiment.name}  {experiment}  {said}".rstrip())
                        bar.update()
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

    # What is to be done

    def _find_commit(self) -> tuple[str, str]:
        """Return the commit that experiments start from, and its tree if that is not the baseline's.

        Raises:
            SweepError: there is something that no commit has, and no --dirty.
        """
        outs = [out for stage in self.repo.index.stages if stage.is_data_source for out in stage.outs]
        changed = [os.path.relpath(out.fspath) for out in outs if out.exists and out.changed_checksum()]
        if changed:
            fix = f"uv run dvc add {shell.join(changed)}"
            raise SweepError(f"{', '.join(changed)}: changed since `dvc add`. Fix: {fix}")
        status = self._git("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", ".")
        if not status:
            return self.baseline, ""
        if not self.arguments.dirty:
            # git names them as seen from the repository.
            names = [line.split(maxsplit=1)[1].removeprefix(self.prefix) for line in status.split("\0") if line]
            raise SweepError(f"{', '.join(names)}: not committed. Fix: git commit, or --dirty to run with it as it is")
        # As `git stash` does: a tree of what is here, by an index of its own.
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
            self._git("read-tree", "HEAD", **index)
            self._git("add", "--all", "--", ".", **index)
            tree = self._git("write-tree", **index)
        name, email = self._find_author()
        author = ("-c", f"user.name={name}", "-c", f"user.email={email}")
        return self._git(*author, "commit-tree", tree, "-p", self.baseline, "-m", "Not committed"), tree

    # Repositories

    def _plan(self):
        """Return what the workers are to do, a `worker.Experiments`.

        Raises:
            SweepError: a cluster has no way to get the project.
        """
        from configobj import ConfigObj

        from notebook_pipeline.sweep.worker import Experiments

        known = (self.baseline, self.commit, self.prefix, self._find_author())
        name, top = f"sweep-{os.urandom(4).hex()}", Path(self.repo.scm.root_dir)
        if not (self.arguments.scheduler or self.arguments.cluster):
            # As DVC does for an experiment in a folder of its own.
            local = ConfigObj(self.repo.config.read("local"))
            local.setdefault("cache", {})["dir"] = self.repo.cache.local_cache_dir
            config = "\n".join(local.write()) + "\n"
            return Experiments(name, str(top), *known, folder=str(self.folder), config=config)
        url = self._git("remote", "get-url", self._name_remote())
        if (top / url).exists():
            url = str((top / url).resolve())
        committed = ConfigObj(str(self.root / ".dvc/config"))
        is_shared = os.path.isabs(committed.get("cache", {}).get("dir", ""))
        if not is_shared and not committed.get("core", {}).get("remote"):
            raise SweepError(
                "there is no DVC remote, from which the workers take the inputs. Fix: "
                "uv run dvc remote add --default storage URL, and git commit"
            )
        return Experiments(name, url, *known, folder=None, config="" if is_shared else None)

    def _name_remote(self) -> str:
        names = self._git("remote").split()
        if not names:
            raise SweepError(
                "there is no git remote, from which the workers take the project. Fix: git remote add origin URL"
            )
        return "origin" if "origin" in names else names[0]

    @contextlib.contextmanager
    def _offer(self, client) -> Iterator[None]:
        """Put the commit, and over a DVC remote its data, where workers can take it.

        The reference is this sweep's own: another one from the same commit may end earlier. A sweep has a file locked
        while it lives, so that the next one here finds what one that was killed has left, in git and on the cluster.
        """
        for left in self.folder.glob("*.ref"):
            if self._take_back(left):
                with contextlib.suppress(Exception):  # another cluster knows nothing of it
                    client.unregister_worker_plugin(left.stem)
        file = self.folder / f"{self.plugin.name}.ref"
        try:
            with files.lock(file) as handle:
                handle.write(self.source.encode())
                handle.flush()
                if self.plugin.has_remote:
                    self._push_data()
                patiently(self._git, "push", "--quiet", "--force", self.source, f"{self.commit}:{self.plugin.ref}")
                yield
        finally:
            self._take_back(file)

    def _push_data(self) -> None:
        try:
            count = self.repo.push(run_cache=True)
        except Exception as error:  # each kind of remote has its own
            raise SweepError(f"the DVC remote takes no data: {' '.join(messages(error))}") from None
        if count:
            print(f"pushed {count} file{'s' if count > 1 else ''} to the DVC remote")

    def _take_back(self, file: Path) -> bool:
        """Delete a sweep's reference where its file says; return False if the sweep lives, or git refuses."""
        if (handle := files.lock(file)) is None:
            return False
        with handle:
            handle.seek(0)
            source, ref = handle.read().decode(), f"refs/sweep/{file.stem}"
            try:
                if self._git("ls-remote", source, ref):
                    self._git("push", "--quiet", source, f":{ref}")
            except git.GitError:
                return False
        file.unlink(missing_ok=True)
        return True

    def _collect(self) -> set[str]:
        """Fetch what the git repository has of the sweep; return the names of the experiments that are here then."""
        space, names = self.plugin.namespace, {experiment.name for experiment in self.experiments}
        there = {ref.rpartition("/")[2] for ref in self._git("ls-remote", self.source, f"{space}/*").split()[1::2]}
        here = {*self._git("for-each-ref", "--format=%(refname:lstrip=4)", space).split()}
        new = sorted(names & there - here)
        for start in range(0, len(new), 100):  # a command line has an end
            wanted = [f"{space}/{name}:{space}/{name}" for name in new[start : start + 100]]
            self._git("fetch", "--quiet", "--no-tags", self.source, *wanted)
        return names & (here | there)

    def _find_author(self) -> tuple[str, str]:
        """Return the name and e-mail address by which git knows the person; DVC's experiments need none."""
        known = re.match(r"(.+) <(.+)> ", self._git("var", "GIT_AUTHOR_IDENT", check=False))
        return known.groups() if known else ("sweep", "sweep@localhost")

    def _git(self, *arguments: str, check: bool = True, **environ: str) -> str:
        return git.run(*arguments, cwd=self.root, check=check, **environ)

    # Results

    def _keep_log(self, experiment: Experiment, result: dict[str, str]) -> str:
        """Return what a notebook's run says of its end, or else DVC; and where all that they said is."""
        reason, log = result["message"], result["log"]
        if not log:
            return reason
        if result["status"] == "failed":
            said = re.findall(r"^\S.*\.ipynb: (?!shows what ran).*(?:\n    .*)?", log, re.MULTILINE)
            reason = said[-1] if said else reason
        file = Path(self.repo.tmp_dir, f"{experiment.name}.log")
        file.write_text(log, encoding="utf-8")
        return f"{reason}\n    more in {os.path.relpath(file)}"

    def _sum_up(self) -> None:
        """Print the table of all experiments that are there, best first, and what is not."""
        from tabulate import tabulate

        done = self._collect()
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
            fetch = f"uv run dvc exp pull {self._name_remote()} {name}, then " if self.plugin.has_remote else ""
            print(f"\nto take one over: {fetch}uv run dvc exp apply {name}")
        if self.failed:
            print(f"{len(self.failed)} failed: {', '.join(self.failed)}", file=sys.stderr)
        if rest := len(self.experiments) - len(done) - len(self.failed):
            print(f"{rest} {'was' if rest == 1 else 'were'} not run", file=sys.stderr)
