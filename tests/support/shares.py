"""What Consul has of a fleet: registered members, published records and who holds them."""

from collections.abc import Collection

from controller.consul.client import AgentCheck, ConsulClient
from controller.consul.registration import controller_service
from reconcilers.health import HealthState
from reconcilers.keys import health_key
from reconcilers.record import HealthRecord, timestamp
from reconcilers.share import FleetView
from reconcilers.spec import PodKey
from tests.support.consul import Agent

STARTED = 1_790_000_000.0


def register(client: ConsulClient, member: str, status: str = "passing", output: str = "ok", **meta: str) -> None:
    """Registers a controller of fleet `f` with the status of its check. The agent writes an output to the catalog at
    once only if the status changes too."""
    more = {"fleet": "f", "member": member, "started": timestamp(STARTED), **meta}
    service = controller_service(member, "1.2.3", "http", "127.0.0.1", 9815, more)
    first = "warning" if status == "critical" else "critical"
    client.register_service(service, AgentCheck(service.id, service.id, "Podpulse", "", first), 60.0)
    assert client.update_check(service.id, status, output)


def enrol(client: ConsulClient, node: str, port: int) -> None:
    """Registers the controller of a node, whose page is at this port."""
    service = controller_service(node, "1", "http", "127.0.0.1", port)
    client.register_service(service, AgentCheck(service.id, service.id, "Podpulse", "", "passing"), 60.0)


def publish(consul: Agent, node: str, pod: str, status: HealthState = HealthState.PASSING) -> None:
    record = HealthRecord(PodKey(node, pod), status, detail=f"{pod} says so", since=STARTED, last_probe=STARTED)
    consul.put(f"health/{pod}/{node}", record.encode(STARTED))


def session_of_controller(consul: Agent, name: str) -> str:
    """The last live session of the controller of this node, or of the member with this id; "" if there is none."""
    found = [number for number, session in consul.sessions().items() if f":{name}:" in session["Name"]]
    return found[-1] if found else ""


def is_held_as_shared(consul: Agent, pods: Collection[PodKey], *members: str) -> bool:
    """Whether the keys of all pods are held by the owners that a fleet of these members has."""
    view = FleetView(1, tuple(sorted(members)))
    sessions = {name: session_of_controller(consul, name) for name in members}
    entries = consul.entries("health/")
    holders = {key: str(entries.get(health_key(key), {}).get("Session", "")) for key in pods}
    return "" not in sessions.values() and holders == {key: sessions[view.owner(key.node) or ""] for key in pods}
