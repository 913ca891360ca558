"""Faults of Consul's answers: errors, and answers that are invalid."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from random import Random

from tests.faults.fault import LIMITED, Fault
from tests.faults.history import Effect
from tests.faults.stage import NODE, Stage
from tests.support.fake_http import Asked, FakeServer, Reply
from tests.support.gateway import Lie

HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
INDEX = {"X-Consul-Index": "7", "X-Consul-Knownleader": "true", "Content-Type": "application/json"}
CONFLICT = json.dumps({"Results": None, "Errors": [{"OpIndex": 0, "What": "nothing of yours"}]}).encode()
BEYOND = "9" * 26
SLOW = 8.0
BESIDE = f"intent/{NODE}/no/pod"
BAD_BASE64 = json.dumps(
    [{"Key": "intent/web1/pod-0", "Value": "%%%not base64", "CreateIndex": 5, "ModifyIndex": 5, "Flags": 0}]
).encode()


def always(reply: Reply) -> Lie:
    return lambda _: reply


def listing(reply: Reply) -> Lie:
    """Replaces the answer to listings of manifests. All other answers, also to single reads, are Consul's own."""
    return lambda asked: reply if lists_manifests(asked) else None


def lists_manifests(asked: Asked) -> bool:
    return "/kv/intent/" in asked.path and "recurse" in asked.path


LIMIT = 1536
TOO_LARGE = Reply(413, b"<html><h1>413 Request Entity Too Large</h1></html>")

SAID: Mapping[str, Reply] = {
    "403": Reply(403, b"Permission denied"),
    "404-without-index": Reply(404),
    "409": Reply(409, CONFLICT, INDEX),
    "413": Reply(413, b"Request body too large"),
    "429": Reply(429, b"Your IP is issuing too many concurrent connections"),
    "500": Reply(500, b"No cluster leader"),
    "500-rpc": Reply(500, b"rpc error making call: EOF"),
    "html": Reply(200, HTML, {"Content-Type": "text/html"}),
}
"""To every question."""

LISTED: Mapping[str, Reply] = {
    "403-for-listings": Reply(403, b"Permission denied"),
    "404-for-listings": Reply(404),
    "html-for-listings": Reply(200, HTML, INDEX),
    "null": Reply(200, b"null", INDEX),
    "empty-list": Reply(200, b"[]", INDEX),
    "empty-404": Reply(404, b"", INDEX),
    "empty-and-newer": Reply(200, b"[]", INDEX | {"X-Consul-Index": str(2**40)}),
    "no-leader": Reply(200, b"[]", INDEX | {"X-Consul-Knownleader": "false", "X-Consul-Index": "99999999"}),
    "bad-base64": Reply(200, BAD_BASE64, INDEX),
    "cut-json": Reply(200, b'[{"Key": "intent/web1/po', INDEX),
    **{f"index-{index}": Reply(200, b"[]", INDEX | {"X-Consul-Index": index}) for index in ("0", "1", "abc", BEYOND)},
}
"""To the question for all manifests."""


VALUES: Mapping[str, int] = {"many-values": 5_000_000, "too-many-values": 20_000_000}
"""How many empty lists there are in a listing of 15 MB, and of 60."""


def many_values(count: int, stage: Stage, random: Random) -> Iterator[None]:
    """While so many values are read, other threads must still get the interpreter, so that probes go on."""
    yield from lies(listing(Reply(200, b"[" + b"[]," * count + b"[]]", INDEX)), stage, random)


def lies(lie: Lie, stage: Stage, random: Random) -> Iterator[None]:
    """The line is cut, which ends the blocked query. So the next query gets the false answer at once."""
    stage.gateway.lie = lie
    stage.proxy.cut()
    yield
    stage.gateway.lie = None
    stage.proxy.cut()


def partial_listing(stage: Stage, random: Random) -> Iterator[None]:
    """Every second manifest is missing from the listing. Otherwise the listing is valid, and new because a key was
    written."""

    def halved(asked: Asked) -> Reply | None:
        if not lists_manifests(asked):
            return None
        said = stage.gateway.ask(asked)
        return replace(said, body=json.dumps(json.loads(said.body)[::2]).encode()) if said.status == 200 else said

    told = lies(halved, stage, random)
    next(told)
    stage.put(BESIDE, b"")
    yield
    next(told, None)
    stage.delete(BESIDE)


def slow_catalog(stage: Stage, random: Random) -> Iterator[None]:
    """Requests for the address of a node take long. New manifests and removals must not wait, because other requests do
    not."""

    def slowly(asked: Asked) -> Reply | None:
        if "/v1/catalog/" in asked.path:
            time.sleep(SLOW)
        return None

    told = lies(slowly, stage, random)
    next(told)
    stage.pods.schedule(random.choice(stage.pods.wanted()))
    stage.pods.remove(random.choice(stage.pods.wanted()))
    yield
    next(told, None)


def limited(stage: Stage, random: Random) -> Iterator[None]:
    """A proxy refuses requests with more than a few records, and all records are lost with their session.

    It accepts any single record. The size of a record depends on the answer of its target, and a record that the proxy
    refuses by itself would rightly not be published.
    """
    told = lies(lambda asked: TOO_LARGE if len(asked.body) > LIMIT and _keys(asked.body) > 1 else None, stage, random)
    next(told)
    for session in stage.ask("GET", "session/list").json():
        stage.ask("PUT", f"session/destroy/{session['ID']}")
    yield
    next(told, None)


def _keys(body: bytes) -> int:
    """Returns how many keys a transaction has; 0 if the body is not a transaction."""
    try:
        steps = json.loads(body)
    except ValueError:
        return 0
    return len({step["KV"]["Key"] for step in steps if "KV" in step}) if isinstance(steps, list) else 0


def redirected(stage: Stage, random: Random) -> Iterator[None]:
    """Redirects to another host, to which the controller must never send a request."""
    told: list[str] = []

    def note(asked: Asked) -> Reply:
        told.append(f"{asked.method} {asked.path}")
        return Reply(200, b"[]", INDEX)

    with FakeServer(note) as other:
        location = {"Location": f"{other.address.replace('127.0.0.1', '127.0.0.2')}/v1/kv/"}
        near = {"Location": f"{other.address}/v1/kv/"}
        yield from lies(
            lambda _: Reply(random.choice((301, 302, 307)), b"", random.choice((location, near))), stage, random
        )
    if told:
        raise AssertionError(f"a redirect was followed: {told[:3]}")


def _fault(name: str, play: Callable[[Stage, Random], Iterator[None]], *effects: Effect) -> Fault:
    return Fault(f"answers-{name}", "answers", play, effects, seconds=1.2, long=15)


UNREADY = 55.0
"""Seconds without a listing, and with everything else, after which it must have been noticed that we are not ready."""

FAULTS = (
    Fault(
        "answers-500-for-listings",
        "answers",
        partial(lies, listing(SAID["500"])),
        ("blind",),
        seconds=UNREADY,
    ),
    *(_fault(name, partial(lies, always(reply)), "cut") for name, reply in SAID.items()),
    *(_fault(name, partial(lies, listing(reply)), "blind") for name, reply in LISTED.items()),
    Fault("answers-slow-catalog", "answers", slow_catalog, seconds=2 * SLOW),
    *(
        Fault(f"answers-{name}", "answers", partial(many_values, count), ("blind",), seconds=12)
        for name, count in VALUES.items()
    ),
    _fault("partial", partial_listing, "blind"),
    Fault("answers-413-for-large-requests", "answers", limited, ("limited", "foreign"), seconds=LIMITED),
    _fault("redirect", redirected, "cut"),
)
