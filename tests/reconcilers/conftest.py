"""Properties run the same examples every time and everywhere: no database, no deadline, nothing left to chance."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "podpulse",
    deadline=None,
    max_examples=100,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("podpulse")
