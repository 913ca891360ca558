"""One libcurl easy handle, and the verdicts that all kinds of probes have in common.

The engine drives the transfers; this module neither opens a socket nor waits. A probe of any kind follows no redirect,
uses no proxy, cookie or netrc, has one deadline for everything and reads at most `MAX_READ` bytes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import version
from typing import cast

import pycurl

from controller.probes import certificate, curl_errors
from controller.probes.chains import Authorities
from controller.probes.files import Options, Sealed, TlsFiles
from controller.probes.text import sound
from reconcilers.health import Certificate, Outcome, Phases, Reason
from reconcilers.spec import CheckSpec, Tls

BACKSTOP = 60.0
"""libcurl ends a transfer this many seconds after the probe's timeout, if the engine did not run for that long."""
MAX_READ = 64 * 1024
MAX_EXCERPT = 4 * 1024
CUT = "the body is longer than is read"
ODD_STATUS = "the answer's status line cannot be understood"
USER_AGENT = f"podpulse/{version('podpulse')}"
END_OF_HEAD = (b"\r\n", b"\n")
STATUS_LINE = re.compile(rb"HTTP/[0-9.]+ [1-9][0-9][0-9][ \r\n]")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one transfer; see `ProbeResult` for the fields."""

    outcome: Outcome
    reason: Reason = Reason.NONE
    detail: str = ""
    output: str = ""
    status_code: int = 0


class Transfer:
    """An easy handle and the answer that it reads. Probes of the same profile use it one after the other.

    A handle is used only while a probe is in flight, so there are as many handles as probes in flight at once. `kept`
    is how many bytes of a body are kept. `headers` are the header lines if `with_headers`.

    `lost` is how many seconds of the probe's time this controller may have used: from when an event was, or may have
    been, ready until it was handled. It counts only until the request is sent: until then the pod waits for us.
    `handled_at` is the time of the last handled event. `sockets` are the opened sockets. `connected` is how many
    seconds passed until a socket was first ready; 0 before that.
    """

    __slots__ = (
        "_authorities",
        "_began",
        "_broken",
        "_certinfo",
        "_chains",
        "_connect_to",
        "_resolved",
        "_sealed",
        "_secure",
        "_size",
        "_timeout_set",
        "_verifies",
        "body",
        "connected",
        "curl",
        "era",
        "handled_at",
        "has_head",
        "headers",
        "is_sent",
        "kept",
        "lost",
        "sockets",
        "with_headers",
    )

    def __init__(self, tls: Tls | None, files: TlsFiles, *, reuse: bool, kept: int, with_headers: bool = False) -> None:
        self.era = 0
        """The pool's serial number of the certificate files that this transfer uses."""
        self.kept = kept
        self.with_headers = with_headers
        self.body = bytearray()
        self.headers: list[bytes] = []
        self.has_head = False
        """Whether all headers of the answer were read."""
        self._secure = tls is not None
        self._verifies = tls is not None and not tls.insecure_skip_verify
        self._chains = files.chains
        self._authorities: Authorities = ""
        self._size = 0
        self._broken = ""
        self._resolved = False
        self._certinfo = False
        self._timeout_set = 0.0
        self._connect_to: list[str] = []
        self._sealed: Sealed | None = None
        self.lost = self.handled_at = self.connected = self._began = 0.0
        self.is_sent = False
        self.sockets: list[int] = []
        self.curl = pycurl.Curl()
        options = _common(reuse=reuse)
        if tls:
            given, self._sealed = files.options(tls)
            options |= _tls(tls) | given
            self._authorities = cast("Authorities", given.get(pycurl.CAINFO) or given[pycurl.CAINFO_BLOB])
        for option, value in options.items():
            self.curl.setopt(option, value)
        self.curl.setopt(pycurl.WRITEFUNCTION, self._on_body)
        self.curl.setopt(pycurl.HEADERFUNCTION, self._on_header)

    def prepare(self, url: str, timeout: float, where: "Where", *, certinfo: bool) -> None:
        """Configure the next transfer for `url`.

        The engine ends it after `timeout` seconds. libcurl's own timeout is longer, because libcurl checks the time
        before it reads what is ready.
        """
        self.body.clear()
        self.headers.clear()
        self.sockets.clear()
        self.is_sent = False
        self.has_head = False
        self._size = 0
        self._broken = ""
        setopt = self.curl.setopt
        setopt(pycurl.URL, url)
        setopt(pycurl.REQUEST_TARGET, f"/{url.split('/', 3)[3]}")  # libcurl would change dots and escapes in it
        if timeout != self._timeout_set:
            setopt(pycurl.TIMEOUT_MS, int((timeout + BACKSTOP) * 1000))
            setopt(pycurl.CONNECTTIMEOUT_MS, int((timeout + BACKSTOP) * 1000))
            self._timeout_set = timeout
        if where.connect_to != self._connect_to:
            setopt(pycurl.CONNECT_TO, where.connect_to)
            self._connect_to = where.connect_to
        if where.resolve or self._resolved:
            setopt(pycurl.RESOLVE, where.resolve)
            self._resolved = bool(where.resolve)
        if certinfo is not self._certinfo:
            setopt(pycurl.OPT_CERTINFO, certinfo)
            self._certinfo = certinfo

    def tell_of_sockets(self, opened: "Callable[[int, Transfer], None]") -> None:
        """Call `opened` for every socket of this transfer from now on."""

        def on_open(fd: int, _: int) -> int:
            self.sockets.append(fd)
            opened(fd, self)
            return pycurl.SOCKOPT_OK

        self.curl.setopt(pycurl.SOCKOPTFUNCTION, on_open)

    def began(self, started: float, now: float, lost: float) -> None:
        """The transfer was due at `started` and began by `now`. `lost` seconds of the probe's time were used before."""
        self.handled_at, self.lost, self.connected = started, lost, 0.0
        self._handle(now, started)
        self._began = now

    def opened(self, now: float, since: float) -> None:
        """A socket was opened now; it may have been due since `since`."""
        self.lost += now - max(self.handled_at, since)
        self.handled_at, self.is_sent = now, False

    def handled(self, now: float, since: float, *, failed: bool) -> None:
        """A socket's event was handled by `now`; it was not ready before `since`. `failed`: it was an error."""
        if not failed:
            self.connected = self.connected or now - self._began
        self._handle(now, since)

    def _handle(self, now: float, since: float) -> None:
        if not self.is_sent:
            self.lost += now - max(self.handled_at, since)
            self.is_sent = self.curl.getinfo(pycurl.REQUEST_SIZE) > 0
        self.handled_at = now

    def close(self) -> None:
        """Release the handle and its files."""
        self.curl.close()
        self._sealed = None

    @property
    def is_cut(self) -> bool:
        """Whether the body was longer than `MAX_READ`."""
        return self._broken == CUT

    def excerpt(self) -> str:
        """Returns the first `MAX_EXCERPT` bytes of the body as text."""
        return self.body[:MAX_EXCERPT].decode("utf-8", "replace") if self.body else ""

    def status(self) -> int:
        """Returns the status code of the answer; 0 if there was none or a malformed one."""
        return 0 if self._broken == ODD_STATUS else int(self.curl.getinfo(pycurl.RESPONSE_CODE))

    def phases(self, dns: float, took: float = 0.0) -> Phases:
        """Returns how long each phase took, including the phase in which the transfer ended.

        `dns` is the time of the lookup. `took` is the time after it, for a transfer that the engine ended. libcurl's
        times count from the start, and are 0 for phases that an earlier transfer on the same connection did.
        """
        get = self.curl.getinfo
        connected, total = self._connect_time(), took or get(pycurl.TOTAL_TIME)
        if not get(pycurl.REQUEST_SIZE):
            connect = connected or total
            return Phases(dns, connect, total - connect if self._secure else 0.0)
        ready = max(connected, get(pycurl.APPCONNECT_TIME))
        first = get(pycurl.STARTTRANSFER_TIME)
        return Phases(
            dns, connected, ready - connected, max(0.0, (first or total) - ready), total - first if first else 0.0
        )

    def seen_certificate(self) -> Certificate:
        """Returns the description of the target's certificate; `NO_CERTIFICATE` if none was read."""
        sent = self._certificates()
        accepted = sent and self._verifies and self.curl.getinfo(pycurl.APPCONNECT_TIME)
        until = certificate.accepted_until(sent, self._chains, self._authorities) if accepted else 0.0
        return certificate.describe(sent, until)

    def failed(self, code: int, message: str, spec: CheckSpec) -> Verdict:
        """Returns the verdict on a transfer that libcurl ended with an error."""
        reason = curl_errors.reason(code, message, self.curl.getinfo(pycurl.OS_ERRNO))
        outcome = Outcome.LOCAL if reason is Reason.LOCAL else Outcome.FAILURE
        output = self.excerpt() if spec.output.keeps(success=False) else ""
        return Verdict(outcome, reason, self._sentence(reason, code, message, spec), output, self.status())

    def _on_body(self, data: bytes) -> int:
        self._size += len(data)
        if (room := self.kept - len(self.body)) > 0:
            self.body += data[:room]
        if self._size <= MAX_READ:
            return len(data)
        self._broken = CUT
        return -1

    def _on_header(self, line: bytes) -> int:
        self._size += len(line)
        if line.startswith(b"HTTP/") and not STATUS_LINE.match(line):
            self._broken = ODD_STATUS
            return -1
        self.has_head = line in END_OF_HEAD or (self.has_head and not line.startswith(b"HTTP/"))
        if self.with_headers:
            self.headers.append(line)
        if self._size <= MAX_READ:
            return len(line)
        self._broken = f"the answer's headers are longer than {MAX_READ // 1024} KiB"
        return -1

    def _certificates(self) -> certificate.Chain:
        """Decodes the texts itself: pycurl fails at bytes that are not UTF-8, and an extension may contain any byte."""
        if not self._certinfo:
            return []
        chain = self.curl.getinfo_raw(pycurl.INFO_CERTINFO)
        return [[(_decoded(field), _decoded(text)) for field, text in each] for each in chain]

    def _sentence(self, reason: Reason, code: int, message: str, spec: CheckSpec) -> str:
        where = f"{_bracketed(spec.address or spec.probe.host)}:{spec.probe.port}"
        host = (spec.probe.tls and spec.probe.tls.server_name) or spec.probe.host
        match reason:
            case Reason.TIMEOUT:
                return self._timeout(where, spec)
            case Reason.CERTIFICATE:
                verdict = int(self.curl.getinfo(pycurl.SSL_VERIFYRESULT))
                return certificate.explain(verdict, self._certificates(), host) or message
            case Reason.TLS:
                return curl_errors.no_tls(message, where, host)
            case Reason.PROTOCOL:
                return self._broken or curl_errors.no_answer(code, message)
            case _ if code == pycurl.E_COULDNT_CONNECT:
                return curl_errors.no_connection(where, self.curl.getinfo(pycurl.OS_ERRNO))
            case _:
                return f"the probe could not be sent: {self._with_paths(message, spec.probe.tls)}"

    def _with_paths(self, message: str, tls: Tls | None) -> str:
        """Replaces the paths of our copies by the paths that the check names."""
        if tls:
            message = message.replace("'(memory blob)'", tls.key_file).replace("CURLOPT_SSLCERT_BLOB", tls.cert_file)
        return message.replace(self._sealed.path, self._sealed.name) if self._sealed else message

    def _connect_time(self) -> float:
        """Returns the seconds until it was connected, else 0. libcurl reports this only after the TLS handshake."""
        return float(self.curl.getinfo(pycurl.CONNECT_TIME)) or self.connected

    def _timeout(self, where: str, spec: CheckSpec) -> str:
        after = f"for {spec.timeout:g} s"
        if self.curl.getinfo(pycurl.STARTTRANSFER_TIME) and self.curl.getinfo(pycurl.REQUEST_SIZE):
            return f"the answer was not complete after {spec.timeout:g} s"
        if self.curl.getinfo(pycurl.REQUEST_SIZE):
            return f"connected, then nothing {after}"
        if self._connect_time():
            return f"connected, then no TLS handshake {after}"
        return f"no connection to {where} {after}"


