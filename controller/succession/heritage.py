"""What was taken over from the run before, and what is left to the next: claimed once a check, saved now and then.

Nothing is saved in the probe thread; a disk that hangs holds up only this one.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol

from controller.store import Tracked
from controller.succession.statefile import StateFile
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

Witnesses = dict[PodKey, tuple[CheckHealth, Damping | None]]


class Known(Protocol):
    """Where the checks of this run are."""

    def all(self) -> Iterable[Tracked]: ...


class Heritage:
    """Saves in the thread "state". `claim` is for whoever starts checks."""

    def __init__(
        self,
        file: StateFile,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._file = file
        self._clock = clock
        self._wall_clock = wall_clock
        self._unclaimed = file.read()
        self._checks: Known | None = None
        self._dampings: Callable[[], Mapping[PodKey, Damping]] = dict
        self._written: Witnesses = {}
        self._written_at = clock()
        self._complaint = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="state", daemon=True)

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
            if self._is_news() or self._clock() - self._written_at > AT_LEAST:
                self._save()
        self._save()

    def _is_news(self) -> bool:
        return self._witnesses() != self._written

    def _witnesses(self) -> Witnesses:
        dampings = self._dampings()
        return {check.spec.key: (check.health, dampings.get(check.spec.key)) for check in self._all()}

    def _save(self) -> None:
        witnesses = self._witnesses()
        try:
            self._file.write(self._to_save())
        except OSError as error:
            self._complain(f"the state of the checks cannot be saved, a restart may begin anew: {error}")
            return
        self._complaint = ""
        self._written, self._written_at = witnesses, self._clock()

    def _to_save(self) -> Iterator[Saved]:
        """What is known now, and what nobody has claimed yet: the manifests may not have been read so far."""
        now, dampings = self._wall_clock(), self._dampings()
        for check in self._all():
            key = check.spec.key
            time.sleep(0)
            saved = Saved.of(check.spec, now, check.health, check.failing_since, check.last)
            yield replace(saved, damping=dampings.get(key))
        yield from (one for one in list(self._unclaimed.values()) if now - one.at < HINT)

    def _all(self) -> Iterable[Tracked]:
        return self._checks.all() if self._checks else ()

    def _complain(self, what: str) -> None:
        """Say it once, until it is another thing or all is well again."""
        if what != self._complaint:
            self._complaint = what
            log.warning("%s", what)
