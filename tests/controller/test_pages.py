"""The pages, asked over real connections and taken apart."""

import base64
import hashlib
import re
import time
from collections.abc import Iterator
from itertools import product

import pytest

from controller.web.time_text import moment
from reconcilers.damping import Flapping
from reconcilers.health import Certificate, CheckHealth, HealthState, Outcome, ProbeResult
from reconcilers.p2.manifest import sha
from reconcilers.record import HealthRecord
from reconcilers.spec import CheckSpec, PodKey, Unprobed
from tests.support.site import HOSTILE, NODE, NOW, Page, Site

GOOD = b"id: good\nstatus_port: 80\n"
BAD = b"id: good\nstatus_port: 80000\n"


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


def pods(html: str) -> list[str]:
    return re.findall(r'<th role="rowheader" scope="row"><a href="[^"]*">([^<]*)</a></th>', html)


# --- all pods ---


def test_the_worst_pods_come_first_then_by_name(site: Site) -> None:
    site.follow("b", "a", "sick", "new", "ill")
    site.passes("b", "a")
    site.fails("sick")
    site.fails("ill")
    assert pods(site.get("/")[1]) == ["ill", "sick", "new", "a", "b"]


def test_a_row_says_since_when_why_and_what_was_answered(site: Site) -> None:
    site.follow("isup")
    site.fails("isup", "answered 503 Service Unavailable", "db is down\nqueue is full")
    html = site.get("/")[1]
    page = Page(html)
    assert "answered 503 Service Unavailable" in html
    assert page.text("pre") == ["db is down\nqueue is full"]
    assert "status" in page.text("b")
    assert page.text("time")[:2] == ["5 s ago", "5 s ago"]
    assert moment(NOW - 5) in [attributes.get("title") for tag, attributes in page.tags if tag == "time"]
    assert "<span>250 ms</span>" in html
    assert 'aria-label="0 of 1 probes succeeded"><path class="failure"' in html


def test_evidence_that_is_not_yet_enough_is_shown(site: Site) -> None:
    site.follow("a", "b", failure_threshold=3, success_threshold=2)
    site.passes("a", "a")
    site.fails("a")
    site.passes("b")
    html = site.get("/")[1]
    assert Page(html).text("small") == ["1 of 2 successes", "1 of 3 misses"]
    assert html.count("last seen: answered 503") == 1


def test_totals_are_of_all_pods_and_lead_to_the_pods_of_one_state(site: Site) -> None:
    site.follow("a", "b", "c")
    site.passes("a", "b")
    site.fails("c")
    html = site.get("/?state=passing")[1]
    assert pods(html) == ["a", "b"]
    totals = dict(re.findall(r'href="\?state=(\w+)"[^>]*><b>(\d+)</b>', html))
    assert totals == {"critical": "1", "unknown": "0", "passing": "2"}
    assert "<b>3</b> pods" in html
    assert "2 of 3" in html
    assert pods(site.get("/?state=nonsense")[1]) == ["c", "a", "b"]


def test_filter_order_and_page_stand_in_the_url_and_in_every_link(site: Site) -> None:
    site.follow(*(f"pod-{number}" for number in range(7)), "other")
    html = site.get("/?q=pod&sort=-pod&per_page=3&page=2")[1]
    assert pods(html) == ["pod-3", "pod-2", "pod-1"]
    page = Page(html)
    links = {attributes.get("href"): attributes for tag, attributes in page.tags if tag == "a"}
    assert links["?page=3&per_page=3&q=pod&sort=-pod"]["rel"] == "next"
    assert links["?per_page=3&q=pod&sort=-pod"]["rel"] == "prev"
    assert "?per_page=3&state=unknown&q=pod&sort=-pod" in links
    assert "?per_page=3&q=pod&sort=pod" in links
    inputs = {attributes["name"]: attributes["value"] for tag, attributes in page.tags if tag == "input"}
    assert inputs == {"sort": "-pod", "per_page": "3", "q": "pod"}
    assert "Page 2 of 3, 7 pods" in html


