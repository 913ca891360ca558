"""A real Prometheus for a test: on a free loopback port, with a configuration of the test.

Its database is in its own folder, which is removed at the end. Tests use its HTTP API through the standard library.
"""

import http.client
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import yaml

from tests.support.net import free_ports, until

READY_WITHIN = 30.0


class QueryError(AssertionError):
    """Prometheus refuses an expression. The message is its error."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer: its labels, with `__name__` where there is one, and pairs of time and value, oldest
    first (of an instant query, one). Times are seconds since the epoch."""

    labels: Mapping[str, str]
    samples: Sequence[tuple[float, float]]

    @property
    def value(self) -> float:
        """The newest value."""
        return self.samples[-1][1]


class Prometheus(AbstractContextManager["Prometheus"]):
    """One Prometheus server, which runs inside the context and is ready then.

    `config` is what stands in its configuration file; `scrape` are jobs to add, by their names, with the address of one
    target each; `rules` are files, which are read where they are. It scrapes and evaluates every `interval` seconds
    where a job or a group of rules says nothing else.
    """

    def __init__(
        self,
        binary: Path,
        *,
        config: Mapping[str, Any] | None = None,
        scrape: Mapping[str, str] | None = None,
        rules: Sequence[Path] = (),
        interval: float = 0.5,
    ) -> None:
        self._binary = binary
        self._temp = tempfile.TemporaryDirectory(prefix="prometheus-test-", ignore_cleanup_errors=True)
        self.folder = Path(self._temp.name)
        every = f"{round(interval * 1000)}ms"
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [address]}]} for job, address in (scrape or {}).items()
        ]
        given = dict(config or {})
        self._config = {
            **given,
            "global": {**given.get("global", {}), "scrape_interval": every, "scrape_timeout": every}
            | {"evaluation_interval": every},
            "scrape_configs": [*given.get("scrape_configs", ()), *jobs],
            "rule_files": [str(path.resolve()) for path in rules],
        }
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def address(self) -> str:
        """The URL of its page and its API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Its log."""
        return (self.folder / "log").read_text(errors="replace")

    # --- what it knows ---

    def query(self, expression: str, at: float | None = None) -> list[Series]:
        """An instant query, for now or for a time (seconds since the epoch). A scalar has no labels.

        Raises:
            QueryError: The expression is invalid or cannot be evaluated.
        """
        return _series(self._api("query", query=expression, **({} if at is None else {"time": at})))

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        """A range query; times in seconds since the epoch, `step` in seconds. Raises as `query` does."""
        return _series(self._api("query_range", query=expression, start=start, end=end, step=step))

    def value(self, expression: str) -> float | None:
        """Returns the value of the only series of an expression now; None if there is none."""
        series = self.query(expression)
        if len(series) > 1:
            raise AssertionError(f"{expression}: {len(series)} series")
        return series[0].value if series else None

    def series(self, selector: str) -> list[dict[str, str]]:
        """The labels of every series that a selector names, as Grafana asks for the values of a variable."""
        return list(self._api("series", **{"match[]": selector}))

    def targets(self) -> list[dict[str, Any]]:
        """The targets that it scrapes: `labels`, `health` (up, down, unknown), `lastError`, `scrapeUrl`..."""
        return list(self._api("targets", state="active")["activeTargets"])

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are pending or firing: `labels`, `annotations`, `state`..."""
        return list(self._api("alerts")["alerts"])

    def firing(self, name: str) -> list[dict[str, Any]]:
        """Returns the firing alerts with this name."""
        return [one for one in self.alerts() if one["state"] == "firing" and one["labels"]["alertname"] == name]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule that it evaluates: `name`, `query`, `health` (ok, err, unknown), `lastError`..."""
        return [rule for group in self._api("rules")["groups"] for rule in group["rules"]]

    def metadata(self) -> dict[str, dict[str, str]]:
        """`type`, `help` and `unit` of each metric family that was scraped."""
        return {name: said[0] for name, said in self._api("metadata").items()}

    def scrapes(self, job: str) -> float:
        """How often the targets of a job have been scraped; a test that wants a fresh look waits until it grew."""
        return self.value(f'sum(count_over_time(up{{job="{job}"}}[1h]))') or 0.0

    # --- life ---

    def _start(self) -> None:
        for attempt in range(3):
            self._spawn()
            with suppress(ChildProcessError):
                until(self._is_ready, READY_WITHIN, "Prometheus to be ready")
                return
            if attempt == 2:
                raise RuntimeError(f"Prometheus ended at its start:\n{self.log}")

    def _spawn(self) -> None:
        (self.port,) = free_ports(1)
        file = self.folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(self._config))
        command = [
            str(self._binary),
            f"--config.file={file}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | {"GOMAXPROCS": "1"}
            )

    def _is_ready(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise ChildProcessError(self.log)
        with suppress(OSError, http.client.HTTPException):
            return self._get("/-/ready")[0] == 200
        return False

    def _end(self) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()
        self._temp.cleanup()

    def _api(self, endpoint: str, **parameters: Any) -> Any:
        status, body = self._get(f"/api/v1/{endpoint}?{urlencode(parameters)}")
        answer = json.loads(body)
        if status != 200:
            raise QueryError(f"{parameters}: {answer.get('error')}")
        return answer["data"]

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def _series(data: Mapping[str, Any]) -> list[Series]:
    match data["resultType"]:
        case "matrix":
            return [Series(one["metric"], _samples(one["values"])) for one in data["result"]]
        case "vector":
            return [Series(one["metric"], _samples([one["value"]])) for one in data["result"]]
        case _:
            return [Series({}, _samples([data["result"]]))]


def _samples(pairs: Sequence[tuple[float, str]]) -> list[tuple[float, float]]:
    return [(when, float(text)) for when, text in pairs]
