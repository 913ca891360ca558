"""The session keeper with a real Consul."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controller.consul.client import ConsulClient, ConsulSettings
from controller.consul.operations import Observe
from controller.consul.session import TTL, SessionKeeper
from controller.consul.silence import Outlook, Silence
from controller.runtime.heartbeat import Heartbeat
from tests.support.consul import Agent
from tests.support.fake_http import Asked, FakeServer, Reply
from tests.support.net import until

RENEWAL = 0.5


class Clock:
    """Real time plus the seconds that a test adds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@contextmanager
def keeping(
    settings: ConsulSettings,
    clock: Callable[[], float] = time.monotonic,
    resume: str = "",
    on_end: Callable[[], None] = lambda: None,
    observe: Observe = lambda *_: None,
) -> Iterator[tuple[SessionKeeper, list[str]]]:
    """A running keeper and the sessions that it passed to `on_new`."""
    announced: list[str] = []
    client, heartbeat = ConsulClient(settings, observe=observe), Heartbeat("session", 30, clock)
    keeper = SessionKeeper(
        client, "web1", announced.append, heartbeat, on_end=on_end, resume=resume, renewal=RENEWAL, clock=clock
    )
    keeper.start()
    try:
        yield keeper, announced
    finally:
        keeper.stop(5.0)


def test_a_session_is_created_announced_and_destroyed_at_the_end(consul: Agent) -> None:
    with keeping(consul.settings()) as (keeper, announced):
        until(lambda: announced)
        session = keeper.current()
        assert [session] == announced
        assert list(consul.sessions()) == announced
        made = consul.sessions()[announced[0]]
        assert re.fullmatch(r"health:web1:\d+:\d{4}-\d{6}", made["Name"])
        assert (made["TTL"], made["Behavior"], made["LockDelay"], made["NodeChecks"]) == (
            "10s",
            "delete",
            1_000_000,
            [],
        )
        assert 5 < keeper.expires_at() - time.time() <= TTL
        consul.put("health/isup/web1", "{}", acquire=announced[0])
    assert consul.sessions() == {}
    assert consul.keys() == []
    assert (keeper.current(), keeper.expires_at()) == (None, 0.0)


def test_the_next_run_can_resume_a_session(consul: Agent) -> None:
    with keeping(consul.settings()) as (first, announced):
        until(lambda: announced)
        consul.put("health/isup/web1", "{}", acquire=announced[0])
        first.stop(5.0, destroy=False)
    with keeping(consul.settings(), resume=announced[0]) as (second, resumed):
        assert second.current() in {None, announced[0]}
        until(lambda: resumed)
        assert resumed == announced
        assert second.current() == announced[0]
        assert consul.keys() == ["health/isup/web1"]


def test_a_missing_session_of_an_earlier_run_is_replaced(consul: Agent) -> None:
    gone = consul.new_session()
    consul.destroy_session(gone)
    with keeping(consul.settings(), resume=gone) as (keeper, announced):
        until(lambda: announced)
        assert announced[0] != gone
        assert keeper.current() == announced[0]


def test_a_session_that_consul_ended_is_replaced(consul: Agent) -> None:
    with keeping(consul.settings()) as (keeper, announced):
        until(lambda: announced)
        consul.destroy_session(announced[0])
        until(lambda: len(announced) == 2, within=TTL)
        assert keeper.current() == announced[1] != announced[0]
        assert list(consul.sessions()) == [announced[1]]


def test_the_end_of_a_session_is_announced_before_the_next_is_created(consul: Agent) -> None:
    ended: list[int] = []
    with keeping(consul.settings(), on_end=lambda: ended.append(len(consul.sessions()))) as (_, announced):
        until(lambda: announced)
        consul.destroy_session(announced[0])
        until(lambda: len(announced) == 2, within=TTL)
    assert ended == [0]


def test_after_the_deadline_there_is_no_session_until_consul_confirms_it(consul: Agent) -> None:
    clock = Clock()
    with keeping(consul.settings(), clock) as (keeper, announced):
        until(lambda: announced)
        assert keeper.current() == announced[0]
        consul.pause()
        clock.ahead = TTL + 1.0
        assert keeper.current() is None
        assert len(announced) == 1
        consul.resume()
        until(lambda: len(announced) == 2, within=TTL)
        assert announced[1] == announced[0] == keeper.current()


