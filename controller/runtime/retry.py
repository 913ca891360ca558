"""How something that failed is tried again, for all threads that ask the same thing for ever: tenacity, set up once."""

import threading
from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_when_event_set
from tenacity.nap import sleep_using_event
from tenacity.wait import wait_random_exponential

RETRY_FIRST = 0.1
RETRY_CAP = 3.0


def until_stopped(
    error: type[Exception],
    stopped: threading.Event,
    on_error: Callable[[RetryCallState], None],
    cap: float = RETRY_CAP,
) -> Retrying:
    """Calls what raises `error` again, after ever longer and up to `cap` seconds; `RetryError` once it is `stopped`."""
    return Retrying(
        retry=retry_if_exception_type(error),
        wait=wait_random_exponential(multiplier=RETRY_FIRST, max=cap),
        sleep=sleep_using_event(stopped),
        stop=stop_when_event_set(stopped),
        before_sleep=on_error,
    )
