"""Until when a chain of certificates is accepted, by OpenSSL's own verification of real certificates."""

import itertools
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from controller.probes import chains
from controller.probes.chains import Chains
from tests.support.chains import FUTURE, PAST, Link, cross_signed, link, trusted

NOW = time.time()
SOON = (datetime.now(UTC) + timedelta(days=5)).replace(microsecond=0)
LATER = SOON + timedelta(days=100)

ROOT = link("root", authority=True)
OLD_ROOT = link("old root", authority=True)
MIDDLE = link("middle", ROOT, authority=True)
LEAF = link("leaf", MIDDLE, names=("localhost",))


def until(authorities: str | bytes, *sent: Link) -> float:
    return Chains().accepted_until([each.pem().decode() for each in sent], authorities, NOW)


def test_the_first_of_the_chain_that_verifies_ends_it(tmp_path: Path) -> None:
    middle = link("middle", ROOT, authority=True, until=SOON)
    leaf = link("leaf", middle, names=("localhost",), until=LATER)
    assert until(str(trusted(tmp_path, ROOT)), leaf, middle) == SOON.timestamp()
    root = link("root", authority=True, until=PAST)
    assert until(str(trusted(tmp_path, root)), link("leaf", root, until=LATER)) == 0
    root = link("root", authority=True, until=SOON)
    assert until(str(trusted(tmp_path, root)), link("leaf", root, until=LATER)) == SOON.timestamp(), "ours, not sent"


@pytest.mark.parametrize("end", [PAST, SOON])
def test_a_certificate_that_verification_has_no_need_of_ends_nothing(tmp_path: Path, end: datetime) -> None:
    needless = cross_signed(ROOT, OLD_ROOT, until=end)
    assert until(str(trusted(tmp_path, ROOT)), LEAF, MIDDLE, needless) == FUTURE.timestamp()


def test_of_several_chains_the_one_counts_that_lives_longest(tmp_path: Path) -> None:
    old = link("old root", authority=True, until=SOON)
    bundle = tmp_path / "both.pem"
    short = cross_signed(ROOT, old, until=SOON)
    bundle.write_bytes(short.pem() + ROOT.pem())
    assert until(str(bundle), LEAF, MIDDLE, short) == FUTURE.timestamp()
    expired = cross_signed(ROOT, old, until=PAST)
    bundle.write_bytes(expired.pem() + ROOT.pem())
    assert until(str(bundle), LEAF, MIDDLE, expired) == FUTURE.timestamp()
    assert until(str(trusted(tmp_path, old)), LEAF, MIDDLE, short) == SOON.timestamp(), "where there is but one"


def test_whoever_is_trusted_need_not_be_a_root(tmp_path: Path) -> None:
    assert until(str(trusted(tmp_path, MIDDLE)), LEAF) == FUTURE.timestamp()


def test_authorities_may_be_given_as_bytes() -> None:
    assert until(OLD_ROOT.pem() + ROOT.pem(), LEAF, MIDDLE) == FUTURE.timestamp()


def test_an_authority_whose_serial_number_is_none_is_one_nevertheless() -> None:
    """Hosts' bundles hold some; a strict reader warns of them, or refuses."""
    serial = ROOT.certificate.serial_number.to_bytes(20)
    odd = ROOT.certificate.public_bytes(serialization.Encoding.DER).replace(serial, b"\x95" + serial[1:])
    assert until(ssl.DER_cert_to_PEM_cert(odd).encode(), LEAF, MIDDLE) == FUTURE.timestamp()


@pytest.mark.parametrize("authorities", ["/nowhere.pem", b"no certificate", OLD_ROOT.pem()])
def test_there_is_no_end_where_nothing_verifies(authorities: str | bytes) -> None:
    assert until(authorities, LEAF, MIDDLE) == 0


def test_what_is_no_certificate_has_no_end(tmp_path: Path) -> None:
    assert Chains().accepted_until(["rubbish"], str(trusted(tmp_path, ROOT)), NOW) == 0


def test_a_chain_that_is_seen_again_is_not_verified_again(tmp_path: Path) -> None:
    """An hour after the leaf's end nothing verifies any more: what is said then was remembered."""
    known, authorities = Chains(), str(trusted(tmp_path, ROOT))
    sent = [link("leaf", ROOT, until=SOON).pem().decode()]
    assert known.accepted_until(sent, authorities, SOON.timestamp() + 3600) == 0
    assert known.accepted_until(sent, authorities, NOW) == 0
    assert Chains().accepted_until(sent, authorities, NOW) == SOON.timestamp()


def test_what_is_remembered_is_bounded_and_stays_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "MAX_CHAINS", 3)
    known = Chains()
    roots = [link("root", authority=True, until=SOON + timedelta(days=day)) for day in range(chains.MAX_BUNDLES + 4)]
    for root, _ in itertools.product(roots, range(2)):
        leaves = [link(name, root).pem().decode() for name in "abcde"]
        ends = {known.accepted_until([leaf], root.pem(), NOW) for leaf in leaves}
        assert ends == {root.certificate.not_valid_after_utc.timestamp()}
    assert (len(known._found), len(known._bundles)) == (3, chains.MAX_BUNDLES)
