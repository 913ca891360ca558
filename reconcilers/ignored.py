"""Which keys below `intent/<node>/` are pods to check, and why the other keys are ignored."""

from enum import StrEnum

from reconcilers.keys import intent_prefix, parse_intent_key
from reconcilers.p2.uuid_pods import is_uuid_pod
from reconcilers.spec import PodKey


class Ignored(StrEnum):
    """Why a key is ignored: it is a UUID pod of p2, the pod's name is not accepted (`x y`, `a/b`), or it is not a
    manifest (the key of a folder, another file)."""

    UUID = "uuid"
    NAME = "name"
    OTHER = "other"


def pod_of(tree: str, node: str, text: str, value: bytes) -> PodKey | Ignored:
    """Returns the pod whose manifest has the key `text`, or why the key is ignored."""
    key = parse_intent_key(tree, text)
    if key and key.node == node:
        return Ignored.UUID if is_uuid_pod(key.pod, value) else key
    is_folder = text.endswith("/")
    return Ignored.NAME if text.startswith(intent_prefix(tree, node)) and not is_folder else Ignored.OTHER
