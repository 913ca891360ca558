"""The command line of the fault runs."""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.faults import plan
from tests.faults.arguments import promises
from tests.faults.catalogue import FAULTS, OF_FLEETS
from tests.faults.checker import PROMISES, judge
from tests.faults.fault import Fault
from tests.faults.history import Event, Setup, read
from tests.faults.runner import Say, run
from tests.faults.stage import Scale, Stage
from tests.faults.story import Broken

ROOT = Path(__file__).resolve().parents[2]
KEPT, BROKE, WRONG_USE = 0, 1, 2
SHOWN = 5
"""Findings that are printed per promise. A fault that breaks a promise usually breaks it for many pods."""
MEMBERS, NODES = 3, 10
"""The size of a fleet."""
LONG = 150.0
"""Runs of at least so many seconds contain the long form of faults and the faults that take a minute."""

HELP = """\
Runs a controller, a real Consul and real targets with faults, and then checks which promises were broken.

The seed determines everything that is random. The history of a run that broke a promise is kept, and --replay checks
it again.
"""
EXAMPLES = """\
examples:
  tests/faults/run --seed 7 --minutes 3
  tests/faults/run --seed 7 --minutes 3 --faults line-stalled,killed --pods 40
  tests/faults/run --fleet --seed 7 --minutes 3
  tests/faults/run --replay faults-7.jsonl
exit code: 0 when every promise held, 1 when one was broken, 2 for wrong use
"""


