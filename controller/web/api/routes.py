"""The routes of the API. Errors are problem details that name the parameter."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from controller.web.api.detail import PodDetail
from controller.web.api.models import ManifestErrorList, ManifestWarningList, PodList, ProbeOptions, Status
from controller.web.api.openapi import description
from controller.web.fleet import Fleet
from controller.web.pod_page import listing
from controller.web.pod_views import PodViews
from controller.web.query import Paging, PodQuery, QueryError
from controller.web.responses import API, JSON, NO_STORE, answer, json_answer, problem
from reconcilers.checktext import describe
from reconcilers.escaping import safe_json
from reconcilers.spec import CheckSpec, Labels, PodKey

PART = 50
"""Checks that are rendered at a time."""

Complaints = Callable[[], Sequence[str]]
"""Returns one sentence per problem."""


class Api:
    """Answers requests from `views`, and from `fleet` about pods that other members of the fleet check. `options` are
    those of the configuration that matter to a probe. `in_doubt` is whether readers may not see what is published."""

    def __init__(
        self,
        views: PodViews,
        fleet: Fleet | None,
        *,
        healthy: Complaints,
        ready: Complaints,
        node: str,
        version: str,
        options: Callable[[], Mapping[str, str]],
        in_doubt: Callable[[], bool],
    ) -> None:
        self._views = views
        self._fleet = fleet
        self._healthy = healthy
        self._ready = ready
        self._node = node
        self._version = version
        self._options = options
        self._in_doubt = in_doubt
        self._description = description(version)

    def routes(self) -> list[Route]:
        return [
            Route(f"{API}/pods", self._pods),
            Route(f"{API}/pods/{{node}}/{{pod}}", self._pod),
            Route(f"{API}/checks", self._checks),
            Route(f"{API}/manifest-errors", self._manifest_errors),
            Route(f"{API}/manifest-warnings", self._manifest_warnings),
            Route(f"{API}/status", self._status),
            Route(f"{API}/probe-options", self._probe_options),
            Route(f"{API}/openapi.json", self._openapi),
        ]

    async def _pods(self, request: Request) -> Response:
        return json_answer(PodList.model_validate(listing(self._views.pods(), PodQuery.parse(request.query_params))))

    async def _pod(self, request: Request) -> Response:
        key = PodKey(request.path_params["node"], request.path_params["pod"])
        snapshot = self._views.snapshot(key)
        if snapshot is None:
            return await self._elsewhere(key)
        return json_answer(PodDetail.of_snapshot(snapshot, in_doubt=self._in_doubt()))

    async def _elsewhere(self, key: PodKey) -> Response:
        """Returns the answer about a pod that is not checked here. It names the member that checks the pod."""
        found = await self._fleet.pod(key) if self._fleet else None
        if found and found.member not in {"", self._node}:
            what = f"pod {key} is not checked here; member {found.member} checks its node"
            return problem(404, what, member=found.member, page=found.pod_page)
        return problem(404, f"no pod {key} is known here")

    async def _checks(self, _: Request) -> Response:
        return answer(_check_list(self._node, self._views.checks()), JSON)

    async def _manifest_errors(self, request: Request) -> Response:
        return _page(request, ManifestErrorList, "errors", self._views.invalid())

    async def _manifest_warnings(self, request: Request) -> Response:
        return _page(request, ManifestWarningList, "warnings", self._views.doubtful())

    async def _status(self, _: Request) -> Response:
        healthy, ready = self._healthy(), self._ready()
        fields = {
            "node": self._node,
            "version": self._version,
            "time": self._views.clock(),
            "healthy": not healthy,
            "ready": not ready,
            "complaints": list(dict.fromkeys((*healthy, *ready))),
            "cut_off": self._views.cut_off(),
            "totals": self._views.totals(),
            "manifest_errors": len(self._views.invalid()),
            "manifest_warnings": len(self._views.doubtful()),
        }
        return json_answer(Status.model_validate(fields))

    async def _probe_options(self, _: Request) -> Response:
        return json_answer(ProbeOptions(options=dict(self._options())))

    async def _openapi(self, _: Request) -> Response:
        return JSONResponse(self._description, headers=NO_STORE)


def _page(request: Request, model: type[BaseModel], field: str, found: Sequence[object]) -> Response:
    """Returns the page of `found` that the request names, in `field` of a `model`."""
    query = Paging.parse(request.query_params).within(len(found))
    place = {"matching": len(found), "pages": query.pages(len(found)), "page": query.page, "per_page": query.per_page}
    return json_answer(model.model_validate({field: found[query.entries], **place}))


def _check_list(node: str, checks: Sequence[tuple[CheckSpec, Labels]]) -> Iterator[bytes]:
    """Returns a `CheckList` in parts, so that a slow client holds no more than one part in memory."""
    specs = list({spec.key.pod: (spec, labels) for spec, labels in checks}.items())
    yield f'{{"node":{json.dumps(node)},"checks":{{'.encode()
    for start in range(0, len(specs), PART):
        pods = (f"{json.dumps(pod)}:{json.dumps(describe(*check))}" for pod, check in specs[start : start + PART])
        yield f"{',' if start else ''}{safe_json(','.join(pods))}".encode()
    yield b"}}"


async def bad_query(_: Request, error: QueryError) -> Response:
    """Returns the answer to a query with invalid parameters."""
    errors = [{"parameter": name, "detail": detail} for name, detail in error.problems.items()]
    return problem(400, str(error), errors=errors)
