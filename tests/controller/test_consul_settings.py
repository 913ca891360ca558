"""The settings of the Consul client, from arguments and environment variables."""

import pytest

from controller.consul.client import ConsulSettings, settings_from_environment


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, "http://127.0.0.1:8500"),
        ({"CONSUL_HTTP_ADDR": "10.0.0.1:8500"}, "http://10.0.0.1:8500"),
        ({"CONSUL_HTTP_ADDR": "https://consul:8501/"}, "https://consul:8501"),
        ({"CONSUL_HTTP_ADDR": "[::1]:8500"}, "http://[::1]:8500"),
        ({"CONSUL_HTTP_ADDR": "unix:///run/consul.sock"}, "unix:///run/consul.sock"),
        ({"CONSUL_HTTP_ADDR": "http://consul:8501", "CONSUL_HTTP_SSL": "true"}, "https://consul:8501"),
        ({"CONSUL_HTTP_SSL": "0"}, "http://127.0.0.1:8500"),
        ({"CONSUL_HTTP_ADDR": "https://proxy/consul/a%2Fb/"}, "https://proxy/consul/a%2Fb"),
        ({"CONSUL_HTTP_ADDR": "proxy:80/consul"}, "http://proxy:80/consul"),
    ],
)
def test_the_address_is_read_from_consuls_own_variables(environ: dict[str, str], address: str) -> None:
    assert settings_from_environment(environ).address == address


def test_every_variable_has_its_field_and_arguments_override_variables() -> None:
    environ = {
        "CONSUL_HTTP_ADDR": "a:1",
        "CONSUL_HTTP_TOKEN": "t",
        "CONSUL_HTTP_TOKEN_FILE": "tf",
        "CONSUL_HTTP_SSL_VERIFY": "false",
        "CONSUL_CACERT": "ca",
        "CONSUL_CAPATH": "cap",
        "CONSUL_CLIENT_CERT": "c",
        "CONSUL_CLIENT_KEY": "k",
        "CONSUL_TLS_SERVER_NAME": "sn",
        "CONSUL_HTTP_AUTH": "u:p",
        "CONSUL_NAMESPACE": "n",
        "CONSUL_PARTITION": "pa",
    }
    assert settings_from_environment(environ) == ConsulSettings(
        "http://a:1",
        *("t", "tf", "ca", "cap", "c", "k", "sn"),
        insecure_skip_verify=True,
        http_auth="u:p",
        namespace="n",
        partition="pa",
    )
    explicit = settings_from_environment(
        environ, address="http://b:2", token="own", ca_file="", insecure_skip_verify=False
    )
    assert (explicit.address, explicit.token, explicit.token_file) == ("http://b:2", "own", "")
    assert (explicit.ca_file, explicit.insecure_skip_verify) == ("", False)


def test_consul_http_ssl_verify_1_does_not_turn_verification_off() -> None:
    assert not settings_from_environment({"CONSUL_HTTP_SSL_VERIFY": "1"}).insecure_skip_verify


@pytest.mark.parametrize(
    "address",
    [
        "",
        "consul:8500",
        "ftp://a:1",
        "http://",
        "http://a:99999",
        "http://u:p@a:1",
        "http://a:1/x/",
        "http://a:1//x",
        "http://a:1/x/../y",
        "http://a:1/x?y",
        "http://a:1/x#y",
        "http://a:1/x y",
        "unix://x",
        "http://a b",
    ],
)
def test_an_invalid_address_is_named_in_the_error(address: str) -> None:
    with pytest.raises(ValueError, match=r"Consul's address is .* expected http://host:port"):
        ConsulSettings(address)


def test_the_repr_of_settings_has_no_token_or_password() -> None:
    assert "secret" not in repr(ConsulSettings(token="secret", http_auth="a:secret"))
    with pytest.raises(ValueError, match="CONSUL_HTTP_SSL is 'maybe'"):
        settings_from_environment({"CONSUL_HTTP_SSL": "maybe"})


@pytest.mark.parametrize("name", ["a b", "a/b", "-a", "a" * 65, "a&dc=b"])
def test_an_invalid_namespace_or_partition_is_named_in_the_error(name: str) -> None:
    for variable in ("CONSUL_NAMESPACE", "CONSUL_PARTITION"):
        with pytest.raises(ValueError, match=f"Consul's {variable.removeprefix('CONSUL_').lower()} is "):
            settings_from_environment({variable: name})
