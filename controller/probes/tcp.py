"""TCP probes: a connection that is opened and closed again. Nothing is sent."""

import pycurl

from controller.probes.files import TlsFiles
from controller.probes.transfer import Transfer, Verdict
from reconcilers.health import Outcome
from reconcilers.spec import CheckSpec, TcpConnect


def profile(_: TcpConnect) -> object:
    """All TCP probes share their transfers."""
    return "tcp"


def transfer(_: TcpConnect, files: TlsFiles) -> Transfer:
    """A new transfer that ends when it is connected; libcurl closes the connection when it leaves the multi handle."""
    made = Transfer(None, files, reuse=False, kept=0)
    made.curl.setopt(pycurl.CONNECT_ONLY, 1)
    return made


def url(probe: TcpConnect) -> str:
    """libcurl wants a scheme; no word of it is spoken."""
    return f"http://{probe.host}:{probe.port}/"


def answered(_: Transfer, __: CheckSpec) -> Verdict:
    """It is connected."""
    return Verdict(Outcome.SUCCESS)


def failed(transfer: Transfer, code: int, message: str, spec: CheckSpec) -> Verdict:
    """It is not."""
    return transfer.failed(code, message, spec)
