"""The result of every misbehaviour of a TLS target, with real certificates: its own reason and a sentence, in time. The
expiry of a certificate is shown even if the certificate was not accepted.
"""

import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconcilers.health import Outcome, ProbeResult, Reason
from reconcilers.spec import Tls
from tests.support import targets
from tests.support.authority import Authority
from tests.support.chains import FUTURE, PAST, cross_signed, link, serving, trusted
from tests.support.checks import grpc, https, probe_all
from tests.support.faults import after_hello, alert, old_hello, tls_record
from tests.support.health_server import HealthServer, healthy
from tests.support.net import until
from tests.support.probing import Bench, is_delayed
from tests.support.standstills import Standstills
from tests.support.targets import Behaviour, Target

T = 2.0
INTERVAL = 3.0
ENOUGH = 20.0
SLACK = 10.0
"""Seconds for which the machine may stand still."""

WHERE = r"localhost:\d+"
NO_VERSION = f"{WHERE} speaks no version of TLS that is accepted here \\(1.2 or newer\\)"
NO_HANDSHAKE = f"connected, then no TLS handshake for {T:g} s"
REFUSED_US = (
    f"{WHERE} refused the handshake: it has no cipher or no elliptic curve \\(group\\) in common with this controller"
)
NOT_TLS = f"{WHERE} does not speak TLS"
DEMANDED = f"{WHERE} demands a client certificate \\(tls.cert_file, tls.key_file\\)"
CLOSED = f"{WHERE} closed the connection during the TLS handshake"
NO_NAMES = "the certificate has no subject alternative names, only the subject CN ="
UNTRUSTED = "the certificate is signed by an authority that is not trusted"


class Makes:
    """Makes the contexts of servers, and the files of authorities that a client trusts."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self.authority = authority
        self.folder = folder
        self.root = link("root", authority=True)
        self.expired_root = link("expired root", authority=True, until=PAST)
        self.other = Authority(folder / "other")

    def server(self, **times: datetime) -> ssl.SSLContext:
        return self.authority.server(**times)

    def tls_1_2(self, context: ssl.SSLContext, ciphers: str = "") -> ssl.SSLContext:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        if ciphers:
            context.set_ciphers(ciphers)
        return context

    def chain_with_an_expired_link(self) -> ssl.SSLContext:
        middle = link("middle", self.root, authority=True, until=PAST)
        return serving(self.folder / "middle", link("leaf", middle, names=("localhost",)), middle)

    def below_an_expired_root(self) -> ssl.SSLContext:
        return serving(self.folder / "root", link("leaf", self.expired_root, names=("localhost",)))

    def with_a_cross_signed_root(self, until: datetime) -> ssl.SSLContext:
        middle = link("middle", self.root, authority=True)
        extra = cross_signed(self.root, self.expired_root, until=until)
        return serving(self.folder / "cross", link("leaf", middle, names=("localhost",)), middle, extra)

    def self_signed(self) -> ssl.SSLContext:
        return serving(self.folder / "own", link("own", names=("localhost",)))

    def client(self, authority: Authority) -> Tls:
        cert, key = authority.files("client.example")
        return Tls(cert_file=str(cert), key_file=str(key))

    def trusting(self, name: str) -> Tls:
        return Tls(ca_file=str(trusted(self.folder / f"trust-{name}", getattr(self, name))))


@dataclass(frozen=True, slots=True)
class Case:
    """A server's context, or what the server does in place of TLS, and the expected result."""

    name: str
    reason: Reason
    sentence: str
    context: Callable[[Makes], ssl.SSLContext] | None = None
    greeting: Behaviour | None = None
    behaviour: Behaviour | None = None
    tls: Callable[[Makes], Tls] = lambda _: Tls()
    expiry: datetime | None = None
    accepted_until: datetime | None = None

    def __str__(self) -> str:
        return self.name


