"""A reload applies exactly the options whose description says so."""

from typing import Any

import pytest

from controller.config import Config
from controller.config.live import differences, reloaded

TOKEN = "2b778dd9-f5f1-6f29-b4b4-9a5fa948757a"


def config(**options: Any) -> Config:
    return Config.model_validate({"node_name": "web1", **options})


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"defaults": {"interval": "1s"}}, "defaults"),
        ({"damping": {"quiet": "1s"}}, "damping"),
        ({"allow_addresses": ["169.254.1.1"]}, "allow_addresses"),
        ({"allow_output": "never"}, "allow_output"),
        ({"labels": ["team"]}, "labels"),
        ({"allow_methods": ["GET", "POST"]}, "allow_methods"),
        ({"metrics": "full"}, "metrics"),
        ({"max_redirects": 3}, "max_redirects"),
        ({"credentials_dir": "/etc/podpulse/credentials"}, "credentials_dir"),
        ({"log_level": "debug"}, "log_level"),
        ({"on_stop": "remove"}, "on_stop"),
        ({"service": {"tags": ["a"]}}, "service.tags"),
        ({"consul": {"token": TOKEN}}, "consul.token"),
        ({"consul": {"http_auth": "alice:secret"}}, "consul.http_auth"),
    ],
)
def test_a_live_option_takes_effect_at_once(options: dict[str, Any], name: str) -> None:
    old, new = config(), config(**options)
    assert list(differences(old, new)) == [(name, True)]
    assert reloaded(old, new) == new


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"node_name": "web2"}, "node_name"),
        ({"listen": "127.0.0.1:1"}, "listen"),
        ({"register": False}, "register"),
        ({"publish": "agent"}, "publish"),
        ({"allow_headers": True}, "allow_headers"),
        ({"state_dir": "/tmp"}, "state_dir"),
        ({"service": {"ttl": "30s"}}, "service.ttl"),
        ({"consul": {"address": "consul:8500"}}, "consul.address"),
    ],
)
def test_another_option_waits_for_a_restart(options: dict[str, Any], name: str) -> None:
    old, new = config(), config(**options)
    assert list(differences(old, new)) == [(name, False)]
    assert reloaded(old, new) == old


def test_a_section_can_have_live_and_other_options() -> None:
    new = config(consul={"address": "consul:8500", "token": TOKEN}, service={"ttl": "30s", "tags": ["a"]})
    taken = reloaded(config(), new)
    assert (taken.consul.address, taken.consul.token) == (None, TOKEN)
    assert (taken.service.ttl, taken.service.tags) == (20.0, ("a",))
    assert list(differences(taken, new)) == [("service.ttl", False), ("consul.address", False)]


def test_the_same_configuration_has_no_differences() -> None:
    assert list(differences(config(), config())) == []
