"""Dialogues without sockets: what is sent, what matches, what is refused, and how much work a slow target can cause."""

import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.probes import tcp
from controller.probes.dialogue import INJECTED, Dialogue, Wants
from controller.probes.failure import Cause
from controller.probes.incoming import MAX_EXCERPT, MAX_READ, MAX_WORK, Incoming
from controller.probes.starttls import LDAP_REQUEST, SSL_REQUEST
from reconcilers.fields import Match
from reconcilers.health import Reason
from reconcilers.spec import Step, TcpConnect, Tls
from reconcilers.steps import in_lines

EHLO, STARTTLS = b"EHLO podpulse.invalid\r\n", b"STARTTLS\r\n"
SMTP = (b"220 mail ESMTP\r\n", b"250-mail\r\n250-SIZE 1\r\n250 STARTTLS\r\n", b"220 go\r\n")
GRANTED = bytes.fromhex("300c02010178070a010004000400")
"""What OpenLDAP answers to StartTLS."""
LONG_FORM = bytes.fromhex("3084000000280201017884 0000001f0a010004000400 8a16".replace(" ", "")) + LDAP_REQUEST[-22:]
"""The form of Active Directory: lengths of four bytes, and the name of the operation at the end."""


def dialogue(*steps: Step, starttls: str = "") -> Dialogue:
    script = tcp.prepared(TcpConnect("web1", 1, Tls() if starttls else None, starttls, steps=steps))
    assert script
    return Dialogue(script)


def wants(subject: Dialogue) -> Wants:
    return subject.wants


def told(subject: Dialogue, pieces: Iterable[bytes]) -> bytes:
    """Returns everything that the dialogue sends in answer to these pieces, until it is done."""
    sent = subject.request
    for piece in pieces:
        if not subject.is_done:
            sent += subject.receive(piece)
    return sent


def test_a_step_sends_and_then_expects() -> None:
    steps = (Step(expect="^220 "), Step(b"EHLO a\r\n", "^250 "), Step(b"QUIT\r\n"))
    subject = dialogue(*steps)
    assert (subject.request, wants(subject), subject.has_spoken) == (b"", Wants.ANSWER, False)
    assert subject.receive(b"220-a\r\n22") == b""
    assert subject.receive(b"0 b\r\n") == b"EHLO a\r\n"
    assert (subject.receive(b"250-SIZE\r\n"), subject.label) == (b"", "step 2: ")
    assert not subject.has_spoken
    assert subject.receive(b"250 HELP\r\n") == b"QUIT\r\n"
    assert (wants(subject), subject.has_spoken, subject.fault) == (Wants.NOTHING, True, None)


def test_what_came_before_a_step_sends_is_no_answer_to_it() -> None:
    subject = dialogue(Step(expect="hello"), Step(b"PING\r\n", "PONG"))
    assert subject.receive(b"hello PONG\r\n") == b"PING\r\n"
    assert wants(subject) is Wants.ANSWER
    subject.receive(b"PONG")
    assert wants(subject) is Wants.NOTHING


def test_a_step_that_only_expects_continues_after_the_match_before() -> None:
    subject = dialogue(*(Step(expect="^[a-z]") for _ in range(3)))
    subject.receive(b"a\nb")
    assert (subject.label, wants(subject)) == ("step 3: ", Wants.ANSWER)
    subject.receive(b"c")
    assert wants(subject) is Wants.ANSWER
    subject.receive(b"\nd")
    assert wants(subject) is Wants.NOTHING


@pytest.mark.parametrize("expect", ["^OK$", r"OK\z", "OK(\r\n)?$"])
def test_the_end_of_a_line_is_not_where_a_piece_ends(expect: str) -> None:
    subject = dialogue(Step(expect=expect))
    subject.receive(b"OK")
    assert wants(subject) is Wants.ANSWER
    subject.receive(b"AY")
    subject.end(clean=True)
    assert subject.fault == (
        Reason.BODY,
        f"step 1: what came before the connection was closed does not match {expect!r}",
    )
    again = dialogue(Step(expect=expect))
    again.receive(b"OK")
    again.end(clean=True)
    assert (wants(again), again.fault, again.failure) == (Wants.NOTHING, None, None)


