"""Colours, limits and words, the same in every panel."""

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model

DAY = 86_400.0

GOOD, NOTE, BAD, UNKNOWN, GREY = "green", "orange", "red", "purple", "#6e6e6e"

STATES = {"passing": GOOD, "warning": "yellow", "critical": BAD, "unknown": UNKNOWN}
"""The colour of each state of a pod."""

NUMBERED_STATES = ("passing", "warning", "unknown", "critical", "flapping")
"""A state timeline needs numbers. The number of a state is its index here."""

RESULTS = {"success": GOOD, "warning": "yellow", "failure": BAD, "local": UNKNOWN}
OUTCOMES = {"ok": GOOD, "refused": BAD, "unavailable": NOTE}
SEVERITIES = {"critical": BAD, "warning": NOTE}

Steps = Sequence[tuple[float, str]]

NONE_IS_GOOD: Steps = ((1.0, BAD),)
NONE_IS_BETTER: Steps = ((1.0, NOTE),)
TIME_LEFT: Steps = ((3 * DAY, NOTE), (14 * DAY, GOOD))
"""The limits for certificates, as in PodpulseCertificateExpired and PodpulseCertificateExpiring."""


def thresholds(steps: Steps, lowest: str = GOOD) -> build.ThresholdsConfig:
    """Returns thresholds. `lowest` is the colour below the first step. A step is a value and the colour above it."""
    levels = [model.Threshold(value=None, color=lowest), *(model.Threshold(value, color) for value, color in steps)]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(levels)


def words(colours: Mapping[str, str]) -> list[model.ValueMapping]:
    """Returns the mapping from words to their colours."""
    return _mapping({word: (word, colour) for word, colour in colours.items()})


def numbered_states() -> list[model.ValueMapping]:
    """Returns the mapping from the numbers of states to words and their colours."""
    colours = STATES | {"flapping": NOTE}
    return _mapping({str(number): (state, colours[state]) for number, state in enumerate(NUMBERED_STATES)})


def nothing(text: str) -> model.ValueMapping:
    """Returns the mapping from a missing value to a grey text. Otherwise it has the colour of the lowest value."""
    result = model.ValueMappingResult(text=text, color=GREY)
    options = model.DashboardSpecialValueMapOptions(match=model.SpecialValueMatch.NULL_AND_NAN, result=result)
    return model.SpecialValueMap(options)


def flag(yes: tuple[str, str], no: tuple[str, str]) -> list[model.ValueMapping]:
    """Returns the mapping from 1 and 0 to words and their colours."""
    return _mapping({"1": yes, "0": no})


def texts(shown: Mapping[str, str]) -> list[model.ValueMapping]:
    """Returns the mapping from values to the texts that are shown."""
    return [model.ValueMap({value: model.ValueMappingResult(text=text) for value, text in shown.items()})]


def fixed(colour: str) -> dict[str, str]:
    """Returns a colour in the format of an override."""
    return {"mode": "fixed", "fixedColor": colour}


def _mapping(shown: Mapping[str, tuple[str, str]]) -> list[model.ValueMapping]:
    return [
        model.ValueMap(
            {
                value: model.ValueMappingResult(text=text, color=colour, index=index)
                for index, (value, (text, colour)) in enumerate(shown.items())
            }
        )
    ]
