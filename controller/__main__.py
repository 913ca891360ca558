"""`podpulse`, also as `python -m controller`: what a signal does from the first moment, then the verb.

Signals come first, the imports after them: those take half a second and more. As process 1 of a container, the kernel
drops each signal that has no handler yet; elsewhere, SIGHUP without a handler ends the process. This module may import
nothing that takes time.
"""

import os
import signal
import sys
from types import FrameType

ENDED_BY_SIGTERM = frozenset({"run", "isup", "watch"})
"""The verbs that go on until a signal ends them, with the exit code 0."""


def main() -> None:
    if set(sys.argv[1:2]) & ENDED_BY_SIGTERM:
        _listen()
    elif signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports ends us without a traceback
    from controller.cli import main as verbs  # noqa: PLC0415 - see above
    from controller.cli.terminal import ended_well  # noqa: PLC0415

    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    ended_well(verbs)


def _listen() -> None:
    """Nothing is held and nothing is published before the verb has handlers of its own, and by `isup` never, which has
    none: so an end is an end at once, and there is nothing to read again or to release."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)


if __name__ == "__main__":
    main()
