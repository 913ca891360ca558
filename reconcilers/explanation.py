"""One sentence that says why a pod is in its state. The page, the API and the command line show the same sentence."""

from dataclasses import dataclass, replace

from reconcilers.damping import Flapping
from reconcilers.health import CheckHealth, HealthState, ProbeResult, Reason
from reconcilers.spec import CheckSpec, Manifest, Unprobed


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known about one pod.

    `health`, `spec` and `last` come from its probe worker; None if there is no worker, or no probe yet. `manifest` is
    in force, and `error` says what is wrong with a newer version. `cut_off` says why failures are this node's fault.
    `held` says why the removal of the pod is held.
    """

    health: CheckHealth | None = None
    spec: CheckSpec | None = None
    last: ProbeResult | None = None
    manifest: Manifest | None = None
    error: str = ""
    flapping: Flapping | None = None
    cut_off: str = ""
    held: str = ""


def explain(pod: Situation) -> str:
    """Returns one sentence with its full stop."""
    match pod:
        case Situation(health=CheckHealth() as health, spec=CheckSpec() as spec):
            change = _change(pod, spec)
            return f"{_state(pod, health, spec)}{f'; {change}' if change else ''}."
        case Situation(manifest=None, error=""):
            return "It is unknown, because it has neither a manifest nor a probe worker."
        case Situation(manifest=None):
            return f"Nothing is checked, because its manifest is invalid: {pod.error.rstrip('.')}."
        case Situation(manifest=Manifest(paused=True)):
            return "Nothing is checked, because its manifest asks for a pause."
        case Situation(manifest=Manifest(check=None)):
            return "Nothing is checked, because its manifest has no status_port."
    return "It is unknown, because its probe worker is being started."


def note(pod: Situation) -> str:
    """Returns why what runs is not what its newest manifest asks for; "" if it is that."""
    if pod.error and not pod.held:
        what = "an older manifest is in force, the newest" if pod.manifest else "its manifest"
        return f"{what} is invalid: {pod.error}"
    return _change(pod, pod.spec)


def progress(health: CheckHealth, spec: CheckSpec) -> str:
    """Returns how many of the results are counted that change the state, as in `1 of 3 misses`; "" if none is."""
    if health.state.is_up and health.misses:
        return f"{health.misses} of {spec.failure_threshold} misses"
    if health.state is not HealthState.PASSING and health.successes:
        return f"{health.successes} of {spec.success_threshold} successes"
    if health.warnings:
        needed = spec.failure_threshold if health.state is HealthState.PASSING else spec.success_threshold
        return f"{health.warnings} of {needed} warnings"
    return ""


def _state(pod: Situation, health: CheckHealth, spec: CheckSpec) -> str:
    if isinstance(spec.probe, Unprobed):
        return "It is reported as passing without a probe, because its manifest has no status_port"
    if pod.flapping:
        return _flapping(pod.flapping, health)
    if change := _next_state(health, spec, pod.last):
        return f"It is {'' if health.state is HealthState.UNKNOWN else 'still '}{health.state}, {change}"
    return _steady(pod, health, spec)


def _steady(pod: Situation, health: CheckHealth, spec: CheckSpec) -> str:
    match health.state:
        case HealthState.PASSING:
            return f"It is passing, because {_probes(spec.success_threshold)} succeeded and none has failed since"
        case HealthState.WARNING:
            return f"It is warning, because the last probe was a warning{_reason(health)}"
        case HealthState.CRITICAL:
            return f"It is critical, because {_probes(health.failures)} failed{_reason(health)}"
    return _unknown(pod, health, spec)


def _next_state(health: CheckHealth, spec: CheckSpec, last: ProbeResult | None) -> str:
    """Returns how many results are counted towards another state; "" for none, and for misses of an unknown check."""
    detail = f" ({last.detail.rstrip('.')})" if last and last.detail else ""
    match health:
        case CheckHealth(misses=misses) if misses and health.state.is_up:
            return _too_few(misses, spec.failure_threshold, "failures", "would change its state") + detail
        case CheckHealth(state=HealthState.PASSING, warnings=warnings) if warnings:
            return _too_few(warnings, spec.failure_threshold, "warnings", "would change its state") + detail
        case CheckHealth(state=HealthState.PASSING):
            return ""
        case CheckHealth(successes=successes) if successes:
            return _too_few(successes, spec.success_threshold, "successes", "make it passing")
        case CheckHealth(warnings=warnings) if warnings:
            return _too_few(warnings, spec.success_threshold, "successes or warnings", "make it warning") + detail
    return ""


def _flapping(flapping: Flapping, health: CheckHealth) -> str:
    changed = "once" if flapping.changes == 1 else f"{flapping.changes} times"
    return (
        f"It is published as unknown for {flapping.quiet_for:.0f} s more, because its status changed {changed} in a "
        f"short time; it was last seen {health.state}{_reason(health)}"
    )


def _unknown(pod: Situation, health: CheckHealth, spec: CheckSpec) -> str:
    if pod.last is None and not (health.since or health.misses):
        return "It is unknown, because it has not been probed yet"
    if health.reason:
        return _no_evidence(health, pod.cut_off)
    if not health.misses:
        return f"It is unknown, because failures do not count in its first {spec.initial_delay:g} s"
    return f"It is unknown, {_too_few(health.misses, spec.failure_threshold, 'failures', 'make it critical')}"


def _no_evidence(health: CheckHealth, cut_off: str) -> str:
    match health.reason:
        case Reason.DEPLOYING:
            return f"It is unknown and not critical yet, because it is {health.detail.rstrip('.')}"
        case Reason.LOCAL if cut_off:
            return f"It is unknown, because failures are no evidence against it: {cut_off.rstrip('.')}"
    return f"It is unknown, because the failures are no evidence against it{_reason(health)}"


def _change(pod: Situation, spec: CheckSpec | None) -> str:
    """Returns how the check of the worker differs from that of the manifest; "" if it does not."""
    if pod.held:
        return f"its manifest is gone, and its removal is held: {pod.held}"
    if spec is None:
        return ""
    if pod.manifest is None:
        return "its manifest is gone, and the check continues until the removal is confirmed"
    if pod.manifest.check is None:
        return "its manifest does not ask for a check any more, and the worker is being stopped"
    if replace(pod.manifest.check, address=spec.address) != spec:
        return "a new version of its manifest is being deployed"
    return ""


def _reason(health: CheckHealth) -> str:
    if not health.reason or health.state is HealthState.PASSING:
        return ""
    return f" with the reason {health.reason}: {health.detail.rstrip('.')}" if health.detail else f" ({health.reason})"


def _probes(count: int) -> str:
    return "the last probe" if count <= 1 else f"{count} probes in a row"


def _too_few(seen: int, threshold: int, results: str, effect: str) -> str:
    have = "has" if seen == 1 else "have"
    return f"because only {seen} of the {threshold} {results} in a row that {effect} {have} been seen"
