"""The options of a check of the kind tcp, in a manifest's `status:`. They have no defaults in the configuration."""

from typing import Annotated, Literal

from pydantic import BaseModel

from reconcilers.option import TCP, Option
from reconcilers.steps import Expectation, Sent, Steps, sent_text, step_texts


class TcpOptions(BaseModel):
    """What a TCP probe does after it has connected; see `reconcilers.spec.TcpConnect`."""

    starttls: Annotated[
        Literal["", "smtp", "imap", "pop3", "postgres", "ldap"],
        Option(
            "the protocol in which to ask for TLS: `smtp`, `imap`, `pop3`, `postgres` or `ldap`",
            "smtp",
            TCP,
            default="none",
        ),
    ] = ""
    send: Annotated[
        Sent,
        Option(
            "what to send: at most 4 KiB, with YAML's escapes; only if the controller's `allow_send` is `true`",
            r'"PING\r\n"',
            TCP,
            default="nothing",
            show=sent_text,
        ),
    ] = b""
    expect: Annotated[
        Expectation,
        Option(
            "a regular expression (RE2, as in Go) that what comes back must match within 64 KiB and the timeout",
            "^SSH-2",
            TCP,
            default="none",
        ),
    ] = ""
    steps: Annotated[
        Steps,
        Option(
            "a list of up to 16 steps, each with `send`, `expect` or both, instead of one `send` and `expect`",
            "[{expect: ^220}]",
            TCP,
            default="none",
            show=step_texts,
        ),
    ] = ()
