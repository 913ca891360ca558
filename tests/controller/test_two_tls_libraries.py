"""rustls and OpenSSL do not accept the same certificates: a certificate that only rustls accepts is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from controller.probes import files
from controller.probes.tls import Unsure
from reconcilers.health import Outcome, Reason
from reconcilers.spec import Tls
from tests.support.chains import FUTURE, Link, link, serving, trusted
from tests.support.checks import https
from tests.support.net import until
from tests.support.probing import Bench
from tests.support.targets import Target

USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])

MIDDLE, ROOT = "the intermediate certificate CN = middle", "the certificate of the authority CN = root"
NO_SIGNER = "may not sign certificates (key usage): its issuer has to renew it with keyCertSign"
NO_AUTHORITY = "is not one of an authority (basic constraints), but has signed another: its issuer has to renew it"
NOT_FOR_TLS = "the certificate is not meant for TLS (key usage): it has to be renewed with digitalSignature"
PATH_LENGTH = (
    "does not allow as many intermediate certificates below it as the chain has (path length): "
    "the server needs a certificate of another authority"
)
NOT_FOR_SERVERS = "is not meant for servers (extended key usage): it has to be renewed with serverAuth"


def usage(*permitted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{each: each in permitted for each in USAGES})


def chain(
    root: Link, *, middle: x509.ExtensionType | None = None, leaf: x509.ExtensionType | None = None
) -> list[Link]:
    """Returns what the server sends, and at the end the trusted root."""
    between = link("middle", root, authority=True, more=middle)
    return [link("leaf", between, names=("localhost",), more=leaf), between, root]


def root(*, authority: bool = True, **options: object) -> Link:
    return link("root", authority=authority, **options)  # type: ignore[arg-type]


REFUSED: dict[str, tuple[Callable[[], list[Link]], str]] = {
    "intermediate without keyCertSign": (
        lambda: chain(root(), middle=usage("digital_signature")),
        f"{MIDDLE} {NO_SIGNER}",
    ),
    "intermediate for lists of revocation": (lambda: chain(root(), middle=usage("crl_sign")), f"{MIDDLE} {NO_SIGNER}"),
    "root without keyCertSign": (lambda: chain(root(more=usage("digital_signature"))), f"{ROOT} {NO_SIGNER}"),
    "root that is no authority": (lambda: chain(root(authority=False)), f"{ROOT} {NO_AUTHORITY}"),
    "root with a short path": (lambda: chain(root(path_length=0)), f"{ROOT} {PATH_LENGTH}"),
    "root for clients": (lambda: chain(root(more=CLIENT)), f"{ROOT} {NOT_FOR_SERVERS}"),
    "own certificate for signing": (lambda: chain(root(), leaf=usage("key_cert_sign")), NOT_FOR_TLS),
    "own certificate for encryption": (lambda: chain(root(), leaf=usage("data_encipherment")), NOT_FOR_TLS),
}
ACCEPTED: dict[str, Callable[[], list[Link]]] = {
    "no usages": lambda: chain(root()),
    "usages that fit": lambda: chain(root(more=usage("key_cert_sign")), middle=usage("key_cert_sign"), leaf=SERVER),
    "own certificate for signatures": lambda: chain(root(), leaf=usage("digital_signature")),
    "own certificate for keys": lambda: chain(root(), leaf=usage("key_encipherment")),
    "own certificate for key agreement": lambda: chain(root(), leaf=usage("key_agreement")),
}


@pytest.fixture(params=["rustls and OpenSSL", "OpenSSL"])
def libraries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same certificates are accepted with and without rustls."""

    def none(*_: object, **__: object) -> None:
        raise Unsure

    if request.param == "OpenSSL":
        monkeypatch.setattr(files, "rustls_context", none)


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize("name", REFUSED)
def test_a_chain_that_openssl_refuses_is_refused_by_each_probe(bench: Bench, tmp_path: Path, name: str) -> None:
    make, sentence = REFUSED[name]
    *sent, trust = make()
    with Target(serving(tmp_path, *sent)) as target:
        check = https(target.port, "bad", tls=Tls(ca_file=str(trusted(tmp_path, trust))), interval=0.2)
        bench.engine.start([check])
        until(lambda: len(bench.results.all(check.key)) >= 3)
        bench.engine.stop([check.key])
    found = {(each.outcome, each.reason, each.detail) for each in bench.results.all(check.key)}
    assert found == {(Outcome.FAILURE, Reason.CERTIFICATE, sentence)}


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize("name", ACCEPTED)
def test_a_chain_that_openssl_accepts_is_accepted(bench: Bench, tmp_path: Path, name: str) -> None:
    *sent, trust = ACCEPTED[name]()
    with Target(serving(tmp_path, *sent)) as target:
        result = bench.result(https(target.port, "good", tls=Tls(ca_file=str(trusted(tmp_path, trust)))))
    assert (result.outcome, result.detail) == (Outcome.SUCCESS, "")
    assert result.certificate.chain_expires == FUTURE.timestamp()


def test_what_is_not_verified_is_accepted_whatever_its_usages(bench: Bench, tmp_path: Path) -> None:
    *sent, _ = chain(root(), middle=usage("digital_signature"))
    with Target(serving(tmp_path, *sent)) as target:
        result = bench.result(https(target.port, "odd", tls=Tls(insecure_skip_verify=True)))
    assert (result.outcome, result.detail) == (Outcome.SUCCESS, "")
