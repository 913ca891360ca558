"""How requests reach Consul: one libcurl handle behind the interface that python-consul2 expects of its HTTP client.

The interface's own implementations have no deadline, cannot be cancelled, and send the token along redirects and to a
proxy. This one has a deadline for every request, can be cancelled from another thread, follows nothing, asks no proxy,
and sends the token in its header only. It says what went wrong in two words of ours, and never the token.
"""

import hashlib
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pycurl

from controller.consul.certificate import ClientCertificate
from controller.consul.settings import ConsulSettings
from controller.runtime.bounded import BoundedBody

CA_CACHE_TIMEOUT = 321
"""libcurl's CURLOPT_CA_CACHE_TIMEOUT, which pycurl does not name: for how long authorities are not read again."""
CONNECT_TIMEOUT = 2.0
MAX_BODY = 16 * 1024 * 1024
"""Bytes of one answer. Decoding it holds the interpreter, and with it every probe, for 1 to 2 ms a MiB."""
BEGINNING = 4096
MAX_HEADERS = 100
EXCERPT = 200
NEVER_SENT = frozenset({pycurl.E_COULDNT_CONNECT, pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_PEER_FAILED_VERIFICATION})


class ConsulError(Exception):
    """Always one of the two below. The message is a sentence for a person, and holds no token."""


class ConsulUnavailable(ConsulError):
    """No answer, or one that says nothing (5xx, 429, not Consul's): to be tried again.

    `sent` is False where the request certainly never reached anybody; else it may have been carried out, or may be yet.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class ConsulRefused(ConsulError):
    """An answer that says no (403, 400, 413, ...): somebody must mend something."""


class ConsulTooLarge(ConsulRefused):
    """The request was refused for its size (413), by Consul or by a proxy before it, or its answer is larger than
    `MAX_BODY`: a smaller one may be taken."""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. Header names are in title case."""

    code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def beginning(self) -> str:
        """The first 4 KiB, as text."""
        return self.content[:BEGINNING].decode("utf-8", "replace")

    @property
    def excerpt(self) -> str:
        """The beginning on one line, without control characters."""
        words = "".join(each if each.isprintable() else " " for each in self.beginning[: 2 * EXCERPT]).split()
        return " ".join(words)[:EXCERPT]


class Token:
    """The token to send: the given one, or the content of a file, read again when the file changed."""

    def __init__(self, settings: ConsulSettings) -> None:
        self._path = Path(settings.token_file) if settings.token_file else None
        self._stamp: tuple[int, ...] = ()
        self._token = "" if self._path else settings.token

    def current(self) -> str:
        """The token, empty for none. A file that cannot be read (any more) leaves the last one in force.

        Raises:
            ConsulRefused: it never could be read, or what stands there is no token.
        """
        if self._path:
            self._refresh(self._path)
        if not (self._token.isascii() and self._token.isprintable()):
            raise ConsulRefused("was not asked: the token holds characters that no token has")
        return self._token

    def _refresh(self, path: Path) -> None:
        try:
            stamp = _status(path)
            if stamp != self._stamp:
                self._token, self._stamp = path.read_text("utf-8").strip(), stamp
        except (OSError, UnicodeDecodeError) as error:
            if not self._stamp:
                raise ConsulRefused(f"was not asked: token file {path} cannot be read: {error}") from None


