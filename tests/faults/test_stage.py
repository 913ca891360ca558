"""The stage changes what it is asked to change, even if Consul was stopped and executes a request late."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.runner import endure
from tests.faults.stage import Scale, Stage
from tests.support.consul import Agent, Answer


@pytest.fixture
def stage(consul_binary: Path, tmp_path: Path) -> Iterator[Stage]:
    with Stage(consul_binary, Scale(pods=1), tmp_path / "history") as stage:
        yield stage


def test_a_write_that_is_executed_again_later_undoes_no_later_change(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a follower does when the leader to which it sent the write was stopped."""
    writes: list[tuple[Any, ...]] = []
    request = Agent.request

    def remembered(agent: Agent, method: str, *arguments: Any, **options: Any) -> Answer:
        if method != "GET":
            writes.append((method, *arguments))
        return request(agent, method, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Agent, "request", remembered)
        for value in (b"1", b"2"):
            stage.put("changed", value)
        stage.put("gone", b"1")
        stage.delete("gone")
        stage.put("back", b"1")
        stage.delete("back")
        stage.put("back", b"2")
    assert len(writes) == 7

    for method, path, *body in writes:
        assert stage.consul.agent.request(method, path, *body).status == 409

    found = {key: stage.consul.agent.get(key) for key in ("changed", "gone", "back")}
    assert found == {"changed": b"2", "gone": None, "back": b"2"}


def test_a_key_that_does_not_exist_can_be_deleted(stage: Stage) -> None:
    stage.delete("nothing")


def test_changes_at_the_same_time_are_all_made(stage: Stage) -> None:
    """One thread changes pods, and another one injects faults."""
    keys = {f"pods/{number}" for number in range(40)}
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(stage.put, key, b"1") for key in keys]:
            done.result()
    assert {*stage.consul.agent.keys("pods/")} == keys


@pytest.mark.slow
def test_a_consul_with_acls_that_lost_everything_gets_a_new_token(consul_binary: Path, tmp_path: Path) -> None:
    with Stage(consul_binary, Scale(pods=2, acl=True), tmp_path / "history") as stage:
        stage.raise_curtain("pod-0", "pod-1")
        endure(stage, FAULTS["servers-emptied"], 0.5, Random(1))
        assert stage.settle()
        assert stage.manifests().keys() == stage.observer.known().keys() == {"pod-0", "pod-1"}
