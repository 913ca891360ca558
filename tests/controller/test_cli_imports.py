"""What a start of the program imports: a verb loads the parts that it uses, and no others."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from controller.cli import VERBS, main
from tests.support.controller import environment

OF_THE_PAGE = {"jinja2", "prometheus_client", "starlette", "uvicorn", "controller.app"}
OF_CONSUL = {"consul", "pycurl", "requests"}
OF_TABLES = {"rich"}
OF_FIELDS = {"pydantic", "yaml"}
EVERYTHING = OF_THE_PAGE | OF_CONSUL | OF_TABLES | OF_FIELDS
PROGRAM = """
import sys
from controller.__main__ import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def imported(folder: Path, *arguments: str) -> set[str]:
    """The modules that are loaded at the end of a real process."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env=environment() | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    modules = set(done.stderr.splitlines()[-1].split())
    assert "controller.cli" in modules, done.stderr
    return modules


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "isup.yaml").write_text("id: isup\nstatus_port: 8000\nstatus_http: true\n")
    (tmp_path / "pods").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        ("--version", EVERYTHING | {"controller.config"}),
        ("--help", EVERYTHING | {"controller.config"}),
        ("run --help", EVERYTHING),
        ("isup --help", EVERYTHING),
        ("completion bash", EVERYTHING),
        ("check-manifest isup.yaml", OF_THE_PAGE | OF_CONSUL | OF_TABLES),
        ("schedule isup.yaml --intent-dir pods", OF_THE_PAGE | OF_TABLES),
        ("schedule isup.yaml --consul 127.0.0.1:1", OF_THE_PAGE | OF_TABLES),
        ("healthy", OF_THE_PAGE | OF_TABLES | {"consul"}),
        ("inspect --intent-dir pods", OF_THE_PAGE | OF_TABLES),
        ("acl-policy", OF_THE_PAGE | OF_TABLES),
        ("check-config isup.yaml", OF_THE_PAGE | OF_TABLES | {"consul"}),
        ("run --intent-dir isup.yaml --health-dir isup.yaml", OF_TABLES),
    ],
)
def test_a_verb_imports_only_what_it_uses(folder: Path, arguments: str, unwanted: set[str]) -> None:
    assert imported(folder, *arguments.split()) & unwanted == set()


def test_each_verb_has_the_summary_of_its_own_help() -> None:
    assert {name: verb.summary for name, verb in VERBS.items()} == {
        name: main.commands[name].get_short_help_str(200) for name in VERBS
    }


def test_the_verbs_are_listed_in_alphabetical_order() -> None:
    assert list(VERBS) == sorted(VERBS) == main.list_commands(click.Context(main))
