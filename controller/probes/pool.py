"""Transfers that are not in flight, kept for the next probe of their profile."""

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
    """The transfers of one profile, and whether one was asked for lately."""

    transfers: list[Transfer]
    asked: bool = False


class TransferPool:
    """Hands out a transfer that is set up for a worker. `opened` is told of each socket that one opens.

    Beyond `MAX_IDLE` one of a profile that was not asked for lately is closed: perhaps no check has it any more.
    """

    def __init__(self, ca_file: str, opened: Callable[[int, Transfer], None]) -> None:
        self._opened = opened
        self._files = TlsFiles(ca_file)
        self._era = 0
        self._idle: dict[object, _Idle] = {}
        self._count = 0

    def renew(self, ca_file: str, replaced: Collection[str] = ()) -> None:
        """From now on `ca_file` has the authorities, and the content of the files `replaced` is another one."""
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
        """One of the first profile that was not asked for since it was last looked at; the others go to the end."""
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
        assert worker.kind is not None  # noqa: S101 - no way is ever found for a worker that sends nothing
        transfer = worker.kind.transfer(worker.spec.probe, self._files)
        transfer.era = self._era
        transfer.tell_of_sockets(self._opened)
        return transfer

    def clear(self) -> None:
        """Close all: options such as the authorities may have changed, or the end has come."""
        for idle in self._idle.values():
            for transfer in idle.transfers:
                transfer.close()
        self._idle.clear()
        self._count = 0
