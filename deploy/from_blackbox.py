#!/usr/bin/env python3
"""Converts the targets that Prometheus probes with blackbox_exporter to manifests.

    deploy/from_blackbox.py FOLDER --modules blackbox.yml --prometheus prometheus.yml

Each target of the scrape jobs with `metrics_path: /probe` becomes FOLDER/<node>/<pod>.yaml. The node is the host of the
target, and the pod is named after the job. Targets come from static_configs and from the files of file_sd_configs, with
the job's relabelling. Podpulse's own parser validates every manifest before it is written. For each option that a
manifest cannot express, standard error gets one line. A target whose check would change its meaning without the option
is left out.

Three differences apply to every target and are not reported: a probe follows no redirect unless the module says
`follow_redirects: true` (or with --follow-redirects does not say false), and then only to the same host and port; it
connects to the addresses of a name in the resolver's order; and the thresholds are taken from the controller's
configuration.

Exit codes:
  0  every target has its manifest
  1  a target or a job was left out, or a file could not be written
  2  wrong use, or a file that cannot be read

Run it with the Python environment in which Podpulse is installed.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deploy.converting import (
    PORTS,
    REDIRECTS,
    ManifestError,
    Untranslatable,
    Writer,
    follow_redirects,
    path_of,
    port_of,
    split_url,
)
from deploy.scrape_targets import Json, Target, Unusable, read, seconds, targets
from reconcilers.fields import go_duration

OFFSET = 0.5
"""Seconds that blackbox_exporter keeps of the timeout of a scrape."""
WITHOUT_EFFECT = frozenset(
    {"preferred_ip_protocol", "ip_protocol_fallback", "enable_http2", "enable_http3", "compression"}
)
"""Options that do not change what a healthy target is."""
STARTTLS = (("smtp", r"(?i)^(EHLO|HELO)\b"), ("imap", r"(?i)^\S+ STARTTLS"), ("pop3", r"(?i)^STLS"))
"""What is sent before `starttls: true`, by protocol."""
AT_END = re.compile(r"(?<!\\)\$\Z")
REFERENCE = re.compile(r"\$(\{\w+\}|\d)")


@dataclass(slots=True)
class Conversion:
    """The manifest of one target while it is made.

    `notes` are about this target. `needs` is what the controller's configuration must have, by option.
    """

    node: str
    document: Json
    notes: list[str] = field(default_factory=list)
    needs: dict[str, set[str]] = field(default_factory=dict)

    @property
    def status(self) -> Json:
        status: Json = self.document["status"]
        return status


# One target


def conversion(target: Target, modules: Mapping[str, Json], *, follow: bool = False) -> Conversion:
    """Returns the manifest of a target; with `follow` redirects are followed unless its module says that they are not.

    Raises:
        Untranslatable: No manifest has the same meaning.
    """
    if not (module := modules.get(target.module)):
        raise Untranslatable(f"there is no module {target.module}")
    prober = str(module.get("prober"))
    if prober not in PROBERS:
        raise Untranslatable(f"prober {prober}: no probe does that; kind tcp can check a port of the host instead")
    given = {**({"follow_redirects": True} if follow and prober == "http" else {}), **(module.get(prober) or {})}
    if given.get("no_follow_redirects"):
        given["follow_redirects"] = False
    options = {key: value for key, value in given.items() if value not in (None, "", [], {}, False)}
    made = PROBERS[prober](target, options)
    if unknown := sorted(options.keys() - WITHOUT_EFFECT):
        raise Untranslatable(f"{prober}.{unknown[0]}: no probe does that")
    timeout = min(target.timeout - OFFSET, seconds(module.get("timeout") or f"{round(target.timeout * 1000)}ms"))
    made.status.update(
        {"interval": go_duration(target.interval), "timeout": go_duration(min(timeout, target.interval))}
    )
    if target.labels:
        made.status["labels"] = dict(target.labels)
        made.needs["labels"] = set(target.labels)
    return made


def _http(target: Target, options: Json) -> Conversion:
    url = split_url(target.address if "://" in target.address else f"http://{target.address}")
    plain = {"status_http": True} if url.scheme == "http" else {}
    if options.pop("fail_if_not_ssl" if plain else "fail_if_ssl", None):
        raise Untranslatable(f"the module never succeeds with {url.scheme}")
    status: Json = {"path": path_of(url), "expect_status": _statuses(options)}
    made = Conversion(url.hostname or "", {"status_port": _port(url, PORTS[url.scheme]), **plain, "status": status})
    for without_use in ("fail_if_ssl", "fail_if_not_ssl", "no_follow_redirects"):
        options.pop(without_use, None)
    follows = options.pop("follow_redirects", False)
    _request(target, options, made)
    if follows and follow_redirects(made.document):
        made.needs["max_redirects"] = {str(REDIRECTS)}
    elif follows:
        made.notes.append("follow_redirects: only GET and HEAD follow redirects")
    _http_version(options, status)
    _bodies(options, status)
    if _authorize(options, status):
        made.needs["credentials_dir"] = {"FOLDER"}
    tls = _tls(options)
    if host := next((value for name, value in status.get("headers", {}).items() if name.lower() == "host"), ""):
        tls.setdefault("server_name", host.partition(":")[0])
    if tls and not plain:
        status["tls"] = tls
    return made


def _request(target: Target, options: Json, made: Conversion) -> None:
    if (method := options.pop("method", "GET")) != "GET":
        made.status["method"] = method
        if method != "HEAD":
            made.needs["allow_methods"] = {"GET", "HEAD", method}
    if body := options.pop("body", ""):
        made.status["body"] = body
    headers = {**options.pop("headers", {}), **({"Host": target.hostname} if target.hostname else {})}
    if headers:
        made.status["headers"] = {name: str(value) for name, value in headers.items()}
        made.needs["allow_headers"] = {"true"}


def _statuses(options: Json) -> Any:
    codes = options.pop("valid_status_codes", "200-299")
    return "200-599" if options.pop("accept_any_response", False) else codes


def _http_version(options: Json, status: Json) -> None:
    versions = {str(version) for version in options.pop("valid_http_versions", ["HTTP/1.1"])}
    if "HTTP/1.1" in versions:
        return
    if not versions & {"HTTP/2", "HTTP/2.0"}:
        raise Untranslatable("http.valid_http_versions: a probe is HTTP/1.1 or HTTP/2")
    status["http_version"] = 2


def _bodies(options: Json, status: Json) -> None:
    wanted, unwanted = (options.pop(f"fail_if_body_{name}", []) for name in ("not_matches_regexp", "matches_regexp"))
    if len(wanted) > 1:
        raise Untranslatable("http.fail_if_body_not_matches_regexp: a probe has one expression")
    if wanted:
        status["expect_body"] = wanted[0]
    if unwanted:
        status["expect_body_not"] = unwanted[0] if len(unwanted) == 1 else "|".join(f"(?:{each})" for each in unwanted)


def _authorize(options: Json, status: Json) -> bool:
    """Adds the files of credentials. Returns whether there are any. Secrets are not copied."""
    authorization = options.pop("authorization", {})
    file = options.pop("bearer_token_file", "")
    if authorization.get("type", "Bearer").lower() == "bearer":
        file = file or authorization.get("credentials_file", "")
    if basic := options.pop("basic_auth", {}):
        if not (basic.get("username") and basic.get("password_file")):
            raise Untranslatable("http.basic_auth: expected a username, and the password in a file: password_file")
        status["basic_auth"] = {"username": basic["username"], "password_file": basic["password_file"]}
    elif file:
        status["bearer_token_file"] = file
    elif authorization or options.pop("bearer_token", ""):
        raise Untranslatable("http: expected the token in a file: bearer_token_file")
    else:
        return False
    return True


def _tcp(target: Target, options: Json) -> Conversion:
    node, port = _host_and_port(target.address)
    status: Json = {"kind": "tcp"}
    made = Conversion(node, {"status_port": port, "status": status})
    uses_tls, tls = options.pop("tls", False), _tls(options)
    steps = [part for step in options.pop("query_response", []) for part in _parts(step)]
    at = next((place for place, step in enumerate(steps) if step.get("starttls")), None)
    if at is not None:
        before, steps = steps[:at], steps[at + 1 :]
        status["starttls"] = _starttls(before, steps)
    if tls or uses_tls:
        status["tls"] = tls
    if not (uses_tls or at is not None):
        status.pop("tls", None)
    if made_steps := [_step(step) for step in steps]:
        status |= made_steps[0] if len(made_steps) == 1 else {"steps": made_steps}
        if any("send" in step for step in made_steps):
            made.needs["allow_send"] = {"true"}
    return made


def _starttls(before: Sequence[Json], after: Sequence[Json]) -> str:
    if any(step.get("starttls") for step in after):
        raise Untranslatable("tcp.query_response: a probe begins TLS once")
    sends = [str(step.get("send", "")) for step in before]
    found = next((name for name, pattern in STARTTLS if any(re.search(pattern, text) for text in sends)), "")
    if not found:
        raise Untranslatable("tcp.query_response: starttls is known for smtp, imap and pop3 only")
    return found


def _parts(step: Json) -> Iterator[Json]:
    """Yields the parts of a step in their order: it expects first, and then sends."""
    for key in ("expect", "send", "starttls", *sorted(step.keys() - {"expect", "send", "starttls"})):
        if step.get(key):
            yield {key: step[key]}


def _step(step: Json) -> Json:
    """Returns a step of a probe. A character of it is one byte.

    blackbox_exporter ends what it sends with a line feed, and searches line by line, without the carriage return.
    """
    ((key, value),) = step.items()
    text = str(value)
    match key:
        case "send" if REFERENCE.search(text):
            raise Untranslatable("tcp.query_response.send: a probe cannot send a part of what it got")
        case "send":
            text += "\n"
        case "expect":
            text = AT_END.sub(r"\\r?$", text)
        case _:
            raise Untranslatable(f"tcp.query_response.{key}: no probe does that")
    return {key: text.encode().decode("latin-1")}


def _grpc(target: Target, options: Json) -> Conversion:
    node, port = _host_and_port(target.address)
    status: Json = {"kind": "grpc"}
    if service := options.pop("service", ""):
        status["service"] = service
    uses_tls, tls = options.pop("tls", False), _tls(options)
    if tls and uses_tls:
        status["tls"] = tls
    return Conversion(node, {"status_port": port, **({} if uses_tls else {"status_http": True}), "status": status})


def _tls(options: Json) -> Json:
    """Returns the options of TLS. What has no counterpart stays in `options`, so that it is reported."""
    given = options.pop("tls_config", {})
    known = ("insecure_skip_verify", "ca_file", "cert_file", "key_file", "server_name")
    if others := sorted(key for key, value in given.items() if value and key not in known):
        raise Untranslatable(f"tls_config.{others[0]}: no probe does that")
    return {key: given[key] for key in known if given.get(key)}


def _port(url: SplitResult, default: int) -> int:
    try:
        return port_of(url.port, default)
    except ValueError as error:
        raise Untranslatable(str(error)) from None


def _host_and_port(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or len(port) > 5:
        raise Untranslatable(f"expected host:port, got {address!r}")
    return host.strip("[]"), port_of(int(port))


PROBERS: Mapping[str, Callable[[Target, Json], Conversion]] = {"http": _http, "tcp": _tcp, "grpc": _grpc}


# All targets


def convert(
    modules: Mapping[str, Json], found: Sequence[Target | str], folder: Path, *, follow: bool = False
) -> Iterator[str]:
    """Writes the manifests, and yields the lines to report. A line that begins with `left out` names what has none."""
    yield from (each for each in found if isinstance(each, str))
    writer, made = Writer(folder), []
    for target in (each for each in found if isinstance(each, Target)):
        name = f"{target.job} {_shown(target.address)}"
        try:
            made.append((name, target, conversion(target, modules, follow=follow)))
        except ValueError as error:
            yield f"left out: {name}: {error}"
        except (AttributeError, TypeError):
            yield f"left out: {name}: module {target.module} does not have the format of blackbox_exporter"
    needs: dict[str, set[str]] = {}
    per_node = Counter((one.node, _slug(target.job)) for _, target, one in made)
    for name, target, one in made:
        pod = _slug(target.job)
        if per_node[one.node, pod] > 1:
            pod = "-".join(filter(None, (pod, str(one.document["status_port"]), _slug(one.status.get("path", "")))))
        try:
            writer.write(one.node, {"id": pod, **one.document})
        except ManifestError as error:
            yield from (f"left out: {name}: {each}" for each in error.every)
        except Untranslatable as error:
            yield f"left out: {name}: {error}"
        else:
            yield from (f"note: {name}: {note}" for note in one.notes)
            for option, values in one.needs.items():
                needs.setdefault(option, set()).update(values)
    yield from (f"note: the controller's configuration needs `{need}`" for need in _configuration(needs))


def _configuration(needs: Mapping[str, set[str]]) -> Iterator[str]:
    for option, values in sorted(needs.items()):
        words = ", ".join(sorted(values))
        yield f"{option}: [{words}]" if option in {"allow_methods", "labels"} else f"{option}: {words}"


def _shown(address: str) -> str:
    """Returns an address without a password, and without characters that a terminal would obey."""
    text = re.sub(r"//[^/]*@", "//***@", address)
    return text if text.isprintable() else repr(text)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")[:60]


def _found(file: Path) -> list[Target | str]:
    config = read(file, dict)
    try:
        return list(targets(config, file.parent))
    except (AttributeError, TypeError, KeyError):
        raise Unusable(f"{file}: expected the format of Prometheus") from None


def main(arguments: Sequence[str] | None = None) -> int:
    summary, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where the manifests are written")
    parser.add_argument("--modules", metavar="FILE", type=Path, required=True, help="blackbox_exporter's configuration")
    parser.add_argument("--prometheus", metavar="FILE", type=Path, required=True, help="Prometheus' configuration")
    parser.add_argument("--follow-redirects", action="store_true", help="follow redirects unless the module forbids it")
    given = parser.parse_args(arguments)
    left_out = False
    try:
        modules = read(given.modules, dict).get("modules") or {}
        found = _found(given.prometheus)
        for line in convert(modules, found, given.folder, follow=given.follow_redirects):
            left_out |= line.startswith("left out")
            sys.stderr.write(f"{line}\n")
    except Unusable as error:
        parser.error(str(error))
    except OSError as error:
        sys.stderr.write(f"cannot write {error.filename}: {error.strerror}\n")
        return 1
    return int(left_out)


if __name__ == "__main__":
    sys.exit(main())
