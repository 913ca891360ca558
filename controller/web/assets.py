"""The page's style, which is part of the page, and its script, which is a separate file.

The script's name has a digest of its text, so that a browser caches it until an upgrade.
"""

import base64
import hashlib
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOR_EVER = "public, max-age=31536000, immutable"


class Assets:
    """The style and the script of this package."""

    def __init__(self) -> None:
        folder = files("controller.web") / "templates"
        self.style = (folder / "page.css").read_text("utf-8")
        self._script = (folder / "page.js").read_bytes()
        self._tag = hashlib.sha256(self._script).hexdigest()[:16]
        self.script = f"assets/page.{self._tag}.js"
        """The script's path relative to the root."""
        self.policy = _policy(self.style)

    def route(self) -> Route:
        return Route(f"/{self.script}", self._send)

    async def _send(self, request: Request) -> Response:
        headers = {"Cache-Control": FOR_EVER, "ETag": f'"{self._tag}"'}
        if headers["ETag"] in request.headers.get("If-None-Match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self._script, headers=headers, media_type="text/javascript")


def _policy(style: str) -> str:
    """Returns a Content-Security-Policy that allows only our script, requests to this server, and `style`."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; script-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
