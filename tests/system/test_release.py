"""An operator who knows that a mass removal is intended can release it."""

from pathlib import Path

from tests.support import sandbox
from tests.support.consul import Agent
from tests.support.controller import podpulse
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.system.conftest import Launch


def test_held_removals_are_done_when_an_operator_releases_them(consul: Agent, launch: Launch, fleet: Fleet) -> None:
    pods = [f"pod-{number}" for number in range(20)]
    fleet.schedule(*pods)
    controller = launch(consul)
    until(lambda: fleet.are("passing", pods))
    fleet.unschedule_at_once(*pods)
    until(lambda: controller.metrics().sum("podpulse_removals_held") == 20, what="all of them are held")
    assert "the removal of 20 pods is held: 20 of 20 pods gone at once" in controller.get("/").text
    told = podpulse("release-removals", "--config", controller.config_file).stdout
    assert told == f"sent SIGUSR1 to process {controller.pid}: it releases the removals that the fuse holds\n"
    until(lambda: not consul.entries("health/"), 20.0, "they are gone long before the minute is over")
    assert "released: 20 pods" in controller.log
    assert controller.metrics().sum("podpulse_removals_held") == 0
    assert controller.terminate() == 0
    refused = podpulse("release-removals", "--config", controller.config_file, check=False)
    assert (refused.returncode, "no controller of node web1 runs here" in refused.stderr) == (1, True)


CONTAINER = """
mkdir pods
release() { podpulse release-removals --node web1 --state-dir "$PWD/health/.state"; }
await() { until [ -e $1 ]; do sleep 0.1; done; }
export -f release await
sleep 60 & # the last to be ended: the others end by themselves
unshare --pid --fork --kill-child --mount-proc bash -c '
    (await tell; release >told 2>&1; mv told inside.log; await end; kill 1) &
    exec podpulse run --node web1 --intent-dir pods --health-dir health 2>podpulse.log
' &
until curl -fs http://127.0.0.1:9815/-/ready; do sleep 0.1; done
if release 2>outside.log; then exit 3; fi
touch tell
await inside.log
until grep released: podpulse.log; do sleep 0.1; done
touch end
wait $!
"""
UNIT = """
unshare --mount bash -euc '
    mount -t proc proc /proc
    mount -t tmpfs tmpfs /var/lib
    STATE_DIRECTORY=/var/lib/podpulse podpulse run --node web1 2>podpulse.log &
    until curl -fs http://127.0.0.1:9815/-/healthy; do sleep 0.1; done
    if podpulse release-removals --node web2 2>other.log; then exit 3; fi
    podpulse release-removals --node web1 >told.log
    wait
' &
until grep -s releases told.log; do sleep 0.1; done
"""


@sandbox.needs_a_namespace
class TestWhereItRuns:
    def test_in_a_container_the_first_process_is_told_and_outside_nobody_of_that_number(self, tmp_path: Path) -> None:
        sandbox.run(CONTAINER, tmp_path, [])
        told = (tmp_path / "inside.log").read_text()
        assert told == "sent SIGUSR1 to process 1: it releases the removals that the fuse holds\n"
        assert "Error: " in (tmp_path / "outside.log").read_text()

    def test_the_state_of_the_unit_is_found_without_being_named(self, tmp_path: Path) -> None:
        assert "releases the removals that the fuse holds" in sandbox.run(UNIT, tmp_path, [])
        own = f"{tmp_path}/.local/state/podpulse"
        refused = "no controller of node web2 runs here with its state in"
        assert f"{refused} {own} or /var/lib/podpulse;" in (tmp_path / "other.log").read_text()
