"""The last good manifest of each pod.

The store holds its one lock for dictionary operations only, and parses manifests outside of it. Returned values are
frozen, so readers (metrics, page) need no lock.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from itertools import count

from controller.runtime.faults import Faults
from reconcilers.gate import Entry, Listing
from reconcilers.manifest import ManifestError, parse
from reconcilers.options import Rules
from reconcilers.spec import NO_VERSION, Manifest, ManifestVersion, PodKey

log = logging.getLogger(__name__)

UNEXPECTED = ManifestError("", "a fault in Podpulse prevents that this manifest is read; the log has the exception")
"""The error of a manifest whose parsing raised an unexpected exception. The next listing makes it be parsed again."""


@dataclass(frozen=True, slots=True)
class Intent:
    """One pod's manifest: the bytes at its key, the last valid version, and the error if that version is older or
    missing. `in_force` is the version of `manifest`; its bytes are `data` if nothing is wrong."""

    version: tuple[int, ...]
    data: bytes
    manifest: Manifest | None
    in_force: ManifestVersion = NO_VERSION
    error: ManifestError | None = None
    invalid_since: float = 0.0

    @property
    def good(self) -> bytes:
        """The bytes of the manifest in force."""
        return self.in_force.data


class ManifestStore:
    """The last good manifest per pod."""

    def __init__(
        self,
        rules: Rules,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        faults: Faults | None = None,
    ) -> None:
        self._rules = rules
        self._faults = faults or Faults()
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._intents: dict[PodKey, Intent] = {}
        self._serials = count(1)
        self.version = 0
        """This number changes whenever any manifest changes."""

    def __len__(self) -> int:
        return len(self._intents)

    def replace(self, listing: Listing) -> frozenset[PodKey]:
        """Take over the manifests of `listing`. Returns the pods that are new or changed.

        Only bytes whose version changed are parsed. When they are not valid, the last good manifest is kept.
        """
        changed, now = set(), self._clock()
        for key, entry in listing.entries.items():
            old = self._intents.get(key)
            if old is None or old.version != entry.version:
                self._take(key, entry, now)
                changed.add(key)
            elif old.error is UNEXPECTED and self._read_again(key, now):
                changed.add(key)
        self._note_change(changed)
        return frozenset(changed)

    def remove(self, keys: Collection[PodKey]) -> Collection[PodKey]:
        """Remove these pods. Returns those of them that had a manifest."""
        with self._lock:
            removed = [key for key in keys if self._intents.pop(key, None)]
        self._note_change(removed)
        return removed

    def apply(self, rules: Rules) -> frozenset[PodKey]:
        """Parse every manifest again with these rules. Returns the pods whose manifest has changed by that.

        With unchanged rules, only invalid manifests are parsed again, because a file that they name may exist by now.
        A concurrent listing is parsed with the new rules.
        """
        now = self._clock()
        with self._lock:
            others, self._rules = rules != self._rules, rules
            again = [key for key, old in self._intents.items() if others or old.error]
        changed = {key for key in again if self._read_again(key, now)}
        self._note_change(changed)
        return frozenset(changed)

    def _take(self, key: PodKey, entry: Entry, now: float) -> None:
        """Parses these bytes, again if the rules or the pod's manifest were replaced meanwhile."""
        is_stored = False
        while not is_stored:
            rules, old = self._rules, self._intents.get(key)
            is_stored = self._store(key, self._understand(key, entry, old, now, rules), old, rules)

    def _read_again(self, key: PodKey, now: float) -> bool:
        """Parses the same bytes again. Returns whether that results in another manifest or error."""
        while old := self._intents.get(key):
            rules = self._rules
            new = self._understand(key, Entry(old.version, old.data), old, now, rules)
            if (new.manifest, str(new.error)) == (old.manifest, str(old.error)):
                if rules is self._rules:
                    return False
            elif self._store(key, new, old, rules):
                return True
        return False

    def _store(self, key: PodKey, new: Intent, old: Intent | None, rules: Rules) -> bool:
        """Stores `new` in place of `old`. Returns False if another thread has replaced `old` or the rules."""
        with self._lock:
            is_current = self._rules is rules and self._intents.get(key) is old
            if is_current:
                self._intents[key] = new
            return is_current

    def _note_change(self, keys: Collection[PodKey]) -> None:
        with self._lock:
            self.version += bool(keys)

    def manifest(self, key: PodKey) -> Manifest | None:
        """The last good manifest, or None if there is none."""
        intent = self._intents.get(key)
        return intent.manifest if intent else None

    def has_check(self, key: PodKey) -> bool:
        """Whether the last good manifest asks for a check."""
        manifest = self.manifest(key)
        return manifest is not None and manifest.check is not None

    def intent(self, key: PodKey) -> Intent | None:
        return self._intents.get(key)

    def intents(self) -> Mapping[PodKey, Intent]:
        """All pods at this moment."""
        return self._intents.copy()

    def _understand(self, key: PodKey, entry: Entry, old: Intent | None, now: float, rules: Rules) -> Intent:
        """The pod's manifest from these bytes. An unexpected exception is an error of this manifest alone."""
        error = UNEXPECTED
        with self._faults.contain(f"manifest of {key}"):
            try:
                return self._parse(key, entry, old, now, rules)
            except ManifestError as known:
                error = known
            if old is None or (old.version, str(old.error)) != (entry.version, str(error)):
                log.warning("manifest of %s is invalid: %s", key, error, extra={"node": key.node, "pod": key.pod})
        since = old.invalid_since if old and old.error else self._wall_clock()
        manifest, in_force = (old.manifest, old.in_force) if old else (None, NO_VERSION)
        return Intent(entry.version, entry.data, manifest, in_force, error, since)

    def _parse(self, key: PodKey, entry: Entry, old: Intent | None, now: float, rules: Rules) -> Intent:
        parsed = parse(key, entry.data, rules)
        if parsed.warnings and (old is None or old.good != entry.data):
            warnings = "; ".join(map(str, parsed.warnings))
            log.warning("manifest of %s: %s", key, warnings, extra={"node": key.node, "pod": key.pod})
        version = self._version(entry.data, old, now)
        check = parsed.check and replace(parsed.check, version=version)
        return Intent(entry.version, entry.data, replace(parsed, check=check), version)

    def _version(self, data: bytes, old: Intent | None, now: float) -> ManifestVersion:
        """The version of `data`. The same bytes keep their serial number, also when they are read again."""
        same = old and old.in_force.serial and old.good == data
        return ManifestVersion(old.in_force.serial if old and same else next(self._serials), data, now)
