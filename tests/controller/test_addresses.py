"""Where a node is reached; the catalog is a real Consul's."""

import json

import pytest

from controller.addresses import CatalogAddress, FixedAddress
from tests.support.consul import Agent


def register(consul: Agent, address: str) -> None:
    body = json.dumps({"Node": "db1", "Address": address})
    assert consul.request("PUT", "catalog/register", body).status == 200


@pytest.mark.parametrize("address", [None, "10.0.0.1"])
def test_a_fixed_address_is_that_of_every_node_and_never_changes(address: str | None) -> None:
    fixed = FixedAddress(address)
    assert fixed.address("web1") == fixed.address("web2") == address
    assert not fixed.refresh()


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
