"""The configuration: one YAML file, checked as a whole before anything starts.

Command-line options win over the file, and the file wins over Consul's usual environment variables.
"""

import os
import re
import socket
import ssl
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from controller.consul import ConsulSettings, settings_from_environment
from reconcilers import yamltext
from reconcilers.damping import DampingRules
from reconcilers.fields import Boolean, Text, duration, number
from reconcilers.guard import CONSUL_PORTS, Allowance, Guard
from reconcilers.options import CheckOptions, Defaults, Rules
from reconcilers.spec import is_name

META_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
CA_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names file, field and what was expected."""


def _node(text: object) -> object:
    if isinstance(text, str) and is_name(text):
        return str(text)
    raise ValueError("expected a node's name of letters, digits, dots, dashes and underscores, at most 128")


def _address(text: object) -> object:
    if not isinstance(text, str):
        raise ValueError("expected name, catalog or an IP address")
    if text not in {"name", "catalog"}:
        try:
            ip_address(text)
        except ValueError:
            raise ValueError("expected name, catalog or an IP address") from None
    return str(text)


def _listen(text: object) -> object:
    _host_and_port(text, "HOST:PORT")
    return str(text)


def _canary(text: object) -> object:
    if not isinstance(text, str) or text not in {"consul", "none"}:
        _host_and_port(text, "consul, none or HOST:PORT")
    return str(text)


def _host_and_port(text: object, expected: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ValueError(f"expected {expected}")
    return host.strip("[]"), int(port)


def _allowances(value: object) -> tuple[Allowance, ...]:
    return tuple(Allowance.parse(str(each)) for each in (value if isinstance(value, list | tuple) else [value]))


def _readable(value: object) -> Path:
    if problem := _unreadable(str(value)):
        raise ValueError(f"expected a readable file: {problem}")
    return Path(str(value))


def _unreadable(path: str) -> str:
    """Why a file cannot be read, or ""."""
    try:
        with Path(path).open("rb"):
            return ""
    except OSError as error:
        return error.strerror or "cannot be read"


ReadableFile = Annotated[Path, BeforeValidator(_readable)]


def host_ca_file() -> Path:
    """The host's bundle of certificate authorities."""
    candidates = (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, *CA_FILES)
    for candidate in candidates:
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    return Path(CA_FILES[0])


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DampingSection(_Section):
    """p2's throttle of a pod that flaps: see `reconcilers.damping`."""

    changes: Annotated[int, BeforeValidator(number(0, 1000))] = 16
    refill: Annotated[float, BeforeValidator(duration(1, 3600))] = 15.0
    quiet: Annotated[float, BeforeValidator(duration(1, 3600))] = 60.0


def _publish(value: object) -> tuple[str, ...]:
    wanted = tuple(str(each) for each in (value if isinstance(value, list | tuple) else [value]))
    if not wanted or len(set(wanted)) < len(wanted) or set(wanted) - {"kv", "agent"}:
        raise ValueError("expected kv, agent, or both")
    return wanted


def _meta(value: object) -> dict[str, str]:
    """Meta of a Consul service: Consul's own limits."""
    if not isinstance(value, dict) or len(value) > 60:
        raise ValueError("expected a mapping of at most 60 names to values")
    for name, content in value.items():
        if not META_NAME.fullmatch(str(name)) or not isinstance(content, str) or len(content) > 512:
            raise ValueError(f"expected names of letters, digits, - and _, and values of up to 512, found {name!r:.60}")
    return {str(name): str(content) for name, content in value.items()}


class ServiceSection(_Section):
    """What pods are called as services of the local agent; for `publish: agent`."""

    name_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{0,64}$")] = ""
    meta_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,64}$")] = "podpulse-"
    tags: tuple[Text, ...] = ()
    meta: Annotated[dict[str, str], BeforeValidator(_meta)] = Field(default_factory=dict)
    ttl: Annotated[float, BeforeValidator(duration(3, 3600))] = 20.0


class ConsulSection(_Section):
    """How to reach Consul; what is absent comes from Consul's usual environment variables."""

    address: str | None = None
    token: str | None = Field(default=None, repr=False)
    token_file: Path | None = None
    ca_file: ReadableFile | None = None
    cert_file: ReadableFile | None = None
    key_file: ReadableFile | None = None
    server_name: str | None = None
    insecure_skip_verify: bool | None = None


