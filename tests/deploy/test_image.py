"""The image: built by a real builder on a fresh Debian, and started; and the unit, under a real systemd in it.

All tests that need the image are in this file, so that one process of pytest-xdist builds it once.
"""

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.deploy.conftest import DOCKERFILE, IMAGE
from tests.support import program
from tests.support.image import Builder
from tests.support.installer import PIP, PYTHON
from tests.support.machine import Machine, cgroups
from tests.support.net import until
from tests.support.nomad import JobFile

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
def test_the_image_starts_as_a_user_of_its_own_and_is_healthy(builder: Builder, container: str) -> None:
    """Runs what Docker would run, without a daemon: entry point and health check are those that the image names."""
    settings = builder.settings(IMAGE)
    entry, health = [*settings["Entrypoint"], *settings["Cmd"]], settings["Healthcheck"]["Test"]
    assert health[0] == "CMD", "no shell"

    def inside(command: list[str]) -> str:
        return shlex.join(builder.command("run", "--isolation=chroot", container, "--", *command))

    script = STARTED.format(start=inside(entry), health=inside(health[1:]), user=inside(["id", "-u"]))
    ended = program.run(["unshare", "--net", "bash", "-euc", script], within=120.0)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    assert ended.stdout.split()[-1] == "9815"
    assert "page and metrics on port 9815" in ended.stderr


