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
    return TransferPool(str(authority.file))


def is_closed(transfer: Transfer) -> bool:
    try:
        transfer.curl.getinfo(pycurl.RESPONSE_CODE)
    except pycurl.error:
        return True
    return False


def test_a_transfer_that_was_given_back_is_taken_again(pool: TransferPool) -> None:
    first = pool.take(worker(PLAIN))
    second = pool.take(worker(PLAIN))
    assert first is not second
    pool.give(first, worker(PLAIN))
    assert pool.take(worker(PLAIN)) is first


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
    transfer = pool.take(worker(PLAIN))
    pool.give(transfer, worker(PLAIN))
    strange = pool.take(worker(other))
    assert strange is not transfer
    pool.give(strange, worker(other))
    assert pool.take(worker(PLAIN)) is transfer


@pytest.mark.parametrize("other", [HttpGet("web2", 81, "/b"), HttpGet("web1", 80, "/a", expect_status=((500, 599),))])
def test_where_it_goes_and_what_is_expected_are_no_part_of_the_profile(pool: TransferPool, other: Probe) -> None:
    transfer = pool.take(worker(PLAIN))
    pool.give(transfer, worker(PLAIN))
    assert pool.take(worker(other)) is transfer


def test_of_very_many_transfers_those_beyond_the_limit_are_closed(pool: TransferPool) -> None:
    busy = [pool.take(worker(PLAIN)) for _ in range(MAX_IDLE + 2)]
    for transfer in busy:
        pool.give(transfer, worker(PLAIN))
    assert [is_closed(transfer) for transfer in busy[-3:]] == [False, True, True]
    pool.clear()


def test_cleared_transfers_are_closed_and_new_ones_are_made(pool: TransferPool) -> None:
    old = pool.take(worker(PLAIN))
    pool.give(old, worker(PLAIN))
    pool.clear()
    assert is_closed(old)
    new = pool.take(worker(PLAIN))
    assert new is not old
    assert not is_closed(new)
