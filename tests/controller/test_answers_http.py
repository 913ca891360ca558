"""The result of every misbehaviour of an HTTP target: its own reason and a sentence, in time, with few bytes read.

One engine probes all targets at the same time.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import repeat

import pytest

from controller.probes.http import NOT_FOLLOWED
from controller.probes.http_answer import MAX_EXCERPT, MAX_READ
from reconcilers.health import Outcome, ProbeResult, Reason
from tests.support import faults, targets
from tests.support.authority import Authority
from tests.support.checks import http, probe_all
from tests.support.faults import Flood, flood
from tests.support.probing import Bench
from tests.support.targets import Behaviour, BlackHole, Target, head, raw

T = 2.0
"""Seconds that a target which never ends is given."""
INTERVAL = 3.0
ENOUGH = 20.0
"""Seconds for those that end by themselves, at once."""
SLACK = 10.0
"""Seconds for which the machine may stand still."""
BUFFERS = 10 * faults.SEND_BUFFER
"""Bytes that both ends' socket buffers may hold, generously: the target has sent them, nobody read them."""

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CUT_SHORT = "the connection was closed in the middle of the answer"
ODD_STATUS = "the answer's status line cannot be understood"
NOT_COMPLETE = f"the answer was not complete after {T:g} s"
SILENT = f"connected, then nothing for {T:g} s"
TOO_LONG = "the answer's headers are longer than (64 KiB|is read)"


@dataclass(frozen=True, slots=True)
class Case:
    """What a target does with a request (or with a connection, as `greeting`), and the expected result. `sentence` is a
    regular expression for the whole sentence."""

    name: str
    behaviour: Behaviour
    reason: Reason
    sentence: str
    status: int = 0
    greeting: bool = False

    def __str__(self) -> str:
        return self.name


def dripping(start: bytes, drops: bytes) -> Behaviour:
    return targets.repeat([start, *repeat(drops, 99)], 0.1)