JOB = """
kv=http://127.0.0.1:8500/v1/kv
ip link set lo up
mkdir local secrets alloc && install -d -m 777 alloc/data
{files}
consul agent -dev -node {node} >consul.log 2>&1 & consul=$!
{python} -m http.server 8000 >pod.log 2>&1 & pod=$!
trap 'kill $consul $pod ${{started:-}} || true' EXIT
until curl -fs -X PUT -d '{manifest}' $kv/intent/{node}/web; do kill -0 $consul; sleep 0.2; done
{start} 2>task.log & started=$!
until curl -fs http://127.0.0.1:{port}{path}; do kill -0 $started; sleep 0.2; done
until curl -fs $kv/health/web/{node}?raw | grep -w passing; do kill -0 $started; sleep 0.2; done
until curl -fs http://127.0.0.1:8500/v1/health/state/passing | grep podpulse; do kill -0 $started; sleep 0.2; done
task=$started # the last process of the chain is the controller; buildah itself passes no signal on
while child=$(cat /proc/$task/task/*/children) && [ -n "$child" ]; do task=${{child%% *}}; done
kill -TERM $task
timeout {within} tail --pid=$started -f /dev/null
wait $started
ls alloc/data
curl -fs http://127.0.0.1:8500/v1/catalog/services
"""
NODE = "web1.example.com"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_task_of_the_nomad_job_runs_in_the_image(
    builder: Builder, container: str, consul_binary: Path, tmp_path: Path
) -> None:
    """Does what Nomad and Docker would do: templates, folders, arguments, no capability, the check, and the stop."""
    job = JobFile(ROOT / "deploy/nomad/podpulse.nomad.hcl")
    config, group = job.task.block("config"), job.job.block("group")
    port = group.block("network", "port").attribute("static")
    files = job.rendered({"node.unique.name": NODE, "NOMAD_ADDR_http": f"127.0.0.1:{port}"})
    folders = [f"--volume={tmp_path}/{name}:/{name}" for name in ("local", "secrets", "alloc")]
    dropped = [f"--cap-drop={each.upper()}" for each in config.attribute("cap_drop")]
    command = [*builder.settings(IMAGE)["Entrypoint"], *config.attribute("args")]
    start = builder.command("run", "--isolation=chroot", *folders, *dropped, container, "--", *command)
    script = JOB.format(
        files="\n".join(f"printf %s {shlex.quote(text)} >.{path}" for path, text in files.items()),
        node=NODE,
        manifest=json.dumps({"id": "web", "status_port": 8000, "status_http": True, "status": {"path": "/"}}),
        python=sys.executable,
        start=shlex.join(start),
        port=port,
        path=group.block("service", "check").attribute("path"),
        within=job.task.attribute("kill_timeout"),
    )
    path = f"{consul_binary.parent}:{os.environ['PATH']}"
    ended = program.run(
        ["unshare", "--net", "bash", "-euc", script], within=120.0, cwd=tmp_path, env=os.environ | {"PATH": path}
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    log = (tmp_path / "task.log").read_text()
    assert f"{NODE}.state" in ended.stdout
    assert "podpulse" not in ended.stdout.splitlines()[-1], "the controller has removed its service"
    assert "ERROR" not in log


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_image_holds_what_is_locked_and_no_installer(builder: Builder, container: str) -> None:
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


# The unit: installed, hardened, given its token, watched, upgraded, rolled back and removed

UNIT = "podpulse.service"
TOKEN = "2b778dd9-f5f1-6f29-b4b4-9a5fa948757a"
ROTATED = "d38d43a2-b689-97e5-e35b-37d054d7f88a"
IMPATIENT = "[Service]\nWatchdogSec=2\nTimeoutAbortSec=2\nRestartSec=1\n"
ADD_SYSTEMD = "apt-get -q update; DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends systemd"


SOURCE = "/usr/src/podpulse"
PROGRAM = "/usr/lib/podpulse"
WHEEL = f'#!/bin/sh\nexec {PROGRAM}/bin/python -m controller "$@"\n'
BROKEN = WHEEL.replace("exec", '[ "$1" = check-config ] || exit 1\nexec')
"""Accepts the configuration, and does not start."""


def prepare(root: Path) -> None:
    """Puts a checkout, a token and a configuration there, and the image's program in place of the packages to install.

    The watchdog gets a short time.
    """
    units, ours, source = root / "etc/systemd/system", root / "etc/podpulse", root / SOURCE[1:]
    (units / f"{UNIT}.d").mkdir(parents=True, exist_ok=True)
    ours.mkdir(exist_ok=True)
    (units / f"{UNIT}.d" / "impatient.conf").write_text(IMPATIENT)
    (ours / "config.yaml").write_bytes((ROOT / "deploy" / "config.example.yaml").read_bytes())
    (ours / "consul-token").write_text(TOKEN)
    (ours / "consul-token").chmod(0o600)
    (root / "opt/podpulse").rename(root / PROGRAM[1:])
    shutil.copytree(ROOT / "deploy", source / "deploy")
    shutil.copy(ROOT / "pyproject.toml", source)
    for name, text in (("python", PYTHON), ("pip", PIP)):
        (source / name).write_text(text)
        (source / name).chmod(0o755)


def install(machine: Machine, root: Path, version: str, program: str = WHEEL) -> str:
    """Installs a version in the machine. The description of its unit is the version. Returns the output."""
    wheel, unit = f"podpulse-{version}-py3-none-any.whl", root / SOURCE[1:] / "deploy/systemd" / UNIT
    (root / SOURCE[1:] / wheel).write_text(program)
    (root / SOURCE[1:] / wheel).chmod(0o755)
    unit.write_text(re.sub("^Description=.*", f"Description={version}", unit.read_text(), flags=re.MULTILINE))
    command = f"PYTHON={SOURCE}/python {SOURCE}/deploy/install --unit --within 20 --wheel {SOURCE}/{wheel} 2>&1"
    return machine.run(command, check=program == WHEEL)


def in_use(machine: Machine) -> tuple[str, ...]:
    """Returns the version that the link leads to, that of the unit, and the state."""
    link = machine.run("readlink /opt/podpulse").split("-")[1]
    return link, machine.show(UNIT, "Description"), machine.show(UNIT, "ActiveState")


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
def test_systemd_runs_what_is_installed_upgraded_rolled_back_and_removed(builder: Builder, tmp_path: Path) -> None:
    """A service that is hardened and watched; each change of the version is also a start with another token."""
    cgroup = cgroups()
    if cgroup is None:
        pytest.skip("no version 2 of control groups is mounted here, and systemd needs one")
    container = builder.run("from", "--pull-never", IMAGE)
    builder.run("run", "--isolation=chroot", "--user=root", container, "--", "bash", "-euc", ADD_SYSTEMD)
    root = Path(builder.run("mount", container))
    prepare(root)
    with Machine(root, tmp_path, cgroup) as machine:
        assert "podpulse 1 is installed" in install(machine, root, "1")
        assert in_use(machine) == ("1", "1", "active")
        assert machine.show(UNIT, "UnitFileState") == "enabled"
        until(lambda: "Consul has not answered since" in machine.show(UNIT, "StatusText"), 30, "the status to say why")
        assert_is_hardened(machine)
        assert token_of(machine) == TOKEN

        told = machine.run("podpulse release-removals --config /etc/podpulse/config.yaml")
        process = machine.show(UNIT, "MainPID")
        assert told == f"sent SIGUSR1 to process {process}: it releases the removals that the fuse holds"

        machine.run(f"echo {ROTATED} >/etc/podpulse/consul-token; systemctl reload {UNIT}")
        assert token_of(machine) == TOKEN, "a copy, which a reload does not renew"
        install(machine, root, "2")
        assert in_use(machine) == ("2", "2", "active")
        assert token_of(machine) == ROTATED

        machine.run(f"kill -STOP {machine.show(UNIT, 'MainPID')}")
        until(lambda: machine.show(UNIT, "NRestarts") == "1", 30, "the watchdog to restart it")
        until(lambda: machine.show(UNIT, "ActiveState") == "active", 30, "it to be up again")

        said = install(machine, root, "3", BROKEN)
        assert re.search(
            "podpulse-3-.* was not healthy; the version before, podpulse-2-.*, is back and healthy", said
        ), said
        assert in_use(machine) == ("2", "2", "active")

        machine.run("rm /etc/podpulse/consul-token")
        machine.run(f"{SOURCE}/deploy/install --rollback")
        assert in_use(machine) == ("1", "1", "active")
        assert token_of(machine) == "", "none is needed where there is none"
        machine.run(f"systemctl stop {UNIT}")
        assert machine.show(UNIT, "Result") == "success"

        kept = machine.run(f"{SOURCE}/deploy/install --uninstall").splitlines()[-1].split()
        assert {"/etc/podpulse", "/var/lib/podpulse", f"/etc/systemd/system/{UNIT}.d"} <= set(kept)
        assert machine.show(UNIT, "UnitFileState") == ""
        machine.run(f"{SOURCE}/deploy/install --uninstall --purge")
        assert machine.run("ls -A /opt /usr/local/bin /var/lib/private; ls -d /etc/podpulse", check=False) == (
            "/opt:\n\n/usr/local/bin:\n\n/var/lib/private:"
        )
    builder.run("umount", container)
