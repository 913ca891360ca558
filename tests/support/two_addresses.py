"""Probes names with two addresses, as a process: `python -m tests.support.two_addresses FREE ADDRESS PORT...`.

Each PORT is one check of ADDRESS and, after it, of `::1`. FREE is how many descriptors are free during the probes, a
number or "all". Prints one JSON line per check: outcome, reason and detail of its first result.
"""

import json
import os
import resource
import sys
import time

from controller.probes.engine import ProbeEngine
from controller.probes.resolver import Answer
from controller.runtime.heartbeat import Heartbeat
from reconcilers.spec import CheckSpec, HttpGet, PodKey
from tests.support.recorders import RecordedProbes, RecordedResults
from tests.support.starved import take_all

MANY = 64


def main(free: str, address: str, *ports: str) -> None:
    results = RecordedResults()
    heartbeat = Heartbeat("probe", 5, time.monotonic)
    engine = ProbeEngine(
        results,
        RecordedProbes(),
        heartbeat,
        ca_file="",
        max_in_flight=MANY,
        ask=lambda _: Answer((address, "::1")),
    )
    engine.run()
    if free != "all":
        resource.setrlimit(resource.RLIMIT_NOFILE, (MANY, MANY))
        for fd in take_all()[: int(free)]:
            os.close(fd)
    for port in ports:
        check = CheckSpec(PodKey("web1", f"pod-{port}"), HttpGet("web1", int(port), "/"), interval=60.0, timeout=1.0)
        engine.start([check])
        result = results.first(check.key)
        engine.stop([check.key])
        print(json.dumps([result.outcome, result.reason, result.detail]))
    engine.close(10)


if __name__ == "__main__":
    main(*sys.argv[1:])
