"""A probe engine that a test can delay, as a process: `python -m tests.support.stopping CA INTERVAL TIMEOUT URL...`.

Prints one JSON line for each result: pod, outcome, reason, detail, and when the probe began and ended.
Each line on standard input is a number of seconds for which it holds the interpreter, as a long call into C would do.
It ends at the end of standard input.
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
            now = time.monotonic()
            said = result.key.pod, result.outcome, result.reason, result.detail, now - result.duration, now
            print(json.dumps(said), flush=True)


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
