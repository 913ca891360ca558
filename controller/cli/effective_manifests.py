"""Manifests and addresses as a configuration has them, for verbs that show checks without running a controller."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

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
def known_addresses(config: Config) -> Iterator[Addresses]:
    """The addresses of nodes, as the controller would find them. An unknown address is reported."""
    try:
        if config.address != "catalog":
            yield FixedAddress(None if config.address == "name" else config.address)
            return
        with client_of(config) as client:
            catalog = CatalogAddress(client, config.node_name)
            catalog.refresh()
            yield catalog
    except LookupError as error:
        raise click.ClickException(str(error)) from None


def list_manifests(config: Config, intent_dir: Path | None) -> Listing:
    """Returns all manifests of the node. Raises SourceError if the folder cannot be read, or Consul has no leader."""
    if folder := intent_dir or config.intent_dir:
        return DirectorySource(folder, config.node_name, tuple).next(0)
    with client_of(config) as client:
        listing = client.list_manifests(config.tree, config.node_name)
    if listing.doubt:
        raise SourceError(f"{intent_prefix(config.tree, config.node_name)} is not known: {listing.doubt}")
    return listing


def unconfirmed_removals(config: Config, keys: Collection[PodKey]) -> Collection[PodKey]:
    """Returns those of `keys`, missing from a listing, whose removal is not confirmed. Raises SourceError."""
    with client_of(config) as client:
        return set(keys).difference(ConsulSource(client, config.tree, config.node_name, tuple).absent(keys))
