"""Local health <-> published health, in one of the places where it is published."""

from collections.abc import Collection, Mapping

from reconcilers.ports import Desired, Desires, HealthSink, Result
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey


class HealthReconciler:
    """Writes what is news, withdraws what has no worker any more, and leaves alone what is there already.

    A check without verdict yet says nothing: what stands published for its pod stays until there is evidence. A pod
    that flaps is looked at again when its quiet time is over.
    """

    def __init__(self, desires: Desires, sink: HealthSink) -> None:
        self._desires = desires
        self._sink = sink

    def reconcile(self, keys: Collection[PodKey]) -> Mapping[PodKey, Result]:
        """See `Reconciler`."""
        put: list[HealthRecord] = []
        delete: list[PodKey] = []
        results: dict[PodKey, Result] = {}
        for key in keys:
            match self._desires.desired(key), self._sink.published(key):
                case None, published:
                    if published is not None:
                        delete.append(key)
                case Desired(record, quiet), published if record:
                    if quiet:
                        results[key] = Result(requeue_after=quiet)
                    if record != published:
                        put.append(record)
        if put or delete:
            results |= {key: Result(error=error) for key, error in self._sink.write(put, delete).items()}
        return results
