"""Files of authorities, certificates and keys that are replaced while we run.

A file counts as replaced when it looks another one at two looks in a row, so that nobody is told of one that is being
written, and when it can be used.
"""

import logging
import os
import ssl
import stat
from collections.abc import Collection

from controller.consul_settings import ConsulSettings
from controller.regular import unreadable

log = logging.getLogger(__name__)

Stamp = tuple[int, int, int]


def unusable(path: str) -> str:
    """Why a bundle of authorities cannot be used, or ""."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def wrong_authorities(option: str, path: str) -> str:
    """What is wrong with the bundle that an option names, in a sentence, or ""."""
    problem = unusable(path)
    return f"{option}: expected certificates of authorities, got {path}: {problem}" if problem else ""


def wrong_for_consul(settings: ConsulSettings) -> str:
    """The same of the files that requests to Consul need."""
    if settings.token_file and (problem := unreadable(settings.token_file)):
        return f"consul.token_file: expected a file that can be read, got {settings.token_file}: {problem}"
    if settings.ca_file and (problem := wrong_authorities("consul.ca_file", settings.ca_file)):
        return problem
    if settings.cert_file:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(settings.cert_file, settings.key_file, lambda: b"")
        except (OSError, ValueError) as error:
            pair = f"{settings.cert_file} and {settings.key_file}"
            return f"consul.cert_file: expected a certificate with its key in consul.key_file, got {pair}: {error}"
    return ""


class Rotation:
    """Remembers what the files looked like, also of those that no check uses at the moment: libcurl does too."""

    def __init__(self) -> None:
        self._taken: dict[str, Stamp | None] = {}
        self._seen: dict[str, Stamp | None] = {}

    def look(self, authorities: Collection[str], others: Collection[str]) -> frozenset[str]:
        """The files that were replaced since they were last told of. `others` are certificates and keys."""
        before, self._seen = self._seen, {path: _stamp(path) for path in (*authorities, *others)}
        self._taken = self._seen | self._taken
        settled = {path for path, stamp in self._seen.items() if before.get(path, stamp) == stamp}
        replaced = {path for path in settled if self._seen[path] and self._seen[path] != self._taken[path]}
        self._taken |= {path: self._seen[path] for path in replaced}
        return frozenset(path for path in replaced if path not in authorities or self._is_good(path))

    @staticmethod
    def _is_good(path: str) -> bool:
        if problem := unusable(path):
            log.warning("%s was replaced and cannot be used; what was read before stays in force: %s", path, problem)
        return not problem


def _stamp(path: str) -> Stamp | None:
    """None for a file that cannot be seen, or is none that is read: it may be back soon."""
    try:
        status = os.stat(path)  # noqa: PTH116 - paths are libcurl's here
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
