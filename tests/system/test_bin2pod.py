"""p2's demonstration with our tools: an executable is packed as a pod, scheduled, started from its tar and checked."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.support.consul import Agent
from tests.support.controller import NODE, environment, podpulse
from tests.support.net import free_ports, until
from tests.system.conftest import Launch


def test_isup_is_packed_scheduled_started_and_seen(consul: Agent, launch: Launch, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    script = tmp_path / "isup"
    script.write_text(
        f"#!/bin/sh\nexec {sys.executable} -m controller isup --host 127.0.0.1 --port {port} I am healthy\n"
    )
    packed = json.loads(
        podpulse("bin2pod", script, "--work-dir", tmp_path, "--status-port", port, "--status-http").stdout
    )
    said = podpulse("schedule", packed["manifest_path"], "--node", NODE, "--consul", consul.address).stdout
    assert json.loads(said) == {"pod_id": "isup", "pod_unique_key": ""}

    controller = launch(consul)
    with tarfile.open(packed["tar_path"]) as tar:
        tar.extractall(tmp_path / "install")
    with subprocess.Popen([tmp_path / "install" / "bin" / "launch"], env=environment()) as pod:
        try:
            until(lambda: controller.inspect("--pod", "isup")["isup"][NODE]["health"] == "passing", 20.0)
            seen = controller.inspect("--pod", "isup")["isup"][NODE]
        finally:
            pod.terminate()
    assert seen["health_check"]["output"].startswith("I\nam\nhealthy\n")
    assert seen["intent_locations"] == [packed["final_location"]]
    assert len(seen["intent_manifest_sha"]) == 64
