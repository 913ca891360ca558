"""Errors of the configuration: what was expected, in our own words, and which option was probably meant."""

import re
import socket
from pathlib import Path

import pytest
import yaml

from controller.config import OPTIONS, Config, ConfigError, load
from controller.web.server import WebServer
from tests.support.cli import complaint, good, run

WRONG = ("5", "-1", "maybe", "''", "[a]", "{colour: red}", "http://127.0.0.1:1", "'*:1'", "'a b:1'", "[[1]]", '"\\0"')
OF_PYTHON = re.compile(
    r"class|instance|dictionary|pydantic|Input|valid |match|parse|pathlib|NoneType|Section|Options|null byte|Value err"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "podpulse.yaml"


def error(file: Path, text: str) -> str:
    file.write_text(f"node_name: web1\n{text}")
    with pytest.raises(ConfigError) as raised:
        load(file, {})
    return str(raised.value).replace(f"{file}: ", "")


def nested(option: str, value: str) -> str:
    for name in reversed(option.split(".")):
        value = f"{{{name}: {value}}}"
    return value


@pytest.mark.parametrize("option", OPTIONS)
def test_every_error_of_an_option_describes_the_expected_value(file: Path, option: str) -> None:
    refused = 0
    for value in WRONG:
        file.write_text(nested(option, value))
        try:
            load(file, {})
        except ConfigError as caught:
            refused += 1
            said = str(caught)
            assert f"{file}: {option.partition('.')[0]}" in said or " and " in said, said
            assert re.search("expected|no such option|cannot be read|missing", said), said
            assert not OF_PYTHON.search(said.replace("clearsign", "").replace("instance, job, node", "")), said
    assert refused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("consul: 127.0.0.1:8500", "consul: expected a mapping"),
        ("defaults: 5s", "defaults: expected a mapping, got '5s'"),
        ("defaults: {tls: true}", "defaults.tls: expected a mapping, got 'true'"),
        ("damping: 5", "damping: expected a mapping, got '5'"),
        ("service: {tags: web}", "service.tags: expected a list, got 'web'"),
        ("service: {name_prefix: 'a b'}", "service.name_prefix: expected at most 64 letters, digits and dashes, got"),
        ("service: {meta_prefix: 'a.b'}", "service.meta_prefix: expected at most 64 letters, digits, dashes and under"),
        ("state_dir: ''", "state_dir: expected a path, got ''"),
        ("state_dir: [a]", "state_dir: expected a path"),
        ('web_config_file: "a\\0b"', "web_config_file: expected a path, got 'a\\x00b'"),
        ('require_signature: "a\\0b"', "require_signature: expected the path of a keyring, got 'a"),
        ("max_in_flight: many", "max_in_flight: expected a plain decimal number from 1 to 1000000, got 'many'"),
        ("consul: {address: [a]}", "consul.address: expected host:port, http://host:port"),
        ("consul: {address: 'a b:8500'}", "consul.address: Consul's address is 'http://a b:8500'; expected"),
        ("consul: {address: '*:8500'}", "consul.address: Consul's address is 'http://*:8500'; expected"),
        ("consul: {token: [a]}", "consul.token: expected a token of printable ASCII without blanks"),
        ("consul: {insecure_skip_verify: maybe}", "consul.insecure_skip_verify: expected true or false, got 'maybe'"),
        ("consul: {server_name: 'a b'}", "consul.server_name: expected a host's name of letters"),
        ("web_config_file: ''", "web_config_file: expected a path, got ''"),
    ],
)
def test_an_error_describes_the_expected_value(file: Path, text: str, expected: str) -> None:
    assert error(file, text).startswith(expected)


@pytest.mark.parametrize(
    "listen",
    [
        "http://127.0.0.1:1",
        "*:1",
        "a b:1",
        "::1:80",
        "[127.0.0.1]:80",
        "[a]:80",
        "10.0.0.256:80",
        "1:2:3",
        ":",
        "::",
        "[]:80",
    ],
)
@pytest.mark.parametrize("option", ["listen", "canary"])
def test_an_unusable_listen_address_is_refused(file: Path, option: str, listen: str) -> None:
    said = error(file, f"{option}: '{listen}'")
    assert said.startswith(f"{option}: expected ")
    assert "HOST:PORT" in said


