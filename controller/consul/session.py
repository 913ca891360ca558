"""Keeps one Consul session alive: the lease under which health is published.

When the session is not renewed, Consul deletes every key that it holds, so that nobody reads the health of pods that
are no longer probed. Our own deadline for writing counts from the *sending* of the last successful renewal, on a clock
that continues while the machine is suspended. Consul's deadline is later. This module does not know keys and values.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from tenacity import RetryCallState

from controller.consul.client import ConsulClient, ConsulError
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.boottime import boottime
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.log.once import LogOnce
from controller.runtime.retry import RETRY_FIRST, until_stopped

log = logging.getLogger(__name__)

TTL = 10
"""Seconds: the shortest that Consul allows by default. Where it allows only longer ones, the shortest is used."""
RENEWAL = 5.0
"""Seconds between two renewals, also with a longer TTL, so that the end of a session is noticed early."""
RETRY_CAP = 2.0


@dataclass(frozen=True, slots=True)
class Lease:
    """A session, and until when it is ours without doubt: `deadline` is of the keeper's clock, `expires` in seconds
    since the epoch. `ttl` is the session's own, in seconds."""

    session: str
    deadline: float
    expires: float
    ttl: int = TTL


class SessionKeeper:
    """Runs in the thread "session"; everything public may be called by any thread.

    `on_new` is called in that thread for each session that may be written with from now on: for a new one, and for one
    that had passed its deadline and turned out to live (Consul was silent, and has not ended it). `on_end` is called
    when Consul has ended a session, before there is another one. `resume` is a session of an earlier run of this
    controller that is surely over: if it lives, it is taken on, and its keys with it.
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
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._node = node
        self._on_new = on_new
        self._on_end = on_end
        self._heartbeat = heartbeat
        self._renewal = renewal
        self._clock = clock
        self._wall_clock = wall_clock
        self._lease = Lease(resume, clock(), 0.0) if resume else None
        self._destroy = False
        self._problem = LogOnce(log)
        self._said_ttl = TTL
        self._confirmed = threading.Event()
        self._ended = ""
        self._is_unannounced = False
        self._thread = BackgroundThread(self._turn, heartbeat, at_end=self._leave, interrupt=client.cancel)
        self._retrying = until_stopped(ConsulError, self._thread.stopped, self._on_error, RETRY_CAP)

    def start(self) -> None:
        self._thread.start()

    def wait(self, timeout: float) -> bool:
        """Wait until Consul has said for the first time which session is ours, at most `timeout` seconds."""
        return self._confirmed.wait(timeout)

    def stop(self, timeout: float, *, destroy: bool = True) -> None:
        """End the thread, and with `destroy` the session and its keys; wait up to `timeout` seconds for that.

        Left alone, the session is renewed once more, and lives on with its keys for one to two TTLs: long enough for a
        restart to `resume` it.
        """
        self._destroy = destroy
        self._thread.stop(timeout)

    def current(self) -> str | None:
        """The session to write with, or None while no session is certainly ours."""
        lease = self._lease
        return lease.session if lease and self._clock() < lease.deadline else None

    def expires_at(self) -> float:
        """When the lease ends unless it is renewed, in seconds since the epoch. 0 if there is none."""
        lease = self._lease
        return lease.expires if lease else 0.0

    def why(self) -> str:
        """Why there is no session, or why it cannot be renewed. "" if there is no known problem."""
        return self._problem.text

    def _leave(self) -> None:
        self._client.reopen()
        if self._lease:
            self._end(self._lease)
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
            self._warn(f"the session cannot be renewed: {error}")
            return RETRY_FIRST if self._clock() - sent > RETRY_FIRST else RETRY_CAP / 2
        if not ttl:
            log.warning("Consul has ended session %s; taking a new one", self._lease.session)
            self._ended = self._lease.session
            self._on_end()
            self._lease = None
            return 0.0
        self._hold(self._lease.session, sent, ttl)
        return max(0.0, sent + self._renewal - self._clock())

    def _create(self) -> None:
        """A server that has just started may deny a session that it has not read yet from its own log: destroyed for
        good, it holds no key against the new one."""
        self._heartbeat.beat()
        if self._ended:
            self._client.session_destroy(self._ended)
            self._ended = ""
        sent = self._clock()
        session, ttl = self._client.session_create(self._name(), TTL)
        self._hold(session, sent, ttl)

    def _hold(self, session: str, sent: float, ttl: int) -> None:
        """Consul has just confirmed that `session` lives. It is announced when it could not be written with before."""
        self._is_unannounced |= self.current() is None
        self._lease = Lease(session, sent + ttl, self._wall_clock() + ttl, ttl)
        self._say_ttl(ttl)
        self._problem.clear()
        if self._is_unannounced:
            log.info("publishing under session %s", session)
            self._on_new(session)
            self._is_unannounced = False
        self._confirmed.set()

    def _say_ttl(self, ttl: int) -> None:
        """Say it once when Consul allows only longer TTLs than ours, and once when that bound changes."""
        if ttl != self._said_ttl:
            self._said_ttl = ttl
            log.warning(
                "Consul allows no session TTL below %d s (session_ttl_min): what is published ends %d s after us",
                ttl,
                2 * ttl,
            )

    def _on_error(self, state: RetryCallState) -> None:
        if state.outcome:
            self._warn(f"no session can be taken, no health is published: {state.outcome.exception()}")

    def _warn(self, problem: str) -> None:
        """Log a problem once. `stop` cancels requests, which is not a problem."""
        if not self._thread.stopped.is_set():
            self._problem.warn(problem)

    def _end(self, lease: Lease) -> None:
        try:
            if self._destroy:
                self._client.session_destroy(lease.session)
            else:
                self._client.session_renew(lease.session)
        except ConsulError as error:
            log.warning("session %s ends by itself within %d s: %s", lease.session, 2 * lease.ttl, error)

    def _name(self) -> str:
        """p2's form: `health:<node>:<pid>:<MMDD-HHMMSS>`."""
        started = datetime.fromtimestamp(self._wall_clock(), UTC)
        return f"health:{self._node}:{os.getpid()}:{started:%m%d-%H%M%S}"
