"""Every way in which a probe can end, and where it connects, against real targets."""

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.probes.http import NOT_FOLLOWED
from controller.probes.http_answer import MAX_EXCERPT, MAX_READ
from reconcilers.health import Outcome, Reason
from reconcilers.spec import PodKey
from tests.support import targets
from tests.support.authority import Authority, self_signed
from tests.support.net import until
from tests.support.probing import Bench, spec
from tests.support.targets import BlackHole, Target, twins

FAILURE, LOCAL, SUCCESS = Outcome.FAILURE, Outcome.LOCAL, Outcome.SUCCESS


def test_a_refused_connection_has_the_reason_refused(bench: Bench, target: Target) -> None:
    target.refuse()
    where = f"localhost:{target.port}"
    assert bench.verdict(spec(target)) == (FAILURE, Reason.REFUSED, f"connection to {where} refused")


def test_a_target_that_accepts_no_connection_is_a_timeout(bench: Bench) -> None:
    with BlackHole() as hole:
        verdict = bench.verdict(spec(hole, host="web1", address="127.0.0.1", timeout=0.3))
        assert verdict == (FAILURE, Reason.TIMEOUT, f"no connection to 127.0.0.1:{hole.port} for 0.3 s")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_timeout_without_a_connection_is_not_reported_as_a_failed_lookup(bench: Bench, host: str) -> None:
    with BlackHole() as hole:
        verdict = bench.verdict(spec(hole, host=host, timeout=0.3))
        assert verdict == (FAILURE, Reason.TIMEOUT, f"no connection to {host}:{hole.port} for 0.3 s")


def test_the_detail_of_a_timeout_says_that_a_connected_target_sent_nothing(bench: Bench, target: Target) -> None:
    target.greeting = targets.hang
    assert bench.verdict(spec(target, timeout=0.3)) == (FAILURE, Reason.TIMEOUT, "connected, then nothing for 0.3 s")
    target.greeting = None
    target.behave(targets.hang)
    assert bench.verdict(spec(target, timeout=0.3)) == (FAILURE, Reason.TIMEOUT, "connected, then nothing for 0.3 s")


def test_the_detail_of_a_timeout_says_that_the_handshake_stalled(bench: Bench, secure: Target) -> None:
    secure.greeting = targets.hang
    verdict = bench.verdict(spec(secure, timeout=0.3))
    assert verdict == (FAILURE, Reason.TIMEOUT, "connected, then no TLS handshake for 0.3 s")


def test_the_detail_of_a_timeout_says_that_the_target_was_silent_after_the_handshake(
    bench: Bench, secure: Target
) -> None:
    secure.behave(targets.hang)
    assert bench.verdict(spec(secure, timeout=0.3)) == (FAILURE, Reason.TIMEOUT, "connected, then nothing for 0.3 s")


