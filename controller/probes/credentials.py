"""The credentials of HTTP probes, from files that are read once. For the probe thread, except for `readings`."""

import html
import itertools
import json
import re
from base64 import b64encode
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from controller.probes.verdict import Verdict
from controller.runtime.credential_file import credential
from controller.runtime.plain_files import Reading
from reconcilers.spec import BasicAuth, HttpGet

HIDDEN = "(hidden)"
SHORT = 4
"""A secret of fewer characters is in many texts by chance, so that hiding it alone would show it."""
MAX_READINGS = 10_000
"""How many files are remembered, including files that no check names any more."""
TOKEN = re.compile(r"[!-~]+")

Key = tuple[str, str, BasicAuth | None]
"""The file, its folder, and the user of a password."""

_serial = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Authorization:
    """The value of the header Authorization, and the forms in which an answer may repeat its secrets, in lower case and
    the longest first."""

    header: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    def masked(self, verdict: Verdict) -> Verdict:
        """Returns the verdict without the secrets, which a target may have repeated in its answer."""
        output = HIDDEN if self._has_short(verdict.output) else self._hidden(verdict.output)
        return verdict._replace(detail=self._hidden(verdict.detail), output=output)

    def _has_short(self, text: str) -> bool:
        low = text.lower()
        return any(len(secret) < SHORT and secret in low for secret in self.secrets)

    def _hidden(self, text: str) -> str:
        for secret in self.secrets if text else ():
            if len(secret) >= SHORT:
                text = _without(text, secret)
        return text


class Credentials:
    """Reads each file once, until it is `replaced`."""

    def __init__(self) -> None:
        self._known: dict[Key, Authorization] = {}
        self._read: dict[str, Reading] = {}

    def of(self, probe: HttpGet) -> Authorization:
        """Returns the authorization of a probe that has credentials. Raises ValueError as `credential`."""
        file, folder = probe.credential_file, probe.credentials_dir
        key = (file, folder, probe.basic_auth)
        if key not in self._known:
            secret, stamp = credential(file, folder)
            if len(self._known) >= MAX_READINGS:
                self._known.clear()
                self._read.clear()
            self._known[key] = _authorization(probe, secret)
            if file not in self._read or self._read[file].folder != folder:
                self._read[file] = Reading((file,), (stamp,), next(_serial), folder)
        return self._known[key]

    def renew(self, replaced: Collection[str]) -> None:
        """Read the files `replaced` again when they are needed."""
        for file in self._read.keys() & set(replaced):
            del self._read[file]
        self._known = {key: known for key, known in self._known.items() if key[0] in self._read}

    def readings(self) -> Collection[Reading]:
        """Returns the first reading of each file that is in use. Safe for any thread."""
        return list(self._read.values())


def _authorization(probe: HttpGet, secret: str) -> Authorization:
    if probe.basic_auth:
        encoded = b64encode(f"{probe.basic_auth.username}:{secret}".encode()).decode()
        return Authorization(f"Basic {encoded}", _forms(secret, encoded))
    if not TOKEN.fullmatch(secret):
        raise ValueError(f"{probe.credential_file}: expected a token of printable ASCII without blanks")
    return Authorization(f"Bearer {secret}", _forms(secret))


def _forms(*secrets: str) -> tuple[str, ...]:
    """Returns the secrets as they are, and as a page, JSON, a URL or base64 shows them."""

    def each() -> Iterator[str]:
        for secret in secrets:
            yield from (secret, quote(secret, safe=""), html.escape(secret), html.escape(secret, quote=False))
            yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
            yield from (secret.replace("'", "&#39;"), b64encode(secret.encode()).decode().rstrip("="))

    return tuple(sorted(set(map(_lower, each())), key=len, reverse=True))


def _without(text: str, secret: str) -> str:
    """Returns `text` without `secret` in any case. At the end, where `text` may be cut off, its start is enough."""
    low, parts, at = _lower(text), [], 0
    while (found := low.find(secret, at)) >= 0:
        parts += [text[at:found], HIDDEN]
        at = found + len(secret)
    end = len(low.rstrip("\ufffd"))
    start = low.find(secret[:SHORT], max(at, end - len(secret)), end)
    while start >= 0 and not secret.startswith(low[start:end]):
        start = low.find(secret[:SHORT], start + 1, end)
    return "".join([*parts, text[at:start], HIDDEN] if start >= 0 else [*parts, text[at:]])


def _lower(text: str) -> str:
    """Returns `text` in lower case, each character in its place. Few letters have a lower case of two."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(letter.lower()[0] for letter in text)
