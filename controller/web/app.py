"""The routes of the web server: the pages, the API, its events, `/metrics`, `/-/healthy` and `/-/ready`.

All of them are read-only, except `/-/reload` if it is enabled, which reads the configuration again, as SIGHUP does. The
other handlers run in the server's one thread, one after another. So at most one response is made at a time while probes
are due, however many clients there are.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controller.config import ConfigError
from controller.members.fleet_reader import FleetReader
from controller.runtime.faults import Faults
from controller.web.api.badges import Badges
from controller.web.api.fleet import FleetApi
from controller.web.api.routes import Api, Complaints, bad_query
from controller.web.assets import Assets
from controller.web.basic_auth import ANONYMOUS
from controller.web.connection import CONNECTION
from controller.web.events import Events
from controller.web.exposition import Exposition
from controller.web.fleet import Fleet, FleetError
from controller.web.pages import Pages
from controller.web.pod_views import PodViews
from controller.web.query import QueryError
from controller.web.responses import SecurityHeaders, plain, problem

RELOADS = 1
"""Reloads that may wait for the current one."""
MAX_BODY = 4_096
RETRY_AFTER = {"Retry-After": "1"}


class Containment:
    """Contains unforeseen exceptions of an ASGI application. `faults` count them, and log them once for each route.

    The client gets the status 500, or no more of an answer that has begun.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute], faults: Faults) -> None:
        self._app = app
        self._routes = routes
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_on(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        with self._faults.contain(f"requests of {self._path(scope)}"):
            await self._app(scope, receive, send_on)
            return
        if has_begun:
            scope["state"][CONNECTION].transport.abort()
            while (await receive())["type"] != "http.disconnect":
                pass
        else:
            await _internal_error(Request(scope))(scope, receive, send)

    def _path(self, scope: Scope) -> str:
        """Returns the path as the matching route has it, so that there are not more paths than routes."""
        matching = (route for route in self._routes if route.matches(scope)[0] is Match.FULL)
        return getattr(next(matching, None), "path", "other paths")


class Web:
    """The web application. `exposition` answers scrapes.

    `notices` are shown on the pages and by `/-/ready`, but do not affect readiness. `reload` returns a sentence about
    the result or raises `ConfigError`; None disables it. `fleet` reads the fleet of this controller. `checked` says
    what is checked here, `urls_file` is the list of URLs if that is a file, and `in_doubt` says whether readers may not
    see the published health any more. `options` are those of the configuration that matter to a probe.
    """

    def __init__(
        self,
        views: PodViews,
        *,
        exposition: Exposition,
        healthy: Complaints,
        ready: Complaints,
        notices: Complaints,
        reload: Callable[[], str] | None,
        node: str,
        version: str,
        faults: Faults,
        fleet: FleetReader | None = None,
        checked: str = "",
        urls_file: Path | None = None,
        in_doubt: Callable[[], bool] = lambda: False,
        options: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        def complaints() -> Sequence[str]:
            return (*healthy(), *ready(), *notices())

        faults.expect("web")
        shown = Fleet(fleet) if fleet else None
        self._exposition = exposition
        self._healthy = healthy
        self._ready = ready
        self._notices = notices
        assets = Assets()
        self._reload = reload
        self._reloading = asyncio.Lock()
        self._reloads_wanted = 0
        self._pages = Pages(
            views,
            shown,
            assets,
            complaints,
            node=node,
            version=version,
            checked=checked or node,
            urls_file=urls_file,
            in_doubt=in_doubt,
        )
        api = Api(
            views,
            shown,
            healthy=healthy,
            ready=ready,
            node=node,
            version=version,
            options=options,
            in_doubt=in_doubt,
        )
        self._events = Events(views, complaints)
        routes = [
            *self._pages.routes(),
            *api.routes(),
            *Badges(views, shown).routes(),
            *FleetApi(shown, node).routes(),
            self._events.route(),
            assets.route(),
            Route("/metrics", self._metrics),
            Route("/-/healthy", self._is_healthy),
            Route("/-/ready", self._is_ready),
            Route("/-/reload", self._reloads, methods=["POST", "PUT"]),
        ]
        handlers: dict[Any, Any] = {HTTPException: self._refuse, QueryError: bad_query, FleetError: self._no_fleet}
        contained = [Middleware(Containment, routes, faults)]
        self.app: ASGIApp = SecurityHeaders(Starlette(routes=routes, middleware=contained, exception_handlers=handlers))

    def close(self) -> None:
        """Ends the event streams, which would not end by themselves. For any thread."""
        self._events.close()

    async def _metrics(self, request: Request) -> Response:
        return self._exposition.scraped(request)

    async def _is_healthy(self, request: Request) -> Response:
        complaints = self._healthy()
        if complaints and request.scope.get(ANONYMOUS):
            complaints = ("unhealthy",)
        return _status(complaints)

    async def _is_ready(self, _: Request) -> Response:
        return _status(self._ready(), self._notices())

    async def _reloads(self, request: Request) -> Response:
        """Runs in a separate thread, one at a time: to read thousands of manifests again takes a while."""
        if self._reload is None:
            return plain("not enabled: set enable_lifecycle\n", 403)
        if "origin" in request.headers:
            return plain("a browser sent this request: no page of this server reloads, so another site sent it\n", 403)
        if refusal := await _refused_body(request):
            return refusal
        if self._reloads_wanted > RELOADS:
            return plain("other reloads are in progress; try again later\n", 503, RETRY_AFTER)
        self._reloads_wanted += 1
        try:
            async with self._reloading:
                return plain(f"{await asyncio.to_thread(self._reload)}\n", 200)
        except ConfigError as error:
            return plain(f"the previous configuration stays in force: {error}\n", 500)
        finally:
            self._reloads_wanted -= 1

    async def _refuse(self, request: Request, error: HTTPException) -> Response:
        """Returns the response to an unknown path or a wrong method."""
        return _api_error(request, error) or self._pages.missing(
            request, error.detail, error.status_code, error.headers
        )

    async def _no_fleet(self, request: Request, error: FleetError) -> Response:
        """Returns the response to a request for which Consul could not be read."""
        return await self._refuse(request, HTTPException(503, f"The fleet cannot be shown: {error}", RETRY_AFTER))


def _api_error(request: Request, error: HTTPException) -> Response | None:
    """Returns the response of the API to an error; None for other paths."""
    if not request.url.path.startswith("/api/"):
        return None
    return problem(error.status_code, f"{request.method} {request.url.path}: {error.detail}", error.headers)


def _internal_error(request: Request) -> Response:
    """Returns the response to a fault. It reads no store, which may be the cause of the fault."""
    error = HTTPException(500)
    return _api_error(request, error) or plain(f"{error.detail}; the log of the controller has more\n", 500)


async def _refused_body(request: Request) -> Response | None:
    """Reads and ignores the body of a reload. Returns the refusal of a body that is too long or ends too early."""
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > MAX_BODY:
                return plain(f"expected no body, or one of at most {MAX_BODY} bytes\n", 413, {"Connection": "close"})
    except ClientDisconnect:
        return plain("the body is incomplete\n", 400)
    return None


def _status(complaints: Sequence[str], notices: Sequence[str] = ()) -> Response:
    return plain("\n".join(complaints or ("ok", *notices)) + "\n", 503 if complaints else 200)