@dataclass(frozen=True, slots=True)
class Where:
    """Where to connect, as libcurl's options. Empty lists mean the addresses of the URL's host."""

    connect_to: list[str]
    resolve: list[str]

    def after(self, former: "Where") -> "Where":
        """Returns this target with an option that removes the addresses of `former` from libcurl's cache."""
        if not former.resolve or former.connect_to == self.connect_to:
            return self
        name, port, _ = former.resolve[-1].split(":", 2)
        return Where(self.connect_to, [f"-{name}:{port}", *self.resolve])


def where(host: str, port: int, addresses: tuple[str, ...]) -> Where:
    """Returns where to connect for `host`, whatever host the URL names.

    libcurl connects to a single address directly; of several it uses the one that answers first (RFC 8305). libcurl
    caches addresses and connections by the name that it connects to. This name contains the host, because several hosts
    may have the same `server_name`, and a digest of the addresses, so that a kept connection is not used after the
    addresses or the guard have changed. TLS and HTTP do not see this name.
    """
    match addresses:
        case ():
            return Where([], [])
        case (address,):
            return Where([f"::{_bracketed(address)}:"], [])
        case _:
            name = f"{blake2b(' '.join(sorted(addresses)).encode(), digest_size=8).hexdigest()}.{host}"
            return Where([f"::{name}:"], [f"{name}:{port}:{','.join(map(_bracketed, addresses))}"])


