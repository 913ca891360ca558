"""Parts of all responses: security headers, plain text, and errors as problem details (RFC 9457)."""

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.datastructures import MutableHeaders
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controller.web.chunks import in_chunks
from reconcilers.escaping import safe_json, safe_lines

PLAIN = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
PROBLEM = "application/problem+json"
JSON = "application/json"
API = "/api/v1"
"""The path that all paths of the API begin with."""
NO_STORE = {"Cache-Control": "no-store"}
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""These forbid to load, run or frame anything. A page that needs more sets its own policy."""


class SecurityHeaders:
    """Adds each header of `SECURITY` to every response of `app` that does not set it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def answer(parts: Iterable[bytes], content_type: str, headers: Mapping[str, str] | None = None) -> Response:
    """Returns a response that is sent in parts while they are made."""
    return StreamingResponse(in_chunks(parts), headers={"Content-Type": content_type, **NO_STORE, **(headers or {})})


def plain(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(safe_lines(text), status, {"Content-Type": PLAIN, **NO_STORE, **(headers or {})})


def json_answer(body: BaseModel) -> Response:
    return Response(safe_json(body.model_dump_json(by_alias=True)), headers=NO_STORE, media_type=JSON)


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """Returns an error as RFC 9457 defines it; `more` are extension members."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return Response(safe_json(json.dumps(body)), status, {**NO_STORE, **(headers or {})}, media_type=PROBLEM)
