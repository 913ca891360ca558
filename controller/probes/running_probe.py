"""One probe in flight: its connections, and how much of its time this controller has used.

A probe may need more than one connection. A failure of a kept connection is no evidence, so the probe is repeated on a
new one. A handshake that fails with rustls is repeated with OpenSSL, whose verdict counts. So is a handshake whose
certificates rustls accepts and OpenSSL refuses. A call that the server has not processed is repeated once on a new
connection, as gRPC clients do.
"""

from collections.abc import Callable
from contextlib import suppress

from controller.probes.connection import NEXT_ADDRESS, Connection
from controller.probes.dialogue import Dialogue, Wants
from controller.probes.exchange import Exchange
from controller.probes.failure import Cause, Failure
from controller.probes.files import AGAIN, TlsSettings
from controller.probes.idle_connection import IdleConnection
from controller.probes.loop import Loop
from controller.probes.refusal import BEYOND_TLS, NOT_PROCESSED, RIGHT_AFTER, SILENT_ENDS, explained
from controller.probes.target import Target
from controller.probes.tls import UNUSABLE, Session, TlsError, Unsure
from controller.probes.worker import Worker
from reconcilers.health import Phases


class RunningProbe:
    """For the probe thread only. `on_end` is called once, when the probe has an answer or has failed.

    `lost` is how many seconds of the probe's time this controller may have used: from the moment when an event was or
    may have been ready until it was handled. Only the time before the request is sent counts, because until then the
    pod waits for this controller. `handled_at` is the time of the last handled event. `closing_at` is when the wait
    for the target's acceptance of a connection over TLS began; 0 without such a wait. `on_wait` is called then.
    """

    __slots__ = (
        "_clock",
        "_dialogue",
        "_first_at",
        "_is_openssl",
        "_is_over",
        "_loop",
        "_on_end",
        "_on_wait",
        "_open_at",
        "_ready_at",
        "_start",
        "_target",
        "_was_refused",
        "_was_sent",
        "closing_at",
        "connection",
        "exchange",
        "failure",
        "handled_at",
        "is_kept",
        "is_sent",
        "is_spent",
        "lost",
        "settings",
        "worker",
    )

    def __init__(
        self,
        worker: Worker,
        loop: Loop,
        target: Target,
        settings: TlsSettings | None,
        clock: Callable[[], float],
        on_end: Callable[["RunningProbe"], None],
        on_wait: Callable[["RunningProbe"], None],
    ) -> None:
        self.worker = worker
        self._loop = loop
        self._target = target
        self.settings = settings
        self._clock = clock
        self._on_end = on_end
        self._on_wait = on_wait
        self._dialogue: Dialogue | None = None
        self._is_openssl = self._is_over = self._was_refused = False
        self.failure: Failure | None = None
        self.is_sent = self.is_kept = self._was_sent = False
        self.is_spent = False
        """Whether the connection must not be kept: it has ended, or the authorities or the guard have changed."""
        self.lost = self.handled_at = self.closing_at = 0.0
        self._start = self._open_at = self._ready_at = self._first_at = 0.0
        self.exchange: Exchange
        self.connection: Connection | None = None

    def begin(self, started: float, lost: float) -> None:
        """Begin to connect, or send the request on the kept connection.

        The probe was due at `started`. `lost` seconds of its time were used before.
        """
        self.handled_at, self.lost = started, lost
        kept, self.worker.kept = self.worker.kept, None
        if kept and self._can_use(kept):
            self._send_on(kept.connection, kept.exchange)
        else:
            if kept:
                kept.close()
            self._open(openssl=self.worker.openssl_until > started)
        self.on_handled(started)

    def _can_use(self, kept: IdleConnection) -> bool:
        fresh = self.worker.wants_certificate(self.worker.started)
        return not fresh and kept.connection.address in self._target.addresses and kept.is_usable()

    def _send_on(self, connection: Connection, previous: Exchange) -> None:
        self.is_kept = True
        self.connection = connection
        connection.give(self)
        self._start = self._open_at = self._ready_at = self._clock()
        self.exchange = self.worker.new_exchange(previous)
        self._send()

    def _open(self, *, openssl: bool) -> None:
        self.is_kept, self.is_sent, self.is_spent, self._is_openssl = False, False, False, openssl
        self._start, self._open_at, self._ready_at, self._first_at = self._clock(), 0.0, 0.0, 0.0
        self.closing_at = 0.0
        self.exchange = self.worker.new_exchange(None)
        self._dialogue = self.exchange if isinstance(self.exchange, Dialogue) else None
        begins_plain = self._dialogue is not None and self._dialogue.begins_plain
        self.connection = Connection(self._loop, self, None if begins_plain else self._session())
        self.connection.open(self._target.addresses, self._target.port, self.exchange.request)

    def try_next_address(self, now: float) -> None:
        """Try one more address if no address has answered for `NEXT_ADDRESS / 2` seconds."""
        if self.connection and self.connection.has_next and now - self._start >= NEXT_ADDRESS / 2:
            self.connection.try_next()

    def _session(self) -> Session | None:
        if self.settings is None:
            return None
        if not self._is_openssl:
            with suppress(Unsure):
                return self.settings.rustls(self.worker.server_name)
            self._is_openssl = True
        return self.settings.openssl(self.worker.server_name)

    def _send(self) -> None:
        """Send the request on a kept connection or a connection with TLS."""
        assert self.connection is not None  # noqa: S101 - the connection is ready
        self.is_sent = True
        try:
            self.connection.send(self.exchange.request)
            if self._dialogue:
                self._go_on(self._dialogue)
        except Unsure:
            self.on_unsure()
        except TlsError as error:
            self.on_failure(error.failure)
        except OSError as error:
            self.on_failure(Failure(Cause.RESET, errno=error.errno or 0))

    def _go_on(self, dialogue: Dialogue) -> None:
        """Do what the dialogue needs next. It needs no answer any more, or the handshake, or it waits."""
        self.is_sent = dialogue.has_spoken
        if dialogue.wants is Wants.TLS:
            self._start_tls(dialogue)
        elif dialogue.wants is Wants.NOTHING and self.settings and not dialogue.has_begun:
            self._await_acceptance()
        elif dialogue.wants is Wants.NOTHING:
            dialogue.complete()
            self._finish()

    def _start_tls(self, dialogue: Dialogue) -> None:
        assert self.connection is not None  # noqa: S101 - the target has just answered
        dialogue.start_tls()
        try:
            session = self._session()
        except UNUSABLE as error:
            self._end(Failure(Cause.LOCAL, words=str(error)))
            return
        if session:
            self.connection.start_tls(session)

    def _await_acceptance(self) -> None:
        """Announce the end of our data, so that the target ends the connection, or says why it refuses it."""
        if not self.closing_at and self.connection:
            self.closing_at = self._clock()
            self._on_wait(self)
            self.connection.finish()

    def settle(self) -> None:
        """End the probe if it is at its deadline and has all that it needs."""
        dialogue = self._dialogue
        if dialogue is None or self._is_over or self.stage() not in ("answer", "body"):
            return
        if not self.closing_at:
            dialogue.late(f"{self.worker.spec.timeout:g} s")
        if self.closing_at or not dialogue.fault:
            dialogue.complete()
            self._finish()

    # Called by the connection

    def on_open(self) -> None:
        self._open_at = self._clock()

    def on_ready(self) -> None:
        if self._is_over:
            return
        if self._dialogue and self.connection and self.connection.session is None:
            self._ready_at = 0.0 if self.settings else self._open_at
            self._go_on(self._dialogue)
            return
        self._ready_at = self._clock() if self.settings else self._open_at
        if self.exchange.is_done:
            self._finish()
        elif self.settings is None:
            self.is_sent = True
        elif self._is_alpn_agreed():
            self._send()
        else:
            self._fail(Failure(Cause.NO_HTTP2))

    def _is_alpn_agreed(self) -> bool:
        kind = self.worker.kind
        session = self.connection.session if self.connection else None
        return session is None or kind is None or not kind.NEEDS_ALPN or session.alpn() == kind.ALPN

    def on_data(self, data: bytes) -> None:
        exchange = self.exchange
        was_done = exchange.is_done
        reply = exchange.receive(data)
        if not self._first_at and exchange.has_begun:
            self._first_at = self._clock()
        if exchange.is_done and not was_done:
            self._finish()
            return
        if reply and self.connection is not None:
            self.connection.send(reply)
        if self._dialogue and not was_done:
            self._go_on(self._dialogue)

    def on_end(self, *, clean: bool) -> None:
        if self._is_over:
            self.is_spent = True
            return
        if self._is_shaking_hands():
            self._fail(Failure(Cause.TLS_CLOSED))
        elif self.closing_at and not clean:
            self._fail(Failure(Cause.EMPTY))
        else:
            self.exchange.end(clean=clean)
            self._finish()

    def on_failure(self, failure: Failure) -> None:
        if failure.cause is Cause.RESET and self._is_shaking_hands() and not self.is_kept:
            failure = Failure(Cause.TLS_RESET, errno=failure.errno)
        self._fail(failure)

    def on_unsure(self) -> None:
        self._fail(Failure(Cause.TLS_OTHER))

    def _is_shaking_hands(self) -> bool:
        """Returns whether the TLS handshake is in progress. Before STARTTLS is granted, it has not begun."""
        if self.settings is None or self._ready_at:
            return False
        return self._dialogue is None or (self.connection is not None and self.connection.session is not None)

    # The end

    def _finish(self) -> None:
        """Handle a complete exchange: end the probe, or repeat it."""
        if self._is_over:
            return
        if self.exchange.failure or (self.is_kept and self.exchange.is_stale):
            self._fail(self.exchange.failure or Failure(Cause.EMPTY))
            return
        if self._is_doubtful():
            self.worker.openssl_until = self._clock() + AGAIN
            self._repeat(openssl=True)
            return
        if self._is_openssl and self.worker.openssl_until <= (now := self._clock()):
            session = self.connection.session if self.connection else None
            if not (session and self.settings and self.settings.widen(session)):
                self.worker.openssl_until = now + AGAIN
        self._end(None)

    def _is_doubtful(self) -> bool:
        """Returns whether rustls has accepted certificates that OpenSSL refuses. This is checked as often as the
        certificate is read."""
        if self.settings is None or self._is_openssl or self.is_kept or self.connection is None:
            return False
        if (session := self.connection.session) is None or not self.worker.wants_certificate(self.worker.started):
            return False
        return not self.settings.confirms(session)

    def _fail(self, failure: Failure) -> None:
        if self._is_over:
            self.is_spent = True
            return
        if self.is_kept:
            self._repeat(openssl=self.worker.openssl_until > self._clock())
        elif not self._was_refused and self._is_lost(failure):
            self._was_refused = True
            self._repeat(openssl=self._is_openssl)
        elif self.settings and not self._is_openssl and self._is_tls(failure):
            self._repeat(openssl=True)
        elif failure.cause is Cause.GONE and self._was_refused:
            self._end(Failure(Cause.GOAWAY))
        else:
            self._conclude(self._explained(failure))

    def _conclude(self, failure: Failure) -> None:
        """End the probe. A target may close the connection right after the handshake, in whichever way."""
        if self._dialogue and self.closing_at and failure.cause in SILENT_ENDS:
            self._dialogue.complete()
            self._finish()
        else:
            self._end(failure)

    def _is_lost(self, failure: Failure) -> bool:
        """Returns whether the server has not processed the request, or perhaps has not and may process it twice."""
        return failure.cause in NOT_PROCESSED or (failure.cause is Cause.GONE and self.worker.is_repeatable)

    def _repeat(self, *, openssl: bool) -> None:
        """Repeat the probe on a new connection."""
        self._close()
        try:
            self._open(openssl=openssl)
        except UNUSABLE as error:
            self._end(Failure(Cause.LOCAL, words=str(error)))

    def _is_tls(self, failure: Failure) -> bool:
        """Returns whether TLS may be the cause: a target may refuse our certificate right after the handshake."""
        if failure.cause in BEYOND_TLS or self.exchange.has_begun:
            return False
        if self._dialogue and not self._ready_at and not self._is_shaking_hands():
            return False
        return not self._ready_at or self._clock() - self._ready_at < RIGHT_AFTER

    def _explained(self, failure: Failure) -> Failure:
        """Returns a more specific failure if the target has refused this client, see `explained`."""
        needs_alpn = bool(self.worker.kind and self.worker.kind.NEEDS_ALPN)
        session = self.connection.session if self.connection else None
        if self.exchange.has_begun or not self.settings or self.settings.has_certificate:
            session = None
        ready_for = self._clock() - self._ready_at if self._ready_at else None
        return explained(failure, session, ready_for, needs_alpn=needs_alpn)

    def _end(self, failure: Failure | None) -> None:
        self._is_over = True
        self.failure = failure
        self._on_end(self)

    def keep_or_close(self, *, keep: bool) -> None:
        """Keep the connection for the next probe if `keep` is True and the connection is usable. Else close it."""
        self._is_over = True
        if keep and not self.is_spent and not self.failure and self.connection and self.exchange.is_keepable:
            self.worker.keep(self.connection, self.exchange)
            self.connection = None
        else:
            self._close()

    def _close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None
            self.exchange.abandon()

    # Times

    def on_handled(self, since: float) -> None:
        now = self._clock()
        if not self._was_sent:
            self.lost += now - max(self.handled_at, since)
        self._was_sent = self.is_sent
        self.handled_at = now

    def phases(self, dns: float, now: float) -> Phases:
        """Returns how long each phase took until `now`, including the phase in which the probe ended."""
        now = self.closing_at or now
        if not self._open_at:
            return Phases(dns, now - self._start)
        connect = self._open_at - self._start
        if not self._ready_at:
            return Phases(dns, connect, now - self._open_at)
        tls = self._ready_at - self._open_at
        if not self.is_sent and not self._first_at:
            return Phases(dns, connect, tls)
        first = self._first_at or now
        return Phases(dns, connect, tls, first - self._ready_at, now - first)

    def local_errno(self) -> int:
        """Returns the local error that prevented a connection, see `Connection.local_errno`; 0 once it was open."""
        return self.connection.local_errno if self.connection and not self._open_at else 0

    def stage(self) -> str:
        """Returns what a timeout interrupts: "connect", "handshake", "answer" or "body"."""
        if self._dialogue:
            return ("handshake" if self._is_shaking_hands() else "answer") if self._open_at else "connect"
        if self._first_at and self.is_sent:
            return "body"
        if self.is_sent:
            return "answer"
        return "handshake" if self._open_at else "connect"
