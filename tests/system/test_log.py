"""The log of the running process. Probes continue, whoever reads the log and whatever happens to the pods."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.controller import Controller, manifest
from tests.support.net import free_ports, until
from tests.support.targets import Target, answer

OFTEN = {"interval": "100ms", "timeout": "100ms"}
MANY = 150
WRITTEN = 100


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "pods").mkdir()
    return {"intent_dir": str(tmp_path / "pods"), "health_dir": str(tmp_path / "health")}


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def schedule(folders: dict[str, Any], target: Target, *pods: str) -> None:
    for pod in pods:
        (Path(folders["intent_dir"]) / f"{pod}.yaml").write_bytes(manifest(pod, target.port, f"/{pod}"))


def lines(controller: Controller) -> list[dict[str, Any]]:
    return [json.loads(line) for line in controller.log.splitlines()]


def flap(target: Target, times: int) -> None:
    """Lets the pod fail and recover `times` times. Waits for two probes after each change."""
    for number in range(times):
        target.behave(answer(500 if number % 2 else 200), "/a")
        enough = len(target.hits("/a")) + 2
        until(lambda enough=enough: len(target.hits("/a")) >= enough, what="probes to go on")  # type: ignore[misc]


def test_probes_continue_while_nobody_reads_the_log(folders: dict[str, Any], target: Target, ends: ExitStack) -> None:
    """The pipe is full from the start, so writing the first line would block forever."""
    out, into = os.pipe()
    ends.callback(os.close, out)
    ends.callback(os.close, into)
    os.set_blocking(into, False)
    while True:
        try:
            os.write(into, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(into, True)
    schedule(folders, target, "a")
    listen = f"127.0.0.1:{free_ports(1)[0]}"
    with Controller(**folders, output=into, listen=listen, defaults=OFTEN, log_level="debug") as controller:
        flap(target, 20)
        assert controller.get("/-/healthy").status == 200
        assert controller.terminate(within=5.0) == 0


def test_probes_continue_without_standard_streams(folders: dict[str, Any], target: Target) -> None:
    schedule(folders, target, "a")
    listen = f"127.0.0.1:{free_ports(1)[0]}"
    with Controller(**folders, output=None, listen=listen, defaults=OFTEN) as controller:
        flap(target, 6)
        standard = [str(Path(f"/proc/{controller.pid}/fd/{number}").readlink()) for number in range(3)]
        assert standard == ["/dev/null"] * 3, "no socket has the number of a standard stream"
        assert controller.terminate(within=5.0) == 0


def test_when_all_pods_turn_critical_some_lines_are_written_and_the_others_counted(
    folders: dict[str, Any], target: Target
) -> None:
    schedule(folders, target, *(f"pod-{number}" for number in range(MANY)))
    defaults = {"interval": "2s", "timeout": "2s"}
    with Controller(**folders, defaults=defaults, log_format="json", canary="none") as controller:
        until(lambda: controller.metrics().sum("probe_success") == MANY, 30, "all to be passing")
        until(lambda: any("more like this" in line["message"] for line in lines(controller)), 30, "the passing ones")
        before = len(lines(controller))
        target.behave(answer(503))
        until(lambda: controller.metrics().sum("podpulse_health", state="critical") == MANY, 30, "all to be critical")
        assert controller.terminate() == 0
        said = lines(controller)[before:]
    critical = [line for line in said if line.get("state") == "critical"]
    assert 1 <= len(critical) <= WRITTEN
    assert {"node", "pod", "reason"} <= critical[0].keys()
    assert critical[0]["reason"] == "status"
    counted = sum(line["repeated"] for line in said if "more like this" in line["message"])
    assert len(critical) + counted >= MANY, "every transition is written or counted"
