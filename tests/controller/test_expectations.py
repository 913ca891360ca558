"""What a check expects of a body in addition to `expect_body`, with real targets."""

import json

from reconcilers.health import Outcome, Reason
from reconcilers.spec import Output
from tests.support import targets
from tests.support.checks import http, probe_all
from tests.support.probing import Bench
from tests.support.targets import Target

HEALTHY = "status == 'UP' && components.db.status == 'UP'"
UP = json.dumps({"status": "UP", "components": {"db": {"status": "UP"}}}).encode()
SUCCESS, FAILURE = Outcome.SUCCESS, Outcome.FAILURE


def test_a_body_must_not_match_an_expression(bench: Bench, target: Target) -> None:
    target.behave(targets.answer(200, b"db: DOWN\n"))
    target.behave(targets.answer(200, b"x" * 60_000 + b"DOWN" + b"x" * 10_000), "/late")
    target.behave(targets.answer(200, b"\xff\xfeok\n"), "/odd")
    found = probe_all(
        bench,
        [
            http(target.port, "down", expect_body_not="DOWN"),
            http(target.port, "both", expect_body="db", expect_body_not="(?i)down"),
            http(target.port, "well", expect_body_not="^UP"),
            http(target.port, "late", expect_body_not="DOWN"),
            http(target.port, "odd", expect_body_not="DOWN"),
        ],
    )
    assert {name: (result.outcome, result.reason, result.detail) for name, result in found.items()} == {
        "down": (FAILURE, Reason.BODY, "the body matches 'DOWN' (expect_body_not)"),
        "both": (FAILURE, Reason.BODY, "the body matches '(?i)down' (expect_body_not)"),
        "well": (SUCCESS, Reason.NONE, ""),
        "late": (FAILURE, Reason.BODY, "the body matches 'DOWN' (expect_body_not)"),
        "odd": (SUCCESS, Reason.NONE, ""),
    }


def test_a_body_must_make_an_expression_true(bench: Bench, target: Target) -> None:
    bodies = {
        "up": UP,
        "down": UP.replace(b"UP", b"DOWN"),
        "text": b"ok\n",
        "long": json.dumps({"status": "UP", "padding": "x" * 70_000}).encode(),
        "deep": b"[" * 60_000,
        "empty": b"",
        "status": UP,
    }
    for name, body in bodies.items():
        target.behave(targets.answer(500 if name == "status" else 200, body), f"/{name}")
    target.behave(targets.answer(503, UP.replace(b"UP", b"DOWN")), "/other")
    specs = [http(target.port, name, expect_json=HEALTHY) for name in bodies]
    specs.append(http(target.port, "secret", path="/down", expect_json="status", output=Output.NEVER))
    specs.append(
        http(
            target.port, "secret-type", path="/down", expect_json="length(@.components.db)<status", output=Output.NEVER
        )
    )
    specs.append(http(target.port, "other", expect_status=((503, 503),), expect_json="status == 'DOWN'"))
    found = probe_all(bench, specs)
    assert {name: (result.outcome, result.reason) for name, result in found.items()} == {
        "up": (SUCCESS, Reason.NONE),
        **dict.fromkeys(("down", "text", "long", "deep", "empty"), (FAILURE, Reason.BODY)),
        **dict.fromkeys(("secret", "secret-type"), (FAILURE, Reason.BODY)),
        "status": (FAILURE, Reason.STATUS),
        "other": (SUCCESS, Reason.NONE),
    }
    assert found["down"].detail == f'"{HEALTHY}" is false instead of true (expect_json)'
    assert found["secret"].detail == "'status' is not true (expect_json)", "the value would be an excerpt"
    assert found["secret-type"].detail.endswith(" is not true (expect_json)")
    assert found["text"].detail == "the body is not JSON: JSON is malformed: invalid character (byte 0)"
    assert found["long"].detail.endswith(", of which only the first 64 KiB were read")
    assert found["deep"].detail == "the body is not JSON: it is nested too deeply"
