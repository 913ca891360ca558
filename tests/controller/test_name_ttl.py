"""The answers of the resolver are used for their TTL."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.probes.resolver import RETRY, THREADS, TTL
from tests.support import sandbox
from tests.support.lookups import HERE, UNKNOWN, Lookups
from tests.support.net import until


@pytest.fixture
def lookups() -> Iterator[Lookups]:
    lookups = Lookups()
    yield lookups
    lookups.resolver.stop()


@pytest.mark.parametrize(("ttl", "valid"), [(0.0, RETRY), (7.0, 7.0), (3600.0, TTL), (None, TTL)])
def test_an_answer_is_valid_for_its_ttl_up_to_thirty_seconds(lookups: Lookups, ttl: float | None, valid: float) -> None:
    lookups.learn_with_ttl(HERE, ttl)
    assert lookups.ttls_asked == [("web1", "127.0.0.1")]
    lookups.clock.advance(valid)
    assert lookups.lookup() == HERE
    assert lookups.server.asked == ["web1"]
    lookups.clock.advance(0.1)
    lookups.lookup()
    until(lambda: lookups.server.asked == ["web1"] * 2)


def test_a_question_for_a_ttl_that_hangs_delays_no_lookup(lookups: Lookups) -> None:
    for number in range(2 * THREADS):
        assert lookups.learn(HERE, f"web{number}") == HERE
    assert len(lookups.ttls_asked) == 1


def test_a_ttl_is_asked_for_again_after_thirty_seconds_and_its_failure_ends_the_last_one(lookups: Lookups) -> None:
    lookups.learn_with_ttl(HERE, 5.0)
    for _ in range(5):
        lookups.clock.advance(5.5)
        lookups.learn(HERE)
    assert len(lookups.ttls_asked) == 1
    lookups.clock.advance(5.5)
    lookups.learn_with_ttl(HERE, None)
    assert len(lookups.ttls_asked) == 2


def test_the_ttl_of_a_name_without_address_is_not_asked_for(lookups: Lookups) -> None:
    lookups.learn(UNKNOWN)
    assert not lookups.ttls_asked


RESOLV = "nameserver 127.0.0.1\nsearch pods.test\noptions timeout:1 attempts:1\n"
IN_SIGHT = """
unshare --mount bash -euc '
    for file in resolv.conf nsswitch.conf hosts; do mount --bind $PWD/$file /etc/$file; done
    cd {root}
    exec python -m tests.support.named'
"""


@sandbox.needs_a_namespace
def test_a_name_that_moves_is_followed_after_the_ttl_that_a_dns_server_gives(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text(RESOLV)
    (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost inhosts\n")
    told = json.loads(sandbox.run(IN_SIGHT.format(root=Path(__file__).parents[2]), tmp_path, []))
    known = {"web1": 7.0, "web1.pods.test": 7.0, "alias": 5.0, "zero": 0.0, "v6": 8.0, "hosts": 1}
    unknown = dict.fromkeys(("web6", "none", "a..b", "of hosts"))
    assert {name: told[name] for name in (*known, *unknown)} == known | unknown
    assert told["followed after"] < 10, "the address that it left still answers"
    assert told["asked before"] < 15, "30 probes"
