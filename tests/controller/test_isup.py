"""isup, as a process of its own, asked over real connections."""

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.net import free_ports, until
from tests.support.terminal import Running


@contextmanager
def isup(*arguments: object) -> Iterator[int]:
    """Its port, once it listens."""
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "controller", "isup", "--host", "127.0.0.1", "--port", str(port)]
    environ = os.environ | {"PYTHONWARNINGS": "error", "ISUP_TEST": "grün"}
    with subprocess.Popen([*command, *map(str, arguments)], env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: is_open(port) or process.poll() is not None, 30, "isup listens")
            yield port
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
