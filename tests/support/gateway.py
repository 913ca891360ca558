"""A server between a client and a real Consul. It gives the answers that a test wants in place of Consul's."""

import http.client
import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.support.fake_http import Asked, FakeServer, Reply

Lie = Callable[[Asked], Reply | None]
"""What to say instead of asking Consul; None: ask."""

HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive", "date", "server"})


class Gateway(AbstractContextManager["Gateway"]):
    """Passes requests on to 127.0.0.1:`upstream`, unless `lie` has another answer."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.lie: Lie | None = None
        self._server = FakeServer(self._respond)
        self._clearing = threading.Lock()

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, value, trace)

    @property
    def port(self) -> int:
        return int(self._server.address.rpartition(":")[2])

    def _respond(self, asked: Asked) -> Reply:
        with self._clearing:
            self._server.asked.clear()
        if self.lie and (reply := self.lie(asked)):
            return reply
        return self.ask(asked)

    def ask(self, asked: Asked) -> Reply:
        """Returns the answer of Consul itself.

        Raises:
            ConnectionAbortedError: Consul gives no answer.
        """
        try:
            return self._ask(asked)
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionAbortedError(f"no Consul: {error}") from None

    def _ask(self, asked: Asked) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=30)
        try:
            headers = {name: text for name, text in asked.headers.items() if name not in HOP_BY_HOP}
            connection.request(asked.method, asked.path, asked.body or None, headers)
            answer = connection.getresponse()
            said = {name: text for name, text in answer.getheaders() if name.lower() not in HOP_BY_HOP}
            return Reply(answer.status, answer.read(), said)
        finally:
            connection.close()


def marks_filtered(gateway: Gateway, token: str) -> Lie:
    """Listings report whether ACLs removed anything from them, as those of Consul 1.12 and newer do. `token` may read
    all.

    The answer to a blocking query depends on the keys at its end.
    """

    def marked(asked: Asked) -> Reply | None:
        if "recurse" not in asked.path:
            return None
        said = gateway.ask(asked)
        whole = gateway.ask(
            replace(asked, path=f"{urlsplit(asked.path).path}?recurse", headers={"x-consul-token": token})
        )
        if said.status not in {200, 404} or _count(said) == _count(whole):
            return said
        return replace(said, headers={**said.headers, "X-Consul-Results-Filtered-By-ACLs": "true"})

    return marked


def _count(reply: Reply) -> int:
    return len(json.loads(reply.body)) if reply.status == 200 else 0
