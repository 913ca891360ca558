"""Runs the command line in the process of the test, which is quick, and returns its output."""

import signal

from click.testing import CliRunner, Result

from controller.cli import main
from tests.support.consul import Agent


def run(*arguments: object, **environ: str) -> Result:
    """A verb may set handlers for SIGTERM until its end. Afterwards the process of the test has its own handlers
    again."""
    clean = {"CONSUL_HTTP_ADDR": None, "CONSUL_HTTP_TOKEN": None, "CONFIG_PATH": None}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        return CliRunner(env={**clean, **environ}).invoke(main, [str(argument) for argument in arguments])
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)


def good(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def complaint(result: Result) -> str:
    """What a wrong use says: one error, no traceback."""
    assert result.exit_code in {1, 2}, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.stderr


def on(consul: Agent, *arguments: object) -> Result:
    return run(*arguments, "--consul", f"127.0.0.1:{consul.http_port}")
