"""The reasons for which the controller is not ready, in its own words."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.web.readiness import UNPUBLISHED, Readiness
from reconcilers.spec import PodKey

A, B = PodKey("web1", "a"), PodKey("web1", "b")


@dataclass
class World:
    """What readiness asks of the manifests, of the lease and of each place."""

    seconds: float | None = 1.0
    session: str | None = "abc"
    reason: str = ""
    holder: str = ""
    waiting: dict[PodKey, str] = field(default_factory=dict)

    def silent(self) -> float | None:
        return self.seconds

    def current(self) -> str | None:
        return self.session

    def why(self) -> str:
        return self.reason

    def overdue(self, seconds: float) -> Mapping[PodKey, str]:
        assert seconds == UNPUBLISHED
        return self.waiting

    def says(self) -> list[str]:
        return list(Readiness(self.silent, self, lambda: self.holder, {"kv": self}).complaints())


def test_it_is_ready_when_manifests_are_read_a_session_is_held_and_all_is_published() -> None:
    assert World().says() == []
    assert Readiness(World().silent, None, str, {"agent": World()}).complaints() == []


def test_each_thing_that_is_wrong_is_said_with_its_reason() -> None:
    assert World(seconds=None).says() == ["the manifests have not been read yet"]
    assert World(seconds=31.4).says() == ["the manifests were last read 31 s ago"]
    lost = "there is no session, so no health can be published: "
    assert World(session=None, reason="403").says() == [f"{lost}403"]
    assert World(session=None).says() == [f"{lost}it was not renewed in time"]
    assert World(holder="session x").says() == ["another controller seems to check the same pods: session x"]
    assert World(waiting={A: "", B: "413"}).says() == [
        "2 pods have not been published (kv) for over 30 s, such as web1/b: 413"
    ]
    assert World(waiting={A: ""}).says() == [
        "1 pods have not been published (kv) for over 30 s, such as web1/a: no answer yet"
    ]


def test_pods_that_wait_for_a_session_are_not_a_second_problem() -> None:
    world = World(session=None, reason="403", waiting={A: "there is no session", B: ""})
    lost = "there is no session, so no health can be published: 403"
    assert world.says() == [lost]
    both = Readiness(world.silent, world, str, {"kv": world, "agent": World(waiting={A: "500"})}).complaints()
    assert both == [lost, "1 pods have not been published (agent) for over 30 s, such as web1/a: 500"]


def test_published_health_is_in_doubt_while_the_lease_is_lost() -> None:
    def is_in_doubt(world: World) -> bool:
        return Readiness(world.silent, world, str, {"kv": world}).is_in_doubt()

    assert not is_in_doubt(World(reason="a timeout"))
    assert is_in_doubt(World(session=None))
    assert not Readiness(World().silent, None, str, {}).is_in_doubt()


def test_the_silence_of_consul_is_a_notice_first_and_then_one_sentence_instead_of_its_consequences() -> None:
    text = "Consul has not answered since then"
    world, membership = World(), [""]
    readiness = Readiness(world.silent, world, lambda: world.holder, {"kv": world}, lambda: membership[0], lambda: text)
    assert (readiness.notices(), readiness.complaints()) == ([text], [])
    membership[0] = "the members cannot be read"
    assert (readiness.notices(), readiness.complaints()) == ([], [text])
    world.seconds, world.waiting, world.holder, world.session = 40.0, {A: "no answer"}, "x", None
    other = "another controller seems to check the same pods: x"
    assert readiness.complaints() == [text, other]
    world.seconds = None
    assert readiness.complaints() == ["the manifests have not been read yet", text, other]
    text = ""
    assert len(readiness.complaints()) == 4
    assert readiness.notices() == []


def test_the_pods_that_wait_are_counted_for_each_place() -> None:
    assert (
        Readiness(lambda: 1.0, None, str, {"kv": World(), "agent": World(waiting={A: "no"})}).unpublished("agent") == 1
    )