@pytest.mark.slow
def test_an_agent_that_hangs_for_a_ttl_ends_the_lease_in_time(consul: Agent) -> None:
    with keeping(consul.settings()) as (keeper, announced):
        until(lambda: announced)
        consul.pause()
        paused = time.monotonic()
        until(lambda: keeper.current() is None, within=TTL + 2.0)
        assert time.monotonic() - paused <= TTL + 1.0
        consul.resume()
        until(lambda: keeper.current() is not None, within=10.0)
        until(lambda: len(announced) == 2)


def test_after_a_restart_of_an_agent_without_data_there_is_a_new_session(consul: Agent) -> None:
    with keeping(consul.settings()) as (keeper, announced):
        until(lambda: announced)
        consul.restart()
        until(lambda: len(announced) == 2, within=10.0)
        assert keeper.current() == announced[1]
        assert list(consul.sessions()) == [announced[1]]


def test_a_session_is_created_soon_after_the_start_of_consul(consul: Agent) -> None:
    consul.stop()
    with keeping(consul.settings()) as (keeper, announced):
        assert keeper.current() is None
        consul.start()
        until(lambda: announced, within=15.0)


def seconds_to_stop(keeper: SessionKeeper) -> float:
    started = time.monotonic()
    keeper.stop(5.0)
    return time.monotonic() - started


def test_it_stops_within_a_second_while_consul_hangs(consul: Agent) -> None:
    """At least once in some trials. The machine may stand still during the others."""

    def stops_at_once() -> bool:
        with keeping(consul.settings()) as (keeper, announced):
            took = seconds_to_stop(keeper)
            assert announced == []
        return took < 1.0

    consul.pause()
    assert any(stops_at_once() for _ in range(5))
    consul.resume()


def test_stopping_waits_only_briefly_for_the_end_of_the_session_while_consul_hangs(consul: Agent) -> None:
    with keeping(consul.settings()) as (keeper, announced):
        until(lambda: announced)
        consul.pause()
        started = time.monotonic()
        keeper.stop(60.0)
        assert time.monotonic() - started < 20.0
        consul.resume()


def test_it_stops_while_it_waits_for_a_retry() -> None:
    """At least once in some trials. The machine may stand still during the others."""
    with FakeServer(lambda _: Reply(500, b"No cluster leader")) as server:

        def stops_at_once() -> bool:
            before = len(server.asked)
            with keeping(ConsulSettings(server.address)) as (keeper, _):
                until(lambda: len(server.asked) >= before + 5)
                return seconds_to_stop(keeper) < 1.0

        assert any(stops_at_once() for _ in range(5))
        assert all(asked.path == "/v1/session/create" for asked in server.asked)


def test_a_failed_renewal_is_retried_soon_and_does_not_end_the_session(caplog: pytest.LogCaptureFixture) -> None:
    answers = threading.Event()

    def respond(asked: Asked) -> Reply:
        if asked.path == "/v1/session/create":
            return Reply(200, b'{"ID": "abc"}')
        if not answers.is_set():
            return Reply(500, b"rpc error: No cluster leader")
        return Reply(200, b'[{"ID": "abc", "TTL": "10s"}]')

    def renewals() -> int:
        return sum(asked.path == "/v1/session/renew/abc" for asked in server.asked)

    with FakeServer(respond) as server, keeping(ConsulSettings(server.address)) as (keeper, announced):
        until(lambda: renewals() >= 3, within=TTL)
        assert keeper.current() == "abc"
        answers.set()
        until(lambda: renewals() >= 4)
        until(lambda: keeper.expires_at() - time.time() > TTL / 2)
        assert announced == ["abc"]
    complaints = [record.message for record in caplog.records if "cannot be renewed" in record.message]
    assert len(complaints) == 1
    assert "answered 500 rpc error: No cluster leader" in complaints[0]


