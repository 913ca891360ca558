"""The response to a scrape, in the format and the coding that the scraper accepts, made while it is sent."""

from collections.abc import Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from controller.web.chunks import gzipped, in_chunks
from controller.web.exposition import Format
from controller.web.negotiation import prefers_gzip, quality_of, ranges

Render = Callable[[Format], Iterable[bytes]]
"""Returns the text of all metrics in a format, in parts."""

TEXT = ("text/plain", "0.0.4")
OPENMETRICS = ("application/openmetrics-text", "1.0.0")


def scraped(request: Request, render: Render) -> Response:
    """Returns all metrics, in the text format unless the client prefers OpenMetrics."""
    accepted = ranges(_header(request, "accept"))
    prefers_openmetrics = quality_of(*OPENMETRICS, accepted) > quality_of(*TEXT, accepted)
    form = Format.OPENMETRICS if prefers_openmetrics else Format.TEXT
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
    return StreamingResponse(in_chunks(parts), headers=headers)


def _header(request: Request, name: str) -> str:
    """Returns a header, which may have several lines."""
    return ",".join(request.headers.getlist(name))
