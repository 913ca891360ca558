"""The behaviours of targets by name, and whether a target that behaves so is healthy."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.faults import flood, gzip_bomb
from tests.support.targets import Behaviour, answer, close, drip, hang, head, raw, raw_then_hang, redirect, reset, slow


@dataclass(frozen=True, slots=True)
class Does:
    """A behaviour. `act` is None if the port is closed. `warns`: it is healthy, with a warning."""

    good: bool
    act: Behaviour | None
    warns: bool = False


BEHAVIOURS: Mapping[str, Does] = {
    "ok": Does(True, answer()),
    "ok-long": Does(True, answer(200, b"x" * 200_000)),
    "ok-slow": Does(True, slow(0.05)),
    "ok-slower": Does(True, slow(0.15)),
    "ok-endless": Does(True, flood(head(200, {}), b"x" * 16_384, 1)),
    "ok-gzip-bomb": Does(True, gzip_bomb(5)),
    "429": Does(True, answer(429, b"busy\n"), warns=True),
    "500": Does(False, answer(500, b"oops\n")),
    "404": Does(False, answer(404)),
    "redirect": Does(False, redirect("http://127.0.0.1:1/elsewhere")),
    "hang": Does(False, hang),
    "hang-in-body": Does(False, raw_then_hang(head(200, {"Content-Length": "10"}) + b"o")),
    "drip-too-slowly": Does(False, drip(head(200, {"Content-Length": "9999"}) + b"x" * 9999, 0.1)),
    "reset": Does(False, reset),
    "close": Does(False, close),
    "garbage": Does(False, raw(b"\x00\xff SMTP ready\r\n\r\n")),
    "two-lengths": Does(False, raw(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nok\n")),
    "cut-body": Does(False, raw(head(200, {"Content-Length": "1000"}) + b"ok\n")),
    "huge-header": Does(False, flood(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 16_384, 1)),
    "continue-flood": Does(False, flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99, 1)),
    "http-0.9": Does(False, raw(b"<html>hello</html>\n")),
    "status-000": Does(False, raw(b"HTTP/1.1 000 Nothing\r\n\r\n")),
    "status-99999": Does(False, raw(b"HTTP/1.1 99999 Much\r\n\r\n")),
    "refuse": Does(False, None),
}

GOOD = tuple(name for name, does in BEHAVIOURS.items() if does.good)
BAD = tuple(name for name, does in BEHAVIOURS.items() if not does.good)
