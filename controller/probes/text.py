"""Text that came from a target, made fit for a log, a page, a terminal and JSON."""


def sound(text: str) -> str:
    """`text` with U+FFFD for what is no character, or none that can be seen.

    libcurl quotes bytes of the target in its messages, and pycurl gives those that are no UTF-8 as lone surrogates,
    which nothing can encode again.
    """
    if text.isprintable():
        return text
    whole = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in whole)
