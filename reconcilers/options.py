"""The options of a check: the same in a manifest's `status:` and in the configuration's `defaults:`.

Each option is declared here once: its name, type and default as a field of a model, the rest as an `Option`.
Validation, the `CheckSpec`, the texts of `plan` and of the API, and the rows of the documentation follow from it.

What a manifest says wins over a default. A default that contradicts what a manifest says gives way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from reconcilers.clearsign import Verify
from reconcilers.credential_options import BasicAuthOptions, basic_auth_texts
from reconcilers.fields import (
    DAY,
    Boolean,
    FieldError,
    File,
    Path,
    Port,
    Regex,
    Statuses,
    StatusesOrNone,
    Text,
    days,
    duration,
    go_duration,
    http_version,
    in_days,
    number,
    status_ranges,
)
from reconcilers.json_expression import json_expression
from reconcilers.option import GRPC, HTTP, Kind, Option, declared, in_url, option_of
from reconcilers.request_fields import Body, Headers, body_text, header_texts
from reconcilers.spec import Method, Output
from reconcilers.tcp_options import TcpOptions
from reconcilers.tls_options import LenientTls, TlsOptions, tls_texts

SAFE_METHODS = frozenset({"GET", "HEAD"})
"""The methods that a manifest may name if the operator allows no others."""

MAX_REDIRECTS = 10

Interval = Annotated[float, BeforeValidator(duration(0.1, 3600))]
Delay = Annotated[float, BeforeValidator(duration(0, 86_400))]
SWITCHING_PROTOCOLS = 101
NO_BODY = "expected method GET: the answer to HEAD has no body"
NO_UPGRADE = "expected http_version 1.1 and 101 among expect_status, because of the header Upgrade"
JsonExpression = Annotated[str, BeforeValidator(json_expression)]
HttpVersion = Annotated[Literal["1.1", "2"], BeforeValidator(http_version)]
Days = Annotated[float, BeforeValidator(days(0, 3_650 * DAY))]
Threshold = Annotated[int, BeforeValidator(number(1, 1000))]


class CheckOptions(BaseModel):
    """The options that have a default in the configuration. The defaults here are those of an empty configuration.

    By p2's page a check is a GET every five seconds, and 200 is healthy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    interval: Annotated[
        Interval, Option("the time from one probe to the next: `500ms`, `5s`, `1m30s`", "7s", show=go_duration)
    ] = 5.0
    timeout: Annotated[Interval, Option("the deadline of a probe; at most the interval", "3s", show=go_duration)] = 5.0
    method: Annotated[
        Method,
        Option(
            "`GET`, `HEAD`, `POST`, `PUT` or `OPTIONS`, as far as the controller's `allow_methods` goes", "HEAD", HTTP
        ),
    ] = "GET"
    expect_status: Annotated[
        Statuses,
        Option('the healthy status codes: one or a list of `200`, `"200-299"`', "204", HTTP, show=status_ranges),
    ] = ((200, 200),)
    expect_body: Annotated[
        Regex,
        Option("a regular expression (RE2, as in Go) that the first 64 KiB must match", "ok", HTTP, default="none"),
    ] = ""
    expect_body_not: Annotated[
        Regex, Option("the same, which the first 64 KiB must not match", "DOWN", HTTP, default="none")
    ] = ""
    expect_json: Annotated[
        JsonExpression,
        Option(
            "a JMESPath expression that must be `true` for the body: `status == 'UP'`",
            "status == 'UP'",
            HTTP,
            default="none",
        ),
    ] = ""
    headers: Annotated[
        Headers,
        Option(
            "a mapping of request headers, also `Host`; only if the controller's `allow_headers` is `true`",
            "{X-Team: blue}",
            HTTP,
            default="none",
            show=header_texts,
        ),
    ] = ()
    http_version: Annotated[
        HttpVersion,
        Option(
            "`1.1`, or `2`: by ALPN over TLS, and without negotiation (h2c) over plain TCP",
            "2",
            HTTP,
            show={"1.1": "", "2": "2"}.__getitem__,
        ),
    ] = "1.1"
    follow_redirects: Annotated[
        Annotated[int, BeforeValidator(number(0, MAX_REDIRECTS))],
        Option(
            "how many redirects to the same scheme, host and port to follow in a probe, as far as the controller's "
            "`max_redirects` goes",
            "3",
            HTTP,
            default="`0`",
        ),
    ] = 0
    warn_status: Annotated[
        StatusesOrNone,
        Option(
            "the status codes that make the pod `warning`, whatever the body: one or a list, as in `expect_status`",
            "429",
            HTTP,
            default="none",
            show=status_ranges,
        ),
    ] = ()
    warn_above: Annotated[
        Delay,
        Option(
            "the pod is `warning` if a probe takes longer; less than the timeout",
            "500ms",
            default="never",
            show=go_duration,
        ),
    ] = 0.0
    warn_expiry: Annotated[
        Days,
        Option(
            "the pod is `warning` if its certificate expires within this time: `14d`, `36h`",
            "14d",
            default="never",
            show=in_days,
        ),
    ] = 0.0
    failure_threshold: Annotated[
        Threshold,
        Option("the failures in a row that make a pod critical, or the warnings that make a passing pod warning", "3"),
    ] = 1
    success_threshold: Annotated[Threshold, Option("the successes in a row that make a pod passing", "2")] = 1
    initial_delay: Annotated[
        Delay,
        Option(
            "no verdict before this time has passed or a probe has succeeded; until then the previously published "
            "health is kept",
            "30s",
            show=go_duration,
        ),
    ] = 0.0
    connection: Annotated[
        Literal["fresh", "reuse"],
        Option("`fresh` for each probe, or `reuse`", "reuse", HTTP | GRPC, attribute="reuse", show=lambda _: "reuse"),
    ] = "fresh"
    tls: Annotated[
        TlsOptions,
        Option(
            "a mapping of the options below; for `kind: tcp`, `{}` is enough to use TLS",
            "{server_name: x}",
            default="as below; for `kind: tcp`, no TLS",
            show=tls_texts,
        ),
    ] = Field(default_factory=TlsOptions)
    output: Annotated[
        Boolean,
        Option(
            "`false` keeps no excerpt of the answer",
            "false",
            default="kept, as far as the controller's `allow_output` goes",
            show={Output.ALWAYS: "", Output.FAILURES: "failures", Output.NEVER: "false"}.__getitem__,
        ),
    ] = True

    def over(self, defaults: "CheckOptions") -> "CheckOptions":
        """Returns these options, and `defaults` for those that were not given.

        A default timeout is reduced to a shorter interval. A default `warn_above` of at least the timeout, which would
        have no effect, is removed. A default method HEAD becomes GET if a body is expected, and default expectations of
        the body are removed if the method HEAD was given. A default `reuse` does not apply to POST, and default
        `follow_redirects` only to GET and HEAD. Raises FieldError if two given options contradict each other.
        """
        said = self.said()
        tls = defaults.tls.model_copy(update={name: getattr(self.tls, name) for name in self.tls.model_fields_set})
        merged = CheckOptions.model_construct(**{**dict(defaults), **said, "tls": tls})
        return merged.model_copy(update=_giving_way(merged, said))

    def said(self) -> Mapping[str, Any]:
        """Returns the options that were given, by name."""
        return {name: getattr(self, name) for name in CheckOptions.model_fields if name in self.model_fields_set}


