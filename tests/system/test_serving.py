"""What the running process shows over HTTP, and how it ends when it cannot start."""

import re
import resource
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from controller.runtime.descriptors import SPARE
from tests.support.consul import Agent
from tests.support.controller import Controller, podpulse
from tests.support.documents import OPERATIONS, chapter
from tests.support.fleet import Fleet
from tests.support.net import free_ports, until
from tests.support.targets import Target, answer
from tests.system.conftest import Launch

ROOT = Path(__file__).parents[2]


def test_promtool_accepts_the_metrics_of_the_running_controller(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target, promtool: Path
) -> None:
    target.behave(answer(503), "/bad")
    fleet.schedule("good", "bad")
    fleet.write("broken", b"id: [")
    controller = launch(consul)
    until(lambda: len(fleet.statuses()) == 2)
    scrape = controller.get("/metrics")
    assert scrape.status == 200
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=scrape.text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_the_documentation_names_every_metric_of_the_running_controller_and_no_other(
    consul: Agent, launch: Launch
) -> None:
    named = set(re.findall(r"`((?:podpulse|probe)_[a-z_]+)", chapter(OPERATIONS, "Metrics")))
    complete = launch(consul, metrics="full", labels=["team"])
    controllers = [complete, launch(consul, ready=False, node_name="m1", fleet="f")]
    scrapes = [controller.get("/metrics").text for controller in controllers]
    assert named == set(re.findall(r"^# TYPE ((?:podpulse|probe)_\S+)", "".join(scrapes), re.MULTILINE))


def test_it_is_ready_only_when_manifests_were_read_and_a_session_is_held(consul: Agent, launch: Launch) -> None:
    consul.stop()
    controller = launch(consul, ready=False)
    until(lambda: "Consul has not answered since" in controller.get("/-/ready").text)
    assert controller.get("/-/ready").status == 503
    assert controller.get("/-/healthy").status == 200
    consul.start()
    controller.wait_ready()
    assert controller.get("/-/ready").text == "ok\n"


def test_with_a_consul_that_hangs_from_the_start_it_is_not_ready_but_healthy(consul: Agent, launch: Launch) -> None:
    consul.pause()
    controller = launch(consul, ready=False, publish="agent")
    assert controller.get("/-/ready").status == 503
    assert controller.get("/-/healthy").text == "ok\n"
    until(lambda: "; probes go on, services " in controller.get("/-/ready").text)
    consul.resume()
    controller.wait_ready()


def test_the_page_lists_pods_with_their_state_and_why(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target
) -> None:
    target.behave(answer(503, b"<b>no disk</b>"), "/bad")
    fleet.schedule("good", "bad")
    controller = launch(consul)
    until(lambda: len(fleet.statuses()) == 2)
    page = controller.get("/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.index(">bad<") < page.text.index(">good<"), "the worst comes first"
    assert "answered with status 503" in page.text
    assert "&lt;b&gt;no disk" in page.text


def test_a_second_controller_on_the_same_port_ends_with_an_error(consul: Agent, launch: Launch) -> None:
    first = launch(consul)
    second = podpulse(
        "run", "--node", "web2", "--consul", consul.address, "--listen", f"127.0.0.1:{first.port}", check=False
    )
    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {first.port}: Address already in use" in second.stderr
    assert "Traceback" not in second.stderr
    assert first.get("/-/ready").status == 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("defaults: {interval: soon}", "defaults.interval: expected a duration from 100ms to 1h, such as 500ms, 5s or"),
        ("defaults: {interval: soon}", "or 1m30s, got 'soon'"),
        ("defaults: {interval: 1s, timeout: 2s}", "timeout: expected at most the interval of 1s, got 2s"),
        ("listen: everywhere", "listen: expected HOST:PORT, or :PORT for every address, got 'everywhere'"),
        ("nodename: web1", "nodename: no such option"),
        ("tree: leaves", "tree: expected 'intent' or 'reality'"),
        ("ca_file: /nowhere/ca.pem", "ca_file: expected a readable file: No such file or directory"),
        ("intent_dir: /tmp", "intent_dir and health_dir: expected both"),
        ("[]", "expected a mapping of options"),
        ("a: [", "line 2, column 1"),
    ],
)
def test_a_bad_configuration_ends_the_start_with_file_field_and_what_was_expected(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "podpulse.yaml"
    file.write_text(f"{text}\n")
    ended = podpulse("run", "--config", file, check=False)
    assert ended.returncode == 1
    assert f"{file}: " in ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_page_is_there_where_a_fixed_port_was_asked_for(consul: Agent, launch: Launch) -> None:
    port = free_ports(1)[0]
    controller: Controller = launch(consul, listen=f"127.0.0.1:{port}")
    assert controller.port == port
    assert controller.get("/").status == 200


def test_silent_connections_do_not_affect_the_probes(
    consul: Agent, launch: Launch, fleet: Fleet, stack: ExitStack
) -> None:
    fleet.schedule("a", "b")
    controller = launch(consul, max_in_flight=32)
    until(lambda: fleet.are("passing", "ab"))
    resource.prlimit(controller.pid, resource.RLIMIT_NOFILE, (32 + SPARE, 32 + SPARE))
    for _ in range(3 * SPARE):
        stack.enter_context(socket.create_connection(("127.0.0.1", controller.port), timeout=10))
    for pod in "ab":
        fleet.wait_asked(pod, 5)
    probes = controller.metrics()
    assert probes.sum("podpulse_probes_total", result="success") > 10
    assert probes.sum("podpulse_probes_total", result="local") == 0
    assert len(list(Path(f"/proc/{controller.pid}/fd").iterdir())) < SPARE
