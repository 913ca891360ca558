"""Answers over TLS that end with close_notify and not with TCP's FIN, as servers on asyncio end them."""

import ssl
from collections.abc import Callable

import pytest

from reconcilers.health import Outcome
from tests.support.authority import Authority
from tests.support.checks import https
from tests.support.probing import Bench
from tests.support.targets import Behaviour, Connection, Target

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


def in_one_write(context: ssl.SSLContext, *parts: bytes) -> Behaviour:
    """A greeting: shake hands, read the request, send each of `parts` as a TLS record of its own and close_notify, all
    in one write, and leave the connection open."""

    def behave(connection: Connection) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(incoming, outgoing, server_side=True)

        def until_done(step: Callable[[], object]) -> None:
            while True:
                try:
                    step()
                    return
                except ssl.SSLWantReadError:
                    connection.send(outgoing.read())
                    incoming.write(connection.sock.recv(16_384))

        connection.sock.settimeout(10)
        until_done(session.do_handshake)
        until_done(lambda: session.read(16_384))
        for part in parts:
            session.write(part)
        try:
            session.unwrap()
        except ssl.SSLWantReadError:
            connection.send(outgoing.read())
        connection.hold()

    return behave


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("body", [[b"ok"], [b"o", b"k"], [b"x" * 16_000, b"y" * 16_000]], ids=["one", "two", "large"])
def test_an_answer_that_ends_with_close_notify_is_complete(
    bench: Bench, target: Target, authority: Authority, body: list[bytes], version: ssl.TLSVersion
) -> None:
    context = authority.server()
    context.minimum_version = context.maximum_version = version
    target.greeting = in_one_write(context, HEAD, *body)
    result = bench.result(https(target.port, "ends", expect_body=body[-1].decode()))
    assert (result.outcome, result.detail) == (Outcome.SUCCESS, "")
