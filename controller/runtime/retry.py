"""Retries for threads that repeat a request until they are stopped. This is the only place that configures tenacity."""

import threading
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_when_event_set
from tenacity.nap import sleep_using_event
from tenacity.wait import wait_random_exponential

RETRY_FIRST = 0.1
RETRY_CAP = 3.0


E = TypeVar("E", bound=Exception)


def until_stopped(
    error: type[E], stopped: threading.Event, on_error: Callable[[E], None], cap: float = RETRY_CAP
) -> Retrying:
    """Calls a function again while it raises `error`, with exponential back-off of up to `cap` seconds.

    The call returns None when it failed and `stopped` is set. `on_error` is called before each wait.
    """

    def before_sleep(state: RetryCallState) -> None:
        if state.outcome and isinstance(raised := state.outcome.exception(), error):
            on_error(raised)

    return Retrying(
        retry=retry_if_exception_type(error),
        wait=wait_random_exponential(multiplier=RETRY_FIRST, max=cap),
        sleep=sleep_using_event(stopped),
        stop=stop_when_event_set(stopped),
        before_sleep=before_sleep,
        retry_error_callback=lambda _: None,
    )
