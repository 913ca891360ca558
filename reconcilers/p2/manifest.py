"""Reads a manifest as p2 does, and returns its canonical text and the SHA of this text.

The SHA names a version of a pod in p2's tools and in `inspect`, so the text must be p2's to the last byte. A manifest
is read into p2's fields with Go's types, and `goyaml` writes it. A manifest that p2 would refuse is refused, as is one
that p2 reads differently from call to call (NaN as a key, a number that Go's field cannot hold). Whether a pod can be
*checked* is decided in `reconcilers.manifest`, which is stricter in some fields and does not know others.

Source: pkg/manifest, pkg/launch, pkg/cgroups and pkg/util/size of square/p2; the version of go-yaml is in `goscalars`.
Two differences remain. p2 reads the first of several documents, expands aliases and uses the last of two equal keys;
`yamltext` refuses all three. And libyaml's newer scanner reads texts that go-yaml's refuses, such as `[a:b]` (see
`yamltext.refused_by_go`), but does not read `"\\'"`.
"""

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconcilers import clearsign, yamltext
from reconcilers.fields import FieldError
from reconcilers.p2 import goyaml
from reconcilers.p2.goscalars import INT64, UINT64, Scalar, resolve
from reconcilers.p2.goyaml import GoMap, Value

ABSENT = yamltext.Plain("null")
SKIPPED_NULLS = frozenset({"", "null"})
BLANKS = "\t\n\f\r "
BYTES = re.compile(r"(-?[0-9.]+)[\t\n\f\r ]*([TGMK]?)B?", re.IGNORECASE | re.ASCII)
MAX_SHOWN = 40
FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

Reading = tuple[Value, bool]
"""The value to write, and whether it is Go's zero value, which a field with `omitempty` leaves out."""
Reader = Callable[[yamltext.Value, str], Reading]
StructureReader = Callable[[yamltext.Value, str], tuple[GoMap, bool]]


class P2ManifestError(FieldError):
    """p2 would not accept the manifest."""


def sha(data: bytes) -> str:
    """Returns p2's SHA of a manifest, which may be clearsigned: 64 lowercase hexadecimal digits. Raises P2ManifestError
    if p2 would refuse the manifest, or it is hostile."""
    return sha_of(read(data))


def sha_of(manifest: GoMap) -> str:
    return hashlib.sha256(goyaml.emit(manifest).encode()).hexdigest()


def sha_or_empty(data: bytes) -> str:
    """Returns the SHA of a manifest; "" if p2 would not read it."""
    try:
        return sha(data)
    except P2ManifestError:
        return ""


def refusal(data: bytes) -> str:
    """Returns why p2 would not read a manifest; "" if it would. An unreadable manifest ends p2-watch.

    This also covers texts that only go-yaml's scanner refuses, which have a `sha`.
    """
    try:
        read(data)
        return yamltext.refused_by_go(clearsign.read(data).plaintext)
    except P2ManifestError as error:
        return str(error)


def canonical(data: bytes) -> bytes:
    """Returns the manifest as p2 would write it. This text is hashed. Raises P2ManifestError as `sha`."""
    return goyaml.emit(read(data)).encode()


def read(data: bytes) -> GoMap:
    """Returns the fields of the manifest, in the order in which p2 writes them. Raises P2ManifestError as `sha`."""
    document = _load(data)
    manifest, _ = MANIFEST(document, "")
    _validate(document)
    return manifest


def _load(data: bytes) -> dict[str, yamltext.Value]:
    try:
        document = yamltext.load(clearsign.read(data).plaintext, exact=True)
    except (clearsign.ClearsignError, yamltext.YamlError) as error:
        raise P2ManifestError("", str(error)) from None
    if not isinstance(document, dict):
        raise P2ManifestError("", "expected a mapping with at least an id")
    return document


def _text(node: yamltext.Value, path: str) -> Reading:
    if not isinstance(node, str):
        raise P2ManifestError(path, "expected text")
    text = "" if _is_null(node) else str(node)
    return text, not text


