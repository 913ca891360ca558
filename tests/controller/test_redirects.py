"""`follow_redirects`: which redirects are followed, where no request is ever sent, and which answer counts."""

import re
import ssl
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.probes.failure import Failure
from controller.probes.redirects import exchange, next_path, prepared
from reconcilers.health import Outcome, Reason
from reconcilers.spec import BasicAuth, HttpGet, Tls
from tests.support import targets
from tests.support.authority import Authority
from tests.support.checks import http, https
from tests.support.faults import KeptConnections
from tests.support.nginx import NginxSite
from tests.support.probing import Bench
from tests.support.targets import Target, head, raw, redirect

SUCCESS, FAILURE = Outcome.SUCCESS, Outcome.FAILURE
PLAIN = HttpGet("web1", 8000, "/a/b?c=d", follow_redirects=3)
SECURE = HttpGet("web1", 443, "/a/b", Tls(), follow_redirects=3)
VIRTUAL = HttpGet("web1", 8443, "/a/b", Tls(), headers=(("Host", "Shop.example"),), follow_redirects=3)


def answered(data: bytes, request: HttpGet = PLAIN, number: int = 0) -> str | Failure | None:
    """Returns the next request after an answer, as `next_path` gives it."""
    reads = exchange(prepared(request), None)
    reads.receive(data)
    reads.end(clean=True)
    return next_path(reads, request, number)


def location(value: str | bytes, request: HttpGet = PLAIN, number: int = 0) -> str | Failure | None:
    text = value if isinstance(value, bytes) else value.encode()
    return answered(b"HTTP/1.1 302 Found\r\nLocation: " + text + b"\r\nContent-Length: 0\r\n\r\n", request, number)


@pytest.mark.parametrize(
    ("request_", "value", "path"),
    [
        (PLAIN, "/login", "/login"),
        (PLAIN, "login?x=1#top", "/a/login?x=1"),
        (PLAIN, "?x=1", "/a/b?x=1"),
        (PLAIN, "../../../c", "/c"),
        (PLAIN, "http://web1:8000", "/"),
        (PLAIN, "HTTP://WEB1:8000/x", "/x"),
        (PLAIN, "//web1:8000/x", "/x"),
        (PLAIN, "/gr\u00fc\u00df e%2Fn%", "/gr%C3%BC%C3%9F%20e%2Fn%25"),
        (PLAIN, "/\\evil.example/", "/%5Cevil.example/"),
        (SECURE, "https://web1/x", "/x"),
        (SECURE, "https://web1:443/x", "/x"),
        (VIRTUAL, "https://shop.example/x", "/x"),
        (VIRTUAL, "https://shop.example:8443/x", "/x"),
    ],
)
def test_a_redirect_to_the_same_scheme_host_and_port_is_followed(request_: HttpGet, value: str, path: str) -> None:
    assert location(value, request_) == path


@pytest.mark.parametrize(
    ("request_", "value", "shown"),
    [
        (PLAIN, "https://web1:8000/x?token=s3cret", "https://web1:8000/x"),
        (PLAIN, "http://web2:8000/", "http://web2:8000/"),
        (PLAIN, "http://web1/", "http://web1/"),
        (PLAIN, "http://web1:8001/", "http://web1:8001/"),
        (PLAIN, "//evil.example", "http://evil.example"),
        (PLAIN, "http://web1.evil.example:8000/", "http://web1.evil.example:8000/"),
        (PLAIN, "http://[::1]:8000/", "http://[::1]:8000/"),
        (SECURE, "http://web1/x", "http://web1/x"),
        (SECURE, "http://web1:443/x", "http://web1:443/x"),
        (VIRTUAL, "https://web1:8443/x", "https://web1:8443/x"),
        (VIRTUAL, "https://shop.example:444/", "https://shop.example:444/"),
        (PLAIN, "http://" + "x" * 2000 + "/", "http://" + "x" * 193 + ","),
    ],
)
def test_a_redirect_elsewhere_is_a_failure_that_says_where(request_: HttpGet, value: str, shown: str) -> None:
    found = location(value, request_)
    assert isinstance(found, Failure)
    assert found.words.startswith(f"answered with status 302, a redirect to {shown}")
    assert "s3cret" not in found.words
    assert len(found.words) < 450


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"http://web1:8000/\xff",
            b"http://web1:8000/\x01",
            b"/a\tb",
            b"http://u:p@web1:8000/",
            b"http://web1:8000@evil/",
        ),
        *(
            b"http://[::1/",
            b"http://web1:port/",
            b"http://web1:99999/",
            b"mailto:a@b",
            b"data:,x",
            b"/" * 2049,
        ),
    ],
)
def test_a_location_that_is_no_place_to_ask_is_a_failure(value: bytes) -> None:
    found = location(value)
    assert isinstance(found, Failure)
    assert found.words == "answered with status 302, a redirect with a Location that cannot be understood"


