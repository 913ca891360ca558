"""The configuration of Consul by its version, and that the installed version accepts it."""

from pathlib import Path

import pytest

from tests.support.consul import Agent
from tests.support.consul_version import closed_ports, denying, version_in, version_of


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("Consul v1.8.7+dfsg1\nProtocol 2 spoken by default\n", (1, 8)),
        ("Consul v1.14.0-dev\nRevision 0ba7a401\n", (1, 14)),
        ("Consul v1.22.1\n", (1, 22)),
        ("==> a wrapper says hello\nConsul v2.0.0+ent\n", (2, 0)),
    ],
)
def test_a_version_is_read_from_what_consul_prints(said: str, version: tuple[int, int]) -> None:
    assert version_in(said) == version


def test_a_text_without_a_version_is_an_error() -> None:
    with pytest.raises(ValueError, match="not what `consul version` prints: 'no such file'"):
        version_in("no such file")


def test_each_version_gets_the_keys_that_it_knows() -> None:
    assert "grpc_tls" not in closed_ports((1, 13))
    assert closed_ports((1, 14))["grpc_tls"] == closed_ports((2, 0))["grpc_tls"] == -1
    assert denying((1, 10), "x")["tokens"] == {"master": "x", "agent": "x"}
    assert denying((1, 11), "x")["tokens"] == {"initial_management": "x", "agent": "x"}


def test_an_agent_listens_on_the_ports_of_the_test_and_on_no_others(consul_binary: Path) -> None:
    with Agent(consul_binary, acl=True) as agent:
        configured = agent.request("GET", "agent/self").json()["DebugConfig"]
        ports = {name: port for name, port in configured.items() if name.endswith("Port")}
        others = ("DNSPort", "GRPCPort", "GRPCTLSPort", "HTTPSPort", "SerfPortWAN")
        assert {name: ports[name] for name in others if ports.get(name, -1) > 0} == {}
        assert version_of(consul_binary) >= (1, 8)
