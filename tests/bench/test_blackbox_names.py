"""The metrics with blackbox_exporter's names also have its labels and values, compared with the real program."""

import subprocess
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from urllib.parse import quote

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from controller.health.store import HealthStore
from controller.intent.manifest_store import ManifestStore
from controller.probes.engine import ProbeEngine
from controller.runtime.heartbeat import Heartbeat
from controller.web.exposition import Exposition, Format, OptionalFamilies
from controller.web.families import OF_RESULTS
from controller.web.full_families import FULL
from reconcilers.options import Rules
from reconcilers.spec import CheckSpec
from tests.bench import programs
from tests.support.authority import Authority
from tests.support.checks import http, https, tcp
from tests.support.net import free_ports, until
from tests.support.recorders import RecordedProbes
from tests.support.targets import Behaviour, Target, answer, raw

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
OURS = frozenset(family.name for family in (*OF_RESULTS, *FULL) if family.name.startswith("probe_"))
TIMES = frozenset({"probe_duration_seconds", "probe_http_duration_seconds", "probe_dns_lookup_time_seconds"})
Samples = dict[str, list[tuple[list[tuple[str, str]], float]]]
Ask = Callable[[str, str], Samples]


def samples(text: str, *dropped: str) -> Samples:
    """Returns the labels and the value of each sample, by family. The value of a time is replaced by 0."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        if family.name in OURS and family.samples:
            found[family.name] = sorted(
                (
                    sorted((name, value) for name, value in each.labels.items() if name not in dropped),
                    0.0 if family.name in TIMES else each.value,
                )
                for each in family.samples
            )
    return found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def ask(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Lets the real blackbox_exporter probe a target."""
    try:
        program = programs.blackbox_exporter()
    except programs.Missing as error:
        pytest.skip(str(error))
    folder, (port,) = tmp_path_factory.mktemp("blackbox"), free_ports(1)
    tls = {"tls_config": {"ca_file": str(authority.file)}}
    common = {"preferred_ip_protocol": "ip4"}
    modules = {
        "http": {"prober": "http", "timeout": "5s", "http": common | tls},
        "head": {"prober": "http", "timeout": "5s", "http": common | {"method": "HEAD"}},
        "tcp": {"prober": "tcp", "timeout": "5s", "tcp": common},
    }
    config = folder / "blackbox.yml"
    config.write_text(yaml.safe_dump({"modules": modules}))
    listen = f"--web.listen-address=127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, f"--config.file={config}", listen], stdout=log, stderr=log)

    def get(path: str) -> str:
        connection = HTTPConnection("127.0.0.1", port, timeout=10.0)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        except OSError:
            return ""
        finally:
            connection.close()

    try:
        until(lambda: "Healthy" in get("/-/healthy"), 30.0, "blackbox_exporter")
        yield lambda module, target: samples(get(f"/probe?module={module}&target={quote(target)}"))
    finally:
        process.kill()
        process.wait()


def ours(authority: Authority, spec: CheckSpec) -> Samples:
    """Returns our scrape after a probe of this check."""
    healths = HealthStore(lambda _: None)
    heartbeat = Heartbeat("probe", 5, time.monotonic)
    metrics, ca_file = RecordedProbes(), str(authority.file)
    engine = ProbeEngine(healths, metrics, heartbeat, ca_file=ca_file, max_in_flight=10, details=True)
    engine.run()
    try:
        engine.start([spec])
        until(lambda: (tracked := healths.tracked(spec.key)) and tracked.last, what="the probe")
    finally:
        engine.close(5)
    optional = OptionalFamilies(full=True)
    exposition = Exposition(CollectorRegistry(), healths, ManifestStore(Rules()), tuple, lambda: optional)
    return samples(b"".join(exposition.text(Format.TEXT)).decode(), "node", "pod")


@pytest.mark.parametrize(
    ("behaviour", "module"),
    [
        (answer(body=b"hello"), "http"),
        (answer(404), "http"),
        (answer(204, b""), "http"),
        (raw(CHUNKED), "http"),
        (raw(b"HTTP/1.0 200 OK\r\n\r\nuntil the end"), "http"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n"), "head"),
        (raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"), "head"),
    ],
    ids=["usual", "404", "204", "chunked", "until the end", "head", "head without a length"],
)
def test_an_http_probe_has_the_same_series(ask: Ask, authority: Authority, behaviour: Behaviour, module: str) -> None:
    with Target() as target:
        target.behave(behaviour)
        theirs = ask(module, f"http://localhost:{target.port}/shop")
        method = "HEAD" if module == "head" else "GET"
        expect = ((200, 299),)
        assert ours(authority, http(target.port, "shop", method=method, expect_status=expect)) == theirs


def test_an_https_probe_has_the_same_series(ask: Ask, authority: Authority) -> None:
    with Target(authority.server("localhost", "shop.example.com")) as target:
        theirs = ask("http", f"https://localhost:{target.port}/shop")
        mine = ours(authority, https(target.port, "shop"))
        assert mine["probe_tls_version_info"] == [([("version", "TLS 1.3")], 1.0)]
        ((labels, value),) = mine["probe_ssl_last_chain_info"]
        ((known, _),) = theirs["probe_ssl_last_chain_info"]
        assert {name for name, _ in labels} - {name for name, _ in known} <= {"serialnumber"}, "new in version 0.25"
        mine["probe_ssl_last_chain_info"] = [([each for each in labels if each in known], value)]
        assert mine == theirs


def test_a_refused_connection_has_the_same_series(ask: Ask, authority: Authority) -> None:
    (port,) = free_ports(1)
    assert ours(authority, http(port, "shop")) == ask("http", f"http://localhost:{port}/shop")


def test_a_tcp_probe_has_the_same_series_of_its_address(ask: Ask, authority: Authority) -> None:
    """For TCP we also export the phases, and the status 0."""
    with Target() as target:
        theirs = ask("tcp", f"localhost:{target.port}")
        mine = ours(authority, tcp(target.port, "shop"))
        assert {name: mine.get(name) for name in theirs} == theirs
        assert mine.keys() - theirs.keys() == {"probe_http_status_code", "probe_http_duration_seconds"}
