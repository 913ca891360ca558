"""How to reach Consul: one frozen value, from explicit arguments and from Consul's usual environment variables.

The variables are read here and nowhere else: python-consul2's own reading lets them override explicit arguments, and
turns verification off at `CONSUL_HTTP_SSL_VERIFY=1`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from reconcilers.fields import is_host

DEFAULT_ADDRESS = "http://127.0.0.1:8500"
ADDRESS = "http://host:port, https://host:port, either with /a/prefix, or unix:///path"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*")
TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


@dataclass(frozen=True, slots=True)
class ConsulSettings:
    """Where Consul's agent is and how to speak to it.

    `address` is `http://host:port`, `https://host:port`, either with the prefix of a path behind it, or `unix:///path`.
    `http_auth` is `user:password` of HTTP's basic authentication. `namespace` and `partition` are Consul Enterprise's,
    and go with every request. `token_file` is read again whenever it changes, and wins over `token`. Empty means not
    given. Without `ca_file` and `ca_path` the system's authorities are trusted. `headers` go with every request, for a
    proxy before Consul; they may be secrets.

    Raises:
        ValueError: for an address of another form, a client certificate without key, or the reverse.
    """

    address: str = DEFAULT_ADDRESS
    token: str = field(default="", repr=False)
    token_file: str = ""
    ca_file: str = ""
    ca_path: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""
    insecure_skip_verify: bool = False
    datacenter: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    http_auth: str = field(default="", repr=False)
    namespace: str = ""
    partition: str = ""

    def __post_init__(self) -> None:
        if not (_is_unix(self.address) or _is_http(self.address)):
            shown = self.address.rpartition("@")[2]
            raise ValueError(f"Consul's address is {shown!r}; expected {ADDRESS}")
        for name, text in (("namespace", self.namespace), ("partition", self.partition)):
            if text and not NAME.fullmatch(text):
                raise ValueError(f"Consul's {name} is {text[:80]!r}; expected up to 64 letters, digits and dashes")
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("a client certificate for Consul needs both cert_file and key_file")

    @property
    def scheme(self) -> Literal["http", "https", "unix"]:
        match urlsplit(self.address).scheme:
            case "https":
                return "https"
            case "unix":
                return "unix"
            case _:
                return "http"

    @property
    def authority(self) -> str:
        """host:port, or `localhost` for a unix socket."""
        return urlsplit(self.address).netloc or "localhost"

    @property
    def path_prefix(self) -> str:
        """What stands before the path of every request; empty, or with a slash in front and none behind."""
        return "" if self.scheme == "unix" else urlsplit(self.address).path

    @property
    def socket_path(self) -> str:
        """The unix socket's path; empty for the others."""
        return urlsplit(self.address).path if self.scheme == "unix" else ""


def settings_from_environment(
    environ: Mapping[str, str],
    *,
    address: str | None = None,
    token: str | None = None,
    token_file: str | None = None,
    ca_file: str | None = None,
    ca_path: str | None = None,
    cert_file: str | None = None,
    key_file: str | None = None,
    server_name: str | None = None,
    insecure_skip_verify: bool | None = None,
    datacenter: str | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    http_auth: str | None = None,
    namespace: str | None = None,
    partition: str | None = None,
) -> ConsulSettings:
    """Settings from `CONSUL_HTTP_ADDR` and its kin, as the `consul` command reads them; what is given explicitly wins.

    Raises:
        ValueError: a value that cannot be understood.
    """
    own_token = token is not None or token_file is not None
    own_pair = cert_file is not None or key_file is not None
    verify = _boolean(environ, "CONSUL_HTTP_SSL_VERIFY", default=True)
    return ConsulSettings(
        address=_with_scheme(address) if address is not None else _address(environ),
        token=token or "" if own_token else environ.get("CONSUL_HTTP_TOKEN", ""),
        token_file=token_file or "" if own_token else environ.get("CONSUL_HTTP_TOKEN_FILE", ""),
        ca_file=_either(ca_file, environ, "CONSUL_CACERT"),
        ca_path=_either(ca_path, environ, "CONSUL_CAPATH"),
        cert_file=cert_file or "" if own_pair else environ.get("CONSUL_CLIENT_CERT", ""),
        key_file=key_file or "" if own_pair else environ.get("CONSUL_CLIENT_KEY", ""),
        server_name=_either(server_name, environ, "CONSUL_TLS_SERVER_NAME"),
        insecure_skip_verify=not verify if insecure_skip_verify is None else insecure_skip_verify,
        datacenter=datacenter or "",
        headers=headers,
        http_auth=_either(http_auth, environ, "CONSUL_HTTP_AUTH"),
        namespace=_either(namespace, environ, "CONSUL_NAMESPACE"),
        partition=_either(partition, environ, "CONSUL_PARTITION"),
    )


def _either(explicit: str | None, environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "") if explicit is None else explicit


def _address(environ: Mapping[str, str]) -> str:
    """Asked for TLS, Consul's own client never falls back to http, whatever the address says."""
    address = _with_scheme(environ.get("CONSUL_HTTP_ADDR") or DEFAULT_ADDRESS)
    if _boolean(environ, "CONSUL_HTTP_SSL", default=False) and address.startswith("http://"):
        return "https://" + address.removeprefix("http://")
    return address


def _with_scheme(address: str) -> str:
    return (address if "://" in address else f"http://{address}").removesuffix("/")


def _boolean(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    match environ.get(name, ""):
        case "":
            return default
        case text if text in TRUE:
            return True
        case text if text in FALSE:
            return False
        case text:
            raise ValueError(f"{name} is {text!r}; expected true or false")


def _is_unix(address: str) -> bool:
    return address.startswith("unix:///") and address.isprintable()


def _is_http(address: str) -> bool:
    """Whether scheme, host, perhaps a port and perhaps the prefix of a path stand there, and nothing else."""
    try:
        parts = urlsplit(address)
        alone = address == f"{parts.scheme}://{parts.netloc}{parts.path}" and parts.scheme in {"http", "https"}
        is_place = is_host(parts.hostname or "") and parts.port != 0 and not set(parts.netloc) & set("@\\ ")
        return alone and is_place and bool(PREFIX.fullmatch(parts.path))
    except ValueError:
        return False