def test_a_silent_consul_is_one_sentence_and_one_line_of_the_log(
    consul: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    clock, outcomes = Clock(), list[str]()
    silence = Silence(lambda _, outcome, __: outcomes.append(outcome))
    with keeping(consul.settings(), clock, observe=silence.observe) as (keeper, _):
        silence.outlook = Outlook(keeper)
        until(keeper.current)
        consul.pause()
        until(lambda: outcomes.count("silent") >= 3, 60.0, "renewals are tried again")
        pattern = r"Consul has not answered since [0-9-]+ [0-9:]+ UTC; probes go on, what is published stays for \d+ s"
        clock.ahead -= 600
        assert re.fullmatch(pattern, silence.text())
        assert (keeper.why(), keeper.failure()) == ("", "no_answer")
        clock.ahead += 1_200
        assert silence.text().endswith("probes go on, what was published may be gone")
        assert keeper.current() is None
        consul.resume()
        until(lambda: keeper.current() and not silence.text(), 30.0, "Consul answers again")
        assert not keeper.failure()
    lines = [record.message for record in caplog.records]
    silences = sum(line.startswith("Consul has not answered since") for line in lines)
    assert silences == sum(line.startswith("Consul answers again, after ") for line in lines)
    assert 1 <= silences < outcomes.count("silent")
    assert [line for line in lines if "cannot be renewed" in line] == []


def test_creation_is_retried_while_the_agent_has_no_serf_check_yet() -> None:
    replies = iter([Reply(500, b"Missing check 'serfHealth' registration")] * 3 + [Reply(200, b'{"ID": "abc"}')])

    def respond(asked: Asked) -> Reply:
        if "create" not in asked.path:
            return Reply(200, b"true")
        reasons.append(keepers[0].why() if keepers else "")
        return next(replies)

    keepers, reasons = list[SessionKeeper](), list[str]()
    with FakeServer(respond) as server, keeping(ConsulSettings(server.address)) as (keeper, announced):
        keepers.append(keeper)
        until(lambda: announced, within=15.0)
        assert (keeper.current(), keeper.why()) == ("abc", "")
        why = f"creating a session: Consul at {server.address} answered 500 Missing check 'serfHealth' registration"
        assert reasons[-1] == why


def test_an_unknown_session_is_destroyed_before_the_next_is_created() -> None:
    """The server had not read its log yet: the unknown session would later hold the keys of the new one."""
    renewals = iter([Reply(404, b"Session id 'first' not found")])
    names = iter(["first", "second"])

    def respond(asked: Asked) -> Reply:
        if "create" in asked.path:
            return Reply(200, json.dumps({"ID": next(names)}).encode())
        if "renew" in asked.path:
            return next(renewals, Reply(200, b'[{"ID": "second", "TTL": "10s"}]'))
        return Reply(200, b"true")

    with FakeServer(respond) as server, keeping(ConsulSettings(server.address)) as (keeper, announced):
        until(lambda: announced == ["first", "second"], 2 * TTL)
        verbs = [asked.path.split("?")[0].removeprefix("/v1/session/") for asked in server.asked]
        assert verbs[:4] == ["create", "renew/first", "destroy/first", "create"]
        assert keeper.current() == "second"


def test_a_session_has_the_shortest_ttl_allowed(consul_binary: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Agent(consul_binary, persistent=True, config={"session_ttl_min": "60s"}) as consul:
        with keeping(consul.settings()) as (keeper, announced):
            until(lambda: announced)
            assert consul.sessions()[announced[0]]["TTL"] == "60s"
            assert 50 < keeper.expires_at() - time.time() <= 60
            keeper.stop(5.0, destroy=False)
        consul.stop()
        consul.configure(session_ttl_min="10s")
        consul.start()
        with keeping(consul.settings(), resume=announced[0]) as (keeper, resumed):
            until(lambda: resumed)
            assert resumed == announced
            assert 50 < keeper.expires_at() - time.time() <= 60
            consul.destroy_session(announced[0])
            until(lambda: len(resumed) == 2, within=TTL)
            assert consul.sessions()[resumed[1]]["TTL"] == "10s"
            assert keeper.expires_at() - time.time() <= TTL
    said = [record.message for record in caplog.records if "session_ttl_min" in record.message]
    assert ["below 60 s" in line for line in said] == [True, True, False]


def test_another_refusal_of_a_session_does_not_change_its_ttl() -> None:
    bounds = ("must be between [=24h0m0s]", "must be between [5s=24h0m0s]", "must be between [soon=24h0m0s]", "")
    replies = iter([Reply(500, f"Invalid Session TTL '10000000000', {bound}".encode()) for bound in bounds])
    last = Reply(200, b'{"ID": "abc"}')
    with FakeServer(lambda _: next(replies, last)) as server, keeping(ConsulSettings(server.address)) as (_, announced):
        until(lambda: announced, within=TTL)
        assert [json.loads(asked.body)["ttl"] for asked in server.asked[:5]] == ["10s"] * 5
