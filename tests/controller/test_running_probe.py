"""One probe in flight. It ends once and releases its connections, for any events in any order."""

import errno
from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from controller.probes import running_probe
from controller.probes.failure import Cause, Failure
from controller.probes.http2 import SETTINGS, frame
from controller.probes.running_probe import RunningProbe
from controller.probes.target import Target
from controller.probes.tls import OpenSslSession, TlsError, Unsure
from controller.probes.worker import Worker
from reconcilers.spec import CheckSpec, GrpcHealth, HttpGet, PodKey, Probe, Step, TcpConnect, Tls
from tests.support.recorders import FakeClock

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ADDRESS = "10.0.0.1"
TARGET = Target((ADDRESS, "fd00::1"), 80)


class FakeConnection:
    """A connection that a test controls. `every` has all connections of a test."""

    every: ClassVar[list["FakeConnection"]] = []
    refuses: ClassVar[bool] = False
    """Whether `open` fails at once."""
    breaks: ClassVar[Exception | None] = None
    """What `send` raises."""

    def __init__(self, _loop: object, owner: RunningProbe, session: object) -> None:
        self.owner = owner
        self.session = session
        self.address = ADDRESS
        self.is_open = True
        self.was_opened = False
        self.sent: list[bytes] = []
        self.idle = True
        FakeConnection.every.append(self)

    def open(self, _addresses: Sequence[str], _port: int, _request: bytes) -> None:
        if FakeConnection.refuses:
            self.owner.on_failure(Failure(Cause.CONNECT, errno=errno.ECONNREFUSED))

    def give(self, owner: RunningProbe) -> None:
        self.owner = owner

    def poll(self) -> None: ...

    def is_idle(self) -> bool:
        return self.idle

    def send(self, data: bytes) -> None:
        assert self.is_open
        if FakeConnection.breaks:
            raise FakeConnection.breaks
        self.sent.append(data)

    def start_tls(self, session: object) -> None:
        assert self.is_open
        self.session = session

    def finish(self) -> None:
        self.send(b"close_notify")

    def close(self) -> None:
        self.is_open = False


class FakeRustls:
    is_ready = is_closed = False

    def __init__(self, alpn: str) -> None:
        self._alpn = alpn

    def alpn(self) -> str:
        return self._alpn


class FakeOpenSsl(OpenSslSession):
    """A session of OpenSSL. `demands`: the target has asked for a client certificate."""

    def __init__(self, alpn: str, *, demands: bool) -> None:
        self._name = alpn
        self.demands_certificate = demands

    def alpn(self) -> str:
        return self._name


class FakeSettings:
    """The TLS settings of a check. rustls or OpenSSL may be unable to use them."""

    has_certificate = False

    def __init__(self, *, alpn: str = "", rustls: bool = True, openssl: bool = True, demands: bool = False) -> None:
        self._alpn = alpn
        self._has_rustls, self._has_openssl, self._demands = rustls, openssl, demands

    def widen(self, *_: object) -> bool:
        return False

    def confirms(self, _: object) -> bool:
        return True

    def rustls(self, _name: str) -> FakeRustls:
        if not self._has_rustls:
            raise Unsure
        return FakeRustls(self._alpn)

    def openssl(self, _name: str) -> FakeOpenSsl:
        if not self._has_openssl:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return FakeOpenSsl(self._alpn, demands=self._demands)


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    reset(monkeypatch)


def reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_probe, "Connection", FakeConnection)
    FakeConnection.every, FakeConnection.refuses, FakeConnection.breaks = [], False, None


class Run:
    """A probe and the calls of its `on_end`."""

    def __init__(self, probe: Probe, tls: FakeSettings | None = None, *, kept: bool = False) -> None:
        self.clock = FakeClock()
        self.ends: list[RunningProbe] = []
        self.worker = Worker(CheckSpec(PodKey("web1", "isup"), probe, 5.0, 5.0), 1)
        self.worker.certificate_due = self.clock() + 60
        self.worker.started = self.clock()
        self.probe = RunningProbe(
            self.worker,
            None,  # type: ignore[arg-type]
            TARGET,
            tls,  # type: ignore[arg-type]
            self.clock,
            self.ends.append,
            lambda _: None,
        )
        if kept:
            connection = FakeConnection(None, self.probe, tls and tls.rustls(""))
            self.worker.keep(connection, self.worker.new_exchange(None))  # type: ignore[arg-type]

    @property
    def connection(self) -> FakeConnection | None:
        return self.probe.connection  # type: ignore[return-value]

    def begin(self) -> None:
        self.probe.begin(self.clock(), 0.0)

    def connect(self) -> None:
        self.probe.on_open()
        self.probe.on_ready()


