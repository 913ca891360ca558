"""Translates p2's own configuration: the section `preparer:` of the file that p2-preparer is started with.

Fields with a counterpart in Podpulse are translated. Fields about installing pods are ignored. An unknown name is an
error. Options of Podpulse are in the section `podpulse:` of the same file, and win.

Source of the names: PreparerConfig in pkg/preparer of square/p2, in its versions of 2015 to 2020.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconcilers.fields import boolean
from reconcilers.unknown_fields import did_you_mean, nearest

SECTION = "preparer"
OWN = "podpulse"

DEFAULT_ADDRESS = "127.0.0.1:8500"
LEVELS = {
    "panic": "error",
    "fatal": "error",
    "error": "error",
    "warn": "warning",
    "warning": "warning",
    "info": "info",
    "debug": "debug",
    "trace": "debug",
}
"""The levels of logrus, and of Podpulse."""

KNOWN: Mapping[str, tuple[str, ...]] = {
    "node_name": ("node_name",),
    "consul_address": ("consul.address",),
    "consul_https": (),
    "consul_token_path": ("consul.token_file",),
    "ca_path": ("ca_file", "consul.ca_file"),
    "ca_file": ("ca_file", "consul.ca_file"),
    "consul_ca_file": ("consul.ca_file",),
    "cert_file": ("consul.cert_file", "defaults.tls.cert_file"),
    "key_file": ("consul.key_file", "defaults.tls.key_file"),
    "log_level": (),
}
"""p2's fields, and the options that get their values unchanged. p2 uses its certificate for Consul and for pods."""

OF_INSTALLING = frozenset(
    {
        "artifact_auth",
        "artifact_registry_url",
        "consul_config",
        "container_json_key_file",
        "docker_host",
        "extra_log_destinations",
        "finish_exec",
        "forbidden_pod_ids",
        "hooks_directory",
        "hooks_manifest",
        "http2",
        "http_timeout",
        "log_bridge_blacklist",
        "log_exec",
        "max_launchable_disk_usage",
        "os_version_file",
        "params",
        "pod_root",
        "pod_whitelist_file",
        "process_result_reporter_config",
        "read_only_blacklist",
        "read_only_deploys",
        "read_only_whitelist",
        "require_file",
    }
)
"""How pods are fetched, installed and run. These fields do not concern health, and are ignored without a note."""

WORTH_A_NOTE = {
    "auth": "signatures are asked for where podpulse.require_signature names a keyring",
    "status_port": "it is p2-preparer's; page and metrics are where podpulse.listen says",
    "status_socket": "it is p2-preparer's; page and metrics are where podpulse.listen says",
}
"""Fields that have no effect although an operator might expect one, and why."""

OFF = ("0", {"type": "none"})


class PreparerError(ValueError):
    """p2's configuration cannot be used. The message names the field and what was expected."""


@dataclass(frozen=True, slots=True)
class Source:
    """The document of a configuration file as Podpulse's options, and the names of its fields (dotted) in that file.

    `origins` has the names of translated fields. Other fields are below the section `own`; "" stands for no section.
    `notes` are sentences about ignored fields.
    """

    document: dict[str, Any]
    origins: Mapping[str, str] = field(default_factory=dict)
    own: str = ""
    notes: tuple[str, ...] = ()

    def name(self, ours: str) -> str:
        """Returns the name of a field in the file. A field below a translated field has the name of the latter."""
        parts = ours.split(".")
        above = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
        elsewhere = next((self.origins[each] for each in above if each in self.origins), "")
        return elsewhere or (f"{self.own}.{ours}" if self.own else ours)


def is_p2s(document: Mapping[str, Any]) -> bool:
    """Whether a document is p2's configuration."""
    return SECTION in document


