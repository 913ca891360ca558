"""The HTTP answers: `/metrics`, `/-/healthy`, `/-/ready` and the page at `/`.

Nothing can be changed from here, but for `/-/reload` where that is enabled: it reads the controller's own configuration
again, as SIGHUP does. The other handlers run in the server's one thread, one after another, so that however many ask,
at most one answer is being made while probes are due.
"""

import base64
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import jinja2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from controller.config import ConfigError
from controller.store import HealthStore, ManifestStore
from controller.web.overview import Overview, overview
from controller.web.scrape import Render, scraped
from controller.web.stream import gathered
from reconcilers.health import HealthState

Complaints = Callable[[], Sequence[str]]
"""One sentence for each thing that is wrong; empty when nothing is."""

PLAIN = "text/plain; charset=utf-8"
REFRESH = 5
REFRESH_MANY = 30
MANY = 1_000
BUFFERED = 100


class Web:
    """Answers requests from what it is given. `render` makes the answer to a scrape, `clock` tells the wall time.

    `notices` are for the page only. `reload` says what came of it, or raises `ConfigError`; None refuses it.
    """

    def __init__(
        self,
        healths: HealthStore,
        manifests: ManifestStore,
        *,
        render: Render,
        healthy: Complaints,
        ready: Complaints,
        notices: Complaints,
        reload: Callable[[], str] | None,
        node: str,
        version: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._healths = healths
        self._manifests = manifests
        self._render = render
        self._healthy = healthy
        self._ready = ready
        self._notices = notices
        self._reload = reload
        self._clock = clock
        files = jinja2.PackageLoader("controller.web")
        templates = _templates(files)
        style, _, _ = files.get_source(templates, "status.css")
        templates.globals |= {"node": node, "version": version, "style": style}
        self._page = templates.get_template("status.html")
        self._page_headers = {"Content-Security-Policy": _policy(style), "Referrer-Policy": "no-referrer"}
        self.app = Starlette(
            routes=[
                Route("/", self._status),
                Route("/metrics", self._metrics),
                Route("/-/healthy", self._is_healthy),
                Route("/-/ready", self._is_ready),
                Route("/-/reload", self._reloads, methods=["POST", "PUT"]),
            ]
        )

    async def _metrics(self, request: Request) -> Response:
        return scraped(request, self._render)

    async def _is_healthy(self, _: Request) -> Response:
        return _verdict(self._healthy())

    async def _is_ready(self, _: Request) -> Response:
        return _verdict(self._ready())

    def _reloads(self, _: Request) -> Response:
        """In a thread of its own: reading thousands of manifests by other defaults takes a while."""
        if self._reload is None:
            return _plain("not enabled: set enable_lifecycle", 403)
        try:
            return _plain(self._reload(), 200)
        except ConfigError as error:
            return _plain(f"the configuration before stays in force: {error}", 500)

    async def _status(self, request: Request) -> Response:
        only = _state(request.query_params.get("state"))
        seen = overview(self._healths.all(), self._manifests.intents(), only)
        return _answer(self._html(seen, only), "text/html; charset=utf-8", headers=self._page_headers)

    def _html(self, seen: Overview, only: HealthState | None) -> Iterator[bytes]:
        """The page, in parts."""
        stream = self._page.stream(
            seen=seen,
            only=only,
            now=self._clock(),
            refresh=REFRESH if len(seen.rows) <= MANY else REFRESH_MANY,
            complaints=dict.fromkeys((*self._healthy(), *self._ready(), *self._notices())),
        )
        stream.enable_buffering(BUFFERED)
        return (part.encode("utf-8", "replace") for part in stream)


def _answer(parts: Iterable[bytes], content_type: str, headers: Mapping[str, str] | None = None) -> Response:
    return StreamingResponse(gathered(parts), headers=_headers(content_type) | dict(headers or {}))


def _headers(content_type: str) -> dict[str, str]:
    return {"Content-Type": content_type, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def _verdict(complaints: Sequence[str]) -> Response:
    return _plain("\n".join(complaints) or "ok", 503 if complaints else 200)


def _plain(text: str, status: int) -> Response:
    return Response(f"{text}\n".encode("utf-8", "replace"), status, _headers(PLAIN))


def _state(text: str | None) -> HealthState | None:
    """The state of a query; None, which means all, for one that is none."""
    return next((state for state in HealthState if state == text), None)


def _policy(style: str) -> str:
    """A Content-Security-Policy by which the page loads nothing, runs nothing and is styled by `style` alone."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _templates(files: jinja2.BaseLoader) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=files,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"span": span, "age": age, "moment": moment}
    return environment


def span(seconds: float) -> str:
    """How long a probe took, for a person: `4 ms`, `12 s`."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else age(seconds)


def age(seconds: float) -> str:
    """How long ago something was, in one whole unit: `12 s`, `3 min`, `5 h`, `2 d`; `0 s` for what is yet to come."""
    seconds = max(0.0, seconds)
    for limit, size, unit in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds // 86_400:.0f} d"


def moment(seconds: float) -> str:
    """A time (seconds since the epoch) in UTC, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
