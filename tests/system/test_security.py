"""Security: wrong TLS settings for Consul, and all places where a secret could be shown."""

import base64
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from tests.support.consul import Agent, Certificates
from tests.support.controller import Controller, podpulse
from tests.support.fake_http import Asked, FakeServer, Reply
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.targets import Target, answer

RULES = """
key_prefix "intent/" { policy = "read" }
key_prefix "health/" { policy = "write" }
session "web1"       { policy = "write" }
"""
PAGES = ("/", "/metrics", "/-/healthy", "/-/ready", "/nowhere", "/?state=critical")
NOBODY = "3f1b9d2e-0000-4000-8000-000000000000"


# TLS to Consul


@pytest.fixture(scope="module")
def tls_consul(consul_binary: Path) -> Iterator[Agent]:
    """An agent that speaks TLS only, and demands a client certificate."""
    with Agent(consul_binary, tls=True) as agent:
        yield agent


def section(agent: Agent) -> dict[str, Any]:
    settings = agent.settings()
    return {
        "address": settings.address,
        "ca_file": settings.ca_file,
        "cert_file": settings.cert_file,
        "key_file": settings.key_file,
    }


def test_everything_works_over_tls_with_the_right_certificates(tls_consul: Agent, target: Target) -> None:
    fleet = Fleet(tls_consul, target)
    fleet.schedule("a")
    with Controller(consul=section(tls_consul)):
        until(lambda: fleet.are("passing", "a"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("no client certificate", "certificate required|alert"),
        ("a client certificate of another authority", "unknown ca|alert|unable to get"),
        ("another authority", "unable to get local issuer certificate"),
        ("the host's authorities", "self-signed certificate|unable to get local issuer certificate"),
        ("another name", "elsewhere.example"),
        ("plain HTTP", "400|reset|empty|closed|Client sent an HTTP request"),
    ],
)
def test_a_wrong_tls_configuration_is_reported_and_no_answer_is_trusted(
    tls_consul: Agent, tmp_path: Path, wrong: str, said: str
) -> None:
    consul, other = section(tls_consul), Certificates.issue(tmp_path / "other")
    match wrong:
        case "no client certificate":
            del consul["cert_file"], consul["key_file"]
        case "a client certificate of another authority":
            consul |= {"cert_file": str(other.client_cert), "key_file": str(other.client_key)}
        case "another authority":
            consul["ca_file"] = str(other.ca)
        case "the host's authorities":
            del consul["ca_file"]
        case "another name":
            consul["server_name"] = "elsewhere.example"
        case "plain HTTP":
            consul["address"] = consul["address"].replace("https", "http")
    with Controller(ready=False, consul=consul) as controller:
        until(lambda: "manifests cannot be read" in controller.log)
        line = next(line for line in controller.log.splitlines() if "manifests cannot be read" in line)
        assert re.search(said, line), line
        assert controller.get("/-/ready").status == 503


def test_tls_to_a_port_without_tls_is_reported(consul: Agent) -> None:
    address = consul.address.replace("http://", "https://")
    with Controller(ready=False, consul={"address": address}) as controller:
        until(lambda: "manifests cannot be read" in controller.log)
        assert re.search("manifests cannot be read.*(TLS|SSL|wrong version)", controller.log)


# Secrets


def places(controller: Controller) -> dict[str, str]:
    """All that other users can read of a running controller."""
    shown = {path: controller.get(path).text for path in PAGES}
    cmdline = Path(f"/proc/{controller.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return shown | {"log": controller.log, "process list": cmdline}


def assert_nowhere(secret: str, shown: dict[str, str]) -> None:
    variants = {secret, secret.replace("-", ""), base64.b64encode(secret.encode()).decode()}
    for place, text in shown.items():
        assert not [each for each in variants if each in text], f"a secret stands in {place}"


def test_the_token_is_never_shown(acl_consul: Agent, target: Target, tmp_path: Path) -> None:
    good = acl_consul.create_token(RULES)
    fleet = Fleet(acl_consul, target)
    target.behave(answer(503, f"Authorization: none; {NOBODY[:8]}".encode()), "/b")
    fleet.schedule("a", "b")
    with Controller(consul={"address": acl_consul.address, "token": good}, log_level="debug") as controller:
        until(lambda: fleet.statuses() == {"a": "passing", "b": "critical"})
        acl_consul.replace_rules(good, "")
        until(lambda: controller.metrics().sum("podpulse_consul_requests_total", outcome="refused") > 0)
        assert_nowhere(good, places(controller))
        good_log = controller.log
    assert "Permission denied" in good_log
    file = tmp_path / "token"
    file.write_text(NOBODY)
    options = {"address": acl_consul.address, "token_file": str(file)}
    with Controller(ready=False, consul=options, log_level="debug") as controller:
        until(lambda: "manifests cannot be read" in controller.log)
        assert_nowhere(NOBODY, places(controller))


def test_the_error_of_a_refused_tool_does_not_contain_its_token(acl_consul: Agent) -> None:
    refused = podpulse("inspect", "--consul", acl_consul.address, "--token", NOBODY, check=False)
    assert refused.returncode == 1
    assert_nowhere(NOBODY, {"output": refused.stdout, "error": refused.stderr})


def test_a_token_is_not_sent_to_the_target_of_a_redirect() -> None:
    """The server in place of Consul redirects every request to another host."""
    with FakeServer(lambda _: Reply(200, b"[]")) as elsewhere:

        def send_away(asked: Asked) -> Reply:
            return Reply(307, b"", {"Location": f"{elsewhere.address}{asked.path}"})

        with FakeServer(send_away) as crooked:
            options = {"address": crooked.address, "token": NOBODY}
            with Controller(ready=False, consul=options, log_level="debug") as controller:
                until(lambda: len(crooked.asked) > 2)
                until(lambda: "manifests cannot be read" in controller.log)
                assert_nowhere(NOBODY, places(controller))
        assert elsewhere.asked == []
    assert all(asked.headers.get("x-consul-token") == NOBODY for asked in crooked.asked)
    assert not [asked for asked in crooked.asked if NOBODY in asked.path]


def test_the_error_of_an_invalid_configuration_contains_no_secrets(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"consul: {{token: {NOBODY}, address: [1], colour: {NOBODY}}}\n")
    refused = podpulse("run", "--config", file, check=False)
    assert refused.returncode == 1
    assert_nowhere(NOBODY, {"error": refused.stderr, "output": refused.stdout})


# The page


def test_the_page_asks_for_its_password_and_shows_no_hash(consul: Agent, tmp_path: Path) -> None:
    hashed = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(4)).decode()
    web = tmp_path / "web.yml"
    web.write_text(f"basic_auth_users: {{alice: '{hashed}'}}")
    options = {"address": consul.address}
    with Controller(ready=False, consul=options, web_config_file=str(web), log_level="debug") as controller:
        for path in {*PAGES, "/-/reload"} - {"/-/healthy"}:
            assert controller.get(path).status == 401
        assert controller.get("/-/healthy").text == "ok\n"
        with socket.create_connection(("127.0.0.1", controller.port)) as client:
            credentials = base64.b64encode(b"alice:s3cret").decode()
            request = (
                "GET /metrics HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: Basic {credentials}\r\nConnection: close\r\n\r\n"
            )
            client.sendall(request.encode())
            said = b"".join(iter(lambda: client.recv(65_536), b"")).decode()
        assert said.startswith("HTTP/1.1 200 OK")
        shown = places(controller) | {"scrape": said}
    assert_nowhere(hashed, shown)
    assert_nowhere("s3cret", shown)
