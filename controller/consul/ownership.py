"""The mark in the meta of every service that Podpulse registers. Services without this mark are never changed."""

from controller.consul.answers import AgentService

OWNER = ("external-source", "podpulse")


def is_ours(service: AgentService) -> bool:
    """Whether a service has our mark."""
    return service.meta.get(OWNER[0]) == OWNER[1]
