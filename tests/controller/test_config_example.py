"""The example configuration and deploy/operations.md name every option. The values of the example are the defaults."""

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from controller.config import Config, load
from reconcilers import yamltext
from tests.support.documents import OPERATIONS, chapter

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "config.example.yaml"
BEHIND = re.compile(r"^( *)#([a-z_]+:)", re.MULTILINE)
FIRST_CELL = re.compile(r"^\| (`[^|]+) \|", re.MULTILINE)
FROM_THE_HOST = {"node_name", "ca_file"}


def options(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every option by its dotted name, with its value."""
    for field, value in section:
        name = type(section).model_fields[field].alias or field
        if isinstance(value, BaseModel):
            yield from options(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def names(document: object, prefix: str = "") -> Iterator[str]:
    """Every dotted name of a document; an empty mapping is a value."""
    if isinstance(document, dict) and document:
        for name, value in document.items():
            yield from names(value, f"{prefix}{name}.")
    else:
        yield prefix[:-1]


def listed_in_the_documentation() -> Iterator[str]:
    """Yields the names in the first column. A name that begins with a dot belongs to the section of the name before
    it."""
    for cell in FIRST_CELL.findall(chapter(OPERATIONS, "Configuration")):
        section = ""
        for name in re.findall(r"`([^`]+)`", cell):
            section = name.rpartition(".")[0] or section
            yield f"{section}{name}" if name.startswith(".") else name


def test_the_example_is_the_default_configuration() -> None:
    assert load(EXAMPLE, {}) == Config()


def test_the_example_names_every_option_and_no_other() -> None:
    document = yamltext.load(BEHIND.sub(r"\1\2", EXAMPLE.read_text()).encode())
    assert sorted(names(document)) == sorted(name for name, _ in options(Config()))


def test_only_options_without_a_fixed_default_are_commented_out() -> None:
    document = yamltext.load(EXAMPLE.read_bytes())
    hidden = {name for name, _ in options(Config())} - set(names(document))
    assert hidden == {name for name, value in options(Config()) if value is None} | FROM_THE_HOST


def test_the_documentation_names_every_option_and_no_other() -> None:
    expected = {name.partition(".")[0] if name.startswith("defaults.") else name for name, _ in options(Config())}
    assert set(listed_in_the_documentation()) == expected
