"""Other threads, such as those that probe, hardly wait while a scrape of very many checks is made."""

import time

import pytest
from prometheus_client import CollectorRegistry

from controller.health.store import HealthStore
from controller.intent.manifest_store import ManifestStore
from controller.runtime.metrics import Metrics
from controller.web.exposition import Exposition, Format, OptionalFamilies
from reconcilers.gate import Entry, Listing
from reconcilers.health import Outcome, Phases, ProbeResult
from reconcilers.options import Rules
from reconcilers.probe_details import HttpDetails, Leaf, ProbeDetails
from reconcilers.spec import CheckSpec, HttpGet, PodKey, Tls
from tests.support.pauses import longest_pause

CHECKS = 10_000
LONGEST = 0.010
"""Seconds of CPU; usually 0.001."""


DEFAULT, FULL = OptionalFamilies(), OptionalFamilies(pod_labels=True, full=True)
LABELS = b"status: {labels: {team: shop, tier: web}}\n"


class Site:
    """The stores of very many checks, and the optional families that are exported."""

    def __init__(self, optional: OptionalFamilies = DEFAULT) -> None:
        self.optional = optional
        self.keys = [PodKey("web1", f"pod-{number}") for number in range(CHECKS)]
        self.healths, self.manifests = HealthStore(lambda _: None), ManifestStore(Rules(labels=("team", "tier")))
        self.healths.follow(
            (CheckSpec(key, HttpGet(key.node, 80, "/_status", Tls()), 5.0, 2.0), 1) for key in self.keys
        )
        self.probe(1)
        labels = LABELS if optional.pod_labels else b""
        entries = {key: Entry((1,), f"id: {key.pod}\n".encode() + labels) for key in self.keys}
        self.manifests.replace(Listing(1, entries))
        self.registry = Metrics(CollectorRegistry(), "0").registry

    def probe(self, at: int) -> None:
        phases = Phases(connect=0.0001 * at, first_byte=0.0012)
        details = _details if self.optional.full else lambda _: None
        self.healths.observe(
            ProbeResult(
                key, 1, Outcome.SUCCESS, 1e9 + at, 0.0125, status_code=200, phases=phases, details=details(number)
            )
            for number, key in enumerate(self.keys)
        )

    def exposition(self) -> Exposition:
        return Exposition(self.registry, self.healths, self.manifests, tuple, lambda: self.optional)


def _details(number: int) -> ProbeDetails:
    """Each check has a certificate of its own."""
    leaf = Leaf(
        f"{number:064x}", f"CN=pod-{number},O=Shop", "CN=CA,O=Shop", f"pod-{number}.example.com", f"{number:040x}"
    )
    return ProbeDetails(4, "TLS 1.3", leaf, HttpDetails(1.1, 3, is_over_tls=True))


def scrape(exposition: Exposition) -> int:
    """Returns the bytes of a compressed scrape."""
    size = sum(map(len, exposition.gzipped(Format.TEXT)))
    assert size > 500_000
    return size


def test_no_thread_waits_for_a_scrape_of_ten_thousand_checks() -> None:
    site = Site()
    assert longest_pause(lambda: scrape(site.exposition()), LONGEST) < LONGEST
    exposition = site.exposition()
    scrape(exposition)
    assert longest_pause(lambda: scrape(exposition), LONGEST) < LONGEST, "of a later scrape (of kept samples)"


@pytest.mark.parametrize("optional", [DEFAULT, FULL], ids=["default", "full"])
def test_a_scrape_after_new_probes_of_all_checks_costs_less_than_the_first_one(optional: OptionalFamilies) -> None:
    site, size = Site(optional), 0
    first: list[float] = []
    later: list[float] = []
    for at in range(2):
        exposition = site.exposition()
        for times in (first, later):
            site.probe(at)
            started = time.thread_time()
            size = scrape(exposition)
            times.append(time.thread_time() - started)
    text = sum(map(len, site.exposition().text(Format.TEXT)))
    print(f"CPU of a first scrape {min(first) * 1000:.0f} ms, of a later one {min(later) * 1000:.0f} ms")
    print(f"{size / 1e6:.1f} MB compressed, {text / 1e6:.0f} MB of text")
    assert min(later) < min(first)  # usually a third of it
