"""Use without Consul: manifests from a folder or from a list of URLs, and health in a folder."""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from controller.config import Config
from controller.intent.folder import DirectorySource
from controller.intent.source import OneSource
from controller.publish.folder import DirectoryLease, DirectorySink
from controller.runtime.heartbeat import Heartbeats
from controller.wiring.backends import Backends, fixed
from reconcilers.spec import PodKey


def on_folders(
    config: Config,
    intents: Path,
    healths: Path,
    heartbeats: Heartbeats,
    publish_again: Callable[[str, Collection[PodKey] | None], None],
    void: Callable[[], None],
) -> Backends:
    """Reads manifests from one folder and publishes health into the other.

    `publish_again` is called when all records were lost. `void` is called before that if the loss was not noticed.
    """
    sink = DirectorySink(healths)

    def lapsed() -> None:
        sink.forget()
        publish_again("folder", None)

    lease = DirectoryLease(healths, heartbeats.new("session", 30), lapsed, void=void)
    source = DirectorySource(intents, config.node_name, partial(sink.leftovers, config.node_name))
    return Backends(OneSource(source), {"folder": sink}, fixed(config.address), lease, [lease], asks=False)
