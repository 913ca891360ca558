"""A fault of our own, or an answer that cannot be read, makes its probe unknown and affects no other probe."""

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from controller.health.store import HealthStore
from controller.probes import http
from controller.probes.resolver import Answer
from controller.probes.text import sound
from controller.probes.verdict import Verdict
from reconcilers.health import Outcome, ProbeResult, Reason
from reconcilers.spec import CheckSpec, HttpGet, Output, PodKey, Tls
from tests.support import targets
from tests.support.authority import Authority
from tests.support.chains import link, odd_extension, serving
from tests.support.checks import grpc, https, tcp
from tests.support.http2 import grpc_answer
from tests.support.net import until
from tests.support.probing import Bench, spec
from tests.support.recorders import FakeClock, RecordedResults
from tests.support.targets import Target

FAILURE, LOCAL, SUCCESS = Outcome.FAILURE, Outcome.LOCAL, Outcome.SUCCESS


class Pausing(RecordedResults):
    """Can pause the probe thread when it hands on results: after `pause`, until `go_on`."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = threading.Event()
        self.paused = threading.Event()
        self._go_on = threading.Event()

    def observe(self, results: Iterable[ProbeResult]) -> None:
        super().observe(results)
        if self.wanted.is_set():
            self.wanted.clear()
            self.paused.set()
            self._go_on.wait(30)

    def pause(self, bench: Bench, target: Target) -> None:
        """Pauses the thread, which a separate probe of `target` brings to the point where it pauses."""
        self.wanted.set()
        bench.engine.start([spec(target, "pause")])
        assert self.paused.wait(10)

    def go_on(self) -> None:
        self._go_on.set()


@pytest.fixture
def pausing() -> Pausing:
    return Pausing()


@pytest.fixture
def paused(authority: Authority, pausing: Pausing) -> Iterator[Bench]:
    """An engine that `pausing` can pause."""
    bench = Bench(authority.file, max_in_flight=20, results=pausing)
    yield bench
    pausing.go_on()
    bench.engine.close(10)


# Answers that cannot be read


def fails(*_: object) -> Verdict:
    raise ZeroDivisionError


BROKEN = SimpleNamespace(**{**vars(http), "verdict": fails, "excerpt": fails})
"""HTTP, but for reading an answer."""


@pytest.mark.parametrize("cut", [False, True], ids=["answers", "errors"])
def test_an_answer_that_cannot_be_read_is_our_own_fault_and_the_others_of_its_batch_are_read(
    paused: Bench, pausing: Pausing, caplog: pytest.LogCaptureFixture, cut: bool
) -> None:
    answer = threading.Event()

    def wait(connection: targets.Connection) -> None:
        answer.wait(30)
        (targets.close if cut else targets.answer())(connection)

    with Target() as target:
        target.behave(wait)
        target.behave(targets.answer(), "/pause")
        checks = [spec(target, f"pod-{number}", interval=0.5, timeout=30.0) for number in range(15)]
        checks = [replace(check, timeout=30.0) for check in checks]
        broken = {check.key for check in checks[::3]}
        paused.engine.start(checks)
        until(lambda: len(target.hits()) == 15)
        pausing.pause(paused, target)
        for key in broken:
            paused.engine._workers[key].kind = BROKEN
        answer.set()
        until(lambda: target.open_connections() == 0, what="every answer is there before any is read")
        pausing.go_on()
        first = {check.key: pausing.first(check.key) for check in checks}
        assert {key for key, result in first.items() if result.outcome is LOCAL} == broken
        assert {key for key, result in first.items() if result.outcome is (FAILURE if cut else SUCCESS)} == (
            first.keys() - broken
        )
        assert {first[key].detail for key in broken} == {
            "the result of the probe could not be read: ZeroDivisionError, a fault of this controller"
        }
        for check in checks:
            pausing.after(check.key, 2)
    assert caplog.text.count("Traceback") == 1, "it is told once"


def test_a_target_that_cannot_be_found_is_our_own_fault_and_the_others_are_probed(
    authority: Authority, target: Target
) -> None:
    class Failing:
        def objection(self, address: str, _port: int) -> str:
            if address == "127.0.0.9":
                raise ZeroDivisionError
            return ""

    bench = Bench(authority.file, guard=Failing())  # type: ignore[arg-type]
    odd = spec(target, "odd", interval=0.2, address="127.0.0.9")
    bench.engine.start([odd, spec(target, "even", interval=0.2)])
    results = [bench.results.after(odd.key, number) for number in range(3)]
    assert {(result.outcome, result.reason) for result in results} == {(LOCAL, Reason.LOCAL)}
    before = len(bench.results.all(PodKey("web1", "even")))
    until(lambda: SUCCESS in {each.outcome for each in bench.results.all(PodKey("web1", "even"))[before:]})
    bench.engine.close(10)


# gRPC's trailers


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (b"0", (SUCCESS, "")),
        (b"14", (FAILURE, "UNAVAILABLE")),
        (b"%C2%B2", (FAILURE, "UNKNOWN")),
        (b"\xc2\xb2", (FAILURE, "UNKNOWN")),
        (b"%D9%A1", (FAILURE, "UNKNOWN")),
        (b"9" * 120, (FAILURE, "UNKNOWN")),
        (b"-1", (FAILURE, "UNKNOWN")),
        (b"999", (FAILURE, "999")),
        (b"", (FAILURE, "UNKNOWN")),
    ],
)
def test_a_status_that_grpc_does_not_have_is_unknown(
    bench: Bench, target: Target, status: bytes, verdict: tuple[Outcome, str]
) -> None:
    target.greeting = grpc_answer([(b"grpc-status", status)])
    result = bench.result(grpc(target.port, "odd"))
    assert (result.outcome, result.detail) == verdict


def test_a_message_of_grpc_says_nothing_that_cannot_be_seen(bench: Bench, target: Target) -> None:
    target.greeting = grpc_answer([(b"grpc-status", b"14"), (b"grpc-message", b"a%1B[31m%0Ab%FF")])
    assert bench.result(grpc(target.port, "odd")).detail == "UNAVAILABLE: a\ufffd[31m\ufffdb\ufffd"


@pytest.mark.parametrize("output", Output)
def test_a_message_of_grpc_is_output_as_well(bench: Bench, target: Target, output: Output) -> None:
    target.greeting = grpc_answer([(b"grpc-status", b"14"), (b"grpc-message", b"secret")])
    said = bench.result(grpc(target.port, "odd", output=output)).detail
    assert said == ("UNAVAILABLE" if output is Output.NEVER else "UNAVAILABLE: secret")


# Text of a target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain, gr\u00fc\u00dfe", "plain, gr\u00fc\u00dfe"),
        ("Bad\udcff", "Bad\ufffd"),
        ("\udcc3\udcbc", "\u00fc"),
        ("a\x1b[31m\nb\0", "a\ufffd[31m\ufffdb\ufffd"),
    ],
)
def test_text_of_a_target_is_made_sound(text: str, expected: str) -> None:
    assert sound(text) == expected
    assert sound(text).isprintable()


def test_what_is_quoted_of_a_target_can_be_written_everywhere(bench: Bench, target: Target) -> None:
    target.behave(targets.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Bad\xff\x1b[31m\r\n\r\n"))
    result = bench.result(spec(target))
    assert result.reason is Reason.PROTOCOL
    assert result.detail == "the answer cannot be understood: Transfer-Encoding: bad\xff\ufffd[31m"
    assert result.detail.isprintable()
    result.detail.encode()


@pytest.mark.parametrize("insecure", [False, True], ids=["refused", "accepted"])
def test_a_certificate_with_bytes_that_are_no_text_is_read_like_any_other(
    bench: Bench, tmp_path: Path, insecure: bool
) -> None:
    context = serving(tmp_path, link("odd", names=("localhost",), more=odd_extension(b"caf\xe9\x1b")))
    with Target(context) as target:
        result = bench.result(https(target.port, "odd", tls=Tls(insecure_skip_verify=insecure)))
    assert result.detail == (
        ""
        if insecure
        else "the certificate is self-signed: ca_file has to contain it, or the server needs a trusted one"
    )
    assert result.certificate.names == "localhost"
    assert result.certificate.expires > time.time()


def test_a_header_field_of_grpc_with_an_invalid_name_cannot_be_understood(bench: Bench, target: Target) -> None:
    target.greeting = grpc_answer([(b"grpc-status", b"0")], [(b"Bad\xff\x1b", b"v")])
    result = bench.result(grpc(target.port, "odd"))
    assert result.reason is Reason.PROTOCOL
    assert result.detail == "the answer cannot be understood: a header field whose name is not valid"


# Our own time


def test_probes_that_came_late_by_our_own_fault_wait_for_a_free_transfer(
    authority: Authority, pausing: Pausing, target: Target
) -> None:
    clock = FakeClock()
    bench = Bench(authority.file, max_in_flight=20, results=pausing, clock=clock)
    checks = [tcp(target.port, f"pod-{number}", interval=1.0) for number in range(40)]
    bench.engine.start(checks)
    until(pausing.all)
    clock.advance(1.0)
    for check in checks:
        pausing.first(check.key, within=20)
    before = {check.key: len(pausing.all(check.key)) for check in checks}
    pausing.pause(bench, target)
    clock.advance(2.7)  # each check has missed one or two probes
    pausing.go_on()
    later = {key: pausing.after(key, count, within=20) for key, count in before.items()}
    assert {(result.outcome, result.detail) for result in later.values()} == {(SUCCESS, "")}
    bench.engine.close(10)


@pytest.mark.parametrize(
    ("lookup", "verdict"),
    [
        (
            0.9,
            (LOCAL, Reason.DNS, "of 1.5 s, 0.90 went by until web1 was resolved: too few were left for an answer"),
        ),
        (0.05, (FAILURE, Reason.TIMEOUT, "connected, then nothing for 1.5 s")),
    ],
    ids=["slow", "quick"],
)
def test_a_timeout_is_not_the_pods_fault_if_the_name_took_most_of_it(
    authority: Authority, target: Target, lookup: float, verdict: tuple[Outcome, Reason, str]
) -> None:
    check = CheckSpec(PodKey("web1", "isup"), HttpGet("web1", target.port, "/"), 60.0, 1.5)
    clock, resolved = FakeClock(), threading.Event()

    def ask(name: str) -> Answer:
        resolved.wait(30)
        return Answer(("127.0.0.1",))

    target.behave(targets.hang)
    bench = Bench(authority.file, ask=ask, clock=clock)
    bench.engine.start([check])
    until(lambda: bench.engine._workers.get(check.key) and bench.engine._workers[check.key].waiting)
    clock.advance(lookup)
    until(lambda: bench.engine._workers[check.key].dns > 0)
    resolved.set()
    until(target.hits)
    clock.advance(1.5 - lookup)
    result = bench.results.first(check.key)
    assert (result.outcome, result.reason, result.detail) == verdict
    bench.engine.close(10)


def test_a_health_that_came_from_an_odd_answer_can_be_saved(authority: Authority, target: Target) -> None:
    target.greeting = grpc_answer([], [(b"Bad\xff", b"v")])
    store = HealthStore(lambda _: None)
    bench = Bench(authority.file)
    check = grpc(target.port, "odd")
    store.follow([(check, 1)])
    store.observe([replace(bench.result(check), generation=1)])
    assert store.all()[0].health.detail.encode()
    bench.engine.close(10)
