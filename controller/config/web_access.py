"""Access to the page: the web configuration file, in the format that Prometheus' programs share.

Source of the fields: the documentation of prometheus/exporter-toolkit, "Web configuration". An unsupported
option is an error, because a file that promises a protection must give it.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from controller.config.fields import yaml_document
from reconcilers.fields import Boolean, Text, expectation
from reconcilers.unknown_fields import did_you_mean, nearest

VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
"""Go's and OpenSSL's names of the supported suites of TLS 1.2. The suites of TLS 1.3 cannot be chosen."""

HEADERS = frozenset(
    {
        "Content-Security-Policy",
        "Strict-Transport-Security",
        "X-Content-Type-Options",
        "X-Frame-Options",
        "X-XSS-Protection",
    }
)
BCRYPT = ("$2a$", "$2b$", "$2y$")


class WebAccessError(ValueError):
    """A web configuration file that cannot be used. The message names the file, the field and what was expected."""


def _hash(value: object) -> object:
    if not isinstance(value, str) or not value.startswith(BCRYPT) or len(value) != 60:
        raise ValueError("expected a bcrypt hash of 60 characters, as htpasswd -nBC 10 '' prints it")
    return value


def _headers(value: object) -> object:
    if not isinstance(value, dict) or any(
        not isinstance(text, str) or not text.isprintable() for text in value.values()
    ):
        raise ValueError("expected a mapping of headers to text")
    if others := sorted(set(map(str, value)) - HEADERS):
        raise ValueError(f"expected only {', '.join(sorted(HEADERS))}; found {others[0][:60]!r}")
    return value


def _suites(value: object) -> object:
    wanted = value if isinstance(value, list) else [value]
    if others := [each for each in wanted if each not in CIPHERS]:
        raise ValueError(f"expected names such as {next(iter(CIPHERS))}; found {str(others[0])[:60]!r}")
    return tuple(wanted)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class TlsServer(_Section):
    """How the page is served over TLS. Paths are relative to the file that names them."""

    cert_file: Path
    key_file: Path
    client_auth_type: Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"] = "NoClientCert"
    client_ca_file: Path | None = None
    client_allowed_sans: tuple[Text, ...] = ()
    min_version: Literal["TLS12", "TLS13"] = "TLS12"
    max_version: Literal["TLS12", "TLS13"] = "TLS13"
    cipher_suites: Annotated[tuple[str, ...], BeforeValidator(_suites)] = ()

    @model_validator(mode="after")
    def _belongs_together(self) -> "TlsServer":
        if self.asks_for_client and self.client_ca_file is None:
            raise ValueError(f"client_ca_file: missing; client_auth_type {self.client_auth_type} needs it")
        if self.client_ca_file and not self.asks_for_client:
            raise ValueError("client_auth_type: expected RequireAndVerifyClientCert, since client_ca_file is given")
        if self.client_allowed_sans and self.client_auth_type != "RequireAndVerifyClientCert":
            raise ValueError("client_allowed_sans: of no use without client_auth_type RequireAndVerifyClientCert")
        if VERSIONS[self.min_version] > VERSIONS[self.max_version]:
            raise ValueError("min_version: expected one that is not above max_version")
        return self

    @property
    def asks_for_client(self) -> bool:
        """Whether clients are asked for their certificate."""
        return self.client_auth_type != "NoClientCert"

    def files(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.cert_file, self.key_file, self.client_ca_file) if path)

    def below(self, folder: Path) -> "TlsServer":
        """Returns a copy with paths relative to `folder`."""
        names = ("cert_file", "key_file", "client_ca_file")
        return self.model_copy(update={name: folder / path for name in names if (path := getattr(self, name))})

    def context(self) -> ssl.SSLContext:
        """Returns a new context with the current content of the files. Raises OSError if one of them cannot be used."""
        context = self.bare_context()
        context.load_cert_chain(self.cert_file, self.key_file, lambda: b"")
        if self.client_ca_file:
            context.load_verify_locations(self.client_ca_file)
        return context

    def bare_context(self) -> ssl.SSLContext:
        """Returns a new context without the content of the files."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = VERSIONS[self.min_version], VERSIONS[self.max_version]
        context.options |= ssl.OP_NO_RENEGOTIATION
        if self.cipher_suites:
            context.set_ciphers(":".join(CIPHERS[name] for name in self.cipher_suites))
        context.verify_mode = CLIENT_AUTH[self.client_auth_type]
        return context

    def trouble(self, error: OSError) -> str:
        """Returns which file prevents a `context`, because OpenSSL does not name it."""
        for file in self.files():
            try:
                file.read_bytes()
            except OSError as unreadable:
                return f"expected a readable file: {file}: {unreadable.strerror}"
        return f"expected a certificate, its key, and authorities, as PEM: {error}"


class _HttpServer(_Section):
    http2: Boolean = True
    headers: Annotated[dict[str, str], BeforeValidator(_headers)] = Field(default_factory=dict)


class WebAccess(_Section):
    """The whole file. The page does not support HTTP/2: `http2` only permits it."""

    tls_server_config: TlsServer | None = None
    http_server_config: _HttpServer = Field(default_factory=_HttpServer)
    basic_auth_users: dict[Text, Annotated[str, BeforeValidator(_hash)]] = Field(default_factory=dict)

    @property
    def needs_client(self) -> bool:
        """Whether every client needs a certificate."""
        return bool(self.tls_server_config and self.tls_server_config.client_auth_type == "RequireAndVerifyClientCert")

    @property
    def headers(self) -> Mapping[str, str]:
        return self.http_server_config.headers


FIELDS = (
    *WebAccess.model_fields,
    *(f"tls_server_config.{name}" for name in TlsServer.model_fields),
    *(f"http_server_config.{name}" for name in _HttpServer.model_fields),
)


def read(file: Path) -> WebAccess:
    """Reads and checks a web configuration file, and the certificates that it names. Raises WebAccessError."""
    document = yaml_document(file, WebAccessError)
    try:
        access = WebAccess.model_validate({} if document is None else document)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        problems = (_problem(each["loc"], each["type"], each["msg"]) for each in errors)
        raise WebAccessError("\n".join(f"{file}: {problem}" for problem in problems)) from None
    if access.tls_server_config is None:
        return access
    tls = access.tls_server_config.below(file.parent)
    try:
        tls.context()
    except OSError as error:
        raise WebAccessError(f"{file}: tls_server_config: {tls.trouble(error)}") from None
    return access.model_copy(update={"tls_server_config": tls})


def _problem(location: tuple[int | str, ...], kind: str, message: str) -> str:
    field = ".".join(str(each)[:60] for each in location)
    if kind == "extra_forbidden":
        meant = nearest(".".join(map(str, location[:-1])), str(location[-1]), FIELDS)
        return f"{field}: not known, or not to be had here{did_you_mean(meant)}"
    text = expectation(kind, message)
    return f"{field or 'the file'}: {text}" if field or kind == "model_type" else text
