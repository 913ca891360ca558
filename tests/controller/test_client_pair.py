"""A client certificate and its key: which can be used, and the errors for those that cannot."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from controller.config.certificate_files import wrong_pair
from controller.probes.client_pair import client_pair
from reconcilers.spec import Tls
from tests.support.chains import link

TLS = Tls(cert_file="/etc/cert.pem", key_file="/etc/key.pem")
MIDDLE = link("middle", authority=True)
OWN = link("client", MIDDLE)
BROKEN = b"-----BEGIN %s-----\nAAAA\n-----END %s-----\n"


def pem(
    key: PrivateKeyTypes = OWN.key,
    form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
    passphrase: bytes = b"",
) -> bytes:
    lock = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, lock)


def other_curve() -> bytes:
    """A key whose curve, prime239v3, is not supported."""
    form, lock = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    der = OWN.key.private_bytes(serialization.Encoding.DER, form, lock)
    prime256v1 = bytes.fromhex("06082a8648ce3d030107")
    assert prime256v1 in der
    encoded = base64.encodebytes(der.replace(prime256v1, prime256v1[:-1] + b"\6"))
    return b"-----BEGIN PRIVATE KEY-----\n" + encoded + b"-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_a_pair_has_the_clients_certificate_with_its_intermediates(form: serialization.PrivateFormat) -> None:
    certificates, key = OWN.pem() + MIDDLE.pem(), pem(form=form)
    pair = client_pair(TLS, certificates, key)
    assert (pair.certificate_pem, pair.key_pem) == (certificates, key)
    assert pair.chain == (OWN.certificate, MIDDLE.certificate)


KEYS = {
    "of another certificate": (
        pem(link("other").key),
        "/etc/key.pem: does not belong to the certificate in /etc/cert.pem",
    ),
    "of another kind": (
        pem(ed25519.Ed25519PrivateKey.generate()),
        "/etc/key.pem: does not belong to the certificate in /etc/cert.pem",
    ),
    "encrypted": (
        pem(passphrase=b"secret"),
        "/etc/key.pem: is encrypted: expected a private key without a passphrase",
    ),
    "encrypted, in the traditional form": (
        pem(rsa.generate_private_key(65537, 2048), serialization.PrivateFormat.TraditionalOpenSSL, b"secret"),
        "/etc/key.pem: is encrypted: expected a private key without a passphrase",
    ),
    "of OpenSSH": (
        pem(form=serialization.PrivateFormat.OpenSSH),
        "/etc/key.pem: is a key in OpenSSH's format: expected PEM (PKCS#8), as ssh-keygen -p -m PKCS8 writes it",
    ),
    "a certificate": (OWN.pem(), "/etc/key.pem: holds a certificate: expected a private key in PEM"),
    "a public key": (
        OWN.certificate.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "/etc/key.pem: holds no key: expected a private key in PEM",
    ),
    "garbage": (b"garbage", "/etc/key.pem: holds no key: expected a private key in PEM"),
    "empty": (b" \n", "/etc/key.pem: is empty: expected a private key in PEM"),
    "of a curve that is not supported": (other_curve(), "/etc/key.pem: the private key cannot be parsed: "),
    "broken": (BROKEN % (b"PRIVATE KEY", b"PRIVATE KEY"), "/etc/key.pem: the private key cannot be parsed: "),
}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_cannot_be_used_is_named_with_what_is_expected(name: str) -> None:
    key, expected = KEYS[name]
    with pytest.raises(ValueError, match=r"^/etc/key\.pem: ") as raised:
        client_pair(TLS, OWN.pem(), key)
    said = str(raised.value)
    assert said.startswith(expected) if expected.endswith(": ") else said == expected


@pytest.mark.parametrize("name", KEYS)
def test_a_pair_of_the_configuration_is_described_in_the_same_words(tmp_path: Path, name: str) -> None:
    content, expected = KEYS[name]
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(OWN.pem() + MIDDLE.pem())
    key.write_bytes(content)
    said = wrong_pair("consul", str(cert), str(key))
    assert expected in said.replace(str(tmp_path), "/etc")
    assert "[SSL" not in said
    key.write_bytes(pem())
    assert not wrong_pair("consul", str(cert), str(key))


@pytest.mark.parametrize(
    ("certificate", "expected"),
    [
        (b"", "/etc/cert.pem: is empty: expected a certificate in PEM"),
        (b"garbage", "/etc/cert.pem: expected a certificate in PEM"),
        (pem(), "/etc/cert.pem: expected a certificate in PEM"),
        (BROKEN % (b"CERTIFICATE", b"CERTIFICATE"), "/etc/cert.pem: the certificate cannot be parsed: "),
    ],
    ids=["empty", "garbage", "a key", "broken"],
)
def test_a_certificate_that_cannot_be_used_is_named_with_what_is_expected(certificate: bytes, expected: str) -> None:
    with pytest.raises(ValueError, match=r"^/etc/cert\.pem: ") as raised:
        client_pair(TLS, certificate, pem())
    said = str(raised.value)
    assert said.startswith(expected) if expected.endswith(": ") else said == expected
