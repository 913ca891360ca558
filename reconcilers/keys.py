"""Consul's keys, in p2's order: the node comes first below `intent/`, the pod comes first below `health/`."""

from reconcilers.spec import PodKey, is_name

HEALTH = "health/"
HOOKS = "hooks/"


def intent_prefix(tree: str, node: str) -> str:
    """The prefix to list for one node, with its trailing slash: without it `web1` would list web10's pods too."""
    return f"{tree}/{node}/"


def intent_key(tree: str, key: PodKey) -> str:
    """Where a pod's manifest stands; `tree` is `intent` or `reality`."""
    return f"{intent_prefix(tree, key.node)}{key.pod}"


def parse_intent_key(tree: str, text: str) -> PodKey | None:
    """The pod of a key; None for a key that is no pod's (other segments, or a name that is not allowed)."""
    match text.split("/"):
        case [first, node, pod] if first == tree and is_name(node) and is_name(pod):
            return PodKey(node, pod)
        case _:
            return None


def hook_key(pod: str) -> str:
    """Where a hook's manifest stands: p2 runs it on every node, so it has none."""
    return f"{HOOKS}{pod}"


def health_key(key: PodKey) -> str:
    """Where a pod's health stands."""
    return f"{HEALTH}{key.pod}/{key.node}"


def parse_health_key(text: str) -> PodKey | None:
    """The pod of a health key, or None."""
    match text.split("/"):
        case ["health", pod, node] if is_name(node) and is_name(pod):
            return PodKey(node, pod)
        case _:
            return None
