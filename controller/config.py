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

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from controller.consul import ConsulSettings, settings_from_environment
from reconcilers import yamltext
from reconcilers.spec import CheckDefaults, is_name

DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII
)
CA_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names file, field and what was expected."""


def seconds(text: object) -> float:
    """A duration as Go writes it (`500ms`, `5s`, `1m30s`), in seconds."""
    match = DURATION.fullmatch(text) if isinstance(text, str) and text else None
    if match is None:
        if isinstance(text, int | float) and not isinstance(text, bool):
            return float(text)
        raise ValueError("expected a duration such as 500ms, 5s or 1m30s")
    hours, minutes, whole, milli = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + whole + milli / 1000


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
    host, colon, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ValueError("expected HOST:PORT")
    return str(text)


Seconds = Annotated[float, BeforeValidator(seconds), Field(ge=0.1, le=3600)]
Threshold = Annotated[int, Field(ge=1, le=1000)]


def _readable(value: object) -> Path:
    path = Path(str(value))
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise ValueError(f"expected a readable file: {error.strerror}") from None


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


class Defaults(_Section):
    """What a check gets where its manifest is silent."""

    interval: Seconds = 5.0
    timeout: Seconds = 5.0
    failure_threshold: Threshold = 1
    success_threshold: Threshold = 1

    @model_validator(mode="after")
    def _timeout_within_interval(self) -> "Defaults":
        if self.timeout > self.interval:
            raise ValueError(f"timeout: expected at most the interval of {self.interval:g} s, got {self.timeout:g} s")
        return self

    def as_check_defaults(self) -> CheckDefaults:
        return CheckDefaults(self.interval, self.timeout, self.failure_threshold, self.success_threshold)


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
    defaults: Defaults = Field(default_factory=Defaults)
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

    @property
    def listen_address(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

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
