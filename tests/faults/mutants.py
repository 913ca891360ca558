"""Each promise, the one line whose change breaks it, and the short run of faults that must say so.

A line is named as it stands in its file but for its indentation, which what is put instead gets too. It stands there
exactly once: where the code moved on, `Mutant.applied` says that this table is to follow, and so does a test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class Rotten(Exception):
    """A line that is to be replaced does not stand in its file exactly once (any more); the message names both."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """`promise` is broken where `instead` stands for `line` in `file`, and the run `judge` says so; `why` in a few
    words what the controller does then."""

    promise: str
    file: str
    line: str
    instead: str
    judge: str
    why: str

    def applied(self, text: str) -> str:
        """The file's text with the line replaced.

        Raises:
            Rotten: it does not stand there exactly once.
        """
        lines = text.split("\n")
        found = [number for number, line in enumerate(lines) if line.strip() == self.line]
        if len(found) != 1:
            raise Rotten(f"{self.promise}: stands {len(found)} times in {self.file}, expected once: {self.line}")
        before = lines[found[0]]
        lines[found[0]] = before.replace(self.line, self.instead)
        return "\n".join(lines)

    def apply(self, tree: Path) -> Path:
        """Replace the line below `tree`; the answer is the file."""
        path = tree / self.file
        path.write_text(self.applied(path.read_text()))
        return path


JUDGES: Mapping[str, Sequence[str]] = {
    "changes": ("--faults", "none", "--minutes", "0.3", "--change", "0.3", "--pods", "20"),
    "changes of slow checks": ("--faults", "none", "--minutes", "0.4", "--change", "0.5", "--interval", "4"),
    "line stalled": (
        *("--faults", "line-stalled", "--pause", "1", "3", "--minutes", "0.4"),
        *("--change", "0.3", "--pods", "20"),
    ),
    "killed for good": ("--faults", "killed-for-good", "--each", "--pods", "8"),
    "keys deleted": ("--faults", "health-deleted", "--each", "--pods", "8", "--change", "5"),
    "no descriptors": ("--faults", "no-descriptors", "--pause", "3", "6", "--minutes", "0.4", "--pods", "12"),
    "no descriptors, again and again": (
        *("--faults", "no-descriptors", "--pause", "0.5", "1", "--minutes", "0.5"),
        *("--change", "10", "--pods", "2"),
    ),
    "partial listing": ("--faults", "answers-partial", "--pause", "1", "3", "--minutes", "0.3", "--pods", "12"),
    "terminated": ("--faults", "reloaded,terminated", "--each", "--pods", "12"),
    "probe thread held": ("--faults", "probe-thread-held", "--each", "--pods", "8"),
    "no listings": ("--faults", "answers-500-for-listings", "--each", "--pods", "8"),
}
"""What `tests/faults/run` is given, beside one seed for all and a single agent of Consul's."""

MUTANTS: Sequence[Mutant] = (
    Mutant(
        "A1",
        "controller/probes/engine.py",
        "if self._has_room() and self._bucket.take(now):",
        "if False:",
        "changes of slow checks",
        "a new check waits for its phase",
    ),
    Mutant(
        "A2",
        "controller/probes/engine.py",
        "return len(self._in_flight) < self._max_in_flight",
        "return not self._in_flight",
        "changes",
        "one probe goes at a time, and a target that hangs holds up the others",
    ),
    Mutant(
        "A3",
        "controller/app.py",
        "self._healths = HealthStore(self._publish, deployments=self._deployments, inherit=self._inherited)",
        "self._healths = HealthStore(lambda keys: [each._reconcile([*keys]) for each in self._publishing])",
        "line stalled",
        "the probe thread itself writes to Consul",
    ),
    Mutant(
        "B1",
        "reconcilers/publication.py",
        "delete.append(key)",
        "pass",
        "changes",
        "the key of a removed pod is not removed",
    ),
    Mutant(
        "B2",
        "controller/consul.py",
        'made = session.create(name, node, checks=[], lock_delay=LOCK_DELAY, behavior="delete", ttl=ttl)',
        'made = session.create(name, node, checks=[], lock_delay=LOCK_DELAY, behavior="release", ttl=ttl)',
        "killed for good",
        "keys outlive their session",
    ),
    Mutant(
        "B3",
        "controller/sink/keeper.py",
        "self._on_lost(lost)",
        "pass",
        "keys deleted",
        "a key that somebody deleted is not written again",
    ),
    Mutant(
        "C1",
        "controller/probes/engine.py",
        "worker.running = False",
        "worker.running = True",
        "changes",
        "a stopped worker stays in the calendar, and goes on",
    ),
    Mutant(
        "D1",
        "controller/probes/http.py",
        "if not any(low <= status <= high for low, high in probe.expect_status):",
        "if not status:",
        "changes",
        "every status is a success",
    ),
    Mutant(
        "D2",
        "controller/probes/endings.py",
        "return Reason.LOCAL if number in LOCAL_ERRNOS else Reason.CONNECT",
        "return Reason.CONNECT",
        "no descriptors",
        "a socket that we could not open is the pod's failure",
    ),
    Mutant(
        "D3",
        "controller/sink/kv.py",
        'return [Operation("lock", key, self.record.encode(now), session)]',
        'return [Operation("set", key, self.record.encode(now), session)]',
        "changes",
        "health is written without the session",
    ),
    Mutant(
        "E1",
        "reconcilers/gate.py",
        "unconfirmed = frozenset(self.sample(suspects)).difference(absent)",
        "unconfirmed = frozenset()",
        "partial listing",
        "a listing alone removes pods",
    ),
    Mutant(
        "E2",
        "controller/store.py",
        "except ManifestError as error:",
        "except LookupError as error:",
        "changes",
        "a manifest that cannot be understood ends the watch",
    ),
    Mutant(
        "F1",
        "controller/log/brake.py",
        "if text != self.last and self.written < burst:",
        "if True:",
        "no descriptors, again and again",
        "repetitions are logged",
    ),
    Mutant(
        "G1",
        "controller/log/delivery.py",
        'self._thread = threading.Thread(target=self._run, name="log", daemon=True)',
        'self._thread = threading.Thread(target=self._run, name="log", daemon=False)',
        "terminated",
        "the process waits for a thread that waits for its end",
    ),
    Mutant(
        "G2",
        "controller/pulse.py",
        "return self.silence() > self._limit",
        "return False",
        "probe thread held",
        "no thread is ever said to stand still",
    ),
    Mutant(
        "G2",
        "controller/app.py",
        "case seconds if seconds > STALE_WATCH:",
        "case seconds if seconds < 0:",
        "no listings",
        "manifests that were read long ago are as good as new ones",
    ),
    Mutant(
        "H1",
        "controller/store.py",
        "self.counts[result.outcome] += 1",
        "self.counts[result.outcome] += after is not before",
        "changes",
        "only news is counted",
    ),
    Mutant(
        "R1",
        "controller/app.py",
        "self._stop_beside(step(), rest(AFTER_LEAVE), destroy=not left)",
        "self._stop_beside(step(), rest(AFTER_LEAVE), destroy=True)",
        "terminated",
        "the session ends with the process",
    ),
)
