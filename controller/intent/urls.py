"""Manifests from URLs: those of the configuration, and those of a file that is read again when it changes."""

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from controller.config.url_list import read_urls
from controller.intent.source import SourceError
from controller.runtime.plain_files import Stamp, stamp
from reconcilers.gate import Entry, Listing
from reconcilers.spec import PodKey
from reconcilers.urls import UrlCheck

POLL = 0.5
"""Seconds between two looks at the file."""


class UrlSource:
    """Implements `Sources`. While the file cannot be read or has an error, the checks stay as they are."""

    def __init__(self, urls: Sequence[str], file: Path | None) -> None:
        self._urls = urls
        self._file = file
        self._woken = threading.Event()
        self._index = 0
        self._stamp: Stamp | None = None
        self._checks: Mapping[PodKey, UrlCheck] = {}

    def leftovers(self) -> Collection[PodKey]:
        """See `Sources`. Nothing is published anywhere."""
        return ()

    def next(self, wait: float, again: Collection[str]) -> Iterable[Listing]:
        """See `Sources`. A node whose URLs are all gone is listed once more, without entries."""
        for _ in range(int(wait / POLL) if self._index else 0):
            if self._has_changed() or self._woken.wait(POLL):
                break
        self._woken.clear()
        before = self._checks
        now = self._checks = self._read()
        self._index += 1
        known = {key.node for key in (before if self._index > 1 else now)}
        changed = {key.node for key in now.keys() | before.keys() if now.get(key) != before.get(key)}
        return [self._listing(node, is_new=node not in known) for node in sorted(changed.union(again))]

    def absent(self, keys: Collection[PodKey]) -> Collection[PodKey]:
        """See `Sources`."""
        return [key for key in keys if key not in self._checks]

    def forget(self, node: str) -> None:
        """See `Sources`. No node is ever checked elsewhere."""

    def wake(self) -> None:
        """See `Sources`."""
        self._woken.set()

    def cancel(self) -> None:
        """See `Sources`."""
        self._woken.set()

    def _has_changed(self) -> bool:
        return self._file is not None and stamp(str(self._file)) != self._stamp

    def _read(self) -> Mapping[PodKey, UrlCheck]:
        """Read the file if it has changed. The stamp is taken before: a change meanwhile is noticed next time."""
        if self._index and not self._has_changed():
            return self._checks
        found = stamp(str(self._file)) if self._file else None
        try:
            checks = read_urls(self._urls, self._file)
        except ValueError as error:
            raise SourceError(str(error)) from error
        self._stamp = found
        return checks

    def _listing(self, node: str, *, is_new: bool) -> Listing:
        return Listing(
            self._index,
            {key: Entry(_version(check), check.manifest) for key, check in self._checks.items() if key.node == node},
            node=node,
            is_new_node=is_new,
        )


def _version(check: UrlCheck) -> tuple[int, ...]:
    return (int.from_bytes(blake2b(check.manifest, digest_size=8).digest()),)
