"""The options of a check: the same in a manifest's `status:` and in the configuration's `defaults:`.

What is said wins over a default, silence never does: a default that cannot stand beside what was said gives way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from reconcilers.clearsign import Verify
from reconcilers.fields import Boolean, File, Headers, Host, Regex, Statuses, duration, go_duration, number
from reconcilers.spec import Output, Tls

Interval = Annotated[float, BeforeValidator(duration(0.1, 3600))]
Delay = Annotated[float, BeforeValidator(duration(0, 86_400))]
Threshold = Annotated[int, BeforeValidator(number(1, 1000))]


class TlsOptions(BaseModel):
    """Files and names of TLS; see `reconcilers.spec.Tls`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ca_file: File = ""
    cert_file: File = ""
    key_file: File = ""
    server_name: Host = ""
    insecure_skip_verify: Boolean = False
    resume: Boolean = False

    @model_validator(mode="after")
    def _a_certificate_has_its_key(self) -> "TlsOptions":
        said = self.model_fields_set
        if ("cert_file" in said) != ("key_file" in said) or bool(self.cert_file) != bool(self.key_file):
            raise ValueError("expected cert_file and key_file together")
        return self

    def as_tls(self) -> Tls:
        return Tls(**self.model_dump())


class CheckOptions(BaseModel):
    """What can be said of every check; the values here are those of a configuration that says nothing.

    p2's page asks for a GET every five seconds, and takes 200 for healthy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    interval: Interval = 5.0
    timeout: Interval = 5.0
    method: Literal["GET", "HEAD"] = "GET"
    expect_status: Statuses = ((200, 200),)
    expect_body: Regex = ""
    headers: Headers = ()
    failure_threshold: Threshold = 1
    success_threshold: Threshold = 1
    initial_delay: Delay = 0.0
    connection: Literal["fresh", "reuse"] = "fresh"
    tls: TlsOptions = Field(default_factory=TlsOptions)
    output: Boolean = True

    def over(self, defaults: "CheckOptions") -> "CheckOptions":
        """What is said here, and `defaults` for the rest.

        A default timeout is cut to a shorter interval; a default method gives way to an expected body, and a default
        expectation of a body to the method HEAD.

        Raises:
            OptionError: two things are said that cannot both be in force.
        """
        said = self.said()
        merged = CheckOptions.model_construct(**{**dict(defaults), **said, "tls": self._tls_over(defaults)})
        return merged.model_copy(update=_giving_way(merged, said))

    def said(self) -> Mapping[str, Any]:
        """The options that were given, by name."""
        return {name: getattr(self, name) for name in CheckOptions.model_fields if name in self.model_fields_set}

    def _tls_over(self, defaults: "CheckOptions") -> TlsOptions:
        return defaults.tls.model_copy(update={name: getattr(self.tls, name) for name in self.tls.model_fields_set})


class OptionError(ValueError):
    """An option that cannot be in force beside another; `name` is the option's. `others` are further such errors."""

    def __init__(self, name: str, problem: str, others: Sequence["OptionError"] = ()) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem
        self.others = tuple(others)

    @property
    def every(self) -> tuple["OptionError", ...]:
        return (self, *self.others)


def _giving_way(merged: CheckOptions, said: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults that have to change, with their new values."""
    changes: dict[str, Any] = {}
    errors = []
    if merged.timeout > merged.interval:
        changes["timeout"] = merged.interval
        if "timeout" in said:
            got = go_duration(merged.timeout)
            expected = f"expected at most the interval of {go_duration(merged.interval)}, got {got}"
            errors.append(OptionError("timeout", expected))
    if merged.method == "HEAD" and merged.expect_body:
        changes |= {"expect_body": ""} if "method" in said else {"method": "GET"}
        if said.keys() >= {"method", "expect_body"}:
            errors.append(OptionError("expect_body", "expected method GET: the answer to HEAD has no body"))
    if errors:
        first, *others = errors
        raise OptionError(first.name, first.problem, others)
    return changes


P2_CODE = CheckOptions.model_validate(
    {"interval": "1s", "timeout": "1s", "method": "HEAD", "expect_status": ["200-299"]}
)
"""How p2's code of 2020 checks, where it differs from p2's page."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator says about manifests: defaults, whether they may set headers, and which files there are.

    `unreadable` says why a file cannot be used, or "". `verify` gives what is signed in a manifest; without it none
    need be signed. `assume_passing` takes a pod without port for passing; else it has no check. `allow_output` bounds
    what is kept of answers, whatever a manifest says.
    """

    defaults: CheckOptions = field(default_factory=CheckOptions)
    allow_headers: bool = False
    allow_output: Output = field(default=Output.ALWAYS, kw_only=True)
    unreadable: Callable[[str], str] = lambda _: ""
    verify: Verify | None = None
    assume_passing: bool = False
