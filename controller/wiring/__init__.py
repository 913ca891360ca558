"""Where manifests come from and where health goes, built from the configuration."""

from controller.wiring.backends import Backends, Parts
from controller.wiring.consul import on_consul, on_fleet
from controller.wiring.embedded import on_folders, on_urls


def connect(parts: Parts) -> Backends:
    """Returns the backends that the configuration names."""
    config = parts.config
    if config.has_urls:
        return on_urls(config)
    if config.intent_dir:
        return on_folders(parts)
    return on_fleet(parts) if config.fleet else on_consul(parts)
