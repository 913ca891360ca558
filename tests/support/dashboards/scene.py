"""A site for the pictures: a node with pods of all kinds, a fleet of two members, and a controller that is down."""

import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from tests.support.authority import Authority
from tests.support.consul import Agent
from tests.support.controller import Controller, manifest
from tests.support.fleet import Fleet
from tests.support.net import free_ports
from tests.support.prometheus import Prometheus
from tests.support.rules import FOLDER, hasty
from tests.support.targets import Target, answer, by_turns, slow

ROOT = Path(__file__).parents[3]
NODE, MEMBERS, GONE = "node1", ("member1", "member2"), "node9"
NODES_OF_FLEET = tuple(f"node{number}" for number in range(2, 9))
POD = "accounts"
"""The pod of `NODE` whose dashboard is shown: it has TLS, and fails and flaps for a while."""
SECONDS = 210
RESTART_AT, BREAK_AT, CHANGE_AT = 110, 70, 150
FAULTS = {503: answer(503), 500: answer(500)}


@contextmanager
def scene(seconds: int = SECONDS) -> Iterator[Prometheus]:
    """A Prometheus that has seen so many seconds of it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podpulse-dashboards-")))
        found = subprocess.run([ROOT / "deploy" / "get-consul"], stdout=subprocess.PIPE, check=True, text=True)
        consuls = [stack.enter_context(Agent(Path(found.stdout.strip()))) for _ in range(2)]
        target, secure = stack.enter_context(Target()), _secure(stack, folder)
        node = Fleet(consuls[0], target, NODE)
        _schedule(node, target, secure)
        for name in NODES_OF_FLEET:
            Fleet(consuls[1], target, name).schedule("gateway", "shop-api", "shop-web", "worker")
        bundle = str(folder / "tls" / "ca.pem")
        controllers = [
            stack.enter_context(_controller(consul, name, port, bundle))
            for consul, name, port in zip((*consuls, consuls[1]), (NODE, *MEMBERS), free_ports(3), strict=True)
        ]
        server = Prometheus(_prometheus(), config=_configuration(controllers), rules=hasty(folder), interval=2.0)
        prometheus = stack.enter_context(server)
        _play(seconds, controllers[0], node, target, secure)
        yield prometheus


def _prometheus() -> Path:
    return Path(shutil.which("prometheus") or ROOT / ".cache" / "prometheus" / "usr" / "bin" / "prometheus")


def _controller(consul: Agent, name: str, port: int, bundle: str) -> Controller:
    more: dict[str, Any] = {
        "consul": {"address": consul.address},
        "node_name": name,
        "listen": f"127.0.0.1:{port}",
        "ca_file": bundle,
        "defaults": {"interval": "2s", "timeout": "1s"},
        "damping": {"changes": 4, "refill": "15s", "quiet": "40s"},
    }
    if name in MEMBERS:
        more["fleet"] = "shop"
    return Controller(ready=False, **more)


def _secure(stack: ExitStack, folder: Path) -> dict[str, Target]:
    """Targets with certificates that expire sooner and later."""
    authority = Authority(folder / "tls")
    days = {"mailer": 5, "accounts": 62, "ledger": 1}
    return {
        pod: stack.enter_context(Target(authority.server(NODE, not_after=datetime.now(UTC) + timedelta(days=left))))
        for pod, left in days.items()
    }


def _configuration(controllers: list[Controller]) -> dict[str, object]:
    config = yaml.safe_load((FOLDER / "prometheus.static.yml").read_text())
    (job,) = config["scrape_configs"]
    (gone,) = free_ports(1)
    ports = {str(one.options["node_name"]): one.port for one in controllers} | {GONE: gone}
    job["static_configs"] = [
        {
            "targets": [f"127.0.0.1:{port}"],
            "labels": {"node": name, "instance": f"{name}:9815"} | ({"fleet": "shop"} if name in MEMBERS else {}),
        }
        for name, port in ports.items()
    ]
    return {"scrape_configs": [job]}


def _schedule(node: Fleet, target: Target, secure: dict[str, Target]) -> None:
    node.schedule("billing-api", "checkout", "search", "sessions", "reports")
    node.write("catalog", manifest("catalog", target.port, "/catalog", warn_status=429))
    node.write("admin", manifest("admin", 8500))
    node.write("nightly-report", manifest("nightly-report", target.port, paused=True))
    node.write("thumbnails", b"id: thumbnails\nstatus_port: 99999\n")
    for pod, one in secure.items():
        node.write(pod, manifest(pod, one.port, f"/{pod}", https=True))


def _play(seconds: int, controller: Controller, node: Fleet, target: Target, secure: dict[str, Target]) -> None:
    """What happens, second by second."""
    clock = threading.Event()
    target.behave(answer(429), "/catalog")
    target.behave(by_turns(answer(), answer(503)), "/sessions")
    for second in range(seconds):
        for number, pod in enumerate(("billing-api", "gateway", "shop-api", "shop-web", "worker", "search")):
            target.behave(slow(0.002 + 0.004 * ((second // 5 * 7 + number * 3) % 11)), f"/{pod}")
        target.behave(slow(0.3 + 0.001 * second), "/search")
        is_failing = BREAK_AT <= second < BREAK_AT + 40
        secure[POD].behave(FAULTS[503] if is_failing else slow(0.01 + 0.002 * (second // 7 % 5)), f"/{POD}")
        match second:
            case 50:
                target.behave(answer(500), "/checkout")
            case 130:
                node.write("reports", b"id: [")
            case _ if second == RESTART_AT:
                controller.terminate()
                controller.start()
            case _ if second == CHANGE_AT:
                node.schedule("invoices")
        clock.wait(1.0)
