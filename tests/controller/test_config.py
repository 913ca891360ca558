"""The configuration: an error names the file, the field and what is expected. No error shows a token."""

import re
from pathlib import Path
from typing import Any

import pytest

from controller.config import Config, ConfigError, load
from controller.config.model import host_ca_file
from controller.consul.client import ConsulSettings
from reconcilers.damping import DampingRules
from reconcilers.options import P2_CODE, CheckOptions
from reconcilers.spec import Output, Tls
from tests.support.signing import Signer, keyring

DURATION = "expected a duration from 100ms to 1h, such as 500ms, 5s or 1m30s"
SIGNED = Path(__file__).parent.parent / "data" / "signed"
SECRET = "2b778dd9-f5f1-6f29-b4b4-9a5fa948757a"


def test_headers_for_consul_are_read_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "podpulse.yaml"
    file.write_text("consul: {headers: {X-Key: s3cret}, wait: 4s}\n")
    config = load(file, {})
    settings = config.consul_settings({})
    assert (settings.headers, config.consul.wait) == ((("X-Key", "s3cret"),), 4.0)
    assert "s3cret" not in f"{config!r}{settings!r}"


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("{headers: s3cret}", "consul.headers: expected a mapping"),
        ("{headers: {X-Key: [s3cret]}}", "consul.headers: expected printable ASCII"),
        ("{headers: {X-Consul-Token: s3cret}}", "consul.headers: expected headers other than the token's"),
        ("{headers: {Host: s3cret}}", "consul.headers: expected headers other than those of the connection"),
        ("{wait: 11s}", "consul.wait: expected a duration from 1s to 10s"),
    ],
)
def test_headers_and_waits_that_cannot_be_used_are_refused(tmp_path: Path, section: str, expected: str) -> None:
    file = tmp_path / "podpulse.yaml"
    file.write_text(f"consul: {section}\n")
    with pytest.raises(ConfigError, match=expected) as caught:
        load(file, {})
    assert "s3cret" not in str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_text("")
    return tmp_path / "podpulse.yaml"


def complaint(file: Path, text: str, **overrides: Any) -> str:
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(file, {name.replace("__", "."): value for name, value in overrides.items()})
    return str(raised.value)


def test_without_a_file_the_defaults_are_p2s() -> None:
    config = load(None, {"node_name": "web1"})
    assert (config.defaults.interval, config.defaults.failure_threshold, config.tree) == (5.0, 1, "intent")
    assert config.listen_address == ("127.0.0.1", 9815)


def test_the_command_line_overrides_the_file(file: Path) -> None:
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


def test_a_token_of_the_command_line_overrides_the_token_file_of_the_file(file: Path) -> None:
    file.write_text("node_name: web1\nconsul: {token_file: /etc/token}\n")
    given = load(file, {"consul.token": SECRET, "consul.token_file": None}).consul_settings({})
    assert (given.token, given.token_file) == (SECRET, "")
    assert load(file, {"consul.token": None}).consul_settings({}).token_file == "/etc/token"
    assert load(file, {"consul.token_file": "/mine"}).consul_settings({}).token_file == "/mine"
    assert "consul: expected" in complaint(file, "consul: 5", node_name="web1", consul__token=SECRET)


def test_a_controller_registers_itself_by_default(file: Path) -> None:
    assert load(None, {"node_name": "web1"}).registers
    file.write_text("node_name: web1\nregister: false\n")
    assert not load(file, {}).registers


