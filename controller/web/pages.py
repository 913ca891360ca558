"""The HTML pages: all pods at `/`, one pod at `/pods/<node>/<pod>`, and problems of manifests at `/manifests`.

A member of a fleet also has `/fleet`, with the members and the nodes, and `/fleet/pods`, a search of pods on all nodes.

They work without a script; the script only refreshes them. They are read-only.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.web import time_text
from controller.web.assets import Assets
from controller.web.events import current
from controller.web.fleet import Fleet, FleetQuery, PodSearch, required
from controller.web.history_svg import drawing, phases
from controller.web.manifest_text import shown
from controller.web.pod_page import PodPage, listing
from controller.web.pod_views import PodSnapshot, PodState, PodViews
from controller.web.query import Paging, PodQuery
from controller.web.responses import HTML, answer
from reconcilers.checktext import describe
from reconcilers.escaping import safe_lines
from reconcilers.labels import texts
from reconcilers.p2.manifest import sha_or_empty
from reconcilers.spec import CheckSpec, Manifest, PodKey

REFRESH = 5
REFRESH_MANY = 15
MANY = 1_000
BUFFERED = 50
EXCERPT = 1_000
EXCERPT_PASSING = 120
SPARKLINE = 30
TIMELINE = 100
ALWAYS = (PodState.CRITICAL, PodState.UNKNOWN, PodState.PASSING)
"""States whose count is shown even if it is 0."""


class Pages:
    """Renders `views`, and `fleet` if there is one. `complaints` are the problems of the controller itself.

    `checked` says what is checked here, `urls_file` is the list of URLs if that is a file, and `in_doubt`
    says whether readers may not see the published health any more.
    """

    def __init__(
        self,
        views: PodViews,
        fleet: Fleet | None,
        assets: Assets,
        complaints: Callable[[], Sequence[str]],
        *,
        node: str,
        version: str,
        checked: str,
        urls_file: Path | None,
        in_doubt: Callable[[], bool],
    ) -> None:
        self._views = views
        self._fleet = fleet
        self._node = node
        self._complaints = complaints
        self._in_doubt = in_doubt
        self._headers = {"Content-Security-Policy": assets.policy}
        self._templates = _templates()
        self._templates.globals |= {
            "node": node,
            "has_fleet": fleet is not None,
            "version": version,
            "checked": checked,
            "urls_file": urls_file,
            "style": assets.style,
            "script": assets.script,
            "states": tuple(PodState),
            "always": ALWAYS,
        }

    def routes(self) -> list[Route]:
        return [
            Route("/", self._pods),
            Route("/pods/{node}/{pod}", self._pod),
            Route("/manifests", self._manifests),
            Route("/fleet", self._shares),
            Route("/fleet/pods", self._search),
        ]

    def missing(self, request: Request, what: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
        """Returns the page for an error: nothing is there, or the request failed."""
        root = "../" * (request.url.path.count("/") - 1)
        response = self._render("missing.html", self._mark(), status, root=root, what=what, refresh=0)
        response.headers.update(headers or {})
        return response

    async def _pods(self, request: Request) -> Response:
        mark, query = self._mark(), PodQuery.lenient(request.query_params)
        page = listing(self._views.pods(), query)
        return self._render(
            "pods.html",
            mark,
            root="",
            query=query,
            page=page,
            bar=_bar(page),
            invalid=len(self._views.invalid()),
            doubtful=len({each.key for each in self._views.doubtful()}),
            refresh=REFRESH if page.total <= MANY else REFRESH_MANY,
        )

    async def _pod(self, request: Request) -> Response:
        mark, key = self._mark(), PodKey(request.path_params["node"], request.path_params["pod"])
        snapshot = self._views.snapshot(key)
        if snapshot is None:
            return await self._elsewhere(mark, key)
        check = snapshot.view.check
        return self._render(
            "pod.html",
            mark,
            root="../../",
            snapshot=snapshot,
            history=check.history.last(TIMELINE) if check else [],
            warn_limits=_warn_limits(check.spec) if check else (),
            manifests=_manifest_versions(snapshot),
            in_doubt=self._in_doubt(),
            command=_command(key),
            alert=_alert(key),
            refresh=REFRESH,
        )

    async def _elsewhere(self, mark: str, key: PodKey) -> Response:
        """Returns the page of a pod that is not checked here. In a fleet it leads to the member that checks the pod."""
        found = await self._fleet.pod(key) if self._fleet else None
        if found and (found.record or found.member not in {"", self._node}):
            status = 200 if found.record else 404
            return self._render("elsewhere.html", mark, status, root="../../", found=found, refresh=REFRESH)
        what = f"No pod {key.pod} on {key.node} is known here"
        return self._render("missing.html", mark, 404, root="../../", what=what, refresh=REFRESH)

    async def _shares(self, request: Request) -> Response:
        mark, query = self._mark(), FleetQuery.lenient(request.query_params)
        page = await required(self._fleet, self._node).page(query)
        return self._render("fleet.html", mark, root="", query=query, page=page, refresh=REFRESH_MANY)

    async def _search(self, request: Request) -> Response:
        mark, query = self._mark(), PodSearch.lenient(request.query_params)
        page = await required(self._fleet, self._node).search(query)
        return self._render("fleet_pods.html", mark, root="../", query=query, page=page, refresh=REFRESH_MANY)

    async def _manifests(self, request: Request) -> Response:
        mark, invalid, doubtful = self._mark(), self._views.invalid(), self._views.doubtful()
        longer = max(len(invalid), len(doubtful))
        paging = Paging.lenient(request.query_params).within(longer)
        return self._render(
            "manifests.html",
            mark,
            root="",
            query=paging,
            pages=paging.pages(longer),
            longer=longer,
            total=len(invalid),
            doubts=len(doubtful),
            invalid=invalid[paging.entries],
            doubtful=doubtful[paging.entries],
            refresh=REFRESH,
        )

    def _mark(self) -> str:
        """Must be called before the stores are read: a change meanwhile is then fetched once more instead of missed."""
        return current(self._views, self._complaints())

    def _render(self, name: str, mark: str, status: int = 200, **values: Any) -> Response:
        complaints = dict.fromkeys(self._complaints())
        stream = self._templates.get_template(name).stream(
            now=self._views.clock(), complaints=complaints, mark=mark, **values
        )
        stream.enable_buffering(BUFFERED)
        response = answer((part.encode("utf-8", "replace") for part in stream), HTML, self._headers)
        response.status_code = status
        return response


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("controller.web"),
        autoescape=True,
        finalize=_shown_safely,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "span": time_text.span,
        "age": time_text.age,
        "urgency": time_text.urgency,
        "moment": time_text.moment,
        "iso": time_text.iso,
        "excerpt": lambda view: view.output[: EXCERPT_PASSING if view.state is PodState.PASSING else EXCERPT],
        "sparkline": lambda check: drawing(check.history.last(SPARKLINE), SPARKLINE),
        "timeline": lambda history: drawing(history, max(len(history), TIMELINE // 3)),
        "seconds": lambda seconds: f"{seconds:g} s",
        "phases": phases,
        "labels": texts,
        "selected": PodQuery().narrowed_to,
    }
    return environment


def _shown_safely(value: object) -> object:
    """Escapes characters that reorder or hide other text, except in our own markup."""
    return safe_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _bar(page: PodPage) -> list[tuple[PodState, float, float]]:
    """Returns the start and the width of each state's part of the bar, in percent of all pods."""
    parts, start = [], 0.0
    for state, count in page.totals.items():
        width = 100 * count / (page.total or 1)
        if count:
            parts.append((state, start, width))
        start += width
    return parts


