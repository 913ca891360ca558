"""The difference between what should run and what runs. Whole values are compared, never their fields."""

from collections.abc import Mapping
from dataclasses import dataclass

from reconcilers.spec import CheckSpec, PodKey


@dataclass(frozen=True, slots=True)
class Plan:
    """What to stop, then what to start; a changed check stands in both."""

    stop: tuple[PodKey, ...]
    start: tuple[CheckSpec, ...]

    def __bool__(self) -> bool:
        return bool(self.stop or self.start)


def diff(desired: Mapping[PodKey, CheckSpec], actual: Mapping[PodKey, CheckSpec]) -> Plan:
    """The smallest plan that turns `actual` into `desired`; what is equal in both is left alone."""
    return Plan(
        stop=tuple(key for key, spec in actual.items() if desired.get(key) != spec),
        start=tuple(spec for key, spec in desired.items() if actual.get(key) != spec),
    )