def test_several_places_are_none_and_the_same_place_twice_is_one() -> None:
    two = b"HTTP/1.1 302 Found\r\nLocation: /a\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n"
    assert isinstance(answered(two % b"/b"), Failure)
    assert answered(two % b"/a") == "/a"
    early = b"HTTP/1.1 103 Early Hints\r\nLocation: /early\r\n\r\n"
    assert answered(early + two % b"/a") == "/a"
    late = b"HTTP/1.1 302 Found\r\nLocation: /a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nLocation: /late\r\n\r\n"
    assert answered(late) == "/a"


@pytest.mark.parametrize("data", [b"", b"Location:\r\n", b"X-Location: /a\r\n"])
def test_a_redirect_without_a_location_says_so(data: bytes) -> None:
    found = answered(b"HTTP/1.1 301 Moved\r\n" + data + b"Content-Length: 0\r\n\r\n")
    assert isinstance(found, Failure)
    assert "a redirect without a Location" in found.words


@pytest.mark.parametrize("status", [200, 201, 300, 304, 305, 306, 400, 503])
def test_no_other_status_leads_anywhere(status: int) -> None:
    assert answered(head(status, {"Location": "/a", "Content-Length": "0"})) is None


def test_a_status_that_is_healthy_or_a_warning_is_the_last_one() -> None:
    assert location("/a", HttpGet("web1", 8000, "/", expect_status=((200, 302),), follow_redirects=3)) is None
    assert location("/a", HttpGet("web1", 8000, "/", warn_status=((302, 302),), follow_redirects=3)) is None


def test_one_redirect_more_than_allowed_is_a_failure() -> None:
    assert location("/x", number=2) == "/x"
    found = location("/x", number=3)
    assert isinstance(found, Failure)
    assert found.words.startswith("answered with status 302, redirect number 4 of this probe, to http://web1:8000/x: ")


PIECES = st.sampled_from(
    [
        b"http:",
        b"https:",
        b"//",
        b"/",
        b"\\",
        b"..",
        b"web1",
        b"WEB1",
        b":8000",
        b"@",
        b"?",
        b"#",
        b"[::1]",
        b"%",
        b" ",
        b"\r\nX: y",
    ]
)
PLACES = st.lists(PIECES | st.binary(max_size=4), max_size=8).map(b"".join)


@given(PLACES)
def test_whatever_a_location_says_the_next_request_has_a_path_in_one_line(value: bytes) -> None:
    reads = exchange(prepared(PLAIN), None)
    reads.status, reads.has_head, reads.locations = 302, True, {value}
    found = next_path(reads, PLAIN, 0)
    if isinstance(found, Failure):
        assert found.words.isprintable()
        assert len(found.words) < 450
    else:
        assert found
        assert re.fullmatch(r"/[!-~]*", found)


# In the engine


def chain(target: Target, end: Mapping[str, targets.Behaviour]) -> None:
    """`/0` redirects to `/1`, and so on to `/3`, each with another status."""
    for number, status in enumerate((301, 303, 308)):
        where = f"{target.scheme}://localhost:{target.port}/{number + 1}" if number else "1"
        target.behave(redirect(where, status), f"/{number}")
    for path, behaviour in end.items():
        target.behave(behaviour, path)


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_last_answer_counts(bench: Bench, authority: Authority, method: str, *, secure: bool) -> None:
    with Target(authority.server() if secure else None) as target:
        chain(target, {"/3": targets.answer(503, b"down" if method == "GET" else b"")})
        make = https if secure else http
        result = bench.result(make(target.port, "a", path="/0", follow_redirects=3, method=method))
        assert (result.outcome, result.reason, result.status_code) == (FAILURE, Reason.STATUS, 503)
        assert result.output == ("down" if method == "GET" else "")
        assert [(hit.method, hit.path) for hit in target.hits()][-4:] == [(method, f"/{number}") for number in range(4)]
        assert bool(result.certificate.expires) is secure
        assert sum(result.phases) <= result.duration + 0.001
        target.behave(targets.answer(200, b"up" if method == "GET" else b""), "/3")
        assert bench.result(make(target.port, "a", path="/0", follow_redirects=3, method=method)).outcome is SUCCESS


