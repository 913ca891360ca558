"""Files of authorities, certificates, keys and credentials that are replaced while the controller runs.

A file counts as replaced when it differs from the file that was read, is unchanged between two looks, and can be used.
So a file that is still being written is not reported. A certificate and its key count together.
"""

import logging
from collections.abc import Collection, Mapping

from controller.config.model import Config
from controller.consul.settings import ConsulSettings
from controller.runtime import credential_file
from controller.runtime.pem_files import ignored_by_probes, unfit, unusable, unusable_for_probes
from controller.runtime.plain_files import Reading, Stamp, stamp, unreadable
from reconcilers.tls_options import TlsOptions

log = logging.getLogger(__name__)


def wrong_authorities(option: str, path: str) -> str:
    """Returns what is wrong with the bundle for probes that an option names, as a sentence; "" if it is good."""
    problem = unusable_for_probes(path)
    return f"{option}: expected certificates of authorities, got {path}: {problem}" if problem else ""


def ignored_authorities(option: str, path: str) -> str:
    """Returns which certificates in the bundle for probes that an option names are ignored, as a sentence; "" for
    none."""
    problem = ignored_by_probes(path) if path else ""
    return f"{option}: {path}: {problem}" if problem else ""


def wrong_for_consul(settings: ConsulSettings) -> str:
    """The same for the files that requests to Consul need."""
    if settings.token_file and (problem := unreadable(settings.token_file)):
        return f"consul.token_file: expected a file that can be read, got {settings.token_file}: {problem}"
    if settings.ca_file and (problem := unusable(settings.ca_file)):
        return f"consul.ca_file: expected certificates of authorities, got {settings.ca_file}: {problem}"
    return wrong_pair("consul", settings.cert_file, settings.key_file)


def wrong_for_checks(tls: TlsOptions) -> str:
    """The same for the files that probes use when a manifest names none."""
    if tls.ca_file and (problem := wrong_authorities("defaults.tls.ca_file", tls.ca_file)):
        return problem
    return wrong_pair("defaults.tls", tls.cert_file, tls.key_file)


def wrong_pair(section: str, cert_file: str, key_file: str) -> str:
    """The same for the certificate and the key of a section, which may have none."""
    if not cert_file or not (problem := unfit(cert_file, key_file)):
        return ""
    expected = f"expected a certificate with its key in {section}.key_file"
    return f"{section}.cert_file: {expected}, got {cert_file} and {key_file}: {problem}"


def wrong_files(config: Config, environ: Mapping[str, str], before: Config | None = None) -> str:
    """The same for all files of a configuration, or for those of its parts that differ from `before`."""
    consul, tls, bundle = config.consul_settings(environ), config.defaults.tls, config.ca_file
    problems = (
        "" if before and consul == before.consul_settings(environ) else wrong_for_consul(consul),
        "" if before and bundle == before.ca_file else wrong_authorities("ca_file", str(bundle)),
        "" if before and tls == before.defaults.tls else wrong_for_checks(tls),
    )
    return next(filter(None, problems), "")


class Rotation:
    """Compares the files that were read with the files on disk."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, ...], tuple[Stamp | None, ...]] = {}
        self._judged: dict[tuple[str, ...], tuple[int, tuple[Stamp | None, ...]]] = {}

    def look(self, readings: Collection[Reading]) -> frozenset[str]:
        """Returns the files that were replaced since they were read. Each replacement is returned once."""
        before, self._seen = self._seen, {each.paths: tuple(map(stamp, each.paths)) for each in readings}
        self._judged = {paths: judged for paths, judged in self._judged.items() if paths in self._seen}
        replaced = set[str]()
        for each in readings:
            now = self._seen[each.paths]
            if now == each.stamps or None in now or before.get(each.paths) != now:
                continue
            if self._judged.get(each.paths) != (each.number, now):
                self._judged[each.paths] = (each.number, now)
                replaced.update(each.paths if self._are_good(each) else ())
        return frozenset(replaced)

    @staticmethod
    def _are_good(reading: Reading) -> bool:
        if problem := _problem(reading):
            said = " and ".join(reading.paths)
            log.warning("%s replaced, and cannot be used; what was read before stays in force: %s", said, problem)
        return not problem


def _problem(reading: Reading) -> str:
    """Returns why the files of a reading cannot be used now; "" if they can."""
    if reading.folder:
        return credential_file.unusable(reading.paths[0], reading.folder)
    return unusable_for_probes(*reading.paths) if len(reading.paths) == 1 else unfit(*reading.paths)
