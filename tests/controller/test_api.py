"""The API over real connections. Every answer must match the description that the API has of itself."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from reconcilers.escaping import safe_json
from reconcilers.health import CheckHealth, HealthState
from reconcilers.p2.manifest import sha
from reconcilers.record import HealthRecord
from reconcilers.spec import CheckSpec, PodKey, Unprobed
from tests.support.site import HOSTILE, NODE, NOW, Site

GOOD = b"id: good\nstatus_port: 80\n"
BAD = b"id: good\nstatus_port: 80000\n"
ROOT = "/api/v1"


class Client:
    """Sends requests, and checks every answer against the description."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.description = json.loads(site.get(f"{ROOT}/openapi.json")[1])

    def get(self, path: str, route: str = "", status: int = 200) -> Any:
        response, text = self._site.get(ROOT + path)
        body = json.loads(text)
        assert response.status == status, body
        said = self.description["paths"][route or path.partition("?")[0]]["get"]["responses"][str(status)]["content"]
        [(media_type, content)] = said.items()
        assert response.headers["Content-Type"] == media_type
        schema = {**content["schema"], "components": self.description["components"]}
        OAS31Validator(schema, format_checker=OAS31Validator.FORMAT_CHECKER).validate(body)
        return body


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture
def client(site: Site) -> Client:
    return Client(site)


def test_the_description_is_valid(client: Client) -> None:
    OpenAPIV31SpecValidator(client.description).validate()
    assert client.description["openapi"] == "3.1.0"


def test_the_options_that_matter_to_a_probe_are_told(site: Site, client: Client) -> None:
    site.options = {"defaults.timeout": "3s"}
    assert client.get("/probe-options") == {"options": {"defaults.timeout": "3s"}}


def test_the_description_names_every_route_and_parameter(client: Client) -> None:
    assert set(client.description["paths"]) == {
        "/pods",
        "/pods/{node}/{pod}",
        "/badges/{node}/{pod}.svg",
        "/checks",
        "/manifest-errors",
        "/manifest-warnings",
        "/status",
        "/probe-options",
        "/fleet",
        "/fleet/pods",
        "/events",
        "/openapi.json",
    }
    parameters = client.description["paths"]["/pods"]["get"]["parameters"]
    assert {each["name"] for each in parameters} == {"state", "q", "label", "noted", "sort", "page", "per_page"}


def test_pods_are_listed_as_on_the_page(site: Site, client: Client) -> None:
    site.follow("a", "b", "c", failure_threshold=2)
    site.passes("a", "b", output="fine")
    site.fails("b")
    site.fails("c")
    site.fails("c", output="db is down")
    seen = client.get("/pods?per_page=2")
    assert [pod["pod"] for pod in seen["pods"]] == ["c", "a"]
    assert (seen["matching"], seen["page"], seen["pages"], seen["per_page"]) == (3, 1, 2, 2)
    assert seen["totals"] == {"critical": 1, "unknown": 0, "warning": 0, "passing": 2, "paused": 0, "unchecked": 0}
    assert seen["pods"][0] == {
        "node": NODE,
        "pod": "c",
        "state": "critical",
        "since": "2026-09-21T14:13:15Z",
        "last_probe": "2026-09-21T14:13:15Z",
        "last_duration": 0.25,
        "reason": "status",
        "detail": "answered 503",
        "excerpt": "db is down",
        "labels": {},
        "note": "its manifest is gone, and the check continues until the removal is confirmed",
        "evidence": "",
    }
    assert client.get("/pods?state=passing&q=b&sort=-pod")["pods"][0]["evidence"] == "1 of 2 misses"


def test_pods_with_a_note_can_be_listed_alone(site: Site, client: Client) -> None:
    site.schedule(1, good=GOOD, kept=b"id: kept\n", cron=b"id: cron\n", wrong=BAD)
    site.held[PodKey(NODE, "kept")] = "2 of 2 pods gone at once"
    listed = {pod["pod"]: pod["note"] for pod in client.get("/pods?noted=true", "/pods")["pods"]}
    assert listed.pop("wrong").startswith("its manifest is invalid: status_port: ")
    assert listed == {"kept": "its manifest is gone, and its removal is held: 2 of 2 pods gone at once"}


