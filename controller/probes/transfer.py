"""One libcurl easy handle, and what the end of its transfer means as far as every kind of probe has it in common.

No socket is opened here and nothing waits: the engine drives the transfers. Whatever the kind, a probe follows no
redirect, uses no proxy, cookie or netrc, has one deadline for everything and reads at most `MAX_READ` bytes.
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
"""Seconds after a probe's own deadline at which libcurl ends it: only when the engine was away for so long."""
MAX_READ = 64 * 1024
MAX_EXCERPT = 4 * 1024
CUT = "the body is longer than is read"
ODD_STATUS = "the answer's status line cannot be understood"
USER_AGENT = f"podpulse/{version('podpulse')}"
END_OF_HEAD = (b"\r\n", b"\n")
STATUS_LINE = re.compile(rb"HTTP/[0-9.]+ [1-9][0-9][0-9][ \r\n]")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the end of one transfer means; see `ProbeResult` for the fields."""

    outcome: Outcome
    reason: Reason = Reason.NONE
    detail: str = ""
    output: str = ""
    status_code: int = 0


class Transfer:
    """An easy handle with what it reads; used for one probe after the other of the same profile.

    A handle is needed only while a request is in flight, so there are as many as were in flight at once, not one per
    check. `kept` bounds how much of a body is kept, in bytes; `headers` are the header lines if `with_headers`.

    `lost` is how much of the probe's time this controller may have taken, in seconds: from when something was ready for
    it, or may have been, until it was handled. It counts until the request is sent, because only until then does the
    pod wait for us; `handled_at` is when something was handled last, and `sockets` are those that were opened.
    `connected` is after how many seconds a socket was first ready, 0 before.
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
        """Which files of certificates it was made with, as its pool counts them."""
        self.kept = kept
        self.with_headers = with_headers
        self.body = bytearray()
        self.headers: list[bytes] = []
        self.has_head = False
        """Whether the answer's headers were read to their end."""
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
        """Make the next transfer one of `url`. The engine ends it after `timeout` seconds; libcurl would do so later,
        because it looks at the time before it reads what is ready."""
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
        """Tell `opened` of every socket of this transfer from now on."""

        def on_open(fd: int, _: int) -> int:
            self.sockets.append(fd)
            opened(fd, self)
            return pycurl.SOCKOPT_OK

        self.curl.setopt(pycurl.SOCKOPTFUNCTION, on_open)

    def began(self, started: float, now: float, lost: float) -> None:
        """It was to begin at `started`, and began until `now`; `lost` is what was lost of the probe's time before."""
        self.handled_at, self.lost, self.connected = started, lost, 0.0
        self._handle(now, started)
        self._began = now

    def opened(self, now: float, since: float) -> None:
        """A socket was opened for it just now, which may have been due since `since`."""
        self.lost += now - max(self.handled_at, since)
        self.handled_at, self.is_sent = now, False

    def handled(self, now: float, since: float, *, failed: bool) -> None:
        """What was ready for it was handled until `now`, and was not ready before `since`. `failed`: an error was."""
        if not failed:
            self.connected = self.connected or now - self._began
        self._handle(now, since)

    def _handle(self, now: float, since: float) -> None:
        if not self.is_sent:
            self.lost += now - max(self.handled_at, since)
            self.is_sent = self.curl.getinfo(pycurl.REQUEST_SIZE) > 0
        self.handled_at = now

    def close(self) -> None:
        """It is used no more, nor are the files that it was made with."""
        self.curl.close()
        self._sealed = None

    @property
    def is_cut(self) -> bool:
        """Whether the body was longer than is read."""
        return self._broken == CUT

    def excerpt(self) -> str:
        """The beginning of the body, as text."""
        return self.body[:MAX_EXCERPT].decode("utf-8", "replace") if self.body else ""

    def status(self) -> int:
        """The answer's status; 0 where there was none, or none that means anything."""
        return 0 if self._broken == ODD_STATUS else int(self.curl.getinfo(pycurl.RESPONSE_CODE))

    def phases(self, dns: float, took: float = 0.0) -> Phases:
        """How long the parts took, the one that it ended in too; `dns` is told by who looked the name up. `took` is how
        long all of it took after that, where libcurl has not ended it.

        libcurl's times count from the start, and are 0 for what an earlier transfer on the connection had done.
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
        """What the target's certificate says; nothing when none was seen."""
        sent = self._certificates()
        accepted = sent and self._verifies and self.curl.getinfo(pycurl.APPCONNECT_TIME)
        until = certificate.accepted_until(sent, self._chains, self._authorities) if accepted else 0.0
        return certificate.describe(sent, until)

    def failed(self, code: int, message: str, spec: CheckSpec) -> Verdict:
        """The verdict over a transfer that libcurl ended with an error."""
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
        """Decoded here: pycurl's own way fails at a byte that is no UTF-8, and an extension may have any."""
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
        """The files as the check calls them: libcurl knows our copies."""
        if tls:
            message = message.replace("'(memory blob)'", tls.key_file).replace("CURLOPT_SSLCERT_BLOB", tls.cert_file)
        return message.replace(self._sealed.path, self._sealed.name) if self._sealed else message

    def _connect_time(self) -> float:
        """Seconds until it was connected, 0 before. libcurl says so only after the TLS handshake."""
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
    """Where to connect instead of what the URL's host resolves to, in libcurl's words; empty lists for as it is."""

    connect_to: list[str]
    resolve: list[str]

    def after(self, former: "Where") -> "Where":
        """The same, and libcurl forgets the addresses of the way before, which by itself it never does."""
        if not former.resolve or former.connect_to == self.connect_to:
            return self
        name, port, _ = former.resolve[-1].split(":", 2)
        return Where(self.connect_to, [f"-{name}:{port}", *self.resolve])


def where(host: str, port: int, addresses: tuple[str, ...]) -> Where:
    """The way to `host`, whatever the URL calls it.

    One address is connected to as it is; of several libcurl takes the one that answers first (RFC 8305). libcurl
    remembers addresses and connections by the name that it connects to. That has the host's own in it, because several
    may have the same `server_name`, and a digest of the addresses, because a connection that is kept must not outlive
    what the name stood for, or what of it may be probed. TLS and HTTP never see it.
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
"""The group that nearly every server takes first; a key for a post-quantum one is made when a server asks for it."""


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
