"""Local health <-> published health."""

from collections.abc import Collection, Mapping

from reconcilers.ports import Healths, HealthSink, Result
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey


class HealthReconciler:
    """Writes what is news, withdraws what has no worker any more, and leaves alone what is there already.

    A check without verdict yet says nothing: what stands published for its pod stays until there is evidence.
    """

    def __init__(self, healths: Healths, sink: HealthSink) -> None:
        self._healths = healths
        self._sink = sink

    def reconcile(self, keys: Collection[PodKey]) -> Mapping[PodKey, Result]:
        """See `Reconciler`."""
        put: list[HealthRecord] = []
        delete: list[PodKey] = []
        for key in keys:
            match self._healths.health(key), self._sink.published(key):
                case None, None:
                    pass
                case None, _:
                    delete.append(key)
                case (health, last_probe), published if health.since:
                    record = HealthRecord.of(key, health, last_probe)
                    if record != published:
                        put.append(record)
        if not put and not delete:
            return {}
        return {key: Result(error=error) for key, error in self._sink.write(put, delete).items()}
