"""Publishes health as JSON files in a folder, `<pod>.json`: the embedded default, for use without Consul.

The process that publishes into a folder locks one file in it, the lease, and touches it every few seconds. Readers
treat records as stale if the lease is not touched, just as Consul deletes the keys of a session that is not renewed.
"""

import contextlib
import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from controller.runtime.background_thread import BackgroundThread
from controller.runtime.boottime import boottime
from controller.runtime.heartbeat import Heartbeat
from controller.runtime.log.once import LogOnce
from controller.runtime.plain_files import contents, is_unwritable
from controller.runtime.start_error import StartError
from reconcilers.record import HealthRecord, decode
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

SUFFIX = ".json"
LEASE = ".podpulse.lease"
MAX_BYTES = 512 * 1024
RENEWAL = 5.0
TTL = 20.0
MAX_AHEAD = 2.0
"""Seconds by which a lease may be in the future: file systems round, and have their own clocks."""


class FolderInUse(StartError):
    """Another process publishes into this folder."""


class DirectoryLease:
    """Shows that this process publishes into a folder and is alive. It corresponds to a Consul session.

    If this process was frozen for longer than the TTL, the records are deleted and `on_lapse` is called: readers have
    treated them as stale, and touching the lease would make them look fresh. `void` is called before: health that was
    determined before the freeze is no longer evidence.
    """

    def __init__(
        self,
        folder: Path,
        heartbeat: Heartbeat,
        on_lapse: Callable[[], None] = lambda: None,
        *,
        void: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self._path = folder / LEASE
        self._on_lapse = on_lapse
        self._void = void
        self._clock = clock
        self._touched_at = self._turned_at = 0.0
        self._problem = LogOnce(log)
        self._file: int | None = None
        self.resumed = is_alive(folder, time.time())
        """Whether the records of an earlier run are still fresh."""
        self._thread = BackgroundThread(self._turn, heartbeat, delay=RENEWAL)

    def start(self) -> None:
        """Takes the folder. If its file system is full or read-only, this is tried again until it succeeds. Raises
        FolderInUse if another process publishes into it. Raises OSError if it can never be used."""
        try:
            self._take()
        except OSError as error:
            if not is_unwritable(error):
                raise
            self._problem.warn(f"nothing can be published into {self._path.parent} at present: {error}")
        self._turned_at = self._clock()
        self._thread.start()

    def _take(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise FolderInUse(f"another process publishes into {self._path.parent}") from None
        self._file = file
        if not self.resumed:
            self._clear()
        self._touch()

    def stop(self, timeout: float, *, destroy: bool = True) -> None:
        """Releases the folder. Without `destroy` the records are kept, and stale after a TTL unless a process takes the
        folder before."""
        self._thread.stop(timeout)
        if self._file is not None:
            if destroy:
                self._clear()
                with contextlib.suppress(OSError):  # the file remains: another process may be about to lock it
                    os.utime(self._path, (0, 0))
            os.close(self._file)
            self._file = None

    def expires_at(self) -> float:
        """Returns when our records become stale unless the lease is renewed, in seconds since the epoch."""
        return self._touched_at + TTL

    def current(self) -> str | None:
        """Returns the name of the lease, None if it is lost."""
        return str(self._path) if self._file is not None and time.time() < self.expires_at() else None

    def why(self) -> str:
        """Returns the error of the last renewal of the lease, "" if there is none."""
        return self._problem.text

    def failure(self) -> str:
        """Returns "": only Consul has labels for its failures."""
        return ""

    def _turn(self) -> float:
        if self._file is None:
            self._retake()
        elif self._clock() - self._turned_at > TTL or (not self._problem.text and self._age() > TTL):
            log.warning("this process was frozen for longer than its records are valid; they are deleted")
            self._void()
            self._clear()
            self._on_lapse()
        self._turned_at = self._clock()
        if self._file is not None:
            self._touch()
        return RENEWAL

    def _retake(self) -> None:
        """Tries to take the folder after an error."""
        try:
            self._take()
        except (OSError, FolderInUse) as error:
            log.debug("nothing can be published yet: %s", error)
            return
        log.info("health is published into %s from now on", self._path.parent)
        self._on_lapse()

    def _age(self) -> float:
        """Returns the seconds since the lease was touched, 0 if they are not known. The clock is that of the file
        system: it may advance while all our clocks stand still."""
        try:
            with tempfile.TemporaryFile(dir=self._path.parent) as file:
                file.write(b"now")
                file.flush()
                return os.fstat(file.fileno()).st_mtime - self._path.stat().st_mtime
        except OSError:
            return 0.0

    def _clear(self) -> None:
        """Deletes the records: with a new lease they would look fresh."""
        for key in read(self._path.parent):
            _remove(self._path.parent, key)

    def _touch(self) -> None:
        try:
            os.utime(self._path)
            self._touched_at = time.time()
            self._problem.clear()
        except OSError as error:
            self._problem.warn(f"{LEASE} cannot be renewed, readers will treat the published health as stale: {error}")


class DirectorySink:
    """Implements `reconcilers.ports.HealthSink` on a folder."""

    def __init__(self, folder: Path, wall_clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._wall_clock = wall_clock
        self._published: dict[PodKey, HealthRecord] = {}

    def leftovers(self, node: str) -> Collection[PodKey]:
        """Returns the pods of `node` with records of an earlier run, which count as published from now on. Records with
        another node name are deleted: nothing else would do it, and our lease would make them look fresh."""
        records = read(self._folder)
        for key in records:
            if key.node != node:
                _remove(self._folder, key)
        self._published = {key: record for key, record in records.items() if key.node == node}
        return self._published.keys()

    def forget(self) -> None:
        """Forgets the published records, because they were deleted."""
        self._published = {}

    def published(self, key: PodKey) -> HealthRecord | None:
        return self._published.get(key)

    def published_without_break(self, key: PodKey) -> HealthRecord | None:
        """See `HealthSink`. An expired lease has no records, because they are deleted with it."""
        return self._published.get(key)

    def disown(self, keys: Collection[PodKey]) -> None:
        """See `HealthSink`."""
        for key in keys:
            self._published.pop(key, None)

    def write(self, put: Collection[HealthRecord], delete: Collection[PodKey]) -> Mapping[PodKey, str]:
        """See `HealthSink`. Readers see the old file or the new one, never a partial one."""
        failed: dict[PodKey, str] = {}
        for record in put:
            try:
                self._replace(record)
            except OSError as error:
                failed[record.key] = str(error)
        for key in delete:
            try:
                (self._folder / f"{key.pod}{SUFFIX}").unlink(missing_ok=True)
                self._published.pop(key, None)
            except OSError as error:
                failed[key] = str(error)
        return failed

    def _replace(self, record: HealthRecord) -> None:
        unfinished = self._folder / f".{record.key.pod}.new"
        unfinished.write_bytes(record.encode(self._wall_clock()))
        unfinished.replace(self._folder / f"{record.key.pod}{SUFFIX}")
        self._published[record.key] = record


def read(folder: Path) -> dict[PodKey, HealthRecord]:
    """Returns all records of a folder, fresh or stale. Files that are not records, or are too long, are ignored."""
    records = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with contextlib.suppress(ValueError):
            record = decode(contents(str(path), MAX_BYTES))
            records[record.key] = record
    return records


def _remove(folder: Path, key: PodKey) -> None:
    with contextlib.suppress(OSError):
        (folder / f"{key.pod}{SUFFIX}").unlink()


def is_alive(folder: Path, now: float) -> bool:
    """Whether a process publishes into `folder`. `now` is in seconds since the epoch. A lease from the future was
    written before a clock was set back: a live process touches it again within seconds."""
    try:
        return -MAX_AHEAD <= now - (folder / LEASE).stat().st_mtime < TTL
    except OSError:
        return False
