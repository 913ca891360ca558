"""Situations of an operator, with real controllers, Consul and Prometheus: the text of the alert names the cause.

The situations and the texts are those of the table in deploy/operations.md. The rules are the delivered ones, with
shorter waiting times.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.support import targets
from tests.support.authority import Authority, self_signed
from tests.support.consul import Agent
from tests.support.controller import Controller, manifest
from tests.support.documents import OPERATIONS, sections
from tests.support.fleet import Fleet
from tests.support.health_server import HealthServer, healthy
from tests.support.net import free_ports, until
from tests.support.prometheus import Prometheus
from tests.support.rules import ALERTS, FOLDER, hastened, shortened
from tests.support.targets import Behaviour, Target, answer, by_turns

FACTOR = 30
"""A minute of the rules takes two seconds."""
FACTORS = {"PodpulsePodPaused": 14_400, "PodpulseCertificateExpiring": 360}
WITHIN = 120.0
DEFAULTS = {"interval": "2s", "timeout": "1s"}
PATIENT = {"interval": "3s", "timeout": "3s", "failure_threshold": 3}
"""Defaults of checks that pass all the time, also while the machine stands still."""
NAMELESS = "no-such-node-" + "x" * 64
"""A name that is too long for DNS. It does not exist, whatever the resolver of the machine says."""
POLICY = """
key_prefix "" { policy = "write" } session_prefix "" { policy = "write" } node_prefix "" { policy = "read" }
service_prefix "" { policy = "write" } agent_prefix "" { policy = "read" }
"""
OLD = [f"old-{number}" for number in range(12)]
RUNNING = [f"pod-{number}" for number in range(12)]


def of(pod: str, node: str = "web1") -> Mapping[str, str]:
    return {"node": node, "pod": pod}


SITUATIONS: Mapping[str, Mapping[str, str]] = {
    "nothing listens on the port of a pod": of("refused"),
    "a pod does not answer": of("hangs"),
    "a pod answers with an error": of("error"),
    "a pod answers with the wrong content": of("content"),
    "a pod redirects": of("redirects"),
    "a pod closes the connection at once": of("closes"),
    "a pod resets the connection": of("resets"),
    "another protocol answers on the port": of("smtp"),
    "a port without TLS is probed with TLS": of("plain"),
    "the certificate of a pod has expired": of("expired"),
    "the certificate of a pod is from an unknown authority": of("untrusted"),
    "the certificate of a pod is for another name": of("misnamed"),
    "the name of a node is not known": of("any", NAMELESS),
    "a gRPC service is not well": of("grpc"),
    "a pod must not be probed": of("denied"),
    "a pod answers beyond a limit of its manifest": of("busy"),
    "a certificate ends in a week": of("soon"),
    "a certificate ends in two days": of("sooner"),
    "a manifest is wrong, and an older version is in force": of("older"),
    "a manifest is wrong, and there is no older version": of("wrong"),
    "a pod was paused and forgotten": of("paused"),
    "a pod flaps": of("flaps"),
    "Consul hangs": {"node": "web2"},
    "Consul is gone": {"node": "web2"},
    "Consul has restarted empty": {"node": "web2"},
    "the token was revoked": {"node": "web2"},
    "a controller is frozen": {"node": NAMELESS},
    "many pods are removed at once": {"node": "web1"},
    "a member of a fleet is lost": {"fleet": "f"},
}
"""The labels of the alert in each situation."""
DEAD = {"a controller is frozen"}
"""The situations in which no page answers."""
ALSO = {("PodpulseControllerDown", "m2", ""), ("PodpulsePublicationFailing", "web2", "")}
"""Alerts that a situation has in addition, and that name the same cause: node and pod."""

BUSY = {"PodpulseOverloaded", "PodpulseProbesLate", "PodpulseProbesSkipped"}
"""Alerts that are right on a busy machine."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: the alert, and the parts of its text, in which `…` stands for anything."""

    alert: str
    texts: Sequence[str]

    def is_met_by(self, text: str) -> bool:
        patterns = (re.escape(each).replace("…", ".+") for each in self.texts)
        return all(re.search(pattern, text) for pattern in patterns)


def table() -> Mapping[str, Row]:
    lines = re.findall(r"^\| (.+) \|$", sections(OPERATIONS)["situations-and-their-alerts"], re.MULTILINE)
    cells = [line.split(" | ") for line in lines[1:]]
    assert {len(each) for each in cells} == {4}
    return {name: Row(re.findall(r"\[(\w+)\]", seen)[0], re.findall(r'"(.+?)"', seen)) for name, seen, *_ in cells}


