"""A control loop: takes keys from its queue, has them reconciled, and handles the results."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from controller.runtime.heartbeat import Heartbeat
from controller.runtime.work_queue import WorkQueue
from reconcilers.ports import DONE, Reconciler, Result
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

IDLE = 1.0


class LoopMetrics(Protocol):
    """The metrics of a loop."""

    def reconciled(self, result: str, count: int) -> None:
        """`count` keys had this `result`: success, error or requeue_after."""
        ...

    def took(self, seconds: float) -> None: ...


class ControlLoop:
    """Runs one reconciler in its own thread, on batches of up to `batch` keys that arrive within `linger` seconds."""

    def __init__(
        self,
        queue: WorkQueue[PodKey],
        reconciler: Reconciler,
        metrics: LoopMetrics,
        heartbeat: Heartbeat,
        *,
        batch: int,
        linger: float = 0.0,
    ) -> None:
        self._queue = queue
        self._reconciler = reconciler
        self._metrics = metrics
        self._heartbeat = heartbeat
        self._batch = batch
        self._linger = linger
        self._item = f"step of {queue.name}"
        self._failing: dict[PodKey, str] = {}
        """The last error of each pod that has not succeeded since."""
        self._thread = threading.Thread(target=self._run, name=heartbeat.name, daemon=True)

    def overdue(self, seconds: float) -> Mapping[PodKey, str]:
        """The pods that have not succeeded for over `seconds` seconds, oldest first, each with its last error.

        The error is "" for a pod that has not been tried yet.
        """
        waiting = self._queue.overdue(seconds)
        return {key: self._failing.get(key, "") for key in sorted(waiting, key=waiting.__getitem__, reverse=True)}

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the thread after the current batch."""
        self._queue.close()

    def stop(self, timeout: float) -> None:
        """End the thread after the current batch, and wait up to `timeout` seconds for that."""
        self.close()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._queue.closed:
            self._heartbeat.beat()
            self._step()

    def _step(self) -> None:
        keys = self._queue.get_batch(self._batch, self._linger, IDLE)
        if not keys:
            return
        started = time.monotonic()
        results = self._reconcile(keys)
        self._metrics.took(time.monotonic() - started)
        known = set(self._failing.values())
        news = [key for key in keys if self._end(key, results.get(key, DONE)) and self._failing[key] not in known]
        if not self._failing:
            self._heartbeat.faults.clear(self._item)
        self._queue.done(keys)
        self._say(news)

    def _reconcile(self, keys: list[PodKey]) -> Mapping[PodKey, Result]:
        """Reconcile a batch. If that raises, reconcile each pod alone, so that one pod does not affect the others.

        The trace of an exception is logged once for its kind, until no pod fails any more.
        """
        try:
            return self._reconciler.reconcile(keys)
        except Exception as error:
            if self._heartbeat.faults.count(self._item, error):
                log.exception("%s: a step failed on %d pods; each is tried alone", self._queue.name, len(keys))
            if len(keys) == 1:
                return {keys[0]: Result(error=repr(error))}
        results: dict[PodKey, Result] = {}
        for key in keys:
            results |= self._reconcile([key])
        return results

    def _end(self, key: PodKey, result: Result) -> bool:
        """Handle the result of one pod. Returns whether this is its first failure in a row."""
        if result.error:
            self._failing[key] = result.error
            self._metrics.reconciled("error", 1)
            return self._queue.retry(key) == 1
        self._failing.pop(key, None)
        self._queue.forget(key)
        if result.requeue_after is not None:
            self._queue.add_after(key, result.requeue_after)
        self._metrics.reconciled("success" if result.requeue_after is None else "requeue_after", 1)
        return False

    def _say(self, keys: Sequence[PodKey]) -> None:
        """Log the failures, one line for each error."""
        reasons: dict[str, list[PodKey]] = {}
        for key in keys:
            reasons.setdefault(self._failing[key], []).append(key)
        for why, pods in reasons.items():
            which = f"{pods[0]} and {len(pods) - 1} more" if len(pods) > 1 else f"{pods[0]}"
            pod = {"node": pods[0].node, "pod": pods[0].pod}
            log.warning("%s of %s failed, trying again: %s", self._queue.name, which, why, extra=pod)


def stop_together(loops: Sequence[ControlLoop], timeout: float) -> None:
    """End all loops at the same time, within `timeout` seconds together."""
    deadline = time.monotonic() + timeout
    for loop in loops:
        loop.close()
    for loop in loops:
        loop.stop(max(0.0, deadline - time.monotonic()))
