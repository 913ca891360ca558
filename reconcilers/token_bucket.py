"""A token bucket: limits how often something happens, and allows a burst. The caller passes the time."""


class TokenBucket:
    """Holds up to `capacity` tokens and gains one every `refill` seconds; starts full."""

    def __init__(self, capacity: int, refill: float) -> None:
        self._capacity = float(capacity)
        self.refill = refill
        self._tokens = float(capacity)
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Take one token at `now` (seconds of any monotonic clock); False if there is none."""
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def wait(self, now: float) -> float:
        """Returns the seconds until a token is available; 0 if one is."""
        self._fill(now)
        return max(0.0, (1 - self._tokens) * self.refill)

    def _fill(self, now: float) -> None:
        last = now if self._at is None else self._at
        self._at = max(now, last)
        self._tokens = min(self._capacity, self._tokens + (self._at - last) / self.refill)
