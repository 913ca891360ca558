"""The README, as tests read it."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """What stands between two fences. Behind the first one stand the language, which example it belongs to, and, where
    it is a file, what that is called; a picture has none of them."""

    language: str
    example: str
    file: str
    text: str


@cache
def text() -> str:
    return README.read_text("utf-8")


@cache
def prose() -> str:
    """All but the blocks."""
    return BLOCK.sub("", text())


@cache
def blocks() -> tuple[Block, ...]:
    """In their order."""
    return tuple(_block(info.split(), inner) for info, inner in BLOCK.findall(text()))


def least_rights() -> str:
    """The rules for Consul, with <node> and <name_prefix> as they stand there."""
    (block,) = (block for block in blocks() if block.example == "least-rights")
    return block.text


@cache
def sections() -> dict[str, str]:
    """Its sections, by the anchor of their heading."""
    parts = HEADING.split(prose())
    return {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-"): below
        for title, below in zip(parts[1::2], parts[2::2], strict=True)
    }


def _block(info: list[str], inner: str) -> Block:
    language, example, file = (*info, "", "", "")[:3]
    return Block(language, example, file, inner)
