"""The client certificate of a check, with its key."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from controller.runtime.key_pair import parsed_pair
from reconcilers.spec import Tls


@dataclass(frozen=True, slots=True)
class ClientPair:
    """As PEM, and parsed. The first certificate is the client's own; the others are intermediates."""

    certificate_pem: bytes
    key_pem: bytes
    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes


def client_pair(tls: Tls, certificate: bytes, key: bytes) -> ClientPair:
    """Parses the content of the files of `tls`. Raises ValueError as `parsed_pair`."""
    return ClientPair(certificate, key, *parsed_pair(tls.cert_file, certificate, tls.key_file, key))
