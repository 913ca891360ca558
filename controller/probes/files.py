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
from controller.runtime.plain_files import Content, Reading, read
from reconcilers.spec import Tls

MAX_KEY = 256 * 1024
"""Bytes of a certificate with its chain, and of a key: every transfer has a copy of its own."""
MAX_SEALED = 8
"""How many files of authorities have a descriptor. Beyond that they are handed over as bytes, which are parsed anew at
each handshake."""
MAX_PAIRS = 64
"""How many certificates with their keys are kept. Beyond that they are read again for new transfers."""
MAX_READINGS = 10_000
"""Of so many files it is known how they were read, also of those that no check names any more."""
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
    """Reads files once, until they are `replaced`; authorities that have no descriptor for each new transfer."""

    def __init__(self, ca_file: str) -> None:
        self.chains = Chains()
        self.ca_file = ca_file
        self._sealed: dict[str, Sealed] = {}
        self._alive: weakref.WeakSet[Sealed] = weakref.WeakSet()
        self._pairs: dict[tuple[str, ...], Options] = {}
        self._read: dict[tuple[str, ...], Reading] = {}

    def renew(self, ca_file: str, replaced: Collection[str]) -> None:
        """From now on `ca_file` has the authorities, and the content of the files `replaced` is another one. Transfers
        that were made before are used for no new probe."""
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
        """What was read of each file, and is in use, first. For any thread."""
        return list(self._read.values())

    def options(self, tls: Tls) -> tuple[Options, Sealed | None]:
        """The files as libcurl's options, and what has to live as long as a transfer has them.

        Raises:
            ValueError: one cannot be read; the message says which, and why.
            OSError: we ourselves are out of descriptors or memory.
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
            self._sealed.clear()  # who uses one keeps it alive
        if len(self._alive) >= MAX_SEALED or (sealed := _sealed(data, path)) is None:
            return data
        self._sealed[path] = sealed
        self._alive.add(sealed)
        return sealed

    def _own(self, tls: Tls) -> Options:
        """Our certificate and key. The empty passphrase keeps OpenSSL from asking for one on the terminal."""
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
        """A transfer may still have what was read before: that counts, until it is replaced."""
        if paths not in self._read:
            self._read[paths] = Reading(paths, tuple(each.stamp for each in contents), next(_serial))


def _sealed(data: bytes, name: str) -> Sealed | None:
    """None where there is no such thing here: a filter of system calls, or no /proc."""
    try:
        sealed = Sealed(data, name)
    except OSError as error:
        if error.errno in UNABLE:
            return None
        raise
    return sealed if os.access(sealed.path, os.R_OK) else None
