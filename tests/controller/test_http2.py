"""One unary call over HTTP/2, byte by byte: the frames of a server are built here, headers by a real encoder."""

import socket
import struct
from collections.abc import Iterable
from itertools import pairwise

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.probes import grpc
from controller.probes.failure import Cause
from controller.probes.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    MAX_FRAME,
    MAX_READ,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    UnaryCall,
    frame,
    header_block,
)
from controller.probes.verdict import sentence
from reconcilers.spec import GrpcHealth
from tests.support.health_server import HealthServer, healthy

SERVING = b"\0\0\0\0\x02\x08\x01"
LEADING = ((":status", "200"), ("content-type", "application/grpc"))
TRAILERS = (("grpc-status", "0"), ("grpc-message", "fine"))
GREETING = frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 100)) + frame(SETTINGS, ACK, 0)
REQUEST = grpc.prepared(GrpcHealth("web1", 80, "a"))

Fields = Iterable[tuple[str, str]]


def block(fields: Fields, encoder: hpack.Encoder | None = None) -> bytes:
    return bytes((encoder or hpack.Encoder()).encode(list(fields)))


def answer(stream: int = 1, encoder: hpack.Encoder | None = None, message: bytes = SERVING) -> bytes:
    """A complete answer."""
    encoder = encoder or hpack.Encoder()
    return (
        frame(HEADERS, END_HEADERS, stream, block(LEADING, encoder))
        + frame(DATA, 0, stream, message)
        + frame(HEADERS, END_HEADERS | END_STREAM, stream, block(TRAILERS, encoder))
    )


def call(previous: UnaryCall | None = None) -> UnaryCall:
    return UnaryCall(*REQUEST, previous)


def read(*parts: bytes) -> tuple[UnaryCall, bytes]:
    """Returns a call after these bytes, and what it has replied."""
    mine = call()
    return mine, b"".join(mine.receive(part) for part in parts if part)


def told(mine: UnaryCall) -> tuple[bool, str, int, dict[str, str], bytes]:
    failure = sentence(mine.failure, "web1:80", "web1") if mine.failure else ""
    return mine.is_done, failure, mine.status, mine.headers, bytes(mine.body)


