"""A thread that logs never waits for the reader of the log, and dropped lines are counted and reported."""

import errno
import fcntl
import itertools
import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from controller.runtime.log.lines import LineFormatter
from controller.runtime.log.non_blocking import LAST_WORDS, NonBlockingHandler
from tests.support.net import until

SMALLEST_PIPE = 4096


class Pipe:
    """A pipe of one page, which holds about forty lines."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        fcntl.fcntl(self.into, fcntl.F_SETPIPE_SZ, SMALLEST_PIPE)
        os.set_blocking(self.out, False)
        self.text = ""

    def read(self) -> str:
        """Returns everything that has arrived so far."""
        with suppress(BlockingIOError):
            while data := os.read(self.out, 65_536):
                self.text += data.decode()
        return self.text

    def close(self) -> None:
        """Closes the reading end, waits for the end of the thread that writes, and closes the writing end."""
        with suppress(OSError):
            os.close(self.out)
        until(lambda: all(thread.name != "log" for thread in threading.enumerate()), what="the writer's end")
        with suppress(OSError):
            os.close(self.into)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def non_blocking(pipe: Pipe, size: int = 2_000) -> NonBlockingHandler:
    handler = NonBlockingHandler(pipe.into, size=size)
    handler.setFormatter(LineFormatter())
    return handler


def record(text: str, *args: object, logger: str = "x") -> logging.LogRecord:
    return logging.LogRecord(logger, logging.INFO, __file__, 1, text, args, None)


def test_lines_arrive_in_order_and_the_last_one_before_the_end(pipe: Pipe) -> None:
    handler = non_blocking(pipe)
    for number in range(20):
        handler.handle(record("line %d", number))
    handler.close()
    assert [line.rpartition(" ")[2] for line in pipe.read().splitlines()] == [str(number) for number in range(20)]


def test_logging_does_not_wait_for_a_reader_that_has_stopped_and_the_loss_is_reported(pipe: Pipe) -> None:
    handler = non_blocking(pipe, size=10)
    started = time.monotonic()
    for number in range(5_000):
        handler.handle(record("line %d", number, logger=f"logger-{number}"))
    assert time.monotonic() - started < 60
    until(lambda: "lines of the log were lost" in pipe.read(), what="the loss to be told")
    numbers = itertools.count()

    def said_again() -> bool:
        handler.handle(record("later", logger=f"again-{next(numbers)}"))
        return "later\n" in pipe.read()

    until(said_again, what="a line after those that were lost")
    handler.close()


def test_the_end_does_not_wait_for_a_reader_that_has_stopped(pipe: Pipe) -> None:
    handler = non_blocking(pipe)
    for number in range(1_000):
        handler.handle(record("line %d", number, logger=f"logger-{number}"))
    started = time.monotonic()
    handler.close()
    assert time.monotonic() - started < 30 * LAST_WORDS


def test_a_reader_that_is_gone_or_a_descriptor_that_is_closed_is_no_error(pipe: Pipe) -> None:
    handler = non_blocking(pipe)
    os.close(pipe.out)
    handler.handle(record("to nobody"))
    handler.close()
    os.close(pipe.into)
    handler = non_blocking(pipe)
    handler.handle(record("to nowhere"))
    handler.close()


def test_a_pipe_that_somebody_made_non_blocking_loses_nothing_while_it_is_read(pipe: Pipe) -> None:
    os.set_blocking(pipe.into, False)
    handler = non_blocking(pipe)
    for number in range(500):
        handler.handle(record("line %d", number, logger=f"logger-{number}"))
    until(lambda: "line 499\n" in pipe.read(), what="the last line")
    handler.close()
    assert pipe.text.count("\n") == 500


def test_repeated_lines_are_counted_and_the_count_is_logged_at_the_end(pipe: Pipe) -> None:
    handler = non_blocking(pipe)
    for _ in range(58):
        handler.handle(record("Consul is away"))
    handler.close()
    first, second = pipe.read().splitlines()
    assert first.endswith("x: Consul is away")
    assert re.search(r"x: Consul is away \(repeated 57 times in the last \d+ s\)$", second)


def test_arguments_that_do_not_fit_are_shown_and_not_raised(pipe: Pipe) -> None:
    handler = non_blocking(pipe)
    handler.handle(record("%d pods", "many"))
    handler.close()
    assert pipe.read().endswith("x: %d pods ('many',)\n")


class Unreadable(LineFormatter):
    """There is no descriptor for the module that tracebacks need."""

    def formatException(self, ei: object) -> str:  # noqa: ARG002, N802 - logging's own names
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_traceback_that_cannot_be_made_costs_neither_its_line_nor_those_after_it(pipe: Pipe) -> None:
    handler = non_blocking(pipe)
    handler.setFormatter(Unreadable())
    failed = record("it failed")
    failed.exc_info = (ValueError, ValueError("x"), None)
    handler.handle(failed)
    handler.handle(record("going on"))
    handler.close()
    first, second = pipe.read().splitlines()
    assert first.endswith("x: it failed")
    assert second.endswith("x: going on")