CASES = [
    Case(
        "is as it should be",
        Reason.NONE,
        "",
        lambda make: make.server(not_after=FUTURE),
        expiry=FUTURE,
        accepted_until=FUTURE,
    ),
    # Certificates
    Case(
        "sends a root that another one, long expired, has signed, and is accepted without it",
        Reason.NONE,
        "",
        lambda make: make.with_a_cross_signed_root(PAST),
        tls=lambda make: make.trusting("root"),
        expiry=PAST,
        accepted_until=FUTURE,
    ),
    Case(
        "has a certificate that expired",
        Reason.CERTIFICATE,
        "the certificate expired on 2020-01-03: the server has to send a newer one",
        lambda make: make.server(not_after=PAST),
        expiry=PAST,
    ),
    Case(
        "has a certificate that is not yet valid",
        Reason.CERTIFICATE,
        "the certificate is not valid before 2099-05-06: it was deployed too early, or a clock is wrong",
        lambda make: make.server(not_before=FUTURE),
    ),
    Case(
        "has a certificate of another host",
        Reason.CERTIFICATE,
        "the certificate is not for localhost but for DNS:other.example, DNS:www.example",
        lambda make: make.authority.server("other.example", "www.example", not_after=FUTURE),
        expiry=FUTURE,
    ),
    Case(
        "has a certificate without a name",
        Reason.CERTIFICATE,
        f"{NO_NAMES} nobody: it has to be renewed with one for localhost",
        lambda make: serving(make.folder / "nameless", link("nobody", make.root)),
        tls=lambda make: make.trusting("root"),
        expiry=FUTURE,
    ),
    Case(
        "has a self-signed certificate",
        Reason.CERTIFICATE,
        "the certificate is self-signed: ca_file has to contain it, or the server needs a trusted one",
        Makes.self_signed,
        expiry=FUTURE,
    ),
    Case(
        "has a certificate of an unknown authority",
        Reason.CERTIFICATE,
        UNTRUSTED
        + r" \(O = trustme .*\)"
        + ": perhaps the server does not send this intermediate certificate, or ca_file lacks this authority",
        lambda make: make.other.server(not_after=FUTURE),
        expiry=FUTURE,
    ),
    Case(
        "has an authority of its own in its chain",
        Reason.CERTIFICATE,
        r"the chain ends in the root CN = root, which ca_file does not contain",
        lambda make: serving(make.folder / "whole", link("leaf", make.root, names=("localhost",)), make.root),
        expiry=FUTURE,
    ),
    Case(
        "has an expired link in its chain",
        Reason.CERTIFICATE,
        "the intermediate certificate CN = middle expired on 2020-01-03: the server has to send a newer one",
        Makes.chain_with_an_expired_link,
        tls=lambda make: make.trusting("root"),
        expiry=PAST,
    ),
    Case(
        "is signed by an authority of ours that expired",
        Reason.CERTIFICATE,
        "the authority that signed the certificate has expired: ca_file needs a newer one",
        Makes.below_an_expired_root,
        tls=lambda make: make.trusting("expired_root"),
        expiry=FUTURE,
    ),
    # Versions, ciphers, client certificates
    Case("speaks TLS 1.0 only", Reason.TLS, NO_VERSION, lambda make: make.authority.outdated()),
    Case("answers in TLS 1.0", Reason.TLS, NO_VERSION, greeting=after_hello(old_hello(), hold=True)),
    Case("says that it wants another version", Reason.TLS, NO_VERSION, greeting=after_hello(alert(70))),
    Case(
        "takes a weak cipher only",
        Reason.TLS,
        REFUSED_US,
        lambda make: make.tls_1_2(make.server(), "AES128-SHA:@SECLEVEL=0"),
    ),
    Case(
        "demands a client certificate in TLS 1.3",
        Reason.TLS,
        DEMANDED,
        lambda make: make.authority.demanding(),
    ),
    Case(
        "demands a client certificate in TLS 1.2",
        Reason.TLS,
        DEMANDED,
        lambda make: make.tls_1_2(make.authority.demanding()),
    ),
    Case("demands it by an alert", Reason.TLS, DEMANDED, greeting=after_hello(alert(116))),
    Case(
        "does not trust our client certificate",
        Reason.TLS,
        f"{WHERE} does not trust the authority that signed our client certificate",
        lambda make: make.authority.demanding(),
        tls=lambda make: make.client(make.other),
    ),
    Case(
        "accepts our client certificate",
        Reason.NONE,
        "",
        lambda make: make.authority.demanding(),
        tls=lambda make: make.client(make.authority),
    ),
    Case(
        "knows no such name", Reason.TLS, f"{WHERE} has no certificate for localhost", greeting=after_hello(alert(112))
    ),
    Case("has another trouble", Reason.TLS, f"no TLS with {WHERE}: .*internal error", greeting=after_hello(alert(80))),
    # It is no TLS, or does not get anywhere
    Case("answers in plain HTTP", Reason.TLS, NOT_TLS, greeting=targets.raw(b"HTTP/1.1 200 OK\r\n\r\nok")),
    Case("is a mail server", Reason.TLS, NOT_TLS, greeting=targets.raw_then_hang(b"220 mail ESMTP\r\n")),
    Case("says garbage", Reason.TLS, NOT_TLS, greeting=after_hello(bytes(range(256)) * 4)),
    Case("stalls at once", Reason.TIMEOUT, NO_HANDSHAKE, greeting=targets.hang),
    Case(
        "stalls in the handshake", Reason.TIMEOUT, NO_HANDSHAKE, greeting=after_hello(tls_record(22, b"\2"), hold=True)
    ),
    Case("drips its handshake", Reason.TIMEOUT, NO_HANDSHAKE, greeting=targets.drip(tls_record(22, bytes(99)), 0.03)),
    Case("closes at once", Reason.TLS, CLOSED, greeting=targets.close),
    Case("closes in the handshake", Reason.TLS, CLOSED, greeting=after_hello(tls_record(22, b"\2"))),
    Case(
        "is silent after the handshake",
        Reason.TIMEOUT,
        f"connected, then nothing for {T:g} s",
        Makes.server,
        behaviour=targets.hang,
    ),
]


