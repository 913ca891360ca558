"""The requests of HTTP probes, byte by byte, and how often each is sent."""

import ssl
from collections.abc import Callable
from dataclasses import replace

import pytest

from reconcilers.health import Outcome, Reason
from reconcilers.manifest import parse
from reconcilers.options import CheckOptions, Rules
from reconcilers.spec import PodKey
from tests.support import targets
from tests.support.authority import Authority
from tests.support.checks import http, https
from tests.support.faults import small_window
from tests.support.net import until
from tests.support.probing import Bench
from tests.support.targets import Behaviour, Connection, Target

BODY = '{"ping": "Grüße"}\r\n\r\nGET / HTTP/1.1\r\n'


class Requests:
    """A greeting that reads one request with its body, keeps it in `heard`, and then behaves as `then`."""

    def __init__(self, then: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self._then = then
        self._tls = tls
        self.heard: list[tuple[list[str], bytes]] = []

    def __call__(self, connection: Connection) -> None:
        connection.sock.settimeout(30)
        if self._tls:
            connection.sock = self._tls.wrap_socket(connection.sock, server_side=True)
        data, more = b"", b"more"
        while more and not self._is_complete(data):
            more = connection.sock.recv(8192)
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        self.heard.append((head.decode().split("\r\n"), body))
        self._then(connection)

    @staticmethod
    def _is_complete(data: bytes) -> bool:
        head, end, body = data.partition(b"\r\n\r\n")
        lengths = [line[16:] for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
        return bool(end) and len(body) >= int(lengths[0] if lengths else 0)


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("body", [BODY, "ü" * 8192, ""], ids=["short", "longest", "empty"])
def test_a_body_is_sent_as_it_is_with_its_length(
    bench: Bench, authority: Authority, body: str, *, secure: bool
) -> None:
    with Target() as target:
        target.greeting = requests = Requests(targets.answer(), authority.server() if secure else None)
        make = https if secure else http
        headers = (("Content-Type", "application/json"),)
        assert (
            bench.result(make(target.port, "a", method="POST", body=body, headers=headers)).outcome is Outcome.SUCCESS
        )
    lines, sent = requests.heard[0]
    assert lines[0] == "POST /a HTTP/1.1"
    assert [line for line in lines if line.startswith("Content-")] == [
        "Content-Type: application/json",
        f"Content-Length: {len(body.encode())}",
    ]
    assert sent == body.encode()


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_the_largest_request_is_sent_in_full(bench: Bench, authority: Authority, method: str, *, secure: bool) -> None:
    """A POST over TLS is sent with OpenSSL, and a PUT with rustls."""
    headers, body = tuple((f"X-{number}", "x" * 2048) for number in range(32)), "x" * 16_384
    with Target() as target:
        target.greeting = requests = Requests(targets.answer(), authority.server() if secure else None)
        make = https if secure else http
        result = bench.result(make(target.port, "a", method=method, body=body, headers=headers, path="/" + "x" * 2047))
        assert result.outcome is Outcome.SUCCESS
    assert requests.heard[0][1] == body.encode()


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_other_requests_have_no_length(bench: Bench, target: Target, method: str) -> None:
    target.greeting = requests = Requests(targets.answer(body=b""))
    assert bench.result(http(target.port, "a", method=method)).outcome is Outcome.SUCCESS
    assert requests.heard[0][0][0] == f"{method} /a HTTP/1.1"
    assert "content-length" not in " ".join(requests.heard[0][0]).lower()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n", (Reason.NONE, 201)),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", (Reason.NONE, 201)),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", (Reason.STATUS, 101)),
    ],
)
def test_an_interim_answer_is_no_answer(
    bench: Bench, target: Target, answer: bytes, expected: tuple[Reason, int]
) -> None:
    target.greeting = Requests(targets.raw(answer + targets.head(201, {"Content-Length": "0"})))
    result = bench.result(http(target.port, "a", method="POST", body=BODY, expect_status=((201, 201),)))
    assert (result.reason, result.status_code) == expected


def test_an_answer_to_a_request_that_was_not_read_in_full_counts(bench: Bench) -> None:
    """The target refuses the request after its first bytes, and closes. The rest of the request cannot be sent."""
    headers = tuple((f"X-{number}", "x" * 2048) for number in range(32))
    with small_window(targets.head(413, {"Content-Length": "0"})) as port:
        result = bench.result(http(port, "large", method="POST", body="x" * 16_384, headers=headers))
    assert (result.reason, result.detail) == (Reason.STATUS, "answered with status 413")


class ClosesAtReuse:
    """A behaviour that answers, offers to keep the connection, and closes it when another request has arrived.
    `crossed` is how many such requests there were."""

    def __init__(self) -> None:
        self.crossed = 0

    def __call__(self, connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.crossed += bool(connection.sock.recv(8192))


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_server_that_closes_at_reuse_gets_each_post_once(bench: Bench, target: Target, method: str) -> None:
    """A PUT that crosses the end of a kept connection is sent again. A POST has no such connection."""
    target.behave(closes := ClosesAtReuse())
    defaults = CheckOptions.model_validate({"connection": "reuse", "interval": "1s", "timeout": "1s"})
    rules = Rules(defaults.over(CheckOptions()), allow_methods=frozenset({method}))
    manifest = f"id: a\nstatus: {{port: {target.port}, http: true, localhost_only: true, method: {method}}}\n"
    check = parse(PodKey("web1", "a"), manifest.encode(), rules).check
    assert check
    bench.engine.start([replace(check, interval=0.1, timeout=20.0)])
    until(lambda: len(bench.results.all()) >= 6)
    bench.engine.stop([check.key])
    assert {result.outcome for result in bench.results.all()} == {Outcome.SUCCESS}
    assert {hit.method for hit in target.hits()} == {method}
    assert (closes.crossed > 0) is (method == "PUT")
    if method == "POST":
        assert len(target.hits()) - len(bench.results.all()) in {0, 1}  # `stop` may have ended one without a result


@pytest.mark.parametrize("end", [targets.close, targets.reset], ids=["close", "reset"])
@pytest.mark.parametrize(("method", "times"), [("POST", 1), ("PUT", 2), ("GET", 2)])
def test_a_post_is_not_repeated_with_openssl(
    bench: Bench, authority: Authority, end: Callable[[Connection], None], method: str, times: int
) -> None:
    """Other requests are, because only OpenSSL can tell why a target ended the connection right after the handshake."""
    with Target() as target:
        target.greeting = requests = Requests(end, authority.server())
        spec = https(target.port, "a", method=method, interval=60.0)
        assert bench.result(spec).outcome is Outcome.FAILURE
        assert len(requests.heard) == times * len(bench.results.all())