def test_headers_and_credentials_go_with_each_request(bench: Bench, target: Target, authority: Authority) -> None:
    chain(target, {})
    folder = authority.file.parent
    (folder / "password").write_text("hunter2")
    auth = BasicAuth("alice", str(folder / "password"))
    spec = http(
        target.port,
        "a",
        path="/0",
        follow_redirects=3,
        headers=(("X-A", "b"),),
        basic_auth=auth,
        credentials_dir=str(folder),
    )
    assert bench.result(spec).outcome is SUCCESS
    assert len({hit.headers["authorization"] for hit in target.hits()}) == 1
    assert [hit.headers["x-a"] for hit in target.hits()][-4:] == ["b"] * 4


def test_no_request_goes_elsewhere(bench: Bench, target: Target) -> None:
    with Target() as other:
        for number, where in enumerate((f"http://localhost:{other.port}/", f"http://127.0.0.1:{target.port}/x")):
            target.behave(redirect(where), f"/{number}")
            result = bench.result(http(target.port, f"pod-{number}", path=f"/{number}", follow_redirects=10))
            assert (result.outcome, result.reason, result.status_code) == (FAILURE, Reason.REDIRECT, 302)
            expected = f"a redirect to {where}, which is not http://localhost:{target.port}: check that place with"
            assert expected in result.detail
        assert other.accepted() == []
        assert target.hits("/x") == []


@pytest.mark.parametrize("most", [1, 10])
def test_a_redirect_to_itself_ends(bench: Bench, target: Target, most: int) -> None:
    target.behave(redirect("/a"), "/a")
    result = bench.result(http(target.port, "a", follow_redirects=most))
    assert (result.outcome, result.reason) == (FAILURE, Reason.REDIRECT)
    assert f"redirect number {most + 1} of this probe" in result.detail
    assert len(target.hits()) == (most + 1) * len(bench.results.all())


def test_all_requests_share_the_deadline(bench: Bench, target: Target) -> None:
    """Each answer alone is in time. Eleven answers in a row would not be."""
    target.behave(targets.slow(0.4, redirect("/a")), "/a")
    result = bench.result(http(target.port, "a", follow_redirects=10, timeout=1.5, interval=5.0))
    assert (result.outcome, result.reason) == (FAILURE, Reason.TIMEOUT)
    assert len(target.hits("/a")) < 11 * len(bench.results.all())


def test_a_target_that_ends_in_the_middle_fails_like_any_other(bench: Bench, target: Target) -> None:
    chain(target, {"/1": targets.close})
    assert bench.verdict(http(target.port, "a", path="/0", follow_redirects=3)) == (
        FAILURE,
        Reason.PROTOCOL,
        "the connection was closed without an answer",
    )
    target.behave(raw(b"garbage"), "/1")
    assert bench.result(http(target.port, "a", path="/0", follow_redirects=3)).detail == "the answer is not HTTP"


def test_the_next_probe_begins_with_the_first_request_again(bench: Bench, target: Target) -> None:
    """This also holds on the connection that the last request of the probe before has left."""
    served = KeptConnections()
    chain(target, {"/3": served})
    spec = http(target.port, "a", path="/0", follow_redirects=3, reuse=True, interval=0.1)
    bench.engine.start([spec])
    for _ in range(3):
        bench.results.after(spec.key, len(bench.results.all(spec.key)))
    bench.engine.stop([spec.key])
    assert {result.outcome for result in bench.results.all()} == {SUCCESS}
    assert len(target.hits("/0")) == 1
    assert max(served.served) >= 3


def test_redirects_are_followed_in_http_2_too(bench: Bench, authority: Authority) -> None:
    with NginxSite(authority) as site:
        found = bench.result(https(site.secure, "a", path="/moved", http_version="2", follow_redirects=1))
        assert (found.reason, found.output.partition(" to ")[0]) == (Reason.NONE, "ok of HTTP/2.0")
        found = bench.result(https(site.secure, "b", path="/moved", http_version="2"))
        assert (found.reason, found.status_code) == (Reason.REDIRECT, 302)


def test_a_redirect_that_is_not_followed_says_what_to_do(bench: Bench, target: Target) -> None:
    for status, reason in ((301, Reason.REDIRECT), (307, Reason.REDIRECT), (300, Reason.STATUS), (304, Reason.STATUS)):
        target.behave(redirect("/b", status), "/a")
        result = bench.result(http(target.port, "a"))
        assert (result.reason, result.status_code) == (reason, status)
        assert ("status.follow_redirects" in result.detail) is (reason is Reason.REDIRECT)
    assert target.hits("/b") == []


def test_a_redirecting_target_behind_tls_keeps_its_verdict_on_the_certificate(
    bench: Bench, authority: Authority
) -> None:
    context: ssl.SSLContext = authority.server("other.example")
    with Target(context) as target:
        chain(target, {})
        result = bench.result(https(target.port, "a", path="/0", follow_redirects=3))
        assert (result.outcome, result.reason) == (FAILURE, Reason.CERTIFICATE)
        assert target.hits() == []