def test_the_column_that_is_sorted_by_is_told_to_a_screen_reader(site: Site) -> None:
    site.follow("a")
    for query, order, column in (("", "ascending", "State"), ("?sort=-took", "descending", "Latency")):
        headers = re.findall(r'aria-sort="(\w+)"><a [^>]*>([^<]*)<', site.get(f"/{query}")[1])
        assert headers == [(order, column)]


def test_a_pod_that_flaps_is_what_is_said_of_it(site: Site) -> None:
    site.follow("a", "b")
    site.passes("a", "b")
    site.flapping[PodKey(NODE, "b")] = Flapping(17, 20.0, 40.0)
    html = site.get("/?state=unknown")[1]
    assert pods(html) == ["b"]
    assert "<b>flapping</b> 17 changes of status in a short time; last seen passing" in html
    assert "20 s ago" in html
    assert pods(site.get("/?q=flapping")[1]) == ["b"]


def test_the_title_tells_the_worst(site: Site) -> None:
    assert Page(site.get("/")[1]).text("title") == [f"no pods · {NODE} · Podpulse"]
    site.follow("a", "b")
    assert Page(site.get("/")[1]).text("title") == [f"2 unknown · {NODE} · Podpulse"]
    assert "fill='%238a7fd6'" in site.get("/")[1]
    site.fails("b")
    html = site.get("/")[1]
    assert Page(html).text("title") == [f"1 critical · {NODE} · Podpulse"]
    assert "M8 1l7 7-7 7-7-7z' fill='%23d5453c'" in html


def test_pods_without_a_worker_and_without_a_check_are_not_left_out(site: Site) -> None:
    paused = b"id: batch\nstatus_port: 80\nstatus: {paused: true}\n"
    site.schedule(1, waiting=b"id: waiting\nstatus_port: 80\n", cron=b"id: cron\n", batch=paused, torn=b"id: [\n")
    html = site.get("/")[1]
    assert pods(html) == ["waiting", "batch", "cron", "torn"]
    assert re.findall(r'<td role="cell" class="state">(\w+)', html) == ["unknown", "paused", "unchecked", "unchecked"]
    assert "no probe worker runs yet" in html
    assert "its manifest is invalid: line 2, column 1: " in html
    assert "its manifest asks for a pause" in html
    assert "its manifest has no status_port" in html


def test_a_row_says_what_else_is_to_be_known_of_a_pod_that_passes(site: Site) -> None:
    site.schedule(1, good=GOOD, gone=GOOD.replace(b"good", b"gone"))
    site.schedule(2, good=BAD)
    site.follow("good", "gone")
    site.passes("good", "gone")
    site.held[PodKey(NODE, "gone")] = "2 of 2 pods gone at once"
    held, older = re.findall(r'<span class="note">(.*?)</span>', site.get("/")[1])
    assert held == "its manifest is gone, and its removal is held: 2 of 2 pods gone at once"
    assert older.startswith("an older manifest is in force, the newest is invalid: status_port: ")


def test_a_probe_that_does_not_count_yet_is_no_verdict(site: Site) -> None:
    site.follow("young", initial_delay=1e9)
    site.fails("young")
    assert ">no verdict yet; last seen: answered 503<" in site.get("/")[1]
    assert "failures do not count in its first" in site.get(f"/pods/{NODE}/young")[1]


def test_an_empty_node_has_a_page_too(site: Site) -> None:
    assert "No pod has a manifest yet." in site.get("/")[1]
    site.follow("a")
    assert "No pod matches." in site.get("/?state=warning")[1]


def test_complaints_of_the_controller_stand_on_the_page_once(site: Site) -> None:
    site.unhealthy.append("thread probe has stood still for 12 s")
    site.unready += ["thread probe has stood still for 12 s", "the session is lost"]
    assert Page(site.get("/")[1]).text("title") == [f"(!) no pods · {NODE} · Podpulse"]
    assert Page(site.get("/")[1]).text("li") == ["thread probe has stood still for 12 s", "the session is lost"]


