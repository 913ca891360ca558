"""p2's own configuration: fields that concern us are used. Fields of no use here are known, or they are named."""

from pathlib import Path

import pytest

from controller.config import Config, ConfigError, load

TOKEN = "5a1e9c52-3f7f-4a0f-a8d2-8d5c1d9c8f00"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name in ("ca.pem", "other.pem", "cert.pem", "key.pem"):
        (tmp_path / name).touch()
    (tmp_path / "token").write_text(TOKEN)
    return tmp_path / "p2-preparer.yaml"


def read(file: Path, text: str) -> Config:
    file.write_text(text.replace("DIR", str(file.parent)))
    return load(file, {})


def complaint(file: Path, text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        read(file, text)
    return str(raised.value)


def test_p2s_preparer_configuration_is_converted(file: Path) -> None:
    config = read(
        file,
        """
        preparer:
          node_name: aws1.example.com
          consul_address: consul.example.com:8501
          consul_https: true
          consul_token_path: DIR/token
          ca_file: DIR/ca.pem
          cert_file: DIR/cert.pem
          key_file: DIR/key.pem
          log_level: warn
        """,
    )
    assert (config.node_name, config.log_level) == ("aws1.example.com", "warning")
    assert config.ca_file == file.parent / "ca.pem"
    tls = config.defaults.tls
    assert (tls.cert_file, tls.key_file) == (f"{file.parent}/cert.pem", f"{file.parent}/key.pem")
    consul = config.consul_settings({"CONSUL_HTTP_ADDR": "http://elsewhere:1"})
    assert consul.address == "https://consul.example.com:8501"
    assert consul.token_file == f"{file.parent}/token"
    assert (consul.ca_file, consul.cert_file) == (f"{file.parent}/ca.pem", f"{file.parent}/cert.pem")
    assert config.notes == ()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("preparer: {}", "http://127.0.0.1:8500"),
        ("preparer:", "http://127.0.0.1:8500"),
        ("preparer: {consul_address: '', consul_https: false}", "http://127.0.0.1:8500"),
        ("preparer: {consul_address: 'a:1'}", "http://a:1"),
        ("preparer: {consul_address: 'a:1', consul_https: yes}", "https://a:1"),
        ("preparer: {consul_address: 'http://a:1', consul_https: true}", "https://a:1"),
        ("preparer: {consul_https: true}", "https://127.0.0.1:8500"),
        ("preparer: {consul_https: true}\npodpulse: {consul: {address: 'b:2'}}", "http://b:2"),
    ],
)
def test_the_consul_address_is_taken_from_p2s_configuration(file: Path, text: str, address: str) -> None:
    assert read(file, text).consul_settings({}).address == address


def test_the_command_line_overrides_p2s_configuration(file: Path) -> None:
    file.write_text("preparer: {node_name: aws1, consul_address: 'a:1', consul_https: true}")
    config = load(file, {"node_name": "aws2", "consul.address": "c:3"})
    assert (config.node_name, config.consul_settings({}).address) == ("aws2", "http://c:3")


@pytest.mark.parametrize(
    ("level", "ours"),
    [
        ("panic", "error"),
        ("fatal", "error"),
        ("error", "error"),
        ("warn", "warning"),
        ("Warning", "warning"),
        ("INFO", "info"),
        ("debug", "debug"),
        ("trace", "debug"),
        ("''", "info"),
        ("~", "info"),
    ],
)
def test_every_log_level_of_p2_maps_to_ours(file: Path, level: str, ours: str) -> None:
    assert read(file, f"preparer: {{log_level: {level}}}").log_level == ours


def test_authorities_have_two_option_names_and_consul_may_have_a_separate_one(file: Path) -> None:
    config = read(file, "preparer: {ca_path: DIR/ca.pem, consul_ca_file: DIR/other.pem}")
    assert (config.ca_file, config.consul.ca_file) == (file.parent / "ca.pem", file.parent / "other.pem")
    assert read(file, "preparer: {ca_path: DIR/ca.pem, ca_file: DIR/ca.pem}").consul.ca_file == file.parent / "ca.pem"
    assert "preparer.ca_path: expected the same as ca_file" in complaint(
        file, "preparer: {ca_path: DIR/ca.pem, ca_file: DIR/other.pem}"
    )


