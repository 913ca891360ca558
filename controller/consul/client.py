"""The client of Consul's API. Only this module and `endpoints` use python-consul2.

Every error is raised as `ConsulUnavailable` or `ConsulRefused`.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self, TypeVar

from controller.consul import answers
from controller.consul import parts as consul_parts
from controller.consul.answers import (
    MAX_OPERATIONS,
    MAX_TRANSACTION_BYTES,
    AgentCheck,
    AgentService,
    KvPair,
    Operation,
    Transactional,
    TransactionResult,
)
from controller.consul.endpoints import Endpoints
from controller.consul.listed import ListedManifests
from controller.consul.operations import WORDS, ControllerOp, Observe, ToolOp
from controller.consul.settings import ConsulSettings, settings_from_environment
from controller.consul.transport import (
    NO_ANSWER,
    ConsulError,
    ConsulRefused,
    ConsulTooLarge,
    ConsulUnavailable,
    CurlTransport,
    Response,
)
from reconcilers.gate import Listing
from reconcilers.keys import intent_prefix, parse_intent_key

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
Known = Mapping[str, KvPair] | None

BLOCKING_SLACK = 3.0
SESSION_DEADLINE = 2.0
LOCK_DELAY = 0.001


class ConsulClient:
    """A connection to one agent, for one thread. Other threads may call `cancel` and `apply` only.

    Every method raises only `ConsulUnavailable` or `ConsulRefused`. It returns within `timeout` seconds; a blocking
    query returns within its wait and a few seconds, and a method for sessions within two seconds.
    """

    def __init__(
        self,
        settings: ConsulSettings,
        *,
        timeout: float = 10.0,
        observe: Observe | None = None,
    ) -> None:
        self._address, self._namespace, self._partition = settings.address, settings.namespace, settings.partition
        self._timeout = timeout
        self._observe = observe
        self._http = CurlTransport(settings)
        self._listed = ListedManifests("", "")
        self._read_in_parts_until: dict[str, float] = {}
        self._api = Endpoints(self._http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def cancel(self) -> None:
        """Let the current request, and every request until `reopen`, raise `ConsulUnavailable`. For any thread."""
        self._http.cancel()

    def apply(self, settings: ConsulSettings) -> None:
        """Use these settings from the next request on. For any thread."""
        self._http.apply(settings)

    def token_mark(self) -> str:
        """Returns a digest of the token of the next request. No request is sent. Raises ConsulRefused if the token
        cannot be used."""
        return self._http.token_mark()

    def reopen(self) -> None:
        """Allow requests again after `cancel`."""
        self._http.reopen()

    # --- manifests ---

    def list_manifests(self, tree: str, node: str, index: int = 0, wait: float = 0.0) -> Listing:
        """Returns all manifests of a node. With an `index`, returns after a change or after `wait` seconds.

        A manifest that is too large for an answer is listed with bytes that no parser accepts.
        """
        prefix = intent_prefix(tree, node)
        if prefix != self._listed.prefix:
            self._listed = ListedManifests(tree, node)

        def wanted(key: str) -> bool:
            return parse_intent_key(tree, key) is not None

        answer, pairs, others = self._read_tree("list_manifests", prefix, index, wait, wanted, self._listed.pairs)
        entries, ignored = self._listed.take([*pairs, *(KvPair(key, consul_parts.TOO_LARGE, 0) for key in others)])
        return Listing(answers.index_of(answer), entries, answers.doubt(answer), ignored, answers.is_filtered(answer))

    def is_absent(self, key: str) -> bool:
        """Whether Consul's leader says that the key does not exist."""
        return self._request("is_absent", lambda: not self._pairs(key, consistency="consistent")[1])

    # --- keys ---

    def get(self, key: str) -> KvPair | None:
        return next(iter(self._request("get", lambda: self._pairs(key), about=key)[1]), None)

    def list_pairs(self, prefix: str) -> list[KvPair]:
        """Returns every key below `prefix`, which ends with a slash."""
        return self.next_pairs(prefix)[1]

    def next_pairs(self, prefix: str, index: int = 0, wait: float = 0.0) -> tuple[int, list[KvPair]]:
        """Returns the index and every key below `prefix`. With an `index`, returns after a change or `wait` seconds.

        A tree that is too large for one answer is read in parts. Then keys more than two levels below `prefix` may be
        missing, and keys whose value is too large for an answer are missing.
        """
        answer, pairs, too_large = self._read_tree("list_pairs", prefix, index, wait)
        if too_large:
            log.warning("%s: %d keys are too large to be read, for example %s", prefix, len(too_large), min(too_large))
        return answers.index_of(answer), pairs

    def list_keys(self, prefix: str, separator: str = "") -> list[str]:
        """Returns every key below `prefix`, at a twelfth of the cost of a listing with values. With a `separator`, keys
        are cut off after its first occurrence behind `prefix`."""
        return self._keys(prefix, separator)[1]

    def put(self, key: str, value: bytes) -> None:
        """Write a key without a session, such as a manifest. Health keys are written by `transaction`."""
        self._request("put", lambda: answers.require_true(self._api.kv.put(key, value)), about=key)

    def delete(self, key: str) -> None:
        """Delete a key. A missing key is no error."""
        self._request("delete", lambda: answers.require_true(self._api.kv.delete(key)), about=key)

    def transaction(self, operations: Sequence[Operation], known: Known = None) -> TransactionResult:
        """Carry out all operations, or none: up to 64, with a body of up to 512 KiB.

        A transaction that only reads is counted as `read_transaction`. For `known`, see `pairs_of`.
        """
        reads = all(operation.verb in {"get", "get-tree"} for operation in operations)
        payload = [operation.payload(self._namespace, self._partition) for operation in operations]
        name: ControllerOp = "read_transaction" if reads else "transaction"
        return self._request(name, lambda: answers.result_of(self._api.txn.put(payload), len(payload), known))

    def transact(
        self,
        operations: Sequence[Transactional],
        decode: Callable[[Response], T],
        timeout: float | None = None,
        name: ControllerOp = "transaction",
    ) -> T:
        """The same for operations and a result that another module encodes and decodes. `timeout` is in seconds."""
        payload = [operation.payload(self._namespace, self._partition) for operation in operations]
        return self._request(name, lambda: decode(self._api.txn.put(payload)), timeout)

    # --- sessions ---

    def session_create(self, name: str, ttl: int) -> tuple[str, int]:
        """Create a session without checks, whose end deletes its keys. Returns its id and its TTL in seconds.

        `ttl` is at least 10. If Consul allows only longer TTLs, the session has the shortest allowed TTL.
        """

        def create(ttl: int) -> str:
            session = self._api.session
            made = session.create(name, checks=[], lock_delay=LOCK_DELAY, behavior="delete", ttl=ttl)
            return answers.session_of(made)

        try:
            self._http.answer = NO_ANSWER
            return self._request("session_create", lambda: create(ttl), SESSION_DEADLINE), ttl
        except ConsulError:
            if (shortest := answers.shortest_session_ttl(self._http.answer)) <= ttl:
                raise
        return self._request("session_create", lambda: create(shortest), SESSION_DEADLINE), shortest

    def session_renew(self, session: str) -> int:
        """Renew a session. Returns its TTL in seconds. 0 if Consul does not know the session."""
        renew = self._api.session.renew
        return self._request("session_renew", lambda: answers.renewed_ttl(renew(session), session), SESSION_DEADLINE)

    def session_destroy(self, session: str) -> None:
        """Destroy a session and delete its keys. A missing session is no error."""
        self._request(
            "session_destroy", lambda: answers.require_true(self._api.session.destroy(session)), SESSION_DEADLINE
        )

    def session_name(self, session: str) -> str:
        """Returns the name of a session. "" if Consul does not know it, or the token may not read it."""
        return self.query("session_name", f"/v1/session/info/{session}", (), answers.name_of)

    # --- services of the agent ---

    def agent_services(self, id_prefix: str) -> list[AgentService]:
        """Returns the services of the agent whose id begins with `id_prefix`, as far as the token may read them."""
        query = [("filter", f"ID matches {json.dumps('^' + id_prefix)}")]
        return self._request(
            "agent_services", lambda: answers.services_of(self._http.get(None, "/v1/agent/services", query))
        )

    def agent_checks(self, id_prefix: str) -> list[AgentCheck]:
        """Returns the checks of the services whose id begins with `id_prefix`."""
        query = [("filter", f"ServiceID matches {json.dumps('^' + id_prefix)}")]
        return self._request("agent_checks", lambda: answers.checks_of(self._http.get(None, "/v1/agent/checks", query)))

    def register_service(
        self, service: AgentService, check: AgentCheck, ttl: float, timeout: float | None = None
    ) -> None:
        """Register or change `service`, with a check that turns critical if it is not updated for `ttl` seconds.

        A new check has the status of `check`, or is critical. An existing check keeps its status and output, and its
        `ttl` starts again. The agent writes both to the catalog with the token of this request, before this method
        returns. That takes seconds while Consul has no leader. `timeout` is in seconds.
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

        self._request("register_service", register, timeout)

    def deregister_service(self, service: str, timeout: float | None = None) -> None:
        """Remove the service with this id and its checks. A missing service is no error. `timeout` is in seconds."""
        self._request("deregister_service", lambda: self._api.agent.service.deregister(service), timeout)

    def update_check(self, check: str, status: str, output: str) -> bool:
        """Set status and output of a TTL check and restart its TTL. Returns False if the agent does not know the check.

        python-consul2's `ttl_pass` is not used, because it writes the output into the URL.
        """
        data = json.dumps({"Status": status, "Output": output})

        def update() -> bool:
            self._http.answer = NO_ANSWER
            try:
                self._http.put(None, f"/v1/agent/check/update/{check}", data=data)
            except ConsulUnavailable:
                if not answers.is_unknown_check(self._http.answer):
                    raise
            return self._http.answer.code == 200

        return self._request("update_check", update)

    def agent_node(self) -> str:
        """Returns the name of the agent's node in the catalog. The token needs `agent` read."""
        return self._request("agent_node", lambda: answers.node_name_of(self._api.agent.self()))

    # --- the catalog ---

    def node_address(self, node: str) -> str | None:
        """Returns the address of a node in the catalog. None if the catalog does not have the node."""

        def address() -> str | None:
            answer = self._api.catalog.node(node)
            answers.index_of(answer)
            return answers.address_of(answer, node)

        return self._request("node_address", address)

    def leader(self) -> str:
        """Returns the address of Consul's leader. "" if there is none."""
        return self._request("leader", lambda: answers.leader_of(self._api.status.leader()))

    # --- what other modules decode ---

    def query(
        self,
        operation: ControllerOp,
        path: str,
        parameters: Sequence[tuple[str, str]],
        decode: Callable[[Response], T],
        index: int = 0,
        wait: float = 0.0,
    ) -> T:
        """Returns the decoded answer of a GET. With an `index`, Consul answers after a change or `wait` seconds."""
        asked = [*parameters, *_blocking(index, wait).items()]
        timeout = self._listing_timeout(index, wait)
        return self._request(operation, lambda: decode(self._http.get(None, path, asked)), timeout)

    # --- shared by the methods above ---

    def _read_tree(
        self,
        operation: ControllerOp | ToolOp,
        prefix: str,
        index: int,
        wait: float,
        wanted: Callable[[str], bool] | None = None,
        known: Known = None,
    ) -> tuple[Response, list[KvPair], list[str]]:
        """Read all keys below `prefix`, in one answer or in parts. Returns the answer with the index, the pairs, and
        the keys that are too large. If the tree is read in parts, the values of keys that are not `wanted` are not
        read: these keys are returned with the keys that are too large. For `known`, see `pairs_of`."""
        if self._read_in_parts_until.get(prefix, 0.0) <= time.monotonic():
            try:
                timeout = self._listing_timeout(index, wait)
                blocking = _blocking(index, wait)
                read = partial(self._pairs, prefix, known, recurse=True, **blocking)
                return *self._request(operation, read, timeout), []
            except ConsulTooLarge:
                log.info("%s is too large for one answer and is read in parts", prefix)
                self._read_in_parts_until[prefix] = time.monotonic() + consul_parts.IN_PARTS_FOR
                index = 0
        answer, keys = self._keys(prefix, "/", index, wait)
        others = [key for key in keys if wanted and not wanted(key)]
        parts = consul_parts.read(self, sorted(set(keys).difference(others)))
        return answer, parts.pairs, [*parts.too_large, *others]

    def _pairs(self, key: str, known: Known = None, **options: Any) -> tuple[Response, list[KvPair]]:
        answer = self._api.kv.get(key, **options)
        answers.index_of(answer)
        return answer, answers.pairs_of(answer, known)

    def _keys(self, prefix: str, separator: str, index: int = 0, wait: float = 0.0) -> tuple[Response, list[str]]:
        def keys() -> tuple[Response, list[str]]:
            answer = self._api.kv.get(prefix, keys=True, separator=separator or None, **_blocking(index, wait))
            answers.index_of(answer)
            return answer, answers.keys_of(answer)

        return self._request("list_keys", keys, self._listing_timeout(index, wait))

    def _listing_timeout(self, index: int, wait: float) -> float:
        """Returns the timeout of a listing in seconds. Consul adds up to a sixteenth to the wait."""
        return wait + wait / 16 + BLOCKING_SLACK if index else self._timeout

    def _request(
        self, operation: ControllerOp | ToolOp, call: Callable[[], T], timeout: float | None = None, about: str = ""
    ) -> T:
        started, outcome, where = time.monotonic(), "ok", f"{WORDS[operation]}{about}: Consul at {self._address}"
        self._http.timeout = self._timeout if timeout is None else timeout
        try:
            return call()
        except ConsulRefused as error:
            outcome = "refused"
            raise type(error)(f"{where} {error}", denied=error.denied) from error
        except ConsulUnavailable as error:
            outcome = error.outcome
            raise ConsulUnavailable(f"{where} {error}", sent=error.sent, answered=error.answered) from error
        except answers.DECODE_ERRORS as error:
            outcome, answer = "unavailable", self._http.answer
            problem = f"answered {answer.code} {answer.excerpt!r}, which is not a valid answer of Consul ({error!r})"
            raise ConsulUnavailable(f"{where} {problem}") from error
        except AssertionError as error:  # python-consul2 refuses an argument
            outcome = "refused"
            raise ConsulRefused(f"{where} was sent no request: {error}") from error
        finally:
            if self._observe:
                self._observe(operation, outcome, time.monotonic() - started)


def _blocking(index: int, wait: float) -> dict[str, int | str]:
    return {"index": index, "wait": f"{round(wait * 1000)}ms"} if index else {}
