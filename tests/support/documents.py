"""The documents (`*.md` in the repository's folder and in `deploy/`), for tests."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
OPERATIONS = ROOT / "deploy" / "operations.md"
FIGURES = ROOT / "deploy" / "figures.md"
SECURITY = ROOT / "SECURITY.md"
DOCUMENTS = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "deploy").glob("*.md")))
GUIDES = tuple(path for path in DOCUMENTS if path.name != "CHANGELOG.md")
"""The documents that describe this version. The changelog also names what former versions had."""

HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. The words after the opening fence are its language, the example that it belongs to and, if the
    block is a file, the name of the file. The block of a picture has none of them."""

    language: str
    example: str
    file: str
    text: str


@cache
def text(document: Path) -> str:
    return document.read_text("utf-8")


@cache
def prose(document: Path) -> str:
    """The document without its blocks."""
    return BLOCK.sub("", text(document))


@cache
def blocks() -> tuple[Block, ...]:
    """The blocks of all documents, in their order."""
    return tuple(_block(info.split(), inner) for path in DOCUMENTS for info, inner in BLOCK.findall(text(path)))


def inline() -> Iterator[str]:
    """Every piece of code within a line of a guide."""
    for path in GUIDES:
        for code in INLINE.findall(prose(path)):
            yield " ".join(code.split())


def least_rights() -> str:
    """The rules for Consul, with the placeholders <node> and <name_prefix>."""
    (block,) = (block for block in blocks() if block.example == "least-rights")
    return block.text


@cache
def sections(document: Path) -> dict[str, str]:
    """The text below each heading, by the anchor that GitHub and GitLab give the heading."""
    parts = HEADING.split(prose(document))
    return {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-"): below
        for title, below in zip(parts[1::2], parts[2::2], strict=True)
    }


def chapter(document: Path, title: str) -> str:
    """The text between a heading of the second level and the next one."""
    return text(document).partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _block(info: list[str], inner: str) -> Block:
    language, example, file = (*info, "", "", "")[:3]
    return Block(language, example, file, inner)
