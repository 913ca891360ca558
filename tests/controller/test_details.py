"""What `metrics: full` collects of probes and exports. Without it nothing of this is collected."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from controller.config import Config
from controller.health.store import HealthStore
from controller.intent.manifest_store import ManifestStore
from controller.probes.details import MAX_LABEL, MAX_LEAVES, DetailedExchange, Leaves
from controller.probes.http_answer import MAX_READ, Prepared
from controller.web.exposition import Exposition, Format, OptionalFamilies
from controller.web.full_families import FULL
from reconcilers.health import Outcome, Phases, ProbeResult
from reconcilers.options import Rules
from reconcilers.probe_details import HttpDetails, Leaf, ProbeDetails
from reconcilers.spec import CheckSpec, HttpGet, PodKey, Tls
from reconcilers.target_guard import Guard
from tests.support.authority import Authority
from tests.support.checks import grpc, http, https, tcp
from tests.support.health_server import HealthServer, healthy
from tests.support.net import until
from tests.support.nginx import NginxSite
from tests.support.probing import Bench
from tests.support.targets import Target, answer, redirect

OK = b"HTTP/1.1 200 OK\r\n"
LONG = b"x" * 100
SHOP = PodKey("web1", "shop")

ANSWERS = {
    "usual": (OK + b"Content-Length: 3\r\n\r\nok\n", (1.1, 3)),
    "empty": (OK + b"Content-Length: 0\r\n\r\n", (1.1, 0)),
    "1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", (1.0, 2)),
    "until the end": (b"HTTP/1.0 200 OK\r\n\r\nok", (1.0, -1)),
    "chunked": (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", (1.1, -1)),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", (1.1, 0)),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n", (1.1, 0)),
    "interim answer first": (b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", (1.1, 2)),
    "odd headers": (OK + b"Odd Name: x\r\nContent-Length: 2\r\n\r\nok", (1.1, 2)),
    "blanks": (OK + b"content-length:   2  \r\n\r\nok", (1.1, 2)),
    "too long to be kept": (OK + b"Content-Length: 70000\r\n\r\n" + b"x" * 70_000, (1.1, 70_000)),
    "huge": (OK + b"Content-Length: 1000000000000000000\r\n\r\n", (1.1, -1)),
    "not http": (b"SSH-2.0-OpenSSH_9\r\n", None),
    "no status": (b"HTTP/1.1\r\n\r\n", None),
}


def read(data: bytes, size: int, *, is_head: bool = False) -> DetailedExchange:
    exchange = DetailedExchange(Prepared(b"", MAX_READ, is_head))
    for start in range(0, len(data), size):
        exchange.receive(data[start : start + size])
    exchange.end(clean=True)
    return exchange


@pytest.mark.parametrize("size", [1 << 20, 1_000, 7, 1])
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_has_a_version_and_a_length_however_it_arrives(name: str, size: int) -> None:
    data, expected = ANSWERS[name]
    found = read(data, max(size, len(data) // 5_000))
    assert ((float(found.version), found.content_length) if found.version else None) == expected


def test_the_length_of_an_answer_to_head_is_the_stated_one() -> None:
    for line, length in ((b"Content-Length: 77\r\n", 77), (b"", -1)):
        found = read(OK + line + b"\r\n", 1_000, is_head=True)
        assert (found.is_done, found.content_length) == (True, length)


def test_a_second_answer_on_the_connection_changes_nothing() -> None:
    found = read(OK + b"Content-Length: 2\r\n\r\nok" + OK + b"Content-Length: 5\r\n\r\nother", 1_000)
    assert (found.version, found.content_length) == ("1.1", 2)


@given(st.binary(max_size=200), st.integers(1, 50))
def test_no_answer_is_too_odd(data: bytes, size: int) -> None:
    for start in (b"", OK, OK + b"Content-Length: "):
        assert read(start + data, size).content_length >= -1


@pytest.fixture
def detailed(tmp_path: Path) -> Iterator[tuple[Bench, Authority]]:
    authority = Authority(tmp_path / "tls")
    bench = Bench(authority.file, details=True)
    yield bench, authority
    bench.engine.close(5)


def test_a_result_has_the_details_of_its_probe(detailed: tuple[Bench, Authority], target: Target) -> None:
    bench, authority = detailed
    with Target(authority.server("localhost")) as secured:
        plain, tls = bench.result(http(target.port, "plain")), bench.result(https(secured.port, "tls"))
        assert plain.details == ProbeDetails(4, http=HttpDetails(1.1, 3))
        assert tls.details is not None
        assert tls.details.tls_version == "TLS 1.3"
        assert tls.details.http == HttpDetails(1.1, 3, is_over_tls=True)
        assert tls.details.leaf is not None
        assert tls.details.leaf.subjectalternative == "localhost"
        untrusted = bench.result(https(secured.port, "untrusted", tls=Tls(server_name="other")))
        assert untrusted.details == ProbeDetails(4, http=HttpDetails()), "a refused certificate is none of the target"
        unverified = bench.result(https(secured.port, "any", tls=Tls(insecure_skip_verify=True)))
        assert unverified.details is not None
        assert unverified.details.leaf == tls.details.leaf


def test_a_probe_without_an_answer_has_the_details_so_far(detailed: tuple[Bench, Authority], target: Target) -> None:
    bench, _ = detailed
    assert bench.result(tcp(target.port, "tcp")).details == ProbeDetails(4)
    target.refuse()
    assert bench.result(http(target.port, "closed")).details == ProbeDetails(4, http=HttpDetails())
    assert bench.result(http(1, "nobody", host="x" * 70)).details == ProbeDetails(http=HttpDetails())
    assert bench.result(tcp(target.port, "tcp6", address="::1")).details == ProbeDetails(6)


def test_a_grpc_check_has_no_details_of_http(detailed: tuple[Bench, Authority]) -> None:
    bench, _ = detailed
    with HealthServer(healthy()) as server:
        assert bench.result(grpc(server.port, "grpc")).details == ProbeDetails(4)


@pytest.mark.parametrize("reloaded", [False, True])
def test_a_redirect_is_followed_and_the_last_answer_counts(
    detailed: tuple[Bench, Authority], target: Target, *, reloaded: bool
) -> None:
    bench, authority = detailed
    for details in (False, True) if reloaded else ():
        bench.engine.apply(ca_file=str(authority.file), guard=Guard(), details=details)
    target.behave(redirect("/last"), "/first")
    target.behave(answer(body=b"the last one"), "/last")
    result = bench.result(http(target.port, "hops", path="/first", follow_redirects=2))
    assert (result.outcome, result.detail) == (Outcome.SUCCESS, "")
    assert result.details == ProbeDetails(4, http=HttpDetails(1.1, 12))
    elsewhere = bench.result(http(target.port, "one", path="/first", follow_redirects=0))
    assert elsewhere.details == ProbeDetails(4, http=HttpDetails(1.1, 0))


def test_http_2_has_its_version_and_the_stated_length(detailed: tuple[Bench, Authority]) -> None:
    bench, authority = detailed
    with NginxSite(authority) as site:
        for path, length in (("/ok", None), ("/none", 0)):
            result = bench.result(https(site.secure, f"h2{path[1:]}", path=path, http_version="2"))
            expected = len(result.output) if length is None else length
            assert result.details is not None
            assert result.details.http == HttpDetails(2.0, expected, is_over_tls=True)


def test_details_begin_and_end_while_checks_run(bench: Bench, authority: Authority, target: Target) -> None:
    spec = http(target.port, "live", interval=0.1, timeout=5.0)

    def last() -> ProbeDetails | None:
        return bench.results.all(spec.key)[-1].details

    bench.engine.start([spec])
    until(lambda: bench.results.all(spec.key))
    assert last() is None
    bench.engine.apply(ca_file=str(authority.file), guard=Guard(), details=True)
    until(lambda: last() == ProbeDetails(4, http=HttpDetails(1.1, 3)))
    target.behave(answer(body=b"longer"))
    until(lambda: last() == ProbeDetails(4, http=HttpDetails(1.1, 6)))
    bench.engine.apply(ca_file=str(authority.file), guard=Guard())
    until(lambda: last() is None)


# Certificates


def certificate(subject: x509.Name, *names: str, serial: int = 0x0A0B) -> bytes:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), serial, now, now + timedelta(days=1))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def name(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])


def test_a_name_has_the_order_of_go() -> None:
    subject = name(
        (NameOID.COUNTRY_NAME, "DE"),
        (NameOID.STATE_OR_PROVINCE_NAME, "Hesse"),
        (NameOID.LOCALITY_NAME, "Mainz"),
        (NameOID.ORGANIZATION_NAME, "Shop, Inc."),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "a"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "b"),
        (NameOID.COMMON_NAME, "shop"),
        (NameOID.SERIAL_NUMBER, "7"),
    )
    leaf = Leaves().read(certificate(subject, "shop", "*.shop"))
    assert leaf.subject == r"SERIALNUMBER=7,CN=shop,ST=Hesse,L=Mainz,OU=a+OU=b,O=Shop\, Inc.,C=DE"
    assert (leaf.issuer, leaf.subjectalternative, leaf.serialnumber) == (leaf.subject, "shop,*.shop", "0a0b")
    assert len(leaf.fingerprint_sha256) == 64


def test_a_hostile_certificate_is_bounded_and_makes_sound_labels() -> None:
    hostile = name((NameOID.COMMON_NAME, 'a"} 1\nb\0\\\u202e'), (NameOID.EMAIL_ADDRESS, "x" * 1_000))
    many = certificate(hostile, *(f"{number}.example.com" for number in range(500)))
    leaf = Leaves().read(many)
    assert {len(leaf.subject), len(leaf.subjectalternative)} == {MAX_LABEL}
    (sample,) = scraped(ProbeDetails(leaf=leaf))["probe_ssl_last_chain_info"].samples
    assert sample.labels == {"node": "web1", "pod": "shop", **leaf._asdict()}
    assert "\n" not in sample.labels["subject"]


def test_what_is_no_certificate_has_a_fingerprint_only() -> None:
    assert Leaves().read(b"no certificate")[1:] == ("", "", "", "")
    assert Leaves().read(certificate(name())).subjectalternative == ""


def test_certificates_are_read_once_and_not_remembered_for_ever() -> None:
    leaves = Leaves()
    first = leaves.read(b"0")
    assert leaves.read(b"0") is first
    for number in range(1, MAX_LEAVES + 1):
        leaves.read(str(number).encode())
    assert leaves.read(b"0") is not first


# The series


def store(*results: ProbeDetails | None) -> HealthStore:
    healths = HealthStore(lambda _: None)
    keys = [PodKey("web1", f"shop{number or ''}") for number in range(len(results))]
    healths.follow((CheckSpec(key, HttpGet("web1", 80, "/", Tls()), 5.0, 2.0), 1) for key in keys)
    phases = Phases(dns=0.25)
    healths.observe(
        ProbeResult(key, 1, Outcome.SUCCESS, 1.7e9, 0.5, phases=phases, details=each)
        for key, each in zip(keys, results, strict=True)
    )
    return healths


def text(healths: HealthStore, form: Format = Format.TEXT, *, full: bool = True) -> bytes:
    optional = OptionalFamilies(full=full)
    exposition = Exposition(CollectorRegistry(), healths, ManifestStore(Rules()), tuple, lambda: optional)
    return b"".join(exposition.text(form))


def scraped(*results: ProbeDetails | None) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text(store(*results)).decode())}


LEAF = Leaf("ab", "CN=shop", "CN=ca", "shop", "01")
LEAF_LABELS = 'fingerprint_sha256="ab",subject="CN=shop",issuer="CN=ca",subjectalternative="shop",serialnumber="01"'
EVERYTHING = ProbeDetails(6, "TLS 1.3", LEAF, HttpDetails(2.0, -1, is_over_tls=True))


def test_the_series_have_the_names_labels_and_values_of_blackbox_exporter() -> None:
    lines = text(store(EVERYTHING)).decode().splitlines()
    pod = 'node="web1",pod="shop"'
    for line in (
        f"probe_dns_lookup_time_seconds{{{pod}}} 0.250000",
        f"probe_ip_protocol{{{pod}}} 6",
        f"probe_http_version{{{pod}}} 2",
        f"probe_http_ssl{{{pod}}} 1",
        f"probe_http_content_length{{{pod}}} -1",
        f'probe_tls_version_info{{{pod},version="TLS 1.3"}} 1',
        f"probe_ssl_last_chain_info{{{pod},{LEAF_LABELS}}} 1",
    ):
        assert line in lines
    assert "probe_http_version{" + pod + "} 1.1" in text(store(ProbeDetails(4, http=HttpDetails(1.1)))).decode()


def test_what_a_probe_does_not_have_is_no_series() -> None:
    families = scraped(ProbeDetails(4), None)
    assert {name: len(families[name].samples) for name in (family.name for family in FULL)} == {
        "probe_dns_lookup_time_seconds": 2,
        "probe_ip_protocol": 1,
        "probe_http_version": 0,
        "probe_http_ssl": 0,
        "probe_http_content_length": 0,
        "probe_tls_version_info": 0,
        "probe_ssl_last_chain_info": 0,
    }


def test_the_default_exports_none_of_them() -> None:
    default = text(store(EVERYTHING), full=False).decode()
    assert [family.name for family in FULL if family.name in default] == []
    assert not OptionalFamilies.of(Config.model_validate({"node_name": "web1"})).full
    assert OptionalFamilies.of(Config.model_validate({"node_name": "web1", "metrics": "full"})).full


def test_promtool_finds_no_problem(promtool: Path) -> None:
    scrape = text(store(EVERYTHING, None))
    checked = subprocess.run([promtool, "check", "metrics"], input=scrape, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout.decode(), checked.stderr.decode()) == (0, "", "")


def test_openmetrics_has_the_same_samples() -> None:
    scrape = text(store(EVERYTHING), Format.OPENMETRICS).decode()
    families = openmetrics_families(scrape)  # type: ignore[no-untyped-call]
    assert {family.name for family in FULL} <= {family.name for family in families if family.samples}
