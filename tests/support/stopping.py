"""A probe engine that is held up, a process of its own: `python -m tests.support.stopping CA INTERVAL TIMEOUT URL...`.

Prints one JSON line a result, as it comes: pod, outcome, reason and detail. For each line on standard input it holds
the interpreter for as many seconds as the line says, as a long call into C would do; it ends with standard input.
"""

import ctypes
import json
import sys
import time
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from controller.probes.engine import ProbeEngine
from controller.runtime.heartbeat import Heartbeat
from reconcilers.health import ProbeResult
from reconcilers.spec import CheckSpec, HttpGet, PodKey, Tls
from tests.support.recorders import RecordedProbes


class Printed:
    def follow(self, _: Iterable[tuple[CheckSpec, int]]) -> Mapping[PodKey, float]:
        return {}

    def observe(self, results: Iterable[ProbeResult]) -> None:
        for result in results:
            print(json.dumps([result.key.pod, result.outcome, result.reason, result.detail]), flush=True)


def main(ca_file: str, interval: str, timeout: str, *urls: str) -> None:
    heartbeat = Heartbeat("probe", 5, time.monotonic)
    engine = ProbeEngine(Printed(), RecordedProbes(), heartbeat, ca_file=ca_file, max_in_flight=64)
    engine.run()
    engine.start([_spec(number, url, float(interval), float(timeout)) for number, url in enumerate(urls)])
    for line in sys.stdin:
        _hold_the_interpreter(float(line))
    engine.close(10)


def _hold_the_interpreter(seconds: float) -> None:
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def _spec(number: int, url: str, interval: float, timeout: float) -> CheckSpec:
    parts = urlsplit(url)
    tls = Tls() if parts.scheme == "https" else None
    probe = HttpGet(parts.hostname or "", parts.port or 0, parts.path, tls)
    return CheckSpec(PodKey("web1", f"pod-{number}"), probe, interval, timeout, address="127.0.0.1")


if __name__ == "__main__":
    main(*sys.argv[1:])
