"""What was taken over from the run before, and what is left to the next: claimed once a check, saved now and then.

Nothing is saved in the probe thread; a disk that hangs holds up only this one, and one check that cannot be written
no other.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from controller.health.state_file import MAX_BYTES, StateFile, Unwritable
from controller.health.store import Tracked
from controller.runtime.heartbeat import Heartbeat
from reconcilers.adoption import HINT, Inherited, Saved, adopt
from reconcilers.damping import Damping
from reconcilers.health import CheckHealth
from reconcilers.record import HealthRecord
from reconcilers.spec import CheckSpec, PodKey

log = logging.getLogger(__name__)

PERIOD = 5.0
"""Seconds between two looks at whether anything is news."""
AT_LEAST = 60.0
"""Seconds after which the time of the last probe alone is news enough."""

TOGETHER = 64
"""How many checks are written down before others may run."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the file, and of what it was made."""

    check: CheckSpec
    health: CheckHealth
    damping: Damping | None
    at: float
    text: bytes


class Known(Protocol):
    """Where the checks of this run are."""

    def all(self) -> Iterable[Tracked]: ...


class StateSaver:
    """Saves in a thread that its heartbeat is called. `claim` is for whoever starts checks."""

    def __init__(
        self,
        file: StateFile,
        heartbeat: Heartbeat,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._file = file
        self._heartbeat = heartbeat
        self._wall_clock = wall_clock
        self._unclaimed = file.read()
        self._checks: Known | None = None
        self._dampings: Callable[[], Mapping[PodKey, Damping]] = dict
        self._lines: dict[PodKey, _Line] = {}
        self._complaint = ""
        self._is_too_long = False
        self._unwritable: set[PodKey] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=heartbeat.name, daemon=True)

    def dampings(self) -> Mapping[PodKey, Damping]:
        """How pods stood with the damping of the run before."""
        return {key: one.damping for key, one in self._unclaimed.items() if one.damping}

    def claim(self, spec: CheckSpec, standing: HealthRecord | None) -> Inherited | None:
        """Where `spec` goes on, see `adopt`; only the first check of a pod has an heir's right."""
        saved = self._unclaimed.pop(spec.key, None)
        return adopt(spec, saved, standing, self._wall_clock()) if saved else None

    def start(self, checks: Known, dampings: Callable[[], Mapping[PodKey, Damping]]) -> None:
        """Save from now on; `dampings` is how pods stand at any time."""
        self._checks, self._dampings = checks, dampings
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Save once more, and end. Does nothing before `start`."""
        self._stopped.set()
        if self._thread.ident:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopped.wait(PERIOD):
            self._heartbeat.beat()
            if self._look(AT_LEAST):
                self._save()
        self._look(0.0)
        self._save()

    def _look(self, fresh: float) -> bool:
        """Write down what changed, and what was written down over `fresh` seconds ago; whether any of it is news."""
        before, now, dampings = self._lines, self._wall_clock(), self._dampings()
        lines: dict[PodKey, _Line] = {}
        for number, check in enumerate(self._all()):
            key, damping = check.spec.key, dampings.get(check.spec.key)
            known = before.get(key)
            if known is None or not _is_current(known, check, damping, now - fresh):
                known = self._line(check, damping, now)
            lines[key] = known
            if number % TOGETHER == 0:
                time.sleep(0)
        self._lines = lines
        return lines != before

    def _line(self, check: Tracked, damping: Damping | None, now: float) -> _Line:
        spec, health = check.spec, check.health
        saved = Saved.of(spec, now, health, check.failing_since, check.last)
        return _Line(spec, health, damping, now, self._text(replace(saved, damping=damping)))

    def _text(self, saved: Saved) -> bytes:
        """Its line in the file; empty where it cannot be written, which is said once until it can be."""
        try:
            line = self._file.line(saved)
        except Unwritable as error:
            if saved.key not in self._unwritable:
                self._unwritable.add(saved.key)
                log.warning("the state of %s cannot be saved, a restart begins it anew: %s", saved.key, error)
            return b""
        self._unwritable.discard(saved.key)
        return line

    def _save(self) -> None:
        """Write the file: what is known, and what nobody has claimed yet, as the manifests may not have been read."""
        now = self._wall_clock()
        unclaimed = [self._text(one) for one in list(self._unclaimed.values()) if now - one.at < HINT]
        try:
            lines = [*(line.text for line in self._lines.values()), *unclaimed]
            self._tell_of(self._file.write(lines), len(lines))
            self._complaint = ""
        except OSError as error:
            self._lines = {}
            self._complain(f"the state of the checks cannot be saved, a restart may begin anew: {error}")

    def _tell_of(self, left_out: int, count: int) -> None:
        """Say once, until all fit in again, that some were left out."""
        if left_out and not self._is_too_long:
            log.warning(
                "the state of %d of %d checks is not saved, a restart begins these anew: the file may have %d MiB, and "
                "the checks that began last are left out",
                *(left_out, count, MAX_BYTES >> 20),
            )
        self._is_too_long = left_out > 0

    def _all(self) -> Iterable[Tracked]:
        return self._checks.all() if self._checks else ()

    def _complain(self, what: str) -> None:
        """Say it once, until it is another thing or all is well again."""
        if what != self._complaint:
            self._complaint = what
            log.warning("%s", what)


def _is_current(line: _Line, check: Tracked, damping: Damping | None, since: float) -> bool:
    """Whether it still says what is known, and was written after `since`."""
    same = line.check is check.spec and line.health is check.health and line.damping is damping
    return same and line.at > since
