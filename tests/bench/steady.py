"""The scenario `steady`: podpulse and its peers, one after the other, on the same targets."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tests.bench import peers, podpulse, programs
from tests.bench.measure import Figures, Say, Work, measure
from tests.bench.peers import NAMES, Prober
from tests.bench.report import Report, Table
from tests.bench.targets import Targets

SCRAPE_EVERY = 5.0

Peer = Callable[[Targets, float], AbstractContextManager[Prober]]
PEERS: Mapping[str, Peer] = {"consul": peers.consul, "blackbox": peers.blackbox}

HEAD = ("prober", "CPU ms / 1,000 probes", "ratio", "cores", "peak MB", "probes", "failed", "late p99 ms")


@dataclass(frozen=True, slots=True)
class Missing:
    """A peer that could not be measured, and why."""

    why: str

    def as_json(self) -> Mapping[str, Any]:
        return {"missing": self.why}


def run(work: Work, say: Say) -> Report:
    """Measure all of them, podpulse first."""
    notes: list[str] = []
    with Targets(work.checks, work.scheme, bundle=work.bundle) as targets:
        say(f"{work.checks} {work.scheme} targets on {targets.address}:{targets.ports[0]}-{targets.last_port}")
        results: dict[str, Figures | Missing] = {"podpulse": _podpulse(targets, work, say, notes)}
        for name in work.peers:
            results[NAMES[name]] = _peer(name, targets, work, say)
    notes += [_connections(name, each) for name, each in results.items() if isinstance(each, Figures)]
    return report(work, results, notes)


def _podpulse(targets: Targets, work: Work, say: Say, notes: list[str]) -> Figures:
    say("podpulse: starting it and its Consul, writing the manifests")
    with podpulse.running(targets, work.interval, work.options) as prober:
        prober.write(targets.ports)
        figures = measure(prober, targets, work, say, prober.scraped(SCRAPE_EVERY))
        notes.append(prober.notes())
        return figures


def _peer(name: str, targets: Targets, work: Work, say: Say) -> Figures | Missing:
    say(f"{NAMES[name]}: starting it")
    targets.log.forget()
    try:
        with PEERS[name](targets, work.interval) as prober:
            return measure(prober, targets, work, say)
    except programs.Missing as missing:
        say(f"{NAMES[name]}: NOT MEASURED: {missing}")
        return Missing(str(missing))


def _connections(name: str, figures: Figures) -> str:
    return (
        f"{name}: {figures.reused} probes on a connection used before, {figures.resumed} resumed a TLS session; "
        f"meanwhile {figures.idle_cores:.1f} of {os.cpu_count()} cores were idle"
    )


def report(work: Work, results: Mapping[str, Figures | Missing], notes: Sequence[str]) -> Report:
    """What is shown of figures; `results` holds those of `podpulse`, and of each peer figures or why there are none."""
    ours = results["podpulse"]
    assert isinstance(ours, Figures)
    ratio = {name: _ratio(each, ours) for name, each in results.items() if name != "podpulse"}
    document = {
        "work": work.as_json("steady") | {"expected_probes": round(work.checks * work.seconds / work.interval)},
        "results": {name: each.as_json() for name, each in results.items()},
        "ratio": ratio,
    }
    rows = [_row(name, each, ratio.get(name), work) for name, each in results.items()]
    title = f"{work.checks} {work.scheme} checks every {work.interval:g} s, for {work.seconds:g} s"
    return Report(document, [Table(title, HEAD, rows, notes)])


def _ratio(theirs: Figures | Missing, ours: Figures) -> float | None:
    if isinstance(theirs, Missing):
        return None
    return round(theirs.cpu_ms_per_1000_probes / ours.cpu_ms_per_1000_probes, 2)


def _row(name: str, result: Figures | Missing, ratio: float | None, work: Work) -> tuple[str, ...]:
    if isinstance(result, Missing):
        return (f"{name}: {result.why}", *["-"] * (len(HEAD) - 1))
    cpu, memory, probes, failed, late = result.as_json().values()
    cores = result.cpu_seconds / work.seconds
    shown = f"{ratio:.2f}" if ratio else "1"
    return (name, f"{cpu:.1f}", shown, f"{cores:.3f}", f"{memory:.1f}", f"{probes}", f"{failed}", f"{late:.1f}")
