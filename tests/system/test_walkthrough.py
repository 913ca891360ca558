"""p2's page about health checks as one story: isup over HTTPS with a private CA, a real Consul, the command line."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.conftest import ROOT
from tests.support.authority import Authority
from tests.support.consul import Agent
from tests.support.controller import COMMAND, podpulse, watch_for
from tests.support.net import free_ports, until
from tests.support.targets import Target
from tests.system.conftest import Launch

NODE = "aws1.example.com"
KEY = f"health/isup/{NODE}"
INTERVAL = 1.0


@contextmanager
def isup(port: int, cert: Path, key: Path, *words: str) -> Iterator[None]:
    """Runs `podpulse isup` over HTTPS until the end of the context."""
    where = ("--port", str(port), "--cert", str(cert), "--key", str(key))
    command = ["env", "-i", f"PATH={os.environ['PATH']}", *COMMAND, "isup", *where, *words]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            yield
        finally:
            process.terminate()


def write_manifest(file: Path, port: int) -> Path:
    launchable = {"launchable_type": "hoist", "location": "https://localhost/isup.tar.gz"}
    document = {"id": "isup", "launchables": {"isup": launchable}, "status_port": port}
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file


def test_isup_is_scheduled_fails_recovers_moves_and_goes(consul: Agent, launch: Launch, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    cert, key = authority.files(NODE)
    port = free_ports(1)[0]
    at_consul = ("--node", NODE, "--consul", consul.address)
    controller = launch(
        consul, node_name=NODE, ca_file=str(authority.file), defaults={"interval": f"{INTERVAL}s", "timeout": "900ms"}
    )

    def status() -> str | None:
        record = consul.get(KEY)
        return json.loads(record)["Status"] if record else None

    with isup(port, cert, key, "I", "am", "healthy"):
        said = podpulse("schedule", write_manifest(tmp_path / "isup.yaml", port), *at_consul).stdout
        assert said == '{"pod_id":"isup","pod_unique_key":""}\n'
        until(lambda: status() == "passing", what="isup passes")
        seen = controller.inspect("--pod", "isup")["isup"][NODE]
        assert seen["health_check"]["status"] == "passing"
        assert seen["health_check"]["output"].startswith("I\nam\nhealthy\n")

    until(lambda: status() == "critical", INTERVAL + 1.0, "isup is critical after its end")
    # a probe in flight ends with another error, which makes the pod critical until the next one
    until(lambda: controller.inspect("--pod", "isup")["isup"][NODE]["reason"] == "refused", what="nobody listens")
    assert status() == "critical"

    with Target(authority.server(NODE), port=port) as old, Target(authority.server(NODE)) as new:
        until(lambda: status() == "passing", 10.0, "isup passes again")

        podpulse("schedule", write_manifest(tmp_path / "isup.yaml", new.port), *at_consul)
        until(new.hits, what="the new port is asked")
        asked_before = len(old.accepted())
        asked_after = len(new.hits())
        until(lambda: len(new.hits()) >= asked_after + 3, what="the new port is asked again and again")
        assert len(old.accepted()) == asked_before
        assert status() == "passing"

        podpulse("unschedule", "isup", *at_consul)
        until(lambda: consul.get(KEY) is None, 10.0, "the health of the removed pod is withdrawn")
        asked_last = len(new.accepted())
        watch_for(2.5 * INTERVAL)
        assert (len(old.accepted()), len(new.accepted())) == (asked_before, asked_last)
    assert controller.inspect() == {}
