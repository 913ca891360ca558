"""Local health <-> published health, in one of the places where it is published."""

from collections.abc import Collection, Mapping

from reconcilers.ports import Desired, Desires, HealthSink, Result
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey

UNPROVEN = 1.0
"""Seconds after which a record that could not be written for want of evidence is looked at again."""


class HealthReconciler:
    """Writes what is news, withdraws what has no worker any more, and leaves alone what is there already.

    A check without verdict yet says nothing: what stands published for its pod stays until there is evidence. A pod
    that flaps is looked at again when its quiet time is over, and one whose verdict is not proven until it is.
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
                case Desired(record, quiet, proven), published if record:
                    if quiet:
                        results[key] = Result(requeue_after=quiet)
                    if not record.is_news_after(published):
                        continue
                    if proven or self._stands(record):
                        put.append(record)
                    else:
                        results[key] = Result(requeue_after=UNPROVEN)
        if put or delete:
            results |= {key: Result(error=error) for key, error in self._sink.write(put, delete).items()}
        return results

    def _stands(self, record: HealthRecord) -> bool:
        """Whether readers have been told as much all the time, though it is to be written once more."""
        standing = self._sink.standing(record.key)
        return standing is not None and standing.status is record.status