class CurlTransport:
    """python-consul2's HTTP client, but for its callbacks, which are never called: what a request returns is the
    `Response`. For one thread; only `cancel` may be called by others.

    `within` is the deadline of the next requests in seconds, from their start to the last byte. `answer` is the last
    response that was read in full.
    """

    def __init__(self, settings: ConsulSettings) -> None:
        self.within = 10.0
        self.answer = Response(0, {}, b"")
        self._settings = settings
        self._token = Token(settings)
        self._next: ConsulSettings | None = None
        self._stamps: object = ()
        self._certificate = ClientCertificate()
        self._curl = pycurl.Curl()
        self._lock = threading.Lock()
        self._cancelled = False
        self._opened_now = False
        self._sockets: list[socket.socket] = []

    def get(self, _callback: object, path: str, params: Any = None, **_: object) -> Response:
        """See python-consul2's HTTPClient; likewise the others. Headers given here are dropped: the token is ours."""
        return self._request("GET", path, params)

    def put(self, _callback: object, path: str, params: Any = None, data: Any = "", **_: object) -> Response:
        return self._request("PUT", path, params, data or b"")

    def post(self, _callback: object, path: str, params: Any = None, data: Any = "", **_: object) -> Response:
        return self._request("POST", path, params, data or b"")

    def delete(self, _callback: object, path: str, params: Any = None, **_: object) -> Response:
        return self._request("DELETE", path, params)

    def cancel(self) -> None:
        """End the request in flight and let none through until `reopen`. For any thread."""
        with self._lock:
            self._cancelled = True
            for one in self._sockets:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def apply(self, settings: ConsulSettings) -> None:
        """Begin the next request by these settings. For any thread."""
        self._next = settings

    def token_mark(self) -> str:
        """See `ConsulClient.token_mark`."""
        self._take_settings()
        return hashlib.sha256(self._token.current().encode()).hexdigest()

    def reopen(self) -> None:
        """Let requests through again, after `cancel`."""
        with self._lock:
            self._cancelled = False

    def close(self) -> None:
        """Close the connection for good; that of a request which hangs ends with the process."""
        with suppress(pycurl.error):
            self._curl.close()
            self._drop_sockets()

    def _request(
        self,
        method: str,
        path: str,
        params: Iterable[tuple[str, object]] | None,
        data: str | bytes | None = None,
    ) -> Response:
        self._take_settings()
        body, lines = BoundedBody(MAX_BODY), list[bytes]()
        self._configure(self._url(path, params), method, data)
        self._curl.setopt(pycurl.WRITEFUNCTION, body.write)
        self._curl.setopt(pycurl.HEADERFUNCTION, lines.append)
        try:
            self._curl.perform()
        except pycurl.error as error:
            self._drop_sockets()
            raise self._no_answer(error.args, body) from None
        self.answer = Response(self._curl.getinfo(pycurl.RESPONSE_CODE), _headers(lines), bytes(body.data))
        _judge(self.answer)
        return self.answer

    def _take_settings(self) -> None:
        """A token file that is away at this moment leaves its last token in force, unless another one is meant."""
        settings, self._next = self._next, None
        if settings and settings != self._settings:
            if (settings.token, settings.token_file) != (self._settings.token, self._settings.token_file):
                self._token = Token(settings)
            self._settings = settings

    def _url(self, path: str, params: Iterable[tuple[str, object]] | None) -> str:
        """Dots and empty segments would reach another endpoint than the one that was meant."""
        first, *segments = path.split("/")
        if first or {"", ".", ".."} & set(segments[:-1]) or segments[-1] in {".", ".."}:
            raise ConsulRefused(f"was not asked: the path {path[:EXCERPT]!r} is not one that may be sent")
        settings = self._settings
        where = (("dc", settings.datacenter), ("ns", settings.namespace), ("partition", settings.partition))
        query = [*(params or ()), *(each for each in where if each[1])]
        scheme = "https" if settings.scheme == "https" else "http"
        return f"{scheme}://{self._host()}{settings.path_prefix}{quote(path)}" + (
            f"?{urlencode(query)}" if query else ""
        )

    def _host(self) -> str:
        """Who is asked for by name: Host, SNI and verification go by it."""
        if not (self._settings.scheme == "https" and self._settings.server_name):
            return self._settings.authority
        _, colon, port = self._settings.authority.rpartition(":")
        return self._settings.server_name + (f":{port}" if colon and port.isdigit() else "")

    def _configure(self, url: str, method: str, data: str | bytes | None) -> None:
        """Set every option anew: nothing is left of the request before."""
        curl = self._curl
        curl.reset()
        self._opened_now = False
        headers = ["Expect:", "Content-Type:", "Accept: application/json"]
        headers += [f"{name}: {value}" for name, value in _with_authorization(self._settings)]
        if token := self._token.current():
            headers.append(f"X-Consul-Token: {token}")
        for option, value in (
            (pycurl.URL, url),
            (pycurl.HTTPHEADER, headers),
            (pycurl.CUSTOMREQUEST, method),
            (pycurl.TIMEOUT_MS, max(1, round(self.within * 1000))),
            (pycurl.CONNECTTIMEOUT_MS, round(CONNECT_TIMEOUT * 1000)),
            (pycurl.NOSIGNAL, 1),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.HTTP09_ALLOWED, 0),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.PATH_AS_IS, 1),
            (pycurl.PROXY, ""),
            (pycurl.NETRC, pycurl.NETRC_IGNORED),
            (pycurl.MAXCONNECTS, 1),
            (pycurl.USERAGENT, "podpulse"),
            (pycurl.BUFFERSIZE, 256 * 1024),
            (pycurl.OPENSOCKETFUNCTION, self._open),
            (pycurl.NOPROGRESS, 0),
            (pycurl.XFERINFOFUNCTION, self._progress),
        ):
            curl.setopt(option, value)
        if data is not None:
            curl.setopt(pycurl.POSTFIELDS, data.encode() if isinstance(data, str) else data)
        if self._settings.scheme == "unix":
            curl.setopt(pycurl.UNIX_SOCKET_PATH, self._settings.socket_path)
        if self._settings.scheme == "https":
            self._configure_tls(curl)

    def _configure_tls(self, curl: pycurl.Curl) -> None:
        settings = self._settings
        ca_file, ca_path = settings.ca_file, settings.ca_path
        if not (ca_file or ca_path):
            default = ssl.get_default_verify_paths()
            ca_file, ca_path = default.cafile or "", default.capath or ""
        for option, path in ((pycurl.CAINFO, ca_file), (pycurl.CAPATH, ca_path)):
            curl.setopt(option, path) if path else curl.unsetopt(option)
        own = self._certificate.options(settings.cert_file, settings.key_file) if settings.cert_file else {}
        for option, value in own.items():
            curl.setopt(option, value)
        if settings.server_name:
            curl.setopt(pycurl.CONNECT_TO, [f"::{settings.authority}"])
        verify = not settings.insecure_skip_verify
        curl.setopt(pycurl.SSL_VERIFYPEER, int(verify))
        curl.setopt(pycurl.SSL_VERIFYHOST, 2 if verify else 0)
        curl.setopt(CA_CACHE_TIMEOUT, 0)
        curl.setopt(pycurl.SSL_SESSIONID_CACHE, 0)
        stamps = (settings, _stamp(ca_file), own)
        if stamps != self._stamps:
            curl.setopt(pycurl.FRESH_CONNECT, 1)
            self._stamps = stamps

    def _open(self, _purpose: int, address: Sequence[Any]) -> socket.socket | int:
        """Open a socket for libcurl, which works on a duplicate: `cancel` may shut ours down at any moment."""
        with self._lock:
            if self._cancelled:
                return pycurl.SOCKET_BAD
            if not self._opened_now:
                self._close_sockets()
            self._opened_now = True
            self._sockets.append(socket.socket(*address[:3]))
            return self._sockets[-1]

    def _progress(self, *_: float) -> int:
        return int(self._cancelled)

    def _drop_sockets(self) -> None:
        with self._lock:
            self._close_sockets()

    def _close_sockets(self) -> None:
        for one in self._sockets:
            one.close()
        self._sockets.clear()

    def _no_answer(self, problem: Sequence[Any], body: BoundedBody) -> ConsulError:
        code, message = problem
        if self._cancelled:
            return ConsulUnavailable("was not waited for: the request was cancelled")
        if body.overflow:
            return ConsulTooLarge(f"answered with more than {MAX_BODY} bytes")
        match code:
            case pycurl.E_OPERATION_TIMEDOUT:
                return ConsulUnavailable(f"did not answer within {self.within:g} s: {message}")
            case _:
                return ConsulUnavailable(f"did not answer: {message}", sent=code not in NEVER_SENT)