def test_a_truncated_tls_stream_has_no_end_of_text() -> None:
    subject = dialogue(Step(expect="OK$"))
    subject.receive(b"OK")
    subject.end(clean=False)
    assert subject.fault


def test_bytes_are_characters() -> None:
    subject = dialogue(Step(b"\x00\xff", "\\xff\\x00[\x80-\x8f]\xe9$"))
    assert subject.request == b"\x00\xff"
    subject.receive(b"\xff\x00\x85\xe9\n")
    assert wants(subject) is Wants.NOTHING
    assert subject.excerpt() == "\ufffd\x00\ufffd\ufffd\n"


def test_an_expression_that_matches_nothing_at_all_waits_for_a_byte() -> None:
    subject = dialogue(Step(expect="x*"))
    assert wants(subject) is Wants.ANSWER
    subject.receive(b"y")
    assert wants(subject) is Wants.NOTHING


def test_an_end_before_a_step_is_a_failure_that_names_it() -> None:
    for steps, pieces, label, cause in (
        ((Step(expect="a"),), (), "step 1: ", Cause.EMPTY),
        ((Step(expect="a"), Step(b"b", "c")), (b"a",), "step 2: ", Cause.EMPTY),
    ):
        subject = dialogue(*steps)
        told(subject, pieces)
        subject.end(clean=True)
        assert subject.failure
        assert (subject.label, subject.failure.cause) == (label, cause)
    subject = dialogue(Step(expect="a$"), Step(b"b"))
    subject.receive(b"a")
    subject.end(clean=True)
    assert subject.fault == (Reason.PROTOCOL, "step 2: the connection was closed before it")


def test_the_sentence_of_the_only_step_names_no_step() -> None:
    script = tcp.prepared(TcpConnect("web1", 1, send=b"PING\r\n", expect="^.PONG"))
    assert script
    subject = Dialogue(script)
    subject.receive(b"-NOAUTH Authentication required.\r\n")
    subject.late("5 s")
    assert subject.fault == (Reason.BODY, "what came back within 5 s does not match '^.PONG'")


def test_only_64_kib_are_read() -> None:
    subject = dialogue(Step(expect="b"), Step(expect="c"))
    told(subject, [b"a" * (MAX_READ - 2), b"b", b"a", b"c"])
    assert subject.fault == (Reason.BODY, "step 2: the first 64 KiB of what came back do not match 'c'")
    assert len(subject.excerpt()) == MAX_EXCERPT
    subject = dialogue(Step(expect="b"))
    told(subject, [b"a" * MAX_READ + b"b"])
    assert subject.fault
    subject = dialogue(Step(expect="b$"))
    told(subject, [b"a" * (MAX_READ - 2) + b"b\n"])
    assert (wants(subject), subject.fault) == (Wants.NOTHING, None)


class Counted:
    """An expression that counts the bytes that its searches have read."""

    def __init__(self, pattern: str, size: int) -> None:
        self._expression = in_lines(pattern)
        self.programsize = size
        self.read = 0

    def search(self, text: bytes, pos: int = 0, endpos: int | None = None) -> Match | None:
        self.read += len(text) - pos
        return self._expression.search(text, pos, endpos)


@pytest.mark.parametrize("size", [1, 20, 2_000])
def test_the_work_that_a_slow_target_causes_is_bounded(size: int) -> None:
    incoming, expression = Incoming(), Counted("b", size)
    for _ in range(MAX_READ):
        incoming.add(b"a")
        assert not incoming.find(expression, is_last=False)
    assert not incoming.find(expression, is_last=True)
    assert expression.read * size <= MAX_WORK + (MAX_READ * 3 + 20_000) * size


