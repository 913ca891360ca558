"""The state file: a header line, then one line of JSON for each check.

The file is replaced atomically. A line that cannot be read costs one check its counts and nothing else: a check can
start without its earlier state. A file is never written longer than it would be read.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, BinaryIO, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from controller.health.uptimes import SavedAt
from controller.runtime.boottime import boottime
from reconcilers.adoption import Saved
from reconcilers.health import CheckHealth, ProbeResult
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

SUFFIX = ".state"
FORMAT = 1
MAX_BYTES = 256 * 1024 * 1024
"""A check takes about 500 bytes, and at most 4 KiB if its error message is long."""
MAX_LINE = 64 * 1024
MAX_DETAIL = 500
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Unwritable(ValueError):
    """The state of one check cannot be written. The message says why."""


Seconds = Annotated[float, Field(ge=0, le=1e12)]


@dataclass(frozen=True, slots=True)
class Head:
    """The first line. Times of the monotonic clock are comparable within one `boot` only.

    `boottime` and `wall` are when the file was written, by two clocks. Earlier versions do not write them.
    """

    format: int
    node: str
    boot: str
    boottime: Seconds = 0.0
    wall: Seconds = 0.0


P = TypeVar("P", CheckHealth, ProbeResult)
_HEAD = TypeAdapter(Head)
_SAVED = TypeAdapter(Saved)


class StateFile:
    """The state of the checks of one node, in `folder`."""

    def __init__(self, folder: Path, node: str) -> None:
        self._path = folder / f"{node}{SUFFIX}"
        self._head = Head(FORMAT, node, _boot())
        self.saved_at = SavedAt(0.0, 0.0, is_same_boot=False)
        """When the file was written that was read."""

    def read(self) -> dict[PodKey, Saved]:
        """Returns the states in the file; none if the file is missing or cannot be read."""
        try:
            with self._path.open("rb") as file:
                head = _HEAD.validate_json(file.readline(MAX_LINE))
                if (head.format, head.node) != (FORMAT, self._head.node):
                    log.warning(
                        "%s has another format or is of another node, every check starts without its earlier state",
                        self._path,
                    )
                    return {}
                is_same_boot = head.boot == self._head.boot != ""
                self.saved_at = SavedAt(head.boottime, head.wall, is_same_boot=is_same_boot)
                return {one.key: one for one in self._parsed(file, same_boot=is_same_boot)}
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            log.warning(
                "%s cannot be used, every check starts without its earlier state: %s", self._path, _first_line(error)
            )
            return {}

    @staticmethod
    def line(one: Saved) -> bytes:
        """Returns the line of one check. Raises Unwritable if it has text that is not valid Unicode."""
        try:
            return _SAVED.dump_json(_shortened(one), exclude_defaults=True) + b"\n"
        except PydanticSerializationError as error:
            raise Unwritable(_first_line(error)) from None

    def write(self, lines: Iterable[bytes]) -> int:
        """Replaces the file. Returns how many lines were omitted to keep the file within `MAX_BYTES`. Raises OSError if
        the file cannot be written: then the old file is kept."""
        left_out = 0
        unfinished = self._path.with_name(f".{self._path.name}.new")
        with unfinished.open("wb") as file:
            head = replace(self._head, boottime=boottime(), wall=time.time())
            size = file.write(_HEAD.dump_json(head) + b"\n")
            for line in lines:
                if (size := size + len(line)) > MAX_BYTES:
                    left_out += 1
                else:
                    file.write(line)
        unfinished.replace(self._path)
        return left_out

    def _parsed(self, file: BinaryIO, *, same_boot: bool) -> Iterator[Saved]:
        count = unreadable = 0
        while file.tell() < MAX_BYTES and (line := file.readline(MAX_LINE)):
            count += 1
            try:
                one = _SAVED.validate_json(line)
            except ValidationError:
                unreadable += 1
                continue
            yield one if same_boot else replace(one, damping=None)
        if unreadable:
            log.warning(
                "%s: the state of %d of %d checks cannot be read, they start without it", self._path, unreadable, count
            )
        if file.read(1):
            log.warning(
                "%s: only the first %d MiB were read, the other checks start without their earlier state",
                *(self._path, MAX_BYTES >> 20),
            )


def _shortened(one: Saved) -> Saved:
    """Without excerpts, which the published record has too, and with the beginning of a long detail only."""
    health, last = _short(one.health), one.last and _short(one.last)
    return one if health is one.health and last is one.last else replace(one, health=health, last=last)


def _short(part: P) -> P:
    if not part.output and len(part.detail) <= MAX_DETAIL:
        return part
    return replace(part, detail=part.detail[:MAX_DETAIL], output="")


def _boot() -> str:
    try:
        return BOOT_ID.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
