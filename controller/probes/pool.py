"""Transfers that are not in flight, kept for the next probe of their profile."""

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import replace

import pycurl

from controller.probes.transfer import Transfer
from controller.probes.worker import Kind, Worker
from reconcilers.spec import Probe

MAX_IDLE = 512
SPELLINGS = 64
"""After so many another spelling of a path is the first one again: long after libcurl forgot what it read by it."""


class TransferPool:
    """Hands out a transfer that is set up for a worker; beyond `MAX_IDLE` the ones given back are closed."""

    def __init__(self, ca_file: str) -> None:
        self._ca_file = ca_file
        self._era = 0
        self._turns: Counter[str] = Counter()
        self._idle: dict[object, list[Transfer]] = {}
        self._count = 0

    def renew(self, ca_file: str, replaced: Collection[str] = ()) -> None:
        """From now on `ca_file` has the authorities, and the content of the files `replaced` is another one.

        Those are called by another spelling of their path. By the old one libcurl would go on with what it read before,
        with connections that were made by it, and with their TLS sessions.
        """
        self._ca_file = ca_file
        self._turns.update(replaced)
        self._era += 1
        self.clear()

    def take(self, worker: Worker) -> Transfer:
        assert worker.kind is not None  # noqa: S101 - no way is ever found for a worker that sends nothing
        idle = self._idle.get(worker.profile)
        if idle:
            self._count -= 1
            transfer = idle.pop()
        else:
            transfer = self._new(worker.kind, worker.spec.probe)
        if worker.share:
            transfer.curl.setopt(pycurl.SHARE, worker.share)
        return transfer

    def give(self, transfer: Transfer, worker: Worker) -> None:
        if worker.share:
            transfer.curl.unsetopt(pycurl.SHARE)
        if self._count >= MAX_IDLE or transfer.era != self._era:
            transfer.curl.close()
            return
        self._count += 1
        self._idle.setdefault(worker.profile, []).append(transfer)

    def _new(self, kind: Kind, probe: Probe) -> Transfer:
        if probe.tls and self._turns:
            ca, cert, key = map(self._spelling, (probe.tls.ca_file, probe.tls.cert_file, probe.tls.key_file))
            probe = replace(probe, tls=replace(probe.tls, ca_file=ca, cert_file=cert, key_file=key))
        transfer = kind.transfer(probe, self._spelling(self._ca_file))
        transfer.era = self._era
        return transfer

    def _spelling(self, path: str) -> str:
        folder, name = os.path.split(path)
        return os.path.join(folder, "./" * (self._turns[path] % SPELLINGS) + name) if path else path  # noqa: PTH118

    def clear(self) -> None:
        """Close all: options such as the authorities may have changed, or the end has come."""
        for idle in self._idle.values():
            for transfer in idle:
                transfer.curl.close()
        self._idle.clear()
        self._count = 0
