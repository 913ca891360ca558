"""However libFuzzer's answer in HTTP is split, reading it ends in the same result, once, and within bounds.

    python -m tests.fuzz.http_answer -max_total_time=60 NEW_FOLDER

See `tests/fuzz/manifest.py` for the options and for what becomes of an input that breaks the promise.
"""

import sys

import atheris

with atheris.instrument_imports(include=["controller.probes.http_answer", "controller.probes.odd_headers"]):
    from controller.probes.http_answer import MAX_READ, HttpExchange, Prepared

from tests.fuzz.splits import answer_from, parts

PIECES = [
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 503 No\r\n", b"HTTP/1.1 204\r\n", b"HTTP/1.1 101 S\r\nUpgrade: x\r\n"),
    *(b"HTTP/1.1 100 Go\r\n\r\n", b"HTTP/1.0 103 E\r\nX Y: z\r\n\r\n", b"HTTP/1.1 200 OK\n", b"HTTP/2.0 200 \r\n"),
    *(
        b"Content-Length: 2\r\n",
        b"Content-Length: 2, 2\r\n",
        b"Content-Length: x\r\n",
        b"HTTP/1.1 304\r\n",
        b"Content-Length: 99999\r\n",
        b"Connection: close\r\n",
    ),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding: gzip, chunked\r\n"),
    *(b"X: y\r\n", b"X Y: z\r\n", b": y\n", b"X: a\0b\r\n", b" folded\r\n", b"X: y\r", b"Big: " + b"x" * 30_000),
    *(
        b"\r\n",
        b"\n",
        b"ok",
        b"2\r\nok\r\n",
        b"5;a=b\r\nhello\r\n",
        b"0\r\n",
        b"0\r\n\r\n",
        b"1000\r\n" + b"y" * 0x1000,
    ),
]
Told = tuple[bool, object, int, bytes, bool, bool]


def told(answer: HttpExchange) -> Told:
    """Returns the input of a verdict, and whether the connection is kept."""
    cause = answer.failure and answer.failure.cause
    return answer.is_done, cause, answer.status, bytes(answer.body), answer.has_head, answer.is_keepable


def one_input(data: bytes) -> None:
    """See the module."""
    provider = atheris.FuzzedDataProvider(data)
    prepared = Prepared(b"", MAX_READ, provider.ConsumeBool())
    clean = provider.ConsumeBool()
    whole, split = HttpExchange(prepared), HttpExchange(prepared)
    answer = answer_from(provider, PIECES)
    if answer:
        whole.receive(answer)
    for part in parts(provider, answer):
        split.receive(part)
    if told(whole) != told(split):
        raise ValueError(f"{answer!r}: {told(whole)} whole, {told(split)} in parts")
    before = told(whole)
    for each in (whole, split):
        each.end(clean=clean)
    if told(whole) != told(split) or not whole.is_done or (before[0] and told(whole) != before):
        raise ValueError(f"{answer!r}: {told(whole)} whole, {told(split)} in parts, {before} before the end")
    if len(split.body) > MAX_READ:
        raise MemoryError(f"{len(split.body)} bytes of a body")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
