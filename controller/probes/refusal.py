"""How a target that refuses a connection over TLS is told from one that fails in another way."""

from controller.probes.failure import Cause, Failure
from controller.probes.tls import OpenSslSession, Session

HANDSHAKE_FAILURE = 40
"""The alert of a target that accepts none of the offered TLS parameters (RFC 8446, 6.2)."""
NO_APPLICATION_PROTOCOL = 120
"""The alert of a target that has none of the offered protocols (RFC 7301, 3.2)."""
NOT_PROCESSED = frozenset({Cause.GOAWAY, Cause.REFUSED_STREAM})
BEYOND_TLS = NOT_PROCESSED | {Cause.GONE, Cause.CONNECT, Cause.NO_HTTP2}
"""Causes that TLS never explains, at any stage of the probe."""
UNRELATED = NOT_PROCESSED | {Cause.GONE, Cause.CONNECT, Cause.CERTIFICATE}
"""Causes that a missing client certificate never explains."""
RIGHT_AFTER = 1.0
"""Seconds after the handshake within which an end of the connection counts as the target's refusal. A probe that has
nothing to say inside TLS waits at most this long for the target to close the connection in answer to its close_notify:
with TLS 1.3 the target may refuse a client without a certificate after the client's handshake is complete."""
SILENT_ENDS = frozenset({Cause.EMPTY, Cause.RESET})


def explained(failure: Failure, session: Session | None, ready_for: float | None, *, needs_alpn: bool) -> Failure:
    """Returns a more specific failure if HTTP/2 is refused or a client certificate is missing.

    A TLS 1.3 target refuses the latter only after the handshake, and its alert can be lost, depending on timing. A TLS
    1.2 alert may have other causes. `session` is None if an answer has begun or this client has a certificate.
    `ready_for` is the number of seconds since the end of the handshake, None before it.
    """
    if failure.alert == NO_APPLICATION_PROTOCOL and needs_alpn:
        return Failure(Cause.NO_HTTP2)
    if not isinstance(session, OpenSslSession) or failure.cause in UNRELATED:
        return failure
    if session.demands_certificate and (ready_for is not None or failure.alert == HANDSHAKE_FAILURE):
        return Failure(Cause.CLIENT_CERTIFICATE)
    if failure.cause is Cause.NO_HTTP2:
        return failure
    if needs_alpn and ready_for is not None and ready_for < RIGHT_AFTER:
        return Failure(Cause.TURNED_AWAY)
    return failure
