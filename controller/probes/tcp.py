"""TCP probes: open a connection and close it again. Nothing is sent."""

import pycurl

from controller.probes.files import TlsFiles
from controller.probes.transfer import Transfer, Verdict
from reconcilers.health import Outcome
from reconcilers.spec import CheckSpec, TcpConnect


def profile(_: TcpConnect) -> object:
    """All TCP probes share their transfers."""
    return "tcp"


def transfer(_: TcpConnect, files: TlsFiles) -> Transfer:
    """Returns a new transfer that ends when it is connected. libcurl closes the connection when it is removed."""
    made = Transfer(None, files, reuse=False, kept=0)
    made.curl.setopt(pycurl.CONNECT_ONLY, 1)
    return made


def url(probe: TcpConnect) -> str:
    """Returns a URL. libcurl needs a scheme, but sends nothing."""
    return f"http://{probe.host}:{probe.port}/"


def answered(_: Transfer, __: CheckSpec) -> Verdict:
    """Returns success: the connection was opened."""
    return Verdict(Outcome.SUCCESS)


def failed(transfer: Transfer, code: int, message: str, spec: CheckSpec) -> Verdict:
    """Returns the verdict on a connection that could not be opened."""
    return transfer.failed(code, message, spec)
