"""Manifests from a folder: `<pod>.yaml`, as kubelet takes static pods. The embedded default, for use without Consul."""

import logging
import os
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from controller.intent.source import SourceError
from reconcilers.gate import Entry, Listing
from reconcilers.ignored import Ignored
from reconcilers.spec import PodKey, is_name

log = logging.getLogger(__name__)

POLL = 0.25
SUFFIX = ".yaml"
MAX_BYTES = 512 * 1024
"""Consul's own limit for a value; the parser's is far below."""


def manifest_path(folder: Path, key: PodKey) -> Path:
    """The path of a pod's manifest."""
    return folder / f"{key.pod}{SUFFIX}"


class DirectorySource:
    """Implements `Source` on a folder by polling. That works on every file system, and a poll is one `scandir`."""

    def __init__(
        self,
        folder: Path,
        node: str,
        leftovers: Callable[[], Collection[PodKey]],
    ) -> None:
        self._folder = folder
        self._node = node
        self._leftovers = leftovers
        self._cancelled = threading.Event()
        self._index = 0
        self._entries: dict[PodKey, Entry] = {}
        self._ignored: dict[str, Ignored] = {}

    def leftovers(self) -> Collection[PodKey]:
        try:
            return self._leftovers()
        except OSError as error:
            raise SourceError(str(error)) from error

    def next(self, wait: float) -> Listing:
        deadline = time.monotonic() + wait
        while not self._changed() and self._index and time.monotonic() < deadline and not self._cancelled.wait(POLL):
            pass
        self._index = max(1, self._index)
        return Listing(self._index, dict(self._entries), ignored=dict(self._ignored))

    def absent(self, keys: Collection[PodKey]) -> Collection[PodKey]:
        try:
            return [key for key in keys if not manifest_path(self._folder, key).exists()]
        except OSError as error:
            raise SourceError(f"cannot look for a manifest: {error}") from error

    def cancel(self) -> None:
        self._cancelled.set()

    def _changed(self) -> bool:
        """Read the folder. Returns whether anything has changed."""
        try:
            entries = self._scan()
        except OSError as error:
            raise SourceError(f"cannot read the folder of manifests: {error}") from error
        changed = entries.keys() != self._entries.keys() or any(
            entry.version != self._entries[key].version for key, entry in entries.items()
        )
        if changed:
            self._entries = entries
            self._index += 1
        return changed

    def _scan(self) -> dict[PodKey, Entry]:
        entries: dict[PodKey, Entry] = {}
        self._ignored = {}
        with os.scandir(self._folder) as files:
            for file in files:
                pod = file.name.removesuffix(SUFFIX)
                if pod == file.name or file.name.startswith("."):
                    self._ignored[file.name] = Ignored.OTHER
                elif not is_name(pod):
                    self._ignored[pod] = Ignored.NAME
                elif entry := self._read(PodKey(self._node, pod), file):
                    entries[PodKey(self._node, pod)] = entry
        return entries

    def _read(self, key: PodKey, file: "os.DirEntry[str]") -> Entry | None:
        """The entry of a file, or None if it is not a regular file or was removed. Only a changed file is read.

        A file that cannot be read, or a circular link, keeps its previous entry, so that it does not delay other files.
        """
        old = self._entries.get(key)
        try:
            if not file.is_file():
                self._ignored[file.name] = Ignored.OTHER
                return None
            stat = file.stat()
            version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            return old if old and old.version == version else Entry(version, _read(file.path))
        except FileNotFoundError:
            return None
        except OSError as error:
            log.debug("manifest of %s cannot be read: %s", key, error)
            if old is None:
                self._ignored[file.name] = Ignored.OTHER
            return old


def _read(path: str) -> bytes:
    """The content of a file, at most one byte more than the limit, so that a file that is too long is refused."""
    with open(path, "rb") as file:  # noqa: PTH123 - the path of a DirEntry is text
        return file.read(MAX_BYTES + 1)