def test_long_answers_are_cut(site: Site) -> None:
    site.follow("a", "b")
    site.passes("a", output="y" * 4_096)
    site.fails("b", output="z" * 4_096)
    critical, passing = Page(site.get("/")[1]).text("pre")
    assert (len(critical), len(passing)) == (1_000, 120)


def test_a_page_of_very_many_pods_is_made_in_little_time_and_renewed_less_often(site: Site) -> None:
    names = [f"checkout-service-{number:05d}" for number in range(10_000)]
    site.follow(*names)
    site.passes(*names, output="isup\nPATH=/usr/bin\n" * 10)
    site.get("/")
    started = time.process_time()
    html = site.get("/?sort=-took")[1]
    took = time.process_time() - started
    assert html.count('<tr role="row" class=') == 100
    assert "Page 1 of 100, 10,000 pods" in html
    assert 'data-refresh="15"' in html
    assert took < 1.0  # seconds of CPU; usually 0.08


# --- one pod ---


def test_the_page_of_a_pod_says_all_that_is_known(site: Site) -> None:
    key = PodKey(NODE, "good")
    site.schedule(1, good=GOOD)
    site.follow("good", failure_threshold=3)
    site.passes("good")
    for _ in range(3):
        site.fails("good", "answered 503", "db is down")
    health = CheckHealth(HealthState.CRITICAL, since=NOW - 5, detail="answered 503")
    site.published[key] = HealthRecord.of(key, health, NOW)
    html = site.get(f"/pods/{NODE}/good")[1]
    page = Page(html)
    assert page.text("title") == [f"critical · good · {NODE} · Podpulse"]
    assert "It is critical, because 3 probes in a row failed with the reason status: answered 503" in html
    assert "The last 4 probes" in html
    assert html.count('<td class="failure">failure</td>') == 3
    assert f"SHA {sha(GOOD)}: p2's name of this version." in html
    assert page.text("pre") == ["db is down", GOOD.decode()]
    assert f"https://{NODE}:8000/_status" in html
    assert "3 failures in a row" in html
    assert re.search(r'Published</h2>\s*<dl class="critical">', html)
    assert "not seen yet" in html


def test_a_certificate_is_shown_with_its_hosts_and_its_issuer_and_stays_text(site: Site) -> None:
    site.follow("good")
    seen = Certificate(NOW + 86_400 * 3, "good.example.com, <b>evil</b>", "CN = <i>Our CA</i>")
    site.healths.observe([ProbeResult(PodKey(NODE, "good"), 1, Outcome.SUCCESS, NOW - 5, 0.004, certificate=seen)])
    html = site.get(f"/pods/{NODE}/good")[1]
    assert ", in 3 d</dd>" in html
    assert "<dt>For</dt><dd><bdi>good.example.com, &lt;b&gt;evil&lt;/b&gt;</bdi></dd>" in html
    assert "<dt>Signed by</dt><dd><bdi>CN = &lt;i&gt;Our CA&lt;/i&gt;</bdi></dd>" in html


@pytest.mark.parametrize(
    ("seconds", "shown", "text"),
    [
        (86_400 * 14 + 60, "", ""),
        (86_400 * 13, "warning", "certificate ends in 13 d"),
        (86_400 * 2 - 60, "critical", "certificate ends in 47 h"),
        (-7_200, "critical", "certificate ended 2 h ago"),
    ],
)
def test_a_certificate_that_ends_soon_is_coloured_in_the_list_and_on_the_page_of_its_pod(
    site: Site, seconds: float, shown: str, text: str
) -> None:
    site.follow("good")
    seen = Certificate(NOW + seconds)
    site.healths.observe([ProbeResult(PodKey(NODE, "good"), 1, Outcome.SUCCESS, NOW - 5, 0.004, certificate=seen)])
    found = re.findall(r'<small class="certificate (\w+)">([^<]*)<', site.get("/")[1])
    assert found == ([(shown, text)] if text else [])
    assert f'<dd class="{shown}">{moment(NOW + seconds)}' in site.get(f"/pods/{NODE}/good")[1]


