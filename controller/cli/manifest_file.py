"""Manifests in files that the command line is given: what each asks for, and what is wrong with it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from controller.cli.options import key_of
from reconcilers.escaping import safe_words
from reconcilers.manifest import ManifestError, parse, pod_id, warnings
from reconcilers.options import Rules
from reconcilers.p2.manifest import refusal, sha_or_empty
from reconcilers.spec import Manifest, PodKey

LENIENT = Rules(allow_headers=True)
"""Which manifests the tools accept: the controller that will run the pod may refuse headers, or miss a file."""
NAMELESS = "unknown"
"""In place of the name of a pod whose manifest has no good one, and so is refused for that."""


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One manifest. `pod` is "" where its id is wrong. `manifest` is None where it cannot be used; `errors` say why."""

    path: Path
    data: bytes
    pod: str
    manifest: Manifest | None
    errors: tuple[str, ...]

    @property
    def sha(self) -> str:
        """p2's SHA; "" for one that p2 would not read."""
        return sha_or_empty(self.data)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What does not keep it from being used, but is hardly meant."""
        try:
            unknown = [safe_words(str(warning)) for warning in warnings(self.data)]
        except ManifestError:
            return ()
        refused = refusal(self.data) if self.manifest else ""
        return (*unknown, *([f"p2 would not read this: {refused}"] if refused else []))


def read(path: Path, node: str | None, rules: Rules = LENIENT) -> ManifestFile:
    """The manifest of a file, as `node` (None: this host) would understand it by `rules`.

    Raises:
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    pod = _pod(data)
    try:
        return ManifestFile(path, data, pod, parse(key_of(pod or NAMELESS, node), data, rules), ())
    except ManifestError as error:
        return ManifestFile(path, data, pod, None, tuple(str(each) for each in error.every))


def usable(paths: Iterable[Path], node: str | None) -> list[tuple[PodKey, ManifestFile]]:
    """The keys and the manifests of files that some controller can use.

    Raises:
        click.ClickException: one of them cannot be used; every wrong field of all is named.
    """
    found = [read(path, node) for path in paths]
    if errors := [f"{each.path}: {error}" for each in found for error in each.errors]:
        raise click.ClickException("\n".join(errors))
    return [(each.manifest.key, each) for each in found if each.manifest]


def _pod(data: bytes) -> str:
    try:
        return pod_id(data)
    except ManifestError:
        return ""
