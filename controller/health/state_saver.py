"""Takes over the state of each check from the last run once, and saves the state for the next run periodically.

The probe thread does not wait for the disk: a thread of its own saves. A check whose state cannot be written does not
prevent the others from being saved.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from controller.health.state_file import MAX_BYTES, StateFile, Unwritable
from controller.health.store import Tracked
from controller.health.uptimes import Uptimes
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.log.once import LogOnce
from reconcilers.adoption import HINT, Inherited, Saved, adopt
from reconcilers.damping import Damping
from reconcilers.health import CheckHealth
from reconcilers.record import HealthRecord
from reconcilers.spec import CheckSpec, PodKey
from reconcilers.uptime import Uptime

log = logging.getLogger(__name__)

PERIOD = 5.0
"""Seconds between two turns."""
REFRESH_AFTER = 60.0
"""Seconds after which a line is written again because of the time of its last probe alone."""

BATCH = 64
"""How many checks are compared before other threads may run."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the file, and the values that it was made of. `identity` is that of the check. It is computed only
    once, and the `uptime` is encoded only once."""

    check: CheckSpec
    identity: str
    health: CheckHealth
    damping: Damping | None
    at: float
    text: bytes
    uptime: Uptime | None
    encoded: str


class StateSaver:
    """Saves in a thread with the name of its heartbeat. The thread that starts checks calls `take_over`.

    `uptimes` continue with the saved times.
    """

    def __init__(
        self,
        file: StateFile,
        heartbeat: Heartbeat,
        *,
        uptimes: Uptimes | None = None,
        period: float = PERIOD,
    ) -> None:
        self._file = file
        self._faults = heartbeat.faults
        self._period = period
        self._not_taken_over = file.read()
        self._uptimes = uptimes or Uptimes()
        self._load_uptimes(file)
        self._checks: Callable[[], Iterable[Tracked]] = tuple
        self._dampings: Callable[[], Mapping[PodKey, Damping]] = dict
        self._lines: dict[PodKey, _Line] = {}
        self._without_check: dict[PodKey, tuple[Uptime, bytes]] = {}
        self._write_trouble = LogOnce(log)
        self._size_trouble = LogOnce(log)
        self._unwritable: set[PodKey] = set()
        self._thread = BackgroundThread(self._turn, heartbeat, delay=period, at_end=self._save_at_end)

    def dampings(self) -> Mapping[PodKey, Damping]:
        """The flap damping of each pod at the end of the last run."""
        return {key: one.damping for key, one in self._not_taken_over.items() if one.damping}

    def take_over(self, spec: CheckSpec, published: HealthRecord | None) -> Inherited | None:
        """Returns where the check `spec` continues, see `adopt`. Only the first check of a pod takes over a state."""
        return adopt(spec, self._not_taken_over.pop(spec.key, None), published, time.time())

    def start(self, checks: Callable[[], Iterable[Tracked]], dampings: Callable[[], Mapping[PodKey, Damping]]) -> None:
        """Saves the state of `checks` from now on. `dampings` returns the present flap damping of each pod."""
        self._checks, self._dampings = checks, dampings
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Saves once more and ends the thread. Does nothing before `start`."""
        self._thread.stop(timeout)

    def _load_uptimes(self, file: StateFile) -> None:
        saved = self._not_taken_over
        texts = {key: one.uptime for key, one in saved.items() if one.uptime}
        without_check = [key for key in texts if not saved[key].check]
        self._not_taken_over = {key: one for key, one in saved.items() if one.check}
        self._uptimes.load(texts, without_check, file.saved_at)

    def _turn(self) -> float:
        self._uptimes.beat()
        if self._refresh(REFRESH_AFTER):
            self._save()
        return self._period

    def _save_at_end(self) -> None:
        self._refresh(0.0)
        self._save()

    def _refresh(self, max_age: float) -> bool:
        """Replaces the lines that changed or are older than `max_age` seconds. Returns whether any was."""
        before, now, dampings, uptimes = self._lines, time.time(), self._dampings(), dict(self._uptimes.all())
        lines: dict[PodKey, _Line] = {}
        for number, check in enumerate(self._checks()):
            key = check.spec.key
            line, damping, uptime = before.get(key), dampings.get(key), uptimes.pop(key, None)
            if line and line.uptime is uptime and _is_current(line, check, damping, now - max_age):
                lines[key] = line
            else:
                with self._faults.contain(f"saving the state of {key}"):
                    lines[key] = self._line(check, damping, uptime, line, now)
            if number % BATCH == 0:
                time.sleep(0)
        self._lines = lines
        return self._refresh_without_check(uptimes, now) or lines != before

    def _refresh_without_check(self, uptimes: Mapping[PodKey, Uptime], now: float) -> bool:
        """Replaces the lines of pods without a check whose time is not the same. Returns whether any was."""
        before = self._without_check
        self._without_check = {
            key: known
            if (known := before.get(key)) and known[0] is uptime
            else (uptime, self._text(Saved.without_check(key, now, uptime.encode())))
            for key, uptime in uptimes.items()
        }
        return self._without_check != before

    def _line(
        self, check: Tracked, damping: Damping | None, uptime: Uptime | None, before: _Line | None, now: float
    ) -> _Line:
        spec, (health, failing_since, _) = check.spec, check.assessment
        identity = before.identity if before and before.check is spec else ""
        is_same = before and before.uptime is uptime
        encoded = before.encoded if before and is_same else uptime.encode() if uptime else ""
        saved = Saved.of(spec, now, health, failing_since, check.last, damping=damping, uptime=encoded, check=identity)
        return _Line(spec, saved.check, health, damping, now, self._text(saved), uptime, encoded)

    def _encoded(self, key: PodKey) -> str:
        """Returns the time of a pod without a check; "" if nothing is known of it."""
        known = self._without_check.get(key)
        return known[0].encode() if known else ""

    def _text(self, saved: Saved) -> bytes:
        """Returns the line of one check. It is empty if the state cannot be written, which is logged once a check."""
        try:
            line = self._file.line(saved)
        except Unwritable as error:
            if saved.key not in self._unwritable:
                self._unwritable.add(saved.key)
                log.warning("the state of %s cannot be saved, a restart loses it: %s", saved.key, error)
            return b""
        self._unwritable.discard(saved.key)
        return line

    def _save(self) -> None:
        """Writes the file. It also has the states that no check has taken over: their manifests may not be read yet."""
        now = time.time()
        waiting = {key: one for key, one in self._not_taken_over.copy().items() if now - one.at < HINT}
        try:
            lines = [
                *(line.text for line in self._lines.values()),
                *(self._text(replace(one, uptime=self._encoded(key))) for key, one in waiting.items()),
                *(text for key, (_, text) in self._without_check.items() if key not in waiting),
            ]
            self._report_left_out(self._file.write(lines), len(lines))
            self._write_trouble.clear()
        except OSError as error:
            self._lines = {}
            self._write_trouble.warn(
                f"the state of the checks cannot be saved, they may start without it after a restart: {error}"
            )

    def _report_left_out(self, left_out: int, count: int) -> None:
        """Logs once that lines were omitted, until all lines fit again."""
        if not left_out:
            self._size_trouble.clear()
            return
        self._size_trouble.warn(
            f"the state of {left_out} of {count} checks is not saved, they start without it after a restart: the file "
            f"has its maximum of {MAX_BYTES >> 20} MiB without the checks that began last",
            kind="too long",
        )


def _is_current(line: _Line, check: Tracked, damping: Damping | None, since: float) -> bool:
    """Whether the line has the present values, and was made after `since`."""
    same = line.check is check.spec and line.health is check.health and line.damping is damping
    return same and line.at > since
