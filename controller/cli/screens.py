"""The output of `podpulse watch`: lines for scripts, a live table on a terminal."""

import time
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from controller.cli import table
from controller.cli.following import View
from controller.cli.inspection import InspectedPod
from controller.cli.terminal import say
from reconcilers.escaping import safe_words
from reconcilers.record import timestamp
from reconcilers.spec import PodKey

OTHER_LINES = 5
"""The lines of the screen that are not rows: the head, a blank line, the totals, trouble, and the cursor's line."""


class Screen(Protocol):
    """Shows views."""

    def show(self, view: View) -> None:
        """Shows the current view, whether or not it changed."""
        ...


class TroubleLines:
    """Reports once on standard error that nothing can be read, and once that reading works again."""

    def __init__(self) -> None:
        self._reported = ""

    def show(self, view: View) -> None:
        if view.trouble and not self._reported:
            say(f"waiting: {view.trouble}", err=True)
        elif self._reported and not view.trouble:
            say("it can be read again", err=True)
        self._reported = view.trouble


class StatusLines:
    """p2-watch's form: at each change, the nodes of one pod with their status, sorted, and a blank line.

    The node is the one that the record names, as in p2.
    """

    def __init__(self) -> None:
        self._trouble = TroubleLines()
        self._view = View()
        self._last: list[str] | None = None

    def show(self, view: View) -> None:
        self._trouble.show(view)
        if view is self._view or view.sights is None:
            return
        self._view = view
        lines = sorted(f"{sight.record.key.node} {sight.record.status}" for sight in view.sights if sight.record)
        if lines != self._last:
            self._last = lines
            say("".join(f"{line}\n" for line in lines))


class ChangeLines:
    """A line for every pod whose status or reason changed; at the start, a line for every pod."""

    def __init__(self) -> None:
        self._trouble = TroubleLines()
        self._view = View()
        self._last: dict[PodKey, str] = {}

    def show(self, view: View) -> None:
        self._trouble.show(view)
        if view is self._view or view.sights is None:
            return
        self._view = view
        now = timestamp(time.time())
        known = {sight.key: _state(sight) for sight in view.sights}
        lines = [
            f"{now} {sight.key.node} {sight.key.pod} {known[sight.key]}{_detail(sight)}"
            for sight in view.sights
            if self._last.get(sight.key) != known[sight.key]
        ]
        lines += [f"{now} {key.node} {key.pod} gone" for key in sorted(self._last.keys() - known.keys())]
        if lines:
            say("\n".join(lines))
        self._last = known


def _state(sight: InspectedPod) -> str:
    """The status, and the reason if there is one. A line is written when this changes."""
    return f"{table.state(sight)} {sight.record.reason if sight.record else ''}".rstrip()


def _detail(sight: InspectedPod) -> str:
    detail = safe_words(sight.record.detail) if sight.record else ""
    return f": {detail}" if detail else ""


class LiveTable:
    """A table that is drawn at every change and every second. Pods that do not fit on the screen are only counted."""

    def __init__(self, live: Live, console: Console) -> None:
        self._live = live
        self._console = console

    def show(self, view: View) -> None:
        if view.sights is None:
            trouble = f": {safe_words(view.trouble)}" if view.trouble else " …"
            self._live.update(Text(f"waiting for Consul{trouble}"), refresh=True)
        else:
            self._live.update(self._drawn(view.sights, view.trouble), refresh=True)

    def _drawn(self, sights: Sequence[InspectedPod], trouble: str) -> Group:
        now, room = time.time(), max(1, self._console.height - OTHER_LINES)
        worst = sorted(sights, key=lambda sight: (table.WORST_FIRST.index(table.state(sight)), sight.key))
        totals = table.totals(sights)
        if len(worst) > room:
            totals += f"; {len(worst) - room} of them have no room here"
        waiting = f"waiting: {safe_words(trouble)}" if trouble else ""
        rows = table.drawn([table.row(sight, now) for sight in worst[:room]], one_line=True)
        return Group(rows, Text(f"\n{totals}\n{waiting}", no_wrap=True, overflow="ellipsis"))
