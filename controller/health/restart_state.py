"""The state that each run takes over from the previous run of the same node: lock, session and state file."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from controller.health.node_lock import NodeLock
from controller.health.state_file import StateFile
from controller.health.state_saver import StateSaver
from controller.health.store import Tracked
from controller.health.uptimes import Uptimes
from controller.runtime.heartbeat import Heartbeats
from controller.runtime.log.once import LogOnce
from controller.runtime.plain_files import is_unwritable
from reconcilers.adoption import Inherited, adopt
from reconcilers.damping import Damping
from reconcilers.record import Elsewhere, HealthRecord
from reconcilers.spec import CheckSpec, PodKey

log = logging.getLogger(__name__)

HEARTBEAT_LIMIT = 30.0
"""Seconds without a turn of the saver. It is long because a disk may be slow."""


class RestartState:
    """The restart state of one node.

    Without `is_required`, no state is taken over or saved if the folder cannot be used. The same applies in any case if
    its file system is full or read-only, because that may be temporary and must not prevent checks. Raises NodeTaken
    if another controller of this node runs. Raises OSError if the folder is required and can never be used.
    """

    def __init__(self, folder: Path, node: str, heartbeats: Heartbeats, *, is_required: bool) -> None:
        self._lock: NodeLock | None = None
        self._saver: StateSaver | None = None
        self.uptimes = Uptimes()
        """The time that each pod was up and down, with that of the last run."""
        self._trouble = LogOnce(log)
        try:
            self._lock = NodeLock(folder, node)
        except OSError as error:
            if is_required and not is_unwritable(error):
                raise
            hint = "" if is_required else " (set state_dir)"
            log.warning("no state is kept, the next run starts without it%s: %s", hint, error)
            return
        heartbeat = heartbeats.new("state", HEARTBEAT_LIMIT, asks=True)
        self._saver = StateSaver(StateFile(folder, node), heartbeat, uptimes=self.uptimes)

    @property
    def session(self) -> str:
        """The Consul session of the last run, whose process is dead; "" if there is none."""
        return self._lock.session if self._lock else ""

    @property
    def is_kept(self) -> bool:
        """Whether the next run can continue with the session of this run."""
        return self._lock is not None

    def write_session(self, session: str) -> None:
        """Writes the session that this run publishes with.

        A failing disk does not end the publishing. The next run then finds the session of an earlier run, which has
        expired, and creates a new one.
        """
        if self._lock is None:
            return
        try:
            self._lock.write_session(session)
            self._trouble.clear()
        except OSError as error:
            self._trouble.warn(f"the session cannot be written to disk, a restart creates a new one: {error}")

    def dampings(self) -> Mapping[PodKey, Damping]:
        """The flap damping of each pod at the end of the last run."""
        return self._saver.dampings() if self._saver else {}

    def take_over(self, spec: CheckSpec, published: HealthRecord | None) -> Inherited | None:
        """Returns where the check `spec` continues. `published` is what has been published without a break."""
        if isinstance(published, Elsewhere):
            self.uptimes.inherit(published)
        return self._saver.take_over(spec, published) if self._saver else adopt(spec, None, published, time.time())

    def start(self, checks: Callable[[], Iterable[Tracked]], dampings: Callable[[], Mapping[PodKey, Damping]]) -> None:
        """Saves the state of `checks` and their flap damping from now on."""
        if self._saver:
            self._saver.start(checks, dampings)

    def stop(self, timeout: float) -> None:
        """Saves the state for the last time."""
        if self._saver:
            self._saver.stop(timeout)

    def release(self, *, left: bool) -> None:
        """Releases the lock. `left` says whether the published health is left to the next run or was removed."""
        if self._lock:
            if not left:
                self.write_session("")
            self._lock.release()