def test_a_match_that_was_put_off_is_found_at_the_end() -> None:
    incoming, expression = Incoming(), Counted("b", 2_000)
    for letter in b"a" * 5_000 + b"b":
        incoming.add(bytes([letter]))
        assert not incoming.find(expression, is_last=False)
    assert incoming.find(expression, is_last=True)
    subject = dialogue(Step(expect=".*".join("abc" for _ in range(150))))
    told(subject, (b"%c" % letter for letter in b"abc" * 150 + b"abc" * 10_000))
    assert wants(subject) is Wants.NOTHING


def test_every_protocol_asks_for_tls() -> None:
    for protocol, pieces, sent in (
        ("smtp", SMTP, EHLO + STARTTLS),
        ("imap", (b"* OK [CAPABILITY X] hi\r\n", b"* CAPABILITY Y\r\n", b"a OK go\r\n"), b"a STARTTLS\r\n"),
        ("pop3", (b"+OK hi\r\n", b"+OK go\r\n"), b"STLS\r\n"),
        ("postgres", (b"S",), SSL_REQUEST),
        ("ldap", (GRANTED,), LDAP_REQUEST),
        ("ldap", (LONG_FORM,), LDAP_REQUEST),
    ):
        for way in (pieces, [bytes([each]) for piece in pieces for each in piece]):
            subject = dialogue(Step(b"inside"), starttls=protocol)
            assert told(subject, way) == sent, protocol
            assert (wants(subject), subject.fault, subject.has_begun) == (Wants.TLS, None, False)
            assert not subject.has_spoken
            subject.start_tls()
            assert (subject.request, wants(subject), subject.has_spoken) == (b"inside", Wants.NOTHING, True)
    assert struct.pack(">ii", 8, 80877103) == SSL_REQUEST
    assert (LDAP_REQUEST[1], len(LDAP_REQUEST)) == (29, 31)