@pytest.mark.parametrize("text", ["", "---\n", "# nothing\n", "~\n", "defaults:\n", "consul:\n  #address: a:1\n"])
def test_an_empty_file_is_all_defaults(file: Path, text: str) -> None:
    file.write_text(text)
    assert load(file, {"node_name": "web1"}) == load(None, {"node_name": "web1"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("intervall: 5s", "intervall: no such option"),
        ("defaults: {intervall: 5s}", "defaults.intervall: no such option"),
        ("consul: {tokn: x}", "consul.tokn: no such option"),
        ("defaults: {interval: 5 seconds}", f"defaults.interval: {DURATION}, got '5 seconds'"),
        ("defaults: {interval: 5}", f"defaults.interval: {DURATION}, got '5'"),
        ("defaults: {interval: -5s}", f"defaults.interval: {DURATION}, got '-5s'"),
        ("defaults: {interval: 1ms}", f"defaults.interval: {DURATION}, got '1ms'"),
        ("defaults: {interval: 2h}", f"defaults.interval: {DURATION}, got '2h'"),
        ("defaults: {timeout: 0}", f"defaults.timeout: {DURATION}, got '0'"),
        ("defaults: {interval: 2s, timeout: 3s}", "defaults: timeout: expected at most the interval of 2s, got 3s"),
        ("defaults: {timeout: 6s}", "defaults: timeout: expected at most the interval of 5s, got 6s"),
        (
            "p2_compat: true\ndefaults: {timeout: 3s}",
            "defaults: timeout: expected at most the interval of 1s, got 3s",
        ),
        ("p2_compat: maybe", "p2_compat: expected true or false, got 'maybe'"),
        (
            "require_signature: /nowhere.asc",
            "require_signature: expected a readable file: No such file or directory, got '/nowhere.asc'",
        ),
        ("require_signature: /dev/null", "require_signature: expected at least one OpenPGP certificate, got '/dev"),
        ("require_signature: ''", "require_signature: expected the path of a keyring, got ''"),
        ("require_signature: [a]", "require_signature: expected the path of a keyring"),
        ("defaults: {initial_delay: soon}", "defaults.initial_delay: expected a duration from 0s to 24h, such as"),
        ("defaults: {failure_threshold: 0}", "defaults.failure_threshold: expected a plain decimal number from 1 to"),
        ("defaults: {failure_threshold: some}", "defaults.failure_threshold: expected a plain decimal number from 1"),
        ("defaults: {success_threshold: 010}", "defaults.success_threshold: expected a plain decimal number from"),
        (
            "defaults: {method: TRACE}",
            "defaults.method: expected 'GET', 'HEAD', 'POST', 'PUT' or 'OPTIONS', got 'TRACE'",
        ),
        ("defaults: {body: a}", "defaults.body: no such option"),
        ("allow_methods: [GET, TRACE]", "allow_methods: expected a list of GET, HEAD, POST, PUT and OPTIONS, each at"),
        ("credentials_dir: credentials", "credentials_dir: expected the absolute path of a folder, got 'credentials'"),
        ("max_redirects: 11", "max_redirects: expected a plain decimal number from 0 to 10, got '11'"),
        ("defaults: {follow_redirects: -1}", "defaults.follow_redirects: expected a plain decimal number from 0 to 10"),
        (
            "defaults: {method: PUT, follow_redirects: 1}",
            "defaults: follow_redirects: expected method GET or HEAD, got",
        ),
        ("allow_methods: []", "allow_methods: expected a list of GET, HEAD, POST, PUT and OPTIONS, each at"),
        ("allow_methods: [GET, GET]", "allow_methods: expected a list of GET, HEAD, POST, PUT and OPTIONS, each at"),
        ("defaults: {expect_status: fine}", "defaults.expect_status: expected status codes from 100 to 599, such as"),
        ("defaults: {expect_status: []}", "defaults.expect_status: expected from 1 to 32 status codes"),
        ("defaults: {expect_body: '('}", "defaults.expect_body: expected a regular expression (RE2): missing ): ("),
        (r"defaults: {expect_body: '(a)\1'}", "defaults.expect_body: expected a regular expression (RE2): invalid esc"),
        ("defaults: {expect_body: a, method: HEAD}", "defaults: expect_body: expected method GET: the answer to HEAD"),
        (
            "defaults: {headers: {Host: a/b}}",
            "defaults.headers: expected a host's name or address, perhaps with",
        ),
        ("defaults: {headers: [a]}", "defaults.headers: expected a mapping of header names to values"),
        ("defaults: {connection: close}", "defaults.connection: expected 'fresh' or 'reuse', got 'close'"),
        ("defaults: {output: maybe}", "defaults.output: expected true or false, got 'maybe'"),
        ("defaults: {tls: {ca: /a}}", "defaults.tls.ca: no such option"),
        ("defaults: {tls: {ca_file: a.pem}}", "defaults.tls.ca_file: expected a file's absolute path in ASCII"),
        (
            "defaults: {tls: {ca_file: /nowhere/ca.pem}}",
            "defaults.tls.ca_file: expected a readable file: No such file or directory, got '/nowhere/ca.pem'",
        ),
        (
            "defaults: {tls: {cert_file: /nowhere/c.pem, key_file: /nowhere/k.pem}}",
            "defaults.tls.cert_file: expected a readable file: No such file or directory, got '/nowhere/c.pem'",
        ),
        ("defaults: {tls: {cert_file: /nowhere/c.pem}}", "defaults.tls: expected cert_file and key_file together"),
        ("defaults: {tls: {server_name: 'a/b'}}", "defaults.tls.server_name: expected a host's name"),
        ("defaults: {tls: {insecure_skip_verify: '1'}}", "defaults.tls.insecure_skip_verify: expected true or false"),
        ("defaults: {paused: true}", "defaults.paused: no such option"),
        ("allow_headers: sometimes", "allow_headers: expected true or false, got 'sometimes'"),
        ("allow_output: sometimes", "allow_output: expected 'always', 'failures' or 'never', got 'sometimes'"),
        ("allow_addresses: metadata", "allow_addresses: expected an address or a network, perhaps with a port, got 'm"),
        ("allow_addresses: [10.0.0.1, 10.0.0.0/33]", "expected an address or a network, perhaps with a port, got '10."),
        ("allow_addresses: ['fe80::1:80000']", "allow_addresses: expected an address or a network"),
        ("allow_addresses: ['[fe80::1]:80000']", "allow_addresses: expected an address or a network"),
        ("allow_addresses: {a: b}", "allow_addresses: expected an address or a network"),
        ("canary: somebody", "canary: expected consul, none or HOST:PORT, got 'somebody'"),
        ("canary: gateway:99999", "canary: expected consul, none or HOST:PORT, got 'gateway:99999'"),
        ("canary: [a]", "canary: expected consul, none or HOST:PORT"),
        (
            "canary: 'a..b:80'",
            "canary: expected consul, none or HOST:PORT, the host being an IP address or a name in labels",
        ),
        (f"canary: {'x' * 64}:80", "an IP address or a name in labels of 1 to 63 characters, got"),
        ("listen: 'a..b:80'", "an IP address or a name in labels of 1 to 63 characters, got 'a..b:80'"),
        ("defaults: 5s", "defaults: expected"),
        ("defaults: [5s]", "defaults: expected"),
        ("consul: [a]", "consul: expected"),
        ("node_name: a/b", "node_name: expected a node's name"),
        ("node_name: ''", "node_name: expected a node's name"),
        ("node_name:", "node_name: expected a node's name"),
        ("address: nowhere", "address: expected name, catalog or an IP address, got 'nowhere'"),
        ("address: 10.0.0.256", "address: expected name, catalog or an IP address"),
        ("tree: hooks", "tree: expected 'intent' or 'reality', got 'hooks'"),
        ("listen: localhost", "listen: expected HOST:PORT, or :PORT for every address, got 'localhost'"),
        ("register: maybe", "register: expected true or false, got 'maybe'"),
        ("registers: false", "registers: no such option"),
        ("listen: localhost:70000", "listen: expected HOST:PORT"),
        ("listen: 'localhost:²'", "listen: expected HOST:PORT"),
        ("max_in_flight: 0", "max_in_flight: expected a plain decimal number from 1 to 1000000, got '0'"),
        ("ca_file: /nowhere/ca.pem", "ca_file: expected a readable file: No such file or directory"),
        ("ca_file: /", "ca_file: expected a readable file: Is a directory"),
        ("log_level: loud", "log_level: expected 'debug', 'info', 'warning' or 'error', got 'loud'"),
        ("intent_dir: /tmp", "intent_dir and health_dir: expected both"),
        ("fleet: a/b", "fleet: expected a name of letters"),
        ("fleet: f\npublish: agent", "publish: agent is for the pods of the agent's own node"),
        ("fleet: f\npublish: [kv, agent]", "publish: agent is for the pods of the agent's own node"),
        ("fleet: f\nintent_dir: /tmp\nhealth_dir: /tmp", "fleet: intent_dir is for one node without Consul"),
        ("fleet: f\ntree: reality", "fleet: tree: reality is for one node: expected intent"),
        ("fleet: f\nregister: false", "fleet: register: false would hide this controller"),
        ("intent_dir: /tmp\nhealth_dir: /tmp\naddress: catalog", "address: catalog needs Consul"),
        ("- a\n- b", "expected a mapping of options"),
        ("just text", "expected a mapping of options"),
        ("a: [", "line 2, column 1: "),
        ("a: &x 1\nb: *x", "line 2, column 4: an alias"),
        ("listen: a:1\nlisten: b:2", "the key 'listen' appears twice"),
    ],
)
def test_an_error_names_the_file_the_field_and_the_expected_value(file: Path, text: str, expected: str) -> None:
    message = complaint(file, text)
    assert message.startswith(f"{file}: {expected}"[: len(f"{file}: ")])
    assert expected in message


