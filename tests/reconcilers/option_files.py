"""The expected results of the files of `tests/data/manifests/` with options of a check."""

from dataclasses import replace

from reconcilers.spec import CheckSpec, GrpcHealth, HttpGet, Output, PodKey, Probe, Step, TcpConnect, Tls

KEY = PodKey("web1", "isup")

DURATION = "expected a duration from 100ms to 1h, such as 500ms, 5s or 1m30s"
LONG = "expected a duration from 0s to 3650d, such as 14d or 36h"
DELAY = ("status.initial_delay", "expected a duration from 0s to 24h, such as 500ms, 5s or 1m30s, got ")
THRESHOLD = "expected a plain decimal number from 1 to 1000, got "
STATUS = ("status.expect_status", 'expected status codes from 100 to 599, such as 200 or "200-299"')
STATUS_COUNT = ("status.expect_status", "expected from 1 to 32 status codes or ranges of them, got [")
REGEX = "expected a regular expression"
HEADER_VALUE = ("status.headers", "expected printable ASCII, at most 2048 characters, as the value of 'X-Team'")
OWN_HEADER = "expected headers other than those of the connection itself, found "
NOT_ALLOWED = ("status.headers", "not allowed; the controller's option allow_headers would allow them")
KIND = ("status.kind", "expected 'http', 'tcp' or 'grpc', got ")
TEXT = ("status.service", "expected text of one line, of at most 2048 characters, got ")
PAIR = ("status.tls", "expected cert_file and key_file together")
PLAIN_TLS = ("status.tls", "expected a check over TLS; this one is plain")
SENDS = "sends bytes: not allowed; the controller's option allow_send would allow it"
BYTES = 'expected characters up to U+00FF, each of which is one byte; write UTF-8 as bytes, as in "\\xc3\\xa9"'
HOST = ("status.tls.server_name", "expected a host's name of letters, digits, '.', '_' and '-', got ")
FILE = ("status.tls.ca_file", "expected a file's absolute path in ASCII, of at most 2048 characters, got ")
BOOLEAN = "expected true or false, got "

INTERVALS = {
    "bare": "'5'",
    "comma": "'1,5s'",
    "days": "'1d'",
    "digits": "'1111",
    "empty": "''",
    "exponent": "'1e3s'",
    "infinite": "'.inf'",
    "list": "['5s']",
    "long": "'999h'",
    "mapping": "{'seconds': '5'}",
    "longer": "'1h1ms'",
    "negative": "'-1s'",
    "not-a-number": "'.nan'",
    "order": "'30s1m'",
    "other-digits": "'\N{ARABIC-INDIC DIGIT FIVE}s'",
    "plus": "'+5s'",
    "point": "'.5s'",
    "quoted-bare": "'5'",
    "sexagesimal": "'1:30'",
    "short": "'99ms'",
    "space": "'5 s'",
    "twice": "'5s5s'",
    "upper-case": "'5S'",
    "zero": "'0'",
}

THRESHOLDS = {
    "failure-threshold-fraction": "'1.5'",
    "failure-threshold-list": "['3']",
    "failure-threshold-negative": "'-1'",
    "failure-threshold-octal": "'03'",
    "failure-threshold-quoted": "'3'",
    "failure-threshold-too-big": "'1001'",
    "failure-threshold-word": "'three'",
    "failure-threshold-yes": "'true'",
    "failure-threshold-zero": "'0'",
    "success-threshold-exponent": "'1e1'",
    "success-threshold-too-big": "'1001'",
    "success-threshold-zero": "'0'",
}