def test_one_pod_is_described_in_full(site: Site, client: Client) -> None:
    key = PodKey(NODE, "good")
    site.schedule(1, good=GOOD)
    site.schedule(2, good=BAD)
    site.follow("good")
    site.passes("good")
    site.boottime.advance(3_600)
    site.fails("good")
    site.boottime.advance(1_200)
    site.published[key] = HealthRecord.of(key, CheckHealth(HealthState.PASSING, since=NOW - 60), NOW - 10, sha(GOOD))
    pod = client.get(f"/pods/{NODE}/good", "/pods/{node}/{pod}")
    assert pod["why"].startswith("It is critical, because the last probe failed with the reason status: answered 503")
    assert [past["outcome"] for past in pod["history"]] == ["success", "failure"]
    assert [(each["from"], each["to"], each["reason"]) for each in pod["transitions"]] == [
        ("unknown", "passing", ""),
        ("passing", "critical", "status"),
    ]
    assert pod["transitions"][-1]["at"] == pod["since"]
    assert pod["uptime"]["24h"] == {"share": 0.75, "up": 3_600, "down": 1_200}
    assert list(pod["uptime"]) == ["1h", "24h", "7d", "30d"]
    assert (pod["probe"]["status_code"], pod["probe"]["outcome"]) == (503, "failure")
    assert pod["check"]["url"] == f"https://{NODE}:8000/_status"
    assert pod["certificate"] == {"expires": None, "names": "", "issuer": "", "verified": True}
    assert (pod["published"]["status"], pod["published"]["manifest_sha"]) == ("passing", sha(GOOD))
    assert pod["manifest"] == {"text": BAD.decode(), "sha": sha(BAD)}
    assert pod["manifest_in_force"] == {"text": GOOD.decode(), "sha": sha(GOOD)}
    assert pod["manifest_error"].startswith("status_port: ")
    assert pod["published"]["in_doubt"] is False
    site.in_doubt = True
    assert client.get(f"/pods/{NODE}/good", "/pods/{node}/{pod}")["published"]["in_doubt"] is True


def test_a_pod_without_a_check_has_nothing_to_tell_of_one(site: Site, client: Client) -> None:
    site.schedule(1, cron=b"id: cron\n")
    pod = client.get(f"/pods/{NODE}/cron", "/pods/{node}/{pod}")
    assert pod["state"] == "unchecked"
    assert pod["check"] is pod["probe"] is pod["certificate"] is pod["published"] is pod["manifest_in_force"] is None
    assert pod["history"] == []


def test_a_pod_that_is_passing_without_a_probe_has_no_check(site: Site, client: Client) -> None:
    site.healths.follow([(CheckSpec(PodKey(NODE, "portless"), Unprobed(), 5.0, 2.0), 1)])
    site.passes("portless")
    pod = client.get(f"/pods/{NODE}/portless", "/pods/{node}/{pod}")
    assert (pod["state"], pod["check"], pod["probe"], pod["uptime"]) == ("passing", None, None, {})


def test_unknown_fields_of_manifests_are_listed_with_their_pod(site: Site, client: Client) -> None:
    site.schedule(1, a=b"id: a\nport: 80\nstatus: {intervall: 5s}\n", b=b"id: b\n")
    seen = client.get("/manifest-warnings")
    assert [(each["pod"], each["field"]) for each in seen["warnings"]] == [("a", "port"), ("a", "status.intervall")]
    assert seen["warnings"][1]["problem"] == "unknown field, ignored; did you mean status.interval?"
    assert client.get("/manifest-warnings?per_page=1&page=2")["warnings"] == [seen["warnings"][1]]
    assert client.get("/manifest-warnings?page=x", status=400)["errors"][0]["parameter"] == "page"
    told = client.get(f"/pods/{NODE}/a", "/pods/{node}/{pod}")["manifest_warnings"]
    assert told == [f"{each['field']}: {each['problem']}" for each in seen["warnings"]]
    assert client.get(f"/pods/{NODE}/b", "/pods/{node}/{pod}")["manifest_warnings"] == []
    assert client.get("/status")["manifest_warnings"] == 2


def test_invalid_manifests_are_listed_with_the_field(site: Site, client: Client) -> None:
    site.schedule(1, good=GOOD)
    site.schedule(2, good=BAD, torn=b"id: [\n")
    seen = client.get("/manifest-errors")
    assert [(each["pod"], each["field"], each["older_in_force"]) for each in seen["errors"]] == [
        ("good", "status_port", True),
        ("torn", "", False),
    ]
    assert client.get("/manifest-errors?per_page=1&page=2")["errors"][0]["pod"] == "torn"
    assert client.get("/manifest-errors?page=x", status=400)["errors"][0]["parameter"] == "page"


