"""The configuration as one model, and the values that the parts of the controller derive from it."""

import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from controller.config import fields
from controller.config import web_access as access
from controller.config.fields import FilePath, ReadableFile, host_and_port, listening
from controller.config.live import LIVE
from controller.config.url_list import read_urls
from controller.config.web_access import WebAccess
from controller.consul.settings import ConsulSettings, settings_from_environment
from controller.runtime.plain_files import unreadable
from reconcilers.damping import DampingRules
from reconcilers.fields import Boolean, Host, Text, duration, number
from reconcilers.options import MAX_REDIRECTS, P2_CODE, CheckOptions, Delay, Rules
from reconcilers.spec import Output
from reconcilers.target_guard import CONSUL_PORTS, Guard

EVERY_ADDRESS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104, nothing is bound here
CA_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class ConfigError(ValueError):
    """A configuration that cannot be used. The message names the file, the field and the expected value."""


def host_ca_file() -> Path:
    """The host's bundle of certificate authorities."""
    candidates = (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, *CA_FILES)
    for candidate in candidates:
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    return Path(CA_FILES[0])


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DampingSection(Section):
    """p2's throttle of a pod that flaps: see `reconcilers.damping`."""

    changes: Annotated[int, BeforeValidator(number(0, 1000))] = 16
    refill: Annotated[float, BeforeValidator(duration(1, 3600))] = 15.0
    quiet: Annotated[float, BeforeValidator(duration(1, 3600))] = 60.0


class ServiceSection(Section):
    """The names of pods as services, for `publish: agent` and `publish: catalog`. `ttl` is for the agent only."""

    name_prefix: Annotated[fields.NamePrefix, LIVE] = ""
    meta_prefix: Annotated[fields.MetaPrefix, LIVE] = "podpulse-"
    tags: Annotated[tuple[Text, ...], LIVE] = ()
    meta: Annotated[fields.Meta, LIVE] = Field(default_factory=dict)
    ttl: Annotated[float, BeforeValidator(duration(3, 3600))] = 20.0


class ConsulSection(Section):
    """How to reach Consul. Consul's usual environment variables supply absent options."""

    address: fields.ConsulAddress | None = None
    token: Annotated[fields.Token | None, LIVE] = Field(default=None, repr=False)
    token_file: Annotated[FilePath | None, LIVE] = None
    ca_file: Annotated[ReadableFile | None, LIVE] = None
    cert_file: Annotated[ReadableFile | None, LIVE] = None
    key_file: Annotated[ReadableFile | None, LIVE] = None
    server_name: Annotated[Host | None, LIVE] = None
    insecure_skip_verify: Annotated[Boolean | None, LIVE] = None
    headers: Annotated[fields.ConsulHeaders | None, LIVE] = Field(default=None, repr=False)
    http_auth: Annotated[fields.HttpAuth | None, LIVE] = Field(default=None, repr=False)
    namespace: fields.ConsulName | None = None
    partition: fields.ConsulName | None = None
    wait: Annotated[float, BeforeValidator(duration(1, 10))] = 10.0


