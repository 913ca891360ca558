"""gRPC's own server with its own health service, and one whose health service misbehaves, on real sockets.

Nothing of `controller` is used here.
"""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

Status = health_pb2.HealthCheckResponse


class HealthServer(AbstractContextManager["HealthServer"]):
    """A gRPC server that listens as soon as it exists. `certificate` is a pair of files for TLS. `clients` is a file of
    authorities; then a client needs a certificate of one of them. With `service` None there is no health service.
    `options` are gRPC's channel arguments."""

    def __init__(
        self,
        service: Any = None,
        *,
        certificate: tuple[Path, Path] | None = None,
        clients: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        options: Mapping[str, int] | None = None,
    ) -> None:
        every = {"grpc.so_reuseport": 0, **(options or {})}
        self._server = grpc.server(ThreadPoolExecutor(4), options=tuple(every.items()))
        if service:
            health_pb2_grpc.add_HealthServicer_to_server(service, self._server)
        if certificate:
            pair = (certificate[1].read_bytes(), certificate[0].read_bytes())
            authorities = clients.read_bytes() if clients else None
            credentials = grpc.ssl_server_credentials([pair], authorities, require_client_auth=bool(clients))
            self.port: int = self._server.add_secure_port(f"{host}:{port}", credentials)
        else:
            self.port = self._server.add_insecure_port(f"{host}:{port}")
        self._server.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._server.stop(0).wait(10)


def healthy() -> Any:
    """gRPC's own health service: `good` is SERVING, `bad` is NOT_SERVING, and `odd` is UNKNOWN. The server as a whole
    is SERVING."""
    service = health.HealthServicer()
    service.set("good", Status.SERVING)
    service.set("bad", Status.NOT_SERVING)
    service.set("odd", Status.UNKNOWN)
    return service


class OddHealth:
    """A health service that behaves as the name of the requested service says: `hang`, `slow` (0.3 s), or a status of
    gRPC."""

    def __init__(self) -> None:
        self.closing = threading.Event()

    def check(self, request: Any, context: Any) -> Any:
        match request.service:
            case "hang":
                self.closing.wait(20)
            case "slow":
                self.closing.wait(0.3)
            case name:
                context.abort(getattr(grpc.StatusCode, name), "gr\u00fc\u00dfe: no")
        return Status(status=Status.SERVING)

    def service(self) -> Any:
        return SimpleNamespace(Check=self.check, List=self.check, Watch=self.check)
