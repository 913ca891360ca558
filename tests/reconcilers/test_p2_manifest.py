"""p2's SHA. The first lines of the manifests in tests/data/p2-sha say what they show, and the source of the SHA.

Some of the SHAs are go-yaml's own: the real library, at p2's version, wrote those manifests once from p2's fields. Its
texts are in `written/`.
"""

import json
import re
import time
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconcilers.p2 import manifest as p2manifest
from reconcilers.p2.manifest import P2ManifestError, canonical, sha, sha_or_empty

DATA = Path(__file__).parents[1] / "data" / "p2-sha"
VECTORS = sorted(DATA.glob("*.yaml"))
ORDINARY = (DATA / "ordinary.yaml").read_bytes()
COST = 0.02
HOSTILE_COST = 0.5
CHANGED = {"booleans", "bytes", "equal-keys", "floats", "key-order"}
"""Go keeps `true` and `"true"`, `1` and `1.0` apart; in the text that it writes they are one key twice. Half a byte is
written as 0, which is dropped the next time; `-0.0` is written as -0, which is the integer 0."""


def refusal(data: bytes) -> str:
    with pytest.raises(P2ManifestError) as caught:
        sha(data)
    return str(caught.value)


def outcome(data: bytes) -> str:
    try:
        return sha(data)
    except P2ManifestError as error:
        return str(error)


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_a_manifest_is_written_as_p2_writes_it_and_has_its_sha(path: Path) -> None:
    data = path.read_bytes()
    stated = re.search(rb"^# SHA: ([0-9a-f]{64})", data, re.MULTILINE)
    assert stated
    assert canonical(data) == (DATA / "written" / path.name).read_bytes()
    assert sha(data) == stated[1].decode()


def test_every_manifest_names_the_source_of_its_answer() -> None:
    assert len(VECTORS) > 30
    assert all(
        re.match(rb"# \S.*\n# From: \S.*\n# SHA: ", path.read_bytes()) for path in VECTORS if path.stem != "crlf"
    )


def test_the_example_of_p2_has_the_sha_that_p2_computes() -> None:
    assert sha((DATA / "p2-own.yaml").read_bytes()) == (
        "f7fdad6e2362c9345a83196701dafb989fa8229b8d671642976cb35b5166c6f0"
    )


LAUNCHABLE = "id: p\nlaunchables: {app: {%s}}"
P2_REFUSES = {
    LAUNCHABLE % "location: x": "launchables.app.launchable_type: missing",
    LAUNCHABLE % "launchable_type: hoist": "launchables.app: expected either a location or a version with its id",
    LAUNCHABLE % "launchable_type: docker": "launchables.app.image: expected a name and a sha256",
    LAUNCHABLE % "launchable_type: x, cgroup: {memory: 4 gigs}": "launchables.app.cgroup.memory: expected a number of "
    "bytes, with an optional unit K, M, G or T",
    LAUNCHABLE % "launchable_type: x, no_halt_on_update: never": "launchables.app.no_halt_on_update: expected true or "
    "false",
    "id: p\nresource_limits: {cgroup: {memory: lots}}": "resource_limits.cgroup.memory: expected a number of bytes, "
    "with an optional unit K, M, G or T",
    "id: p\nmin_health_percentage: fifty": "min_health_percentage: expected a number of 64 bits",
    "id: p\nreadonly: maybe": "readonly: expected true or false",
    "id: p\ntermination_grace_period: 10s": "termination_grace_period: expected a number of 64 bits",
    LAUNCHABLE % "launchable_type: hoist, location: https://x/y": "line 2, column 55: a ':' in 'https://x/y' "
    "within {} or []; expected quotes",
    "%YAML 1.2\n---\nid: p": "line 1, column 1: %YAML 1.2; expected no directive, or %YAML 1.1",
}


@pytest.mark.parametrize(("text", "why"), P2_REFUSES.items())
def test_a_refusal_by_p2_is_explained(text: str, why: str) -> None:
    assert p2manifest.refusal(text.encode()) == why
    assert p2manifest.refusal(SIGNED % text.encode()) == why


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_a_manifest_that_p2_reads_is_not_refused(path: Path) -> None:
    assert p2manifest.refusal(path.read_bytes()) == ""


def test_a_manifest_that_p2_would_not_read_has_no_sha() -> None:
    assert sha_or_empty(b"id: p\nreadonly: maybe") == ""
    assert sha_or_empty(b"id: p") == sha(b"id: p")


SIGNED = b"""-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA256

%s
-----BEGIN PGP SIGNATURE-----

iHUEARYIAB0WIQTH6icdvUBwVBk5Lfm5qu3C
=1GO7
-----END PGP SIGNATURE-----
"""


