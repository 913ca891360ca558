"""One sentence for every situation of a pod."""

from dataclasses import replace

import pytest

from reconcilers.damping import Flapping
from reconcilers.explanation import Situation, explain, note, progress
from reconcilers.health import CheckHealth, HealthState, Outcome, ProbeResult, Reason
from reconcilers.spec import CheckSpec, HttpGet, Manifest, PodKey, Unprobed

KEY = PodKey("web1", "isup")
SPEC = CheckSpec(KEY, HttpGet("web1", 80, "/_status"), 5.0, 2.0, 3, 2, 30.0)
ONCE = replace(SPEC, failure_threshold=1, success_threshold=1)
MANIFEST = Manifest(KEY, SPEC)
FAILED = ProbeResult(KEY, 1, Outcome.FAILURE, 90.0, 0.1, Reason.STATUS, "answered 503.")
STARVED = ProbeResult(KEY, 1, Outcome.LOCAL, 90.0, 0.0, Reason.LOCAL, "too many open files")
FINE = ProbeResult(KEY, 1, Outcome.SUCCESS, 90.0, 0.1)
CRITICAL = CheckHealth(HealthState.CRITICAL, Reason.STATUS, 80.0, "answered 503.", failures=4, misses=4)
PASSING = CheckHealth(HealthState.PASSING, since=80.0, detail="", successes=2)
SLOW = ProbeResult(KEY, 1, Outcome.WARNING, 90.0, 0.6, Reason.SLOW, "the probe took 612 ms.")
WARNED = CheckHealth(HealthState.WARNING, Reason.SLOW, 80.0, "the probe took 612 ms.")
UNKNOWN = CheckHealth()
HELD = "its manifest is gone, and its removal is held"


def pod(health: CheckHealth, last: ProbeResult | None = FAILED, spec: CheckSpec = SPEC, cut_off: str = "") -> Situation:
    return Situation(health, spec, last, Manifest(KEY, spec), cut_off=cut_off)


