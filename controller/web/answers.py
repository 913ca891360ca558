"""What all answers have in common: their security headers, and errors that both people and programs understand.

Errors below `/api/` are problem details (RFC 9457), the others a page.
"""

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controller.web.stream import gathered
from reconcilers.escaping import safe_json, safe_lines

PLAIN = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
PROBLEM = "application/problem+json"
NO_STORE = {"Cache-Control": "no-store"}
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""By which nothing is loaded, run or framed; a page that needs more says its own policy."""


class SecurityHeaders:
    """Puts `SECURITY` on every answer of `app`, where the answer does not say the like itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def answer(parts: Iterable[bytes], content_type: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that is sent in parts, as they are made."""
    return StreamingResponse(gathered(parts), headers={"Content-Type": content_type, **NO_STORE, **(headers or {})})


def plain(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(safe_lines(text), status, {"Content-Type": PLAIN, **NO_STORE, **(headers or {})})


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """An error as RFC 9457 has it; `more` are members of our own."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return Response(safe_json(json.dumps(body)), status, {**NO_STORE, **(headers or {})}, media_type=PROBLEM)
