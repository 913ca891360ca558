"""What the files that checks name are for: the TLS settings of a probe, and its credentials."""

from collections.abc import Collection

from controller.probes.credentials import Credentials
from controller.probes.files import TlsFiles, TlsSettings
from controller.probes.worker import Worker
from controller.runtime.plain_files import Reading
from reconcilers.spec import HttpGet


class CheckFiles:
    """`tls` has the files of TLS. For the exceptions of the methods see `TlsFiles.settings` and `Credentials.of`."""

    def __init__(self, ca_file: str) -> None:
        self.tls = TlsFiles(ca_file)
        self._credentials = Credentials()

    def readings(self) -> Collection[Reading]:
        """Returns the first reading of each file that is in use. Safe for any thread."""
        return [*self.tls.readings(), *self._credentials.readings()]

    def renew(self, ca_file: str, replaced: Collection[str]) -> None:
        """Use the authorities of `ca_file` from now on, and read the files `replaced` again."""
        self.tls.renew(ca_file, replaced)
        self._credentials.renew(replaced)

    def settings(self, worker: Worker) -> TlsSettings | None:
        """Returns the TLS settings of a check; None for a check without TLS."""
        tls = worker.spec.probe.tls
        if tls is None or worker.kind is None:
            return None
        if self.tls.is_full:
            self.tls.renew(self.tls.ca_file, ())
        return self.tls.settings(tls, worker.kind.ALPN)

    def authorize(self, worker: Worker) -> None:
        """Give the next request of a check with credentials its credentials."""
        probe = worker.spec.probe
        assert isinstance(probe, HttpGet)  # noqa: S101 - no other check has credentials
        worker.authorize(probe, self._credentials.of(probe))