def test_a_member_of_a_fleet_is_not_on_the_nodes_of_its_pods(file: Path) -> None:
    file.write_text("fleet: f")
    assert load(file, {}).rules().is_remote


def test_every_invalid_field_has_its_own_line(file: Path) -> None:
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
def test_no_error_contains_a_token(file: Path, text: str) -> None:
    assert SECRET[:8] not in complaint(file, text)


@pytest.mark.parametrize("text", ["consul: 5", "consul: [a]", "consul: text"])
def test_an_override_below_something_that_is_no_section_is_an_error_of_the_file(file: Path, text: str) -> None:
    assert "consul: expected" in complaint(file, text, consul__address="http://a:1")


def test_an_override_below_an_empty_section_is_good(file: Path) -> None:
    file.write_text("consul:\n")
    config = load(file, {"node_name": "web1", "consul.address": "http://a:1"})
    assert config.consul.address == "http://a:1"


def test_an_error_of_the_command_line_names_the_command_line() -> None:
    with pytest.raises(ConfigError, match=r"^command line: node_name: expected a node's name"):
        load(None, {"node_name": "a b"})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path}: cannot be read: Is a directory")):
        load(tmp_path, {})


def test_consuls_environment_variables_supply_missing_options(file: Path) -> None:
    file.write_text("node_name: web1\nconsul: {address: 'http://mine:1'}\n")
    environ = {"CONSUL_HTTP_ADDR": "theirs:2", "CONSUL_HTTP_TOKEN": SECRET}
    settings: ConsulSettings = load(file, {}).consul_settings(environ)
    assert (settings.address, settings.token) == ("http://mine:1", SECRET)


