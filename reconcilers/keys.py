"""Consul's keys, in p2's order: the node comes first below `intent/`, the pod comes first below `health/`."""

from reconcilers.spec import PodKey, is_name

HEALTH = "health/"
HOOKS = "hooks/"


def intent_prefix(tree: str, node: str) -> str:
    """The prefix of one node's keys. Without the trailing slash, `web1` would list the pods of web10 too."""
    return f"{tree}/{node}/"


def intent_key(tree: str, key: PodKey) -> str:
    """Returns the key of a pod's manifest; `tree` is `intent` or `reality`."""
    return f"{intent_prefix(tree, key.node)}{key.pod}"


def parse_intent_key(tree: str, text: str) -> PodKey | None:
    """Returns the pod of a key; None if the key has other segments or a name that is not allowed."""
    match text.split("/"):
        case [first, node, pod] if first == tree and is_name(node) and is_name(pod):
            return PodKey(node, pod)
        case _:
            return None


def hook_key(pod: str) -> str:
    """Returns the key of a hook's manifest. The key has no node, because p2 runs a hook on every node."""
    return f"{HOOKS}{pod}"


def health_key(key: PodKey) -> str:
    """Returns the key of a pod's health."""
    return f"{HEALTH}{key.pod}/{key.node}"


def parse_health_key(text: str) -> PodKey | None:
    """Returns the pod of a health key; None for another key."""
    match text.split("/"):
        case ["health", pod, node] if is_name(node) and is_name(pod):
            return PodKey(node, pod)
        case _:
            return None
