"""All places where health is published, combined: the records that every place shows.

Nothing is written here. Each place has its own work queue and control loop, so that a place that is slow, hangs or
refuses does not delay any other.
"""

from collections.abc import Mapping

from reconcilers.health import HealthState
from reconcilers.ports import HealthSink
from reconcilers.record import HealthRecord, Unsettled
from reconcilers.spec import PodKey


class Places:
    """By the names of the places: `kv`, `agent`, `catalog`, `folder`; none if health is published nowhere."""

    def __init__(self, sinks: Mapping[str, HealthSink]) -> None:
        self._sinks = tuple(sinks.values())

    def published(self, key: PodKey) -> HealthRecord | None:
        """The record that all places have. `Unsettled` if they differ, because one of them is not written yet."""
        found = [sink.published(key) for sink in self._sinks]
        if not found:
            return None
        if all(record == found[0] for record in found):
            return found[0]
        return Unsettled.of_record(next(record for record in found if record))

    def published_without_break(self, key: PodKey) -> HealthRecord | None:
        """The first place's record, published without a break. None if it is passing, but not in all places."""
        if not self._sinks:
            return None
        first, *others = (sink.published_without_break(key) for sink in self._sinks)
        if first is None or first.status is not HealthState.PASSING:
            return first
        return first if all(other and other.status is HealthState.PASSING for other in others) else None
