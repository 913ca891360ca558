"""All places where health is published, seen as one: what every reader has been told, whichever he asks.

Nothing is written here. Each place has a work queue and a control loop of its own, so that one that is slow, hangs or
refuses holds up no other.
"""

from collections.abc import Mapping

from reconcilers.health import HealthState
from reconcilers.ports import HealthSink
from reconcilers.record import HealthRecord, Unsettled
from reconcilers.spec import PodKey


class Places:
    """By the names of the places: `kv`, `agent`, `folder`. At least one."""

    def __init__(self, sinks: Mapping[str, HealthSink]) -> None:
        self._sinks = tuple(sinks.values())

    def published(self, key: PodKey) -> HealthRecord | None:
        """What stands in all of them; `Unsettled` where they differ, because one of them is still to be written."""
        found = [sink.published(key) for sink in self._sinks]
        if all(record == found[0] for record in found):
            return found[0]
        return Unsettled.of_record(next(record for record in found if record))

    def published_without_break(self, key: PodKey) -> HealthRecord | None:
        """What stands since an earlier run: passing only if all say so, else as the first one has it."""
        first, *others = (sink.published_without_break(key) for sink in self._sinks)
        if first is None or first.status is not HealthState.PASSING:
            return first
        return first if all(other and other.status is HealthState.PASSING for other in others) else None
