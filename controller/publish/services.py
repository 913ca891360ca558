"""The service of a pod at the Consul agent: name, port, tags and meta, from its manifest and the configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.config import Config
from controller.consul.client import AgentService
from controller.consul.ownership import OWNER
from controller.publish.agent_service import service_id
from reconcilers import labels
from reconcilers.ports import Manifests
from reconcilers.spec import PodKey


@dataclass(frozen=True, slots=True)
class ServiceNaming:
    """The configuration's share. DNS finds names of letters, digits and dashes only, so choose the prefix from these.

    `address` is where the node is reached, if that is not the agent's own address.
    """

    name_prefix: str = ""
    meta_prefix: str = "podpulse-"
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    address: str = ""

    @classmethod
    def of(cls, config: Config) -> "ServiceNaming":
        section = config.service
        address = config.address if config.address not in {"name", "catalog"} else ""
        return cls(section.name_prefix, section.meta_prefix, section.tags, section.meta, address)


class ManifestServices:
    """The services of the pods whose manifest asks for a check, with the port of that check. A label is a tag, too."""

    def __init__(self, manifests: Manifests, naming: ServiceNaming) -> None:
        self._manifests = manifests
        self._naming = naming

    def apply(self, naming: ServiceNaming) -> None:
        """Use this naming from now on."""
        self._naming = naming

    def describe(self, key: PodKey) -> AgentService | None:
        """The registration of a pod, with our mark, or None if the pod is not known."""
        manifest = self._manifests.manifest(key)
        if manifest is None or manifest.check is None:
            return None
        naming = self._naming
        facts = {**naming.meta, "node": key.node, "pod": key.pod}
        meta = {f"{naming.meta_prefix}{name}": text for name, text in facts.items()} | dict([OWNER])
        name, port = f"{naming.name_prefix}{key.pod}", manifest.check.probe.port
        tags = tuple(dict.fromkeys((*naming.tags, *labels.texts(manifest.labels))))
        return AgentService(service_id(key), name, port, tags, meta, naming.address)
