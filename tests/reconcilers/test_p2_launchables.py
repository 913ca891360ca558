"""What a manifest launches, as p2-inspect shows it."""

import json

from reconcilers.p2.launchables import locations, versions
from reconcilers.p2.manifest import read

MANIFEST = b"""
id: shop
launchables:
  web:
    launchable_type: hoist
    location: https://artifacts/web_1.tar.gz
  assets:
    launchable_type: opencontainer
    location: file:///srv/assets_2.tar.gz
  worker:
    launchable_type: hoist
    version: {id: 3f2a, artifact_name: shop-worker, tags: {branch: main, 1: one}}
  cache:
    launchable_type: docker
    image: {name: cache, sha256: abcd}
    version: {tags: {left: over}}
"""


def test_each_launchable_is_shown_with_its_location_or_version() -> None:
    found = versions(read(MANIFEST))
    assert json.loads(json.dumps(found)) == {
        "assets": {"location": "file:///srv/assets_2.tar.gz", "version": {"id": ""}},
        "cache": {"version": {"id": ""}},
        "web": {"location": "https://artifacts/web_1.tar.gz", "version": {"id": ""}},
        "worker": {"version": {"artifact_name": "shop-worker", "id": "3f2a", "tags": {"1": "one", "branch": "main"}}},
    }
    assert locations(found) == ["", "", "file:///srv/assets_2.tar.gz", "https://artifacts/web_1.tar.gz"]


def test_a_manifest_that_launches_nothing_has_no_locations() -> None:
    assert versions(read(b"id: isup")) == {}
    assert locations({}) is None
    assert locations({"worker": {"version": {"id": "1"}}}) == [""]
