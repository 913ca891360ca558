"""A probe engine with almost no descriptors, as a separate process: `python -m tests.support.starved CA URL...`.

Prints one JSON line per pod: outcome, reason and detail of the first result while no descriptor is left, and of one
after they were closed.
"""

import json
import os
import resource
import sys
import time
from urllib.parse import urlsplit

from controller.probes.engine import ProbeEngine
from controller.runtime.heartbeat import Heartbeat
from reconcilers.health import ProbeResult
from reconcilers.spec import CheckSpec, HttpGet, PodKey, Tls
from tests.support.net import until
from tests.support.recorders import RecordedProbes, RecordedResults


def main(ca_file: str, *urls: str) -> None:
    results = RecordedResults()
    heartbeat = Heartbeat("probe", 5, time.monotonic)
    engine = ProbeEngine(results, RecordedProbes(), heartbeat, ca_file=ca_file, max_in_flight=64)
    engine.run()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    taken = take_all()
    engine.start([_spec(number, url) for number, url in enumerate(urls)])
    keys = [_spec(number, url).key for number, url in enumerate(urls)]
    starved = [results.first(key) for key in keys]
    for fd in taken:
        os.close(fd)
    fed = [
        _first_other(results, key) for key, url in zip(keys, urls, strict=True) if "localhost" in url or "127." in url
    ]
    engine.close(10)
    for result in (*starved, *fed):
        print(json.dumps([result.outcome, result.reason, result.detail]))


def take_all() -> list[int]:
    """Open descriptors until none is left."""
    taken = []
    while True:
        try:
            taken.append(os.dup(0))
        except OSError:
            return taken


def _first_other(results: RecordedResults, key: PodKey) -> ProbeResult:
    """The first success, or the last result when there is none."""
    until(lambda: any(not result.reason for result in results.all(key)) or len(results.all(key)) > 30)
    return next((result for result in results.all(key) if not result.reason), results.all(key)[-1])


def _spec(number: int, url: str) -> CheckSpec:
    parts = urlsplit(url)
    tls = Tls() if parts.scheme == "https" else None
    probe = HttpGet(parts.hostname or "", parts.port or 0, parts.path, tls)
    return CheckSpec(PodKey("web1", f"pod-{number}"), probe, interval=0.2, timeout=0.2)


if __name__ == "__main__":
    main(*sys.argv[1:])
