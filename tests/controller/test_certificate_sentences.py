"""A certificate that is not accepted: which one of the chain it is, and what has to be done, with real certificates."""

import ssl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from reconcilers.health import Outcome, Reason
from reconcilers.spec import Tls
from tests.support.authority import Authority
from tests.support.chains import FUTURE, PAST, Link, link, serving, trusted
from tests.support.checks import https
from tests.support.probing import Bench
from tests.support.targets import Target

HERE = ("localhost",)
NO_APPLICATION_PROTOCOL = 120
"""An alert (RFC 7301, 3.2)."""
CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
ONLY_EXAMPLE = x509.NameConstraints([x509.DNSName("example.com")], None)
NOT_LOCALHOST = x509.NameConstraints(None, [x509.DNSName("localhost")])


def middle(root: Link, name: str = "middle", **options: object) -> Link:
    return link(name, root, authority=True, **options)  # type: ignore[arg-type]


def below(issuer: Link, **options: object) -> list[Link]:
    """What a server sends: its own certificate and the one that signed it."""
    return [link("leaf", issuer, names=HERE, **options), issuer]  # type: ignore[arg-type]


def two_below(issuer: Link) -> list[Link]:
    return [*below(middle(issuer, "low")), issuer]


CONSTRAINED = ": the server needs a certificate for another name, or of another authority"
WEAK_KEY = "has a key that is too weak: it needs a new one, at least RSA with 2,048 bits or an elliptic curve"
DIGEST = "is signed with a digest that is too weak, such as SHA-1: it has to be renewed with at least SHA-256"
SERVER_AUTH = "is not meant for servers (extended key usage): it has to be renewed with serverAuth"
MIDDLE = "the intermediate certificate CN = middle"
NO_AUTHORITY = "is not one of an authority (basic constraints), but has signed another: its issuer has to renew it"
PATH_LENGTH = (
    "does not allow as many intermediate certificates below it as the chain has (path length): "
    "the server needs a certificate of another authority"
)
NO_NAMES = "the certificate has no subject alternative names, only the subject CN ="
EXPIRED = "the certificate expired on 2020-01-03: the server has to send a newer one"
MISSING = ": perhaps the server does not send this intermediate certificate, or ca_file lacks this authority"

