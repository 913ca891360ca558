"""Asks for a password where the web configuration names users, before anything else sees the request.

bcrypt is slow by design: it runs in a thread of its own, one at a time, and who was let in once is not asked to wait
again. Nothing of a password is kept but a digest with a key that lives and dies with this process.
"""

import asyncio
import base64
import binascii
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b

import bcrypt
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

REMEMBERED = 100
"""How many pairs of user and password are remembered, right ones and wrong ones."""
MAX_CREDENTIALS = 1_024
REFUSAL = {"WWW-Authenticate": 'Basic realm="podpulse", charset="UTF-8"', "Cache-Control": "no-store"}


class Doorman:
    """An ASGI application in front of another. `users` maps names to bcrypt hashes."""

    def __init__(self, app: ASGIApp, users: Mapping[str, str]) -> None:
        self._app = app
        self._users = {name: text.encode() for name, text in users.items()}
        self._anyone = next(iter(self._users.values()), b"")
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, bool] = OrderedDict()
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or await self._is_welcome(Headers(scope=scope).get("authorization", "")):
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse("who are you?\n", 401, REFUSAL)(scope, receive, send)

    async def _is_welcome(self, header: str) -> bool:
        if (credentials := _credentials(header)) is None:
            return False
        user, password = credentials
        pair = blake2b(user.encode() + b"\0" + password, key=self._key).digest()
        async with self._turn:
            if pair not in self._known:
                self._remember(pair, await asyncio.to_thread(self._check, user, password))
            self._known.move_to_end(pair)
            return self._known[pair]

    def _remember(self, pair: bytes, right: bool) -> None:
        self._known[pair] = right
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _check(self, user: str, password: bytes) -> bool:
        """A user who does not exist takes as long as one who does."""
        hashed = self._users.get(user)
        try:
            matches = bcrypt.checkpw(password, hashed or self._anyone)
        except ValueError:  # longer than bcrypt reads
            return False
        return matches and hashed is not None


def _credentials(header: str) -> tuple[str, bytes] | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic" or len(encoded) > MAX_CREDENTIALS:
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (user.decode(), password) if colon else None
    except (binascii.Error, UnicodeDecodeError):
        return None
