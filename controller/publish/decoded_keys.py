"""Decodes the records of health keys, each version of a key once."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from controller.consul.client import KvPair
from controller.publish.given_up import GIVEN_UP
from controller.runtime.faults import Faults
from reconcilers.health import HealthState
from reconcilers.record import Elsewhere, HealthRecord, RecordError, Unsettled, decode
from reconcilers.spec import PodKey


class DecodedKeys:
    """The last pair of each key that was read or written, and the record that it holds for our session.

    Only the thread that has the lock of the `KvSink` calls it. `is_fleet` is True if the holder of a key may be another
    member.
    """

    def __init__(self, faults: Faults, *, is_fleet: bool) -> None:
        self._faults = faults
        self._is_fleet = is_fleet
        self._records: dict[PodKey, tuple[KvPair, HealthRecord]] = {}

    def clear(self) -> None:
        """Forgets all: another session has other records."""
        self._records = {}

    def forget(self, keys: Iterable[PodKey]) -> None:
        for key in keys:
            self._records.pop(key, None)

    def keep(self, keys: Collection[PodKey]) -> None:
        """Forgets all other keys."""
        self._records = {key: kept for key, kept in self._records.items() if key in keys}

    def written(self, key: PodKey, pair: KvPair, record: HealthRecord) -> None:
        """Keeps what our session has just written: it need not be decoded when it is read again."""
        self._records[key] = pair, record

    def record(self, key: PodKey, pair: KvPair, session: str | None) -> HealthRecord:
        """Returns the record of a pair. It is `Unsettled` if `session` does not hold it, or if it cannot be decoded.

        A pair that is equal to the one before is not decoded again.
        """
        before = self._records.get(key)
        if before and before[0] == pair:
            return before[1]
        record = self._decode(key, pair, session)
        if session:
            self._records[key] = pair, record
        return record

    def newer(
        self, records: Iterable[HealthRecord], pairs: Mapping[PodKey, KvPair], session: str
    ) -> Mapping[PodKey, HealthRecord]:
        """Returns the records of other members, of `pairs`, by which these `records` of ours are outdated."""
        found: dict[PodKey, HealthRecord] = {}
        for record in records:
            theirs = self.record(record.key, pair, session) if (pair := pairs.get(record.key)) else None
            if isinstance(theirs, Elsewhere) and record.is_outdated_by(theirs):
                found[record.key] = theirs
        return found

    def pairs(self, keys: Sequence[PodKey], known: Mapping[PodKey, HealthRecord], session: str) -> Sequence[KvPair]:
        """Returns the last pairs of `keys` if `session` holds all of them with the `known` records; else nothing."""
        kept = [each for key in keys if (each := self._records.get(key)) and each[0].session == session]
        if len(kept) < len(keys) or [record for _, record in kept] != [known.get(key) for key in keys]:
            return ()
        return [pair for pair, _ in kept]

    def _decode(self, key: PodKey, pair: KvPair, session: str | None) -> HealthRecord:
        with self._faults.contain(f"record of {key}"):
            try:
                record = decode(pair.value)
            except RecordError as error:
                return Unsettled(key, HealthState.UNKNOWN, detail=str(error))
            if record.key == key and session and pair.session == session and pair.flags != GIVEN_UP:
                return record
            inherits = self._is_fleet and pair.session
            return (Elsewhere if inherits else Unsettled).of_record(replace(record, key=key))
        return Unsettled(key, HealthState.UNKNOWN, detail="it could not be decoded because of an unexpected exception")


def oldest_of_each_node(known: Mapping[PodKey, HealthRecord]) -> Collection[PodKey]:
    """Returns the key of each node that is known for longest, of those that are settled."""
    settled = [key for key, record in known.items() if not isinstance(record, Unsettled)]
    return {key.node: key for key in reversed(settled)}.values()
