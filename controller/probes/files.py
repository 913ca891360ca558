"""Reads the files of a check's TLS options and gives libcurl copies of them.

libcurl and OpenSSL open files in the probe thread at each handshake, without a deadline. The owner of such a file could
replace it by a FIFO at any moment and so block every probe. So this module reads each file with
`controller.runtime.plain_files`, and libcurl opens only our copy.
"""

import errno
import itertools
import os
import weakref
from collections.abc import Collection

import pycurl

from controller.probes.chains import Chains
from controller.runtime.plain_files import Content, Reading, read
from reconcilers.spec import Tls

MAX_KEY = 256 * 1024
"""Bytes of a certificate with its chain, and of a key. Every transfer has its own copy."""
MAX_SEALED = 8
"""How many files of authorities get a descriptor. libcurl gets any further ones as bytes and parses them at each
handshake."""
MAX_PAIRS = 64
"""How many pairs of certificate and key are kept. Any further ones are read again for each new transfer."""
MAX_READINGS = 10_000
"""How many readings of files are remembered, including files that no check names any more."""
UNABLE = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS})
"""Errors of a system that does not allow such files."""

Options = dict[int, int | str | bytes]

_serial = itertools.count(1)


class Sealed:
    """An in-memory file with a path that is valid for the life of this object. `name` is the path of its source.

    A path is never used twice in this process, because libcurl caches authorities, connections and sessions by path.
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
    """Reads each file once, until it is `replaced`. Authorities without a descriptor are read for each new transfer."""

    def __init__(self, ca_file: str) -> None:
        self.chains = Chains()
        self.ca_file = ca_file
        self._sealed: dict[str, Sealed] = {}
        self._alive: weakref.WeakSet[Sealed] = weakref.WeakSet()
        self._pairs: dict[tuple[str, ...], Options] = {}
        self._read: dict[tuple[str, ...], Reading] = {}

    def renew(self, ca_file: str, replaced: Collection[str]) -> None:
        """Use the authorities of `ca_file` from now on, and read the files `replaced` again.

        The caller must not use earlier transfers for new probes.
        """
        self.ca_file = ca_file
        if self.is_full:
            replaced = {path for paths in self._read for path in paths}
        for path in replaced:
            self._sealed.pop(path, None)
        for paths in [paths for paths in self._read if not set(paths).isdisjoint(replaced)]:
            del self._read[paths]
            self._pairs.pop(paths, None)

    @property
    def is_full(self) -> bool:
        return len(self._read) >= MAX_READINGS

    def readings(self) -> Collection[Reading]:
        """Returns the first reading of each file that is in use. Safe for any thread."""
        return list(self._read.values())

    def options(self, tls: Tls) -> tuple[Options, Sealed | None]:
        """Returns libcurl's options for these files, and the object that must live as long as a transfer uses them.

        Raises:
            ValueError: a file cannot be read; the message names the file and the cause.
            OSError: this process has no descriptor or memory left.
        """
        authorities = self._authorities(tls.ca_file or self.ca_file)
        if isinstance(authorities, Sealed):
            return {pycurl.CAINFO: authorities.path} | self._own(tls), authorities
        return {pycurl.CAINFO_BLOB: authorities} | self._own(tls), None

    def _authorities(self, path: str) -> Sealed | bytes:
        if sealed := self._sealed.get(path):
            return sealed
        content = read(path)
        self._note((path,), content)
        data = content.data
        if len(self._sealed) >= MAX_SEALED:
            self._sealed.clear()  # a transfer that uses one keeps it alive
        if len(self._alive) >= MAX_SEALED or (sealed := _sealed(data, path)) is None:
            return data
        self._sealed[path] = sealed
        self._alive.add(sealed)
        return sealed

    def _own(self, tls: Tls) -> Options:
        """Returns the client certificate and key. The empty passphrase stops OpenSSL from asking on the terminal."""
        if not tls.cert_file:
            return {}
        pair = (tls.cert_file, tls.key_file)
        if pair not in self._pairs:
            cert, key = (read(path, MAX_KEY) for path in pair)
            self._note(pair, cert, key)
            if len(self._pairs) >= MAX_PAIRS:
                del self._pairs[next(iter(self._pairs))]
            self._pairs[pair] = {pycurl.SSLCERT_BLOB: cert.data, pycurl.SSLKEY_BLOB: key.data, pycurl.KEYPASSWD: ""}
        return self._pairs[pair]

    def _note(self, paths: tuple[str, ...], *contents: Content) -> None:
        """Keeps the first reading: a transfer may still use it until the file is replaced."""
        if paths not in self._read:
            self._read[paths] = Reading(paths, tuple(each.stamp for each in contents), next(_serial))


def _sealed(data: bytes, name: str) -> Sealed | None:
    """Returns None if the system does not support it: a system call filter, or no /proc."""
    try:
        sealed = Sealed(data, name)
    except OSError as error:
        if error.errno in UNABLE:
            return None
        raise
    return sealed if os.access(sealed.path, os.R_OK) else None
