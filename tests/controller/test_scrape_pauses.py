"""Other threads, such as those that probe, hardly wait while a scrape of very many checks is made."""

from prometheus_client import CollectorRegistry

from controller.health.store import HealthStore
from controller.intent.manifest_store import ManifestStore
from controller.runtime.metrics import Metrics
from controller.web.exposition import Exposition, Format
from reconcilers.gate import Entry, Listing
from reconcilers.health import Outcome, ProbeResult
from reconcilers.options import Rules
from reconcilers.spec import CheckSpec, HttpGet, PodKey, Tls
from tests.support.pauses import longest_pause

CHECKS = 10_000
LONGEST = 0.010
"""Seconds of CPU; usually 0.001."""


def test_no_thread_waits_for_a_scrape_of_ten_thousand_checks() -> None:
    keys = [PodKey("web1", f"pod-{number}") for number in range(CHECKS)]
    healths, manifests = HealthStore(lambda _: None), ManifestStore(Rules())
    healths.follow((CheckSpec(key, HttpGet(key.node, 80, "/_status", Tls()), 5.0, 2.0), 1) for key in keys)
    healths.observe(ProbeResult(key, 1, Outcome.SUCCESS, 1e9, 0.0125, status_code=200) for key in keys)
    manifests.replace(Listing(1, {key: Entry((1,), f"id: {key.pod}\n".encode()) for key in keys}))
    registry = Metrics(CollectorRegistry(), "0").registry

    exposition = Exposition(registry, healths, manifests, tuple)

    def scrape() -> None:
        assert sum(map(len, exposition.gzipped(Format.TEXT))) > 500_000

    assert longest_pause(scrape) < LONGEST
    assert longest_pause(scrape) < LONGEST, "of the next scrape, to which compressed samples are copied"
