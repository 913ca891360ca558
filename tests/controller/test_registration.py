"""The controller as a service of a real Consul agent."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.consul import registration
from controller.consul.client import AgentCheck, AgentService, ConsulClient, KvPair
from controller.consul.holders import Holders
from controller.consul.registration import ReadyStatus, RegistrationKeeper, controller_service
from controller.runtime.heartbeat import Heartbeat
from reconcilers.spec import PodKey
from tests.support.consul import Agent
from tests.support.net import free_ports, until
from tests.support.targets import Target

ID = "podpulse-web1"
RIGHTS = 'service "podpulse" { policy = "write" }'
WITHIN = 30.0
NO_TROUBLE = ReadyStatus(list, list)
PERIOD = 0.3
"""Seconds, in place of the keeper's own period."""
SERVICE = controller_service("web1", "1.2.3", "http", "10.0.0.7", 9815)


class Trouble:
    """The problems of the controller."""

    def __init__(self) -> None:
        self.unhealthy: list[str] = []
        self.unready: list[str] = []
        self.holders = Holders()


@contextmanager
def registered(
    agent: Agent,
    trouble: Trouble | None = None,
    token: str | None = None,
    service: AgentService = SERVICE,
    file: Path | None = None,
) -> Iterator[RegistrationKeeper]:
    """`file` contains the token, in place of `token`."""
    trouble = trouble or Trouble()
    settings = replace(agent.settings(""), token_file=str(file)) if file else agent.settings(token)
    keeper = RegistrationKeeper(
        ConsulClient(settings, timeout=2.0),
        lambda: service,
        ReadyStatus(lambda: trouble.unhealthy, lambda: trouble.unready),
        trouble.holders,
        Heartbeat("registration", 30, time.monotonic),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registration, "PERIOD", PERIOD)
        keeper.start()
        yield keeper
        keeper.stop(5.0)


def services(agent: Agent) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = agent.request("GET", "agent/services").json()
    return found


def check(agent: Agent) -> dict[str, Any]:
    found: dict[str, Any] = agent.request("GET", "agent/checks").json().get(ID, {})
    return found


def await_status(agent: Agent, status: str) -> None:
    until(lambda: check(agent).get("Status") == status, WITHIN, f"the check to be {status}")


def test_the_catalog_has_node_version_and_port_until_a_clean_stop(consul: Agent) -> None:
    with registered(consul):
        await_status(consul, "passing")
        (found,) = consul.request("GET", "catalog/service/podpulse").json()
        assert (found["ServiceAddress"], found["ServicePort"]) == ("10.0.0.7", 9815)
        facts = {"node": "web1", "version": "1.2.3", "scheme": "http", "external-source": "podpulse"}
        assert found["ServiceMeta"] == facts
    assert services(consul) == {}
    assert consul.request("GET", "catalog/service/podpulse").json() == []


@pytest.mark.parametrize(
    ("host", "address"),
    [("0.0.0.0", ""), ("::", ""), ("10.0.0.7", "10.0.0.7"), ("::1", "::1"), ("web1.example", "web1.example")],
)
def test_a_controller_that_listens_on_every_address_has_the_agents_address(host: str, address: str) -> None:
    assert controller_service("web1", "1", "http", host, 1).address == address


