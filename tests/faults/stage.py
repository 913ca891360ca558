"""Everything that a run needs, joined: a Consul, pods and their targets, controllers and their lines, an observer.

controller -> TcpProxy -> Gateway -> Consul's agent -> its servers
                                                        ^ the observer asks these, and so do we

Without a fleet there is one controller, and one node.
"""

import base64
import http.client
import json
import tempfile
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.faults.controller import Controller
from tests.faults.history import Finished, Recorder, Setup
from tests.faults.observer import Observer
from tests.faults.pods import Pods
from tests.faults.process import Process
from tests.support.clock import Clock
from tests.support.cluster import Cluster
from tests.support.consul import Agent
from tests.support.gateway import Gateway
from tests.support.net import until
from tests.support.proxy import TcpProxy

NODE = "web1"
FLEET = "f"
RULES = f"""
key_prefix "intent/" {{ policy = "read" }}
key_prefix "health/" {{ policy = "write" }}
session "{NODE}" {{ policy = "write" }}
node "{NODE}" {{ policy = "read" }}
service_prefix "" {{ policy = "write" }}
"""
"""What a controller that publishes keys and services needs, where Consul denies by default."""
FLEET_FILTER = "Service.Meta.fleet%20%3D%3D%20" + FLEET
FENCE = "fence"
"""The key that every change writes too."""
SETTLES = 30.0
SETTLES_IN_BULK = 70.0
"""The fuse may hold what many removals left."""
JOINS = 60.0
STEADY = 2.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How big and how fast a run is. Without `members` there is one controller, and no fleet."""

    pods: int = 12
    interval: float = 1.0
    timeout: float = 0.4
    seed: int = 0
    cluster: bool = False
    acl: bool = False
    members: int = 0
    nodes: int = 1

    @property
    def services(self) -> bool:
        """Whether services of the agent are published too. A fleet publishes none."""
        return self.acl and not self.members


class Stage(AbstractContextManager["Stage"]):
    """As a context manager all of it runs inside; the controllers are started by `raise_curtain`.

    `controller` is the controller that the present fault affects. What a stage says of its process, its line and its
    token is that controller's.
    """

    def __init__(self, binary: Path, scale: Scale, history: Path, **options: Any) -> None:
        self.scale = scale
        self._ends = ExitStack()
        self._temp = tempfile.TemporaryDirectory(prefix="podpulse-faults-", ignore_cleanup_errors=True)
        self.folder = Path(self._temp.name)
        self.recorder = Recorder(history)
        self.clock = Clock(self.folder / "clock")
        self.nodes = [f"node-{number}" for number in range(scale.nodes)] if scale.members else [NODE]
        self._note_setup()
        self.consul = Cluster(binary, NODE) if scale.cluster else Alone(binary, NODE, acl=scale.acl)
        self._options = options
        self.controllers = [self._controller(number) for number in range(1, scale.members + 1)] or [
            Controller("", "", self.folder, self.recorder, self.options)
        ]
        self.controller = self.controllers[0]
        self._changing = threading.Lock()
        self._token = ""

    def __enter__(self) -> Self:
        with self._ends as ends:
            ends.enter_context(self._temp)
            ends.callback(self.recorder.close)
            ends.enter_context(self.consul)
            if self.scale.acl:
                self.give_token()
            self.pods = ends.enter_context(Pods(self._nodes_of_pods(), self.recorder, self, self._asking))
            self.observer = Observer(self.recorder, self, frozenset(self.nodes))
            for each in self.controllers:
                ends.enter_context(each.connect(self.consul.agent.http_port))
            self._ends = ends.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.__exit__(kind, value, trace)

    def _note_setup(self) -> None:
        scale, nodes = self.scale, self._nodes_of_pods() if self.scale.members else {}
        setup = Setup(time.monotonic(), scale.seed, scale.interval, scale.timeout, services=scale.services, nodes=nodes)
        self.recorder.note(setup)

    def _nodes_of_pods(self) -> dict[str, str]:
        return {f"pod-{number}": self.nodes[number % len(self.nodes)] for number in range(self.scale.pods)}

    def _controller(self, number: int) -> Controller:
        """A member of a fleet reaches all pods at its own loopback address, so the targets know which member asks."""
        member = f"m{number}"
        return Controller(member, f"127.0.1.{number}", self.folder / member, self.recorder, self.options)

    def _asking(self, address: str) -> str:
        return next((each.member for each in self.controllers if each.address == address), "")

    # --- what an observer asks ---

    def servers(self) -> Sequence[int]:
        return [server.http_port for server in self.consul.servers]

    def token(self) -> str:
        return self.consul.agent.token

    def subjects(self) -> Sequence[Controller]:
        return self.controllers

    def target_ports(self) -> frozenset[int]:
        return self.pods.ports()

    # --- the controller that the present fault affects ---

    @property
    def process(self) -> Process:
        return self.controller.process

    @property
    def gateway(self) -> Gateway:
        return self.controller.gateway

    @property
    def proxy(self) -> TcpProxy:
        return self.controller.proxy

    def spawn(self, clock: Clock | None = None) -> Process:
        """See `Controller.spawn`."""
        return self.controller.spawn(clock)

    def start(self, clock: Clock | None = None) -> None:
        """See `Controller.start`."""
        self.controller.start(clock)

    def second(self) -> Process:
        """See `Controller.second`."""
        return self.controller.second()

    def options(self, controller: Controller) -> dict[str, Any]:
        """Returns the configuration file of a controller."""
        member = {"fleet": FLEET} if controller.member else {}
        token = {"token_file": str(self.token_file)} if self.scale.acl else {}
        places = {"publish": ["kv", "agent"]} if self.scale.services else {}
        line = f"http://127.0.0.1:{controller.proxy.port}"
        consul = {"address": line, **token} | self._options.get("consul", {})
        return {
            "node_name": controller.member or NODE,
            **member,
            "address": controller.address or "catalog",
            "listen": "127.0.0.1:0",
            "state_dir": str(controller.folder / "state"),
            "defaults": {"interval": f"{self.scale.interval:g}s", "timeout": f"{self.scale.timeout:g}s"},
            **places,
            **self._options,
            "consul": consul,
        }

    # --- its token, where Consul asks for one ---

    @property
    def token_file(self) -> Path:
        return self.folder / "token"

    def controllers_token(self) -> str:
        return self._token

    def give_token(self, rules: str = RULES, lives: float = 0.0) -> None:
        """Writes a new token into the controller's file. The token expires after `lives` seconds, or never with 0."""
        self._token = self.consul.agent.create_token(rules, lives)
        self.write_token(self._token)

    def write_token(self, text: str) -> None:
        """Replaces the content of the token's file."""
        unfinished = self.folder / "token.unfinished"
        unfinished.write_text(text)
        unfinished.replace(self.token_file)

    # --- the run ---

    def raise_curtain(self, *pods: str) -> None:
        """Schedules these pods, starts the observer and the controllers, and waits until everything is right."""
        for pod in pods:
            self.pods.schedule(pod)
        self.observer.start()
        for each in self.controllers:
            each.start()
        for each in self.controllers:
            each.process.wait_ready()
        self.settle(SETTLES)

    def settle(self, within: float = SETTLES) -> bool:
        """Waits until a new look at Consul shows that everything is right. Returns whether this was so in time. The
        history has these looks too."""
        began = time.monotonic()
        deadline = began + within
        since = deadline
        while (now := time.monotonic()) < deadline:
            if not (self.observer.looked() > began and self.is_right() and self.is_whole()):
                since = deadline
            elif now - (since := min(since, now)) >= self._steady():
                return True
            time.sleep(0.05)
        return False

    def _steady(self) -> float:
        """Returns for how many seconds everything must be right. A member that was cut off may count for a moment,
        because the agent takes its delayed renewals."""
        return STEADY if self.scale.members else 0.0

    def is_whole(self) -> bool:
        """Whether all controllers are members of the fleet; always without a fleet."""
        if not self.scale.members:
            return True
        with suppress(OSError):
            found = self.ask("GET", f"health/service/podpulse?passing&consistent&filter={FLEET_FILTER}").json()
            return {each["Service"]["Meta"]["member"] for each in found} == {each.member for each in self.controllers}
        return False

    def wait_whole(self) -> None:
        """Waits until all controllers are members of the fleet."""
        until(self.is_whole, JOINS, "all members of the fleet")

    def is_right(self) -> bool:
        """Whether there are health keys for exactly the pods, each in a live session and with the status of its target.
        Flapping pods may be unknown. If services are published, the same is required of them."""
        known, live = self.observer.known(), self.observer.sessions()
        pods = self.pods.all
        wanted = {name for name, pod in pods.items() if pod.wanted}
        open_ = {name for name, pod in pods.items() if pod.spoiled}
        statuses = {name: pod.status for name, pod in pods.items()}
        flapping = {name for name, record in known.items() if record.reason == "flapping"}
        services = self.observer.services() if self.scale.services else known
        return (
            known.keys() - open_ == services.keys() - open_ == wanted - open_
            and all(record.session in live for record in known.values())
            and all(record.status == statuses[name] for name, record in known.items() if name not in flapping)
            and (not self.scale.services or self._has_right_services(statuses, flapping | open_))
        )

    def _has_right_services(self, statuses: Mapping[str, str], but: Collection[str]) -> bool:
        return all(status == statuses[name] for name, status in self.observer.services().items() if name not in but)

    def finish(self, tail: float = 2.0) -> None:
        """Waits after the last fault until everything is right, goes on for a short while, and stops the observer."""
        self.settle()
        time.sleep(tail)
        self.recorder.note(Finished(time.monotonic()))
        self.observer.stop()

    # --- Consul, past the line ---

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, *, expected: Collection[int] = (200,)
    ) -> Any:
        """Returns the answer of the first server that answers with an expected status.

        Raises:
            OSError: no server does.
        """
        said: object = "no server"
        for server in self.consul.servers:
            with suppress(OSError, http.client.HTTPException):
                answer = server.request(method, path, body, timeout=5.0)
                if answer.status in expected:
                    return answer
                said = f"{answer.status} {answer.body[:100]!r}"
        raise OSError(f"{method} {path}: {said}")

    def put(self, key: str, value: bytes) -> None:
        """Writes a key.

        Raises:
            OSError: no server has written it.
        """
        self._change({"Verb": "set", "Key": key, "Value": base64.b64encode(value).decode()})

    def delete(self, key: str) -> None:
        """Removes a key, if it exists. Raises OSError as `put`."""
        self._change({"Verb": "delete", "Key": key})

    def _change(self, change: Mapping[str, Any]) -> None:
        """Makes a change that only applies once, and not after another change: a server that was stopped executes a
        request that had timed out. Each change requires the index of the previous one at the key `FENCE`. So there is
        one change at a time."""
        with self._changing:
            self._change_alone(change)

    def _change_alone(self, change: Mapping[str, Any]) -> None:
        entry = self.ask("GET", f"kv/{FENCE}?consistent", expected=(200, 404))
        unchanged = (
            {"Verb": "check-index", "Index": entry.json()[0]["ModifyIndex"]}
            if entry.status == 200
            else {"Verb": "check-not-exists"}
        )
        another = base64.b64encode(str(time.monotonic_ns()).encode()).decode()  # the same value would keep the index
        operations = [unchanged | {"Key": FENCE}, {"Verb": "set", "Key": FENCE, "Value": another}, change]
        self.ask("PUT", "txn", json.dumps([{"KV": operation} for operation in operations]))

    def manifests(self) -> Mapping[str, bytes]:
        """Returns the manifests of all pods by name."""
        return {name: data for node in self.nodes for name, data in self._manifests(f"intent/{node}/").items()}

    def _manifests(self, prefix: str) -> dict[str, bytes]:
        entries = self.ask("GET", f"kv/{prefix}?recurse&consistent", expected=(200, 404))
        found = entries.json() if entries.status == 200 else []
        return {entry["Key"].removeprefix(prefix): base64.b64decode(entry["Value"] or "") for entry in found}


class Alone(AbstractContextManager["Alone"]):
    """A single agent that keeps its data, in the shape of a cluster."""

    def __init__(self, binary: Path, node: str, *, acl: bool) -> None:
        self.agent = Agent(binary, node=node, acl=acl, persistent=True)
        self.servers = [self.agent]

    def __enter__(self) -> Self:
        self.agent.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError, RuntimeError):
            self.agent.resume()
        self.agent.__exit__(kind, value, trace)

    def leader(self) -> Agent:
        return self.agent