@pytest.fixture(scope="module")
def bench(authority: Authority) -> Iterator[Bench]:
    bench = Bench(authority.file)
    yield bench
    bench.engine.close(10)


@pytest.fixture(scope="module")
def found(
    bench: Bench, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[ProbeResult, Target]]]:
    """The first result of each target, and the target."""
    make = Makes(authority, tmp_path_factory.mktemp("made"))
    with ExitStack() as stack:
        specs, servers = [], {}
        for case in CASES:
            target = stack.enter_context(Target(case.context(make) if case.context else None))
            target.greeting = case.greeting
            if case.behaviour:
                target.behave(case.behaviour)
            timeout = T if case.reason is Reason.TIMEOUT else ENOUGH
            specs.append(
                https(target.port, case.name, path="/", tls=case.tls(make), interval=INTERVAL, timeout=timeout)
            )
            servers[case.name] = target
        yield {name: (result, servers[name]) for name, result in probe_all(bench, specs).items()}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_target_that(case: Case, found: dict[str, tuple[ProbeResult, Target]]) -> None:
    result, target = found[case.name]
    outcome = Outcome.FAILURE if case.reason else Outcome.SUCCESS
    assert (result.outcome, result.reason) == (outcome, case.reason), result
    assert re.fullmatch(case.sentence, result.detail)
    assert result.duration < (T if case.reason is Reason.TIMEOUT else ENOUGH) + SLACK
    if case.expiry:
        assert result.certificate.expires == case.expiry.timestamp()
    if case.accepted_until:
        assert result.certificate.chain_expires == case.accepted_until.timestamp()
    if case.reason is Reason.CERTIFICATE:
        assert target.hits() == []
        assert result.certificate.chain_expires == 0, "what is refused has no chain"


