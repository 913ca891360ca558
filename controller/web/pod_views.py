"""The pods as the page and the API show them, read from the stores at each request.

Text from a pod or a manifest is not escaped here. The templates and the JSON responses escape it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from controller.health.history import Transition
from controller.health.store import HealthStore, Tracked
from controller.intent.manifest_store import Intent, ManifestStore
from reconcilers.damping import Flapping
from reconcilers.explanation import Situation, explain, note, progress
from reconcilers.health import CheckHealth, HealthState, Outcome, ProbeResult, Reason
from reconcilers.labels import NO_SELECTOR, Selector, matches
from reconcilers.record import HealthRecord, Unsettled
from reconcilers.spec import CheckSpec, FieldWarning, Labels, PodKey
from reconcilers.uptime import Share

NO_WORKER = "no probe worker runs yet"
NO_VERDICT = "no verdict yet"


class PodState(StrEnum):
    """The state of a pod as it is shown, the worst first. The first four are states of its health.

    A pod in another state has no check: its manifest pauses the check, has none, or is invalid.
    """

    CRITICAL = "critical"
    UNKNOWN = "unknown"
    WARNING = "warning"
    PASSING = "passing"
    PAUSED = "paused"
    UNCHECKED = "unchecked"


class PodView(NamedTuple):
    """One pod at the time of the request. It is a tuple, because lists have 10,000 of them.

    Times are seconds since the epoch, 0 for never. `took` is the duration of the last probe, -1 without a probe. `held`
    says why the removal of its manifest is held, "" if it is not.
    """

    key: PodKey
    state: PodState
    reason: Reason
    since: float
    probed: float
    took: float
    check: Tracked | None
    health: CheckHealth | None
    intent: Intent | None
    flapping: Flapping | None
    held: str = ""

    @property
    def labels(self) -> Labels:
        """The labels of the manifest in force."""
        return self.intent.manifest.labels if self.intent and self.intent.manifest else ()

    @property
    def detail(self) -> str:
        """A short description of the problem."""
        if self.flapping and self.health:
            return f"{self.flapping.changes} changes of status in a short time; last seen {self.health.state}"
        if self.health and self.probed and not self.health.since:
            return "; ".join(filter(None, (NO_VERDICT, self._last_miss)))
        if self.health:
            return self.health.detail or self._last_miss
        if self.intent and self.intent.error and not self.intent.manifest:
            return self.note
        return WITHOUT_CHECK.get(self.state, "")

    @property
    def certificate_ends(self) -> float:
        """When the certificate ends that the last probe saw, in seconds since the epoch; 0 if it saw none."""
        return self.check.last.certificate.ends if self.check and self.check.last else 0.0

    @property
    def _last_miss(self) -> str:
        """The detail of the last probe if it did not succeed, even if it does not count or not suffice."""
        check = self.check
        if not (check and check.last and check.last.generation == check.generation):
            return ""
        return "" if check.last.outcome is Outcome.SUCCESS else f"last seen: {check.last.detail}"

    @property
    def note(self) -> str:
        """Why what runs is not what its newest manifest asks for; "" if it is that."""
        return note(self.situation())

    def situation(self, cut_off: str = "") -> Situation:
        """Returns what the sentences about the pod are made of. `cut_off` says why failures are this node's fault."""
        check, intent = self.check, self.intent
        last = check.last if check else None
        return Situation(
            self.health,
            check.spec if check else None,
            last if check and last and last.generation == check.generation else None,
            intent.manifest if intent else None,
            str(intent.error) if intent and intent.error else "",
            self.flapping,
            cut_off,
            self.held,
        )

    @property
    def output(self) -> str:
        """The excerpt of the response that led to this state."""
        return self.health.output if self.health else ""

    @property
    def evidence(self) -> str:
        """How far the probes are on the way to another state; "" if they are not on the way."""
        return progress(self.health, self.check.spec) if self.check and self.health else ""


@dataclass(frozen=True, slots=True)
class PodSnapshot:
    """One pod in full. `why` is a sentence. `published` is the record that was published, if it is known. `uptime` has
    the share of each window; it is empty if nothing is known."""

    view: PodView
    last: ProbeResult | None
    why: str
    published: HealthRecord | None
    uptime: Sequence[Share] = ()

    @property
    def transitions(self) -> Sequence[Transition]:
        """The last changes of its state, the oldest first."""
        return self.view.check.latest if self.view.check else ()

    @property
    def warnings(self) -> Sequence[FieldWarning]:
        """The warnings about the manifest in force."""
        intent = self.view.intent
        return intent.manifest.warnings if intent and intent.manifest else ()

    @property
    def in_doubt(self) -> bool:
        """Whether the published record may not be ours, so that it will be written again."""
        return isinstance(self.published, Unsettled)


@dataclass(frozen=True, slots=True)
class ManifestProblem:
    """A field that makes a manifest invalid, or that does not do what it seems to.

    `since` is the time of the first invalid version. `kept` is whether another version is in force instead.
    """

    key: PodKey
    field: str
    problem: str
    since: float = 0.0
    kept: bool = False


