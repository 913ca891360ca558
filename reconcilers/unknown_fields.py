"""Advice about unknown fields: the known field that was probably meant, or the equivalent of another system's field.

Names are compared without case, dashes and underscores: `failureThreshold` is `failure_threshold`.
"""

import re
from difflib import get_close_matches
from functools import lru_cache

from reconcilers.spec import PROBES

SIMILAR = 0.66
"""The minimum similarity of two names, from 0 to 1, as difflib computes it."""

MAX_NAME = 40
"""Longer names are not compared, because a comparison takes quadratic time."""

STATUS = "status_port, status_http and the options below status describe the check"
CREDENTIALS = (
    "write status.basic_auth with a password_file, or status.bearer_token_file, where the controller's credentials_dir "
    "allows it"
)
KIND = f"status.kind is {', '.join(list(PROBES)[:-1])} or {list(PROBES)[-1]}; there are no other kinds of checks"
TARGET = (
    "the pod's node is asked, or localhost with status.localhost_only; status.tls.server_name is for certificates, "
    "and a Host in status.headers for virtual hosts"
)
HOST = "write status.headers with a Host, where the controller's allow_headers is true"
URL = "write status_port, status.path, and status_http: true for a check without TLS"
PLAIN = "write status_http: true for a check without TLS, with status_port and status.path"
DIALOGUE = "write status.send and status.expect, or status.steps, with status.kind: tcp"
TLS = "checks use TLS unless status_http is true; its options are below status.tls; status.kind: tcp needs status.tls"
CERTIFICATE = "write status.tls.cert_file and status.tls.key_file"
BODY = "write status.body, with status.method: POST, where the controller's allow_methods lists it"
REDIRECTS = "write status.follow_redirects: 3, where the controller's max_redirects allows it, or the last page's path"
INTERVAL = "write status.interval with a unit, as in 5s"
TIMEOUT = "write status.timeout with a unit, as in 5s"
DELAY = "write status.initial_delay with a unit, as in 30s"
FAILURES = "write status.failure_threshold, the failures in a row that make a pod critical"
SUCCESSES = "write status.success_threshold, the successes in a row that make a pod passing"
EXPECT_STATUS = 'write status.expect_status, as in 200 or [200, "300-399"]'
EXPECT_BODY = "write status.expect_body, a regular expression that the body must match"
LABELS = "write status.labels, as in {team: shop}; the controller's labels declare the names"
PAUSED = "write status.paused: true for no probes and no health"

INSTEAD = {
    name: advice
    for names, advice in (
        ("check checks healthcheck health_check probe liveness_probe readiness_probe startup_probe http_get", STATUS),
        ("authorization bearer_token username password oauth2 credentials", CREDENTIALS),
        ("prober module type exec command script args icmp ping dns udp ttl alias docker_container_id", KIND),
        ("tcp tcp_socket", "write status.kind: tcp, with status_port"),
        ("query_response query_responses", DIALOGUE),
        ("request banner", DIALOGUE),
        ("grpc", "write status.kind: grpc, with status_port"),
        ("grpc_service", "write status.service, with status.kind: grpc"),
        ("host hostname address target targets server", TARGET),
        ("host_header virtual_host vhost", HOST),
        ("url uri endpoint", URL),
        ("http scheme protocol", PLAIN),
        ("https ssl tls_config use_tls fail_if_not_ssl grpc_use_tls", TLS),
        ("insecure skip_verify tls_skip_verify verify", "write status.tls.insecure_skip_verify"),
        ("tls_server_name sni", "write status.tls.server_name"),
        ("ca ca_cert ca_certs ca_path ca_bundle", "write status.tls.ca_file"),
        (
            "cert client_cert certificate key client_key private_key",
            "write status.tls.cert_file and status.tls.key_file",
        ),
        ("port ports check_port", "write status_port"),
        ("name", "the pod's name is its id"),
        ("query query_string params", "write the query behind status.path, as in /status?full=1"),
        ("data payload request_body body_file", BODY),
        ("http_headers header", "write status.headers, where the controller's allow_headers is true"),
        ("no_follow_redirects disable_redirects redirects max_redirects ignore_redirect", REDIRECTS),
        ("proxy proxy_url", "a probe uses no proxy"),
        ("interval_seconds period period_seconds every frequency scrape_interval", INTERVAL),
        ("timeout_seconds scrape_timeout timeout_ms", TIMEOUT),
        ("initial_delay_seconds start_period delay", DELAY),
        ("failures retries fall unhealthy_threshold failures_before_critical failures_before_warning", FAILURES),
        ("response_time max_response_time", "write status.timeout, or status.warn_above for a warning"),
        ("certificate_expiration certificate_expiry", "write status.warn_expiry for a warning"),
        ("successes rise healthy_threshold success_before_passing", SUCCESSES),
        ("valid_status_codes status_code status_codes expected_status expected_codes success_codes", EXPECT_STATUS),
        ("fail_if_body_not_matches_regexp expected_body body_regex", EXPECT_BODY),
        ("fail_if_body_matches_regexp", "write status.expect_body_not"),
        ("fail_if_body_json_not_matches_cel json_path jmespath", "write status.expect_json, in JMESPath"),
        ("conditions", f"{EXPECT_STATUS}, and status.expect_body or status.expect_json"),
        ("group groups tag tags annotations", LABELS),
        ("enabled disabled suspend suspended", PAUSED),
        ("deregister_critical_service_after", "a pod's health goes when its manifest does, and not before"),
    )
    for name in (each.replace("_", "") for each in names.split())
}
"""What to write in a manifest for a word of blackbox_exporter, Kubernetes, Consul, gatus and their kin."""


def advice(section: str, name: str, known: tuple[str, ...]) -> str:
    """Returns what to write in a manifest instead of `name` in `section` ("" for the top level); "" if unknown.

    `known` are the dotted names of all fields.
    """
    if instead := INSTEAD.get(_plain(name)):
        return instead
    return did_you_mean(nearest(section, name, known)).removeprefix("; ")


def did_you_mean(field: str) -> str:
    """Returns a question to append to an error; "" without a field."""
    return f"; did you mean {field}?" if field else ""


@lru_cache(maxsize=1024)
def nearest(section: str, name: str, known: tuple[str, ...]) -> str:
    """Returns the known field that is most similar to `name`, preferably of the same section; "" if there is none.

    `name` is also compared with the names of fields together with their section: `status_path` is `status.path`.
    """
    if len(name) > MAX_NAME:
        return ""
    by_name: dict[str, list[str]] = {}
    for path in known:
        for known_name in {path.rpartition(".")[2], path.removeprefix(f"{section}.")}:
            by_name.setdefault(_plain(known_name), []).append(path)
    for alike in get_close_matches(_plain(name), by_name, n=1, cutoff=SIMILAR):
        return min(by_name[alike], key=lambda path: path.rpartition(".")[0] != section)
    return ""


def _plain(name: str) -> str:
    return re.sub(r"[-_.]", "", name.lower())
