"""Where manifests come from and where health goes, built from the configuration."""

from collections.abc import Callable, Collection, Mapping

from controller.config import Config
from controller.consul.operations import Observe
from controller.health.restart_state import RestartState
from controller.intent.manifest_store import ManifestStore
from controller.members.current_share import CurrentShare
from controller.runtime.heartbeat import Heartbeats
from controller.wiring.backends import Backends
from controller.wiring.consul import on_consul, on_fleet
from controller.wiring.embedded import on_folders, on_urls
from reconcilers.spec import PodKey


def connect(
    config: Config,
    environ: Mapping[str, str],
    manifests: ManifestStore,
    heartbeats: Heartbeats,
    observe: Observe,
    publish_again: Callable[[str, Collection[PodKey] | None], None],
    void: Callable[[], None],
    expect: Callable[[Collection[PodKey]], None],
    moved: Callable[[], None],
    restart_state: RestartState,
    share: CurrentShare,
) -> Backends:
    """Returns the backends that the configuration names. For the parameters see `on_consul`."""
    if config.has_urls:
        return on_urls(config)
    if config.intent_dir:
        return on_folders(config, heartbeats, publish_again, void)
    of_consul = config, environ, manifests, heartbeats, observe, publish_again, void, expect, moved, restart_state
    return on_fleet(*of_consul, share) if config.fleet else on_consul(*of_consul)
