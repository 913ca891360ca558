"""The scenario `changes`: very many checks fail at the same moment. How soon can readers of Consul see it?

The targets hold their answers until a given number of probes wait, and then send all of them at once, as if a service
that all of them need had failed. Health is published to Consul's KV store and to the agent's checks, each by its own
controller.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bench import podpulse
from tests.bench.measure import POLL, Say, TooSlow, Work, quantile, wait_until_ready
from tests.bench.places import PLACES, IndexClock
from tests.bench.podpulse import Podpulse, pod
from tests.bench.report import Reach, Report, reached
from tests.bench.targets import Targets

ROUNDS = 3
SPARE = 0.1
"""The share of additional pods. With them, enough ports have asked before the first held probe times out."""
WITHIN = {"kv": 1.0, "agent": 3.0}
"""Seconds within which 1,000 changes are to be in Consul."""
CHANGES_PER_REQUEST = 50
"""The least number of changes for each write to the KV store, if there are very many changes."""
WAIT = 60.0


class Switch(AbstractContextManager["Switch"]):
    """Makes many targets fail at the same moment; see switch.py."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="podpulse-bench-")
        Path(self._folder.name).chmod(0o711)
        self.socket = Path(self._folder.name) / "switch"
        command: list[str | Path] = [sys.executable, Path(__file__).with_name("switch.py"), self.socket]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def fail(self, count: int) -> None:
        """Makes `count` ports fail at the same moment. Returns after that, when each of these ports has been asked."""
        self._say(f"hold {count}")

    def pass_again(self) -> None:
        self._say("pass")

    def _say(self, words: str) -> None:
        assert self._process.stdin
        assert self._process.stdout
        print(words, file=self._process.stdin)
        self._process.stdout.readline()


@dataclass(frozen=True, slots=True)
class Round:
    """For each place: the seconds from a target's answer to its record in Consul (`lags`), and from the first answer to
    the last record (`took`). Also the requests that were made meanwhile (`asked`), and how many transactions Consul
    applied."""

    lags: Mapping[str, Sequence[float]]
    took: Mapping[str, float]
    asked: Mapping[str, float]
    transactions: float


def run(work: Work, say: Say) -> Report:
    """Measures each place alone, or the places of the option `publish` together."""
    chosen = work.options.get("publish")
    reaches: list[Reach] = []
    notes: list[str] = []
    for places in [chosen] if chosen else [["kv"], ["agent"]]:
        say(f"publishing to {' and '.join(places)}")
        rounds = _measured(replace(work, options={**work.options, "publish": places}), places, say)
        for place in places:
            reaches += _reaches(place, rounds, work)
        notes.append(f"{' and '.join(places)}, requests in the last round: {_listed(rounds[-1].asked)}")
    title = (
        f"{work.checks} of {work.checks + _spare(work)} {work.scheme} checks fail at once, the worst of {ROUNDS} times"
    )
    return reached(title, work.as_json("changes"), reaches, notes)


def _spare(work: Work) -> int:
    return max(2, round(SPARE * work.checks))


def _measured(work: Work, places: Collection[str], say: Say) -> list[Round]:
    with (
        Switch() as switch,
        Targets(work.checks + _spare(work), work.scheme, upstream=switch.socket) as targets,
        podpulse.running(targets, work.interval, work.options) as prober,
    ):
        prober.write(targets.ports)
        wait_until_ready(prober, targets, work)
        return [_round(switch, targets, prober, places, work, say) for _ in range(ROUNDS)]


def _round(switch: Switch, targets: Targets, prober: Podpulse, places: Collection[str], work: Work, say: Say) -> Round:
    switch.pass_again()
    _await(lambda: all(_count(prober, place, "passing") == len(targets.ports) for place in places), "pass")
    targets.log.forget()
    asked, transactions = prober.asked(), prober.applied("txn")
    with ExitStack() as stack:
        clocks = {place: stack.enter_context(IndexClock(prober.consul, PLACES[place])) for place in places}
        switch.fail(work.checks)
        say(f"{work.checks} targets fail")
        _await(lambda: all(_count(prober, place, "critical") == work.checks for place in places), "are critical")
    asked = {name: count - asked.get(name, 0) for name, count in prober.asked().items()}
    transactions = prober.applied("txn") - transactions
    targets.log.settle()
    answered: dict[str, float] = {}
    for hit in targets.log.hits():
        if hit.status == 503:
            answered.setdefault(pod(hit.port), hit.answered)
    there = {place: _there(prober, place, clock, answered) for place, clock in clocks.items()}
    return Round(
        {place: [at - answered[name] for name, at in times.items()] for place, times in there.items()},
        {place: max(times.values()) - min(answered.values()) for place, times in there.items()},
        asked,
        transactions,
    )


def _there(prober: Podpulse, place: str, clock: IndexClock, pods: Collection[str]) -> Mapping[str, float]:
    """Returns when readers could see the state of each of these pods."""
    published = PLACES[place].read(prober.consul)
    return {name: clock.when(published[name].index) for name in pods}


def _count(prober: Podpulse, place: str, status: str) -> int:
    return sum(each.status == status for each in PLACES[place].read(prober.consul).values())


def _await(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > deadline:
            raise TooSlow(f"after {WAIT:g} s not all checks {what} in Consul")
        time.sleep(POLL)


def _reaches(place: str, rounds: Sequence[Round], work: Work) -> list[Reach]:
    lags = [lag for each in rounds for lag in each.lags[place]]
    limit = WITHIN[place] * max(1.0, work.checks / 1_000)
    reaches = [
        Reach(f"{place}: from a target's answer to Consul, p50", quantile(lags, 0.5), "s"),
        Reach(f"{place}: from a target's answer to Consul, p99", quantile(lags, 0.99), "s"),
        Reach(f"{place}: from a target's answer to Consul, longest", max(lags), "s"),
        Reach(
            f"{place}: from the first answer to the last in Consul",
            max(each.took[place] for each in rounds),
            "s",
            limit,
        ),
    ]
    if place == "kv":
        most = max(20, work.checks / CHANGES_PER_REQUEST)
        ours = max(each.asked.get("transaction", 0) for each in rounds)
        reaches += [
            Reach("kv: writes, by podpulse's count", ours, "requests", most),
            Reach("kv: writes, by Consul's count", max(each.transactions for each in rounds), "requests", most),
        ]
    return reaches


def _listed(asked: Mapping[str, float]) -> str:
    return ", ".join(f"{count:.0f} {name}" for name, count in sorted(asked.items()) if count)