def test_a_signed_manifest_has_the_sha_of_its_plaintext() -> None:
    assert sha(SIGNED % ORDINARY) == sha(ORDINARY)


def test_the_canonical_text_has_the_same_sha() -> None:
    for path in VECTORS:
        if path.stem not in CHANGED:
            assert canonical(canonical(path.read_bytes())) == canonical(path.read_bytes()), path.stem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping with at least an id"),
        ("[id]", "expected a mapping with at least an id"),
        ("run_as: x", "id: missing; expected the pod's name"),
        ("id: ~", "id: missing; expected the pod's name"),
        ("id: [a]", "id: expected text"),
        ("id: a\nid: b", "line 2, column 1: the key 'id' appears twice"),
        ("id: &a p", None),
        ("id: p\nconfig: &a {}\nx: *a", "line 3, column 4: an alias; aliases and merge keys are not accepted"),
        ("id: p\nconfig: []", "config: expected a mapping"),
        ("id: p\nconfig: {.nan: a}", "config: NaN as a key; p2 puts it in a random place"),
        ('id: p\nstatus_port: "80"', "status_port: expected a number of 64 bits"),
        ("id: p\nstatus_port: yes", "status_port: expected a number of 64 bits"),
        ("id: p\nstatus_port: http", "status_port: expected a number of 64 bits"),
        ("id: p\nstatus_port: 9223372036854775808", "status_port: expected a number of 64 bits"),
        ("id: p\nstatus_port: .nan", "status_port: expected a number of 64 bits"),
        ("id: p\nstatus_port: {}", "status_port: expected a number of 64 bits"),
        ('id: p\nstatus_http: "true"', "status_http: expected true or false"),
        ("id: p\nstatus_http: 1", "status_http: expected true or false"),
        ('id: p\nreadonly: "null"', "readonly: expected true or false"),
        ("id: p\nstatus: x", "status: expected a mapping"),
        ("id: p\nstatus: {path: {}}", "status.path: expected text"),
        ("id: p\nlaunchables: {a: }", "launchables.a.launchable_type: missing"),
        ("id: p\nlaunchables: {a: x}", "launchables.a: expected a mapping"),
        ("id: p\nlaunchables: {a: {launchable_type: x, env: [b]}}", "launchables.a.env: expected a mapping"),
        ("id: p\nlaunchables: {a: {launchable_type: x, env: {b: []}}}", "launchables.a.env.b: expected text"),
        ("id: p\nlaunchables: {a: {launchable_type: x, entrypoint: b}}", "launchables.a.entrypoint: expected a list"),
        (
            "id: p\nlaunchables: {a: {launchable_type: x, entrypoint: [{}]}}",
            "launchables.a.entrypoint.0: expected text",
        ),
        (
            "id: p\nlaunchables: {a: {launchable_type: hoist}}",
            "launchables.a: expected either a location or a version with its id",
        ),
        (
            "id: p\nlaunchables: {a: {launchable_type: opencontainer, location: l, version: {id: v}}}",
            "launchables.a: expected either a location or a version with its id",
        ),
        (
            "id: p\nlaunchables: {a: {launchable_type: docker, image: {name: n}}}",
            "launchables.a.image: expected a name and a sha256",
        ),
        (
            'id: p\nlaunchables: {"a\\n\\n": {launchable_type: ""}}',
            r"launchables.'a\n\n'….launchable_type: missing",
        ),
    ],
)
def test_an_error_names_the_field_or_the_place(text: str, message: str | None) -> None:
    if message is None:
        assert len(sha(text.encode())) == 64
    else:
        assert refusal(text.encode()) == message


@pytest.mark.parametrize(
    "size", ["~", "big", '""', '"null"', "1.2.3", ".", "-1", "-1G", "0x10", "1e3", "1_000", "99999999T", "1 P"]
)
def test_a_size_that_p2_cannot_read_or_go_cannot_hold_is_refused(size: str) -> None:
    text = f"id: p\nresource_limits: {{cgroup: {{memory: {size}}}}}"
    assert refusal(text.encode()) == (
        "resource_limits.cgroup.memory: expected a number of bytes, with an optional unit K, M, G or T"
    )


def test_an_error_has_its_field_as_an_attribute() -> None:
    with pytest.raises(P2ManifestError) as caught:
        sha(b"id: p\nstatus: {port: x}")
    assert (caught.value.field, caught.value.problem) == ("status.port", "expected a number of 64 bits")


def test_a_signed_message_that_is_not_well_formed_is_refused() -> None:
    assert refusal((SIGNED % b"id: p").replace(b"Hash", b"Comment")).startswith("a header other than Hash")


