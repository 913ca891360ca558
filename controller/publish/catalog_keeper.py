"""Reads the entries of the catalog from time to time, repairs them, and removes what earlier controllers have left."""

from collections.abc import Callable, Collection

from controller.consul.client import ConsulClient
from controller.publish.catalog import CatalogSink
from controller.publish.kv_keeper import KeyKeeper
from controller.publish.orphans import OrphanKeeper
from controller.runtime.heartbeat import Heartbeats
from reconcilers.ports import Ownership
from reconcilers.spec import PodKey

PERIOD = 60.0
"""Seconds between two looks. Each look sends two requests for each node of the share."""


ORPHANS_PERIOD = 30.0
"""Seconds between two searches for services without a manifest. Each search sends one request, if nothing is found."""


class CatalogKeeper:
    """Runs two threads. `on_lost` gets the pods whose entries others have changed, or that have no manifest any more.

    `client` reads the manifests below `tree`, for one of these threads alone.
    """

    def __init__(
        self,
        sink: CatalogSink,
        client: ConsulClient,
        tree: str,
        share: Ownership,
        scheduled: Callable[[], Collection[PodKey]],
        on_lost: Callable[[Collection[PodKey]], None],
        heartbeats: Heartbeats,
    ) -> None:
        def remove(orphans: Collection[PodKey]) -> None:
            sink.adopt(orphans)
            on_lost(orphans)

        look, orphans = heartbeats.new("catalog-look", 30, asks=True), heartbeats.new("catalog-orphans", 90, asks=True)
        what = "entries of the catalog"
        self._look = KeyKeeper(sink.look_again, on_lost, look, what=what, withdraw=sink.withdraw_all, period=PERIOD)
        self._orphans = OrphanKeeper(
            client, tree, share, scheduled, remove, orphans, published=sink.find, period=ORPHANS_PERIOD
        )

    def start(self) -> None:
        self._look.start()
        self._orphans.start()

    def stop(self, timeout: float, *, destroy: bool) -> None:
        """End the threads, and with `destroy` remove all entries, within `timeout` seconds."""
        self._look.stop(timeout, destroy=destroy)
        self._orphans.stop(0.0, destroy=destroy)
