"""Reconciles local health with the published health in one of the places where it is published."""

from collections.abc import Collection, Mapping

from reconcilers.ports import Desired, Desires, HealthSink, Result
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey

UNPROVEN = 1.0
"""Seconds until a record that was not written for lack of evidence is reconciled again."""


class HealthReconciler:
    """Writes changed records, and deletes records of pods without a worker.

    While a check has no verdict, the previously published health is kept. A pod that flaps is reconciled again at the
    end of its quiet time. A pod whose state is not proven is reconciled again until it is.
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
                    if proven or self._is_still_published(record):
                        put.append(record)
                    else:
                        results[key] = Result(requeue_after=UNPROVEN)
        if put or delete:
            results |= {key: Result(error=error) for key, error in self._sink.write(put, delete).items()}
        return results

    def _is_still_published(self, record: HealthRecord) -> bool:
        """Whether readers have had this status without a break, although the record must be written again."""
        unbroken = self._sink.published_without_break(record.key)
        return unbroken is not None and unbroken.status is record.status