def _decoded(data: bytes) -> str:
    return sound(data.decode("utf-8", "replace"))


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


CURVES = "X25519:P-256:P-384:P-521:X25519MLKEM768"
"""X25519 is first because nearly every server accepts it. A post-quantum key is made only if a server asks for it."""


def _common(*, reuse: bool) -> Options:
    return {
        pycurl.NOSIGNAL: 1,
        pycurl.TCP_NODELAY: 0,
        pycurl.FRESH_CONNECT: 0 if reuse else 1,
        pycurl.FORBID_REUSE: 0 if reuse else 1,
        pycurl.FOLLOWLOCATION: 0,
        pycurl.PROXY: "",
        pycurl.NOPROXY: "*",
        pycurl.NETRC: pycurl.NETRC_IGNORED,
        pycurl.DNS_CACHE_TIMEOUT: 0,
        pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
        pycurl.USERAGENT: USER_AGENT,
    }


def _tls(tls: Tls) -> Options:
    return {
        pycurl.SSL_VERIFYPEER: 0 if tls.insecure_skip_verify else 1,
        pycurl.SSL_VERIFYHOST: 0 if tls.insecure_skip_verify else 2,
        pycurl.SSL_SESSIONID_CACHE: 1 if tls.resume else 0,
        pycurl.SSL_EC_CURVES: CURVES,
    }