@pytest.mark.parametrize(
    ("host", "notes"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_an_address_that_only_this_host_can_reach_is_noted_once_and_is_no_warning(
    consul: Agent, caplog: pytest.LogCaptureFixture, host: str, notes: bool
) -> None:
    caplog.set_level("INFO", "controller.consul.registration")
    with registered(consul, service=controller_service("web1", "1", "http", host, 9815)):
        await_status(consul, "passing")
        consul.request("PUT", f"agent/service/deregister/{ID}")
        await_status(consul, "passing")
    assert caplog.text.count(f"registered at {host}, which only this host and its Prometheus can reach") == notes
    assert not [each for each in caplog.records if "registered at" in each.message and each.levelname != "INFO"]


def test_the_check_says_what_is_wrong_with_the_controller(consul: Agent) -> None:
    trouble = Trouble()
    with registered(consul, trouble):
        await_status(consul, "passing")
        trouble.unready.append("the session is lost: no health can be published")
        await_status(consul, "warning")
        trouble.unhealthy.append("thread probe has stood still for 6 s")
        await_status(consul, "critical")
        assert check(consul)["Output"].splitlines() == [*trouble.unhealthy, *trouble.unready]


def test_after_a_restart_of_an_agent_without_data_it_is_registered_again(consul: Agent) -> None:
    with registered(consul):
        await_status(consul, "passing")
        consul.restart()
        await_status(consul, "passing")


def test_it_registers_after_the_start_of_the_agent_and_warns_once(
    consul: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    consul.stop()
    with registered(consul):
        until(lambda: "not registered with Consul" in caplog.text, WITHIN)
        time.sleep(2.5 * PERIOD)
        consul.start()
        await_status(consul, "passing")
    assert caplog.text.count("not registered with Consul") == 1


def test_an_agent_that_hangs_does_not_delay_the_stop(consul: Agent, caplog: pytest.LogCaptureFixture) -> None:
    with registered(consul) as keeper:
        await_status(consul, "passing")
        consul.pause()
        began = time.monotonic()
        keeper.stop(0.5)
        assert time.monotonic() - began < 5.0
        until(lambda: "stays registered" in caplog.text, WITHIN)
        consul.resume()


def test_the_service_of_a_killed_controller_turns_critical_and_remains(
    consul: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "TTL", 4.0)
    heartbeat = Heartbeat("registration", 30, time.monotonic)
    with consul.client() as client:
        keeper = RegistrationKeeper(client, lambda: SERVICE, NO_TROUBLE, Holders(), heartbeat)
        keeper._renew(SERVICE)
    assert check(consul)["Status"] == "passing"
    assert consul.request("GET", "agent/checks").json()[ID]["Type"] == "ttl"
    until(lambda: check(consul)["Status"] == "critical", 40, "the check to run out")
    assert ID in services(consul)


def test_a_denied_registration_is_logged_once_and_succeeds_with_new_rights(
    consul_binary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Agent(consul_binary, acl=True) as agent:
        token = agent.create_token('key_prefix "health/" { policy = "write" }')
        with registered(agent, token=token):
            until(lambda: "not registered with Consul" in caplog.text, WITHIN)
            agent.replace_rules(token, 'service "podpulse" { policy = "write" }')
            await_status(agent, "passing")
        assert services(agent) == {}
    (line,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "Permission denied" in line.getMessage()


def test_another_service_with_the_same_id_is_not_changed(consul: Agent, caplog: pytest.LogCaptureFixture) -> None:
    theirs = {"ID": ID, "Name": "theirs", "Port": 1}
    other = {"ID": "podpulse-web10", "Name": "podpulse", "Port": 2}
    for fields in (theirs, other):
        consul.request("PUT", "agent/service/register", json.dumps(fields))
    before = services(consul)
    with registered(consul):
        until(lambda: "it is not Podpulse's" in caplog.text, WITHIN)
    assert services(consul) == before


def test_the_pause_after_refusals_doubles(consul_binary: Path) -> None:
    with Agent(consul_binary, acl=True) as agent:
        token = agent.create_token('key_prefix "health/" { policy = "write" }')
        now, heartbeat = [0.0], Heartbeat("registration", 30, time.monotonic)
        with ConsulClient(agent.settings(token)) as client:
            keeper = RegistrationKeeper(client, lambda: SERVICE, NO_TROUBLE, Holders(), heartbeat, clock=lambda: now[0])
            pauses = []
            for _ in range(7):
                keeper._renew(SERVICE)
                pauses.append(keeper._due - now[0])
    assert pauses == [3, 6, 12, 24, 48, 60, 60]


def in_catalog(agent: Agent) -> str:
    """The status in the catalog, "" if there is none."""
    checks = agent.request("GET", "health/checks/podpulse").json()
    return str(checks[0]["Status"]) if checks else ""


@pytest.fixture
def token_file(acl_consul: Agent, tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(acl_consul.create_token(RIGHTS))
    return file


def rotate(agent: Agent, file: Path) -> None:
    """Write a new token into the file and delete the old token."""
    old = file.read_text()
    file.write_text(agent.create_token(RIGHTS))
    agent.delete_token(old)


def test_after_a_change_of_the_token_the_catalog_is_updated_and_cleared_at_the_end(
    acl_consul: Agent, token_file: Path
) -> None:
    trouble = Trouble()
    with registered(acl_consul, trouble, file=token_file):
        until(lambda: in_catalog(acl_consul) == "passing", WITHIN)
        rotate(acl_consul, token_file)
        trouble.unready.append("the session is lost: no health can be published")
        until(lambda: in_catalog(acl_consul) == "warning", WITHIN)
        assert services(acl_consul)
    until(lambda: in_catalog(acl_consul) == "", WITHIN)


def test_a_token_that_changes_before_the_stop_does_not_keep_it_in_the_catalog(
    acl_consul: Agent, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registered(acl_consul, file=token_file):
        until(lambda: in_catalog(acl_consul) == "passing", WITHIN)
        monkeypatch.setattr(registration, "PERIOD", 60.0)
        time.sleep(2 * PERIOD)
        rotate(acl_consul, token_file)
    until(lambda: in_catalog(acl_consul) == "", WITHIN)


@pytest.mark.parametrize(
    ("more", "whose"), [({}, "of this node"), ({"fleet": "f", "member": "web1"}, "with this id")], ids=["node", "fleet"]
)
def test_a_registered_controller_that_runs_is_not_replaced(
    consul: Agent, target: Target, caplog: pytest.LogCaptureFixture, more: dict[str, str], whose: str
) -> None:
    second = replace(SERVICE, meta={**SERVICE.meta, **more})
    first = replace(second, address="127.0.0.1", port=target.port)
    trouble = Trouble()
    with registered(consul, service=first):
        until(lambda: ID in services(consul))
        with registered(consul, trouble, service=second):
            until(trouble.holders.complaint, WITHIN)
            page = f"http://127.0.0.1:{target.port}"
            assert trouble.holders.complaint() == f"another controller {whose} runs at {page}"
            time.sleep(3 * PERIOD)
            assert services(consul)[ID]["Port"] == target.port
        assert ID in services(consul), "the service belongs to the other controller"
    assert sum("another controller" in record.message for record in caplog.records) == 1


def test_a_registered_controller_that_does_not_answer_is_replaced_at_once(consul: Agent) -> None:
    with consul.client() as client:
        dead = replace(SERVICE, address="127.0.0.1", port=free_ports(1)[0])
        client.register_service(dead, AgentCheck(ID, ID, "Podpulse", "", "passing"), 60.0)
    with registered(consul):
        until(lambda: services(consul)[ID]["Port"] == SERVICE.port, WITHIN)


THEIRS = KvPair("health/a/web1", b"", 7, "5e551015")


def test_a_controller_whose_keys_another_holds_deregisters_itself(consul: Agent) -> None:
    trouble = Trouble()
    with registered(consul, trouble):
        until(lambda: ID in services(consul))
        with consul.client() as client:
            trouble.holders.note(client, {PodKey("web1", "a"): THEIRS})
        assert "5e551015" in trouble.holders.complaint()
        assert "10.0.0.7" not in trouble.holders.complaint(), "the page is this controller's own"
        until(lambda: ID not in services(consul), WITHIN)
        trouble.holders.forget([PodKey("web1", "a")])
        until(lambda: ID in services(consul), WITHIN)


def test_a_controller_that_holds_keys_stays_registered_if_another_session_locks_one(consul: Agent) -> None:
    now, holders, heartbeat = [0.0], Holders(), Heartbeat("registration", 30, time.monotonic)
    with consul.client() as client:
        keeper = RegistrationKeeper(client, lambda: SERVICE, NO_TROUBLE, holders, heartbeat, clock=lambda: now[0])
        holders.holds_some = True
        holders.note(client, {PodKey("web1", "a"): THEIRS})
        keeper._renew(SERVICE)
        assert ID in services(consul)
        assert "5e551015" in holders.complaint(), "the complaint remains"
        holders.holds_some = False
        keeper._renew(SERVICE)
        assert ID not in services(consul)


def test_it_is_registered_as_soon_as_no_other_session_holds_the_keys(consul: Agent) -> None:
    now, holders, heartbeat = [0.0], Holders(), Heartbeat("registration", 30, time.monotonic)
    with consul.client() as client:
        keeper = RegistrationKeeper(client, lambda: SERVICE, NO_TROUBLE, holders, heartbeat, clock=lambda: now[0])
        holders.note(client, {PodKey("web1", "a"): THEIRS})
        for _ in range(5):
            keeper._renew(SERVICE)
            assert keeper._due == now[0]
        holders.forget([PodKey("web1", "a")])
        keeper._renew(SERVICE)
        assert ID in services(consul)