class Status(TcpOptions, CheckOptions):
    """All options of a manifest's `status:`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    tls: Annotated[LenientTls, option_of(CheckOptions, "tls")] = Field(default_factory=LenientTls)
    http: Annotated[Boolean, Option("without TLS", "true", default="with TLS", show=in_url)] = False
    path: Annotated[
        Path,
        Option(
            "the path, perhaps with a query, as in a URL: `/status?full=1`, `/a%2Fb`. The path is cleaned as p2 does "
            "it (`/x/` is `/x`), `#...` is cut, and characters that a request may not have are escaped",
            "/healthz",
            HTTP,
            default="`/_status`",
            show=in_url,
        ),
    ] = ""
    port: Annotated[Port, Option("the port", "8080", default="none: no check", show=in_url)] = 0
    localhost_only: Annotated[
        Boolean,
        Option(
            "connect to `localhost` instead of the node's name; not in a fleet", "true", default="the node", show=in_url
        ),
    ] = False
    kind: Annotated[
        Kind, Option("`http`, `tcp` (a connection, TLS, steps) or `grpc` (grpc.health.v1)", "tcp", show=in_url)
    ] = "http"
    body: Annotated[
        Body,
        Option(
            "the body of a `POST` or `PUT`: text of at most 16 KiB. Its `Content-Type` is one of the `headers`",
            "ping",
            HTTP,
            default="empty",
            show=body_text,
        ),
    ] = ""
    basic_auth: Annotated[
        BasicAuthOptions | None,
        Option(
            "`username` and `password_file`, the absolute path of a file below the controller's `credentials_dir`",
            "{username: me, password_file: /secret.pem}",
            HTTP,
            default="none",
            show=basic_auth_texts,
        ),
    ] = None
    bearer_token_file: Annotated[
        File,
        Option(
            "the absolute path of the token for `Authorization: Bearer`, below the controller's `credentials_dir`",
            "/token.pem",
            HTTP,
            default="none",
        ),
    ] = ""
    service: Annotated[Text, Option("the name of the gRPC service", "search", GRPC, default="the server")] = ""
    paused: Annotated[
        Boolean, Option("`true` for no probes and no health", "true", default="not paused", show=in_url)
    ] = False
    labels: Annotated[
        Any,
        Option(
            "a mapping of labels that group pods; only names that the controller's `labels` declares",
            "{team: shop}",
            default="none",
            show=dict,
        ),
    ] = None
    """Read by `reconcilers.labels`, which refuses nothing."""


OPTIONS: Mapping[str, Option] = dict(declared(Status))
"""By name, every option of a manifest's `status:`."""


NOT_KEPT = "expected fresh: a request on a kept connection may have to be sent again, and a POST must not be"


