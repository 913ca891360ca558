"""Decides when a probe that succeeded is a warning: it was slow, or the certificate of its target expires soon."""

from datetime import UTC, datetime
from typing import NamedTuple

from reconcilers.fields import go_duration, in_days
from reconcilers.health import Reason
from reconcilers.spec import CheckSpec


class Warned(NamedTuple):
    """Why a probe is a warning, as a label and as a sentence."""

    reason: Reason
    detail: str


class Measured(NamedTuple):
    """What was measured of a probe that succeeded.

    `took` is how many seconds it took and `dns` how many of these it waited for the name. `started` is when it started,
    and `ends` when the certificate expires, both in seconds since the epoch. `ends` is 0 if no certificate was seen.
    """

    took: float
    dns: float
    started: float
    ends: float


def can_warn(spec: CheckSpec) -> bool:
    """Returns whether `warned` can return something for a probe of this check."""
    return bool(spec.warn_above or spec.warn_expiry)


def warned(spec: CheckSpec, probe: Measured, before: Warned | None = None) -> Warned | None:
    """Returns why a probe is a warning, None if it is none. `before` is what is known of its answer.

    The reason is the one that lasts longest, because each change of the reason is published. The sentence names all.
    An expiry is a date, because the sentence is published once and stays the same.
    """
    found = [before, _expiry(spec, probe), _slow(spec, probe)]
    warnings = [each for each in found if each]
    if not warnings:
        return None
    return Warned(warnings[0].reason, "; ".join(each.detail for each in warnings))


def _expiry(spec: CheckSpec, probe: Measured) -> Warned | None:
    if not spec.warn_expiry or not probe.ends or probe.ends - probe.started >= spec.warn_expiry:
        return None
    when = datetime.fromtimestamp(probe.ends, UTC).strftime("%Y-%m-%d %H:%M UTC")
    limit = in_days(spec.warn_expiry)
    return Warned(Reason.EXPIRY, f"the certificate expires at {when}: less than {limit} are left (warn_expiry)")


def _slow(spec: CheckSpec, probe: Measured) -> Warned | None:
    if not 0 < spec.warn_above < probe.took:
        return None
    name = f", {_milliseconds(probe.dns)} of it for the name" if 2 * probe.dns > probe.took else ""
    took = f"the probe took {_milliseconds(probe.took)}{name}"
    return Warned(Reason.SLOW, f"{took}, more than {go_duration(spec.warn_above)} (warn_above)")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
