"""The man pages match the present help, and roff shows them as plain text."""

import shutil
import subprocess

import click
import pytest

from controller.cli import VERBS, main
from deploy.man_pages import FOLDER, pages


def test_they_are_those_of_the_present_help() -> None:
    kept = {file.name: file.read_text("utf-8") for file in FOLDER.iterdir()}
    assert kept == pages(), "write them again: python -m deploy.man_pages"


def test_each_verb_has_a_page_with_all_of_its_options() -> None:
    assert set(pages()) == {"podpulse.1", *(f"podpulse-{name}.1" for name in VERBS)}
    for name in VERBS:
        page = pages()[f"podpulse-{name}.1"].replace("\\-", "-")
        options = [each for each in main.commands[name].params if isinstance(each, click.Option)]
        assert all(option.opts[-1] in page for option in options)
        assert page.count(".SH EXAMPLES\n") == page.count(".SH EXIT STATUS\n") == page.count(".SH OPTIONS\n") == 1


@pytest.mark.skipif(shutil.which("nroff") is None, reason="no nroff here")
def test_nroff_reads_them_without_a_warning() -> None:
    text = "".join(pages().values())
    shown = subprocess.run(["nroff", "-man", "-ww"], input=text, capture_output=True, text=True, check=True)
    assert shown.stderr == ""
    assert r"printf 'id: isup\nstatus_port: 8000\nstatus_http: true\n' > pods/isup.yaml" in shown.stdout
