"""Fakes for the Protocols of `reconcilers/ports.py`: dictionaries that keep what they get."""

from collections.abc import Collection, Iterable, Mapping

from reconcilers.health import CheckHealth
from reconcilers.ports import Desired
from reconcilers.record import HealthRecord
from reconcilers.spec import CheckSpec, HttpGet, Manifest, PodKey, Tls


def check(key: PodKey, port: int = 8000, host: str | None = None, address: str | None = None) -> CheckSpec:
    """A check of `key`. It is on the node of `key` unless `host` names another one."""
    probe = HttpGet(host or key.node, port, "/_status", Tls())
    return CheckSpec(key, probe, interval=5.0, timeout=5.0, address=address)


class FakeManifests(dict[PodKey, Manifest]):
    def manifest(self, key: PodKey) -> Manifest | None:
        return self.get(key)

    def ask(self, spec: CheckSpec) -> None:
        """Adds a manifest that asks for `spec`."""
        self[spec.key] = Manifest(spec.key, spec)


class FakeAddresses(dict[str, str | None]):
    """A node that is not in here has no known address yet. While it is `silent`, no node has one, and no reason is
    given."""

    silent = False

    def address(self, node: str) -> str | None:
        if self.silent:
            raise LookupError
        if node not in self:
            raise LookupError("the catalog has not named it")
        return self[node]


class FakeWorkers:
    """Keeps all calls in order. `specs` are the running checks."""

    def __init__(self, *specs: CheckSpec) -> None:
        self.specs = {spec.key: spec for spec in specs}
        self.calls: list[tuple[str, list[PodKey]]] = []

    def running(self, keys: Iterable[PodKey]) -> Mapping[PodKey, CheckSpec]:
        return {key: self.specs[key] for key in keys if key in self.specs}

    def stop(self, keys: Collection[PodKey]) -> None:
        self.calls.append(("stop", list(keys)))
        for key in keys:
            del self.specs[key]

    def start(self, specs: Collection[CheckSpec]) -> None:
        self.calls.append(("start", [spec.key for spec in specs]))
        for spec in specs:
            assert spec.key not in self.specs, "a worker was started while another one of the pod runs"
            self.specs[spec.key] = spec

    def update(self, specs: Collection[CheckSpec]) -> None:
        self.calls.append(("update", [spec.key for spec in specs]))
        for spec in specs:
            assert self.specs[spec.key] == spec, "a worker was updated to another check"
            self.specs[spec.key] = spec


class FakeHealths:
    """`known` is the health and the last probe of each pod. The probe proves the health unless the pod is in
    `unproven`. `forgotten` are the pods of the calls of `forget`, in order."""

    def __init__(self) -> None:
        self.known: dict[PodKey, tuple[CheckHealth, float]] = {}
        self.forgotten: list[PodKey] = []
        self.unproven: set[PodKey] = set()

    def is_proven(self, key: PodKey) -> bool:
        return key not in self.unproven

    def health(self, key: PodKey) -> tuple[CheckHealth, float] | None:
        return self.known.get(key)

    def forget(self, keys: Collection[PodKey]) -> None:
        self.forgotten.extend(keys)


class FakeDesires(dict[PodKey, Desired]):
    """A pod that is not in here has no worker."""

    def desired(self, key: PodKey) -> Desired | None:
        return self.get(key)

    def forget(self, keys: Collection[PodKey]) -> None:
        for key in keys:
            self.pop(key, None)


class FakeSink:
    """Keeps the written records, except for those of the pods in `broken`. Keeps the writes and the disowned pods
    too."""

    def __init__(self, *records: HealthRecord) -> None:
        self.records = {record.key: record for record in records}
        self.broken: dict[PodKey, str] = {}
        self.writes: list[tuple[list[PodKey], list[PodKey]]] = []
        self.disowned: list[PodKey] = []

    def published(self, key: PodKey) -> HealthRecord | None:
        return self.records.get(key)

    def published_without_break(self, key: PodKey) -> HealthRecord | None:
        return self.records.get(key)

    def disown(self, keys: Collection[PodKey]) -> None:
        self.disowned += sorted(keys)

    def write(self, put: Collection[HealthRecord], delete: Collection[PodKey]) -> Mapping[PodKey, str]:
        self.writes.append(([record.key for record in put], list(delete)))
        self.records.update({record.key: record for record in put if record.key not in self.broken})
        for key in delete:
            if key not in self.broken:
                del self.records[key]
        touched = {record.key for record in put} | set(delete)
        return {key: error for key, error in self.broken.items() if key in touched}