INVALID = {
    **{f"interval-{what}": ("status.interval", f"{DURATION}, got {got}") for what, got in INTERVALS.items()},
    "timeout-bare": ("status.timeout", f"{DURATION}, got '5'"),
    "timeout-beyond-default": ("status.timeout", "expected at most the interval of 5s, got 6s"),
    "timeout-beyond-interval": ("status.timeout", "expected at most the interval of 2s, got 3s"),
    "timeout-beyond-while-paused": ("status.timeout", "expected at most the interval of 5s, got 1m"),
    "timeout-beyond-without-port": ("status.timeout", "expected at most the interval of 5s, got 1m"),
    "timeout-short": ("status.timeout", f"{DURATION}, got '1ms'"),
    "warn-above-beyond-timeout": ("status.warn_above", "expected less than the timeout of 2s, got 2s500ms"),
    "warn-above-days": (
        "status.warn_above",
        "expected a duration from 0s to 24h, such as 500ms, 5s or 1m30s, got '1d'",
    ),
    "warn-expiry-bare": ("status.warn_expiry", f"{LONG}, got '14'"),
    "warn-expiry-beyond": ("status.warn_expiry", f"{LONG}, got '3651d'"),
    "warn-expiry-plain": ("status.warn_expiry", "expected a check over TLS; this one is plain"),
    "warn-status-word": ("status.warn_status", STATUS[1]),
    **{f"initial-delay-{what}": DELAY for what in ("bare", "long", "negative")},
    **{what: (f"status.{what[:17].replace('-', '_')}", THRESHOLD + got) for what, got in THRESHOLDS.items()},
    **{
        f"method-{what}": ("status.method", "expected 'GET', 'HEAD', 'POST', 'PUT' or 'OPTIONS', got ")
        for what in ("list", "lower-case", "trace")
    },
    **{
        f"expect-status-{what}": STATUS
        for what in ("99", "600", "backwards", "beyond", "class", "fraction", "later-item")
    },
    **{f"expect-status-{what}": STATUS for what in ("mapping", "negative", "nested", "spaces", "three-parts", "word")},
    "method-not-allowed": (
        "status.method",
        "POST is not allowed; the controller's option allow_methods would allow it",
    ),
    "body-list": ("status.body", "expected text of at most 16 KiB"),
    "body-long": ("status.body", "expected text of at most 16 KiB"),
    "body-with-get": ("status.body", "expected method POST or PUT: a request with GET has no body"),
    "body-with-options": ("status.method", "OPTIONS is not allowed"),
    "expect-status-empty": STATUS_COUNT,
    "expect-status-many": STATUS_COUNT,
    "expect-body-back-reference": ("status.expect_body", f"{REGEX} (RE2): invalid escape sequence: \\1, got "),
    "expect-body-control": ("status.expect_body", f"{REGEX} (RE2): missing ), got '\\x01('"),
    "expect-body-large": ("status.expect_body", f"{REGEX} (RE2): pattern too large - compile failed, got "),
    "expect-body-list": ("status.expect_body", f"{REGEX} of at most 1024 characters, got ['ok']"),
    "expect-body-long": ("status.expect_body", f"{REGEX} of at most 1024 characters, got 'oooo"),
    "expect-body-look-ahead": ("status.expect_body", f"{REGEX} (RE2): invalid perl operator: (?=, got '(?=ok)'"),
    "expect-body-parentheses": ("status.expect_body", f"{REGEX} (RE2): missing ), got '((((("),
    "expect-body-slow": ("status.expect_body", "expected a simpler regular expression: 4506 steps, of which 2000 are"),
    "expect-body-unclosed": ("status.expect_body", f"{REGEX} (RE2): missing ): (ok, got '(ok'"),
    "expect-body-not-unclosed": ("status.expect_body_not", f"{REGEX} (RE2): missing ): (ok, got '(ok'"),
    "expect-body-not-with-head": ("status.expect_body_not", "expected method GET: the answer to HEAD has no body"),
    "expect-json-column": ("status.expect_json", "expected a JMESPath expression: error at column 16, got "),
    "expect-json-deep": (
        "status.expect_json",
        "expected a simpler JMESPath expression: it is nested more than 64 deep",
    ),
    "expect-json-grows": ("status.expect_json", "expected a simpler JMESPath expression: [...] is not supported, got "),
    "expect-json-list": ("status.expect_json", "expected a JMESPath expression of at most 1024 characters, got ["),
    "expect-json-long": ("status.expect_json", "expected a JMESPath expression of at most 1024 characters, got 'aaa"),
    "expect-json-with-head": ("status.expect_json", "expected method GET: the answer to HEAD has no body"),
    "expect-body-with-head": ("status.expect_body", "expected method GET: the answer to HEAD has no body"),
    **{f"headers-{what}": HEADER_VALUE for what in ("blank", "crlf", "long", "mapping", "null", "tab", "umlaut")},
    "headers-connection-odd-case": ("status.headers", f"{OWN_HEADER}'cOnNeCtIoN'"),
    "headers-content-length": ("status.headers", f"{OWN_HEADER}'Content-Length'"),
    "headers-expect": ("status.headers", f"{OWN_HEADER}'Expect'"),
    "headers-host-url": (
        "status.headers",
        "expected a host's name or address, perhaps with a port, as the value of 'Host'",
    ),
    "headers-upgrade": ("status.headers", "not allowed; the controller's option allow_headers would allow them"),
    "headers-transfer-encoding": ("status.headers", f"{OWN_HEADER}'transfer-encoding'"),
    "headers-list": ("status.headers", "expected a mapping of header names to values"),
    "headers-text": ("status.headers", "expected a mapping of header names to values"),
    "headers-many": ("status.headers", "expected at most 32 headers, each once"),
    "headers-twice": ("status.headers", "expected at most 32 headers, each once"),
    "headers-name-colon": ("status.headers", "expected the name of a header, found 'X-Team:'"),
    "headers-name-crlf": ("status.headers", "expected the name of a header, found 'X-Team: blue\\r\\nX-Admin'"),
    "headers-name-empty": ("status.headers", "expected the name of a header, found ''"),
    "headers-name-space": ("status.headers", "expected the name of a header, found 'X Team'"),
    "headers-name-umlaut": ("status.headers", "expected the name of a header, found 'X-Täm'"),
    "headers-not-allowed": NOT_ALLOWED,
    "headers-none-not-allowed": NOT_ALLOWED,
    **{f"kind-{what}": KIND for what in ("empty", "list", "unknown", "upper-case")},
    **{
        f"{kind}-{what}": (f"status.{what.replace('-', '_')}", f"of no use to a check of the kind {kind}")
        for kind, whats in {
            "tcp": ("connection", "expect-body", "expect-status", "headers", "method", "path", "service"),
            "grpc": ("expect-body", "expect-status", "headers", "method", "path"),
            "http": ("expect", "service"),
        }.items()
        for what in whats
    },
    "tcp-body": ("status.body", "of no use to a check of the kind tcp"),
    "grpc-body": ("status.body", "of no use to a check of the kind grpc"),
    **{f"service-{what}": TEXT for what in ("list", "long", "newline")},
    "connection-keep-alive": ("status.connection", "expected 'fresh' or 'reuse', got 'keep-alive'"),
    "connection-no": ("status.connection", "expected 'fresh' or 'reuse', got 'false'"),
    **{
        f"tls-{what}": PAIR
        for what in ("cert-alone", "cert-emptied-alone", "cert-with-empty-key", "cert-with-null-key")
    },
    "tls-key-alone": PAIR,
    **dict.fromkeys(("tls-plain", "tls-plain-in-status", "tls-plain-grpc", "tcp-tls-plain"), PLAIN_TLS),
    "tcp-starttls-plain": ("status.starttls", PLAIN_TLS[1]),
    "tcp-starttls-unknown": ("status.starttls", "expected '', 'smtp', 'imap', 'pop3', 'postgres' or 'ldap', got 'ftp'"),
    "tcp-send-not-allowed": ("status.send", SENDS),
    **{f"tcp-send-{what}": ("status.send", "expected text of at most 4096 bytes") for what in ("list", "long")},
    "tcp-send-beyond-bytes": ("status.send", BYTES),
    "tcp-expect-beyond-bytes": ("status.expect", BYTES),
    "tcp-expect-list": ("status.expect", f"{REGEX} of at most 1024 characters, got ['ok']"),
    "tcp-expect-look-ahead": ("status.expect", f"{REGEX} (RE2): invalid perl operator: (?=, got '(?=ok)'"),
    "tcp-steps-not-allowed": ("status.steps", SENDS),
    **{
        f"tcp-steps-{what}": ("status.steps", "expected a list of 1 to 16 steps")
        for what in ("empty", "many", "mapping")
    },
    **{
        f"tcp-steps-{what}": ("status.steps", "step 2: expected a mapping with send, expect or both")
        for what in ("text", "useless")
    },
    "tcp-steps-misspelled": ("status.steps", "step 1: expected send, expect or both, found 'expct'"),
    "tcp-steps-expect": ("status.steps", f"step 2: {REGEX} (RE2): missing ): (ok"),
    "tcp-steps-and-expect": ("status.steps", "expected either steps, or send and expect"),
    **{f"tls-server-name-{what}": HOST for what in ("port", "umlaut", "url", "user")},
    **{f"tls-ca-{what}": FILE for what in ("list", "long", "newline", "relative", "umlaut")},
    "tls-ca-missing": ("status.tls.ca_file", "expected a readable file, '/nowhere/ca.pem': No such file or directory"),
    "tls-cert-missing": ("status.tls.cert_file", "expected a readable file, '/nowhere/cert.pem': No such file"),
    "tls-key-missing": ("status.tls.key_file", "expected a readable file, '/nowhere/key.pem': No such file"),
    "tls-list": ("status.tls", "expected a mapping, got ['ca_file']"),
    "tls-text": ("status.tls", "expected a mapping, got 'yes'"),
    "tls-resume-number": ("status.tls.resume", BOOLEAN + "'1'"),
    "tls-skip-word": ("status.tls.insecure_skip_verify", BOOLEAN + "'maybe'"),
    "paused-quoted": ("status.paused", BOOLEAN + "'true'"),
    "paused-word": ("status.paused", BOOLEAN + "'soon'"),
    "output-number": ("status.output", BOOLEAN + "'0'"),
}
"""The field that is wrong, and a part of what is said about it."""

