"""Labels: which labels of a manifest are used, the messages for the others, and which pods a selection has."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconcilers import labels
from reconcilers.labels import MAX_LABELS, MAX_WARNINGS, NAME, VALUE, is_name, matches, read, selector, texts
from reconcilers.manifest import labels_of, parse, warnings
from reconcilers.options import Rules
from reconcilers.spec import FieldWarning, PodKey

ISUP = PodKey("web1", "isup")
DECLARED = Rules(labels=("team", "tier"))
WRONG_VALUE = f"expected {labels.A_VALUE}; ignored, got "
UNDECLARED = "a label that the controller's option labels does not declare, ignored"
TOO_MANY = f"expected at most {MAX_LABELS} names that the option labels may declare; ignored"


def manifest(text: str) -> bytes:
    return f"id: isup\nstatus_port: 8000\nstatus:\n  labels: {text}\n".encode()


def said(found: tuple[FieldWarning, ...]) -> dict[str, str]:
    return {warning.field: warning.problem for warning in found}


def test_declared_labels_have_the_order_of_the_declaration() -> None:
    parsed = parse(ISUP, manifest("{tier: web, team: shop}"), DECLARED)
    assert (parsed.labels, parsed.warnings) == ((("team", "shop"), ("tier", "web")), ())


def test_labels_are_not_part_of_the_check() -> None:
    one, other = (parse(ISUP, manifest(text), DECLARED) for text in ("{team: shop}", "{team: search}"))
    assert one.check == other.check
    assert one != other


def test_a_paused_pod_has_labels_too() -> None:
    parsed = parse(ISUP, b"id: isup\nstatus: {paused: true, labels: {team: shop}}\n", DECLARED)
    assert (parsed.check, parsed.labels) == (None, (("team", "shop"),))


@pytest.mark.parametrize(
    ("text", "found", "problems"),
    [
        ("~", (), {}),
        ("{}", (), {}),
        ("{team: ~, tier: web}", (("tier", "web"),), {}),
        ("{team: 7}", (("team", "7"),), {}),
        ("{team: true}", (("team", "true"),), {}),
        ("[team]", (), {"status.labels": "expected a mapping of names to values, ignored"}),
        ("shop", (), {"status.labels": "expected a mapping of names to values, ignored"}),
        ("{owner: shop, tier: web}", (("tier", "web"),), {"status.labels.owner": UNDECLARED}),
        ('{"te\\nam": shop}', (), {r"status.labels.'te\nam'": UNDECLARED}),
        ('{team: ""}', (), {"status.labels.team": f"{WRONG_VALUE}''"}),
        ("{team: a b}", (), {"status.labels.team": f"{WRONG_VALUE}'a b'"}),
        ('{team: "a\\0b"}', (), {"status.labels.team": rf"{WRONG_VALUE}'a\x00b'"}),
        ('{team: "a\\r\\nb: c"}', (), {"status.labels.team": rf"{WRONG_VALUE}'a\r\nb: c'"}),
        ("{team: züri}", (), {"status.labels.team": f"{WRONG_VALUE}'züri'"}),
        ("{team: -shop}", (), {"status.labels.team": f"{WRONG_VALUE}'-shop'"}),
        ("{team: [a, b]}", (), {"status.labels.team": f"{WRONG_VALUE}\"['a', 'b']\""}),
        (f"{{team: {'a' * 63}}}", (("team", "a" * 63),), {}),
        (f"{{team: {'a' * 64}}}", (), {"status.labels.team": f"{WRONG_VALUE}'{'a' * 40}…'"}),
    ],
)
def test_what_cannot_be_used_is_a_warning_and_never_an_error(
    text: str, found: tuple[tuple[str, str], ...], problems: dict[str, str]
) -> None:
    parsed = parse(ISUP, manifest(text), DECLARED)
    assert parsed.check is not None
    assert (parsed.labels, said(parsed.warnings)) == (found, problems)


def test_without_a_declaration_every_label_is_ignored() -> None:
    parsed = parse(ISUP, manifest("{team: shop}"), Rules())
    assert (parsed.labels, said(parsed.warnings)) == ((), {"status.labels.team": UNDECLARED})


def test_many_unknown_labels_are_counted() -> None:
    many = ", ".join(f"l{number:03}: x" for number in range(300))
    found = parse(ISUP, manifest(f"{{{many}}}"), DECLARED).warnings
    assert len(found) == MAX_WARNINGS + 1
    assert (found[-1].field, found[-1].problem) == ("status.labels", "290 more labels, ignored")
    assert sum(warning.count for warning in found) == 300


def test_a_tool_accepts_every_name_that_can_be_declared() -> None:
    assert labels_of(manifest("{tier: web, pod: x, team: shop}")) == (("team", "shop"), ("tier", "web"))
    assert said(warnings(manifest("{tier: web, pod: x}"))) == {"status.labels.pod": TOO_MANY}
    assert said(warnings(manifest("{tier: web}"), ("team",))) == {"status.labels.tier": UNDECLARED}
    many = ", ".join(f"l{number:02}: x" for number in range(12))
    assert len(labels_of(manifest(f"{{{many}}}"))) == MAX_LABELS
    assert said(warnings(manifest(f"{{{many}}}"))) == {"status.labels.l10": TOO_MANY, "status.labels.l11": TOO_MANY}


@pytest.mark.parametrize("document", [b"", b"id: isup\n", b"id: isup\nstatus: text\n", b"[", b"\xff", b"- a\n"])
def test_a_manifest_that_cannot_be_read_has_no_labels(document: bytes) -> None:
    assert labels_of(document) == ()


@pytest.mark.parametrize("name", ["team", "_team", "T1", "a" * 63])
def test_a_name_of_prometheus_can_be_declared(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "1a", "__team", "te-am", "te am", "téam", "a\n", "node", "pod", "job", "a" * 64])
def test_another_name_cannot_be_declared(name: str) -> None:
    assert not is_name(name)


@pytest.mark.parametrize(
    ("conditions", "selected"),
    [
        ([], True),
        (["team=shop"], True),
        (["team=shop", "tier=web"], True),
        (["team=search"], False),
        (["team=shop", "tier=db"], False),
        (["team=search", "team=shop"], True),
        (["owner=x"], False),
        (["owner="], True),
        (["team="], False),
        (["team=", "team=shop"], True),
    ],
)
def test_a_pod_is_selected_by_a_value_of_each_name(conditions: list[str], *, selected: bool) -> None:
    assert matches((("team", "shop"), ("tier", "web")), selector(conditions)) is selected


@pytest.mark.parametrize(
    "text", ["team", "=shop", "", "te am=x", "team=a b", "team=a=b", "team=\n", f"team={'a' * 64}"]
)
def test_a_condition_has_a_name_and_a_value(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected NAME=VALUE, or NAME= for pods without this label, got '"):
        selector([text])


@given(st.dictionaries(st.text(max_size=5) | st.from_regex(NAME, fullmatch=True), st.text(max_size=5) | st.none()))
def test_every_label_is_found_by_its_text_or_named_by_a_warning(given_labels: dict[str, Any]) -> None:
    found, problems = read(given_labels, None)
    assert len(found) <= MAX_LABELS
    assert all(NAME.fullmatch(name) and VALUE.fullmatch(value) for name, value in found)
    assert matches(found, selector(texts(found)))
    missing = [name for name, value in given_labels.items() if value is not None and name not in dict(found)]
    assert sum(problem.count for problem in problems) == len(missing)
