"""The image: built by a real builder on a fresh Debian, and started; and the unit, under a real systemd in it.

All tests that need the image are in this file, so that one process of pytest-xdist builds it once.
"""

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.deploy.conftest import DOCKERFILE, IMAGE
from tests.support import program
from tests.support.image import Builder
from tests.support.machine import Machine, cgroups
from tests.support.net import until

STARTED = """
ip link set lo up
{start} & started=$!
trap 'kill $started 2>/dev/null || true' EXIT
for attempt in $(seq 60); do
    if {health}; then break; fi
    sleep 0.5
done
{health}
{user}
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_image_starts_as_a_user_of_its_own_and_is_healthy(builder: Builder) -> None:
    """What Docker would run is run, without a daemon: entry point and health check as the image itself names them."""
    settings = builder.settings(IMAGE)
    entry, health = [*settings["Entrypoint"], *settings["Cmd"]], settings["Healthcheck"]["Test"]
    assert health[0] == "CMD", "no shell"
    container = builder.run("from", "--pull-never", IMAGE)

    def inside(command: list[str]) -> str:
        return shlex.join(builder.command("run", "--isolation=chroot", container, "--", *command))

    script = STARTED.format(start=inside(entry), health=inside(health[1:]), user=inside(["id", "-u"]))
    ended = program.run(["unshare", "--net", "bash", "-euc", script], within=120.0)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    assert ended.stdout.split()[-1] == "9815"
    assert "page and metrics on port 9815" in ended.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_image_holds_what_is_locked_and_no_installer(builder: Builder) -> None:
    container = builder.run("from", "--pull-never", IMAGE)
    code = "import importlib.metadata as m; print('\\n'.join(f'{d.name}=={d.version}' for d in m.distributions()))"
    python = ("run", "--isolation=chroot", container, "--", "/opt/podpulse/bin/python", "-c", code)
    have = {line.lower().replace("_", "-") for line in builder.run(*python).splitlines()}
    locked = set(
        re.findall(r"^([a-z0-9.-]+==[^ ;]+)", (ROOT / "deploy" / "requirements.txt").read_text(), re.MULTILINE)
    )
    others = {line for line in have - locked if not line.startswith("podpulse==")}
    assert not others
    assert any(line.startswith("podpulse==") for line in have)


def test_the_dockerfile_names_no_address_and_installs_only_what_is_locked() -> None:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    assert "://" not in text.replace("http://127.0.0.1:9815/", "")
    installs = re.findall(r"bin/pip install .*", text)
    assert len(installs) == 3
    assert all("--require-hashes" in each or "--no-index --no-deps" in each for each in installs)
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["podpulse"]
    for form in ("ENTRYPOINT", "CMD"):
        assert re.findall(rf"^ *{form} (.)", text, re.MULTILINE)[-1] == "["


def test_what_is_copied_into_the_image_is_there_and_not_ignored() -> None:
    copied = [
        path
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE.read_text(), re.MULTILINE)
        for path in line.split()[:-1]
    ]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == kept
    assert all((ROOT / Path(path)).exists() for path in copied)


# The unit: hardened, given its token, watched and stopped

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
        until(lambda: "Consul has not answered since" in machine.show(UNIT, "StatusText"), 30, "the status to say why")
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
