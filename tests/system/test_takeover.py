"""Podpulse where p2 was: signed manifests."""

from pathlib import Path

from tests.support.consul import Agent
from tests.support.controller import Controller, manifest
from tests.support.fleet import Fleet
from tests.support.net import until
from tests.support.signing import Signer, keyring
from tests.support.targets import Target
from tests.system.conftest import Launch


def invalid(controller: Controller) -> dict[str, float]:
    return controller.metrics().by_pod("podpulse_manifest_invalid")


def test_an_unsigned_manifest_keeps_the_last_one_that_was_signed(
    consul: Agent, launch: Launch, fleet: Fleet, target: Target, tmp_path: Path
) -> None:
    alice, stranger = Signer("alice"), Signer("stranger")
    fleet.write("a", alice.sign(fleet.manifest("a")))
    fleet.write("b", fleet.manifest("b"))
    controller = launch(consul, require_signature=str(keyring(tmp_path / "deployers.asc", alice)))
    until(lambda: fleet.are("passing", "a"))
    assert invalid(controller) == {"b": 1.0}

    elsewhere = manifest("a", target.port, "/elsewhere")
    for refused in (elsewhere, stranger.sign(elsewhere), elsewhere + alice.sign(fleet.manifest("a"))):
        fleet.write("a", refused)
        until(lambda: invalid(controller) == {"a": 1.0, "b": 1.0}, what="the metric says that it is refused")
        fleet.wait_asked("a", 2)
        fleet.write("a", alice.sign(fleet.manifest("a")))
        until(lambda: invalid(controller) == {"b": 1.0}, what="the complaint ends")
    assert target.hits("/elsewhere") == []
    assert fleet.are("passing", "a")
    assert "manifest of web1/a is invalid: not signed, and require_signature asks for a signature" in controller.log
    assert "which is not in" in controller.log
    assert "text before or after the signed message" in controller.log

    fleet.write("a", alice.sign(elsewhere))
    until(lambda: target.hits("/elsewhere"), what="what she signs is done")