@pytest.mark.parametrize(
    ("situation", "sentence"),
    [
        (Situation(), "It is unknown, because it has neither a manifest nor a probe worker."),
        (
            Situation(error="status_port: expected a port."),
            "Nothing is checked, because its manifest is invalid: status_port: expected a port.",
        ),
        (
            Situation(manifest=Manifest(KEY, None, paused=True)),
            "Nothing is checked, because its manifest asks for a pause.",
        ),
        (Situation(manifest=Manifest(KEY, None)), "Nothing is checked, because its manifest has no status_port."),
        (Situation(manifest=MANIFEST), "It is unknown, because its probe worker is being started."),
        (
            pod(PASSING, None, replace(SPEC, probe=Unprobed())),
            "It is reported as passing without a probe, because its manifest has no status_port.",
        ),
        (pod(UNKNOWN, None), "It is unknown, because it has not been probed yet."),
        (
            pod(replace(UNKNOWN, since=80.0, reason=Reason.DENIED, detail="as seen before", misses=3), None),
            ("It is unknown, because the failures are no evidence against it with the reason denied: as seen before."),
        ),
        (pod(UNKNOWN), "It is unknown, because failures do not count in its first 30 s."),
        (
            pod(replace(UNKNOWN, misses=1)),
            "It is unknown, because only 1 of the 3 failures in a row that make it critical has been seen.",
        ),
        (
            pod(replace(UNKNOWN, successes=1)),
            "It is unknown, because only 1 of the 2 successes in a row that make it passing has been seen.",
        ),
        (
            pod(replace(UNKNOWN, since=80.0, reason=Reason.LOCAL, detail="too many open files", misses=3), STARVED),
            (
                "It is unknown, because the failures are no evidence against it with the reason local: "
                "too many open files."
            ),
        ),
        (
            pod(replace(UNKNOWN, reason=Reason.LOCAL, misses=3), STARVED, cut_off="this node is cut off"),
            "It is unknown, because failures are no evidence against it: this node is cut off.",
        ),
        (
            pod(replace(UNKNOWN, since=80.0, reason=Reason.DENIED, detail="", misses=3), STARVED),
            "It is unknown, because the failures are no evidence against it (denied).",
        ),
        (
            pod(replace(UNKNOWN, since=80.0, reason=Reason.DEPLOYING, detail="being deployed, and not well yet: no")),
            "It is unknown and not critical yet, because it is being deployed, and not well yet: no.",
        ),
        (pod(PASSING, FINE), "It is passing, because 2 probes in a row succeeded and none has failed since."),
        (pod(PASSING, FINE, ONCE), "It is passing, because the last probe succeeded and none has failed since."),
        (
            pod(replace(PASSING, misses=2)),
            (
                "It is still passing, because only 2 of the 3 failures in a row that would change its state have been "
                "seen (answered 503)."
            ),
        ),
        (
            pod(replace(PASSING, misses=1), replace(FAILED, detail="")),
            "It is still passing, because only 1 of the 3 failures in a row that would change its state has been seen.",
        ),
        (
            pod(CRITICAL),
            "It is critical, because 4 probes in a row failed with the reason status: answered 503.",
        ),
        (
            pod(replace(CRITICAL, failures=1), spec=ONCE),
            "It is critical, because the last probe failed with the reason status: answered 503.",
        ),
        (
            pod(replace(CRITICAL, successes=1, failures=0)),
            "It is still critical, because only 1 of the 2 successes in a row that make it passing has been seen.",
        ),
        (
            pod(WARNED, SLOW),
            "It is warning, because the last probe was a warning with the reason slow: the probe took 612 ms.",
        ),
        (
            pod(replace(WARNED, successes=1), FINE),
            "It is still warning, because only 1 of the 2 successes in a row that make it passing has been seen.",
        ),
        (
            pod(replace(WARNED, misses=1)),
            (
                "It is still warning, because only 1 of the 3 failures in a row that would change its state has been "
                "seen (answered 503)."
            ),
        ),
        (
            pod(replace(PASSING, warnings=2), SLOW),
            (
                "It is still passing, because only 2 of the 3 warnings in a row that would change its state have been "
                "seen (the probe took 612 ms)."
            ),
        ),
        (
            pod(replace(CRITICAL, failures=0, misses=0, warnings=1), SLOW),
            (
                "It is still critical, because only 1 of the 2 successes or warnings in a row that make it warning has "
                "been seen (the probe took 612 ms)."
            ),
        ),
        (
            pod(replace(UNKNOWN, warnings=1), replace(SLOW, detail="")),
            (
                "It is unknown, because only 1 of the 2 successes or warnings in a row that make it warning has been "
                "seen."
            ),
        ),
        (
            replace(pod(PASSING, FINE), flapping=Flapping(17, 20.0, 40.0)),
            (
                "It is published as unknown for 40 s more, because its status changed 17 times in a short time; it was "
                "last seen passing."
            ),
        ),
        (
            replace(pod(CRITICAL), flapping=Flapping(1, 20.0, 40.0)),
            (
                "It is published as unknown for 40 s more, because its status changed once in a short time; it was "
                "last seen critical with the reason status: answered 503."
            ),
        ),
        (
            replace(pod(PASSING, FINE), manifest=None),
            (
                "It is passing, because 2 probes in a row succeeded and none has failed since; its manifest is gone, "
                "and the check continues until the removal is confirmed."
            ),
        ),
        (
            replace(pod(PASSING, FINE), manifest=Manifest(KEY, None, paused=True)),
            (
                "It is passing, because 2 probes in a row succeeded and none has failed since; its manifest does not "
                "ask for a check any more, and the worker is being stopped."
            ),
        ),
        (
            replace(pod(PASSING, FINE), manifest=Manifest(KEY, ONCE)),
            (
                "It is passing, because 2 probes in a row succeeded and none has failed since; a new version of its "
                "manifest is being deployed."
            ),
        ),
        (
            replace(pod(PASSING, FINE, replace(SPEC, address="127.0.0.1")), manifest=MANIFEST),
            "It is passing, because 2 probes in a row succeeded and none has failed since.",
        ),
    ],
)
def test_the_sentence_fits_the_situation(situation: Situation, sentence: str) -> None:
    assert explain(situation) == sentence


@pytest.mark.parametrize(
    ("health", "text"),
    [
        (PASSING, ""),
        (replace(PASSING, misses=1), "1 of 3 misses"),
        (CRITICAL, ""),
        (replace(PASSING, warnings=1), "1 of 3 warnings"),
        (WARNED, ""),
        (replace(WARNED, misses=2), "2 of 3 misses"),
        (replace(WARNED, successes=1), "1 of 2 successes"),
        (replace(CRITICAL, warnings=1), "1 of 2 warnings"),
        (replace(CRITICAL, successes=1), "1 of 2 successes"),
        (replace(UNKNOWN, successes=1), "1 of 2 successes"),
    ],
)
def test_progress_counts_the_results_that_do_not_yet_change_the_state(health: CheckHealth, text: str) -> None:
    assert progress(health, SPEC) == text


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (Situation(), ""),
        (pod(PASSING, FINE), ""),
        (Situation(error="no YAML"), "its manifest is invalid: no YAML"),
        (replace(pod(PASSING), error="no YAML"), "an older manifest is in force, the newest is invalid: no YAML"),
        (replace(pod(PASSING), held="5 of 5 pods gone at once"), f"{HELD}: 5 of 5 pods gone at once"),
        (replace(Situation(manifest=MANIFEST), held="no", error="no YAML"), f"{HELD}: no"),
        (Situation(PASSING, SPEC), "its manifest is gone, and the check continues until the removal is confirmed"),
        (replace(pod(PASSING), manifest=Manifest(KEY, ONCE)), "a new version of its manifest is being deployed"),
    ],
)
def test_a_note_says_why_what_runs_is_not_what_the_newest_manifest_asks_for(
    situation: Situation, expected: str
) -> None:
    assert note(situation) == expected
    if situation.held and situation.health:
        assert explain(situation).endswith(f"; {expected}.")