class PodViews:
    """Reads the stores. `flapping` returns the damped pods, `published` the published record of a pod, and `held` why
    the removal of pods is held."""

    def __init__(
        self,
        healths: HealthStore,
        manifests: ManifestStore,
        *,
        flapping: Callable[[], Mapping[PodKey, Flapping]],
        published: Callable[[PodKey], HealthRecord | None],
        held: Callable[[], Mapping[PodKey, str]] = dict,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._healths = healths
        self._manifests = manifests
        self._flapping = flapping
        self._published = published
        self._held = held
        self.clock = clock

    def mark(self) -> str:
        """Returns a text that changes whenever a pod may have changed."""
        return f"{self._healths.version}-{self._manifests.version}"

    def uptime(self, key: PodKey) -> Sequence[Share]:
        """Returns the share of the time up in each window; empty if nothing is known of the pod."""
        return self._healths.uptimes.shares(key)

    def is_known(self, key: PodKey) -> bool:
        """Returns whether a pod has a manifest or a check."""
        return self._healths.tracked(key) is not None or self._manifests.intent(key) is not None

    def cut_off(self) -> str:
        """Returns why failures count as this node's own at the moment; "" if they do not."""
        return self._healths.cut_off

    def pods(self) -> list[PodView]:
        """Returns every pod that has a manifest or a check, without an order."""
        return list(self._each_view())

    def checks(self) -> list[tuple[CheckSpec, Labels]]:
        """Returns every check that runs, with the labels of its pod, without an order."""
        specs = [tracked.spec for tracked in self._healths.all()]
        manifests = [self._manifests.manifest(spec.key) for spec in specs]
        return [(spec, each.labels if each else ()) for spec, each in zip(specs, manifests, strict=True)]

    def totals(self, wanted: Selector = NO_SELECTOR) -> Mapping[PodState, int]:
        """Returns the number of selected pods in each state."""
        counts = Counter(view.state for view in self._each_view() if not wanted or matches(view.labels, wanted))
        return {state: counts[state] for state in PodState}

    def snapshot(self, key: PodKey) -> PodSnapshot | None:
        """Returns one pod; None if it has neither a manifest nor a check."""
        check, intent = self._healths.tracked(key), self._manifests.intent(key)
        if check is None and intent is None:
            return None
        flapping = self._flapping().get(key)
        view = self._view(key, check, intent, flapping)._replace(held=self._held().get(key, ""))
        last, why = check.last if check else None, explain(view.situation(self._healths.cut_off))
        return PodSnapshot(view, last, why, self._published(key), self.uptime(key))

    def invalid(self) -> list[ManifestProblem]:
        """Returns the invalid manifests, sorted by key."""
        found = [
            ManifestProblem(
                key, intent.error.field, intent.error.problem, intent.invalid_since, intent.manifest is not None
            )
            for key, intent in self._manifests.intents().items()
            if intent.error
        ]
        return sorted(found, key=lambda each: each.key)

    def doubtful(self) -> list[ManifestProblem]:
        """Returns the warnings about the manifests in force, sorted by key."""
        found = [
            ManifestProblem(key, warning.field, warning.problem)
            for key, intent in self._manifests.intents().items()
            if intent.manifest
            for warning in intent.manifest.warnings
        ]
        return sorted(found, key=lambda each: each.key)

    def _each_view(self) -> Iterator[PodView]:
        intents, flapping, held = dict(self._manifests.intents()), self._flapping(), self._held()
        for check in self._healths.all():
            key = check.spec.key
            view = self._view(key, check, intents.pop(key, None), flapping.get(key))
            yield view._replace(held=held[key]) if key in held else view
        for key, intent in intents.items():
            view = self._view(key, None, intent, None)
            yield view._replace(held=held[key]) if key in held else view

    def _view(self, key: PodKey, check: Tracked | None, intent: Intent | None, flapping: Flapping | None) -> PodView:
        if check is None:
            return PodView(key, _without_check(intent), Reason.NONE, 0.0, 0.0, -1.0, None, None, intent, None)
        health, last = check.health, check.last
        probed, took = (last.started, last.duration) if last else (0.0, -1.0)
        if flapping:
            since = self.clock() - flapping.quiet_since
            return PodView(key, PodState.UNKNOWN, Reason.FLAPPING, since, probed, took, check, health, intent, flapping)
        state = STATES[health.state]
        return PodView(key, state, health.reason, health.since, probed, took, check, health, intent, None)


WITHOUT_CHECK = {
    PodState.UNKNOWN: NO_WORKER,
    PodState.PAUSED: "its manifest asks for a pause",
    PodState.UNCHECKED: "its manifest has no status_port",
}
STATES = {state: PodState(state.value) for state in HealthState}


def _without_check(intent: Intent | None) -> PodState:
    manifest = intent.manifest if intent else None
    if manifest and manifest.check:
        return PodState.UNKNOWN
    return PodState.PAUSED if manifest and manifest.paused else PodState.UNCHECKED
