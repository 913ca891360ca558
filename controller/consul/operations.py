"""What is asked of Consul, by name: the label `op` of the metrics, a closed set that mypy holds the client to."""

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
    "agent_services",
    "agent_checks",
    "register_service",
    "deregister_service",
    "update_check",
    "agent_node",
    "node_address",
]
ToolOp = Literal["get", "list_pairs", "put", "delete", "leader"]
CONTROLLER_OPERATIONS: Sequence[str] = get_args(ControllerOp)
"""What a controller may ask of Consul; the other operations are the command line's."""

Observe = Callable[[str, str, float], None]
"""Told of each request: operation, outcome (ok, unavailable, refused), seconds."""
