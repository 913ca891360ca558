"""Health as JSON files in a folder, `<pod>.json`: the embedded default, for use without Consul.

The process that writes there locks one file in the folder, and touches it from time to time. Readers treat the records
as stale when the file is no longer touched, as Consul deletes the keys of a session that is not renewed.
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
from reconcilers.record import HealthRecord, decode
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

SUFFIX = ".json"
LEASE = ".podpulse.lease"
MAX_BYTES = 512 * 1024
RENEWAL = 5.0
TTL = 20.0
AHEAD = 2.0
"""Seconds by which a lease may be later than now: file systems round, and have clocks of their own."""


class FolderInUse(OSError):
    """Another process publishes into this folder."""


class DirectoryLease:
    """Shows that this process publishes into a folder and is alive. It corresponds to a Consul session.

    Where this process was frozen for longer than the TTL, the records are removed, and `on_lapse` is called: readers
    have taken them for stale, and touching the lease would make them look fresh. `void` is called before: what was
    found until then is no evidence any more.
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
        self._touched = self._turned = 0.0
        self._problem = LogOnce(log)
        self._file: int | None = None
        self.resumed = is_alive(folder, time.time())
        """Whether what stands there has been fresh all the time, since an earlier run touched it last."""
        self._thread = BackgroundThread(self._turn, heartbeat, delay=RENEWAL)

    def start(self) -> None:
        """Take the folder. Where its file system is full or read-only, try again until that is over.

        Raises:
            FolderInUse: another process has it.
            OSError: it can never be used.
        """
        try:
            self._take()
        except OSError as error:
            if not is_unwritable(error):
                raise
            self._problem.warn(f"nothing can be published into {self._path.parent} until that is over: {error}")
        self._turned = self._clock()
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
        """Give the folder back. With `destroy` the records go; else who reads them takes them for stale after a TTL,
        unless somebody starts here before."""
        self._thread.stop(timeout)
        if self._file is not None:
            if destroy:
                self._forget()
            os.close(self._file)
            self._file = None

    def expires_at(self) -> float:
        """When readers take our records for stale, if we stopped now; seconds since the epoch."""
        return self._touched + TTL

    def current(self) -> str | None:
        """The name of the lease, or None if it is lost."""
        return str(self._path) if self._file is not None and time.time() < self.expires_at() else None

    def why(self) -> str:
        """Why the last renewal of the lease failed, or ""."""
        return self._problem.text

    def _turn(self) -> float:
        if self._file is None:
            self._take_at_last()
        elif self._clock() - self._turned > TTL or (not self._problem.text and self._age() > TTL):
            log.warning("this process stood still for longer than its records are good for; they are withdrawn")
            self._void()
            self._clear()
            self._on_lapse()
        self._turned = self._clock()
        if self._file is not None:
            self._touch()
        return RENEWAL

    def _take_at_last(self) -> None:
        """Take the folder after an error. No reader has used records that were written before."""
        try:
            self._take()
        except OSError as error:
            log.debug("still nothing can be published: %s", error)
            return
        log.info("health is published into %s from now on", self._path.parent)
        self._on_lapse()

    def _age(self) -> float:
        """Seconds since the lease was touched, by the clock of the file system: that may go on where none of ours does.
        0 where it cannot be told."""
        try:
            with tempfile.TemporaryFile(dir=self._path.parent) as now:
                now.write(b"now")
                now.flush()
                return os.fstat(now.fileno()).st_mtime - self._path.stat().st_mtime
        except OSError:
            return 0.0

    def _forget(self) -> None:
        """Mark the lease as ended. Its file remains, because another process may be about to lock it."""
        self._clear()
        with contextlib.suppress(OSError):
            os.utime(self._path, (0, 0))

    def _clear(self) -> None:
        """Remove the records of a run that is over: under a new lease they would look fresh."""
        for key in read(self._path.parent):
            with contextlib.suppress(OSError):
                (self._path.parent / f"{key.pod}{SUFFIX}").unlink()

    def _touch(self) -> None:
        try:
            os.utime(self._path)
            self._touched = time.time()
            self._problem.clear()
        except OSError as error:
            self._problem.warn(f"the lease cannot be renewed: {error}")


class DirectorySink:
    """Implements `reconcilers.ports.HealthSink` on a folder."""

    def __init__(self, folder: Path, wall_clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._wall_clock = wall_clock
        self._published: dict[PodKey, HealthRecord] = {}

    def leftovers(self, node: str) -> Collection[PodKey]:
        """What an earlier run left here of `node`'s pods; from now on it counts as published. What it left under
        another name of the node goes: nobody would ever do it, and our lease would make it look fresh."""
        found = read(self._folder)
        for key in found:
            if key.node != node:
                with contextlib.suppress(OSError):
                    (self._folder / f"{key.pod}{SUFFIX}").unlink(missing_ok=True)
        self._published = {key: record for key, record in found.items() if key.node == node}
        return self._published.keys()

    def forget(self) -> None:
        """Forget the published records, because they were removed."""
        self._published = {}

    def published(self, key: PodKey) -> HealthRecord | None:
        """See `HealthSink`."""
        return self._published.get(key)

    def published_without_break(self, key: PodKey) -> HealthRecord | None:
        """What was published here, by us or by an earlier run; a lease that had run out took its records with it."""
        return self._published.get(key)

    def write(self, put: Collection[HealthRecord], delete: Collection[PodKey]) -> Mapping[PodKey, str]:
        """See `HealthSink`. A reader sees the old file or the new one, never a part of one."""
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
    """All records of a folder, fresh or not; files that are no records, or longer than any, are passed over."""
    records = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with contextlib.suppress(ValueError):
            record = decode(contents(str(path), MAX_BYTES))
            records[record.key] = record
    return records


def is_alive(folder: Path, now: float) -> bool:
    """Whether somebody publishes into `folder`; `now` is seconds since the epoch. A lease from later than that is of a
    clock that was set back since: whoever lives writes another within seconds."""
    try:
        return -AHEAD <= now - (folder / LEASE).stat().st_mtime < TTL
    except OSError:
        return False
