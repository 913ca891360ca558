"""A real Consul of several servers and a client agent on loopback, for tests of lost leaders and quorums."""

import http.client
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.consul import Agent
from tests.support.net import until

SERVERS = 3
ELECTED_WITHIN = 30.0
GOSSIP_KEY, OTHER_KEY = "cg8StVXbQJ0gPvMd9o7yrg==", "pUqJrVyVRj5jsiYEkM/tFQ=="


class Cluster(AbstractContextManager["Cluster"]):
    """Three servers that keep their data, and client agents for the programs of a test: `agent`, and `others` on the
    nodes with these names. With `others`, the gossip is encrypted, see `cut_off`."""

    def __init__(self, binary: Path, node: str = "web1", others: Sequence[str] = ()) -> None:
        self._joins: list[str] = []
        key = {"encrypt": GOSSIP_KEY, "disable_keyring_file": True} if others else {}
        joining = {"retry_join": self._joins, "retry_interval": "1s", **key}
        config = {"bootstrap_expect": SERVERS, **joining}
        self.servers = [Agent(binary, node=f"server{at}", persistent=True, config=config) for at in range(SERVERS)]
        self._joins += [server.lan for server in self.servers]
        clients = [Agent(binary, node=each, join=self._joins[0], config=joining) for each in (node, *others)]
        self.agent, *self.others = clients

    def __enter__(self) -> Self:
        try:
            for one in self._all:
                one.start(wait=False)
            for one in self._all:
                one.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _all(self) -> Sequence[Agent]:
        return (self.agent, *self.others, *self.servers)

    def cut_off(self, other: Agent) -> None:
        """Restart one of `others` with another gossip key. It still answers, but reaches no server and no agent."""
        other.kill()
        other.configure(encrypt=OTHER_KEY)
        other.start(wait=False)

    def rejoin(self, other: Agent) -> None:
        """End `cut_off`."""
        other.kill()
        other.configure(encrypt=GOSSIP_KEY)
        other.start(wait=False)

    def close(self) -> None:
        """Stop all servers and agents."""
        for one in self._all:
            with suppress(ProcessLookupError, RuntimeError):
                one.resume()
            one.__exit__(None, None, None)

    def leader(self) -> Agent:
        """Returns the present leader. Waits until there is one.

        Raises:
            AssertionError: no leader was elected.
        """
        found: list[Agent] = []

        def elected() -> bool:
            found[:] = [server for server in self.servers if self._leads(server)]
            return bool(found)

        until(elected, ELECTED_WITHIN, "a leader")
        return found[0]

    def _leads(self, server: Agent) -> bool:
        """Returns whether the server reports itself as the leader. A server that hangs or is dead does not lead."""
        with suppress(OSError, http.client.HTTPException, ValueError):
            said = server.request("GET", "agent/self", timeout=1.0).json()
            return str(said["Stats"]["consul"]["leader"]) == "true"
        return False
