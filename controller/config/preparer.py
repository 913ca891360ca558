"""p2's own configuration, read as ours: what stands under `preparer:` in the file that p2-preparer is started with.

Fields that say what we need as well are translated, those that say how pods are installed are passed over, and a name
that p2 does not know is an error. What only Podpulse knows stands beside it under `podpulse:`, and wins.

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
"""logrus' levels, and ours."""

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
"""p2's fields, and ours for which they are taken as they are. p2 shows its certificate to Consul and to the pods."""

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
"""How pods are fetched, installed and run: nothing that concerns their health, so nothing to speak of."""

WORTH_A_NOTE = {
    "auth": "signatures are asked for where podpulse.require_signature names a keyring",
    "status_port": "it is p2-preparer's; page and metrics are where podpulse.listen says",
    "status_socket": "it is p2-preparer's; page and metrics are where podpulse.listen says",
}
"""What somebody might expect to have a meaning here, and why it has none."""

OFF = ("0", {"type": "none"})


class PreparerError(ValueError):
    """p2's configuration cannot be used; the message names the field and what was expected."""


@dataclass(frozen=True, slots=True)
class Source:
    """The document of a configuration file in our own terms, and what its fields (dotted) are called in that file.

    `origins` are the names of those that came from elsewhere; the others stand below the section `own`, "" for none.
    `notes` are sentences about what was passed over.
    """

    document: dict[str, Any]
    origins: Mapping[str, str] = field(default_factory=dict)
    own: str = ""
    notes: tuple[str, ...] = ()

    def name(self, ours: str) -> str:
        """What a field is called in the file; one below a field that came from elsewhere is called like that."""
        parts = ours.split(".")
        above = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
        elsewhere = next((self.origins[each] for each in above if each in self.origins), "")
        return elsewhere or (f"{self.own}.{ours}" if self.own else ours)


def is_p2s(document: Mapping[str, Any]) -> bool:
    """Whether a document is p2's configuration rather than our own."""
    return SECTION in document


def translate(document: Mapping[str, Any], ours: Collection[str]) -> Source:
    """p2's configuration as ours, whose options are called `ours`.

    Raises:
        PreparerError: a field that p2 does not know, a value that it would not take either, or one of our options where
            p2 would not look for it.
    """
    if misplaced := sorted(document.keys() & ours):
        raise PreparerError(f"{misplaced[0]}: expected below {OWN}, in a file with {SECTION}")
    section, own = _mapping(document, SECTION), _mapping(document, OWN)
    _refuse_unknown(section)
    said = {name: value for name, value in section.items() if value not in (None, "")}
    fields = _fields(said)
    useless = {f"{SECTION}.{name}": WORTH_A_NOTE[name] for name in said.keys() & WORTH_A_NOTE if said[name] not in OFF}
    for name in document.keys() - {SECTION, OWN}:
        useless[name] = f"neither p2-preparer's nor Podpulse's{did_you_mean(nearest('', name, (SECTION, OWN)))}"
    return Source(
        _merged(_nested({ours: value for ours, (_, value) in fields.items()}), own),
        {ours: f"{SECTION}.{p2s}" for ours, (p2s, _) in fields.items() if not _is_set(own, ours)},
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
    """Our fields, dotted; for each the name of p2's and the value."""
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


def _is_set(document: Mapping[str, Any], dotted: str) -> bool:
    head, _, rest = dotted.partition(".")
    if not rest or not isinstance(below := document.get(head), dict):
        return head in document
    return _is_set(below, rest)


def _nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for dotted, value in fields.items():
        *sections, name = dotted.split(".")
        section = nested
        for each in sections:
            section = section.setdefault(each, {})
        section[name] = value
    return nested


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both documents in one; where both say something, `above` wins."""
    merged = {**below, **{name: value for name, value in above.items() if value is not None}}
    for name in below.keys() & merged.keys():
        if isinstance(below[name], dict) and isinstance(merged[name], dict):
            merged[name] = _merged(below[name], merged[name])
    return merged
