"""`http_version: 2` and an answer of 101, against a real nginx and servers of every other kind."""

import struct
from collections.abc import Iterator

import hpack
import pytest

from controller.probes.http2 import DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, SETTINGS, UnaryCall, frame
from controller.probes.http_over_2 import exchange, prepared
from reconcilers.health import Outcome, Reason
from reconcilers.manifest import parse
from reconcilers.options import Rules
from reconcilers.spec import HttpGet, PodKey
from tests.support import targets
from tests.support.authority import Authority
from tests.support.checks import http, https, probe_all
from tests.support.http2 import refuses
from tests.support.net import until
from tests.support.nginx import NginxSite
from tests.support.probing import Bench
from tests.support.targets import Target

SUCCESS, FAILURE = Outcome.SUCCESS, Outcome.FAILURE
NEEDED = "which gRPC and http_version: 2 need"
GREETING = frame(SETTINGS, 0, 0)


@pytest.fixture(scope="module")
def site(authority: Authority) -> Iterator[NginxSite]:
    with NginxSite(authority) as site:
        yield site


def test_nginx_answers_in_http2_over_tls_and_in_plain(bench: Bench, site: NginxSite) -> None:
    headers = (("X-Team", "blue"), ("Host", "shop.example"))
    found = probe_all(
        bench,
        [
            https(site.secure, "tls", path="/ok", http_version="2"),
            http(site.plain, "plain", path="/ok", http_version="2", headers=headers),
            https(site.secure, "head", path="/ok", http_version="2", method="HEAD"),
            https(site.secure, "one", path="/ok"),
            https(site.secure, "none", path="/none", http_version="2", expect_status=((204, 204),)),
            https(site.secure, "no", path="/no", http_version="2"),
            https(site.secure, "body", path="/ok", http_version="2", expect_body="HTTP/2.0 to localhost by GET"),
            https(site.secure, "other", path="/ok", http_version="2", expect_body="HTTP/1.1"),
        ],
    )
    assert {pod: (each.reason, each.detail, each.status_code) for pod, each in found.items()} == {
        "tls": (Reason.NONE, "", 200),
        "plain": (Reason.NONE, "", 200),
        "head": (Reason.NONE, "", 200),
        "one": (Reason.NONE, "", 200),
        "none": (Reason.NONE, "", 204),
        "no": (Reason.STATUS, "answered with status 503", 503),
        "body": (Reason.NONE, "", 200),
        "other": (Reason.BODY, "the body does not match 'HTTP/1.1'", 200),
    }
    assert found["tls"].output == "ok of HTTP/2.0 to localhost by GET, team \n"
    assert found["plain"].output == "ok of HTTP/2.0 to shop.example by GET, team blue\n"
    assert found["one"].output.startswith("ok of HTTP/1.1")
    assert found["head"].output == ""
    assert found["tls"].certificate.expires > 0


def test_the_first_64_kib_of_a_body_count_as_in_http_1(bench: Bench, site: NginxSite) -> None:
    found = probe_all(
        bench,
        [
            https(site.secure, f"{pattern} {version}", path="/large", http_version=version, expect_body=f"^x+{pattern}")
            for pattern in ("y", "yz")
            for version in ("1.1", "2")
        ],
    )
    assert {pod: each.outcome for pod, each in found.items()} == {
        "y 1.1": SUCCESS,
        "y 2": SUCCESS,
        "yz 1.1": FAILURE,
        "yz 2": FAILURE,
    }


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_a_body_is_sent_with_its_length(bench: Bench, site: NginxSite, *, secure: bool) -> None:
    """nginx answers a request with a wrong length with 400. The longest request needs several frames."""
    large = tuple((f"X-{number}", "x" * 2000) for number in range(12))
    make, port = (https, site.secure) if secure else (http, site.plain)
    methods = [("POST", "x" * 16_384, large), ("POST", "", ()), ("PUT", "ü", ())]
    found = probe_all(
        bench,
        [
            make(port, f"{number}", path="/ok", http_version="2", method=method, body=body, headers=headers)
            for number, (method, body, headers) in enumerate(methods)
        ],
    )
    assert {pod: (each.detail, each.output.partition(",")[0]) for pod, each in found.items()} == {
        f"{number}": ("", f"ok of HTTP/2.0 to localhost by {method}") for number, (method, *_) in enumerate(methods)
    }


@pytest.mark.parametrize(
    ("method", "refusal", "times"),
    [
        ("POST", "GOAWAY", 2),
        ("POST", "REFUSED_STREAM", 2),
        ("POST", "GOAWAY, then the end", 1),
        ("PUT", "GOAWAY, then the end", 2),
    ],
)
def test_a_post_is_repeated_only_if_the_server_says_that_it_was_not_processed(
    bench: Bench, target: Target, method: str, refusal: str, times: int
) -> None:
    target.greeting = refuses(refusal)
    result = bench.result(http(target.port, "a", http_version="2", method=method))
    assert (result.outcome, result.reason) == (FAILURE, Reason.PROTOCOL)
    assert len(target.accepted()) == times
    if times == 1:
        assert result.detail == "the connection was closed before an answer, as the server had announced"