PLAIN, SECURE = HttpGet("web1", 80, "/", reuse=True), HttpGet("web1", 443, "/", Tls(), reuse=True)


# Usual sequences of events


def test_a_probe_ends_at_its_answer_and_keeps_or_closes_its_connection() -> None:
    for keep in (False, True):
        run = Run(PLAIN)
        run.begin()
        run.connect()
        run.probe.on_data(ANSWER)
        assert (run.ends, run.probe.failure) == ([run.probe], None)
        connection = run.connection
        assert connection
        run.probe.keep_or_close(keep=keep)
        assert connection.is_open is keep
        assert bool(run.worker.kept) is keep


@pytest.mark.parametrize("how", ["end", "end in the headers", "reset", "408", "send"])
def test_a_probe_that_fails_on_a_kept_connection_is_repeated_on_a_new_one(how: str) -> None:
    run = Run(PLAIN, kept=True)
    FakeConnection.breaks = BrokenPipeError(errno.EPIPE, "Broken pipe") if how == "send" else None
    run.begin()
    FakeConnection.breaks = None
    match how:
        case "end":
            run.probe.on_end(clean=True)
        case "end in the headers":
            run.probe.on_data(b"HTTP/1.1 200 OK\r\nContent-Le")
            run.probe.on_end(clean=True)
        case "reset":
            run.probe.on_failure(Failure(Cause.RESET))
        case "408":
            run.probe.on_data(b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n")
    assert run.ends == []
    kept, fresh = FakeConnection.every
    assert (kept.is_open, fresh.is_open, run.connection) == (False, True, fresh)
    run.connect()
    run.probe.on_data(ANSWER)
    assert (run.ends, run.probe.failure) == ([run.probe], None)


@pytest.mark.parametrize("why", ["closed", "another address", "a certificate is due"])
def test_a_kept_connection_that_cannot_be_used_is_closed(why: str) -> None:
    run = Run(
        SECURE if why.startswith("a cert") else PLAIN, FakeSettings() if why.startswith("a cert") else None, kept=True
    )
    kept = FakeConnection.every[0]
    kept.idle = why != "closed"
    kept.address = "10.0.0.9" if why == "another address" else ADDRESS
    run.worker.certificate_due = run.clock() if why.startswith("a cert") else run.worker.certificate_due
    run.begin()
    assert not kept.is_open
    assert run.connection is FakeConnection.every[1]
    assert run.worker.kept is None


def test_a_handshake_that_rustls_fails_is_repeated_with_openssl_once() -> None:
    run = Run(SECURE, FakeSettings())
    run.begin()
    run.probe.on_open()
    run.probe.on_unsure()
    assert run.ends == []
    assert isinstance(run.connection and run.connection.session, FakeOpenSsl)
    assert [each.is_open for each in FakeConnection.every] == [False, True]
    run.probe.on_open()
    run.probe.on_failure(Failure(Cause.NOT_TLS))
    assert [each.failure for each in run.ends] == [Failure(Cause.NOT_TLS)]


def test_a_target_that_only_openssl_accepts_is_remembered() -> None:
    run = Run(SECURE, FakeSettings(rustls=False))
    run.begin()
    run.connect()
    run.probe.on_data(ANSWER)
    assert run.worker.openssl_until == run.clock() + 3600


def test_settings_that_openssl_cannot_use_cause_a_local_failure() -> None:
    run = Run(SECURE, FakeSettings(openssl=False))
    run.begin()
    run.probe.on_open()
    run.probe.on_unsure()
    [end] = run.ends
    assert end.failure
    assert end.failure.cause is Cause.LOCAL


@pytest.mark.parametrize(("demands", "expected"), [(True, Cause.CLIENT_CERTIFICATE), (False, Cause.EMPTY)])
def test_a_demand_for_a_client_certificate_is_reported_as_the_cause(demands: bool, expected: Cause) -> None:
    run = Run(SECURE, FakeSettings(demands=demands))
    run.begin()
    for _ in range(2):
        run.connect()
        run.probe.on_end(clean=False)
    [end] = run.ends
    assert end.failure
    assert end.failure.cause is expected


@pytest.mark.parametrize(
    ("steps", "stage", "phases"),
    [
        (0, "connect", (0.5, 1.0, 0.0, 0.0, 0.0)),
        (1, "handshake", (0.5, 1.0, 1.0, 0.0, 0.0)),
        (2, "answer", (0.5, 1.0, 1.0, 1.0, 0.0)),
        (3, "body", (0.5, 1.0, 1.0, 1.0, 1.0)),
    ],
)
def test_the_stage_and_the_phases_of_a_probe_at_each_step(steps: int, stage: str, phases: tuple[float, ...]) -> None:
    run = Run(SECURE, FakeSettings())
    run.begin()
    todo: list[Callable[[], None]] = [run.probe.on_open, run.probe.on_ready, lambda: run.probe.on_data(ANSWER[:9])]
    for step in todo[:steps]:
        run.clock.advance(1)
        step()
    run.clock.advance(1)
    assert run.probe.stage() == stage
    assert tuple(run.probe.phases(0.5, run.clock())) == phases


# Events in any order


def test_a_probe_whose_files_cannot_be_used_after_starttls_is_local() -> None:
    run = Run(TcpConnect("web1", 110, Tls(), "pop3"), FakeSettings(rustls=False, openssl=False))
    run.begin()
    run.connect()
    run.probe.on_data(b"+OK hi\r\n")
    run.probe.on_data(b"+OK go\r\n")
    assert run.ends == [run.probe]
    assert run.probe.failure == Failure(Cause.LOCAL, words="[Errno 12] Cannot allocate memory")


def test_a_match_whose_search_was_put_off_is_found_at_the_deadline() -> None:
    """So many pieces arrived before the match that its last byte did not cause a search."""
    run = Run(TcpConnect("web1", 80, expect=".*".join("a" * 200) + "b"))
    run.begin()
    run.connect()
    for letter in b"a" * 6_000 + b"b":
        run.probe.on_data(bytes([letter]))
    assert run.ends == []
    run.probe.settle()
    assert (run.ends, run.probe.failure) == ([run.probe], None)


DATA = st.sampled_from(
    [
        ANSWER,
        ANSWER[:20],
        b"x",
        b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        frame(SETTINGS, 0, 0),
        frame(7, 0, 0, b"\0" * 8),
        b"+OK hi\r\n",
    ]
)
FAILURES = st.builds(Failure, st.sampled_from(Cause), st.sampled_from([0, errno.ECONNRESET, errno.EMFILE]))
BREAKS = st.sampled_from([OSError(errno.EPIPE, "Broken pipe"), Unsure(), TlsError(Failure(Cause.TLS_OTHER))])
PROBES = st.sampled_from(
    [
        (PLAIN, SECURE),
        (GrpcHealth("web1", 80), GrpcHealth("web1", 80, tls=Tls())),
        (TcpConnect("web1", 80), TcpConnect("web1", 80, Tls())),
        (TcpConnect("web1", 80, send=b"a"), TcpConnect("web1", 80, Tls(), send=b"a")),
        (TcpConnect("web1", 80, expect="x"), TcpConnect("web1", 80, Tls(), steps=(Step(expect="x"), Step(b"a", "k")))),
        (TcpConnect("web1", 80), TcpConnect("web1", 80, Tls(), "pop3", send=b"a", expect="OK")),
        (TcpConnect("web1", 80), TcpConnect("web1", 80, Tls(), "postgres")),
    ]
)


class AnyOrder(RuleBasedStateMachine):
    """Each connection opens once. Then any event may occur at any time until the probe is released, also after its
    end."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        reset(self.patch)
        self.released = False

    def teardown(self) -> None:
        if not self.released:
            self.release(keep=False)
        assert not any(each.is_open for each in FakeConnection.every if not self._is_kept(each))
        self.run.worker.drop_kept()
        assert not any(each.is_open for each in FakeConnection.every)
        self.patch.undo()

    def _is_kept(self, connection: FakeConnection) -> bool:
        kept = self.run.worker.kept
        return kept is not None and kept.connection is connection  # type: ignore[comparison-overlap]

    @initialize(
        probes=PROBES,
        tls=st.none()
        | st.builds(
            FakeSettings,
            alpn=st.sampled_from(["", "h2"]),
            rustls=st.booleans(),
            openssl=st.booleans(),
            demands=st.booleans(),
        ),
        kept=st.booleans(),
        idle=st.booleans(),
        refuses=st.booleans(),
        breaks=st.none() | BREAKS,
    )
    def begin(
        self,
        probes: tuple[Probe, Probe],
        tls: FakeSettings | None,
        kept: bool,
        idle: bool,
        refuses: bool,
        breaks: Exception | None,
    ) -> None:
        usable = tls is None or tls._has_rustls or tls._has_openssl
        probe = probes[tls is not None]
        kept = kept and (tls is None or tls._has_rustls) and not isinstance(probe, TcpConnect)
        self.run = Run(probe, tls if usable else None, kept=kept)
        for each in FakeConnection.every:
            each.idle, each.was_opened = idle, True
        FakeConnection.refuses, FakeConnection.breaks = refuses, breaks
        self.run.begin()
        FakeConnection.refuses, FakeConnection.breaks = False, None

    def has_connection(self) -> bool:
        return not self.released and self.run.connection is not None

    def is_connecting(self) -> bool:
        return not self.released and self.run.connection is not None and not self.run.connection.was_opened

    def is_connected(self) -> bool:
        return self.has_connection() and not self.is_connecting()

    @precondition(is_connecting)
    @rule()
    def opens(self) -> None:
        assert self.run.connection
        self.run.connection.was_opened = True
        self.run.probe.on_open()

    @precondition(is_connected)
    @rule(breaks=st.none() | BREAKS, refuses=st.booleans())
    def is_ready(self, breaks: Exception | None, refuses: bool) -> None:
        FakeConnection.refuses, FakeConnection.breaks = refuses, breaks
        self._handled(self.run.probe.on_ready)

    @precondition(is_connected)
    @rule(data=DATA)
    def gets(self, data: bytes) -> None:
        self._handled(lambda: self.run.probe.on_data(data))

    @precondition(is_connected)
    @rule(clean=st.booleans())
    def is_closed(self, clean: bool) -> None:
        self._handled(lambda: self.run.probe.on_end(clean=clean))

    @precondition(has_connection)
    @rule(failure=FAILURES, refuses=st.booleans())
    def fails(self, failure: Failure, refuses: bool) -> None:
        FakeConnection.refuses = refuses
        self._handled(lambda: self.run.probe.on_failure(failure))

    @precondition(has_connection)
    @rule()
    def is_unsure(self) -> None:
        self._handled(self.run.probe.on_unsure)

    def _handled(self, event: Callable[[], None]) -> None:
        """Calls the probe as a connection does, which then calls `on_handled`."""
        try:
            event()
        finally:
            FakeConnection.refuses, FakeConnection.breaks = False, None
        self.run.probe.on_handled(self.run.clock())

    @precondition(is_connected)
    @rule()
    def is_at_its_deadline(self) -> None:
        self._handled(self.run.probe.settle)

    @rule(seconds=st.floats(0, 2))
    def waits(self, seconds: float) -> None:
        self.run.clock.advance(seconds)

    @precondition(lambda self: not self.released)
    @rule(keep=st.booleans())
    def release(self, keep: bool) -> None:
        """The prober releases a probe at its end or at its deadline."""
        self.released = True
        self.run.probe.keep_or_close(keep=keep)

    @invariant()
    def ends_at_most_once(self) -> None:
        assert len(self.run.ends) <= 1

    @invariant()
    def has_one_connection_at_most(self) -> None:
        opened = [each for each in FakeConnection.every if each.is_open]
        assert len(opened) <= 1
        if self.released:
            assert not opened or self._is_kept(opened[0])
            assert self.run.connection is None

    @invariant()
    def is_not_left_without_a_connection(self) -> None:
        """Otherwise nothing ends the probe before its deadline."""
        assert self.released or self.run.ends or self.run.connection

    @invariant()
    def has_phases(self) -> None:
        assert all(each >= 0 for each in self.run.probe.phases(0.0, self.run.clock()))
        assert self.run.probe.stage() in {"connect", "handshake", "answer", "body"}
        assert self.run.probe.lost >= 0


AnyOrder.TestCase.settings = settings(max_examples=200, stateful_step_count=15, deadline=None)
test_a_probe_ends_once_for_any_events_in_any_order = AnyOrder.TestCase
