"""Since when Consul has not answered, and the consequences for probes and for each place."""

import logging
import re
from dataclasses import dataclass

import pytest

from controller.consul.silence import Outlook, Silence

OTHERS = "nothing is probed here, because other members may probe these pods"


@dataclass
class Session:
    """A session that lives for some seconds."""

    seconds: float

    def left(self) -> float:
        return self.seconds


@pytest.mark.parametrize(
    ("outlook", "seconds", "expected"),
    [
        (Outlook(), 5.0, "probes go on"),
        (Outlook(Session(3.2)), 5.0, "probes go on, what is published stays for 3 s"),
        (Outlook(Session(0.0)), 5.0, "probes go on, what was published may be gone"),
        (Outlook(ttl=20.0), 5.0, "probes go on, services turn critical within 15 s"),
        (Outlook(ttl=20.0), 25.0, "probes go on, services may be critical"),
        (Outlook(has_catalog=True), 5.0, "probes go on, the catalog keeps what is published"),
        (Outlook(Session(0.0), is_stopped=lambda: True), 5.0, f"{OTHERS}, what was published may be gone"),
        (
            Outlook(Session(1.0), 9.0),
            5.0,
            "probes go on, what is published stays for 1 s, services turn critical within 4 s",
        ),
    ],
)
def test_what_it_means_depends_on_where_health_is_published(outlook: Outlook, seconds: float, expected: str) -> None:
    assert outlook.text(seconds) == expected


def test_only_requests_that_nobody_answers_are_silence(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    passed_on: list[tuple[str, str, float]] = []
    silence = Silence(lambda *each: passed_on.append(each))
    for outcome in ("ok", "refused", "unavailable", "cancelled"):
        silence.observe("members", outcome, 0.0)
    silence.observe("list_keys", "silent", 3_600.0)
    assert silence.text() == "", "another request was answered after this one was sent"
    silence.observe("update_check", "silent", 0.0)
    silence.observe("update_check", "silent", 0.0)
    silence.observe("update_check", "cancelled", 0.0)
    assert re.fullmatch(r"Consul has not answered since [0-9-]+ [0-9:]+ UTC; probes go on", silence.text())
    silence.observe("members", "refused", 0.0)
    assert silence.text() == ""
    assert [record.message[:20] for record in caplog.records] == ["Consul has not answe", "Consul answers again"]
    assert len(passed_on) == 7
    assert "cancelled" not in {outcome for _, outcome, _ in passed_on}
