"""Pods and their checks as frozen values. Two checks are the same if their `CheckSpec`s are equal."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""The allowed names of nodes, pods and services. Other names never become part of a key or a URL: a key with `..` would
reach other endpoints of Consul's API."""


def is_name(text: str) -> bool:
    """Returns whether `text` may be a segment of a Consul key or of a URL."""
    return NAME.fullmatch(text) is not None


class PodKey(NamedTuple):
    """One pod on one node. Work queues carry nothing else. Most lookups are by it, and a tuple is hashed in C."""

    node: str
    pod: str

    def __str__(self) -> str:
        return f"{self.node}/{self.pod}"


@dataclass(frozen=True, slots=True)
class Tls:
    """How a TLS connection is made and verified. "" means no file; for `ca_file`, the controller's authorities.

    `server_name` replaces the host's name for SNI and verification. `resume` has no effect: no session is ever resumed,
    so every new connection verifies the certificate.
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""
    insecure_skip_verify: bool = False
    resume: bool = False


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """The credentials of HTTP's Basic scheme (RFC 7617). The password is in a file."""

    username: str
    password_file: str


Method = Literal["GET", "HEAD", "POST", "PUT", "OPTIONS"]

WITH_BODY = frozenset({"POST", "PUT"})
"""The methods of requests that have a body, which may be empty."""


@dataclass(frozen=True, slots=True)
class HttpGet:
    """One HTTP request. `tls` None means plain HTTP. Only POST and PUT have a `body`.

    An answer is healthy if its status is in one of the `expect_status` ranges (both ends included) and its body matches
    `expect_body` (RE2's syntax), does not match `expect_body_not` and makes `expect_json` (JMESPath) true, if given. An
    answer whose status is in one of the `warn_status` ranges is a warning, whatever its body. `headers` are sent
    unchanged. A Host among them changes neither the address nor the name that TLS verifies. `reuse` keeps the
    connection for the next probe. `path` is percent-encoded. `host` is a validated name. `http_version` 2 is negotiated
    by ALPN over TLS, and spoken with prior knowledge without TLS. `basic_auth` or `bearer_token_file` authorize the
    request. Links must not lead out of `credentials_dir`. Up to `follow_redirects` redirects to the same scheme, host
    and port are followed.
    """

    host: str
    port: int
    path: str
    tls: Tls | None = None
    method: Method = "GET"
    expect_status: tuple[tuple[int, int], ...] = ((200, 200),)
    expect_body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    reuse: bool = False
    http_version: Literal["1.1", "2"] = "1.1"
    body: str = ""
    warn_status: tuple[tuple[int, int], ...] = ()
    expect_body_not: str = ""
    expect_json: str = ""
    basic_auth: BasicAuth | None = None
    bearer_token_file: str = ""
    credentials_dir: str = ""
    follow_redirects: int = 0

    @property
    def credential_file(self) -> str:
        """The file of the password or the token; "" for a request without credentials."""
        return self.basic_auth.password_file if self.basic_auth else self.bearer_token_file

    @property
    def is_idempotent(self) -> bool:
        """Whether the request may be sent twice if its first answer was lost (RFC 9110, 9.2.2)."""
        return self.method != "POST"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a dialogue: sends the bytes `send`, if any, and waits until what comes back matches `expect`, if
    given. `expect` has RE2's syntax; each byte is one character (Latin-1), and `^` and `$` match at each line."""

    send: bytes = b""
    expect: str = ""


@dataclass(frozen=True, slots=True)
class TcpConnect:
    """Opens a connection, goes through the steps of a dialogue if there are any, and closes the connection.

    Healthy if the connection is accepted and each step matches. `send` and `expect` are the only step of a check
    without `steps`. `tls` None means no TLS. With `starttls`, the name of a protocol, the connection begins without
    TLS, and the handshake follows after the protocol's own request for it, before the steps.
    """

    host: str
    port: int
    tls: Tls | None = None
    starttls: str = ""
    send: bytes = b""
    expect: str = ""
    steps: tuple[Step, ...] = ()
    reuse: Literal[False] = False

    @property
    def url(self) -> str:
        return f"{'tls' if self.tls and not self.starttls else 'tcp'}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class GrpcHealth:
    """grpc.health.v1.Health/Check for `service` ("" is the whole server). Healthy if it is SERVING."""

    host: str
    port: int
    service: str = ""
    tls: Tls | None = None
    reuse: bool = False

    @property
    def url(self) -> str:
        return f"{'grpcs' if self.tls else 'grpc'}://{self.host}:{self.port}/{self.service}"


