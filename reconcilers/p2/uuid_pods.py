"""UUID pods of p2: a node may run several pods of one name, each with its own UUID.

The intent key of such a pod holds a pointer to its manifest, which is in `pods/<uuid>`. Like p2, Podpulse neither
checks nor shows UUID pods: a listing of intent skips and counts them. The command line writes and removes them.

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
    """Returns whether both the last segment of an intent key and its value are those of a UUID pod.

    A pod whose name is a UUID, but whose key holds a manifest, is an ordinary pod.
    """
    return bool(UUID.fullmatch(name) and (found := POINTER.fullmatch(value)) and UUID.fullmatch(found[1].decode()))


def pod_key(uuid: str) -> str:
    """Returns the key of the manifest."""
    return f"pods/{uuid}"


class _Pod(msgspec.Struct, frozen=True):
    node: str


_POD = msgspec.json.Decoder(_Pod)


def keys(uuid: str, node: str) -> tuple[str, str]:
    """Returns the keys of the manifest and of the pointer to it."""
    return pod_key(uuid), intent_key("intent", PodKey(node, uuid))


def entries(uuid: str, node: str, manifest: bytes) -> dict[str, bytes]:
    """Returns the values to write, by key. `manifest` is UTF-8."""
    values = ({"manifest": manifest.decode(), "node": node}, {"pod_key": uuid})
    return {
        key: json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        for key, value in zip(keys(uuid, node), values, strict=True)
    }


def node_of(value: bytes) -> str | None:
    """Returns the node in the value of a `pod_key`; None if the value is not readable."""
    try:
        node = _POD.decode(value).node
    except (msgspec.MsgspecError, RecursionError):
        return None
    return node if is_name(node) else None