def test_the_table_has_a_row_for_each_situation() -> None:
    rows = table()
    assert list(rows) == list(SITUATIONS)
    assert [name for name, row in rows.items() if not row.texts or row.alert not in ALERTS] == []


def test_only_durations_are_shortened() -> None:
    rule = 'node:late:ratio_rate5m > 3 * 86400 and x{le="0.5"}[3d:1h] offset 6m'
    assert shortened(rule, 60) == 'node:late:ratio_rate5m > 3 * 86400 and x{le="0.5"}[4320000ms:60000ms] offset 6000ms'


class Drill:
    """Looks at the alerts, and remembers the situations whose alert has fired with the text of the table."""

    def __init__(self, prometheus: Prometheus) -> None:
        self.prometheus = prometheus
        self.left = dict(table())
        self._texts: dict[str, str] = {}

    def wait(self, condition: Callable[[], object]) -> None:
        """Waits until the condition is true. All situations are looked for meanwhile."""

        def is_met() -> bool:
            self.look()
            return bool(condition())

        until(is_met, WITHIN)

    def expect(self, *situations: str) -> None:
        try:
            self.wait(lambda: not self.left.keys() & set(situations))
        except AssertionError:
            missing = self.left.keys() & set(situations)
            raise AssertionError({name: (self.left[name], self._texts.get(name)) for name in missing}) from None

    def look(self) -> None:
        firing = [alert for alert in self.prometheus.alerts() if alert["state"] == "firing"]
        for name, row in tuple(self.left.items()):
            for alert in firing:
                labels = alert["labels"]
                if labels["alertname"] == row.alert and SITUATIONS[name].items() <= labels.items():
                    said = alert["annotations"]
                    self._texts[name] = text = f"{said['summary']}. {said['description']}"
                    if row.is_met_by(text):
                        del self.left[name]
                        follow(said, row.alert, is_dead=name in DEAD)

    def firing(self) -> set[tuple[str, str, str]]:
        """The name, the node and the pod of each alert that fires now."""
        labels = [alert["labels"] for alert in self.prometheus.alerts() if alert["state"] == "firing"]
        return {(one["alertname"], one.get("node", ""), one.get("pod", "")) for one in labels}


def follow(said: Mapping[str, str], alert: str, *, is_dead: bool) -> None:
    """Opens the page that an alert leads to."""
    assert said["runbook_url"].endswith(f"#{alert.lower()}")
    if not is_dead:
        page = urlsplit(said["page_url"])
        connection = HTTPConnection(page.netloc, timeout=30)
        connection.request("GET", page.path)
        assert connection.getresponse().status == 200
        connection.close()


def ending(authority: Authority, days: float) -> Target:
    now = datetime.now(UTC)
    start = now - timedelta(days=30)
    return Target(authority.server("web1", not_before=start, not_after=now + timedelta(days=days)))


def schedule_all(pods: Fleet, target: Target, stack: ExitStack, authority: Authority) -> None:
    """The pods of web1, each of which is in another situation."""
    (closed,) = free_ports(1)
    behaviours: Mapping[str, Behaviour] = {
        "hangs": targets.hang,
        "error": answer(503),
        "content": answer(200, b"under construction"),
        "redirects": targets.redirect("/elsewhere"),
        "closes": targets.close,
        "resets": targets.reset,
        "smtp": targets.raw(b"220 mail.example ESMTP\r\n"),
        "busy": answer(429),
        "flaps": by_turns(answer(), answer(503)),
    }
    options: Mapping[str, Mapping[str, Any]] = {
        "content": {"expect_body": "all is well"},
        "busy": {"warn_status": 429},
        "flaps": {"interval": "1s"},
    }
    for pod, behaviour in behaviours.items():
        target.behave(behaviour, f"/{pod}")
        pods.write(pod, manifest(pod, target.port, f"/{pod}", **options.get(pod, {})))
    contexts = {
        "expired": ending(authority, -3),
        "soon": ending(authority, 7),
        "sooner": ending(authority, 2),
        "misnamed": Target(authority.server("other.example")),
        "untrusted": Target(self_signed()),
        "plain": Target(),
    }
    contexts["plain"].greeting = answer(400)
    for pod, server in contexts.items():
        pods.write(pod, manifest(pod, stack.enter_context(server).port, https=True))
    grpc = stack.enter_context(HealthServer(healthy()))
    pods.write("grpc", b"id: grpc\nstatus_port: %d\nstatus: {http: true, kind: grpc, service: bad}\n" % grpc.port)
    pods.write("refused", manifest("refused", closed))
    pods.write("denied", manifest("denied", 8500))
    pods.write("wrong", b"id: wrong\nstatus_port: none\n")
    pods.write("paused", manifest("paused", target.port, paused=True))
    pods.schedule("well", "older", *OLD)