def useless(kind: str) -> set[str]:
    """The options that do not apply to a check of this kind."""
    return {name for name, option in OPTIONS.items() if kind not in option.kinds}


def arguments(target: type, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the dataclass `target` that are options of a check of this kind, with their `values` by option."""
    return {attribute: values[name] for name, attribute in _attributes(target, kind)}


@cache
def _attributes(target: type, kind: str) -> tuple[tuple[str, str], ...]:
    names = {each.name for each in fields(target)}
    found = ((name, option.attribute or name) for name, option in OPTIONS.items() if kind in option.kinds)
    return tuple((name, attribute) for name, attribute in found if attribute in names)


def _giving_way(merged: CheckOptions, said: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the defaults that have to change, with their new values."""
    contradictions = [*_of_durations(merged), *_of_requests(merged, said)]
    errors = [FieldError(each.field, each.problem) for each in contradictions if each.said <= said.keys()]
    if errors:
        raise FieldError.of(errors)
    return {name: value for each in contradictions for name, value in each.changes.items()}


class _Contradiction(NamedTuple):
    """Options that contradict each other. It is an error of `field` if all options of `said` were given; otherwise
    `changes` are made to the defaults."""

    field: str
    problem: str
    said: frozenset[str]
    changes: Mapping[str, Any]


def _of_durations(merged: CheckOptions) -> Iterator[_Contradiction]:
    timeout = min(merged.timeout, merged.interval)
    if merged.timeout > merged.interval:
        expected = f"expected at most the interval of {go_duration(merged.interval)}, got {go_duration(merged.timeout)}"
        yield _Contradiction("timeout", expected, frozenset({"timeout"}), {"timeout": merged.interval})
    if merged.warn_above >= timeout:
        expected = f"expected less than the timeout of {go_duration(timeout)}, got {go_duration(merged.warn_above)}"
        yield _Contradiction("warn_above", expected, frozenset({"warn_above"}), {"warn_above": 0.0})


def _of_requests(merged: CheckOptions, said: Mapping[str, Any]) -> Iterator[_Contradiction]:
    for name in ("expect_body", "expect_body_not", "expect_json"):
        if merged.method == "HEAD" and getattr(merged, name):
            changes = {name: ""} if "method" in said else {"method": "GET"}
            yield _Contradiction(name, NO_BODY, frozenset({"method", name}), changes)
    if _upgrades(merged) and (merged.http_version == "2" or not _expects(merged, SWITCHING_PROTOCOLS)):
        headers = tuple(each for each in merged.headers if each[0].lower() != "upgrade")
        yield _Contradiction("headers", NO_UPGRADE, frozenset({"headers"}), {"headers": headers})
    if merged.method == "POST" and merged.connection == "reuse":
        yield _Contradiction("connection", NOT_KEPT, frozenset({"connection"}), {"connection": "fresh"})
    if merged.follow_redirects and merged.method not in SAFE_METHODS:
        expected = f"expected method GET or HEAD, got {merged.method}"
        yield _Contradiction("follow_redirects", expected, frozenset({"follow_redirects"}), {"follow_redirects": 0})


def _upgrades(options: CheckOptions) -> bool:
    return any(name.lower() == "upgrade" for name, _ in options.headers)


def _expects(options: CheckOptions, status: int) -> bool:
    return any(low <= status <= high for low, high in options.expect_status)


P2_CODE = CheckOptions.model_validate(
    {"interval": "1s", "timeout": "1s", "method": "HEAD", "expect_status": ["200-299"]}
)
"""The options of p2's code of 2020 that differ from p2's page."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The operator's rules for manifests.

    `unreadable` returns why a file cannot be used, or "". `verify` returns the signed text of a manifest; None if
    manifests need no signature. `assume_passing` makes a pod without a port passing; otherwise it has no check.
    `allow_methods` are the methods that a manifest may name, in addition to the default one. `allow_send` permits
    bytes of the manifest on a TCP connection. `max_redirects` is how many redirects a manifest may follow, if the
    default is not more.
    `credentials_dir` is the folder of the files of credentials; "" if manifests must not name any. `allow_output`
    limits which excerpts of answers are kept, whatever a manifest says. `is_remote` says that the controller is not on
    the pods' nodes. `labels` are the declared names of labels; None accepts all. `ignores_pause` gives a paused pod a
    check, for one probe by hand.
    """

    defaults: CheckOptions = field(default_factory=CheckOptions)
    allow_headers: bool = False
    allow_methods: frozenset[str] = field(default=SAFE_METHODS, kw_only=True)
    allow_send: bool = field(default=False, kw_only=True)
    credentials_dir: str = field(default="", kw_only=True)
    max_redirects: int = field(default=0, kw_only=True)
    allow_output: Output = field(default=Output.ALWAYS, kw_only=True)
    unreadable: Callable[[str], str] = lambda _: ""
    verify: Verify | None = None
    assume_passing: bool = False
    is_remote: bool = False
    labels: Sequence[str] | None = ()
    ignores_pause: bool = False
