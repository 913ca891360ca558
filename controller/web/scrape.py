"""The answer to a scrape over HTTP: in the format and the coding that the scraper asked for, made while it is sent."""

from collections.abc import Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from controller.web.exposition import Format
from controller.web.negotiation import prefers_gzip, ranges, welcome
from controller.web.stream import gathered, gzipped

Render = Callable[[Format], Iterable[bytes]]
"""Makes the text of all metrics in a format, in parts."""

TEXT = ("text/plain", "0.0.4")
OPENMETRICS = ("application/openmetrics-text", "1.0.0")


def scraped(request: Request, render: Render) -> Response:
    """All metrics. The text format goes to whoever does not clearly prefer OpenMetrics: people, and older scrapers."""
    form = _format(_header(request, "accept"))
    headers = {
        "Content-Type": form.value,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Vary": "Accept, Accept-Encoding",
    }
    parts = render(form)
    if prefers_gzip(ranges(_header(request, "accept-encoding"))):
        headers["Content-Encoding"] = "gzip"
        parts = gzipped(parts)
    return StreamingResponse(gathered(parts), headers=headers)


def _header(request: Request, name: str) -> str:
    """A header may come in several lines."""
    return ",".join(request.headers.getlist(name))


def _format(accept: str) -> Format:
    accepted = ranges(accept)
    return Format.OPENMETRICS if welcome(*OPENMETRICS, accepted) > welcome(*TEXT, accepted) else Format.TEXT