def test_a_server_without_http2_fails_the_probe_by_name(bench: Bench, site: NginxSite, target: Target) -> None:
    found = probe_all(
        bench,
        [
            https(site.old, "alert", path="/ok", http_version="2"),
            http(target.port, "plain", http_version="2"),
        ],
    )
    assert {pod: (each.reason, each.detail) for pod, each in found.items()} == {
        "alert": (Reason.PROTOCOL, f"localhost:{site.old} does not offer HTTP/2 by ALPN, {NEEDED}"),
        "plain": (Reason.PROTOCOL, f"the answer is not HTTP/2, {NEEDED}"),
    }


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_server_without_alpn_fails_the_probe_by_name(bench: Bench, secure: Target, method: str) -> None:
    """A POST uses OpenSSL, a GET does not."""
    detail = f"localhost:{secure.port} does not offer HTTP/2 by ALPN, {NEEDED}"
    assert bench.verdict(https(secure.port, "web", http_version="2", method=method)) == (
        FAILURE,
        Reason.PROTOCOL,
        detail,
    )


def test_a_kept_connection_serves_requests_until_the_server_ends_it(bench: Bench, authority: Authority) -> None:
    with NginxSite(authority, requests=3) as site:
        spec = https(site.secure, "kept", path="/ok", http_version="2", reuse=True, interval=0.1)
        bench.engine.start([spec])
        until(lambda: len(bench.results.all(spec.key)) > 12)
        bench.engine.stop([spec.key])
        found = bench.results.all(spec.key)
    assert {each.outcome for each in found} == {SUCCESS}
    fresh = sum(each.phases.connect > 0 for each in found)
    assert fresh < len(found), "no connection was kept"


def block(*fields: tuple[str, str]) -> bytes:
    return bytes(hpack.Encoder().encode(list(fields)))


def answered(*frames: bytes, method: str = "GET", previous: UnaryCall | None = None) -> UnaryCall:
    call = exchange(prepared(HttpGet("web1", 80, "/", method=method, http_version="2")), previous)  # type: ignore[arg-type]
    call.receive(GREETING + b"".join(frames))
    return call


OK = frame(HEADERS, END_HEADERS, 1, block((":status", "200"), ("content-length", "2")))


@pytest.mark.parametrize(
    ("frames", "method", "failed"),
    [
        ([OK, frame(DATA, END_STREAM, 1, b"ok")], "GET", False),
        ([OK, frame(DATA, END_STREAM, 1, b"o")], "GET", True),
        ([OK, frame(DATA, END_STREAM, 1, b"okay")], "GET", True),
        (
            [frame(HEADERS, END_HEADERS | END_STREAM, 1, block((":status", "200"), ("content-length", "2")))],
            "HEAD",
            False,
        ),
        (
            [frame(HEADERS, END_HEADERS | END_STREAM, 1, block((":status", "304"), ("content-length", "2")))],
            "GET",
            False,
        ),
        (
            [frame(HEADERS, END_HEADERS | END_STREAM, 1, block((":status", "200"), ("content-length", "+")))],
            "GET",
            True,
        ),
        ([frame(HEADERS, END_HEADERS, 1, block((":status", "103"))), frame(DATA, END_STREAM, 1, b"ok")], "GET", True),
        (
            [frame(HEADERS, END_HEADERS, 1, block((":status", "103"))), OK, frame(DATA, END_STREAM, 1, b"ok")],
            "GET",
            False,
        ),
    ],
)
def test_a_body_has_the_length_that_its_headers_say(frames: list[bytes], method: str, failed: bool) -> None:
    call = answered(*frames, method=method)
    assert (call.is_done, call.failure is not None) == (True, failed)


def test_an_answer_that_never_ends_is_read_up_to_the_limit() -> None:
    call = answered(frame(HEADERS, END_HEADERS, 1, block((":status", "200"))))
    for _ in range(20):
        call.receive(frame(DATA, 0, 1, b"x" * 16_384))
    assert (call.is_done, call.failure, call.is_keepable) == (True, None, False)
    assert len(call.body) <= 65_536
    flood = answered()
    for _ in range(20):
        flood.receive(frame(6, 0, 0, b"x" * 16_384))
    assert flood.failure is not None


@pytest.mark.parametrize(
    ("status", "going", "stale"), [(200, True, False), (503, True, True), (503, False, False), (408, False, True)]
)
def test_an_answer_on_a_connection_that_ends_is_no_evidence_against_the_pod(
    status: int, going: bool, stale: bool
) -> None:
    goaway = [frame(GOAWAY, 0, 0, struct.pack(">II", 1, 0))] if going else []
    call = answered(*goaway, frame(HEADERS, END_HEADERS | END_STREAM, 1, block((":status", str(status)))))
    assert (call.is_done, call.is_stale) == (True, stale)


UPGRADE = "id: a\nstatus: {port: 80, http: true, headers: {Upgrade: websocket, Sec-WebSocket-Version: '13'}"


def test_a_websocket_is_opened_where_101_is_expected(bench: Bench, target: Target) -> None:
    target.behave(
        targets.raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x00")
    )
    check = parse(PodKey("web1", "a"), f"{UPGRADE}, expect_status: 101}}\n".encode(), Rules(allow_headers=True)).check
    assert check
    assert isinstance(check.probe, HttpGet)
    spec = http(target.port, "web", headers=check.probe.headers, expect_status=((101, 101),))
    assert bench.verdict(spec) == (SUCCESS, Reason.NONE, "")
    assert {name.lower(): value for name, value in target.hits()[0].headers.items()}.items() >= {
        "upgrade": "websocket",
        "connection": "Upgrade",
    }.items()