CASES: dict[str, tuple[Callable[[Link], list[Link]], str]] = {
    "own certificate expired": (lambda root: below(middle(root), until=PAST), EXPIRED),
    "intermediate expired": (
        lambda root: below(middle(root, until=PAST)),
        f"{MIDDLE} expired on 2020-01-03: the server has to send a newer one",
    ),
    "both expired": (lambda root: below(middle(root, until=PAST), until=PAST), EXPIRED),
    "upper intermediate expired": (
        lambda root: two_below(middle(root, until=PAST)),
        f"{MIDDLE} expired on 2020-01-03: the server has to send a newer one",
    ),
    "intermediate not yet valid": (
        lambda root: below(middle(root, since=FUTURE.replace(year=2098))),
        f"{MIDDLE} is not valid before 2098-05-06: it was deployed too early, or a clock is wrong",
    ),
    "intermediate missing": (
        lambda root: below(middle(root))[:1],
        f"the certificate is signed by an authority that is not trusted (CN = middle){MISSING}",
    ),
    "upper intermediate missing": (
        lambda root: two_below(middle(root))[:2],
        "the intermediate certificate CN = low is signed by an authority that is not trusted (CN = middle)" + MISSING,
    ),
    "name not permitted": (
        lambda root: below(middle(root, more=ONLY_EXAMPLE)),
        "the certificate is for a name that the name constraints of its authority do not permit" + CONSTRAINED,
    ),
    "name excluded": (
        lambda root: below(middle(root, more=NOT_LOCALHOST)),
        "the certificate is for a name that the name constraints of its authority exclude" + CONSTRAINED,
    ),
    "chain longer than the path length": (
        lambda root: two_below(middle(root, path_length=0)),
        f"{MIDDLE} {PATH_LENGTH}",
    ),
    "for clients only": (lambda root: below(middle(root), more=CLIENT), f"the certificate {SERVER_AUTH}"),
    "intermediate for clients only": (lambda root: below(middle(root, more=CLIENT)), f"{MIDDLE} {SERVER_AUTH}"),
    "weak key": (lambda root: below(middle(root), rsa_bits=1024), f"the certificate {WEAK_KEY}"),
    "intermediate with a weak key": (lambda root: below(middle(root, rsa_bits=1024)), f"{MIDDLE} {WEAK_KEY}"),
    "signed with SHA-1": (lambda root: below(middle(root), digest="sha1"), f"the certificate {DIGEST}"),
    "intermediate signed with SHA-1": (
        lambda root: below(middle(root, digest="sha1")),
        f"{MIDDLE} {DIGEST}",
    ),
    "without alternative names": (
        lambda root: [link("localhost", root)],
        f"{NO_NAMES} localhost: it has to be renewed with one for localhost",
    ),
    "signed by what is no authority": (
        lambda root: below(link("middle", root)),
        f"{MIDDLE} {NO_AUTHORITY}",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_sentence_names_the_certificate_and_what_to_do(bench: Bench, tmp_path: Path, name: str) -> None:
    make, sentence = CASES[name]
    root = link("root", authority=True)
    with Target(serving(tmp_path, *make(root))) as target:
        result = bench.result(https(target.port, "bad", tls=Tls(ca_file=str(trusted(tmp_path, root)))))
    assert (result.outcome, result.reason, result.detail) == (Outcome.FAILURE, Reason.CERTIFICATE, sentence)
    assert result.certificate.expires


def test_a_server_that_speaks_only_http2_is_said_to(bench: Bench, authority: Authority) -> None:
    context = authority.server()
    context.set_alpn_protocols(["h2"])
    context.set_servername_callback(lambda *_: NO_APPLICATION_PROTOCOL)
    with Target(context) as target:
        result = bench.result(https(target.port, "h2"))
    sentence = "offers only other protocols by ALPN, such as HTTP/2 alone, which http_version: 2 would ask for"
    assert (result.reason, result.detail) == (Reason.TLS, f"localhost:{target.port} {sentence}")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_no_common_group_is_not_said_to_be_no_common_cipher_alone(
    bench: Bench, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = authority.server()
    context.set_ecdh_curve("sect283k1" if version is ssl.TLSVersion.TLSv1_2 else "brainpoolP256r1")
    context.minimum_version = context.maximum_version = version
    with Target(context) as target:
        result = bench.result(https(target.port, "group"))
    sentence = "it has no cipher or no elliptic curve (group) in common with this controller"
    assert (result.reason, result.detail) == (
        Reason.TLS,
        f"localhost:{target.port} refused the handshake: {sentence}",
    )


# Large, but good


def test_a_certificate_with_two_thousand_names_is_accepted(bench: Bench, tmp_path: Path) -> None:
    root = link("root", authority=True)
    names = (*(f"host-{number}.example.com" for number in range(1999)), "localhost")
    large = [link("leaf", root, names=names), root]
    other = [link("leaf", root, names=names[:-1]), root]
    tls = Tls(ca_file=str(trusted(tmp_path, root)))
    with ExitStack() as stack:
        good, bad = (
            stack.enter_context(Target(serving(tmp_path / name, *chain)))
            for name, chain in (("good", large), ("bad", other))
        )
        found = bench.result(https(good.port, "large", tls=tls))
        assert (found.outcome, found.detail) == (Outcome.SUCCESS, "")
        assert found.certificate.chain_expires == FUTURE.timestamp()
        refused = bench.result(https(bad.port, "other", tls=tls))
        assert refused.detail.startswith("the certificate is not for localhost but for DNS:host-0.example.com, ")


@pytest.mark.parametrize("count", [102, 103])
def test_a_chain_of_102_certificates_is_accepted_and_a_longer_one_is_not(
    bench: Bench, tmp_path: Path, count: int
) -> None:
    """OpenSSL accepts 100 intermediates."""
    chain = [link("root", authority=True)]
    for number in range(count - 2):
        chain.insert(0, middle(chain[0], f"middle-{number}"))
    chain.insert(0, link("leaf", chain[0], names=HERE))
    with Target(serving(tmp_path, *chain)) as target:
        result = bench.result(https(target.port, "long", tls=Tls(ca_file=str(trusted(tmp_path, chain[-1])))))
    if count == 102:
        assert (result.outcome, result.detail) == (Outcome.SUCCESS, "")
        assert result.certificate.chain_expires == FUTURE.timestamp()
    else:
        assert result.reason is Reason.CERTIFICATE
        assert "100" in result.detail


# Files of authorities


GARBAGE = "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"


def test_a_certificate_that_cannot_be_parsed_among_good_ones_is_ignored_with_one_warning(
    bench: Bench, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "bundle.pem"
    good = authority.file.read_text()
    path.write_text(good + GARBAGE + good + "-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n")
    with Target(authority.server()) as target:
        for number in range(3):
            check = https(target.port, f"pod-{number}", tls=Tls(ca_file=str(path)))
            assert bench.verdict(check) == (Outcome.SUCCESS, Reason.NONE, "")
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"{path}: certificates number 2, 4 cannot be parsed, and are ignored"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is empty: expected at least one certificate in PEM"),
        ("no certificate\n", "expected at least one certificate in PEM"),
        (GARBAGE, "expected at least one certificate in PEM: none in it can be parsed"),
    ],
    ids=["empty", "useless", "garbage"],
)
def test_a_file_without_a_certificate_is_our_own_fault_and_named(
    bench: Bench, secure: Target, tmp_path: Path, content: str, problem: str
) -> None:
    path = tmp_path / "bundle.pem"
    path.write_text(content)
    outcome, reason, detail = bench.verdict(https(secure.port, "bad", tls=Tls(ca_file=str(path))))
    assert (outcome, reason) == (Outcome.LOCAL, Reason.LOCAL)
    assert detail == f"the probe could not be sent: {path}: {problem}"
