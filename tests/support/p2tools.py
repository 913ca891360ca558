"""p2's tools as Consul sees them: the requests of its last commit, and what its Go code makes of the answers.

Spoken over the standard library, and decoded into p2's structs; nothing of Podpulse is used here. Redirects are
followed as Go's client follows them, because p2 lists `health/<pod>//` and leans on that.

Source: pkg/store/consul (kv.go), pkg/health/checker, pkg/inspect and bin/ of square/p2.
"""

import base64
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.support import gojson
from tests.support.consul import Agent, Answer

WATCH_RESULT: gojson.Struct = {
    "Id": gojson.STRING,
    "Node": gojson.STRING,
    "Service": gojson.STRING,
    "Status": gojson.STRING,
    "Time": gojson.TIME,
    "Expires": gojson.TIME,
}
OUTPUT: gojson.Struct = {"Output": gojson.STRING}
"""Was one of the fields up to 2016."""

HEALTH_STATES = frozenset({"critical", "unknown", "warning", "passing"})
REDIRECTS = 10


class P2Exit(Exception):
    """The end of one of p2's tools by `log.Fatal`."""


@dataclass(frozen=True, slots=True)
class Pair:
    """api.KVPair."""

    key: str
    value: bytes


class P2Tools:
    """p2's tools on one Consul. `redirects` counts the redirects that were followed."""

    def __init__(self, consul: Agent) -> None:
        self._consul = consul
        self.redirects = 0

    # --- p2-schedule, and the preparer ---

    def schedule(self, node: str, manifest: bytes, pod: str) -> None:
        self._set(f"intent/{node}/{pod}", manifest)

    def unschedule(self, node: str, pod: str) -> None:
        self._consul.request("DELETE", f"kv/intent/{node}/{pod}")

    def install(self, node: str, manifest: bytes, pod: str) -> None:
        """What the preparer writes when it has started a pod."""
        self._set(f"reality/{node}/{pod}", manifest)

    def put_health(self, pod: str, node: str, value: bytes) -> None:
        self._set(f"health/{pod}/{node}", value)

    # --- p2-inspect, p2-watch, and everybody who deploys with p2 ---

    def listed(self, prefix: str, index: int = 0, wait: str = "30000ms") -> tuple[list[Pair], int]:
        """KV().List, with the index of the answer; with an `index` it waits for a change."""
        query = f"index={index}&recurse=&wait={wait}" if index else "recurse="
        answer = self._get(f"/v1/kv/{prefix}?{query}")
        if answer.status not in {200, 404}:
            raise P2Exit(f"Unexpected response code: {answer.status}")
        items = answer.json() if answer.status == 200 else []
        pairs = [Pair(item["Key"], base64.b64decode(item["Value"] or "", validate=True)) for item in items]
        return pairs, int(answer.headers["x-consul-index"])

    def service_health(self, pod: str) -> dict[str, dict[str, Any]]:
        """GetServiceHealth: every node's record of one pod, by the node that the record itself names."""
        return self.decoded(self.listed(f"health/{pod}//")[0])

    def watch_service(self, pod: str, index: int) -> tuple[dict[str, dict[str, Any]], int]:
        """One turn of WatchService."""
        pairs, now = self.listed(f"health/{pod}//", index)
        return self.decoded(pairs), now

    def all_health(self) -> list[dict[str, Any]]:
        """WatchHealth: everything below `health/`."""
        return [self._decode(pair) for pair in self.listed("health/")[0]]

    def health(self, pod: str, node: str) -> dict[str, Any]:
        """GetHealth: one record, which must not have expired by this machine's clock."""
        data = self._consul.get(f"health/{pod}/{node}")
        if data is None:
            return {}
        result = self._decode(Pair(f"health/{pod}/{node}", data))
        if result["Expires"].seconds < time.time():
            raise P2Exit("stale health entry")
        return result

    def inspect(self, node: str = "", pod: str = "") -> dict[str, dict[str, str]]:
        """p2-inspect's way through the trees, and the health that it prints: by pod and node."""
        found: dict[str, dict[str, str]] = {}
        for tree in ("intent", "reality"):
            for pair in self.listed(f"{tree}/{node}/" if node else f"{tree}/")[0]:
                _, where, name = pair.key.split("/")
                if pod in {"", name}:
                    found.setdefault(name, {})[where] = ""
        for name, nodes in found.items():
            results = self.service_health(name)
            nodes |= {where: _state(result["Status"]) for where, result in results.items() if node in {"", where}}
        return found

    def decoded(self, pairs: list[Pair]) -> dict[str, dict[str, Any]]:
        """The records of a listing by node; one that does not decode ends the tool."""
        results = [self._decode(pair) for pair in pairs]
        return {result["Node"]: result for result in results}

    def _decode(self, pair: Pair) -> dict[str, Any]:
        try:
            return gojson.unmarshal(pair.value, {**WATCH_RESULT, **OUTPUT})
        except gojson.GoError as error:
            raise P2Exit(f"get failed for path {pair.key}: {error}") from None

    def _get(self, path: str) -> Answer:
        """GET, and on where it leads to."""
        for _ in range(REDIRECTS):
            answer = self._consul.request("GET", path.removeprefix("/v1/"), timeout=60.0)
            if answer.status not in {301, 302, 303, 307, 308}:
                return answer
            self.redirects += 1
            target = urlsplit(answer.headers["location"])
            path = f"{target.path}?{target.query}"
        raise P2Exit("stopped after 10 redirects")

    def _set(self, key: str, value: bytes) -> None:
        answer = self._consul.request("PUT", f"kv/{key}", value)
        if answer.status != 200 or json.loads(answer.body) is not True:
            raise P2Exit(f"put failed for path {key}: {answer.status}")


def _state(word: str) -> str:
    """health.ToHealthState: a word that p2 does not know is unknown."""
    return word if word in HEALTH_STATES else "unknown"
