"""Two controllers of one node with separate state folders, so that neither finds the lock of the other."""

from tests.support.consul import Agent
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.system.conftest import Launch

PODS = [f"pod{number}" for number in range(48)]
HOLDS = "lock is already held by session"


def test_the_second_controller_reports_the_first_once_is_not_ready_and_does_not_register(
    consul: Agent, launch: Launch, fleet: Fleet
) -> None:
    fleet.schedule(*PODS)
    first = launch(consul)
    until(lambda: fleet.are("passing", PODS))
    until(lambda: "podpulse-web1" in consul.request("GET", "agent/services").json())
    (session,) = consul.sessions()
    second = launch(consul, ready=False)
    page = f"http://127.0.0.1:{first.port}"
    until(lambda: HOLDS in second.get("/-/ready").text)
    ready = second.get("/-/ready")
    assert ready.status == 503
    assert f"{HOLDS} {session}" in ready.text
    assert page in ready.text
    until(lambda: second.metrics().sum("controller_runtime_reconcile_errors_total") >= 2 * len(PODS))
    warnings = [line for line in second.log.splitlines() if "WARNING" in line and (HOLDS in line or page in line)]
    assert len(warnings) <= 2, "who holds the keys, and why it does not register"
    assert consul.request("GET", "agent/services").json()["podpulse-web1"]["Port"] == first.port
    assert first.get("/-/ready").status == 200
    assert fleet.are("passing", PODS)
    first.kill()
    consul.destroy_session(session)
    second.wait_ready()
    until(lambda: fleet.are("passing", PODS))