REFUSALS = {
    "smtp greets with an error": ("smtp", (b"554 no\r\n",), "the greeting is '554 no'"),
    "smtp is another protocol": ("smtp", (b"SSH-2.0-x\r\n",), "the greeting is 'SSH-2.0-x'"),
    "smtp has odd lines": ("smtp", (b"220-a\r\n", b"250 b\r\n"), "the greeting is '250 b'"),
    "smtp has a longer code": ("smtp", (b"2200 a\r\n",), "the greeting is '2200 a'"),
    "smtp knows no EHLO": ("smtp", (SMTP[0], b"502 what?\r\n"), "EHLO was answered with '502 what?'"),
    "smtp offers no TLS": ("smtp", (SMTP[0], b"250-STARTTLS\r\n250 SIZE\r\n"), "the server does not offer STARTTLS"),
    "smtp has no TLS now": ("smtp", (*SMTP[:2], b"454 later\xff\r\n"), "STARTTLS was answered with '454 later\ufffd'"),
    "imap says bye": ("imap", (b"* BYE full\r\n",), "the greeting is '* BYE full'"),
    "imap is authenticated": ("imap", (b"* PREAUTH hi\r\n",), "the greeting is '* PREAUTH hi'"),
    "imap says no": ("imap", (b"* OK \r\n", b"a NO never\r\n"), "STARTTLS was answered with 'a NO never'"),
    "imap has another tag": ("imap", (b"* OK \r\n", b"b OK \r\n"), "STARTTLS was answered with 'b OK '"),
    "pop3 greets with an error": ("pop3", (b"-ERR no\r\n",), "the greeting is '-ERR no'"),
    "pop3 says no": ("pop3", (b"+OK\r\n", b"-ERR no\r\n"), "STLS was answered with '-ERR no'"),
    "postgres has no TLS": ("postgres", (b"N",), "the server has no TLS: it answered SSLRequest with 'N'"),
    "postgres is old": ("postgres", (b"E",), "SSLRequest was answered with 'E', which is not PostgreSQL's"),
    "ldap says no": (
        "ldap",
        (bytes.fromhex("301702010178120a01020400040b") + b"unsupported",),
        "StartTLS was answered with the result code 2: 'unsupported'",
    ),
    "ldap says no more": (
        "ldap",
        (bytes.fromhex("300c02010178070a013404000400"),),
        "StartTLS was answered with the result code 52",
    ),
    "ldap is another protocol": ("ldap", (b"HTTP/1.1 400",), "StartTLS was answered with 'HT', which is not LDAP's"),
    "ldap is huge": ("ldap", (b"\x30\x85" + bytes(5),), "StartTLS was answered with '0\ufffd', which is not LDAP's"),
    "ldap answers another request": (
        "ldap",
        (bytes.fromhex("300c02010161070a010004000400"),),
        "which is not LDAP's",
    ),
    "ldap has nothing": ("ldap", (b"\x30\x00",), "which is not LDAP's"),
    "ldap has short elements": ("ldap", (b"\x30\x05\x02\x01\x01\x78\x09",), "which is not LDAP's"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_target_refuses_tls(name: str) -> None:
    protocol, pieces, words = REFUSALS[name]
    subject = dialogue(starttls=protocol)
    told(subject, pieces)
    assert subject.fault
    assert subject.fault[0] is Reason.PROTOCOL
    assert subject.fault[1].startswith(f"STARTTLS ({protocol}): ")
    assert words in subject.fault[1]


@pytest.mark.parametrize(
    ("protocol", "pieces"),
    [
        ("smtp", (*SMTP[:2], SMTP[2] + b"250 injected\r\n")),
        ("imap", (b"* OK \r\n", b"a OK go\r\n* injected\r\n")),
        ("pop3", (b"+OK\r\n", b"+OK go\r\n+OK injected\r\n")),
        ("postgres", (b"S" + b"injected",)),
        ("ldap", (GRANTED + b"injected",)),
    ],
)
def test_bytes_after_the_answer_and_before_tls_are_a_failure(protocol: str, pieces: tuple[bytes, ...]) -> None:
    subject = dialogue(Step(expect="injected"), starttls=protocol)
    told(subject, pieces)
    assert subject.fault == (Reason.PROTOCOL, f"STARTTLS ({protocol}): {INJECTED}")
    assert wants(subject) is not Wants.TLS


def test_a_negotiation_that_does_not_end_is_a_failure() -> None:
    subject = dialogue(starttls="imap")
    told(subject, [b"* OK \r\n", *[b"* x\r\n" * 1_000] * 20])
    assert subject.fault == (Reason.PROTOCOL, "STARTTLS (imap): 64 KiB came back without an answer")
    for pieces, words in (((), "no answer within 5 s"), ((b"220-",), "no complete answer within 5 s")):
        subject = dialogue(starttls="smtp")
        told(subject, pieces)
        subject.late("5 s")
        assert subject.fault == (Reason.TIMEOUT, f"STARTTLS (smtp): {words}")
    for pieces, cause in (((), Cause.EMPTY), ((b"220-",), Cause.CUT_SHORT)):
        subject = dialogue(starttls="smtp")
        told(subject, pieces)
        subject.end(clean=True)
        assert subject.failure
        assert subject.failure.cause is cause


@given(
    st.lists(
        st.builds(Step, st.binary(max_size=3), st.sampled_from(["", "a", "^b", "(a|b)+$", "[^x]{2}"])), max_size=4
    ),
    st.sampled_from(["", "smtp", "imap", "pop3", "postgres", "ldap"]),
    st.lists(st.binary(min_size=1, max_size=9) | st.sampled_from([*SMTP, GRANTED, b"+OK\r\n", b"* OK \r\n", b"S"])),
)
def test_any_bytes_in_any_pieces_end_in_a_verdict(steps: list[Step], starttls: str, pieces: list[bytes]) -> None:
    subject = dialogue(*[step for step in steps if step != Step()] or [Step(expect="a")], starttls=starttls)
    for piece in pieces:
        if subject.is_done or wants(subject) is Wants.NOTHING:
            break
        if wants(subject) is Wants.TLS:
            subject.start_tls()
        else:
            assert isinstance(subject.receive(piece), bytes)
    if not subject.is_done and wants(subject) is not Wants.TLS:
        subject.end(clean=True)
        assert subject.fault or subject.failure or wants(subject) is Wants.NOTHING
    assert subject.label.isprintable()
    assert isinstance(subject.excerpt(), str)
    subject.abandon()
