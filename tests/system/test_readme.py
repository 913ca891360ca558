"""The examples of all documents are run as they are written, each in its own network namespace.

What an example requires, such as a running Consul or a file of the user, is created here before its first command. The
fence of a block names the example to which the block belongs. A test checks that no block is left out.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

import pytest

from reconcilers.manifest import parse
from reconcilers.options import Rules
from reconcilers.spec import PodKey
from tests.support import program, sandbox
from tests.support.consul import Agent
from tests.support.documents import FIGURES, OPERATIONS, blocks, least_rights, text
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.signing import Signer, keyring
from tests.support.targets import Target
from tests.system.conftest import Launch

ROOT = Path(__file__).parents[2]

CONSUL = """
consul agent -dev -node={node} >consul.log 2>&1 &
until curl -fs http://127.0.0.1:8500/v1/health/node/{node} | grep -q serfHealth; do sleep 0.1; done
"""
TOKEN = "2b778dd9-f5f1-6f29-b4b4-9a5fa948757a"
DENYING = f"""
case $(consul version) in *' v1.'[0-9].* | *' v1.10.'*) all=master ;; *) all=initial_management ;; esac
cat >consul.json <<END
{{"acl": {{"enabled": true, "default_policy": "deny", "tokens": {{"$all": "{TOKEN}", "agent": "{TOKEN}"}}}}}}
END
consul agent -dev -node=web1 -config-file=consul.json >consul.log 2>&1 &
known() {{ curl -fs -H "X-Consul-Token: {TOKEN}" http://127.0.0.1:8500/v1/health/node/web1 | grep -q serfHealth; }}
until known; do sleep 0.1; done
mkdir -p etc/podpulse
echo {TOKEN} >etc/podpulse/consul-token
export CONSUL_HTTP_TOKEN={TOKEN} # of who prepares the example; its own shell has none
"""
ISUP = """
env -i PATH="$PATH" podpulse isup --port 8000 I am healthy &
shop=$!
until curl -fs http://127.0.0.1:8000/_status >/dev/null; do sleep 0.1; done
"""
SCHEDULED = """
printf 'id: isup\\nstatus_port: 8000\\nstatus_http: true\\n' >isup.yaml
podpulse schedule isup.yaml --node web1
"""
PASSING = """
until curl -fs http://127.0.0.1:9815/-/ready; do sleep 0.1; done
until podpulse inspect --pod isup | grep -q '"status": "passing"'; do sleep 0.1; done
"""
SYSTEMCTL = """
systemctl() { # restart podpulse: as systemd does it, by the unit's command
    if [ -n "${unit:-}" ]; then kill "$unit" && wait "$unit"; fi
    CONSUL_HTTP_TOKEN_FILE=/etc/podpulse/consul-token \\
        /opt/podpulse/bin/podpulse run --config /etc/podpulse/config.yaml 2>>podpulse.log &
    unit=$!
}
"""
START = """
systemctl start podpulse
"""
STARTED_BY_A_SCRIPT = """
cat >systemctl <<'END'
#!/usr/bin/env bash
[ "$1" = restart ] || exit 0
CONSUL_HTTP_TOKEN_FILE=/etc/podpulse/consul-token \\
    /opt/podpulse/bin/podpulse run --config /etc/podpulse/config.yaml >/dev/null 2>>podpulse.log &
END
chmod +x systemctl
export SYSTEMCTL=$PWD/systemctl
"""

FROM_WHEELS = """
export PIP_NO_INDEX=1 PIP_FIND_LINKS=$PWD/wheels
unset PYTHONWARNINGS # pip's are its own
"""
UNSET = """
unset CONSUL_HTTP_TOKEN
"""
RUN = """
podpulse run --node web1 --address 127.0.0.1 2>podpulse.log &
"""
SIGNED_AND_NOT = """
consul kv put intent/web1/isup @signed.yaml
consul kv put intent/web1/stray @stray.yaml
"""

IN_CONSUL = CONSUL.format(node="web1")
GIVEN = {
    "walk-through": "",
    "install": f"{DENYING}{FROM_WHEELS}{STARTED_BY_A_SCRIPT}{UNSET}",
    "first-look": f"{DENYING}{ISUP}{SCHEDULED}{RUN}{PASSING}{UNSET}",
    "upgrade": f"{DENYING}{ISUP}{SCHEDULED}{SYSTEMCTL}{START}{PASSING}{UNSET}",
    "p2": f"{IN_CONSUL}{ISUP}{SIGNED_AND_NOT}",
    "consul-esm": f"{CONSUL.format(node='monitor')}{ISUP}",
    "blackbox": f"{IN_CONSUL}{ISUP}",
    "agent-checks": f"{IN_CONSUL}{ISUP}",
    "gatus": f"{IN_CONSUL}{ISUP}",
    "wheel": FROM_WHEELS,
    "memory": "",
    "series": f"{IN_CONSUL}{ISUP}{SCHEDULED}{RUN}{PASSING}",
}
"""What each example that is run takes for given."""

NOT_RUN = {
    "two-commands": "deploy/demo stays until Ctrl-C: it is run with --once; tests/run is what runs this test",
    "badges": "a part of a configuration of nginx",
}
"""Examples whose commands are only read, and why."""

APPLIED = {"least-rights", "dialogues"}
"""Those that are no commands, and are put to use in a test of their own."""

MANIFEST = b"id: %s\nstatus_port: 8000\nstatus_http: true\n"


def commands(example: str) -> str:
    """Returns the commands that a person types one after the other. Each runs after the end of the one before, and none
    may fail."""
    return "\n".join(block.text for block in blocks() if block.example == example and block.language == "bash")


def given(example: str, folder: Path) -> str:
    """Writes the example's files. Returns what runs before its commands."""
    for block in blocks():
        if block.example == example and block.file:
            (folder / block.file).write_text(block.text)
    (folder / "deploy").symlink_to(ROOT / "deploy")
    return GIVEN[example]


def moved(script: str, folder: Path) -> str:
    """Returns the script with the folders of the host moved below `folder`."""
    for place in ("/opt/", "/etc/", "/usr/local/bin/"):
        script = re.sub(rf"(?<![\w.]){place}", f"{folder}{place}", script)
    return script


def upgrade(folder: Path) -> str:
    """Returns the script of the upgrade, and creates two versions of the program, which are the same one."""
    for name in ("opt/podpulse-old", "opt/podpulse-new", "etc/podpulse"):
        (folder / name).mkdir(parents=True)
    for one in ("old", "new"):
        (folder / f"opt/podpulse-{one}/bin").symlink_to(Path(sys.executable).parent)
    (folder / "etc/podpulse/config.yaml").write_text("node_name: web1\naddress: 127.0.0.1\n")
    return moved(given("upgrade", folder) + commands("upgrade"), folder)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the locked packages that are needed to build and to run Podpulse."""
    folder = tmp_path_factory.mktemp("locked")
    venv.create(folder / "fetching", with_pip=True)
    fetch = (folder / "fetching/bin/pip", "download", "-q", "--require-hashes", "-d", folder / "wheels")
    for name in ("requirements", "build-requirements"):
        subprocess.run([*fetch, "-r", ROOT / f"deploy/{name}.txt"], check=True)
    return folder / "wheels"


def check_out(folder: Path, wheels: Path) -> None:
    """Copy what a wheel is built from into `folder`, and link the locked packages there."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("controller", "reconcilers"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "wheels").symlink_to(wheels)


@pytest.mark.parametrize("file", ["redis.yaml", "mail.yaml"])
def test_the_dialogues_are_valid_manifests_where_the_operator_allows_them(file: str) -> None:
    (block,) = (block for block in blocks() if (block.example, block.file) == ("dialogues", file))
    parsed = parse(PodKey("web1", file.removesuffix(".yaml")), block.text.encode(), Rules(allow_send=True))
    assert parsed.check is not None
    assert parsed.warnings == ()


def test_every_block_is_run_or_listed_as_an_exception() -> None:
    known = GIVEN.keys() | NOT_RUN.keys() | APPLIED
    assert {block.example for block in blocks() if block.language} == known
    assert all(block.file or block.language == "bash" for block in blocks() if block.example in GIVEN)
    assert all(block.text.strip().startswith("Consul KV") for block in blocks() if not block.language), "pictures only"


@pytest.mark.parametrize("example", [*GIVEN, *NOT_RUN])
def test_the_commands_are_bash(example: str) -> None:
    done = subprocess.run(["bash", "-n"], input=commands(example), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("example", NOT_RUN)
def test_every_exception_is_an_existing_block(example: str) -> None:
    for line in commands(example).splitlines():
        started = shlex.split(line, comments=True)[0]
        assert os.access(ROOT / started, os.X_OK), started


@pytest.mark.parametrize("options", [["--once"], ["--once", "--embedded"]], ids=["consul", "folders"])
def test_the_demo_shows_a_pod_that_passes(consul_binary: Path, options: list[str]) -> None:
    places = f"{consul_binary.parent}:{os.environ['PATH']}"
    done = program.run([ROOT / "deploy/demo", *options], env=os.environ | {"PATH": places}, within=100.0)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["isup"]["demo"]["health_check"]["status"] == "passing"


@sandbox.needs_a_namespace
class TestExamples:
    def test_the_walk_through(self, consul_binary: Path, tmp_path: Path) -> None:
        said = sandbox.run(given("walk-through", tmp_path) + commands("walk-through"), tmp_path, [consul_binary])
        assert '"status": "passing"' in said
        assert '"Status":' in said
        assert 'probe_success{node="web1",pod="isup"} 1' in said
        assert '"reason": "refused"' in said

    def test_the_first_look(self, consul_binary: Path, tmp_path: Path) -> None:
        script = moved(given("first-look", tmp_path) + commands("first-look"), tmp_path)
        said = sandbox.run(script, tmp_path, [consul_binary])
        assert "podpulse_ready 1" in said
        assert "podpulse_intents 1" in said
        assert "0 to start, 0 to replace, 0 to stop, 1 unchanged" in said
        assert "| healthy" in said, "the probe shows what the pod answered"

    def test_an_upgrade(self, consul_binary: Path, tmp_path: Path) -> None:
        """A function takes the place of systemd, which would restart the program. Other tests use the unit itself."""
        script = upgrade(tmp_path)
        (tmp_path / "opt/podpulse").symlink_to("podpulse-old")
        said = sandbox.run(script, tmp_path, [consul_binary])
        assert "podpulse-old\n" in said
        assert (tmp_path / "opt/podpulse").readlink() == Path("podpulse-new")
        assert (tmp_path / "podpulse.log").read_text().count("page and metrics on port") == 2
        assert "passing" in said.splitlines()[-1], "a restart leaves no trace"

    def test_an_upgrade_where_a_folder_is_in_place_of_the_link_restarts_nothing(
        self, consul_binary: Path, tmp_path: Path
    ) -> None:
        script = upgrade(tmp_path)
        (tmp_path / "opt/podpulse-old").rename(tmp_path / "opt/podpulse")
        (tmp_path / "opt/podpulse/version").touch()
        sandbox.run(script.replace("readlink ", "true "), tmp_path, [consul_binary])
        assert (tmp_path / "podpulse.log").read_text().count("page and metrics on port") == 1
        assert sorted(file.name for file in (tmp_path / "opt/podpulse").iterdir()) == ["bin", "version"]

    @pytest.mark.slow
    @pytest.mark.timeout(600)
    def test_a_wheel_runs_without_the_checkout(self, wheels: Path, tmp_path: Path) -> None:
        """Offline, from the locked packages. The folder of the commands is removed before the program runs."""
        checkout = tmp_path / "checkout"
        checkout.mkdir()
        check_out(checkout, wheels)
        sandbox.run(given("wheel", checkout) + f"export HOME={tmp_path}\n" + commands("wheel"), checkout, [], 300.0)
        (built,) = (file.name for file in (checkout / "dist").iterdir())
        assert built == f"podpulse-{version('podpulse')}-py3-none-any.whl"
        shutil.rmtree(checkout)
        (tmp_path / "isup.yaml").write_bytes(MANIFEST % b"isup")
        podpulse = tmp_path / "podpulse/bin/podpulse"
        said = sandbox.run(f"{podpulse} --version\n{podpulse} check-manifest isup.yaml --node web1", tmp_path, [])
        assert f"podpulse, version {version('podpulse')}" in said
        assert "http://web1:8000/_status" in said

    @pytest.mark.slow
    @pytest.mark.timeout(600)
    def test_an_installation(self, consul_binary: Path, wheels: Path, tmp_path: Path) -> None:
        """With pip and its hashes, from files that were fetched before. A script takes the place of systemd."""
        check_out(tmp_path, wheels)
        script = moved(given("install", tmp_path) + commands("install"), tmp_path)
        script = script.replace("deploy/install ", f"deploy/install --root {tmp_path} ")
        said = sandbox.run(f"{script}\n{tmp_path}/usr/local/bin/podpulse --version", tmp_path, [consul_binary], 300.0)
        assert re.search(r"^podpulse, version \d.*\)$", said, re.MULTILINE)
        assert str((tmp_path / "opt/podpulse").readlink()).startswith(f"podpulse-{version('podpulse')}-")
        assert (tmp_path / "opt/podpulse/share/man/man1/podpulse-probe.1").exists()
        unit = (tmp_path / "etc/systemd/system/podpulse.service").read_text()
        body = unit.partition("[Unit]")[2]
        assert body == moved((ROOT / "deploy/systemd/podpulse.service").read_text(), tmp_path).partition("[Unit]")[2]
        assert "page and metrics on port 9815" in (tmp_path / "podpulse.log").read_text()

    def test_moving_from_p2(self, consul_binary: Path, tmp_path: Path) -> None:
        signer = Signer()
        keyring(tmp_path / "keyring.gpg", signer, armored=False)
        (tmp_path / "signed.yaml").write_bytes(signer.sign(MANIFEST % b"isup"))
        (tmp_path / "stray.yaml").write_bytes(MANIFEST % b"stray")
        said = sandbox.run(given("p2", tmp_path) + commands("p2"), tmp_path, [consul_binary])
        assert "preparer.auth: passed over" in said
        assert "http://web1:8000/_status every 1s" in said, "as p2's later code checks"
        assert "! stray  not signed" in said
        assert re.findall('"Key": *"([^"]+)', said) == ["health/isup/web1"]

    def test_moving_from_agent_checks(self, consul_binary: Path, tmp_path: Path) -> None:
        said = sandbox.run(given("agent-checks", tmp_path) + commands("agent-checks"), tmp_path, [consul_binary])
        assert '"web"' in said, "Consul has the service, and it passes"

    def test_moving_from_gatus(self, consul_binary: Path, tmp_path: Path) -> None:
        said = sandbox.run(given("gatus", tmp_path) + commands("gatus"), tmp_path, [consul_binary])
        assert "A row of 2 such results makes the pod passing" in said

    @pytest.mark.slow
    def test_the_memory_without_consul(self, tmp_path: Path) -> None:
        """The figures depend on the machine's libraries. The test only compares them, and checks a generous limit."""
        said = sandbox.run(given("memory", tmp_path) + commands("memory"), tmp_path, [])
        few, many = (
            float(number) for number in re.findall(r"^process_resident_memory_bytes (\S+)", said, re.MULTILINE)
        )
        assert few < many < 200e6

    def test_the_number_of_series(self, consul_binary: Path, tmp_path: Path) -> None:
        said = sandbox.run(given("series", tmp_path) + commands("series"), tmp_path, [consul_binary])
        per_check, others = said.split()[-2:]
        assert f"{per_check} for each check over HTTP" in text(FIGURES)
        assert "about 300 for the controller" in text(FIGURES)
        assert 250 <= int(others) < 350
        assert f"| Prometheus | {per_check} series for each check" in text(OPERATIONS)

    def test_moving_from_consul_esm(self, consul_binary: Path, tmp_path: Path) -> None:
        said = sandbox.run(given("consul-esm", tmp_path) + commands("consul-esm"), tmp_path, [consul_binary])
        assert said.count('"status": "passing"') >= 2
        assert sorted(file.name for file in (tmp_path / "manifests/printer1").iterdir()) == ["port.yaml", "web1.yaml"]

    def test_moving_from_blackbox_exporter(self, consul_binary: Path, prometheus_binary: Path, tmp_path: Path) -> None:
        said = sandbox.run(
            given("blackbox", tmp_path) + commands("blackbox"), tmp_path, [consul_binary, prometheus_binary]
        )
        assert "web1/shop is down" in said, "the old alert fires, and says which target"


def test_the_least_rights_are_enough(acl_consul: Agent, launch: Launch, target: Target) -> None:
    """The rights are enough for everything that the block names. Another test shows that each line of
    `podpulse acl-policy` is required."""
    rules = least_rights().replace("<node>", "web1").replace("<name_prefix>", "pod-")
    token = acl_consul.create_token(rules)
    own = Fleet(acl_consul, target)
    own.schedule("isup")
    controller = launch(
        acl_consul, token=token, publish=["kv", "agent"], service={"name_prefix": "pod-"}, startup_grace="1h"
    )
    until(lambda: own.are("passing", ["isup"]), what="health is published")
    until(lambda: acl_consul.request("GET", "health/service/pod-isup?passing").json(), what="it is a service")
    until(lambda: acl_consul.request("GET", "health/service/podpulse").json(), what="the controller is registered")
    assert controller.metrics().sum("podpulse_consul_requests_total", outcome="refused") == 0