def test_phases_say_where_the_time_went(found: dict[str, tuple[ProbeResult, Target]]) -> None:
    for result, _ in found.values():
        assert min(result.phases) >= 0
        assert sum(result.phases) <= result.duration + 0.01
    good = found["is as it should be"][0].phases
    assert min(good[1:4]) > 0
    assert found["stalls at once"][0].phases.tls > 0.3 * T
    assert found["is silent after the handshake"][0].phases.first_byte > 0.3 * T
    assert found["has a certificate that expired"][0].phases.first_byte == 0


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_a_demanded_client_certificate_is_named_every_time(
    authority: Authority, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The alert comes after our handshake, together with the end of the connection. There are a thousand probes."""
    bench = Bench(authority.file)
    with ExitStack() as stack:
        stack.callback(bench.engine.close, 10)
        pauses = stack.enter_context(Standstills())
        if kind == "http":
            port = stack.enter_context(Target(authority.demanding())).port
        else:
            server = HealthServer(healthy(), certificate=authority.files(), clients=authority.file)
            port = stack.enter_context(server).port
        make = https if kind == "http" else grpc
        specs = [make(port, f"demanding-{number}", tls=Tls(), interval=0.2) for number in range(20)]
        bench.engine.start(specs)

        def evidence() -> list[ProbeResult]:
            every = (result for result in bench.results.all() if not is_delayed(result))
            return [
                each for each in every if not pauses.within(each.started - epoch, each.started - epoch + each.duration)
            ]

        epoch = time.time() - time.monotonic()
        until(lambda: len(bench.results.all()) >= 1000, within=60)
        bench.engine.stop([spec.key for spec in specs])
    found = {(result.reason, result.detail) for result in evidence()}
    assert len(evidence()) > 100, "the machine stood still too often"
    assert found == {(Reason.TLS, f"localhost:{port} demands a client certificate (tls.cert_file, tls.key_file)")}
    assert "Traceback" not in capfd.readouterr().err


# What is verified, and by what


def test_a_server_name_is_asked_for_and_verified_and_the_host_header_stays(bench: Bench, authority: Authority) -> None:
    context, asked = authority.server("web.example"), []
    context.sni_callback = lambda _sock, name, _context: asked.append(name)
    with Target(context) as target:
        named, wrong = Tls(server_name="web.example"), Tls(server_name="www.example")
        found = probe_all(bench, [https(target.port, "named", tls=named), https(target.port, "wrong", tls=wrong)])
        assert found["named"].outcome is Outcome.SUCCESS
        assert found["wrong"].detail == "the certificate is not for www.example but for DNS:web.example"
        assert set(asked) == {"web.example", "www.example"}
        assert [hit.headers["host"] for hit in target.hits()] == [f"localhost:{target.port}"]


def test_a_server_name_goes_with_a_fixed_address(bench: Bench, authority: Authority) -> None:
    with Target(authority.server("web.example"), host="127.0.0.2") as target:
        tls = Tls(server_name="web.example")
        spec = https(target.port, "fixed", host="web1", address="127.0.0.2", tls=tls)
        assert bench.result(spec).outcome is Outcome.SUCCESS
        assert target.hits()[0].headers["host"] == f"web1:{target.port}"


def test_authorities_of_a_check_stand_in_place_of_the_engines_own(bench: Bench, secure: Target, tmp_path: Path) -> None:
    other = Authority(tmp_path)
    with Target(other.server()) as target:
        tls = Tls(ca_file=str(other.file))
        specs = [https(port, f"own-{port}", tls=tls) for port in (target.port, secure.port)]
        found = probe_all(bench, [*specs, https(secure.port, "default")])
    assert [result.outcome for result in found.values()] == [Outcome.SUCCESS, Outcome.FAILURE, Outcome.SUCCESS]


@pytest.mark.parametrize("until_when", [PAST, FUTURE], ids=["expired", "of another host"])
def test_verification_can_be_skipped_and_the_expiry_is_known(
    bench: Bench, authority: Authority, until_when: datetime
) -> None:
    context = authority.server("other.example", not_after=until_when)
    with Target(context) as target:
        result = bench.result(https(target.port, f"skip-{until_when.year}", tls=Tls(insecure_skip_verify=True)))
    assert (result.outcome, result.certificate.expires) == (Outcome.SUCCESS, until_when.timestamp())
    assert result.certificate.chain_expires == 0, "nothing was verified"


@pytest.mark.parametrize("option", ["ca_file", "cert_file"])
def test_a_file_that_went_away_is_our_own_fault_and_named(
    bench: Bench, secure: Target, tmp_path: Path, option: str
) -> None:
    missing = tmp_path / "missing.pem"
    tls = Tls(ca_file=str(missing)) if option == "ca_file" else Tls(cert_file=str(missing), key_file=str(missing))
    result = bench.result(https(secure.port, f"missing-{option}", tls=tls))
    assert (result.outcome, result.reason) == (Outcome.LOCAL, Reason.LOCAL)
    assert re.fullmatch(f"the probe could not be sent: .*{missing}.*", result.detail)


def test_a_certificate_that_expires_while_it_is_watched_is_said_to_have(bench: Bench, authority: Authority) -> None:
    """The certificate was accepted some seconds before. An accepted certificate is not read again for a minute."""
    end = (datetime.now(UTC) + timedelta(seconds=4)).replace(microsecond=0)
    with Target(authority.server(not_after=end)) as target:
        spec = https(target.port, "expiring", interval=0.2)
        bench.engine.start([spec])
        until(lambda: bench.results.all(spec.key)[-1:] and bench.results.all(spec.key)[-1].reason)
        bench.engine.stop([spec.key])
    results = bench.results.all(spec.key)
    first = next(result for result in results if result.reason)
    assert results[0].outcome is Outcome.SUCCESS
    assert {result.certificate.expires for result in results} == {end.timestamp()}
    assert results[0].certificate.chain_expires == end.timestamp()
    assert first.certificate.chain_expires == 0
    assert (first.reason, first.detail) == (
        Reason.CERTIFICATE,
        f"the certificate expired on {end:%Y-%m-%d}: the server has to send a newer one",
    )


def test_a_certificate_that_was_replaced_by_a_bad_one_is_reported(bench: Bench, authority: Authority) -> None:
    with Target(authority.server(not_after=FUTURE)) as target:
        spec = https(target.port, "replaced", interval=0.2)
        bench.engine.start([spec])
        bench.results.first(spec.key)
        target.tls = authority.server(not_after=PAST)
        until(lambda: bench.results.all(spec.key)[-1].certificate.expires == PAST.timestamp())
        bench.engine.stop([spec.key])
    bad = [result for result in bench.results.all(spec.key) if result.reason]
    assert {result.reason for result in bad} == {Reason.CERTIFICATE}
    assert all("expired" in result.detail for result in bad)
    assert bad[-1].detail == "the certificate expired on 2020-01-03: the server has to send a newer one"