def test_the_axis_of_the_timeline_starts_where_its_strokes_start(site: Site) -> None:
    site.follow("good")
    site.passes("good")
    axis = re.findall(r'<p class="axis quiet">(.*?)</p>', site.get(f"/pods/{NODE}/good")[1], re.DOTALL)[0]
    assert '<svg width="96.97%"' in axis
    assert axis.count("<time") == 1
    for _ in range(33):
        site.passes("good")
    axis = re.findall(r'<p class="axis quiet">(.*?)</p>', site.get(f"/pods/{NODE}/good")[1], re.DOTALL)[0]
    assert "<svg" not in axis
    assert axis.count("<time") == 2


def test_a_pod_whose_new_manifest_is_broken_shows_both_and_the_error(site: Site) -> None:
    site.schedule(1, good=GOOD)
    site.schedule(2, good=BAD)
    html = site.get(f"/pods/{NODE}/good")[1]
    assert Page(html).text("pre") == [GOOD.decode(), BAD.decode()]
    assert "<bdi>status_port: " in html
    assert "An older one is in force" in html
    assert Page(html).text("h2")[-2:] == ["Manifest in force", "Newest version, invalid"]


def test_the_page_of_a_pod_has_the_last_changes_of_its_state_the_newest_first(site: Site) -> None:
    site.follow("good")
    assert "h-transitions" not in site.get(f"/pods/{NODE}/good")[1]
    for _ in range(6):
        site.passes("good")
        site.fails("good", "answered <503>")
    html = site.get(f"/pods/{NODE}/good")[1]
    section = html.partition('<ol class="transitions">')[2].partition("</ol>")[0]
    assert re.findall(r'class="\w+ state">(\w+)<', section) == ["critical", "passing"] * 4
    assert "(status)" in section
    assert "answered &lt;503&gt;" in section
    assert section.count(f"{moment(NOW - 5)}, ") == 8


def test_the_page_of_a_pod_has_a_command_an_alert_and_a_link_to_copy(site: Site) -> None:
    site.follow("good", "it's", "-x")
    html = site.get(f"/pods/{NODE}/good")[1]
    command, alert = Page(html).text("code")
    assert command == f"podpulse probe --node {NODE} good"
    assert alert == f'podpulse_health{{node="{NODE}",pod="good",state="critical"}} == 1'
    assert f'<a href="../{NODE}/good">Link to this page' in html
    assert Page(site.get(f"/pods/{NODE}/it%27s")[1]).text("code")[0].endswith(" 'it'\"'\"'s'")

    assert Page(site.get(f"/pods/{NODE}/-x")[1]).text("code")[0].endswith(" -- -x")


def test_what_is_published_is_in_doubt_while_the_lease_is_lost(site: Site) -> None:
    site.follow("good")
    assert "In doubt." not in site.get(f"/pods/{NODE}/good")[1]
    site.in_doubt = True
    assert "<b>In doubt.</b> It was not renewed in time, so readers may not see" in site.get(f"/pods/{NODE}/good")[1]


def test_every_page_says_what_is_checked_here(site: Site) -> None:
    for path in ("/", "/manifests", "/nothing"):
        assert f"the pods of node {NODE}" in Page(site.get(path)[1]).text("span")
    assert "member of the fleet" not in site.get("/")[1]


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        (b"id: a\n", "has no status_port"),
        (b"id: a\nstatus_port: 80\nstatus: {paused: true}\n", "asks for a pause"),
        (b"id: [\n", "its manifest is invalid"),
        (b"id: a\nstatus_port: 80\n", "is being started"),
    ],
)
def test_a_pod_without_a_check_has_a_page_that_says_why(site: Site, manifest: bytes, why: str) -> None:
    site.schedule(1, a=manifest)
    response, html = site.get(f"/pods/{NODE}/a")
    assert response.status == 200
    assert why in html
    assert "Nothing is published for this pod" in html


