"""Since when Consul has not answered this controller, and what that means: one sentence and one line of the log.

All requests of the controller are counted. Consul is silent while no request has been answered since the first one that
was not. An error or a refusal is an answer.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from controller.consul.operations import CANCELLED, SILENT, Observe

log = logging.getLogger(__name__)


class Session(Protocol):
    """The session that holds the published records."""

    def left(self) -> float:
        """Returns the seconds that it surely lives."""
        ...


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the silence of Consul means for probes and for what is published, in words.

    `session` holds records in the KV store, if there are any. `ttl` are the seconds after which a service of the agent
    turns critical, None without services. `has_catalog` is whether health is published in the catalog. `is_stopped`
    returns whether this controller probes nothing meanwhile.
    """

    session: Session | None = None
    ttl: float | None = None
    has_catalog: bool = False
    is_stopped: Callable[[], bool] = lambda: False

    def text(self, seconds: float) -> str:
        """Returns the second half of the sentence, after so many seconds of silence."""
        is_stopped = self.is_stopped()
        parts = ["nothing is probed here, because other members may probe these pods" if is_stopped else "probes go on"]
        if self.session:
            left = self.session.left()
            parts.append(f"what is published stays for {left:.0f} s" if left > 0 else "what was published may be gone")
        if self.ttl is not None:
            left = self.ttl - seconds
            parts.append(f"services turn critical within {left:.0f} s" if left > 0 else "services may be critical")
        if self.has_catalog:
            parts.append("the catalog keeps what is published")
        return ", ".join(parts)


class Silence:
    """Counts the requests of all clients of one controller, and passes them on to `observe`. Cancelled requests say
    nothing about Consul and are left out. For any thread."""

    def __init__(self, observe: Observe) -> None:
        self._then = observe
        self._lock = threading.Lock()
        self._answered = 0.0
        """When the last answer came, on the monotonic clock."""
        self._since: float | None = None
        """When the first request was sent that was not answered; None while Consul answers."""
        self.outlook = Outlook()

    def observe(self, operation: str, outcome: str, seconds: float) -> None:
        """See `Observe`."""
        if outcome == CANCELLED:
            return
        self._then(operation, outcome, seconds)
        if outcome == SILENT:
            self._unanswered(time.monotonic() - seconds)
        else:
            self._note_answer(time.monotonic())

    def text(self) -> str:
        """Returns the sentence; "" while Consul answers."""
        since = self._since
        if since is None:
            return ""
        seconds = time.monotonic() - since
        moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() - seconds))
        return f"Consul has not answered since {moment}; {self.outlook.text(seconds)}"

    def _unanswered(self, sent: float) -> None:
        with self._lock:
            if self._since is not None or sent < self._answered:
                return
            self._since = sent
        log.warning("%s", self.text())

    def _note_answer(self, now: float) -> None:
        with self._lock:
            self._answered, since, self._since = now, self._since, None
        if since is not None:
            log.info("Consul answers again, after %.0f s", now - since)
