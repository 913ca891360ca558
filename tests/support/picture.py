"""Makes the picture of the README from a real run: `python -m tests.support.picture [FILE]`.

A controller reads a folder of manifests and probes targets, and a browser shows its page.
"""

import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from tests.support.browser import LAPTOP, Browser
from tests.support.controller import Controller
from tests.support.net import until
from tests.support.targets import Target, answer, hang, slow

HEALTHY = answer(200, b'{"status": "ok"}\n')
PODS = ("billing-api", "catalog", "checkout", "mailer", "search", "sessions")
SECONDS = 34


@contextmanager
def scene() -> Iterator[Controller]:
    """A controller that has seen pods be well, fail, recover and flap, after some half a minute of that."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podpulse-picture-")))
        target, mailer = stack.enter_context(Target()), stack.enter_context(Target())
        _schedule(folder, target, mailer)
        target.behave(HEALTHY)
        target.behave(answer(404), "/images")
        controller = Controller(
            node_name="web1.example.com",
            intent_dir=str(folder),
            health_dir=str(folder / "health"),
            defaults={"interval": "1s", "timeout": "900ms"},
            damping={"changes": 4, "refill": "15s", "quiet": "60s"},
            canary="none",
        )
        stack.enter_context(controller)
        _play(target, mailer)
        yield controller


def _schedule(folder: Path, target: Target, mailer: Target) -> None:
    def write(pod: str, port: int, **status: object) -> None:
        document = {"id": pod, "status_port": port, "status_http": True, "status": {"path": f"/{pod}", **status}}
        (folder / f"{pod}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    for pod in PODS:
        write(pod, mailer.port if pod == "mailer" else target.port)
    write("images", target.port, initial_delay="10m")
    write("nightly-report", target.port, paused=True)
    write("thumbnails", 99_999)


def _play(target: Target, mailer: Target) -> None:
    """What the pods do, second by second."""
    clock = threading.Event()
    for second in range(SECONDS):
        for number, pod in enumerate(PODS):
            target.behave(slow(0.004 + 0.003 * ((second * 7 + number * 3) % 11), HEALTHY), f"/{pod}")
        if second >= 14:
            target.behave(answer(503, b"database: connection pool exhausted\nqueue: ok\n"), "/checkout")
        if second in {9, 10}:
            target.behave(hang, "/search")
        if second == 22:
            mailer.refuse()
        if second > 8 and second % 4 > 1:
            target.behave(answer(500), "/sessions")
        clock.wait(1.0)


def run(file: Path) -> None:
    """Play, look, and write what was seen into `file`."""
    with Browser() as browser, scene() as controller:
        browser.open(f"http://127.0.0.1:{controller.port}/")
        until(lambda: "flapping" in browser.text("tbody"), 60, "a pod flaps")
        browser.resize((LAPTOP[0], browser.evaluate("return document.documentElement.scrollHeight")))
        file.write_bytes(browser.screenshot())


if __name__ == "__main__":
    run(Path(sys.argv[1] if len(sys.argv) > 1 else "deploy/page.png"))