def test_invalid_consul_settings_are_a_configuration_error(file: Path) -> None:
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


def test_a_configuration_is_immutable() -> None:
    config = Config(node_name="web1")
    with pytest.raises(ValueError, match="frozen"):
        config.node_name = "web2"  # type: ignore[misc]


# The defaults of checks, and what the operator allows


def test_every_option_of_a_check_can_have_another_default(file: Path) -> None:
    ca, key = file.parent / "ca.pem", file.parent / "key.pem"
    key.write_text("")
    file.write_text(
        f"""
        node_name: web1
        allow_headers: true
        defaults:
          interval: 1m30s
          timeout: 2s
          method: GET
          expect_status: [200, "300-399"]
          expect_body: ^ok
          headers: {{X-Who: podpulse}}
          failure_threshold: 3
          success_threshold: 2
          initial_delay: 30s
          connection: reuse
          output: false
          tls: {{ca_file: {ca}, cert_file: {ca}, key_file: {key}, server_name: shop.example, resume: true}}
        """
    )
    rules = load(file, {}).rules()
    defaults = rules.defaults
    assert (defaults.interval, defaults.timeout, defaults.initial_delay) == (90.0, 2.0, 30.0)
    assert (defaults.failure_threshold, defaults.success_threshold, defaults.output) == (3, 2, False)
    assert (defaults.method, defaults.expect_status, defaults.expect_body) == ("GET", ((200, 200), (300, 399)), "^ok")
    assert (defaults.headers, defaults.connection) == ((("X-Who", "podpulse"),), "reuse")
    assert defaults.tls.as_tls() == Tls(str(ca), str(ca), str(key), "shop.example", resume=True)
    assert rules.allow_headers