def translate(document: Mapping[str, Any], ours: Collection[str]) -> Source:
    """Translates p2's configuration. `ours` are the names of Podpulse's options. Raises PreparerError."""
    if misplaced := sorted(document.keys() & ours):
        raise PreparerError(f"{misplaced[0]}: expected below {OWN}, in a file with {SECTION}")
    section, own = _mapping(document, SECTION), _mapping(document, OWN)
    _refuse_unknown(section)
    said = {name: value for name, value in section.items() if value not in (None, "")}
    fields = _fields(said)
    translated: dict[str, Any] = {}
    for name, (_, value) in fields.items():
        set_option(translated, name, value)
    useless = {f"{SECTION}.{name}": WORTH_A_NOTE[name] for name in said.keys() & WORTH_A_NOTE if said[name] not in OFF}
    for name in document.keys() - {SECTION, OWN}:
        useless[name] = f"neither p2-preparer's nor Podpulse's{did_you_mean(nearest('', name, (SECTION, OWN)))}"
    return Source(
        _merged(translated, own),
        {ours: f"{SECTION}.{p2s}" for ours, (p2s, _) in fields.items() if not is_set(own, ours)},
        OWN,
        tuple(f"{name}: passed over; {why}" for name, why in sorted(useless.items())),
    )


def _refuse_unknown(section: Mapping[str, Any]) -> None:
    known = KNOWN.keys() | OF_INSTALLING | WORTH_A_NOTE.keys()
    options = tuple(sorted(known))
    for name in sorted(section.keys() - known):
        meant = nearest("", name, options)
        hint = did_you_mean(f"{SECTION}.{meant}" if meant else "")
        raise PreparerError(f"{SECTION}.{name}: no such option of p2-preparer{hint}")


def _fields(said: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Returns Podpulse's fields (dotted), each with the name of p2's field and its value."""
    if said.get("ca_file", said.get("ca_path")) != said.get("ca_path", said.get("ca_file")):
        raise PreparerError(f"{SECTION}.ca_path: expected the same as ca_file, its later name, or one of them alone")
    if ("cert_file" in said) != ("key_file" in said):
        raise PreparerError(f"{SECTION}.cert_file: expected cert_file and key_file together")
    fields = {ours: (name, said[name]) for name, all_ours in KNOWN.items() if name in said for ours in all_ours}
    if _is_https(said):
        address = str(said.get("consul_address", DEFAULT_ADDRESS))
        fields["consul.address"] = ("consul_address", f"https://{address.rpartition('://')[2]}")
    if level := said.get("log_level"):
        fields["log_level"] = ("log_level", _level(level))
    return fields


def _is_https(said: Mapping[str, Any]) -> bool:
    try:
        return boolean(said.get("consul_https", False))
    except ValueError as error:
        raise PreparerError(f"{SECTION}.consul_https: {error}") from None


def _level(value: object) -> str:
    if level := LEVELS.get(str(value).lower()):
        return level
    raise PreparerError(f"{SECTION}.log_level: expected one of {', '.join(LEVELS)}, got {str(value)[:60]!r}")


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = document.get(name)
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise PreparerError(f"{name}: expected a mapping of options")
    return section


def is_set(document: Mapping[str, Any], dotted: str) -> bool:
    """Returns whether a document has a dotted field."""
    head, _, rest = dotted.partition(".")
    if not rest or not isinstance(below := document.get(head), dict):
        return head in document
    return is_set(below, rest)


def set_option(document: dict[str, Any], dotted: str, value: object) -> None:
    """Sets a dotted field. A value in place of a section is kept, so that the validation reports it."""
    *sections, last = dotted.split(".")
    for name in sections:
        if document.get(name) is None:
            document[name] = {}
        document = document[name]
        if not isinstance(document, dict):
            return
    document[last] = value


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merges two documents. Values of `above` win."""
    merged = {**below, **{name: value for name, value in above.items() if value is not None}}
    for name in below.keys() & merged.keys():
        if isinstance(below[name], dict) and isinstance(merged[name], dict):
            merged[name] = _merged(below[name], merged[name])
    return merged
