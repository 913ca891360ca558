"""`podpulse run --url … --save DIR`: the manifests of a list of URLs as files, to schedule them in Consul later."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from controller.intent.folder import SUFFIX
from reconcilers.urls import UrlCheck


def save(folder: Path, checks: Iterable[UrlCheck]) -> Sequence[Path]:
    """Writes each manifest to `folder/<node>/<pod>.yaml`. Returns the files that exist with another content: they are
    kept, because somebody may have edited them. Raises OSError."""
    kept = []
    for check in checks:
        file = folder / check.key.node / f"{check.key.pod}{SUFFIX}"
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.write_bytes(check.manifest)
        elif file.read_bytes() != check.manifest:
            kept.append(file)
    return kept
