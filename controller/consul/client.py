"""Consul in our words: beside `consul_endpoints` the only file that knows python-consul2.

Whatever goes wrong leaves this file as `ConsulUnavailable` or `ConsulRefused`.
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

from controller.consul import parts as consul_parts
from controller.consul.answers import (
    MAX_OPERATIONS,
    MAX_TRANSACTION_BYTES,
    MISSHAPEN,
    NO_ANSWER,
    AgentCheck,
    AgentService,
    KvPair,
    Operation,
    TransactionResult,
    address_of,
    checks_of,
    done,
    doubt,
    index_of,
    is_filtered,
    is_unknown_check,
    keys_of,
    leader_of,
    node_name_of,
    pairs_of,
    renewed_ttl,
    result_of,
    services_of,
    session_of,
    shortest_session_ttl,
)
from controller.consul.endpoints import Endpoints
from controller.consul.operations import ControllerOp, Observe, ToolOp
from controller.consul.settings import ConsulSettings, settings_from_environment
from controller.consul.transport import (
    ConsulError,
    ConsulRefused,
    ConsulTooLarge,
    ConsulUnavailable,
    CurlTransport,
    Response,
)
from reconcilers.gate import Entry, Listing
from reconcilers.ignored import Ignored, pod_of
from reconcilers.keys import intent_prefix, parse_intent_key
from reconcilers.spec import PodKey

__all__ = [
    "MAX_OPERATIONS",
    "MAX_TRANSACTION_BYTES",
    "AgentCheck",
    "AgentService",
    "ConsulClient",
    "ConsulError",
    "ConsulRefused",
    "ConsulSettings",
    "ConsulTooLarge",
    "ConsulUnavailable",
    "KvPair",
    "Operation",
    "TransactionResult",
    "settings_from_environment",
]

log = logging.getLogger(__name__)

T = TypeVar("T")

BLOCKING_SLACK = 3.0
SESSION_DEADLINE = 2.0
LOCK_DELAY = 0.001


class ConsulClient:
    """Speaks to one agent over one connection. For one thread; only `cancel` may be called by others.

    Every method raises `ConsulUnavailable` or `ConsulRefused` and nothing else, within `timeout` seconds (a listing
    that waits: the wait and a bit; sessions: two seconds).
    """

    def __init__(
        self,
        settings: ConsulSettings,
        *,
        timeout: float = 10.0,
        observe: Observe | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address, self._namespace, self._partition = settings.address, settings.namespace, settings.partition
        self._timeout = timeout
        self._observe = observe
        self._clock = clock
        self._http = CurlTransport(settings)
        self._in_parts: dict[str, float] = {}
        self._api = Endpoints(self._http)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def cancel(self) -> None:
        """End the request in flight, and every later one until `reopen`, as unavailable. For any thread."""
        self._http.cancel()

    def apply(self, settings: ConsulSettings) -> None:
        """Speak to Consul by these settings from the next request on. For any thread."""
        self._http.apply(settings)

    def token_mark(self) -> str:
        """Tells the token of the next request from other tokens, and does not give it away. Nothing is asked.

        Raises:
            ConsulRefused: there is no usable token.
        """
        return self._http.token_mark()

    def reopen(self) -> None:
        """Let requests through again, after `cancel`."""
        self._http.reopen()

    # --- manifests ---

    def list_manifests(self, tree: str, node: str, index: int = 0, wait: float = 0.0) -> Listing:
        """All manifests of a node; with an `index` of at least 1 after a change, or when `wait` seconds are over.

        A manifest that does not even fit into an answer of its own is there, with bytes that no parser takes.
        """
        prefix = intent_prefix(tree, node)

        def wanted(key: str) -> bool:
            return parse_intent_key(tree, key) is not None

        answer, pairs, others = self._tree("list_manifests", prefix, index, wait, wanted)
        entries: dict[PodKey, Entry] = {}
        ignored: dict[str, Ignored] = {}
        for pair in (*pairs, *(KvPair(key, consul_parts.TOO_LARGE, 0) for key in others)):
            match pod_of(tree, node, pair.key, pair.value):
                case PodKey() as key:
                    entries[key] = Entry((pair.create_index, pair.modify_index), pair.value)
                case reason:
                    ignored[pair.key.removeprefix(prefix)] = reason
        return Listing(index_of(answer), entries, doubt(answer), ignored, is_filtered(answer))

    def is_absent(self, key: str) -> bool:
        """Whether Consul's leader itself says that there is no such key."""

        def absent() -> bool:
            answer = self._api.kv.get(key, consistency="consistent")
            index_of(answer)
            return not pairs_of(answer)

        return self._ask("is_absent", absent)

    # --- keys ---

    def get(self, key: str) -> KvPair | None:
        """One key, or None."""

        def one() -> KvPair | None:
            answer = self._api.kv.get(key)
            index_of(answer)
            return next(iter(pairs_of(answer)), None)

        return self._ask("get", one)

    def list_pairs(self, prefix: str) -> list[KvPair]:
        """Every key below `prefix`, which ends with a slash, with its value."""
        return self.next_pairs(prefix)[1]

    def next_pairs(self, prefix: str, index: int = 0, wait: float = 0.0) -> tuple[int, list[KvPair]]:
        """The same behind Consul's index; with an `index` after a change, or when `wait` seconds are over.

        A tree that is too large for one answer is read in parts: then keys that stand more than two levels below
        `prefix` may be missing, and those with a value that is too large by itself are.
        """
        answer, pairs, too_large = self._tree("list_pairs", prefix, index, wait)
        if too_large:
            log.warning("%s: %d keys are too large to be read, %s among them", prefix, len(too_large), min(too_large))
        return index_of(answer), pairs

    def list_keys(self, prefix: str, separator: str = "") -> list[str]:
        """Every key below `prefix`, without values: a twelfth of the cost; with a `separator` up to its next place."""
        return self._keys(prefix, separator)[1]

    def put(self, key: str, value: bytes) -> None:
        """Write a key that belongs to no session: a manifest, never health."""
        self._ask("put", lambda: done(self._api.kv.put(key, value)))

    def delete(self, key: str) -> None:
        """Remove a key; one that is not there is no error."""
        self._ask("delete", lambda: done(self._api.kv.delete(key)))

    def transaction(self, operations: Sequence[Operation]) -> TransactionResult:
        """Do all (up to 64, up to 512 KiB of body) or none. One that only reads is counted as `read_transaction`."""
        reads = all(operation.verb in {"get", "get-tree"} for operation in operations)
        where = self._namespace, self._partition
        payload = [operation.payload(*where) for operation in operations]
        name: ControllerOp = "read_transaction" if reads else "transaction"
        return self._ask(name, lambda: result_of(self._api.txn.put(payload), len(payload)))

    # --- sessions ---

    def session_create(self, name: str, ttl: int, node: str | None = None) -> tuple[str, int]:
        """A session without checks whose keys are deleted with it; returns its id and its TTL in seconds.

        `ttl` is at least 10. Where Consul allows only longer ones, the session has the shortest TTL that it allows.
        """

        def create(ttl: int) -> str:
            session = self._api.session
            made = session.create(name, node, checks=[], lock_delay=LOCK_DELAY, behavior="delete", ttl=ttl)
            return session_of(made)

        try:
            self._http.answer = NO_ANSWER
            return self._ask("session_create", lambda: create(ttl), SESSION_DEADLINE), ttl
        except ConsulError:
            if (shortest := shortest_session_ttl(self._http.answer)) <= ttl:
                raise
        return self._ask("session_create", lambda: create(shortest), SESSION_DEADLINE), shortest

    def session_renew(self, session: str) -> int:
        """The TTL in seconds for which the session goes on living; 0 where Consul does not know it (any more)."""
        ask = self._api.session.renew
        return self._ask("session_renew", lambda: renewed_ttl(ask(session), session), SESSION_DEADLINE)

    def session_destroy(self, session: str) -> None:
        """End a session, and with it its keys; one that is gone is no error."""
        self._ask("session_destroy", lambda: done(self._api.session.destroy(session)), SESSION_DEADLINE)

    # --- services of this very agent ---

    def agent_services(self, id_prefix: str) -> list[AgentService]:
        """The agent's own services whose id begins so, as far as the token may read them."""
        query = [("filter", f"ID matches {json.dumps('^' + id_prefix)}")]
        return self._ask("agent_services", lambda: services_of(self._http.get(None, "/v1/agent/services", query)))

    def agent_checks(self, id_prefix: str) -> list[AgentCheck]:
        """The checks of those services."""
        query = [("filter", f"ServiceID matches {json.dumps('^' + id_prefix)}")]
        return self._ask("agent_checks", lambda: checks_of(self._http.get(None, "/v1/agent/checks", query)))

    def register_service(
        self, service: AgentService, check: AgentCheck, ttl: float, within: float | None = None
    ) -> None:
        """Register `service`, or change it, with a check that is critical when it is not updated for `ttl` seconds.

        A new check has the status of `check`, or is critical; one that is there keeps its status and output, and its
        `ttl` begins anew. The agent passes both on with the token of this request. They are in the catalog when this
        returns, which takes seconds while Consul has no leader. `within` is seconds, where it is to be less than for
        others.
        """
        fields = {"CheckID": check.id, "Name": check.name, "Notes": check.notes, "TTL": f"{round(ttl * 1000)}ms"}
        fields |= {"Status": check.status} if check.status else {}

        def register() -> None:
            answer = self._api.agent.service.register(
                service.name,
                service.id,
                service.address,
                service.port,
                list(service.tags),
                fields,
                meta=dict(service.meta),
            )
            if answer.code != 200:
                raise ValueError(str(answer.code))

        self._ask("register_service", register, within)

    def deregister_service(self, service: str, within: float | None = None) -> None:
        """Remove a service, by its id, and its checks; one that is not there is no error. `within` is seconds, where it
        is to be less than for others."""
        self._ask("deregister_service", lambda: self._api.agent.service.deregister(service), within)

    def update_check(self, check: str, status: str, output: str) -> bool:
        """Say what a TTL check has to say, for another TTL; False when the agent knows no such check.

        Not python-consul2's `ttl_pass`: that one puts the output into the URL.
        """
        data = json.dumps({"Status": status, "Output": output})

        def update() -> bool:
            self._http.answer = NO_ANSWER
            try:
                self._http.put(None, f"/v1/agent/check/update/{check}", data=data)
            except ConsulUnavailable:
                if not is_unknown_check(self._http.answer):
                    raise
            return self._http.answer.code == 200

        return self._ask("update_check", update)

    def agent_node(self) -> str:
        """What the agent's node is called in the catalog. The token needs `agent` read."""
        return self._ask("agent_node", lambda: node_name_of(self._api.agent.self()))

    # --- the catalog ---

    def node_address(self, node: str) -> str | None:
        """The node's address in the catalog; None for a node that is not there."""

        def address() -> str | None:
            answer = self._api.catalog.node(node)
            index_of(answer)
            return address_of(answer)

        return self._ask("node_address", address)

    def leader(self) -> str:
        """The address of Consul's leader; empty when there is none."""
        return self._ask("leader", lambda: leader_of(self._api.status.leader()))

    # --- what all have in common ---

    def _tree(
        self,
        operation: ControllerOp | ToolOp,
        prefix: str,
        index: int,
        wait: float,
        wanted: Callable[[str], bool] | None = None,
    ) -> tuple[Response, list[KvPair], list[str]]:
        """All below `prefix`, in one answer or else in parts: the answer that its index is of, the keys that were read,
        and those that are too large. With `wanted`, in parts only such keys right below `prefix` are read, and the
        others are named with the large ones."""

        def listing() -> tuple[Response, list[KvPair]]:
            answer = self._api.kv.get(prefix, recurse=True, **_blocking(index, wait))
            index_of(answer)
            return answer, pairs_of(answer)

        if self._in_parts.get(prefix, 0.0) <= self._clock():
            try:
                return *self._ask(operation, listing, self._within(index, wait)), []
            except ConsulTooLarge:
                log.info("%s is too large for one answer, and is read in parts", prefix)
                self._in_parts[prefix] = self._clock() + consul_parts.AGAIN
                index = 0
        answer, keys = self._keys(prefix, "/", index, wait)
        others = [key for key in keys if wanted and not wanted(key)]
        parts = consul_parts.read(self, sorted(set(keys).difference(others)))
        return answer, parts.pairs, [*parts.too_large, *others]

    def _keys(self, prefix: str, separator: str, index: int = 0, wait: float = 0.0) -> tuple[Response, list[str]]:
        def keys() -> tuple[Response, list[str]]:
            answer = self._api.kv.get(prefix, keys=True, separator=separator or None, **_blocking(index, wait))
            index_of(answer)
            return answer, keys_of(answer)

        return self._ask("list_keys", keys, self._within(index, wait))

    def _within(self, index: int, wait: float) -> float:
        """Seconds for a listing: Consul adds up to a sixteenth to the wait."""
        return wait + wait / 16 + BLOCKING_SLACK if index else self._timeout

    def _ask(self, operation: ControllerOp | ToolOp, call: Callable[[], T], within: float | None = None) -> T:
        started, outcome = self._clock(), "ok"
        self._http.within = self._timeout if within is None else within
        try:
            return call()
        except ConsulRefused as error:
            outcome = "refused"
            raise type(error)(f"{operation}: Consul at {self._address} {error}") from error
        except ConsulUnavailable as error:
            outcome = "unavailable"
            raise ConsulUnavailable(f"{operation}: Consul at {self._address} {error}", sent=error.sent) from error
        except MISSHAPEN as error:
            outcome = "unavailable"
            raise ConsulUnavailable(f"{operation}: Consul at {self._address} {self._said(error)}") from error
        except AssertionError as error:  # how python-consul2 refuses an argument
            outcome = "refused"
            raise ConsulRefused(f"{operation}: Consul at {self._address} was not asked: {error}") from error
        finally:
            if self._observe:
                self._observe(operation, outcome, self._clock() - started)

    def _said(self, error: Exception) -> str:
        answer = self._http.answer
        return f"answered {answer.code} {answer.excerpt!r}, which is not an answer of Consul's ({error!r})"


def _blocking(index: int, wait: float) -> dict[str, int | str]:
    return {"index": index, "wait": f"{round(wait * 1000)}ms"} if index else {}
