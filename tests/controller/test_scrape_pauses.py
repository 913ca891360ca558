"""Other threads, such as those that probe, hardly wait while a scrape of very many checks is made."""

import time

from prometheus_client import CollectorRegistry

from controller.health.store import HealthStore
from controller.intent.manifest_store import ManifestStore
from controller.runtime.metrics import Metrics
from controller.web.exposition import Exposition, Format
from reconcilers.gate import Entry, Listing
from reconcilers.health import Outcome, Phases, ProbeResult
from reconcilers.options import Rules
from reconcilers.spec import CheckSpec, HttpGet, PodKey, Tls
from tests.support.pauses import longest_pause

CHECKS = 10_000
LONGEST = 0.010
"""Seconds of CPU; usually 0.001."""


class Site:
    """The stores of very many checks."""

    def __init__(self) -> None:
        self.keys = [PodKey("web1", f"pod-{number}") for number in range(CHECKS)]
        self.healths, self.manifests = HealthStore(lambda _: None), ManifestStore(Rules())
        self.healths.follow(
            (CheckSpec(key, HttpGet(key.node, 80, "/_status", Tls()), 5.0, 2.0), 1) for key in self.keys
        )
        self.probe(1)
        self.manifests.replace(Listing(1, {key: Entry((1,), f"id: {key.pod}\n".encode()) for key in self.keys}))
        self.registry = Metrics(CollectorRegistry(), "0").registry

    def probe(self, at: int) -> None:
        phases = Phases(connect=0.0001 * at, first_byte=0.0012)
        self.healths.observe(
            ProbeResult(key, 1, Outcome.SUCCESS, 1e9 + at, 0.0125, status_code=200, phases=phases) for key in self.keys
        )

    def exposition(self) -> Exposition:
        return Exposition(self.registry, self.healths, self.manifests, tuple)


def scrape(exposition: Exposition) -> None:
    assert sum(map(len, exposition.gzipped(Format.TEXT))) > 500_000


def test_no_thread_waits_for_a_scrape_of_ten_thousand_checks() -> None:
    site = Site()
    assert longest_pause(lambda: scrape(site.exposition()), LONGEST) < LONGEST
    exposition = site.exposition()
    scrape(exposition)
    assert longest_pause(lambda: scrape(exposition), LONGEST) < LONGEST, "of a later scrape (of kept samples)"


def test_a_scrape_after_new_probes_of_all_checks_costs_less_than_the_first_one() -> None:
    site = Site()
    first: list[float] = []
    later: list[float] = []
    for at in range(3):
        exposition = site.exposition()
        for times in (first, later):
            site.probe(at)
            started = time.thread_time()
            scrape(exposition)
            times.append(time.thread_time() - started)
    print(f"CPU of a first scrape {min(first) * 1000:.0f} ms, of a later one {min(later) * 1000:.0f} ms")
    assert min(later) < min(first)  # usually a third of it
