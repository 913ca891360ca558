"""When a probe that succeeded is a warning, and how the sentence says it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.health import Reason
from reconcilers.spec import CheckSpec, HttpGet, PodKey, Tls
from reconcilers.warning import Measured, Warned, can_warn, warned

DAY = 86_400.0
SPEC = CheckSpec(PodKey("web1", "isup"), HttpGet("web1", 443, "/", Tls()), 5.0, 5.0)
SLOW = replace(SPEC, warn_above=0.5)
EXPIRING = replace(SPEC, warn_expiry=14 * DAY)
BOTH = replace(SPEC, warn_above=0.5, warn_expiry=14 * DAY)
NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC).timestamp()
TEEMING = Warned(Reason.STATUS, "answered with status 429 (warn_status)")

TOOK = "the probe took 612 ms, more than 500ms (warn_above)"
ENDS = "the certificate expires at 2026-12-04 12:00 UTC: less than 14d are left (warn_expiry)"
ENDED = "the certificate expires at 2026-11-26 12:00 UTC: less than 14d are left (warn_expiry)"


def measured(took: float = 0.1, days: float = 90.0, dns: float = 0.0) -> Measured:
    return Measured(took, dns, NOW, NOW + days * DAY)


@pytest.mark.parametrize(
    ("spec", "probe", "before", "expected"),
    [
        (SPEC, measured(100.0, -5.0), None, None),
        (SPEC, measured(), TEEMING, TEEMING),
        (SLOW, measured(0.5), None, None),
        (SLOW, measured(0.612), None, Warned(Reason.SLOW, TOOK)),
        (SLOW, measured(-3.0), None, None),
        (SLOW, measured(0.612, dns=0.3), None, Warned(Reason.SLOW, TOOK)),
        (
            SLOW,
            measured(0.612, dns=0.6),
            None,
            Warned(Reason.SLOW, "the probe took 612 ms, 600 ms of it for the name, more than 500ms (warn_above)"),
        ),
        (EXPIRING, measured(days=14.0), None, None),
        (EXPIRING, measured(days=5.0), None, Warned(Reason.EXPIRY, ENDS)),
        (EXPIRING, measured(days=-3.0), None, Warned(Reason.EXPIRY, ENDED)),
        (EXPIRING, measured()._replace(ends=0.0), None, None),
        (BOTH, measured(0.612, 5.0), None, Warned(Reason.EXPIRY, f"{ENDS}; {TOOK}")),
        (BOTH, measured(0.612, 5.0), TEEMING, Warned(Reason.STATUS, f"{TEEMING.detail}; {ENDS}; {TOOK}")),
    ],
)
def test_a_probe_is_a_warning_beyond_a_limit(
    spec: CheckSpec, probe: Measured, before: Warned | None, expected: Warned | None
) -> None:
    assert warned(spec, probe, before) == expected


def test_only_a_check_with_a_limit_can_warn() -> None:
    assert [can_warn(spec) for spec in (SPEC, SLOW, EXPIRING, BOTH)] == [False, True, True, True]


@given(st.floats(-1e6, 1e6), st.floats(-1e4, 1e5))
def test_a_check_without_a_limit_never_warns(took: float, days: float) -> None:
    assert warned(SPEC, measured(took, days)) is None