@dataclass(frozen=True, slots=True)
class Unprobed:
    """Sends nothing: a pod without a port is assumed to be healthy."""

    host: str = ""
    port: int = 0
    tls: None = None
    reuse: Literal[False] = False

    @property
    def url(self) -> str:
        return ""


class Output(StrEnum):
    """Which probes keep an excerpt of the answer, which is then published and shown."""

    ALWAYS = "always"
    FAILURES = "failures"
    NEVER = "never"

    def keeps(self, *, success: bool) -> bool:
        """Returns whether a probe with this result keeps the excerpt."""
        return self is ALWAYS or (self is FAILURES and not success)


ALWAYS, FAILURES = Output.ALWAYS, Output.FAILURES
"""For `keeps`, which is called for each probe: Python 3.11 needs 0.2 us to read a member of an enum from its class."""


Probe = HttpGet | TcpConnect | GrpcHealth | Unprobed

PROBES: Mapping[str, type[HttpGet | TcpConnect | GrpcHealth]] = {"http": HttpGet, "tcp": TcpConnect, "grpc": GrpcHealth}
"""By `status.kind` of a manifest, the class of its probe."""


@dataclass(frozen=True, slots=True)
class ManifestVersion:
    """One version of the manifest of a pod. Two versions are equal when they have the same serial number.

    `serial` counts the versions that this run accepted, from 1. `data` is the bytes of the version. `read_at` is when
    they were read (monotonic clock, seconds).
    """

    serial: int = 0
    data: bytes = field(default=b"", compare=False, repr=False)
    read_at: float = field(default=0.0, compare=False)


NO_VERSION = ManifestVersion()
"""The version of a check that no manifest of this run asks for. Its serial number is 0."""

UNKNOWN_ADDRESS = ""
"""The address of a node whose address is not known. Its pods cannot be probed, which is the controller's fault."""


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """One check, with everything that a worker needs to run it.

    `address` is an IP address or a name to connect to instead of the host; Host, SNI and verification keep the host's
    name. None connects to the host itself. No connection to `UNKNOWN_ADDRESS` is possible. Times are in seconds. There
    is no verdict until `initial_delay` has passed or a probe succeeds. `output` says which probes keep an excerpt.
    `version` is the manifest's version. It is not compared: a new version with an equal check does not restart it. A
    success is a warning if the probe took longer than `warn_above`, or if the certificate is valid for less than
    `warn_expiry`; 0 is never.
    """

    key: PodKey
    probe: Probe
    interval: float
    timeout: float
    failure_threshold: int = 1
    success_threshold: int = 1
    initial_delay: float = 0.0
    output: Output = Output.ALWAYS
    address: str | None = None
    version: ManifestVersion = field(default=NO_VERSION, compare=False)
    warn_above: float = 0.0
    warn_expiry: float = 0.0


@dataclass(frozen=True, slots=True)
class FieldWarning:
    """A field of a manifest that is accepted, but is probably a mistake. `field` is its path.

    `count` is the number of fields, if they are too many to be named.
    """

    field: str
    problem: str
    count: int = 1

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


Labels = tuple[tuple[str, str], ...]
"""The labels of a pod, by their names. See `reconcilers.labels`."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A valid manifest. `check` is None if `paused`, or without `status_port` (unless such pods count as passing).

    `warnings` are about fields that neither Podpulse nor p2 knows. They are counted and shown, never refused. `labels`
    are not part of the check, so that a changed label restarts nothing.
    """

    key: PodKey
    check: CheckSpec | None
    warnings: tuple[FieldWarning, ...] = ()
    paused: bool = False
    labels: Labels = ()
