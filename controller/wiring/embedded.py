"""Use without Consul: manifests from a folder or from a list of URLs, and health in a folder."""

from collections.abc import Callable, Collection
from functools import partial

from controller.config import Config
from controller.intent.folder import DirectorySource
from controller.intent.source import OneSource
from controller.intent.urls import UrlSource
from controller.publish.folder import DirectoryLease, DirectorySink
from controller.runtime.heartbeat import Heartbeats
from controller.wiring.backends import Backends, fixed
from reconcilers.spec import PodKey


def on_urls(config: Config) -> Backends:
    """Reads which URLs to check. Health is published nowhere: the page, the API and the metrics have it."""
    source = UrlSource(config.urls, config.urls_file)
    return Backends(source, {}, fixed(config.address), None, (), asks=False)


def on_folders(
    config: Config,
    heartbeats: Heartbeats,
    publish_again: Callable[[str, Collection[PodKey] | None], None],
    void: Callable[[], None],
) -> Backends:
    """Reads manifests from one folder and publishes health into the other.

    `publish_again` is called when all records were lost. `void` is called before that if the loss was not noticed.
    """
    intents, healths = config.intent_dir, config.health_dir
    assert intents is not None  # noqa: S101 - the configuration has both or none
    assert healths is not None  # noqa: S101 - as above
    sink = DirectorySink(healths)

    def lapsed() -> None:
        sink.forget()
        publish_again("folder", None)

    lease = DirectoryLease(healths, heartbeats.new("session", 30), lapsed, void=void)
    source = DirectorySource(intents, config.node_name, partial(sink.leftovers, config.node_name))
    return Backends(OneSource(source), {"folder": sink}, fixed(config.address), lease, [lease], asks=False)
