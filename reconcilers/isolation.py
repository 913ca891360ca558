"""Is this node cut off, or are its pods down? When everything fails at once, ask a canary before blaming the pods."""

from collections.abc import Iterable

MIN_CHECKS = 3


def everything_failed(failing_since: Iterable[float], now: float, window: float) -> bool:
    """Whether all checks that were well a short while ago fail now, and they are several.

    `failing_since` has one time for each check: of the first failure in its present row of failures, 0 where the last
    probe did not fail. Checks that have failed for longer than `window` say nothing about now. Times and `window` are
    seconds of one clock.
    """
    lately = [since for since in failing_since if not since or since > now - window]
    return len(lately) >= MIN_CHECKS and all(lately)