def _status(path: Path) -> tuple[int, ...]:
    """What tells one version of a file from another."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _stamp(path: str) -> tuple[int, ...]:
    """The same for a file that need not be there."""
    with suppress(OSError):
        return _status(Path(path)) if path else ()
    return ()


def _with_authorization(settings: ConsulSettings) -> Sequence[tuple[str, str]]:
    """The headers of the settings, and HTTP's basic authentication where none of them is that."""
    if not settings.http_auth or any(name.lower() == "authorization" for name, _ in settings.headers):
        return settings.headers
    user, _, password = settings.http_auth.partition(":")
    credentials = b64encode(f"{user}:{password}".encode()).decode()
    return (*settings.headers, ("Authorization", f"Basic {credentials}"))


def _headers(lines: Sequence[bytes]) -> dict[str, str]:
    """The headers of the last status line: an interim answer (100) has some too."""
    headers: dict[str, str] = {}
    for line in lines:
        if line.startswith(b"HTTP/"):
            headers = {}
        name, colon, value = line.decode("latin-1").partition(":")
        if colon and len(headers) < MAX_HEADERS:
            headers[name.strip().title()] = value.strip()
    return headers


def _judge(answer: Response) -> None:
    """Let through what python-consul2 is to read: 200, and 404 and 409 whose meaning depends on the question."""
    said = f"{answer.code} {answer.excerpt}".rstrip()
    match answer.code:
        case 200 | 404 | 409:
            return
        case 413:
            raise ConsulTooLarge(f"answered {said}")
        case 429:
            raise ConsulUnavailable(f"answered {said}")
        case code if 300 <= code < 400:
            raise ConsulUnavailable(f"answered {code}, a redirect, which is never followed")
        case code if 400 <= code < 500:
            raise ConsulRefused(f"answered {said}")
        case _:
            raise ConsulUnavailable(f"answered {said}")
