"""Is this node cut off, or are its pods down? If all checks fail at once, a canary is probed to find out."""

from collections.abc import Iterable

MIN_CHECKS = 3


def everything_failed(failing_since: Iterable[float], now: float, window: float) -> bool:
    """Whether all checks that did not fail `window` seconds ago fail now, and there are at least `MIN_CHECKS` of them.

    `failing_since` has one time for each check: when the first failure since its last success started, 0 if there is
    none. Checks that have failed for longer than `window` are ignored. Times and `window` are seconds of one clock.
    """
    lately = [since for since in failing_since if not since or since > now - window]
    return len(lately) >= MIN_CHECKS and all(lately)
