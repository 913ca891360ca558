"""Ports of tests stay theirs, whatever other processes do."""

import socket

import pytest

from tests.support.net import reserve, reserve_free
from tests.support.targets import Target


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
def test_a_reserved_port_refuses_connections_until_another_socket_of_ours_listens(host: str) -> None:
    with reserve(host) as reserved:
        at = reserved.getsockname()[:2]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(at)
        with reserve(*at) as listener:
            listener.listen()
            socket.create_connection(at).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(at)


def test_a_reserved_port_is_not_free() -> None:
    (reserved,) = reserve_free(1)
    with reserved, socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(reserved.getsockname())


def test_a_program_that_reuses_addresses_can_listen_on_a_free_port_that_is_reserved() -> None:
    (reserved,) = reserve_free(1)
    with reserved, socket.create_server(reserved.getsockname()) as server:
        socket.create_connection(server.getsockname()).close()


def test_a_target_that_refuses_keeps_its_port() -> None:
    with Target() as target:
        target.refuse()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((target.host, target.port))
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((target.host, target.port))
        target.listen()
        socket.create_connection((target.host, target.port)).close()
