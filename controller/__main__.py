"""The program `podpulse`, also `python -m controller`. It installs signal handlers and then runs the verb.

The handlers come before the imports, which take half a second or more. In process 1 of a container, the kernel drops a
signal that has no handler. In another process, SIGHUP without a handler ends the process. So this module imports
nothing that takes time.
"""

import gc
import os
import signal
import sys

ENDED_BY_SIGTERM = frozenset({"run", "isup", "watch"})
"""The verbs that run until a signal ends them, with the exit code 0."""

GC_THRESHOLD = 100_000
"""New objects between two searches for cycles. The imports make several 100,000 objects, nearly all of which stay."""


def main() -> None:
    if set(sys.argv[1:2]) & ENDED_BY_SIGTERM:
        _listen()
    elif signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports prints no traceback
    gc.set_threshold(GC_THRESHOLD)
    from controller.cli import main as verbs  # noqa: PLC0415 - see above
    from controller.cli.terminal import ended_well  # noqa: PLC0415

    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    ended_well(verbs)


def _listen() -> None:
    """Ends the process at once on SIGTERM and SIGINT, and ignores SIGHUP and SIGUSR1, until the verb has own handlers.

    Before that, nothing is published or locked, and there is nothing to reload or release. `isup` keeps these handlers.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    main()
