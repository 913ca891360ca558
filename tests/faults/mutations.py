"""Shows of every promise that a run of faults notices when it is broken: `python -m tests.faults.mutations`.

For each mutant one line of the controller is replaced in a copy of the project, and its judge runs there. It must name
the promise; the same judge must find nothing in a copy in which nothing was replaced. That the controller of the run
was the copy's is seen by the bytecode that Python left beside the replaced line's file, where there was none before.
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
"""A mutant that survived one is given to the next: what a busy machine takes from a run is taken off by its checker."""
WITHIN = 300.0
FOUND, SURVIVED, WRONG_USE = 0, 1, 2
TOO_LATE = 128 + signal.SIGTERM
"""The exit code of a judge that was ended: it judges nothing before its end."""
BYTECODE = frozenset({"PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"})


@dataclass(frozen=True, slots=True)
class Said:
    """How a judge ended: its exit code and its report, one line for each thing that it found; `trouble` is the rest.

    `used` tells whether it ran the code of its tree.
    """

    code: int
    report: Sequence[str]
    trouble: str = ""
    used: bool = True

    def of(self, promise: str) -> str:
        """The first that it found of a promise, without its name; "" for nothing."""
        lines = (line for line in self.report if line.startswith(f"{promise} ("))
        return next((line.partition(") at ")[2] for line in lines), "")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a mutant was found by a judge that can be relied on, and the evidence, or why not."""

    found: bool
    words: str


def verdict(mutant: Mutant, plain: Said, broken: Said) -> Verdict:
    """What the judge says of the `broken` copy counts where it finds nothing in the `plain` one."""
    if plain.code:
        return Verdict(False, f"the judge complains without it: {' / '.join(plain.report) or plain.trouble}")
    if not (plain.used and broken.used):
        return Verdict(False, f"the judge did not run {mutant.function} of its own tree")
    if evidence := broken.of(mutant.promise):
        return Verdict(True, evidence)
    others = " ".join(dict.fromkeys(line.partition(" ")[0].rstrip(":") for line in broken.report))
    return Verdict(False, f"survived; broken: {others or 'nothing'}{broken.trouble and ', ' + broken.trouble}")


class Judges:
    """Runs judges in trees of their own."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    def plain(self, judge: str) -> Said:
        """What it says where nothing is broken."""
        return self._in_a_copy(judge, None, SEEDS[0])

    def broken(self, mutant: Mutant) -> Said:
        """What it says of a mutant, at the latest with the last seed."""
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
    """The project as it stands, without any bytecode; what was fetched for it is only linked to."""
    for folder in COPIED:
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", place / "pyproject.toml")
    (ROOT / ".cache").mkdir(exist_ok=True)
    (place / ".cache").symlink_to(ROOT / ".cache")
    return place


def main(arguments: Sequence[str]) -> int:
    """Break what is asked for, and print a table; the answer is the exit code."""
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
    """Each with its verdict, as soon as that is known."""
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
    """In the README's words."""
    broken = f"`{mutant.function}`: `{mutant.line}` -> `{mutant.instead}`, so {mutant.why}"
    return f"| {mutant.promise} | {broken} | {mutant.judge}{said and ': ' + said} |"


def environment(tree: Path) -> Mapping[str, str]:
    """The tree's code comes before what is installed, in the run and in the controller that it starts."""
    kept = {name: text for name, text in os.environ.items() if name not in BYTECODE}
    return kept | {"PYTHONPATH": str(tree)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.faults.mutations", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", type=promises, default=tuple(PROMISES), metavar="LIST",
                        help="these promises, with commas [all]")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="how many runs go at the same time [2]")
    parser.add_argument("--list", action="store_true", help="print what would be broken, and run nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
