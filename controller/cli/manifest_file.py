"""Manifests in files from the command line: their content, errors and warnings."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import click

from controller.cli.options import key_of
from controller.config.certificate_files import ignored_authorities, wrong_authorities, wrong_pair
from controller.runtime import credential_file
from reconcilers.escaping import safe_words
from reconcilers.manifest import ManifestError, parse, pod_id, warnings
from reconcilers.options import MAX_REDIRECTS, Rules
from reconcilers.p2.manifest import refusal, sha_or_empty
from reconcilers.spec import HttpGet, Manifest, Method, PodKey, Probe, Tls

LENIENT = Rules(
    allow_headers=True,
    allow_send=True,
    allow_methods=frozenset(get_args(Method)),
    credentials_dir="/",
    max_redirects=MAX_REDIRECTS,
    labels=None,
)
"""Which manifests the tools accept: the controller that will run the pod may allow less, miss a file or ignore a
label."""
NAMELESS = "unknown"
"""The name of a pod whose manifest is refused because its own name is invalid."""


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One manifest. `pod` is "" where its id is wrong. `manifest` is None where it cannot be used; `errors` say why."""

    path: Path
    data: bytes
    pod: str
    manifest: Manifest | None
    errors: tuple[str, ...]
    labels: Sequence[str] | None = None
    """The declared names of labels; None accepts all."""

    @property
    def sha(self) -> str:
        """p2's SHA; "" for one that p2 would not read."""
        return sha_or_empty(self.data)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Faults that do not prevent the use of the manifest."""
        try:
            unknown = [safe_words(str(warning)) for warning in warnings(self.data, self.labels)]
        except ManifestError:
            return ()
        refused = refusal(self.data) if self.manifest else ""
        others = [*self._wrong_files(), f"p2 would not read this: {refused}" if refused else ""]
        return (*unknown, *filter(None, others))

    def _wrong_files(self) -> list[str]:
        """A file that this host does not have is not reported: the host that will run the pod may have it."""
        probe = self.manifest.check.probe if self.manifest and self.manifest.check else None
        return [*_wrong_credential(probe), *_wrong_tls_files(probe.tls if probe else None)]


def _wrong_tls_files(tls: Tls | None) -> list[str]:
    if not tls:
        return []
    option, problems = "status.tls.ca_file", list[str]()
    if tls.ca_file and Path(tls.ca_file).exists():
        problems += [wrong_authorities(option, tls.ca_file) or ignored_authorities(option, tls.ca_file)]
    if tls.cert_file and Path(tls.cert_file).exists() and Path(tls.key_file).exists():
        problems += [wrong_pair("status.tls", tls.cert_file, tls.key_file)]
    return problems


def _wrong_credential(probe: Probe | None) -> list[str]:
    """A file that this user may not read is not reported either: the controller may run as another one."""
    if not isinstance(probe, HttpGet) or not (file := probe.credential_file):
        return []
    if not os.access(file, os.R_OK) or not (problem := credential_file.unusable(file, "/")):
        return []
    option = "basic_auth.password_file" if probe.basic_auth else "bearer_token_file"
    return [f"status.{option}: {file}: {problem}"]


def read(path: Path, node: str | None, rules: Rules = LENIENT) -> ManifestFile:
    """Returns the manifest of a file, parsed for `node` (None: this host) by `rules`. Raises OSError."""
    data = path.read_bytes()
    pod = _pod(data)
    try:
        return ManifestFile(path, data, pod, parse(key_of(pod or NAMELESS, node), data, rules), (), rules.labels)
    except ManifestError as error:
        return ManifestFile(path, data, pod, None, tuple(str(each) for each in error.every), rules.labels)


def usable(paths: Iterable[Path], node: str | None) -> list[tuple[PodKey, ManifestFile]]:
    """Returns the keys and manifests of the files, or reports every wrong field of every manifest."""
    files = [read(path, node) for path in paths]
    if errors := [f"{each.path}: {error}" for each in files for error in each.errors]:
        raise click.ClickException("\n".join(errors))
    return [(each.manifest.key, each) for each in files if each.manifest]


def _pod(data: bytes) -> str:
    try:
        return pod_id(data)
    except ManifestError:
        return ""
