"""Flap damping: a pod whose status changes too often is published as unknown for a while, with the reason.

This is p2's throttle: each pod has a bucket of tokens. Every change of status takes one token, also the first. The
change that takes the last token begins a quiet time, in which only `unknown` is published. Tokens come back in whole
steps, and each use restarts the time until the next token. Times are seconds of one monotonic clock. The caller gives
them.

Source: p2's health manager (pkg/store/consul, rate limiting of health updates).
"""

from dataclasses import dataclass, replace

from reconcilers.health import HealthState, Reason
from reconcilers.record import HealthRecord


@dataclass(frozen=True, slots=True)
class DampingRules:
    """The defaults are p2's. `capacity` 0 switches damping off. `refill` (of one token) and `quiet` are seconds."""

    capacity: int = 16
    refill: float = 15.0
    quiet: float = 60.0


@dataclass(frozen=True, slots=True)
class Damping:
    """The damping of one pod: its last status, the tokens left, and the end of its quiet time.

    `changes` counts the changes of status since the bucket was last full. `used_at` is when the last token was taken.
    During the quiet time that is when the quiet time began.
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

    @classmethod
    def of_record(cls, rules: DampingRules, record: HealthRecord | None, age: float, now: float) -> "Damping":
        """Returns the damping of a pod with the `record` of another controller, whose status is `age` seconds old."""
        is_quiet = record is not None and record.reason is Reason.FLAPPING
        if record is None or not rules.capacity or not (is_quiet or record.tokens is not None):
            return cls.fresh(rules)
        used_at = now - max(0.0, age)
        tokens = 0 if is_quiet else max(0, min(record.tokens or 0, rules.capacity))
        quiet_until = used_at + rules.quiet if is_quiet else 0.0
        return cls(rules, tokens, used_at, quiet_until, record.last_seen or record.status, record.changes)

    def of_fleet(self, record: HealthRecord) -> HealthRecord:
        """Returns the record with what another controller needs to continue this damping. A pod with one change since
        the bucket was full needs nothing."""
        if self.tokens >= self.rules.capacity - 1:
            return record
        return replace(record, tokens=self.tokens, changes=self.changes)

    def under(self, rules: DampingRules) -> "Damping":
        """Returns the damping of the same pod with other rules.

        With `capacity` 0 there is no quiet time. A quiet time in progress is shortened to the new length, but never
        extended.
        """
        if rules == self.rules:
            return self
        quiet_until = min(self.quiet_until, self.used_at + rules.quiet) if rules.capacity else 0.0
        return replace(self, rules=rules, tokens=min(self.tokens, rules.capacity), quiet_until=quiet_until)

    def after(self, status: HealthState, now: float) -> "Damping":
        """Returns the damping after `status` was observed at `now`."""
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
        """The remaining seconds of the quiet time, 0 if there is none."""
        return max(0.0, self.quiet_until - now)


@dataclass(frozen=True, slots=True)
class Flapping:
    """A pod that is published as unknown because its status changed `changes` times in a short time.

    Its quiet time began `quiet_since` seconds ago and lasts `quiet_for` more seconds.
    """

    changes: int
    quiet_since: float
    quiet_for: float
