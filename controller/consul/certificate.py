"""The client certificate and key for Consul. Their files may be replaced at run time, one after the other.

A certificate and a key that do not match are not used. Until they match, the previous pair stays in force.
"""

from contextlib import suppress

import pycurl

from controller.runtime.pem_files import unfit
from controller.runtime.plain_files import Stamp, read, stamp

Options = dict[int, str | bytes]


class ClientCertificate:
    """The certificate options of libcurl. For one thread."""

    def __init__(self) -> None:
        self._seen: tuple[str | Stamp | None, ...] = ()
        self._files = ("", "")
        self._options: Options = {}

    def options(self, cert_file: str, key_file: str) -> Options:
        """Returns the newest matching pair. Until a pair matches, returns the paths: libcurl reports the problem."""
        seen = (cert_file, key_file, stamp(cert_file), stamp(key_file))
        if seen != self._seen:
            self._seen = seen
            self._read(cert_file, key_file)
        return self._options

    def _read(self, cert_file: str, key_file: str) -> None:
        if self._files != (cert_file, key_file):
            self._files = (cert_file, key_file)
            self._options = {pycurl.SSLCERT: cert_file, pycurl.SSLKEY: key_file}
        with suppress(ValueError):
            cert, key = read(cert_file), read(key_file)
            if not unfit(cert_file, key_file):
                self._options = {pycurl.SSLCERT_BLOB: cert.data, pycurl.SSLKEY_BLOB: key.data}