def test_a_pod_that_is_passing_without_a_probe_shows_none(site: Site) -> None:
    key = PodKey(NODE, "portless")
    spec = CheckSpec(key, Unprobed(), 5.0, 2.0)
    site.healths.follow([(spec, 1)])
    site.passes("portless")
    html = site.get(f"/pods/{NODE}/portless")[1]
    assert "It is reported as passing without a probe" in html
    assert Page(html).text("h2") == ["The last change of its state", "Published"]


def test_a_pod_that_nobody_knows_has_a_page_that_says_so(site: Site) -> None:
    response, html = site.get(f"/pods/{NODE}/nobody")
    assert response.status == 404
    assert "No pod nobody on " in html
    assert site.get("/pods/%3Cscript%3E/x")[1].count("<script>") == 0


# --- manifests ---


def test_invalid_manifests_are_listed_with_their_errors(site: Site) -> None:
    assert "Every manifest is valid" in site.get("/manifests")[1]
    site.schedule(1, good=GOOD)
    site.schedule(2, good=BAD, bad=b"id: bad\nstatus_port: [1]\n", torn=b"id: [\n")
    html = site.get("/manifests")[1]
    assert pods(html) == ["bad", "good", "torn"]
    assert Page(html).text("code") == ["status_port", "status_port", "the whole"]
    assert html.count("an older version") == 1
    assert html.count("nothing: the pod is not checked") == 2
    assert html.count("60 s ago") == 3
    assert "3 manifests are invalid" in site.get("/")[1]
    assert pods(site.get("/manifests?per_page=2&page=2")[1]) == ["torn"]


def test_unknown_fields_are_shown_on_every_page_where_one_would_look_for_them(site: Site) -> None:
    site.schedule(1, odd=b"id: odd\nport: 80\nstatus: {intervall: 5s}\n", bad=b"id: [\n", good=GOOD)
    html = site.get("/manifests")[1]
    assert '<h2 id="unknown">Fields that are unknown and ignored</h2>' in html
    assert Page(html).text("code") == ["the whole", "port", "status.intervall"]
    assert "unknown field, ignored; did you mean status.interval?" in html
    second = site.get("/manifests?per_page=1&page=2")[1]
    assert Page(second).text("code") == ["status.intervall"]
    assert "All of them are on earlier pages." in second
    assert "1 manifest has unknown fields, which are ignored" in site.get("/")[1]
    assert "<li><bdi>port: unknown field, ignored; write status_port</bdi></li>" in site.get(f"/pods/{NODE}/odd")[1]
    assert "unknown fields" not in site.get(f"/pods/{NODE}/good")[1]


# --- all of them ---


def test_what_a_pod_sends_stays_text(site: Site) -> None:
    site.follow("evil", "sly")
    site.fails("evil", HOSTILE, HOSTILE)
    site.passes("sly", output=HOSTILE)
    site.schedule(1, torn=f"id: torn\nstatus_port: {HOSTILE[:70]!r}\n".encode(), evil=b"id: evil # " + b"<script>")
    site.unready.append(HOSTILE)
    for path in ("/", f"/pods/{NODE}/evil", f"/pods/{NODE}/torn", "/manifests"):
        page = Page(site.get(path)[1])
        scripts = [attributes for tag, attributes in page.tags if tag == "script"]
        assert [str(attributes["src"]).split("/")[-2] for attributes in scripts] == ["assets"]
        assert "img" not in {tag for tag, _ in page.tags}
        assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
        assert page.text("li")[0].startswith("<script>alert('1')</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}")
    assert page.text("pre") == []
    assert Page(site.get("/")[1]).text("pre")[0].startswith("<script>alert('1')</script>")
    assert Page(site.get(f"/?q={'%3Cscript%3E'}")[1]).text("script") == []


