"""Which redirects of an HTTP answer are followed: those to the scheme, host and port of the request, a few at most."""

from collections.abc import Collection
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from controller.probes import http
from controller.probes.exchange import Exchange
from controller.probes.failure import Cause, Failure
from controller.probes.http2 import UnaryCall
from controller.probes.http_answer import HttpExchange, Prepared
from controller.probes.text import sound
from reconcilers.fields import MAX_TEXT, STRAY_PERCENT, UNESCAPED
from reconcilers.spec import HttpGet

ALPN = http.ALPN
NEEDS_ALPN = http.NEEDS_ALPN
MAX_SHOWN = 200

prepared = http.prepared
verdict = http.verdict
excerpt = http.excerpt


class FollowingExchange(HttpExchange):
    """Also keeps the Location of the answer. `locations` are its different values."""

    __slots__ = ("locations",)

    def __init__(self, prepared: Prepared) -> None:
        super().__init__(prepared)
        self.locations: set[bytes] = set()

    def _read_usual(self, data: bytes) -> bool:
        del data
        return False

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if not self.has_head and name.lower() == b"location":
            self.locations.add(value.strip())

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if not self.has_head:
            self.locations.clear()


def exchange(prepared: Prepared, _: Exchange | None) -> FollowingExchange:
    """Returns a new exchange for one request."""
    return FollowingExchange(prepared)


def next_path(answer: Exchange, request: HttpGet, number: int) -> str | Failure | None:
    """Returns the path of the next request, or why a redirect is not followed; None if the answer is the last one.

    `request` is the one that was answered, after `number` redirects.
    """
    status = answer.status
    if status not in http.REDIRECTS or http.expects(request, status) or http.warns(request, status):
        return None
    locations = _locations(answer)
    if not any(locations):
        return _failure(status, "a redirect without a Location: write the path of the last page as status.path")
    try:
        url = _resolved(locations, request)
        is_same = _is_same(url, request)
    except ValueError:
        return _failure(status, "a redirect with a Location that cannot be understood")
    if not is_same:
        ways = "check that place with a manifest of its own, or write a status.path that is not redirected"
        return _failure(status, f"a redirect to {_shown(url)}, which is not {_own(request).geturl()}: {ways}")
    if number >= request.follow_redirects:
        advice = "write the path of the last page as status.path, or a larger status.follow_redirects"
        return _failure(status, f"redirect number {number + 1} of this probe, to {_shown(url)}: {advice}")
    path = f"{url.path or '/'}{'?' if url.query else ''}{url.query}"
    return quote(STRAY_PERCENT.sub("%25", path), safe=UNESCAPED)


def _locations(answer: Exchange) -> Collection[bytes]:
    if isinstance(answer, FollowingExchange):
        return answer.locations
    assert isinstance(answer, UnaryCall)  # noqa: S101 - no other exchange follows redirects
    return [answer.headers.get("location", "").encode("latin-1")]


def _resolved(locations: Collection[bytes], request: HttpGet) -> SplitResult:
    """Returns where a redirect leads. Raises ValueError for several places, and for what is no URL."""
    (location,) = locations
    text = location.decode()
    if len(text) > MAX_TEXT or not text.isprintable():
        raise ValueError("too long, or control characters")
    url = urlsplit(urljoin(f"{_own(request).geturl()}{request.path}", text))
    if "@" in url.netloc or not url.hostname or url.port == 0:
        raise ValueError("expected a host without a user, at a port")
    return url


def _own(request: HttpGet) -> SplitResult:
    """Returns the URL of the check without its path, with the host that the request names."""
    return urlsplit(f"{'https' if request.tls else 'http'}://{http.authority(request)}")


def _is_same(url: SplitResult, probe: HttpGet) -> bool:
    """Returns whether scheme, host and port are those of the request. The port may also be that of the connection: a
    Host among the headers need not have it."""
    own, usual = _own(probe), http.DEFAULT_PORTS[probe.tls is not None]
    is_there = (url.port or usual) in (own.port or usual, probe.port)
    return url.scheme == own.scheme and url.hostname == own.hostname and is_there


def _shown(url: SplitResult) -> str:
    """Returns a URL without its query, which may have a secret."""
    return sound(url._replace(query="", fragment="").geturl()[:MAX_SHOWN])


def _failure(status: int, words: str) -> Failure:
    return Failure(Cause.REDIRECT, words=f"answered with status {status}, {words}")