def _warn_limits(spec: CheckSpec) -> list[tuple[str, str]]:
    """Returns what makes the pod `warning`, each as the term and the text of a list."""
    texts = describe(spec)
    limits = [("for status", "warn_status"), ("above", "warn_above"), ("before the certificate's end", "warn_expiry")]
    return [(term, texts[name]) for term, name in limits if name in texts]


def _command(key: PodKey) -> str:
    """Returns the command that probes the pod once."""
    pod = ("--", key.pod) if key.pod.startswith("-") else (key.pod,)
    return shlex.join(("podpulse", "probe", "--node", key.node, *pod))


def _alert(key: PodKey) -> str:
    """Returns an expression for Prometheus that is true while the pod is critical."""
    node, pod = (text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for text in (key.node, key.pod))
    return f'podpulse_health{{node="{node}",pod="{pod}",state="critical"}} == 1'


def _manifest_versions(snapshot: PodSnapshot) -> list[dict[str, str]]:
    """Returns the newest manifest, and the manifest in force if it is an older one."""
    intent = snapshot.view.intent
    if intent is None:
        return []
    if intent.error and intent.manifest:
        return [
            _manifest("Manifest in force", intent.good, intent.manifest),
            _manifest("Newest version, invalid", intent.data, None),
        ]
    return [_manifest("Manifest", intent.data, intent.manifest)]


def _manifest(title: str, data: bytes, valid: Manifest | None) -> dict[str, str]:
    return {"title": title, "sha": sha_or_empty(data), "text": shown(data, valid)}
