"""What a controller is joined to outside, as its configuration says."""

import pytest

from controller.config import Config
from controller.intent.manifest_store import ManifestStore
from controller.runtime.heartbeat import Heartbeats
from controller.wiring import Backends, on_consul
from reconcilers.options import Rules


def backends(**options: object) -> Backends:
    config = Config.model_validate({"node_name": "web1", "consul": {"address": "127.0.0.1:1"}, **options})
    nobody = lambda *_: None  # noqa: E731 -- who is told of nothing
    store, heartbeats = ManifestStore(Rules()), Heartbeats()
    return on_consul(config, {}, store, heartbeats, nobody, nobody, nobody, nobody, nobody, "", nobody)


@pytest.mark.parametrize(
    ("options", "read"),
    [
        ({}, False),
        ({"startup_grace": "0s"}, False),
        ({"startup_grace": "1s"}, True),
        ({"startup_grace": "1s", "tree": "reality"}, False),
    ],
)
def test_what_really_runs_is_read_only_where_it_matters(options: dict[str, object], read: bool) -> None:
    found = backends(**options)
    assert (found.reality is not None) is read
    for client in found.clients:
        client.close()
