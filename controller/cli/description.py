"""One pod in full, for `podpulse describe`: in the fields of the API, from a controller or from Consul alone."""

import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import msgspec
from msgspec import Struct, field

from controller.cli.condition import Conditions
from controller.cli.inspection import InspectedPod
from controller.cli.table import age
from reconcilers.record import HealthRecord, timestamp
from reconcilers.spec import CheckSpec
from reconcilers.uptime import WINDOWS, Share

MOST_LINES = 6
"""The lines of an excerpt."""
DAY = 86_400
LENGTHS = {window.name: window.length for window in WINDOWS}
"""Seconds of each window."""


class Check(Struct, frozen=True, kw_only=True):
    """What is checked, and how. Durations are seconds."""

    url: str = ""
    address: str | None = None
    interval: float = 0
    timeout: float = 0
    failure_threshold: int = 1
    success_threshold: int = 1


class Phase(Struct, frozen=True):
    """A part of a probe."""

    name: str
    seconds: float


class PastProbe(Struct, frozen=True, kw_only=True):
    """One of the last probes."""

    started: str = ""
    duration: float = 0
    outcome: str = ""
    reason: str = ""
    status_code: int = 0

    @property
    def result(self) -> str:
        """`failure (status, HTTP 500)`."""
        details = ", ".join(filter(None, (self.reason, f"HTTP {self.status_code}" if self.status_code else "")))
        return f"{self.outcome}{f' ({details})' if details else ''}"


class Probe(PastProbe, frozen=True, kw_only=True):
    """The last probe."""

    detail: str = ""
    phases: list[Phase] = []


class Transition(Struct, frozen=True, kw_only=True):
    """A change of the state."""

    at: str = ""
    before: str = field(default="", name="from")
    to: str = ""
    reason: str = ""
    detail: str = ""


class Certificate(Struct, frozen=True, kw_only=True):
    """The certificate that the target sent."""

    expires: str | None = None
    names: str = ""
    issuer: str = ""
    verified: bool = True


class Published(Struct, frozen=True, kw_only=True):
    """The published record. `place` is the key or the file that has it."""

    status: str = ""
    reason: str = ""
    since: str | None = None
    manifest_sha: str = ""
    in_doubt: bool = False
    place: str = ""


class Uptime(Struct, frozen=True):
    """The share of a window in which the pod was up. The window is known for `up` and `down` together, in seconds."""

    share: float | None = None
    up: float = 0
    down: float = 0


class Version(Struct, frozen=True):
    """A version of the manifest."""

    sha: str = ""


class Description(Struct, frozen=True, kw_only=True):
    """One pod. The fields are those of the API; `history` and `transitions` have the oldest entry first.

    A controller of an older version does not know all of them. `transitions` is None if nobody has told them."""

    node: str
    pod: str
    state: str
    since: str | None = None
    last_probe: str | None = None
    why: str = ""
    detail: str = ""
    excerpt: str = ""
    labels: dict[str, str] = {}
    evidence: str = ""
    check: Check | None = None
    probe: Probe | None = None
    history: list[PastProbe] = []
    transitions: list[Transition] | None = None
    uptime: dict[str, Uptime] = {}
    certificate: Certificate | None = None
    published: Published | None = None
    manifest: Version | None = None
    manifest_in_force: Version | None = None
    manifest_error: str = ""
    manifest_warnings: list[str] = []


def of_record(pod: InspectedPod, conditions: Conditions, place: str, now: float) -> Description:
    """Returns what Consul or folders have of a pod. `place` is where its record is published."""
    record, condition = pod.record, conditions.of(pod.key, pod.intent, pod.record)
    judged = conditions.judged(pod.key, pod.intent) if pod.intent is not None else None
    manifest = judged.manifest if judged else None
    return Description(
        node=pod.key.node,
        pod=pod.key.pod,
        state=condition.state,
        since=_instant(record.since) if record else None,
        last_probe=_instant(record.last_probe) if record else None,
        why=_sentence(condition.state, record, condition.note),
        detail=record.detail if record else "",
        excerpt=record.excerpt if record else "",
        labels=dict(pod.labels),
        check=_check(manifest.check) if manifest and manifest.check else None,
        uptime={share.window: Uptime(share.ratio, share.up, share.down) for share in record.shares(now)}
        if record
        else {},
        published=_published(record, place) if record else None,
        manifest=Version(judged.sha) if judged else None,
        manifest_error=judged.error if judged else "",
        manifest_warnings=[str(each) for each in manifest.warnings] if manifest else [],
    )


def lines_of(pod: Description, now: float) -> Iterator[tuple[str, str]]:
    """Yields the name of a section and one line of it. Text from outside is not escaped yet."""
    yield from _named("Check", _check_lines(pod.check))
    yield from _named("Last probe", _probe_lines(pod, now))
    yield from _named("Transitions", transitions(pod, now))
    yield from _named("Certificate", _certificate_lines(pod.certificate, now))
    yield from _named("Uptime", [_uptime(pod.uptime)])
    yield from _named("Labels", [", ".join(f"{name}={value}" for name, value in pod.labels.items())])
    yield from _named("Manifest", _manifest_lines(pod))
    yield from _named("Published", _published_lines(pod.published, now))


