"""Use without Consul: manifests from a folder or from a list of URLs, and health in a folder."""

from functools import partial

from controller.config import Config
from controller.intent.folder import DirectorySource
from controller.intent.source import OneSource
from controller.intent.urls import UrlSource
from controller.publish.folder import DirectoryLease, DirectorySink
from controller.wiring.backends import Backends, Parts, fixed


def on_urls(config: Config) -> Backends:
    """Reads which URLs to check. Health is published nowhere: the page, the API and the metrics have it."""
    source = UrlSource(config.urls, config.urls_file)
    return Backends(source, {}, fixed(config.address), None, (), asks=False)


def on_folders(parts: Parts) -> Backends:
    """Reads manifests from one folder and publishes health into the other."""
    config = parts.config
    intents, healths = config.intent_dir, config.health_dir
    assert intents is not None  # noqa: S101 - the configuration has both or none
    assert healths is not None  # noqa: S101 - as above
    sink = DirectorySink(healths)

    def lapsed() -> None:
        sink.forget()
        parts.publish_again("folder", None)

    lease = DirectoryLease(healths, parts.heartbeats.new("session", 30), lapsed, void=parts.void)
    source = DirectorySource(intents, config.node_name, partial(sink.leftovers, config.node_name))
    return Backends(OneSource(source), {"folder": sink}, fixed(config.address), lease, [lease], asks=False)
