"""Knows which keys of the configuration each version of Consul accepts, and which ports it opens by default."""

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

_VERSION = re.compile(r"^Consul v(\d+)\.(\d+)", re.MULTILINE)
INITIAL_MANAGEMENT = (1, 11)
"""From here on a token that may do everything has this name; before it was `master`."""
GRPC_TLS = (1, 14)
"""From here on an agent in dev mode, and a server, listens for gRPC over TLS on port 8503."""


@cache
def version_of(binary: Path) -> tuple[int, int]:
    """Its major and minor version.

    Raises:
        ValueError: it does not say one.
    """
    said = subprocess.run([binary, "version"], capture_output=True, text=True, timeout=30, check=False)
    return version_in(said.stdout)


def version_in(text: str) -> tuple[int, int]:
    """The same of what `consul version` prints.

    Raises:
        ValueError: there is none.
    """
    if not (found := _VERSION.search(text)):
        raise ValueError(f"not what `consul version` prints: {text[:200]!r}")
    return int(found[1]), int(found[2])


def closed_ports(version: tuple[int, int]) -> dict[str, int]:
    """For `ports`: nothing but what the test asks for listens."""
    return {"serf_wan": -1, "dns": -1, "grpc": -1} | ({"grpc_tls": -1} if version >= GRPC_TLS else {})


def denying(version: tuple[int, int], token: str) -> dict[str, Any]:
    """For `acl`: what no token allows is denied, and `token`, which the agent has too, may do everything."""
    name = "initial_management" if version >= INITIAL_MANAGEMENT else "master"
    return {"enabled": True, "default_policy": "deny", "tokens": {name: token, "agent": token}}
