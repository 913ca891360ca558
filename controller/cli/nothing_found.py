"""What verbs say on standard error if they find no pod: the likely reasons, and the nearest names."""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from reconcilers.keys import HEALTH, parse_health_key, parse_intent_key
from reconcilers.p2.uuid_pods import UUID
from reconcilers.spec import PodKey

if TYPE_CHECKING:
    from controller.config import Config
    from controller.consul.client import ConsulClient

MOST_NAMES = 3
"""The names of each suggestion."""
MOST_COMPARED = 20_000
"""More names are not compared, because a comparison takes some microseconds."""


@dataclass(frozen=True, slots=True)
class Absence:
    """Why nothing was found. `is_wrong` says that no pod or node has the name that was asked for."""

    text: str
    is_wrong: bool = False


def in_consul(client: "ConsulClient", config: "Config", node: str | None, pod: str | None) -> Absence:
    """Explains why Consul has no such pod. Lists the names of all keys, and no values. Raises ConsulError."""
    intents = (parse_intent_key(config.tree, name) for name in client.list_keys(f"{config.tree}/"))
    healths = (parse_health_key(name) for name in client.list_keys(HEALTH))
    known = {key for key in (*intents, *healths) if key and not UUID.fullmatch(key.pod)}
    is_node = bool(node and client.node_address(node))
    return absence(known, f"Consul has no key below {config.tree}/ and health/{_of_token(config)}", node, pod, is_node)


def in_folder(known: Iterable[PodKey], folder: object, node: str | None, pod: str | None) -> Absence:
    """Explains why a folder has no such pod. A folder has the manifests of any one node."""
    return absence(set(known), f"{folder} has no manifest NAME.yaml", node, pod, is_node=True)


def absence(known: Collection[PodKey], empty: str, node: str | None, pod: str | None, is_node: bool) -> Absence:
    """Explains why a node, a pod or a pod on a node is not among the `known` ones. `empty` says that there is none.
    `is_node` says that the node exists, even if it has no pods."""
    is_wrong = bool(pod) or bool(node and not is_node)
    if not known:
        return Absence(f"nothing is scheduled, and no health is published: {empty}", is_wrong)
    nodes = sorted({key.node for key in known if pod in {None, key.pod}})
    if node and not any(key.node == node for key in known):
        names = {key.node for key in known}
        what = f"node {node} has no pods" if is_node else f"no node {node} has pods"
        return Absence(f"{what}{_perhaps(node, names)}", is_wrong)
    if pod and not nodes:
        return Absence(f"no pod {pod} is scheduled or published{_perhaps(pod, {key.pod for key in known})}", is_wrong)
    if pod and node and node not in nodes:
        return Absence(f"pod {pod} is not on node {node}; it is on {_listed(nodes)}", is_wrong)
    return Absence("none of the pods is selected by the options")


def similar(name: str, names: Collection[str]) -> list[str]:
    """Returns the names that begin with `name` or contain it, then those that are spelled like it."""
    inside = sorted((each for each in names if name in each), key=lambda each: (not each.startswith(name), each))
    close = get_close_matches(name, names, MOST_NAMES) if len(names) <= MOST_COMPARED else []
    return list(dict.fromkeys((*inside, *close)))[:MOST_NAMES]


def _of_token(config: "Config") -> str:
    settings = config.consul_settings(os.environ)
    if settings.token or settings.token_file:
        return ", or this token may not read them (see podpulse acl-policy)"
    return ", or Consul shows them only with a token, and none is given (--token-file, CONSUL_HTTP_TOKEN)"


def _perhaps(name: str, names: Collection[str]) -> str:
    if found := similar(name, names):
        return f"; did you mean {' or '.join(found)}?"
    return f"; there are {_listed(sorted(names))}" if len(names) <= MOST_NAMES else ""


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
