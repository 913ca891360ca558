"""A real Consul of several servers and a client agent on loopback, for tests of lost leaders and quorums."""

import http.client
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.consul import Agent
from tests.support.net import until

SERVERS = 3
ELECTED_WITHIN = 30.0


class Cluster(AbstractContextManager["Cluster"]):
    """Three servers that keep their data, and the client agent `agent` for the programs of a test."""

    def __init__(self, binary: Path, node: str = "web1") -> None:
        self._joins: list[str] = []
        config = {"bootstrap_expect": SERVERS, "retry_join": self._joins, "retry_interval": "1s"}
        self.servers = [Agent(binary, node=f"server{at}", persistent=True, config=config) for at in range(SERVERS)]
        self._joins += [server.lan for server in self.servers]
        self.agent = Agent(
            binary, node=node, join=self._joins[0], config={"retry_join": self._joins, "retry_interval": "1s"}
        )

    def __enter__(self) -> Self:
        try:
            for server in (*self.servers, self.agent):
                server.start(wait=False)
            for server in (*self.servers, self.agent):
                server.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all of it."""
        for one in (self.agent, *self.servers):
            with suppress(ProcessLookupError, RuntimeError):
                one.resume()
            one.__exit__(None, None, None)

    def leader(self) -> Agent:
        """The server that leads now; waits until there is one.

        Raises:
            AssertionError: nobody was elected.
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
