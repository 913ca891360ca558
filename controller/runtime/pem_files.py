"""Checks whether OpenSSL can use files: a CA bundle, or a certificate with its key."""

import re
import ssl
from collections.abc import Collection

from controller.runtime.plain_files import contents

PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def unusable(path: str) -> str:
    """Returns why libcurl cannot use a CA bundle, "" if it can. It needs each certificate to be good."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def unusable_for_probes(path: str) -> str:
    """Returns why probes cannot use a CA bundle, "" if they can. They ignore certificates that cannot be parsed."""
    try:
        pem = contents(path)
    except ValueError as error:
        return str(error).removeprefix(f"{path}: ")
    return "" if any(map(_is_certificate, PEM.findall(pem))) else without_certificates(pem)


def ignored_by_probes(path: str) -> str:
    """Returns which certificates of a CA bundle probes ignore; "" for none, or if the bundle cannot be used at all."""
    try:
        good = [_is_certificate(block) for block in PEM.findall(contents(path))]
    except ValueError:
        return ""
    return ignored([number for number, each in enumerate(good, 1) if not each]) if any(good) else ""


def ignored(numbers: Collection[int]) -> str:
    """Returns the sentence about the certificates with these numbers, which cannot be parsed; "" for none."""
    which = ", ".join(map(str, numbers))
    plural, verb = ("s", "are") if len(numbers) > 1 else ("", "is")
    return f"certificate{plural} number {which} cannot be parsed, and {verb} ignored" if numbers else ""


def without_certificates(pem: bytes) -> str:
    """Returns what is wrong with a bundle without a certificate that can be parsed."""
    if not pem.strip():
        return "is empty: expected at least one certificate in PEM"
    if PEM.search(pem):
        return "expected at least one certificate in PEM: none in it can be parsed"
    return "expected at least one certificate in PEM"


def _is_certificate(block: bytes) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=block.decode("ascii"))
    except (OSError, ValueError):
        return False
    return True


def unfit(cert_file: str, key_file: str) -> str:
    """Returns why these files cannot be used as a certificate and its key, "" if they can."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert_file, key_file, lambda: b"")
    except (OSError, ValueError) as error:
        return _problem_of_pair(cert_file, key_file) or str(error)
    return ""


def _problem_of_pair(cert_file: str, key_file: str) -> str:
    """OpenSSL has the same words for most problems, and names no file. Returns "" if the problem is another one."""
    from controller.runtime.key_pair import parsed_pair  # noqa: PLC0415 - most starts do not need cryptography

    try:
        parsed_pair(cert_file, contents(cert_file), key_file, contents(key_file))
    except ValueError as error:
        return str(error)
    return ""
