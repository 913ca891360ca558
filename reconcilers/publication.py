"""Reconciles local health with the published health in one of the places where it is published."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from reconcilers.health import NO_COUNTS
from reconcilers.ports import Desires, HealthSink, Ownership, Result
from reconcilers.record import Elsewhere, HealthRecord
from reconcilers.spec import PodKey

UNPROVEN = 1.0
"""Seconds until a record that was not written for lack of evidence is reconciled again."""


class HealthReconciler:
    """Writes changed records, and deletes records of pods without a worker. Disowns the pods of another controller.

    While a check has no verdict, the previously published health is kept. If another controller has published it, it is
    written again unchanged, so that it does not end with that controller. A pod that flaps is reconciled again at the
    end of its quiet time. A pod whose state is not proven is reconciled again until it is.

    Only a sink that `keeps_counts` gets the counts of pods that may move to another controller.
    """

    def __init__(self, desires: Desires, sink: HealthSink, share: Ownership, *, keeps_counts: bool = False) -> None:
        self._desires = desires
        self._sink = sink
        self._share = share
        self._keeps_counts = keeps_counts

    def reconcile(self, keys: Collection[PodKey]) -> Mapping[PodKey, Result]:
        """See `Reconciler`."""
        put: list[HealthRecord] = []
        delete: list[PodKey] = []
        results: dict[PodKey, Result] = {}
        for key in self._ours(keys):
            desired, published = self._desires.desired(key), self._sink.published(key)
            if desired is None:
                if published is not None:
                    delete.append(key)
                continue
            record = _carried_on(desired.record, published)
            if record and record.counts != NO_COUNTS and not self._keeps_counts:
                record = replace(record, counts=NO_COUNTS)
            if desired.quiet:
                results[key] = Result(requeue_after=desired.quiet)
            if not (record and record.is_news_after(published)):
                continue
            if desired.proven or self._is_still_published(record):
                put.append(record)
            else:
                results[key] = Result(requeue_after=UNPROVEN)
        if put or delete:
            results |= {key: Result(error=error) for key, error in self._sink.write(put, delete).items()}
        return results

    def _ours(self, keys: Collection[PodKey]) -> Collection[PodKey]:
        """Returns the pods that this controller checks. The others are disowned."""
        ours = [key for key in keys if self._share.owns(key.node)]
        if len(ours) < len(keys):
            others = set(keys).difference(ours)
            self._sink.disown(others)
            self._desires.forget(others)
        return ours

    def _is_still_published(self, record: HealthRecord) -> bool:
        """Whether readers have had this status without a break, although the record must be written again."""
        unbroken = self._sink.published_without_break(record.key)
        return unbroken is not None and unbroken.status is record.status


def _carried_on(record: HealthRecord | None, published: HealthRecord | None) -> HealthRecord | None:
    """Returns the record to write. A record of another controller is written again unchanged until this controller has
    a verdict from a probe of its own, so that it does not end with that controller."""
    if not isinstance(published, Elsewhere):
        return record
    theirs = published.ours()
    return theirs if record is None or (record == theirs and not record.last_probe) else record
