"""Faults of the controller's token, at a Consul whose ACLs deny by default."""

import time
from collections.abc import Iterator
from functools import partial
from random import Random

from tests.faults.fault import Fault, Play
from tests.faults.history import Effect
from tests.faults.stage import NODE, RULES, Stage
from tests.support.gateway import marks_filtered
from tests.support.net import until

HEALTH = 'key_prefix "health/" { policy = "write" }\n'
SESSION = f'session "{NODE}" {{ policy = "write" }}\nnode "{NODE}" {{ policy = "read" }}\n'
SERVICES = 'service_prefix "" { policy = "write" }\n'
INTENT = 'key_prefix "intent/" { policy = "read" }\n'
ALL_BUT_SOME = INTENT + HEALTH + SESSION + SERVICES + f'key_prefix "intent/{NODE}/pod-1" {{ policy = "deny" }}\n'
SECRET = f"intent/{NODE}/secret"
ALL_BUT_SECRET = INTENT + HEALTH + SESSION + SERVICES + f'key "{SECRET}" {{ policy = "deny" }}\n'
LIVES = 60.0
"""Seconds that a token lives which expires: Consul makes none that lives shorter."""
EXPIRED_WITHIN = 2 * LIVES
OVERLAP = 3.0
"""Seconds for which the old token is good after the new one stands in the file: far over an interval of renewals."""


def deleted(stage: Stage, random: Random) -> Iterator[None]:
    """The token is deleted while the watch waits for a change."""
    stage.consul.agent.delete_token(stage.controllers_token())
    _make_news(stage, random)
    yield
    stage.give_token(RULES)


def expired(stage: Stage, random: Random) -> Iterator[None]:
    """The lifetime of the token ends."""
    stage.give_token(RULES, lives=LIVES)
    token = stage.controllers_token()
    until(lambda: not stage.consul.agent.knows_token(token), EXPIRED_WITHIN, "the token to expire")
    _make_news(stage, random)
    yield
    stage.give_token(RULES)


def narrowed(rules: str, stage: Stage, random: Random) -> Iterator[None]:
    """The token loses rights while the watch waits for a change."""
    stage.consul.agent.replace_rules(stage.controllers_token(), rules)
    _make_news(stage, random)
    yield
    stage.consul.agent.replace_rules(stage.controllers_token(), RULES)


def hides_one_key(stage: Stage, random: Random) -> Iterator[None]:
    """The token may not read one key beside the manifests. Consul reports for every listing that ACLs filtered it, as
    newer versions do. Pods that are removed meanwhile must still be removed."""
    stage.consul.agent.replace_rules(stage.controllers_token(), ALL_BUT_SECRET)
    stage.put(SECRET, b"")
    stage.gateway.lie = marks_filtered(stage.gateway, stage.consul.agent.token)
    stage.proxy.cut()
    for pod in random.sample(sorted(stage.pods.wanted()), 2):
        stage.pods.remove(pod)
    yield
    stage.gateway.lie = None
    stage.delete(SECRET)
    stage.consul.agent.replace_rules(stage.controllers_token(), RULES)


def rotated(stage: Stage, random: Random) -> Iterator[None]:
    """A new token is written into the file, and the old one is deleted soon after. This must have no effect. Then a pod
    dies, and another one is removed."""
    old = stage.controllers_token()
    stage.give_token(RULES)
    time.sleep(OVERLAP)
    stage.consul.agent.delete_token(old)
    well = [pod for pod in stage.pods.wanted() if stage.pods.all[pod].good]
    dead, gone = random.sample(well, 2)
    stage.pods.all[dead].turn("500")
    stage.pods.remove(gone)
    yield


def file_gone(stage: Stage, random: Random) -> Iterator[None]:
    """The token's file is away for a while. The token that it contained is still valid."""
    token = stage.controllers_token()
    stage.token_file.unlink()
    yield
    stage.write_token(token)


def file_spoiled(stage: Stage, random: Random) -> Iterator[None]:
    """The file contains no token, or a token that Consul does not know."""
    token = stage.controllers_token()
    for spoiled in random.sample(("\u2603 not a token", "a\r\nX-Evil: b", "", "0" * 36), 3):
        stage.write_token(spoiled)
        time.sleep(random.uniform(0.5, 1.5))
    yield
    stage.write_token(token)


def _make_news(stage: Stage, random: Random) -> None:
    """Writes a manifest, so that the waiting query returns. Its answer has what the token may read now."""
    stage.pods.schedule(random.choice(stage.pods.wanted()))


def _fault(name: str, play: Play, *effects: Effect, seconds: float = 3, long: float = 25, takes: float = 0) -> Fault:
    return Fault(f"token-{name}", "acl", play, effects, seconds=seconds, long=long, takes=takes, acl=True)


FAULTS = (
    _fault("deleted", deleted, "cut"),
    _fault("expired", expired, "cut", takes=LIVES),
    _fault("sees-no-manifests", partial(narrowed, HEALTH + SESSION + SERVICES), "blind", long=45),
    _fault("sees-some-manifests", partial(narrowed, ALL_BUT_SOME), "blind", long=45),
    _fault("hides-one-key", hides_one_key, seconds=10),
    _fault("writes-no-health", partial(narrowed, INTENT + SESSION + SERVICES), "slow"),
    _fault("keeps-no-session", partial(narrowed, INTENT + HEALTH + SERVICES), "cut"),
    _fault("registers-no-services", partial(narrowed, INTENT + HEALTH + SESSION), "slow"),
    _fault("rotated", rotated, seconds=2, long=2, takes=OVERLAP),
    _fault("file-gone", file_gone),
    _fault("file-spoiled", file_spoiled, "cut", seconds=1, takes=3),
)
