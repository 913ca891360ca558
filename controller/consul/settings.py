"""The settings of the Consul client, from arguments and from Consul's usual environment variables.

Only this module reads the variables. In python-consul2 they override explicit arguments, and
`CONSUL_HTTP_SSL_VERIFY=1` turns verification off.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
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
    """How the client reaches Consul's agent. An empty field is not set.

    `address` is `http://host:port` or `https://host:port`, either with a path prefix, or `unix:///path`. `http_auth` is
    `user:password` for HTTP's basic authentication. `token_file` is read again after each change, and is used instead
    of `token`. Without `ca_file` and `ca_path` the system's authorities are trusted. Every request has `headers`, which
    may be secrets for a proxy, and the `namespace` and `partition` of Consul Enterprise. Raises ValueError if the
    address has another form, or only one of the client certificate and its key is given.
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
        is_unix = self.address.startswith("unix:///") and self.address.isprintable()
        if not (is_unix or _is_http(self.address)):
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
        """host:port, or `localhost` for a Unix socket."""
        return urlsplit(self.address).netloc or "localhost"

    @property
    def path_prefix(self) -> str:
        """The prefix of the path of every request. "", or it begins with a slash and does not end with one."""
        return "" if self.scheme == "unix" else urlsplit(self.address).path

    @property
    def socket_path(self) -> str:
        """The path of the Unix socket. "" if `address` is a URL of HTTP."""
        return urlsplit(self.address).path if self.scheme == "unix" else ""


VARIABLES = {
    "token": "CONSUL_HTTP_TOKEN",
    "token_file": "CONSUL_HTTP_TOKEN_FILE",
    "ca_file": "CONSUL_CACERT",
    "ca_path": "CONSUL_CAPATH",
    "cert_file": "CONSUL_CLIENT_CERT",
    "key_file": "CONSUL_CLIENT_KEY",
    "server_name": "CONSUL_TLS_SERVER_NAME",
    "http_auth": "CONSUL_HTTP_AUTH",
    "namespace": "CONSUL_NAMESPACE",
    "partition": "CONSUL_PARTITION",
}


def settings_from_environment(environ: Mapping[str, str], **given: Any) -> ConsulSettings:
    """Returns the given settings, and those of Consul's environment variables for fields that are not given.

    `token` or `token_file` replaces both variables of the token, and `cert_file` or `key_file` both of the certificate.
    Raises ValueError if a value is invalid.
    """
    values: dict[str, Any] = {name: environ.get(variable, "") for name, variable in VARIABLES.items()}
    values["insecure_skip_verify"] = not _boolean(environ, "CONSUL_HTTP_SSL_VERIFY", default=True)
    for pair in (("token", "token_file"), ("cert_file", "key_file")):
        if given.keys() & set(pair):
            values |= dict.fromkeys(pair, "")
    address = _with_scheme(given["address"]) if "address" in given else _address(environ)
    return ConsulSettings(**{**values, **given, "address": address})


def _address(environ: Mapping[str, str]) -> str:
    """`CONSUL_HTTP_SSL` turns a http address into https, as in Consul's own client."""
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


def _is_http(address: str) -> bool:
    """Whether the address has a scheme, a host, at most a port and a path prefix, and nothing else."""
    try:
        parts = urlsplit(address)
        is_plain = address == f"{parts.scheme}://{parts.netloc}{parts.path}" and parts.scheme in {"http", "https"}
        is_authority = is_host(parts.hostname or "") and parts.port != 0 and not set(parts.netloc) & set("@\\ ")
        return is_plain and is_authority and bool(PREFIX.fullmatch(parts.path))
    except ValueError:
        return False
