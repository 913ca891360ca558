"""isup, as a process of its own, asked over real connections."""

import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click
import pytest
import yaml

from controller.cli import isup as isup_module
from controller.cli import main
from controller.cli.isup import isup_command
from tests.conftest import ROOT
from tests.faults.procfs import links
from tests.support.authority import Authority
from tests.support.net import free_ports, until
from tests.support.terminal import Running

SECRETS = {
    "CONSUL_HTTP_TOKEN": "s-token",
    "AWS_SECRET_ACCESS_KEY": "s-aws",
    "PGPASSWORD": "s-pg",
    "db_pwd": "s-db",
    "GITHUB_AUTH": "s-auth",
    "DATABASE_URL": "postgres://me:s-url@db/shop",
}
EMPTY_ENVIRONMENT = re.compile(r'env -i PATH="\$PATH"')


@contextmanager
def isup(*arguments: object) -> Iterator[int]:
    """Yields the port of isup, once it listens."""
    with running_isup(*arguments) as (port, _):
        yield port


@contextmanager
def running_isup(*arguments: object) -> Iterator[tuple[int, int]]:
    """Yields the port and the process id of isup, once it listens."""
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "controller", "isup", "--port", str(port)]
    environ = os.environ | {"PYTHONWARNINGS": "error", "ISUP_TEST": "grün", **SECRETS}
    with subprocess.Popen([*command, *map(str, arguments)], env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: is_open(port) or process.poll() is not None, 30, "isup listens")
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=10)
    assert (process.returncode, said) == (0, "")


def is_open(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def ask(connection: http.client.HTTPConnection, method: str, path: str) -> tuple[int, str]:
    connection.request(method, path)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with isup("I am", "healthy") as port:
        yield port


def plain(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=10)


def test_status_is_answered_with_arguments_and_environment_one_a_line(port: int) -> None:
    status, text = ask(plain(port), "GET", "/_status")
    lines = text.splitlines()
    assert (status, lines[:2]) == (200, ["I am", "healthy"])
    assert "ISUP_TEST=grün" in lines
    assert text.endswith("\n")


def test_values_of_variables_that_look_like_secrets_are_masked(port: int) -> None:
    _, text = ask(plain(port), "GET", "/_status")
    assert {f"{name}={isup_module.MASK}" for name in SECRETS} <= set(text.splitlines())
    assert not any(secret in text for secret in SECRETS.values())
    assert f"PATH={os.environ['PATH']}" in text.splitlines()


def test_secrets_are_shown_to_who_asks_for_the_whole_environment() -> None:
    with isup("--env", "hello") as port:
        assert {f"{name}={value}" for name, value in SECRETS.items()} <= set(
            ask(plain(port), "GET", "/_status")[1].splitlines()
        )


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("PWD", "/home/me", False),
        ("OLDPWD", "/home/me", False),
        ("MYSQL_PWD", "x", True),
        ("api_key", "x", True),
        ("GITHUB_PAT", "x", True),
        ("AZURE_STORAGE_CONNECTION_STRING", "x", True),
        ("SERVICE_JWT", "x", True),
        ("PATH", "/usr/bin", False),
        ("COMPAT", "1", False),
        ("SSH_AUTH_SOCK", "/run/agent", True),
        ("CONSUL_HTTP_ADDR", "http://consul:8500", False),
        ("HTTP_PROXY", "http://me:x@proxy:3128", True),
        ("HOME", "/home/me", False),
    ],
)
def test_a_secret_is_known_by_its_name_or_by_a_user_in_a_url(name: str, value: str, *, secret: bool) -> None:
    assert isup_module.masked(name, value) == (isup_module.MASK if secret else value)


def test_it_listens_on_loopback_unless_told_otherwise() -> None:
    with running_isup() as (port, pid):
        sockets = set(links(pid).values())
        rows = [
            line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()
        ]
    listening = [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]
    assert listening == [f"0100007F:{port:04X}"]


@pytest.mark.parametrize("command", [isup_command, main], ids=["isup", "podpulse"])
def test_help_starts_it_with_an_empty_environment(command: click.Command) -> None:
    lines = [line for line in (command.help or "").splitlines() if "podpulse isup" in line]
    assert lines
    assert all(EMPTY_ENVIRONMENT.search(line) for line in lines)


@pytest.mark.parametrize("place", ["README.md", "tests/system/test_readme.py"])
def test_every_document_starts_it_with_an_empty_environment(place: str) -> None:
    lines = [line for line in (ROOT / place).read_text().splitlines() if "podpulse isup --" in line]
    assert lines
    assert all(EMPTY_ENVIRONMENT.match(line) for line in lines)


def test_demo_and_compose_file_start_it_with_an_empty_environment() -> None:
    assert EMPTY_ENVIRONMENT.search(
        next(line for line in (ROOT / "deploy/demo").read_text().splitlines() if "start isup" in line)
    )
    service = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]["isup"]
    assert service["entrypoint"][:2] == ["env", "-i"]


def test_head_has_no_body_and_other_paths_are_not_found(port: int) -> None:
    assert ask(plain(port), "HEAD", "/_status") == (200, "")
    assert ask(plain(port), "GET", "/") == (404, "")
    assert ask(plain(port), "POST", "/_status")[0] == 501


def test_a_client_that_says_nothing_holds_up_no_other(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10):
        assert ask(plain(port), "GET", "/_status")[0] == 200


def test_over_https_a_client_that_does_not_shake_hands_holds_up_no_other(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.files()
    context = ssl.create_default_context(cafile=str(authority.file))
    with isup("--cert", cert, "--key", key, "hello") as port, socket.create_connection(("127.0.0.1", port), 10):
        connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=context)
        status, text = ask(connection, "GET", "/_status")
        assert (status, text.splitlines()[0]) == (200, "hello")


def test_ctrl_c_is_an_ordinary_end() -> None:
    port = free_ports(1)[0]
    with Running("isup", "--host", "127.0.0.1", "--port", port) as running:
        until(lambda: is_open(port), 30.0)
        assert (running.interrupt(), running.err) == (0, "")
