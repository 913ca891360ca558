"""The difference between the checks that should run and those that run. Whole values are compared, never fields."""

from collections.abc import Mapping
from dataclasses import dataclass

from reconcilers.spec import CheckSpec, PodKey


@dataclass(frozen=True, slots=True)
class Diff:
    """What to stop, then what to start. A changed check is in both.

    `update` has the checks that go on without a change, but for another version of their manifest.
    """

    stop: tuple[PodKey, ...]
    start: tuple[CheckSpec, ...]
    update: tuple[CheckSpec, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.stop or self.start or self.update)


def diff(desired: Mapping[PodKey, CheckSpec], actual: Mapping[PodKey, CheckSpec]) -> Diff:
    """Returns the smallest change from `actual` to `desired`. Checks that are equal in both are not restarted."""
    kept = [(spec, actual[key]) for key, spec in desired.items() if actual.get(key) == spec]
    return Diff(
        stop=tuple(key for key, spec in actual.items() if desired.get(key) != spec),
        start=tuple(spec for key, spec in desired.items() if actual.get(key) != spec),
        update=tuple(spec for spec, running in kept if spec.version != running.version),
    )
