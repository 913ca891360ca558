"""CheckReconciler: afterwards, exactly the checks run that the last good manifests ask for."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reconcilers.checks import CheckReconciler
from reconcilers.spec import CheckSpec, Manifest, ManifestVersion, PodKey
from tests.reconcilers.fakes import FakeAddresses, FakeHealths, FakeManifests, FakeWorkers, check

A, B, C = (PodKey("web1", pod) for pod in "abc")


class World:
    """A reconciler and the fakes around it; the node's address is known unless a test takes it away."""

    def __init__(self, *running: CheckSpec) -> None:
        self.manifests = FakeManifests()
        self.workers = FakeWorkers(*running)
        self.healths = FakeHealths()
        self.addresses = FakeAddresses(web1="10.0.0.1")
        self.reconciler = CheckReconciler(self.manifests, self.workers, self.healths, self.addresses)


def test_a_new_pod_gets_a_worker_that_connects_to_the_nodes_address() -> None:
    world = World()
    world.manifests.ask(check(A))
    assert world.reconciler.reconcile([A]) == {}
    assert world.workers.specs == {A: check(A, address="10.0.0.1")}
    assert world.healths.forgotten == []


def test_a_node_whose_name_is_to_be_resolved_has_no_address() -> None:
    world = World()
    world.addresses["web1"] = None
    world.manifests.ask(check(A))
    world.reconciler.reconcile([A])
    assert world.workers.specs == {A: check(A)}


def test_a_check_of_localhost_needs_no_address() -> None:
    world = World()
    world.addresses.clear()
    world.manifests.ask(check(A, host="localhost"))
    assert world.reconciler.reconcile([A]) == {}
    assert world.workers.specs == {A: check(A, host="localhost")}


def test_a_running_check_is_not_started_again() -> None:
    world = World()
    world.manifests.ask(check(A))
    for _ in range(3):
        world.reconciler.reconcile([A])
    assert world.workers.calls == [("start", [A])]


def test_a_new_version_with_the_same_check_updates_the_worker_once_and_does_not_restart_it() -> None:
    world = World(check(A, address="10.0.0.1"))
    world.manifests.ask(replace(check(A), version=ManifestVersion(2, b"newer")))
    world.manifests.ask(replace(check(B), version=ManifestVersion(1, b"first")))
    for _ in range(2):
        world.reconciler.reconcile([A, B])
    assert world.workers.calls == [("start", [B]), ("update", [A])]
    assert world.workers.specs[A].version.data == b"newer"


def test_a_changed_check_is_stopped_before_it_is_started_and_is_not_forgotten() -> None:
    world = World(check(A, address="10.0.0.1"))
    world.manifests.ask(check(A, 8001))
    world.reconciler.reconcile([A])
    assert world.workers.calls == [("stop", [A]), ("start", [A])]
    assert world.workers.specs[A].probe.port == 8001
    assert world.healths.forgotten == []


def test_a_new_address_of_the_node_moves_its_checks() -> None:
    world = World(check(A, address="10.0.0.1"))
    world.manifests.ask(check(A))
    world.addresses["web1"] = "10.0.0.2"
    world.reconciler.reconcile([A])
    assert world.workers.specs[A].address == "10.0.0.2"


def test_a_removed_pod_is_stopped_and_forgotten() -> None:
    world = World(check(A, address="10.0.0.1"), check(B, address="10.0.0.1"))
    world.manifests.ask(check(B))
    world.reconciler.reconcile([A, B])
    assert world.workers.calls == [("stop", [A])]
    assert world.healths.forgotten == [A]


def test_a_manifest_without_a_check_stops_the_worker() -> None:
    world = World(check(A, address="10.0.0.1"))
    world.manifests[A] = Manifest(A, None)
    world.reconciler.reconcile([A])
    assert world.workers.specs == {}
    assert world.healths.forgotten == [A]


def test_a_pod_that_never_had_a_worker_is_forgotten_too() -> None:
    world = World()
    world.reconciler.reconcile([A])
    assert world.workers.calls == []
    assert world.healths.forgotten == [A]


def test_without_the_nodes_address_its_workers_go_on_and_its_keys_are_retried() -> None:
    world = World(check(A, address="10.0.0.1"))
    world.addresses.clear()
    world.manifests.ask(check(A, 8001))
    world.manifests.ask(check(C))
    results = world.reconciler.reconcile([A, B, C])
    assert results.keys() == {A, C}
    assert all("web1" in result.error and "the catalog has not named it" in result.error for result in results.values())
    assert world.workers.specs == {A: check(A, address="10.0.0.1")}
    assert world.healths.forgotten == [B]


def test_an_address_error_without_a_message_is_an_error() -> None:
    world = World()
    world.addresses.silent = True
    world.manifests.ask(check(A))
    assert world.reconciler.reconcile([A])[A].error


def test_only_the_given_keys_are_reconciled() -> None:
    world = World(check(B, address="10.0.0.1"))
    world.manifests.ask(check(A))
    world.manifests.ask(check(C))
    world.reconciler.reconcile([A])
    assert world.workers.specs.keys() == {A, B}


PODS = [PodKey("web1", f"pod{number}") for number in range(5)]
PORTS = st.dictionaries(st.sampled_from(PODS), st.sampled_from([8000, 8001, None]))


@given(st.lists(PORTS, min_size=1, max_size=5))
def test_after_each_reconciliation_exactly_the_desired_checks_run(history: list[dict[PodKey, int | None]]) -> None:
    world = World()
    for ports in history:
        world.manifests.clear()
        for key, port in ports.items():
            world.manifests[key] = Manifest(key, check(key, port) if port else None)
        world.reconciler.reconcile(PODS)
        asked = {key: check(key, port) for key, port in ports.items() if port}
        assert world.workers.specs == {key: replace(spec, address="10.0.0.1") for key, spec in asked.items()}
