"""The configuration: what is wrong is named by file, field and expectation, and a token by none of them."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.config import Config, ConfigError, host_ca_file, load, seconds
from controller.consul import ConsulSettings

SECRET = "2b778dd9-f5f1-6f29-b4b4-9a5fa948757a"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_text("")
    return tmp_path / "podpulse.yaml"


def complaint(file: Path, text: str, **overrides: Any) -> str:
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(file, {name.replace("__", "."): value for name, value in overrides.items()})
    return str(raised.value)


def test_without_file_the_defaults_are_p2s() -> None:
    config = load(None, {"node_name": "web1"})
    assert (config.defaults.interval, config.defaults.failure_threshold, config.tree) == (5.0, 1, "intent")
    assert config.listen_address == ("127.0.0.1", 9815)


def test_a_file_is_read_and_the_command_line_wins(file: Path) -> None:
    file.write_text(
        f"""
        node_name: web1
        ca_file: {file.parent}/ca.pem
        listen: "[::1]:80"
        max_in_flight: 12
        defaults: {{interval: 1m30s, timeout: 500ms, failure_threshold: 3}}
        consul: {{address: "https://consul:8501", token: {SECRET}}}
        """
    )
    config = load(file, {"node_name": "web2", "consul.address": "http://other:1", "log_level": None})
    assert (config.node_name, config.max_in_flight, config.listen_address) == ("web2", 12, ("::1", 80))
    assert (config.defaults.interval, config.defaults.timeout, config.defaults.failure_threshold) == (90.0, 0.5, 3)
    assert config.consul_settings({}).address == "http://other:1"
    assert SECRET not in repr(config)


@pytest.mark.parametrize("text", ["", "---\n", "# nothing\n", "~\n"])
def test_an_empty_file_is_all_defaults(file: Path, text: str) -> None:
    file.write_text(text)
    assert load(file, {"node_name": "web1"}) == load(None, {"node_name": "web1"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("intervall: 5s", "intervall: no such option"),
        ("defaults: {intervall: 5s}", "defaults.intervall: no such option"),
        ("consul: {tokn: x}", "consul.tokn: no such option"),
        (
            "defaults: {interval: 5 seconds}",
            "defaults.interval: expected a duration such as 500ms, 5s or 1m30s, got '5 seconds'",
        ),
        ("defaults: {interval: 5}", "defaults.interval: expected a duration such as 500ms, 5s or 1m30s, got '5'"),
        ("defaults: {interval: -5s}", "defaults.interval: expected a duration"),
        ("defaults: {interval: 1ms}", "defaults.interval: expected greater than or equal to 0.1"),
        ("defaults: {interval: 2h}", "defaults.interval: expected less than or equal to 3600"),
        ("defaults: {interval: 2s, timeout: 3s}", "defaults: timeout: expected at most the interval of 2 s, got 3 s"),
        ("defaults: {failure_threshold: 0}", "defaults.failure_threshold: expected greater than or equal to 1"),
        ("defaults: {failure_threshold: some}", "defaults.failure_threshold: expected a valid integer"),
        ("defaults: 5s", "defaults: expected"),
        ("defaults: [5s]", "defaults: expected"),
        ("defaults:", "defaults: expected"),
        ("consul: [a]", "consul: expected"),
        ("node_name: a/b", "node_name: expected a node's name"),
        ("node_name: ''", "node_name: expected a node's name"),
        ("node_name:", "node_name: expected a node's name"),
        ("address: nowhere", "address: expected name, catalog or an IP address, got 'nowhere'"),
        ("address: 10.0.0.256", "address: expected name, catalog or an IP address"),
        ("tree: hooks", "tree: expected 'intent' or 'reality', got 'hooks'"),
        ("listen: localhost", "listen: expected HOST:PORT, got 'localhost'"),
        ("listen: localhost:70000", "listen: expected HOST:PORT"),
        ("listen: 'localhost:²'", "listen: expected HOST:PORT"),
        ("listen: :80", "listen: expected HOST:PORT"),
        ("max_in_flight: 0", "max_in_flight: expected greater than or equal to 1"),
        ("ca_file: /nowhere/ca.pem", "ca_file: expected a readable file: No such file or directory"),
        ("ca_file: /", "ca_file: expected a readable file: Is a directory"),
        ("log_level: loud", "log_level: expected 'debug', 'info', 'warning' or 'error', got 'loud'"),
        ("intent_dir: /tmp", "intent_dir and health_dir: expected both"),
        ("intent_dir: /tmp\nhealth_dir: /tmp\naddress: catalog", "address: catalog needs Consul"),
        ("- a\n- b", "expected a mapping of options"),
        ("just text", "expected a mapping of options"),
        ("a: [", "line 2, column 1: "),
        ("a: &x 1\nb: *x", "line 2, column 4: an alias"),
        ("listen: a:1\nlisten: b:2", "the key 'listen' for the second time"),
    ],
)
def test_what_is_wrong_is_named_by_file_field_and_expectation(file: Path, text: str, expected: str) -> None:
    message = complaint(file, text)
    assert message.startswith(f"{file}: {expected}"[: len(f"{file}: ")])
    assert expected in message


def test_every_wrong_field_is_named_on_a_line_of_its_own(file: Path) -> None:
    lines = complaint(file, "tree: x\nmax_in_flight: x\nwhat: x").splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{file}: ") for line in lines)


@pytest.mark.parametrize(
    "text",
    [
        f"token: {SECRET}",
        f"consul: {{token: [{SECRET}]}}",
        f"consul: {{token: {{value: {SECRET}}}}}",
        f"consul: {{tokn: {SECRET}}}",
        f"consul: [token, {SECRET}]",
        f"consul: '{SECRET}'",
        f"consul: {{token: {SECRET}, token: {SECRET}}}",
        f"consul: {{token: {SECRET}, address: [x]}}",
        f"consul: {{token: !secret {SECRET}}}",
        f"consul: {{token: {SECRET}, key_file: /nowhere}}",
        f"consul:\n  token: {SECRET}\n ca_file: x",
    ],
)
def test_a_token_is_in_no_error(file: Path, text: str) -> None:
    assert SECRET[:8] not in complaint(file, text)


@pytest.mark.parametrize("text", ["consul: 5", "consul: [a]", "consul: text"])
def test_an_override_below_something_that_is_no_section_is_an_error_of_the_file(file: Path, text: str) -> None:
    assert "consul: expected" in complaint(file, text, consul__address="http://a:1")


def test_an_override_below_an_empty_section_is_good(file: Path) -> None:
    file.write_text("consul:\n")
    config = load(file, {"node_name": "web1", "consul.address": "http://a:1"})
    assert config.consul.address == "http://a:1"


def test_what_is_wrong_on_the_command_line_names_the_command_line() -> None:
    with pytest.raises(ConfigError, match=r"^command line: node_name: expected a node's name"):
        load(None, {"node_name": "a b"})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path}: cannot be read: Is a directory")):
        load(tmp_path, {})


def test_consuls_own_variables_stand_in_for_what_is_not_configured(file: Path) -> None:
    file.write_text("node_name: web1\nconsul: {address: 'http://mine:1'}\n")
    environ = {"CONSUL_HTTP_ADDR": "theirs:2", "CONSUL_HTTP_TOKEN": SECRET}
    settings: ConsulSettings = load(file, {}).consul_settings(environ)
    assert (settings.address, settings.token) == ("http://mine:1", SECRET)


def test_consul_settings_that_make_no_sense_are_an_error_of_the_configuration(file: Path) -> None:
    file.write_text("node_name: web1\nconsul: {address: 'ftp://mine'}\n")
    with pytest.raises(ConfigError, match="Consul's address is 'ftp://mine'"):
        load(file, {}).consul_settings({})


def test_the_hosts_ca_bundle_can_be_chosen_by_the_usual_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert host_ca_file() == bundle


def test_a_configuration_does_not_change() -> None:
    config = Config(node_name="web1")
    with pytest.raises(ValueError, match="frozen"):
        config.node_name = "web2"  # type: ignore[misc]


# Durations


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", 0.5), ("5s", 5), ("1m30s", 90), ("1h", 3600), ("1.5s", 1.5), ("1h2m3s4ms", 3723.004), ("0s", 0), (2, 2)],
)
def test_durations_are_written_as_in_go(text: object, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-5s", "5 s", "5S", "1s1m", "5d", "1e3s", "\u0665s", "inf", "5s\n", True, None]
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        seconds(text)


@given(st.text(max_size=12))
def test_no_text_makes_a_duration_raise_anything_else(text: str) -> None:
    with suppress(ValueError):
        assert seconds(text) >= 0
