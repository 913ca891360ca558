"""Each promise, the one line whose change breaks it, and the short run of faults that must notice it.

A line is named by its function and by its text without indentation. The replacement gets the same indentation. The
function may move to another module; when the line itself changed, `Mutant.find` and a test say that this table must
follow.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("controller", "reconcilers")


class Rotten(Exception):
    """A line to be replaced is not in exactly one place; the message names the line and its function."""


@dataclass(frozen=True, slots=True)
class Place:
    """The line with `number` (from 0) of `file`, a path relative to the project."""

    file: str
    number: int


@dataclass(frozen=True, slots=True)
class Mutant:
    """With `instead` in place of `line` in `function` the controller breaks `promise`, and the run `judge` notices it.

    `function` is its qualified name in its module, as `Class.method`. `why` says what the broken controller does.
    """

    promise: str
    function: str
    line: str
    instead: str
    judge: str
    why: str

    def find(self, tree: Path) -> Place:
        """The place of the line below `tree`.

        Raises:
            Rotten: the line is in no place, or in several.
        """
        places = [place for file in _modules(tree) for place in self._places(tree, file)]
        if len(places) != 1:
            raise Rotten(f"{self.promise}: found {len(places)} times in {self.function}, expected once: {self.line}")
        return places[0]

    def apply(self, tree: Path) -> Path:
        """Replace the line below `tree`; returns the changed file.

        Raises:
            Rotten: the line is in no place, or in several.
        """
        place = self.find(tree)
        path = tree / place.file
        lines = path.read_text().split("\n")
        lines[place.number] = lines[place.number].replace(self.line, self.instead)
        path.write_text("\n".join(lines))
        return path

    def _places(self, tree: Path, file: Path) -> Iterator[Place]:
        text = file.read_text()
        name = self.function.rpartition(".")[2]
        if self.line not in text or f"def {name}(" not in text:
            return
        lines = text.split("\n")
        for first, last in _functions(ast.parse(text), self.function):
            for number in range(first, last):
                if lines[number].strip() == self.line:
                    yield Place(str(file.relative_to(tree)), number)


def _modules(tree: Path) -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((tree / package).rglob("*.py"))


def _functions(node: ast.AST, wanted: str, prefix: str = "") -> Iterator[tuple[int, int]]:
    """First line (from 0) and end of every function with this qualified name."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef(name=name) if f"{prefix}{name}" == wanted:
                yield child.lineno - 1, child.end_lineno or child.lineno
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield from _functions(child, wanted, f"{prefix}{name}.")
            case _:
                yield from _functions(child, wanted, prefix)


JUDGES: Mapping[str, Sequence[str]] = {
    "changes": ("--faults", "none", "--minutes", "0.3", "--change", "0.3", "--pods", "20"),
    "changes of slow checks": ("--faults", "none", "--minutes", "0.4", "--change", "0.5", "--interval", "4"),
    "line stalled": (
        *("--faults", "line-stalled", "--pause", "1", "3", "--minutes", "0.4"),
        *("--change", "0.3", "--pods", "20"),
    ),
    "large requests refused": ("--faults", "answers-413-for-large-requests", "--each", "--alone", "--change", "100"),
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
    "token rotated": ("--faults", "token-rotated", "--each", "--acl", "--pods", "8"),
    "a fleet": ("--fleet", "--faults", "none", "--minutes", "0.3"),
    "member killed": ("--fleet", "--faults", "member-killed-for-long", "--each", "--change", "5"),
    "member cut off": ("--fleet", "--faults", "member-cut-off-for-long", "--each", "--change", "5"),
    "member cut off as one joins": ("--fleet", "--faults", "member-cut-off-as-one-joins", "--each"),
    "member cut off in writes": (
        "--fleet",
        "--faults",
        "member-cut-off-in-writes",
        "--each",
        "--change",
        "5",
        "--pods",
        "40",
    ),
    "member behind": ("--fleet", "--faults", "member-behind", "--each"),
    "no listings": ("--faults", "answers-500-for-listings", "--each", "--pods", "8"),
}
"""What `tests/faults/run` is given, beside one seed for all and a single agent of Consul's."""

