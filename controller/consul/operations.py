"""The names of all requests to Consul, which are the values of the metrics' label `op`. mypy checks their use."""

from collections.abc import Callable, Sequence
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

Observe = Callable[[str, str, float], None]
"""Is called after each request with its operation, outcome (ok, unavailable, refused) and duration in seconds."""
