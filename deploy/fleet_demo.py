"""What `deploy/demo --fleet` shows: a member of the fleet is killed, and others take over its pods.

    deploy/fleet_demo.py kill --consul URL --podpulse PROGRAM --key KEY [--json] MEMBER=PID=PORT ...
    deploy/fleet_demo.py follow --consul URL --podpulse PROGRAM MEMBER=PID=PORT ...

`kill` waits until the members share the pods, kills the one that holds a health key, and watches the others. `follow`
shows the events of the fleet until SIGTERM. Standard error gets the events and, with --json, standard output gets one
object with what was seen. The source of all is what everybody can read: health keys, sessions and services in Consul,
the metrics of the members, and the output of `podpulse watch`.

Exit codes:
  0  another member took over, and no reader of the health keys noticed
  1  it did not, or the members do not share the pods in time; the last line says what is wrong
"""

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, NoReturn, Self

# In seconds.
SHARED_WITHIN = 90.0
PROBED_WITHIN = 12.0  # from the death of a member to the first probe of its pods by another member
ENDED_WITHIN = 30.0  # the session of a killed member ends after 20 s, and the keys that it holds then end with it
STARTED_WITHIN = 20.0
PAUSE = 0.05
PROBE = re.compile(r'podpulse_last_probe_timestamp_seconds\{node="(.*?)",pod="(.*?)"\} (\S+)')
USES_COLOUR = sys.stderr.isatty() and not os.environ.get("NO_COLOR")


class NotShown(Exception):
    """What the story is to show did not happen. The message says what is wrong."""


class Member(NamedTuple):
    """A controller of the fleet, with the port of its page."""

    name: str
    pid: int
    port: int


class Key(NamedTuple):
    """What Consul has of one health key."""

    session: str
    status: str


class Fleet:
    """Reads the fleet from Consul, and the probes from the members."""

    def __init__(self, consul: str, members: Sequence[Member]) -> None:
        self._consul = consul.removeprefix("http://")
        self._sessions: dict[str, str] = {}
        self.members = {member.name: member for member in members}

    def keys(self) -> dict[str, Key]:
        """Returns the health keys by name, as `health/<pod>/<node>`."""
        entries = self._read("kv/health/?recurse&consistent") or ()
        return {
            entry["Key"]: Key(entry.get("Session", ""), json.loads(b64decode(entry["Value"]))["Status"])
            for entry in entries
        }

    def holder(self, session: str) -> str:
        """Returns the member that has made a session, also if it has ended; "" for none. A session is named
        `health:<member>:...`."""
        if session and session not in self._sessions:
            self._sessions |= {each["ID"]: each["Name"].split(":")[1] for each in self._read("session/list")}
        return self._sessions.get(session, "")

    def passing(self) -> tuple[str, ...]:
        """Returns the members that Consul knows as passing."""
        instances = self._read("health/service/podpulse?passing")
        return tuple(sorted(each["Service"]["Meta"].get("member", "") for each in instances))

    def probes(self, member: str) -> dict[str, float]:
        """Returns when a member has probed each of its pods last, in seconds since the epoch, by health key."""
        text = _get(f"127.0.0.1:{self.members[member].port}", "/metrics").decode()
        return {f"health/{pod}/{node}": float(at) for node, pod, at in PROBE.findall(text)}

    def has_session(self, session: str) -> bool:
        """Whether a session has not ended."""
        return bool(self._read(f"session/info/{session}"))

    def _read(self, path: str) -> Any:
        return json.loads(_get(self._consul, f"/v1/{path}") or b"null")