class Config(_Section):
    """Everything that can be configured; see deploy/config.example.yaml."""

    node_name: Annotated[str, BeforeValidator(_node)] = Field(default_factory=socket.gethostname, validate_default=True)
    tree: Literal["intent", "reality"] = "intent"
    address: Annotated[str, BeforeValidator(_address)] = "name"
    ca_file: ReadableFile = Field(default_factory=host_ca_file, validate_default=True)
    defaults: Defaults = Field(default_factory=CheckOptions)
    allow_headers: Boolean = False
    allow_addresses: Annotated[tuple[Allowance, ...], BeforeValidator(_allowances)] = ()
    canary: Annotated[str, BeforeValidator(_canary)] = "consul"
    publish: Annotated[tuple[str, ...], BeforeValidator(_publish)] = ("kv",)
    service: ServiceSection = Field(default_factory=ServiceSection)
    damping: DampingSection = Field(default_factory=DampingSection)
    max_in_flight: Annotated[int, Field(ge=1, le=1_000_000)] = 8192
    listen: Annotated[str, BeforeValidator(_listen)] = "127.0.0.1:9815"
    intent_dir: Path | None = None
    health_dir: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    consul: ConsulSection = Field(default_factory=ConsulSection)

    @model_validator(mode="after")
    def _folders_go_together(self) -> "Config":
        if (self.intent_dir is None) != (self.health_dir is None):
            raise ValueError("intent_dir and health_dir: expected both (for use without Consul) or none")
        if self.intent_dir and self.address == "catalog":
            raise ValueError("address: catalog needs Consul, and intent_dir is for use without it")
        return self

    @model_validator(mode="after")
    def _default_files_are_there(self) -> "Config":
        for name in ("ca_file", "cert_file", "key_file"):
            path = getattr(self.defaults.tls, name)
            if path and (problem := _unreadable(path)):
                raise ValueError(f"defaults.tls.{name}: expected a readable file: {problem}, got {path[:60]!r}")
        return self

    @property
    def listen_address(self) -> tuple[str, int]:
        return _host_and_port(self.listen, "HOST:PORT")

    def rules(self) -> Rules:
        """What the operator says about manifests."""
        return Rules(self.defaults, self.allow_headers, _unreadable)

    def damping_rules(self) -> DampingRules:
        return DampingRules(self.damping.changes, self.damping.refill, self.damping.quiet)

    def guard(self, environ: Mapping[str, str]) -> Guard:
        """Which addresses may be probed; Consul's own port is denied also where it is not the usual one."""
        own = None if self.intent_dir else urlsplit(self.consul_settings(environ).address).port
        return Guard(CONSUL_PORTS | ({own} if own else set()), self.allow_addresses)

    def canary_target(self, environ: Mapping[str, str]) -> tuple[str, int] | str | None:
        """Whom to ask whether this node is cut off: host and port, the path of a unix socket, or nobody."""
        if self.canary != "consul":
            return None if self.canary == "none" else _host_and_port(self.canary, "HOST:PORT")
        if self.intent_dir:
            return None
        settings = self.consul_settings(environ)
        parts = urlsplit(settings.address)
        return settings.socket_path or (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))

    def consul_settings(self, environ: Mapping[str, str]) -> ConsulSettings:
        """How to reach Consul, with what is not configured taken from its usual environment variables.

        Raises:
            ConfigError: a value cannot be understood.
        """
        section = self.consul.model_dump(exclude_none=True)
        paths: dict[str, Any] = {
            name: str(value) if isinstance(value, Path) else value for name, value in section.items()
        }
        try:
            return settings_from_environment(environ, **paths)
        except ValueError as error:
            raise ConfigError(str(error)) from None


def load(path: Path | None, overrides: Mapping[str, Any]) -> Config:
    """Read and check a configuration file; `overrides` are dotted fields (`consul.address`) of the command line.

    Raises:
        ConfigError: naming the file, the field and what was expected.
    """
    where = str(path) if path else "command line"
    document = _read(path) if path else {}
    for name, value in overrides.items():
        if value is not None:
            _set(document, name.split("."), value)
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        problems = (_problem(each["loc"], each["msg"], each["input"]) for each in error.errors(include_url=False))
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems)) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yamltext.load(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except yamltext.YamlError as error:
        raise ConfigError(f"{path}: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a mapping of options")
    return document


def _set(document: dict[str, Any], path: list[str], value: object) -> None:
    """Set a dotted field. What stands where a section belongs stays, for the check of the whole to complain about."""
    for name in path[:-1]:
        section = document.get(name)
        if section is None:
            section = document[name] = {}
        if not isinstance(section, dict):
            return
        document = section
    document[path[-1]] = value


def _problem(location: tuple[int | str, ...], message: str, value: object) -> str:
    field = ".".join(map(str, location))
    if "Extra inputs" in message:
        return f"{field}: no such option"
    message = message.removeprefix("Value error, ").replace("Input should be", "expected")
    secret = isinstance(value, dict | list) or "token" in field or field == "consul"
    shown = "" if secret else f", got {str(value)[:60]!r}"
    return f"{field}: {message}{shown}" if field else message