def _integer(node: yamltext.Value, path: str) -> Reading:
    match resolve(node) if isinstance(node, yamltext.Plain) else node:
        case None:
            return 0, True
        case int() | float() as number if not isinstance(number, bool) and _is_within(number, INT64):
            return int(number), not int(number)
        case _:
            raise P2ManifestError(path, "expected a number of 64 bits")


def _is_within(number: float, numbers: range) -> bool:
    return math.isfinite(number) and math.trunc(number) in numbers


def _boolean(node: yamltext.Value, path: str) -> Reading:
    match resolve(node) if isinstance(node, yamltext.Plain) else node:
        case None:
            return False, True
        case bool() as value:
            return value, not value
        case _:
            raise P2ManifestError(path, "expected true or false")


def _bytes(node: yamltext.Value, path: str) -> Reading:
    """Reads a number of bytes, with an optional unit, as in `1.5 GB`. The fraction of a byte is cut."""
    if _is_skipped_null(node):
        return 0, True
    text, _ = _text(node, path)
    found = BYTES.fullmatch(str(text).strip(BLANKS))
    try:
        size = float(found[1]) * FACTORS[found[2].upper()] if found else math.nan
    except ValueError:
        size = math.nan
    if size < 0 or not _is_within(size, UINT64):
        raise P2ManifestError(path, "expected a number of bytes, with an optional unit K, M, G or T")
    return int(size), not size  # half a byte is written as 0, but is not the zero value


def _is_skipped_null(node: yamltext.Value) -> bool:
    """Returns whether go-yaml ignores the field. For the other spellings of null it creates an empty value."""
    return isinstance(node, yamltext.Plain) and node in SKIPPED_NULLS


def _pointer(read: Reader) -> Reader:
    def read_pointer(node: yamltext.Value, path: str) -> Reading:
        return (None, True) if _is_skipped_null(node) else (read(node, path)[0], False)

    return read_pointer


def _texts(node: yamltext.Value, path: str) -> Reading:
    if _is_null(node):
        return [], True
    if not isinstance(node, list):
        raise P2ManifestError(path, "expected a list")
    return [_text(item, _child(path, str(place)))[0] for place, item in enumerate(node)], not node


def _map(read: Reader) -> Reader:
    def read_map(node: yamltext.Value, path: str) -> Reading:
        members = _members(node, path)
        entries = [(str(_text(key, path)[0]), read(value, _child(path, key))[0]) for key, value in members.items()]
        return goyaml.go_map(entries), not entries

    return read_map


def _members(node: yamltext.Value, path: str) -> Mapping[str, yamltext.Value]:
    if isinstance(node, dict):
        return node
    if _is_null(node):
        return {}
    raise P2ManifestError(path, "expected a mapping")


def _is_null(node: yamltext.Value) -> bool:
    return isinstance(node, yamltext.Plain) and resolve(node) is None


def _any_value(node: yamltext.Value, path: str) -> Reading:
    match node:
        case dict():
            return goyaml.go_map((_key(key, path), _any_value(value, path)[0]) for key, value in node.items()), False
        case list():
            return [_any_value(item, path)[0] for item in node], False
        case _:
            return _scalar(node), False


def _key(key: str, path: str) -> Scalar:
    value = _scalar(key)
    if isinstance(value, float) and math.isnan(value):
        raise P2ManifestError(path, "NaN as a key; p2 puts it in a random place")
    return value


def _scalar(node: str | None) -> Scalar:
    value = resolve(node) if isinstance(node, yamltext.Plain) else node
    return str(value) if isinstance(value, str) else value


def _config(node: yamltext.Value, path: str) -> Reading:
    return _any_value(dict(_members(node, path)), path)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    read: Reader
    omitempty: bool = True


