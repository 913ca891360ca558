"""Whether files hold what OpenSSL can use: authorities, or a certificate with its key."""

import ssl


def unusable(path: str) -> str:
    """Why a bundle of authorities cannot be used, or ""."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def unfit(cert_file: str, key_file: str) -> str:
    """Why these are not a certificate and its key, or ""."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert_file, key_file, lambda: b"")
    except (OSError, ValueError) as error:
        return str(error)
    return ""