NAMES = st.text("abc019-_", min_size=1, max_size=4)
SCALARS = st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(exclude_categories=["C"]), max_size=10)
CONFIGS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
LAUNCHABLES = st.fixed_dictionaries(
    {"launchable_type": st.just("hoist"), "location": st.sampled_from(["a", "b c", "#"])},
    optional={
        "env": st.dictionaries(NAMES, st.text("ab: ", max_size=3), max_size=3),
        "cgroup": st.fixed_dictionaries({"memory": st.sampled_from(["1G", 1024])}),
        "entry_points": st.lists(NAMES, max_size=2),
    },
)
MANIFESTS = st.fixed_dictionaries(
    {"id": st.sampled_from(["p", "1", "true"])},
    optional={
        "config": st.dictionaries(NAMES, CONFIGS, max_size=4),
        "launchables": st.dictionaries(st.sampled_from(["app", "app2", "app10"]), LAUNCHABLES),
        "status": st.fixed_dictionaries({"port": st.integers(0, 65535)}, optional={"http": st.booleans()}),
        "status_port": st.integers(0, 65535),
        "node_requirements": st.dictionaries(NAMES, NAMES),
        "readonly": st.booleans(),
    },
)


def shuffled(value: Any, chance: Random) -> Any:
    match value:
        case dict():
            return {name: shuffled(value[name], chance) for name in chance.sample(list(value), len(value))}
        case list():
            return [shuffled(item, chance) for item in value]
        case _:
            return value


def as_json(manifest: dict[str, Any], *, indent: int | None = None) -> bytes:
    return json.dumps(manifest, ensure_ascii=False, indent=indent).encode()


@given(MANIFESTS, st.randoms(use_true_random=False))
def test_the_sha_ignores_comments_order_unknown_keys_and_style(manifest: dict[str, Any], chance: Random) -> None:
    unknown = {"unknown": {"a": [1, None]}, "Id": "other", "run_as": None, "status_http": False}
    other = as_json(shuffled(manifest | unknown, chance), indent=2).replace(b"\n", b" # a comment\n")
    assert sha(other) == sha(as_json(manifest))


@given(MANIFESTS)
def test_the_sha_is_that_of_the_text_and_the_text_is_yaml_of_the_same_manifest(manifest: dict[str, Any]) -> None:
    text = canonical(as_json(manifest))
    assert sha(as_json(manifest)) == sha256(text).hexdigest()
    assert yaml.load(text, Loader=yaml.CBaseLoader)["id"] == manifest["id"]


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_arbitrary_bytes_raise_only_manifest_errors(data: bytes) -> None:
    for given_bytes in (data, b"id: p\nconfig:\n " + data.replace(b"\n", b"\n "), SIGNED % data):
        assert len(outcome(given_bytes)) < 300


HOSTILE = {
    "digits": "9" * 65_000,
    "digits and a letter": "9" * 65_000 + "x",
    "hexadecimal digits": "0x" + "f" * 65_000,
    "a fraction": "0." + "9" * 65_000 + "x",
    "an exponent": "1e" + "9" * 65_000,
    "underscores": "1" + "_" * 65_000 + "x",
    "sixties": '"' + "1:1" * 21_000 + '"',
    "colons": '"1' + ":11" * 21_000 + 'x"',
    "words": '"' + "a " * 32_000 + '"',
    "escapes": '"' + "\\t " * 21_000 + '"',
    "blanks of a size": '"1' + " " * 65_000 + 'x"',
    "lines": '"' + "\\n" * 32_000 + '"',
    "separators": '"' + "\\L" * 32_000 + '"',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_scalar_is_read_fast_in_any_field(text: str) -> None:
    for place in (
        "config: {a: %s}",
        "config: {? %s : a}",
        "status_port: %s",
        "resource_limits: {cgroup: {memory: %s}}",
    ):
        began = time.process_time()
        outcome(b"id: p\n" + (place % text).encode())
        assert time.process_time() - began < HOSTILE_COST


@pytest.mark.parametrize(
    "line",
    ["  1111111111{}: x", "  k{}: v", "  .{}: a", "  {}: .{}", "  a{}: [0.5,.25]", "  a{}: 335544{}8.0"],
)
def test_a_manifest_full_of_keys_and_numbers_is_read_fast(line: str) -> None:
    lines = "\n".join(line.format(number, number) for number in range(65_000 // (len(line) + 6)))
    began = time.process_time()
    assert len(sha(b"id: p\nconfig:\n" + lines.encode())) == 64
    assert time.process_time() - began < HOSTILE_COST


def test_an_ordinary_manifest_is_read_fast() -> None:
    costs = []
    for _ in range(20):
        began = time.process_time()
        sha(ORDINARY)
        costs.append(time.process_time() - began)
    assert min(costs) < COST
