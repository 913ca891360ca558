"""Transfers that are not in flight, kept for the next probe of their profile."""

from collections.abc import Collection

import pycurl

from controller.probes.files import TlsFiles
from controller.probes.transfer import Transfer
from controller.probes.worker import Worker

MAX_IDLE = 512


class TransferPool:
    """Hands out a transfer that is set up for a worker; beyond `MAX_IDLE` the ones given back are closed."""

    def __init__(self, ca_file: str) -> None:
        self._files = TlsFiles(ca_file)
        self._era = 0
        self._idle: dict[object, list[Transfer]] = {}
        self._count = 0

    def renew(self, ca_file: str, replaced: Collection[str] = ()) -> None:
        """From now on `ca_file` has the authorities, and the content of the files `replaced` is another one."""
        self._files.renew(ca_file, replaced)
        self._era += 1
        self.clear()

    def take(self, worker: Worker) -> Transfer:
        idle = self._idle.get(worker.profile)
        if idle:
            self._count -= 1
            transfer = idle.pop()
        else:
            transfer = self._new(worker)
        if worker.share:
            transfer.curl.setopt(pycurl.SHARE, worker.share)
        return transfer

    def give(self, transfer: Transfer, worker: Worker) -> None:
        if worker.share:
            transfer.curl.unsetopt(pycurl.SHARE)
        if self._count >= MAX_IDLE or transfer.era != self._era:
            transfer.close()
            return
        self._count += 1
        self._idle.setdefault(worker.profile, []).append(transfer)

    def _new(self, worker: Worker) -> Transfer:
        assert worker.kind is not None  # noqa: S101 - no way is ever found for a worker that sends nothing
        transfer = worker.kind.transfer(worker.spec.probe, self._files)
        transfer.era = self._era
        return transfer

    def clear(self) -> None:
        """Close all: options such as the authorities may have changed, or the end has come."""
        for idle in self._idle.values():
            for transfer in idle:
                transfer.close()
        self._idle.clear()
        self._count = 0
