"""How the process ends, whoever asks for it and how often."""

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
    """Sends a signal every few milliseconds, as long as there is somebody to send it to."""
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_that_come_while_it_stops_change_nothing(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "intents").mkdir()
    with Controller(intent_dir=str(tmp_path / "intents"), health_dir=str(tmp_path / "health")) as controller:
        with impatience(controller.pid, number):
            code = controller.terminate(within=5.0)
        assert code == 0
