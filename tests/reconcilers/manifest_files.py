"""The expected results of the files of `tests/data/manifests/`: the error, or the check.

The options of checks that p2 does not know have their own tables, in `option_files.py`.
"""

ALIAS = ("", "an alias; aliases and merge keys are not accepted")
MERGE = ("", "a merge key; aliases and merge keys are not accepted")
DEEP = ("", "nested deeper than 20")
TAG = ("", "tags are not accepted")
UTF_8 = ("", "is not UTF-8")
CONTROL = ("", "control characters are not allowed")
NO_MAPPING = ("", "expected a mapping with at least an id")
PORT = ("status_port", "expected a port from 1 to 65535 (0: none), got ")
STATUS_PORT = ("status.port", PORT[1])
NAME = ("id", "expected a name of letters, digits, '.', '_' and '-', at most 128 characters long")
NO_ID = ("id", "missing; expected the pod's name")
OTHER_ID = ("id", "expected the pod's name as in its key, 'isup', got ")
PATH_CONTROL = ("status.path", "expected a path without control characters")
PATH_LENGTH = ("status.path", "expected a path of at most 2048 characters")
BOOLEAN = "expected true or false, got "

INVALID = {
    "alias": ("", "line 3, column 9: an alias"),
    "bad-indentation": ("", "line 2, column 14: mapping values are not allowed"),
    "bell": CONTROL,
    "billion-laughs": ALIAS,
    "duplicate-id": ("", "line 3, column 1: the key 'id' appears twice"),
    "duplicate-in-config": ("", "the key 'a' appears twice"),
    "duplicate-in-status": ("", "line 5, column 3: the key 'port' appears twice"),
    "duplicate-port-quoted": ("", "the key 'status_port' appears twice"),
    "empty": NO_MAPPING,
    "future-yaml": ("", "found incompatible YAML document"),
    "html": ("", "line 2, column 10: mapping values are not allowed"),
    "http-mapping": ("status_http", BOOLEAN),
    "http-number": ("status_http", BOOLEAN + "'1'"),
    "http-quoted-no": ("status_http", BOOLEAN + "'no'"),
    "id-dot-dot": NAME,
    "id-empty": NAME,
    "id-leading-dot": NAME,
    "id-list": NAME,
    "id-long": NAME,
    "id-mapping": NAME,
    "id-missing": NO_ID,
    "id-newline": NAME,
    "id-null": NO_ID,
    "id-other": OTHER_ID,
    "id-other-case": OTHER_ID,
    "id-slash": NAME,
    "id-space": NAME,
    "id-umlaut": NAME,
    "id-upper-case-key": NO_ID,
    "latin-1": UTF_8,
    "list": NO_MAPPING,
    "list-as-key": ("", "a mapping or a list as a key; expected text"),
    "localhost-only-odd-case": ("status.localhost_only", BOOLEAN + "'tRuE'"),
    "mapping-as-key": ("", "a mapping or a list as a key; expected text"),
    "merge-bomb": MERGE,
    "merge-key": MERGE,
    "nested-lists": DEEP,
    "nested-mappings": DEEP,
    "nul": CONTROL,
    "only-comments": NO_MAPPING,
    "only-null": NO_MAPPING,
    "path-crlf": PATH_CONTROL,
    "path-delete": PATH_CONTROL,
    "path-list": PATH_LENGTH,
    "path-long": PATH_LENGTH,
    "path-nul": PATH_CONTROL,
    "path-surrogate": ("", "line 4, column 13: found invalid Unicode character escape code"),
    "path-tab": PATH_CONTROL,
    "port-float-too-big": PORT,
    "port-huge": PORT,
    "port-list": PORT,
    "port-negative": PORT,
    "port-not-a-number": PORT,
    "port-other-digits": PORT,
    "port-quoted": PORT,
    "port-sexagesimal": PORT,
    "port-text": PORT,
    "port-too-big": PORT,
    "port-true": PORT,
    "scalar": NO_MAPPING,
    "second-document-empty": ("", "line 2, column 1: a second document; expected one"),
    "status-empty-text": ("status", "expected a mapping, got ''"),
    "status-http-word": ("status.http", BOOLEAN + "'https'"),
    "status-list": ("status", "expected a mapping, got ["),
    "status-port-quoted": STATUS_PORT,
    "status-text": ("status", "expected a mapping, got 'enabled'"),
    "tab-indented": ("", "line 3, column 1: found character that cannot start any token"),
    "tag-directive-not-utf-8": TAG,
    "tag-local": ("", "line 2, column 14: the tag '!port'; tags are not accepted"),
    "tag-mapping": TAG,
    "tag-non-specific": TAG,
    "tag-not-utf-8": TAG,
    "tag-python": TAG,
    "tag-str": TAG,
    "template": ("", "a mapping or a list as a key; expected text"),
    "two-documents": ("", "line 2, column 1: a second document; expected one"),
    "unclosed-list": ("", "did not find expected ',' or ']'"),
    "unclosed-quote": ("", "found unexpected end of stream"),
    "unknown-alias": ALIAS,
    "utf-16-be": ("", "UTF-16 byte order mark; expected UTF-8"),
    "utf-16-le": ("", "UTF-16 byte order mark; expected UTF-8"),
    "utf-16-without-mark": CONTROL,
    "utf-32": ("", "byte order mark; expected UTF-8"),
    "utf-8-cut-off": UTF_8,
    "utf-8-surrogate": UTF_8,
}
"""The field that is wrong, and a part of what is said about it."""

