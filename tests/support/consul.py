"""A real Consul agent for a test: on free loopback ports and in its own folder, which is removed at the end.

`Agent.request` speaks to it through the standard library only, so that a test can look at the truth without the code
that it tests. The admin's plain HTTP port is always open, also where `address` names HTTPS or a unix socket.
"""

import http.client
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from base64 import b64decode
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from controller.consul.client import ConsulClient, ConsulSettings
from tests.support.consul_version import closed_ports, denying, version_of
from tests.support.net import Certificates, free_ports, reserve_free, stands_still, until

__all__ = ["Agent", "Answer", "Certificates", "free_ports", "until"]

READY_WITHIN = 90.0
"""Seconds. A leader that missed the join of a node compares the members with the catalog once a minute."""
DB1_ID = "db1c0000-0000-4000-8000-000000000000"
"""The ID of a node of another name. When Consul is asked for the node db1 and has none, it answers with this node."""
MASTER_TOKEN = "6d1f4b0e-3c5a-4d51-9f0b-5f3f6a9c7e21"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of Consul. The names in `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Agent(AbstractContextManager["Agent"]):
    """One Consul agent, which is also the only server of its datacenter.

    As a context manager it is started and ready inside. `persistent` keeps its data over `kill` and `start` (a leader
    is known after some 2 s instead of 0.2 s). With `tls`, `address` is an https URL, and a client certificate is
    required. With `unix`, it is the URL of a socket. With `acl`, everything is denied by default: `token` may do
    everything, and `create_token` creates tokens that may do less. With `dns_token`, DNS and requests without a token
    may do everything too. `join` is the `lan` address of another agent: then this is a client agent of that agent's
    datacenter.
    """

    def __init__(
        self,
        binary: Path,
        *,
        node: str = "web1",
        persistent: bool = False,
        tls: bool = False,
        unix: bool = False,
        acl: bool = False,
        dns_token: bool = False,
        join: str = "",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.node = node
        self.token = MASTER_TOKEN if acl else ""
        self.persistent = persistent
        self._binary = binary
        self._dns_token = dns_token
        self._tls = tls
        self._unix = unix
        self._join = join
        self._extra = dict(config or {})
        self._temp = tempfile.TemporaryDirectory(prefix="consul-test-", ignore_cleanup_errors=True)
        self.folder = Path(self._temp.name)
        self.certificates = Certificates.issue(self.folder / "tls") if tls else None
        self._reserve_ports()
        self._process: subprocess.Popen[bytes] | None = None
        self._started_before = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._release_ports()
        self._temp.cleanup()

    @property
    def http_port(self) -> int:
        """The plain HTTP port on 127.0.0.1, always open."""
        return self._ports[0]

    @property
    def lan(self) -> str:
        """The address for agents that join this one."""
        return f"127.0.0.1:{self._ports[3]}"

    @property
    def address(self) -> str:
        """The address for the configuration of a client: http://, https:// or unix://."""
        if self._unix:
            return f"unix://{self.socket_path}"
        return f"https://127.0.0.1:{self._ports[1]}" if self._tls else f"http://127.0.0.1:{self.http_port}"

    @property
    def socket_path(self) -> Path:
        return self.folder / "http.sock"

    @property
    def pid(self) -> int:
        """The id of the running process.

        Raises:
            RuntimeError: no process runs.
        """
        if self._process is None:
            raise RuntimeError("the agent does not run")
        return self._process.pid

    def settings(self, token: str | None = None) -> ConsulSettings:
        """Returns the settings of our own client for this agent. Without `token`, its token may do everything."""
        files = self.certificates
        return ConsulSettings(
            address=self.address,
            token=self.token if token is None else token,
            ca_file=str(files.ca) if files else "",
            cert_file=str(files.client_cert) if files else "",
            key_file=str(files.client_key) if files else "",
        )

    def client(self, token: str | None = None) -> ConsulClient:
        """Returns our own client. The caller closes it."""
        return ConsulClient(self.settings(token))

    # --- life ---

    def start(self, *, wait: bool = True) -> None:
        """Start it. With `wait`, wait until a leader is known and the node is in the catalog. Later starts use the same
        ports."""
        for attempt in range(3):
            self._spawn()
            if not wait:
                return
            if self._wait_ready():
                self._started_before = True
                return
            self.kill()
            if self._started_before or attempt == 2:
                break
            self._release_ports()
            self._reserve_ports()
        raise RuntimeError(f"consul did not get ready:\n{self.log_tail()}")

    def wait_ready(self) -> None:
        """Wait until it is ready, after `start(wait=False)` or `resume`.

        Raises:
            RuntimeError: it ended, or is not ready within `READY_WITHIN`.
        """
        if not self._wait_ready():
            raise RuntimeError(f"consul did not get ready:\n{self.log_tail()}")

    def configure(self, **config: Any) -> None:
        """Use these fields in its configuration from the next start on."""
        self._extra |= config

    def stop(self) -> None:
        """Send SIGTERM, and wait until the process has ended."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, and wait until the process has ended. Does nothing if no process runs."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it, and start it on the same ports. Its data is kept only if it is `persistent`."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Send SIGSTOP, and wait until the process has stopped. The kernel still accepts connections, but nothing
        answers."""
        os.kill(self.pid, signal.SIGSTOP)
        until(lambda: stands_still(self.pid), what="every thread of the agent to stop")

    def resume(self) -> None:
        """Send SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def log_tail(self) -> str:
        """Returns the last lines of its log."""
        log = self.folder / "log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else "(no log)"

    # --- the truth, without the code under test ---

    def request(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        *,
        timeout: float = 10.0,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request for `/v1/<path>` over plain HTTP. Its token may do everything, unless `headers` has another
        token."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout)
        try:
            own = {"X-Consul-Token": self.token} if self.token else {}
            connection.request(method, f"/v1/{path}", body, own | dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def put(self, key: str, value: bytes | str, **params: str) -> None:
        """Write a key. The parameters have Consul's names (`acquire`, `cas`...). It is an error if Consul refuses the
        write."""
        query = "&".join(f"{name}={text}" for name, text in params.items())
        answer = self.request("PUT", f"kv/{key}?{query}", value)
        if answer.status != 200 or answer.body.strip() != b"true":
            raise AssertionError(f"PUT {key}: {answer.status} {answer.body!r}")

    def get(self, key: str) -> bytes | None:
        """The value of a key; None when there is none."""
        answer = self.request("GET", f"kv/{key}?raw")
        return answer.body if answer.status == 200 else None

    def entries(self, prefix: str = "") -> dict[str, dict[str, Any]]:
        """Returns every key below a prefix, with its fields in Consul (`Session`, `ModifyIndex`...)."""
        answer = self.request("GET", f"kv/{prefix}?recurse")
        return {entry["Key"]: entry for entry in answer.json()} if answer.status == 200 else {}

    def values(self, prefix: str = "") -> dict[str, bytes]:
        """The value of every key below a prefix."""
        return {key: b64decode(entry["Value"] or "") for key, entry in self.entries(prefix).items()}

    def keys(self, prefix: str = "") -> list[str]:
        """Every key below a prefix, sorted."""
        return sorted(self.entries(prefix))

    def delete(self, key: str, *, recurse: bool = False) -> None:
        """Remove a key, or all keys with this prefix."""
        self.request("DELETE", f"kv/{key}{'?recurse' if recurse else ''}")

    def sessions(self) -> dict[str, dict[str, Any]]:
        """Every session by its id."""
        return {session["ID"]: session for session in self.request("GET", "session/list").json()}

    def new_session(self, ttl: str = "60s", behavior: str = "delete") -> str:
        """Create a session as another program would, and return its id."""
        fields = {"Name": "other", "TTL": ttl, "Behavior": behavior, "LockDelay": "1ms", "Checks": []}
        return str(self.request("PUT", "session/create", json.dumps(fields)).json()["ID"])

    def destroy_session(self, session: str) -> None:
        self.request("PUT", f"session/destroy/{session}")

    def create_token(self, rules: str, lives: float = 0.0) -> str:
        """Create a token with these ACL rules (HCL), and return its secret. The token expires after `lives` seconds (at
        least 60), or never with 0. Needs `acl`."""
        policy = self._created("acl/policy", {"Name": f"p{random.getrandbits(48)}", "Rules": rules})
        expiry = {"ExpirationTTL": f"{lives:g}s"} if lives else {}
        return str(self._created("acl/token", {"Policies": [{"ID": policy["ID"]}], **expiry})["SecretID"])

    def knows_token(self, token: str) -> bool:
        """Whether the token exists and has not expired."""
        headers = {"X-Consul-Token": token}
        return self.request("GET", "acl/token/self", headers=headers).status == 200

    def replace_rules(self, token: str, rules: str) -> None:
        """Replace the rules of a token of `create_token`."""
        tokens = self.request("GET", "acl/tokens").json()
        accessor = next(one["AccessorID"] for one in tokens if self._secret(one["AccessorID"]) == token)
        policy = self._created("acl/policy", {"Name": f"p{random.getrandbits(48)}", "Rules": rules})
        self._created(f"acl/token/{accessor}", {"AccessorID": accessor, "Policies": [{"ID": policy["ID"]}]})

    def delete_token(self, token: str) -> None:
        until(lambda: self.request("GET", "acl/tokens").status == 200, what="the agent knows its tokens after a start")
        tokens = self.request("GET", "acl/tokens").json()
        accessor = next(one["AccessorID"] for one in tokens if self._secret(one["AccessorID"]) == token)
        self.request("DELETE", f"acl/token/{accessor}")

    def _secret(self, accessor: str) -> str:
        return str(self.request("GET", f"acl/token/{accessor}").json()["SecretID"])

    def _created(self, path: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        answer = self.request("PUT", path, json.dumps(fields))
        if answer.status != 200:
            raise AssertionError(f"PUT {path}: {answer.status} {answer.body!r}")
        made: dict[str, Any] = answer.json()
        return made

    # --- starting ---

    def _reserve_ports(self) -> None:
        """Keeps its ports until its end, also while it does not run. An agent that got the port of another test would
        join that test's cluster."""
        self._reserved = reserve_free(4)
        self._ports: tuple[int, ...] = tuple(sock.getsockname()[1] for sock in self._reserved)

    def _release_ports(self) -> None:
        for sock in self._reserved:
            sock.close()

    def _spawn(self) -> None:
        config = self.folder / "agent.json"
        config.write_text(json.dumps(self._config()))
        command = [str(self._binary), "agent", f"-config-file={config}", *([] if self.persistent else ["-dev"])]
        if self._join and "-dev" in command:
            command.remove("-dev")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _config(self) -> dict[str, Any]:
        http_port, https_port, rpc, serf = self._ports
        version = version_of(self._binary)
        addresses = ["127.0.0.1", *([f"unix://{self.socket_path}"] if self._unix else [])]
        config: dict[str, Any] = {
            "node_name": self.node,
            "bind_addr": "127.0.0.1",
            "addresses": {"http": " ".join(addresses)},
            "ports": {
                "http": http_port,
                "https": https_port if self._tls else -1,
                "server": rpc,
                "serf_lan": serf,
                **closed_ports(version),
            },
            "performance": {"raft_multiplier": 1},
            "log_level": "INFO",
            "disable_update_check": True,
            "leave_on_terminate": False,
        }
        if self.persistent:
            config |= {"server": True, "bootstrap_expect": 1, "data_dir": str(self.folder / "data")}
        if self._join:
            config |= {"server": False, "data_dir": str(self.folder / "data"), "retry_join": [self._join]}
        if files := self.certificates:
            config |= {"ca_file": str(files.ca), "cert_file": str(files.cert), "key_file": str(files.key)}
            config["verify_incoming_https"] = True
        if self.token:
            config["acl"] = denying(version, self.token)
        if self._dns_token:
            config["acl"]["tokens"]["default"] = self.token
        return _merged(config, self._extra)

    def _wait_ready(self) -> bool:
        """Returns False if the process ended or took too long."""
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            with suppress(OSError, http.client.HTTPException, ValueError):
                if self._is_ready():
                    return True
            time.sleep(0.02)
        return False

    def _is_ready(self) -> bool:
        """Whether there is a leader, the token is known, and the node's own check exists. Sessions need this check."""
        leader = self.request("GET", "status/leader", timeout=2.0)
        if leader.status != 200 or not leader.json():
            return False
        checks = self.request("GET", f"health/node/{self.node}", timeout=2.0)
        if checks.status != 200 or not any(check["CheckID"] == "serfHealth" for check in checks.json()):
            return False
        return not self._unix or self.socket_path.exists()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            if how is not signal.SIGKILL:
                process.send_signal(signal.SIGCONT)
            process.send_signal(how)
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _merged(config: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in extra.items():
        below = config.get(name)
        config[name] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return config
