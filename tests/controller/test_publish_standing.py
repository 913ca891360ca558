"""What a check at the agent says, in words and status."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.consul.client import AgentCheck, AgentService
from controller.consul.ownership import is_ours
from controller.publish.agent_service import Standing, agent_service, parse_service_id, service_id
from controller.publish.services import ManifestServices, Service, ServiceNaming
from reconcilers.escaping import safe_lines
from reconcilers.health import HealthState, Reason
from reconcilers.record import MAX_OUTPUT, HealthRecord
from reconcilers.spec import CheckSpec, HttpGet, Manifest, PodKey

KEY = PodKey("web1", "isup")
SERVICE = agent_service(KEY, Service("isup", 80, ("blue",), {"tier": "front"}))


def said(record: HealthRecord, before: Standing | None = None) -> Standing:
    return Standing.wanted(record, SERVICE, before, "one")


def test_a_service_is_marked_as_ours() -> None:
    meta = {"tier": "front", "external-source": "podpulse"}
    assert agent_service(KEY, Service("isup", 80, ("blue",), {"tier": "front"})) == AgentService(
        "podpulse:web1:isup", "isup", 80, ("blue",), meta
    )
    assert is_ours(SERVICE)
    assert not is_ours(AgentService("podpulse:web1:isup", "isup"))
    assert is_ours(agent_service(KEY, Service("isup", meta={"external-source": "other"}))), "nobody can take it away"


def test_an_id_names_one_pod_and_back() -> None:
    key = PodKey("a-b.c", "d_e.f")
    assert parse_service_id(service_id(key)) == key


@pytest.mark.parametrize(
    "text",
    ["isup", "podpulse:web1", "podpulse:web1:isup:x", "podpulse:web1:", "podpulse:..:x", "web1:isup", "x:web1:isup"],
)
def test_other_ids_name_none(text: str) -> None:
    assert parse_service_id(text) is None


@pytest.mark.parametrize(
    ("before", "status"),
    [("passing", "warning"), ("warning", "warning"), ("critical", "critical"), (None, "critical")],
)
def test_unknown_is_what_dns_did_before(before: str | None, status: str) -> None:
    record = HealthRecord(KEY, HealthState.UNKNOWN, Reason.LOCAL)
    stood = Standing.found(KEY, SERVICE, AgentCheck("x", "x", status=before), "") if before else None
    assert said(record, stood).status == status


def test_an_excerpt_that_went_is_news_for_the_catalog() -> None:
    """Consul keeps a change of the output alone from it for minutes."""
    with_excerpt = said(HealthRecord(KEY, HealthState.PASSING, detail="", output="secret"))
    without, another = (
        said(HealthRecord(KEY, HealthState.PASSING)),
        said(HealthRecord(KEY, HealthState.PASSING, output="b")),
    )
    assert without.hides_news_after(with_excerpt, "one")
    assert not another.hides_news_after(with_excerpt, "one")
    assert not with_excerpt.hides_news_after(without, "one")


def test_the_output_is_state_reason_sentence_and_excerpt() -> None:
    record = HealthRecord(KEY, HealthState.CRITICAL, Reason.STATUS, "answered 500", "a\r\nb\tc\x1b[31m\u202e\xa0d")
    assert said(record).output == "critical (status): answered 500\na\nb\tc\\x1b[31m\\u202e\xa0d"


def test_a_sentence_that_is_also_the_excerpt_is_said_once() -> None:
    assert said(HealthRecord(KEY, HealthState.CRITICAL, Reason.DNS, "no such host", "no such host")).output == (
        "critical (dns): no such host"
    )


@given(st.text(st.characters(), max_size=5000), st.text(st.characters(), max_size=5000))
def test_an_output_fits_and_holds_nothing_that_acts(detail: str, output: str) -> None:
    text = said(HealthRecord(KEY, HealthState.CRITICAL, Reason.STATUS, detail, output)).output
    assert len(text.encode()) <= MAX_OUTPUT
    assert safe_lines(text) == text
    assert text.startswith("critical (status)")


def test_a_long_output_is_cut_between_characters() -> None:
    text = said(HealthRecord(KEY, HealthState.PASSING, output="ä" * 4000)).output
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
def test_consul_hides_news_that_leave_the_status_as_it_is(
    before: HealthRecord | None, after: HealthRecord, hidden: bool
) -> None:
    stood = said(before) if before else None
    assert said(after, stood).hides_news_after(stood, "one") is hidden


def test_consul_hides_another_status_of_what_was_registered_with_another_token() -> None:
    stood = said(PASSING)
    assert said(CRITICAL, stood).hides_news_after(stood, "another")
    assert not said(PASSING, stood).hides_news_after(stood, "another"), "there is no news"


def test_after_a_refusal_it_is_not_known_with_which_token_it_is_registered() -> None:
    stood = said(PASSING).refused()
    assert not stood.settled
    assert said(CRITICAL, stood).token == "one"
    assert Standing.wanted(CRITICAL, SERVICE, stood, stood.token).hides_news_after(stood, "one")


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
    assert services.describe(KEY) == Service(
        "pod-isup", 8000, ("blue",), {"pp-dc": "north", "pp-node": "web1", "pp-pod": "isup"}, "10.0.0.1"
    )
    assert services.describe(PodKey("web1", "silent")) is None
    assert services.describe(PodKey("web1", "gone")) is None