def test_absent_options_have_p2s_defaults() -> None:
    config = load(None, {"node_name": "web1"})
    assert config.defaults == CheckOptions()
    assert (config.defaults.expect_status, config.defaults.method) == (((200, 200),), "GET")
    assert not config.rules().allow_headers
    assert config.rules().allow_output is Output.ALWAYS


def test_a_shorter_default_interval_alone_shortens_the_timeout(file: Path) -> None:
    file.write_text("node_name: web1\ndefaults: {interval: 2s}\n")
    assert load(file, {}).defaults.timeout == 2.0


def test_files_that_a_manifest_names_are_checked(file: Path) -> None:
    rules = load(None, {"node_name": "web1"}).rules()
    assert rules.unreadable(str(file.parent / "ca.pem")) == ""
    assert rules.unreadable(str(file.parent / "none.pem")) == "No such file or directory"


def test_p2_compat_follows_p2s_code(file: Path) -> None:
    file.write_text("node_name: web1\np2_compat: true\n")
    config = load(file, {})
    assert config.defaults == P2_CODE
    assert config.rules().assume_passing
    file.write_text("node_name: web1\ndefaults: {interval: 10s, method: GET}\np2_compat: true\n")
    defaults = load(file, {}).defaults
    assert (defaults.interval, defaults.method, defaults.expect_status) == (10.0, "GET", ((200, 299),))
    assert not load(None, {"node_name": "web1"}).rules().assume_passing


def test_signatures_can_be_required(file: Path, tmp_path: Path) -> None:
    alice = Signer()
    ring = keyring(tmp_path / "deployers.asc", alice)
    file.write_text(f"node_name: web1\nrequire_signature: {ring}\n")
    config = load(file, {})
    verify = config.rules().verify
    assert verify
    assert verify(alice.sign(b"id: isup")) == b"id: isup"
    assert config.notes == ()
    assert load(None, {"node_name": "web1"}).rules().verify is None


def test_a_key_of_the_keyring_that_cannot_be_used_is_noted(file: Path) -> None:
    file.write_text(f"node_name: web1\nrequire_signature: {SIGNED}/keyring.gpg\n")
    [note] = load(file, {}).notes
    assert note.startswith("require_signature: key ")


@pytest.mark.parametrize(
    ("text", "allowed", "denied"),
    [
        ("169.254.169.254", [("169.254.169.254", 80)], [("169.254.0.1", 80), ("169.254.169.254", 8500)]),
        ("[169.254.0.0/16, 'fe80::/10']", [("169.254.0.1", 80), ("fe80::1", 443)], [("224.0.0.1", 80)]),
        ("['10.0.0.1:8500']", [("10.0.0.1", 8500)], [("10.0.0.2", 8500), ("10.0.0.1", 8501)]),
        ("['[fd00::1]:8500']", [("fd00::1", 8500)], [("fd00::2", 8500)]),
        ("[]", [("10.0.0.1", 80)], [("169.254.0.1", 80), ("10.0.0.1", 8500)]),
    ],
)
def test_denied_addresses_can_be_allowed(
    file: Path, text: str, allowed: list[tuple[str, int]], denied: list[tuple[str, int]]
) -> None:
    file.write_text(f"node_name: web1\nallow_addresses: {text}\n")
    guard = load(file, {}).guard({})
    assert [where for where in allowed if guard.objection(*where)] == []
    assert [where for where in denied if not guard.objection(*where)] == []