CASES = [
    # It never ends
    Case("never answers", targets.hang, Reason.TIMEOUT, SILENT),
    Case("accepts and does nothing", targets.hang, Reason.TIMEOUT, SILENT, greeting=True),
    Case("drips its header", dripping(OK + b"X: ", b"x"), Reason.TIMEOUT, NOT_COMPLETE, 200),
    Case("drips its body", dripping(head(200, {"Content-Length": "99"}), b"x"), Reason.TIMEOUT, NOT_COMPLETE, 200),
    Case("drips 100 Continue", dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), Reason.TIMEOUT, NOT_COMPLETE, 100),
    Case(
        "sends half a body",
        targets.raw_then_hang(OK + b"Content-Length: 5\r\n\r\nhel"),
        Reason.TIMEOUT,
        NOT_COMPLETE,
        200,
    ),
    # It is too much
    Case("sends 10 MB", flood(head(200, {"Content-Length": "10000000"}), b"x" * 16_384), Reason.NONE, "", 200),
    Case("has an endless body", flood(head(200, {}), b"x" * 16_384, 100), Reason.NONE, "", 200),
    Case(
        "has an endless body for an error",
        flood(head(500, {}), b"x" * 16_384, 100),
        Reason.STATUS,
        "answered with status 500",
        500,
    ),
    Case("sends a gzip bomb", faults.gzip_bomb(), Reason.NONE, "", 200),
    Case(
        "sends a gzip bomb as a coding", raw(OK + b"Transfer-Encoding: gzip\r\n\r\n"), Reason.PROTOCOL, ".*gzip.*", 200
    ),
    Case("has one header of 10 MB", flood(OK + b"X: ", b"x" * 16_384), Reason.PROTOCOL, TOO_LONG, 200),
    Case("has a header of many lines", flood(OK + b"X: y\r\n", b" more\r\n" * 99), Reason.PROTOCOL, TOO_LONG, 200),
    Case("has headers of 10 MB", flood(OK, b"X: %b\r\n" % (b"y" * 99)), Reason.PROTOCOL, TOO_LONG, 200),
    Case("has endless small headers", flood(OK, b"X: y\r\n" * 99), Reason.PROTOCOL, TOO_LONG, 200),
    Case("has endless trailers", flood(CHUNKED + b"0\r\n", b"X: %b\r\n" % (b"y" * 99)), Reason.PROTOCOL, TOO_LONG, 200),
    Case("floods 100 Continue", flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99), Reason.PROTOCOL, TOO_LONG, 100),
    Case("floods Early Hints", flood(b"", b"HTTP/1.1 103 E\r\nL: x\r\n\r\n" * 99), Reason.PROTOCOL, TOO_LONG, 103),
    # It is not what it should be
    Case(
        "redirects to itself",
        targets.redirect("/redirects to itself"),
        Reason.REDIRECT,
        f"answered with status 302{NOT_FOLLOWED}",
        302,
    ),
    Case("says garbage", raw(bytes(range(256)) * 4), Reason.PROTOCOL, "the answer is not HTTP"),
    Case("is a shell", targets.raw_then_hang(b"SSH-2.0-OpenSSH_9.2\r\n"), Reason.PROTOCOL, "the answer is not HTTP"),
    Case("speaks HTTP/0.9", raw(b"<html>hello</html>\n"), Reason.PROTOCOL, "the answer is not HTTP"),
    Case("answers as HTTP/2", raw(b"HTTP/2 200 OK\r\n\r\n"), Reason.PROTOCOL, ODD_STATUS),
    Case("answers as HTTP/9.9", raw(b"HTTP/9.9 200 OK\r\n\r\n"), Reason.PROTOCOL, ODD_STATUS),
    Case("has status 000", raw(b"HTTP/1.1 000 Nothing\r\n\r\n"), Reason.PROTOCOL, ODD_STATUS),
    Case("has status 99999", raw(b"HTTP/1.1 99999 Much\r\n\r\n"), Reason.PROTOCOL, ODD_STATUS),
    Case("has status 20000", raw(b"HTTP/1.1 20000 Much\r\n\r\n"), Reason.PROTOCOL, ODD_STATUS),
    Case("has status 2", raw(b"HTTP/1.1 2 Little\r\n\r\n"), Reason.PROTOCOL, ODD_STATUS),
    Case("has status -200", raw(b"HTTP/1.1 -200 Under\r\n\r\n"), Reason.PROTOCOL, ODD_STATUS),
    Case("has a word for a status", raw(b"HTTP/1.1 fine OK\r\n\r\n"), Reason.PROTOCOL, ODD_STATUS),
    Case("has no status", raw(b"HTTP/1.1\r\n\r\n"), Reason.PROTOCOL, ODD_STATUS),
    Case("has status 999", targets.answer(999), Reason.STATUS, "answered with status 999", 999),
    Case(
        "switches protocols",
        raw(b"HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\nfoo"),
        Reason.STATUS,
        "answered with status 101",
        101,
    ),
    Case(
        "has two lengths",
        raw(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        Reason.PROTOCOL,
        "the answer cannot be understood: .*Content-Length",
        200,
    ),
    Case(
        "has a negative length",
        raw(OK + b"Content-Length: -5\r\n\r\nhello"),
        Reason.PROTOCOL,
        "the answer cannot be understood: .*Content-Length",
        200,
    ),
    Case(
        "has a bad chunk",
        raw(CHUNKED + b"xyz\r\n"),
        Reason.PROTOCOL,
        "the answer cannot be understood: Invalid character in chunk size",
        200,
    ),
    Case(
        "has NUL in a header",
        raw(OK + b"X: a\0b\r\n\r\n"),
        Reason.PROTOCOL,
        ".*cannot be understood: a NUL byte.*",
        200,
    ),
    Case(
        "has no colon in a header",
        raw(OK + b"X\r\n\r\n"),
        Reason.PROTOCOL,
        ".*cannot be understood: Invalid header.*",
        200,
    ),
    # It ends too early
    Case("truncates its body", raw(OK + b"Content-Length: 50\r\n\r\nshort"), Reason.PROTOCOL, CUT_SHORT, 200),
    Case("truncates a chunk", raw(CHUNKED + b"50\r\nshort"), Reason.PROTOCOL, CUT_SHORT, 200),
    Case("truncates its headers", raw(OK + b"Content-Le"), Reason.PROTOCOL, f"{CUT_SHORT}'s headers", 200),
    Case("ends after 100", raw(b"HTTP/1.1 100 Go\r\n\r\n" + OK), Reason.PROTOCOL, f"{CUT_SHORT}'s headers", 200),
    Case("resets", targets.reset, Reason.PROTOCOL, "the connection was reset before the answer was complete"),
    Case("closes", targets.close, Reason.PROTOCOL, "the connection was closed without an answer"),
    Case(
        "closes at once", targets.close, Reason.PROTOCOL, "the connection was closed without an answer", greeting=True
    ),
]


@pytest.fixture(scope="module")
def bench(authority: Authority) -> Iterator[Bench]:
    bench = Bench(authority.file)
    yield bench
    bench.engine.close(10)


