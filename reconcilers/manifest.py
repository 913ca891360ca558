"""Parses p2's manifest from the bytes of one intent key, for its check.

Fields that describe the check are validated strictly. Unknown fields are counted, not refused, as in p2. The only
exception that this module raises is `ManifestError`.

Source of the fields and their defaults: p2's wiki page "Health Checks" and pkg/manifest of square/p2.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from reconcilers import clearsign, labels, yamltext
from reconcilers.fields import Boolean, FieldError, Name, Port, expectation
from reconcilers.options import CheckOptions, Rules, Status, arguments, useless
from reconcilers.p2.goscalars import resolve
from reconcilers.request_rules import contradictions, not_allowed, request_values
from reconcilers.spec import (
    PROBES,
    CheckSpec,
    FieldWarning,
    HttpGet,
    Labels,
    Manifest,
    Output,
    PodKey,
    Unprobed,
    is_name,
)
from reconcilers.tls_options import TlsOptions
from reconcilers.unknown_fields import advice

D = TypeVar("D", bound=BaseModel)

MAX_SHOWN = 60
MAX_WARNINGS = 10
UNKNOWN = "unknown field, ignored"
NO_RESUMPTION = "has no effect: TLS sessions are never resumed"
DEFAULT_PATH = "/_status"

CONFIDENTIAL = ("headers", "body", "send", "basic_auth", "bearer_token")
"""The fields whose values no error may show, because errors are logged and shown on the page. Podpulse has no field
`bearer_token`, but other programs have."""

P2_FIELDS = frozenset(
    {
        *("run_as", "launchables", "config", "resource_limits", "readonly", "artifact_registry"),
        *("node_requirements", "min_health_percentage", "termination_grace_period"),
    }
)


class ManifestError(FieldError):
    """A manifest that cannot be used."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    id: Name
    status_port: Port = 0
    status_http: Boolean = False
    status: Status = Field(default_factory=Status)

    @property
    def port(self) -> int:
        return self.status_port or self.status.port

    @property
    def is_plain(self) -> bool:
        """Whether the probe uses no TLS. A check of the kind tcp uses it only if the manifest says so."""
        says_tls = self.status.kind != "tcp" or "tls" in self.status.model_fields_set or self.status.starttls
        return self.status_http or self.status.http or not says_tls


NAMES: Mapping[str, frozenset[str]] = {
    "": P2_FIELDS.union(_Document.model_fields),
    "status": frozenset(Status.model_fields),
    "status.tls": frozenset(TlsOptions.model_fields),
}
"""Every field that a manifest may have, by section."""

KNOWN = tuple(f"{section}.{name}".lstrip(".") for section, names in NAMES.items() for name in sorted(names))


class _Identity(BaseModel):
    id: Name


def parse(key: PodKey, data: bytes, rules: Rules) -> Manifest:
    """Parses the manifest of `key`. Raises ManifestError with the path of each wrong field and what was expected.
    Contradictions between fields are reported only if each field is valid."""
    said = _load(data, rules.verify)
    document = _validated(_Document, said)
    errors = list(_contradictions(key, document, rules))
    try:
        options = document.status.over(rules.defaults)
        wrong = list(contradictions(document.status, options))
    except FieldError as error:
        wrong = list(error.every)
    errors += [ManifestError(f"status.{each.field}", each.problem) for each in wrong]
    if errors:
        raise ManifestError.of(errors)
    is_checked = (document.port or rules.assume_passing) and (rules.ignores_pause or not document.status.paused)
    check = _check(key, document, options, rules) if is_checked else None
    found, ignored = labels.read(_labels(said), rules.labels)
    return Manifest(key, check, (*_warnings(said), *ignored), document.status.paused, found)


def pod_id(data: bytes) -> str:
    """Returns the pod's name in a manifest, for tools that write the manifest to a new key. Raises ManifestError if the
    name is missing or not allowed. Other fields are not validated."""
    return _validated(_Identity, _load(data, None)).id


def warnings(data: bytes, declared: Sequence[str] | None = None) -> tuple[FieldWarning, ...]:
    """Returns warnings about unknown fields and labels (see `labels.read`), even if other fields are wrong. Raises
    ManifestError if the document is not a mapping."""
    said = _load(data, None)
    return (*_warnings(said), *labels.read(_labels(said), declared)[1])


def labels_of(data: bytes) -> Labels:
    """Returns the labels of a manifest, whether or not a configuration declares them. They are empty if the manifest
    cannot be read."""
    try:
        return labels.read(_labels(_load(data, None)), None)[0]
    except ManifestError:
        return ()


def _labels(said: dict[str, Any]) -> object:
    status = said.get("status")
    return status.get("labels") if isinstance(status, dict) else None


