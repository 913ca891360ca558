"""The names of all requests to Consul, which are the values of the metrics' label `op`. mypy checks their use."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

ControllerOp = Literal[
    "list_manifests",
    "is_absent",
    "list_keys",
    "transaction",
    "read_transaction",
    "session_create",
    "session_renew",
    "session_destroy",
    "session_name",
    "agent_services",
    "agent_checks",
    "register_service",
    "deregister_service",
    "update_check",
    "agent_node",
    "node_address",
    "node_addresses",
    "members",
    "catalog_node",
    "catalog_checks",
    "catalog_nodes",
]
ToolOp = Literal["get", "list_pairs", "put", "delete", "leader"]
CONTROLLER_OPERATIONS: Sequence[str] = get_args(ControllerOp)
"""The operations of a controller. The others are used by the command line only."""

WORDS: Mapping[str, str] = {
    "list_manifests": "reading manifests",
    "is_absent": "confirming that a manifest was removed",
    "list_keys": "listing keys",
    "transaction": "writing",
    "read_transaction": "reading keys",
    "session_create": "creating a session",
    "session_renew": "renewing the session",
    "session_destroy": "ending the session",
    "session_name": "reading a session",
    "agent_services": "reading the agent's services",
    "agent_checks": "reading the agent's checks",
    "register_service": "registering a service",
    "deregister_service": "removing a service",
    "update_check": "updating a check",
    "agent_node": "reading the agent's node",
    "node_address": "reading a node's address",
    "node_addresses": "reading the nodes' addresses",
    "members": "reading the members of the fleet",
    "catalog_node": "reading a node of the catalog",
    "catalog_checks": "reading checks of the catalog",
    "catalog_nodes": "reading the nodes of the catalog",
    "get": "reading ",
    "list_pairs": "reading keys",
    "put": "writing ",
    "delete": "deleting ",
    "leader": "asking for the leader",
}
"""What each operation does, for messages. The name of the key follows a space at the end."""

Observe = Callable[[str, str, float], None]
"""Is called after each request with its operation, outcome and duration in seconds. The outcome is ok, unavailable (an
answer that is not Consul's), silent (no answer), cancelled or refused."""
SILENT, CANCELLED = "silent", "cancelled"
