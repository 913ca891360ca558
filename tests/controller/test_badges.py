"""The badge of a pod: a readable image that is valid XML, is cached for a short time, and has no markup of others."""

import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote
from xml.etree import ElementTree as ET

import pytest

from controller.config.web_access import WebAccess
from controller.web.api.badges import COLOURS, LABEL_COLOUR, UNKNOWN_COLOUR, badge
from reconcilers.health import CheckHealth, HealthState
from reconcilers.record import HealthRecord
from reconcilers.spec import PodKey
from reconcilers.uptime import TICK, Counted, Share, Uptime
from tests.support.site import HOSTILE, NODE, NOW, Site

PATH = f"/api/v1/badges/{NODE}/isup.svg"
HASH = "$2b$04$" + "a" * 53


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        site.follow("isup")
        site.passes("isup")
        site.boottime.advance(3_000)
        site.fails("isup")
        site.boottime.advance(600)
        yield site


def texts(svg: str) -> list[str]:
    """The title, and the two parts of the badge."""
    found = [each.text or "" for each in ET.fromstring(svg).iter() if each.text and each.text.strip()]
    assert 'role="img"' in svg
    return found


def test_a_badge_shows_the_share_of_its_window(site: Site) -> None:
    response, svg = site.get(PATH)
    assert (response.status, response.headers["Content-Type"]) == (200, "image/svg+xml")
    title = f"isup on {NODE}: 83.33 % of the last 24 hours passing or warning"
    assert texts(svg) == [title, "uptime 24h", "83.33 %"]
    assert COLOURS[-1][1] in svg
    site.boottime.advance(1_800)
    assert texts(site.get(f"{PATH}?window=1h")[1])[1:] == ["uptime 1h", "33.33 %"]


def test_a_badge_is_cached_for_a_short_time_and_compared_by_its_tag(site: Site) -> None:
    response, _ = site.get(PATH)
    tag = response.headers["ETag"]
    assert response.headers["Cache-Control"] == "max-age=60"
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again, body = site.get(PATH, If_None_Match=known)
        assert (again.status, body, again.headers["ETag"]) == (304, "", tag)
    site.boottime.advance(600)
    assert site.get(PATH, If_None_Match=tag)[0].status == 200
    head, body = site.get(PATH, "HEAD")
    assert (head.status, body) == (200, "")


def test_a_pod_without_known_time_has_a_grey_badge(site: Site) -> None:
    site.schedule(1, cron=b"id: cron\n")
    svg = site.get(f"/api/v1/badges/{NODE}/cron.svg?window=30d")[1]
    assert texts(svg)[1:] == ["uptime 30d", "unknown"]
    assert UNKNOWN_COLOUR in svg


def test_errors_are_those_of_the_api(site: Site) -> None:
    response, text = site.get(f"/api/v1/badges/{NODE}/nobody.svg")
    assert (response.status, response.headers["Content-Type"]) == (404, "application/problem+json")
    assert "no pod" in text
    for query in ("window=2h", "window=", "x=1", f"window={quote(HOSTILE, errors='replace')}"):
        response, text = site.get(f"{PATH}?{query}")
        assert (response.status, response.headers["Content-Type"]) == (400, "application/problem+json")


def test_a_badge_has_the_access_control_of_the_api() -> None:
    with Site(access=WebAccess(basic_auth_users={"me": HASH})) as site:
        site.follow("isup")
        assert site.get(PATH)[0].status == 401
        assert site.get(PATH, Host="evil.example")[0].status != 200


def test_other_sites_cannot_show_a_badge_and_it_runs_nothing(site: Site) -> None:
    response, svg = site.get(PATH)
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"style|script|href|on[a-z]+=", svg)


def test_hostile_names_cannot_become_markup(site: Site) -> None:
    svg = badge(PodKey(HOSTILE, HOSTILE), "1h", [Share("1h", 3_600, 5, 0)])
    root = ET.fromstring(svg.encode())
    assert {each.tag.rpartition("}")[2] for each in root.iter()} == {"svg", "title", "rect", "g", "text"}
    assert "<script" not in svg
    path = f"/api/v1/badges/{quote(HOSTILE, safe='', errors='replace')}/{quote(HOSTILE, safe='', errors='replace')}.svg"
    assert site.get(path)[0].status == 404


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_white_text_is_readable_on_every_colour() -> None:
    """WCAG 2.1 asks for a contrast of 4.5."""
    for colour in (LABEL_COLOUR, UNKNOWN_COLOUR, *(colour for _, colour in COLOURS)):
        assert 1.05 / (luminance(colour) + 0.05) >= 4.5, colour


@pytest.mark.parametrize(
    ("up", "down", "place"), [(1, 0, 0), (9_990, 10, 0), (9_989, 11, 1), (95, 5, 2), (94, 6, 3), (0, 1, 3)]
)
def test_the_colour_is_that_of_the_share(up: int, down: int, place: int) -> None:
    assert COLOURS[place][1] in badge(PodKey("n", "p"), "7d", [Share("7d", 604_800, up, down)])


def test_a_record_has_the_shares_of_its_pod() -> None:
    record = HealthRecord.of(PodKey("n", "p"), CheckHealth(HealthState.PASSING, since=NOW), NOW)
    assert record.shares(NOW) == ()
    assert replace(record, uptime="garbage").shares(NOW) == ()
    with_uptime = replace(record, uptime=Uptime(int(NOW / TICK) - 1_800, Counted.UP).encode())
    assert with_uptime.shares(NOW)[0].ratio == 1.0
