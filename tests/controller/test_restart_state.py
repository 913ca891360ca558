"""What one run leaves to the next one: a lock that is free after its end, its session, and the state of its checks."""

import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from controller.health import state_file as statefile
from controller.health.node_lock import HolderUnseen, NodeLock, NodeTaken, holder
from controller.health.restart_state import RestartState
from controller.health.state_file import MAX_DETAIL, StateFile
from controller.health.state_saver import StateSaver
from controller.health.store import HealthStore, Tracked
from controller.health.uptimes import Uptimes
from controller.runtime.boottime import boottime
from controller.runtime.heartbeat import Heartbeat, Heartbeats
from reconcilers.adoption import Saved, digest, identity
from reconcilers.damping import Damping, DampingRules
from reconcilers.health import CheckHealth, HealthState, Outcome, Phases, ProbeResult, Reason
from reconcilers.record import Elsewhere, HealthRecord
from reconcilers.spec import CheckSpec, HttpGet, PodKey
from reconcilers.uptime import Counted
from tests.support.net import until
from tests.support.recorders import FakeClock

SESSION = "d38d43a2-b689-97e5-e35b-37d054d7f88a"
KEY = PodKey("web1", "isup")
SPEC = CheckSpec(KEY, HttpGet("web1", 8000, "/_status"), 5.0, 5.0)
LAST = ProbeResult(
    KEY, 7, Outcome.FAILURE, 995.0, 0.25, Reason.STATUS, "answered with status 503", "no disk", 503, Phases(0.1, 0.2)
)
HEALTH = CheckHealth(HealthState.CRITICAL, Reason.STATUS, 950.0, "answered with status 503", failures=4, misses=4)
DAMPING = Damping(DampingRules(), 7, 500.0, 560.0, HealthState.CRITICAL, 3)
SAVED = Saved(KEY, identity(SPEC), 998.0, HEALTH, 960.0, replace(LAST, output=""), DAMPING, digest(b""))


# The lock


def test_the_lock_has_the_session_of_the_last_run(tmp_path: Path) -> None:
    first = NodeLock(tmp_path / "state", "web1")
    assert first.session == ""
    first.write_session(SESSION)
    first.release()
    assert NodeLock(tmp_path / "state", "web1").session == SESSION


def test_the_lock_is_held_on_a_full_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    lock = NodeLock(tmp_path, "web1")
    with pytest.raises(NodeTaken):
        NodeLock(tmp_path, "web1")
    lock.release()


def test_a_second_controller_is_refused_with_the_process_id_of_the_first(tmp_path: Path) -> None:
    first = NodeLock(tmp_path, "web1")
    with pytest.raises(NodeTaken, match=rf"node web1 is already running: process {os.getpid()} holds .*web1\.lock"):
        NodeLock(tmp_path, "web1")
    assert NodeLock(tmp_path, "web2").session == ""
    first.release()
    NodeLock(tmp_path, "web1").release()


def test_the_holder_of_a_lock_is_found_until_it_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        holder(tmp_path, "web1")
    lock = NodeLock(tmp_path, "web1")
    assert holder(tmp_path, "web1") == os.getpid()
    lock.release()
    assert holder(tmp_path, "web1") is None


def test_a_process_that_does_not_have_the_file_open_does_not_hold_the_lock(tmp_path: Path) -> None:
    """A controller in a container writes its id there. Outside of the container that is the id of another process."""
    lock, file = NodeLock(tmp_path, "web1"), tmp_path / "web1.lock"
    with subprocess.Popen(["sleep", "60"]) as stranger:
        file.write_text(f"{stranger.pid}\n\n")
        with pytest.raises(
            HolderUnseen, match=r"web1\.lock, but its process is not visible from here. If it runs in a container"
        ):
            holder(tmp_path, "web1")
        stranger.kill()
    for said in (f"{stranger.pid}\n", "0\n", "", "x\n"):
        file.write_text(said)
        with pytest.raises(HolderUnseen):
            holder(tmp_path, "web1")
    lock.write_session("")
    assert holder(tmp_path, "web1") == os.getpid()
    lock.release()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = "from controller.health.node_lock import NodeLock; from pathlib import Path; import time\n"
    code += f"lock = NodeLock(Path({str(tmp_path)!r}), 'web1'); lock.write_session({SESSION!r})\n"
    code += "print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        with pytest.raises(NodeTaken, match=f"process {process.pid} holds"):
            NodeLock(tmp_path, "web1")
        process.kill()
        process.wait()
    assert NodeLock(tmp_path, "web1").session == SESSION


