"""The scenario `quiet`: nothing changes, so nothing may be written except renewals of the session and the checks.

Writes are counted in three independent ways: by Podpulse's metrics, by Consul's own telemetry (requests, and what
Consul applied from its log of writes), and by every ModifyIndex that a reader can see.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tests.bench import podpulse
from tests.bench.measure import Say, Work, wait_until_ready
from tests.bench.podpulse import Podpulse
from tests.bench.report import Reach, Report, reached
from tests.bench.targets import NODE, Targets
from tests.support.consul import Agent

LISTINGS = frozenset(("agent_checks", "agent_services", "list_keys", "list_manifests", "list_pairs"))
READS = LISTINGS | {"agent_node", "get", "is_absent", "leader", "node_address", "read_transaction"}
RENEWALS = frozenset(("session_renew", "update_check"))
"""Operations of podpulse that renew a session, or a check by its TTL."""
KEEPING = ("PUT_v1_session_renew", "PUT_v1_agent_check_update", "PUT_v1_txn")
"""Requests that are permitted: renewals and transactions. Transactions also read; those that write count in
`WRITTEN`."""
REQUEST = re.compile(r"consul_http_((?:PUT|POST|DELETE)_\w+?)_*_count")
WRITTEN = ("kvs", "txn", "session", "register", "deregister")
"""What Consul applies to its state, without what it writes by itself, such as the nodes' coordinates."""


@dataclass(frozen=True, slots=True)
class Look:
    """All counters and indexes at one moment."""

    asked: Mapping[str, float]
    changing: float
    written: float
    indexes: Mapping[str, Mapping[str, int]]

    @classmethod
    def at(cls, prober: Podpulse) -> "Look":
        telemetry = prober.telemetry()
        changing = (
            telemetry.sum(name)
            for name in telemetry.names()
            if (found := REQUEST.fullmatch(name)) and not found[1].startswith(KEEPING)
        )
        written = sum(telemetry.sum(f"consul_fsm_{kind}_count") for kind in WRITTEN)
        indexes = {what: read(prober.consul) for what, read in INDEXES.items()}
        return cls(prober.asked(), sum(changing), written, indexes)


def _keys(consul: Agent) -> Mapping[str, int]:
    return {key: entry["ModifyIndex"] for key, entry in consul.entries().items()}


def _checks(consul: Agent) -> Mapping[str, int]:
    checks = consul.request("GET", f"health/node/{NODE}", timeout=30.0).json()
    return {check["CheckID"]: check["ModifyIndex"] for check in checks}


def _services(consul: Agent) -> Mapping[str, int]:
    services = consul.request("GET", f"catalog/node/{NODE}", timeout=30.0).json()["Services"]
    return {name: service["ModifyIndex"] for name, service in services.items()}


def _sessions(consul: Agent) -> Mapping[str, int]:
    return {name: session["ModifyIndex"] for name, session in consul.sessions().items()}


INDEXES: Mapping[str, Callable[[Agent], Mapping[str, int]]] = {
    "keys": _keys,
    "checks": _checks,
    "services": _services,
    "sessions": _sessions,
}


def run(work: Work, say: Say) -> Report:
    """Health is published in both places, unless the configuration names the places."""
    work = replace(work, options={"publish": ["kv", "agent"], **work.options})
    with Targets(work.checks, work.scheme) as targets, podpulse.running(targets, work.interval, work.options) as prober:
        prober.write(targets.ports)
        wait_until_ready(prober, targets, work)
        time.sleep(2 * work.interval)
        say(f"all {work.checks} pods are published; watching for {work.seconds:g} s")
        before = Look.at(prober)
        time.sleep(work.seconds)
        after = Look.at(prober)
    title = f"{work.checks} {work.scheme} checks and no change for {work.seconds:g} s, published to "
    return reached(title + " and ".join(work.options["publish"]), work.as_json("quiet"), _reaches(before, after))


def _reaches(before: Look, after: Look) -> list[Reach]:
    asked = {name: count - before.asked.get(name, 0) for name, count in sorted(after.asked.items())}
    others = sum(count for name, count in asked.items() if name not in READS | RENEWALS)
    return [
        Reach("writes but renewals, by podpulse's count", others, "requests", 0),
        Reach(
            "PUT, POST, DELETE but renewals and transactions, by Consul's count",
            after.changing - before.changing,
            "requests",
            0,
        ),
        Reach("writes that Consul applied to its state", after.written - before.written, "", 0),
        *(Reach(f"{what} that moved", _moved(before, after, what), "", 0) for what in INDEXES),
        *(Reach(f"requests: {name}", count, "") for name, count in asked.items() if count),
    ]


def _moved(before: Look, after: Look, what: str) -> int:
    """How many are there no more, are new, or were written."""
    return len(before.indexes[what].items() ^ after.indexes[what].items())
