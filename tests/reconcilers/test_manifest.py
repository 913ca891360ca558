"""Manifests: every file of `tests/data/manifests/` is read or refused as the tables here say."""

import json
import string
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.manifest import ManifestError, parse, pod_id
from reconcilers.spec import CheckDefaults, CheckSpec, Manifest, PodKey
from tests.reconcilers.test_yamltext import ARBITRARY, COST, HOSTILE

FOLDER = Path(__file__).parent.parent / "data" / "manifests"
FILES = sorted(FOLDER.iterdir())
KEY = PodKey("web1", "isup")

ALIAS = ("", "an alias; aliases and merge keys are not accepted")
MERGE = ("", "a merge key; aliases and merge keys are not accepted")
DEEP = ("", "nested deeper than 20")
TAG = ("", "tags are not accepted")
UTF_8 = ("", "is not UTF-8")
CONTROL = ("", "control characters are not allowed")
NO_MAPPING = ("", "expected a mapping with at least an id")
PORT = ("status_port", "expected a port from 1 to 65535 as a plain decimal number")
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
    "duplicate-id": ("", "line 3, column 1: the key 'id' for the second time"),
    "duplicate-in-config": ("", "the key 'a' for the second time"),
    "duplicate-in-status": ("", "line 5, column 3: the key 'port' for the second time"),
    "duplicate-port-quoted": ("", "the key 'status_port' for the second time"),
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
    "port-exponent": PORT,
    "port-float": PORT,
    "port-hexadecimal": PORT,
    "port-huge": PORT,
    "port-list": PORT,
    "port-negative": PORT,
    "port-octal": PORT,
    "port-other-digits": PORT,
    "port-plus": PORT,
    "port-quoted": PORT,
    "port-sexagesimal": PORT,
    "port-text": PORT,
    "port-too-big": PORT,
    "port-true": PORT,
    "port-underscores": PORT,
    "scalar": NO_MAPPING,
    "second-document-empty": ("", "line 2, column 1: a second document; expected one"),
    "status-empty-text": ("status", "expected a mapping, got ''"),
    "status-http-word": ("status.http", BOOLEAN + "'https'"),
    "status-list": ("status", "expected a mapping, got ["),
    "status-port-octal": STATUS_PORT,
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
    "p2-page": PLAIN,
    "path-at": "https://web1:8000/@evil.example.com",
    "path-backslash": "https://web1:8000/a%5C..%5Cb",
    "path-colon": "https://web1:8000/:80/a:b",
    "path-dot-dot": "https://web1:8000/b/c",
    "path-double-slashes": "https://web1:8000/evil.example.com/x",
    "path-empty": PLAIN,
    "path-hash": "https://web1:8000/_status%23top",
    "path-longest": "https://web1:8000/" + "a" * 2_047,
    "path-null": PLAIN,
    "path-number": "https://web1:8000/010",
    "path-percent": "https://web1:8000/a%252fb",
    "path-question-mark": "https://web1:8000/_status%3Ffull=1",
    "path-quote": "https://web1:8000/%22%3C%3E%7B%7D%7C%5E%60",
    "path-relative": "https://web1:8000/healthz",
    "path-root": "https://web1:8000/",
    "path-spaces": "https://web1:8000/is%20it%20up",
    "path-umlaut": "https://web1:8000/zust%C3%A4nde",
    "port-highest": "https://web1:65535/_status",
    "port-none": NO_CHECK,
    "port-null": NO_CHECK,
    "port-zero": NO_CHECK,
    "status-empty": PLAIN,
    "status-http-on": "http://web1:8000/_status",
    "status-null": PLAIN,
    "status-of-nulls": PLAIN,
    "status-port": "https://web1:8001/_status",
    "status-port-after-zero": "https://web1:8001/_status",
    "status-port-second": PLAIN,
    "unknown-keys": PLAIN,
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
    "keys-like-python": ("", "__class__", "__dict__", "_x", "model_config", "model_fields", "probe", "self"),
    "merge-key-quoted": ("<<",),
    "unknown-keys": ("alpha", "zeta", "status.interval", "status.kind"),
}


