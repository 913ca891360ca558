"""What may be said in Consul's place: errors, and answers that are none."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from random import Random

from tests.faults.fault import Fault
from tests.faults.stage import Stage
from tests.support.fake_http import Asked, FakeServer, Reply
from tests.support.gateway import Lie

HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
INDEX = {"X-Consul-Index": "7", "X-Consul-Knownleader": "true", "Content-Type": "application/json"}
CONFLICT = json.dumps({"Results": None, "Errors": [{"OpIndex": 0, "What": "nothing of yours"}]}).encode()
BAD_BASE64 = json.dumps(
    [{"Key": "intent/web1/pod-0", "Value": "%%%not base64", "CreateIndex": 5, "ModifyIndex": 5, "Flags": 0}]
).encode()


def always(reply: Reply) -> Lie:
    return lambda _: reply


def listing(reply: Reply) -> Lie:
    """Said when manifests are asked for; everything else is Consul's own."""
    return lambda asked: reply if "/kv/intent/" in asked.path else None


def listings_with_index(index: str) -> Lie:
    """An empty listing with this index."""
    return listing(Reply(200, b"[]", INDEX | {"X-Consul-Index": index}))


LIES: Mapping[str, Lie] = {
    "403": always(Reply(403, b"Permission denied")),
    "403-for-listings": listing(Reply(403, b"Permission denied")),
    "404-without-index": listing(Reply(404)),
    "409": always(Reply(409, CONFLICT, INDEX)),
    "413": always(Reply(413, b"Request body too large")),
    "429": always(Reply(429, b"Your IP is issuing too many concurrent connections")),
    "500": always(Reply(500, b"No cluster leader")),
    "500-rpc": always(Reply(500, b"rpc error making call: EOF")),
    "html": always(Reply(200, HTML, {"Content-Type": "text/html"})),
    "html-for-listings": listing(Reply(200, HTML, INDEX)),
    "null": listing(Reply(200, b"null", INDEX)),
    "empty-list": listing(Reply(200, b"[]", INDEX)),
    "empty-404": listing(Reply(404, b"", INDEX)),
    "no-leader": listing(Reply(200, b"[]", INDEX | {"X-Consul-Knownleader": "false", "X-Consul-Index": "99999999"})),
    "bad-base64": listing(Reply(200, BAD_BASE64, INDEX)),
    "cut-json": listing(Reply(200, b'[{"Key": "intent/web1/po', INDEX)),
    "index-0": listings_with_index("0"),
    "index-lower": listings_with_index("1"),
    "index-abc": listings_with_index("abc"),
    "index-beyond": listings_with_index("99999999999999999999999999"),
}


def lies(lie: Lie, stage: Stage, random: Random) -> Iterator[None]:
    """The blocked query is cut, so that the lie is heard at once."""
    stage.gateway.lie = lie
    stage.proxy.cut()
    yield
    stage.gateway.lie = None
    stage.proxy.cut()


def empty_for_higher_indexes(stage: Stage, random: Random) -> Iterator[None]:
    """A listing that is sound in all but that it is empty, at an index far beyond; single reads tell the truth."""
    yield from lies(listings_with_index(str(2**40)), stage, random)


def redirected(stage: Stage, random: Random) -> Iterator[None]:
    """Redirects to another host, which must never hear of us."""
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


def _fault(name: str, play: Callable[[Stage, Random], Iterator[None]]) -> Fault:
    return Fault(f"answers-{name}", "answers", play, ("cut",), seconds=1.2, long=15)


FAULTS = (
    *(_fault(name, partial(lies, lie)) for name, lie in LIES.items()),
    _fault("empty-and-newer", empty_for_higher_indexes),
    _fault("redirect", redirected),
)
