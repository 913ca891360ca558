"""The exchange of a TCP probe that sends or expects bytes, or uses TLS, without I/O.

At the start of TLS the target may have sent bytes beyond its answer to STARTTLS. Whoever can inject bytes into the
connection before TLS would so inject an answer that seems protected (CVE-2011-0411). The probe fails then.
"""

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from controller.probes.failure import Cause, Failure
from controller.probes.incoming import Incoming
from controller.probes.starttls import NEGOTIATIONS, Negotiation, Refused
from reconcilers.fields import Expression
from reconcilers.health import Reason

MAX_SHOWN = 200
INJECTED = "sent bytes after its answer to the request for TLS and before TLS, which somebody else may have injected"


class Wants(Enum):
    """What a dialogue needs next: bytes of the target, the TLS handshake, or nothing."""

    ANSWER = auto()
    TLS = auto()
    NOTHING = auto()


class PreparedStep(NamedTuple):
    """`label` names the step in sentences, "" if there is only one. `expression` is None if nothing is expected."""

    label: str
    send: bytes
    expect: str
    expression: Expression | None


class Script(NamedTuple):
    """What all probes of a check share. `starttls` is a name of `NEGOTIATIONS`, or ""."""

    starttls: str
    steps: Sequence[PreparedStep]


class Dialogue:
    """`fault` is why the dialogue has failed, as a label and a sentence. `has_spoken` means that all bytes to be sent
    were returned. `has_begun` is about the answers to the steps, not about those to the request for TLS."""

    __slots__ = (
        "_at",
        "_has_sent",
        "_incoming",
        "_negotiation",
        "_script",
        "failure",
        "fault",
        "has_begun",
        "is_done",
        "request",
        "wants",
    )

    is_keepable = is_stale = False
    status = 0

    def __init__(self, script: Script) -> None:
        self._script = script
        self._incoming = Incoming()
        self._negotiation: Negotiation | None = None
        self._at = 0
        self._has_sent = False
        self.failure: Failure | None = None
        self.fault: tuple[Reason, str] | None = None
        self.has_begun = self.is_done = False
        self.wants = Wants.ANSWER
        if script.starttls:
            self._negotiation = NEGOTIATIONS[script.starttls](self._incoming)
        self.request = self._advance()

    @property
    def begins_plain(self) -> bool:
        """Whether a check over TLS begins the connection without it."""
        return bool(self._script.starttls)

    @property
    def has_spoken(self) -> bool:
        last = len(self._script.steps) - 1
        is_last = self._at > last or (self._at == last and self._has_sent)
        return self._negotiation is None and self.wants is not Wants.TLS and is_last

    @property
    def label(self) -> str:
        """The step in progress, for a sentence; "" if there is only one."""
        if self._negotiation:
            return f"STARTTLS ({self._script.starttls}): "
        steps = self._script.steps
        return steps[self._at].label if self._at < len(steps) else ""

    def receive(self, data: bytes) -> bytes:
        self._incoming.add(data)
        self.has_begun = self.has_begun or self._negotiation is None
        reply = self._advance()
        if self._incoming.is_full and self.wants is Wants.ANSWER and not self.is_done:
            self._overflow()
        return reply

    def _overflow(self) -> None:
        if self._negotiation:
            self._fail(Reason.PROTOCOL, "64 KiB came back without an answer")
        else:
            self._settle("the first 64 KiB of what came back do not match", has_ended=False)

    def _advance(self) -> bytes:
        return self._negotiate() if self._negotiation else self._proceed(is_last=False, has_ended=False)

    def _negotiate(self) -> bytes:
        assert self._negotiation is not None  # noqa: S101 - the caller has checked it
        try:
            return next(self._negotiation)
        except StopIteration:
            if self._incoming.is_empty:
                self.wants = Wants.TLS
            else:
                self._fail(Reason.PROTOCOL, INJECTED)
        except Refused as error:
            self._fail(Reason.PROTOCOL, str(error))
        return b""

    def start_tls(self) -> None:
        """Begin with the steps: the request for TLS was granted. `request` has the first bytes to send inside TLS."""
        self._negotiation = None
        self._incoming.clear()
        self.wants = Wants.ANSWER
        self.request = self._proceed(is_last=False, has_ended=False)

    def _proceed(self, *, is_last: bool, has_ended: bool) -> bytes:
        """Go on with the steps as far as the received bytes allow. Returns the bytes to send."""
        replies = []
        for step in self._script.steps[self._at :]:
            if not self._has_sent and step.send:
                if has_ended:
                    return b""
                self._incoming.clear()
                replies.append(step.send)
            self._has_sent = True
            if step.expression and not self._finds(step.expression, is_last=is_last, has_ended=has_ended):
                return b"".join(replies)
            self._at += 1
            self._has_sent = False
        self.wants = Wants.NOTHING
        return b"".join(replies)

    def _finds(self, expression: Expression, *, is_last: bool, has_ended: bool) -> bool:
        return self._incoming.find(expression, is_last=is_last, has_ended=has_ended)

    def complete(self) -> None:
        """End the dialogue: it wants nothing, and the target has accepted the connection."""
        self.is_done, self.failure = True, None

    def end(self, *, clean: bool) -> None:
        if self.is_done:
            return
        self.is_done = True
        if self.wants is Wants.NOTHING:
            return
        if self._incoming.is_empty:
            self.failure = Failure(Cause.EMPTY)
        elif self._negotiation:
            self.failure = Failure(Cause.CUT_SHORT)
        else:
            self._settle("what came before the connection was closed does not match", has_ended=clean)

    def late(self, seconds: str) -> None:
        """The deadline is over, after `seconds`. Sets `fault`, unless all that was expected has come."""
        if self._negotiation:
            self._fail(Reason.TIMEOUT, f"no {'' if self._incoming.is_empty else 'complete '}answer within {seconds}")
        elif self._incoming.is_empty:
            self._fail(Reason.TIMEOUT, f"connected, then nothing for {seconds}")
        else:
            self._settle(f"what came back within {seconds} does not match", has_ended=False)

    def _settle(self, problem: str, *, has_ended: bool) -> None:
        """Search a last time, with the failure `problem` if nothing is found."""
        self._proceed(is_last=True, has_ended=has_ended)
        if self.wants is Wants.NOTHING:
            self.is_done = True
        elif not self._has_sent:
            self._fail(Reason.PROTOCOL, "the connection was closed before it")
        else:
            self._fail(Reason.BODY, f"{problem} {self._expected()!r}")

    def _expected(self) -> str:
        return self._script.steps[self._at].expect[:MAX_SHOWN]

    def _fail(self, reason: Reason, problem: str) -> None:
        self.fault = reason, f"{self.label}{problem}"
        self.is_done = True

    def abandon(self) -> None:
        self._negotiation = None

    def excerpt(self) -> str:
        """Returns the first bytes of all that came back as text."""
        return self._incoming.excerpt.decode("utf-8", "replace")
