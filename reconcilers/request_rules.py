"""Which requests a manifest may ask for: no contradiction, and nothing that the operator has not allowed."""

from collections.abc import Iterator

from reconcilers.fields import FieldError
from reconcilers.options import CheckOptions, Rules, Status, useless
from reconcilers.spec import WITH_BODY


def not_allowed(status: Status, rules: Rules) -> Iterator[FieldError]:
    """Yields an error for each field of `status` that the operator has not allowed."""
    said = status.model_fields_set - useless(status.kind)
    if "headers" in said and not rules.allow_headers:
        yield FieldError("headers", "not allowed; the controller's option allow_headers would allow them")
    if "method" in said and status.method not in {*rules.allow_methods, rules.defaults.method}:
        yield FieldError(
            "method", f"{status.method} is not allowed; the controller's option allow_methods would allow it"
        )
    if status.kind == "tcp":
        yield from _sends_not_allowed(status, rules)


def _sends_not_allowed(status: Status, rules: Rules) -> Iterator[FieldError]:
    for name, sends in (("send", status.send), ("steps", any(step.send for step in status.steps))):
        if sends and not rules.allow_send:
            yield FieldError(name, "sends bytes: not allowed; the controller's option allow_send would allow it")


def contradictions(status: Status, options: CheckOptions) -> Iterator[FieldError]:
    """Yields an error for each field of `status` that contradicts `options`, those in force with defaults."""
    if status.steps and (status.send or status.expect):
        yield FieldError("steps", "expected either steps, or send and expect")
    if status.kind == "http" and status.body and options.method not in WITH_BODY:
        yield FieldError("body", f"expected method POST or PUT: a request with {options.method} has no body")