def transitions(pod: Description, now: float) -> Iterator[str]:
    """Yields the last changes of the state, the newest first."""
    if pod.transitions is None:
        yield "not available: only the controller of the pod has them"
        return
    for each in reversed(pod.transitions):
        reason = f" ({each.reason})" if each.reason else ""
        why = f": {each.detail}" if each.reason and each.detail else ""
        ago = age(now - _seconds(each.at))
        yield f"{_moment(each.at)}, {ago} ago: {each.before} -> {each.to}{reason}{why}"
    if not pod.transitions:
        yield "none since the controller has known the pod"


def since(pod: Description, now: float) -> str:
    """`for 12m30s, since 2026-11-29T07:44:01Z`; "" if it is not known."""
    return f"for {age(now - _seconds(pod.since))}, since {_moment(pod.since)}" if pod.since else ""


def _named(section: str, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in filter(None, lines):
        yield section, line
        section = ""


def _check_lines(check: Check | None) -> Iterator[str]:
    if check is None:
        return
    where = f", at {check.address}" if check.address else ""
    yield f"{check.url}{where}, every {check.interval:g} s, within {check.timeout:g} s"
    yield f"critical after {_count(check.failure_threshold, 'failure')}, passing after " + _count(
        check.success_threshold, "success"
    )


def _probe_lines(pod: Description, now: float) -> Iterator[str]:
    probe = pod.probe
    if probe:
        yield f"{age(now - _seconds(probe.started))} ago: {probe.result} after {_milliseconds(probe.duration)}"
        yield ", ".join(f"{phase.name} {_milliseconds(phase.seconds)}" for phase in probe.phases)
        yield probe.detail
    elif pod.last_probe:
        yield f"not known; the published health is of a probe {age(now - _seconds(pod.last_probe))} ago"
    yield pod.evidence
    lines = pod.excerpt.splitlines()
    yield from (f"| {line}" for line in lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        yield f"| ({len(lines) - MOST_LINES} more lines)"


def _certificate_lines(certificate: Certificate | None, now: float) -> Iterator[str]:
    if certificate is None:
        return
    if certificate.expires:
        days = (_seconds(certificate.expires) - now) / DAY
        when = f"expires on {certificate.expires[:10]}, in {days:.0f} days" if days >= 0 else "has expired"
        yield f"{when}{'' if certificate.verified else '; it is not verified'}"
    yield f"for {certificate.names}" if certificate.names else ""
    yield f"signed by {certificate.issuer}" if certificate.issuer else ""


def _manifest_lines(pod: Description) -> Iterator[str]:
    yield f"SHA {pod.manifest.sha}" if pod.manifest and pod.manifest.sha else ""
    if pod.manifest is None:
        yield "none: the pod is not scheduled"
    yield f"invalid: {pod.manifest_error}" if pod.manifest_error else ""
    if pod.manifest_in_force:
        yield f"an older version is in force, SHA {pod.manifest_in_force.sha}"
    yield from (f"warning: {each}" for each in pod.manifest_warnings)


def _published_lines(published: Published | None, now: float) -> Iterator[str]:
    if published is None:
        yield "nothing"
        return
    reason = f" ({published.reason})" if published.reason else ""
    when = f" for {age(now - _seconds(published.since))}" if published.since else ""
    doubt = "; in doubt: readers may not see it any more, and it will be written again" if published.in_doubt else ""
    yield f"{published.status}{reason}{when}{doubt}"
    yield f"in {published.place}" if published.place else ""


def _sentence(state: str, record: HealthRecord | None, note: str) -> str:
    why = f" with the reason {record.reason}" if record and record.reason else ""
    detail = f": {record.detail.rstrip('.')}" if record and record.detail else ""
    return f"It is {state}{why if detail or why else ''}{detail}{f'; {note}' if note else ''}."


def _check(spec: CheckSpec) -> Check:
    return Check(
        url=spec.probe.url,
        address=spec.address or None,
        interval=spec.interval,
        timeout=spec.timeout,
        failure_threshold=spec.failure_threshold,
        success_threshold=spec.success_threshold,
    )


def _published(record: HealthRecord, place: str) -> Published:
    return Published(
        status=record.status.value,
        reason=record.reason.value,
        since=_instant(record.since),
        manifest_sha=record.manifest_sha,
        place=place,
    )


def _instant(seconds: float) -> str | None:
    return timestamp(seconds) if seconds else None


def _seconds(moment: str | None) -> float:
    """Returns seconds since the epoch; 0 for no time, or for text that is not one."""
    try:
        return datetime.fromisoformat(moment or "").timestamp()
    except ValueError:
        return 0.0


def _moment(moment: str | None) -> str:
    """`2026-11-29T07:44:01Z`: to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(_seconds(moment)))


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _uptime(uptimes: Mapping[str, Uptime]) -> str:
    """`1h 99.95 %, 24h 100 % (of 2h known)`, never rounded up. If all windows know the same time, it is said once."""
    shares = [Share(window, LENGTHS.get(window, 0), each.up, each.down) for window, each in uptimes.items()]
    known = [age(share.known) if share.is_partial and share.known else "" for share in shares]
    texts = [f"{share.window} {share.text if share.known else '-'}" for share in shares]
    if known and len(set(known)) == 1:
        return ", ".join(texts) + (f", of {known[0]} known" if known[0] else "")
    return ", ".join(f"{text} (of {part} known)" if part else text for text, part in zip(texts, known, strict=True))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 'es' if what.endswith('s') else 's'}"


def decoded(body: bytes) -> Description | None:
    """Returns the answer of a controller; None if it is not one about a pod."""
    try:
        return msgspec.json.decode(body, type=Description)
    except (msgspec.MsgspecError, RecursionError):
        return None
