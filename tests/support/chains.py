"""Certificates that trustme does not make: self-signed ones with names, and chains in which one link has expired."""

import ssl
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import crypto

LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
PAST = datetime(2020, 1, 3, 12, tzinfo=UTC)
FUTURE = datetime(2099, 5, 6, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Link:
    """One certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def link(
    name: str,
    issuer: Link | None = None,
    *,
    names: tuple[str, ...] = (),
    authority: bool = False,
    since: datetime = LONG_AGO,
    until: datetime = FUTURE,
    more: x509.ExtensionType | None = None,
    path_length: int | None = None,
    rsa_bits: int = 0,
    digest: str = "",
) -> Link:
    """A certificate for `names`, signed by `issuer` or by itself. `more` is one more extension. `digest` is OpenSSL's
    name of a digest with which `cryptography` does not sign."""
    key = rsa.generate_private_key(65537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=path_length), critical=True)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
        builder = builder.add_extension(alternatives, critical=False)
    if more:
        builder = builder.add_extension(more, critical=False)
    signer = issuer.key if issuer else key
    signed = builder.sign(signer, hashes.SHA256())
    if digest:
        weak = crypto.X509.from_cryptography(signed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            weak.sign(crypto.PKey.from_cryptography_key(signer), digest)
        signed = weak.to_cryptography()
    return Link(signed, key)


def cross_signed(certified: Link, issuer: Link, *, until: datetime) -> Link:
    """The authority `certified` with the same key, signed by `issuer`. Old clients accept a new root in this way."""
    builder = (
        x509.CertificateBuilder(subject_name=certified.certificate.subject, issuer_name=issuer.certificate.subject)
        .public_key(certified.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(LONG_AGO)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    return Link(builder.sign(issuer.key, hashes.SHA256()), certified.key)


def odd_extension(text: bytes) -> x509.ExtensionType:
    """A comment (nsComment) of these bytes, which OpenSSL prints as they are."""
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("2.16.840.1.113730.1.13"), b"\x16%c%s" % (len(text), text))


def serving(folder: Path, *chain: Link) -> ssl.SSLContext:
    """A server's context that sends these certificates, its own first. The server itself accepts weak ones."""
    folder.mkdir(parents=True, exist_ok=True)
    own, key = folder / "chain.pem", folder / "key.pem"
    own.write_bytes(b"".join(each.pem() for each in chain))
    key.write_bytes(
        chain[0].key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(own, key)
    return context


def trusted(folder: Path, root: Link) -> Path:
    """A file of authorities with `root` alone."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "root.pem"
    path.write_bytes(root.pem())
    return path
