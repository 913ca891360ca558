"""The command line of the benchmarks."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.bench import (
    changes,
    endurance,
    fleet,
    fleet_page,
    fleet_size,
    floor,
    overload,
    page,
    programs,
    quiet,
    scenarios,
    steady,
    workers,
)
from tests.bench.measure import Say, TooSlow, Work
from tests.bench.peers import NAMES
from tests.bench.podpulse import DidNotStart
from tests.bench.report import Progress, Report
from tests.bench.targets import GRPC, SCHEMES, CannotListen, raise_descriptor_limit

DONE, NOT_RUN, WRONG_USE, EXCEEDED = 0, 1, 2, 3
MOST_CHECKS = 16_000
"""What nginx can have as ports without hitting those that the kernel gives to outgoing connections."""
SHARING = frozenset({"overload", "fleet", "fleet-intent", "fleet-size", "fleet-page"})
"""The scenarios in which a target may have several pods, so that there may be more checks."""
MOST_SHARING = 100_000


@dataclass(frozen=True, slots=True)
class Scenario:
    """One measurement, with its default number of checks, its duration and the interval between probes in seconds."""

    run: Callable[[Work, Say], Report]
    checks: int
    seconds: float
    interval: float = 5.0


SCENARIOS: Mapping[str, Scenario] = {
    "steady": Scenario(steady.run, 2_000, 30),
    "floor": Scenario(floor.run, 2_000, 30),
    "hang": Scenario(scenarios.hang, 10_000, 30),
    "mass-start": Scenario(scenarios.mass_start, 10_000, 10),
    "scrape": Scenario(scenarios.scrape, 10_000, 30),
    "page": Scenario(page.run, 10_000, 30),
    "intent": Scenario(scenarios.intent, 1_000, 60),
    "changes": Scenario(changes.run, 1_000, 0),
    "quiet": Scenario(quiet.run, 1_000, 60),
    "overload": Scenario(overload.run, 20_000, 120),
    "workers": Scenario(workers.run, 1_000, 0),
    "fleet": Scenario(fleet.run, 20_000, 60, 10.0),
    "fleet-intent": Scenario(fleet.intent, 20_000, 60, 10.0),
    "fleet-size": Scenario(fleet_size.run, 100_000, 30, 10.0),
    "fleet-page": Scenario(fleet_page.run, 100_000, 60, 10.0),
    "endurance": Scenario(endurance.run, 2_000, 900, 1.0),
}

HELP = """\
Measures podpulse on this machine, and its peers with the same work.

The targets are nginx on many ports of one loopback address, plain or with a private CA. `steady` measures three probers
one after the other on the same targets: the whole `podpulse run` (with a Consul that has the manifests, published
health, and metrics scraped every 5 s), a Consul agent with its own HTTP checks, and blackbox_exporter. Probes are
counted in nginx's log. The lateness of a probe is the time since the previous probe minus one interval. CPU is the user
and system time of the whole process without its start. Every probe should use a new connection; the table says how
many did not.

scenarios, with their default --checks and --seconds:
  steady      2000, 30 s   CPU, memory and lateness, compared with the peers
  floor       2000, 30 s   CPU compared with a bare loop of sockets, without schedule, results and metrics (http, https)
  hang       10000, 30 s   half of the targets accept and never answer: lateness of the others, descriptors
  mass-start 10000, 10 s   that many manifests appear at once while 100 pods run (--seconds: watched after that)
  scrape     10000, 30 s   the duration, CPU and bytes of a scrape of /metrics, and the lateness of probes without
                           scrapes and with one scrape a second, for half of the time each; --set metrics=full: more
                           metrics
  page       10000, 30 s   CPU and duration of one request to the page and one to the API, in sequence
  intent      1000, 60 s   one manifest a second is written: the time until its target gets the first request
  changes     1000         that many targets fail at the same moment: the time until readers of Consul see it, and the
                           number of requests; published to the KV store, then to the agent's checks;
                           --set publish=[kv,agent]: both
  quiet       1000, 60 s   nothing changes: the requests to Consul, and whether anything but renewals is written
  overload   20000, 120 s  more checks than a share of one core can run (--quota, --busy)
  workers     1000         time and descriptors for starting and stopping workers in the engine alone
  fleet      20000, 60 s   every 10 s, shared by the members of a fleet (--members): CPU and memory of each
  fleet-intent 20000, 60 s a manifest a second for one of 1,000 nodes, three members: the time until its first request
  fleet-size 100000, 30 s  one member of ten: hashing, reads, requests, CPU and memory of its share. The others are only
                           registered; their health keys are in Consul
  fleet-page 100000, 60 s  the same member, whose page shows the whole fleet to ten people; and `podpulse fleet`: time,
                           CPU, memory, requests to Consul and their bytes, and whether probes are late meanwhile
  endurance   2000, 900 s  probes every second, 15 changed manifests a second, 3 faults a minute: does anything grow?
"""
EXAMPLES = """\
examples:
  tests/bench/run                                     2,000 HTTP checks every 5 s, all peers
  tests/bench/run --scheme https --json > https.json  the same over TLS, for a program to read
  tests/bench/run --scheme https --reuse --peers none one connection for each target
  tests/bench/run --scheme grpcs --peers consul       the same over gRPC with TLS
  tests/bench/run --checks 10000 --seconds 60 --peers none
  tests/bench/run --scenario intent --checks 10000
  tests/bench/run --checks 100 --interval 1 --seconds 5 --set max_in_flight=64

