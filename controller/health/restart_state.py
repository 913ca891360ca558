"""Between the run before and the next one: takes the node's lock, hands over what is left, and leaves as much."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from controller.health.node_lock import NodeLock
from controller.health.state_file import StateFile
from controller.health.state_saver import Known, StateSaver
from controller.runtime.heartbeat import Heartbeats
from controller.runtime.plain_files import is_unwritable
from reconcilers.adoption import Inherited
from reconcilers.damping import Damping
from reconcilers.record import HealthRecord
from reconcilers.spec import CheckSpec, PodKey

log = logging.getLogger(__name__)

HEARTBEAT_LIMIT = 30.0
"""Seconds without a look at what is to be saved: a disk may be slow."""


class RestartState:
    """For one node. Where its folder cannot be used, and nobody `insists` on it, nothing is taken over nor left; nor
    where its file system is full or read-only, which may be over tomorrow and is no reason to check nothing today.

    Raises:
        NodeTaken: another controller of this node runs.
        OSError: the folder that somebody insists on is none that could ever be used.
    """

    def __init__(self, folder: Path, node: str, heartbeats: Heartbeats, *, insists: bool) -> None:
        self._lock: NodeLock | None = None
        self._saver: StateSaver | None = None
        self._complaint = ""
        try:
            self._lock = NodeLock(folder, node)
        except OSError as error:
            if insists and not is_unwritable(error):
                raise
            hint = "" if insists else " (set state_dir)"
            log.warning("no state is kept, the next start begins anew%s: %s", hint, error)
            return
        self._saver = StateSaver(StateFile(folder, node), heartbeats.new("state", HEARTBEAT_LIMIT, asks=True))

    @property
    def session(self) -> str:
        """The Consul session of the run before, which is dead; "" for none."""
        return self._lock.session if self._lock else ""

    @property
    def has_heir(self) -> bool:
        """Whether the next run will know of us."""
        return self._lock is not None

    def note(self, session: str) -> None:
        """Write down under which session is published.

        A disk that fails must not end the publishing: the next run finds the session of before, which is dead, and
        takes a new one.
        """
        if self._lock is None:
            return
        try:
            self._lock.note(session)
            self._complaint = ""
        except OSError as error:
            self._complain(f"the session cannot be written down, a restart takes a new one: {error}")

    def dampings(self) -> Mapping[PodKey, Damping]:
        """How pods stood with the damping of the run before."""
        return self._saver.dampings() if self._saver else {}

    def claim(self, spec: CheckSpec, standing: HealthRecord | None) -> Inherited | None:
        """Where `spec` goes on; `standing` is what has stood published since the run before."""
        return self._saver.claim(spec, standing) if self._saver else None

    def start(self, checks: Known, dampings: Callable[[], Mapping[PodKey, Damping]]) -> None:
        """Save from now on what is known of `checks`, and how their pods stand with the damping."""
        if self._saver:
            self._saver.start(checks, dampings)

    def stop(self, timeout: float) -> None:
        """Save for the last time."""
        if self._saver:
            self._saver.stop(timeout)

    def release(self, *, left: bool) -> None:
        """Let the next one in; what we published is `left` to it, or was removed."""
        if self._lock:
            if not left:
                self.note("")
            self._lock.release()

    def _complain(self, what: str) -> None:
        """Say it once, until it is another thing or all is well again."""
        if what != self._complaint:
            self._complaint = what
            log.warning("%s", what)
