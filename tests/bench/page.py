"""What the page and the API cost.

They are requested repeatedly while probes run, and the CPU time is counted. The CPU time without requests is measured
before, for as many seconds, and subtracted.
"""

import time
from collections.abc import Mapping

from tests.bench import podpulse, process
from tests.bench.measure import Say, Work, quantile, wait_until_ready
from tests.bench.podpulse import Podpulse
from tests.bench.report import Reach, Report, reached
from tests.bench.targets import Targets

PATHS: Mapping[str, str] = {"the page": "/?sort=-since", "the API": "/api/v1/pods"}
MOST = 300
"""Milliseconds that a person may wait for the server."""


def run(work: Work, say: Say) -> Report:
    """Measures without requests, then with requests for the page, and then for the API, one request after the other."""
    each = work.seconds / (1 + len(PATHS))
    reaches = []
    with Targets(work.checks, work.scheme) as targets, podpulse.running(targets, work.interval, work.options) as prober:
        prober.write(targets.ports)
        wait_until_ready(prober, targets, work)
        say(f"{work.checks} checks run; {each:.0f} s without a request")
        before = process.cpu_seconds(prober.pid)
        time.sleep(each)
        idle = (process.cpu_seconds(prober.pid) - before) / each
        for name, path in PATHS.items():
            say(f"{each:.0f} s of {path}")
            reaches += _asked(prober, name, path, each, idle)
    return reached(f"the page with {work.checks} {work.scheme} checks", work.as_json("page"), reaches)


def _asked(prober: Podpulse, name: str, path: str, seconds: float, idle: float) -> list[Reach]:
    """`idle` is the CPU time of the process without requests, in seconds per second."""
    took, before, began = list[float](), process.cpu_seconds(prober.pid), time.monotonic()
    while (now := time.monotonic()) < began + seconds or not took:
        prober.ask(path)
        took.append(time.monotonic() - now)
    spent = process.cpu_seconds(prober.pid) - before - idle * (time.monotonic() - began)
    return [
        Reach(f"{name}: CPU, on top of what runs anyway", spent / len(took) * 1000, "ms"),
        Reach(f"{name}: p50", quantile(took, 0.5) * 1000, "ms", MOST),
        Reach(f"{name}: longest", max(took) * 1000, "ms"),
    ]
