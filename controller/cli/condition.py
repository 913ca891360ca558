"""The state of a pod as far as its manifest and its record in Consul tell it, without asking a controller.

Consul does not tell whether a removal is held, and why a record is of an older manifest. Such a state is doubtful, and
`controller.cli.accounts` asks the controllers about it.

A manifest is judged by rules that allow all that an operator may allow, because the rules of the node's controller are
not known here. So what is called invalid is invalid for every controller.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache

from reconcilers.health import HealthState
from reconcilers.manifest import ManifestError, parse
from reconcilers.options import MAX_REDIRECTS, SAFE_METHODS, Rules
from reconcilers.p2.manifest import sha_or_empty
from reconcilers.record import HealthRecord
from reconcilers.spec import WITH_BODY, Manifest, PodKey

REMEMBERED = 65_536
"""Manifests that are remembered: a watch reads the same ones at every change."""

PAUSED, UNCHECKED = WITHOUT_CHECK = ("paused", "unchecked")
STATES = (
    *(state.value for state in (HealthState.CRITICAL, HealthState.UNKNOWN, HealthState.WARNING, HealthState.PASSING)),
    PAUSED,
    UNCHECKED,
)
"""The states of pods, the worst first. A pod in one of the last two has no check."""


NO_HEALTH = "no health is published"
OLDER = "this is the health of an older manifest: the new one is being deployed, not probed yet, or refused"
REMAINS = "not scheduled, and not removed yet: held, unconfirmed, or nobody checks the node"


@dataclass(frozen=True, slots=True)
class Condition:
    """A state of `STATES`, and what else is to be known of it; "" for nothing. `is_doubtful` is whether a controller
    would know more. `source` is the page of the controller that said this; "" for what Consul tells."""

    state: str
    note: str = ""
    is_doubtful: bool = field(default=False, compare=False)
    source: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A manifest, None if it is invalid, then with the reason. `sha` is p2's."""

    manifest: Manifest | None
    error: str = ""
    sha: str = ""


class Conditions:
    """Judges manifests, each version once."""

    def __init__(self, rules: Rules) -> None:
        self._rules = lenient(rules)
        self.judged = lru_cache(REMEMBERED)(self._judged)

    def of(self, key: PodKey, intent: bytes | None, record: HealthRecord | None) -> Condition:
        """Returns the state of a pod, and what its manifest says about it."""
        published = record.status.value if record else HealthState.UNKNOWN.value
        if intent is None:
            return Condition(published, REMAINS, is_doubtful=True) if record else Condition(published, "not scheduled")
        judged = self.judged(key, intent)
        if (manifest := judged.manifest) is None:
            old = "an older manifest is in force, this one is invalid" if record else "its manifest is invalid"
            return Condition(published if record else UNCHECKED, f"{old}: {judged.error}")
        if manifest.paused:
            return Condition(PAUSED, "its manifest has status.paused")
        if manifest.check is None:
            return Condition(published if record else UNCHECKED, "its manifest has no status_port")
        is_older = record is not None and record.manifest_sha not in {"", judged.sha}
        if is_older:
            return Condition(published, OLDER, is_doubtful=True)
        return Condition(published) if record else Condition(published, NO_HEALTH, is_doubtful=True)

    def _judged(self, key: PodKey, data: bytes) -> Judged:
        try:
            return Judged(parse(key, data, self._rules), "", sha_or_empty(data))
        except ManifestError as error:
            return Judged(None, str(error))


def lenient(rules: Rules) -> Rules:
    """Returns rules with the same defaults that allow everything else."""
    return replace(
        rules,
        allow_headers=True,
        allow_methods=SAFE_METHODS | WITH_BODY | {"OPTIONS"},
        allow_send=True,
        credentials_dir="/",
        max_redirects=MAX_REDIRECTS,
        unreadable=lambda _: "",
        verify=None,
        is_remote=False,
        labels=None,
    )


CONDITIONS = Conditions(Rules())
"""By the defaults of the documentation."""
