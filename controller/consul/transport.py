"""The HTTP client for Consul: one libcurl handle with the interface that python-consul2 expects.

python-consul2's own HTTP clients have no deadline, cannot be cancelled, and send the token to redirects and proxies.
This client has a deadline for every request, can be cancelled by another thread, follows no redirect, uses no proxy,
and sends the token only in its header. Its errors never contain the token.
"""

import hashlib
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pycurl

from controller.consul.certificate import ClientCertificate
from controller.consul.operations import CANCELLED, SILENT
from controller.consul.settings import ConsulSettings
from controller.runtime.bounded import BoundedBody
from controller.runtime.plain_files import Stamp, stamp, stamp_of

CA_CACHE_TIMEOUT = 321
"""libcurl's CURLOPT_CA_CACHE_TIMEOUT, which pycurl does not define: the seconds for which authorities are cached."""
CONNECT_TIMEOUT = 2.0
MAX_BODY = 16 * 1024 * 1024
"""Bytes of one answer. Decoding blocks the interpreter, and with it every probe, for 1 to 2 ms per MiB."""
BEGINNING = 4096
MAX_HEADERS = 100
EXCERPT = 200
NEVER_SENT = frozenset({pycurl.E_COULDNT_CONNECT, pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_PEER_FAILED_VERIFICATION})


class Trouble(StrEnum):
    """Why a request to Consul failed. The set is bounded because it is a label of a metric."""

    NO_CONNECTION = "no_connection"
    NO_ANSWER = "no_answer"
    SERVER_ERROR = "server_error"
    PERMISSION_DENIED = "permission_denied"
    REFUSED = "refused"


class ConsulError(Exception):
    """Base of the errors below. The message is a sentence for people and contains no token."""

    @property
    def trouble(self) -> Trouble:
        return Trouble.SERVER_ERROR


