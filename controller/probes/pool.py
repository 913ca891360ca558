"""Keeps idle transfers for the next probe of their profile."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import pycurl

from controller.probes.files import TlsFiles
from controller.probes.transfer import Transfer
from controller.probes.worker import Worker
from controller.runtime.plain_files import Reading

MAX_IDLE = 512


@dataclass(slots=True)
class _Idle:
    """The idle transfers of one profile, and whether one was requested lately."""

    transfers: list[Transfer]
    asked: bool = False


class TransferPool:
    """Returns transfers that are configured for a worker. `opened` is called for each socket that a transfer opens.

    Above `MAX_IDLE` it closes a transfer of a profile that was not requested lately: perhaps no check uses it any more.
    """

    def __init__(self, ca_file: str, opened: Callable[[int, Transfer], None]) -> None:
        self._opened = opened
        self._files = TlsFiles(ca_file)
        self._era = 0
        self._idle: dict[object, _Idle] = {}
        self._count = 0

    def renew(self, ca_file: str, replaced: Collection[str] = ()) -> None:
        """Use the authorities of `ca_file` from now on. The content of the files `replaced` has changed."""
        self._files.renew(ca_file, replaced)
        self._era += 1
        self.clear()

    def files(self) -> Collection[Reading]:
        """See `TlsFiles.readings`."""
        return self._files.readings()

    def get(self, worker: Worker) -> Transfer:
        idle = self._idle.get(worker.profile)
        if idle and idle.transfers:
            self._count -= 1
            idle.asked = True
            transfer = idle.transfers.pop()
        else:
            transfer = self._new(worker)
        if worker.share:
            transfer.curl.setopt(pycurl.SHARE, worker.share)
        return transfer

    def give(self, transfer: Transfer, worker: Worker) -> None:
        if worker.share:
            transfer.curl.unsetopt(pycurl.SHARE)
        if transfer.era != self._era:
            transfer.close()
            return
        if (idle := self._idle.get(worker.profile)) is None:
            idle = self._idle[worker.profile] = _Idle([])
        idle.transfers.append(transfer)
        self._count += 1
        if self._count > MAX_IDLE:
            self._close_one()

    def _close_one(self) -> None:
        """Closes one transfer of the first profile that was not requested since the last call; others go to the end."""
        while True:
            profile, idle = next(iter(self._idle.items()))
            if idle.transfers and not idle.asked:
                idle.transfers.pop(0).close()
                self._count -= 1
                return
            del self._idle[profile]
            if idle.transfers:
                idle.asked = False
                self._idle[profile] = idle

    def _new(self, worker: Worker) -> Transfer:
        if self._files.is_full:
            self.renew(self._files.ca_file)
        assert worker.kind is not None  # noqa: S101 - a worker without a kind never gets a target
        transfer = worker.kind.transfer(worker.spec.probe, self._files)
        transfer.era = self._era
        transfer.tell_of_sockets(self._opened)
        return transfer

    def clear(self) -> None:
        """Close all idle transfers, because the options have changed or the engine stops."""
        for idle in self._idle.values():
            for transfer in idle.transfers:
                transfer.close()
        self._idle.clear()
        self._count = 0