Close other programs first, because figures from a busy machine are not reliable. Programs that are not on PATH are
unpacked from the Debian archive into .cache, without root. nginx is required. A peer that is not available is named in
the table and the JSON.

exit code: 0 when the scenario was run, 1 when it could not be run, 2 for wrong use, 3 with --enforce when a figure is
above its limit
"""


def main(arguments: Sequence[str]) -> int:
    """Runs one scenario and returns the exit code."""
    options = parser().parse_args(arguments)
    if options.list:
        print(*SCENARIOS, sep="\n")
        return DONE
    scenario, say = SCENARIOS[options.scenario], Progress()
    if options.scheme in GRPC and options.scenario != "steady":
        say(f"--scheme {options.scheme}: only the scenario steady has such targets")
        return WRONG_USE
    work = _work(options, scenario)
    if work.checks > MOST_CHECKS and options.scenario not in SHARING:
        say(f"--checks: expected at most {MOST_CHECKS} in the scenario {options.scenario}, got {work.checks}")
        return WRONG_USE
    raise_descriptor_limit()
    try:
        report = scenario.run(work, say)
    except (programs.Missing, CannotListen, DidNotStart, TooSlow) as error:
        say(f"stopped: {error}")
        return NOT_RUN
    report.write(as_json=options.json)
    if options.enforce and report.exceeded:
        say(f"above the limit: {', '.join(report.exceeded)}")
        return EXCEEDED
    return DONE


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("tests/bench/run", description=HELP, epilog=EXAMPLES, formatter_class=_Wide)
    parser.add_argument("--scenario", choices=SCENARIOS, default="steady", metavar="NAME", help="the scenario [steady]")
    parser.add_argument(
        "--checks",
        type=_checks,
        metavar="N",
        help="the number of checks, at most 16000; 100000 in overload and the scenarios of a fleet",
    )
    parser.add_argument("--interval", type=_positive, metavar="S", help="seconds between probes [5]")
    parser.add_argument("--seconds", type=_positive, metavar="S", help="the duration of the measurement")
    parser.add_argument("--scheme", choices=SCHEMES, default="http", help="what is probed: http, https, or in the "
                        "scenario steady grpc or grpcs, without blackbox_exporter [http]")  # fmt: skip
    parser.add_argument("--reuse", action="store_true", help="podpulse keeps connections (connection: reuse)")
    parser.add_argument(
        "--bundle", type=Path, metavar="FILE", help="the probers also trust these certificates (steady)"
    )
    parser.add_argument(
        "--peers", type=_peers, default=tuple(NAMES), metavar="LIST", help="consul,blackbox or none [both]"
    )
    parser.add_argument("--set", type=_setting, action="append", default=[], metavar="FIELD=VALUE", help="a field of "
                        "podpulse's configuration, such as max_in_flight=64; can be repeated")  # fmt: skip
    parser.add_argument(
        "--busy", type=int, default=0, metavar="N", help="busy loops that compete for the CPU (overload) [0]"
    )
    parser.add_argument("--members", type=_members, default=4, metavar="N", help="members of the fleet (fleet) [4]")
    parser.add_argument(
        "--quota", type=_positive, default=1.0, metavar="SHARE", help="podpulse's share of a core (overload) [1]"
    )
    parser.add_argument("--enforce", action="store_true", help="exit with 3 when a figure is above its limit")
    parser.add_argument("--list", action="store_true", help="print the names of the scenarios, and measure nothing")
    parser.add_argument(
        "--json", action="store_true", help="print JSON to standard output and the table to standard error"
    )
    return parser


class _Wide(argparse.RawDescriptionHelpFormatter):
    """As wide as the texts above, whatever the terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=24, width=120)


def _work(options: argparse.Namespace, scenario: Scenario) -> Work:
    return Work(
        checks=options.checks or scenario.checks,
        interval=options.interval or scenario.interval,
        seconds=options.seconds or scenario.seconds,
        scheme=options.scheme,
        peers=options.peers,
        options=dict(options.set) | ({"defaults.connection": "reuse"} if options.reuse else {}),
        busy=options.busy,
        quota=options.quota,
        members=options.members,
        bundle=options.bundle,
    )


def _checks(text: str) -> int:
    if text.isascii() and text.isdigit() and 2 <= int(text) <= MOST_SHARING:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a number from 2 to {MOST_SHARING}, got {text!r}")


def _members(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 20:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a number from 1 to 20, got {text!r}")


def _positive(text: str) -> float:
    try:
        if (value := float(text)) > 0:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text!r}")


def _peers(text: str) -> tuple[str, ...]:
    names = () if text in {"", "none"} else tuple(text.split(","))
    if unknown := set(names) - NAMES.keys():
        raise argparse.ArgumentTypeError(f"expected consul, blackbox or none, got {', '.join(sorted(unknown))!r}")
    return names


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected FIELD=VALUE, got {text!r}")
    return name, yaml.safe_load(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
