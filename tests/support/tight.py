"""A probe engine with a limit of descriptors, as a process: `python -m tests.support.tight LIMIT PORT CHECKS`.

Each check keeps its connection, to its own loopback address. Prints one JSON line: the number of results of each
outcome, how many transfers may be in flight, and how many sockets are open after all were probed.
"""

import json
import os
import resource
import sys
import time
from collections import Counter

from controller.probes.engine import ProbeEngine
from controller.runtime.descriptors import affordable
from controller.runtime.heartbeat import Heartbeat
from reconcilers.spec import CheckSpec, HttpGet, PodKey
from tests.faults.procfs import links
from tests.support.net import until
from tests.support.recorders import RecordedProbes, RecordedResults

WANTED = 40
ROUNDS = 3


def main(limit: str, port: str, checks: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(limit) // 2, int(limit)))
    results, heartbeat = RecordedResults(), Heartbeat("probe", 5, time.monotonic)
    in_flight = affordable(WANTED)
    engine = ProbeEngine(results, RecordedProbes(), heartbeat, ca_file="", max_in_flight=in_flight)
    engine.run()
    specs = [
        CheckSpec(
            PodKey("web1", f"pod-{number}"),
            HttpGet("web1", int(port), "/", reuse=True),
            1.0,
            20.0,
            address=f"127.0.1.{number + 1}",
        )
        for number in range(int(checks))
    ]
    engine.start(specs)
    until(lambda: all(len(results.all(spec.key)) >= ROUNDS for spec in specs), 60)
    standing = sum(link.startswith("socket:") for link in links(os.getpid()).values())
    outcomes = Counter(result.outcome.value for result in results.all())
    engine.close(10)
    print(json.dumps({"outcomes": outcomes, "in_flight": in_flight, "standing": standing}))


if __name__ == "__main__":
    main(*sys.argv[1:])
