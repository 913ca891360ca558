"""The service of a pod at the agent, and the status and output of its check."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.consul.client import AgentCheck, AgentService
from controller.consul.ownership import is_ours
from controller.publish.agent_service import ServiceState, parse_service_id, service_id
from controller.publish.services import ManifestServices, ServiceNaming
from reconcilers.escaping import safe_lines
from reconcilers.health import HealthState, Reason
from reconcilers.record import MAX_OUTPUT, HealthRecord
from reconcilers.spec import CheckSpec, HttpGet, Manifest, PodKey

KEY = PodKey("web1", "isup")
SERVICE = AgentService("podpulse:web1:isup", "isup", 80, ("blue",), {"external-source": "podpulse"})


def desired(record: HealthRecord, before: ServiceState | None = None) -> ServiceState:
    return ServiceState.desired(record, SERVICE, before, "one")


def test_an_id_names_one_pod_and_back() -> None:
    key = PodKey("a-b.c", "d_e.f")
    assert parse_service_id(service_id(key)) == key


@pytest.mark.parametrize(
    "text",
    ["isup", "podpulse:web1", "podpulse:web1:isup:x", "podpulse:web1:", "podpulse:..:x", "web1:isup", "x:web1:isup"],
)
def test_other_ids_name_no_pod(text: str) -> None:
    assert parse_service_id(text) is None


@pytest.mark.parametrize(
    ("before", "status"),
    [("passing", "warning"), ("warning", "warning"), ("critical", "critical"), (None, "critical")],
)
def test_unknown_keeps_the_answer_of_dns(before: str | None, status: str) -> None:
    record = HealthRecord(KEY, HealthState.UNKNOWN, Reason.LOCAL)
    before_state = ServiceState.from_agent(KEY, SERVICE, AgentCheck("x", "x", status=before), "") if before else None
    assert desired(record, before_state).status == status


def test_a_removed_excerpt_needs_a_registration() -> None:
    """Consul delays a change of the output alone for minutes."""
    with_excerpt = desired(HealthRecord(KEY, HealthState.PASSING, detail="", output="secret"))
    without, another = (
        desired(HealthRecord(KEY, HealthState.PASSING)),
        desired(HealthRecord(KEY, HealthState.PASSING, output="b")),
    )
    assert without.needs_registration_after(with_excerpt, "one")
    assert not another.needs_registration_after(with_excerpt, "one")
    assert not with_excerpt.needs_registration_after(without, "one")


def test_the_output_is_state_reason_sentence_and_excerpt() -> None:
    record = HealthRecord(KEY, HealthState.CRITICAL, Reason.STATUS, "answered 500", "a\r\nb\tc\x1b[31m\u202e\xa0d")
    assert desired(record).output == "critical (status): answered 500\na\nb\tc\\x1b[31m\\u202e\xa0d"


def test_a_sentence_that_equals_the_excerpt_is_written_once() -> None:
    assert desired(HealthRecord(KEY, HealthState.CRITICAL, Reason.DNS, "no such host", "no such host")).output == (
        "critical (dns): no such host"
    )


@given(st.text(st.characters(), max_size=5000), st.text(st.characters(), max_size=5000))
def test_an_output_fits_and_has_no_control_characters(detail: str, output: str) -> None:
    text = desired(HealthRecord(KEY, HealthState.CRITICAL, Reason.STATUS, detail, output)).output
    assert len(text.encode()) <= MAX_OUTPUT
    assert safe_lines(text) == text
    assert text.startswith("critical (status)")


def test_a_long_output_is_cut_between_characters() -> None:
    text = desired(HealthRecord(KEY, HealthState.PASSING, output="ä" * 4000)).output
    assert MAX_OUTPUT - 2 < len(text.encode()) <= MAX_OUTPUT


PASSING = HealthRecord(KEY, HealthState.PASSING, output="one")
CRITICAL = HealthRecord(KEY, HealthState.CRITICAL, Reason.STATUS, "answered 500")


@pytest.mark.parametrize(
    ("before", "after", "hidden"),
    [
        (None, PASSING, False),
        (None, CRITICAL, True),
        (PASSING, CRITICAL, False),
        (PASSING, HealthRecord(KEY, HealthState.PASSING, output="two"), False),
        (CRITICAL, HealthRecord(KEY, HealthState.CRITICAL, Reason.STATUS, "answered 503"), False),
        (CRITICAL, HealthRecord(KEY, HealthState.CRITICAL, Reason.REFUSED, "refused"), True),
        (CRITICAL, HealthRecord(KEY, HealthState.UNKNOWN, Reason.LOCAL), True),
    ],
)
def test_a_changed_reason_with_the_same_status_needs_a_registration(
    before: HealthRecord | None, after: HealthRecord, hidden: bool
) -> None:
    before_state = desired(before) if before else None
    assert desired(after, before_state).needs_registration_after(before_state, "one") is hidden


def test_a_changed_status_needs_a_registration_after_a_change_of_the_token() -> None:
    before_state = desired(PASSING)
    assert desired(CRITICAL, before_state).needs_registration_after(before_state, "another")
    assert not desired(PASSING, before_state).needs_registration_after(before_state, "another"), "nothing has changed"


def test_after_a_refusal_the_token_of_the_registration_is_unknown() -> None:
    before_state = desired(PASSING).after_refusal()
    assert not before_state.settled
    assert desired(CRITICAL, before_state).token == "one"
    assert ServiceState.desired(CRITICAL, SERVICE, before_state, before_state.token).needs_registration_after(
        before_state, "one"
    )


class Manifests:
    def manifest(self, key: PodKey) -> Manifest | None:
        match key.pod:
            case "isup":
                return Manifest(key, CheckSpec(key, HttpGet("web1", 8000, "/_status"), 5.0, 5.0))
            case "silent":
                return Manifest(key, None)
            case _:
                return None


def test_a_pods_service_comes_from_manifest_and_configuration() -> None:
    naming = ServiceNaming("pod-", "pp-", ("blue",), {"dc": "north"}, "10.0.0.1")
    services = ManifestServices(Manifests(), naming)
    meta = {"pp-dc": "north", "pp-node": "web1", "pp-pod": "isup", "external-source": "podpulse"}
    described = services.describe(KEY)
    assert described == AgentService("podpulse:web1:isup", "pod-isup", 8000, ("blue",), meta, "10.0.0.1")
    assert is_ours(described)
    assert services.describe(PodKey("web1", "silent")) is None
    assert services.describe(PodKey("web1", "gone")) is None


def test_only_a_service_with_our_mark_is_ours_and_the_configuration_cannot_remove_the_mark() -> None:
    assert not is_ours(AgentService("podpulse:web1:isup", "isup"))
    naming = ServiceNaming(meta_prefix="", meta={"external-source": "other"})
    described = ManifestServices(Manifests(), naming).describe(KEY)
    assert described
    assert is_ours(described)
