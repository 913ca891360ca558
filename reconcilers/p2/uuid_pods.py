"""p2's other kind of pod: several of one name on one node, told apart by a UUID.

Its intent key holds only a pointer to the manifest, which stands in `pods/<uuid>`. p2 neither checks such a pod nor
shows it, and neither do we: whoever lists intent skips these entries and counts them. The tools write and remove them.

Source: pkg/store/consul/podstore of square/p2.
"""

import json
import re

import msgspec

from reconcilers.keys import intent_key
from reconcilers.spec import PodKey, is_name

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
POINTER = re.compile(rb'\s*\{\s*"pod_key"\s*:\s*"([0-9a-fA-F-]{36})"\s*\}\s*')


def is_uuid_pod(name: str, value: bytes) -> bool:
    """Whether the last segment of an intent key, and the value there, are those of a UUID pod.

    Both must be: a pod that merely has a UUID as its name, with a manifest at its key, is an ordinary one.
    """
    return bool(UUID.fullmatch(name) and (found := POINTER.fullmatch(value)) and UUID.fullmatch(found[1].decode()))


def pod_key(uuid: str) -> str:
    """Where a pod's manifest stands."""
    return f"pods/{uuid}"


class _Pod(msgspec.Struct, frozen=True):
    node: str


_POD = msgspec.json.Decoder(_Pod)


def keys(uuid: str, node: str) -> tuple[str, str]:
    """Where a pod's manifest and the pointer to it stand."""
    return pod_key(uuid), intent_key("intent", PodKey(node, uuid))


def entries(uuid: str, node: str, manifest: bytes) -> dict[str, bytes]:
    """What is written to those two keys; `manifest` is UTF-8."""
    pod = {"manifest": manifest.decode(), "node": node}
    values = (pod, {"pod_key": uuid})
    return {
        key: json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        for key, value in zip(keys(uuid, node), values, strict=True)
    }


def node_of(value: bytes) -> str | None:
    """The node of a pod whose manifest stands in `value`, as `entries` wrote it; None where that is not to be read."""
    try:
        node = _POD.decode(value).node
    except (msgspec.MsgspecError, RecursionError):
        return None
    return node if is_name(node) else None
