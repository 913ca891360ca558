"""Health as files: the sink and its lease."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.publish.folder import LEASE, TTL, DirectoryLease, DirectorySink, FolderInUse, is_alive, read
from controller.runtime.heartbeat import Heartbeat
from reconcilers.health import CheckHealth, HealthState, Reason
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from tests.support.recorders import FakeClock

A, B = PodKey("web1", "a"), PodKey("web1", "b")


def record(key: PodKey = A, state: HealthState = HealthState.PASSING) -> HealthRecord:
    reason = Reason.NONE if state is HealthState.PASSING else Reason.STATUS
    return HealthRecord.of(key, CheckHealth(state, reason, since=5.0), last_probe=6.0)


@pytest.fixture
def sink(tmp_path: Path) -> DirectorySink:
    return DirectorySink(tmp_path, lambda: 1.7e9)


def test_a_record_is_a_file_in_the_format_of_p2(sink: DirectorySink, tmp_path: Path) -> None:
    assert sink.write([record()], []) == {}
    fields = json.loads((tmp_path / "a.json").read_bytes())
    assert (fields["Service"], fields["Node"], fields["Status"]) == ("a", "web1", "passing")
    assert fields["Time"].startswith("2023-11-14T")
    assert sink.published(A) == record()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"], "nothing unfinished stays"


def test_a_deleted_record_has_no_file_and_may_be_deleted_again(sink: DirectorySink, tmp_path: Path) -> None:
    sink.write([record(A), record(B)], [])
    assert sink.write([], [A]) == {}
    assert sink.write([], [A]) == {}
    assert (sink.published(A), sink.published(B)) == (None, record(B))
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


def test_a_failed_write_is_reported_and_does_not_prevent_the_others(sink: DirectorySink, tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    failed = sink.write([record(A), record(B)], [])
    assert failed.keys() == {A}
    assert sink.published(A) is None
    assert sink.published(B) == record(B)
    assert sink.write([], [A]).keys() == {A}


def test_a_missing_folder_fails_every_key_and_raises_nothing(tmp_path: Path) -> None:
    sink = DirectorySink(tmp_path / "missing")
    assert sink.write([record(A), record(B)], []).keys() == {A, B}


def test_leftovers_count_as_published(sink: DirectorySink, tmp_path: Path) -> None:
    sink.write([record(A)], [])
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "folder.json").mkdir()
    other = DirectorySink(tmp_path)
    assert set(other.leftovers("web1")) == {A}
    assert other.published(A) == record(A)
    assert read(tmp_path).keys() == {A}


def test_leftovers_of_a_missing_folder_are_none(tmp_path: Path) -> None:
    assert set(DirectorySink(tmp_path / "missing").leftovers("web1")) == set()


# The lease


def test_records_with_another_node_name_are_deleted(sink: DirectorySink, tmp_path: Path) -> None:
    """Nothing else would delete them, and with our lease they would look fresh."""
    sink.write([record(A), record(PodKey("old", "c"))], [])
    other = DirectorySink(tmp_path)
    assert set(other.leftovers("web1")) == {A}
    assert other.published(PodKey("old", "c")) is None
    assert read(tmp_path).keys() == {A}


@pytest.mark.parametrize(("age", "alive"), [(0, True), (TTL - 1, True), (TTL + 1, False), (-1, True), (-3600, False)])
def test_a_lease_is_valid_for_its_ttl_and_invalid_if_it_is_in_the_future(
    tmp_path: Path, age: float, alive: bool
) -> None:
    (tmp_path / LEASE).touch()
    os.utime(tmp_path / LEASE, (1_790_000_000 - age,) * 2)
    assert is_alive(tmp_path, 1_790_000_000) is alive


def lease(folder: Path) -> DirectoryLease:
    return DirectoryLease(folder, Heartbeat("session", 30, time.monotonic))


@pytest.fixture
def held(tmp_path: Path) -> Iterator[DirectoryLease]:
    held = lease(tmp_path / "health")
    held.start()
    yield held
    held.stop(10)


def test_a_publishing_controller_has_a_live_lease(held: DirectoryLease, tmp_path: Path) -> None:
    assert is_alive(tmp_path / "health", time.time())
    assert held.current() == str(tmp_path / "health" / LEASE)
    assert TTL - 10 < held.expires_at() - time.time() <= TTL


def test_a_second_controller_is_refused_and_the_first_keeps_the_folder(held: DirectoryLease, tmp_path: Path) -> None:
    second = lease(tmp_path / "health")
    with pytest.raises(FolderInUse, match="another process publishes into"):
        second.start()
    assert held.current()
    assert is_alive(tmp_path / "health", time.time())


def test_after_a_stop_the_lease_has_ended_and_another_controller_may_start(tmp_path: Path) -> None:
    first, second = lease(tmp_path), lease(tmp_path)
    first.start()
    first.stop(10)
    assert not is_alive(tmp_path, time.time())
    second.start()
    assert second.current()
    second.stop(10)


def test_a_lease_that_was_not_touched_for_its_ttl_is_dead(held: DirectoryLease, tmp_path: Path) -> None:
    path = tmp_path / "health" / LEASE
    os.utime(path, (time.time() - TTL - 1,) * 2)
    assert not is_alive(tmp_path / "health", time.time())


def test_after_a_freeze_no_older_record_looks_fresh_again(tmp_path: Path) -> None:
    clock = FakeClock()
    sink = DirectorySink(tmp_path)
    held = DirectoryLease(tmp_path, Heartbeat("session", 30, clock), sink.forget, clock=clock)
    held.start()
    sink.write([record(A)], [])
    clock.advance(TTL)
    held._turn()
    assert sink.published_without_break(A) == record(A)
    assert read(tmp_path).keys() == {A}, "nobody has taken it for stale"
    clock.advance(TTL + 1)
    held._turn()
    assert (sink.published(A), sink.published_without_break(A), read(tmp_path)) == (None, None, {})
    assert is_alive(tmp_path, time.time())
    held.stop(10)


def test_known_health_is_discarded_before_records_are_deleted_after_a_freeze(tmp_path: Path) -> None:
    """Also if our clocks stood still: the file system's clock decides the age of the lease."""
    told: list[str] = []
    clock, sink = FakeClock(), DirectorySink(tmp_path)
    held = DirectoryLease(
        tmp_path,
        Heartbeat("session", 30, clock),
        lambda: told.append("lapsed"),
        void=lambda: told.append(f"void, {len(read(tmp_path))} records"),
        clock=clock,
    )
    held.start()
    sink.write([record(A)], [])
    os.utime(tmp_path / LEASE, (time.time() - TTL + 5,) * 2)
    held._turn()
    assert told == []
    os.utime(tmp_path / LEASE, (time.time() - TTL - 1,) * 2)
    held._turn()
    assert told == ["void, 1 records", "lapsed"]
    assert (read(tmp_path), is_alive(tmp_path, time.time())) == ({}, True)
    assert {path.name for path in tmp_path.iterdir()} == {LEASE}
    held.stop(10)


def test_a_folder_without_a_lease_has_no_live_publisher(tmp_path: Path) -> None:
    assert not is_alive(tmp_path, time.time())
    assert not is_alive(tmp_path / "missing", time.time())