def main(arguments: Sequence[str]) -> int:
    """Runs or replays and returns the exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that all that was started ends too
    if options.list:
        for name, fault in FAULTS.items():
            print(f"{name:32} {fault.seconds:g} s{f' or {fault.long:g} s' if fault.long else ''}")
        return KEPT
    without = frozenset(options.without)
    if options.replay:
        try:
            return _report(read(options.replay), without)
        except (OSError, ValueError) as error:
            print(f"tests/faults/run: {error}", file=sys.stderr)
            return WRONG_USE
    return _run(options, without)


def _run(options: argparse.Namespace, without: frozenset[str]) -> int:
    scale = _scale(options)
    made = _plan(options, scale, [f"pod-{number}" for number in range(scale.pods)])
    with tempfile.TemporaryDirectory(prefix="podpulse-history-") as temp:
        history = Path(temp) / f"faults-{options.seed}.jsonl"
        with Stage(_consul(), scale, history) as stage:
            try:
                run(stage, made, _say(time.monotonic(), loud=options.verbose))
            except BaseException:
                _keep(options.keep, history, _logs(stage))
                raise
            logs = _logs(stage)
        code = _report(read(history), without)
        if code:
            _keep(options.keep, history, logs)
    return code


def _scale(options: argparse.Namespace) -> Scale:
    members, nodes = (MEMBERS, NODES) if options.fleet else (0, 1)
    alone = options.alone or options.acl
    timing = (options.interval, options.interval * 0.4, options.seed)
    return Scale(options.pods, *timing, cluster=not alone, acl=options.acl, members=members, nodes=nodes)


def _logs(stage: Stage) -> Mapping[str, str]:
    """Returns what each controller logged, by the name of a file."""
    return {f"{each.member and '-' + each.member}.log": each.log() for each in stage.controllers}


def _plan(options: argparse.Namespace, scale: Scale, pods: Sequence[str]) -> plan.Plan:
    seconds = options.minutes * 60
    least, most = options.pause
    pace = plan.Pace(options.change, least, most, long=seconds > LONG)
    every = OF_FLEETS if options.fleet and not options.each else FAULTS.values()
    chosen = every if options.faults is None else options.faults
    faults = [fault for fault in chosen if fault.suits(scale)]
    if options.each:
        return plan.each(options.seed, pods, faults, pace)
    return plan.make(options.seed, seconds, pods, faults, pace)


def _report(events: Sequence[Event], without: frozenset[str]) -> int:
    broken = judge(events, without)
    begin = next(event.at for event in events if isinstance(event, Setup))
    for promise in PROMISES:
        of_it = [each for each in broken if each.promise == promise]
        for each in of_it[:SHOWN]:
            print(_line(each, begin))
        if len(of_it) > SHOWN:
            print(f"{promise}: {len(of_it) - SHOWN} times more")
    held = [promise for promise in PROMISES if promise not in without | {each.promise for each in broken}]
    print(f"{len(events)} events; held: {' '.join(held)}", file=sys.stderr)
    return BROKE if broken else KEPT


def _line(broken: Broken, begin: float) -> str:
    pod = f" {broken.pod}" if broken.pod else ""
    return f"{broken.promise} ({PROMISES[broken.promise]}) at {broken.at - begin:.2f} s{pod}: {broken.evidence}"


def _keep(folder: Path, history: Path, logs: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / history.name
    shutil.copyfile(history, kept)
    for end, log in logs.items():
        kept.with_name(kept.stem + end).write_text(log)
    print(f"the history is kept: {kept}, and what the controller said beside it", file=sys.stderr)


def _say(begin: float, *, loud: bool) -> Say:
    """Returns a function that prints progress if standard error is a terminal, or always if `loud`."""

    def say(what: str) -> None:
        if sys.stderr.isatty() or loud:
            print(f"{time.monotonic() - begin:7.1f} s  {what}", file=sys.stderr)

    return say


def _consul() -> Path:
    found = subprocess.run([ROOT / "deploy" / "get-consul"], stdout=subprocess.PIPE, check=True, text=True)
    return Path(found.stdout.strip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "tests/faults/run",
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=120),
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="the seed of everything random [1]")
    parser.add_argument(
        "--minutes", type=_positive, default=3.0, metavar="M", help="the duration of changes and faults [3]"
    )
    parser.add_argument("--faults", type=_faults, metavar="LIST",
                        help="only these faults, by name, separated by commas; none: no faults [all]")  # fmt: skip
    parser.add_argument("--pods", type=int, default=30, metavar="N", help="the largest number of pods [30]")
    parser.add_argument("--interval", type=_positive, default=1.0, metavar="S", help="seconds between probes [1]")
    parser.add_argument("--change", type=_positive, default=1.0, metavar="S", help="seconds between two changes [1]")
    parser.add_argument("--pause", type=_positive, nargs=2, default=[1.0, 12.0], metavar=("LEAST", "MOST"),
                        help="seconds between two faults [1 12]")  # fmt: skip
    parser.add_argument("--each", action="store_true", help="every fault once, with a settled state after each")
    parser.add_argument(
        "--alone", action="store_true", help="one Consul agent instead of a cluster of three and a client"
    )
    parser.add_argument(
        "--acl", action="store_true", help="like --alone, with ACLs and default deny: for the faults of the token"
    )
    parser.add_argument(
        "--fleet",
        action="store_true",
        help=f"{MEMBERS} controllers that share the pods of {NODES} nodes; random runs have their faults only",
    )
    parser.add_argument("--without", type=promises, default=(), metavar="LIST", help="promises that are not checked")
    parser.add_argument(
        "--keep", type=Path, default=Path(), metavar="DIR", help="the folder for the history of a failed run [.]"
    )
    parser.add_argument("--replay", type=Path, metavar="FILE", help="check this history, and run nothing")
    parser.add_argument("--verbose", action="store_true", help="print progress even if standard error is no terminal")
    parser.add_argument("--list", action="store_true", help="list the faults, and run nothing")
    return parser


def _positive(text: str) -> float:
    try:
        if (value := float(text)) > 0:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")


def _faults(text: str) -> tuple[Fault, ...]:
    names = () if text == "none" else tuple(text.split(","))
    if unknown := [name for name in names if name not in FAULTS]:
        raise argparse.ArgumentTypeError(f"no such fault: {', '.join(unknown)}; --list names them")
    return tuple(FAULTS[name] for name in names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
