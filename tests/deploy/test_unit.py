"""The unit under a real systemd: hardened, given its token, watched and stopped."""

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.deploy.conftest import IMAGE
from tests.support.image import Builder
from tests.support.machine import Machine, cgroups
from tests.support.net import until

pytestmark = pytest.mark.xdist_group("the image")

UNIT = "podpulse.service"
TOKEN = "2b778dd9-f5f1-6f29-b4b4-9a5fa948757a"
ROTATED = "d38d43a2-b689-97e5-e35b-37d054d7f88a"
IMPATIENT = "[Service]\nWatchdogSec=2\nTimeoutAbortSec=2\nRestartSec=1\n"
ADD_SYSTEMD = "apt-get -q update; DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends systemd"


def install(root: Path) -> None:
    """Install the unit as its head says, with a token and a configuration; the watchdog made impatient for the test."""
    units, ours = root / "etc/systemd/system", root / "etc/podpulse"
    (units / f"{UNIT}.d").mkdir(parents=True, exist_ok=True)
    ours.mkdir(exist_ok=True)
    (units / UNIT).write_bytes((ROOT / "deploy" / "systemd" / UNIT).read_bytes())
    (units / f"{UNIT}.d" / "impatient.conf").write_text(IMPATIENT)
    (ours / "config.yaml").write_bytes((ROOT / "deploy" / "config.example.yaml").read_bytes())
    (ours / "consul-token").write_text(TOKEN)
    (ours / "consul-token").chmod(0o600)


def token_of(machine: Machine) -> str:
    pid = machine.show(UNIT, "MainPID")
    return machine.run(f"cat /proc/{pid}/root/run/credentials/{UNIT}/consul-token")


def assert_is_hardened(machine: Machine) -> None:
    status = machine.run(f"cat /proc/{machine.show(UNIT, 'MainPID')}/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines())
    assert facts["Uid"].split()[0] != "0"
    assert int(facts["CapEff"], 16) == 0
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_systemd_starts_hardens_watches_and_stops_it(builder: Builder, tmp_path: Path) -> None:
    cgroup = cgroups()
    if cgroup is None:
        pytest.skip("no version 2 of control groups is mounted here, and systemd needs one")
    container = builder.run("from", "--pull-never", IMAGE)
    builder.run("run", "--isolation=chroot", "--user=root", container, "--", "bash", "-euc", ADD_SYSTEMD)
    root = Path(builder.run("mount", container))
    install(root)
    with Machine(root, tmp_path, cgroup) as machine:
        machine.run(f"systemctl start {UNIT}")
        assert "manifests have not been read yet" in machine.show(UNIT, "StatusText")
        assert_is_hardened(machine)
        assert token_of(machine) == TOKEN

        told = machine.run("/opt/podpulse/bin/podpulse release-removals --config /etc/podpulse/config.yaml")
        process = machine.show(UNIT, "MainPID")
        assert told == f"sent SIGUSR1 to process {process}: it releases the removals that the fuse holds"

        machine.run(f"echo {ROTATED} >/etc/podpulse/consul-token; systemctl reload {UNIT}")
        assert token_of(machine) == TOKEN, "a copy, which a reload does not renew"
        machine.run(f"systemctl restart {UNIT}")
        assert token_of(machine) == ROTATED

        machine.run(f"kill -STOP {machine.show(UNIT, 'MainPID')}")
        until(lambda: machine.show(UNIT, "NRestarts") == "1", 30, "the watchdog to restart it")
        until(lambda: machine.show(UNIT, "ActiveState") == "active", 30, "it to be up again")

        machine.run("rm /etc/podpulse/consul-token")
        machine.run(f"systemctl restart {UNIT}")
        assert token_of(machine) == "", "none is needed where there is none"
        machine.run(f"systemctl stop {UNIT}")
        assert machine.show(UNIT, "Result") == "success"
    builder.run("umount", container)
