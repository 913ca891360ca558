"""How the process stops on one or many signals."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.controller import Controller


@contextmanager
def impatience(pid: int, number: signal.Signals) -> Iterator[None]:
    """Sends a signal every few milliseconds until the process has ended."""
    over = threading.Event()

    def send() -> None:
        with suppress(ProcessLookupError):
            while not over.wait(0.003):
                os.kill(pid, number)

    sender = threading.Thread(target=send)
    sender.start()
    yield
    over.set()
    sender.join()


def test_a_sigterm_that_comes_while_the_process_wakes_from_a_pause_is_not_lost(tmp_path: Path) -> None:
    """The main thread resumes later than other threads, and one of them receives the signal."""
    (tmp_path / "intents").mkdir()
    with Controller(intent_dir=str(tmp_path / "intents"), health_dir=str(tmp_path / "health")) as controller:
        for _ in range(3):
            controller.pause()
            controller.resume()
            assert controller.terminate(within=20.0) == 0
            controller.start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_during_a_stop_change_nothing(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "intents").mkdir()
    with Controller(intent_dir=str(tmp_path / "intents"), health_dir=str(tmp_path / "health")) as controller:
        with impatience(controller.pid, number):
            code = controller.terminate(within=5.0)
        assert code == 0
