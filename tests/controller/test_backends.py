"""The backends of a controller, as its configuration defines them."""

from pathlib import Path

import pytest

from controller.config import Config
from controller.health.restart_state import RestartState
from controller.intent.manifest_store import ManifestStore
from controller.members.current_share import CurrentShare
from controller.runtime.heartbeat import Heartbeats
from controller.wiring.backends import Backends, Parts, share_of
from controller.wiring.consul import on_consul
from reconcilers.options import Rules


def backends(folder: Path, **options: object) -> Backends:
    config = Config.model_validate({"node_name": "web1", "consul": {"address": "127.0.0.1:1"}, **options})
    ignore = lambda *_: None  # noqa: E731 -- the callbacks of this test
    store, heartbeats = ManifestStore(Rules()), Heartbeats()
    restart_state = RestartState(folder, "web1", heartbeats, is_required=True)
    share = CurrentShare(share_of(config))
    parts = Parts(config, {}, store, heartbeats, ignore, ignore, ignore, ignore, ignore, restart_state, share)
    return on_consul(parts)


@pytest.mark.parametrize(
    ("options", "read"),
    [
        ({}, False),
        ({"startup_grace": "0s"}, False),
        ({"startup_grace": "1s"}, True),
        ({"startup_grace": "1s", "tree": "reality"}, False),
    ],
)
def test_the_reality_tree_is_read_only_for_a_startup_grace(
    tmp_path: Path, options: dict[str, object], read: bool
) -> None:
    found = backends(tmp_path, **options)
    assert (found.reality is not None) is read
    for client in found.clients:
        client.close()