def test_every_file_has_its_expectation_and_every_expectation_its_file() -> None:
    expected = {f"invalid-{reason}.yaml" for reason in INVALID} | {f"valid-{what}.yaml" for what in VALID}
    assert {path.name for path in FILES} == expected
    assert PODS.keys() | UNKNOWN_FIELDS.keys() <= VALID.keys()


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name.startswith("invalid-")], ids=lambda path: path.stem
)
def test_an_invalid_manifest_is_refused_with_its_field_and_what_was_expected(path: Path) -> None:
    field, fragment = INVALID[path.stem.removeprefix("invalid-")]
    with pytest.raises(ManifestError) as caught:
        parse(KEY, path.read_bytes(), CheckDefaults())
    assert caught.value.field == field
    assert fragment in caught.value.problem
    assert str(caught.value) == (f"{field}: {caught.value.problem}" if field else caught.value.problem)
    assert len(str(caught.value)) < 250
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("path", [path for path in FILES if path.name.startswith("valid-")], ids=lambda path: path.stem)
def test_a_valid_manifest_asks_for_its_check(path: Path) -> None:
    name = path.stem.removeprefix("valid-")
    key = PodKey("web1", PODS.get(name, "isup"))
    manifest = parse(key, path.read_bytes(), CheckDefaults())
    assert manifest.key == key
    assert (manifest.check.probe.url if manifest.check else NO_CHECK) == VALID[name]
    assert manifest.unknown_fields == UNKNOWN_FIELDS.get(name, ())
    assert pod_id(path.read_bytes()) == key.pod


def test_what_the_manifest_is_silent_about_comes_from_the_defaults() -> None:
    defaults = CheckDefaults(interval=7.0, timeout=3.0, failure_threshold=4, success_threshold=2)
    check = parse(KEY, b"id: isup\nstatus_port: 8000", defaults).check
    assert check is not None
    assert check == CheckSpec(KEY, check.probe, 7.0, 3.0, 4, 2, address=None)


def test_a_timeout_is_never_longer_than_the_interval() -> None:
    check = parse(KEY, b"id: isup\nstatus_port: 8000", CheckDefaults(interval=2.0, timeout=5.0)).check
    assert check is not None
    assert check.timeout == 2.0


def test_the_id_of_a_manifest_without_key_is_a_name_or_an_error() -> None:
    assert pod_id(b"id: anything\nstatus_port: 8000") == "anything"
    with pytest.raises(ManifestError, match="expected a name"):
        pod_id(b"id: ../../agent/leave")
    with pytest.raises(ManifestError, match="expected a port"):
        pod_id(b"id: isup\nstatus_port: 010")


def test_checks_of_equal_manifests_are_equal_whatever_the_bytes_look_like() -> None:
    one = parse(KEY, b"id: isup\nstatus_port: 8000\nconfig: {a: 1}", CheckDefaults())
    other = parse(KEY, b'{"status": {"port": 8000}, "id": "isup"}  # moved', CheckDefaults())
    assert one == other


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_manifest_costs_little_and_raises_nothing_else(data: bytes) -> None:
    began = time.process_time()
    with pytest.raises(ManifestError) as caught:
        parse(KEY, data, CheckDefaults())
    assert len(str(caught.value)) < 250
    assert time.process_time() - began < COST


def attempt(data: bytes) -> Manifest | None:
    """The manifest; None when it was refused."""
    try:
        return parse(KEY, data, CheckDefaults())
    except ManifestError:
        return None


KEYS = st.sampled_from(
    ["id", "status", "status_port", "status_http", "port", "http", "path", "localhost_only", "config"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 70_000)
    | st.sampled_from(["isup", "no", "", "/a"])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)


@given(ARBITRARY, st.sampled_from([b"", b"id: isup\nstatus_port: 80\n", b"id: isup\nstatus:\n  path: "]))
def test_arbitrary_input_raises_nothing_else(data: bytes, before: bytes) -> None:
    attempt(before + data)


@given(st.dictionaries(KEYS | st.text(max_size=3), VALUES, max_size=6))
def test_arbitrary_fields_raise_nothing_else(fields: dict[str, object]) -> None:
    attempt(json.dumps({"id": "isup"} | fields, ensure_ascii=False).encode("utf-8", "replace"))


@given(st.integers(-100, 100_000))
def test_a_port_is_from_1_to_65535(port: int) -> None:
    manifest = attempt(f"id: isup\nstatus_port: {port}".encode())
    if 1 <= port <= 65_535:
        assert manifest
        assert manifest.check
        assert manifest.check.probe.port == port
    else:
        assert not (manifest and manifest.check)


ODD_PATHS = st.text(st.sampled_from("/.?#@:%\\[] aü&=;\u2028\ufeff\r\n\t"), max_size=20) | st.text(max_size=20)


@given(ODD_PATHS)
def test_no_path_steers_the_request_elsewhere(path: str) -> None:
    fields = {"id": "isup", "status_port": 8000, "status": {"path": path}}
    manifest = attempt(json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace"))
    if not (manifest and manifest.check):
        return
    url = manifest.check.probe.url
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("https", "web1:8000", "", "")
    assert set(url) <= set(string.ascii_letters + string.digits + "-._~%/:@!$&'()*+,;=")
    assert not {"", ".."} & set(unquote(parts.path).split("/")[1:-1])
    assert not unquote(parts.path).endswith(("/..", "/."))
