"""The bytes of one intent key, understood: p2's manifest, of which the check is what matters here.

Strict where the field is ours to act on, lenient where p2 is: keys that nobody knows are counted, not refused. The only
exception that leaves this file is `ManifestError`.

Source of the fields and their defaults: p2's wiki page "Health Checks" and pkg/manifest of square/p2.
"""

import posixpath
import re
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from reconcilers import yamltext
from reconcilers.spec import CheckDefaults, CheckSpec, HttpGet, Manifest, PodKey, is_name

DEFAULT_PATH = "/_status"
MAX_PATH = 2_048

DECIMAL = re.compile(r"0|[1-9][0-9]{0,4}")
TRUE = frozenset({"true", "True", "TRUE", "yes", "Yes", "YES", "y", "Y", "on", "On", "ON"})
FALSE = frozenset({"false", "False", "FALSE", "no", "No", "NO", "n", "N", "off", "Off", "OFF"})

P2_FIELDS = frozenset(
    {
        "run_as",
        "launchables",
        "config",
        "resource_limits",
        "readonly",
        "artifact_registry",
        "node_requirements",
        "min_health_percentage",
        "termination_grace_period",
    }
)


class ManifestError(ValueError):
    """A manifest that cannot be used. `field` is the path of what is wrong, "" for the document as a whole."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem


def _boolean(value: object) -> bool:
    if isinstance(value, yamltext.Plain) and value in TRUE | FALSE:
        return value in TRUE
    raise ValueError("expected true or false")


def _port(value: object) -> int:
    if isinstance(value, yamltext.Plain) and DECIMAL.fullmatch(value) and int(value) <= 65_535:
        return int(value)
    raise ValueError("expected a port from 1 to 65535 as a plain decimal number (0: none)")


def _path(value: object) -> str:
    """The path as it goes into the URL: p2's clean-up (`..`, `//`, trailing slash), then percent-encoding.

    An empty path is p2's way of saying none.
    """
    if not isinstance(value, str) or len(value) > MAX_PATH:
        raise ValueError(f"expected a path of at most {MAX_PATH} characters")
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in value):
        raise ValueError("expected a path without control characters")
    return quote(posixpath.normpath(f"/{(value or DEFAULT_PATH).lstrip('/')}"), safe="/:@!$&'()*+,;=~")


def _name(value: object) -> str:
    if isinstance(value, str) and is_name(value):
        return str(value)
    raise ValueError("expected a name of letters, digits, '.', '_' and '-', at most 128 characters long")


Boolean = Annotated[bool, BeforeValidator(_boolean)]
Port = Annotated[int, BeforeValidator(_port)]
Path = Annotated[str, BeforeValidator(_path)]
Name = Annotated[str, BeforeValidator(_name)]


class _Status(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    http: Boolean = False
    path: Path = DEFAULT_PATH
    port: Port = 0
    localhost_only: Boolean = False


class _Document(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    id: Name
    status_port: Port = 0
    status_http: Boolean = False
    status: _Status = Field(default_factory=_Status)

    def probe(self, key: PodKey) -> HttpGet | None:
        port = self.status_port or self.status.port
        if not port:
            return None
        scheme: Literal["http", "https"] = "http" if self.status_http or self.status.http else "https"
        host = "localhost" if self.status.localhost_only else key.node
        return HttpGet(scheme, host, port, self.status.path)

    def unknown_fields(self) -> tuple[str, ...]:
        top = (self.model_extra or {}).keys() - P2_FIELDS
        below = (self.status.model_extra or {}).keys()
        return (*sorted(top), *(f"status.{name}" for name in sorted(below)))


def parse(key: PodKey, data: bytes, defaults: CheckDefaults) -> Manifest:
    """Understand the manifest that stands at `key`.

    Raises:
        ManifestError: with the field's path and what was expected.
    """
    document = _validate(_load(data))
    if document.id != key.pod:
        raise ManifestError("id", f"expected the pod's name as in its key, {key.pod!r}, got {_shown(document.id)}")
    probe = document.probe(key)
    return Manifest(key, _check(key, probe, defaults) if probe else None, document.unknown_fields())


def _check(key: PodKey, probe: HttpGet, defaults: CheckDefaults) -> CheckSpec:
    return CheckSpec(
        key=key,
        probe=probe,
        interval=defaults.interval,
        timeout=min(defaults.timeout, defaults.interval),
        failure_threshold=defaults.failure_threshold,
        success_threshold=defaults.success_threshold,
    )


def pod_id(data: bytes) -> str:
    """The pod's name as a manifest gives it; for tools that write a manifest to a key which does not exist yet.

    Raises:
        ManifestError: as `parse`.
    """
    return _validate(_load(data)).id


def _load(data: bytes) -> dict[str, Any]:
    try:
        document = yamltext.load(data)
    except yamltext.YamlError as error:
        raise ManifestError("", str(error)) from None
    if not isinstance(document, dict):
        raise ManifestError("", "expected a mapping with at least an id")
    return {name: value for name, value in document.items() if value is not None}


def _validate(document: dict[str, Any]) -> _Document:
    if isinstance(status := document.get("status"), dict):
        document["status"] = {name: value for name, value in status.items() if value is not None}
    try:
        return _Document.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ManifestError(".".join(map(str, first["loc"])), _problem(first["msg"], first["input"])) from None


def _problem(message: str, value: object) -> str:
    if message == "Field required":
        return "missing; expected the pod's name"
    if message.startswith("Input should be"):
        message = "expected a mapping"
    return f"{message.removeprefix('Value error, ')}, got {_shown(value)}"


def _shown(value: object) -> str:
    text = repr(str(value) if isinstance(value, str) else value)
    return text if len(text) <= 60 else f"{text[:60]}…"
