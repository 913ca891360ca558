"""Which requests a manifest may ask for: no contradiction, and nothing that the operator has not allowed."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from reconcilers.credential_options import is_below
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
    most = max(rules.max_redirects, rules.defaults.follow_redirects)
    if "follow_redirects" in said and status.follow_redirects > most:
        allowed = f"at most {most} is allowed" if most else "not allowed"
        yield FieldError("follow_redirects", f"{allowed}; the controller's option max_redirects would allow it")
    if status.kind == "tcp":
        yield from _sends_not_allowed(status, rules)
    for name, file in _credential_files(status).items():
        if not rules.credentials_dir:
            yield FieldError(name, "not allowed; the controller's option credentials_dir would allow it")
        elif not is_below(file, rules.credentials_dir):
            yield FieldError(name, f"expected a file below {rules.credentials_dir}, the controller's credentials_dir")


def _sends_not_allowed(status: Status, rules: Rules) -> Iterator[FieldError]:
    for name, sends in (("send", status.send), ("steps", any(step.send for step in status.steps))):
        if sends and not rules.allow_send:
            yield FieldError(name, "sends bytes: not allowed; the controller's option allow_send would allow it")


def contradictions(status: Status, options: CheckOptions) -> Iterator[FieldError]:
    """Yields an error for each field of `status` that contradicts others or `options`, those in force with defaults."""
    if status.steps and (status.send or status.expect):
        yield FieldError("steps", "expected either steps, or send and expect")
    if files := _credential_files(status):
        if len(files) > 1:
            yield FieldError("bearer_token_file", "expected either basic_auth or bearer_token_file")
        if "headers" in status.model_fields_set and _authorizes(status.headers):
            yield FieldError("headers", "expected no Authorization beside basic_auth or bearer_token_file")
    if status.kind == "http" and status.body and options.method not in WITH_BODY:
        yield FieldError("body", f"expected method POST or PUT: a request with {options.method} has no body")


def request_values(status: Status, options: CheckOptions) -> Mapping[str, Any]:
    """Returns the values of options in a probe that are not those of the manifest. A default Authorization gives way to
    the credentials of the manifest."""
    if not _credential_files(status):
        return {}
    return {
        "headers": tuple(each for each in options.headers if not _authorizes([each])),
        "basic_auth": status.basic_auth and status.basic_auth.as_basic_auth(),
    }


def _credential_files(status: Status) -> Mapping[str, str]:
    """Returns the files of credentials by the field that names them."""
    if status.kind != "http":
        return {}
    files = {
        "basic_auth.password_file": status.basic_auth.password_file if status.basic_auth else "",
        "bearer_token_file": status.bearer_token_file,
    }
    return {name: file for name, file in files.items() if file}


def _authorizes(headers: Iterable[tuple[str, str]]) -> bool:
    return any(name.lower() == "authorization" for name, _ in headers)
