"""Standard streams that are closed lead to /dev/null."""

import os

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2


def keep_standard_streams() -> None:
    """Opens /dev/null in place of closed standard streams, so that no socket gets the number of one.

    C libraries write to standard error by its number, and would write into that socket.
    """
    null = os.open(os.devnull, os.O_RDWR)
    while null <= STANDARD_ERROR:
        os.set_inheritable(null, True)
        null = os.open(os.devnull, os.O_RDWR)
    os.close(null)