@pytest.mark.parametrize(
    "behaviour",
    [
        targets.raw_then_hang(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"),
        targets.repeat([b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", *[b"x"] * 999], 0.02),
        targets.repeat([b"HTTP/1.1 200 OK\r\nX-Header: ", *[b"x"] * 999], 0.02),
    ],
    ids=["half a body", "a dripping body", "a dripping header"],
)
def test_an_answer_that_does_not_end_is_a_timeout_however_often_bytes_arrive(
    bench: Bench, target: Target, behaviour: targets.Behaviour
) -> None:
    target.behave(behaviour)
    result = bench.result(spec(target, timeout=0.3))
    assert (result.outcome, result.reason) == (FAILURE, Reason.TIMEOUT)
    assert result.detail == "the answer was not complete after 0.3 s"
    assert 0.28 < result.duration < 15, "the targets go on for twenty seconds"


@pytest.mark.parametrize("status", [201, 204, 400, 404, 500, 503, 999])
def test_a_status_other_than_200_is_a_failure_with_the_body(bench: Bench, target: Target, status: int) -> None:
    target.behave(targets.answer(status, b"" if status == 204 else b"migrating"))
    result = bench.result(spec(target))
    assert (result.outcome, result.reason, result.status_code) == (FAILURE, Reason.STATUS, status)
    assert result.detail == f"answered with status {status}"
    assert result.output == ("" if status == 204 else "migrating")


def test_a_redirect_is_not_followed(bench: Bench, target: Target) -> None:
    with Target() as other:
        target.behave(targets.redirect(f"http://localhost:{other.port}/"))
        assert bench.verdict(spec(target)) == (FAILURE, Reason.REDIRECT, f"answered with status 302{NOT_FOLLOWED}")
        target.behave(targets.redirect("/elsewhere", 301))
        assert bench.verdict(spec(target))[1] is Reason.REDIRECT
        assert other.accepted() == []
        assert len(target.hits()) == 2


@pytest.mark.parametrize(
    "behaviour",
    [
        targets.close,
        targets.reset,
        targets.raw(b"hello, I am no web server\r\n\r\n"),
        targets.raw(b"HTTP/1.1 000 Nothing\r\n\r\n"),
        targets.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"),
        targets.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        targets.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
        targets.raw(b"HTTP/1.1 200 OK\r\nX-Big: " + b"x" * 1_000_000 + b"\r\n\r\nok"),
        targets.repeat([b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000] * 100, 0),
    ],
    ids=[
        "close",
        "reset",
        "garbage",
        "status 000",
        "truncated body",
        "two lengths",
        "bad chunk",
        "1 MB header",
        "a flood of 100 Continue",
    ],
)
def test_an_answer_that_is_not_http_has_the_reason_protocol(
    bench: Bench, target: Target, behaviour: targets.Behaviour
) -> None:
    target.behave(behaviour)
    result = bench.result(spec(target))
    assert (result.outcome, result.reason) == (FAILURE, Reason.PROTOCOL)
    assert result.detail


@pytest.mark.parametrize(("status", "outcome"), [(200, SUCCESS), (500, FAILURE)])
def test_an_endless_body_is_cut_and_judged_by_its_status(
    bench: Bench, target: Target, status: int, outcome: Outcome
) -> None:
    target.behave(targets.endless(status))
    result = bench.result(spec(target))
    assert (result.outcome, result.status_code) == (outcome, status)
    assert result.output == "x" * MAX_EXCERPT


def test_a_body_of_exactly_the_limit_is_read_whole(bench: Bench, target: Target) -> None:
    target.behave(targets.answer(body=b"x" * MAX_READ))
    assert bench.result(spec(target)).outcome is SUCCESS


def test_a_body_that_is_not_text_is_shown_with_replacement_characters(bench: Bench, target: Target) -> None:
    target.behave(targets.answer(body=b"\xff\x00gr\xc3\xbc\xc3\x9fe"))
    assert bench.result(spec(target)).output == "\ufffd\x00grüße"


def test_the_body_of_a_probe_does_not_appear_in_the_next_result(bench: Bench, target: Target) -> None:
    target.behave(targets.answer(body=b"first"), "/first")
    target.behave(targets.answer(body=b""), "/second")
    assert bench.result(spec(target, "first")).output == "first"
    assert bench.result(spec(target, "second")).output == ""


# TLS


def test_https_with_a_good_certificate_is_a_success(bench: Bench, secure: Target) -> None:
    assert bench.result(spec(secure)).outcome is SUCCESS


def test_an_untrusted_certificate_has_the_reason_certificate(
    bench: Bench, authority: Authority, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    cases = {
        "expired": authority.server(not_after=now - timedelta(days=1), not_before=now - timedelta(days=2)),
        "not-yet-valid": authority.server(not_before=now + timedelta(days=1)),
        "of-another-host": authority.server("other.example"),
        "self-signed": self_signed(),
        "of-an-unknown-authority": Authority(tmp_path).server(),
    }
    with ExitStack() as stack:
        for name, context in cases.items():
            target = stack.enter_context(Target(context))
            outcome, reason, detail = bench.verdict(spec(target, name))
            assert (name, outcome, reason) == (name, FAILURE, Reason.CERTIFICATE)
            assert detail
            assert target.hits() == []


def test_plain_text_on_the_tls_port_is_a_failure_of_tls(bench: Bench, target: Target) -> None:
    target.greeting = targets.raw(b"HTTP/1.1 200 OK\r\n\r\nok")
    assert bench.verdict(spec(target, scheme="https"))[:2] == (FAILURE, Reason.TLS)


def test_a_handshake_that_is_cut_is_a_failure_of_tls(bench: Bench, secure: Target) -> None:
    secure.greeting = targets.close
    assert bench.verdict(spec(secure))[:2] == (FAILURE, Reason.TLS)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_connection_that_is_reset_at_once_is_a_failure(
    bench: Bench, secure: Target, target: Target, scheme: str
) -> None:
    """The stage that the probe has reached by then depends on microseconds."""
    reset = secure if scheme == "https" else target
    reset.greeting = targets.reset
    outcome, reason, detail = bench.verdict(spec(reset))
    assert outcome is FAILURE
    assert reason in {Reason.CONNECT, Reason.TLS, Reason.PROTOCOL}
    assert detail


def test_tls_1_0_is_a_failure_of_tls(bench: Bench, authority: Authority) -> None:
    with Target(authority.outdated()) as target:
        assert bench.verdict(spec(target))[:2] == (FAILURE, Reason.TLS)


def test_a_demanded_client_certificate_is_a_failure_of_tls(bench: Bench, authority: Authority) -> None:
    with Target(authority.demanding()) as target:
        assert bench.verdict(spec(target))[:2] == (FAILURE, Reason.TLS)


def test_each_probe_checks_the_certificate(bench: Bench, secure: Target) -> None:
    """A resumed session would skip it, and an expired certificate would be found late."""
    bench.engine.start([spec(secure, interval=0.2)])
    until(lambda: len(secure.hits()) >= 4)
    assert not any(hit.resumed for hit in secure.hits())


def test_a_missing_ca_file_has_the_outcome_local(tmp_path: Path, secure: Target) -> None:
    bench = Bench(tmp_path / "missing.pem")
    assert bench.verdict(spec(secure))[:2] == (LOCAL, Reason.LOCAL)
    bench.engine.close(10)


# Where it connects


def test_a_probe_connects_to_a_fixed_address_and_sends_the_name(bench: Bench, authority: Authority) -> None:
    with Target(authority.server("web1.example")) as target:
        result = bench.result(spec(target, host="web1.example", address="127.0.0.1"))
        assert result.outcome is SUCCESS
        assert target.hits()[0].headers["host"] == f"web1.example:{target.port}"


def test_another_check_does_not_use_the_fixed_address(bench: Bench) -> None:
    """The address of one check must not be used for another check."""
    with twins(None, "127.0.0.1", "127.0.0.2") as (target, elsewhere):
        assert bench.result(spec(target, "one", address="127.0.0.2")).outcome is SUCCESS
        assert bench.result(spec(target, "two", host="127.0.0.1")).outcome is SUCCESS
        assert [hit.path for hit in elsewhere.hits()] == ["/one"]
        assert [hit.path for hit in target.hits()] == ["/two"]


def test_a_probe_connects_to_an_ipv6_address(bench: Bench) -> None:
    try:
        target = Target(host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    with target:
        assert bench.result(spec(target, host="web1", address="::1")).outcome is SUCCESS


def test_a_target_that_listens_only_on_localhost_is_reached_by_that_name(bench: Bench, target: Target) -> None:
    check = spec(target, host="localhost")
    assert check.probe.host != check.key.node
    assert bench.result(check).outcome is SUCCESS


def test_a_name_that_cannot_be_resolved_is_a_failure_of_dns(bench: Bench) -> None:
    """A label of over 63 letters is refused by the C library: no test asks a name server."""
    name = "x" * 100
    outcome, reason, detail = bench.verdict(spec(1, host=name))
    assert (outcome, reason) == (FAILURE, Reason.DNS)
    assert name in detail


def test_an_invalid_address_fails_its_own_check_only(bench: Bench, target: Target) -> None:
    for number, address in enumerate(["gr\u00fc\u00df", "a\0b"]):
        assert bench.verdict(spec(target, f"bad-{number}", address=address))[:2] == (FAILURE, Reason.DNS)
    bench.engine.start([spec(target, f"pod-{number}", interval=0.3) for number in range(5)])
    bench.engine.start([spec(target, "bad", interval=0.1, address="gr\u00fc\u00df")])
    bench.results.after(PodKey("web1", "bad"), 3)
    until(lambda: all(len(target.hits(f"/pod-{number}")) >= 3 for number in range(5)))


def test_no_proxy_of_the_environment_is_used(
    authority: Authority, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Target() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        bench = Bench(authority.file)
        assert bench.result(spec(target, host="web1", address="127.0.0.1")).outcome is SUCCESS
        bench.engine.close(10)
        assert proxy.accepted() == []


def test_no_password_of_a_netrc_file_is_sent(
    authority: Authority, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine localhost login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    bench = Bench(authority.file)
    bench.result(spec(target))
    bench.engine.close(10)
    assert "authorization" not in target.hits()[0].headers


def test_a_cookie_is_not_sent_back(bench: Bench, target: Target) -> None:
    target.behave(targets.answer(200, b"ok", {"Set-Cookie": "a=b; Path=/"}))
    bench.engine.start([spec(target, interval=0.2)])
    until(lambda: len(target.hits()) >= 3)
    assert not any("cookie" in hit.headers for hit in target.hits())
