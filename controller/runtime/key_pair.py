"""Parses a certificate with its private key, and says what is wrong with them."""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

CERTIFICATE = b"-----BEGIN CERTIFICATE-----"

Parsed = tuple[tuple[x509.Certificate, ...], PrivateKeyTypes]


def parsed_pair(cert_file: str, certificate: bytes, key_file: str, key: bytes) -> Parsed:
    """Parses the content of two files. Returns the certificates, the owner's own first, and its key.

    Raises:
        ValueError: one cannot be used; the message names the file and what is expected.
    """
    chain = _chain(cert_file, certificate)
    parsed = _key(key_file, key)
    try:
        of_certificate = _public(chain[0].public_key())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{cert_file}: the key of the certificate cannot be used: {error}") from None
    if _public(parsed.public_key()) != of_certificate:
        raise ValueError(f"{key_file}: does not belong to the certificate in {cert_file}")
    return chain, parsed


def _chain(path: str, pem: bytes) -> tuple[x509.Certificate, ...]:
    if not pem.strip():
        raise ValueError(f"{path}: is empty: expected a certificate in PEM")
    if CERTIFICATE not in pem:
        raise ValueError(f"{path}: expected a certificate in PEM")
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise ValueError(f"{path}: the certificate cannot be parsed: {error}") from None


def _key(path: str, pem: bytes) -> PrivateKeyTypes:
    if problem := _problem(pem):
        raise ValueError(f"{path}: {problem}")
    try:
        return serialization.load_pem_private_key(pem, None)
    except TypeError:
        raise ValueError(f"{path}: is encrypted: expected a private key without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{path}: the private key cannot be parsed: {error}") from None


def _problem(pem: bytes) -> str:
    if not pem.strip():
        return "is empty: expected a private key in PEM"
    if b"BEGIN OPENSSH PRIVATE KEY" in pem:
        return "is a key in OpenSSH's format: expected PEM (PKCS#8), as ssh-keygen -p -m PKCS8 writes it"
    if b"PRIVATE KEY-----" not in pem:
        return f"{'holds a certificate' if CERTIFICATE in pem else 'holds no key'}: expected a private key in PEM"
    return ""


def _public(key: object) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_bytes(serialization.Encoding.DER, form))  # type: ignore[attr-defined]
