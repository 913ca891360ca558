"""Situations in which prober engines usually break down: targets that hang, scrapes, a mass start, one intent.

Each scenario creates its situation with the real process, and shows the figures with the promised limits. Peers are not
measured here.
"""

import random
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import pairwise

from tests.bench import podpulse, process
from tests.bench.hits import by_port
from tests.bench.measure import Say, Work, measure, quantile, sampled, wait_until_ready
from tests.bench.podpulse import Podpulse
from tests.bench.report import Reach, Report, reached
from tests.bench.targets import Targets

RUNNING = 100
"""Pods that run already when the others of a mass start appear."""
SAMPLE_EVERY = 0.25


def hang(work: Work, say: Say) -> Report:
    """Half of the targets accept connections and never answer. The probes of the other half must not be affected."""
    silent = work.checks // 2
    with Targets(work.checks - silent, work.scheme, silent) as targets:
        say(f"{len(targets.ports)} targets that answer, {silent} that do not")
        with podpulse.running(targets, work.interval, work.options) as prober:
            prober.write([*targets.ports, *targets.silent_ports])
            with sampled(lambda: process.descriptors(prober.pid), SAMPLE_EVERY) as descriptors:
                figures = measure(prober, targets, work, say, prober.scraped())
            state = prober.last()
            wrong = {podpulse.pod(port) for port in targets.ports} - state.pods("probe_success")
            timeouts = state.pods("podpulse_probe_failure_reason", 'reason="timeout"')
            reaches = [
                Reach("the others: later than their interval, p99", figures.as_json()["lateness_p99_ms"], "ms", 100),
                Reach("all: late, by podpulse's own histogram, p99", prober.late_quantile(0.99) * 1000, "ms", 100),
                Reach("most descriptors at once", max(descriptors), "", prober.descriptors_bound),
                Reach("targets that answer and are not seen healthy", len(wrong), "", 0),
                Reach("targets that hang and are not seen as `timeout`", silent - len(timeouts), "", 0),
                Reach("CPU per 1,000 answered probes", figures.cpu_ms_per_1000_probes, "ms"),
            ]
    reasons = state.by_label("podpulse_probe_failure_reason", "reason")
    notes = [
        f"reasons at the end: {', '.join(f'{count} {reason}' for reason, count in reasons.items())}",
        prober.notes(),
    ]
    return reached(f"{work.checks} {work.scheme} checks, half of them hang", work.as_json("hang"), reaches, notes)


def scrape(work: Work, say: Say) -> Report:
    """Measures half of the time without scrapes, and half with a scrape each second: the cost of a scrape, its
    duration, and its effect on the probes."""
    half = replace(work, seconds=work.seconds / 2)
    reaches, cpu = list[Reach](), list[float]()
    with Targets(work.checks, work.scheme) as targets, _podpulse(targets, work) as prober:
        prober.write(targets.ports)
        for name, every in (("quiet", work.seconds), ("scraped", 1.0)):
            with prober.scraped(every) as spans:
                figures = measure(prober, targets, half, say)
            cpu.append(figures.cpu_seconds)
            reaches += [
                Reach(f"{name}: late, p99, by its own histogram", prober.late_quantile(0.99) * 1000, "ms"),
                Reach(f"{name}: later than 50 ms, by its own histogram", prober.late(0.05), "probes", _zero(name)),
                Reach(f"{name}: later than the interval, longest", max(figures.lateness) * 1000, "ms"),
            ]
        compressed, plain = prober.scrape_sizes()
    took = [ended - began for began, ended in spans]
    reaches += [
        Reach("one scrape, CPU, by the difference of both halves", (cpu[1] - cpu[0]) * 1000 / len(spans), "ms"),
        Reach("one scrape, compressed", compressed / 1000, "kB"),
        Reach("one scrape, as text", plain / 1000, "kB"),
    ]
    reaches.insert(0, Reach("one scrape, longest", max(took) * 1000, "ms", 300))
    reaches.insert(0, Reach("one scrape, p50", quantile(took, 0.5) * 1000, "ms"))
    return reached(f"/metrics with {work.checks} {work.scheme} checks", work.as_json("scrape"), reaches)


def _zero(name: str) -> float | None:
    return 0 if name == "scraped" else None


def mass_start(work: Work, say: Say) -> Report:
    """Many manifests appear at once. When is the last of them probed for the first time, and do the running checks go
    on?"""
    with Targets(RUNNING + work.checks, work.scheme) as targets, _podpulse(targets, work) as prober:
        running, new = targets.ports[:RUNNING], targets.ports[RUNNING:]
        prober.write(running)
        wait_until_ready(prober, targets, work, running)
        say(f"{RUNNING} pods run; writing {work.checks} more at once")
        began = time.time()
        time.sleep(work.interval)
        written = prober.write(new)
        say(f"{len(new)} manifests written within {time.time() - min(written.values()):.1f} s")
        time.sleep(work.interval + 1)
        listed = prober.scrape().sum("podpulse_watch_last_success_timestamp_seconds")
        time.sleep(max(0.0, work.seconds - work.interval - 1))
        wait_until_ready(prober, targets, work)
        targets.log.settle()
        times = by_port(targets.log.hits(began, time.time()))
    first = {port: times[port][0] for port in new}
    together = sorted(at for port in running for at in times[port])
    reaches = [
        Reach("last first probe, after the listing was read", max(first.values()) - listed, "s", work.interval),
        Reach("a first probe after its manifest was written, longest", _longest(first, written), "s"),
        Reach("running pods: longest silence of all", max(_gaps(together)), "s", 1),
        Reach("running pods: longest gap of one", max(max(_gaps(times[port])) for port in running), "s"),
    ]
    title = f"{work.checks} {work.scheme} manifests appear beside {RUNNING} running pods"
    return reached(title, work.as_json("mass-start"), reaches)


def intent(work: Work, say: Say) -> Report:
    """Writes one manifest after the other among many. How soon does its target get the first request?"""
    count = max(1, round(work.seconds))
    with Targets(work.checks + count, work.scheme) as targets, _podpulse(targets, work) as prober:
        before, later = targets.ports[: work.checks], targets.ports[work.checks :]
        prober.write(before)
        wait_until_ready(prober, targets, work, before)
        began = {}
        say(f"{work.checks} checks run; writing {count} more, one a second")
        for port in later:
            time.sleep(random.uniform(0.8, 1.2))
            began[port] = time.time()
            prober.write([port])
        wait_until_ready(prober, targets, work)
        first = {port: times[0] for port, times in by_port(targets.log.hits()).items()}
    took = [(first[port] - began[port]) * 1000 for port in later]
    reaches = [
        Reach("written to first request, p50", quantile(took, 0.5), "ms"),
        Reach("written to first request, p99", quantile(took, 0.99), "ms", 100 if work.checks <= 1_000 else 300),
        Reach("written to first request, longest", max(took), "ms"),
    ]
    title = f"one intent among {work.checks} {work.scheme} checks, {count} times"
    return reached(title, work.as_json("intent"), reaches)


def _podpulse(targets: Targets, work: Work) -> AbstractContextManager[Podpulse]:
    return podpulse.running(targets, work.interval, work.options)


def _longest(first: Mapping[int, float], written: Mapping[int, float]) -> float:
    return max(first[port] - at for port, at in written.items())


def _gaps(times: Sequence[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]