def test_podpulse_options_override_p2s(file: Path) -> None:
    config = read(
        file,
        """
        preparer: {node_name: aws1, ca_file: DIR/ca.pem, cert_file: DIR/cert.pem, key_file: DIR/key.pem}
        podpulse:
          p2_compat: true
          ca_file: DIR/other.pem
          consul: ~
          defaults: {interval: 5s, tls: {resume: true}}
          listen: 127.0.0.1:9999
        """,
    )
    assert (config.node_name, config.listen, config.ca_file) == ("aws1", "127.0.0.1:9999", file.parent / "other.pem")
    assert (config.defaults.method, config.defaults.interval) == ("HEAD", 5.0)
    assert (config.defaults.tls.resume, config.defaults.tls.cert_file) == (True, f"{file.parent}/cert.pem")
    assert config.consul.ca_file == file.parent / "ca.pem"


INSTALLING = """
preparer:
  hooks_directory: /etc/p2/hooks
  hooks_manifest: no_hooks
  pod_root: /data/pods
  max_launchable_disk_usage: 10G
  extra_log_destinations: [{type: socket, path: /var/log/p2-socket.out}]
  log_exec: [/bin/log]
  artifact_auth: {type: none}
  consul_config: {watch_wait_time: 5m}
  http2: true
  params: {healthcheck_timeout: 3}
  read_only_deploys: true
  auth: {type: none}
  status_port: 0
  status_socket: ""
"""


def test_options_about_installing_pods_are_ignored_silently(file: Path) -> None:
    assert read(file, INSTALLING).notes == ()


def test_ignored_options_that_may_be_expected_to_work_are_reported(file: Path) -> None:
    text = """
    preparer: {status_port: 8082, status_socket: /run/p2.sock, auth: {type: keyring, keyring: /etc/p2.keyring}}
    other_program: {a: b}
    """
    assert read(file, text).notes == (
        "other_program: passed over; neither p2-preparer's nor Podpulse's",
        "preparer.auth: passed over; signatures are asked for where podpulse.require_signature names a keyring",
        "preparer.status_port: passed over; it is p2-preparer's; page and metrics are where podpulse.listen says",
        "preparer.status_socket: passed over; it is p2-preparer's; page and metrics are where podpulse.listen says",
    )
    assert read(file, text).listen == "127.0.0.1:9815"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("preparer: {consul_adress: a}", "preparer.consul_adress: no such option of p2-preparer"),
        ("preparer: {listen: 'a:1'}", "preparer.listen: no such option of p2-preparer"),
        ("preparer: {}\nlisten: 'a:1'", "listen: expected below podpulse, in a file with preparer"),
        ("preparer: text", "preparer: expected a mapping of options"),
        ("preparer: [a]", "preparer: expected a mapping of options"),
        ("preparer: {}\npodpulse: text", "podpulse: expected a mapping of options"),
        ("preparer: {node_name: a/b}", "preparer.node_name: expected a node's name of letters, digits, dots"),
        ("preparer: {node_name: {a: b}}", "preparer.node_name: expected a node's name of letters, digits, dots"),
        ("preparer: {consul_https: 2}", "preparer.consul_https: expected true or false"),
        ("preparer: {log_level: loud}", "preparer.log_level: expected one of panic, fatal, error, warn, warning, info"),
        ("preparer: {ca_file: /nowhere}", "preparer.ca_file: expected a readable file: No such file or directory"),
        ("preparer: {cert_file: DIR/cert.pem}", "preparer.cert_file: expected cert_file and key_file together"),
        ("preparer: {}\npodpulse: {listn: a}", "podpulse.listn: no such option"),
        ("preparer: {}\npodpulse: {preparer: a}", "podpulse.preparer: no such option"),
        ("preparer: {}\npodpulse: {defaults: {interval: 5}}", "podpulse.defaults.interval: expected a duration from"),
        ("preparer: {ca_path: DIR/ca.pem}\npodpulse: {ca_file: /no}", "podpulse.ca_file: expected a readable file"),
    ],
)
def test_an_error_uses_the_name_of_the_option_in_the_file(file: Path, text: str, expected: str) -> None:
    assert f"{file}: {expected}" in complaint(file, text)


def test_no_error_contains_a_token(file: Path) -> None:
    for text in (f"preparer: {{consul_token_path: [{TOKEN}]}}", f"preparer: {{}}\npodpulse: {{consul: {TOKEN}}}"):
        assert TOKEN[:8] not in complaint(file, text)
