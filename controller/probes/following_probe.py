"""One probe in flight of a check that follows redirects."""

from dataclasses import replace

from controller.probes.failure import Failure
from controller.probes.redirects import next_path
from controller.probes.running_probe import RunningProbe
from reconcilers.health import Phases
from reconcilers.spec import HttpGet


class FollowingProbe(RunningProbe):
    """Sends another request when an answer redirects to the scheme, host and port of the check. The last answer counts.

    All requests go to the address of the first one, and share the deadline of the probe. Each has a connection of its
    own, so that the certificate of the last one is read like any other.
    """

    __slots__ = ("_earlier", "_number", "_request")

    def begin(self, started: float, lost: float) -> None:
        """See `RunningProbe.begin`."""
        assert isinstance(self.worker.request, HttpGet)  # noqa: S101 - no other check follows redirects
        self._request = self.worker.request
        self._number = 0
        self._earlier = Phases()
        """The phases of the requests that were redirected."""
        self.worker.aim(self._request)
        super().begin(started, lost)

    def _end(self, failure: Failure | None) -> None:
        if failure is None:
            match next_path(self.exchange, self._request, self._number):
                case Failure() as found:
                    failure = found
                case str(path):
                    self._follow(path)
                    return
        super()._end(failure)

    def _follow(self, path: str) -> None:
        self._earlier = self.phases(0.0, self._clock())
        self._number += 1
        self._request = replace(self._request, path=path)
        self.worker.aim(self._request)
        if self.connection:
            self._target = self._target.with_first(self.connection.address)
        self._repeat(openssl=self._is_openssl)

    def phases(self, dns: float, now: float) -> Phases:
        """Returns how long each phase took, in all requests together."""
        return Phases(*map(sum, zip(self._earlier, super().phases(dns, now), strict=True)))
