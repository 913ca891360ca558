"""What a manifest launches: where each launchable is taken from, or which version of it, as p2-inspect shows them.

Source: pkg/inspect of square/p2.
"""

from typing import Any

from reconcilers.p2.goyaml import GoMap, Value


def versions(manifest: GoMap) -> dict[str, dict[str, Any]]:
    """For each launchable its `location`, if it has one, and its `version`.

    A version has an `id`, perhaps an `artifact_name` and `tags`. It is always there, as with p2-inspect; the id of none
    is "". `manifest` is one of `p2manifest.read`.
    """
    launchables = _members(_members(manifest).get("launchables"))
    return {name: _source(_members(launchable)) for name, launchable in launchables.items()}


def locations(found: dict[str, dict[str, Any]]) -> list[str] | None:
    """The location of each launchable of `versions`, "" where it has none, sorted; None where nothing is launched."""
    return sorted(source.get("location", "") for source in found.values()) or None


def _source(launchable: dict[str, Value]) -> dict[str, Any]:
    """A version without an id is none."""
    location, version = launchable.get("location"), _members(launchable.get("version"))
    said = {name: _members(value) if name == "tags" else value for name, value in version.items()}
    return {**({"location": location} if location else {}), "version": said if version.get("id") else {"id": ""}}


def _members(value: Value) -> dict[str, Value]:
    return {str(name): member for name, member in value.entries} if isinstance(value, GoMap) else {}
