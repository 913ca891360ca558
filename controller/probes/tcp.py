"""TCP probes: open a connection, with or without TLS, go through the steps of a dialogue if any, and close it again."""

from controller.probes.dialogue import Dialogue, PreparedStep, Script
from controller.probes.exchange import Exchange
from controller.probes.failure import Failure
from controller.probes.verdict import Verdict
from reconcilers.health import Outcome
from reconcilers.spec import CheckSpec, Step, TcpConnect
from reconcilers.steps import in_lines

ALPN = ""
NEEDS_ALPN = False


class TcpExchange:
    """An exchange that is done as soon as the connection is open."""

    __slots__ = ("failure", "is_keepable")

    request = b""
    is_done = True
    has_begun = is_stale = False
    status = 0

    def __init__(self) -> None:
        self.failure: Failure | None = None
        self.is_keepable = False

    def receive(self, _: bytes) -> bytes:
        return b""

    def end(self, *, clean: bool) -> None: ...

    def abandon(self) -> None: ...


def prepared(probe: TcpConnect) -> Script | None:
    """Returns what the probes of a check share; None if they only connect."""
    steps = probe.steps or tuple(step for step in (Step(probe.send, probe.expect),) if step != Step())
    if not steps and not probe.tls:
        return None
    labels = [f"step {number}: " for number in range(1, len(steps) + 1)] if probe.steps else [""]
    return Script(probe.starttls, [_prepared(label, step) for label, step in zip(labels, steps, strict=False)])


def _prepared(label: str, step: Step) -> PreparedStep:
    return PreparedStep(label, step.send, step.expect, in_lines(step.expect) if step.expect else None)


def exchange(prepared: Script | None, _: Exchange | None) -> Exchange:
    """Returns a new exchange for one probe."""
    return Dialogue(prepared) if prepared else TcpExchange()


def verdict(answer: Exchange, spec: CheckSpec) -> Verdict:
    """Returns the verdict on a connection that was opened, and on the dialogue if there was one."""
    if not isinstance(answer, Dialogue):
        return Verdict(Outcome.SUCCESS)
    output = answer.excerpt() if spec.output.keeps(success=answer.fault is None) else ""
    return Verdict(Outcome.FAILURE, *answer.fault, output) if answer.fault else Verdict(Outcome.SUCCESS, output=output)


def excerpt(answer: Exchange) -> str:
    """Returns the excerpt to show of what came back before the probe failed."""
    return answer.excerpt() if isinstance(answer, Dialogue) else ""