def scraped(*controllers: Controller) -> Mapping[str, Any]:
    """The delivered configuration with these targets. Their label `instance` is the address of the page."""
    config: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.static.yml").read_text())
    config["scrape_configs"][0]["static_configs"] = [
        {
            "targets": [f"127.0.0.1:{one.port}"],
            "labels": {"node": one.options["node_name"]} | ({"fleet": "f"} if "fleet" in one.options else {}),
        }
        for one in controllers
    ]
    return {"scrape_configs": config["scrape_configs"]}


@pytest.fixture
def start(stack: ExitStack) -> Callable[..., Controller]:
    def start(agent: Agent, node: str, **options: Any) -> Controller:
        consul = {"address": agent.address} | options.pop("consul", {})
        return stack.enter_context(
            Controller(ready=False, node_name=node, consul=consul, **{"defaults": DEFAULTS, **options})
        )

    return start


@pytest.mark.slow
def test_the_text_of_the_alert_names_the_cause_in_each_situation(
    consul: Agent,
    acl_consul: Agent,
    start: Callable[..., Controller],
    target: Target,
    consul_binary: Path,
    prometheus_binary: Path,
    tmp_path: Path,
    stack: ExitStack,
) -> None:
    authority, token = Authority(tmp_path / "tls"), tmp_path / "token"
    pods, others = Fleet(consul, target), Fleet(acl_consul, target, "web2")
    schedule_all(pods, target, stack, authority)
    Fleet(consul, target, NAMELESS).schedule("any")
    for number in range(100):
        acl_consul.put("elsewhere", str(number))  # so that an empty Consul has a lower index
    others.schedule(*RUNNING)
    token.write_text(acl_consul.token)
    shared = stack.enter_context(Agent(consul_binary))
    web1 = start(consul, "web1", ca_file=str(authority.file), damping={"changes": 3})
    web2 = start(acl_consul, "web2", consul={"token_file": str(token)}, defaults=PATIENT)
    frozen = start(consul, NAMELESS, address="name")
    members = [start(shared, name, fleet="f") for name in ("m1", "m2")]
    rules = hastened(tmp_path, FACTOR, FACTORS)
    prometheus = stack.enter_context(
        Prometheus(prometheus_binary, config=scraped(web1, web2, frozen, *members), rules=rules, interval=1.0)
    )
    drill = Drill(prometheus)
    drill.wait(lambda: prometheus.value("min(podpulse_fleet_members) == 2"))
    drill.wait(lambda: set(OLD) | {"older"} <= web1.metrics().flagged("probe_success"))
    drill.wait(lambda: others.are("passing", RUNNING))

    acl_consul.pause()
    members[1].kill()
    pods.write("older", pods.manifest("older") + b"  interval: soon\n")
    pods.unschedule_at_once(*OLD)
    drill.expect("the name of a node is not known", "Consul hangs")
    frozen.pause()
    acl_consul.kill()
    drill.expect("Consul is gone")
    acl_consul.start()
    drill.expect("Consul has restarted empty")
    revoke(acl_consul, token, web2, drill)
    drill.expect(*SITUATIONS)

    allowed = ALSO | {
        (row.alert, labels.get("node", ""), labels.get("pod", ""))
        for row, labels in zip(table().values(), SITUATIONS.values(), strict=True)
    }
    drill.wait(lambda: {one for one in drill.firing() if one[0] not in BUSY} <= allowed)
    assert prometheus.query('count_over_time(ALERTS{alertstate="firing",node="web2",pod!=""}[1h])') == []
    assert [rule for rule in prometheus.rules() if rule["health"] == "err"] == []


def revoke(consul: Agent, file: Path, controller: Controller, drill: Drill) -> None:
    """Deletes the token of a controller, once the controller uses it."""
    token = consul.create_token(POLICY)

    def renewals() -> float:
        return controller.metrics().sum("podpulse_consul_requests_total", op="session_renew", outcome="ok")

    file.write_text(token)
    before = renewals()
    drill.wait(lambda: renewals() >= before + 2)
    consul.delete_token(token)
