"""Faults of Consul itself: its agent, its servers, their leader, and their stored data."""

import http.client
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from random import Random

from tests.faults.fault import Fault
from tests.faults.history import Effect
from tests.faults.stage import Stage
from tests.support.net import until

LIMIT = 200
"""Connections that Consul's agent takes from one address."""
TOO_MANY = 429
MIRROR = 1.0


def agent_killed(stage: Stage, random: Random) -> Iterator[None]:
    stage.consul.agent.kill()
    yield
    stage.consul.agent.start()


def agent_stopped(stage: Stage, random: Random) -> Iterator[None]:
    stage.consul.agent.pause()
    yield
    stage.consul.agent.resume()
    stage.consul.agent.wait_ready()


def agent_leaves(stage: Stage, random: Random) -> Iterator[None]:
    """The agent leaves the cluster, which ends all sessions of its node."""
    stage.consul.agent.request("PUT", "agent/leave")
    yield
    stage.consul.agent.restart()


def agent_emptied(stage: Stage, random: Random) -> Iterator[None]:
    """The agent is killed, and starts again without its data."""
    stage.consul.agent.kill()
    shutil.rmtree(stage.consul.agent.folder / "data", ignore_errors=True)
    yield
    stage.consul.agent.start()


def servers_emptied(stage: Stage, random: Random) -> Iterator[None]:
    """All servers die at once, and start again with only their names and ids. With other ids, the client agent would
    lose the servers for half a minute. If the stage has ACLs, the operator issues a new token. Afterwards the manifests
    are written again."""
    servers = stage.consul.servers
    with stage.pods.lost(lambda since: all(each.process.has_seen_all(since) for each in stage.controllers)):
        for server in servers:
            server.kill()
            shutil.rmtree(server.folder / "data" / "raft")
        yield
        for server in servers:
            server.start(wait=False)
        for agent in (*servers, stage.consul.agent):
            agent.wait_ready()
        if stage.scale.acl:
            stage.give_token()
        time.sleep(random.uniform(0.0, 3.0))


def leader_killed(stage: Stage, random: Random) -> Iterator[None]:
    leader = stage.consul.leader()
    leader.kill()
    yield
    leader.start()


def killed_with_the_leader(stage: Stage, random: Random) -> Iterator[None]:
    """The controller is killed. Consul's leader is killed when the lease has nearly ended."""
    stage.process.kill()
    time.sleep(random.uniform(5, 15))
    leader = stage.consul.leader()
    leader.kill()
    yield
    leader.start()
    stage.start()


def leader_stopped(stage: Stage, random: Random) -> Iterator[None]:
    leader = stage.consul.leader()
    leader.pause()
    yield
    leader.resume()
    leader.wait_ready()


def quorum_lost(stage: Stage, random: Random) -> Iterator[None]:
    """Two of the three servers are killed."""
    dead = random.sample(list(stage.consul.servers), 2)
    for server in dead:
        server.kill()
    yield
    for server in dead:
        server.start(wait=False)
    for server in dead:
        server.wait_ready()


def snapshot_restored(stage: Stage, random: Random) -> Iterator[None]:
    """A snapshot is restored, so all keys and sessions are in an earlier state."""
    snapshot = stage.ask("GET", "snapshot").body
    yield
    stage.pods.turn_back(lambda: stage.ask("PUT", "snapshot", snapshot))


def connections_taken(stage: Stage, random: Random) -> Iterator[None]:
    """Other clients hold as many connections to the agent as it accepts from one address. The controller may get some
    of the connections that it needs. What needs the others is late."""
    agent = stage.consul.agent
    with ExitStack() as taken:

        def is_full() -> bool:
            for _ in range(LIMIT):
                taken.enter_context(socket.create_connection(("127.0.0.1", agent.http_port), timeout=2))
            with suppress(OSError, http.client.HTTPException):
                return agent.request("GET", "status/leader", timeout=2.0).status == TOO_MANY
            return True

        until(is_full, what="the agent to take no more connections")
        stage.proxy.cut()
        yield
    time.sleep(MIRROR)


EMPTIED: tuple[Effect, ...] = ("cut", "leader", "headless", "foreign")

FAULTS = (
    Fault("agent-killed", "cluster", agent_killed, ("cut", "headless"), seconds=2, long=40, in_fleets=True),
    Fault("agent-stopped", "cluster", agent_stopped, ("cut", "headless"), seconds=3, long=30, in_fleets=True),
    Fault("agent-leaves", "cluster", agent_leaves, ("cut",), seconds=2, long=10, cluster=True),
    Fault("agent-emptied", "cluster", agent_emptied, ("cut",), seconds=1, long=10, cluster=True),
    Fault("servers-emptied", "cluster", servers_emptied, EMPTIED, seconds=1, long=10),
    Fault(
        "leader-killed", "cluster", leader_killed, ("cut", "leader"), seconds=4, long=20, cluster=True, in_fleets=True
    ),
    Fault("killed-with-the-leader", "cluster", killed_with_the_leader, ("leader",), seconds=39, takes=10, cluster=True),
    Fault(
        "leader-stopped",
        "cluster",
        leader_stopped,
        ("cut", "leader", "late"),
        seconds=4,
        long=20,
        cluster=True,
        in_fleets=True,
    ),
    Fault(
        "quorum-lost",
        "cluster",
        quorum_lost,
        ("cut", "leader", "headless"),
        seconds=4,
        long=30,
        cluster=True,
        in_fleets=True,
    ),
    Fault(
        "snapshot-restored",
        "cluster",
        snapshot_restored,
        ("cut", "leader", "foreign"),
        seconds=3,
        long=15,
        in_fleets=True,
    ),
    Fault("connections-taken", "cluster", connections_taken, ("slow",), seconds=3, long=15, in_fleets=True),
)