def test_consuls_port_is_denied_even_if_it_is_not_the_default(file: Path) -> None:
    file.write_text("node_name: web1\nconsul: {address: 'http://127.0.0.1:18500'}\n")
    guard = load(file, {}).guard({})
    assert guard.objection("10.0.0.1", 18_500)
    assert guard.objection("10.0.0.1", 8_500), "the usual ones too"
    assert not guard.objection("10.0.0.1", 80)
    assert load(None, {"node_name": "web1"}).guard({"CONSUL_HTTP_ADDR": "consul:28500"}).objection("10.0.0.1", 28_500)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("", ("127.0.0.1", 8500)),
        ("canary: consul", ("127.0.0.1", 8500)),
        ("canary: none", None),
        ("canary: gateway:53", ("gateway", 53)),
        ("canary: '[fd00::1]:53'", ("fd00::1", 53)),
        ("consul: {address: 'http://consul:18500'}", ("consul", 18_500)),
        ("consul: {address: 'https://consul'}", ("consul", 443)),
        ("consul: {address: 'http://consul'}", ("consul", 80)),
        ("consul: {address: 'http://[fd00::1]:18500'}", ("fd00::1", 18_500)),
        ("consul: {address: 'unix:///run/consul.sock'}", "/run/consul.sock"),
        ("intent_dir: /tmp\nhealth_dir: /tmp", None),
        ("intent_dir: /tmp\nhealth_dir: /tmp\ncanary: gateway:53", ("gateway", 53)),
    ],
)
def test_the_canary_is_consul_unless_another_is_named(file: Path, text: str, target: object) -> None:
    file.write_text(f"node_name: web1\n{text}\n")
    assert load(file, {}).canary_target({}) == target


def test_without_consul_its_environment_is_ignored(file: Path) -> None:
    file.write_text("node_name: web1\nintent_dir: /tmp\nhealth_dir: /tmp\n")
    config, environ = load(file, {}), {"CONSUL_HTTP_ADDR": "ftp://x"}
    assert config.guard(environ).objection("10.0.0.1", 8_500)
    assert config.canary_target(environ) is None


@pytest.mark.parametrize(
    ("yaml", "problem"),
    [
        ("publish: []", "publish: expected kv, agent or catalog"),
        ("publish: [kv, dns]", "publish: expected kv, agent or catalog"),
        ("publish: [kv, kv]", "publish: expected kv, agent or catalog"),
        ("publish: [agent, catalog]", "publish: agent is for nodes with a Consul agent and catalog for nodes without"),
        ("service: {name_prefix: a.b}", "service.name_prefix:"),
        ("service: {meta: [a]}", "service.meta: expected a mapping of at most 60 names to values"),
        ("service: {meta: {a b: c}}", "service.meta: expected names of letters, digits, - and _"),
        ("service: {ttl: 1s}", "service.ttl: expected a duration from 3s to 1h"),
        ("damping: {changes: -1}", "damping.changes: expected"),
        ("damping: {quiet: 0s}", "damping.quiet: expected a duration from 1s to 1h"),
        ("damping: {size: 4}", "damping.size: no such option"),
    ],
)
def test_errors_of_publishing_and_damping_are_reported(tmp_path: Path, yaml: str, problem: str) -> None:
    file = tmp_path / "podpulse.yaml"
    file.write_text(yaml)
    with pytest.raises(ConfigError, match=re.escape(f"{file}: {problem}")):
        load(file, {})


def test_publishing_and_damping_have_p2s_defaults(tmp_path: Path) -> None:
    file = tmp_path / "podpulse.yaml"
    file.write_text(
        "publish: agent\nservice: {tags: [a], meta: {team: x}}\ndamping: {changes: 4, refill: 1s, quiet: 2s}"
    )
    config = load(file, {})
    assert (config.publish, config.service.tags, config.service.meta) == (("agent",), ("a",), {"team": "x"})
    assert config.damping_rules() == DampingRules(4, 1.0, 2.0)
    assert load(None, {}).damping_rules() == DampingRules(16, 15.0, 60.0)


def test_the_web_configuration_file_is_checked_with_the_rest(file: Path, tmp_path: Path) -> None:
    web = tmp_path / "web.yml"
    web.write_text("basic_auth_users: {alice: hunter2}")
    file.write_text(f"web_config_file: {web}")
    with pytest.raises(ConfigError, match=re.escape(f"web_config_file: {web}: basic_auth_users.alice: expected")):
        load(file, {})
    web.write_text("{}")
    assert load(file, {}).web_access.basic_auth_users == {}


def test_the_startup_grace_is_off_by_default(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("startup_grace: 1m30s\n")
    assert (load(None, {}).startup_grace, load(file, {}).startup_grace) == (0.0, 90.0)
    file.write_text("startup_grace: -1s\n")
    with pytest.raises(ConfigError, match="startup_grace: expected a duration from 0s to 24h"):
        load(file, {})
