"""The parser of one HTTP/1.1 answer, byte by byte and without a socket."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.probes.failure import Cause
from controller.probes.http import excerpt, prepared
from controller.probes.http_answer import MAX_EXCERPT, MAX_READ, HttpExchange, Prepared, UsualAnswer
from controller.probes.verdict import sentence
from reconcilers.spec import HttpGet, Tls

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Length: 2\r\n\r\nok"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def exchange(*, is_head: bool = False, kept: int = MAX_READ) -> HttpExchange:
    return HttpExchange(Prepared(b"", kept, is_head))


def read(*parts: bytes, is_head: bool = False, clean: bool | None = None) -> HttpExchange:
    """Returns the exchange after these bytes. With `clean`, the connection has also ended.

    A connection on which more comes than one answer is not kept.
    """
    answer = exchange(is_head=is_head)
    for part in parts:
        if part and not answer.is_done:
            answer.receive(part)
        elif part:
            answer.is_keepable = False
    if clean is not None:
        answer.end(clean=clean)
    return answer


def told(answer: HttpExchange) -> tuple[bool, str, int, bytes]:
    """Returns the facts for a verdict."""
    failure = sentence(answer.failure, "web1:80", "web1") if answer.failure else ""
    return answer.is_done, failure, answer.status, bytes(answer.body)


def cause(answer: HttpExchange) -> Cause | None:
    return answer.failure.cause if answer.failure else None


# Any split of the bytes gives the same result

HEADS = st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 503 No\r\n", b"HTTP/1.1 204 \r\n", b"HTTP/1.1 408 X\n"])
INFORMATIONAL = st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 E\r\nLink: <a>\r\n\r\n" * 2])
HEADERS = st.lists(
    st.sampled_from([b"X: y\r\n", b"Connection: close\r\n", b"Set-Cookie: a\r\n", b"E:\r\n", b"X Y: z\r\n"]), max_size=3
)
BODIES = st.sampled_from(
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Content-Length: 0\r\n\r\n",
        b"\r\nuntil the end",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\n, w\r\n0\r\nX-Trailer: z\r\n\r\n",
        b"Content-Length: 9\r\n\r\nshort",
    ]
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    headers = b"".join(draw(HEADERS))
    return draw(INFORMATIONAL) + draw(HEADS) + headers + draw(BODIES)


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """An answer with some bytes replaced, and perhaps more bytes after it."""
    answer = draw(answers()) + draw(
        st.sampled_from([b"", b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", b"\r\n", b"x"])
    )
    start = draw(st.integers(0, len(answer)))
    end = draw(st.integers(start, min(len(answer), start + 3)))
    return answer[:start] + draw(st.binary(max_size=3)) + answer[end:]


@st.composite
def splits(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> tuple[bytes, list[bytes]]:
    data = draw(whole)
    cuts = sorted(draw(st.sets(st.integers(0, len(data)))))
    return data, [data[start:end] for start, end in pairwise([0, *cuts, len(data)])]


@given(splits(answers()), st.booleans(), st.booleans())
def test_an_answer_has_the_same_result_however_it_is_split(
    split: tuple[bytes, list[bytes]], is_head: bool, clean: bool
) -> None:
    data, parts = split
    whole = read(data, is_head=is_head)
    every = [read(*parts, is_head=is_head), read(*(bytes([each]) for each in data), is_head=is_head)]
    for answer in every:
        assert (told(answer), answer.has_head) == (told(whole), whole.has_head)
        assert answer.is_keepable == whole.is_keepable
        assert answer.is_stale == whole.is_stale
    for answer in (whole, *every):
        answer.end(clean=clean)
        assert told(answer) == told(whole)
        assert answer.is_done


@given(splits(broken()), st.booleans(), st.booleans())
def test_a_broken_answer_has_the_same_result_however_it_is_split(
    split: tuple[bytes, list[bytes]], is_head: bool, clean: bool
) -> None:
    data, parts = split
    whole = read(data, is_head=is_head, clean=clean)
    for every in (parts, [bytes([each]) for each in data]):
        assert told(read(*every, is_head=is_head, clean=clean)) == told(whole)


class Thorough(HttpExchange):
    """Reads every answer with the full parser, the usual answers too."""

    __slots__ = ()

    def _read_usual(self, data: bytes) -> bool:  # noqa: ARG002 - no answer is usual to it
        return False


@st.composite
def usual(draw: st.DrawFn) -> bytes:
    """An answer with the length of its body, or with a length that is wrong by one."""
    status = draw(st.sampled_from([b"200 OK", b"204 N", b"304 M", b"408 T", b"503 No", b"101 S", b"100 Go", b"999 X"]))
    headers = b"".join(draw(HEADERS))
    body = draw(st.binary(max_size=8)) * draw(st.sampled_from([1, 1, MAX_READ // 8]))
    length = len(body) + draw(st.sampled_from([0, 0, 0, 0, 1, -1]))
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.0", b"2.0"]))
    return b"HTTP/%s %s\r\n%sContent-Length: %d\r\n\r\n%s" % (version, status, headers, length, body)


@given(splits(st.one_of(usual(), answers(), broken())), st.booleans(), st.booleans(), st.sampled_from([MAX_READ, 5]))
@settings(max_examples=500)
def test_the_short_way_and_the_full_parser_read_the_usual_answer_alike(
    split: tuple[bytes, list[bytes]], is_head: bool, clean: bool, kept: int
) -> None:
    data, parts = split
    for each in ([data], parts):
        quick, thorough = (kind(Prepared(b"", kept, is_head)) for kind in (HttpExchange, Thorough))
        for answer in (quick, thorough):
            for part in filter(None, each):
                answer.receive(part)
        assert (told(quick), quick.has_head) == (told(thorough), thorough.has_head)
        assert (quick.is_keepable, quick.is_stale) == (thorough.is_keepable, thorough.is_stale)
        for answer in (quick, thorough):
            answer.end(clean=clean)
        assert (told(quick), excerpt(quick)) == (told(thorough), excerpt(thorough))


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n", b"Server: x\r\nDate: y\r\n"])
def test_an_answer_in_one_piece_with_its_length_takes_the_short_way(more: bytes) -> None:
    assert UsualAnswer(OK + more + SIZED[len(OK) :]).is_complete
    assert not UsualAnswer(OK + more + b"\r\n").is_complete


@given(st.lists(st.binary(max_size=300)), st.booleans())
def test_no_bytes_raise_an_exception(parts: list[bytes], clean: bool) -> None:
    answer = read(*parts, clean=clean)
    assert answer.is_done
    assert len(answer.body) <= MAX_READ


# Informational answers, HEAD, and where an answer ends


def test_informational_answers_are_skipped() -> None:
    answer = read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: <a>\r\n\r\n" + SIZED)
    assert (told(answer), answer.is_keepable) == ((True, "", 200, b"ok"), True)


def test_an_answer_that_ends_with_an_informational_one_has_its_status() -> None:
    answer = read(b"HTTP/1.1 100 Continue\r\n\r\n", clean=True)
    assert (told(answer), answer.has_head) == ((True, "", 100, b""), False)


@pytest.mark.parametrize("more", [b"", b"Upgrade: websocket\r\nConnection: upgrade\r\n"])
def test_a_switch_of_protocols_is_an_answer(more: bytes) -> None:
    answer = read(b"HTTP/1.1 101 Switching\r\n" + more + b"\r\n", clean=True)
    assert (told(answer), answer.has_head, answer.is_keepable) == ((True, "", 101, b""), True, False)


@pytest.mark.parametrize("length", [b"", b"Content-Length: 99\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_an_answer_to_head_ends_with_its_headers(length: bytes) -> None:
    answer = read(OK + length + b"\r\n", is_head=True)
    assert told(answer) == (True, "", 200, b"")
    body = read(OK + length + b"\r\nx", is_head=True)
    assert told(body) == (True, "", 200, b"")


@pytest.mark.parametrize(
    ("answer", "keepable"),
    [
        (SIZED, True),
        (CHUNKED + b"2\r\nok\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (SIZED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), False),
        (SIZED.replace(b"1.1", b"1.0"), False),
        (SIZED + SIZED, False),
    ],
    ids=["sized", "chunked", "204", "close", "HTTP/1.0", "two answers"],
)
def test_a_connection_is_kept_only_if_it_can_carry_another_request(answer: bytes, keepable: bool) -> None:
    found = read(answer)
    assert (found.is_done, found.failure, found.is_keepable) == (True, None, keepable)


def test_bytes_after_the_answer_do_not_change_it() -> None:
    answer = read(SIZED + b"HTTP/1.1 500 No\r\nX: a\0b\r\nContent-Length: 4\r\n\r\nbody")
    assert told(answer) == (True, "", 200, b"ok")


def test_408_may_be_the_answer_to_an_idle_connection() -> None:
    assert read(b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n").is_stale
    assert not read(SIZED).is_stale


def test_an_answer_that_ends_in_its_headers_is_not_taken_from_a_kept_connection() -> None:
    cut = read(SIZED[:30])
    cut.end(clean=True)
    assert (cut.is_done, cut.failure, cut.is_stale) == (True, None, True)


@pytest.mark.parametrize(
    ("data", "clean", "expected"),
    [
        (b"", True, Cause.EMPTY),
        (b"HTT", True, Cause.STATUS_LINE),
        (b"HTTP/1.1 20", True, Cause.STATUS_LINE),
        (OK + b"X: y\r\n", True, None),
        (OK + b"Content-Length: 3\r\n\r\nok", True, Cause.CUT_SHORT),
        (CHUNKED + b"2\r\nok\r\n", True, Cause.CUT_SHORT),
        (OK + b"\r\nok", True, None),
        (OK + b"\r\nok", False, Cause.CUT_SHORT),
        (b"SSH-2.0-OpenSSH\r\n", True, Cause.NOT_HTTP),
        (b"HTTP/1.1 099 Odd\r\n\r\n", True, Cause.STATUS_LINE),
        (b"HTTP/1.1 2x0 Odd\r\n\r\n", True, Cause.STATUS_LINE),
        (OK + b"X: a\0b\r\n\r\n", True, Cause.MALFORMED),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", True, Cause.MALFORMED),
        (CHUNKED + b"xyz\r\n", True, Cause.MALFORMED),
    ],
)
def test_each_way_to_end_an_answer_has_its_own_failure(data: bytes, clean: bool, expected: Cause | None) -> None:
    assert cause(read(data, clean=clean)) is expected


# What the standards forbid but servers send: an answer that can be read is judged


@pytest.mark.parametrize(
    "header",
    [
        b"X Started: today",
        b"X : y",
        b"X\t: y",
        b"X(1): y",
        b"X[1]: y",
        b'"X": y',
        b"X\xe9: y",
        b": y",
        b"X: \xe9\x01\x7f",
        b"X: a\r\n folded",
        b"Content-Length: 2",
        b"Content-Length: 2, 2",
        b"Transfer-Encoding:",
    ],
    ids=repr,
)
@pytest.mark.parametrize("step", [1, 7, 999])
@pytest.mark.parametrize(
    "before", [b"", b"HTTP/1.0 100 Go\r\n\r\n", b"HTTP/1.1 103 E\r\nX y: z\r\nContent-Length: 2\r\n\r\n"]
)
@pytest.mark.parametrize("start", [OK, b"HTTP/1.1 200\r\n", b"HTTP/1.1 200 OK\nServer: a\n"])
def test_an_odd_header_does_not_fail_an_answer(before: bytes, start: bytes, header: bytes, step: int) -> None:
    data = before + start + header + b"\r\nX: y\r\nContent-Length: 2\r\n\r\nok"
    answer = read(*(data[at : at + step] for at in range(0, len(data), step)))
    assert (told(answer), answer.is_keepable) == ((True, "", 200, b"ok"), True)


def test_an_informational_answer_that_closes_the_connection_is_skipped() -> None:
    for start in (b"HTTP/1.0 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n"):
        assert told(read(start + SIZED)) == (True, "", 200, b"ok")


@pytest.mark.parametrize("header", [b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_an_answer_with_a_length_and_chunks_is_read_as_chunks(header: bytes) -> None:
    for head in (CHUNKED[:-2] + header, OK + header + CHUNKED[len(OK) : -2]):
        assert told(read(head + b"\r\n2\r\nok\r\n0\r\n\r\n")) == (True, "", 200, b"ok")


@pytest.mark.parametrize("value", [b"chunked, chunked", b"identity, chunked", b"Chunked "])
def test_a_transfer_coding_that_changes_nothing_is_read(value: bytes) -> None:
    answer = read(OK + b"Transfer-Encoding: " + value + b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    assert told(answer) == (True, "", 200, b"ok")


def test_an_answer_with_the_coding_identity_ends_with_the_connection() -> None:
    for more in (b"", b"Content-Length: 2\r\n"):
        answer = read(OK + more + b"Transfer-Encoding: identity\r\n\r\nok", clean=True)
        assert told(answer) == (True, "", 200, b"ok")


@pytest.mark.parametrize("status", [b"200", b"204", b"304"])
def test_a_transfer_coding_is_ignored_if_there_is_no_body(status: bytes) -> None:
    head = b"HTTP/1.1 " + status + b" X\r\nTransfer-Encoding: gzip\r\n\r\n"
    assert cause(read(head, is_head=True)) is None
    assert cause(read(head)) is (Cause.MALFORMED if status == b"200" else None)


@pytest.mark.parametrize("length", [b"x", b"-1", b"2, 3", b"2\r\nContent-Length: 3", b"9" * 30])
@pytest.mark.parametrize("status", [b"200", b"204", b"304", b"101"])
def test_a_length_is_ignored_if_there_is_no_body(status: bytes, length: bytes) -> None:
    data = b"HTTP/1.1 " + status + b" X\r\nContent-Length: " + length + b"\r\nServer: y\r\n\r\n"
    for step in (1, 7, len(data)):
        parts = [data[at : at + step] for at in range(0, len(data), step)]
        assert told(read(*parts, is_head=True)) == (True, "", int(status), b"")
        answer = read(*parts)
        assert cause(answer) is (Cause.MALFORMED if status == b"200" else None)
        assert answer.is_done


def test_the_length_of_an_informational_answer_is_ignored() -> None:
    answer = read(b"HTTP/1.1 103 Early\r\nContent-Length: x\r\n\r\n" + SIZED)
    assert told(answer) == (True, "", 200, b"ok")
    refused = read(b"HTTP/1.1 103 Early\r\nContent-Length: x\r\n\r\n" + OK + b"Content-Length: x\r\n\r\n")
    assert cause(refused) is Cause.MALFORMED


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (OK + b"X Y: z\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", Cause.MALFORMED),
        (OK + b"X Y: z\r\nnothing\r\n\r\n", Cause.MALFORMED),
        (OK + b"X Y: a\0b\r\n\r\n", Cause.MALFORMED),
        (b"HTTP/1.1 200 O\0K\r\n\r\n", Cause.MALFORMED),
        (OK + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", Cause.MALFORMED),
        (b"HTTP/1.1 100 Go\r\nX Y: z\r\n\r\nHTTP/1.2 200 OK\r\n\r\n", Cause.STATUS_LINE),
        (b"HTTP/1.1 100 Go\r\n\r\nnonsense\r\n\r\n", Cause.STATUS_LINE),
        (b"HTTP/0.9 200 OK\r\n\r\n", Cause.STATUS_LINE),
        (OK + b"X Y: z\r\n" + b"X: y\r\n" * MAX_READ, Cause.HEAD_TOO_LONG),
    ],
)
def test_an_unreadable_answer_has_its_own_failure_after_an_odd_header_too(data: bytes, expected: Cause) -> None:
    for step in (1, 7, len(data)):
        answer = read(*(data[at : at + step] for at in range(0, len(data), step)))
        assert (answer.is_done, cause(answer)) == (True, expected)


def test_the_status_is_kept_if_an_odd_header_and_then_a_fault_follow() -> None:
    data = b"HTTP/1.1 503\r\nX Y: z\r\nX: a\0b\r\n\r\n"
    for step in (1, 7, len(data)):
        answer = read(*(data[at : at + step] for at in range(0, len(data), step)))
        assert (cause(answer), answer.status) == (Cause.MALFORMED, 503)


# Limits


@pytest.mark.parametrize("step", [1000, 16_384, 10 * MAX_READ])
@pytest.mark.parametrize(("over", "expected"), [(0, None), (1, Cause.HEAD_TOO_LONG)])
def test_headers_of_64_kib_are_read_however_they_are_split(step: int, over: int, expected: Cause | None) -> None:
    end = b"\r\nContent-Length: 0\r\n\r\n"
    data = OK + b"X: " + b"x" * (MAX_READ + over - len(OK) - 3 - len(end)) + end
    assert len(data) == MAX_READ + over
    answer = read(*(data[at : at + step] for at in range(0, len(data), step)))
    assert (answer.is_done, cause(answer)) == (True, expected)


@pytest.mark.parametrize("step", [1000, 16_384, 10 * MAX_READ])
@pytest.mark.parametrize("over", [0, 1, 100_000])
def test_64_kib_of_a_body_are_read_however_it_is_split(step: int, over: int) -> None:
    length = MAX_READ + over
    data = OK + b"Content-Length: %d\r\n\r\n" % length + b"x" * length
    answer = read(*(data[at : at + step] for at in range(0, len(data), step)))
    assert told(answer) == (True, "", 200, b"x" * MAX_READ)
    assert answer.is_keepable == (over == 0)


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK, b"X: y\r\n"),
        (OK + b"X: ", b"y" * 100),
        (CHUNKED + b"2\r\nok\r\n0\r\n", b"X: y\r\n"),
        (CHUNKED + b"2\r\nok\r\n0\r\nX: ", b"y" * 100),
        (CHUNKED + b"2;a=", b"b" * 100),
    ],
    ids=["100 Continue", "headers", "one header", "trailers", "one trailer", "an extension of a chunk"],
)
def test_endless_headers_around_a_body_end_the_probe(start: bytes, more: bytes) -> None:
    answer = read(start, *[more] * (MAX_READ // len(more) + 2))
    assert (answer.is_done, cause(answer)) == (True, Cause.HEAD_TOO_LONG)


def test_many_small_chunks_are_one_body() -> None:
    answer = read(CHUNKED, *[b"1\r\nx\r\n"] * (MAX_READ // 2), b"0\r\n\r\n")
    assert told(answer) == (True, "", 200, b"x" * (MAX_READ // 2))


def test_only_the_needed_part_of_a_body_is_kept() -> None:
    answer = exchange(kept=MAX_EXCERPT)
    answer.receive(OK + b"Content-Length: 10000\r\n\r\n" + b"x" * 10_000)
    assert (answer.is_done, len(answer.body)) == (True, MAX_EXCERPT)


# The request


@pytest.mark.parametrize(
    ("probe", "host"),
    [
        (HttpGet("web1", 80, "/"), b"web1"),
        (HttpGet("web1", 8080, "/"), b"web1:8080"),
        (HttpGet("web1", 443, "/", Tls()), b"web1"),
        (HttpGet("web1", 443, "/", Tls(server_name="a.example")), b"web1:443"),
        (HttpGet("fd00::1", 8080, "/"), b"[fd00::1]:8080"),
        (HttpGet("web1", 80, "/", headers=(("host", "other"),)), b"other"),
    ],
)
def test_the_host_header_has_the_port_unless_it_is_the_default_of_the_scheme(probe: HttpGet, host: bytes) -> None:
    lines = prepared(probe).request.split(b"\r\n")
    assert lines[0] == b"GET / HTTP/1.1"
    assert [line.partition(b": ")[2] for line in lines if line.lower().startswith(b"host: ")] == [host]
    assert lines[-2:] == [b"", b""]