@pytest.fixture(scope="module")
def found(bench: Bench) -> Iterator[dict[str, ProbeResult]]:
    """The first result of each target."""
    with ExitStack() as stack:
        common = stack.enter_context(Target())
        specs = []
        for number, case in enumerate(CASES):
            target = stack.enter_context(Target()) if case.greeting else common
            if case.greeting:
                target.greeting = case.behaviour
            else:
                target.behave(case.behaviour, f"/{number}")
            timeout = T if case.reason is Reason.TIMEOUT else ENOUGH
            specs.append(http(target.port, case.name, path=f"/{number}", interval=INTERVAL, timeout=timeout))
        yield probe_all(bench, specs)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_target_that(case: Case, found: dict[str, ProbeResult]) -> None:
    result = found[case.name]
    outcome = Outcome.FAILURE if case.reason else Outcome.SUCCESS
    assert (result.outcome, result.reason, result.status_code) == (outcome, case.reason, case.status), result
    assert re.fullmatch(case.sentence, result.detail)
    assert result.duration < (T if case.reason is Reason.TIMEOUT else ENOUGH) + SLACK
    assert len(result.output) <= MAX_EXCERPT


@pytest.mark.parametrize("case", [case for case in CASES if isinstance(case.behaviour, Flood)], ids=str)
def test_little_is_read_of_a_target_that(case: Case, found: dict[str, ProbeResult]) -> None:
    """One header line is read up to libcurl's own limit of 100 KiB, and refused then."""
    assert found
    assert isinstance(case.behaviour, Flood)
    assert 0 < case.behaviour.sent <= MAX_READ + BUFFERS


def test_phases_say_where_the_time_went(found: dict[str, ProbeResult]) -> None:
    for result in found.values():
        assert min(result.phases) >= 0
        assert sum(result.phases) <= result.duration + 0.01
        assert result.phases.tls == 0
    assert found["never answers"].phases.first_byte > 0.3 * T
    assert found["drips its body"].phases.transfer > 0.3 * T


def test_a_slow_first_byte_shows_in_its_phase(bench: Bench, target: Target) -> None:
    target.behave(targets.slow(0.3), "/slow")
    target.behave(targets.repeat([head(200, {"Content-Length": "2"}), b"o", b"k"], 0.2), "/body")
    found = probe_all(bench, [http(target.port, "slow"), http(target.port, "body")])
    slow, body = found["slow"].phases, found["body"].phases
    assert found["slow"].outcome is found["body"].outcome is Outcome.SUCCESS
    assert max(slow) == slow.first_byte > 0.28
    assert max(body) == body.transfer > 0.28


# Where nobody answers


def test_a_redirect_to_another_host_is_not_followed(bench: Bench, target: Target) -> None:
    with Target() as other:
        target.behave(targets.redirect(f"http://localhost:{other.port}/"))
        result = bench.result(http(target.port, "redirects"))
        assert (result.reason, result.detail) == (Reason.REDIRECT, f"answered with status 302{NOT_FOLLOWED}")
        assert other.accepted() == []


def test_a_redirect_to_itself_is_not_followed(bench: Bench, target: Target) -> None:
    target.behave(targets.redirect("/again"))
    assert bench.result(http(target.port, "again")).reason is Reason.REDIRECT
    assert len(target.hits()) == 1


def test_a_closed_port_refuses(bench: Bench, target: Target) -> None:
    target.refuse()
    result = bench.result(http(target.port, "closed"))
    assert (result.outcome, result.reason) == (Outcome.FAILURE, Reason.REFUSED)
    assert result.detail == f"connection to localhost:{target.port} refused"
    assert result.phases.connect > 0


def test_a_black_hole_is_a_timeout_spent_on_connecting(bench: Bench) -> None:
    with BlackHole() as hole:
        result = bench.result(http(hole.port, "hole", host="web1", address="127.0.0.1", timeout=T))
    assert (result.outcome, result.reason) == (Outcome.FAILURE, Reason.TIMEOUT)
    assert result.detail == f"no connection to 127.0.0.1:{hole.port} for {T:g} s"
    assert result.phases.connect > 0.8 * T
    assert result.phases[2:] == (0, 0, 0)


def test_a_name_that_nobody_has_is_a_failure_of_dns(bench: Bench) -> None:
    """A label of over 63 letters: the C library knows without asking a name server."""
    result = bench.result(http(80, "nobody", host="x" * 80))
    assert (result.outcome, result.reason) == (Outcome.FAILURE, Reason.DNS)
    assert result.detail == f"{'x' * 80} cannot be resolved: Name or service not known"


def test_a_connection_that_is_reset_at_once_is_a_failure(bench: Bench, target: Target) -> None:
    """How far the probe has come by then depends on microseconds."""
    target.greeting = targets.reset
    result = bench.result(http(target.port, "reset"))
    assert result.outcome is Outcome.FAILURE
    assert result.reason in {Reason.CONNECT, Reason.PROTOCOL}
    assert re.search("reset", result.detail, re.IGNORECASE)


def test_a_tls_server_on_the_plain_port_is_a_failure_of_the_protocol(bench: Bench, secure: Target) -> None:
    assert bench.result(http(secure.port, "plain")).reason is Reason.PROTOCOL
