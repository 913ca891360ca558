"""The routes of the API. Errors are problem details that name the parameter."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from controller.web.api.detail import PodDetail
from controller.web.api.models import (
    ManifestError,
    ManifestErrorList,
    ManifestWarning,
    ManifestWarningList,
    PodList,
    Status,
    Totals,
)
from controller.web.api.openapi import description
from controller.web.pod_page import listing, pages, within
from controller.web.pod_views import PodViews
from controller.web.query import Paging, PodQuery, QueryError
from controller.web.responses import NO_STORE, answer, problem
from controller.web.time_text import instant
from reconcilers.checktext import describe
from reconcilers.escaping import safe_json, safe_utf8
from reconcilers.spec import CheckSpec, PodKey

E = TypeVar("E")

ROOT = "/api/v1"
JSON = "application/json"
PART = 50
"""Checks that are rendered at a time."""

Complaints = Callable[[], Sequence[str]]
"""Returns one sentence per problem."""


class Api:
    """Answers requests from `views`."""

    def __init__(self, views: PodViews, *, healthy: Complaints, ready: Complaints, node: str, version: str) -> None:
        self._views = views
        self._healthy = healthy
        self._ready = ready
        self._node = node
        self._version = version
        self._description = description(version)

    def routes(self) -> list[Route]:
        return [
            Route(f"{ROOT}/pods", self._pods),
            Route(f"{ROOT}/pods/{{node}}/{{pod}}", self._pod),
            Route(f"{ROOT}/checks", self._checks),
            Route(f"{ROOT}/manifest-errors", self._manifest_errors),
            Route(f"{ROOT}/manifest-warnings", self._manifest_warnings),
            Route(f"{ROOT}/status", self._status),
            Route(f"{ROOT}/openapi.json", self._openapi),
        ]

    async def _pods(self, request: Request) -> Response:
        try:
            query = PodQuery.parse(request.query_params)
        except QueryError as error:
            return _bad_query(error)
        return _json(PodList.of(listing(self._views.pods(), query)))

    async def _pod(self, request: Request) -> Response:
        key = PodKey(request.path_params["node"], request.path_params["pod"])
        snapshot = self._views.snapshot(key)
        return _json(PodDetail.of_snapshot(snapshot)) if snapshot else problem(404, f"no pod {key} is known here")

    async def _checks(self, _: Request) -> Response:
        return answer(_check_list(self._node, self._views.checks()), JSON)

    async def _manifest_errors(self, request: Request) -> Response:
        return _page(
            request,
            self._views.invalid(),
            lambda entries, place: ManifestErrorList(errors=[ManifestError.of(each) for each in entries], **place),
        )

    async def _manifest_warnings(self, request: Request) -> Response:
        return _page(
            request,
            self._views.doubtful(),
            lambda entries, place: ManifestWarningList(
                warnings=[ManifestWarning.of(each) for each in entries], **place
            ),
        )

    async def _status(self, _: Request) -> Response:
        healthy, ready = self._healthy(), self._ready()
        return _json(
            Status(
                node=self._node,
                version=self._version,
                time=instant(self._views.clock()),
                healthy=not healthy,
                ready=not ready,
                complaints=[safe_utf8(each) for each in dict.fromkeys((*healthy, *ready))],
                cut_off=self._views.cut_off(),
                totals=Totals.of(self._views.totals()),
                manifest_errors=len(self._views.invalid()),
                manifest_warnings=len(self._views.doubtful()),
            )
        )

    async def _openapi(self, _: Request) -> Response:
        return JSONResponse(self._description, headers=NO_STORE)


def _page(
    request: Request, found: Sequence[E], answered: Callable[[Sequence[E], Mapping[str, int]], BaseModel]
) -> Response:
    """The page of `found` that is asked for; `answered` gets its entries and the fields of `models.Page`."""
    try:
        query = Paging.parse(request.query_params)
    except QueryError as error:
        return _bad_query(error)
    paging = within(query, len(found))
    start = (paging.page - 1) * paging.per_page
    place = {
        "matching": len(found),
        "page": paging.page,
        "pages": pages(len(found), paging.per_page),
        "per_page": paging.per_page,
    }
    return _json(answered(found[start : start + paging.per_page], place))


def _check_list(node: str, checks: Sequence[CheckSpec]) -> Iterator[bytes]:
    """Returns a `CheckList` in parts, so that a slow client holds no more than one part in memory."""
    specs = list({spec.key.pod: spec for spec in checks}.items())
    yield f'{{"node":{json.dumps(node)},"checks":{{'.encode()
    for start in range(0, len(specs), PART):
        pods = (f"{json.dumps(pod)}:{json.dumps(describe(spec))}" for pod, spec in specs[start : start + PART])
        yield f"{',' if start else ''}{safe_json(','.join(pods))}".encode()
    yield b"}}"


def _json(body: BaseModel) -> Response:
    return Response(safe_json(body.model_dump_json()), headers=NO_STORE, media_type=JSON)


def _bad_query(error: QueryError) -> Response:
    errors = [{"parameter": each.parameter, "detail": each.detail} for each in error.problems]
    return problem(400, str(error), errors=errors)
