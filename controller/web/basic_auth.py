"""Asks for a password where the web configuration names users, before anything else sees the request.

bcrypt is slow by design: it runs in a thread of its own, one at a time, and who was let in once waits for
nobody again. The line before it is short, because each in it holds one of the server's connections. Nothing of a
password is kept but a digest with a key that lives and dies with this process.
"""

import asyncio
import base64
import binascii
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from hashlib import blake2b

import bcrypt
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from controller.web.gate import is_from_here

REMEMBERED = 100
"""How many right pairs of user and password are remembered; wrong ones are not, so they cannot crowd those out."""
MAX_CREDENTIALS = 1_024
GUESSES = 16
"""Passwords from one address that may be looked at or wait for it."""
ALL_GUESSES = 2 * GUESSES
"""The same, from all of them: so one who only guesses does not keep those out who come from elsewhere."""
REFUSAL = {"WWW-Authenticate": 'Basic realm="podpulse", charset="UTF-8"', "Cache-Control": "no-store"}
BUSY = {"Retry-After": "5", "Cache-Control": "no-store"}


HEALTH = "/-/healthy"
ANONYMOUS = "podpulse.anonymous"
"""In the scope of a request that nobody gave a password for: it is told whether we are healthy, and nothing else."""


class _TooManyGuesses(Exception):
    """No more passwords are looked at for now."""


class BasicAuth:
    """An ASGI application in front of another. `users` maps names to bcrypt hashes; without any, all are let in."""

    def __init__(self, app: ASGIApp, users: Mapping[str, str]) -> None:
        self._app = app
        self._users: Mapping[str, bytes] = {}
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._key = secrets.token_bytes(32)
        self._turn = asyncio.Lock()
        self._guesses: Counter[str] = Counter()
        self.apply(users)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            welcome = scope["type"] != "http" or await self._is_welcome(*_who(scope))
            if not welcome and _asks_for_health(scope):
                scope, welcome = {**scope, ANONYMOUS: True}, True
        except _TooManyGuesses:
            await PlainTextResponse("too many passwords are being looked at\n", 503, BUSY)(scope, receive, send)
            return
        if welcome:
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse("who are you?\n", 401, REFUSAL)(scope, receive, send)

    def apply(self, users: Mapping[str, str]) -> None:
        """From now on these are the users; who was let in as another is asked again. Any thread may call it."""
        hashes = {name: text.encode() for name, text in users.items()}
        if hashes != self._users:
            self._users, self._right = hashes, OrderedDict()

    async def _is_welcome(self, header: str, address: str) -> bool:
        users, right = self._users, self._right
        if not users:
            return True
        if (credentials := _credentials(header)) is None:
            return False
        user, password = credentials
        pair = blake2b(user.encode() + b"\0" + password, key=self._key).digest()
        if pair not in right and not await self._in_turn(address, lambda: _matches(users, user, password)):
            return False
        right[pair] = None
        right.move_to_end(pair)
        if len(right) > REMEMBERED:
            right.popitem(last=False)
        return True

    async def _in_turn(self, address: str, look: Callable[[], bool]) -> bool:
        if self._guesses[address] >= GUESSES or self._guesses.total() >= ALL_GUESSES:
            raise _TooManyGuesses
        self._guesses[address] += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(look)
        finally:
            self._guesses -= Counter((address,))


def _asks_for_health(scope: Scope) -> bool:
    """Whether this machine asks, without a password, whether we are healthy: a supervisor has only the hashes.

    A page says that other methods are not allowed, and that page names the node.
    """
    is_read = scope["method"] in {"GET", "HEAD"} and scope["path"] == HEALTH
    return is_read and b"authorization" not in dict(scope["headers"]) and is_from_here(scope)


def _who(scope: Scope) -> tuple[str, str]:
    """What is said of who asks, and from which address."""
    client = scope.get("client")
    return Headers(scope=scope).get("authorization", ""), client[0] if client else ""


def _matches(users: Mapping[str, bytes], user: str, password: bytes) -> bool:
    """A user who does not exist takes as long as one who does."""
    hashed = users.get(user)
    try:
        matches = bcrypt.checkpw(password, hashed or next(iter(users.values())))
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
