"""The files that TLS reads for a probe, as libcurl is given them: never by a path that somebody can point elsewhere.

libcurl and OpenSSL open files in the probe thread, at each handshake, and have no deadline for it. Whoever owns a file
that a check names could put a FIFO in its place at any moment. So each is read here, as `regular` does, and what
libcurl opens is a copy of our own.
"""

import errno
import itertools
import os
import weakref
from collections.abc import Collection

import pycurl

from controller.probes.chains import Chains
from controller.regular import contents
from reconcilers.spec import Tls

MAX_KEY = 256 * 1024
"""Bytes of a certificate with its chain, and of a key: every transfer has a copy of its own."""
MAX_SEALED = 8
"""How many files of authorities have a descriptor. Beyond that they are handed over as bytes, which are parsed anew at
each handshake."""
UNABLE = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS})
"""Where the system does not let us have such files."""

Options = dict[int, int | str | bytes]

_serial = itertools.count(1)


class Sealed:
    """Bytes in memory that have a path, for as long as this lives; `name` is where they come from.

    A path is never used twice in this process: libcurl remembers authorities, connections and sessions by it.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        descriptor = os.memfd_create("podpulse-tls", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, descriptor)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        detour = "".join("/." if bit == "1" else "/" for bit in f"{next(_serial):b}")
        self.path = f"/proc/self/fd{detour}/{descriptor}"


class TlsFiles:
    """Reads files of authorities once, until they are `replaced`; certificates and keys for each new transfer."""

    def __init__(self, ca_file: str) -> None:
        self.chains = Chains()
        self._ca_file = ca_file
        self._sealed: dict[str, Sealed] = {}
        self._alive: weakref.WeakSet[Sealed] = weakref.WeakSet()

    def renew(self, ca_file: str, replaced: Collection[str]) -> None:
        """From now on `ca_file` has the authorities, and the content of the files `replaced` is another one."""
        self._ca_file = ca_file
        for path in replaced:
            self._sealed.pop(path, None)

    def options(self, tls: Tls) -> tuple[Options, Sealed | None]:
        """The files as libcurl's options, and what has to live as long as a transfer has them.

        Raises:
            ValueError: one cannot be read; the message says which, and why.
            OSError: we ourselves are out of descriptors or memory.
        """
        authorities = self._authorities(tls.ca_file or self._ca_file)
        if isinstance(authorities, Sealed):
            return {pycurl.CAINFO: authorities.path} | _own(tls), authorities
        return {pycurl.CAINFO_BLOB: authorities} | _own(tls), None

    def _authorities(self, path: str) -> Sealed | bytes:
        if sealed := self._sealed.get(path):
            return sealed
        data = contents(path)
        if len(self._sealed) >= MAX_SEALED:
            self._sealed.clear()  # who uses one keeps it alive
        if len(self._alive) >= MAX_SEALED or (sealed := _sealed(data, path)) is None:
            return data
        self._sealed[path] = sealed
        self._alive.add(sealed)
        return sealed


def _sealed(data: bytes, name: str) -> Sealed | None:
    """None where there is no such thing here: a filter of system calls, or no /proc."""
    try:
        sealed = Sealed(data, name)
    except OSError as error:
        if error.errno in UNABLE:
            return None
        raise
    return sealed if os.access(sealed.path, os.R_OK) else None


def _own(tls: Tls) -> Options:
    """Our certificate and key. The empty passphrase keeps OpenSSL from asking for one on the terminal."""
    if not tls.cert_file:
        return {}
    cert, key = contents(tls.cert_file, MAX_KEY), contents(tls.key_file, MAX_KEY)
    return {pycurl.SSLCERT_BLOB: cert, pycurl.SSLKEY_BLOB: key, pycurl.KEYPASSWD: ""}