MUTANTS: Sequence[Mutant] = (
    Mutant(
        "A1",
        "ProbeEngine._begin",
        "elif self._prober.room and self._bucket.take(now):",
        "elif False:",
        "changes of slow checks",
        "a new check waits for its phase",
    ),
    Mutant(
        "A2",
        "Prober.room",
        "return self.max_in_flight - len(self._in_flight)",
        "return int(not self._in_flight)",
        "changes",
        "one probe goes at a time, and a target that hangs holds up the others",
    ),
    Mutant(
        "A3",
        "App.__init__",
        "self._publish, deployments=self._deployments, inherit=self._inherited, moves=moves, uptimes=uptimes",
        "lambda keys: [each._reconcile([*keys]) for each in self._publishing.values()]",
        "line stalled",
        "the probe thread itself writes to Consul",
    ),
    Mutant(
        "B1",
        "HealthReconciler.reconcile",
        "delete.append(key)",
        "pass",
        "changes",
        "the key of a removed pod is not removed",
    ),
    Mutant(
        "B2",
        "ConsulClient.session_create.create",
        'made = session.create(name, checks=[], lock_delay=LOCK_DELAY, behavior="delete", ttl=ttl)',
        'made = session.create(name, checks=[], lock_delay=LOCK_DELAY, behavior="release", ttl=ttl)',
        "killed for good",
        "keys outlive their session",
    ),
    Mutant(
        "B3",
        "KeyKeeper._turn",
        "self._on_lost(frozenset(self._lost))",
        "pass",
        "keys deleted",
        "a key that somebody deleted is not written again",
    ),
    Mutant(
        "C1",
        "ProbeEngine._drop",
        "worker.running = False",
        "worker.running = True",
        "changes",
        "a stopped worker stays in the calendar, and goes on",
    ),
    Mutant(
        "C1",
        "Handover.operations",
        'return [Operation("check-index", key, index=seen.modify_index), *steps]',
        "return steps",
        "member cut off in writes",
        "a write that arrives late is executed, although the key was written or removed meanwhile",
    ),
    Mutant(
        "D1",
        "_fault",
        "if low <= status <= high:",
        "if status:",
        "changes",
        "every status is a success",
    ),
    Mutant(
        "D2",
        "reason",
        "return Reason.LOCAL if failure.errno in LOCAL_ERRNOS else Reason.CONNECT",
        "return Reason.CONNECT",
        "no descriptors",
        "a socket that we could not open is the pod's failure",
    ),
    Mutant(
        "D3",
        "Handover.operations",
        'lock, seen = Operation("lock", key, value, session, flags), self._seen.get(change.key)',
        'lock, seen = Operation("set", key, value, session, flags), self._seen.get(change.key)',
        "changes",
        "health is written without the session",
    ),
    Mutant(
        "D4",
        "ConsulClient.token_mark",
        "return self._http.token_mark()",
        'return ""',
        "token rotated",
        "no token is told from another one, and nothing is registered anew",
    ),
    Mutant(
        "E1",
        "RemovalGate._unconfirmed",
        "unconfirmed = sample.difference(absent)",
        "unconfirmed = frozenset()",
        "partial listing",
        "a listing alone removes pods",
    ),
    Mutant(
        "E2",
        "ManifestStore._understand",
        "return Intent(entry.version, entry.data, manifest, in_force, error, since)",
        "return Intent(entry.version, entry.data, manifest, in_force, None, since)",
        "changes",
        "an invalid manifest is not shown as one",
    ),
    Mutant(
        "F1",
        "_Window.admits",
        "if text != self.last and self.written < burst:",
        "if True:",
        "no descriptors, again and again",
        "repetitions are logged",
    ),
    Mutant(
        "G1",
        "NonBlockingHandler.close",
        "self._writer.end(LAST_WORDS)",
        "threading.Event().wait()",
        "terminated",
        "the process waits for the log without a bound",
    ),
    Mutant(
        "G2",
        "Heartbeat.stands_still",
        "return self.silence() > self._limit",
        "return False",
        "probe thread held",
        "no thread is ever said to stand still",
    ),
    Mutant(
        "G2",
        "Readiness._of_watch",
        "case seconds if seconds > STALE_WATCH:",
        "case seconds if seconds < 0:",
        "no listings",
        "manifests that were read long ago are as good as new ones",
    ),
    Mutant(
        "H1",
        "Tracked.record",
        "self.counts[result.outcome] += 1",
        "self.counts[result.outcome] = 1",
        "changes",
        "probes are not added up",
    ),
    Mutant(
        "H2",
        "Handover._holder",
        'return seen if seen and seen.session not in {"", session} else None',
        "return None",
        "member killed",
        "no key is taken over from another session",
    ),
    Mutant(
        "H3",
        "_members_of",
        "if status is HealthState.PASSING:",
        "if status:",
        "member killed",
        "a member that is dead still counts",
    ),
    Mutant(
        "H3",
        "FleetSource._plan",
        "gained = sorted(node for node in self._names.nodes - self._listed.keys() if self._owns(node))",
        "gained = sorted(filter(self._owns, self._names.nodes)) if not self._listed else []",
        "member killed",
        "only the nodes of the start are read, and those of a dead member are not",
    ),
    Mutant(
        "H4",
        "CurrentShare.owns",
        "answer = known[node] = share.owns(node)",
        "answer = True",
        "a fleet",
        "every member probes every node",
    ),
    Mutant(
        "H4",
        "MemberStatus.failed",
        "self._is_unanswered = isinstance(error, ConsulUnavailable) and error.sent and not error.answered",
        "self._is_unanswered = False",
        "member cut off",
        "a member that may have lost its nodes goes on probing them",
    ),
    Mutant(
        "H4",
        "MembersInEffect.after",
        "member: self.waiting.get(member, now + TTL)",
        "member: self.waiting.get(member, now)",
        "member cut off as one joins",
        "a member that joins gets its nodes at once",
    ),
    Mutant(
        "H5",
        "Handover._fence",
        "if held and self._fences.is_ahead(node, held.flags):",
        "if False:",
        "member behind",
        "a key is taken over from a member with a newer view",
    ),
    Mutant(
        "H5",
        "Share.owns",
        "return self.fenced.get(node, 0) <= self.index and self.view.owner(node) == self.member",
        "return self.view.owner(node) == self.member",
        "member behind",
        "a fence keeps nobody from a node",
    ),
    Mutant(
        "I1",
        "KvSink._write",
        "if len(batch) > 1:",
        "if len(batch) > 64:",
        "large requests refused",
        "a batch that is refused as a whole is tried again as it is",
    ),
    Mutant(
        "R1",
        "App.stop",
        "self._stop_talkers(step(), rest(AFTER_LEAVE), destroy=not leaves_records)",
        "self._stop_talkers(step(), rest(AFTER_LEAVE), destroy=True)",
        "terminated",
        "the session ends with the process",
    ),
)
