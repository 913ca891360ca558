"""The badge of a pod: an SVG image with the share of the time in which it was up, for other pages.

A member of a fleet also answers for the pods of other members, from their published records.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal

from markupsafe import escape
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.web.fleet import Fleet
from controller.web.pod_views import PodViews
from controller.web.query import Query
from controller.web.responses import API, problem
from reconcilers.escaping import safe_words
from reconcilers.spec import PodKey
from reconcilers.uptime import Share

SVG = "image/svg+xml"
CACHED = {"Cache-Control": "max-age=60"}
HEIGHT = 20
LETTER = 6.5
PADDING = 10
LABEL_COLOUR = "#444"
UNKNOWN_COLOUR = "#616161"
COLOURS = ((0.999, "#2e7d32"), (0.99, "#55761c"), (0.95, "#a15c00"), (0.0, "#c62828"))
"""From which share on a badge has which colour. White text is readable on each."""


class BadgeQuery(Query):
    """What a badge shows."""

    window: Literal["1h", "24h", "7d", "30d"] = Field("24h", description="Until now.")


class Badges:
    """Answers requests for badges from `views`, and from `fleet` for pods that other members check."""

    def __init__(self, views: PodViews, fleet: Fleet | None) -> None:
        self._views = views
        self._fleet = fleet

    def routes(self) -> list[Route]:
        return [Route(f"{API}/badges/{{node}}/{{pod}}.svg", self._badge)]

    async def _badge(self, request: Request) -> Response:
        query = BadgeQuery.parse(request.query_params)
        key = PodKey(request.path_params["node"], request.path_params["pod"])
        shares = await self._shares(key)
        if shares is None:
            return problem(404, f"no pod {key} is known here")
        return _image(request, badge(key, query.window, shares))

    async def _shares(self, key: PodKey) -> Sequence[Share] | None:
        """Returns what is known of a pod; None if there is no such pod."""
        if self._views.is_known(key):
            return self._views.uptime(key)
        found = await self._fleet.pod(key) if self._fleet else None
        return found.record.shares(self._views.clock()) if found and found.record else None


def badge(key: PodKey, window: str, shares: Sequence[Share]) -> str:
    """Returns the image as SVG."""
    share = next((each for each in shares if each.window == window), Share(window, 0, 0, 0))
    label, value = f"uptime {window}", share.text
    left, right = _width(label), _width(value)
    title = escape(safe_words(f"{key.pod} on {key.node}: {value} of the last {share.words} passing or warning"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{HEIGHT}" role="img" '
        f'aria-label="{title}"><title>{title}</title>'
        f'<rect width="{left}" height="{HEIGHT}" fill="{LABEL_COLOUR}"/>'
        f'<rect x="{left}" width="{right}" height="{HEIGHT}" fill="{_colour(share.ratio)}"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        f"{_text(label, left / 2, left)}{_text(value, left + right / 2, right)}</g></svg>\n"
    )


def _text(words: str, middle: float, width: int) -> str:
    """Returns text that is as wide as its part of the badge, whichever font is there."""
    return f'<text x="{middle:g}" y="14" textLength="{width - PADDING}" lengthAdjust="spacingAndGlyphs">{words}</text>'


def _width(words: str) -> int:
    return round(len(words) * LETTER) + PADDING


def _colour(ratio: float | None) -> str:
    if ratio is None:
        return UNKNOWN_COLOUR
    return next(colour for least, colour in COLOURS if ratio >= least)


def _image(request: Request, content: str) -> Response:
    tag = f'"{blake2b(content.encode(), digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, **CACHED}
    known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=SVG)
