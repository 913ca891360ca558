"""The mark in the meta of every service that Podpulse registers. Nothing at the agent without it is ever touched."""

from controller.consul.answers import AgentService

OWNER = ("external-source", "podpulse")


def is_ours(service: AgentService) -> bool:
    """Whether it has our mark."""
    return service.meta.get(OWNER[0]) == OWNER[1]
