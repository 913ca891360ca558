"""Checks whether OpenSSL can use files: a CA bundle, or a certificate with its key."""

import ssl


def unusable(path: str) -> str:
    """Returns why a CA bundle cannot be used, "" if it can."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def unfit(cert_file: str, key_file: str) -> str:
    """Returns why these files cannot be used as a certificate and its key, "" if they can."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert_file, key_file, lambda: b"")
    except (OSError, ValueError) as error:
        return str(error)
    return ""