PLAIN = "https://web1:8000/_status"
NO_CHECK = ""

VALID = {
    "all-p2-fields": "http://localhost:8000/healthz",
    "anchor-unused": NO_CHECK,
    "byte-order-mark": PLAIN,
    "check": PLAIN,
    "crlf-lines": "https://web1:8000/a",
    "deepest": NO_CHECK,
    "http-no": PLAIN,
    "http-yes": "http://web1:8000/_status",
    **{f"id-{what}": PLAIN for what in ("date", "dots", "exponent", "hexadecimal", "no", "number", "octal", "quoted")},
    **{f"id-{what}": PLAIN for what in ("true", "underscores", "version")},
    "id-longest": NO_CHECK,
    "json": "http://web1:8000/a",
    "keys-like-python": NO_CHECK,
    "localhost-only": "https://localhost:8000/_status",
    "markers": PLAIN,
    "merge-key-quoted": NO_CHECK,
    "minimal": NO_CHECK,
    "misspelt": PLAIN,
    "p2-page": PLAIN,
    "path-at": "https://web1:8000/@evil.example.com",
    "path-backslash": "https://web1:8000/a%5C..%5Cb",
    "path-colon": "https://web1:8000/:80/a:b",
    "path-dot-dot": "https://web1:8000/b/c",
    "path-double-slashes": "https://web1:8000/evil.example.com/x",
    "path-empty": PLAIN,
    "path-hash": "https://web1:8000/_status",
    "path-longest": "https://web1:8000/" + "a" * 2_047,
    "path-null": PLAIN,
    "path-number": "https://web1:8000/010",
    "path-percent": "https://web1:8000/a%2fb",
    "path-percent-stray": "https://web1:8000/100%25/%25zz%2541",
    "path-query": "https://web1:8000/b/?q=%C3%A4//../c/&at=@x:1/&next=/d%20e%5B1%5D?%25",
    "path-question-mark": "https://web1:8000/_status?full=1",
    "path-quote": "https://web1:8000/%22%3C%3E%7B%7D%7C%5E%60",
    "path-relative": "https://web1:8000/healthz",
    "path-root": "https://web1:8000/",
    "path-spaces": "https://web1:8000/is%20it%20up",
    "path-umlaut": "https://web1:8000/zust%C3%A4nde",
    **{f"port-{what}": "https://web1:80/_status" for what in ("exponent", "float", "hexadecimal", "plus")},
    "port-octal": "https://web1:8/_status",  # p2 requests what YAML 1.1 makes of it
    "port-underscores": "https://web1:8080/_status",
    "status-port-octal": "https://web1:8/_status",
    "port-highest": "https://web1:65535/_status",
    "port-none": NO_CHECK,
    "port-null": NO_CHECK,
    "port-zero": NO_CHECK,
    "status-empty": PLAIN,
    "status-keys-like-python": PLAIN,
    "status-http-on": "http://web1:8000/_status",
    "status-null": PLAIN,
    "status-of-nulls": PLAIN,
    "status-port": "https://web1:8001/_status",
    "status-port-after-zero": "https://web1:8001/_status",
    "status-port-second": PLAIN,
    "tls-keys-like-python": PLAIN,
    "tls-long-option": PLAIN,
    "tls-odd-option": PLAIN,
    "tls-unknown-option": PLAIN,
    "unknown-keys": PLAIN,
    "unknown-keys-many": PLAIN,
}
"""The URL that is asked."""

PODS = {
    "id-date": "2020-01-01",
    "id-dots": "a..b",
    "id-exponent": "1e3",
    "id-hexadecimal": "0x10",
    "id-longest": "a" * 128,
    "id-no": "no",
    "id-number": "12345",
    "id-octal": "010",
    "id-true": "true",
    "id-underscores": "8_0_80",
    "id-version": "1.10",
    "p2-page": "thepod",
}
"""The pod at whose key the file stands, where it is not isup."""

UNKNOWN_FIELDS = {
    "keys-like-python": ("''", "'__class__'", "'__dict__'", "'_x'", "model_config", "model_fields", "probe", "self"),
    "merge-key-quoted": ("'<<'",),
    "misspelt": ("expect_staus", "http", "port", "status.intervall", "status.tls.ca_fil"),
    "status-keys-like-python": (
        *("status.'__class__'", "status.'_x'", "status.model_copy", "status.model_fields_set"),
        *("status.over", "status.said"),
    ),
    "tls-keys-like-python": (
        *("status.tls.'__class__'", "status.tls.'_x'", "status.tls.as_tls", "status.tls.model_copy"),
        "status.tls.model_fields_set",
    ),
    "tls-long-option": (f"status.tls.'{'a' * 59}…",),
    "tls-odd-option": (r"status.tls.'\x1b[31m'",),
    "tls-unknown-option": ("status.tls.ca_path",),
    "unknown-keys": ("alpha", "zeta", "status.intervall", "status.kinds"),
    "unknown-keys-many": (*(f"k{number:04}" for number in range(10)), "others"),
}
"""The fields that are warned of."""
