"""Where a node is reached; the catalog is a real Consul's."""

import json
import threading

import pytest

from controller.consul.addresses import PATIENCE, AddressWatch, CatalogAddress, CatalogAddresses, FixedAddress
from controller.runtime.heartbeat import Heartbeat
from reconcilers.spec import UNKNOWN_ADDRESS
from tests.support.consul import Agent
from tests.support.net import until
from tests.support.recorders import FakeClock


def register(consul: Agent, address: str, node: str = "db1") -> None:
    body = json.dumps({"Node": node, "Address": address})
    assert consul.request("PUT", "catalog/register", body).status == 200


@pytest.mark.parametrize("address", [None, "10.0.0.1"])
def test_a_fixed_address_is_that_of_every_node(address: str | None) -> None:
    fixed = FixedAddress(address)
    assert fixed.address("web1") == fixed.address("web2") == address


def test_the_catalog_is_asked_only_by_refresh_and_its_last_word_stays_in_force(consul: Agent) -> None:
    with consul.client() as client:
        catalog = CatalogAddress(client, "db1")
        with pytest.raises(LookupError, match="db1"):
            catalog.address("db1")
        assert not catalog.refresh(), "the catalog does not know it yet"
        register(consul, "10.0.0.7")
        assert catalog.refresh()
        assert catalog.address("db1") == "10.0.0.7"
        assert not catalog.refresh()
        register(consul, "10.0.0.8")
        assert catalog.address("db1") == "10.0.0.7"
        assert catalog.refresh()
        consul.request("PUT", "catalog/deregister", json.dumps({"Node": "db1"}))
        assert not catalog.refresh()
        consul.kill()
        assert not catalog.refresh()
        assert catalog.address("db1") == "10.0.0.8"
        with pytest.raises(LookupError, match="web9"):
            catalog.address("web9")


def test_a_node_that_the_catalog_never_names_is_not_waited_for_without_end(consul: Agent) -> None:
    clock = FakeClock()
    with consul.client() as client:
        catalog = CatalogAddress(client, "db1", clock)
        clock.advance(PATIENCE - 1)
        with pytest.raises(LookupError, match="db1"):
            catalog.address("db1")
        clock.advance(2)
        assert catalog.address("db1") == UNKNOWN_ADDRESS
        with pytest.raises(LookupError, match="web9"):
            catalog.address("web9")
        register(consul, "10.0.0.7")
        assert catalog.refresh()
        assert catalog.address("db1") == "10.0.0.7"


@pytest.mark.parametrize("address", ["localhost", "printer.example", "fe80::1%eth0"])
def test_a_host_name_in_the_catalog_is_an_address_like_any_other(consul: Agent, address: str) -> None:
    register(consul, address)
    with consul.client() as client:
        catalog = CatalogAddress(client, "db1")
        assert catalog.refresh()
        assert catalog.address("db1") == address


def test_an_unusable_address_is_reported_once_and_changes_nothing(
    consul: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    with consul.client() as client:
        catalog = CatalogAddress(client, "db1")
        register(consul, "10.0.0.7")
        catalog.refresh()
        register(consul, "a/b c\x00")
        assert not any(catalog.refresh() for _ in range(3))
        assert catalog.address("db1") == "10.0.0.7"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "expected an IP address or a host name" in caplog.text


def test_followers_of_the_catalog_are_notified_of_a_move(consul: Agent) -> None:
    told = threading.Event()
    with consul.client() as client:
        catalog = CatalogAddress(client, "db1")
        watch = AddressWatch(catalog, told.set, Heartbeat("address", 30, FakeClock()))
        watch.start()
        register(consul, "10.0.0.7")
        until(told.is_set, 10.0)
        assert catalog.address("db1") == "10.0.0.7"
        watch.stop(5.0)


def test_the_addresses_of_all_nodes_are_read_at_once_and_stay_in_force(consul: Agent) -> None:
    register(consul, "10.0.0.7")
    register(consul, "db2.example", "db2")
    with consul.client() as client:
        catalog = CatalogAddresses(client)
        with pytest.raises(LookupError, match="db1"):
            catalog.address("db1")
        assert catalog.refresh()
        assert (catalog.address("db1"), catalog.address("db2")) == ("10.0.0.7", "db2.example")
        register(consul, "10.0.0.8")
        assert catalog.refresh(), "a change ends the wait"
        consul.request("PUT", "catalog/deregister", json.dumps({"Node": "db2"}))
        assert not catalog.refresh()
        consul.kill()
        assert not catalog.refresh()
        assert (catalog.address("db1"), catalog.address("db2")) == ("10.0.0.8", "db2.example")


def test_a_node_of_many_that_the_catalog_lacks_is_awaited_for_a_while_since_it_was_asked_for(consul: Agent) -> None:
    clock = FakeClock()
    register(consul, "no address", "db2")
    with consul.client() as client:
        catalog = CatalogAddresses(client, clock)
        catalog.refresh()
        clock.advance(PATIENCE + 1)
        for node in ("db1", "db2"):
            with pytest.raises(LookupError, match=node):
                catalog.address(node)
        clock.advance(PATIENCE + 1)
        assert catalog.address("db1") == catalog.address("db2") == UNKNOWN_ADDRESS
        register(consul, "10.0.0.7")
        assert catalog.refresh()
        assert catalog.address("db1") == "10.0.0.7"


def test_nodes_without_a_usable_address_are_logged_once(consul: Agent, caplog: pytest.LogCaptureFixture) -> None:
    register(consul, "no address", "db2")
    with consul.client() as client:
        catalog = CatalogAddresses(client)
        catalog.refresh()
        register(consul, "10.0.0.7")
        catalog.refresh()
    assert caplog.text.count("no usable address of 1 nodes, expected an IP address or a host name: db2") == 1