def test_what_a_pod_sends_does_not_reorder_or_hide_text(site: Site) -> None:
    site.follow("evil")
    site.fails("evil", "a\u202eb\u009b", "one\r\ntwo\u2066\x00")
    html = site.get(f"/pods/{NODE}/evil")[1]
    assert "a\\u202eb\\x9b" in html
    assert "one\ntwo\\u2066\\x00" in html


def test_the_policy_lets_the_page_run_its_own_script_alone_and_its_own_style_through(site: Site) -> None:
    site.follow("a")
    site.passes("a")
    for path in ("/", f"/pods/{NODE}/a", "/manifests"):
        response, html = site.get(path)
        policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
        [style] = re.findall("<style>(.*)</style>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        assert policy["style-src"] == f"'sha256-{digest}'"
        assert policy["frame-ancestors"] == "'none'"
        assert "style=" not in html.replace(style, "")
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', html)


def test_every_answer_forbids_sniffing_framing_and_referring(site: Site) -> None:
    for path in ("/", "/nowhere", "/metrics", "/-/ready", "/api/v1/pods", "/api/v1/nowhere"):
        headers = site.get(path)[0].headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"


def test_the_script_is_a_file_that_may_be_kept_until_it_is_another_one(site: Site) -> None:
    [path] = re.findall(r'<script src="([^"]*)"', site.get("/")[1])
    response, text = site.get(f"/{path}")
    assert response.headers["Content-Type"].startswith("text/javascript")
    assert "immutable" in response.headers["Cache-Control"]
    assert text.startswith("//")
    again, nothing = site.get(f"/{path}", if_none_match=response.headers["ETag"])
    assert (again.status, nothing) == (304, "")
    assert site.get("/assets/page.0123456789abcdef.js")[0].status == 404


def test_without_script_a_page_renews_itself(site: Site) -> None:
    for path in ("/", "/manifests", f"/pods/{NODE}/nobody"):
        assert '<noscript><meta http-equiv="refresh" content="15"></noscript>' in site.get(path)[1]


def test_what_is_not_there_is_said_on_a_page_that_leads_back(site: Site) -> None:
    response, html = site.get("/a/b/c")
    assert response.status == 404
    assert Page(html).text("h1") == ["Not Found"]
    assert '<a href="../../">All pods</a>' in html


COLOUR = re.compile(r"--(\w[\w-]*): #([0-9a-f]{6})")


def luminance(colour: str) -> float:
    """Source: WCAG 2.2, relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_colour_of_text_has_the_contrast_that_wcag_asks_for_in_light_and_dark(site: Site) -> None:
    [style] = re.findall("<style>(.*)</style>", site.get("/")[1], re.DOTALL)
    light, dark = style.split("prefers-color-scheme: dark")
    for theme in (light, dark):
        colours = dict(COLOUR.findall(theme))
        texts = ("text", "quiet", "critical", "unknown", "warning", "passing", "none", "focus")
        for text, ground in product(texts, ("page", "card", "code")):
            lighter, darker = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, ground)


def test_a_pod_shows_its_uptime_and_how_much_of_it_is_known(site: Site) -> None:
    site.follow("isup")
    site.passes("isup")
    site.boottime.advance(3_480)
    site.fails("isup")
    site.boottime.advance(3_600)
    html = site.get(f"/pods/{NODE}/isup")[1]
    section = html.partition('id="h-uptime"')[2].partition("</section>")[0]
    texts = [text.strip() for text in Page(section).text("dd")]
    assert texts == ["1.63 %", "49.15 %", "49.15 %", "49.15 %"]
    assert Page(section).text("span") == ["of the 118 min that are known"] * 3
    assert Page(section).text("dt")[:2] == ["Last hour", "Last 24 hours"]
    assert f'href="../../api/v1/badges/{NODE}/isup.svg"' in section


def test_a_pod_of_which_nothing_is_known_shows_no_uptime(site: Site) -> None:
    site.follow("isup")
    assert "h-uptime" not in site.get(f"/pods/{NODE}/isup")[1]
