"""Keeps one Consul session alive: the lease under which health is published.

When the session is not renewed, Consul deletes every key that it holds, so that nobody reads the health of pods that
are no longer probed. The controller's deadline for writing counts from the *sending* of the last successful renewal, on
a clock that continues while the machine is suspended. Consul's deadline is later.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from controller.consul.client import ConsulClient, ConsulError, ConsulUnavailable
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.boottime import boottime
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.log.once import LogOnce
from controller.runtime.retry import RETRY_FIRST, until_stopped

log = logging.getLogger(__name__)

TTL = 10
"""Seconds. Consul's default minimum. If Consul allows only longer TTLs, the shortest allowed TTL is used."""
RENEWAL = 5.0
"""Seconds between two renewals. It does not grow with the TTL, so that the end of a session is noticed early."""
RETRY_CAP = 2.0


@dataclass(frozen=True, slots=True)
class Lease:
    """A session that surely lives until `deadline` on the keeper's clock. `expires` is that time in seconds since the
    epoch. `ttl` is in seconds."""

    session: str
    deadline: float
    expires: float
    ttl: int = TTL


class SessionKeeper:
    """Runs in the thread "session". Every public method may be called by any thread.

    The thread calls `on_new` for each session that can be used from now on: a new session, or a session that passed its
    deadline while Consul did not answer and still exists. It calls `on_end` when Consul has ended a session, before it
    creates the next one. `resume` is the session of an earlier run of this controller. That run must have ended. If the
    session still exists, the keeper continues it and its keys remain.
    """

    def __init__(
        self,
        client: ConsulClient,
        node: str,
        on_new: Callable[[str], None],
        heartbeat: Heartbeat,
        *,
        on_end: Callable[[], None] = lambda: None,
        resume: str = "",
        renewal: float = RENEWAL,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self._client = client
        self._node = node
        self._on_new = on_new
        self._on_end = on_end
        self._heartbeat = heartbeat
        self._renewal = renewal
        self._clock = clock
        self._lease = Lease(resume, clock(), 0.0) if resume else None
        self._destroy = False
        self._logged_ttl = TTL
        self._confirmed = threading.Event()
        self._ended = self._failure = self._why = ""
        self._is_new = False
        self._thread = BackgroundThread(self._turn, heartbeat, at_end=self._leave, interrupt=client.cancel)
        self._problem = LogOnce(log, self._thread.stopped)
        self._retrying = until_stopped(ConsulError, self._thread.stopped, self._on_error, RETRY_CAP)

    def start(self) -> None:
        self._thread.start()

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until Consul has confirmed a session for the first time."""
        return self._confirmed.wait(timeout)

    def stop(self, timeout: float, *, destroy: bool = True) -> None:
        """End the thread. With `destroy`, also destroy the session and its keys. Wait up to `timeout` seconds.

        Without `destroy`, the session is renewed once more. It and its keys remain for one to two TTLs, so that the
        next run can `resume` it.
        """
        self._destroy = destroy
        self._thread.stop(timeout)

    def current(self) -> str | None:
        """Returns the session to write with. None if no session surely lives."""
        lease = self._lease
        return lease.session if lease and self._clock() < lease.deadline else None

    def expires_at(self) -> float:
        """Returns when the lease ends unless it is renewed, in seconds since the epoch. 0 if there is none."""
        lease = self._lease
        return lease.expires if lease else 0.0

    def why(self) -> str:
        """Returns the error because of which there is no session or it cannot be renewed. "" if no error is known, or
        Consul does not answer."""
        return self._why

    def failure(self) -> str:
        """Returns why the session cannot be renewed or created, as a label; "" while it can."""
        return self._failure

    def left(self) -> float:
        """Returns the seconds that the session surely lives unless it is renewed; 0 if there is none."""
        lease = self._lease
        return max(0.0, lease.deadline - self._clock()) if lease else 0.0

    def _leave(self) -> None:
        self._client.reopen()
        if self._lease:
            self._release(self._lease)
        self._lease = None
        self._client.close()

    def _turn(self) -> float:
        """Renew the session, or create one. Returns the seconds until the next turn."""
        if self._lease is None:
            self._retrying(self._create)
            return self._renewal
        sent = self._clock()
        try:
            ttl = self._client.session_renew(self._lease.session)
        except ConsulError as error:
            self._complain("the session cannot be renewed", error)
            return RETRY_FIRST if self._clock() - sent > RETRY_FIRST else RETRY_CAP / 2
        if not ttl:
            log.warning("Consul has ended session %s; creating a new one", self._lease.session)
            self._ended = self._lease.session
            self._on_end()
            self._lease = None
            return 0.0
        self._confirm(self._lease.session, sent, ttl)
        return max(0.0, sent + self._renewal - self._clock())

    def _create(self) -> None:
        """First destroys the session that Consul has ended. A Consul server that has just started may not have read the
        session from its log yet; later, the session would hold the keys."""
        self._heartbeat.beat()
        if self._ended:
            self._client.session_destroy(self._ended)
            self._ended = ""
        sent = self._clock()
        session, ttl = self._client.session_create(self._name(), TTL)
        self._confirm(session, sent, ttl)

    def _confirm(self, session: str, sent: float, ttl: int) -> None:
        """Consul has confirmed that `session` lives. Calls `on_new` if the session could not be used before."""
        self._is_new |= self.current() is None
        self._lease = Lease(session, sent + ttl, time.time() + ttl, ttl)
        self._log_ttl(ttl)
        self._failure = self._why = ""
        self._problem.clear()
        if self._is_new:
            log.info("publishing under session %s", session)
            self._on_new(session)
            self._is_new = False
        self._confirmed.set()

    def _log_ttl(self, ttl: int) -> None:
        """Log once if Consul allows only longer TTLs than `TTL`, and again after each change of that bound."""
        if ttl != self._logged_ttl:
            self._logged_ttl = ttl
            log.warning(
                "Consul allows no session TTL below %d s (session_ttl_min): health stays up to %d s after a crash",
                ttl,
                2 * ttl,
            )

    def _on_error(self, error: ConsulError) -> None:
        self._complain("no session can be created, so no health is published", error)

    def _complain(self, what: str, error: ConsulError) -> None:
        """Log a problem once. `Silence` logs that Consul does not answer."""
        self._failure = error.trouble.value
        if isinstance(error, ConsulUnavailable) and not error.answered:
            log.debug("%s: %s", what, error)
            self._why = ""
            self._problem.clear()
        else:
            self._why = str(error)
            self._problem.warn(f"{what}: {error}")

    def _release(self, lease: Lease) -> None:
        try:
            if self._destroy:
                self._client.session_destroy(lease.session)
            else:
                self._client.session_renew(lease.session)
        except ConsulError as error:
            log.warning("session %s expires within %d s: %s", lease.session, 2 * lease.ttl, error)

    def _name(self) -> str:
        """Returns the name of a session in p2's form: `health:<node>:<pid>:<MMDD-HHMMSS>`."""
        started = datetime.fromtimestamp(time.time(), UTC)
        return f"health:{self._node}:{os.getpid()}:{started:%m%d-%H%M%S}"
