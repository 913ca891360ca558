"""Keeps the log from becoming a flood: how many lines of one kind are written, and how the others are counted.

A kind is a logger and a message before its arguments are put in: `%s is %s` is one, whatever pod it speaks of. A line
that says what the kind's last one said is a repetition, and beyond `BURST` lines a minute the others are only counted;
both are told in one line each. Soon for the first time, so that who looks at an outage reads how large it is, and then
once a minute for as long as it goes on.
"""

from collections import Counter
from dataclasses import dataclass, field

BURST = 100
MINUTE = 60.0
SOON = 5.0

Kind = tuple[str, str]
"""A logger, and a message without its arguments."""


@dataclass(frozen=True, slots=True)
class Unwritten:
    """Lines of one kind that were counted instead of written, over some seconds; `text` is what the latest said.

    `about` groups them, where they did not all say the same.
    """

    kind: Kind
    level: int
    text: str
    count: int
    seconds: float
    about: Counter[str] | None = None

    def __str__(self) -> str:
        if self.about is None:
            return f"{self.text} (repeated {self.count} time{'s'[: self.count > 1]} in the last {self.seconds:.0f} s)"
        groups = ", ".join(f"{count} {about}" for about, count in self.about.most_common(5) if about)
        which = f" ({groups})" if groups else ""
        return f"{self.count} more like this in the last {self.seconds:.0f} s{which}: {self.text}"


@dataclass(slots=True)
class _Window:
    """What one kind said since `began`. `told` is whether the window before ended with something counted."""

    began: float
    told: bool = False
    counting_since: float | None = None
    last: str | None = None
    written: int = 0
    level: int = 0
    repeated: int = 0
    latest: str = ""
    others: Counter[str] = field(default_factory=Counter)

    def admits(self, text: str, about: str, burst: int, now: float) -> bool:
        if text != self.last and self.written < burst:
            self.written += 1
            self.last = text
            return True
        if self.counting_since is None:
            self.counting_since = now
        if text == self.last:
            self.repeated += 1
        else:
            self.others[about] += 1
            self.latest = text
        return False

    def is_over(self, now: float) -> bool:
        if self.counting_since is None:
            return now - self.began >= MINUTE
        return now - self.counting_since >= (MINUTE if self.told else SOON)

    def unwritten(self, kind: Kind, now: float) -> list[Unwritten]:
        seconds = now - self.began
        repeated = Unwritten(kind, self.level, self.last or "", self.repeated, seconds)
        others = Unwritten(kind, self.level, self.latest, self.others.total(), seconds, self.others)
        return [each for each in (repeated, others) if each.count]


class RateLimitFilter:
    """Not safe for threads by itself: whoever asks holds a lock. Times are monotonic seconds."""

    def __init__(self, burst: int = BURST) -> None:
        self._burst = burst
        self._windows: dict[Kind, _Window] = {}

    def admits(self, kind: Kind, level: int, text: str, about: str, now: float) -> bool:
        """Whether to write a line. `about` groups those that are only counted: a state, or ""."""
        window = self._windows.setdefault(kind, _Window(now))
        window.level = max(window.level, level)
        return window.admits(text, about, self._burst, now)

    def over(self, now: float) -> list[Unwritten]:
        """What is to be told of the windows that are over."""
        told: list[Unwritten] = []
        for kind in [kind for kind, window in self._windows.items() if window.is_over(now)]:
            window = self._windows.pop(kind)
            if news := window.unwritten(kind, now):
                told += news
                self._windows[kind] = _Window(now, told=True, last=window.last)
        return told

    def rest(self, now: float) -> list[Unwritten]:
        """What is still to be told at the end."""
        return [each for kind, window in self._windows.items() for each in window.unwritten(kind, now)]
