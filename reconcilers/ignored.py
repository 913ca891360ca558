"""Which of the keys below `intent/<node>/` are a pod's to check, and why another one is not."""

from enum import StrEnum

from reconcilers.keys import intent_prefix, parse_intent_key
from reconcilers.p2.uuid_pods import is_uuid_pod
from reconcilers.spec import PodKey


class Ignored(StrEnum):
    """Why a key is no pod's to check: it is one of p2's UUID pods, the pod's name is not accepted (`x y`, `a/b`), or it
    is no manifest at all (a folder's own key, another file)."""

    UUID = "uuid"
    NAME = "name"
    OTHER = "other"


def pod_of(tree: str, node: str, text: str, value: bytes) -> PodKey | Ignored:
    """The pod whose manifest stands at the key `text`, or why none is checked for it."""
    key = parse_intent_key(tree, text)
    if key and key.node == node:
        return Ignored.UUID if is_uuid_pod(key.pod, value) else key
    is_folder = text.endswith("/")
    return Ignored.NAME if text.startswith(intent_prefix(tree, node)) and not is_folder else Ignored.OTHER
