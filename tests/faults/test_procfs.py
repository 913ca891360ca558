"""The sockets of a process, as the kernel gives them."""

import os
import socket
from contextlib import ExitStack

import pytest

from tests.faults import procfs

CONNECTIONS = 300
"""More than one message of the kernel holds."""


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_each_connection_of_a_process_is_found_with_its_ports(family: int, address: str) -> None:
    with ExitStack() as held:
        server = held.enter_context(socket.create_server((address, 0), family=family, backlog=CONNECTIONS))
        port = server.getsockname()[1]
        for _ in range(CONNECTIONS):
            held.enter_context(socket.create_connection((address, port)))
        found = procfs.sockets(os.getpid())
        assert found.peers.count(port) == CONNECTIONS
        assert found.nowhere == 0
        assert port not in found.own, "the other ends are not accepted yet, and belong to no process"
        for _ in range(CONNECTIONS):
            held.enter_context(server.accept()[0])
        assert procfs.sockets(os.getpid()).own.count(port) == CONNECTIONS
    assert port not in procfs.sockets(os.getpid()).peers
