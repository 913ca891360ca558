"""Random runs of a fleet whose members learn of each view at different times, against a real Consul.

No reader ever misses a key, and in the end each key is held by the member that the last view gives it to.
"""

import random
from collections.abc import Collection
from contextlib import ExitStack

import pytest

from reconcilers.health import HealthState, Reason
from reconcilers.record import HealthRecord
from reconcilers.share import FleetView
from reconcilers.spec import PodKey
from tests.support.consul import Agent
from tests.support.members import Member, Reader, key_of, member

NAMES = ("m1", "m2", "m3")
PODS = [PodKey(f"node{number}", pod) for number in range(6) for pod in ("a", "b")]
STEPS = 150


class Run:
    """Three members, the views so far, and the status that each pod has."""

    def __init__(self, agent: Agent, stack: ExitStack, seed: int) -> None:
        self.chance = random.Random(seed)
        self.views = [FleetView(1, NAMES)]
        self.members = {name: stack.enter_context(member(agent, name)) for name in NAMES}
        self.nodes: dict[str, set[str]] = {name: set() for name in NAMES}
        self.states = dict.fromkeys(PODS, HealthState.PASSING)

    def step(self) -> None:
        one = self.chance.choice([*self.members.values()])
        match self.chance.randrange(6):
            case 0:
                self.change_members()
            case 1 | 2:
                self.learn(one, self.chance.choice(self.views))
            case 3:
                pod = self.chance.choice(PODS)
                passing = self.states[pod] is HealthState.PASSING
                self.states[pod] = HealthState.CRITICAL if passing else HealthState.PASSING
                self.reconcile(one)
            case 4:
                one.sink.look_again()
                self.reconcile(one)
            case _:
                self.reconcile(one)

    def change_members(self) -> None:
        """Another view: a member has joined or left."""
        now = set(self.views[-1].members) ^ {self.chance.choice(NAMES)}
        self.views.append(FleetView(self.views[-1].index + 1, tuple(sorted(now or NAMES))))

    def learn(self, one: Member, view: FleetView) -> None:
        """A view is never replaced by an older one."""
        if view.index > one.share.current().index:
            one.share.apply(view)
            self.follow_share(one)

    def follow_share(self, one: Member) -> None:
        """What the watch of manifests does: the keys of gained nodes are read, the pods of lost nodes forgotten."""
        before = self.nodes[one.share.current().member]
        owned = {key.node for key in PODS if one.share.owns(key.node)}
        one.sink.disown([key for key in PODS if key.node in before - owned])
        if owned - before:
            one.sink.leftovers(*(owned - before))
        before.clear()
        before.update(owned)

    def reconcile(self, one: Member) -> None:
        wanted = [self.record(key) for key in PODS if one.share.owns(key.node)]
        put = [record for record in wanted if record.is_news_after(one.sink.published(record.key))]
        assert one.sink.write(put, []) == {}
        self.follow_share(one)

    def record(self, key: PodKey) -> HealthRecord:
        state = self.states[key]
        return HealthRecord(key, state, Reason.NONE if state is HealthState.PASSING else Reason.STATUS)

    def settle(self) -> None:
        """All learn of the last view. After one more look, nobody has anything to write."""
        for _ in range(2):
            for one in self.members.values():
                self.learn(one, self.views[-1])
                one.sink.look_again()
                self.reconcile(one)

    def owners(self, keys: Collection[PodKey]) -> dict[PodKey, str | None]:
        return {key: self.members[self.views[-1].owner(key.node) or ""].session for key in keys}


@pytest.mark.parametrize("seed", range(5))
def test_members_with_different_views_never_lose_a_key_and_agree_in_the_end(consul: Agent, seed: int) -> None:
    with ExitStack() as stack:
        run = Run(consul, stack, seed)
        for one in run.members.values():
            run.learn(one, run.views[0])
            run.reconcile(one)
        with Reader(consul, frozenset(PODS)) as reader:
            for _ in range(STEPS):
                run.step()
            run.settle()
        assert reader.faults == []
        assert reader.reads > 10
        stands = {key: key_of(consul, key) for key in PODS}
        assert {key: one and one.session for key, one in stands.items()} == run.owners(PODS)
        assert {key: one and one.record.status for key, one in stands.items()} == run.states
        last = run.views[-1].index
        assert all(one and one.flags <= last for one in stands.values())
        for one in run.members.values():
            one.asked.clear()
            assert one.sink.look_again() == set()
            assert "transaction" not in one.asked, "nobody has anything to write"
