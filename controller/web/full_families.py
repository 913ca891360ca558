"""blackbox_exporter's further series of checks, which `metrics: full` exports.

Names, labels and meanings are blackbox_exporter's. They are those of the last probe.
"""

from collections.abc import Callable, Sequence
from typing import Any

from controller.web.families import Family, attribute, info_lines, label_value, value_lines
from reconcilers.health import ProbeResult
from reconcilers.probe_details import Leaf, ProbeDetails


def _of_details(read: Callable[[ProbeDetails], object]) -> Callable[[Sequence[ProbeResult]], Sequence[object]]:
    """The fact of a result is what `read` returns of its details; "" for a result without details."""
    return lambda results: [read(last.details) if last.details else "" for last in results]


def _of_http(name: str) -> Callable[[Sequence[ProbeResult]], Sequence[object]]:
    return _of_details(lambda details: getattr(details.http, name) if details.http else "")


def _number(fact: Any) -> str:
    return f"{fact:.15g}" if fact != "" else ""


def _leaf_labels(leaf: Leaf) -> str:
    return ",".join(f'{label}="{label_value(text)}"' for label, text in leaf._asdict().items())


FULL = (
    Family(
        "probe_dns_lookup_time_seconds",
        "How long the last probe waited for the address of the name.",
        attribute("phases.dns"),
        value_lines(lambda seconds: f"{seconds:.6f}"),
    ),
    Family(
        "probe_ip_protocol",
        "4 or 6, the IP version of the address that the last probe used; 0 if there was none.",
        _of_details(lambda details: details.ip_version),
        value_lines(_number),
    ),
    Family(
        "probe_http_version",
        "The HTTP version of the last probe's response, 0 if none was received.",
        _of_http("version"),
        value_lines(_number),
    ),
    Family(
        "probe_http_ssl",
        "Whether the last probe's response came over TLS.",
        _of_http("is_over_tls"),
        value_lines(_number),
    ),
    Family(
        "probe_http_content_length",
        "The length that the last probe's response stated, -1 if it stated none.",
        _of_http("content_length"),
        value_lines(_number),
    ),
    Family(
        "probe_tls_version_info",
        "The TLS version of the last probe; the value is always 1.",
        _of_details(lambda details: details.tls_version),
        info_lines(lambda version: f'version="{version}"'),
    ),
    Family(
        "probe_ssl_last_chain_info",
        "The target's own certificate, as it was last accepted; the value is always 1.",
        _of_details(lambda details: details.leaf),
        info_lines(_leaf_labels),
    ),
)
"""The families of the last `ProbeResult` of each check, in addition to `families.OF_RESULTS`."""