class Config(Section):
    """Everything that can be configured; see deploy/config.example.yaml."""

    node_name: fields.NodeName = Field(default_factory=socket.gethostname, validate_default=True)
    fleet: fields.FleetName | None = None
    """The controllers with the same name share all nodes. `node_name` is then the id of this controller."""
    tree: Literal["intent", "reality"] = "intent"
    address: fields.PodAddress = "name"
    ca_file: Annotated[ReadableFile, LIVE] = Field(default_factory=host_ca_file, validate_default=True)
    p2_compat: Annotated[Boolean, LIVE] = False
    defaults: Annotated[CheckOptions, LIVE] = Field(default_factory=CheckOptions, validate_default=True)
    allow_headers: Boolean = False
    allow_methods: Annotated[fields.Methods, LIVE] = ("GET", "HEAD")
    allow_send: Boolean = False
    max_redirects: Annotated[int, BeforeValidator(number(0, MAX_REDIRECTS)), LIVE] = 0
    credentials_dir: Annotated[fields.Folder | None, LIVE] = None
    allow_output: Annotated[Output, LIVE] = Output.ALWAYS
    labels: Annotated[fields.LabelNames, LIVE] = ()
    metrics: Annotated[Literal["default", "full"], LIVE] = "default"
    require_signature: Annotated[fields.KeyringFile | None, LIVE] = None
    allow_addresses: Annotated[fields.Allowances, LIVE] = ()
    canary: fields.CanaryTarget = "consul"
    publish: fields.Publish = ("kv",)
    publish_uptime: Boolean = False
    """Whether records have the time that their pods were up and down. In a fleet they always have it."""
    service: ServiceSection = Field(default_factory=ServiceSection)
    startup_grace: Delay = 0.0
    """Begins with each version by p2's SHA, which ignores what p2 does not know below `status:`."""
    damping: Annotated[DampingSection, LIVE] = Field(default_factory=DampingSection)
    max_in_flight: Annotated[int, BeforeValidator(number(1, 1_000_000))] = 8192
    listen: fields.HostPort = "127.0.0.1:9815"
    allowed_hosts: fields.HostNames = ()
    enable_lifecycle: Boolean = False
    web_config_file: FilePath | None = None
    registers: Boolean = Field(default=True, alias="register")
    urls: fields.Urls = ()
    urls_file: FilePath | None = None
    intent_dir: FilePath | None = None
    health_dir: FilePath | None = None
    state_dir: FilePath | None = None
    on_stop: Annotated[Literal["keep", "remove"], LIVE] = "keep"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], LIVE] = "info"
    log_format: Literal["text", "json"] = "text"
    consul: ConsulSection = Field(default_factory=ConsulSection)

    _ignored: tuple[str, ...] = PrivateAttr(default=())

    def model_post_init(self, context: Sequence[str] | None, /) -> None:
        """Stores the notes about ignored parts of the file, which are the context of the validation."""
        self._ignored = tuple(context or ())

    @field_validator("defaults")
    @classmethod
    def _complete(cls, given: CheckOptions, info: ValidationInfo) -> CheckOptions:
        """Completes the options with the defaults of p2's documentation, or of p2's code with `p2_compat`."""
        return given.over(P2_CODE if info.data.get("p2_compat") else CheckOptions())

    @field_validator("defaults", "service", "damping", "consul", mode="before")
    @classmethod
    def _an_empty_section(cls, value: object) -> object:
        """Accepts null: YAML has it for a section whose options are all commented out."""
        return {} if value is None else value

    @model_validator(mode="after")
    def _folders_go_together(self) -> "Config":
        if (self.intent_dir is None) != (self.health_dir is None) and not self.has_urls:
            raise ValueError("intent_dir and health_dir: expected both (for use without Consul) or none")
        if self.intent_dir and self.address == "catalog":
            raise ValueError("address: catalog needs Consul, and intent_dir is for use without it")
        return self

    @model_validator(mode="after")
    def _urls_replace_manifests(self) -> "Config":
        if not self.has_urls:
            return self
        for option, is_set in (
            ("intent_dir", self.intent_dir is not None),
            ("fleet", self.fleet is not None),
            ("tree: reality", self.tree == "reality"),
            ("address: catalog", self.address == "catalog"),
        ):
            if is_set:
                raise ValueError(f"urls and urls_file are for use without Consul and manifests: expected no {option}")
        try:
            read_urls(self.urls, self.urls_file)
        except ValueError as error:
            raise ValueError(f"urls_file: expected a file of URLs, one on each line: {error}") from None
        return self

    @property
    def has_urls(self) -> bool:
        """Whether URLs are checked instead of the pods of manifests."""
        return bool(self.urls) or self.urls_file is not None

    @property
    def is_embedded(self) -> bool:
        """Whether this controller runs without Consul."""
        return self.intent_dir is not None or self.has_urls

    @model_validator(mode="after")
    def _a_fleet_shares_consul(self) -> "Config":
        if self.fleet is None:
            return self
        if "agent" in self.publish:
            raise ValueError(
                "publish: agent is for the pods of the agent's own node, and a fleet checks all nodes: expected kv, "
                "catalog, or both"
            )
        for option, is_set in (
            ("intent_dir is for one node without Consul: expected none", self.intent_dir is not None),
            ("tree: reality is for one node: expected intent", self.tree == "reality"),
            ("register: false would hide this controller from the other members: expected true", not self.registers),
        ):
            if is_set:
                raise ValueError(f"fleet: {option}")
        return self

    @model_validator(mode="after")
    def _default_files_are_there(self) -> "Config":
        for name in ("ca_file", "cert_file", "key_file"):
            path = getattr(self.defaults.tls, name)
            if path and (problem := unreadable(path)):
                raise ValueError(f"defaults.tls.{name}: expected a readable file: {problem}, got {path[:60]!r}")
        return self

    @property
    def listen_address(self) -> tuple[str, int]:
        """The host and port of the page. The host is "" for all addresses."""
        return listening(self.listen)

    @property
    def web_access(self) -> WebAccess:
        """Who may see the page: everybody who can connect, unless a file restricts that."""
        return access.read(self.web_config_file) if self.web_config_file else WebAccess()

    @property
    def page_scheme(self) -> str:
        """The scheme of the page: http or https."""
        return "https" if self.web_access.tls_server_config else "http"

    @property
    def page_url(self) -> str:
        """The URL of the page for clients on this host."""
        return self.page_url_at(self.listen_address[1])

    def page_url_at(self, port: int) -> str:
        """The same with another port, such as the one that the system has chosen for port 0."""
        host, _ = self.listen_address
        if host in EVERY_ADDRESS:
            host = "127.0.0.1"
        return f"{self.page_scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    @model_validator(mode="after")
    def _web_configuration_is_good(self) -> "Config":
        try:
            _ = self.web_access
        except access.WebAccessError as error:
            raise ValueError(f"web_config_file: {error}") from None
        return self

    @property
    def exports_details(self) -> bool:
        """Whether probes collect what only `metrics: full` exports."""
        return self.metrics == "full"

    @property
    def canary_window(self) -> float:
        """Seconds within which all checks must have begun to fail before the canary is tried."""
        return 2 * self.defaults.interval + self.defaults.timeout

    def state_folder(self, environ: Mapping[str, str]) -> Path:
        """The folder of the node's lock and state: the configured one, else systemd's, else the user's."""
        if self.state_dir or self.health_dir:
            return self.state_dir or Path(f"{self.health_dir}/.state")
        if given := environ.get("STATE_DIRECTORY"):
            return Path(given.partition(":")[0])
        return Path(environ.get("XDG_STATE_HOME") or f"{environ.get('HOME', '')}/.local/state") / "podpulse"

    @property
    def state_name(self) -> str:
        """The name of the lock and the state: the node's, the fleet's member's, or for URLs the page's port."""
        if self.has_urls:
            return f"urls-{self.listen_address[1]}"
        return f"{self.fleet}@{self.node_name}" if self.fleet else self.node_name

    @property
    def checked(self) -> str:
        """What is checked, for people."""
        if self.has_urls:
            return "a list of URLs"
        nodes = f"the nodes of {self.node_name} in fleet {self.fleet}" if self.fleet else f"node {self.node_name}"
        return f"the pods of {nodes}"

    def rules(self) -> Rules:
        """The rules for manifests."""
        verify = self.require_signature.verify if self.require_signature else None
        return Rules(
            self.defaults,
            self.allow_headers,
            unreadable,
            verify,
            assume_passing=self.p2_compat,
            allow_methods=frozenset(self.allow_methods),
            allow_send=self.allow_send,
            max_redirects=self.max_redirects,
            credentials_dir=str(self.credentials_dir or ""),
            allow_output=self.allow_output,
            is_remote=self.fleet is not None,
            labels=self.labels,
        )

    @property
    def notes(self) -> Sequence[str]:
        """Notes for the operator about a valid configuration, one sentence each."""
        keyring = self.require_signature.notes if self.require_signature else ()
        return (*self._ignored, *(f"require_signature: {note}" for note in keyring))

    def damping_rules(self) -> DampingRules:
        return DampingRules(self.damping.changes, self.damping.refill, self.damping.quiet)

    def guard(self, environ: Mapping[str, str]) -> Guard:
        """Which addresses may be probed. Consul's own port is denied, whichever it is."""
        own = None if self.is_embedded else urlsplit(self.consul_settings(environ).address).port
        return Guard(CONSUL_PORTS | ({own} if own else set()), self.allow_addresses)

    def canary_target(self, environ: Mapping[str, str]) -> tuple[str, int] | str | None:
        """The canary's target: host and port, the path of a unix socket, or None without a canary."""
        if self.canary != "consul":
            return None if self.canary == "none" else host_and_port(self.canary)
        if self.is_embedded:
            return None
        settings = self.consul_settings(environ)
        parts = urlsplit(settings.address)
        return settings.socket_path or (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))

    def consul_settings(self, environ: Mapping[str, str]) -> ConsulSettings:
        """How to reach Consul, also by its environment variables. Raises ConfigError for an invalid value."""
        section = self.consul.model_dump(exclude_none=True, exclude={"wait"})
        paths: dict[str, Any] = {
            name: str(value) if isinstance(value, Path) else value for name, value in section.items()
        }
        try:
            return settings_from_environment(environ, **paths)
        except ValueError as error:
            raise ConfigError(str(error)) from None
