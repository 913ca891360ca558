"""Health in several places at once: each has what it has, and fails alone."""

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from controller.sink.kv import Unsettled
from reconcilers.health import HealthState
from reconcilers.ports import HealthSink
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey


class ConsulSink(HealthSink, Protocol):
    """A sink that an earlier run may have left something in."""

    def standing(self, key: PodKey) -> HealthRecord | None: ...

    def leftovers(self, node: str) -> Collection[PodKey]: ...

    def cancel(self) -> None: ...


class CombinedSink:
    """Implements `HealthSink` over several, by the names that they have in messages."""

    def __init__(self, sinks: Mapping[str, ConsulSink]) -> None:
        self._sinks = dict(sinks)

    def published(self, key: PodKey) -> HealthRecord | None:
        """What stands in all of them; `Unsettled` where they differ, so that nobody rests on it."""
        found = [sink.published(key) for sink in self._sinks.values()]
        if all(record == found[0] for record in found):
            return found[0]
        return Unsettled.of_record(next(record for record in found if record))

    def standing(self, key: PodKey) -> HealthRecord | None:
        """What stands since an earlier run: passing only if all say so, else as the first one has it."""
        first, *others = (sink.standing(key) for sink in self._sinks.values())
        if first is None or first.status is not HealthState.PASSING:
            return first
        return first if all(other and other.status is HealthState.PASSING for other in others) else None

    def write(self, put: Collection[HealthRecord], delete: Collection[PodKey]) -> Mapping[PodKey, str]:
        """See `HealthSink`. All write at the same time, each only what it lacks; the answer comes with the last."""
        with ThreadPoolExecutor(len(self._sinks), "publish") as pool:
            writing = {name: pool.submit(_write, sink, put, delete) for name, sink in self._sinks.items()}
        failed: dict[PodKey, list[str]] = {}
        for name, future in writing.items():
            for key, why in future.result().items():
                failed.setdefault(key, []).append(f"{name}: {why}")
        return {key: "; ".join(reasons) for key, reasons in failed.items()}

    def leftovers(self, node: str) -> Collection[PodKey]:
        """What stands in any of them for `node`.

        Raises:
            ConsulError: one of them does not say.
        """
        return frozenset().union(*(sink.leftovers(node) for sink in self._sinks.values()))

    def cancel(self) -> None:
        """End the requests in flight, and let no other through."""
        for sink in self._sinks.values():
            sink.cancel()


def _write(sink: ConsulSink, put: Collection[HealthRecord], delete: Collection[PodKey]) -> Mapping[PodKey, str]:
    lacking = [record for record in put if sink.published(record.key) != record]
    left = [key for key in delete if sink.published(key) is not None]
    return sink.write(lacking, left) if lacking or left else {}
