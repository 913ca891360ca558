"""A manifest as p2 holds it: what it reads from the text, what it would write of it again, and the SHA of that.

The SHA names a version of a pod in p2's tools and in `inspect`, so it must be p2's to the last byte: a manifest is
read into p2's fields with Go's types, and written by `goyaml`. What p2 would refuse is refused here, and with it what
p2 leaves to chance (NaN as a key, a number that Go's field cannot hold). Whether a pod can be *checked* is decided in
`manifest`, which is stricter in some fields and knows nothing of others.

Source: pkg/manifest, pkg/launch, pkg/cgroups and pkg/util/size of square/p2; the version of go-yaml is in `goscalars`.
Two differences remain. p2 reads the first of several documents, expands aliases and takes the last of two equal keys:
all that is refused by `yamltext`. And libyaml's scanner is younger: it reads what `yamltext.refused_by_go` tells, as
`[a:b]`, but not `"\\'"`.
"""

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconcilers import clearsign, yamltext
from reconcilers.p2 import goyaml
from reconcilers.p2.goscalars import INT64, UINT64, Scalar, resolve
from reconcilers.p2.goyaml import GoMap, Value

ABSENT = yamltext.Plain("null")
UNTOUCHED = frozenset({"", "null"})
BLANKS = "\t\n\f\r "
BYTES = re.compile(r"(-?[0-9.]+)[\t\n\f\r ]*([TGMK]?)B?", re.IGNORECASE | re.ASCII)
MAX_SHOWN = 40
FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

Reading = tuple[Value, bool]
"""What will be written, and whether it is Go's zero value: such a one is left out where the field says `omitempty`."""
Reader = Callable[[yamltext.Value, str], Reading]
StructureReader = Callable[[yamltext.Value, str], tuple[GoMap, bool]]


