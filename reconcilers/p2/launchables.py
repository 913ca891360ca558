"""The location or the version of each launchable of a manifest, as p2-inspect shows them.

Source: pkg/inspect of square/p2.
"""

from typing import Any

from reconcilers.p2.goyaml import GoMap, Value


def versions(manifest: GoMap) -> dict[str, dict[str, Any]]:
    """Returns the `version` of each launchable, and its `location` if it has one.

    A version has an `id`, and optionally an `artifact_name` and `tags`. As in p2-inspect, a launchable without a
    version has one whose id is "".
    """
    launchables = _members(_members(manifest).get("launchables"))
    return {name: _source(_members(launchable)) for name, launchable in launchables.items()}


def locations(found: dict[str, dict[str, Any]]) -> list[str] | None:
    """Returns the sorted locations of `versions`, "" for a launchable without one; None without launchables."""
    return sorted(source.get("location", "") for source in found.values()) or None


def _source(launchable: dict[str, Value]) -> dict[str, Any]:
    location, version = launchable.get("location"), _members(launchable.get("version"))
    shown = {name: _members(value) if name == "tags" else value for name, value in version.items()}
    return {**({"location": location} if location else {}), "version": shown if version.get("id") else {"id": ""}}


def _members(value: Value) -> dict[str, Value]:
    return {str(name): member for name, member in value.entries} if isinstance(value, GoMap) else {}