class ConsulUnavailable(ConsulError):
    """No answer, or an answer that is 5xx, 429 or not from Consul. The request can be retried.

    `sent` is False if the request was certainly not sent. Otherwise Consul may have carried it out, or may do so later.
    `answered` is whether there was any answer. `outcome` is that of the request, see `Observe`.
    """

    def __init__(self, message: str, *, sent: bool = True, answered: bool = True, is_cancelled: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.answered = answered
        self.outcome = CANCELLED if is_cancelled else "unavailable" if answered else SILENT

    @property
    def trouble(self) -> Trouble:
        if self.answered:
            return Trouble.SERVER_ERROR
        return Trouble.NO_ANSWER if self.sent else Trouble.NO_CONNECTION


class ConsulRefused(ConsulError):
    """Consul refused the request (403, 400, 413, ...). A retry helps only after somebody has corrected the cause.

    `denied` is whether the token lacks a right, or is not known to Consul (403).
    """

    def __init__(self, message: str, *, denied: bool = False) -> None:
        super().__init__(message)
        self.denied = denied

    @property
    def trouble(self) -> Trouble:
        return Trouble.PERMISSION_DENIED if self.denied else Trouble.REFUSED


class ConsulTooLarge(ConsulRefused):
    """Consul or a proxy refused the request for its size (413), or the answer is larger than `MAX_BODY`. A smaller
    request may succeed."""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response. Header names are in title case."""

    code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def beginning(self) -> str:
        """The first 4 KiB of the body as text."""
        return self.content[:BEGINNING].decode("utf-8", "replace")

    @property
    def excerpt(self) -> str:
        """The beginning of the body on one line, without control characters."""
        words = "".join(each if each.isprintable() else " " for each in self.beginning[: 2 * EXCERPT]).split()
        return " ".join(words)[:EXCERPT]


NO_ANSWER = Response(0, {}, b"")


class Token:
    """The token of the settings, or the content of its file, which is read again after each change."""

    def __init__(self, settings: ConsulSettings) -> None:
        self._path = Path(settings.token_file) if settings.token_file else None
        self._stamp: Stamp | None = None
        self._token = "" if self._path else settings.token

    def current(self) -> str:
        """Returns the token, "" if there is none. While the file cannot be read, its last token is kept. Raises
        ConsulRefused if the file could never be read, or its content cannot be a token."""
        if self._path:
            self._refresh(self._path)
        if not (self._token.isascii() and self._token.isprintable()):
            raise ConsulRefused("was sent no request: the token contains characters that are not allowed in a token")
        return self._token

    def _refresh(self, path: Path) -> None:
        try:
            if (new := stamp_of(path.stat())) != self._stamp:
                self._token, self._stamp = path.read_text("utf-8").strip(), new
        except (OSError, UnicodeDecodeError) as error:
            if not self._stamp:
                raise ConsulRefused(f"was sent no request: token file {path} cannot be read: {error}") from None


class CurlTransport:
    """The interface of python-consul2's HTTP client, but callbacks are never called: every method returns a `Response`.
    For one thread. Other threads may call `cancel` and `apply` only.

    `timeout` limits each later request, in seconds from its start to the last byte. `answer` is the last response that
    was read in full.
    """

    def __init__(self, settings: ConsulSettings) -> None:
        self.timeout = 10.0
        self.answer = NO_ANSWER
        self._settings = settings
        self._token = Token(settings)
        self._new_settings: ConsulSettings | None = None
        self._tls: object = ()
        self._certificate = ClientCertificate()
        self._curl = pycurl.Curl()
        self._lock = threading.RLock()
        self._cancelled = False
        self._has_new_socket = False
        self._sockets: list[socket.socket] = []

    def get(self, _callback: object, path: str, params: Any = None, **_: object) -> Response:
        """As in python-consul2's HTTPClient, but without the given headers: this class sends the token itself."""
        return self._request("GET", path, params)

    def put(self, _callback: object, path: str, params: Any = None, data: Any = "", **_: object) -> Response:
        return self._request("PUT", path, params, data or b"")

    def delete(self, _callback: object, path: str, params: Any = None, **_: object) -> Response:
        return self._request("DELETE", path, params)

    def cancel(self) -> None:
        """End the current request, and send none until `reopen`. For any thread."""
        with self._lock:
            self._cancelled = True
            for each in self._sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def apply(self, settings: ConsulSettings) -> None:
        """Use these settings from the next request on. For any thread."""
        self._new_settings = settings

    def token_mark(self) -> str:
        """See `ConsulClient.token_mark`."""
        self._take_settings()
        return hashlib.sha256(self._token.current().encode()).hexdigest()

    def reopen(self) -> None:
        """Allow requests again after `cancel`."""
        with self._lock:
            self._cancelled = False

    def close(self) -> None:
        """Close the connection. While a request hangs in another thread, its connection stays open."""
        with suppress(pycurl.error):
            self._curl.close()
            self._close_sockets()

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
            self._close_sockets()
            raise self._no_answer(error.args, body) from None
        self.answer = Response(self._curl.getinfo(pycurl.RESPONSE_CODE), _headers(lines), body.data)
        _raise_for_code(self.answer)
        return self.answer

    def _take_settings(self) -> None:
        """The last token is kept unless the settings name another one, because its file may be missing now."""
        settings, self._new_settings = self._new_settings, None
        if settings and settings != self._settings:
            if (settings.token, settings.token_file) != (self._settings.token, self._settings.token_file):
                self._token = Token(settings)
            self._settings = settings

    def _url(self, path: str, params: Iterable[tuple[str, object]] | None) -> str:
        """Refuses dots and empty segments, because they would reach another endpoint."""
        first, *segments = path.split("/")
        if first or {"", ".", ".."} & set(segments[:-1]) or segments[-1] in {".", ".."}:
            raise ConsulRefused(f"was sent no request: the path {path[:EXCERPT]!r} is not allowed")
        settings = self._settings
        where = (("dc", settings.datacenter), ("ns", settings.namespace), ("partition", settings.partition))
        query = [*(params or ()), *(each for each in where if each[1])]
        scheme = "https" if settings.scheme == "https" else "http"
        return f"{scheme}://{self._host()}{settings.path_prefix}{quote(path)}" + (
            f"?{urlencode(query)}" if query else ""
        )

    def _host(self) -> str:
        """Returns the name for the Host header, for SNI and for the verification of the certificate, with the port."""
        if not (self._settings.scheme == "https" and self._settings.server_name):
            return self._settings.authority
        _, colon, port = self._settings.authority.rpartition(":")
        return self._settings.server_name + (f":{port}" if colon and port.isdigit() else "")

    def _configure(self, url: str, method: str, data: str | bytes | None) -> None:
        """Set every option. No option of the previous request is kept."""
        curl = self._curl
        curl.reset()
        self._has_new_socket = False
        headers = ["Expect:", "Content-Type:", "Accept: application/json"]
        headers += [f"{name}: {value}" for name, value in _with_authorization(self._settings)]
        if token := self._token.current():
            headers.append(f"X-Consul-Token: {token}")
        for option, value in (
            (pycurl.URL, url),
            (pycurl.HTTPHEADER, headers),
            (pycurl.CUSTOMREQUEST, method),
            (pycurl.TIMEOUT_MS, max(1, round(self.timeout * 1000))),
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
        certificate = self._certificate.options(settings.cert_file, settings.key_file) if settings.cert_file else {}
        for option, value in certificate.items():
            curl.setopt(option, value)
        if settings.server_name:
            curl.setopt(pycurl.CONNECT_TO, [f"::{settings.authority}"])
        verify = not settings.insecure_skip_verify
        curl.setopt(pycurl.SSL_VERIFYPEER, int(verify))
        curl.setopt(pycurl.SSL_VERIFYHOST, 2 if verify else 0)
        curl.setopt(CA_CACHE_TIMEOUT, 0)
        curl.setopt(pycurl.SSL_SESSIONID_CACHE, 0)
        tls = (settings, stamp(ca_file), certificate)
        if tls != self._tls:
            curl.setopt(pycurl.FRESH_CONNECT, 1)
            self._tls = tls

    def _open(self, _purpose: int, address: Sequence[Any]) -> socket.socket | int:
        """Open a socket for libcurl, which uses a duplicate of it. `cancel` shuts down the socket at any time."""
        with self._lock:
            if self._cancelled:
                return pycurl.SOCKET_BAD
            if not self._has_new_socket:
                self._close_sockets()
            self._has_new_socket = True
            self._sockets.append(socket.socket(*address[:3]))
            return self._sockets[-1]

    def _progress(self, *_: float) -> int:
        return int(self._cancelled)

    def _close_sockets(self) -> None:
        with self._lock:
            for each in self._sockets:
                each.close()
            self._sockets.clear()

    def _no_answer(self, problem: Sequence[Any], body: BoundedBody) -> ConsulError:
        code, message = problem
        if self._cancelled:
            return ConsulUnavailable("did not answer: the request was cancelled", answered=False, is_cancelled=True)
        if body.overflow:
            return ConsulTooLarge(f"answered with more than {MAX_BODY} bytes")
        within = f" within {self.timeout:g} s" if code == pycurl.E_OPERATION_TIMEDOUT else ""
        return ConsulUnavailable(f"did not answer{within}: {message}", sent=code not in NEVER_SENT, answered=False)


def _with_authorization(settings: ConsulSettings) -> Sequence[tuple[str, str]]:
    """Returns the headers of the settings, with HTTP's basic authentication unless they have an Authorization."""
    if not settings.http_auth or any(name.lower() == "authorization" for name, _ in settings.headers):
        return settings.headers
    user, _, password = settings.http_auth.partition(":")
    credentials = b64encode(f"{user}:{password}".encode()).decode()
    return (*settings.headers, ("Authorization", f"Basic {credentials}"))


def _headers(lines: Sequence[bytes]) -> dict[str, str]:
    """Returns the headers after the last status line, without those of an interim response (100)."""
    headers: dict[str, str] = {}
    for line in lines:
        if line.startswith(b"HTTP/"):
            headers = {}
        name, colon, value = line.decode("latin-1").partition(":")
        if colon and len(headers) < MAX_HEADERS:
            headers[name.strip().title()] = value.strip()
    return headers


def _raise_for_code(answer: Response) -> None:
    """Raises an error unless the code is 200, or 404 or 409, whose meaning depends on the request."""
    if answer.code in {200, 404, 409}:
        return
    problem = f"answered {answer.code} {answer.excerpt}".rstrip()
    match answer.code:
        case 413:
            raise ConsulTooLarge(problem)
        case code if 300 <= code < 400:
            raise ConsulUnavailable(f"answered {code}, a redirect, which is never followed")
        case code if 400 <= code < 500 and code != 429:
            raise ConsulRefused(problem, denied=code == 403)
        case _:
            raise ConsulUnavailable(problem)