class P2ManifestError(ValueError):
    """What p2 would not accept as a manifest. `field` is the path of what is wrong, "" for the document as a whole."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem


def sha(data: bytes) -> str:
    """p2's SHA of a manifest as it stands in Consul, perhaps clearsigned: 64 lowercase hexadecimal digits.

    Raises:
        P2ManifestError: for what p2 would refuse, and what is hostile.
    """
    return sha_of(read(data))


def sha_of(manifest: GoMap) -> str:
    """The SHA of a manifest that was read."""
    return hashlib.sha256(goyaml.emit(manifest).encode()).hexdigest()


def sha_or_empty(data: bytes) -> str:
    """The same; empty for a manifest that p2 would not read."""
    try:
        return sha(data)
    except P2ManifestError:
        return ""


def refusal(data: bytes) -> str:
    """Why p2 itself would not read a manifest, "" where it would. One that it does not read ends p2-watch.

    Stricter than `sha`, which also names manifests that only go-yaml's scanner does not read.
    """
    try:
        read(data)
        return yamltext.refused_by_go(clearsign.read(data).plaintext)
    except P2ManifestError as error:
        return str(error)


def canonical(data: bytes) -> bytes:
    """The manifest as p2 would write it again, the text that its SHA is taken of.

    Raises:
        P2ManifestError: as `sha`.
    """
    return goyaml.emit(read(data)).encode()


def read(data: bytes) -> GoMap:
    """The manifest as p2 holds it, in the order in which p2 writes it.

    Raises:
        P2ManifestError: as `sha`.
    """
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
    text = "" if isinstance(node, yamltext.Plain) and resolve(node) is None else str(node)
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
    """A number of bytes, perhaps with a unit: `1.5 GB`. Written as a whole number, zero only if it is exactly that."""
    if _is_untouched(node):
        return 0, True
    text, _ = _text(node, path)
    found = BYTES.fullmatch(str(text).strip(BLANKS))
    try:
        size = float(found[1]) * FACTORS[found[2].upper()] if found else math.nan
    except ValueError:
        size = math.nan
    if size < 0 or not _is_within(size, UINT64):
        raise P2ManifestError(path, "expected a number of bytes, perhaps with a unit K, M, G or T")
    return int(size), not size


def _is_untouched(node: yamltext.Value) -> bool:
    """The two ways of writing null at which go-yaml leaves a field alone; at the others it creates an empty value."""
    return isinstance(node, yamltext.Plain) and node in UNTOUCHED


def _pointer(read: Reader) -> Reader:
    def read_pointer(node: yamltext.Value, path: str) -> Reading:
        return (None, True) if _is_untouched(node) else (read(node, path)[0], False)

    return read_pointer


def _texts(node: yamltext.Value, path: str) -> Reading:
    if _is_null(node):
        return [], True
    if not isinstance(node, list):
        raise P2ManifestError(path, "expected a list")
    return [_text(item, _below(path, str(place)))[0] for place, item in enumerate(node)], not node


def _map(read: Reader) -> Reader:
    def read_map(node: yamltext.Value, path: str) -> Reading:
        members = _members(node, path)
        entries = [(str(_text(key, path)[0]), read(value, _below(path, key))[0]) for key, value in members.items()]
        return goyaml.in_order(entries), not entries

    return read_map


def _members(node: yamltext.Value, path: str) -> Mapping[str, yamltext.Value]:
    if isinstance(node, dict):
        return node
    if _is_null(node):
        return {}
    raise P2ManifestError(path, "expected a mapping")


def _is_null(node: yamltext.Value) -> bool:
    return isinstance(node, yamltext.Plain) and resolve(node) is None


def _anything(node: yamltext.Value, path: str) -> Reading:
    match node:
        case dict():
            return goyaml.in_order((_key(key, path), _anything(value, path)[0]) for key, value in node.items()), False
        case list():
            return [_anything(item, path)[0] for item in node], False
        case yamltext.Plain():
            value = resolve(node)
            return str(value) if isinstance(value, str) else value, False
        case _:
            return node, False


def _key(key: str, path: str) -> Scalar:
    value = resolve(key) if isinstance(key, yamltext.Plain) else key
    if isinstance(value, float) and math.isnan(value):
        raise P2ManifestError(path, "NaN as a key; p2 leaves its place to chance")
    return str(value) if isinstance(value, str) else value


def _config(node: yamltext.Value, path: str) -> Reading:
    return _anything(dict(_members(node, path)), path)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    read: Reader
    omitempty: bool = True


def _structure(*fields: _Field) -> StructureReader:
    def read(node: yamltext.Value, path: str) -> tuple[GoMap, bool]:
        members = _members(node, path)
        readings = [(field, *field.read(members.get(field.name, ABSENT), _below(path, field.name))) for field in fields]
        entries = tuple((field.name, value) for field, value, zero in readings if not (zero and field.omitempty))
        return GoMap(entries), all(zero for _, _, zero in readings)

    return read


def _below(path: str, name: str) -> str:
    """The path of a member; names are anybody's, so they are shown short and without control characters."""
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
    """p2's own rules, on what its fields accept already."""
    if not _given(document, "id"):
        raise P2ManifestError("id", "missing; expected the pod's name")
    for name, launchable in _members(document.get("launchables", ABSENT), "launchables").items():
        _validate_launchable(launchable, _below("launchables", name))


def _validate_launchable(launchable: yamltext.Value, path: str) -> None:
    kind = _given(launchable, "launchable_type")
    if not kind:
        raise P2ManifestError(f"{path}.launchable_type", "missing")
    by_version = bool(_given(launchable, "version", "id"))
    if kind in {"hoist", "opencontainer"} and bool(_given(launchable, "location")) == by_version:
        raise P2ManifestError(path, "expected either a location or a version with its id")
    if kind == "docker" and not (_given(launchable, "image", "name") and _given(launchable, "image", "sha256")):
        raise P2ManifestError(f"{path}.image", "expected a name and a sha256")


def _given(node: yamltext.Value, *names: str) -> str:
    """The text at the end of `names`, "" if it is not there."""
    for name in names:
        node = _members(node, "").get(name, ABSENT)
    return str(_text(node, "")[0])