def cause(mine: UnaryCall) -> Cause | None:
    return mine.failure.cause if mine.failure else None


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Returns kind, flags, stream and payload of each frame."""
    found = []
    while data:
        end = 9 + int.from_bytes(data[:3])
        found.append((data[3], data[4], int.from_bytes(data[5:9]), data[9:end]))
        data = data[end:]
    return found


GOOD = (True, "", 200, dict(LEADING + TRAILERS), SERVING)


# The request


def test_the_first_request_begins_with_the_preface_and_the_next_one_does_not() -> None:
    first = call()
    assert first.request.startswith(PREFACE)
    kinds = [(kind, flags, stream) for kind, flags, stream, _ in frames(first.request.removeprefix(PREFACE))]
    assert kinds == [(SETTINGS, 0, 0), (HEADERS, END_HEADERS, 1), (DATA, END_STREAM, 1)]
    first.receive(GREETING + answer())
    kinds = [(kind, flags, stream) for kind, flags, stream, _ in frames(call(first).request)]
    assert kinds[-2:] == [(HEADERS, END_HEADERS, 3), (DATA, END_STREAM, 3)]


@given(st.lists(st.tuples(st.text("ab-", min_size=1, max_size=300), st.text("xyz ", max_size=300)), max_size=9))
def test_a_decoder_reads_the_header_block_of_a_request(fields: list[tuple[str, str]]) -> None:
    decoded = hpack.Decoder().decode(header_block(fields), raw=True)
    assert [tuple(each) for each in decoded] == [(name.encode(), value.encode()) for name, value in fields]


# Answers


def test_an_answer_has_status_headers_body_and_trailers() -> None:
    mine, replies = read(GREETING + answer())
    assert told(mine) == GOOD
    assert mine.is_keepable
    assert frames(replies) == [(SETTINGS, ACK, 0, b"")]


def test_an_answer_of_trailers_alone_is_complete() -> None:
    fields = (*LEADING, ("grpc-status", "12"))
    mine, _ = read(GREETING + frame(HEADERS, END_HEADERS | END_STREAM, 1, block(fields)))
    assert told(mine) == (True, "", 200, dict(fields), b"")


def test_informational_headers_are_passed_over() -> None:
    early = frame(HEADERS, END_HEADERS, 1, block([(":status", "103"), ("link", "<a>")]))
    mine, _ = read(GREETING + early + answer())
    assert told(mine) == GOOD


def padded(payload: bytes, room: int = 9) -> bytes:
    return bytes([room]) + payload + b"\0" * room


LEADING_BLOCK, TRAILING_BLOCK = block(LEADING), block(TRAILERS)
VARIANTS = {
    "padded": frame(HEADERS, END_HEADERS | PADDED, 1, padded(LEADING_BLOCK))
    + frame(DATA, PADDED, 1, padded(SERVING))
    + frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, padded(TRAILING_BLOCK, 0)),
    "with a priority": frame(HEADERS, END_HEADERS | PRIORITY, 1, b"\0\0\0\0\x10" + LEADING_BLOCK)
    + frame(DATA, 0, 1, SERVING)
    + frame(HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITY, 1, padded(b"\0\0\0\0\x10" + TRAILING_BLOCK)),
    "continued": frame(HEADERS, 0, 1, LEADING_BLOCK[:2])
    + frame(CONTINUATION, 0, 1, LEADING_BLOCK[2:3])
    + frame(CONTINUATION, END_HEADERS, 1, LEADING_BLOCK[3:])
    + frame(DATA, 0, 1, SERVING)
    + frame(HEADERS, END_STREAM, 1, b"")
    + frame(CONTINUATION, END_HEADERS, 1, TRAILING_BLOCK),
    "in pieces": frame(HEADERS, END_HEADERS, 1, LEADING_BLOCK)
    + b"".join(frame(DATA, 0, 1, bytes([each])) for each in SERVING)
    + frame(DATA, 0, 1)
    + frame(HEADERS, END_HEADERS | END_STREAM, 1, TRAILING_BLOCK),
    "among other frames": frame(PING, 0, 0, b"12345678")
    + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 5))
    + frame(HEADERS, END_HEADERS, 1, LEADING_BLOCK)
    + frame(99, 0xFF, 1, b"unknown")
    + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 5))
    + frame(DATA, 0, 1, SERVING)
    + frame(SETTINGS, 0, 0)
    + frame(PING, ACK, 0, b"12345678")
    + frame(GOAWAY, 0, 0, struct.pack(">II", 1, 0))
    + frame(HEADERS, END_HEADERS | END_STREAM, 1, TRAILING_BLOCK),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_answer_is_read_in_every_form_that_it_may_have(variant: str) -> None:
    mine, _ = read(GREETING + VARIANTS[variant])
    assert told(mine) == GOOD


def test_settings_and_pings_are_acknowledged() -> None:
    _, replies = read(GREETING + VARIANTS["among other frames"])
    assert frames(replies) == [(SETTINGS, ACK, 0, b""), (PING, ACK, 0, b"12345678"), (SETTINGS, ACK, 0, b"")]


BROKEN = {
    "too much padding": frame(DATA, PADDED, 1, b"\x05abc"),
    "no room for padding": frame(HEADERS, PADDED | END_HEADERS, 1, b""),
    "an interrupted block": frame(HEADERS, 0, 1, LEADING_BLOCK) + frame(PING, 0, 0, b"12345678"),
    "a continuation of another stream": frame(HEADERS, 0, 1, LEADING_BLOCK) + frame(CONTINUATION, END_HEADERS, 3, b""),
    "a continuation of nothing": frame(CONTINUATION, END_HEADERS, 1, LEADING_BLOCK),
    "a push": frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02" + LEADING_BLOCK),
    "an index without an entry": frame(HEADERS, END_HEADERS, 1, b"\xff\x7f"),
    "a name in upper case": frame(HEADERS, END_HEADERS, 1, LEADING_BLOCK + b"\0\x01X\x01y"),
    "a name that is no token": frame(HEADERS, END_HEADERS, 1, LEADING_BLOCK + b"\0\x02a\xff\x01y"),
    "a frame that is too long": frame(DATA, 0, 1, b"x" * (MAX_FRAME + 1)),
    "a reset": frame(RST_STREAM, 0, 1, struct.pack(">I", 2)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_the_rules_of_http2_cannot_be_understood(name: str) -> None:
    mine, _ = read(GREETING + frame(HEADERS, END_HEADERS, 1, LEADING_BLOCK), BROKEN[name] + answer())
    assert (mine.is_done, cause(mine)) == (True, Cause.MALFORMED)
    assert mine.failure
    assert mine.failure.words
    assert not mine.is_keepable


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Cause.NOT_HTTP2),
        (b"\0", None),
        (b"\0\0\x06\x01", Cause.NOT_HTTP2),
        (frame(PING, 0, 0, b"12345678"), Cause.NOT_HTTP2),
        (frame(SETTINGS, 0, 0, b"12345"), Cause.NOT_HTTP2),
        (frame(SETTINGS, 0, 1), Cause.NOT_HTTP2),
        (b"\x27\0\x06\x04\0\0\0\0\0", Cause.NOT_HTTP2),
        (GREETING + frame(HEADERS, END_HEADERS, 1, block([(":status", "2x")])), Cause.STATUS_LINE),
        (GREETING + frame(HEADERS, END_HEADERS, 1, block([("a", "b")])), Cause.STATUS_LINE),
        (GREETING + frame(DATA, END_STREAM, 1, SERVING), Cause.STATUS_LINE),
        (GREETING + frame(99, 0, 0, b"x" * 16_000) * 5, Cause.HEAD_TOO_LONG),
    ],
)
def test_what_is_not_an_answer_is_distinguished(data: bytes, expected: Cause | None) -> None:
    assert cause(read(data)[0]) is expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", Cause.EMPTY),
        (GREETING, Cause.EMPTY),
        (GREETING + answer()[:40], Cause.CUT_SHORT),
        (GREETING + frame(GOAWAY, 0, 0, struct.pack(">II", 1, 0)), Cause.GONE),
        (GREETING + answer(), None),
    ],
    ids=["nothing", "settings alone", "part of an answer", "GOAWAY", "an answer"],
)
def test_the_ways_in_which_the_connection_ends_are_distinguished(data: bytes, expected: Cause | None) -> None:
    mine, _ = read(data)
    mine.end(clean=True)
    assert (mine.is_done, cause(mine)) == (True, expected)


@pytest.mark.parametrize("step", [1000, 16_384, 10 * MAX_READ])
def test_more_than_64_kib_are_too_much_however_they_come(step: int) -> None:
    data = GREETING + frame(HEADERS, END_HEADERS, 1, LEADING_BLOCK) + frame(DATA, 0, 1, b"x" * MAX_FRAME) * 5
    mine, _ = read(*(data[at : at + step] for at in range(0, len(data), step)))
    assert (cause(mine), mine.status, len(mine.body)) == (Cause.HEAD_TOO_LONG, 200, 3 * MAX_FRAME)


# GOAWAY and RST_STREAM


def test_a_goaway_that_refuses_our_stream_ends_the_call() -> None:
    mine, _ = read(GREETING + frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0)) + answer())
    assert (cause(mine), mine.is_stale, mine.is_keepable) == (Cause.GOAWAY, True, False)


def test_a_reset_that_says_that_the_call_was_not_processed_is_distinguished() -> None:
    mine, _ = read(GREETING + frame(RST_STREAM, 0, 1, struct.pack(">I", 7)))
    assert (cause(mine), mine.is_keepable) == (Cause.REFUSED_STREAM, False)


def test_a_goaway_that_accepts_our_stream_waits_for_its_answer_and_ends_the_connection() -> None:
    mine, _ = read(GREETING + frame(GOAWAY, 0, 0, struct.pack(">II", 2**31 - 1, 0)) + answer())
    assert told(mine) == GOOD
    assert not mine.is_keepable


def test_a_reset_after_the_answer_is_no_failure() -> None:
    mine, _ = read(GREETING + answer() + frame(RST_STREAM, 0, 1, struct.pack(">I", 0)))
    assert told(mine) == GOOD
    second = call(mine)
    second.receive(answer(3))
    assert told(second) == GOOD


# Several calls on one connection


def test_the_dynamic_table_of_the_server_goes_on_from_call_to_call() -> None:
    encoder = hpack.Encoder()
    mine, _ = read(GREETING + answer(1, encoder))
    for number in (3, 5, 7):
        later = answer(number, encoder)
        assert b"application/grpc" not in later, "it is an index into the table"
        mine = call(mine)
        mine.receive(later)
        assert told(mine) == GOOD


def test_frames_of_a_former_stream_are_no_answer_to_the_next_one() -> None:
    mine, _ = read(GREETING + answer())
    second = call(mine)
    second.receive(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 5)) + frame(DATA, END_STREAM, 1, b"x"))
    assert (second.is_done, second.has_begun) == (False, False)
    second.receive(answer(3))
    assert told(second) == GOOD


def test_the_next_request_acknowledges_what_came_with_the_answer_and_returns_the_window() -> None:
    mine, _ = read(GREETING + VARIANTS["padded"])
    window = struct.pack(">I", len(padded(SERVING)))
    debts = [(SETTINGS, ACK, 0, b""), (WINDOW_UPDATE, 0, 0, window)]
    assert frames(call(mine).request)[:-2] == debts


def test_one_connection_serves_more_answers_than_its_first_window_holds() -> None:
    """The window of a connection is 65,535 bytes until the client returns it, and an answer has seven."""
    with HealthServer(healthy()) as server, socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        mine: UnaryCall | None = None
        for _ in range(65_535 // len(SERVING) + 10):
            mine = UnaryCall(*grpc.prepared(GrpcHealth("localhost", server.port, "good")), mine)
            sock.sendall(mine.request)
            while not mine.is_done:
                data = sock.recv(16_384)
                assert data
                replies = mine.receive(data)
                sock.sendall(b"" if mine.is_keepable else replies)
            assert (mine.failure, mine.is_keepable, bytes(mine.body)) == (None, True, SERVING)


# Any split of the bytes gives the same result


@st.composite
def splits(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """An answer, whole or broken, and the same in parts."""
    broken = [frame(HEADERS, END_HEADERS, 1, LEADING_BLOCK) + each for each in BROKEN.values() if len(each) < 999]
    data = GREETING + draw(st.sampled_from([*VARIANTS.values(), *broken]))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(data) - 1))
        data = data[:at] + draw(st.binary(min_size=1, max_size=1)) + data[at + 1 :]
    cuts = sorted(draw(st.sets(st.integers(0, len(data)))))
    return data, [data[start:end] for start, end in pairwise([0, *cuts, len(data)])]


@given(splits())
def test_an_answer_has_the_same_result_however_it_is_split(split: tuple[bytes, list[bytes]]) -> None:
    data, parts = split
    whole, said = read(data)
    for every in (parts, [bytes([each]) for each in data]):
        mine, replies = read(*every)
        assert (told(mine), replies, mine.is_keepable) == (told(whole), said, whole.is_keepable)
        mine.end(clean=True)
    whole.end(clean=True)
    assert told(mine) == told(whole)


KINDS = st.sampled_from([DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION])


@given(st.lists(st.tuples(KINDS, st.integers(0, 255), st.sampled_from([0, 1, 3]), st.binary(max_size=40)), max_size=9))
def test_whatever_frames_come_are_read_without_an_exception(every: list[tuple[int, int, int, bytes]]) -> None:
    mine, _ = read(GREETING, *(frame(*each) for each in every))
    mine.end(clean=True)
    assert mine.is_done
    assert len(mine.body) <= MAX_READ