@pytest.mark.parametrize(
    ("listen", "address", "page"),
    [
        ("127.0.0.1:9815", ("127.0.0.1", 9815), "http://127.0.0.1:9815"),
        (":9815", ("", 9815), "http://127.0.0.1:9815"),
        ("0.0.0.0:9815", ("0.0.0.0", 9815), "http://127.0.0.1:9815"),
        ("[::]:9815", ("::", 9815), "http://127.0.0.1:9815"),
        ("[::1]:80", ("::1", 80), "http://[::1]:80"),
        ("web_1.example.com:80", ("web_1.example.com", 80), "http://web_1.example.com:80"),
        ("zürich.example:80", ("zürich.example", 80), "http://zürich.example:80"),
    ],
)
def test_the_listen_address_determines_the_url_of_the_page(
    file: Path, listen: str, address: tuple[str, int], page: str
) -> None:
    file.write_text(f"listen: '{listen}'\n")
    config = load(file, {"node_name": "web1"})
    assert (config.listen_address, config.page_url) == (address, page)


def test_a_port_alone_means_every_address() -> None:
    async def app(*_: object) -> None: ...

    server = WebServer(app, *Config(node_name="web1", listen=":0").listen_address)
    server.start()
    try:
        for host in ("127.0.0.1", "127.0.0.2", *(["::1"] if socket.has_dualstack_ipv6() else [])):
            socket.create_connection((host, server.port), timeout=5).close()
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("node: web1", "node: no such option; did you mean node_name?"),
        ("lissten: ':1'", "lissten: no such option; did you mean listen?"),
        ("defaults: {timout: 5s}", "defaults.timout: no such option; did you mean defaults.timeout?"),
        ("defaults: {tls: {ca: /a}}", "defaults.tls.ca: no such option"),
        ("defaults: {tls: {ca_fil: /a}}", "defaults.tls.ca_fil: no such option; did you mean defaults.tls.ca_file?"),
        ("consul: {adress: a}", "consul.adress: no such option; did you mean consul.address?"),
        ("token_file: /a", "token_file: no such option; did you mean consul.token_file?"),
        ("interval: 5s", "interval: no such option; did you mean defaults.interval?"),
        ("registers: false", "registers: no such option; did you mean register?"),
        ("damping: {change: 5}", "damping.change: no such option; did you mean damping.changes?"),
        ("colour: red", "colour: no such option"),
    ],
)
def test_an_unknown_option_suggests_the_nearest_one(file: Path, text: str, said: str) -> None:
    assert error(file, text) == said


def test_the_nearest_option_is_also_suggested_in_p2s_and_the_web_configuration_file(file: Path, tmp_path: Path) -> None:
    file.write_text("preparer: {nod_name: web1}\n")
    said = complaint(run("check-config", file))
    assert f"{file}: preparer.nod_name: no such option of p2-preparer; did you mean preparer.node_name?" in said
    file.write_text("preparer: {node_name: web1}\npodpulse: {lissten: a}\n")
    assert "podpulse.lissten: no such option; did you mean podpulse.listen?" in complaint(run("check-config", file))
    file.write_text("preparer: {node_name: web1}\npodpulze: {listen: a}\n")
    assert "podpulze: passed over; neither p2-preparer's nor Podpulse's; did you mean podpulse?" in good(
        run("check-config", file)
    )
    web = tmp_path / "web.yaml"
    web.write_text("tls_server_config: {cert_fil: a, key_file: 5, client_auth_type: no}\nbasic_auth_user: {}\n")
    file.write_text(f"node_name: web1\nweb_config_file: {web}\n")
    said = complaint(run("check-config", file))
    for hint in ("tls_server_config.cert_file?", "did you mean basic_auth_users?", "client_auth_type: expected 'NoCl"):
        assert hint in said, "every field that is wrong"


def test_every_option_of_the_example_is_an_option() -> None:
    example = yaml.safe_load((Path(__file__).parents[2] / "deploy/config.example.yaml").read_text())
    assert set(example) <= set(OPTIONS)