def test_the_status_is_that_of_the_controller(site: Site, client: Client) -> None:
    site.follow("a")
    assert client.get("/status") == {
        "node": NODE,
        "version": "0.1.0",
        "time": "2026-09-21T14:13:20Z",
        "healthy": True,
        "ready": True,
        "complaints": [],
        "cut_off": "",
        "totals": {"critical": 0, "unknown": 1, "warning": 0, "passing": 0, "paused": 0, "unchecked": 0},
        "manifest_errors": 0,
        "manifest_warnings": 0,
    }
    site.unready.append("the session is lost")
    seen = client.get("/status")
    assert (seen["healthy"], seen["ready"], seen["complaints"]) == (True, False, ["the session is lost"])


def test_the_error_names_an_invalid_parameter(client: Client) -> None:
    problem = client.get("/pods?state=ill&page=0&colour=red", status=400)
    assert {each["parameter"] for each in problem["errors"]} == {"state", "page", "colour"}
    assert "colour: no such parameter" in problem["detail"]
    assert (problem["type"], problem["title"], problem["status"]) == ("about:blank", "Bad Request", 400)


def test_all_checks_are_sent_in_parts_that_make_one_document(site: Site, client: Client) -> None:
    assert client.get("/checks") == {"node": NODE, "checks": {}}
    site.follow(*(f"pod-{number}" for number in range(1_200)), failure_threshold=2)
    checks = client.get("/checks")["checks"]
    assert len(checks) == 1_200
    assert checks["pod-7"]["failure_threshold"] == "2"
    assert site.get(f"{ROOT}/checks")[0].headers["Transfer-Encoding"] == "chunked"


def test_what_is_not_there_is_a_problem_that_says_so(site: Site, client: Client) -> None:
    problem = client.get(f"/pods/{NODE}/nobody", "/pods/{node}/{pod}", status=404)
    assert problem["detail"] == f"no pod {NODE}/nobody is known here"
    for path, method, status in (("/nowhere", "GET", 404), ("/pods", "POST", 405), ("/events", "POST", 405)):
        response, text = site.get(ROOT + path, method)
        assert (response.status, json.loads(text)["status"]) == (status, status)
        assert response.headers["Content-Type"] == "application/problem+json"


def test_what_a_pod_sends_is_text_in_json_too(site: Site, client: Client) -> None:
    site.follow("evil")
    site.fails("evil", HOSTILE, HOSTILE)
    sound = HOSTILE.replace("\ud800", "?")
    assert client.get("/pods")["pods"][0]["excerpt"] == sound
    assert client.get(f"/pods/{NODE}/evil", "/pods/{node}/{pod}")["probe"]["detail"] == sound


def test_what_a_pod_sends_is_nothing_that_a_terminal_obeys(site: Site) -> None:
    text = "\x1b[2J\u009b31m\x7f\u202e\u2028\U000e0041 grün"
    site.follow("evil")
    site.fails("evil", text, text)
    site.schedule(1, torn=b'id: torn\nstatus_port: "\\u009b31m"\n')
    site.unready.append(text)
    for path in (
        "/pods",
        f"/pods/{NODE}/evil",
        "/manifest-errors",
        "/checks",
        "/status",
        "/%C2%9B31m",
        "/pods?state=%C2%9B",
    ):
        _, body = site.get(ROOT + path)
        assert safe_json(body) == body
        assert "31m" in body or path in {"/checks", "/pods?state=%C2%9B"}
    assert json.loads(site.get(f"{ROOT}/pods/{NODE}/evil")[1])["probe"]["detail"] == text


def test_a_list_has_at_most_as_many_entries_as_it_says(site: Site, client: Client) -> None:
    site.follow(*(f"pod-{number}" for number in range(1_200)))
    assert len(client.get("/pods?per_page=500")["pods"]) == 500
    assert len(client.get("/pods?per_page=500&page=3")["pods"]) == 200


def test_what_went_wrong_here_is_a_problem_too_and_tells_nothing_of_our_innards(site: Site) -> None:
    site.flapping = None  # type: ignore[assignment]
    site.follow("a")
    response, text = site.get(f"{ROOT}/pods")
    assert json.loads(text)["detail"] == f"GET {ROOT}/pods: Internal Server Error"
    assert (response.status, response.headers["X-Content-Type-Options"]) == (500, "nosniff")
    response, text = site.get("/")
    assert (response.status, "Internal Server Error" in text, "Traceback" in text) == (500, True, False)
