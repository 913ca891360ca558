"""HTTP basic authentication, if the web configuration names users.

bcrypt is slow by design. It runs in a separate thread, for one password at a time. A password that was right once is
not checked by bcrypt again. Few requests may wait for bcrypt, because each one holds a connection of the server. Of a
password only a digest is kept, whose key exists in the memory of this process alone.
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

from controller.web.trusted_hosts import is_from_here

REMEMBERED = 100
"""Pairs of user and right password that are remembered. Wrong ones are not, so they cannot displace right ones."""
MAX_CREDENTIALS = 1_024
GUESSES = 16
"""Passwords from one address that may be checked or wait for the check."""
ALL_GUESSES = 2 * GUESSES
"""The same from all addresses. It is higher, so that one guessing client does not lock out other addresses."""
REFUSAL = {"WWW-Authenticate": 'Basic realm="podpulse", charset="UTF-8"', "Cache-Control": "no-store"}
BUSY = {"Retry-After": "5", "Cache-Control": "no-store"}


HEALTH = "/-/healthy"
ANONYMOUS = "podpulse.anonymous"
"""Set in the scope of a request without a password. Such a request learns whether the process is healthy, no more."""


class _TooManyGuesses(Exception):
    """Too many passwords wait for the check."""


class BasicAuth:
    """An ASGI application in front of another. `users` maps names to bcrypt hashes; without users all are admitted."""

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
            is_admitted = scope["type"] != "http" or await self._is_authenticated(scope)
            if not is_admitted and _asks_for_health(scope):
                scope, is_admitted = {**scope, ANONYMOUS: True}, True
        except _TooManyGuesses:
            await PlainTextResponse("too many passwords are being checked; try again later\n", 503, BUSY)(
                scope, receive, send
            )
            return
        if is_admitted:
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse("a user name and a password are required\n", 401, REFUSAL)(scope, receive, send)

    def apply(self, users: Mapping[str, str]) -> None:
        """Replaces the users, and forgets all remembered passwords if they changed. For any thread."""
        hashes = {name: text.encode() for name, text in users.items()}
        if hashes != self._users:
            self._users, self._right = hashes, OrderedDict()

    async def _is_authenticated(self, scope: Scope) -> bool:
        users, right = self._users, self._right
        if not users:
            return True
        if (credentials := _credentials(Headers(scope=scope).get("authorization", ""))) is None:
            return False
        user, password = credentials
        pair = blake2b(user.encode() + b"\0" + password, key=self._key).digest()
        address = (scope.get("client") or ("",))[0]
        if pair not in right and not await self._in_turn(address, lambda: _matches(users, user, password)):
            return False
        right[pair] = None
        right.move_to_end(pair)
        if len(right) > REMEMBERED:
            right.popitem(last=False)
        return True

    async def _in_turn(self, address: str, check: Callable[[], bool]) -> bool:
        if self._guesses[address] >= GUESSES or self._guesses.total() >= ALL_GUESSES:
            raise _TooManyGuesses
        self._guesses[address] += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(check)
        finally:
            self._guesses -= Counter((address,))


def _asks_for_health(scope: Scope) -> bool:
    """Returns whether this is a health check without a password from here: a supervisor has only the hashes.

    Other methods are excluded, because the page that refuses them names the node.
    """
    is_read = scope["method"] in {"GET", "HEAD"} and scope["path"] == HEALTH
    return is_read and b"authorization" not in dict(scope["headers"]) and is_from_here(scope)


def _matches(users: Mapping[str, bytes], user: str, password: bytes) -> bool:
    """Checks a password. An unknown user takes as long as a known one."""
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
