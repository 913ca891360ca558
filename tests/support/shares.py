"""What Consul has of a fleet without a running controller: registered members and published records."""

from controller.consul.client import AgentCheck, ConsulClient
from controller.consul.registration import controller_service
from reconcilers.health import HealthState
from reconcilers.record import HealthRecord, timestamp
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


def publish(consul: Agent, node: str, pod: str, status: HealthState = HealthState.PASSING) -> None:
    record = HealthRecord(PodKey(node, pod), status, detail=f"{pod} says so", since=STARTED, last_probe=STARTED)
    consul.put(f"health/{pod}/{node}", record.encode(STARTED))