@pytest.mark.parametrize("content", [b"", b"\xff", b"1\n", b"1\n../agent/leave\n", b"1\n" + SESSION.encode() + b"x\n"])
def test_an_invalid_session_in_the_file_is_ignored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "web1.lock").write_bytes(content)
    lock = NodeLock(tmp_path, "web1")
    assert lock.session == ""
    with pytest.raises(NodeTaken, match=f"process {os.getpid()} "):
        NodeLock(tmp_path, "web1")


# The state file


def test_a_state_is_read_as_it_was_written_but_without_excerpts(tmp_path: Path) -> None:
    file = StateFile(tmp_path, "web1")
    assert file.read() == {}
    file.write(map(StateFile.line, [replace(SAVED, health=replace(HEALTH, output="x" * 4096), last=LAST)]))
    assert file.read() == {KEY: SAVED}
    file.write(map(StateFile.line, [replace(SAVED, health=replace(HEALTH, detail="x" * 4096))]))
    assert file.read()[KEY].health.detail == "x" * MAX_DETAIL
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web1.state"]


def test_a_broken_line_costs_one_check_its_state(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    others = [replace(SAVED, key=PodKey("web1", name)) for name in "ab"]
    file = StateFile(tmp_path, "web1")
    file.write(map(StateFile.line, [*others, SAVED]))
    path = tmp_path / "web1.state"
    path.write_bytes(path.read_bytes().replace(b'"pod":"a"', b'"pod":7')[:-20])
    assert file.read() == {others[1].key: others[1]}
    assert "the state of 2 of 3 checks cannot be read" in caplog.text


def named(count: int) -> list[Saved]:
    return [replace(SAVED, key=PodKey("web1", f"pod-{number}")) for number in range(count)]


def test_the_state_of_80000_checks_is_read_completely(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, line = StateFile(tmp_path, "web1"), StateFile.line(replace(SAVED, key=PodKey("web1", "pod-00000")))
    assert file.write(line.replace(b"pod-00000", b"pod-%05d" % number) for number in range(80_000)) == 0
    assert (tmp_path / "web1.state").stat().st_size > 32 * 1024 * 1024
    assert len(file.read()) == 80_000
    assert caplog.text == ""


def test_every_written_line_is_read_and_the_lines_that_are_left_out_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file, lines = StateFile(tmp_path, "web1"), [StateFile.line(one) for one in named(10)]
    for bound in range(1_000, 1_000 + len(lines[0]), 7):
        monkeypatch.setattr(statefile, "MAX_BYTES", bound)
        left_out = file.write(lines)
        assert (tmp_path / "web1.state").stat().st_size <= bound
        assert list(file.read()) == [one.key for one in named(10 - left_out)]
    assert caplog.text == ""


def test_a_file_that_is_too_long_is_read_up_to_the_maximum_and_a_warning_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = StateFile(tmp_path, "web1")
    file.write(StateFile.line(one) for one in named(10))
    monkeypatch.setattr(statefile, "MAX_BYTES", 1_500)
    assert 0 < len(file.read()) < 10
    assert "the other checks start without their earlier state" in caplog.text


def test_checks_that_do_not_fit_into_the_file_are_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    saver, healths = StateSaver(StateFile(tmp_path, "web1"), heartbeat()), HealthStore(lambda _: None)
    healths.follow([(replace(SPEC, key=one.key), number) for number, one in enumerate(named(10))])
    saver._checks = healths.all
    for bound in (1_000, 1_001, 100_000, 1_000):
        monkeypatch.setattr(statefile, "MAX_BYTES", bound)
        saver._refresh(0.0)
        saver._save()
    assert caplog.text.count("of 10 checks is not saved, they start without it after a restart") == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0\0", b"{}", b"[1]\n", b"{" * 100_000, b'{"format": 2, "node": "web1", "boot": "x"}\n'],
)
def test_a_file_of_garbage_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    (tmp_path / "web1.state").write_bytes(content)
    assert StateFile(tmp_path, "web1").read() == {}
    assert "every check starts without its earlier state" in caplog.text


def test_a_file_of_another_node_is_ignored(tmp_path: Path) -> None:
    StateFile(tmp_path, "web1").write(map(StateFile.line, [SAVED]))
    (tmp_path / "web1.state").rename(tmp_path / "web2.state")
    assert StateFile(tmp_path, "web2").read() == {}


def test_times_of_the_monotonic_clock_are_dropped_after_a_reboot(tmp_path: Path) -> None:
    StateFile(tmp_path, "web1").write(map(StateFile.line, [SAVED]))
    path = tmp_path / "web1.state"
    _head, line = path.read_text().splitlines()
    path.write_text(f'{{"format":1,"node":"web1","boot":"another"}}\n{line}\n')
    assert StateFile(tmp_path, "web1").read() == {KEY: replace(SAVED, damping=None)}


# Taking over and saving


def saved_at(when: float) -> Saved:
    return replace(SAVED, at=when, last=None)


def heartbeat() -> Heartbeat:
    return Heartbeat("state", 30, time.monotonic)


def store() -> HealthStore:
    healths = HealthStore(lambda _: None)
    healths.follow([(SPEC, 1)])
    healths.observe([replace(LAST, generation=1)])
    return healths


def test_a_check_takes_its_state_over_once(tmp_path: Path) -> None:
    now = time.time()
    StateFile(tmp_path, "web1").write(
        map(StateFile.line, [replace(saved_at(now), health=replace(HEALTH, since=now - 10))])
    )
    saver = StateSaver(StateFile(tmp_path, "web1"), heartbeat())
    assert saver.dampings() == {KEY: DAMPING}
    published = HealthRecord.of(KEY, HEALTH, now)
    inherited = saver.take_over(SPEC, published)
    assert inherited is not None
    assert (inherited.health.state, inherited.health.failures) == (HealthState.CRITICAL, 4)
    assert saver.take_over(SPEC, published) is None


def test_the_last_save_also_has_the_states_that_no_check_has_taken_over(tmp_path: Path) -> None:
    now = time.time()
    unread, stale = PodKey("web1", "unread"), PodKey("web1", "stale")
    StateFile(tmp_path, "web1").write(
        map(StateFile.line, [replace(saved_at(now), key=unread), replace(saved_at(now - 7200), key=stale)])
    )
    saver = StateSaver(StateFile(tmp_path, "web1"), heartbeat())
    saver.start(store().all, lambda: {KEY: DAMPING})
    saver.stop(5.0)
    after = StateFile(tmp_path, "web1").read()
    assert after.keys() == {KEY, unread}
    assert (after[KEY].health.state, after[KEY].damping) == (HealthState.CRITICAL, DAMPING)
    assert after[KEY].last == replace(LAST, generation=1, output="")
    assert after[unread].at == now


def test_a_change_is_saved_within_seconds(tmp_path: Path) -> None:
    saver, healths = StateSaver(StateFile(tmp_path, "web1"), heartbeat(), period=0.1), HealthStore(lambda _: None)
    saver.start(healths.all, dict)
    healths.follow([(SPEC, 1)])
    until((tmp_path / "web1.state").exists, 20.0)
    saver.stop(5.0)


class Faulty:
    """Checks that cannot be read the first time, because of an unexpected error."""

    def __init__(self, healths: HealthStore) -> None:
        self.healths = healths
        self.is_broken = True

    def all(self) -> list[Tracked]:
        if self.is_broken:
            self.is_broken = False
            raise RuntimeError("nobody foresaw this")
        return self.healths.all()


def test_an_unexpected_exception_costs_the_saver_one_turn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    beats = heartbeat()
    saver = StateSaver(StateFile(tmp_path, "web1"), beats)
    saver.start(Faulty(store()).all, dict)
    until((tmp_path / "web1.state").exists, 30.0, "the turn after the failed one")
    saver.stop(5.0)
    assert beats.faults.counts() == {"state": 1}
    assert caplog.text.count("thread state: unexpected exception") == 1


def test_an_unexpected_exception_of_one_check_costs_its_state_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    beats, healths, broken = heartbeat(), store(), replace(SPEC, key=PodKey("web1", "broken"))
    healths.follow([(broken, 2)])
    tracked = healths.tracked(broken.key)
    assert tracked
    tracked.assessment = None  # type: ignore[assignment]
    saver = StateSaver(StateFile(tmp_path, "web1"), beats)
    saver.start(healths.all, dict)
    saver.stop(5.0)
    assert StateFile(tmp_path, "web1").read().keys() == {KEY}
    assert beats.faults.counts() == {"state": 1}
    assert "saving the state of web1/broken: unexpected exception" in caplog.text


def test_a_folder_that_cannot_be_written_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saver = StateSaver(StateFile(tmp_path / "missing", "web1"), heartbeat())
    saver.start(store().all, dict)
    saver.stop(5.0)
    assert caplog.text.count("the state of the checks cannot be saved") == 1


def test_a_check_whose_state_cannot_be_written_does_not_prevent_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A lone surrogate cannot be encoded."""
    now, odd = time.time(), PodKey("web1", "odd")
    StateFile(tmp_path, "web1").write(map(StateFile.line, [replace(saved_at(now), key=PodKey("web1", "unread"))]))
    saver, healths = StateSaver(StateFile(tmp_path, "web1"), heartbeat(), period=0.1), store()
    healths.follow([(replace(SPEC, key=odd), 2)])
    healths.observe([replace(LAST, key=odd, generation=2, detail="\ud800")])
    saver.start(healths.all, dict)
    until(lambda: KEY in StateFile(tmp_path, "web1").read(), 20.0, "the others to be saved")
    saver.stop(5.0)
    assert StateFile(tmp_path, "web1").read().keys() == {KEY, PodKey("web1", "unread")}
    assert caplog.text.count("the state of web1/odd cannot be saved") == 1


def test_a_saver_that_stops_turning_is_reported_by_its_heartbeat(tmp_path: Path) -> None:
    clock = FakeClock()
    heartbeats = Heartbeats(clock)
    restart_state = RestartState(tmp_path, "web1", heartbeats, is_required=True)
    clock.advance(31)
    assert heartbeats.complaints() == ["thread state has stood still for 31 s"]
    restart_state.start(store().all, dict)
    until(lambda: not heartbeats.complaints(), 20.0, "a turn of the saver")
    restart_state.stop(5.0)
    restart_state.release(left=True)


def test_without_a_required_folder_an_unusable_one_means_that_no_state_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    nothing = RestartState(tmp_path / "file", "web1", Heartbeats(), is_required=False)
    nothing.write_session(SESSION)
    nothing.start(HealthStore(lambda _: None).all, dict)
    assert (nothing.session, nothing.is_kept, nothing.dampings(), nothing.take_over(SPEC, None)) == (
        "",
        False,
        {},
        None,
    )
    theirs = nothing.take_over(SPEC, Elsewhere.of_record(HealthRecord.of(KEY, HEALTH, 0.0)))
    assert theirs, "what another controller has published needs no folder"
    assert theirs.is_handed_over
    nothing.stop(1.0)
    nothing.release(left=False)
    with pytest.raises(OSError, match="file"):
        RestartState(tmp_path / "file", "web1", Heartbeats(), is_required=True)


@pytest.mark.parametrize(("left", "session"), [(True, SESSION), (False, "")])
def test_a_session_whose_records_were_removed_is_not_left_to_the_next_run(
    tmp_path: Path, left: bool, session: str
) -> None:
    first = RestartState(tmp_path, "web1", Heartbeats(), is_required=True)
    first.write_session(SESSION)
    first.stop(1.0)
    first.release(left=left)
    assert RestartState(tmp_path, "web1", Heartbeats(), is_required=True).session == session


FULL_DISK = f"""
import logging, resource
from pathlib import Path
from controller.health.uptimes import Uptimes
from controller.runtime.boottime import boottime
from controller.runtime.heartbeat import Heartbeats
from controller.health.restart_state import RestartState

logging.basicConfig(level="WARNING")
restart_state = RestartState(Path("state"), "web1", Heartbeats(), is_required=True)
restart_state.write_session("{SESSION}")
*_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
for size in (0, 0, most, 0):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    restart_state.write_session("{SESSION[::-1]}")
restart_state.release(left=False)
"""
"""A process that cannot write a byte into a file, as on a failing disk, except for a short time."""


def test_a_failing_disk_costs_the_session_and_is_logged_once(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stderr
    assert ended.stderr.count("the session cannot be written to disk, a restart creates a new one") == 2
    assert NodeLock(tmp_path / "state", "web1").session == "", "the write that succeeded had no session"


# The time up and down


def passing(store: HealthStore, uptimes: Uptimes, key: PodKey = KEY) -> None:
    """Makes a pod passing. For its uptime, this was 100 seconds ago."""
    uptimes._clock = lambda: boottime() - 100
    store.follow([(replace(SPEC, key=key), 1)])
    store.observe([ProbeResult(key, 1, Outcome.SUCCESS, time.time(), 0.1)])
    uptimes._clock = boottime


def run_of(folder: Path) -> tuple[RestartState, HealthStore]:
    restart_state = RestartState(folder, "web1", Heartbeats(), is_required=True)
    return restart_state, HealthStore(lambda _: None, uptimes=restart_state.uptimes)


def end(restart_state: RestartState) -> None:
    restart_state.stop(5.0)
    restart_state.release(left=True)


def test_the_time_of_every_pod_survives_a_restart_whether_or_not_it_has_a_check(tmp_path: Path) -> None:
    paused, unread = PodKey("web1", "paused"), PodKey("web1", "unread")
    first, healths = run_of(tmp_path)
    for key in (KEY, paused, unread):
        passing(healths, first.uptimes, key)
    healths.forget([paused])
    first.start(healths.all, dict)
    end(first)
    assert StateFile(tmp_path, "web1").read()[paused].check == ""
    for _ in range(2):
        second, healths = run_of(tmp_path)
        assert second.uptimes.all().keys() == {KEY, paused, unread}
        assert all(uptime.counted is Counted.NOT for uptime in second.uptimes.all().values())
        assert second._saver
        assert paused not in second._saver._not_taken_over
        second.take_over(SPEC, None)
        passing(healths, second.uptimes)
        second.start(healths.all, dict)
        end(second)
    assert StateFile(tmp_path, "web1").read()[unread].check == identity(replace(SPEC, key=unread))


def test_a_run_reads_the_file_of_an_earlier_version_and_writes_one_that_it_can_read(tmp_path: Path) -> None:
    (tmp_path / "web1.state").write_bytes(
        b'{"format":1,"node":"web1","boot":"x"}\n' + StateFile.line(replace(saved_at(time.time()), uptime=""))
    )
    first, healths = run_of(tmp_path)
    assert first.uptimes.all() == {}
    passing(healths, first.uptimes)
    healths.forget([KEY])
    first.start(healths.all, dict)
    end(first)
    without = {"boottime", "wall", "uptime"}
    lines = [json.loads(line) for line in (tmp_path / "web1.state").read_text().splitlines()]
    earlier = [json.dumps({name: value for name, value in line.items() if name not in without}) for line in lines]
    (tmp_path / "web1.state").write_text("\n".join(earlier))
    file = StateFile(tmp_path, "web1")
    assert [(key, one.uptime) for key, one in file.read().items()] == [(KEY, "")]


def test_an_heir_takes_the_time_from_the_record(tmp_path: Path) -> None:
    heir, _ = run_of(tmp_path)
    published = Elsewhere.of_record(HealthRecord.of(KEY, replace(HEALTH, since=time.time() - 100), 0.0))
    heir.take_over(SPEC, published)
    assert round(heir.uptimes.shares(KEY)[0].down) in range(96, 130)
    heir.release(left=True)