def _warnings(said: dict[str, Any]) -> Iterator[FieldWarning]:
    unknown = list(_unknown(said))
    for section, name in unknown[:MAX_WARNINGS]:
        meant = advice(section, name, KNOWN)
        path = _path((*section.split("."), name) if section else (name,))
        yield FieldWarning(path, f"{UNKNOWN}; {meant}" if meant else UNKNOWN)
    if more := len(unknown[MAX_WARNINGS:]):
        yield FieldWarning("others", f"{more} more unknown fields, ignored", more)
    match said:
        case {"status": {"tls": {"resume": str(resume)}}} if resolve(resume) is True:
            yield FieldWarning("status.tls.resume", NO_RESUMPTION)


def _unknown(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the section and the name of each unknown field."""
    sections: dict[str, Any] = {"": said, "status": said.get("status")}
    sections["status.tls"] = sections["status"].get("tls") if isinstance(sections["status"], dict) else None
    for section, fields in sections.items():
        if isinstance(fields, dict):
            yield from ((section, name) for name in sorted(fields.keys() - NAMES[section]))


def _check(key: PodKey, document: _Document, options: CheckOptions, rules: Rules) -> CheckSpec:
    status = document.status
    values = {
        **dict(status),
        **dict(options),
        **request_values(status, options),
        "port": document.port,
        "path": status.path or DEFAULT_PATH,
        "tls": None if document.is_plain else options.tls.as_tls(),
        "connection": options.connection == "reuse",
        "warn_expiry": 0.0 if document.is_plain else options.warn_expiry,
        "output": rules.allow_output if options.output else Output.NEVER,
    }
    kind, host = status.kind, "localhost" if status.localhost_only else key.node
    probe = PROBES[kind](host=host, **arguments(PROBES[kind], kind, values)) if document.port else Unprobed()
    if isinstance(probe, HttpGet) and probe.credential_file:
        probe = replace(probe, credentials_dir=rules.credentials_dir)
    return CheckSpec(key=key, probe=probe, **arguments(CheckSpec, kind, values))


def _contradictions(key: PodKey, document: _Document, rules: Rules) -> Iterator[ManifestError]:
    """Yields an error for each field that could not have an effect."""
    status, said = document.status, document.status.model_fields_set
    if document.id != key.pod:
        yield ManifestError("id", f"expected the pod's name as in its key, {key.pod!r}, got {_shown(document.id)}")
    without_use = useless(status.kind)
    for name in sorted(said & without_use):
        yield ManifestError(f"status.{name}", f"of no use to a check of the kind {status.kind}")
    if document.is_plain:
        for name in sorted(said & {"tls", "starttls", "warn_expiry"} - without_use):
            yield ManifestError(f"status.{name}", "expected a check over TLS; this one is plain")
    for error in not_allowed(status, rules):
        yield ManifestError(f"status.{error.field}", error.problem)
    if status.localhost_only and rules.is_remote:
        yield ManifestError("status.localhost_only", "not possible: a member of a fleet is not on the pod's node")
    if document.port and not status.paused:
        yield from _missing_files(status.tls, rules)


def _missing_files(tls: TlsOptions, rules: Rules) -> Iterator[ManifestError]:
    for name in ("ca_file", "cert_file", "key_file"):
        path = getattr(tls, name)
        if path and (problem := rules.unreadable(path)):
            yield ManifestError(f"status.tls.{name}", f"expected a readable file, {_shown(path)}: {problem}")


def _load(data: bytes, verify: clearsign.Verify | None) -> dict[str, Any]:
    """Loads the document without its null fields, which count as absent."""
    try:
        document = yamltext.load(clearsign.verified(data, verify) if verify else clearsign.read(data).plaintext)
    except (clearsign.ClearsignError, yamltext.YamlError) as error:
        raise ManifestError("", str(error)) from None
    if not isinstance(document, dict):
        raise ManifestError("", "expected a mapping with at least an id")
    return _said(document, "status", "tls")


def _said(fields: dict[str, Any], *below: str) -> dict[str, Any]:
    said = {name: value for name, value in fields.items() if value is not None}
    if below and isinstance(inner := said.get(below[0]), dict):
        said[below[0]] = _said(inner, *below[1:])
    return said


def _validated(model: type[D], document: dict[str, Any]) -> D:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise ManifestError.of([_wrong(each) for each in error.errors(include_url=False)]) from None


def _wrong(error: ErrorDetails) -> ManifestError:
    path = _path(error["loc"])
    if error["type"] == "missing":
        return ManifestError(path, "missing; expected the pod's name")
    got = "" if {*CONFIDENTIAL, "steps"}.intersection(error["loc"]) else f", got {_shown(error['input'])}"
    return ManifestError(path, expectation(error["type"], error["msg"]) + got)


def _path(location: tuple[int | str, ...]) -> str:
    """The path of an error. Its last part may be an arbitrary name."""
    return ".".join(name if is_name(name) and len(name) <= MAX_SHOWN else _shown(name) for name in map(str, location))


def _shown(value: object) -> str:
    text = repr(str(value) if isinstance(value, str) else value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
