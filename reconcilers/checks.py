"""Reconciles manifests with the probe workers that run."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from reconcilers.diff import diff
from reconcilers.ports import Addresses, Followed, Manifests, Result, Workers
from reconcilers.spec import CheckSpec, PodKey


class CheckReconciler:
    """Stops the workers that no manifest asks for, or not in this form. Then starts the missing workers.

    The health of a pod is kept while its worker is replaced, so that other parts do not take the pod for removed.
    """

    def __init__(self, manifests: Manifests, workers: Workers, followed: Followed, addresses: Addresses) -> None:
        self._manifests = manifests
        self._workers = workers
        self._followed = followed
        self._addresses = addresses

    def reconcile(self, keys: Collection[PodKey]) -> Mapping[PodKey, Result]:
        """See `Reconciler`. While the address of a node is not known, its workers go on, and its keys are retried."""
        desired: dict[PodKey, CheckSpec] = {}
        waiting: dict[PodKey, Result] = {}
        for key in keys:
            try:
                if spec := self._desired(key):
                    desired[key] = spec
            except LookupError as error:
                waiting[key] = Result(error=f"no address of {key.node}: {error}")
        steps = diff(desired, self._workers.running(key for key in keys if key not in waiting))
        if steps.stop:
            self._workers.stop(steps.stop)
        if steps.start:
            self._workers.start(steps.start)
        if steps.update:
            self._workers.update(steps.update)
        if gone := [key for key in keys if key not in desired and key not in waiting]:
            self._followed.forget(gone)
        return waiting

    def _desired(self, key: PodKey) -> CheckSpec | None:
        manifest = self._manifests.manifest(key)
        return located(manifest.check, self._addresses) if manifest and manifest.check else None


def located(check: CheckSpec, addresses: Addresses) -> CheckSpec:
    """Returns the check with the address of its node. A check of another host, such as localhost, is not changed.
    Raises LookupError if the address is not known yet."""
    node = check.key.node
    return replace(check, address=addresses.address(node)) if check.probe.host == node else check
