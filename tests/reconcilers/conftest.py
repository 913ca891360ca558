"""Properties use the same examples every time and everywhere: without a database, a deadline or random choices."""

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
