"""The controller with injected faults: `unforeseen.py FAULT,... python -m controller ARGUMENT...`.

Each fault is the name of one of `FAULTS`: the first call of that function raises. Threads that act every few seconds
act every second, so that a test sees their next turn soon.
"""

import functools
import runpy
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from controller.consul import addresses, session
from controller.consul.registration import RegistrationKeeper
from controller.health import canary, state_saver
from controller.intent import manifest_store
from controller.intent.deployments import Deployments
from controller.intent.fleet_source import FleetSource
from controller.intent.watch import IntentWatch
from controller.members.fleet_reader import FleetReader
from controller.members.member_status import MemberStatus
from controller.members.membership_watch import MembershipWatch
from controller.publish import catalog_keeper, folder
from controller.publish.agent import AgentSink
from controller.publish.catalog import CatalogSink
from controller.publish.handover import Handover
from controller.publish.kv import KvSink
from controller.publish.kv_keeper import KeyKeeper
from controller.publish.orphans import OrphanKeeper
from controller.reload import Reloader

SECOND = 1.0
FAULTY_POD = "faulty"
"""The pod whose manifest the fault of the parser hits."""

FAULTS: dict[str, tuple[Any, str]] = {
    "parser": (manifest_store, "parse"),
    "watch": (IntentWatch, "_handle"),
    "leftovers": (KvSink, "leftovers"),
    "reality": (Deployments, "run"),
    "canary": (canary.Canary, "_turn"),
    "state": (state_saver.StateSaver, "_turn"),
    "session": (session.SessionKeeper, "_confirm"),
    "kv-look": (KvSink, "look_again"),
    "agent-ttl": (AgentSink, "refresh"),
    "registration": (RegistrationKeeper, "_renew"),
    "address": (addresses.CatalogAddress, "refresh"),
    "reload": (Reloader, "_turn"),
    "lease": (folder.DirectoryLease, "_touch"),
    "members": (MembershipWatch, "_on_members"),
    "counting members": (MembershipWatch, "_let_count"),
    "member status": (MemberStatus, "current"),
    "names of nodes": (FleetSource, "_read_names"),
    "gained nodes": (KvSink, "leftovers"),
    "reality of nodes": (FleetSource, "_read"),
    "handover": (Handover, "admit"),
    "fences": (Handover, "review"),
    "orphans": (OrphanKeeper, "look"),
    "addresses": (addresses.CatalogAddresses, "refresh"),
    "catalog": (CatalogSink, "write"),
    "catalog-look": (CatalogSink, "look_again"),
    "catalog-orphans": (OrphanKeeper, "look"),
    "fleet reader": (FleetReader, "overview"),
}
THREAD = {
    "parser": "watch",
    "lease": "session",
    "counting members": "members-count",
    "member status": "registration",
    "names of nodes": "watch",
    "gained nodes": "watch",
    "reality of nodes": "reality",
    "handover": "publish-kv",
    "fences": "kv-look",
    "addresses": "address",
    "catalog": "publish-catalog",
    "fleet reader": "fleet_0",
}
"""The thread of a fault that does not have its name. Calls in other threads do not raise."""


def inject(name: str) -> None:
    """Make the first call of this function in its thread raise; the parser's first one for `FAULTY_POD`."""
    owner, attribute = FAULTS[name]
    setattr(owner, attribute, _failing_once(name, getattr(owner, attribute)))


def _failing_once(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    lock, raised = threading.Lock(), list[str]()

    @functools.wraps(real)
    def call(*arguments: Any, **named: Any) -> Any:
        is_meant = name != "parser" or arguments[0].pod == FAULTY_POD
        is_meant = is_meant and threading.current_thread().name == THREAD.get(name, name)
        with lock:
            is_first = is_meant and not raised
            raised.extend([name] if is_first else [])
        if is_first:
            raise RuntimeError(f"injected into {name}")
        return real(*arguments, **named)

    return call


def hurry() -> None:
    """Let threads act every second."""
    session.RENEWAL = addresses.PERIOD = state_saver.PERIOD = folder.RENEWAL = SECOND
    catalog_keeper.PERIOD = catalog_keeper.ORPHANS_PERIOD = SECOND
    for keeper in (KeyKeeper, OrphanKeeper):
        (keeper.__init__.__kwdefaults__ or {})["period"] = SECOND


def main(faults: str, _python: str, _option: str, module: str, *arguments: str) -> None:
    hurry()
    for name in faults.split(","):
        inject(name)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
