"""Reloads the configuration: it is read and checked as a whole, and applied only if it is valid.

A check is restarted only if it has changed. Replaced certificate files are noticed here too, without a request.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from controller.config import Config, ConfigError
from controller.config.certificate_files import Rotation, wrong_files
from controller.config.live import differences, reloaded
from controller.config.web_access import WebAccessError
from controller.health.restart_state import RestartState
from controller.probes.engine import ProbeEngine
from controller.runtime.background_thread import BackgroundThread
from controller.runtime.heartbeat import Heartbeat, Heartbeats
from controller.runtime.start_error import StartError
from controller.runtime.systemd import ServiceManager

log = logging.getLogger(__name__)

WEB = "web_config_file"
"""The option whose file is reloaded with the configuration. Only its users apply without a restart."""
FILES_PERIOD = 2.0
"""Seconds between two checks for replaced certificate files."""
NOT_RELOADED = "the configuration could not be reloaded, the previous one stays in force"


class Gauge(Protocol):
    """A metric that has a value."""

    def set(self, value: float) -> None: ...


class Reloader:
    """Runs in the thread "reload". `load` reads the configuration again.

    `apply` puts a checked configuration in force. It returns False if a part of the web configuration needs a restart.
    """

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        load: Callable[[], Config],
        apply: Callable[[Config], bool],
        engine: ProbeEngine,
        heartbeat: Heartbeat,
        systemd: ServiceManager,
        *,
        successful: Gauge,
        success_time: Gauge,
    ) -> None:
        self.config = config
        """The configuration in force."""
        self._environ = environ
        self._load = load
        self._apply = apply
        self._engine = engine
        self._successful = successful
        self._success_time = success_time
        self._systemd = systemd
        self._lock = threading.Lock()
        self._rotation = Rotation()
        self._failure = ""
        self._waiting: list[str] = []
        self._is_requested = threading.Event()
        self._thread = BackgroundThread(self._turn, heartbeat)
        self._succeeded()

    def start(self) -> None:
        self._renew_certificates()
        self._thread.start()

    def stop(self, timeout: float) -> None:
        self._thread.stop(timeout)

    def request(self) -> None:
        self._is_requested.set()
        self._thread.wake()

    def complaints(self) -> Sequence[str]:
        """Returns why the last reload failed, or which options need a restart."""
        if self._failure:
            return [f"{NOT_RELOADED}: {self._failure}"]
        return [f"new values need a restart: {', '.join(self._waiting)}"] if self._waiting else []

    def reload(self) -> str:
        """Reloads now, and returns the result as a sentence. Raises ConfigError if it failed."""
        with self._lock:
            self._systemd.reloading()
            try:
                return self._reload()
            except ConfigError as error:
                self._fail(str(error))
                raise
            except Exception as error:
                log.exception("a part failed to apply the new configuration")
                self._fail(repr(error))
                raise ConfigError(f"a part failed to apply it: {error!r}") from error
            finally:
                self._systemd.ready()

    def _reload(self) -> str:
        wanted = self._load()
        config = reloaded(self.config, wanted)
        self._check(wanted, config)
        changed = list(differences(self.config, wanted))
        web_is_in_force = self._apply(config)
        self.config = config
        self._failure = ""
        self._waiting = [name for name, live in changed if not live]
        if not web_is_in_force and WEB not in self._waiting:
            self._waiting.append(WEB)
        self._succeeded()
        return self._report([name for name, live in changed if live])

    def _check(self, wanted: Config, config: Config) -> None:
        """Raises ConfigError if `wanted`, or its reloadable part `config`, names something that cannot be used."""
        for candidate in (wanted, config):
            candidate.consul_settings(self._environ)
            try:
                _ = candidate.web_access
            except WebAccessError as error:
                raise ConfigError(f"{WEB}: {error}") from None
        if problem := wrong_files(config, self._environ, self.config):
            raise ConfigError(problem)

    def _report(self, live: Sequence[str]) -> str:
        text = f"configuration reloaded; changed: {', '.join(live) or 'nothing'}"
        if self._waiting:
            text += f"; unchanged until a restart: {', '.join(self._waiting)}"
        log.log(logging.WARNING if self._waiting else logging.INFO, "%s", text)
        return text

    def _fail(self, error: str) -> None:
        self._failure = error
        self._successful.set(0)
        log.error("%s: %s", NOT_RELOADED, error)

    def _succeeded(self) -> None:
        self._successful.set(1)
        self._success_time.set(time.time())

    def _turn(self) -> float:
        if self._is_requested.is_set():
            self._is_requested.clear()
            with suppress(ConfigError):
                self.reload()
        self._renew_certificates()
        return FILES_PERIOD

    def _renew_certificates(self) -> None:
        """Uses replaced certificate files for probes. The Consul clients watch their own files."""
        if replaced := self._rotation.look(self._engine.files()):
            log.info("%s replaced; new connections of probes use it", ", ".join(sorted(replaced)))
            self._engine.renew(replaced)


def restart_state_of(config: Config, environ: Mapping[str, str], heartbeats: Heartbeats) -> RestartState:
    """Returns the state of the last run. Raises StartError if its folder is required and cannot be used."""
    folder, is_required = config.state_folder(environ), bool(config.state_dir) or "STATE_DIRECTORY" in environ
    try:
        return RestartState(folder, config.state_name, heartbeats, is_required=is_required)
    except OSError as error:
        raise StartError(f"state_dir: {folder} cannot be used: {error}") from error