def _structure(*fields: _Field) -> StructureReader:
    absent = {field.name: field.read(ABSENT, "") for field in fields}

    def reading(field: _Field, members: Mapping[str, yamltext.Value], path: str) -> Reading:
        if field.name not in members:
            return absent[field.name]
        return field.read(members[field.name], _child(path, field.name))

    def read(node: yamltext.Value, path: str) -> tuple[GoMap, bool]:
        members = _members(node, path)
        readings = [(field, *reading(field, members, path)) for field in fields]
        entries = tuple((field.name, value) for field, value, zero in readings if not (zero and field.omitempty))
        return GoMap(entries), all(zero for _, _, zero in readings)

    return read


def _child(path: str, name: str) -> str:
    """Returns the path of a member. Its name comes from the manifest, so it is cut and escaped."""
    shown = name if name.isprintable() and len(name) <= MAX_SHOWN else f"{name[:MAX_SHOWN]!a}…"
    return f"{path}.{shown}" if path else shown


CGROUP = _structure(_Field("cpus", _integer), _Field("memory", _bytes))
HOOK = _structure(_Field("exec", _structure(_Field("command", _texts, omitempty=False)), omitempty=False))
LAUNCHABLE = _structure(
    _Field("launchable_type", _text, omitempty=False),
    _Field("digest_location", _text),
    _Field("digest_signature_location", _text),
    _Field("restart_timeout", _text),
    _Field("cgroup", CGROUP),
    _Field("env", _map(_text)),
    _Field("restart_policy", _text),
    _Field("no_halt_on_update", _boolean),
    _Field("entry_points", _texts),
    _Field("location", _text),
    _Field(
        "version",
        _structure(_Field("artifact_name", _text), _Field("id", _text, omitempty=False), _Field("tags", _map(_text))),
    ),
    _Field("image", _structure(_Field("name", _text, omitempty=False), _Field("sha256", _text, omitempty=False))),
    _Field("entrypoint", _texts),
    _Field("postStart", HOOK),
    _Field("preStop", HOOK),
)
STATUS = _structure(
    _Field("http", _boolean), _Field("path", _text), _Field("port", _integer), _Field("localhost_only", _boolean)
)
MANIFEST = _structure(
    _Field("id", _text, omitempty=False),
    _Field("run_as", _text),
    _Field("launchables", _map(LAUNCHABLE), omitempty=False),
    _Field("config", _config, omitempty=False),
    _Field("status_port", _integer),
    _Field("status_http", _boolean),
    _Field("status", STATUS),
    _Field("resource_limits", _structure(_Field("cgroup", _pointer(CGROUP)))),
    _Field("readonly", _pointer(_boolean)),
    _Field("artifact_registry", _text),
    _Field("node_requirements", _map(_text)),
    _Field("min_health_percentage", _integer),
    _Field("termination_grace_period", _integer),
)


def _validate(document: dict[str, yamltext.Value]) -> None:
    """Checks the rules of p2 that go beyond the types of its fields."""
    if not _text_at(document, "id"):
        raise P2ManifestError("id", "missing; expected the pod's name")
    for name, launchable in _members(document.get("launchables", ABSENT), "launchables").items():
        _validate_launchable(launchable, _child("launchables", name))


def _validate_launchable(launchable: yamltext.Value, path: str) -> None:
    kind = _text_at(launchable, "launchable_type")
    if not kind:
        raise P2ManifestError(f"{path}.launchable_type", "missing")
    by_version = bool(_text_at(launchable, "version", "id"))
    if kind in {"hoist", "opencontainer"} and bool(_text_at(launchable, "location")) == by_version:
        raise P2ManifestError(path, "expected either a location or a version with its id")
    if kind == "docker" and not (_text_at(launchable, "image", "name") and _text_at(launchable, "image", "sha256")):
        raise P2ManifestError(f"{path}.image", "expected a name and a sha256")


def _text_at(node: yamltext.Value, *names: str) -> str:
    """Returns the text at the path `names`; "" if there is none."""
    for name in names:
        node = _members(node, "").get(name, ABSENT)
    return str(_text(node, "")[0])
