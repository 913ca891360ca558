"""Why a pod is in its state, in one sentence for a person: thresholds, reasons, damping and manifests, put into words.

The page, the API and the command line say the same sentence, so it is decided here and nowhere else.
"""

from dataclasses import dataclass, replace

from reconcilers.damping import Flapping
from reconcilers.health import CheckHealth, HealthState, ProbeResult, Reason
from reconcilers.spec import CheckSpec, Manifest, Unprobed


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of one pod.

    `health`, `spec` and `last` are those of its probe worker; None: there is no worker, or no probe yet. `manifest` is
    the one in force, and `error` says what is wrong with a newer version. `cut_off` says why failures count as our own.
    """

    health: CheckHealth | None = None
    spec: CheckSpec | None = None
    last: ProbeResult | None = None
    manifest: Manifest | None = None
    error: str = ""
    flapping: Flapping | None = None
    cut_off: str = ""


def explain(pod: Situation) -> str:
    """One sentence, with its full stop."""
    match pod:
        case Situation(health=CheckHealth() as health, spec=CheckSpec() as spec):
            return f"{_checked(pod, health, spec)}{_about_to_change(pod, spec)}."
        case Situation(manifest=None, error=""):
            return "Nothing is known of it: it has neither a manifest nor a probe worker."
        case Situation(manifest=None):
            return f"Nothing is checked, because its manifest is not understood: {_inner(pod.error)}."
        case Situation(manifest=Manifest(paused=True)):
            return "Nothing is checked, because its manifest asks for a pause."
        case Situation(manifest=Manifest(check=None)):
            return "Nothing is checked, because its manifest names no port to ask."
    return "It is unknown, because its probe worker is being started."


def evidence(health: CheckHealth, spec: CheckSpec) -> str:
    """How far the probes are on the way to another state, "" when they are not: `1 of 3 misses`."""
    if health.state is HealthState.PASSING and health.misses:
        return f"{health.misses} of {spec.failure_threshold} misses"
    if health.state is not HealthState.PASSING and health.successes:
        return f"{health.successes} of {spec.success_threshold} successes"
    return ""


def _checked(pod: Situation, health: CheckHealth, spec: CheckSpec) -> str:
    if isinstance(spec.probe, Unprobed):
        return "It is taken for passing without a probe, because its manifest names no port to ask"
    if pod.flapping:
        return _flapping(pod.flapping, health)
    match health.state:
        case HealthState.PASSING:
            return _passing(health, spec, pod.last)
        case HealthState.CRITICAL:
            return _critical(health, spec)
    return _unknown(pod, health, spec)


def _flapping(flapping: Flapping, health: CheckHealth) -> str:
    return (
        f"It is said to be unknown for {flapping.quiet_for:.0f} s more, because its status changed "
        f"{_times(flapping.changes)} in a short time; it was last seen {health.state}{_because(health)}"
    )


def _passing(health: CheckHealth, spec: CheckSpec, last: ProbeResult | None) -> str:
    if not health.misses:
        return f"It is passing, because {_probes(spec.success_threshold)} succeeded and none has failed since"
    seen = f" ({_inner(last.detail)})" if last and last.detail else ""
    return (
        f"It is still passing, because only {health.misses} of the {_in_a_row(spec.failure_threshold, 'failures')} "
        f"that would end it {_have(health.misses)} been seen{seen}"
    )


def _critical(health: CheckHealth, spec: CheckSpec) -> str:
    if health.successes:
        return (
            f"It is still critical, because only {health.successes} of the "
            f"{_in_a_row(spec.success_threshold, 'successes')} that make it passing {_have(health.successes)} been seen"
        )
    return f"It is critical, because {_probes(health.failures)} failed{_because(health)}"


def _unknown(pod: Situation, health: CheckHealth, spec: CheckSpec) -> str:
    if pod.last is None and not (health.since or health.misses or health.successes):
        return "It is unknown, because it has not been probed yet"
    if health.successes:
        return (
            f"It is unknown, because only {health.successes} of the "
            f"{_in_a_row(spec.success_threshold, 'successes')} that make it passing {_have(health.successes)} been seen"
        )
    if health.reason:
        return _no_evidence(health, pod.cut_off)
    if not health.misses:
        return f"It is unknown, because failures do not count in its first {spec.initial_delay:g} s"
    return (
        f"It is unknown, because only {health.misses} of the {_in_a_row(spec.failure_threshold, 'failures')} "
        f"that make it critical {_have(health.misses)} been seen"
    )


def _no_evidence(health: CheckHealth, cut_off: str) -> str:
    """What speaks neither for the pod nor against it."""
    match health.reason:
        case Reason.DEPLOYING:
            return f"It is unknown and not critical yet, because it is {_inner(health.detail)}"
        case Reason.LOCAL if cut_off:
            return f"It is unknown, because failures say nothing about it: {_inner(cut_off)}"
    return f"It is unknown, because what failed is no evidence against it{_because(health)}"


def _about_to_change(pod: Situation, spec: CheckSpec) -> str:
    """What is being deployed: the worker that runs is not the one that the manifest asks for."""
    if pod.manifest is None:
        return "; its manifest is gone, and the check goes on until that is certain"
    if pod.manifest.check is None:
        return "; its manifest does not ask for a check any more, and the worker is being stopped"
    if replace(pod.manifest.check, address=spec.address) != spec:
        return "; a new version of its manifest is being deployed"
    return ""


def _because(health: CheckHealth) -> str:
    """The reason and what was seen, to be put at the end."""
    if not health.reason or health.state is HealthState.PASSING:
        return ""
    return f" with the reason {health.reason}: {_inner(health.detail)}" if health.detail else f" ({health.reason})"


def _inner(sentence: str) -> str:
    return sentence.rstrip(".")


def _probes(count: int) -> str:
    return "the last probe" if count <= 1 else f"{count} probes in a row"


def _in_a_row(count: int, what: str) -> str:
    return f"{count} {what} in a row"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
