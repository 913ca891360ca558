"""The state file: one line of JSON for each check, below a line about the whole.

It is replaced as a whole, so a reader finds an old one or a new one. A line that cannot be understood costs one check
its counts, and nothing else: all that is read here may be missing. What is written is never more than what is read.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from reconcilers.adoption import Saved
from reconcilers.spec import PodKey

log = logging.getLogger(__name__)

SUFFIX = ".state"
FORMAT = 1
MAX_BYTES = 256 * 1024 * 1024
"""A check takes some 500 bytes, and 3 KiB at most where a long sentence says what is wrong with it."""
MAX_LINE = 64 * 1024
MAX_DETAIL = 500
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Unwritable(ValueError):
    """What is known of one check cannot be written; the message says why."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the first line says. The monotonic clock goes on within one `boot` only."""

    format: int
    node: str
    boot: str


_HEAD = TypeAdapter(Head)
_SAVED = TypeAdapter(Saved)


class StateFile:
    """The state of the checks of one node, in `folder`."""

    def __init__(self, folder: Path, node: str) -> None:
        self._path = folder / f"{node}{SUFFIX}"
        self._head = Head(FORMAT, node, _boot())

    def read(self) -> dict[PodKey, Saved]:
        """What was written last; nothing where there is no file, or none that can be understood."""
        try:
            with self._path.open("rb") as file:
                head = _HEAD.validate_json(file.readline(MAX_LINE))
                if (head.format, head.node) != (FORMAT, self._head.node):
                    log.warning("%s is of another format or node, every check begins anew", self._path)
                    return {}
                return {one.key: one for one in self._understood(file, same_boot=head.boot == self._head.boot != "")}
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            log.warning("%s cannot be used, every check begins anew: %s", self._path, _first_line(error))
            return {}

    @staticmethod
    def line(one: Saved) -> bytes:
        """How it stands in the file.

        Raises:
            Unwritable: it has text that is none.
        """
        try:
            return _SAVED.dump_json(_shortened(one), exclude_defaults=True) + b"\n"
        except PydanticSerializationError as error:
            raise Unwritable(_first_line(error)) from None

    def write(self, lines: Iterable[bytes]) -> int:
        """Replace the file. The answer is how many lines were left out: the last ones, which are beyond `MAX_BYTES`.

        Raises:
            OSError: the old one stays.
        """
        left_out = 0
        unfinished = self._path.with_name(f".{self._path.name}.new")
        with unfinished.open("wb") as file:
            size = file.write(_HEAD.dump_json(self._head) + b"\n")
            for line in lines:
                if (size := size + len(line)) > MAX_BYTES:
                    left_out += 1
                else:
                    file.write(line)
        unfinished.replace(self._path)
        return left_out

    def _understood(self, file: BinaryIO, *, same_boot: bool) -> Iterator[Saved]:
        count = passed_over = 0
        while file.tell() < MAX_BYTES and (line := file.readline(MAX_LINE)):
            count += 1
            try:
                one = _SAVED.validate_json(line)
            except ValidationError:
                passed_over += 1
                continue
            yield one if same_boot else replace(one, damping=None)
        if passed_over:
            log.warning("%s: %d of %d checks cannot be read, and begin anew", self._path, passed_over, count)
        if file.read(1):
            log.warning("%s: read up to %d MiB, what follows begins anew", self._path, MAX_BYTES >> 20)


def _shortened(one: Saved) -> Saved:
    """Without excerpts, which the published record has too, and without the tail of a long sentence."""
    health = replace(one.health, detail=one.health.detail[:MAX_DETAIL], output="")
    last = one.last and replace(one.last, detail=one.last.detail[:MAX_DETAIL], output="")
    return replace(one, health=health, last=last)


def _boot() -> str:
    try:
        return BOOT_ID.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
