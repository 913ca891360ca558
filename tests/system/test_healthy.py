"""`podpulse healthy` requests the page at each listen address, over TLS, with passwords, and in a container."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.controller import COMMAND, Controller, environment, podpulse
from tests.support.fake_http import FakeServer, Reply
from tests.support.net import Certificates, free_ports, until
from tests.support.sandbox import needs_a_namespace

HASH = "$2b$04$AlyDpZtZYZeQx3rX2sGe0e1/F9o9JH2wWVLVUBmJgTrCwtcjTn0ZW"


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "pods").mkdir()
    return {"intent_dir": str(tmp_path / "pods"), "health_dir": str(tmp_path / "health")}


def web(folder: Path, *, tls: bool = False, passwords: bool = False, clients: bool = False) -> dict[str, str]:
    """Returns the option with a web configuration file."""
    files = Certificates.issue(folder / "tls")
    lines = [f"basic_auth_users: {{alice: {HASH}}}"] if passwords else []
    if tls:
        client = f", client_auth_type: RequireAndVerifyClientCert, client_ca_file: {files.ca}" if clients else ""
        lines.append(f"tls_server_config: {{cert_file: {files.cert}, key_file: {files.key}{client}}}")
    (folder / "web.yml").write_text("\n".join(lines))
    return {"web_config_file": str(folder / "web.yml")}


def asked(controller: Controller, port: int, listen: str, *more: object) -> subprocess.CompletedProcess[str]:
    """Runs the verb with the configuration and the actual port."""
    file = controller.folder / "asked.yaml"
    file.write_text(controller.config_file.read_text().replace(listen, listen.replace(":0", f":{port}")))
    return podpulse("healthy", "--config", file, *more, check=False)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:0", "127.0.0.2:0"])
def test_it_requests_the_configured_address(options: dict[str, Any], listen: str) -> None:
    with Controller(listen=listen, ready=False, **options) as controller:
        done = asked(controller, controller.port, listen)
        assert (done.returncode, done.stdout, done.stderr) == (0, "healthy\n", "")


@pytest.mark.parametrize("how", [{"tls": True}, {"passwords": True}, {"tls": True, "passwords": True}], ids=str)
def test_it_uses_tls_and_needs_no_password(options: dict[str, Any], tmp_path: Path, how: dict[str, bool]) -> None:
    (port,) = free_ports(1)
    listen = f"127.0.0.1:{port}"
    with Controller(listen=listen, ready=False, **options | web(tmp_path, **how)) as controller:
        done = podpulse("healthy", "--config", controller.config_file, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "healthy\n", "")


def test_it_sends_its_client_certificate_if_one_is_required(options: dict[str, Any], tmp_path: Path) -> None:
    (port,) = free_ports(1)
    more = web(tmp_path, tls=True, clients=True)
    with Controller(listen=f"127.0.0.1:{port}", ready=False, **options | more) as controller:
        config, folder = controller.config_file, tmp_path / "tls"
        done = podpulse("healthy", "--config", config, check=False)
        assert (done.returncode, "expected --client-cert" in done.stderr) == (1, True)
        pair = ("--client-cert", folder / "client.pem", "--client-key", folder / "client-key.pem")
        assert podpulse("healthy", "--config", config, *pair).stdout == "healthy\n"


def test_a_stopped_or_frozen_controller_is_not_healthy(options: dict[str, Any]) -> None:
    (port,) = free_ports(1)
    with Controller(listen=f"127.0.0.1:{port}", **options) as controller:
        controller.pause()
        done = podpulse("healthy", "--config", controller.config_file, check=False)
        assert (done.returncode, "no controller answers at http://127.0.0.1" in done.stderr) == (1, True)
        controller.resume()
        controller.terminate(within=30.0)
        done = podpulse("healthy", "--config", controller.config_file, check=False)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(503, b"thread probe has stood still\x1b[2J for 12 s\n"), "answered 503: thread probe has stood still"),
        (Reply(200, bytes(100_000)), "answered with more than 65536 bytes"),
        (Reply(421, b"elsewhere\n"), "answered 421: elsewhere"),
    ],
    ids=["unhealthy", "no end", "somebody else"],
)
def test_an_answer_other_than_ok_is_reported_in_one_line(tmp_path: Path, reply: Reply, said: str) -> None:
    with FakeServer(lambda _: reply) as server:
        (tmp_path / "config.yaml").write_text(f"listen: {server.address.removeprefix('http://')}\n")
        done = podpulse("healthy", "--config", tmp_path / "config.yaml", check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert said in done.stderr
    assert "\x1b" not in done.stderr


def test_a_configuration_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("listen: nowhere\n")
    done = podpulse("healthy", "--config", tmp_path / "config.yaml", check=False)
    assert (done.returncode, "listen: expected" in done.stderr) == (1, True)


@pytest.fixture
def container(tmp_path: Path, options: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """A controller as process 1 of a namespace, with options on the command line: its process id and port."""
    (port,) = free_ports(1)
    folders = ["--intent-dir", options["intent_dir"], "--health-dir", options["health_dir"]]
    run = [*COMMAND, "run", *folders, "--listen", f"127.0.0.1:{port}"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *run], env=environment(), stderr=log
        )
    try:
        until(lambda: "page and metrics" in (tmp_path / "log").read_text(), 30)
        yield int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()), port
    finally:
        process.kill()
        process.wait()


@needs_a_namespace
def test_in_a_container_it_uses_the_arguments_of_process_1(container: tuple[int, int]) -> None:
    inside = ["nsenter", "-t", str(container[0]), "-p", "-m", *COMMAND, "healthy"]
    done = subprocess.run(inside, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "healthy\n", "")
