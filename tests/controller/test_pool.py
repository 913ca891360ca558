"""Transfers wait for the next probe of their profile, and for no other."""

import pycurl
import pytest

from controller.probes.pool import MAX_IDLE, TransferPool
from controller.probes.transfer import Transfer
from controller.probes.worker import Worker
from reconcilers.spec import CheckSpec, GrpcHealth, HttpGet, PodKey, Probe, TcpConnect, Tls
from tests.support.authority import Authority

PLAIN = HttpGet("web1", 80, "/a")


def worker(probe: Probe) -> Worker:
    return Worker(CheckSpec(PodKey("web1", "isup"), probe, 5.0, 5.0), 1)


@pytest.fixture
def pool(authority: Authority) -> TransferPool:
    return TransferPool(str(authority.file), lambda *_: None)


def is_closed(transfer: Transfer) -> bool:
    try:
        transfer.curl.getinfo(pycurl.RESPONSE_CODE)
    except pycurl.error:
        return True
    return False


def test_a_transfer_that_was_given_back_is_taken_again(pool: TransferPool) -> None:
    first = pool.get(worker(PLAIN))
    second = pool.get(worker(PLAIN))
    assert first is not second
    pool.give(first, worker(PLAIN))
    assert pool.get(worker(PLAIN)) is first


@pytest.mark.parametrize(
    "other",
    [
        HttpGet("web1", 80, "/a", method="HEAD"),
        HttpGet("web1", 80, "/a", headers=(("X-A", "b"),)),
        HttpGet("web1", 80, "/a", expect_body="ok"),
        HttpGet("web1", 80, "/a", reuse=True),
        HttpGet("web1", 80, "/a", Tls()),
        HttpGet("web1", 80, "/a", Tls(insecure_skip_verify=True)),
        HttpGet("web1", 80, "/a", Tls(server_name="web2")),
        TcpConnect("web1", 80),
        GrpcHealth("web1", 80),
        GrpcHealth("web1", 80, "a"),
    ],
)
def test_what_was_set_up_for_one_profile_serves_no_other(pool: TransferPool, other: Probe) -> None:
    transfer = pool.get(worker(PLAIN))
    pool.give(transfer, worker(PLAIN))
    strange = pool.get(worker(other))
    assert strange is not transfer
    pool.give(strange, worker(other))
    assert pool.get(worker(PLAIN)) is transfer


@pytest.mark.parametrize("other", [HttpGet("web2", 81, "/b"), HttpGet("web1", 80, "/a", expect_status=((500, 599),))])
def test_where_it_goes_and_what_is_expected_are_no_part_of_the_profile(pool: TransferPool, other: Probe) -> None:
    transfer = pool.get(worker(PLAIN))
    pool.give(transfer, worker(PLAIN))
    assert pool.get(worker(other)) is transfer


def test_of_very_many_transfers_those_beyond_the_limit_are_closed(pool: TransferPool) -> None:
    busy = [pool.get(worker(PLAIN)) for _ in range(MAX_IDLE + 2)]
    for transfer in busy:
        pool.give(transfer, worker(PLAIN))
    assert sum(is_closed(transfer) for transfer in busy) == 2
    pool.clear()
    assert all(is_closed(transfer) for transfer in busy)


def spoken(number: int) -> Worker:
    """A worker of a profile of its own."""
    return worker(HttpGet("web1", 80, "/a", headers=(("X-A", str(number)),)))


def test_transfers_of_profiles_that_are_not_asked_for_any_more_make_room(pool: TransferPool) -> None:
    """A check whose headers change with every deployment leaves a profile behind each time."""
    for number in range(MAX_IDLE):
        pool.give(pool.get(spoken(number)), spoken(number))
    new = pool.get(worker(PLAIN))
    for _ in range(3):
        pool.give(new, worker(PLAIN))
        assert pool.get(worker(PLAIN)) is new
    assert len(pool._idle) <= MAX_IDLE + 1
    pool.clear()


def test_a_profile_that_is_asked_for_keeps_its_transfer_when_there_are_many_others(pool: TransferPool) -> None:
    mine = pool.get(worker(PLAIN))
    pool.give(mine, worker(PLAIN))
    for number in range(3 * MAX_IDLE):
        pool.give(pool.get(spoken(number)), spoken(number))
        if number % 100 == 0:
            assert pool.get(worker(PLAIN)) is mine
            pool.give(mine, worker(PLAIN))
    assert sum(len(idle.transfers) for idle in pool._idle.values()) == MAX_IDLE
    pool.clear()


def test_a_transfer_that_is_given_back_may_be_the_one_to_go(pool: TransferPool) -> None:
    """Those of others were all asked for lately, and so was its own."""
    for _ in range(2):
        busy = [(pool.get(spoken(number)), spoken(number)) for number in range(MAX_IDLE + 1)]
        for transfer, mine in busy:
            pool.give(transfer, mine)
    assert sum(is_closed(transfer) for transfer, _ in busy) == 1
    pool.clear()


def test_cleared_transfers_are_closed_and_new_ones_are_made(pool: TransferPool) -> None:
    old = pool.get(worker(PLAIN))
    pool.give(old, worker(PLAIN))
    pool.clear()
    assert is_closed(old)
    new = pool.get(worker(PLAIN))
    assert new is not old
    assert not is_closed(new)