HTTPS = HttpGet("web1", 8000, "/_status", Tls())
MUTUAL = Tls("/etc/podpulse/ca.pem", "/etc/podpulse/cert.pem", "/etc/podpulse/key.pem", "isup.example.com", True, True)
ALL = HttpGet(
    "web1",
    8000,
    "/_status",
    MUTUAL,
    expect_status=((200, 200), (300, 399)),
    expect_body=r'"status":\s*"(ok|up)"',
    headers=(("X-Team", "blue"), ("Accept", "*/*")),
    reuse=True,
)


def spec(probe: Probe = HTTPS, interval: float = 5.0, timeout: float = 5.0) -> CheckSpec:
    return CheckSpec(KEY, probe, interval, timeout)


VALID = {
    "expect-body-umlaut": spec(replace(HTTPS, expect_body="(?i)^zust[äü]nde$")),
    "expect-json": spec(
        replace(HTTPS, expect_body_not="DOWN", expect_json="status == 'UP' && components.db.status == 'UP'")
    ),
    "expect-status-lowest-and-highest": spec(replace(HTTPS, expect_status=((100, 100), (599, 599)))),
    "expect-status-one": spec(replace(HTTPS, expect_status=((204, 204),))),
    "expect-status-range": spec(replace(HTTPS, expect_status=((200, 299),))),
    "grpc": spec(GrpcHealth("web1", 8000, "isup.v1.Pods", Tls(), reuse=True)),
    "grpc-plain": spec(GrpcHealth("web1", 8000)),
    "grpc-tls": spec(GrpcHealth("web1", 8000, tls=Tls(server_name="isup.example.com"))),
    "headers": spec(replace(HTTPS, headers=(("X-Team", "blue"), ("X-Quote", 'say "a: b"')))),
    "headers-host": spec(replace(HTTPS, headers=(("Host", "shop.example:8443"),))),
    "initial-delay-longest": replace(spec(), initial_delay=86_400.0),
    "initial-delay-zero": spec(),
    "interval-fraction": spec(interval=1.5, timeout=1.5),
    "interval-longest": spec(interval=3600.0),
    "interval-milliseconds": spec(interval=0.25, timeout=0.25),
    "interval-parts": spec(interval=3599.999),
    "interval-quoted": spec(),
    "interval-shortest": spec(interval=0.1, timeout=0.1),
    "body-empty": spec(replace(HTTPS, method="POST")),
    "body-of-post": spec(replace(HTTPS, method="POST", body='{"ping": "Grüße"}\n')),
    "method-options": spec(replace(HTTPS, method="OPTIONS")),
    "method-put-reuse": spec(replace(HTTPS, method="PUT", reuse=True)),
    "method-head": spec(replace(HTTPS, method="HEAD")),
    "options-all": CheckSpec(KEY, ALL, 90.0, 2.5, 3, 2, initial_delay=3600.0, output=Output.NEVER),
    "options-of-nulls": spec(),
    "options-without-port": None,
    "paused": None,
    "paused-file-missing": None,
    "tcp": spec(TcpConnect("web1", 8000), interval=1.0, timeout=1.0),
    "tcp-expect": spec(TcpConnect("web1", 8000, expect=r"^SSH-2\.0-")),
    "tcp-send": spec(TcpConnect("web1", 8000, send=b"\x00\xff PING\r\n\x7f", expect="\xe9")),
    "tcp-starttls": spec(TcpConnect("web1", 8000, Tls(server_name="mail.example.com"), "smtp")),
    "tcp-steps": spec(TcpConnect("web1", 8000, Tls(), "imap", steps=(Step(expect="^220"), Step(send=b"QUIT\r\n")))),
    "tcp-tls": spec(TcpConnect("web1", 8000, Tls(insecure_skip_verify=True))),
    "tcp-tls-empty": spec(TcpConnect("web1", 8000, Tls())),
    "tcp-tls-null": spec(TcpConnect("web1", 8000)),
    "tcp-localhost": spec(TcpConnect("localhost", 8000)),
    "thresholds-highest": CheckSpec(KEY, HTTPS, 5.0, 5.0, 1000, 1000),
    "timeout-equal": spec(interval=2.0, timeout=2.0),
    "tls-of-nulls": spec(),
    "warn": replace(
        spec(replace(HTTPS, warn_status=((429, 429), (503, 503)))), warn_above=0.5, warn_expiry=14 * 86_400.0
    ),
    "warn-nothing": spec(),
}
"""The check that is asked for, None for none."""

WITH_PERMISSION = {
    *("headers", "headers-host", "options-all"),
    *("body-empty", "body-of-post", "method-options", "method-put-reuse"),
    *("tcp-send", "tcp-steps"),
}
"""The valid files that are so only with the permission of the operator."""
