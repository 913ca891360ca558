"""A check told as text, field by field in the words of manifests: for people, and for comparing one with another.

Values of headers may be secrets: they are told as a digest, by which a change of theirs still shows.
"""

from collections.abc import Mapping
from hashlib import blake2b

from reconcilers.fields import go_duration
from reconcilers.spec import CheckSpec, GrpcHealth, HttpGet, Output, Tls

DIGEST = 6
OUTPUT = {Output.ALWAYS: "", Output.FAILURES: "failures", Output.NEVER: "false"}


def describe(spec: CheckSpec) -> dict[str, str]:
    """Field to text; a field at which there is nothing to tell is absent."""
    fields = {
        "url": spec.probe.url,
        "address": spec.address or "",
        "interval": go_duration(spec.interval),
        "timeout": go_duration(spec.timeout),
        "failure_threshold": str(spec.failure_threshold),
        "success_threshold": str(spec.success_threshold),
        "initial_delay": go_duration(spec.initial_delay) if spec.initial_delay else "",
        "connection": "reuse" if spec.probe.reuse else "",
        "output": OUTPUT[spec.output],
    }
    match spec.probe:
        case HttpGet() as probe:
            fields |= _of_http(probe)
        case GrpcHealth(service=service):
            fields["service"] = service
    if spec.probe.tls:
        fields |= _of_tls(spec.probe.tls)
    return {name: text for name, text in fields.items() if text}


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """The fields in which two checks differ: name, text before and text after, "" where there was or is nothing."""
    names = dict.fromkeys((*after, *before))
    both = [(name, before.get(name, ""), after.get(name, "")) for name in names]
    return [(name, old, new) for name, old, new in both if old != new]


def _of_http(probe: HttpGet) -> dict[str, str]:
    return {
        "method": probe.method,
        "expect_status": ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in probe.expect_status),
        "expect_body": probe.expect_body,
        **{f"headers.{name}": _digest(value) for name, value in probe.headers},
    }


def _of_tls(tls: Tls) -> dict[str, str]:
    files = {"ca_file": tls.ca_file, "cert_file": tls.cert_file, "key_file": tls.key_file}
    switches = {"insecure_skip_verify": tls.insecure_skip_verify, "resume": tls.resume}
    texts = files | {"server_name": tls.server_name} | {name: "true" for name, is_on in switches.items() if is_on}
    return {f"tls.{name}": text for name, text in texts.items()}


def _digest(secret: str) -> str:
    return f"({blake2b(secret.encode('utf-8', 'replace'), digest_size=DIGEST).hexdigest()})"
