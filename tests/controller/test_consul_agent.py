"""The client's methods for services of the agent, with a real Consul and with invalid answers."""

from collections.abc import Callable
from typing import Any

import pytest

from controller.consul.client import (
    AgentCheck,
    AgentService,
    ConsulClient,
    ConsulRefused,
    ConsulSettings,
    ConsulUnavailable,
)
from tests.support.consul import Agent
from tests.support.fake_http import FakeServer, Reply

SERVICE = AgentService("podpulse:web1:isup", "isup", 80, ("blue",), {"a-b": "c"}, "10.0.0.1")
CHECK = AgentCheck("podpulse:web1:isup", "podpulse:web1:isup", "Podpulse", "notes")

ASK: dict[str, Callable[[ConsulClient], Any]] = {
    "services": lambda client: client.agent_services("podpulse:"),
    "checks": lambda client: client.agent_checks("podpulse:"),
    "register": lambda client: client.register_service(SERVICE, CHECK, 20.0),
    "node": lambda client: client.agent_node(),
}


def test_a_service_is_registered_listed_updated_and_removed(consul: Agent) -> None:
    with consul.client() as client:
        client.register_service(SERVICE, CHECK, 20.0)
        client.register_service(AgentService("other", "other"), AgentCheck("other", "other", "x"), 20.0)
        assert client.agent_services("podpulse:") == [SERVICE]
        assert len(client.agent_services("")) == 2
        (check,) = client.agent_checks("podpulse:")
        assert check == AgentCheck(CHECK.id, SERVICE.id, "Podpulse", "notes", "critical", "")
        assert client.update_check(CHECK.id, "passing", 'a "b" & ?#\n')
        (check,) = client.agent_checks("podpulse:")
        assert (check.status, check.output) == ("passing", 'a "b" & ?#\n')
        client.deregister_service(SERVICE.id)
        client.deregister_service(SERVICE.id)
        assert client.agent_services("podpulse:") == []
        assert client.update_check(CHECK.id, "passing", "") is False
        assert client.agent_node() == "web1"
        with pytest.raises(ConsulRefused):
            client.update_check("other", "excellent", "")


@pytest.mark.parametrize(
    ("reply", "known"),
    [
        (Reply(404, b'Unknown check ID "x". Ensure that the check ID is passed'), False),
        (Reply(500, b'CheckID "x" does not have associated TTL'), False),
        (Reply(500, b"CheckID %s does not have associated TTL" % (b"x" * 400)), False),
        (Reply(500, b'Unknown check "x"'), False),
        (Reply(200), True),
    ],
)
def test_a_check_that_the_agent_does_not_know_is_no_error(reply: Reply, known: bool) -> None:
    with FakeServer(lambda _: reply) as server, ConsulClient(ConsulSettings(server.address)) as client:
        assert client.update_check("x", "passing", "") is known


def test_another_error_does_not_mean_an_unknown_check() -> None:
    replies = [Reply(500, b"does not have associated TTL"), Reply(500, b"No cluster leader")]
    with FakeServer(lambda _: replies.pop(0)) as server:
        client = ConsulClient(ConsulSettings(server.address))
        assert client.update_check("x", "passing", "") is False
        with pytest.raises(ConsulUnavailable, match="No cluster leader"):
            client.update_check("x", "passing", "")
    with client, pytest.raises(ConsulUnavailable):
        client.update_check("x", "passing", "")


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"x": 1}', b'{"x": {"ID": ""}}', b"<html>"])
@pytest.mark.parametrize("ask", ["services", "checks", "node"])
def test_an_answer_of_another_shape_is_invalid(ask: str, body: bytes) -> None:
    with (
        FakeServer(lambda _: Reply(200, body)) as server,
        ConsulClient(ConsulSettings(server.address)) as client,
        pytest.raises(ConsulUnavailable, match="not a valid answer of Consul"),
    ):
        ASK[ask](client)


@pytest.mark.parametrize("ask", ASK)
def test_a_missing_path_is_an_invalid_answer(ask: str) -> None:
    with (
        FakeServer(lambda _: Reply(404)) as server,
        ConsulClient(ConsulSettings(server.address)) as client,
        pytest.raises(ConsulUnavailable, match="not a valid answer of Consul"),
    ):
        ASK[ask](client)
