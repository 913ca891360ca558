"""Flap damping: a pod whose status changes again and again is said to be unknown for a while, and why.

p2's throttle: a bucket of tokens for each pod, of which every change of status costs one, the first too. The change
that takes the last one begins a quiet time, in which nothing but `unknown` is said. Tokens come back in whole steps,
and the clock of the next one starts anew with each use. Times are seconds of one monotonic clock, and given.

Source: p2's health manager (pkg/store/consul, rate limiting of health updates).
"""

from dataclasses import dataclass, replace

from reconcilers.health import HealthState


@dataclass(frozen=True, slots=True)
class DampingRules:
    """p2's numbers. `capacity` 0 switches damping off; `refill` and `quiet` are seconds."""

    capacity: int = 16
    refill: float = 15.0
    quiet: float = 60.0


@dataclass(frozen=True, slots=True)
class Damping:
    """What is remembered of one pod: its last status, the tokens left, and until when it is quiet.

    `changes` counts the changes of status since the bucket was last full. `used_at` is when the last token was taken:
    while the pod is quiet, that is when its quiet time began.
    """

    rules: DampingRules
    tokens: int
    used_at: float = 0.0
    quiet_until: float = 0.0
    status: HealthState | None = None
    changes: int = 0

    @classmethod
    def fresh(cls, rules: DampingRules) -> "Damping":
        return cls(rules, rules.capacity)

    def under(self, rules: DampingRules) -> "Damping":
        """The same pod under these rules, which may differ from the old ones.

        Without damping there is no quiet time. A quiet time in progress is shortened to the new length, never extended.
        """
        if rules == self.rules:
            return self
        quiet_until = min(self.quiet_until, self.used_at + rules.quiet) if rules.capacity else 0.0
        return replace(self, rules=rules, tokens=min(self.tokens, rules.capacity), quiet_until=quiet_until)

    def after(self, status: HealthState, now: float) -> "Damping":
        """What is remembered after `status` was seen at `now`."""
        if status is self.status or not self.rules.capacity:
            return self
        if now < self.quiet_until:
            return replace(self, status=status, changes=self.changes + 1)
        tokens = min(self.rules.capacity, self.tokens + int((now - self.used_at) / self.rules.refill))
        changes = 1 if tokens == self.rules.capacity else self.changes + 1
        quiet_until = now + self.rules.quiet if tokens <= 1 else 0.0
        return replace(
            self, status=status, tokens=max(0, tokens - 1), used_at=now, quiet_until=quiet_until, changes=changes
        )

    def quiet_for(self, now: float) -> float:
        """For how many seconds more nothing but `unknown` is to be said; 0 when anything may be."""
        return max(0.0, self.quiet_until - now)


@dataclass(frozen=True, slots=True)
class Flapping:
    """A pod that is said to be unknown because its status changed `changes` times in a short time.

    That began `quiet_since` seconds ago, and lasts `quiet_for` seconds more.
    """

    changes: int
    quiet_since: float
    quiet_for: float
