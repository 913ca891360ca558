"""Writes the man pages from the help of the verbs: `python -m deploy.man_pages`. The output is deterministic."""

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from controller.cli import VERBS, main

FOLDER = Path(__file__).parent / "man"
PROGRAM = "podpulse"
SECTIONS = {"Examples": "EXAMPLES", "Exit codes": "EXIT STATUS"}
"""The paragraphs of a help that are a section of the page, by their first line."""
MANUAL = """\
The rules for manifests, the operation and the migration from other checkers are described in the documents of the
project: README.md, deploy/manifests.md, deploy/operations.md and deploy/migrating.md."""


def pages() -> Mapping[str, str]:
    """Returns the pages by their file names: one of the program, and one of each verb."""
    root = click.Context(main, info_name=PROGRAM, **main.context_settings)
    verbs = {name: click.Context(main.commands[name], info_name=name, parent=root) for name in VERBS}
    program = _page(root, [_commands(), ".SH DOCUMENTS", _text(MANUAL)], [f"{PROGRAM}-{name}" for name in verbs])
    return {f"{PROGRAM}.1": program} | {
        f"{PROGRAM}-{name}.1": _page(context, [], [PROGRAM]) for name, context in verbs.items()
    }


def _page(context: click.Context, more: list[str], see_also: list[str]) -> str:
    name = context.command_path.replace(" ", "-")
    first, *paragraphs = inspect.cleandoc(context.command.help or "").split("\n\n")
    parts = [
        f'.TH "{_text(name.upper())}" 1 "" "podpulse" "Podpulse"',
        ".SH NAME",
        f"{_text(name)} \\- {_text(_one_line(first).removesuffix('.'))}",
        ".SH SYNOPSIS",
        f".B {_text(context.command_path)}",
        _text(" ".join(context.command.collect_usage_pieces(context))),
        *_described(paragraphs),
        ".SH OPTIONS",
        *_options(context),
        *more,
        ".SH SEE ALSO",
        ",\n".join(f".BR {_text(page)} (1)" for page in see_also).replace(" (1),", " (1),"),
    ]
    return "\n".join(parts) + "\n"


def _described(paragraphs: list[str]) -> Iterator[str]:
    """Yields the paragraphs. One that begins with \\b keeps its lines, as click does it."""
    described, others = [], []
    for paragraph in paragraphs:
        head, _, rest = paragraph.removeprefix("\b\n").partition("\n")
        is_kept = paragraph.startswith("\b\n")
        if is_kept and (title := SECTIONS.get(head.removesuffix(":"))):
            others += [f".SH {title}", *_kept(inspect.cleandoc("\n" + rest))]
        elif is_kept:
            described += [".PP", *_kept(f"{head}\n{rest}")]
        else:
            described += [".PP", _text(_one_line(paragraph))]
    if described:
        yield ".SH DESCRIPTION"
    yield from described
    yield from others


def _kept(lines: str) -> list[str]:
    return [".nf", _text(lines), ".fi"]


def _options(context: click.Context) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        names, help_text = parameter.get_help_record(context) or ("", "")
        if help_text:
            yield from (".TP", f"\\fB{_text(names)}\\fR", _text(_one_line(help_text)))


def _commands() -> str:
    listed = (f".TP\n.BR {_text(f'{PROGRAM}-{name}')} (1)\n{_text(verb.summary)}" for name, verb in VERBS.items())
    return "\n".join((".SH COMMANDS", *listed))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _text(text: str) -> str:
    """Escapes what roff would interpret: backslashes, dashes, carets, quotes, and a dot or quote that begins a line."""
    for plain, escaped in (("\\", "\\e"), ("-", "\\-"), ("^", "\\(ha"), ("~", "\\(ti"), ("`", "\\(ga"), ("'", "\\(aq")):
        text = text.replace(plain, escaped)
    return re.sub(r"^(?=\.)", r"\\&", text, flags=re.MULTILINE)


def write() -> None:
    """Writes all pages, and removes those of verbs that do not exist."""
    FOLDER.mkdir(exist_ok=True)
    for stale in FOLDER.glob("*.1"):
        stale.unlink()
    for name, text in pages().items():
        (FOLDER / name).write_text(text, "utf-8")


if __name__ == "__main__":
    write()
