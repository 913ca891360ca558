"""Makes checks of every kind, for tests of the results of probes."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from controller.health.store import HealthStore
from reconcilers.health import Outcome, ProbeResult, Reason
from reconcilers.spec import CheckSpec, GrpcHealth, HttpGet, PodKey, Probe, TcpConnect, Tls
from tests.support.probing import Bench, is_delayed
from tests.support.recorders import RecordedResults


def http(port: int, pod: str, *, host: str = "localhost", path: str = "", **options: Any) -> CheckSpec:
    """A check of `/POD`, or of `path`; `options` are those of `HttpGet` and of `CheckSpec`."""
    mine, general = _split(options)
    return check(pod, HttpGet(host, port, path or f"/{pod}", **mine), **general)


def https(port: int, pod: str, *, tls: Tls | None = None, **options: Any) -> CheckSpec:
    """The same over TLS, with the engine's own authorities if `tls` names no others."""
    return http(port, pod, tls=tls or Tls(), **options)


def tcp(port: int, pod: str, *, host: str = "localhost", **options: Any) -> CheckSpec:
    """A check that only connects, unless `options` say more; they are those of `TcpConnect` and of `CheckSpec`."""
    mine, general = _split(options)
    return check(pod, TcpConnect(host, port, **mine), **general)


def grpc(port: int, pod: str, *, host: str = "localhost", **options: Any) -> CheckSpec:
    """A check by gRPC's health service; `options` are those of `GrpcHealth` and of `CheckSpec`."""
    mine, general = _split(options)
    return check(pod, GrpcHealth(host, port, **mine), **general)


def check(pod: str, probe: Probe, *, interval: float = 2.0, timeout: float = 20.0, **general: Any) -> CheckSpec:
    """The timeout may be longer than the interval, so that probes are frequent and succeed on a busy machine too."""
    return CheckSpec(PodKey("web1", pod), probe, interval, timeout, **general)


def ending(bench: Bench, spec: CheckSpec, outcome: Outcome, reason: Reason) -> ProbeResult:
    """Returns the first result with this outcome and reason, of ten. A target that the machine stopped for longer than
    the timeout is probed again."""
    for _ in range(10):
        if ((found := bench.result(spec)).outcome, found.reason) == (outcome, reason):
            return found
    raise AssertionError(f"never {outcome} for the reason {reason}: {found}")


def probe_all(bench: Bench, specs: Collection[CheckSpec]) -> dict[str, ProbeResult]:
    """Returns the first result of each check, by pod; of a check that the machine delayed, the next one. All checks
    run at the same time. Of many checks, most begin within an interval."""
    bench.engine.start(specs)
    found = {spec.key.pod: bench.results.first(spec.key, within=20) for spec in specs}
    bench.engine.stop([spec.key for spec in specs])
    delayed = {spec.key.pod: bench.result(spec) for spec in specs if is_delayed(found[spec.key.pod])}
    return found | delayed


class JudgedResults(RecordedResults):
    """Keeps every result, and lets a real store judge them."""

    def __init__(self) -> None:
        super().__init__()
        self.store = HealthStore(self._changed)
        self.states: list[str] = []
        """The states that the checks went through, as `POD STATE`, oldest first."""

    def follow(self, specs: Iterable[tuple[CheckSpec, int]]) -> Mapping[PodKey, float | None]:
        every = list(specs)
        super().follow(every)
        return self.store.follow(every)

    def observe(self, results: Iterable[ProbeResult]) -> None:
        every = list(results)
        self.store.observe(every)
        super().observe(every)

    def _changed(self, keys: Collection[PodKey]) -> None:
        healths = ((key, self.store.health(key)) for key in keys)
        self.states += [f"{key.pod} {health[0].state}" for key, health in healths if health]


def _split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The probe's own options, and those that checks of every kind have."""
    general = {"interval", "timeout", "failure_threshold", "success_threshold", "initial_delay", "output", "address"}
    general |= {"warn_above", "warn_expiry"}
    mine = {name: value for name, value in options.items() if name not in general}
    return mine, {name: value for name, value in options.items() if name in general}
