"""Why the controller does not start."""


class StartError(Exception):
    """The controller cannot start. The message says what is missing or in the way."""