def _get(server: str, path: str) -> bytes:
    """Returns what a server answers; nothing if it has no such thing. Raises NotShown if it does not answer."""
    try:
        with closing(http.client.HTTPConnection(server, timeout=5.0)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise NotShown(f"{server}{path} does not answer: {error!r}") from error
    if answer.status not in {200, 404}:
        raise NotShown(f"{server}{path} answers {answer.status}: {body.decode(errors='replace')}")
    return body if answer.status == 200 else b""


@dataclass
class Seen:
    """What was seen since a member was killed. Times are seconds since then."""

    killed: str
    reads: int = 0
    faults: list[str] = field(default_factory=list)
    statuses: set[str] = field(default_factory=set)
    noticed: float = 0.0
    probed: dict[str, float] = field(default_factory=dict)
    taken: dict[str, float] = field(default_factory=dict)
    heirs: dict[str, str] = field(default_factory=dict)


class Watch(AbstractContextManager["Watch"]):
    """A running `podpulse watch`, and the lines that it has printed."""

    def __init__(self, podpulse: str, consul: str) -> None:
        self._command = [podpulse, "watch", "--consul", consul]
        self._offset = 0

    def __enter__(self) -> Self:
        self._output = tempfile.TemporaryFile()
        self._process = subprocess.Popen(self._command, stdout=self._output, stdin=subprocess.DEVNULL)  # noqa: S603
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._output.close()

    def new_lines(self) -> list[str]:
        """Returns the lines since the last call."""
        text = os.pread(self._output.fileno(), 1 << 20, self._offset)
        complete = text[: text.rfind(b"\n") + 1]
        self._offset += len(complete)
        return complete.decode().splitlines()

    def first_lines(self) -> list[str]:
        """Returns the lines that it prints at its start. Raises NotShown if there are none."""
        deadline = time.monotonic() + STARTED_WITHIN
        while not (lines := self.new_lines()):
            if time.monotonic() > deadline:
                raise NotShown("podpulse watch printed nothing")
            time.sleep(PAUSE)
        return lines


class Story:
    """Kills the member that probes one pod, and tells what happens."""

    def __init__(self, fleet: Fleet, key: str, watch: Watch) -> None:
        self._fleet = fleet
        self._key = key
        self._watch = watch
        self._began = time.time()
        self._members: tuple[str, ...] = ()
        self._holders: dict[str, str] = {}

    def tell(self) -> Seen:
        """Tells the story and returns what was seen. Raises NotShown if readers have noticed something."""
        self._wait_until_shared()
        self._show_shares()
        _say(f"{_bold('podpulse watch')} runs all the time, and prints a line for each change of health. Until now:")
        for line in self._watch.first_lines():
            _watched(line)
        judge(seen := self._kill())
        _say(_green("Nobody noticed."))
        always = _listed(sorted(seen.statuses))
        _line(f"    In {seen.reads} reads of health/ no key was missing, and every pod was {always}.")
        _line("    podpulse watch printed no line after the first ones.")
        return seen

    def follow(self) -> NoReturn:
        """Shows the events of the fleet until SIGTERM."""
        self._watch.first_lines()
        self._see()
        while True:
            self._show_lines()
            self._show_members()
            self._show_holders(self._fleet.keys())
            time.sleep(4 * PAUSE)

    def _wait_until_shared(self) -> None:
        deadline = time.monotonic() + SHARED_WITHIN
        while not self._is_shared():
            if time.monotonic() > deadline:
                raise NotShown(f"the members did not share the pods within {SHARED_WITHIN:g} s")
            time.sleep(4 * PAUSE)

    def _is_shared(self) -> bool:
        keys = self._fleet.keys()
        statuses = {key.status for key in keys.values()}
        holders = {self._fleet.holder(key.session) for key in keys.values()}
        return statuses == {"passing"} and holders == set(self._fleet.passing()) == set(self._fleet.members)

    def _see(self) -> None:
        """Takes the present members and holders as known, so that only changes are shown."""
        self._members = self._fleet.passing()
        self._holders = {name: self._fleet.holder(key.session) for name, key in self._fleet.keys().items()}

    def _show_shares(self) -> None:
        self._see()
        _say(f"Who probes which pod, as in {_bold('podpulse fleet')}. The prober holds the health key in Consul:")
        _line(_bold(f"    {'node':10}{'pod':8}{'health':10}probed by"))
        for name, key in sorted(self._fleet.keys().items(), key=lambda each: each[0].split("/")[2]):
            _, pod, node = name.split("/")
            holder = self._holders[name]
            row = f"    {node:10}{pod:8}{_green(f'{key.status:10}')}{holder}"
            _line(row + (_bold("   <- the pod that we look at") if name == self._key else ""))

    def _kill(self) -> Seen:
        """Kills the member that probes the pod, and returns what was seen until its session has ended."""
        victim = self._fleet.members.pop(name := self._holders[self._key])
        lost = sorted(key for key, holder in self._holders.items() if holder == name)
        _say(f"{_red(f'kill -9 {victim.pid}')}: {name}, which probes {_pods(lost)}, is dead at once")
        before = self._fleet.keys()
        self._began = time.time()
        os.kill(victim.pid, signal.SIGKILL)
        self._event(f"{name} is killed")
        seen = Seen(name)
        session = before[self._key].session
        while self._fleet.has_session(session):
            self._look(seen, before, lost)
            if self._since() > ENDED_WITHIN:
                raise NotShown(f"the session of {name} did not end within {ENDED_WITHIN:g} s")
            time.sleep(PAUSE)
        self._event(f"the session of {name} ends. No key ends with it: it holds none any more")
        self._look(seen, before, lost)
        return seen

    def _look(self, seen: Seen, before: Mapping[str, Key], lost: Sequence[str]) -> None:
        keys = self._fleet.keys()
        seen.reads += 1
        for name, old in before.items():
            new = keys.get(name)
            if new is None or not new.session or new.status != old.status:
                seen.faults.append(f"after {self._since():.1f} s, {name} was {new}")
        seen.statuses |= {key.status for key in keys.values()}
        seen.faults += [f"podpulse watch printed: {line}" for line in self._show_lines()]
        if self._show_members() and not seen.noticed:
            seen.noticed = self._since()
        self._note_probes(seen, lost)
        seen.taken |= {name: self._since() for name in self._show_holders(keys)}
        seen.heirs = {name: self._holders[name] for name in lost}

    def _note_probes(self, seen: Seen, lost: Sequence[str]) -> None:
        if len(seen.probed) == len(lost) or not seen.noticed:
            return
        for member in self._fleet.members:
            for name, at in self._fleet.probes(member).items():
                if name in lost and name not in seen.probed and at > self._began:
                    seen.probed[name] = at - self._began
                    self._event(f"{member} probes {_pods([name])}", at)

    def _show_members(self) -> bool:
        """Prints the members of the fleet if they have changed, and returns whether they have."""
        members = self._fleet.passing()
        if members == self._members:
            return False
        self._members = members
        self._event(f"Consul says who the members are now: {_listed(members)}")
        return True

    def _show_holders(self, keys: Mapping[str, Key]) -> list[str]:
        """Prints the health keys that another member holds than before, and returns them."""
        changed = []
        for name, key in sorted(keys.items()):
            holder = self._fleet.holder(key.session)
            if holder != self._holders.get(name):
                self._holders[name] = holder
                self._event(f"{holder} holds {name}, and publishes it from now on")
                changed.append(name)
        return changed

    def _show_lines(self) -> list[str]:
        lines = self._watch.new_lines()
        for line in lines:
            _watched(line)
        return lines

    def _since(self) -> float:
        return time.time() - self._began

    def _event(self, what: str, at: float = 0.0) -> None:
        _line(f"    {_bold(f'{(at or time.time()) - self._began:5.1f} s')}  {what}")


def main(arguments: Sequence[str]) -> int:
    """Runs one of the two verbs and returns the exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    fleet = Fleet(options.consul, options.members)
    try:
        with Watch(options.podpulse, options.consul) as watch:
            story = Story(fleet, options.key, watch)
            if options.verb == "follow":
                story.follow()
            seen = story.tell()
    except NotShown as problem:
        _line(_red(f"demo: {problem}"))
        return 1
    if options.json:
        sys.stdout.write(f"{json.dumps(_document(seen), indent=2)}\n")
    return 0


def judge(seen: Seen) -> None:
    """Raises NotShown if readers have noticed something, or if the pods were probed or taken over too late."""
    if seen.faults:
        raise NotShown(seen.faults[0])
    if seen.heirs.keys() - seen.probed.keys():
        raise NotShown(f"nobody probes {_pods(sorted(seen.heirs.keys() - seen.probed.keys()))}")
    if (latest := max(seen.probed.values())) > PROBED_WITHIN:
        raise NotShown(
            f"the first probe by another member came after {latest:.1f} s, and not within {PROBED_WITHIN:g} s"
        )
    if missing := seen.heirs.keys() - seen.taken.keys():
        raise NotShown(f"nobody has taken over {_listed(sorted(missing))}")


def _document(seen: Seen) -> Mapping[str, Any]:
    return {
        "killed": seen.killed,
        "noticed_after_s": round(seen.noticed, 1),
        "pods": {
            name: {
                "heir": heir,
                "first_probe_after_s": round(seen.probed[name], 1),
                "taken_over_after_s": round(seen.taken[name], 1),
            }
            for name, heir in seen.heirs.items()
        },
        "reads": seen.reads,
        "faults": seen.faults,
        "statuses": sorted(seen.statuses),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("fleet_demo", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("verb", choices=("kill", "follow"))
    parser.add_argument("--consul", required=True, metavar="URL")
    parser.add_argument("--podpulse", required=True)
    parser.add_argument("--key", default="", help="the health key whose holder is killed")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("members", nargs="+", type=_member, metavar="MEMBER=PID=PORT")
    return parser


def _member(text: str) -> Member:
    name, pid, port = text.split("=")
    return Member(name, int(pid), int(port))


def _pods(keys: Sequence[str]) -> str:
    return _listed([f"{pod} on {node}" for _, pod, node in (key.split("/") for key in keys)])


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else "none"


def _say(what: str) -> None:
    _line(f"{_bold('==>')} {what}")


def _watched(line: str) -> None:
    _line(f"    {_dim('watch |')} {line}")


def _line(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _styled(code: int, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if USES_COLOUR else text


_bold, _dim, _red, _green = (partial(_styled, code) for code in (1, 2, 31, 32))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
