"""Whose options `podpulse probe` uses: those of a configuration file, else those of a running controller."""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from controller.cli import options
from controller.cli.page_request import CONNECT_WITHIN, NOBODY, NoController, get, without_user
from controller.config.probe_options import OptionsError, taken

TIMEOUT = 2
"""Seconds for the answer of the controller."""
MAX_BODY = 1024 * 1024


class _Answer(msgspec.Struct, frozen=True):
    options: dict[str, str]


class Taken(NamedTuple):
    """`file` or `controller` says whose options these are; without both they are the defaults, and `why` has the
    reason. `notes` name the options of the controller that cannot be used here."""

    file: Path | None = None
    controller: str = ""
    why: str = ""
    values: Mapping[str, Any] = {}
    notes: Sequence[str] = ()

    @property
    def text(self) -> str:
        """What the output says."""
        if self.file:
            return f"with the options of {self.file}"
        if self.controller:
            return f"with the options of the controller at {self.controller}"
        return f"with the default options, because {self.why}"


def take_options(file: Path | None, controller: str | None, ca_file: Path | None, page: str) -> Taken:
    """Returns the options of the controller at this URL, else those of `file` or of the usual file, else those of the
    controller with this `page` ("" to ask nobody, like the URL `none`), else the defaults.

    Raises:
        NoController: the controller at the URL does not answer with its options.
    """
    if controller not in {None, NOBODY}:
        return _of_controller(str(controller), ca_file)
    if usual := options.usual_file(file):
        return Taken(usual)
    try:
        if page and controller != NOBODY:
            return _of_this_machine(_of_controller(page, ca_file))
        why = "no controller was asked"
    except NoController as error:
        why = f"{error} (--controller URL asks another one)"
    return Taken(why=f"{options.USUAL} cannot be read here, and {why}")


def _of_this_machine(found: Taken) -> Taken:
    """Leaves out an address of another machine. Another program may have taken the controller's port, and must not
    choose who gets the headers of manifests."""
    where = found.values.get("address", "name")
    if where in {"name", "catalog"} or _is_local(str(where)):
        return found
    note = f"without the address of the controller: {where} is not one of this machine"
    values = {name: value for name, value in found.values.items() if name != "address"}
    return found._replace(values=values, notes=[*found.notes, note])


def _is_local(address: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as trial:
        try:
            trial.bind((address, 0))
        except OSError:
            return False
        return True


def given(taken: Taken, node: str | None, address: str | None) -> dict[str, Any]:
    """Returns the options for `load`: those that were given on the command line, over those of the controller."""
    on_line = {"node_name": node, "address": address}
    return {**taken.values, **{name: value for name, value in on_line.items() if value is not None}}


def _of_controller(url: str, ca_file: Path | None) -> Taken:
    where = "/api/v1/probe-options"
    status, body = get(url, where, timeout=TIMEOUT, limit=MAX_BODY, connect=CONNECT_WITHIN, ca_file=ca_file)
    name = without_user(url)
    if status != 200:
        raise NoController(f"{name} answered with status {status} and without options")
    try:
        values, notes = taken(msgspec.json.decode(body, type=_Answer).options)
    except (msgspec.MsgspecError, RecursionError, OptionsError):
        raise NoController(f"{name} answered, but not with the options of a controller") from None
    return Taken(controller=name, values=values, notes=notes)
