"""What a configuration makes of manifests, for verbs that look at checks without running a controller."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.cli.options import client_of
from controller.config import Config
from controller.consul.addresses import CatalogAddress, FixedAddress
from controller.intent.consul import ConsulSource
from controller.intent.folder import DirectorySource
from controller.intent.source import SourceError
from reconcilers.gate import Listing
from reconcilers.keys import intent_prefix
from reconcilers.ports import Addresses
from reconcilers.spec import PodKey


@contextmanager
def addresses(config: Config) -> Iterator[Addresses]:
    """Where nodes are reached, as the controller would find it."""
    if config.address != "catalog":
        yield FixedAddress(None if config.address == "name" else config.address)
        return
    with client_of(config) as client:
        catalog = CatalogAddress(client, config.node_name)
        catalog.refresh()
        yield catalog


def listing(config: Config, intent_dir: Path | None) -> Listing:
    """All manifests of the node, as they stand in a folder or in Consul.

    Raises:
        SourceError: the folder cannot be read, or Consul has no leader.
        ConsulError: Consul did not answer, or refused.
    """
    if folder := intent_dir or config.intent_dir:
        return DirectorySource(folder, config.node_name, tuple).next(0)
    with client_of(config) as client:
        found = client.list_manifests(config.tree, config.node_name)
    if found.doubt:
        raise SourceError(f"{intent_prefix(config.tree, config.node_name)} is not known: {found.doubt}")
    return found


def not_gone(config: Config, keys: Collection[PodKey]) -> Collection[PodKey]:
    """Those of `keys`, which a listing from Consul lacks, that a single read each does not confirm to be gone.

    Raises:
        SourceError: Consul did not answer.
    """
    with client_of(config) as client:
        return set(keys).difference(ConsulSource(client, config.tree, config.node_name, tuple).absent(keys))
