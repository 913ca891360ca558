"""A changed ACL token: the agent syncs each service with the token of its registration."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from controller.consul.client import ConsulSettings
from reconcilers.health import HealthState, Reason
from reconcilers.record import HealthRecord
from tests.controller.test_publish_ttl import kept
from tests.support.agent_sink import CRITICAL, ISUP, ISUP_ID, PASSING, UNKNOWN, Bench, named, sink_at
from tests.support.consul import Agent
from tests.support.dns import addresses
from tests.support.fake_http import Asked, Reply
from tests.support.gateway import Gateway
from tests.support.net import free_ports, until
from tests.support.recorders import FakeClock

RULES = 'service_prefix "" { policy = "write" }'


@dataclass
class Strict:
    """A Consul that denies by default, and the file of our token."""

    agent: Agent
    file: Path
    dns: int
    token: str = ""

    def give(self, rules: str = RULES) -> str:
        """Replaces the token. Returns the previous one, which is still valid."""
        before, self.token = self.token, self.agent.create_token(rules)
        unfinished = self.file.with_name("next")
        unfinished.write_text(self.token)
        unfinished.replace(self.file)
        return before

    def rotate(self) -> None:
        """Replaces the token, and deletes the previous one."""
        self.agent.delete_token(self.give())

    @contextmanager
    def sink(self, **options: Any) -> Iterator[Bench]:
        settings = replace(self.agent.settings(""), token_file=str(self.file))
        with sink_at(self.agent, settings=settings, **options) as bench:
            yield bench

    def answered(self) -> bool:
        """Whether DNS returns the pod."""
        return bool(addresses(self.dns, "isup.service.consul"))


@pytest.fixture(params=[False, True], ids=["without memory", "with memory"])
def strict(request: pytest.FixtureRequest, consul_binary: Path, tmp_path: Path) -> Iterator[Strict]:
    with strict_at(consul_binary, tmp_path / "token", persistent=request.param) as made:
        yield made


@pytest.fixture
def short(consul_binary: Path, tmp_path: Path) -> Iterator[Strict]:
    """A Consul without stored state, for tests in which this makes no difference."""
    with strict_at(consul_binary, tmp_path / "token", persistent=False) as made:
        yield made


@contextmanager
def strict_at(binary: Path, file: Path, *, persistent: bool) -> Iterator[Strict]:
    (port,) = free_ports(1)
    config = {"ports": {"dns": port}, "dns_config": {"use_cache": False}}
    with Agent(binary, acl=True, persistent=persistent, config=config, dns_token=True) as agent:
        made = Strict(agent, file, port)
        made.give()
        yield made


def test_a_pod_that_fails_after_the_old_token_was_deleted_is_removed_from_dns(strict: Strict) -> None:
    with strict.sink() as bench:
        bench.sink.write([PASSING], [])
        until(strict.answered, what="DNS to answer it")
        strict.rotate()
        assert bench.sink.write([CRITICAL], []) == {}
        bench.await_catalog("critical")
        until(lambda: not strict.answered(), what="DNS to answer it no more")
        assert bench.in_catalog()["Output"].startswith("critical (status)")


def test_a_pod_that_is_deleted_after_the_old_token_was_deleted_is_removed_from_the_catalog(strict: Strict) -> None:
    with strict.sink() as bench:
        bench.sink.write([PASSING], [])
        strict.rotate()
        assert bench.sink.write([], [ISUP]) == {}
        until(lambda: not bench.in_catalog(), what="the catalog to forget it")


def test_withdraw_all_removes_services_from_the_catalog_after_the_old_token_was_deleted(short: Strict) -> None:
    with short.sink() as bench:
        bench.sink.write([PASSING, *named(2)], [])
        short.rotate()
        bench.sink.withdraw_all(5.0)
        until(lambda: not (bench.in_catalog() or bench.in_catalog("pod1")), what="the catalog to forget them")


def test_a_pod_that_failed_before_a_restart_with_another_token_is_removed_from_dns(strict: Strict) -> None:
    with strict.sink() as earlier:
        earlier.sink.write([PASSING], [])
        earlier.await_catalog("passing")
        strict.rotate()
        earlier.client.apply(strict.agent.settings())
        assert earlier.client.update_check(ISUP_ID, "critical", "critical (status): answered 500")
    with strict.sink() as bench:
        assert bench.status() == "critical"
        assert bench.in_catalog()["Status"] == "passing", "the agent was refused, and does not try again"
        bench.sink.leftovers("web1")
        bench.sink.write([CRITICAL], [])
        bench.sink.register_again(1)
        bench.await_catalog("critical")
        until(lambda: not strict.answered(), what="DNS to answer it no more")


def test_a_pod_that_was_deleted_while_no_controller_ran_is_removed_with_another_token(short: Strict) -> None:
    with short.sink() as earlier:
        earlier.sink.write([PASSING, *named(1)], [])
        short.agent.request("PUT", f"agent/check/deregister/{ISUP_ID}")
    short.rotate()
    with short.sink() as bench:
        left = bench.sink.leftovers("web1")
        bench.directory.gone = set(left)
        assert bench.sink.write([], left) == {}
        until(lambda: not (bench.in_catalog() or bench.in_catalog("pod0")), what="the catalog to forget them")
        assert bench.agent.request("GET", "catalog/service/isup").json() == []


def test_a_pod_that_recovers_after_the_old_token_was_deleted_is_in_dns_again(short: Strict) -> None:
    with short.sink() as bench:
        bench.sink.write([CRITICAL], [])
        short.rotate()
        bench.sink.write([PASSING], [])
        until(short.answered, what="DNS to answer it")


def test_all_services_are_registered_again_once_after_a_change_of_the_token(short: Strict) -> None:
    records = [PASSING, *named(20)]
    with short.sink() as bench:
        bench.sink.write(records, [])
        bench.asked.clear()
        bench.sink.register_again(1000)
        assert bench.asked == [], "the token is the same"
        old = short.give()
        bench.sink.register_again(1000)
        assert bench.asked.count("register_service") == len(records)
        bench.asked.clear()
        bench.sink.register_again(1000)
        assert bench.asked == []
        short.agent.delete_token(old)
        bench.sink.write(named(20, HealthState.CRITICAL), [])
        assert "register_service" not in bench.asked
        for at in range(20):
            bench.await_catalog("critical", f"pod{at}")


def test_a_reload_may_change_the_token(short: Strict) -> None:
    with short.sink() as bench:
        bench.sink.write([PASSING], [])
        bench.client.apply(short.agent.settings())
        bench.sink.register_again(10)
        short.agent.delete_token(short.token)
        bench.sink.write([CRITICAL], [])
        bench.await_catalog("critical")


def test_after_a_start_each_service_is_registered_once_when_there_is_evidence(short: Strict) -> None:
    with short.sink() as earlier:
        earlier.sink.write([PASSING, *named(2)], [])
    with short.sink() as bench:
        bench.sink.leftovers("web1")
        bench.asked.clear()
        bench.sink.register_again(10)
        assert bench.asked == [], "its check's TTL would begin anew"
        bench.sink.write([PASSING], [])
        bench.asked.clear()
        bench.sink.register_again(10)
        bench.sink.register_again(10)
        assert bench.asked == ["agent_checks", "update_check", "register_service"]


def test_services_that_may_have_to_leave_dns_are_registered_first(short: Strict) -> None:
    with short.sink() as bench:
        bench.sink.write([*named(4), CRITICAL], [])
        old = short.give()
        bench.sink.register_again(1)
        short.agent.delete_token(old)
        for identity in ("podpulse:web1:pod0", ISUP_ID):
            bench.agent.request("PUT", f"agent/check/warn/{identity}")
        bench.await_catalog("warning")
        assert bench.in_catalog("pod0")["Status"] == "passing", "it is not its turn yet"


def test_no_reader_sees_another_status_while_services_are_registered_again(strict: Strict) -> None:
    records = named(30)
    with strict.sink() as bench:
        bench.sink.write(records, [])
        for record in records:
            bench.await_catalog("passing", record.key.pod)
        with watching(bench, lambda: bench.agent.request("GET", "health/node/web1").json()) as seen:
            for _ in range(3):
                strict.give()
                bench.sink.register_again(1000)
        assert seen == {"passing"}
        assert all(check["Status"] == "passing" for check in bench.checks().values())


@contextmanager
def watching(bench: Bench, look: Callable[[], list[dict[str, Any]]]) -> Iterator[set[str]]:
    """The statuses of all checks, read continuously."""
    seen: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            seen.update(str(check["Status"]) for check in look())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def test_an_expired_check_does_not_pass_because_of_its_registration(short: Strict) -> None:
    clock = FakeClock()
    with short.sink(clock=clock) as bench:
        bench.sink.write([PASSING], [])
        bench.agent.request("PUT", f"agent/check/fail/{ISUP_ID}")
        clock.advance(1000.0)
        short.give()
        bench.asked.clear()
        bench.sink.register_again(10)
        assert bench.lost == [ISUP]
        assert bench.asked == []
        assert bench.status() == "critical"


def test_after_lost_rights_are_restored_no_failed_pod_is_passing_in_the_catalog(short: Strict) -> None:
    with short.sink(ttl=0.5) as bench:
        bench.sink.write([PASSING], [])
        bench.await_catalog("passing")
        short.agent.replace_rules(short.token, 'key_prefix "" { policy = "read" }')
        assert "403" in bench.sink.write([CRITICAL], [])[ISUP]
        until(lambda: bench.status() == "critical", what="the check to run out")
        assert bench.in_catalog()["Status"] == "passing", "the agent may not say so"
        short.agent.replace_rules(short.token, RULES)
        assert bench.sink.write([CRITICAL], []) == {}
        bench.sink.register_again(10)
        bench.await_catalog("critical")


def test_a_token_that_changed_while_the_agent_was_down_is_noticed_afterwards(strict: Strict) -> None:
    with strict.sink(ttl=3.0) as bench:
        bench.sink.leftovers("web1")
        bench.sink.write([PASSING], [])
        with kept(bench):
            old = strict.give()
            strict.agent.stop()
            until(lambda: bench.asked[-1] == "agent_services", what="a look in vain")
            strict.agent.start()
            if strict.agent.persistent:
                strict.agent.delete_token(old)
            else:
                strict.give()

            def stands() -> bool:
                """Writes lost records again."""
                lost, bench.lost[:] = bench.lost.copy(), []
                if lost:
                    bench.sink.write([PASSING], [])
                return bench.in_catalog().get("Status") == "passing"

            until(stands, 30.0, "the pod to be in the catalog again")
            until(lambda: bench.sink.write([CRITICAL], []) == {}, 30.0, "the agent to take it")
            bench.await_catalog("critical")


def test_the_keeper_registers_some_at_a_time_and_goes_on_renewing(short: Strict) -> None:
    with short.sink(ttl=6.0) as bench:
        bench.sink.leftovers("web1")
        bench.sink.write(named(40), [])
        old = short.give()
        with kept(bench):
            until(lambda: bench.asked.count("register_service") == 80, 30.0, "all to be registered")
            first = [at for at, operation in enumerate(bench.asked) if operation == "register_service"][40]
            between = bench.asked[first:][: bench.asked[first:].index("agent_checks")]
            assert between.count("register_service") <= 40 / 2, "not all in one turn of the keeper"
        assert bench.lost == []
        short.agent.delete_token(old)
        bench.sink.write(named(40, HealthState.CRITICAL), [])
        for at in range(40):
            bench.await_catalog("critical", f"pod{at}")


@pytest.mark.parametrize("answer", [403, 500])
def test_while_registrations_fail_checks_are_renewed_and_one_is_tried_per_period(
    short: Strict, caplog: pytest.LogCaptureFixture, answer: int
) -> None:
    def lie(asked: Asked) -> Reply | None:
        return Reply(answer, b"no") if asked.path.endswith("/service/register") else None

    with Gateway(short.agent.http_port) as gateway:
        settings = ConsulSettings(address=f"http://127.0.0.1:{gateway.port}", token_file=str(short.file))
        with sink_at(short.agent, settings=settings, ttl=6.0) as bench:
            bench.sink.leftovers("web1")
            bench.sink.write(named(3), [])
            gateway.lie = lie
            short.give()
            bench.asked.clear()
            with kept(bench):
                until(lambda: bench.asked.count("register_service") >= 3, 30.0, "some tries")
                tries = bench.asked.count("register_service")
                assert bench.asked.count("update_check") >= 2 * tries
                assert bench.lost == []
                assert caplog.text.count("services are not registered with our token") == 1
                gateway.lie = None
                until(lambda: bench.asked.count("register_service") >= tries + 3, 30.0, "all to be registered")


def test_unknown_after_a_rotation_keeps_a_pod_in_dns(short: Strict) -> None:
    with short.sink() as bench:
        bench.sink.write([PASSING], [])
        short.rotate()
        bench.sink.write([UNKNOWN], [])
        bench.await_catalog("warning")
        assert short.answered()


def test_another_reason_reaches_the_catalog_after_a_rotation(short: Strict) -> None:
    with short.sink() as bench:
        bench.sink.write([CRITICAL], [])
        short.rotate()
        refused = HealthRecord(ISUP, HealthState.CRITICAL, Reason.REFUSED, "connection refused")
        assert bench.sink.write([refused], []) == {}
        until(lambda: "connection refused" in bench.in_catalog()["Output"], what="the reason in the catalog")
