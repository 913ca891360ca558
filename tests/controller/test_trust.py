"""Until when a chain of certificates is accepted, by OpenSSL's own verification of real certificates."""

import itertools
import ssl
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization

import controller.probes.trust
from controller.probes.trust import Trust, parsed
from reconcilers.health import NO_CERTIFICATE, Certificate
from tests.support.chains import FUTURE, LONG_AGO, PAST, Link, cross_signed, link

NOW = time.time()
SOON = (datetime.now(UTC) + timedelta(days=5)).replace(microsecond=0)
LATER = SOON + timedelta(days=100)

ROOT = link("root", authority=True)
OLD_ROOT = link("old root", authority=True)
MIDDLE = link("middle", ROOT, authority=True)
LEAF = link("leaf", MIDDLE, names=("localhost",))


def trust(*authorities: Link) -> Trust:
    return Trust(b"".join(each.pem() for each in authorities))


def der(*sent: Link) -> list[bytes]:
    return [each.certificate.public_bytes(serialization.Encoding.DER) for each in sent]


def until(trusted: Trust, *sent: Link) -> float:
    return trusted.accepted_until(parsed(der(*sent)), NOW)


def test_the_first_of_the_chain_that_verifies_ends_it() -> None:
    middle = link("middle", ROOT, authority=True, until=SOON)
    leaf = link("leaf", middle, names=("localhost",), until=LATER)
    assert until(trust(ROOT), leaf, middle) == SOON.timestamp()
    root = link("root", authority=True, until=PAST)
    assert until(trust(root), link("leaf", root, until=LATER)) == 0
    root = link("root", authority=True, until=SOON)
    assert until(trust(root), link("leaf", root, until=LATER)) == SOON.timestamp(), "ours, not sent"


@pytest.mark.parametrize("end", [PAST, SOON])
def test_a_certificate_that_verification_has_no_need_of_ends_nothing(end: datetime) -> None:
    needless = cross_signed(ROOT, OLD_ROOT, until=end)
    assert until(trust(ROOT), LEAF, MIDDLE, needless) == FUTURE.timestamp()


def test_of_several_chains_the_one_counts_that_lives_longest() -> None:
    old = link("old root", authority=True, until=SOON)
    short = cross_signed(ROOT, old, until=SOON)
    assert until(trust(short, ROOT), LEAF, MIDDLE, short) == FUTURE.timestamp()
    expired = cross_signed(ROOT, old, until=PAST)
    assert until(trust(expired, ROOT), LEAF, MIDDLE, expired) == FUTURE.timestamp()
    assert until(trust(old), LEAF, MIDDLE, short) == SOON.timestamp(), "where there is but one"


def test_whoever_is_trusted_need_not_be_a_root() -> None:
    assert until(trust(MIDDLE), LEAF) == FUTURE.timestamp()


def test_an_authority_whose_serial_number_is_none_is_one_nevertheless() -> None:
    """Bundles of hosts have authorities with such serial numbers. A strict reader warns about them or refuses them."""
    serial = ROOT.certificate.serial_number.to_bytes(20)
    odd = ROOT.certificate.public_bytes(serialization.Encoding.DER).replace(serial, b"\x95" + serial[1:])
    assert until(Trust(ssl.DER_cert_to_PEM_cert(odd).encode()), LEAF, MIDDLE) == FUTURE.timestamp()


def test_a_bundle_is_used_without_what_cannot_be_parsed() -> None:
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert until(Trust(b"# roots\n" + broken + ROOT.pem() + broken), LEAF, MIDDLE) == FUTURE.timestamp()


@pytest.mark.parametrize("pem", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----"])
def test_a_bundle_without_a_certificate_is_refused(pem: bytes) -> None:
    with pytest.raises(ValueError, match="expected at least one certificate in PEM"):
        Trust(pem)


def test_there_is_no_end_where_nothing_verifies() -> None:
    assert until(trust(OLD_ROOT), LEAF, MIDDLE) == 0
    assert until(trust(ROOT), LEAF) == 0, "the intermediate is missing"


def test_an_authority_is_valid_from_its_start_until_its_end() -> None:
    mortal = link("mortal", authority=True, until=SOON)
    both = trust(ROOT, mortal)
    end = SOON.timestamp()
    moments = (LONG_AGO.timestamp() - 1, NOW, end - 1, end, FUTURE.timestamp())
    assert [len(both.valid(moment)) for moment in moments] == [0, 2, 2, 1, 0]
    changes = [LONG_AGO.timestamp(), end, end, FUTURE.timestamp(), float("inf")]
    assert [both.changes_at(moment) for moment in moments] == changes


def test_an_expired_authority_is_known_as_the_issuer() -> None:
    mortal = link("mortal", authority=True, until=SOON)
    leaf = link("leaf", mortal, names=("localhost",))
    later = SOON.timestamp() + 1
    assert trust(ROOT, mortal).is_expired(parsed(der(leaf)), later)
    assert not trust(ROOT, mortal).is_expired(parsed(der(leaf)), NOW)
    assert not trust(ROOT, mortal).is_expired(parsed(der(LEAF, MIDDLE)), later)


# What people and metrics get


def test_the_description_of_a_certificate_has_its_names_and_its_ends() -> None:
    middle = link("middle", ROOT, authority=True, until=SOON)
    leaf = link("leaf", middle, names=("localhost", "web1"), until=LATER)
    soon = SOON.timestamp()
    expected = Certificate(soon, "localhost, web1", "CN = middle", soon)
    assert trust(ROOT).certificate(der(leaf, middle), NOW, accepted=True) == expected
    assert trust(ROOT).certificate(der(leaf, middle), NOW, accepted=False) == expected._replace(chain_expires=0.0)
    assert trust(ROOT).certificate([], NOW, accepted=True) == NO_CERTIFICATE


def test_a_chain_that_is_seen_again_is_not_verified_again_before_it_ends() -> None:
    sent, trusted, end = der(link("leaf", ROOT, until=SOON)), trust(ROOT), SOON.timestamp()
    first = trusted.certificate(sent, NOW, accepted=True)
    assert first.chain_expires == end
    assert trusted.certificate(sent, NOW + 60, accepted=True) is first
    assert trusted.certificate(sent, end, accepted=True) is not first, "after its end another chain may verify"
    assert trusted.certificate(sent, NOW, accepted=False).chain_expires == 0, "what was not accepted is another answer"


def test_what_is_remembered_is_bounded_and_stays_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller.probes.trust, "MAX_CHAINS", 3)
    ends = [SOON + timedelta(days=day) for day in range(8)]
    leaves = [der(link(f"leaf-{number}", ROOT, until=end)) for number, end in enumerate(ends)]
    trusted = trust(ROOT)
    for _, (leaf, end) in itertools.product(range(2), zip(leaves, ends, strict=True)):
        assert trusted.certificate(leaf, NOW, accepted=True).chain_expires == end.timestamp()
    assert len(trusted._seen) == 3
