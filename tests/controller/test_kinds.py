"""The kinds of checks and their options, against real peers: gRPC's own server for gRPC."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from controller.probes.refusal import RIGHT_AFTER
from reconcilers.health import HealthState, Outcome, ProbeResult, Reason
from reconcilers.spec import Output, Tls
from tests.support import targets
from tests.support.authority import Authority
from tests.support.checks import JudgedResults, grpc, http, probe_all, tcp
from tests.support.faults import Listened
from tests.support.health_server import HealthServer, OddHealth, healthy
from tests.support.http2 import grpc_answer, in_turn, refuses
from tests.support.net import until
from tests.support.probing import Bench
from tests.support.recorders import FakeClock
from tests.support.targets import BlackHole, Target

T = 2.0
FAILURE, SUCCESS = Outcome.FAILURE, Outcome.SUCCESS

# tcp


def test_tcp_connects_says_nothing_and_closes_at_once(bench: Bench, target: Target) -> None:
    target.greeting = listened = Listened()
    result = bench.result(tcp(target.port, "tcp"))
    assert (result.outcome, result.reason, result.detail, result.output) == (SUCCESS, Reason.NONE, "", "")
    until(lambda: listened.heard)
    assert listened.heard == [b""]
    assert result.phases.connect > 0 == result.phases.first_byte


def test_tcp_needs_no_word_of_the_target(bench: Bench, target: Target) -> None:
    target.greeting = targets.hang
    assert bench.result(tcp(target.port, "silent")).outcome is SUCCESS


def test_tcp_tells_a_closed_port_from_a_black_hole_and_from_no_name(bench: Bench, target: Target) -> None:
    target.refuse()
    with BlackHole() as hole:
        found = probe_all(
            bench,
            [
                tcp(target.port, "closed"),
                tcp(hole.port, "hole", host="127.0.0.1", timeout=T),
                tcp(1, "nobody", host="x" * 80),
            ],
        )
    assert {name: (result.reason, result.detail) for name, result in found.items()} == {
        "closed": (Reason.REFUSED, f"connection to localhost:{target.port} refused"),
        "hole": (Reason.TIMEOUT, f"no connection to 127.0.0.1:{hole.port} for {T:g} s"),
        "nobody": (Reason.DNS, f"{'x' * 80} cannot be resolved: Name or service not known"),
    }


# gRPC

ABORTED = "{}: gr\u00fc\u00dfe: no"
GRPC_CASES: dict[str, tuple[Reason, str]] = {
    "the server": (Reason.NONE, ""),
    "good": (Reason.NONE, ""),
    "bad": (Reason.NOT_SERVING, "service 'bad' is NOT_SERVING"),
    "odd": (Reason.STATUS, "service 'odd' is UNKNOWN: its health was not set"),
    "stranger": (Reason.NOT_SERVING, "service 'stranger' is not known to the health service"),
    "TLS good": (Reason.NONE, ""),
    "TLS bad": (Reason.NOT_SERVING, "service 'bad' is NOT_SERVING"),
    "TLS stranger": (Reason.NOT_SERVING, "service 'stranger' is not known to the health service"),
    "TLS with our certificate": (Reason.NONE, ""),
    "TLS without our certificate": (Reason.TLS, ".*(demands a client certificate .*|a client certificate is demanded)"),
    "TLS of another": (Reason.CERTIFICATE, "the certificate is not for other.example but for DNS:localhost, .*"),
    "no health service": (Reason.PROTOCOL, "UNIMPLEMENTED: the server has no grpc.health.v1.Health"),
    "hang": (Reason.TIMEOUT, f"connected, then nothing for {T:g} s"),
    "slow": (Reason.NONE, ""),
    "UNAUTHENTICATED": (Reason.STATUS, ABORTED.format("UNAUTHENTICATED")),
    "UNAVAILABLE": (Reason.STATUS, ABORTED.format("UNAVAILABLE")),
    "UNKNOWN": (Reason.STATUS, ABORTED.format("UNKNOWN")),
    "plain to TLS": (Reason.PROTOCOL, "the connection was (closed|reset) .*"),
    "TLS to plain": (Reason.TLS, r"localhost:\d+ does not speak TLS"),
    "a web server": (Reason.PROTOCOL, "the answer is not HTTP/2, which gRPC and http_version: 2 need"),
    "a secure web server": (
        Reason.PROTOCOL,
        r"localhost:\d+ does not offer HTTP/2 by ALPN, which gRPC and http_version: 2 need",
    ),
    "a secure web server without it": (
        Reason.PROTOCOL,
        r"localhost:\d+ does not offer HTTP/2 by ALPN, which gRPC and http_version: 2 need",
    ),
    "silent": (Reason.TIMEOUT, f"connected, then nothing for {T:g} s"),
    "closes": (Reason.PROTOCOL, "the connection was closed without an answer"),
    "garbage": (Reason.PROTOCOL, "the answer is not HTTP/2, which gRPC and http_version: 2 need"),
    "closed": (Reason.REFUSED, r"connection to localhost:\d+ refused"),
}


@pytest.fixture(scope="module")
def answers(authority: Authority) -> Iterator[dict[str, ProbeResult]]:
    """The first result of each gRPC peer."""
    pair, (cert, key) = authority.files(), authority.files("client.example")
    odd = OddHealth()
    with ExitStack() as stack:
        bench = Bench(authority.file)
        stack.callback(bench.engine.close, 10)
        plain, bare, strange, secure, strict = (
            stack.enter_context(server)
            for server in (
                HealthServer(healthy()),
                HealthServer(),
                HealthServer(odd.service()),
                HealthServer(healthy(), certificate=pair),
                HealthServer(healthy(), certificate=pair, clients=authority.file),
            )
        )
        stack.callback(odd.closing.set)
        web, secure_web, silent, closes, garbage, closed = (
            stack.enter_context(Target(context)) for context in (None, authority.server(), None, None, None, None)
        )
        secure_web.behave(targets.answer(404), "/grpc.health.v1.Health/Check")
        silent.greeting, closes.greeting = targets.hang, targets.close
        garbage.greeting = targets.raw(bytes(range(256)) * 40)
        closed.refuse()
        secure_web_ok = stack.enter_context(Target(authority.server()))
        tls = Tls()
        yield probe_all(
            bench,
            [
                grpc(plain.port, "the server"),
                *(grpc(plain.port, name, service=name) for name in ("good", "bad", "odd", "stranger")),
                *(grpc(secure.port, f"TLS {name}", service=name, tls=tls) for name in ("good", "bad", "stranger")),
                grpc(strict.port, "TLS with our certificate", tls=Tls(cert_file=str(cert), key_file=str(key))),
                grpc(strict.port, "TLS without our certificate", tls=tls),
                grpc(secure.port, "TLS of another", tls=Tls(server_name="other.example")),
                grpc(bare.port, "no health service"),
                grpc(strange.port, "hang", service="hang", timeout=T),
                *(
                    grpc(strange.port, name, service=name)
                    for name in ("slow", "UNAUTHENTICATED", "UNAVAILABLE", "UNKNOWN")
                ),
                grpc(secure.port, "plain to TLS"),
                grpc(plain.port, "TLS to plain", tls=tls),
                grpc(web.port, "a web server"),
                grpc(secure_web_ok.port, "a secure web server", tls=tls),
                grpc(secure_web.port, "a secure web server without it", tls=tls),
                grpc(silent.port, "silent", timeout=T),
                grpc(closes.port, "closes"),
                grpc(garbage.port, "garbage"),
                grpc(closed.port, "closed"),
            ],
        )


@pytest.mark.parametrize("name", GRPC_CASES)
def test_grpc_of(name: str, answers: dict[str, ProbeResult]) -> None:
    reason, sentence = GRPC_CASES[name]
    result = answers[name]
    assert (result.outcome, result.reason) == (FAILURE if reason else SUCCESS, reason), result
    assert re.fullmatch(sentence, result.detail)
    assert result.duration < T + 10
    assert sum(result.phases) <= result.duration + 0.01


@pytest.mark.parametrize("rst", [False, True], ids=["FIN", "RST"])
def test_however_a_grpc_server_turns_us_away_after_the_handshake_it_means_the_same(
    authority: Authority, target: Target, rst: bool
) -> None:
    context = authority.server()
    context.set_alpn_protocols(["h2"])
    target.greeting = targets.cut_after_handshake(context, rst=rst)
    bench = Bench(authority.file, clock=FakeClock())
    found = probe_all(bench, [grpc(target.port, f"{number}", tls=Tls()) for number in range(20)])
    bench.engine.close(10)
    assert {(result.reason, result.detail) for result in found.values()} == {
        (
            Reason.TLS,
            "closed right after the TLS handshake: perhaps a client certificate is demanded",
        )
    }


def test_a_grpc_server_that_dies_over_a_request_did_not_turn_us_away(
    bench: Bench, authority: Authority, target: Target
) -> None:
    context = authority.server()
    context.set_alpn_protocols(["h2"])
    target.greeting = targets.cut_after_handshake(context, after=RIGHT_AFTER + 0.1)
    results = (bench.result(grpc(target.port, "dies", tls=Tls())) for _ in range(5))
    result = next(each for each in results if each.reason is not Reason.TLS)  # a late engine sees the end at once
    assert (result.outcome, result.reason) == (FAILURE, Reason.PROTOCOL)
    assert re.fullmatch("the connection was (closed without an|reset before the) answer.*", result.detail)


def test_a_grpc_server_that_says_goaway_to_every_request_is_said_to_close(bench: Bench, target: Target) -> None:
    settings, goaway = bytes([0, 0, 0, 4, *[0] * 5]), bytes([0, 0, 8, 7, *[0] * 13])

    def behave(connection: targets.Connection) -> None:
        connection.send(settings)
        connection.sock.recv(4096)
        connection.send(goaway)

    target.greeting = behave
    result = bench.result(grpc(target.port, "goes"))
    assert (result.outcome, result.reason) == (FAILURE, Reason.PROTOCOL)
    assert result.detail == "the connection was closed before an answer, and so was each of the next ones"


REFUSALS = {
    "GOAWAY": "the connection was closed before an answer, and so was each of the next ones",
    "GOAWAY, then the end": "the connection was closed before an answer, and so was each of the next ones",
    "REFUSED_STREAM": "the server refused the call (REFUSED_STREAM), also on a new connection",
}


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("times", [1, 2])
def test_a_grpc_call_that_the_server_has_not_processed_is_made_once_more(
    bench: Bench, target: Target, refusal: str, times: int
) -> None:
    serving = grpc_answer([(b"grpc-status", b"0")])
    target.greeting = in_turn(*[refuses(refusal)] * times, serving)
    result = bench.result(grpc(target.port, "refused"))
    failed = (FAILURE, Reason.PROTOCOL, REFUSALS[refusal])
    assert (result.outcome, result.reason, result.detail) == (failed if times > 1 else (SUCCESS, Reason.NONE, ""))
    assert len(target.accepted()) == 2


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_grpc_call_that_is_refused_over_tls_is_made_once_more_and_not_for_each_library(
    bench: Bench, authority: Authority, refusal: str
) -> None:
    context = authority.server()
    context.set_alpn_protocols(["h2"])

    def over_tls(connection: targets.Connection) -> None:
        connection.sock = context.wrap_socket(connection.sock, server_side=True)
        refuses(refusal)(connection)

    with Target() as target:
        target.greeting = over_tls
        result = bench.result(grpc(target.port, "refused", tls=Tls()))
        assert (result.outcome, result.reason, result.detail) == (FAILURE, Reason.PROTOCOL, REFUSALS[refusal])
        assert len(target.accepted()) == 2


def test_a_call_that_is_made_once_more_has_no_more_time(bench: Bench, target: Target) -> None:
    target.greeting = in_turn(targets.slow(0.3, refuses("GOAWAY")), targets.hang)
    result = bench.result(grpc(target.port, "refused", timeout=0.6))
    assert (result.outcome, result.reason) == (FAILURE, Reason.TIMEOUT)
    assert 0.5 < result.duration < 6


def test_a_slow_health_service_shows_in_the_first_byte(answers: dict[str, ProbeResult]) -> None:
    assert answers["slow"].phases.first_byte > 0.28
    assert answers["TLS good"].phases.tls > 0
    assert answers["TLS good"].certificate.expires > answers["TLS good"].started


# Options


OPTIONS: list[tuple[str, targets.Behaviour, dict[str, Any], Reason]] = [
    ("HEAD", targets.raw(targets.head(200, {"Content-Length": "50"})), {"method": "HEAD"}, Reason.NONE),
    ("HEAD that is answered with a body", targets.answer(), {"method": "HEAD"}, Reason.NONE),
    ("a status in a range", targets.answer(204, b""), {"expect_status": ((200, 299),)}, Reason.NONE),
    ("the first status of a range", targets.answer(300, b""), {"expect_status": ((200, 200), (300, 399))}, Reason.NONE),
    ("the last status of a range", targets.answer(399, b""), {"expect_status": ((200, 200), (300, 399))}, Reason.NONE),
    ("a status beyond", targets.answer(400, b""), {"expect_status": ((200, 200), (300, 399))}, Reason.STATUS),
    ("200 that is not wanted", targets.answer(), {"expect_status": ((401, 401),)}, Reason.STATUS),
    ("a redirect that is not wanted", targets.redirect("/"), {"expect_status": ((200, 299),)}, Reason.REDIRECT),
    ("a body that matches", targets.answer(body=b"all is well\n"), {"expect_body": r"\bwell\b"}, Reason.NONE),
    ("a body that does not", targets.answer(body=b"all is bad\n"), {"expect_body": r"\bwell\b"}, Reason.BODY),
    ("no body", targets.answer(body=b""), {"expect_body": "."}, Reason.BODY),
    ("a body that is no text", targets.answer(body=b"\xff\xfe \xc3\xbc"), {"expect_body": "^.. \u00fc$"}, Reason.NONE),
    ("bytes that are no UTF-8", targets.answer(body=b"caf\xe9"), {"expect_body": "^caf\ufffd$"}, Reason.NONE),
    ("a match at 64 KiB", targets.answer(body=b"x" * 65_531 + b"match"), {"expect_body": "match$"}, Reason.NONE),
    ("a match beyond 64 KiB", targets.answer(body=b"x" * 65_536 + b"match"), {"expect_body": "match"}, Reason.BODY),
    ("the status before the body", targets.answer(500, b"bad"), {"expect_body": "well"}, Reason.STATUS),
]  # fmt: skip


def test_options_decide_what_is_healthy(bench: Bench, target: Target) -> None:
    specs = []
    for number, (name, behaviour, options, _) in enumerate(OPTIONS):
        target.behave(behaviour, f"/{number}")
        specs.append(http(target.port, name, path=f"/{number}", **options))
    found = probe_all(bench, specs)
    assert {name: found[name].reason for name, *_ in OPTIONS} == {name: reason for name, *_, reason in OPTIONS}
    assert found["HEAD"].output == ""
    assert {hit.method for hit in target.hits("/0")} == {"HEAD"}
    assert found["a body that does not"].detail == r"the body does not match '\\bwell\\b'"


@pytest.mark.parametrize("server_name", ["", "localhost"])
def test_a_host_among_the_headers_replaces_the_own_one_and_nothing_else(
    bench: Bench, authority: Authority, server_name: str
) -> None:
    """The certificate is for localhost: TLS verifies another name than that of the header."""
    with Target(authority.server()) as target:
        spec = http(
            target.port, "virtual", headers=(("X-A", "b"), ("host", "shop.example")), tls=Tls(server_name=server_name)
        )
        assert bench.result(spec).outcome is SUCCESS
        assert target.hits()[0].headers["host"] == "shop.example"
        assert [*target.hits()[0].headers].count("host") == 1


def test_headers_are_sent_as_they_are(bench: Bench, target: Target) -> None:
    headers = (("X-Token", "a b"), ("User-Agent", "me"), ("Accept", "text/plain"))
    assert bench.result(http(target.port, "headers", headers=headers)).outcome is SUCCESS
    sent = target.hits()[0].headers
    assert {name.lower(): sent[name.lower()] for name, _ in headers} == {name.lower(): text for name, text in headers}
    assert sent["host"] == f"localhost:{target.port}"


@pytest.mark.parametrize("status", [200, 500])
def test_output_is_kept_unless_it_is_turned_off(bench: Bench, target: Target, status: int) -> None:
    target.behave(targets.answer(status, b"secret"))
    found = probe_all(bench, [http(target.port, "kept"), http(target.port, "off", output=Output.NEVER)])
    assert {name: result.output for name, result in found.items()} == {"kept": "secret", "off": ""}


@pytest.mark.parametrize(
    ("output", "kept"), [(Output.ALWAYS, {200, 500}), (Output.FAILURES, {500}), (Output.NEVER, set())]
)
def test_output_is_kept_of_the_probes_that_it_is_allowed_for(
    bench: Bench, target: Target, output: Output, kept: set[int]
) -> None:
    for status in (200, 500):
        target.behave(targets.answer(status, b"secret"), f"/{status}")
    found = probe_all(bench, [http(target.port, str(status), output=output) for status in (200, 500)])
    assert {int(name) for name, result in found.items() if result.output == "secret"} == kept
    assert {int(name) for name, result in found.items() if not result.output} == {200, 500} - kept


def test_output_is_turned_off_for_an_answer_that_breaks_too(bench: Bench, target: Target) -> None:
    target.behave(targets.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nsecret"))
    found = probe_all(bench, [http(target.port, "kept"), http(target.port, "off", output=Output.NEVER)])
    assert {name: result.output for name, result in found.items()} == {"kept": "secret", "off": ""}
    assert {result.reason for result in found.values()} == {Reason.PROTOCOL}


@pytest.fixture
def judged(authority: Authority) -> Iterator[tuple[Bench, JudgedResults]]:
    """An engine whose results a real store judges."""
    results = JudgedResults()
    bench = Bench(authority.file, results=results)
    yield bench, results
    bench.engine.close(10)


def test_thresholds_count_results_in_a_row(judged: tuple[Bench, JudgedResults], target: Target) -> None:
    bench, results = judged
    target.behave(targets.answer(500))
    spec = http(target.port, "counted", interval=0.1, failure_threshold=3, success_threshold=4)
    bench.engine.start([spec])
    until(lambda: results.states == ["counted critical"])
    failures = len(results.all(spec.key))
    target.behave(targets.answer())
    until(lambda: results.states == ["counted critical", "counted passing"])
    outcomes = [result.outcome for result in results.all(spec.key)]
    assert failures >= 3
    assert outcomes[-4:].count(SUCCESS) == outcomes.count(SUCCESS) == 4 or outcomes.count(SUCCESS) > 4


def test_nothing_is_said_before_the_initial_delay_has_passed(
    judged: tuple[Bench, JudgedResults], target: Target
) -> None:
    bench, results = judged
    target.behave(targets.answer(503))
    slow = http(target.port, "slow", interval=0.1, initial_delay=1.0)
    hasty = http(target.port, "hasty", interval=0.1, initial_delay=60.0)
    bench.engine.start([slow, hasty])
    until(lambda: results.states == ["slow critical"])
    health = results.store.health(slow.key)
    assert health
    assert health[0].since >= health[0].born + 1.0
    until(lambda: len(results.all(hasty.key)) > 5)
    assert results.states == ["slow critical"], "failures during the delay say nothing"
    target.behave(targets.answer())
    until(lambda: "hasty passing" in results.states)
    target.behave(targets.answer(503))
    until(lambda: "hasty critical" in results.states)
    assert results.states.index("hasty passing") < results.states.index("hasty critical")
    assert HealthState.UNKNOWN not in {state.split()[1] for state in results.states}
