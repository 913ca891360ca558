"""HTTP and HTTPS probes: how a request is set up, and what its end means.

No socket is opened here and nothing waits: the engine drives the transfers. Every probe has a fresh connection and TLS
session (a resumed one would not show that the certificate expired), follows no redirect, uses no proxy, cookie or
netrc, and reads at most `MAX_BODY` bytes.

Sources: libcurl's error codes (libcurl-errors(3)), and p2's rule that 200 is healthy.
"""

import errno
import os
from dataclasses import dataclass
from importlib.metadata import version

import pycurl

from reconcilers.health import Outcome, Reason
from reconcilers.spec import CheckSpec

MAX_BODY = 64 * 1024
MAX_EXCERPT = 4 * 1024
USER_AGENT = f"podpulse/{version('podpulse')}"

LOCAL_ERRNOS = frozenset({0, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})

REASONS = {
    pycurl.E_COULDNT_RESOLVE_HOST: Reason.DNS,
    pycurl.E_COULDNT_CONNECT: Reason.CONNECT,
    pycurl.E_OPERATION_TIMEDOUT: Reason.TIMEOUT,
    pycurl.E_SSL_CONNECT_ERROR: Reason.TLS,
    pycurl.E_PEER_FAILED_VERIFICATION: Reason.CERTIFICATE,
    pycurl.E_SSL_ISSUER_ERROR: Reason.CERTIFICATE,
    pycurl.E_SSL_CACERT_BADFILE: Reason.LOCAL,
    pycurl.E_OUT_OF_MEMORY: Reason.LOCAL,
    pycurl.E_FAILED_INIT: Reason.LOCAL,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the end of one transfer means; see `ProbeResult` for the fields."""

    outcome: Outcome
    reason: Reason = Reason.NONE
    detail: str = ""
    output: str = ""
    status_code: int = 0


class Transfer:
    """One libcurl easy handle with the body that it reads; used for one probe after the other.

    An easy handle is needed only while a request is in flight, so there are as many as were in flight at once, not one
    per check.
    """

    __slots__ = ("_addressed", "_body", "_size", "curl")

    def __init__(self, ca_file: str) -> None:
        self._addressed = False
        self._body = bytearray()
        self._size = 0
        self.curl = pycurl.Curl()
        for option, value in {
            pycurl.NOSIGNAL: 1,
            pycurl.FRESH_CONNECT: 1,
            pycurl.FORBID_REUSE: 1,
            pycurl.SSL_SESSIONID_CACHE: 0,
            pycurl.FOLLOWLOCATION: 0,
            pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
            pycurl.PROXY: "",
            pycurl.NOPROXY: "*",
            pycurl.NETRC: pycurl.NETRC_IGNORED,
            pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
            pycurl.CAINFO: ca_file,
            pycurl.USERAGENT: USER_AGENT,
            pycurl.WRITEFUNCTION: self._write,
        }.items():
            self.curl.setopt(option, value)

    def prepare(self, spec: CheckSpec) -> None:
        """Make the next transfer that of `spec`."""
        self._body.clear()
        self._size = 0
        self.curl.setopt(pycurl.URL, spec.probe.url)
        self.curl.setopt(pycurl.TIMEOUT_MS, int(spec.timeout * 1000))
        if spec.address is not None:
            self.curl.setopt(pycurl.CONNECT_TO, [f"::{_bracketed(spec.address)}:"])
            self._addressed = True
        elif self._addressed:
            self.curl.unsetopt(pycurl.CONNECT_TO)
            self._addressed = False

    def answered(self) -> Verdict:
        """The verdict over a transfer that ended by itself."""
        status = self.curl.getinfo(pycurl.RESPONSE_CODE)
        if status == 200:
            return Verdict(Outcome.SUCCESS, output=self._excerpt(), status_code=status)
        reason = Reason.REDIRECT if 300 <= status < 400 else Reason.STATUS
        return Verdict(Outcome.FAILURE, reason, f"answered with status {status}", self._excerpt(), status)

    def failed(self, code: int, message: str, spec: CheckSpec) -> Verdict:
        """The verdict over a transfer that libcurl ended with an error."""
        if code == pycurl.E_WRITE_ERROR and self._size > MAX_BODY:
            return self.answered()
        reason = self._reason(code, message, spec)
        outcome = Outcome.LOCAL if reason is Reason.LOCAL else Outcome.FAILURE
        detail = self._timeout(spec) if reason is Reason.TIMEOUT else self._sentence(reason, message, spec)
        return Verdict(outcome, reason, detail, self._excerpt(), self.curl.getinfo(pycurl.RESPONSE_CODE))

    def _write(self, data: bytes) -> int:
        self._size += len(data)
        if (room := MAX_EXCERPT - len(self._body)) > 0:
            self._body += data[:room]
        return len(data) if self._size <= MAX_BODY else -1

    def _excerpt(self) -> str:
        return self._body.decode("utf-8", "replace")

    def _reason(self, code: int, message: str, spec: CheckSpec) -> Reason:
        match code:
            case pycurl.E_COULDNT_CONNECT:
                return self._not_connected()
            case pycurl.E_COULDNT_RESOLVE_HOST if _descriptors_are_exhausted():
                return Reason.LOCAL
            case pycurl.E_OPERATION_TIMEDOUT if not spec.address and not self.curl.getinfo(pycurl.NAMELOOKUP_TIME):
                return Reason.LOCAL
            case pycurl.E_RECV_ERROR | pycurl.E_SEND_ERROR if " alert " in message:
                return Reason.TLS
            case _:
                return REASONS.get(code, Reason.PROTOCOL)

    def _not_connected(self) -> Reason:
        """Whose fault it is. Without an error of the system's nothing was sent: there was not even a socket."""
        match self.curl.getinfo(pycurl.OS_ERRNO):
            case errno.ECONNREFUSED:
                return Reason.REFUSED
            case number if number in LOCAL_ERRNOS:
                return Reason.LOCAL
            case _:
                return Reason.CONNECT

    def _sentence(self, reason: Reason, message: str, spec: CheckSpec) -> str:
        where = f"{spec.address or spec.probe.host}:{spec.probe.port}"
        match reason:
            case Reason.REFUSED:
                return f"connection to {where} refused"
            case Reason.CONNECT | Reason.LOCAL if number := self.curl.getinfo(pycurl.OS_ERRNO):
                return f"no connection to {where}: {os.strerror(number)}"
            case Reason.LOCAL:
                return f"the probe could not be sent: {message}"
            case _:
                return message or "the answer is no HTTP that can be understood"

    def _timeout(self, spec: CheckSpec) -> str:
        after = f"for {spec.timeout:g} s"
        if not self.curl.getinfo(pycurl.CONNECT_TIME):
            return f"no connection to {spec.address or spec.probe.host}:{spec.probe.port} {after}"
        if spec.probe.scheme == "https" and not self.curl.getinfo(pycurl.APPCONNECT_TIME):
            return f"connected, then no TLS handshake {after}"
        if not self.curl.getinfo(pycurl.STARTTRANSFER_TIME):
            return f"connected, then nothing {after}"
        return f"the answer was not complete after {spec.timeout:g} s"


def _descriptors_are_exhausted() -> bool:
    """Asked when a lookup failed: without descriptors the resolver cannot ask, and says that there is no such host."""
    try:
        os.close(os.dup(2))
    except OSError:
        return True
    return False


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
