"""Shows for every promise that a run of faults notices when it is broken: `python -m tests.faults.mutations`.

For each mutant one line of the controller is replaced in a copy of the project, and the mutant's judge runs in that
copy. The judge must report the promise as broken, and must find nothing in an unchanged copy. The bytecode that Python
writes next to the changed file shows that the run used the copy's code.
"""

import argparse
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.faults.arguments import promises
from tests.faults.checker import PROMISES
from tests.faults.mutants import JUDGES, MUTANTS, Mutant, Rotten
from tests.support.program import Programs

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("controller", "reconcilers", "tests", "deploy")
SEEDS = (6, 7, 8)
"""A mutant that survives one seed runs with the next. The checker subtracts the time that a busy machine took from a
run, which may hide a delay."""
WITHIN = 300.0
FOUND, SURVIVED, WRONG_USE = 0, 1, 2
TOO_LATE = 128 + signal.SIGTERM
"""The exit code of a judge that was terminated. It has judged nothing."""
BYTECODE = frozenset({"PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"})


@dataclass(frozen=True, slots=True)
class Said:
    """The result of a judge: its exit code, its report with one line per finding, and any other output as `trouble`.

    `used` is true when the judge ran the code of its tree.
    """

    code: int
    report: Sequence[str]
    trouble: str = ""
    used: bool = True

    def of(self, promise: str) -> str:
        """Returns the first finding about a promise, without the promise's name; "" if there is none."""
        lines = (line for line in self.report if line.startswith(f"{promise} ("))
        return next((line.partition(") at ")[2] for line in lines), "")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a reliable judge found a mutant. `words` is the evidence, or the reason why not."""

    found: bool
    words: str


def verdict(mutant: Mutant, plain: Said, broken: Said) -> Verdict:
    """The judge's finding in the `broken` copy counts only if the judge finds nothing in the `plain` copy."""
    if plain.code:
        return Verdict(False, f"the judge complains without it: {' / '.join(plain.report) or plain.trouble}")
    if not (plain.used and broken.used):
        return Verdict(False, f"the judge did not run {mutant.function} of its own tree")
    if evidence := broken.of(mutant.promise):
        return Verdict(True, evidence)
    others = " ".join(dict.fromkeys(line.partition(" ")[0].rstrip(":") for line in broken.report))
    return Verdict(False, f"survived; broken: {others or 'nothing'}{broken.trouble and ', ' + broken.trouble}")


class Judges:
    """Runs judges, each in a copy of the project."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    def plain(self, judge: str) -> Said:
        """Runs a judge in an unchanged copy."""
        return self._in_a_copy(judge, None, SEEDS[0])

    def broken(self, mutant: Mutant) -> Said:
        """Runs a mutant's judge until it finds the mutant, with one seed after the other."""
        for seed in SEEDS:
            said = self._in_a_copy(mutant.judge, mutant, seed)
            if said.of(mutant.promise):
                break
        return said

    def _in_a_copy(self, judge: str, mutant: Mutant | None, seed: int) -> Said:
        with tempfile.TemporaryDirectory(prefix="podpulse-mutant-") as temp:
            tree = copy(Path(temp))
            witness = mutant.apply(tree) if mutant else tree / "controller" / "app.py"
            code, report, trouble = self._run(judge, tree, seed)
            return Said(code, report, trouble, used=Path(importlib.util.cache_from_source(witness)).exists())

    def _run(self, judge: str, tree: Path, seed: int) -> tuple[int, Sequence[str], str]:
        options = ("--seed", str(seed), "--alone", "--keep", str(tree), *JUDGES[judge])
        command = [sys.executable, "-m", "tests.faults", *options]
        try:
            done = self._programs.run(command, within=WITHIN, cwd=tree, env=environment(tree))
        except subprocess.TimeoutExpired:
            return TOO_LATE, (), f"not done within {WITHIN:g} s"
        last = done.stderr.strip().rpartition("\n")[2] if not done.stdout else ""
        return done.returncode, done.stdout.splitlines(), last


def copy(place: Path) -> Path:
    """Copies the project without bytecode. Downloaded tools are linked."""
    for folder in COPIED:
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", place / "pyproject.toml")
    (ROOT / ".cache").mkdir(exist_ok=True)
    (place / ".cache").symlink_to(ROOT / ".cache")
    return place


def main(arguments: Sequence[str]) -> int:
    """Runs the chosen mutants, prints a table and returns the exit code."""
    options = _parser().parse_args(arguments)
    chosen = [mutant for mutant in MUTANTS if mutant.promise in options.only]
    try:
        for mutant in chosen:
            mutant.find(ROOT)
    except Rotten as error:
        print(f"mutations: {error}", file=sys.stderr)
        return WRONG_USE
    print("| promise | broken line | said by |\n|---|---|---|")
    if options.list:
        for mutant in chosen:
            print(_row(mutant, ""))
        return FOUND
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    found = [_shown(mutant, verdict) for mutant, verdict in _judged(chosen, options.jobs)]
    return FOUND if all(found) else SURVIVED


def _judged(chosen: Sequence[Mutant], jobs: int) -> Iterator[tuple[Mutant, Verdict]]:
    """Yields each mutant with its verdict as soon as it is known."""
    wanted = list(dict.fromkeys(mutant.judge for mutant in chosen))
    with ThreadPoolExecutor(jobs) as pool, Programs() as programs:
        judges = Judges(programs)
        try:
            plain = {judge: pool.submit(judges.plain, judge) for judge in wanted}
            broken = [pool.submit(judges.broken, mutant) for mutant in chosen]
            for mutant, said in zip(chosen, broken, strict=True):
                yield mutant, verdict(mutant, plain[mutant.judge].result(), said.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _shown(mutant: Mutant, verdict: Verdict) -> bool:
    print(_row(mutant, verdict.words if verdict.found else f"**{verdict.words}**"), flush=True)
    return verdict.found


def _row(mutant: Mutant, said: str) -> str:
    """Returns one row of the table."""
    broken = f"`{mutant.function}`: `{mutant.line}` -> `{mutant.instead}`, so {mutant.why}"
    return f"| {mutant.promise} | {broken} | {mutant.judge}{said and ': ' + said} |"


def environment(tree: Path) -> Mapping[str, str]:
    """The environment in which the run and its controller import the tree's code, and not the installed code."""
    kept = {name: text for name, text in os.environ.items() if name not in BYTECODE}
    return kept | {"PYTHONPATH": str(tree)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.faults.mutations", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", type=promises, default=tuple(PROMISES), metavar="LIST",
                        help="only these promises, separated by commas [all]")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="the number of runs at the same time [2]")
    parser.add_argument("--list", action="store_true", help="print the mutants, and run nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
