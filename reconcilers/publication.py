"""Reconciles local health with the published health in one of the places where it is published."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from reconcilers.health import NO_COUNTS
from reconcilers.ports import Desired, Desires, HealthSink, Ownership, Result
from reconcilers.record import Elsewhere, HealthRecord, Unsettled
from reconcilers.spec import PodKey

UNPROVEN = 1.0
"""Seconds until a record that was not written for lack of evidence is reconciled again."""
NEXT_PROBE = 1.0
"""Seconds until a record is reconciled again that waits for the next probe."""


class HealthReconciler:
    """Writes changed records, and deletes records of pods without a worker. Disowns the pods of another controller.

    While a check has no verdict, the previously published health is kept. If another controller has published it, it is
    written again unchanged, so that it does not end with that controller. A record of a newer probe than ours stays
    until our next probe, and no longer, because clocks differ. A pod that flaps is reconciled again at the end of its
    quiet time. A pod whose state is not proven is reconciled again until it is.

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
            record, again = self._decide(desired, published)
            if record:
                put.append(record)
            if again:
                results[key] = Result(requeue_after=again)
        if put or delete:
            results |= {key: Result(error=error) for key, error in self._sink.write(put, delete).items()}
        return results

    def _decide(self, desired: Desired, published: HealthRecord | None) -> tuple[HealthRecord | None, float]:
        """Returns the record to write now, and after how many seconds the pod is reconciled again; 0 if it is not."""
        record = _carried_on(desired.record, published)
        if record and record.counts != NO_COUNTS and not self._keeps_counts:
            record = replace(record, counts=NO_COUNTS)
        if not (record and record.is_news_after(published)):
            return None, desired.quiet
        if _is_early(record, published):
            return None, NEXT_PROBE
        if not (desired.proven or self._is_still_published(record)):
            return None, UNPROVEN
        return record, desired.quiet if record.awaiting is None else NEXT_PROBE

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
    a verdict from a newer probe of its own, so that it does not end with that controller."""
    if not isinstance(published, Elsewhere):
        return record
    theirs = published.ours()
    if record is None or (record == theirs and not record.last_probe):
        return theirs
    return replace(theirs, awaiting=record.last_probe) if record.is_outdated_by(published) else record


def _is_early(record: HealthRecord, published: HealthRecord | None) -> bool:
    """Whether there was no probe of ours since a record of a newer probe was taken over."""
    if published is None or published.awaiting is None or isinstance(published, Unsettled):
        return False
    return record.last_probe == published.awaiting and record.is_outdated_by(published)
